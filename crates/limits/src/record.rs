//! What is written down: every round of every cell, and what follows for the targets.

use natrig_bench::result::{Interval, Role};
use natrig_bench::stats;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Settings;
use crate::cells::Cell;
use crate::targets::{Bound, Row, wanted};

/// Everything that was measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Measured {
    /// The targets and what became of them.
    pub targets: Vec<Target>,
    /// The cells that they are made of.
    pub cells: Vec<CellRecord>,
    /// Frames that came out wrong, in all trials.
    pub wrong: u64,
    /// How long a line of the cache takes from one processor to the other and back, in nanoseconds, before each round; nothing where there
    /// is only one.
    #[serde(default)]
    pub line_ns: Vec<f64>,
}

/// A target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// What is claimed.
    pub claim: String,
    /// How many flows, in words.
    pub flows: String,
    /// `≥ 8×`.
    pub wanted: String,
    /// The median over rounds, with its interval; a quotient is taken within each round.
    pub measured: Option<Interval>,
    /// Whether the median is on the right side; absent if nothing was measured.
    pub met: Option<bool>,
    /// Why there is nothing, or why what there is says less than it seems.
    pub remark: Option<String>,
}

/// A cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CellRecord {
    /// What forwards, in which placement, under how many flows.
    pub name: String,
    /// What is offered.
    pub offer: String,
    /// Processors that are used.
    pub cores: u32,
    /// Frames' length without frame check sequence, in bytes.
    pub frame_bytes: u32,
    /// Why it could not be measured here.
    pub refused: Option<String>,
    /// Round by round; absent where it gave no figure.
    pub rounds: Vec<Option<Round>>,
    /// Frames a second over rounds.
    pub rate_pps: Option<Interval>,
    /// Processor time of all roles per delivered frame, in nanoseconds, over rounds.
    pub cpu_ns_per_packet: Option<Interval>,
}

/// What one round says of a cell.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Round {
    /// Frames delivered a second.
    pub rate_pps: f64,
    /// True if the generator, and not what forwards, was the limit of a search.
    pub generator_bound: bool,
    /// Frames lost in the trial that the figure is of.
    pub lost: i64,
    /// Processor time per delivered frame by role, in nanoseconds: user, system and interrupts.
    pub roles: Vec<RoleCost>,
    /// Median latency from the intended send time, in nanoseconds.
    pub latency_ns_p50: Option<f64>,
    /// 99th percentile.
    pub latency_ns_p99: Option<f64>,
    /// By how much later than intended the latest in a thousand frames left, in nanoseconds; only where that is what is measured.
    #[serde(default)]
    pub send_lag_ns_p999: Option<f64>,
}

/// What a role cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RoleCost {
    /// The role.
    pub role: Role,
    /// The processor that it is pinned to, if it is to one.
    pub cpu: Option<usize>,
    /// Nanoseconds per delivered frame.
    pub ns_per_packet: f64,
}

/// What a target is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Figure {
    Rate,
    RateMpps,
    RateGbps,
    LatencyP50,
    LatencyP99,
    SendLagP999Us,
}

impl Round {
    /// All roles together.
    pub(crate) fn cpu_ns_per_packet(&self) -> f64 {
        self.roles.iter().map(|role| role.ns_per_packet).sum()
    }

    fn figure(&self, figure: Figure, frame_bytes: u32) -> Option<f64> {
        match figure {
            Figure::Rate => Some(self.rate_pps),
            Figure::RateMpps => Some(self.rate_pps / 1e6),
            Figure::RateGbps => Some(self.rate_pps * f64::from(frame_bytes) * 8.0 / 1e9),
            Figure::LatencyP50 => self.latency_ns_p50,
            Figure::LatencyP99 => self.latency_ns_p99,
            Figure::SendLagP999Us => self.send_lag_ns_p999.map(|ns| ns / 1e3),
        }
    }
}

