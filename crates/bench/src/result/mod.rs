//! What a run leaves behind: one type for the file, for `--json` and for every report.
//!
//! Times are nanoseconds, rates frames per second, lengths bytes without FCS unless a name says otherwise. A number that could not be
//! measured is absent (`null`), never NaN. `docs/results.md` describes every field for those who read the JSON.

mod hops;
mod judged;
mod load;
mod numbers;
mod search;
mod trial;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use natrig_lab::host::HostFacts;
use natrig_link::LinkDescription;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::{Design, FrameSize, Lineup, Scenario};
use crate::stats;

pub use hops::{Hops, Leg, NO_TAP, Noise, TableCount, Tail, Tap};
pub use judged::{
    AaFigure, AaResult, CurvePoint, Figure, Independent, Judged, RoundFigures, Sequential, SequentialComparison,
    StampCost,
};
pub use load::LoadLatency;
pub use numbers::{Interval, Quantiles};
pub use search::{GoalFound, SearchResult};
pub(crate) use trial::to_hex;
pub use trial::{
    Answers, Dropped, Invalid, KernelActivity, Latencies, LayerTime, Place, Preload, Purpose, Role, RoleTime, Trial,
    WrongFrame,
};

/// Version of the result format. Readers refuse a higher one.
pub const SCHEMA_VERSION: u32 = 1;

/// Everything that is known about a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunResult {
    /// [`SCHEMA_VERSION`] of the writer.
    pub schema_version: u32,
    /// The program that measured.
    pub natrig: Program,
    /// How far the run came.
    pub status: Status,
    /// When it began, RFC 3339, UTC.
    pub started_at: String,
    /// How long it has taken so far.
    pub elapsed_ns: u64,
    /// The command line.
    pub command: Vec<String>,
    /// The scenario with every default filled in.
    pub scenario: Scenario,
    /// The machine.
    pub host: HostFacts,
    /// How the world was built.
    pub environment: Environment,
    /// A TCP connection through each design, before anything was measured.
    pub tcp_checks: Vec<TcpCheck>,
    /// Every trial, in the order in which they ran.
    pub trials: Vec<Trial>,
    /// What each MLRsearch found, in the order in which they ended; empty where rates are searched for otherwise.
    #[serde(default)]
    pub searches: Vec<SearchResult>,
    /// Latencies under load, in the order in which they were measured; empty where no loads are asked for.
    #[serde(default)]
    pub loads: Vec<LoadLatency>,
    /// What the trials say of each design, for each frame size.
    pub designs: Vec<DesignSummary>,
    /// What each layer costs, for each frame size that was measured in all four designs.
    pub costs: Vec<CostSummary>,
    /// Each further lineup of the scenario against the first one, for each design and frame size.
    #[serde(default)]
    pub comparisons: Vec<EngineComparison>,
    /// Of a run that may end when its comparisons are decided: what they say.
    #[serde(default)]
    pub sequential: Option<Sequential>,
    /// Of an A/A run: how often a design was called different from itself. Then there is nothing else.
    #[serde(default)]
    pub aa: Option<AaResult>,
    /// What stamping frames at the layers costs, for each lineup with taps and each frame size.
    #[serde(default)]
    pub stamp_costs: Vec<StampCost>,
    /// Things that a reader should know before trusting a number, in words.
    pub warnings: Vec<String>,
}

/// Which program measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Program {
    /// Version of natrig.
    pub version: String,
    /// Commit it was built from, with `-dirty` behind it if the sources had changes; absent outside a checkout.
    pub commit: Option<String>,
    /// `release` or `debug`.
    pub profile: String,
}

/// How far a run came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "state", content = "reason")]
pub enum Status {
    /// Still going: what a killed run leaves behind.
    Running,
    /// All that was asked for was measured.
    Complete,
    /// The time limit came before the last round: fewer rounds than asked for.
    TimeLimit,
    /// Stopped by a signal.
    Interrupted,
    /// Ended by an error.
    Failed(String),
}

/// How the world was built.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Environment {
    /// `root`, `rootless` or `memory`.
    pub mode: String,
    /// Why not more: what was tried and refused, in words.
    pub mode_reason: Option<String>,
    /// What carries frames: the same kind at all six ends.
    pub link: LinkFacts,
    /// Which roles run on which thread and processor.
    pub placement: Vec<PlacedThread>,
    /// The steps by which namespaces and links were made; none with links in memory.
    pub plan: Vec<String>,
    /// Settings of the boxes that the kernel forwards at, as they were when measuring began.
    #[serde(default)]
    pub kernel: Vec<KernelSettings>,
    /// What natrig's own NATs are, where they stand.
    #[serde(default)]
    pub nats: Vec<NatFacts>,
}

/// One of natrig's own NATs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NatFacts {
    /// The box.
    pub place: Place,
    /// Its profile.
    pub profile: String,
    /// How many mappings (sessions, where mapping depends on the remote end) its table holds.
    pub table_capacity: u64,
}

