//! Which ports an allocator may come up with, and whether it may come up with none: by trying every starting point it could have.

use std::collections::BTreeSet;

use natrig_nat::behaviour::{Clamp, LowPorts, Overload, PortRange, PortRules, PortSeed, Probe};

/// What stands at a port, seen from a new mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    Free,
    /// Taken by a connection that is over, whose last sequence number the new connection is past.
    Over,
    /// The same, if the translator has not seen later data of it.
    PerhapsOver,
    Taken,
}

/// What a search may end with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    pub(crate) ports: BTreeSet<u16>,
    pub(crate) may_fail: bool,
}

/// A request for a port.
pub(crate) struct Request<'a> {
    pub(crate) rules: &'a PortRules,
    pub(crate) overload: Overload,
    pub(crate) range: PortRange,
    /// Parity counts for UDP only.
    pub(crate) is_udp: bool,
    pub(crate) is_icmp: bool,
    pub(crate) source: u16,
    /// The port given last.
    pub(crate) last: u16,
    pub(crate) at: &'a dyn Fn(u16) -> At,
}

/// Ports by the class of the source port.
pub(crate) const fn range_for(rules: &PortRules, is_icmp: bool, source: u16) -> PortRange {
    if is_icmp {
        return rules.icmp_range;
    }
    match (rules.low_ports, source) {
        (LowPorts::Netfilter, 0..512) => PortRange::new(1, 511),
        (LowPorts::Netfilter, 512..1024) => PortRange::new(600, 1023),
        (LowPorts::SameClass, 0..1024) => PortRange::new(1, 1023),
        _ => rules.range,
    }
}

pub(crate) fn search(request: &Request<'_>) -> Reach {
    // What may be over counts once as over and once as not.
    let mut reach = Reach::default();
    for perhaps in [At::Over, At::Taken] {
        let at = |port| match (request.at)(port) {
            At::PerhapsOver => perhaps,
            at => at,
        };
        let one = search_certain(&Request { at: &at, ..*request });
        reach.ports.extend(one.ports);
        reach.may_fail |= one.may_fail;
    }
    reach
}

fn search_certain(request: &Request<'_>) -> Reach {
    let Request { rules, range, source, at, .. } = *request;
    let at = |port| if rules.reserved.iter().any(|reserved| reserved.contains(port)) { At::Taken } else { at(port) };
    let low = rules.low_ports == LowPorts::Netfilter && source < 1024 && !request.is_icmp;
    let keeps = rules.preserve && source != 0 && (range.contains(source) || low);
    if keeps && at(source) == At::Free {
        return Reach { ports: BTreeSet::from([source]), may_fail: false };
    }
    let kept = keeps.then_some(source);
    match rules.probe {
        Probe::Scan if request.overload == Overload::Never => next_free(request, &at),
        Probe::Scan => walk(request, kept, &at),
        Probe::Step => step(request, kept, &at),
        Probe::Windows => windows(request, &at),
        Probe::Random => random(request, kept, &at),
    }
}

fn clamped(rules: &PortRules, range: PortRange, value: u16) -> u16 {
    let n = range.len();
    let offset = match rules.clamp {
        Clamp::Multiply => (u32::from(value) * n) >> 16,
        Clamp::Modulo => u32::from(value) % n,
        Clamp::ModuloExclusive if n > 1 => u32::from(value) % (n - 1),
        Clamp::ModuloExclusive => 0,
    };
    range.low + offset as u16
}

/// Every port that a random number may be brought to.
fn images(rules: &PortRules, range: PortRange) -> Vec<u16> {
    let last = if rules.clamp == Clamp::ModuloExclusive && range.len() > 1 { range.high - 1 } else { range.high };
    (range.low..=last).collect()
}

/// The ports that a search may start at.
fn starts(request: &Request<'_>) -> Vec<u16> {
    let Request { rules, range, source, last, .. } = *request;
    match rules.seed {
        PortSeed::Random | PortSeed::Hash => images(rules, range),
        PortSeed::Sequential => vec![clamped(rules, range, last.wrapping_add(1))],
        PortSeed::Source => vec![clamped(rules, range, source)],
    }
}

