//! From trials to what is said of designs and layers: medians over rounds with their intervals, and the 2×2.

use hdrhistogram::Histogram;

use crate::experiment::Measured;
use crate::result::{CostSummary, DesignSummary, Effects, Interval, Latencies, Quantiles, RunResult, Trial};
use crate::scenario::{Design, FrameSize, Scenario};
use crate::search::ndr::Bounds;
use crate::stats;

/// A design at a frame size.
type Key = (Design, FrameSize);

/// What one round says of a cell.
#[derive(Debug, Clone, Copy, Default)]
struct Round {
    rate_pps: Option<f64>,
    generator_bound: bool,
    ns_per_packet: Option<f64>,
    process_ns_per_packet: Option<f64>,
    latency_ns_p50: Option<f64>,
    latency_ns_p99: Option<f64>,
    latency_ns_p999: Option<f64>,
}

/// All rounds of a cell.
struct CellRounds {
    key: Key,
    /// By round, from round 1.
    rounds: Vec<Round>,
    histograms: Option<Histograms>,
}

/// All latency trials of a cell together.
struct Histograms {
    intended_ns: Histogram<u64>,
    sent_ns: Histogram<u64>,
    lag_ns: Histogram<u64>,
}

/// What is known of every cell so far.
pub(crate) struct Summaries {
    cells: Vec<CellRounds>,
}

impl Summaries {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let keys =
            scenario.traffic.frame_sizes.iter().flat_map(|size| scenario.designs.iter().map(|design| (*design, *size)));
        Self { cells: keys.map(|key| CellRounds { key, rounds: Vec::new(), histograms: None }).collect() }
    }

    /// The median rate of the rounds so far: where the next search begins.
    pub(crate) fn rate_so_far(&self, design: Design, frame_size: FrameSize) -> Option<f64> {
        let cell = self.cells.iter().find(|cell| cell.key == (design, frame_size))?;
        let rates: Vec<f64> = cell.rounds.iter().filter_map(|round| round.rate_pps).collect();
        stats::median(&rates)
    }

    /// A search has ended; `best` is the trial at its lower bound.
    pub(crate) fn rate(&mut self, key: Key, round: u32, bounds: &Bounds, best: Option<&Trial>) {
        let Some(entry) = self.round(key, round) else { return };
        entry.rate_pps = bounds.relevant_lower_pps;
        entry.generator_bound = bounds.generator_limited;
        entry.ns_per_packet = best.and_then(Trial::ns_per_packet);
        entry.process_ns_per_packet = best.and_then(Trial::process_ns_per_packet);
    }

    /// A fixed-rate trial counts.
    pub(crate) fn fixed(&mut self, key: Key, round: u32, trial: &Trial) {
        let Some(entry) = self.round(key, round) else { return };
        entry.rate_pps = Some(trial.received as f64 / (trial.duration_ns as f64 / 1e9));
        entry.ns_per_packet = trial.ns_per_packet();
        entry.process_ns_per_packet = trial.process_ns_per_packet();
    }

    /// A latency trial counts.
    pub(crate) fn latency(&mut self, key: Key, round: u32, measured: &Measured) {
        let quantiles = measured.trial.latency.intended_to_received;
        let ns = |value: Option<u64>| value.map(|ns| ns as f64);
        let Some(entry) = self.round(key, round) else { return };
        entry.latency_ns_p50 = ns(quantiles.ns_p50);
        entry.latency_ns_p99 = ns(quantiles.ns_p99);
        entry.latency_ns_p999 = ns(quantiles.ns_p999);
        let Some(cell) = self.cells.iter_mut().find(|cell| cell.key == key) else { return };
        match &mut cell.histograms {
            None => {
                cell.histograms = Some(Histograms {
                    intended_ns: measured.latency.intended_ns.clone(),
                    sent_ns: measured.latency.sent_ns.clone(),
                    lag_ns: measured.lag_ns.clone(),
                });
            }
            Some(all) => {
                for (into, from) in [
                    (&mut all.intended_ns, &measured.latency.intended_ns),
                    (&mut all.sent_ns, &measured.latency.sent_ns),
                    (&mut all.lag_ns, &measured.lag_ns),
                ] {
                    // Same bounds and digits: adding cannot fail.
                    let _ = into.add(from);
                }
            }
        }
    }

    /// Writes what is known into the result.
    pub(crate) fn write(&self, result: &mut RunResult) {
        result.designs = self.cells.iter().map(CellRounds::summary).collect();
        let mut sizes: Vec<FrameSize> = self.cells.iter().map(|cell| cell.key.1).collect();
        sizes.dedup();
        result.costs = sizes.into_iter().filter_map(|size| self.costs(size)).collect();
    }

    fn round(&mut self, key: Key, round: u32) -> Option<&mut Round> {
        let cell = self.cells.iter_mut().find(|cell| cell.key == key)?;
        let index = round as usize - 1;
        if cell.rounds.len() <= index {
            cell.rounds.resize(index + 1, Round::default());
        }
        cell.rounds.get_mut(index)
    }

    /// The 2×2 of a frame size; `None` unless all four designs were measured.
    fn costs(&self, frame_size: FrameSize) -> Option<CostSummary> {
        let rounds = |design: Design| {
            self.cells.iter().find(|cell| cell.key == (design, frame_size)).map(|cell| cell.rounds.as_slice())
        };
        let four = [rounds(Design::None)?, rounds(Design::Node)?, rounds(Design::Gateway)?, rounds(Design::Both)?];
        let effects = |value: fn(&Round) -> Option<f64>| effects(&four, value);
        Some(CostSummary {
            frame_size,
            ns_per_packet: effects(|round| round.ns_per_packet),
            rate_pps: effects(|round| round.rate_pps),
            latency_ns_p50: effects(|round| round.latency_ns_p50),
            latency_ns_p99: effects(|round| round.latency_ns_p99),
            latency_ns_p999: effects(|round| round.latency_ns_p999),
        })
    }
}

