//! Mapping, filtering, port assignment and hairpinning: asked of UDP and of TCP alike.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use natrig_nat::behaviour::PortRange;

use crate::lab::{
    Lab, OUTSIDE, POD, POD2, POD3, PORT, REMOTE, REMOTE2, Subject, Verdict, destination, end, holds_if, source,
};
use crate::packet::{self, SYN};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

use Transport::{Tcp, Udp};

impl Lab {
    /// The first packet of a flow from inside; the outside end it got.
    pub(crate) fn begin(&mut self, transport: Transport, from: SocketAddrV4, to: SocketAddrV4) -> Option<SocketAddrV4> {
        match transport {
            Udp => self.udp_out(from, to),
            Tcp => self.tcp_out(from, to, SYN),
        }
    }

    /// The first packet of a flow from outside; the inside end that it reached.
    pub(crate) fn call(&mut self, transport: Transport, from: SocketAddrV4, to: SocketAddrV4) -> Option<SocketAddrV4> {
        match transport {
            Udp => self.udp_in(from, to),
            Tcp => self.tcp_in(from, to, SYN),
        }
    }
}

/// RFC 4787 §4.1, as far as it can be seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Dependence {
    None,
    Address,
    AddressAndPort,
}

impl Dependence {
    const fn as_str(self) -> &'static str {
        match self {
            Self::None => "endpoint-independent",
            Self::Address => "address-dependent",
            Self::AddressAndPort => "address- and port-dependent",
        }
    }
}

/// The mapping of one inside end. `contended`: somebody else already uses, towards each remote end, the outside port that it would like
/// to keep, and the port that it has towards the first.
fn mapping(lab: &mut Lab, transport: Transport, contended: bool) -> Option<Dependence> {
    let remotes = [end(REMOTE, 80), end(REMOTE, 81), end(REMOTE2, 80)];
    if contended {
        for remote in remotes {
            lab.begin(transport, end(POD2, PORT), remote)?;
        }
    }
    let inside = end(POD, PORT);
    let first = lab.begin(transport, inside, remotes[0])?;
    if contended {
        for remote in &remotes[1..] {
            lab.begin(transport, end(POD3, first.port()), *remote)?;
        }
    }
    let second = lab.begin(transport, inside, remotes[1])?;
    let third = lab.begin(transport, inside, remotes[2])?;
    Some(match (first == second, first == third) {
        (true, true) => Dependence::None,
        (true, false) => Dependence::Address,
        (false, _) => Dependence::AddressAndPort,
    })
}

/// Who may answer a flow to `REMOTE:80` besides that end.
pub(crate) fn filtering(lab: &mut Lab, transport: Transport) -> Option<Dependence> {
    let outside = lab.begin(transport, end(POD, PORT), end(REMOTE, 80))?;
    let other_address = lab.call(transport, end(REMOTE2, 80), outside).is_some();
    let other_port = lab.call(transport, end(REMOTE, 81), outside).is_some();
    Some(match (other_address, other_port) {
        (true, _) => Dependence::None,
        (false, true) => Dependence::Address,
        (false, false) => Dependence::AddressAndPort,
    })
}

pub(crate) fn is_endpoint_independent(subject: &Subject, transport: Transport) -> Verdict {
    match mapping(&mut subject.lab(), transport, true) {
        Some(Dependence::None) => Verdict::Holds,
        Some(other) => Verdict::Violates(format!("mapping is {}", other.as_str())),
        None => Verdict::Violates("no mapping is made".into()),
    }
}

/// Filtering that depends on the address at most.
pub(crate) fn filters_at_most_by_address(subject: &Subject, transport: Transport) -> Verdict {
    match filtering(&mut subject.lab(), transport) {
        Some(Dependence::None | Dependence::Address) => Verdict::Holds,
        Some(other) => Verdict::Violates(format!("filtering is {}", other.as_str())),
        None => Verdict::Violates("no mapping is made".into()),
    }
}

