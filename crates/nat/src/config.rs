//! What a translator is made from: a behaviour, and the addresses it acts on.

use crate::behaviour::{Behaviour, Dependence, HoldRules, Overload, PortBlocks, Probe, ProtocolRules};
use crate::policy::Policy;
use core::net::Ipv4Addr;

/// Everything [`Nat::new`](crate::Nat::new) needs but a seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Pool of outside addresses; at least one.
    pub outside: Vec<Ipv4Addr>,
    /// Source of ICMP errors sent to the inside.
    pub inside_router: Ipv4Addr,
    /// Source of ICMP errors sent to the outside.
    pub outside_router: Ipv4Addr,
    /// MTU of the link on the inside, if packets may be too long for it.
    pub inside_mtu: Option<u16>,
    /// MTU of the link on the outside, if packets may be too long for it.
    pub outside_mtu: Option<u16>,
    /// How it behaves.
    pub behaviour: Behaviour,
    /// What is translated at all.
    pub policy: Policy,
}

/// Why a configuration cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No outside address.
    #[error("pool of outside addresses is empty")]
    NoOutside,
    /// An address twice in the pool.
    #[error("outside address {0} is in the pool twice")]
    OutsideTwice(Ipv4Addr),
    /// More outside addresses than can be numbered.
    #[error("{0} outside addresses are more than 65535")]
    TooManyOutside(usize),
    /// An address that no host can have.
    #[error("{0} cannot be the address of a host")]
    NotAHost(Ipv4Addr),
    /// A table of no entries, or of more than can be numbered.
    #[error("table capacity {0} is not within 1 to {max}", max = crate::CAPACITY_MAX)]
    Capacity(u32),
    /// An endpoint-independent or address-dependent mapping cannot share its port the way asked for.
    #[error(
        "{protocol} mapping {mapping:?} cannot overload ports {overload:?}: which mapping a packet from outside belongs to would be undecided"
    )]
    Overload {
        /// Protocol.
        protocol: &'static str,
        /// Mapping behaviour.
        mapping: Dependence,
        /// Overloading.
        overload: Overload,
    },
    /// A filter wider than overloading allows.
    #[error(
        "{protocol} filtering {filtering:?} cannot go with overloading {overload:?}: which mapping a packet from outside belongs to would be undecided"
    )]
    Filtering {
        /// Protocol.
        protocol: &'static str,
        /// Filtering behaviour.
        filtering: Dependence,
        /// Overloading.
        overload: Overload,
    },
    /// No port to give.
    #[error("port range {low}-{high} has no port that is not reserved")]
    NoPorts {
        /// First.
        low: u16,
        /// Last.
        high: u16,
    },
    /// A field out of its range.
    #[error("{field} {value} is not within {low} to {high}")]
    OutOfRange {
        /// Which.
        field: &'static str,
        /// What it is.
        value: u64,
        /// Least.
        low: u64,
        /// Most.
        high: u64,
    },
    /// Two parameters that exclude each other.
    #[error("{0}")]
    Conflict(&'static str),
}

impl Config {
    /// A translator that behaves as `behaviour` with the pool `outside`; the router's own addresses are the first of the pool.
    pub fn new(outside: Vec<Ipv4Addr>, behaviour: Behaviour) -> Self {
        let router = outside.first().copied().unwrap_or(Ipv4Addr::UNSPECIFIED);
        Self {
            outside,
            inside_router: router,
            outside_router: router,
            inside_mtu: None,
            outside_mtu: None,
            behaviour,
            policy: Policy::default(),
        }
    }

