//! Every parameter that makes one NAT differ from another, in the words of RFC 4787 where it has them.
//!
//! A [`Behaviour`] says nothing about addresses; a [`Config`](crate::Config) adds them. Profiles are behaviours in TOML with the source
//! of each value beside it. Zero means "no limit" where a field says so.

use serde::{Deserialize, Serialize};

/// Which part of the remote end a mapping or a filter depends on (RFC 4787 §4.1, §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dependence {
    /// None: any remote end.
    EndpointIndependent,
    /// The remote address.
    AddressDependent,
    /// The remote address and port.
    AddressAndPortDependent,
}

/// When one outside port may serve two inside ends at once ("port overloading", RFC 4787 §4.2.1; "port overlapping", RFC 7857 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overload {
    /// Never.
    Never,
    /// When the remote addresses differ.
    PerAddress,
    /// When the remote addresses or ports differ.
    PerEndpoint,
}

/// What happens to fragments of a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FragmentRule {
    /// All are dropped.
    Drop,
    /// Translated if the first fragment came first; others are dropped.
    Track,
    /// Translated in any order: those that arrive before the first fragment wait for it, within bounds.
    Hold,
}

/// Which directions of traffic keep a mapping alive (RFC 4787 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refresh {
    /// Outbound only.
    Outbound,
    /// Inbound only.
    Inbound,
    /// Either.
    Both,
}

/// The behaviour for one transport protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProtocolRules {
    /// False: packets of this protocol are dropped as untranslatable.
    pub translate: bool,
    /// Mapping behaviour.
    pub mapping: Dependence,
    /// Filtering behaviour.
    pub filtering: Dependence,
    /// Port overloading.
    pub overload: Overload,
    /// Fragments.
    pub fragments: FragmentRule,
    /// Refresh direction.
    pub refresh: Refresh,
}

/// Which outside address a new mapping gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressChoice {
    /// The first that has a port to give.
    FirstFit,
    /// One after the other.
    RoundRobin,
    /// Any, at random; if it has no port to give, the next one that has.
    Random,
    /// By a hash of the inside address; no other is tried.
    HashSource,
    /// By a hash of the inside and the remote address; no other is tried.
    HashSourceDestination,
}

/// How the pool of outside addresses is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolRules {
    /// Paired pooling (RFC 4787 §4.1): all mappings of one inside address use the same outside address. False: arbitrary.
    pub paired: bool,
    /// The choice for a new mapping, or with paired pooling for a new inside address.
    pub choice: AddressChoice,
}

/// An inclusive range of ports, or of ICMP identifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u16, u16)", into = "(u16, u16)")]
pub struct PortRange {
    /// First.
    pub low: u16,
    /// Last.
    pub high: u16,
}

impl PortRange {
    /// `low..=high`.
    pub const fn new(low: u16, high: u16) -> Self {
        Self { low, high }
    }

    /// How many ports; none if `low > high`.
    pub const fn len(self) -> u32 {
        if self.low > self.high { 0 } else { self.high as u32 - self.low as u32 + 1 }
    }

    /// True if there are none.
    pub const fn is_empty(self) -> bool {
        self.low > self.high
    }

    /// True if `port` is in it.
    pub const fn contains(self, port: u16) -> bool {
        self.low <= port && port <= self.high
    }
}

impl From<(u16, u16)> for PortRange {
    fn from((low, high): (u16, u16)) -> Self {
        Self { low, high }
    }
}

impl From<PortRange> for (u16, u16) {
    fn from(range: PortRange) -> Self {
        (range.low, range.high)
    }
}

/// What becomes of privileged source ports (RFC 4787 REQ-3a).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LowPorts {
    /// Nothing special: every source port is mapped into the range.
    Ignore,
    /// Linux: below 512 to 1–511, 512–1023 to 600–1023 (nf_nat_core.c, nf_nat_l4proto_unique_tuple).
    Netfilter,
    /// 0–1023 to 1–1023, the rest into the range.
    SameClass,
}

/// Where the search for a free port starts when the source port is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortSeed {
    /// At random.
    Random,
    /// At a keyed hash of the flow.
    Hash,
    /// Behind the port given last.
    Sequential,
    /// At the source port.
    Source,
}

