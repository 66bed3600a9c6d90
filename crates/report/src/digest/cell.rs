//! What stands behind a design's figures at a frame size.

use natrig_bench::result::{DesignSummary, Invalid, Purpose, RunResult, Trial};
use natrig_bench::scenario::{Design, Rate};

use super::setting::{design_name, frames};
use crate::numbers::{Quantity, counted, figure, list};

/// A design at a frame size, and the trials it was measured in.
#[derive(Debug)]
pub(crate) struct Cell<'a> {
    pub summary: &'a DesignSummary,
    /// The design's, with what stands in it where that may be one of several.
    pub name: String,
    trials: Vec<&'a Trial>,
    rate: Rate,
}

/// Frames of some trials, and how many of them did not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Loss {
    pub sent: u64,
    pub lost: i64,
}

/// A fixed rate that a design does not carry.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Saturated {
    pub offered_pps: f64,
    pub achieved_pps: f64,
    pub delivered_pps: f64,
}

/// From this share of loss on, a fixed rate saturates a design; below, frames were lost for some other reason.
const SATURATED_LOSS: f64 = 0.001;

/// All cells, in the order of the result.
pub(crate) fn cells(result: &RunResult) -> Vec<Cell<'_>> {
    let cell = |summary| Cell::of(result, summary);
    result.designs.iter().map(cell).collect()
}

impl<'a> Cell<'a> {
    fn of(result: &'a RunResult, summary: &'a DesignSummary) -> Self {
        let DesignSummary { engines, design, frame_size, .. } = summary;
        let here = |trial: &&Trial| (trial.engines, trial.design, trial.frame_size) == (*engines, *design, *frame_size);
        let trials = result.trials.iter().filter(here).collect();
        let name = design_name(result, *engines, *design);
        Self { summary, name, trials, rate: result.scenario.measure.rate }
    }

    pub(crate) fn design(&self) -> Design {
        self.summary.design
    }

    /// True if the cell has any figure to show.
    pub(crate) fn is_measured(&self) -> bool {
        self.summary.rate_pps.is_some() || self.summary.latency_ns_p50.is_some()
    }

    /// Frames lost where none should be: at the fixed rate, or below the highest. Trials that count only.
    pub(crate) fn loss(&self) -> Option<Loss> {
        match self.rate {
            Rate::Search(_) | Rate::Mlrsearch(_) => self.latency_loss(),
            Rate::FixedPps(_) => self.loss_in(Purpose::Fixed),
        }
    }

    /// Frames lost while latency was measured, and therefore without one.
    pub(crate) fn latency_loss(&self) -> Option<Loss> {
        self.loss_in(Purpose::Latency)
    }

    fn loss_in(&self, purpose: Purpose) -> Option<Loss> {
        let mut trials = self.counted(purpose).peekable();
        trials.peek()?;
        Some(trials.fold(Loss { sent: 0, lost: 0 }, |sum, trial| Loss {
            sent: sum.sent + trial.sent,
            lost: sum.lost + trial.lost,
        }))
    }

    /// Frames damaged or mistranslated, in all trials.
    pub(crate) fn wrong(&self) -> u64 {
        let of = |trial: &&Trial| {
            let back = trial.answers.as_ref().map_or(0, |answers| answers.corrupted + answers.mistranslated);
            trial.corrupted + trial.mistranslated + back
        };
        self.trials.iter().map(of).sum()
    }

    /// In how many rounds the generator, not the design, was the limit; and out of how many.
    pub(crate) fn generator_bound(&self) -> Option<(u32, u32)> {
        let rounds_with = |wanted: &dyn Fn(&Trial) -> bool| {
            let mut rounds: Vec<u32> =
                self.trials.iter().filter(|trial| wanted(trial)).map(|trial| trial.round).collect();
            rounds.sort_unstable();
            rounds.dedup();
            rounds
        };
        let (bound, all) = match self.rate {
            Rate::Search(_) | Rate::Mlrsearch(_) => {
                let all = rounds_with(&|trial| trial.purpose == Purpose::Search).len() as u32;
                (self.summary.rounds_generator_bound, all.max(self.summary.rounds_generator_bound))
            }
            Rate::FixedPps(_) => {
                let all = rounds_with(&|trial| trial.purpose == Purpose::Fixed);
                let good = rounds_with(&|trial| trial.purpose == Purpose::Fixed && !is_late(trial));
                ((all.len() - good.len()) as u32, all.len() as u32)
            }
        };
        (bound > 0).then_some((bound, all))
    }

