//! A/A runs: the same thing against itself, many times, through the same statistics as any comparison. Whatever is called a difference is
//! a false alarm.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use natrig_traffic::FlowSet;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::bed::{Bench, Subject};
use crate::experiment::{Experiment, Offer};
use crate::judged;
use crate::result::{AaFigure, AaResult, Figure, Purpose, RoundFigures, RunResult, Status, Trial};
use crate::run::{Observer, RunError, elapsed_ns};
use crate::scenario::Rate;
use crate::stats::{Interval, Verdict};

/// Blocks of a comparison: what shows a difference at 1 %.
const BLOCKS: u32 = 8;

/// How long each of a block's two trials sends: what a 99th percentile needs at the rate below.
const TRIAL_NS: u64 = 20_000_000;

/// What every design carries, in frames per second.
const RATE_PPS: f64 = 100_000.0;

/// Most trials of a block that may be repeated because the machine disturbed them.
const REPEATS_MAX: u32 = 5;

/// The designs of the scenario in turn, each comparison with tables of its own.
pub(crate) fn run(
    bench: &mut Bench<'_>,
    flows: &Arc<FlowSet>,
    result: &mut RunResult,
    observer: &mut dyn Observer,
    started: Instant,
    comparisons: u32,
) -> Result<Status, RunError> {
    let scenario = bench.scenario;
    let rate_pps = match scenario.measure.rate {
        Rate::FixedPps(pps) => f64::from(pps),
        Rate::Search(_) | Rate::Mlrsearch(_) => RATE_PPS.min(f64::from(scenario.measure.rate.highest_pps())),
    };
    let mut rng = Pcg64Mcg::seed_from_u64(scenario.seed);
    let mut tally = Tally::default();
    let limit_ns = u64::from(scenario.measure.time_limit_s) * 1_000_000_000;
    let frame_size = scenario.traffic.frame_sizes.first().copied();
    let mut status = Status::Complete;
    'all: for nth in 0..comparisons {
        let cell = nth as usize;
        let design = scenario.designs[cell % scenario.designs.len()];
        let world = cell / scenario.designs.len() % bench.worlds.len();
        let Some(frame_size) = frame_size else { break };
        let subject = Subject::new(bench, world, design, rng.random())?;
        let mut experiment = Experiment::new(bench, subject, flows, frame_size)?;
        let mut sides = [Vec::new(), Vec::new()];
        for _ in 0..BLOCKS {
            let first = usize::from(rng.random::<bool>());
            for side in [first, 1 - first] {
                let figures = trial(
                    bench,
                    &mut experiment,
                    rate_pps,
                    rng.random::<u64>() >> 11,
                    &mut tally,
                    observer,
                    nth,
                    comparisons,
                )?;
                if bench.cancel.load(Ordering::Relaxed) {
                    status = Status::Interrupted;
                    break 'all;
                }
                sides[side].push(figures);
            }
        }
        tally.comparisons += 1;
        tally.judge(&sides[0], &sides[1]);
        result.elapsed_ns = elapsed_ns(started);
        result.aa = Some(tally.result(rate_pps));
        if nth % 20 == 19 {
            observer.result(result);
        }
        if result.elapsed_ns > limit_ns && nth + 1 < comparisons {
            status = Status::TimeLimit;
            break;
        }
    }
    Ok(status)
}

#[expect(clippy::too_many_arguments, reason = "all of one trial, called in one place")]
fn trial(
    bench: &mut Bench<'_>,
    experiment: &mut Experiment,
    rate_pps: f64,
    seed: u64,
    tally: &mut Tally,
    observer: &mut dyn Observer,
    nth: u32,
    comparisons: u32,
) -> Result<RoundFigures, RunError> {
    for _ in 0..=REPEATS_MAX {
        let offer = Offer { purpose: Purpose::Fixed, rate_pps, duration_ns: TRIAL_NS, seed, stamps: true };
        let mut trial = experiment.trial(bench, offer)?.trial;
        tally.trials += 1;
        trial.round = nth + 1;
        observer.trial(&trial, f64::from(nth) / f64::from(comparisons));
        if trial.is_valid() || bench.cancel.load(Ordering::Relaxed) {
            return Ok(figures(&trial));
        }
        tally.invalid += 1;
    }
    Ok(RoundFigures::default())
}