/// The next free port in constant time: it fails only where there is none.
fn next_free(request: &Request<'_>, at: &dyn Fn(u16) -> At) -> Reach {
    let Request { rules, range, source, last, .. } = *request;
    let free: Vec<u16> = (range.low..=range.high).filter(|port| at(*port) == At::Free).collect();
    let same_parity: Vec<u16> = free.iter().copied().filter(|port| port % 2 == source % 2).collect();
    let wanted = if rules.parity && request.is_udp && !same_parity.is_empty() { same_parity } else { free };
    let from = match rules.seed {
        PortSeed::Random | PortSeed::Hash => {
            return Reach { may_fail: wanted.is_empty(), ports: wanted.into_iter().collect() };
        }
        PortSeed::Sequential => last.wrapping_add(1),
        PortSeed::Source => source,
    };
    let from = if range.contains(from) { from } else { range.low };
    let found = wanted.iter().find(|port| **port >= from).or_else(|| wanted.first());
    Reach { ports: found.copied().into_iter().collect(), may_fail: found.is_none() }
}

/// One port after the other.
fn walk(request: &Request<'_>, kept: Option<u16>, at: &dyn Fn(u16) -> At) -> Reach {
    let Request { rules, range, .. } = *request;
    let n = range.len();
    let tries = if rules.max_attempts == 0 { n } else { rules.max_attempts.min(n) };
    let mut reach = Reach::default();
    debug_assert!(kept.is_none_or(|port| at(port) != At::Free));
    for start in starts(request) {
        let offset = u32::from(start - range.low);
        let found = (0..tries).map(|step| range.low + ((offset + step) % n) as u16).find(|port| at(*port) == At::Free);
        reach.may_fail |= found.is_none();
        reach.ports.extend(found);
    }
    reach
}

/// Cilium (bpf/lib/nat.h): the source port or a random one, then a random one, then each time the clamped successor.
fn step(request: &Request<'_>, kept: Option<u16>, at: &dyn Fn(u16) -> At) -> Reach {
    let Request { rules, range, .. } = *request;
    let mut reach = Reach::default();
    let firsts = kept.map_or_else(|| starts(request), |port| vec![port]);
    for first in firsts {
        if at(first) == At::Free {
            reach.ports.insert(first);
            continue;
        }
        if rules.max_attempts == 1 {
            reach.may_fail = true;
            continue;
        }
        for second in images(rules, range) {
            let ladder = std::iter::successors(Some(second), |port| Some(clamped(rules, range, port.wrapping_add(1))));
            let found = ladder.take(rules.max_attempts as usize - 1).find(|port| at(*port) == At::Free);
            reach.may_fail |= found.is_none();
            reach.ports.extend(found);
        }
    }
    reach
}

/// Linux (nf_nat_core.c): windows of 128, 64, … 8 ports from random offsets, or all ports if they fit into the first window.
fn windows(request: &Request<'_>, at: &dyn Fn(u16) -> At) -> Reach {
    let Request { rules, range, .. } = *request;
    let n = range.len();
    let mut reach = Reach::default();
    let mut window = rules.max_attempts.min(n);
    let first = match rules.seed {
        PortSeed::Random | PortSeed::Hash => None,
        PortSeed::Sequential => Some(request.last.wrapping_add(1)),
        PortSeed::Source => Some(request.source),
    };
    // The offset has 16 bits and wraps: near its end the window jumps back to the start of the range.
    let any_offset = || (0..n as u16).chain(u16::MAX - 128..=u16::MAX).collect();
    let mut offsets: Vec<u16> = first.map_or_else(any_offset, |seed| vec![seed]);
    loop {
        let mut failed = false;
        for offset in &offsets {
            let port = |step: u32| range.low + (u32::from(offset.wrapping_add(step as u16)) % n) as u16;
            let found = (0..window).find(|step| match at(port(*step)) {
                At::Free => true,
                At::Over => window - step <= rules.evict_closing_within,
                At::PerhapsOver | At::Taken => false,
            });
            reach.ports.extend(found.map(port));
            failed |= found.is_none();
        }
        if !failed {
            return reach;
        }
        if window >= n || window < 16 {
            reach.may_fail = true;
            return reach;
        }
        window /= 2;
        offsets = any_offset();
    }
}

/// Darts.
fn random(request: &Request<'_>, kept: Option<u16>, at: &dyn Fn(u16) -> At) -> Reach {
    let images = images(request.rules, request.range);
    let mut reach = Reach::default();
    for first in kept.map_or_else(|| starts(request), |port| vec![port]) {
        if at(first) == At::Free {
            reach.ports.insert(first);
        } else if request.rules.max_attempts > 1 {
            reach.ports.extend(images.iter().copied().filter(|port| at(*port) == At::Free));
            reach.may_fail |= images.iter().any(|port| at(*port) != At::Free);
        } else {
            reach.may_fail = true;
        }
    }
    reach
}
