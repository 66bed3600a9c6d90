//! From trials to what is said of designs and layers: medians over rounds with their intervals, and the 2×2.

use hdrhistogram::Histogram;

use crate::experiment::Measured;
use crate::hops::Journeys;
use crate::judged;
use crate::result::{
    CostSummary, CurvePoint, DesignSummary, Effects, EngineComparison, Figure, Independent, Interval, Latencies,
    Quantiles, Repetitions, RoundFigures as Round, RunResult, Spread, StampCost, Trial,
};
use crate::scenario::{Design, FrameSize, Lineup, Scenario};
use crate::search::ndr::Bounds;
use crate::stats;

/// What is measured once in each round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    /// What stands at the layers.
    pub(crate) lineup: Lineup,
    /// Where is translated.
    pub(crate) design: Design,
    /// How long frames are.
    pub(crate) frame_size: FrameSize,
}

/// All rounds of a cell.
struct CellRounds {
    key: Key,
    /// By round, from round 1.
    rounds: Vec<Round>,
    histograms: Option<Histograms>,
    journeys: Journeys,
    /// One frame in so many was stamped.
    one_in: u32,
    /// Time per frame without stamps and with them, by round.
    stamps: Vec<[f64; 2]>,
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
        let mut cells = Vec::new();
        for frame_size in &scenario.traffic.frame_sizes {
            for lineup in scenario.lineups() {
                for design in &scenario.designs {
                    let key = Key { lineup, design: *design, frame_size: *frame_size };
                    cells.push(CellRounds::new(key));
                }
            }
        }
        Self { cells }
    }

    /// All that is measured in a round.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        self.cells.iter().map(|cell| cell.key)
    }

    /// The median rate of the rounds so far: where the next search begins.
    pub(crate) fn rate_so_far(&self, key: &Key) -> Option<f64> {
        let cell = self.cells.iter().find(|cell| cell.key == *key)?;
        let rates: Vec<f64> = cell.rounds.iter().filter_map(|round| round.rate_pps).collect();
        stats::median(&rates)
    }

    /// A search has ended; `best` is the trial at its lower bound.
    pub(crate) fn rate(&mut self, key: &Key, round: u32, bounds: &Bounds, best: Option<&Trial>) {
        let Some(entry) = self.round(key, round) else { return };
        entry.rate_pps = bounds.relevant_lower_pps;
        entry.generator_bound = bounds.generator_limited;
        entry.ns_per_packet = best.and_then(Trial::ns_per_packet);
        entry.process_ns_per_packet = best.and_then(Trial::process_ns_per_packet);
        entry.cpu_ns_per_packet = best.and_then(|trial| trial.cpu_ns_per_packet);
    }

    /// The median connection rate of the rounds so far: where the next search begins.
    pub(crate) fn connections_so_far(&self, key: &Key) -> Option<f64> {
        let rounds = self.rounds_of(key)?;
        stats::median(&rounds.iter().filter_map(|round| round.connections_per_s).collect::<Vec<f64>>())
    }

    /// A search for the connection rate has ended.
    pub(crate) fn connections(&mut self, key: &Key, round: u32, bounds: &Bounds) {
        let Some(entry) = self.round(key, round) else { return };
        entry.connections_per_s = bounds.relevant_lower_pps;
        entry.connections_generator_bound = bounds.generator_limited;
    }

    /// So many flows to one destination got through.
    pub(crate) fn usable_ports(&mut self, key: &Key, round: u32, flows: u64) {
        if let Some(entry) = self.round(key, round) {
            entry.usable_ports = Some(flows as f64);
        }
    }

    /// A fixed-rate trial counts.
    pub(crate) fn fixed(&mut self, key: &Key, round: u32, trial: &Trial) {
        let Some(entry) = self.round(key, round) else { return };
        entry.rate_pps = Some(trial.received as f64 / (trial.duration_ns as f64 / 1e9));
        entry.ns_per_packet = trial.ns_per_packet();
        entry.process_ns_per_packet = trial.process_ns_per_packet();
        entry.cpu_ns_per_packet = trial.cpu_ns_per_packet;
    }

    /// A latency trial counts.
    pub(crate) fn latency(&mut self, key: &Key, round: u32, measured: &Measured) {
        let quantiles = measured.trial.latency.intended_to_received;
        let ns = |value: Option<u64>| value.map(|ns| ns as f64);
        let Some(entry) = self.round(key, round) else { return };
        entry.latency_ns_p50 = ns(quantiles.ns_p50);
        entry.latency_ns_p99 = ns(quantiles.ns_p99);
        entry.latency_ns_p999 = ns(quantiles.ns_p999);
        entry.latency_at_pps = Some(measured.trial.rate_pps_offered);
        let Some(cell) = self.cells.iter_mut().find(|cell| cell.key == *key) else { return };
        if let Some((journeys, hops)) = measured.journeys.as_ref().zip(measured.trial.hops.as_ref()) {
            cell.journeys.add(journeys);
            cell.one_in = hops.one_in;
        }
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

    /// A pair of trials without stamps and with them counts.
    pub(crate) fn stamp_cost(&mut self, key: &Key, trials: [&Trial; 2]) {
        let [Some(without), Some(with)] = trials.map(|trial| trial.cpu_ns_per_packet) else { return };
        if let Some(cell) = self.cells.iter_mut().find(|cell| cell.key == *key) {
            cell.stamps.push([without, with]);
        }
    }

    /// Writes what is known into the result.
    pub(crate) fn write(&self, result: &mut RunResult) {
        result.designs = self.cells.iter().map(CellRounds::summary).collect();
        let mut worlds: Vec<(FrameSize, Lineup)> =
            self.cells.iter().map(|cell| (cell.key.frame_size, cell.key.lineup)).collect();
        worlds.dedup();
        result.costs = worlds.into_iter().filter_map(|(size, lineup)| self.costs(lineup, size)).collect();
        result.comparisons = self.comparisons();
        result.stamp_costs = self.cells.iter().filter_map(CellRounds::stamp_cost).collect();
    }

    fn round(&mut self, key: &Key, round: u32) -> Option<&mut Round> {
        let cell = self.cells.iter_mut().find(|cell| cell.key == *key)?;
        let index = round as usize - 1;
        if cell.rounds.len() <= index {
            cell.rounds.resize(index + 1, Round::default());
        }
        cell.rounds.get_mut(index)
    }

    /// What each round says of a cell.
    pub(crate) fn rounds_of(&self, key: &Key) -> Option<&[Round]> {
        self.cells.iter().find(|cell| cell.key == *key).map(|cell| cell.rounds.as_slice())
    }

    /// The 2×2 of a lineup at a frame size; `None` unless all four designs were measured.
    fn costs(&self, lineup: Lineup, frame_size: FrameSize) -> Option<CostSummary> {
        let rounds = |design| self.rounds_of(&Key { lineup, design, frame_size });
        let four = [rounds(Design::None)?, rounds(Design::Node)?, rounds(Design::Gateway)?, rounds(Design::Both)?];
        let effects = |value: fn(&Round) -> Option<f64>| effects(&four, value);
        Some(CostSummary {
            engines: lineup,
            frame_size,
            ns_per_packet: effects(|round| round.ns_per_packet),
            cpu_ns_per_packet: effects(|round| round.cpu_ns_per_packet),
            rate_pps: effects(|round| round.rate_pps),
            latency_ns_p50: effects(|round| round.latency_ns_p50),
            latency_ns_p99: effects(|round| round.latency_ns_p99),
            latency_ns_p999: effects(|round| round.latency_ns_p999),
            connections_per_s: effects(|round| round.connections_per_s),
            usable_ports: effects(|round| round.usable_ports),
            independent: self.independent(lineup, frame_size),
        })
    }

    /// Both layers' latency beside the convolution of the single layers'.
    fn independent(&self, lineup: Lineup, frame_size: FrameSize) -> Option<Independent> {
        let latency = |design| {
            let key = Key { lineup, design, frame_size };
            let cell = self.cells.iter().find(|cell| cell.key == key)?;
            Some(&cell.histograms.as_ref()?.intended_ns)
        };
        let shared_ns = latency(Design::None)?.value_at_quantile(0.5);
        let predicted = stats::convolve(latency(Design::Node)?, latency(Design::Gateway)?, shared_ns).ok()?;
        let measured = Quantiles::of(latency(Design::Both)?);
        Some(Independent { shared_ns, predicted: Quantiles::of(&predicted), measured })
    }

    /// Every further lineup against the first.
    fn comparisons(&self) -> Vec<EngineComparison> {
        let Some(against) = self.cells.first().map(|cell| cell.key.lineup) else { return Vec::new() };
        let others = self.cells.iter().filter(|cell| cell.key.lineup != against);
        others
            .filter_map(|cell| {
                let Key { lineup, design, frame_size } = cell.key;
                let base = self.rounds_of(&Key { lineup: against, ..cell.key })?;
                let over = |value: fn(&Round) -> Option<f64>| quotients(&cell.rounds, base, value);
                Some(EngineComparison {
                    design,
                    frame_size,
                    engines: lineup,
                    against,
                    rate: over(|round| round.rate_pps),
                    cpu_ns_per_packet: over(|round| round.cpu_ns_per_packet),
                    latency_ns_p50: over(|round| round.latency_ns_p50),
                    latency_ns_p99: over(|round| round.latency_ns_p99),
                    judged: Figure::ALL
                        .iter()
                        .filter_map(|figure| judged::paired(*figure, base, &cell.rounds))
                        .collect(),
                })
            })
            .collect()
    }
}

