use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::{Design, FrameSize, Lineup};
use crate::search::Irregular;
use crate::search::mlr::Goal;

/// What one MLRsearch found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SearchResult {
    /// The round, from 1.
    pub round: u32,
    /// What stands at the layers.
    pub engines: Lineup,
    /// The design.
    pub design: Design,
    /// The frame size, with FCS.
    pub frame_size: FrameSize,
    /// Trials that it took, repetitions of disturbed ones not counted.
    pub trials: u32,
    /// Their time.
    pub spent_ns: u64,
    /// What it found for each goal, in the order of the goals.
    pub goals: Vec<GoalFound>,
}

/// A Search Goal and its Goal Result (draft-ietf-bmwg-mlrsearch-15).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GoalFound {
    /// What was searched for.
    pub goal: Goal,
    /// Relevant Lower Bound: the largest load that satisfies the goal below the relevant upper bound.
    pub relevant_lower_pps: Option<f64>,
    /// Relevant Upper Bound: the smallest load that fails the goal.
    pub relevant_upper_pps: Option<f64>,
    /// Conditional Throughput at the relevant lower bound.
    pub conditional_throughput_pps: Option<f64>,
    /// Why the result does not satisfy the goal, if it does not.
    pub irregular: Option<Irregular>,
    /// Every trial that failed at the upper bound did so because the generator could not keep its schedule.
    pub generator_bound: bool,
}