impl CellRecord {
    /// Takes in what a round gave.
    pub(crate) fn add(&mut self, round: Option<Round>) {
        self.rounds.push(round);
        let known = || self.rounds.iter().flatten();
        self.rate_pps = interval(&known().map(|round| round.rate_pps).collect::<Vec<f64>>());
        self.cpu_ns_per_packet = interval(&known().map(Round::cpu_ns_per_packet).collect::<Vec<f64>>());
    }

    fn is_generator_bound(&self) -> bool {
        self.rounds.iter().flatten().any(|round| round.generator_bound)
    }

    /// How often the rate of `other` goes into this one's.
    fn times(&self, other: &Self) -> Option<f64> {
        let (rate, other) = (self.rate_pps?.median, other.rate_pps?.median);
        (other > 0.0).then(|| rate / other)
    }
}

/// By how much a generator must outrun what it measures.
pub(crate) const HEADROOM: f64 = 1.5;

impl Measured {
    /// Writes anew what follows for the targets; `records` lie in the order of `cells`.
    pub(crate) fn judge(&mut self, settings: &Settings, cells: &[Cell]) {
        let record =
            |cell: &Cell| cells.iter().zip(&self.cells).find(|(other, _)| *other == cell).map(|(_, found)| found);
        let target = |row: Row| {
            let of = record(&row.of);
            let over = row.over.as_ref().and_then(record);
            let value = |record: &CellRecord, round: usize| {
                record.rounds.get(round)?.as_ref()?.figure(row.figure, record.frame_bytes)
            };
            let rounds = of.map_or(0, |of| of.rounds.len());
            let in_round = |round| {
                let figure = value(of?, round)?;
                if row.over.is_none() {
                    Some(figure)
                } else {
                    Some(figure / value(over?, round).filter(|base| *base > 0.0)?)
                }
            };
            let measured = interval(&(0..rounds).filter_map(in_round).collect::<Vec<f64>>());
            let refused = [of, over].into_iter().flatten().find_map(|record| record.refused.clone());
            let bound = |cell: &Cell| {
                let own = record(cell)?;
                let times = cell.feed().as_ref().and_then(record).and_then(|feed| feed.times(own));
                match times {
                    Some(times) if times < HEADROOM => {
                        Some(format!("the generator alone sends {times:.2} times as much"))
                    }
                    _ => own.is_generator_bound().then(|| "the generator could not offer more".to_owned()),
                }
            };
            let machine = || {
                let ns = stats::median(&lags(record(&row.of.lag_floor()?)?))?;
                Some(format!(
                    "sent to nobody, the same frames are late by {:.0} µs: that much is the machine's own",
                    ns / 1e3
                ))
            };
            let remark =
                refused.or_else(machine).or_else(|| match (bound(&row.of), row.over.as_ref().and_then(bound)) {
                    (Some(why), _) => Some(format!("GENERATOR-BOUND, it may carry more: {why}")),
                    (None, Some(why)) => Some(format!("what it is compared with is GENERATOR-BOUND: {why}")),
                    (None, None) => None,
                });
            Target {
                claim: row.claim.to_owned(),
                flows: row.of.flows.words(settings),
                wanted: row.wanted(),
                measured,
                met: measured.map(|measured| row.bound.holds(measured.median)),
                remark,
            }
        };
        self.targets = wanted(settings).into_iter().map(target).collect();
    }
}

fn lags(record: &CellRecord) -> Vec<f64> {
    record.rounds.iter().flatten().filter_map(|round| round.send_lag_ns_p999).collect()
}

impl Row {
    fn wanted(&self) -> String {
        let unit = if self.over.is_some() { "×" } else { "" };
        match self.bound {
            Bound::AtLeast(bound) => format!("≥ {bound}{unit}"),
            Bound::AtMost(bound) => format!("≤ {bound}{unit}"),
        }
    }
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }
}

/// What intervals over rounds aim for.
const CONFIDENCE: f64 = 0.95;

fn interval(values: &[f64]) -> Option<Interval> {
    let median = stats::median(values)?;
    let stats::Interval { low, high, confidence } = stats::median_interval(values, CONFIDENCE)?;
    Some(Interval { median, low, high, confidence, rounds: values.len() as u32 })
}