    /// Checks all that [`Nat::new`](crate::Nat::new) relies on.
    ///
    /// # Errors
    /// The first contradiction found.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_addresses()?;
        let behaviour = &self.behaviour;
        validate_protocol("udp", &behaviour.udp)?;
        validate_protocol("tcp", &behaviour.tcp)?;
        validate_protocol("icmp", &behaviour.icmp)?;
        if !(1..=crate::CAPACITY_MAX).contains(&behaviour.table.capacity) {
            return Err(ConfigError::Capacity(behaviour.table.capacity));
        }
        validate_ports(behaviour)?;
        validate_eviction(behaviour)?;
        validate_quota(behaviour)?;
        validate_numbers(behaviour)
    }

    fn validate_addresses(&self) -> Result<(), ConfigError> {
        if self.outside.is_empty() {
            return Err(ConfigError::NoOutside);
        }
        if self.outside.len() > usize::from(u16::MAX) {
            return Err(ConfigError::TooManyOutside(self.outside.len()));
        }
        let mut sorted = self.outside.clone();
        sorted.sort_unstable();
        if let Some(pair) = sorted.array_windows::<2>().find(|[a, b]| a == b) {
            return Err(ConfigError::OutsideTwice(pair[0]));
        }
        for addr in self.outside.iter().chain([&self.inside_router, &self.outside_router]) {
            if addr.is_unspecified() || addr.is_broadcast() || addr.is_multicast() || addr.is_loopback() {
                return Err(ConfigError::NotAHost(*addr));
            }
        }
        for (field, mtu) in [("inside_mtu", self.inside_mtu), ("outside_mtu", self.outside_mtu)] {
            if let Some(mtu) = mtu {
                // RFC 791 §3.2: every link carries 68 bytes.
                in_range(field, u64::from(mtu), 68, 65535)?;
            }
        }
        Ok(())
    }
}

fn in_range(field: &'static str, value: u64, low: u64, high: u64) -> Result<(), ConfigError> {
    if (low..=high).contains(&value) { Ok(()) } else { Err(ConfigError::OutOfRange { field, value, low, high }) }
}

fn validate_protocol(protocol: &'static str, rules: &ProtocolRules) -> Result<(), ConfigError> {
    let ProtocolRules { mapping, filtering, overload, .. } = *rules;
    let narrowest = match overload {
        Overload::Never => return Ok(()),
        Overload::PerAddress => Dependence::AddressDependent,
        Overload::PerEndpoint => Dependence::AddressAndPortDependent,
    };
    if mapping < narrowest {
        return Err(ConfigError::Overload { protocol, mapping, overload });
    }
    if filtering < narrowest {
        return Err(ConfigError::Filtering { protocol, filtering, overload });
    }
    Ok(())
}

fn validate_ports(behaviour: &Behaviour) -> Result<(), ConfigError> {
    let ports = &behaviour.ports;
    for range in ports.extra_range.iter().chain([&ports.range, &ports.icmp_range]) {
        let free = (range.low..=range.high).any(|port| !ports.reserved.iter().any(|reserved| reserved.contains(port)));
        if range.is_empty() || !free {
            return Err(ConfigError::NoPorts { low: range.low, high: range.high });
        }
    }
    if ports.extra_range.is_some_and(|extra| extra.low <= ports.range.high && ports.range.low <= extra.high) {
        return Err(ConfigError::Conflict("the two port ranges overlap"));
    }
    if ports.range.low == 0 || ports.extra_range.is_some_and(|range| range.low == 0) {
        return Err(ConfigError::Conflict("port 0 cannot be given out"));
    }
    in_range("max_attempts", u64::from(ports.max_attempts), u64::from(ports.probe != Probe::Scan), 65536)?;
    let shared = [&behaviour.udp, &behaviour.tcp, &behaviour.icmp]
        .into_iter()
        .any(|rules| rules.translate && rules.overload != Overload::PerEndpoint);
    if ports.reuse_source_mapping && shared {
        return Err(ConfigError::Conflict("reuse_source_mapping needs overload = per-endpoint"));
    }
    if ports.evict_closing_within > 0 && behaviour.tcp.translate && behaviour.tcp.overload != Overload::PerEndpoint {
        return Err(ConfigError::Conflict("evict_closing_within needs overload = per-endpoint for tcp"));
    }
    let scans = ports.probe == Probe::Scan && behaviour.udp.overload == Overload::Never;
    if ports.parity && behaviour.udp.translate && !scans {
        return Err(ConfigError::Conflict("parity needs probe = scan, and overload = never for udp"));
    }
    Ok(())
}