/// How the search goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// The next free port, found in constant time however full the range is. Where ports may be overloaded it is searched for one by one.
    Scan,
    /// The first collision goes to a random port, each later one to the clamped successor of the port (Cilium). With
    /// [`Clamp::Multiply`] that is not a walk but a contraction.
    Step,
    /// Windows of consecutive ports, each from a new random offset, each half as long as the one before, down to 8 (Linux).
    Windows,
    /// Each time a random port.
    Random,
}

/// How a 16-bit number is brought into the port range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clamp {
    /// `low + (v * n >> 16)`.
    Multiply,
    /// `low + v % n`.
    Modulo,
    /// `low + v % (n - 1)`: never the last port.
    ModuloExclusive,
}

/// Port allocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortRules {
    /// Ports for TCP and UDP.
    pub range: PortRange,
    /// A second range, or none: each allocation picks one of the two at random, weighted by size, and turns to the other if it fails.
    pub extra_range: Option<PortRange>,
    /// Ports in the range never given out.
    pub reserved: Vec<PortRange>,
    /// Identifiers for ICMP queries.
    pub icmp_range: PortRange,
    /// Privileged source ports.
    pub low_ports: LowPorts,
    /// Keep the source port if it is in the range and free.
    pub preserve: bool,
    /// Give even ports to even source ports and odd to odd (RFC 4787 REQ-4; UDP only).
    pub parity: bool,
    /// Give a new session of an inside end the outside end of an existing one if that is free there (Linux, find_appropriate_src).
    pub reuse_source_mapping: bool,
    /// Start of the search.
    pub seed: PortSeed,
    /// Course of the search.
    pub probe: Probe,
    /// Into the range.
    pub clamp: Clamp,
    /// Ports tried before giving up; for `windows` the length of the first window; 0 = as many as there are (`scan`).
    pub max_attempts: u32,
    /// In the last so many attempts of a window a colliding TCP connection in TIME_WAIT or CLOSE is evicted if the new initial sequence
    /// number lies beyond its last one (Linux ≥ 6.5); 0 = never.
    pub evict_closing_within: u32,
    /// Connections per outside address to one remote address, port and protocol; 0 = no limit.
    pub max_per_destination: u32,
    /// A search that took more than half of its attempts asks for collection of dead entries (Cilium's signal).
    pub pressure_signal: bool,
}

/// Idle timers, seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timers {
    /// SYN seen, no answer yet.
    pub tcp_syn_sent_s: u32,
    /// SYN answered, handshake not complete.
    pub tcp_syn_received_s: u32,
    /// Established.
    pub tcp_established_s: u32,
    /// One FIN seen, not acknowledged.
    pub tcp_fin_wait_s: u32,
    /// One FIN seen and acknowledged.
    pub tcp_close_wait_s: u32,
    /// Both FINs seen.
    pub tcp_last_ack_s: u32,
    /// Both FINs seen and acknowledged.
    pub tcp_time_wait_s: u32,
    /// RST seen.
    pub tcp_close_s: u32,
    /// Taken up in midstream, nothing from the other side yet.
    pub tcp_midstream_s: u32,
    /// UDP in one direction only.
    pub udp_new_s: u32,
    /// UDP answered.
    pub udp_stream_s: u32,
    /// ICMP queries.
    pub icmp_s: u32,
}

/// How long an outside port stays unused after its mapping ended, seconds (RFC 6888 REQ-8); 0 = not at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldRules {
    /// After a TCP connection that closed with FINs or timed out.
    pub tcp_fin_s: u32,
    /// After a TCP connection that was reset.
    pub tcp_rst_s: u32,
    /// After UDP.
    pub udp_s: u32,
    /// After ICMP queries.
    pub icmp_s: u32,
}

/// How closing is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TcpMachine {
    /// RFC 7857 §2: FINs by direction, a half-closed connection stays established, data after an RST revives.
    Rfc7857,
    /// nf_conntrack_proto_tcp.c's table.
    Netfilter,
    /// A FIN closes its direction, an RST both; closed when both are (conntrack.h).
    Cilium,
}

