//! Connections come and go: the highest rate that meets no refusal, and how long it takes to recover from twice as much.

use std::sync::atomic::AtomicBool;

use super::schedule::Endings;
use super::{StepError, go_on};
use crate::observe::refusal::add;
use crate::result::{ChurnResult, ChurnTrial};
use crate::scenario::{Churn, Over};
use crate::talk::Talker;
use crate::workload::{Arrivals, Origin, Origins, Zipf};

/// Trials of a search.
const TRIALS_MAX: usize = 16;
const SECOND_NS: u64 = 1_000_000_000;

/// All of it for one setup. `begin_per_s` is where the search begins; `formula_per_s` is for the result.
///
/// # Errors
/// [`StepError`].
pub(crate) fn run(
    talker: &mut Talker,
    settings: &Churn,
    nominal: u64,
    formula_per_s: Option<f64>,
    seed: u64,
    cancel: &AtomicBool,
) -> Result<ChurnResult, StepError> {
    let mut result = ChurnResult {
        setup: talker.rig.bed().setup.clone(),
        nominal_ports: nominal,
        sustained_per_s: None,
        refused_from_per_s: None,
        formula_per_s,
        trials: Vec::new(),
        overload: None,
        recovery_s: None,
        refused: Vec::new(),
    };
    let mut rate = formula_per_s.unwrap_or(nominal as f64 / settings.lifetime_s);
    while result.trials.len() < TRIALS_MAX {
        let (trial, _) = trial(talker, settings, rate, seed, &mut result, Stop::AtRefusal, cancel)?;
        result.trials.push(trial);
        let slot = if trial.refused == 0 { &mut result.sustained_per_s } else { &mut result.refused_from_per_s };
        *slot = Some(rate);
        rate = match (result.sustained_per_s, result.refused_from_per_s) {
            (Some(low), Some(high)) if high / low <= 1.0 + settings.precision => break,
            (Some(low), Some(high)) => (low * high).sqrt(),
            (Some(low), None) => low * 2.0,
            (None, Some(high)) => high / 2.0,
            (None, None) => break,
        };
    }
    if let Some(sustained) = result.sustained_per_s {
        let (overload, open) = trial(talker, settings, 2.0 * sustained, seed, &mut result, Stop::AtEnd, cancel)?;
        result.overload = Some(overload);
        talker.close(&open, false)?;
        if overload.refused > 0 {
            result.recovery_s = recovery(talker, settings, nominal, seed, cancel)?;
        }
    }
    Ok(result)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// The first refusal decides.
    AtRefusal,
    /// All is to be seen.
    AtEnd,
}

/// One rate; returns what was left open, too.
fn trial(
    talker: &mut Talker,
    settings: &Churn,
    per_s: f64,
    seed: u64,
    result: &mut ChurnResult,
    stop: Stop,
    cancel: &AtomicBool,
) -> Result<(ChurnTrial, Vec<u32>), StepError> {
    talker.reset(seed)?;
    let mut origins = origins(talker, seed);
    let mut arrivals = Arrivals::new(per_s, settings.lifetime_s, seed).peekable();
    let mut endings = Endings::default();
    let mut outcome = ChurnTrial { per_s, attempts: 0, refused: 0, open_max: 0 };
    let begin_ns = talker.rig.now_ns();
    let warm_ns = u64::from(settings.warm_up_s) * SECOND_NS;
    let end_ns = warm_ns + u64::from(settings.measure_s) * SECOND_NS;
    let slice_ns = slice_ns(talker, per_s, settings.lifetime_s);
    let mut at_ns = 0;
    while at_ns < end_ns {
        at_ns += slice_ns;
        go_on(cancel)?;
        talker.rig.wait_until(begin_ns + at_ns)?;
        let ending = endings.due(at_ns);
        for number in &ending {
            if let Some(connection) = talker.connection(*number) {
                origins.give_back(&connection.origin);
            }
        }
        talker.close(&ending, false)?;
        let (mut batch, mut lifetimes): (Vec<Origin>, Vec<u64>) = (Vec::new(), Vec::new());
        while let Some(arrival) = arrivals.next_if(|arrival| arrival.at_ns <= at_ns) {
            let Some(origin) = origins.draw() else { continue };
            batch.push(origin);
            lifetimes.push(arrival.lifetime_ns);
        }
        let opened = talker.open(&batch, true)?;
        let mut refused = 0;
        for ((number, origin), lifetime_ns) in opened.numbers.iter().zip(&batch).zip(lifetimes) {
            match number {
                Some(number) => endings.add(at_ns + lifetime_ns, *number),
                None => {
                    refused += 1;
                    origins.give_back(origin);
                }
            }
        }
        opened.refused.iter().for_each(|one| add(&mut result.refused, one));
        outcome.open_max = outcome.open_max.max(endings.len() as u64);
        if at_ns > warm_ns {
            outcome.attempts += batch.len() as u64;
            outcome.refused += refused;
            if stop == Stop::AtRefusal && outcome.refused > 0 {
                break;
            }
        }
    }
    Ok((outcome, endings.all()))
}

/// Opens a tenth of the nominal ports' number at once, less and less often, until none is refused; for as long as two trials take, at most.
fn recovery(
    talker: &mut Talker,
    settings: &Churn,
    nominal: u64,
    seed: u64,
    cancel: &AtomicBool,
) -> Result<Option<f64>, StepError> {
    // Other tuples than those of the load.
    let mut origins = origins(talker, !seed);
    let begin_ns = talker.rig.now_ns();
    let mut pause_ns = if talker.rig.bed().setup.over == Over::Memory { SECOND_NS } else { SECOND_NS / 10 };
    let most_ns = 2 * u64::from(settings.warm_up_s + settings.measure_s) * SECOND_NS;
    let mut after_ns = 0;
    while after_ns <= most_ns {
        go_on(cancel)?;
        talker.rig.wait_until(begin_ns + after_ns)?;
        let mut left = (nominal / 10).max(1) as usize;
        let mut open: Vec<u32> = Vec::new();
        while left > 0 {
            let batch: Vec<Origin> = (0..left.min(16)).map_while(|_| origins.draw()).collect();
            open.extend(talker.open(&batch, false)?.numbers.into_iter().flatten());
            left -= batch.len();
            if open.len() + left < (nominal / 10).max(1) as usize {
                break;
            }
        }
        talker.close(&open, true)?;
        if left == 0 && open.len() as u64 >= nominal / 10 {
            return Ok(Some(after_ns as f64 / 1e9));
        }
        after_ns += pause_ns;
        pause_ns += pause_ns / 5;
    }
    Ok(None)
}

fn origins(talker: &Talker, seed: u64) -> Origins {
    let bed = talker.rig.bed();
    let (world, traffic) = (bed.world, &bed.traffic);
    let ports = (traffic.src_ports.first, traffic.src_ports.last);
    Origins::new(0..world.nodes * world.pods, ports, Zipf::new(world.servers, traffic.skew), seed)
}

/// Fine enough for timers, coarse enough that a slice holds some arrivals.
fn slice_ns(talker: &Talker, per_s: f64, lifetime_s: f64) -> u64 {
    let least_ns = if talker.rig.bed().setup.over == Over::Memory { 10_000_000 } else { 5_000_000 };
    let most_ns = (lifetime_s / 20.0 * 1e9) as u64;
    ((32.0 / per_s * 1e9) as u64).min(most_ns).max(least_ns)
}
