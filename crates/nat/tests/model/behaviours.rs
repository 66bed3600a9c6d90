//! Translators worth comparing: every profile made so small that its limits are met all the time, and behaviours that no profile has.

use std::net::Ipv4Addr;

use natrig_nat::behaviour::{
    AddressChoice, Behaviour, Clamp, Collection, Dependence, DirectInbound, Exhaustion, FullPolicy, Hairpin,
    IdleExpiry, LowPorts, Midstream, Overload, PortBlocks, PortRange, PortSeed, Probe, ProtocolRules, Refresh,
    TcpMachine, UnsolicitedSyn,
};
use natrig_nat::{Cidr, Config, EgressRule, InterfaceSelector, Profile};

use crate::dice::Dice;
use crate::ops::{PODS, REMOTES};

/// A profile with few ports, a small table, and whatever limits it has brought within reach.
pub(crate) fn small_profile(name: &str, seed: u64) -> Config {
    let dice = &mut Dice::new(seed);
    let mut behaviour = Profile::builtin(name).expect("a profile that comes with the library").behaviour;
    let n = dice.pick(&[2, 4, 8, 9, 12]);
    let low = behaviour.ports.range.low;
    behaviour.ports.range = PortRange::new(low, low + n - 1);
    behaviour.ports.icmp_range = PortRange::new(0, dice.below(6) as u16);
    behaviour.table.capacity = dice.pick(&[2, 5, 8, 16, 32]);
    if behaviour.ports.max_per_destination > 0 {
        behaviour.ports.max_per_destination = 1 + dice.below(4);
    }
    behaviour.fragments.max_held = behaviour.fragments.max_held.min(dice.below(4));
    // Where entries go one by one there may be twice as many sessions.
    if behaviour.table.full.by_entry() {
        behaviour.table.capacity /= 2;
    }
    let quota = &mut behaviour.quota;
    if quota.blocks != PortBlocks::Shared {
        quota.block_min = dice.pick(&[1, 2]);
        quota.block_max = if quota.blocks == PortBlocks::Static { quota.block_min } else { quota.block_min * 4 };
        quota.max_sources = dice.pick(&[2, 8]);
    }
    finish(behaviour, dice)
}

/// Any behaviour that a configuration may have.
pub(crate) fn any(seed: u64) -> Config {
    let dice = &mut Dice::new(seed);
    let name = dice.pick(Profile::names());
    let mut behaviour = Profile::builtin(name).expect("a profile that comes with the library").behaviour;
    behaviour.udp = any_rules(&behaviour.udp, dice);
    behaviour.tcp = any_rules(&behaviour.tcp, dice);
    behaviour.icmp = any_rules(&behaviour.icmp, dice);
    behaviour.pool.paired = dice.one_in(2);
    behaviour.pool.choice = dice.pick(&[
        AddressChoice::FirstFit,
        AddressChoice::RoundRobin,
        AddressChoice::Random,
        AddressChoice::HashSource,
        AddressChoice::HashSourceDestination,
    ]);
    any_ports(&mut behaviour, dice);
    any_limits(&mut behaviour, dice);
    let tcp = &mut behaviour.tcp_rules;
    tcp.machine = dice.pick(&[TcpMachine::Rfc7857, TcpMachine::Netfilter, TcpMachine::Cilium]);
    tcp.midstream = dice.pick(&[Midstream::Translate, Midstream::Drop, Midstream::Reset]);
    tcp.unsolicited_syn = dice.pick(&[UnsolicitedSyn::Drop, UnsolicitedSyn::Reset, UnsolicitedSyn::Wait]);
    tcp.idle_expiry =
        dice.pick(&[IdleExpiry::Silent, IdleExpiry::Silent, IdleExpiry::ResetInside, IdleExpiry::ResetBoth]);
    behaviour.fragments.max_held = dice.below(4);
    behaviour.exhaustion =
        dice.pick(&[Exhaustion::Drop, Exhaustion::HostUnreachable, Exhaustion::AdministrativelyProhibited]);
    behaviour.hairpin = dice.pick(&[Hairpin::Drop, Hairpin::ExternalSource, Hairpin::ExternalSource]);
    behaviour.icmp_rules.answer_echo = dice.one_in(2);
    behaviour.icmp_rules.built_per_second = dice.pick(&[0, 0, 2]);
    // A source's blocks lie at one address; the host's own traffic has its own.
    behaviour.policy.host_traffic = behaviour.quota.blocks == PortBlocks::Shared && dice.one_in(2);
    behaviour.policy.host_ports = dice.one_in(3);
    behaviour.policy.direct_inbound = dice.pick(&[DirectInbound::Route, DirectInbound::Drop]);
    behaviour.policy.translate_link_local = dice.one_in(2);
    behaviour.policy.track_direct = dice.one_in(2);
    finish(behaviour, dice)
}