/// Settings that bear on what the kernel does at a box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KernelSettings {
    /// What stands at the layers in the world that the box is in.
    pub engines: Lineup,
    /// The box.
    pub place: Place,
    /// The values by their names below `/proc/sys`; those that this kernel does not have, or does not show, are left out.
    pub settings: BTreeMap<String, String>,
}

/// What carries frames.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LinkFacts {
    /// The kind: `memory`, `packet`, …
    pub kind: String,
    /// Frames that a receive ring holds before it loses any.
    pub slots: u32,
    /// Bytes of a slot, including what the link keeps beside the frame.
    pub slot_bytes: u32,
    /// Settings and circumstances that bear on speed or correctness, in words.
    pub notes: Vec<String>,
    /// Where the kind was chosen by measurement: what there was to choose from, the fastest first.
    #[serde(default)]
    pub candidates: Vec<LinkCandidate>,
}

/// A kind of link that could have carried frames.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LinkCandidate {
    /// The kind: `ring`, `xdp`, `packet`, and `packet-blocks` for AF_PACKET received in blocks.
    pub kind: String,
    /// Frames a second that one thread sent and received over a single hop before the run; none where the kind was refused.
    pub rate_pps: Option<f64>,
    /// Why it was refused.
    pub refused: Option<String>,
    /// Whether the run was carried by it.
    pub taken: bool,
}

impl From<LinkDescription> for LinkFacts {
    fn from(link: LinkDescription) -> Self {
        let LinkDescription { kind, slots, slot_bytes, notes } = link;
        Self { kind: kind.to_string(), slots, slot_bytes, notes, candidates: Vec::new() }
    }
}

/// A measuring thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlacedThread {
    /// What it does.
    pub roles: Vec<String>,
    /// The processor it is pinned to; absent where there is only one.
    pub cpu: Option<usize>,
}

/// A TCP connection between two smoltcp endpoints through a design.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TcpCheck {
    /// What stands at the layers.
    #[serde(default)]
    pub engines: Lineup,
    /// Through which design.
    pub design: Design,
    /// True if it connected, carried all bytes both ways unchanged, closed, and the server saw the address that it should.
    pub passed: bool,
    /// Bytes sent each way.
    pub bytes: u64,
    /// The client's address and port as the server saw them.
    pub client_seen: Option<String>,
    /// What went wrong.
    pub failure: Option<String>,
}

/// What the trials say of a design at a frame size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DesignSummary {
    /// What stands at the layers.
    #[serde(default)]
    pub engines: Lineup,
    /// The design.
    pub design: Design,
    /// The frame size, with FCS.
    pub frame_size: FrameSize,
    /// Highest rate without loss, over the rounds; or the fixed rate's delivered rate. Absent if no round gave one.
    pub rate_pps: Option<Interval>,
    /// Rounds in which the generator, not the design, was the limit: the rate is then a lower bound.
    pub rounds_generator_bound: u32,
    /// Time that the layers' processor spent per delivered frame at that rate: fetching, deciding, sending. Absent where the kernel
    /// forwards at both layers.
    pub ns_per_packet: Option<Interval>,
    /// Time that all measuring processors together spent per delivered frame at that rate, spinning not counted: see
    /// [`Trial::cpu_ns_per_packet`].
    #[serde(default)]
    pub cpu_ns_per_packet: Option<Interval>,
    /// Of that, deciding and rewriting alone.
    pub process_ns_per_packet: Option<Interval>,
    /// Median latency from the intended send time at the stated fraction of the rate, over the rounds.
    pub latency_ns_p50: Option<Interval>,
    /// 99th percentile.
    pub latency_ns_p99: Option<Interval>,
    /// 99.9th percentile.
    pub latency_ns_p999: Option<Interval>,
    /// Highest rate at which every new connection gets through, in connections per second; a lower bound where the generator was the limit.
    #[serde(default)]
    pub connections_per_s: Option<Interval>,
    /// Flows to one destination that got through at once, of as many as were tried.
    #[serde(default)]
    pub usable_ports: Option<Interval>,
    /// All latency trials of the design together.
    pub latency: Option<Latencies>,
    /// Latency from the intended send time in all of them, as a curve: as far out as the number of frames allows.
    #[serde(default)]
    pub latency_curve: Vec<CurvePoint>,
    /// Time between the taps in all latency trials together.
    #[serde(default)]
    pub hops: Option<Hops>,
    /// What each round said, from round 1.
    #[serde(default)]
    pub rounds: Vec<RoundFigures>,
    /// The rounds as repetitions of a test, summarised as RFC 8219 does.
    #[serde(default)]
    pub repetitions: Repetitions,
}

/// Repetitions of the tests of RFC 8219 §7.1 and §7.2.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Repetitions {
    /// Throughput, in frames per second.
    pub throughput_pps: Option<Spread>,
    /// The rate at which latency was measured.
    pub latency_at_pps: Option<Spread>,
    /// Typical latency: medians, in nanoseconds.
    pub latency_typical_ns: Option<Spread>,
    /// Worst case latency: 99.9th percentiles, in nanoseconds.
    pub latency_worst_ns: Option<Spread>,
}

