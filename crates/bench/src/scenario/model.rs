//! What a scenario means: every setting resolved, every default filled in. This is what results echo.

use natrig_lab::plan::PortChoice;
use natrig_lab::topology::Topology;
use natrig_traffic::Arrivals;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::words::{Design, Engine, KernelAddress, KernelWork, LinkKind, TrafficDirection};
use crate::search::mlr;
use crate::stats::Looks;

/// One experiment: what stands where, what is sent, how it is measured, and when a trial counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Scenario {
    /// What the report is headed with.
    pub title: String,
    /// The question that the scenario answers, in words.
    pub question: String,
    /// The designs to compare, each once, in the order none, node, gateway, both.
    pub designs: Vec<Design>,
    /// Engines to compare, each standing at both layers, every design with each; empty: only what the layers name themselves.
    #[serde(default)]
    pub engines: Vec<Engine>,
    /// What all randomness comes from. At most 2⁵³ − 1, so that every JSON reader can hold it.
    pub seed: u64,
    /// The address plan, the same for all designs.
    pub topology: Topology,
    /// What stands at the node in the designs that translate there.
    pub node: Layer,
    /// What stands at the gateway in the designs that translate there.
    pub gateway: Layer,
    /// What is sent.
    pub traffic: Traffic,
    /// How it is measured.
    pub measure: Measure,
    /// When a trial counts.
    pub limits: Limits,
    /// How frames travel between the stages.
    pub link: Link,
}

/// What translates at a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Layer {
    /// What does the translating, unless [`Scenario::engines`] says so for both layers.
    pub engine: Engine,
    /// How the engine `userspace` behaves: the name of a built-in profile, or the path of a TOML file (then with a `/` or the ending
    /// `.toml`).
    pub profile: String,
    /// Which address the engine `nftables` translates to.
    #[serde(default = "masquerade")]
    pub nat: KernelAddress,
    /// How the engine `nftables` chooses ports.
    #[serde(default = "as_the_kernel_likes")]
    pub ports: PortChoice,
    /// Which ports the engine `nftables` uses for TCP and UDP; absent: the kernel's own choice, 1024 to 65535.
    #[serde(default)]
    pub port_range: Option<PortRange>,
}

/// Results from before there was a choice are without these.
const fn masquerade() -> KernelAddress {
    KernelAddress::Masquerade
}

const fn as_the_kernel_likes() -> PortChoice {
    PortChoice::Default
}

impl Layer {
    /// natrig's own NAT with the built-in profile of that name, and the kernel's as it is without options.
    #[must_use]
    pub fn userspace(profile: &str) -> Self {
        Self {
            engine: Engine::Userspace,
            profile: profile.to_owned(),
            nat: masquerade(),
            ports: as_the_kernel_likes(),
            port_range: None,
        }
    }

    /// Whether [`Self::profile`] is the path of a file rather than a built-in name.
    #[must_use]
    pub fn profile_is_file(&self) -> bool {
        self.profile.contains('/') || self.profile.ends_with(".toml")
    }
}

/// What stands at the two layers: their engines decide who forwards there, too, in designs that do not translate at a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Lineup {
    /// At the node.
    pub node: Engine,
    /// At the gateway.
    pub gateway: Engine,
}

impl Lineup {
    /// natrig's own at both layers.
    pub const USERSPACE: Self = Self::both(Engine::Userspace);

    /// The same engine at both layers.
    #[must_use]
    pub const fn both(engine: Engine) -> Self {
        Self { node: engine, gateway: engine }
    }

    /// What stands first on the way out.
    #[must_use]
    pub fn first(self) -> Engine {
        if self.node == Engine::Absent { self.gateway } else { self.node }
    }

    /// Whether `engine` stands at a layer.
    #[must_use]
    pub fn has(self, engine: Engine) -> bool {
        self.node == engine || self.gateway == engine
    }
}

impl Default for Lineup {
    fn default() -> Self {
        Self::USERSPACE
    }
}

impl std::fmt::Display for Lineup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.node == self.gateway {
            return self.node.fmt(f);
        }
        f.pad(&format!("{} + {}", self.node, self.gateway))
    }
}

impl Scenario {
    /// What stands at the layers, one entry for each world that is measured.
    #[must_use]
    pub fn lineups(&self) -> Vec<Lineup> {
        if self.engines.is_empty() {
            return vec![self.lineup()];
        }
        self.engines.iter().copied().map(Lineup::both).collect()
    }

    /// The first of them: what stands in a world that is not measured in.
    #[must_use]
    pub fn lineup(&self) -> Lineup {
        let layers = Lineup { node: self.node.engine, gateway: self.gateway.engine };
        self.engines.first().copied().map_or(layers, Lineup::both)
    }