/// What happens to an outbound TCP segment that belongs to no connection and is no SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Midstream {
    /// It makes a mapping, as a SYN would.
    Translate,
    /// Dropped.
    Drop,
    /// Answered by a reset.
    Reset,
}

/// What happens to an inbound SYN that nobody waits for (RFC 5382 REQ-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnsolicitedSyn {
    /// Dropped.
    Drop,
    /// Answered by a reset.
    Reset,
    /// Held for 6 s: dropped if a SYN from inside crosses it, else answered by ICMP "port unreachable".
    Wait,
}

/// What a connection that was idle too long gets on its next packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdleExpiry {
    /// Whatever a packet of no connection gets.
    Silent,
    /// A TCP segment from inside that is no SYN is answered by a reset.
    ResetInside,
    /// A TCP segment that is no SYN is answered by a reset, from whichever side it comes.
    ResetBoth,
}

/// TCP beyond its timers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcpRules {
    /// State machine.
    pub machine: TcpMachine,
    /// Segments of unknown connections.
    pub midstream: Midstream,
    /// Connection attempts from outside.
    pub unsolicited_syn: UnsolicitedSyn,
    /// After idle expiry.
    pub idle_expiry: IdleExpiry,
}

/// ICMP messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IcmpRules {
    /// Errors (by type) that are translated; others are dropped.
    pub errors: Vec<u8>,
    /// Query types from inside that are translated, with the replies to them: 8 echo, 13 timestamp, 17 address mask.
    pub queries: Vec<u8>,
    /// Answers echo requests to an outside address that has no mapping for them.
    pub answer_echo: bool,
    /// ICMP errors built by the translator itself, at most so many a second (RFC 1812 §4.3.2.8); 0 = no limit.
    pub built_per_second: u32,
}

/// How a source's ports are set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortBlocks {
    /// Not at all: all sources share all ports.
    Shared,
    /// A block of `block_min` ports for each source.
    Static,
    /// A block of `block_min` ports that doubles when it is nearly used up, to at most `block_max`.
    Dynamic,
}

/// Limits per inside source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuotaRules {
    /// Length of the prefix of the inside address that counts as one source; 32 = each address.
    pub source_prefix_len: u8,
    /// Outside ports per source and protocol at once (RFC 6888 REQ-4); 0 = no limit.
    pub ports_per_source: u32,
    /// Sessions per source at once (RFC 6888 REQ-5); 0 = no limit.
    pub sessions_per_source: u32,
    /// New mappings per source and second, with a burst of as many (RFC 6888 REQ-4C); 0 = no limit.
    pub new_per_second: u32,
    /// Port blocks.
    pub blocks: PortBlocks,
    /// Ports in a source's first block; a power of two.
    pub block_min: u32,
    /// Ports that a source's blocks may grow to; a power of two.
    pub block_max: u32,
    /// Sources remembered at once.
    pub max_sources: u32,
}

/// What a full table does with a new mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FullPolicy {
    /// Refuses it (RFC 6888 REQ-11D).
    Refuse,
    /// Evicts the least recently used session of a few.
    EvictOldest,
    /// Evicts the least recently used entry of a few, of which each session has two, one for each direction (BPF's LRU maps). A session that
    /// has lost one is translated in the other direction only.
    EvictEntry,
    /// The same, but a packet that finds the entry that is left makes the lost one again.
    EvictEntryRestore,
    /// Evicts one that was never answered if there is one among a few, else refuses (Linux, early_drop).
    EvictUnreplied,
}

impl FullPolicy {
    /// True if the two entries of a session go one by one.
    pub const fn by_entry(self) -> bool {
        matches!(self, Self::EvictEntry | Self::EvictEntryRestore)
    }
}

/// The mapping table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableRules {
    /// Mappings (with endpoint-dependent mapping: sessions) at once, held ports included.
    pub capacity: u32,
    /// When it is full.
    pub full: FullPolicy,
}

/// When dead entries are collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Collection {
    /// When their timer runs out.
    Exact,
    /// By a collector that runs at intervals: what it has not collected yet lives, blocks its port and is revived by a packet.
    Periodic,
}

