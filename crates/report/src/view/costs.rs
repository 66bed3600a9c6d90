//! What each layer costs: the 2×2 of each figure.

use natrig_bench::result::{Interval, RunResult};
use natrig_bench::scenario::{FrameSize, Lineup};

use crate::digest::{Costs, Effect, Metric, Verdict, costs, intervals, part, rate_is_searched};
use crate::numbers::{ABSENT, Quantity, Scale, Unit};

/// The costs at a frame size.
#[derive(Debug)]
pub(crate) struct CostTable {
    pub lineup: Lineup,
    pub frame_size: FrameSize,
    /// Which of several tables it is.
    pub part: String,
    /// What kind of differences: `within rounds, 94 % intervals from 5 rounds`.
    pub source: String,
    pub rows: Vec<CostRow>,
}

/// A figure, and what it changes by in the four comparisons of [`Effect::ALL`].
#[derive(Debug)]
pub(crate) struct CostRow {
    pub what: &'static str,
    /// Nothing where there is no figure.
    pub unit: Option<&'static str>,
    pub cells: [CostCell; 4],
}

/// A change.
#[derive(Debug)]
pub(crate) struct CostCell {
    pub value: String,
    /// Its interval; empty where there is none.
    pub range: String,
    pub mark: Option<Mark>,
}

/// Why a change is not to be taken at its face value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mark {
    NotTold,
    BelowPrecision,
    Hinted,
    GeneratorBound,
}

impl Mark {
    const ALL: [Self; 4] = [Self::NotTold, Self::BelowPrecision, Self::Hinted, Self::GeneratorBound];

    fn of(verdict: Verdict) -> Option<Self> {
        match verdict {
            Verdict::Told => None,
            Verdict::Hinted => Some(Self::Hinted),
            Verdict::NotTold => Some(Self::NotTold),
            Verdict::BelowPrecision => Some(Self::BelowPrecision),
            Verdict::GeneratorBound => Some(Self::GeneratorBound),
        }
    }

    /// What stands before the figure.
    pub(crate) fn sign(self) -> &'static str {
        match self {
            Self::NotTold => "~",
            Self::BelowPrecision => "≈",
            Self::Hinted => "?",
            Self::GeneratorBound => "†",
        }
    }

    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::NotTold => "not distinguishable from 0",
            Self::BelowPrecision => "finer than the search for the rate resolves",
            Self::Hinted => "too few rounds for more than a hint",
            Self::GeneratorBound => "limited by the generator",
        }
    }
}

impl CostTable {
    /// A table for each frame size of which any cost is known.
    pub(crate) fn all(result: &RunResult) -> Vec<Self> {
        let of = |costs: Costs<'_>| Self {
            lineup: costs.lineup,
            frame_size: costs.frame_size,
            part: part(result, costs.lineup, costs.frame_size),
            source: match intervals(costs.intervals()) {
                Some(kind) => format!("within rounds, {kind}"),
                None => "within one round, so no intervals".to_owned(),
            },
            rows: Metric::ALL
                .into_iter()
                .filter(|metric| !metric.is_optional() || costs.effects(*metric).is_some())
                .map(|metric| row(result, &costs, metric))
                .collect(),
        };
        costs(result).into_iter().map(of).collect()
    }

    /// The marks that occur.
    pub(crate) fn marks(&self) -> impl Iterator<Item = Mark> + '_ {
        let occurs = |mark: &Mark| self.rows.iter().flat_map(|row| &row.cells).any(|cell| cell.mark == Some(*mark));
        Mark::ALL.into_iter().filter(occurs)
    }
}

impl CostRow {
    /// What it is, with its unit.
    pub(crate) fn label(&self) -> String {
        match self.unit {
            Some(unit) => format!("{}, {unit}", self.what),
            None => self.what.to_owned(),
        }
    }

    /// True if any figure has an interval.
    pub(crate) fn has_ranges(&self) -> bool {
        self.cells.iter().any(|cell| !cell.range.is_empty())
    }
}

fn row(result: &RunResult, costs: &Costs<'_>, metric: Metric) -> CostRow {
    let unit = match metric {
        Metric::TimePerPacket => Unit::NANOSECOND,
        Metric::Rate => Quantity::Rate.unit(reach(costs, metric)),
        Metric::P50 | Metric::P99 | Metric::P999 => Quantity::Time.unit(reach(costs, metric)),
        Metric::Connections => Unit::THOUSAND_PER_SECOND,
        Metric::Ports => Unit::PORT,
    };
    CostRow {
        what: match metric {
            Metric::TimePerPacket if costs.time_is_on_all_cores() => "time, all cores",
            Metric::TimePerPacket => "time per packet",
            Metric::Rate if rate_is_searched(result) => "highest rate",
            Metric::Rate => "rate delivered",
            Metric::P50 => "latency p50",
            Metric::P99 => "latency p99",
            Metric::P999 => "latency p99.9",
            Metric::Connections => "new connections",
            Metric::Ports => "usable ports",
        },
        unit: costs.effects(metric).map(|_| unit.name),
        cells: Effect::ALL.map(|effect| cell(unit, costs.effect(metric, effect), costs.verdict(metric, effect))),
    }
}

fn cell(unit: Unit, interval: Option<&Interval>, verdict: Option<Verdict>) -> CostCell {
    let Some(interval) = interval else {
        return CostCell { value: ABSENT.to_owned(), range: String::new(), mark: None };
    };
    let scale = Scale::of(unit, interval);
    let range = if interval.rounds > 1 {
        format!("{} to {}", scale.signed(interval.low), scale.signed(interval.high))
    } else {
        String::new()
    };
    CostCell { value: scale.signed(interval.median), range, mark: verdict.and_then(Mark::of) }
}

/// What decides the unit of a row: how far its widest interval reaches, so that a cost near 0 does not.
fn reach(costs: &Costs<'_>, metric: Metric) -> Option<f64> {
    let intervals = Effect::ALL.into_iter().filter_map(|effect| costs.effect(metric, effect));
    intervals.map(|interval| interval.low.abs().max(interval.high.abs())).max_by(f64::total_cmp)
}