    /// Whether some design has the kernel translate, which needs the program `nft`.
    #[must_use]
    pub fn needs_nft(&self) -> bool {
        self.lineups().iter().any(|lineup| {
            self.designs.iter().any(|design| {
                (design.translates_at_node() && lineup.node == Engine::Nftables)
                    || (design.translates_at_gateway() && lineup.gateway == Engine::Nftables)
            })
        })
    }
}

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Traffic {
    /// How many flows, spread over pods, source ports and servers.
    pub flows: u32,
    /// The frame sizes, each measured on its own.
    pub frame_sizes: Vec<FrameSize>,
    /// When frames are meant to leave.
    pub schedule: Arrivals,
    /// Which ways carry measured frames.
    pub direction: TrafficDirection,
    /// The port that the servers listen on.
    pub dst_port: u16,
    /// The ports that pods send from.
    pub src_ports: PortRange,
}

/// UDP ports from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PortRange {
    /// The lowest port.
    pub first: u16,
    /// The highest port, not below the lowest.
    pub last: u16,
}

impl PortRange {
    /// How many ports there are.
    #[must_use]
    pub fn count(self) -> u32 {
        u32::from(self.last) + 1 - u32::from(self.first)
    }
}

/// The size of frames in one series of trials, in bytes with FCS as RFC 2544 counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum FrameSize {
    /// All frames alike, in bytes with FCS.
    Bytes(u16),
    /// A mixture.
    Mix(FrameMix),
}

/// A mixture of frame sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum FrameMix {
    /// Of 48 frames 28 have 64 bytes, 16 have 570 and 4 have 1518: the IMIX of FD.io CSIT.
    #[serde(rename = "imix")]
    Imix,
}

impl FrameMix {
    /// How many frames of which size (bytes with FCS) make up one period of the mixture.
    #[must_use]
    pub fn parts(self) -> &'static [(u16, u16)] {
        match self {
            Self::Imix => &[(28, 64), (16, 570), (4, 1518)],
        }
    }
}

impl FrameSize {
    /// The largest frame that occurs, in bytes with FCS.
    #[must_use]
    pub fn largest_bytes(self) -> u16 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Mix(mix) => mix.parts().iter().map(|&(_, bytes)| bytes).max().unwrap_or(0),
        }
    }
}

impl std::fmt::Display for FrameSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bytes(bytes) => f.pad(&bytes.to_string()),
            Self::Mix(FrameMix::Imix) => f.pad("imix"),
        }
    }
}

/// How it is measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Measure {
    /// How often everything is measured; the order of designs is drawn anew in each round.
    pub rounds: u32,
    /// How long a trial sends, in milliseconds.
    pub trial_ms: u32,
    /// How long a latency trial sends, in milliseconds; 0: there is none, rates are all that is asked for.
    pub latency_ms: u32,
    /// At which share of the rate found (or fixed) latency is measured.
    pub latency_fraction: f64,
    /// At which shares of the rate latency is measured over established and newly opened flows apart, 0: idle; empty: at none.
    #[serde(default)]
    pub latency_loads: Vec<f64>,
    /// How many flows are opened in each of these trials.
    #[serde(default)]
    pub new_flows: u32,
    /// With how many connections the connection rate is measured, each once through empty tables; then also how many ports there are to
    /// one destination. 0: neither is measured.
    #[serde(default)]
    pub connections: u32,
    /// After how many rounds the comparisons are looked at for the first time, to stop when all are decided; 0: not before the last one.
    #[serde(default)]
    pub first_look: u32,
    /// After how many further rounds again.
    #[serde(default)]
    pub look_every: u32,
    /// Which rates are offered.
    pub rate: Rate,
    /// When to start no further round, in seconds.
    pub time_limit_s: u32,
}

impl Measure {
    /// The looks at the comparisons, where the run may end early.
    #[must_use]
    pub fn looks(&self) -> Option<Looks> {
        (self.first_look > 0).then(|| Looks::new(self.first_look, self.look_every, self.rounds))
    }

    /// False where rates are all that is asked for.
    #[must_use]
    pub fn asks_for_latency(&self) -> bool {
        self.latency_ms > 0
    }
}

/// Which rates are offered.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rate {
    /// Search for the highest rate without loss.
    Search(Search),
    /// Search for the highest rates that lose at most a stated share, each load judged from several trials.
    Mlrsearch(MlrSearch),
    /// Offer this many frames per second.
    FixedPps(u32),
}

impl Rate {
    /// The highest rate that is ever offered, in frames per second.
    #[must_use]
    pub fn highest_pps(self) -> u32 {
        match self {
            Self::Search(search) => search.max_pps,
            Self::Mlrsearch(search) => search.max_pps,
            Self::FixedPps(pps) => pps,
        }
    }

    /// The lowest rate that a trial can be asked for, in frames per second.
    #[must_use]
    pub fn lowest_pps(self) -> u32 {
        match self {
            Self::Search(search) => search.min_pps,
            Self::Mlrsearch(search) => search.min_pps,
            Self::FixedPps(pps) => pps,
        }
    }

