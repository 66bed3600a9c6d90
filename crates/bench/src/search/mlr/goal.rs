//! Search goals and the quicker phases that lead to each.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const SECOND_NS: u64 = 1_000_000_000;

/// A Search Goal (draft-ietf-bmwg-mlrsearch-15, "Search Goal"), with the optional attributes the draft names and the number of
/// quicker phases.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Goal {
    /// Goal Loss Ratio, 0..1: a trial that loses more is a high-loss trial.
    pub loss_ratio: f64,
    /// Goal Exceed Ratio, 0..1: the share of trial time that may be high-loss at a lower bound. The draft recommends 0.5.
    pub exceed_ratio: f64,
    /// Goal Final Trial Duration, nanoseconds: shorter trials count as short.
    pub final_trial_duration_ns: u64,
    /// Goal Duration Sum, nanoseconds: this much full-length trial time always decides a load.
    pub duration_sum_ns: u64,
    /// Goal Width: (upper − lower) / upper at which the bounds are close enough. The draft recommends no less than the loss ratio.
    pub relative_width: f64,
    /// Goal Initial Trial Duration, nanoseconds: the shortest trial used for this goal.
    pub initial_trial_duration_ns: u64,
    /// How many quicker phases come first. Their duration sums fall geometrically from the goal's to the initial trial duration
    /// (CSIT, two phases: 21 s, 4.58 s, 1 s). Unlike CSIT's, they aim for the goal's own width: see `select.rs`.
    pub intermediate_phases: u32,
}

impl Goal {
    /// CSIT's NDR: no loss, 1 s trials, sum 21 s, exceed ratio 50 %, width 0.5 %, two intermediate phases.
    pub const fn csit_ndr() -> Self {
        Self {
            loss_ratio: 0.0,
            exceed_ratio: 0.5,
            final_trial_duration_ns: SECOND_NS,
            duration_sum_ns: 21 * SECOND_NS,
            relative_width: 0.005,
            initial_trial_duration_ns: SECOND_NS,
            intermediate_phases: 2,
        }
    }

    /// CSIT's PDR: as [`Goal::csit_ndr`] with a loss ratio of 0.5 %.
    pub const fn csit_pdr() -> Self {
        Self { loss_ratio: 0.005, ..Self::csit_ndr() }
    }

    /// The goal whose result is RFC 2544 throughput, unconditionally compliant (draft, "MLRsearch Compliant with RFC 2544"):
    /// one loss-free trial of 60 s decides. `relative_width` is not prescribed by the RFC.
    pub const fn rfc2544(relative_width: f64) -> Self {
        Self {
            loss_ratio: 0.0,
            exceed_ratio: 0.0,
            final_trial_duration_ns: 60 * SECOND_NS,
            duration_sum_ns: 60 * SECOND_NS,
            relative_width,
            initial_trial_duration_ns: SECOND_NS,
            intermediate_phases: 2,
        }
    }

    /// The goal equal to TST 009's search with loss verification, max(r) = 2 (draft, "MLRsearch Compliant with TST009"): a 60 s
    /// trial with loss is repeated once.
    pub const fn tst009(relative_width: f64) -> Self {
        Self { exceed_ratio: 0.5, duration_sum_ns: 120 * SECOND_NS, ..Self::rfc2544(relative_width) }
    }

    /// Checks the draft's requirements on the attributes.
    ///
    /// # Errors
    /// The first [`GoalError`] found.
    pub fn check(&self) -> Result<(), GoalError> {
        if !(0.0..1.0).contains(&self.loss_ratio) {
            return Err(GoalError::LossRatio(self.loss_ratio));
        }
        if !(0.0..1.0).contains(&self.exceed_ratio) {
            return Err(GoalError::ExceedRatio(self.exceed_ratio));
        }
        if !(self.relative_width > 0.0 && self.relative_width < 1.0) {
            return Err(GoalError::Width(self.relative_width));
        }
        if self.initial_trial_duration_ns == 0 {
            return Err(GoalError::NoDuration);
        }
        if self.initial_trial_duration_ns > self.final_trial_duration_ns {
            return Err(GoalError::InitialLongerThanFinal);
        }
        if self.duration_sum_ns < self.final_trial_duration_ns {
            return Err(GoalError::SumShorterThanTrial);
        }
        if self.intermediate_phases > MAX_PHASES {
            return Err(GoalError::Phases(self.intermediate_phases));
        }
        Ok(())
    }

