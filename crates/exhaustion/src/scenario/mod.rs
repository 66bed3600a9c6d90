//! What an exhaustion file means: every setting resolved, every default filled in. Results echo it.

mod bounds;
mod quick;
mod read;
mod setup;
mod world;

use natrig_bench::settings::Word;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use self::read::read;
pub use self::setup::{Over, Setup, Standing};
pub use self::world::World;

/// One experiment on one or several setups.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Scenario {
    /// What the report is headed with.
    pub title: String,
    /// The question that the scenario answers, in words.
    pub question: String,
    /// What all randomness comes from. At most 2⁵³ − 1, so that every JSON reader can hold it.
    pub seed: u64,
    /// How often everything is repeated, each time with other random numbers, the same for all setups.
    pub rounds: u32,
    /// No further step begins after so many seconds.
    pub time_limit_s: u32,
    /// What connections go through, each in turn.
    pub nats: Vec<Setup>,
    /// Who talks to whom.
    pub world: World,
    /// How they talk.
    pub traffic: Traffic,
    /// What differs at the node from the profile, or from the kernel's defaults.
    pub node: Changes,
    /// What differs at the gateway.
    pub gateway: Changes,
    /// What is done.
    pub experiment: Experiment,
}

natrig_bench::words! {
    /// What connections are made of.
    Protocol {
        /// TCP; the first packet is a SYN.
        Tcp = "tcp",
        /// UDP.
        Udp = "udp",
    }
}

/// How pods talk to servers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Traffic {
    /// Protocol.
    pub protocol: Protocol,
    /// Source ports, as pods' kernels choose them.
    pub src_ports: Ports,
    /// The servers' port.
    pub dst_port: u16,
    /// Exponent of Zipf's law by which servers are chosen; zero: all alike.
    pub skew: f64,
}

/// Consecutive ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ports {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

impl Ports {
    /// How many.
    pub fn count(self) -> u32 {
        u32::from(self.last - self.first) + 1
    }
}

impl std::str::FromStr for Ports {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (first, last) = text.split_once('-').ok_or(())?;
        let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
        match (port(first), port(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(()),
        }
    }
}

impl std::fmt::Display for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// What differs at a layer from what stands there. Absent: nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Changes {
    /// Ports for TCP and UDP.
    pub ports: Option<Ports>,
    /// Ports that one source address may have at once (RFC 6888 REQ-4); not of the kernel's NAT.
    pub ports_per_source: Option<u32>,
    /// Connections that the table holds; not of the kernel's NAT.
    pub table: Option<u32>,
    /// Idle timeout of established TCP connections, seconds.
    pub established_s: Option<u32>,
    /// All timeouts of TCP connections that are closing or closed, seconds.
    pub closing_s: Option<u32>,
    /// Both timeouts of UDP, seconds.
    pub udp_s: Option<u32>,
    /// How long a port stays unused after its connection ended, seconds; not of the kernel's NAT.
    pub hold_s: Option<u32>,
    /// Interval of a periodic collector, seconds; not of the kernel's NAT.
    pub collect_s: Option<u32>,
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Experiment {
    /// Connections are opened and never closed, until most are refused.
    Fill(Fill),
    /// Connections come and go: which rate is sustained, and how long does it take to recover from too much?
    Churn(Churn),
    /// One pod opens connections without end: who else is refused?
    BlastRadius(BlastRadius),
    /// Node and gateway forget after different times: what becomes of connections that are idle in between?
    TimeoutSkew(TimeoutSkew),
    /// Both layers' ports against each other.
    BothLayers(BothLayers),
    /// More connections than a table holds: which are given up?
    Replacement(ReplacementSettings),
}

/// Settings of [`Experiment::Fill`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fill {
    /// Ends when this share of a thousand attempts is refused.
    pub until_refused: f64,
    /// Ends at the latest after so many attempts per nominal port.
    pub attempts_per_port: f64,
}

/// Settings of [`Experiment::Churn`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Churn {
    /// Mean lifetime of a connection, from its first packet to its last.
    pub lifetime_s: f64,
    /// How long each rate is held before it counts, seconds: longer than lifetimes and timeouts together.
    pub warm_up_s: u32,
    /// How long it counts, seconds.
    pub measure_s: u32,
    /// How near the highest rate without refusal must be to the lowest with one.
    pub precision: f64,
}

