//! Packets from inside.

use std::net::{Ipv4Addr, SocketAddrV4};

use natrig_nat::behaviour::{Dependence, Exhaustion, Hairpin, IdleExpiry, Midstream};
use natrig_nat::{Direction, DropReason, Verdict};

use super::policy::Fate;
use super::{Event, Flow, Judgement, Reference, must_drop};
use crate::foreign::{Content, Seen};
use crate::packet::{ACK, ICMP, Ip, RST, SYN, TCP, UDP};

pub(crate) const ECHO: u8 = 8;
pub(crate) const ECHO_REPLY: u8 = 0;

impl Reference {
    pub(super) fn outbound(&mut self, event: &Event<'_>) -> Judgement {
        let seen = event.seen;
        let own = self.is_outside(seen.dst) || self.is_router(seen.dst);
        if let Content::Query { kind: ECHO, .. } = seen.content
            && own
        {
            return self.must_answer_echo(event);
        }
        if seen.ttl <= 1 {
            return self.must_report(event, [11, 0], DropReason::TtlExpired);
        }
        if let Content::Error { kind, .. } = seen.content {
            return self.outbound_error(event, kind);
        }
        // Only Basic NAT hairpins queries (RFC 5508 REQ-7): others could not tell to whom.
        if matches!(seen.content, Content::Query { .. }) && own {
            return must_drop(event, &[DropReason::ForHost, DropReason::IcmpType]);
        }
        let translates = match &seen.content {
            Content::Query { kind, .. } => {
                self.behaviour().icmp.translate && self.behaviour().icmp_rules.queries.contains(kind)
            }
            _ => matches!(seen.protocol, UDP | TCP) && self.rules(seen.protocol).translate,
        };
        if !translates {
            let reason = if seen.protocol == ICMP { DropReason::IcmpType } else { DropReason::Protocol };
            return match self.fate(seen.src, seen.dst) {
                Fate::Pass => self.must_pass(event),
                Fate::Drop => self.must_forbid(event),
                Fate::Unknown => must_drop(event, &[DropReason::SourceCheck]),
                Fate::Translate | Fate::TranslateTo(_) => must_drop(event, &[reason]),
            };
        }
        let flow = Flow::of(seen, Direction::Outbound).ok_or("a packet without ports")?;
        if let Some(at) = self.find(flow.protocol, flow.from, flow.to) {
            return self.use_outbound(event, &flow, at);
        }
        self.outbound_new(event, &flow)
    }

    fn outbound_new(&mut self, event: &Event<'_>, flow: &Flow) -> Judgement {
        let (src, dst) = (*flow.from.ip(), *flow.to.ip());
        let only = match self.fate(src, dst) {
            Fate::Pass => return self.must_pass(event),
            Fate::Drop => return self.must_forbid(event),
            Fate::Unknown => return must_drop(event, &[DropReason::SourceCheck]),
            Fate::Translate => None,
            Fate::TranslateTo(addr) => Some(addr),
        };
        if self.is_outside(src) {
            if !self.behaviour().policy.host_traffic {
                return must_drop(event, &[DropReason::Martian]);
            }
            // bpf/lib/nat.h, snat_v4_nat_can_skip: below the range the host's ports are its own.
            let own_port = flow.protocol != ICMP && !self.in_ranges(flow.protocol, flow.from.port());
            if self.behaviour().policy.host_ports && own_port {
                return self.must_pass(event);
            }
        }
        if self.is_outside(dst) && self.behaviour().hairpin == Hairpin::Drop {
            return must_drop(event, &[DropReason::Hairpin]);
        }
        let begins = flow.flags & (SYN | ACK | RST) == SYN;
        if flow.protocol == TCP && !begins {
            return self.outbound_midstream(event, flow, only);
        }
        self.create(event, flow, only)
    }

    /// A segment of no connection that does not begin one either.
    fn outbound_midstream(&mut self, event: &Event<'_>, flow: &Flow, only: Option<Ipv4Addr>) -> Judgement {
        let rules = &self.behaviour().tcp_rules;
        let outside = self.mapping_of(flow);
        if let Some(outside) = outside {
            // The answer to a connection attempt that the mapping's filter let in.
            if flow.flags & (SYN | ACK | RST) == SYN | ACK {
                return self.create(event, flow, only);
            }
            // A refusal of one makes no state.
            if flow.flags & RST != 0 {
                let ends = Seen {
                    src: *outside.ip(),
                    content: with_source(&event.seen.content, outside.port()),
                    ..event.seen.clone()
                };
                if self.is_outside(*flow.to.ip()) {
                    return self.turn_round(event, &Flow { from: outside, ..*flow }, ends);
                }
                return must_send(event, Verdict::Forward, &ends);
            }
        }
        if rules.idle_expiry != IdleExpiry::Silent {
            return must_reset(event, DropReason::IdleExpired);
        }
        match rules.midstream {
            Midstream::Translate if flow.flags & RST == 0 => self.create(event, flow, only),
            Midstream::Translate | Midstream::Drop => must_drop(event, &[DropReason::Midstream]),
            Midstream::Reset => must_reset(event, DropReason::Midstream),
        }
    }