fn any_rules(rules: &ProtocolRules, dice: &mut Dice) -> ProtocolRules {
    use Dependence::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
    let overload = dice.pick(&[Overload::Never, Overload::PerAddress, Overload::PerEndpoint]);
    let allowed: &[Dependence] = match overload {
        Overload::Never => &[EndpointIndependent, AddressDependent, AddressAndPortDependent],
        Overload::PerAddress => &[AddressDependent, AddressAndPortDependent],
        Overload::PerEndpoint => &[AddressAndPortDependent],
    };
    ProtocolRules {
        translate: !dice.one_in(12),
        mapping: dice.pick(allowed),
        filtering: dice.pick(allowed),
        overload,
        refresh: dice.pick(&[Refresh::Outbound, Refresh::Inbound, Refresh::Both]),
        ..rules.clone()
    }
}

fn any_ports(behaviour: &mut Behaviour, dice: &mut Dice) {
    let overlaps = [&behaviour.udp, &behaviour.tcp, &behaviour.icmp]
        .iter()
        .all(|rules| rules.overload == Overload::PerEndpoint || !rules.translate);
    let ports = &mut behaviour.ports;
    let low = dice.pick(&[1024, 40_000, 65_520]);
    ports.range = PortRange::new(low, low + dice.pick(&[1, 4, 7, 12, 15]));
    ports.icmp_range = PortRange::new(0, dice.below(6) as u16);
    ports.low_ports = dice.pick(&[LowPorts::Ignore, LowPorts::Ignore, LowPorts::Netfilter, LowPorts::SameClass]);
    ports.extra_range = None;
    if ports.low_ports == LowPorts::Ignore && dice.one_in(4) {
        ports.extra_range = Some(PortRange::new(2000, 2000 + dice.below(4) as u16));
    }
    ports.reserved = if dice.one_in(4) { vec![PortRange::new(ports.range.low, ports.range.low)] } else { Vec::new() };
    ports.preserve = dice.one_in(2);
    ports.parity = false;
    ports.reuse_source_mapping = overlaps && dice.one_in(3);
    ports.seed = dice.pick(&[PortSeed::Random, PortSeed::Hash, PortSeed::Sequential, PortSeed::Source]);
    ports.probe = dice.pick(&[Probe::Scan, Probe::Step, Probe::Windows, Probe::Random]);
    ports.clamp = dice.pick(&[Clamp::Multiply, Clamp::Modulo, Clamp::ModuloExclusive]);
    ports.max_attempts = match ports.probe {
        Probe::Scan => dice.pick(&[0, 0, 3]),
        Probe::Windows => dice.pick(&[8, 16, 128]),
        Probe::Step | Probe::Random => dice.pick(&[1, 2, 5, 32]),
    };
    let evicts = behaviour.tcp.overload == Overload::PerEndpoint;
    ports.evict_closing_within = if evicts { dice.pick(&[0, 4, 32]) } else { 0 };
    ports.max_per_destination = dice.pick(&[0, 0, 2, 5]);
    ports.pressure_signal = dice.one_in(2);
    if behaviour.udp.overload == Overload::Never && ports.probe == Probe::Scan {
        ports.parity = dice.one_in(2);
    }
}