    /// The phases from the quickest to the goal itself: each is the goal with a smaller duration sum.
    pub(super) fn phases(&self) -> Vec<Self> {
        let count = self.intermediate_phases;
        let sum_ratio = self.initial_trial_duration_ns as f64 / self.duration_sum_ns as f64;
        let phase = |before_goal: u32| {
            let duration_sum_ns = if before_goal == 0 {
                self.duration_sum_ns
            } else if before_goal == count {
                self.initial_trial_duration_ns
            } else {
                let share = sum_ratio.powf(f64::from(before_goal) / f64::from(count));
                (self.duration_sum_ns as f64 * share).round() as u64
            };
            Self {
                duration_sum_ns,
                final_trial_duration_ns: self.final_trial_duration_ns.min(duration_sum_ns),
                ..*self
            }
        };
        (0..=count).rev().map(phase).collect()
    }
}

/// More phases than this differ by less than one trial.
const MAX_PHASES: u32 = 8;

/// What is wrong with a goal.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum GoalError {
    /// The loss ratio is not in 0..1.
    #[error("loss ratio {0} is not in 0..1")]
    LossRatio(f64),
    /// The exceed ratio is not in 0..1.
    #[error("exceed ratio {0} is not in 0..1")]
    ExceedRatio(f64),
    /// The width is not above zero and below one.
    #[error("relative width {0} is not above 0 and below 1")]
    Width(f64),
    /// The initial trial duration is zero.
    #[error("a trial needs a duration")]
    NoDuration,
    /// The initial trial duration exceeds the final one.
    #[error("the initial trial duration is longer than the final one")]
    InitialLongerThanFinal,
    /// The duration sum is shorter than one final trial, which the draft does not recommend and we do not support.
    #[error("the duration sum is shorter than one final trial")]
    SumShorterThanTrial,
    /// More intermediate phases than make sense.
    #[error("{0} intermediate phases are more than 8")]
    Phases(u32),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csit_phases_have_the_published_duration_sums() {
        let sums =
            |goal: Goal| -> Vec<u64> { goal.phases().iter().map(|phase| phase.duration_sum_ns / 10_000_000).collect() };
        assert_eq!(sums(Goal::csit_ndr()), [100, 458, 2100]);
        assert!(Goal::csit_ndr().phases().iter().all(|phase| phase.final_trial_duration_ns == SECOND_NS));
        assert_eq!(sums(Goal::rfc2544(0.01)), [100, 774, 6000]);
        assert!(
            Goal::rfc2544(0.01).phases().iter().all(|phase| phase.final_trial_duration_ns == phase.duration_sum_ns)
        );
    }

    #[test]
    fn a_goal_of_one_phase_is_the_goal() {
        let goal = Goal { intermediate_phases: 0, ..Goal::rfc2544(0.01) };
        assert_eq!(goal.phases(), [goal]);
    }

    #[test]
    fn goals_that_contradict_themselves_are_refused() {
        let good = Goal::csit_ndr();
        assert_eq!(good.check(), Ok(()));
        assert_eq!(Goal { loss_ratio: 1.0, ..good }.check(), Err(GoalError::LossRatio(1.0)));
        assert_eq!(Goal { exceed_ratio: -0.1, ..good }.check(), Err(GoalError::ExceedRatio(-0.1)));
        assert_eq!(Goal { relative_width: 0.0, ..good }.check(), Err(GoalError::Width(0.0)));
        assert_eq!(Goal { initial_trial_duration_ns: 0, ..good }.check(), Err(GoalError::NoDuration));
        let longer = Goal { initial_trial_duration_ns: 2 * SECOND_NS, ..good };
        assert_eq!(longer.check(), Err(GoalError::InitialLongerThanFinal));
        assert_eq!(Goal { duration_sum_ns: 1, ..good }.check(), Err(GoalError::SumShorterThanTrial));
        assert_eq!(Goal { intermediate_phases: 9, ..good }.check(), Err(GoalError::Phases(9)));
    }
}