/// RFC 4787 REQ-11: the same whether ports are in demand or not.
pub(crate) fn does_not_change(subject: &Subject, transport: Transport) -> Verdict {
    let calm = mapping(&mut subject.lab(), transport, false);
    let contended = mapping(&mut subject.lab(), transport, true);
    match (calm, contended) {
        (Some(calm), Some(contended)) if calm != contended => {
            Verdict::Violates(format!("mapping is {} until ports collide", calm.as_str()))
        }
        _ => Verdict::Holds,
    }
}

/// No outside end serves two inside ends: 512 flows to as many remote ends, through 256 ports.
pub(crate) fn does_not_overload(subject: &Subject, transport: Transport) -> Verdict {
    let mut lab = subject.lab_with(|config| {
        let low = config.behaviour.ports.range.low;
        config.behaviour.ports.range = PortRange::new(low, low + 255);
    });
    let mut owners: BTreeMap<SocketAddrV4, SocketAddrV4> = BTreeMap::new();
    for number in 0..512u16 {
        let inside = end(POD, 40_000 + number);
        let remote = end(Ipv4Addr::from_bits(0xc633_6400 + u32::from(number % 200)), 1000 + number);
        let Some(outside) = lab.begin(transport, inside, remote) else { continue };
        if *owners.entry(outside).or_insert(inside) != inside {
            return Verdict::Violates("one port serves several inside ends towards different remote ends".into());
        }
    }
    Verdict::Holds
}

/// Packets between two pods by way of the outside address, each pod seeing the other's outside end (external source address and port).
pub(crate) fn hairpins(subject: &Subject, transport: Transport) -> Verdict {
    let mut lab = subject.lab();
    let listener = end(POD, PORT);
    let Some(listener_outside) = lab.begin(transport, listener, end(REMOTE, 80)) else {
        return Verdict::Violates("no mapping is made".into());
    };
    let packet = match transport {
        Udp => packet::udp(end(POD2, 41_000), listener_outside, b"hello"),
        Tcp => packet::tcp(end(POD2, 41_000), listener_outside, SYN, 5, b""),
    };
    let crate::lab::Got::Back(seen) = lab.outbound(&packet) else {
        return Verdict::Violates("packets to the own outside address are dropped".into());
    };
    if destination(&seen) != listener {
        return Verdict::Violates(format!("a packet to {listener_outside} came to {}", destination(&seen)));
    }
    let caller_outside = source(&seen);
    if *caller_outside.ip() != OUTSIDE {
        return Verdict::Violates("the source of hairpinned packets is an inside address".into());
    }
    // And back the same way.
    let answer = match transport {
        Udp => packet::udp(listener, caller_outside, b"hello"),
        Tcp => packet::tcp(listener, caller_outside, SYN | packet::ACK, 5, b""),
    };
    let crate::lab::Got::Back(seen) = lab.outbound(&answer) else {
        return Verdict::Violates("the answer to a hairpinned packet is dropped".into());
    };
    let right = (source(&seen), destination(&seen)) == (listener_outside, end(POD2, 41_000));
    holds_if(right, "the answer to a hairpinned packet comes from elsewhere")
}

/// RFC 4787 REQ-2: all flows of one inside address leave by one outside address.
pub(crate) fn pairs_addresses(subject: &Subject) -> Verdict {
    let pool: Vec<Ipv4Addr> = (1..=4).map(|host| Ipv4Addr::new(192, 0, 2, host)).collect();
    let mut lab = subject.lab_with(|config| config.outside = pool.clone());
    for pod in [POD, POD2, POD3] {
        let mut used = Vec::new();
        for number in 0..40u16 {
            let remote = end(Ipv4Addr::from_bits(0xc633_6400 + u32::from(number)), 53);
            used.extend(lab.udp_out(end(pod, PORT + number), remote).map(|outside| *outside.ip()));
        }
        used.dedup();
        if used.len() > 1 {
            return Verdict::Violates("flows of one host leave by several addresses".into());
        }
    }
    Verdict::Holds
}
