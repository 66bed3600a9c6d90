//! What is measured. Grows while an experiment runs.

use natrig_bench::scenario::Design;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::observe::{CurvePoint, Layer, LevelReached, RefusedBy, ReplacementEstimate, ReuseCounts};
use crate::scenario::{Conversation, Setup};

/// Everything that was measured; only the list of the experiment that was done is filled.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Measured {
    /// Setups that could not be measured here, and why.
    pub skipped: Vec<Skipped>,
    /// Frames that came to grief, over all setups.
    pub faults: FaultCounts,
    /// `fill`: a curve for each setup.
    pub fills: Vec<FillResult>,
    /// `fill`: profiles against the kernel that they describe.
    pub agreements: Vec<Agreement>,
    /// `churn`: rates for each setup.
    pub churns: Vec<ChurnResult>,
    /// `blast-radius`: for each setup and quota.
    pub blasts: Vec<BlastResult>,
    /// `timeout-skew`: for each setup and combination of timeouts.
    pub skews: Vec<SkewResult>,
    /// `timeout-skew`: how soon ports come back, for each setup.
    pub reuses: Vec<ReuseResult>,
    /// `both-layers`: the surface.
    pub cells: Vec<LayersCell>,
    /// `replacement`: for each setup.
    pub replacements: Vec<ReplacementResult>,
}

/// A setup that could not be measured here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Skipped {
    /// The setup.
    pub setup: Setup,
    /// Why not.
    pub reason: String,
}

/// Frames that came to grief.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FaultCounts {
    /// Frames of which neither an end nor a layer knows.
    pub vanished: u64,
    /// Frames that came out damaged.
    pub corrupt: u64,
    /// New connections that came out with the tuple of one that was open.
    pub shared_tuples: u64,
}

/// A figure over rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
}

impl Spread {
    /// Of at least one value.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let median = natrig_bench::stats::median(&values)?;
        Some(Self { median, low: *values.first()?, high: *values.last()? })
    }
}

/// A refusal curve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FillResult {
    /// What was filled.
    pub setup: Setup,
    /// Rounds that are in it.
    pub rounds: u32,
    /// Ports that there nominally are for one destination, at the layer that has fewer.
    pub nominal_ports: u64,
    /// Connections tried.
    pub attempts: u64,
    /// Connections opened.
    pub opened: u64,
    /// Concurrent flows when the first was refused, over rounds; absent if none was.
    pub first_refusal_flows: Option<Spread>,
    /// Where the curve reaches 0.1, 1, 5 and 50 % refusals.
    pub levels: Vec<LevelReached>,
    /// Ports tried per allocation, over all; absent where nobody tells.
    pub tries_mean: Option<f64>,
    /// Who refused, and why.
    pub refused: Vec<RefusedBy>,
    /// The curve.
    pub points: Vec<CurvePoint>,
}

/// A profile's curve against the kernel's, filled by the same traffic in the same run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Agreement {
    /// The profile's setup.
    pub profile: Setup,
    /// The kernel's setup.
    pub kernel: Setup,
    /// At each level that both reach: kernel's occupancy minus profile's, in percentage points.
    pub levels: Vec<LevelDifference>,
    /// Whether all levels are reached by both or neither, and none differs by more than two percentage points.
    pub within_two_points: bool,
    /// Whether that holds for all that the differences' 95 % intervals hold, too; absent where one has no interval.
    pub surely_within: Option<bool>,
}

/// How far two curves are apart at a level.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LevelDifference {
    /// Share of attempts refused.
    pub refused: f64,
    /// The profile's occupancy there.
    pub profile: Option<f64>,
    /// The kernel's occupancy there.
    pub kernel: Option<f64>,
    /// Kernel's minus profile's, percentage points of the nominal ports.
    pub difference_pp: Option<f64>,
    /// Half the width of that difference's 95 % interval, over rounds of the same traffic; absent with less than four.
    pub difference_error_pp: Option<f64>,
}

/// What connections that come and go met.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChurnResult {
    /// What they went through.
    pub setup: Setup,
    /// Ports that there nominally are for one destination.
    pub nominal_ports: u64,
    /// Highest rate that met no refusal, connections a second; absent if all did.
    pub sustained_per_s: Option<f64>,
    /// Lowest rate that met one; absent if none did.
    pub refused_from_per_s: Option<f64>,
    /// Nominal ports over mean lifetime plus the layer's hold, the least over layers.
    pub formula_per_s: Option<f64>,
    /// All rates that were tried.
    pub trials: Vec<ChurnTrial>,
    /// The trial at twice the sustained rate, from which recovery is measured.
    pub overload: Option<ChurnTrial>,
    /// Seconds after the end of that load until a tenth of the nominal ports' number of connections, opened at once, met no refusal; absent
    /// if that did not come about.
    pub recovery_s: Option<f64>,
    /// Who refused, in all trials.
    pub refused: Vec<RefusedBy>,
}

