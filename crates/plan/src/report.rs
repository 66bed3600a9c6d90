//! The plan as data: what `--json` writes and what documents are made of.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fleet::Fleet;
use crate::formula::{SeenAs, Switched};
use crate::timing::Protocol;
use natrig_bench::scenario::Design;

/// Version of the format.
pub const SCHEMA_VERSION: u32 = 1;

/// A number with an interval, and where it is from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Figure {
    /// As a rule.
    pub value: f64,
    /// The lowest that it may be, given what is not known for sure.
    pub low: f64,
    /// The highest.
    pub high: f64,
    /// Keys of [`Plan::reasons`].
    pub from: Vec<String>,
}

/// What figures are from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// What figures call it.
    pub key: String,
    /// `formula`, `given`, `measured`, `simulated` or `vendor`.
    pub kind: String,
    /// What it says.
    pub text: String,
    /// Document, source file, or what it was measured from.
    pub source: String,
    /// Of values of profiles: H read in source or official text, M one step of inference, L not documented.
    pub confidence: Option<String>,
}

/// A capacity plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Version of natrig.
    pub natrig: String,
    /// What was asked, every default filled in.
    pub fleet: Fleet,
    /// What was read besides.
    pub inputs: Vec<Input>,
    /// Destinations, the busiest first.
    pub destinations: Vec<DestinationPlan>,
    /// Designs.
    pub designs: Vec<DesignPlan>,
    /// Settings that fit.
    pub settings: Vec<Setting>,
    /// What happens when the nodes' translation is switched on or off under what is open.
    pub switch: Option<Switch>,
    /// Where every figure is from.
    pub reasons: Vec<Reason>,
    /// What a reader should know before trusting a number.
    pub warnings: Vec<String>,
}

/// A log that was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Input {
    /// The file; `-` is standard input.
    pub file: String,
    /// `flow-logs`, `conntrack` or `hubble`.
    pub kind: String,
    /// Lines read.
    pub lines: u64,
    /// Records that count.
    pub counted: u64,
    /// Records left out, by the reason.
    pub skipped: Vec<Skipped>,
}

/// Records that were left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Skipped {
    /// Why.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// The line of the first of them.
    pub first_line: u64,
}

/// What a destination needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DestinationPlan {
    /// Name, or address and port.
    pub name: String,
    /// Protocol.
    pub protocol: Protocol,
    /// Addresses and ports that it consists of.
    pub remotes: u16,
    /// New connections a second, at the peak.
    pub rate_per_s: Figure,
    /// Connections open at once, at the peak.
    pub open: Figure,
    /// Ports in use at the busiest node towards one remote end, and how many times that it bears.
    pub node: LayerUse,
    /// The same at the gateway.
    pub gateway: LayerUse,
    /// Gateway addresses for the refusal probability asked for.
    pub addresses_needed: Figure,
}

/// Use of a layer's ports towards one remote end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LayerUse {
    /// Ports in use, those of ended connections included.
    pub in_use: Figure,
    /// Ports needed for the refusal probability asked for.
    pub ports_needed: Figure,
    /// How many times the load the layer bears at the refusal probability asked for.
    pub headroom: Figure,
}

/// What a design comes to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DesignPlan {
    /// Which.
    pub design: Design,
    /// The source address that the internet sees, and that hosts before the gateway see.
    pub seen_as: (SeenAs, SeenAs),
    /// Limits in the order in which they break.
    pub limits: Vec<Limit>,
    /// Today, and at each growth.
    pub growth: Vec<Growth>,
    /// The allocators themselves, on a virtual clock, with today's load.
    pub simulated: Option<Simulated>,
}

/// Something that the load can outgrow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Limit {
    /// What.
    pub what: String,
    /// `pod`, `node` or `gateway`.
    pub layer: String,
    /// Towards which destination, if it depends on that.
    pub destination: Option<String>,
    /// Load today.
    pub load: Figure,
    /// What it bears.
    pub bears: Figure,
    /// Growth at which it breaks.
    pub breaks_at: Figure,
}

/// A design at some growth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Growth {
    /// Times today's load.
    pub factor: f64,
    /// Share of connections refused.
    pub refused: Figure,
    /// Limits that are broken, the first one first.
    pub broken: Vec<String>,
    /// Gateway addresses needed; none if the gateway does not translate.
    pub addresses_needed: Option<Figure>,
}

/// What the simulation found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Simulated {
    /// Connections asked for.
    pub connections: u64,
    /// Simulated time, seconds.
    pub time_s: f64,
    /// Share refused, with its 95 % interval (Wilson).
    pub refused: Figure,
    /// How often each layer refused, and why, in the words of [`natrig_nat::DropReason`].
    pub reasons: Vec<Refusals>,
    /// Most entries in the table of one node.
    pub node_entries_max: Option<u32>,
    /// Most entries in the table of the gateway.
    pub gateway_entries_max: Option<u32>,
}

/// Refusals of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refusals {
    /// Why.
    pub reason: String,
    /// By nodes.
    pub node: u64,
    /// By the gateway.
    pub gateway: u64,
}

/// A setting that fits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Setting {
    /// Which.
    pub what: String,
    /// Its value.
    pub value: Figure,
    /// Unit.
    pub unit: String,
    /// What has to be said about it.
    pub note: String,
}

/// What switching the nodes' translation on or off does to what is open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Switch {
    /// Connections that end.
    pub broken: Figure,
    /// How their ends find out.
    pub found_out: Switched,
}

/// The JSON schema of [`Plan`].
#[must_use]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Plan).to_value()
}