impl CellRounds {
    fn summary(&self) -> DesignSummary {
        let over_rounds =
            |value: fn(&Round) -> Option<f64>| interval(&self.rounds.iter().filter_map(value).collect::<Vec<f64>>());
        DesignSummary {
            design: self.key.0,
            frame_size: self.key.1,
            rate_pps: over_rounds(|round| round.rate_pps),
            rounds_generator_bound: self.rounds.iter().filter(|round| round.generator_bound).count() as u32,
            ns_per_packet: over_rounds(|round| round.ns_per_packet),
            process_ns_per_packet: over_rounds(|round| round.process_ns_per_packet),
            latency_ns_p50: over_rounds(|round| round.latency_ns_p50),
            latency_ns_p99: over_rounds(|round| round.latency_ns_p99),
            latency_ns_p999: over_rounds(|round| round.latency_ns_p999),
            latency: self.histograms.as_ref().map(|all| Latencies {
                intended_to_received: Quantiles::of(&all.intended_ns),
                sent_to_received: Quantiles::of(&all.sent_ns),
                send_lag: Quantiles::of(&all.lag_ns),
            }),
        }
    }
}

/// Differences within each round in which all four designs have a value.
fn effects(four: &[&[Round]; 4], value: fn(&Round) -> Option<f64>) -> Option<Effects> {
    let at = |design: usize, round: usize| four[design].get(round).and_then(value);
    let blocks: Vec<[f64; 4]> = (0..four[0].len())
        .filter_map(|round| Some([at(0, round)?, at(1, round)?, at(2, round)?, at(3, round)?]))
        .collect();
    let over_blocks = |effect: fn(&[f64; 4]) -> f64| interval(&blocks.iter().map(effect).collect::<Vec<f64>>());
    Some(Effects {
        node: over_blocks(|[none, node, _, _]| node - none)?,
        gateway: over_blocks(|[none, _, gateway, _]| gateway - none)?,
        node_on_top: over_blocks(|[_, _, gateway, both]| both - gateway)?,
        interaction: over_blocks(|[none, node, gateway, both]| both - node - gateway + none)?,
    })
}

/// What intervals over rounds aim for; fewer than six rounds cannot reach it, and say so.
const CONFIDENCE: f64 = 0.95;

fn interval(values: &[f64]) -> Option<Interval> {
    let median = stats::median(values)?;
    let stats::Interval { low, high, confidence } = stats::median_interval(values, CONFIDENCE)?;
    Some(Interval { median, low, high, confidence, rounds: values.len() as u32 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(values: &[f64]) -> Vec<Round> {
        values.iter().map(|value| Round { rate_pps: Some(*value), ..Round::default() }).collect()
    }

    /// Known effects survive noise that all designs of a round share.
    #[test]
    fn effects_are_differences_within_rounds() {
        let shared = [0.0, 500.0, -300.0, 40.0, 7.0];
        let of = |base: f64| rounds(&shared.map(|noise| base + noise));
        let (none, node, gateway, both) = (of(1000.0), of(900.0), of(800.0), of(650.0));
        let effects = effects(&[&none, &node, &gateway, &both], |round| round.rate_pps).unwrap();
        let median_and_ends = |i: Interval| (i.median, i.low, i.high);
        assert_eq!(median_and_ends(effects.node), (-100.0, -100.0, -100.0));
        assert_eq!(median_and_ends(effects.gateway), (-200.0, -200.0, -200.0));
        assert_eq!(median_and_ends(effects.node_on_top), (-150.0, -150.0, -150.0));
        assert_eq!(median_and_ends(effects.interaction), (-50.0, -50.0, -50.0));
    }

    #[test]
    fn a_round_without_all_four_designs_is_left_out() {
        let (full, short) = (rounds(&[1.0, 2.0, 3.0]), rounds(&[1.0]));
        let effects = effects(&[&full, &full, &short, &full], |round| round.rate_pps).unwrap();
        assert_eq!(effects.node.rounds, 1);
        assert!(super::effects(&[&full, &full, &[], &full], |round| round.rate_pps).is_none());
    }
}