    /// The longest that it takes per design, frame size and round, in milliseconds, the latency trial not counted: trials of `trial_ms`,
    /// each with `overhead_ms` around it.
    #[must_use]
    pub fn duration_ms_max(self, trial_ms: u32, overhead_ms: u64) -> u64 {
        let trial_ms = u64::from(trial_ms);
        match self {
            Self::Search(search) => u64::from(search.max_trials) * (trial_ms + overhead_ms),
            Self::Mlrsearch(search) => {
                // The last trial may begin just before the budget is spent.
                let spent_ms = u64::from(search.budget_s) * 1000 + trial_ms;
                let trials = spent_ms.div_ceil(u64::from(search.initial_trial_ms).clamp(1, trial_ms));
                spent_ms + trials * overhead_ms
            }
            Self::FixedPps(_) => trial_ms + overhead_ms,
        }
    }
}

/// How the highest rate without loss is searched for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Search {
    /// The lowest rate to try, in frames per second.
    pub min_pps: u32,
    /// The highest rate to try, in frames per second.
    pub max_pps: u32,
    /// The search ends when the lowest rate that failed is at most this share above the highest that passed.
    pub precision: f64,
    /// How many further trials in a row a rate must pass to be the answer.
    pub confirm: u32,
    /// The search ends after this many trials, those that confirm included.
    pub max_trials: u32,
}

/// How MLRsearch (draft-ietf-bmwg-mlrsearch) goes about it. [`Measure::trial_ms`] is the Goal Final Trial Duration.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MlrSearch {
    /// Min Load, frames per second.
    pub min_pps: u32,
    /// Max Load, frames per second: the first trial's.
    pub max_pps: u32,
    /// Goal Loss Ratio of the second goal (PDR); 0: only the first, without loss (NDR).
    pub pdr_loss_ratio: f64,
    /// Goal Exceed Ratio of both.
    pub exceed_ratio: f64,
    /// Goal Width of both, (upper − lower) / upper.
    pub width: f64,
    /// Goal Initial Trial Duration of both, in milliseconds.
    pub initial_trial_ms: u32,
    /// Goal Duration Sum of both, in milliseconds.
    pub duration_sum_ms: u32,
    /// The search ends with what it has after this much time in trials, in seconds.
    pub budget_s: u32,
}

impl MlrSearch {
    /// The goals, NDR first, for trials of `trial_ms`.
    #[must_use]
    pub fn goals(&self, trial_ms: u32) -> Vec<mlr::Goal> {
        let ns = |ms: u32| u64::from(ms) * 1_000_000;
        let goal = |loss_ratio| mlr::Goal {
            loss_ratio,
            exceed_ratio: self.exceed_ratio,
            final_trial_duration_ns: ns(trial_ms),
            duration_sum_ns: ns(self.duration_sum_ms),
            relative_width: self.width,
            initial_trial_duration_ns: ns(self.initial_trial_ms),
            intermediate_phases: 2,
        };
        let pdr = (self.pdr_loss_ratio > 0.0).then(|| goal(self.pdr_loss_ratio));
        [goal(0.0)].into_iter().chain(pdr).collect()
    }
}

/// When a trial counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    /// By how much the 99th percentile of frames may leave later than intended, in microseconds.
    pub send_lag_p99_us: u32,
    /// By which share of its duration a trial may take longer to send all frames.
    pub overrun: f64,
    /// For which share of a trial somebody else may have the measuring processors, where each measuring thread has one of its own.
    #[serde(default = "disturbed")]
    pub disturbed: f64,
    /// How often a trial that does not count is repeated.
    pub max_retries: u32,
}

/// A busy neighbour shows; the kernel's own housekeeping passes.
pub(super) const fn disturbed() -> f64 {
    0.1
}

/// How frames travel between the stages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Link {
    /// What carries them.
    pub kind: LinkKind,
    /// How many frames each receive ring holds at least; absent: as many as suit the kind of link.
    pub slots: Option<u32>,
    /// Which processors are used.
    pub placement: Placement,
    /// Where the kernel works, at the layers where it forwards.
    #[serde(default = "inside_calls")]
    pub kernel: KernelWork,
}

const fn inside_calls() -> KernelWork {
    KernelWork::Inline
}

/// Which processors are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// Chosen from those that the process may use: one for the generator and one for the system under test where there are two, the
    /// pair that carried most when each was tried for a moment at the start; else all on one.
    Auto,
    /// All on one, in one thread: it sends a burst, moves it through the layers, receives it, and begins again. Nothing can overflow and
    /// no memory is passed between processors, but how a design behaves under more load than it carries is not seen.
    RunToCompletion,
    /// These; the same one twice: run to completion on that one.
    Cpus {
        /// Where generator and reflector run.
        tester: u16,
        /// Where the system under test runs.
        dut: u16,
    },
}
