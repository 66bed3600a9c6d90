//! MLRsearch: Multiple Loss Ratio search, as specified by draft-ietf-bmwg-mlrsearch-15.
//!
//! The whole Controller of the draft is one function, [`next_step`]: from the configuration and every trial outcome so far it
//! derives either the next trial or the answer. It keeps nothing between calls, so a search can be stored, replayed and resumed.
//!
//! The draft fixes how a load is classified ([`classify`]), what the relevant bounds are and what the conditional
//! throughput is. Which load to try next it leaves free; ours is described in `select.rs`. Trial outcomes that were disturbed are
//! simply not handed in: the same trial is then asked for again.

mod classify;
mod goal;
mod grid;
mod select;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use classify::{LoadClass, classify, conditional_throughput_pps};
pub use goal::{Goal, GoalError};

use super::Irregular;
use classify::Evidence;
use grid::Grid;
use select::{Ladder, Limit};

/// What to search for and within which limits: the draft's Controller Input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Config {
    /// Search Goals; each gets its own result. CSIT's: [`Goal::csit_ndr`], [`Goal::csit_pdr`].
    pub goals: Vec<Goal>,
    /// Min Load, frames/s: no trial is below it.
    pub min_pps: f64,
    /// Max Load, frames/s: no trial is above it. Calibrated as the load the generator surely holds.
    pub max_pps: f64,
    /// If set, the first trial is a warm-up at Max Load for this long, and its outcome is not used (CSIT: one second).
    pub warm_up_ns: Option<u64>,
    /// Effective trial time after which the search ends with what it has, nanoseconds (CSIT: 1,200 s).
    pub budget_ns: u64,
}

impl Config {
    /// CSIT's search: NDR (0 %) and PDR (0.5 %), 1 s trials, sum 21 s, width 0.5 %, a warm-up, at most 20 minutes of trials.
    pub fn csit(min_pps: f64, max_pps: f64) -> Self {
        Self {
            goals: vec![Goal::csit_ndr(), Goal::csit_pdr()],
            min_pps,
            max_pps,
            warm_up_ns: Some(1_000_000_000),
            budget_ns: 1_200_000_000_000,
        }
    }
}

/// One finished trial: the draft's Trial Result (input and output).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Trial {
    /// Intended load, frames/s.
    pub load_pps: f64,
    /// Intended duration, nanoseconds.
    pub duration_ns: u64,
    /// Trial Effective Duration, nanoseconds: the intended one, or longer if waiting is to be counted (CSIT counts it).
    pub effective_duration_ns: u64,
    /// Trial Loss Ratio, 0..=1; see [`super::trial_loss_ratio`].
    pub loss_ratio: f64,
}

/// What the search wants next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Run this trial and call again with its outcome appended.
    Trial {
        /// Intended load, frames/s.
        load_pps: f64,
        /// Intended duration, nanoseconds.
        duration_ns: u64,
    },
    /// The search is over: one result per goal, in the order of the goals.
    Done(Vec<GoalResult>),
}

/// The draft's Goal Result; regular if `irregular` is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GoalResult {
    /// Relevant Lower Bound, frames/s: the largest lower bound below the relevant upper bound. Must be displayed.
    pub relevant_lower_pps: Option<f64>,
    /// Relevant Upper Bound, frames/s: the smallest upper bound.
    pub relevant_upper_pps: Option<f64>,
    /// Conditional Throughput at the relevant lower bound, frames/s: the figure to compare runs with.
    pub conditional_throughput_pps: Option<f64>,
    /// Why this result does not satisfy the goal. Must be shown beside the figures.
    pub irregular: Option<Irregular>,
}

/// Why a search cannot go on.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SearchError {
    /// No goals were given.
    #[error("a search needs at least one goal")]
    NoGoals,
    /// The limits are not `0 < min < max`, both finite.
    #[error("load limits {min_pps}..{max_pps} pps must be finite, positive and increasing")]
    Limits {
        /// Min Load as given, frames/s.
        min_pps: f64,
        /// Max Load as given, frames/s.
        max_pps: f64,
    },
    /// A goal contradicts itself.
    #[error("goal {index}: {source}")]
    Goal {
        /// Which goal, from zero.
        index: usize,
        /// What is wrong with it.
        source: GoalError,
    },
    /// A trial outcome is not one that this search can have asked for.
    #[error("trial {index} has a load outside the limits, no duration, or a loss ratio outside 0..=1")]
    Trial {
        /// Which trial, from zero.
        index: usize,
    },
}