/// Collection of dead entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectionRules {
    /// Kind; the rest is about `periodic`.
    pub mode: Collection,
    /// First interval, seconds.
    pub start_s: u32,
    /// Shortest interval, seconds: intervals shrink when a run collects more than 25 % of the table.
    pub min_s: u32,
    /// Longest interval, seconds: intervals grow by half when a run collects less than 5 %.
    pub max_s: u32,
}

/// What a packet gets for which no mapping could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exhaustion {
    /// Nothing.
    Drop,
    /// ICMP destination unreachable, host unreachable (3/1; RFC 6888 REQ-11B).
    HostUnreachable,
    /// ICMP destination unreachable, administratively prohibited (3/13; RFC 5508 REQ-8).
    AdministrativelyProhibited,
}

/// Packets between two inside hosts by way of an outside address (RFC 4787 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hairpin {
    /// Dropped.
    Drop,
    /// Translated at both ends: the receiver sees an outside address and port as the source (REQ-9a).
    ExternalSource,
}

/// Fragments, and the memory for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FragmentLimits {
    /// Datagrams followed at once.
    pub max_tracked: u32,
    /// Fragments that may wait at once for a first fragment (with inbound SYNs that wait: `unsolicited_syn`).
    pub max_held: u32,
    /// Of these, for one datagram.
    pub max_held_per_datagram: u32,
    /// Seconds after which a datagram is forgotten.
    pub timeout_s: u32,
}

/// What the identification field of a translated packet that may be fragmented becomes (RFC 6864 §5.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IpId {
    /// What it was: two inside hosts may clash.
    Preserve,
    /// For outbound packets without "don't fragment", a new one that is not repeated soon.
    Rewrite,
}

/// What happens to inbound packets whose destination is not an outside address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DirectInbound {
    /// Routed untranslated: the device is a router with a NAT on it.
    Route,
    /// Dropped, unless policy excludes the sender from translation.
    Drop,
}

/// Which destinations a profile does not translate by itself; a [`Policy`](crate::Policy) adds those of the site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyRules {
    /// Packets whose source is an outside address share the port space as host traffic; false: they are dropped as martians.
    pub host_traffic: bool,
    /// Inbound packets addressed past the translator.
    pub direct_inbound: DirectInbound,
    /// Remembers flows that begin with an inbound packet addressed past the translator, so that the replies are not translated.
    pub track_direct: bool,
    /// Translates packets to link-local destinations (169.254/16).
    pub translate_link_local: bool,
    /// Inbound packets to an outside address whose port is outside the port ranges are for the host's own stack, not refused.
    pub host_ports: bool,
}

/// Capacity that a vendor states. Zero = not stated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapacityRules {
    /// Enforces the two limits below by dropping what exceeds them.
    pub enforce: bool,
    /// Packets a second, both directions together.
    pub pps: u64,
    /// Bits a second, both directions together.
    pub bits_per_second: u64,
    /// Outside addresses that one device may have.
    pub max_addresses: u32,
}

/// Everything that makes one NAT differ from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Behaviour {
    /// UDP.
    pub udp: ProtocolRules,
    /// TCP.
    pub tcp: ProtocolRules,
    /// ICMP queries; the identifier is the port.
    pub icmp: ProtocolRules,
    /// Pool of outside addresses.
    pub pool: PoolRules,
    /// Port allocation.
    pub ports: PortRules,
    /// Idle timers.
    pub timers: Timers,
    /// Port hold.
    pub hold: HoldRules,
    /// TCP connections.
    pub tcp_rules: TcpRules,
    /// ICMP messages.
    pub icmp_rules: IcmpRules,
    /// Quotas.
    pub quota: QuotaRules,
    /// Table.
    pub table: TableRules,
    /// Collection.
    pub collection: CollectionRules,
    /// No mapping to be had.
    pub exhaustion: Exhaustion,
    /// Hairpinning.
    pub hairpin: Hairpin,
    /// Fragments.
    pub fragments: FragmentLimits,
    /// Identification field.
    pub ip_id: IpId,
    /// Policy.
    pub policy: PolicyRules,
    /// Capacity.
    pub capacity: CapacityRules,
}
