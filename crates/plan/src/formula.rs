//! Closed forms: each with a name that figures refer to, the formula in words, and where it is from.

use natrig_nat::behaviour::{Behaviour, Midstream};
use serde::{Deserialize, Serialize};

/// A formula that figures refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Formula {
    /// Its name in reports.
    pub name: &'static str,
    /// In words.
    pub text: &'static str,
    /// Where it is from.
    pub source: &'static str,
}

macro_rules! formulas {
    ($($(#[doc = $doc:literal])+ $id:ident = $name:literal, $text:literal, $source:literal;)+) => {
        $($(#[doc = $doc])+ pub const $id: Formula = Formula { name: $name, text: $text, source: $source };)+
        /// All of them.
        pub const ALL: &[Formula] = &[$($id),+];
    };
}

formulas! {
    /// Connections open at once.
    LITTLE = "little", "connections at once = rate × mean life", "J. D. C. Little, Operations Research 9 (1961)";
    /// Ports in use at once.
    IN_USE = "ports-in-use", "ports in use = rate × (life + closing timer + hold + wait for collection)",
        "Little's law, applied to ports";
    /// Refusals.
    LOSS = "loss", "refusals = Σ πₙ f(n) of the birth-death process that grows at load × (1 − f(n)) and shrinks at n; f: refusals of the search at n ports in use",
        "A. K. Erlang (1917), with state-dependent refusals";
    /// Ports that can be used.
    USABLE = "usable", "connections to one destination ≤ addresses × min(ports, limit per destination) × usable share",
        "RFC 4787 section 4.2.1, RFC 7857 section 3: ports are per destination where they may overlap";
    /// Highest rate.
    RATE_MAX = "rate-max", "connections a second ≤ ports / (life + time for which the port is kept)", "Little's law";
    /// Double NAT.
    LAYERS = "layers", "connections to one destination ≤ min(nodes × what a node bears, what the gateway bears)",
        "each layer has port spaces of its own";
    /// Port blocks.
    BLOCKS = "blocks", "nodes per address = ⌊ports / ports per node⌋", "Cloud NAT documentation, ports";
    /// Addresses.
    ADDRESSES = "addresses", "fewest addresses whose refusals stay below the target; at least ⌈connections / connections per address⌉",
        "loss formula over the pool";
    /// Keepalive.
    KEEPALIVE = "keepalive", "interval < the shortest idle timer on the way; half of it leaves room for a lost probe",
        "RFC 1122 section 4.2.3.6, RFC 4787 REQ-6";
    /// Tables.
    TABLE = "table", "entries ≥ Σ rate × (life + timers) / 0.8", "a table that is at most 80 % full";
    /// Packets or bits.
    CROSSOVER = "crossover", "packets bind below bits per second / (8 × packets per second) bytes", "both limits of a device";
    /// Kept source ports collide.
    BIRTHDAY = "birthday", "chance that two of n source ports are the same = 1 − exp(−n² / (2 × ports))", "birthday problem";
    /// Looking for a port.
    TRIES = "tries", "ports looked at for a new connection = 1 / (1 − share in use) where each look is at any port, more where it is at the next one",
        "mean of the geometric distribution";
    /// Ephemeral ports.
    EPHEMERAL = "ephemeral", "connections of a pod to one destination ≤ 28,232, those in TIME_WAIT included",
        "Linux, net.ipv4.ip_local_port_range; TIME_WAIT lasts 60 s (include/net/tcp.h, TCP_TIMEWAIT_LEN)";
    /// Switching.
    SWITCH = "switch", "switching a layer on or off ends every connection that goes through it: its far end knows another address or port",
        "a connection is known by its four-tuple (RFC 9293 section 3.3.1)";
}

/// Connections to one destination that so many addresses bear, when a share of the ports is usable.
#[must_use]
pub fn connections_max(addresses: u32, ports: u32, limit_per_destination: u32, usable_share: f64) -> f64 {
    let each = if limit_per_destination > 0 { ports.min(limit_per_destination) } else { ports };
    f64::from(addresses) * f64::from(each) * usable_share
}

/// Connections a second that so many ports bear, each for a life and the time for which it is kept after that.
#[must_use]
pub fn rate_max_per_s(ports: f64, life_s: f64, kept_s: f64) -> f64 {
    ports / (life_s + kept_s)
}

/// Connections to one destination that two layers bear, and whether the nodes are what binds.
#[must_use]
pub fn layers_max(nodes: u32, node_max: f64, gateway_max: f64) -> (f64, bool) {
    let node = f64::from(nodes) * node_max;
    (node.min(gateway_max), node < gateway_max)
}

/// Nodes that one address serves, with so many ports set aside for each.
#[must_use]
pub fn nodes_per_address(ports: u32, ports_per_node: u32) -> u32 {
    ports / ports_per_node.max(1)
}

/// Fewest addresses for so many connections to one destination, with nothing to spare.
#[must_use]
pub fn addresses_min(connections: f64, connections_per_address: f64) -> u32 {
    (connections / connections_per_address).ceil().max(1.0) as u32
}

/// The longest interval between keepalive probes, given the idle timers on the way.
#[must_use]
pub fn keepalive_max_s(idle_timers_s: &[u32]) -> Option<u32> {
    idle_timers_s.iter().min().map(|shortest| shortest.saturating_sub(1).max(1))
}

/// Entries that a table should have room for.
#[must_use]
pub fn table_entries(in_use: f64, entries_per_flow: f64) -> u64 {
    (in_use * entries_per_flow / 0.8).ceil() as u64
}

/// Length of a packet in bytes below which packets bind rather than bits.
#[must_use]
pub fn crossover_bytes(bits_per_s: u64, packets_per_s: u64) -> Option<f64> {
    (bits_per_s > 0 && packets_per_s > 0).then(|| bits_per_s as f64 / (8.0 * packets_per_s as f64))
}

/// Chance that at least two of `connections` from different pods have the same source port.
#[must_use]
pub fn collision_probability(connections: f64, ephemeral_ports: f64) -> f64 {
    1.0 - (-connections * connections / (2.0 * ephemeral_ports)).exp()
}

/// Ports that are looked at for a new connection when so large a share is in use and each look is at any port.
#[must_use]
pub fn tries(share_in_use: f64) -> f64 {
    1.0 / (1.0 - share_in_use)
}

/// What open connections get when the layer before the gateway is switched on or off under them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Switched {
    /// A reset on their next segment: known at once to who sends.
    ResetOnNextSegment,
    /// Silence: known after retransmissions (net.ipv4.tcp_retries2, about 924 s) or by keepalive.
    Silence,
    /// A new port that the far end does not know; it answers with a reset.
    ResetByFarEnd,
}

/// What a gateway does with the segments of connections that it does not know.
#[must_use]
pub const fn switched(gateway: &Behaviour) -> Switched {
    match gateway.tcp_rules.midstream {
        Midstream::Reset => Switched::ResetOnNextSegment,
        Midstream::Drop => Switched::Silence,
        Midstream::Translate => Switched::ResetByFarEnd,
    }
}

/// What the internet sees as the source of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SeenAs {
    /// The pod's own address: it has to be routable.
    Pod,
    /// The node's address.
    Node,
    /// An address of the gateway.
    Gateway,
}

/// What the internet sees, and what hosts of the network before the gateway see.
#[must_use]
pub const fn seen_as(node_translates: bool, gateway_translates: bool) -> (SeenAs, SeenAs) {
    let inside = if node_translates { SeenAs::Node } else { SeenAs::Pod };
    (if gateway_translates { SeenAs::Gateway } else { inside }, inside)
}