impl CellRounds {
    fn new(key: Key) -> Self {
        let (journeys, one_in) = (Journeys::default(), 1);
        Self { key, rounds: Vec::new(), histograms: None, journeys, one_in, stamps: Vec::new() }
    }

    fn stamp_cost(&self) -> Option<StampCost> {
        let Key { lineup, design, frame_size } = self.key;
        let [without, with] = [0, 1].map(|side| self.stamps.iter().map(|pair| pair[side]).collect::<Vec<f64>>());
        let ratios = stats::log_ratios(&without, &with).ok()?;
        Some(StampCost {
            engines: lineup,
            design,
            frame_size,
            without_ns: interval(&without)?,
            with_ns: interval(&with)?,
            ratio: stats::compare(&ratios, &judged::policy(Figure::CpuNsPerPacket, judged::STAMP_MARGIN))?,
        })
    }

    fn summary(&self) -> DesignSummary {
        let over_rounds =
            |value: fn(&Round) -> Option<f64>| interval(&self.rounds.iter().filter_map(value).collect::<Vec<f64>>());
        let spread =
            |value: fn(&Round) -> Option<f64>| Spread::of(&self.rounds.iter().filter_map(value).collect::<Vec<f64>>());
        DesignSummary {
            engines: self.key.lineup,
            design: self.key.design,
            frame_size: self.key.frame_size,
            rate_pps: over_rounds(|round| round.rate_pps),
            rounds_generator_bound: self.rounds.iter().filter(|round| round.generator_bound).count() as u32,
            ns_per_packet: over_rounds(|round| round.ns_per_packet),
            cpu_ns_per_packet: over_rounds(|round| round.cpu_ns_per_packet),
            process_ns_per_packet: over_rounds(|round| round.process_ns_per_packet),
            latency_ns_p50: over_rounds(|round| round.latency_ns_p50),
            latency_ns_p99: over_rounds(|round| round.latency_ns_p99),
            latency_ns_p999: over_rounds(|round| round.latency_ns_p999),
            connections_per_s: over_rounds(|round| round.connections_per_s),
            usable_ports: over_rounds(|round| round.usable_ports),
            latency: self.histograms.as_ref().map(|all| Latencies {
                intended_to_received: Quantiles::of(&all.intended_ns),
                sent_to_received: Quantiles::of(&all.sent_ns),
                send_lag: Quantiles::of(&all.lag_ns),
            }),
            latency_curve: self.histograms.as_ref().map_or_else(Vec::new, |all| curve(&all.intended_ns)),
            hops: self.journeys.summary(self.one_in),
            rounds: self.rounds.clone(),
            repetitions: Repetitions {
                throughput_pps: spread(|round| round.rate_pps),
                latency_at_pps: spread(|round| round.latency_at_pps),
                latency_typical_ns: spread(|round| round.latency_ns_p50),
                latency_worst_ns: spread(|round| round.latency_ns_p999),
            },
        }
    }
}