fn figures(trial: &Trial) -> RoundFigures {
    let latency = trial.latency.intended_to_received;
    let ns = |value: Option<u64>| value.map(|ns| ns as f64);
    RoundFigures {
        rate_pps: None,
        generator_bound: false,
        ns_per_packet: trial.ns_per_packet(),
        process_ns_per_packet: None,
        cpu_ns_per_packet: trial.cpu_ns_per_packet,
        latency_ns_p50: ns(latency.ns_p50),
        latency_ns_p99: ns(latency.ns_p99),
        latency_ns_p999: ns(latency.ns_p999),
        ..RoundFigures::default()
    }
}

/// Verdicts so far.
#[derive(Default)]
struct Tally {
    comparisons: u32,
    trials: u32,
    invalid: u32,
    figures: Vec<AaFigure>,
}

impl Tally {
    fn judge(&mut self, a: &[RoundFigures], b: &[RoundFigures]) {
        for figure in Figure::ALL {
            let Some(judged) = judged::paired(figure, a, b) else { continue };
            let index = self.figures.iter().position(|known| known.figure == figure).unwrap_or_else(|| {
                self.figures.push(AaFigure::of(figure));
                self.figures.len() - 1
            });
            let of = &mut self.figures[index];
            of.comparisons += 1;
            match judged.comparison.verdict {
                Verdict::Better { .. } | Verdict::Worse { .. } => of.false_alarms += 1,
                Verdict::Equal { .. } => of.equal += 1,
                Verdict::Inconclusive { .. } => of.inconclusive += 1,
            }
        }
    }

    fn result(&self, rate_pps: f64) -> AaResult {
        let figures = self.figures.iter().map(|of| {
            let interval = wilson(of.false_alarms, of.comparisons);
            AaFigure { rate: f64::from(of.false_alarms) / f64::from(of.comparisons.max(1)), interval, ..*of }
        });
        let (alarms, judged) =
            self.figures.iter().fold((0, 0), |(alarms, all), of| (alarms + of.false_alarms, all + of.comparisons));
        AaResult {
            rate: f64::from(alarms) / f64::from(judged.max(1)),
            interval: wilson(alarms, judged),
            comparisons: self.comparisons,
            blocks: BLOCKS,
            trial_ns: TRIAL_NS,
            rate_pps,
            nominal: judged::ALPHA,
            trials: self.trials,
            trials_repeated: self.invalid,
            figures: figures.collect(),
        }
    }
}

/// Wilson's interval of a share (JASA 22, 1927), 95 %.
fn wilson(hits: u32, of: u32) -> Interval {
    const Z: f64 = 1.959_964;
    let (hits, n) = (f64::from(hits), f64::from(of.max(1)));
    let share = hits / n;
    let centre = (share + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let reach = Z / (1.0 + Z * Z / n) * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    Interval { low: (centre - reach).max(0.0), high: (centre + reach).min(1.0), confidence: 0.95 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_have_wilsons_interval() {
        let interval = wilson(10, 200);
        assert!((interval.low - 0.0274).abs() < 5e-4 && (interval.high - 0.0896).abs() < 5e-4, "{interval:?}");
        assert_eq!(wilson(0, 200).low, 0.0);
    }

    /// Equal things with noise are called different about as often as promised; different ones nearly always.
    #[test]
    fn verdicts_are_counted() {
        let mut rng = Pcg64Mcg::seed_from_u64(5);
        let mut side = |centre: f64| -> Vec<RoundFigures> {
            let mut value = || Some(centre * (1.0 + 0.1 * (rng.random::<f64>() - 0.5)));
            (0..BLOCKS).map(|_| RoundFigures { cpu_ns_per_packet: value(), ..RoundFigures::default() }).collect()
        };
        let (mut equal, mut different) = (Tally::default(), Tally::default());
        for _ in 0..400 {
            let (a, b, c) = (side(100.0), side(100.0), side(150.0));
            equal.judge(&a, &b);
            different.judge(&a, &c);
        }
        let rate = |tally: &Tally| tally.result(1.0).figures[0].rate;
        assert!(rate(&equal) <= 0.06 && rate(&different) > 0.99, "{} {}", rate(&equal), rate(&different));
    }
}
