//! How far a run came.

use natrig_bench::result::{Interval, RunResult, Status};

use super::accounting::Accounting;
use crate::numbers::{confidence, count, counted};

/// Rounds of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rounds {
    /// Finished in all designs and frame sizes.
    pub done: u32,
    /// Asked for.
    pub asked: u32,
}

impl Rounds {
    pub(crate) fn of(result: &RunResult) -> Self {
        let begun = result.trials.iter().map(|trial| trial.round).max().unwrap_or(0);
        let done = match result.status {
            Status::Complete | Status::TimeLimit => begun,
            // The last round that has trials is the one in which the run stopped.
            Status::Running | Status::Interrupted | Status::Failed(_) => begun.saturating_sub(1),
        };
        Self { done, asked: result.scenario.measure.rounds }
    }
}

impl std::fmt::Display for Rounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.done, counted(self.asked, "round"))
    }
}

/// What a reader must know before all else: a word, the rest of the sentence, and whether it forbids to trust the run.
pub(crate) fn alarms(result: &RunResult) -> Vec<(&'static str, String, bool)> {
    let failed = matches!(result.status, Status::Failed(_));
    let mut alarms: Vec<(&str, String, bool)> =
        status(result).into_iter().map(|(word, rest)| (word, rest, failed)).collect();
    let all = Accounting::of(result);
    if all.wrong > 0 {
        let wrong = format!("{} of {} frames were mistranslated or damaged", count(all.wrong), count(all.sent));
        alarms.push(("WRONG FRAMES", wrong, true));
    }
    let invalid = result.trials.len() - result.valid_trials().count();
    if invalid * 2 >= result.trials.len().max(1) {
        let trials = counted(result.trials.len() as u64, "trial");
        let busy = format!(
            "{} of {trials} are invalid: see why below; most often something else uses the processors",
            count(invalid as u64)
        );
        alarms.push(("MOSTLY INVALID", busy, false));
    }
    if !all.adds_up() {
        let missing = format!("{} of {} frames are unaccounted for", count(all.missing()), count(all.sent));
        alarms.push(("FRAMES MISSING", missing, true));
    }
    alarms
}

/// What is to be said of a run that is not complete.
fn status(result: &RunResult) -> Option<(&'static str, String)> {
    let rounds = Rounds::of(result);
    let kept = if result.trials.is_empty() {
        "no trial was finished".to_owned()
    } else {
        format!("{rounds} done; shown is what was measured until then")
    };
    match &result.status {
        Status::Complete => None,
        Status::Running => Some(("UNFINISHED", format!("the run is still going, or was killed: {kept}"))),
        Status::TimeLimit => {
            let limit = u64::from(result.scenario.measure.time_limit_s) * 1_000_000_000;
            Some((
                "TIME LIMIT",
                format!("no further round would have fitted into {}: {kept}", crate::numbers::elapsed(limit)),
            ))
        }
        Status::Interrupted => Some(("INTERRUPTED", format!("stopped by a signal: {kept}"))),
        Status::Failed(reason) => Some(("FAILED", format!("{reason}; {kept}"))),
    }
}

/// What kind of intervals these are: `94 % intervals from 5 rounds`; nothing if there are none, as after a single round.
pub(crate) fn intervals<'a>(all: impl IntoIterator<Item = &'a Interval>) -> Option<String> {
    let all: Vec<&Interval> = all.into_iter().collect();
    let (fewest, most) = (all.iter().map(|i| i.rounds).min()?, all.iter().map(|i| i.rounds).max()?);
    if most < 2 {
        return None;
    }
    let sure = confidence(all.iter().map(|i| i.confidence).fold(0.0, f64::max));
    Some(if fewest == most {
        format!("{sure} intervals from {}", counted(most, "round"))
    } else {
        format!("intervals of {sure} at best from {fewest} to {}", counted(most, "round"))
    })
}
