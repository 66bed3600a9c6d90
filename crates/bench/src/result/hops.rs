use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Quantiles};

/// How a note on links begins that says why frames are not stamped where the kernel forwards.
pub const NO_TAP: &str = "no tap at the";

/// A point on the way to the servers at which frames are stamped, all by one clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tap {
    /// When the schedule wanted the frame sent.
    Intended,
    /// When the generator handed it to its link.
    Sent,
    /// When the node fetched the burst that it came in; where the kernel forwards, when its frame entered the box.
    NodeIn,
    /// When the node had worked on that burst, before it handed it on; where the kernel forwards, when it was about to leave the box.
    NodeOut,
    /// When the gateway fetched the burst, as at the node.
    GatewayIn,
    /// When the gateway had worked on it, as at the node.
    GatewayOut,
    /// When the servers' end fetched the burst.
    Received,
}

/// Time between the taps of the way to the servers, of a sample of the delivered frames. Where the kernel forwards, programs at the box's
/// interfaces stamp them, if this process may load any: else there are no taps, `environment.link.notes` says why, and the layer's time is
/// in the leg across it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Hops {
    /// One frame in so many was stamped.
    pub one_in: u32,
    /// Frames that all taps saw.
    pub samples: u64,
    /// From each tap to the next. They add up to the latency from the intended send time, frame by frame.
    pub legs: Vec<Leg>,
    /// The slowest of these frames; absent if there are too few to speak of any.
    pub tail: Option<Tail>,
}

/// From a tap to the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Leg {
    /// Where it begins.
    pub from: Tap,
    /// Where it ends. Waiting in a receive ring belongs to the leg that ends there.
    pub to: Tap,
    /// One-way times.
    pub time: Quantiles,
    /// Which share of the time by which the slowest frames exceed the ordinary was lost here, 0 to 1.
    pub tail_share: Option<f64>,
}

/// The slowest frames of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tail {
    /// Those at or above this quantile of the latency: as far out as the sample allows.
    pub quantile: f64,
    /// That latency, in nanoseconds.
    pub from_ns: u64,
    /// How many.
    pub frames: u64,
    /// By how much they exceed the sum of the legs' medians, on average, in nanoseconds.
    pub excess_ns_mean: f64,
}

/// Connections that a layer knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TableCount {
    /// The layer.
    pub place: Place,
    /// How many.
    pub connections: u64,
}

/// What else went on during a trial.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Noise {
    /// From before the first frame until all had arrived.
    pub elapsed_ns: u64,
    /// How long the measuring threads, together, were ready to run and did not: somebody else was on their processor.
    pub waited_ns: u64,
    /// What the hypervisor took of the measuring processors, to 10 ms.
    pub steal_ns: u64,
    /// How long the measuring processors worked for others than this process, to 10 ms each. The kernel's own network threads count as others.
    pub foreign_ns: u64,
    /// Interrupts that the measuring processors took.
    pub interrupts: Option<u64>,
    /// The lowest frequency among the measuring processors afterwards, in MHz.
    pub cpu_mhz: Option<f64>,
}