    /// The outside end of the mapping that a new session of this inside end would share.
    pub(super) fn mapping_of(&self, flow: &Flow) -> Option<SocketAddrV4> {
        let rules = self.rules(flow.protocol);
        let shares = |session: &&super::Session| {
            let same =
                !session.held && !session.direct && session.protocol == flow.protocol && session.inside == flow.from;
            same && match rules.mapping {
                Dependence::EndpointIndependent => true,
                Dependence::AddressDependent => session.remote.ip() == flow.to.ip(),
                Dependence::AddressAndPortDependent => false,
            }
        };
        self.sessions.iter().find(shares).map(|session| session.outside)
    }

    /// A packet of a session goes out through it, or, if it is for an outside address, back in.
    pub(super) fn use_outbound(&mut self, event: &Event<'_>, flow: &Flow, at: usize) -> Judgement {
        let (at, may_pass) = self.restore(event, at, Direction::Outbound)?;
        if !may_pass {
            return must_drop(event, &[DropReason::NoMapping]);
        }
        let outside = self.sessions[at].outside;
        let ends = Seen {
            src: *outside.ip(),
            content: with_source(&event.seen.content, outside.port()),
            ..event.seen.clone()
        };
        if !self.is_outside(*flow.to.ip()) {
            self.follow(at, Direction::Outbound, flow);
            let crosses = |waiting: &&mut super::Waiting| waiting.remote == flow.to && waiting.outside == outside;
            if flow.protocol == TCP && flow.flags & (SYN | ACK | RST) == SYN {
                self.waiting.iter_mut().filter(crosses).for_each(|waiting| waiting.crossed = true);
            }
            return must_send(event, Verdict::Forward, &ends);
        }
        // RFC 4787 REQ-9a: the other host sees the outside end as the source.
        let there = Flow { from: outside, ..*flow };
        if self.admitted(&there).is_ok() {
            self.follow(at, Direction::Outbound, flow);
        }
        self.turn_round(event, &there, ends)
    }

    /// What goes to an outside address of the translator's own goes back in, if it would be let in from outside.
    fn turn_round(&mut self, event: &Event<'_>, there: &Flow, ends: Seen) -> Judgement {
        match self.admitted(there) {
            Ok(found) => {
                let inside = self.sessions[found[0]].inside;
                let ends = Seen { dst: *inside.ip(), content: with_destination(&ends.content, inside.port()), ..ends };
                self.follow_admitted(event, &found, there)?;
                must_send(event, Verdict::Back, &ends)
            }
            Err(reason) => must_drop(event, &[reason]),
        }
    }

    /// RFC 5508 REQ-8 asks for a word about it, where there are any at all.
    fn must_forbid(&mut self, event: &Event<'_>) -> Judgement {
        match self.behaviour().exhaustion {
            Exhaustion::Drop => must_drop(event, &[DropReason::Policy]),
            Exhaustion::HostUnreachable | Exhaustion::AdministrativelyProhibited => {
                self.must_report(event, [3, 13], DropReason::Policy)
            }
        }
    }

    /// Routed as it is; what inside sends to one of the box's own addresses is the host's.
    pub(super) fn must_pass(&self, event: &Event<'_>) -> Judgement {
        if event.dir == Direction::Outbound && self.is_outside(event.seen.dst) {
            return must_drop(event, &[DropReason::ForHost]);
        }
        must_send(event, Verdict::Forward, event.seen)
    }

    /// An ICMP error in answer, if one may be sent about this packet at all and not too many have been.
    pub(super) fn must_report(&mut self, event: &Event<'_>, about: [u8; 2], reason: DropReason) -> Judgement {
        let is_error = matches!(event.seen.content, Content::Error { .. });
        if is_error || event.seen.fragment_offset != 0 || !self.may_build_error() {
            return must_drop(event, &[reason]);
        }
        let Some(out) = event.out.filter(|_| event.outcome.verdict == Verdict::Back) else {
            return Err(format!("expected an ICMP error {about:?} for {reason:?}, was {:?}", event.outcome.verdict));
        };
        self.is_error_about(event.dir, event.packet, about, out)
    }

    /// Counts an error that is to be built; false if there have been enough of them in this second.
    pub(super) fn may_build_error(&mut self) -> bool {
        let second = self.now * natrig_nat::TICK_NS / 1_000_000_000;
        if self.built.0 != second {
            self.built = (second, 0);
        }
        let most = self.behaviour().icmp_rules.built_per_second;
        let may = most == 0 || self.built.1 < most;
        self.built.1 += u32::from(may);
        may
    }