/// One rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChurnTrial {
    /// Connections a second, on average.
    pub per_s: f64,
    /// Attempts that counted.
    pub attempts: u64,
    /// Of these refused.
    pub refused: u64,
    /// Most connections open at once.
    pub open_max: u64,
}

/// Who was hurt by a pod that opens connections without end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BlastResult {
    /// What all went through.
    pub setup: Setup,
    /// Ports that each source may have; zero: no quota.
    pub quota: u32,
    /// Connections that the aggressor tried.
    pub aggressor_attempts: u64,
    /// Of these refused.
    pub aggressor_refused: u64,
    /// Pods on the aggressor's node.
    pub same_node: VictimGroup,
    /// Pods on all other nodes.
    pub other_nodes: VictimGroup,
    /// Seconds from the aggressor's first connection to the first refusal of anybody else; absent if there was none.
    pub first_victim_s: Option<f64>,
    /// Jain's index of the share of attempts that succeeded, over all pods.
    pub jain_success: f64,
    /// Jain's index of the connections open at the end, over all pods.
    pub jain_open: f64,
    /// Who refused the others, and why.
    pub refused: Vec<RefusedBy>,
}

/// Pods other than the aggressor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VictimGroup {
    /// How many pods.
    pub pods: u32,
    /// How many of them were refused at least once.
    pub pods_hurt: u32,
    /// Connections that they tried.
    pub attempts: u64,
    /// Of these refused.
    pub refused: u64,
}

/// What became of idle connections between two layers with different timeouts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SkewResult {
    /// What they went through.
    pub setup: Setup,
    /// The node's timeout of established connections, seconds.
    pub node_s: u32,
    /// The gateway's.
    pub gateway_s: u32,
    /// Connections on which the pod spoke first after being idle.
    pub pod_speaks: Outcomes,
    /// Connections on which the server did.
    pub server_speaks: Outcomes,
    /// Most mappings at the node whose other half, at the gateway, was gone.
    pub outlived_at_node: u64,
    /// Most mappings at the gateway whose other half, at the node, was gone.
    pub outlived_at_gateway: u64,
    /// The idle times, shortest and longest, after which what was said reached nobody and nobody was told.
    pub black_hole_s: Option<(f64, f64)>,
    /// What happened on one of these connections, or on the first that did not survive.
    pub timeline: Vec<Event>,
}

/// What became of connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outcomes {
    /// It went on.
    pub alive: u64,
    /// The speaker was told by a reset.
    pub reset: u64,
    /// The server was reached under a tuple that it did not know, and its reset reached the pod.
    pub remapped: u64,
    /// Another pod was reached.
    pub misdelivered: u64,
    /// Nobody was reached, and nobody was told.
    pub black_holed: u64,
}

/// Something that happened on a connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Seconds after it was opened.
    pub at_s: f64,
    /// What.
    pub what: String,
}

/// How soon ports came back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReuseResult {
    /// What connections went through.
    pub setup: Setup,
    /// Connections that were refused meanwhile.
    pub refused: u64,
    /// What the far end met.
    pub far_end: ReuseCounts,
}

/// One point of the surface of both layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LayersCell {
    /// What stands at the layers in the design `both`.
    pub setup: Setup,
    /// Which of them translate here.
    pub design: Design,
    /// Nodes.
    pub nodes: u32,
    /// Ports of each node.
    pub node_ports: u32,
    /// Addresses of the gateway.
    pub gateway_addresses: u32,
    /// Exponent of Zipf's law.
    pub skew: f64,
    /// Concurrent flows at the asked for share of refusals; absent if it was not reached.
    pub flows: Option<f64>,
    /// Nominal ports for one destination of the layer that has fewer.
    pub nominal_ports: u64,
    /// Attempts that each layer refused: node, gateway.
    pub refused: [u64; 2],
    /// The layer that refused more; absent if none refused.
    pub binds: Option<Layer>,
}

/// What a full table gives up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReplacementResult {
    /// Whose table.
    pub setup: Setup,
    /// What it was filled with.
    #[serde(default)]
    pub connections: Conversation,
    /// What can be told of it from outside.
    pub estimate: ReplacementEstimate,
    /// Connections offered, and those that still got answers, in each fill.
    pub fills: Vec<(u32, u32)>,
}
