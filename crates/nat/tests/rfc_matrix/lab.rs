//! What the probes work with: a translator of a profile between two pods and a few remote hosts.

use std::net::{Ipv4Addr, SocketAddrV4};

use natrig_nat::behaviour::Behaviour;
use natrig_nat::{Config, Direction, DropReason, Profile, Verdict as Fate};

use crate::foreign::{self, Content, Seen};
use crate::packet::{self, ACK, Ip, SYN};
use crate::rig::Rig;

pub(crate) const POD: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);
pub(crate) const POD2: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 2);
pub(crate) const POD3: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 3);
pub(crate) const REMOTE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
pub(crate) const REMOTE2: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
pub(crate) const ROUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 77);
pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const INSIDE_ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// A source port that every profile would keep, if it keeps any.
pub(crate) const PORT: u16 = 40_000;

pub(crate) const fn end(addr: Ipv4Addr, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(addr, port)
}

/// What a requirement comes to for one profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Holds,
    Violates(String),
    /// And why.
    NotApplicable(&'static str),
}

pub(crate) fn holds_if(holds: bool, otherwise: impl Into<String>) -> Verdict {
    if holds { Verdict::Holds } else { Verdict::Violates(otherwise.into()) }
}

/// Something that a NAT may do or leave.
pub(crate) const fn may(does: bool) -> Verdict {
    if does { Verdict::Holds } else { Verdict::NotApplicable("may, and does not") }
}

/// What became of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Got {
    Forward(Seen),
    Back(Seen),
    Drop(DropReason),
    Hold,
}

impl Got {
    pub(crate) fn forwarded(self) -> Option<Seen> {
        match self {
            Self::Forward(seen) => Some(seen),
            _ => None,
        }
    }

    /// Type and code, if it was answered by an ICMP error.
    pub(crate) fn error(&self) -> Option<[u8; 2]> {
        match self {
            Self::Back(Seen { content: Content::Error { kind, code, .. }, .. }) => Some([*kind, *code]),
            _ => None,
        }
    }
}

/// Ports of a packet seen; of a query its identifier, twice.
pub(crate) fn ports(seen: &Seen) -> [u16; 2] {
    match &seen.content {
        Content::Udp { ports, .. } | Content::Tcp { ports, .. } => *ports,
        Content::Query { ident, .. } => [*ident; 2],
        Content::Error { .. } | Content::Opaque(_) => [0; 2],
    }
}

pub(crate) fn source(seen: &Seen) -> SocketAddrV4 {
    end(seen.src, ports(seen)[0])
}

pub(crate) fn destination(seen: &Seen) -> SocketAddrV4 {
    end(seen.dst, ports(seen)[1])
}

/// What is probed: a profile, and changes to it that a probe asks for.
pub(crate) struct Subject {
    pub(crate) profile: Profile,
}

impl Subject {
    pub(crate) const fn behaviour(&self) -> &Behaviour {
        &self.profile.behaviour
    }

    pub(crate) fn lab(&self) -> Lab {
        self.lab_with(|_| ())
    }

    pub(crate) fn lab_with(&self, change: impl FnOnce(&mut Config)) -> Lab {
        let mut config = self.profile.config(vec![OUTSIDE]);
        config.inside_router = INSIDE_ROUTER;
        config.behaviour.icmp_rules.built_per_second = 0;
        // Enough for every probe, and quick to make.
        config.behaviour.table.capacity = config.behaviour.table.capacity.min(8192);
        change(&mut config);
        let rig = Rig::new(config, 7);
        let mut lab = Lab { rig };
        lab.wait(0.0);
        lab
    }

    /// At several points of the cycle of a collector: opens something, lets it idle, and says in how many seconds' time it was gone at
    /// one of them.
    pub(crate) fn dies_within<T>(
        &self,
        idle_s: f64,
        open: impl Fn(&mut Lab) -> Option<T>,
        alive: impl Fn(&mut Lab, &T) -> bool,
    ) -> bool {
        [0.0, 70.0, 140.0, 210.0, 280.0].into_iter().any(|phase_s| {
            let mut lab = self.lab();
            lab.wait(phase_s);
            let Some(opened) = open(&mut lab) else { return true };
            lab.wait(idle_s);
            !alive(&mut lab, &opened)
        })
    }
}

pub(crate) struct Lab {
    pub(crate) rig: Rig,
}