fn any_limits(behaviour: &mut Behaviour, dice: &mut Dice) {
    let quota = &mut behaviour.quota;
    quota.source_prefix_len = dice.pick(&[32, 32, 24, 0]);
    quota.ports_per_source = dice.pick(&[0, 0, 3, 6]);
    quota.sessions_per_source = dice.pick(&[0, 0, 3, 8]);
    quota.new_per_second = dice.pick(&[0, 0, 0, 3]);
    quota.max_sources = dice.pick(&[1, 3, 64]);
    quota.blocks = PortBlocks::Shared;
    let blocks = behaviour.ports.extra_range.is_none() && !behaviour.ports.preserve;
    if blocks && behaviour.ports.max_attempts == 0 && dice.one_in(3) {
        quota.blocks = dice.pick(&[PortBlocks::Static, PortBlocks::Dynamic]);
        quota.block_min = dice.pick(&[1, 2]);
        quota.block_max = quota.block_min * dice.pick(&[1, 4]);
        // A block may turn out to be of reserved ports only.
        behaviour.ports.reserved.clear();
    }
    behaviour.table.capacity = dice.pick(&[1, 3, 8, 16, 40]);
    behaviour.table.full = dice.pick(&[FullPolicy::Refuse, FullPolicy::EvictOldest, FullPolicy::EvictUnreplied]);
    if behaviour.collection.mode == Collection::Periodic {
        behaviour.collection.start_s = dice.pick(&[10, 60]);
    }
    let hold = &mut behaviour.hold;
    for seconds in [&mut hold.tcp_fin_s, &mut hold.tcp_rst_s, &mut hold.udp_s, &mut hold.icmp_s] {
        *seconds = dice.pick(&[0, 0, 5, 120]);
    }
}

/// Some of the rules that a site may have.
fn any_policy(config: &mut Config, dice: &mut Dice) {
    let blocks = config.behaviour.quota.blocks != PortBlocks::Shared;
    let outside = config.outside.clone();
    let policy = &mut config.policy;
    let one = |addr| vec![Cidr::new(addr, 32)];
    match dice.below(8) {
        0 => policy.non_masquerade = one(REMOTES[1]),
        1 => policy.host_endpoints = one(PODS[1]),
        2 => policy.endpoints = vec![Cidr::new(PODS[0], 24)],
        3 => policy.allowed_sources = vec![Cidr::new(PODS[0], 24)],
        4 => {
            policy.remote_nodes = one(REMOTES[0]);
            policy.masquerade_remote_nodes = dice.one_in(2);
        }
        5 => {
            let name = dice.pick(&["eth0", "eth+", "ens5"]);
            policy.interfaces = vec![InterfaceSelector(name.into())];
            policy.egress_interface = dice.pick(&["eth0", "eth1"]).into();
        }
        // An address of its own is not for sources whose ports lie in blocks.
        _ => {
            let address = (dice.one_in(2) && !blocks).then(|| dice.pick(&outside));
            let excluded = if dice.one_in(2) { one(REMOTES[1]) } else { Vec::new() };
            policy.egress_gateway =
                vec![EgressRule { sources: one(PODS[0]), destinations: vec![Cidr::ANY], excluded, address }];
        }
    }
}

/// Addresses and policy.
fn finish(behaviour: Behaviour, dice: &mut Dice) -> Config {
    let count = dice.pick(&[1, 1, 2, 3]);
    let outside = (1..=count).map(|host| Ipv4Addr::new(192, 0, 2, host)).collect();
    let mut config = Config::new(outside, behaviour);
    config.inside_router = Ipv4Addr::new(10, 0, 0, 1);
    if dice.one_in(3) {
        config.policy.native_routing = vec![Cidr::new(REMOTES[2], 32)];
    }
    if dice.one_in(4) {
        any_policy(&mut config, dice);
    }
    config.validate().expect("a valid configuration");
    config
}