fn validate_eviction(behaviour: &Behaviour) -> Result<(), ConfigError> {
    let shares = |rules: &ProtocolRules| rules.translate && rules.overload != Overload::PerEndpoint;
    let shared = [&behaviour.udp, &behaviour.tcp, &behaviour.icmp].into_iter().any(shares);
    let HoldRules { tcp_fin_s, tcp_rst_s, udp_s, icmp_s } = behaviour.hold;
    let holds = [tcp_fin_s, tcp_rst_s, udp_s, icmp_s] != [0; 4];
    if behaviour.table.full.by_entry() && (shared || behaviour.ports.reuse_source_mapping || holds) {
        return Err(ConfigError::Conflict(
            "eviction by entry needs overload = per-endpoint, no reuse_source_mapping, and no holds",
        ));
    }
    Ok(())
}

fn validate_quota(behaviour: &Behaviour) -> Result<(), ConfigError> {
    let quota = &behaviour.quota;
    in_range("source_prefix_len", u64::from(quota.source_prefix_len), 0, 32)?;
    in_range("max_sources", u64::from(quota.max_sources), 1, u64::from(crate::CAPACITY_MAX))?;
    if quota.blocks == PortBlocks::Shared {
        return Ok(());
    }
    in_range("block_min", u64::from(quota.block_min), 1, u64::from(behaviour.ports.range.len()))?;
    in_range("block_max", u64::from(quota.block_max), u64::from(quota.block_min), 65536)?;
    if !quota.block_min.is_power_of_two() || !quota.block_max.is_power_of_two() {
        return Err(ConfigError::Conflict("block_min and block_max are powers of two"));
    }
    if behaviour.ports.extra_range.is_some() || behaviour.ports.preserve {
        return Err(ConfigError::Conflict("port blocks go with one port range and without keeping source ports"));
    }
    Ok(())
}

fn validate_numbers(behaviour: &Behaviour) -> Result<(), ConfigError> {
    let timers = &behaviour.timers;
    let hold = &behaviour.hold;
    // The tick counter wraps: a deadline must stay in its half.
    let most = 180 * 24 * 3600;
    for (field, value, least) in [
        ("tcp_syn_sent_s", timers.tcp_syn_sent_s, 1),
        ("tcp_syn_received_s", timers.tcp_syn_received_s, 1),
        ("tcp_established_s", timers.tcp_established_s, 1),
        ("tcp_fin_wait_s", timers.tcp_fin_wait_s, 1),
        ("tcp_close_wait_s", timers.tcp_close_wait_s, 1),
        ("tcp_last_ack_s", timers.tcp_last_ack_s, 1),
        ("tcp_time_wait_s", timers.tcp_time_wait_s, 1),
        ("tcp_close_s", timers.tcp_close_s, 1),
        ("tcp_midstream_s", timers.tcp_midstream_s, 1),
        ("udp_new_s", timers.udp_new_s, 1),
        ("udp_stream_s", timers.udp_stream_s, 1),
        ("icmp_s", timers.icmp_s, 1),
        ("tcp_fin_s", hold.tcp_fin_s, 0),
        ("tcp_rst_s", hold.tcp_rst_s, 0),
        ("udp_s", hold.udp_s, 0),
        ("icmp_s", hold.icmp_s, 0),
        ("fragment timeout_s", behaviour.fragments.timeout_s, 1),
    ] {
        in_range(field, u64::from(value), least, most)?;
    }
    if behaviour.collection.mode == crate::behaviour::Collection::Periodic {
        let collection = &behaviour.collection;
        in_range("collection min_s", u64::from(collection.min_s), 1, u64::from(collection.max_s))?;
        in_range(
            "collection start_s",
            u64::from(collection.start_s),
            u64::from(collection.min_s),
            u64::from(collection.max_s),
        )?;
        in_range("collection max_s", u64::from(collection.max_s), 1, most)?;
    }
    in_range("max_tracked", u64::from(behaviour.fragments.max_tracked), 0, 1 << 20)?;
    in_range("max_held", u64::from(behaviour.fragments.max_held), 0, 1 << 16)
}