/// Points of a percentile curve for each factor of ten in what is missing to one.
const POINTS_PER_DECADE: u32 = 8;

/// A histogram as a curve, up to the last quantile that the number of values supports.
fn curve(histogram: &Histogram<u64>) -> Vec<CurvePoint> {
    let rest = |point: u32| 10_f64.powf(-f64::from(point) / f64::from(POINTS_PER_DECADE));
    let supported = |point: &u32| histogram.len() as f64 * rest(*point) + 1e-6 >= stats::MIN_TAIL_SAMPLES;
    let at = |point: u32| {
        let quantile = 1.0 - rest(point);
        CurvePoint { quantile, ns: histogram.value_at_quantile(quantile) }
    };
    (0..8 * POINTS_PER_DECADE).take_while(supported).map(at).collect()
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

/// One lineup's value over another's, within each round in which both have one.
fn quotients(rounds: &[Round], base: &[Round], value: fn(&Round) -> Option<f64>) -> Option<Interval> {
    let quotient = |(round, base): (&Round, &Round)| Some(value(round)? / value(base).filter(|base| *base > 0.0)?);
    interval(&rounds.iter().zip(base).filter_map(quotient).collect::<Vec<f64>>())
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

    /// A disturbance that both lineups share within a round cancels out.
    #[test]
    fn lineups_are_compared_within_rounds() {
        let shared = [1.0, 0.5, 2.0, 0.1, 3.0];
        let of = |rate: f64| rounds(&shared.map(|disturbance| disturbance * rate));
        let (mut ours, kernel) = (of(8.0), of(2.0));
        let quotient = quotients(&kernel, &ours, |round| round.rate_pps).unwrap();
        assert_eq!((quotient.low, quotient.median, quotient.high, quotient.rounds), (0.25, 0.25, 0.25, 5));
        ours[0].rate_pps = None;
        ours[1].rate_pps = Some(0.0);
        assert_eq!(quotients(&kernel, &ours, |round| round.rate_pps).unwrap().rounds, 3);
    }

    #[test]
    fn a_round_without_all_four_designs_is_left_out() {
        let (full, short) = (rounds(&[1.0, 2.0, 3.0]), rounds(&[1.0]));
        let effects = effects(&[&full, &full, &short, &full], |round| round.rate_pps).unwrap();
        assert_eq!(effects.node.rounds, 1);
        assert!(super::effects(&[&full, &full, &[], &full], |round| round.rate_pps).is_none());
    }
}