impl Lab {
    /// Lets time pass, with the timers running.
    pub(crate) fn wait(&mut self, seconds: f64) {
        let until_ns = self.rig.now_ns + (seconds * 1e9) as u64;
        while self.rig.now_ns < until_ns {
            self.rig.now_ns = until_ns.min(self.rig.now_ns + 10_000_000_000);
            self.rig.nat.expire(self.rig.now_ns);
        }
        self.rig.nat.expire(self.rig.now_ns);
    }

    pub(crate) fn outbound(&mut self, packet: &Ip) -> Got {
        self.pass(Direction::Outbound, packet)
    }

    pub(crate) fn inbound(&mut self, packet: &Ip) -> Got {
        self.pass(Direction::Inbound, packet)
    }

    fn pass(&mut self, dir: Direction, packet: &Ip) -> Got {
        let outcome = self.rig.pass(dir, &packet.frame());
        let seen = || foreign::read(&outcome.frame).expect("what comes out is a packet");
        match outcome.verdict {
            Fate::Forward => Got::Forward(seen()),
            Fate::Back => Got::Back(seen()),
            Fate::Drop(reason) => Got::Drop(reason),
            Fate::Hold | Fate::Skip => Got::Hold,
        }
    }

    /// What was held and is due.
    pub(crate) fn released(&mut self, dir: Direction) -> Vec<Got> {
        let mut released = Vec::new();
        while let Some((verdict, frame)) = self.rig.release_one(dir) {
            let seen = || foreign::read(&frame).expect("what comes out is a packet");
            released.push(match verdict {
                Fate::Forward => Got::Forward(seen()),
                Fate::Back => Got::Back(seen()),
                Fate::Drop(reason) => Got::Drop(reason),
                Fate::Hold | Fate::Skip => Got::Hold,
            });
        }
        released
    }

    /// Sends UDP out and returns the outside end it got.
    pub(crate) fn udp_out(&mut self, from: SocketAddrV4, to: SocketAddrV4) -> Option<SocketAddrV4> {
        self.outbound(&packet::udp(from, to, b"out")).forwarded().map(|seen| source(&seen))
    }

    /// Sends UDP in and returns the inside end that it reached.
    pub(crate) fn udp_in(&mut self, from: SocketAddrV4, to: SocketAddrV4) -> Option<SocketAddrV4> {
        self.inbound(&packet::udp(from, to, b"in")).forwarded().map(|seen| destination(&seen))
    }

    pub(crate) fn tcp_out(&mut self, from: SocketAddrV4, to: SocketAddrV4, flags: u8) -> Option<SocketAddrV4> {
        self.outbound(&packet::tcp(from, to, flags, 1000, b"")).forwarded().map(|seen| source(&seen))
    }

    pub(crate) fn tcp_in(&mut self, from: SocketAddrV4, to: SocketAddrV4, flags: u8) -> Option<SocketAddrV4> {
        self.inbound(&packet::tcp(from, to, flags, 2000, b"")).forwarded().map(|seen| destination(&seen))
    }

    /// Sends a query out and returns the outside address and identifier.
    pub(crate) fn query_out(&mut self, from: SocketAddrV4, to: Ipv4Addr, kind: u8) -> Option<SocketAddrV4> {
        let query = packet::query(*from.ip(), to, kind, from.port(), b"ping");
        self.outbound(&query).forwarded().map(|seen| source(&seen))
    }

    pub(crate) fn query_in(&mut self, from: Ipv4Addr, to: SocketAddrV4, kind: u8) -> Option<SocketAddrV4> {
        let reply = packet::query(from, *to.ip(), kind, to.port(), b"ping");
        self.inbound(&reply).forwarded().map(|seen| destination(&seen))
    }

    /// Opens a TCP connection from inside; the outside end.
    pub(crate) fn connect(&mut self, from: SocketAddrV4, to: SocketAddrV4) -> Option<SocketAddrV4> {
        let outside = self.tcp_out(from, to, SYN)?;
        self.tcp_in(to, outside, SYN | ACK)?;
        self.tcp_out(from, to, ACK)?;
        Some(outside)
    }

    /// An ICMP error from somewhere outside about a packet that went out from `outside` to `to`.
    pub(crate) fn error_in(&mut self, about: &Ip, kind_code: [u8; 2]) -> Got {
        self.inbound(&packet::error(ROUTER, about.src, kind_code, 1400, &about.bytes()))
    }
}