    /// The least above the rate found that was too much for the generator: rate asked for, and rate at which frames left.
    fn generator_evidence(&self) -> Option<(f64, f64)> {
        let found = self.summary.rate_pps.map_or(0.0, |rate| rate.median);
        let late = self.trials.iter().filter(|trial| trial.purpose != Purpose::Latency && is_late(trial));
        let above = late.filter(|trial| trial.rate_pps_offered > found);
        above.map(|trial| (trial.rate_pps_offered, trial.rate_pps_achieved)).min_by(|a, b| a.0.total_cmp(&b.0))
    }

    /// Why the rate is but a lower bound, in words; `None` if it is not.
    pub(crate) fn generator_words(&self) -> Option<String> {
        let (bound, all) = self.generator_bound()?;
        let name = &self.name;
        let ceiling = f64::from(self.rate.highest_pps());
        let why = match self.generator_evidence() {
            Some((offered, achieved)) => {
                format!("offered {}, achieved {}", figure(Quantity::Rate, offered), figure(Quantity::Rate, achieved))
            }
            None if self.summary.rate_pps.is_some_and(|rate| rate.median > ceiling * 0.9) => {
                format!("the search goes no higher than {}", figure(Quantity::Rate, ceiling))
            }
            None => "no higher rate could be offered".to_owned(),
        };
        let rounds = format!("{bound} of {}", counted(all, "round"));
        Some(format!("{name}: {why}; the generator, not the design, was the limit in {rounds}"))
    }

    /// Offered, achieved and delivered rates (medians over rounds) if the fixed rate is more than the design carries.
    pub(crate) fn saturated(&self) -> Option<Saturated> {
        let loss = self.loss_in(Purpose::Fixed)?;
        if loss.sent == 0 || (loss.lost as f64) < loss.sent as f64 * SATURATED_LOSS {
            return None;
        }
        let trials: Vec<&Trial> = self.counted(Purpose::Fixed).collect();
        let median = |rate: &dyn Fn(&Trial) -> f64| {
            natrig_bench::stats::median(&trials.iter().map(|trial| rate(trial)).collect::<Vec<f64>>())
        };
        Some(Saturated {
            offered_pps: median(&|trial| trial.rate_pps_offered)?,
            achieved_pps: median(&|trial| trial.rate_pps_achieved)?,
            delivered_pps: self.summary.rate_pps?.median,
        })
    }

    /// Smallest number of latencies in a latency trial that counts.
    pub(crate) fn latency_samples_least(&self) -> Option<u64> {
        self.counted(Purpose::Latency).map(|trial| trial.latency.intended_to_received.samples).min()
    }

    /// Trials that count and are for this purpose.
    fn counted(&self, purpose: Purpose) -> impl Iterator<Item = &'a Trial> + '_ {
        self.trials.iter().copied().filter(move |trial| trial.is_valid() && trial.purpose == purpose)
    }
}

/// Each design once, in their order.
pub(crate) fn distinct(designs: impl IntoIterator<Item = Design>) -> Vec<Design> {
    let mut designs: Vec<Design> = designs.into_iter().collect();
    designs.sort_unstable();
    designs.dedup();
    designs
}

/// Designs as a list, each once: `none, node and both`.
pub(crate) fn names(designs: impl IntoIterator<Item = Design>) -> String {
    list(&distinct(designs).iter().map(Design::to_string).collect::<Vec<String>>())
}

/// A cell's name with its frame size, where there are several.
pub(crate) fn full_name(result: &RunResult, cell: &Cell<'_>) -> String {
    match &result.scenario.traffic.frame_sizes[..] {
        [] | [_] => cell.name.clone(),
        [_, _, ..] => format!("{}, {}", cell.name, frames(cell.summary.frame_size)),
    }
}

/// Cells as a list, each once, in the order of the result.
pub(crate) fn cell_names<'a, 'b: 'a>(cells: impl IntoIterator<Item = &'a Cell<'b>>) -> String {
    let mut names: Vec<String> = Vec::new();
    for cell in cells {
        if !names.contains(&cell.name) {
            names.push(cell.name.clone());
        }
    }
    list(&names)
}

/// True if the generator did not keep its schedule.
fn is_late(trial: &Trial) -> bool {
    trial.invalid.iter().any(|why| match why {
        Invalid::SendLag { .. } | Invalid::Overrun { .. } => true,
        Invalid::Mistranslated { .. }
        | Invalid::Unaccounted { .. }
        | Invalid::Preload { .. }
        | Invalid::Leaked { .. }
        | Invalid::TapClock { .. }
        | Invalid::TapOrder { .. }
        | Invalid::Disturbed { .. } => false,
    })
}