/// Settings of [`Experiment::BlastRadius`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BlastRadius {
    /// Connections a second that the aggressor opens and never closes.
    pub aggressor_per_s: f64,
    /// Connections a second that each other pod opens.
    pub victim_per_s: f64,
    /// Their mean lifetime.
    pub victim_lifetime_s: f64,
    /// From the aggressor's first connection.
    pub duration_s: u32,
    /// Ports that each source may have, each tried in turn; zero: no quota. Of natrig's own NATs.
    pub quotas: Vec<u32>,
}

/// Settings of [`Experiment::TimeoutSkew`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TimeoutSkew {
    /// Idle timeouts of established connections at the node, seconds.
    pub node_s: Vec<u32>,
    /// The same at the gateway.
    pub gateway_s: Vec<u32>,
    /// Connections in each combination; each is idle for another time, up to a little more than the longest timeout.
    pub connections: u32,
    /// How long servers keep closed connections in TIME_WAIT, seconds.
    pub server_time_wait_s: u32,
    /// Connections that are opened and closed one after another to see how soon ports come back.
    pub reuse_connections: u32,
    /// How many of these a second.
    pub reuse_per_s: f64,
}

/// Settings of [`Experiment::BothLayers`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BothLayers {
    /// Numbers of nodes.
    pub nodes: Vec<u32>,
    /// Ports of each node.
    pub node_ports: Vec<u32>,
    /// Numbers of addresses at the gateway.
    pub gateway_addresses: Vec<u32>,
    /// Exponents of Zipf's law.
    pub skews: Vec<f64>,
    /// Share of refused attempts at which flows are read.
    pub at_refused: f64,
}

/// Settings of [`Experiment::Replacement`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReplacementSettings {
    /// Connections offered in the longest fill.
    pub offers_max: u32,
    /// Connections offered in the shortest. Absent: a quarter as many.
    pub offers_min: Option<u32>,
    /// How many fills.
    pub fills: u32,
    /// What connections have come to before the next ones are offered, each tried in turn.
    #[serde(default = "only_unanswered")]
    pub connections: Vec<Conversation>,
}

fn only_unanswered() -> Vec<Conversation> {
    vec![Conversation::Unanswered]
}

natrig_bench::words! {
    /// How far a connection has come.
    Conversation {
        /// Its first packet has been sent.
        Unanswered = "unanswered",
        /// It was answered; TCP's are established.
        Answered = "answered",
    }
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            title: "Port exhaustion".to_owned(),
            question: String::new(),
            seed: 1,
            rounds: 3,
            time_limit_s: 50,
            nats: Vec::new(),
            world: World::default(),
            traffic: Traffic {
                protocol: Protocol::Tcp,
                src_ports: Ports { first: 32_768, last: 60_999 },
                dst_port: 443,
                skew: 0.0,
            },
            node: Changes::default(),
            gateway: Changes::default(),
            experiment: Experiment::Fill(Fill::default()),
        }
    }
}

impl Default for Fill {
    fn default() -> Self {
        Self { until_refused: 0.6, attempts_per_port: 2.0 }
    }
}

impl Default for Churn {
    fn default() -> Self {
        Self { lifetime_s: 5.0, warm_up_s: 300, measure_s: 300, precision: 0.03 }
    }
}

impl Default for BlastRadius {
    fn default() -> Self {
        Self { aggressor_per_s: 200.0, victim_per_s: 1.0, victim_lifetime_s: 2.0, duration_s: 60, quotas: vec![0, 256] }
    }
}

impl Default for TimeoutSkew {
    fn default() -> Self {
        Self {
            node_s: vec![350, 8000],
            gateway_s: vec![350, 8000],
            connections: 200,
            server_time_wait_s: 60,
            reuse_connections: 20_000,
            reuse_per_s: 20.0,
        }
    }
}

impl Default for BothLayers {
    fn default() -> Self {
        Self {
            nodes: vec![1, 2, 4, 8],
            node_ports: vec![256, 1024],
            gateway_addresses: vec![1, 2, 4],
            skews: vec![0.0],
            at_refused: 0.01,
        }
    }
}

#[expect(clippy::derivable_impls, reason = "the macro that makes words derives no default")]
impl Default for Conversation {
    fn default() -> Self {
        Self::Unanswered
    }
}

impl Default for ReplacementSettings {
    fn default() -> Self {
        Self { offers_max: 8000, offers_min: None, fills: 12, connections: only_unanswered() }
    }
}

impl Experiment {
    /// The word that stands for it in files.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Fill(_) => "fill",
            Self::Churn(_) => "churn",
            Self::BlastRadius(_) => "blast-radius",
            Self::TimeoutSkew(_) => "timeout-skew",
            Self::BothLayers(_) => "both-layers",
            Self::Replacement(_) => "replacement",
        }
    }
}