/// A figure over repetitions: the median, and as the error of measurement the 1st and the 99th percentile, by nearest rank.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Spread {
    /// Repetitions that gave a value.
    pub repetitions: u32,
    /// Median.
    pub median: f64,
    /// 1st percentile: the smallest of fewer than a hundred.
    pub percentile_1: f64,
    /// 99th percentile: the largest of fewer than a hundred.
    pub percentile_99: f64,
}

impl Spread {
    /// Of these values; none of no values.
    pub fn of(values: &[f64]) -> Option<Self> {
        Some(Self {
            repetitions: values.len() as u32,
            median: stats::median(values)?,
            percentile_1: stats::nearest_rank(values, 0.01)?,
            percentile_99: stats::nearest_rank(values, 0.99)?,
        })
    }
}

/// What each layer costs at a frame size: differences between designs within a round, over the rounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CostSummary {
    /// What stands at the layers.
    #[serde(default)]
    pub engines: Lineup,
    /// The frame size, with FCS.
    pub frame_size: FrameSize,
    /// In nanoseconds per delivered frame on the layers' processor.
    pub ns_per_packet: Option<Effects>,
    /// In nanoseconds per delivered frame on all measuring processors together.
    #[serde(default)]
    pub cpu_ns_per_packet: Option<Effects>,
    /// In frames per second of the highest rate without loss. Negative: slower.
    pub rate_pps: Option<Effects>,
    /// In nanoseconds of median latency.
    pub latency_ns_p50: Option<Effects>,
    /// In nanoseconds of the 99th percentile.
    pub latency_ns_p99: Option<Effects>,
    /// In nanoseconds of the 99.9th percentile.
    pub latency_ns_p999: Option<Effects>,
    /// In new connections per second. Negative: slower.
    #[serde(default)]
    pub connections_per_s: Option<Effects>,
    /// In flows to one destination. Design none has as many as were tried.
    #[serde(default)]
    pub usable_ports: Option<Effects>,
    /// Both layers' latency beside the convolution of the single layers'.
    #[serde(default)]
    pub independent: Option<Independent>,
}

/// One lineup against another in the same design: quotients within a round, over the rounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EngineComparison {
    /// The design.
    pub design: Design,
    /// The frame size, with FCS.
    pub frame_size: FrameSize,
    /// What is compared: the numerator.
    pub engines: Lineup,
    /// With what: the denominator.
    pub against: Lineup,
    /// Quotient of the highest rates without loss. Above 1: faster.
    pub rate: Option<Interval>,
    /// Quotient of processor time per delivered frame, over all measuring processors. Below 1: cheaper.
    pub cpu_ns_per_packet: Option<Interval>,
    /// Quotient of median latencies. Below 1: quicker. Each at its own rate.
    pub latency_ns_p50: Option<Interval>,
    /// Quotient of 99th percentiles.
    pub latency_ns_p99: Option<Interval>,
    /// The same figures, judged.
    #[serde(default)]
    pub judged: Vec<Judged>,
}

/// The 2×2: what each layer adds, and what the two add to each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Effects {
    /// `node` − `none`.
    pub node: Interval,
    /// `gateway` − `none`.
    pub gateway: Interval,
    /// `both` − `gateway`: what masquerading on the node costs where a NAT gateway stands anyway.
    pub node_on_top: Interval,
    /// `both` − `node` − `gateway` + `none`.
    pub interaction: Interval,
}

impl RunResult {
    /// A run that begins: nothing has been measured yet.
    pub fn begun(
        natrig: Program,
        started_at: String,
        command: Vec<String>,
        environment: Environment,
        scenario: Scenario,
    ) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            natrig,
            status: Status::Running,
            started_at,
            elapsed_ns: 0,
            command,
            scenario,
            host: HostFacts::read(),
            environment,
            tcp_checks: Vec::new(),
            trials: Vec::new(),
            searches: Vec::new(),
            loads: Vec::new(),
            designs: Vec::new(),
            costs: Vec::new(),
            comparisons: Vec::new(),
            sequential: None,
            aa: None,
            stamp_costs: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Writes the result next to `path` and renames it into place: whoever reads `path` sees the old file or the new one, whole.
    ///
    /// # Errors
    /// Whatever the file system returns.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        write_json(path, self)
    }

    /// Trials that count towards a headline.
    pub fn valid_trials(&self) -> impl Iterator<Item = &Trial> {
        self.trials.iter().filter(|trial| trial.is_valid())
    }
}

/// Writes `value` next to `path` and renames it into place.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let beside = path.with_extension("json.partial");
    let mut file = std::fs::File::create(&beside)?;
    serde_json::to_writer_pretty(io::BufWriter::new(&file), value)?;
    file.write_all(b"\n")?;
    file.sync_data()?;
    std::fs::rename(&beside, path)
}