    pub(super) fn is_error_about(&self, dir: Direction, packet: &Ip, about: [u8; 2], out: &Seen) -> Judgement {
        let from = if dir == Direction::Outbound { self.config.inside_router } else { self.config.outside_router };
        let Content::Error { kind, code, quote, .. } = &out.content else {
            return Err(format!("expected an ICMP error {about:?}, was {out:?}"));
        };
        // RFC 1812 §4.3.2.3: as much of the packet as fits into 576 bytes.
        let bytes = packet.bytes();
        let quoted = &bytes[..bytes.len().min(576 - 28)];
        let right = [*kind, *code] == about && (out.src, out.dst) == (from, packet.src) && quote == quoted;
        if right { sound(out) } else { Err(format!("expected an ICMP error {about:?} from {from}, was {out:?}")) }
    }

    pub(super) fn must_answer_echo(&self, event: &Event<'_>) -> Judgement {
        if !self.behaviour().icmp_rules.answer_echo {
            return must_drop(event, &[DropReason::ForHost]);
        }
        let (Verdict::Back, Some(out)) = (event.outcome.verdict, event.out) else {
            return Err(format!("expected an echo reply, was {:?}", event.outcome.verdict));
        };
        let Content::Query { ident, data, .. } = &event.seen.content else { return Err("no query".into()) };
        let reply = Content::Query { kind: ECHO_REPLY, ident: *ident, data: data.clone() };
        let right = out.content == reply && (out.src, out.dst) == (event.seen.dst, event.seen.src);
        if right { sound(out) } else { Err(format!("expected an echo reply, was {out:?}")) }
    }

    /// Ports that a mapping may have; what comes for others from outside is the host's.
    pub(super) fn in_ranges(&self, protocol: u8, port: u16) -> bool {
        let ports = &self.behaviour().ports;
        if protocol == ICMP {
            return ports.icmp_range.contains(port);
        }
        let low = ports.low_ports != natrig_nat::behaviour::LowPorts::Ignore && port < 1024;
        low || ports.range.contains(port) || ports.extra_range.is_some_and(|range| range.contains(port))
    }
}

pub(crate) fn with_source(content: &Content, port: u16) -> Content {
    let mut content = content.clone();
    match &mut content {
        Content::Udp { ports, .. } | Content::Tcp { ports, .. } => ports[0] = port,
        Content::Query { ident, .. } => *ident = port,
        Content::Error { .. } | Content::Opaque(_) => {}
    }
    content
}

pub(crate) fn with_destination(content: &Content, port: u16) -> Content {
    let mut content = content.clone();
    match &mut content {
        Content::Udp { ports, .. } | Content::Tcp { ports, .. } => ports[1] = port,
        Content::Query { ident, .. } => *ident = port,
        Content::Error { .. } | Content::Opaque(_) => {}
    }
    content
}

/// Right checksums, as both decoders have it.
pub(crate) fn sound(out: &Seen) -> Judgement {
    if out.checksum_error == 0 { Ok(()) } else { Err(format!("wrong checksum in {out:?}")) }
}

/// The packet must have come out with these ends, one hop older, and otherwise as it was.
pub(crate) fn must_send(event: &Event<'_>, verdict: Verdict, ends: &Seen) -> Judgement {
    let Some(out) = event.out.filter(|_| event.outcome.verdict == verdict) else {
        return Err(format!("expected {verdict:?} as {ends:?}, was {:?}", event.outcome.verdict));
    };
    // RFC 6864 §5.3.1 lets a translator renumber packets that may be fragmented.
    let ident = if ends.dont_fragment { ends.ident } else { out.ident };
    let expected = Seen { ttl: event.seen.ttl - 1, ident, ..ends.clone() };
    if *out == expected { Ok(()) } else { Err(format!("expected {expected:?}, came out as {out:?}")) }
}

/// RFC 9293 §3.5.2: the reset that answers a segment of no connection. A reset is never answered.
pub(crate) fn must_reset(event: &Event<'_>, reason: DropReason) -> Judgement {
    let Content::Tcp { ports, seq, ack, flags, data } = &event.seen.content else { return Err("no segment".into()) };
    if flags & RST != 0 {
        return must_drop(event, &[reason]);
    }
    let (Verdict::Back, Some(out)) = (event.outcome.verdict, event.out) else {
        return Err(format!("expected a reset for {reason:?}, was {:?}", event.outcome.verdict));
    };
    let counted = data.len() as u32 + u32::from(flags & SYN != 0) + u32::from(flags & crate::packet::FIN != 0);
    let ports = [ports[1], ports[0]];
    let data = Vec::new();
    let reset = if flags & ACK != 0 {
        Content::Tcp { ports, seq: *ack, ack: 0, flags: RST, data }
    } else {
        Content::Tcp { ports, seq: 0, ack: seq.wrapping_add(counted), flags: RST | ACK, data }
    };
    let right = out.content == reset && (out.src, out.dst) == (event.seen.dst, event.seen.src);
    if right { sound(out) } else { Err(format!("expected {reset:?}, was {out:?}")) }
}
