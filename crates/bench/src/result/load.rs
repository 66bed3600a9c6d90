use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Latencies;
use crate::scenario::{Design, FrameSize, Lineup};

/// Latency at one load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoadLatency {
    /// The round, from 1.
    pub round: u32,
    /// What stands at the layers.
    pub engines: Lineup,
    /// The design.
    pub design: Design,
    /// The frame size, with FCS.
    pub frame_size: FrameSize,
    /// Number of its trial.
    pub trial: u32,
    /// Share of the rate found in this round; 0: idle, a thousand frames a second.
    pub load: f64,
    /// Rate asked for.
    pub rate_pps_offered: f64,
    /// Rate at which frames left.
    pub rate_pps_achieved: f64,
    /// Rate at which they arrived.
    pub rate_pps_delivered: f64,
    /// More than a hundredth of what was offered did not leave, or did not arrive: latencies are those of a queue that never empties.
    pub saturated: bool,
    /// Flows whose mappings stand.
    pub established: Latencies,
    /// The frames that open a flow.
    pub new: Latencies,
}
