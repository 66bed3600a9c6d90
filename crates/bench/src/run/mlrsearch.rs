//! MLRsearch at work: its trials run, what they lost handed back, and the bounds of every goal written into the result.

use super::Running;
use crate::result::{GoalFound, Invalid, Purpose, SearchResult, Trial};
use crate::run::RunError;
use crate::scenario::MlrSearch;
use crate::search::mlr::{self, Config, GoalResult, Step};
use crate::search::ndr::Bounds;
use crate::search::trial_loss_ratio;
use crate::summary::Summaries;

impl Running<'_, '_> {
    /// The highest rate that meets the first goal, if there is one; what all goals found goes into the result.
    pub(super) fn mlrsearch(&mut self, search: MlrSearch, summaries: &mut Summaries) -> Result<Option<f64>, RunError> {
        let config = config(&search, self.bench.scenario.measure.trial_ms);
        let mut outcomes: Vec<Outcome> = Vec::new();
        let found = loop {
            let handed_in: Vec<mlr::Trial> = outcomes.iter().map(|outcome| outcome.trial).collect();
            match mlr::next_step(&config, &handed_in)? {
                Step::Done(found) => break found,
                Step::Trial { load_pps, duration_ns } => match self.outcome(&config, load_pps, duration_ns)? {
                    Some(outcome) => outcomes.push(outcome),
                    None => return Ok(None),
                },
            }
        };
        let goals: Vec<GoalFound> =
            config.goals.iter().zip(&found).map(|(goal, found)| goal_found(*goal, *found, &outcomes)).collect();
        let Some(first) = goals.first().cloned() else { return Ok(None) };
        let key = self.cell.key;
        self.result.searches.push(SearchResult {
            round: self.cell.round,
            engines: key.lineup,
            design: key.design,
            frame_size: key.frame_size,
            trials: outcomes.len() as u32,
            spent_ns: outcomes.iter().map(|outcome| outcome.trial.effective_duration_ns).sum(),
            goals,
        });
        let bounds = Bounds {
            relevant_lower_pps: first.relevant_lower_pps,
            relevant_upper_pps: first.relevant_upper_pps,
            irregular: first.irregular,
            generator_limited: first.generator_bound,
            trials: outcomes.len() as u32,
        };
        let best = best_at(first.relevant_lower_pps, &outcomes, &self.result.trials);
        summaries.rate(&key, self.cell.round, &bounds, best);
        Ok(first.relevant_lower_pps)
    }

    /// A trial's outcome; a trial that the machine disturbed is repeated. None: the search is to end without an answer.
    fn outcome(&mut self, config: &Config, load_pps: f64, duration_ns: u64) -> Result<Option<Outcome>, RunError> {
        let mut retries = self.bench.scenario.limits.max_retries;
        loop {
            let trial = self.trial(Purpose::Search, load_pps, duration_ns, true)?.trial;
            if self.cancelled() || !trial.invalid.iter().all(Invalid::is_disturbance) {
                return Ok(None);
            }
            let generator_bound = trial.invalid.iter().any(Invalid::is_of_generator);
            if !trial.is_valid() && !generator_bound && retries > 0 {
                retries -= 1;
                continue;
            }
            let mut loss_ratio = loss_ratio(&trial);
            if !trial.is_valid() {
                // It supports no lower bound of any goal, whatever it lost.
                let beyond = config.goals.iter().map(|goal| goal.loss_ratio).fold(0.0, f64::max) + BEYOND;
                loss_ratio = loss_ratio.max(beyond);
            }
            let trial = mlr::Trial { load_pps, duration_ns, effective_duration_ns: duration_ns, loss_ratio };
            let number = self.result.trials.len();
            return Ok(Some(Outcome { trial, generator_bound, number }));
        }
    }
}

/// By how much a trial that does not count exceeds what any goal tolerates.
const BEYOND: f64 = 1e-6;

/// What a trial came to.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    trial: mlr::Trial,
    /// The generator could not keep its schedule.
    generator_bound: bool,
    /// Its number in the run.
    number: usize,
}

/// The draft's Controller Input. There is no warm-up: every flow has passed before the first trial.
fn config(search: &MlrSearch, trial_ms: u32) -> Config {
    Config {
        goals: search.goals(trial_ms),
        min_pps: f64::from(search.min_pps),
        max_pps: f64::from(search.max_pps),
        warm_up_ns: None,
        budget_ns: u64::from(search.budget_s) * 1_000_000_000,
    }
}

/// Frames not sent count as lost.
fn loss_ratio(trial: &Trial) -> f64 {
    let intended = (trial.rate_pps_offered * trial.duration_ns as f64 / 1e9).round() as u64;
    trial_loss_ratio(intended, trial.duration_ns, trial.sent, u64::try_from(trial.lost).unwrap_or(0))
}

fn goal_found(goal: mlr::Goal, found: GoalResult, outcomes: &[Outcome]) -> GoalFound {
    let GoalResult { relevant_lower_pps, relevant_upper_pps, conditional_throughput_pps, irregular } = found;
    let at_upper = |outcome: &&Outcome| relevant_upper_pps.is_some_and(|upper| is_at(outcome.trial.load_pps, upper));
    let mut failed =
        outcomes.iter().filter(at_upper).filter(|outcome| outcome.trial.loss_ratio > goal.loss_ratio).peekable();
    let generator_bound = failed.peek().is_some() && failed.all(|outcome| outcome.generator_bound);
    GoalFound { goal, relevant_lower_pps, relevant_upper_pps, conditional_throughput_pps, irregular, generator_bound }
}

/// The last trial without loss at the lower bound: what the time per packet is read from.
fn best_at<'t>(lower_pps: Option<f64>, outcomes: &[Outcome], trials: &'t [Trial]) -> Option<&'t Trial> {
    let lower_pps = lower_pps?;
    let passed = |outcome: &&Outcome| is_at(outcome.trial.load_pps, lower_pps) && outcome.trial.loss_ratio == 0.0;
    outcomes.iter().rev().find(passed).and_then(|outcome| trials.get(outcome.number - 1))
}

/// Loads come from one grid: those that differ differ by more.
fn is_at(load_pps: f64, bound_pps: f64) -> bool {
    (load_pps / bound_pps - 1.0).abs() < 1e-9
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(load_pps: f64, loss_ratio: f64, generator_bound: bool) -> Outcome {
        let trial = mlr::Trial { load_pps, duration_ns: 1, effective_duration_ns: 1, loss_ratio };
        Outcome { trial, generator_bound, number: 1 }
    }

    /// A bound at which one trial failed that the generator had kept up with is the system's own.
    #[test]
    fn a_bound_is_the_generators_only_if_every_failure_at_it_was() {
        let found = GoalResult {
            relevant_lower_pps: Some(1e6),
            relevant_upper_pps: Some(2e6),
            conditional_throughput_pps: Some(1e6),
            irregular: None,
        };
        let bound = |outcomes: &[Outcome]| goal_found(mlr::Goal::csit_ndr(), found, outcomes).generator_bound;
        assert!(bound(&[outcome(1e6, 0.0, false), outcome(2e6, 0.1, true), outcome(4e6, 0.5, false)]));
        assert!(!bound(&[outcome(2e6, 0.1, true), outcome(2e6, 0.1, false)]));
        assert!(!bound(&[outcome(1e6, 0.0, false)]));
    }
}