/// The Controller: from all outcomes so far, oldest first, to the next trial or the answer.
///
/// Deterministic, and without memory: the same history gives the same step.
///
/// # Errors
/// [`SearchError`] if the configuration or a trial outcome is out of range.
pub fn next_step(config: &Config, trials: &[Trial]) -> Result<Step, SearchError> {
    let grid = checked_grid(config, trials)?;
    if let (Some(duration_ns), true) = (config.warm_up_ns, trials.is_empty()) {
        return Ok(Step::Trial { load_pps: config.max_pps, duration_ns });
    }
    let scored = &trials[usize::from(config.warm_up_ns.is_some())..];
    let evidence = Evidence::new(&grid, scored);
    let ladders: Vec<Ladder> = config.goals.iter().map(|goal| Ladder::new(goal, &grid)).collect();
    let spent_ns: u128 = scored.iter().map(|trial| u128::from(trial.effective_duration_ns)).sum();

    if spent_ns < u128::from(config.budget_ns) {
        // Small loads first: a bound found low cannot be overturned by one found later higher up. Among equal loads the longest
        // trial, which serves the other goals too.
        let wanted = ladders.iter().filter_map(|ladder| ladder.nominate(&evidence, &grid));
        let first = wanted.min_by(|a, b| a.load.cmp(&b.load).then(b.duration_ns.cmp(&a.duration_ns)));
        if let Some(trial) = first {
            return Ok(Step::Trial { load_pps: grid.load_pps(trial.load), duration_ns: trial.duration_ns });
        }
    }
    let results = config.goals.iter().zip(&ladders).map(|(goal, ladder)| goal_result(goal, ladder, &evidence, &grid));
    Ok(Step::Done(results.collect()))
}

fn checked_grid(config: &Config, trials: &[Trial]) -> Result<Grid, SearchError> {
    let Config { min_pps, max_pps, .. } = *config;
    if !(min_pps > 0.0 && min_pps < max_pps && max_pps.is_finite()) {
        return Err(SearchError::Limits { min_pps, max_pps });
    }
    for (index, goal) in config.goals.iter().enumerate() {
        goal.check().map_err(|source| SearchError::Goal { index, source })?;
    }
    let narrowest = config.goals.iter().map(|goal| goal.relative_width).reduce(f64::min);
    let grid = Grid::new(min_pps, max_pps, narrowest.ok_or(SearchError::NoGoals)?);
    let fits = |trial: &Trial| {
        (min_pps..=max_pps).contains(&trial.load_pps)
            && trial.duration_ns > 0
            && trial.effective_duration_ns > 0
            && (0.0..=1.0).contains(&trial.loss_ratio)
    };
    match trials.iter().position(|trial| !fits(trial)) {
        Some(index) => Err(SearchError::Trial { index }),
        None => Ok(grid),
    }
}

fn goal_result(goal: &Goal, ladder: &Ladder, evidence: &Evidence, grid: &Grid) -> GoalResult {
    let bracket = ladder.final_bracket(evidence);
    let irregular = match ladder.limit(bracket, grid) {
        Some(Limit::Width) => None,
        Some(Limit::MaxLoad) => Some(Irregular::MaxLoadIsLower),
        Some(Limit::MinLoad) => Some(Irregular::MinLoadIsUpper),
        None => Some(Irregular::BudgetSpent),
    };
    let throughput = |load| conditional_throughput_pps(goal, grid.load_pps(load), evidence.at(load));
    GoalResult {
        relevant_lower_pps: bracket.lower.map(|load| grid.load_pps(load)),
        relevant_upper_pps: bracket.upper.map(|load| grid.load_pps(load)),
        conditional_throughput_pps: bracket.lower.and_then(throughput),
        irregular,
    }
}
