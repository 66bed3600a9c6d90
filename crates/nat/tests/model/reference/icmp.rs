//! ICMP errors (RFC 5508 §4).

use std::net::SocketAddrV4;

use natrig_nat::{Direction, DropReason, Verdict};

use super::outbound::sound;
use super::policy::Fate;
use super::{Event, Flow, Judgement, Reference, must_drop};
use crate::foreign::{self, Content, Seen};
use crate::packet::{ICMP, TCP, UDP, checksum};

/// The quoted packet's ends, turned round: the flow of the packet that would answer it.
fn answered_flow(quote: &[u8], dir: Direction) -> Option<Flow> {
    let ([src, dst], protocol, [from, to]) = foreign::quoted_ends(quote)?;
    let (from_port, to_port) = match (protocol, dir) {
        (ICMP, Direction::Outbound) => (from, 0),
        (ICMP, Direction::Inbound) => (0, from),
        _ => (to, from),
    };
    let (from, to) = (SocketAddrV4::new(dst, from_port), SocketAddrV4::new(src, to_port));
    Some(Flow { protocol, from, to, flags: 0, seq: 0, seq_end: 0 })
}

impl Reference {
    /// REQ-4: about a packet that was sent from inside.
    pub(super) fn inbound_error(&mut self, event: &Event<'_>, kind: u8) -> Judgement {
        let Content::Error { quote, .. } = &event.seen.content else { return Err("no error".into()) };
        if !self.behaviour().icmp_rules.errors.contains(&kind) {
            return must_drop(event, &[DropReason::IcmpType]);
        }
        let Some(flow) = answered_flow(quote, Direction::Inbound) else {
            return must_drop(event, &[DropReason::IcmpQuote]);
        };
        if !matches!(flow.protocol, ICMP | UDP | TCP) {
            return must_drop(event, &[DropReason::Protocol]);
        }
        if *flow.to.ip() != event.seen.dst {
            return must_drop(event, &[DropReason::IcmpNoMapping]);
        }
        match self.admitted(&flow) {
            Ok(found) => {
                let inside = self.sessions[found[0]].inside;
                let ends = Seen { dst: *inside.ip(), ..event.seen.clone() };
                // In the quote, the inside end is the source.
                must_send_error(event, Verdict::Forward, &ends, [inside, flow.from], flow.protocol)
            }
            // The mapping is there, but its filter lets nothing in from the other end: whether errors from there count is left open.
            Err(DropReason::Filtered) if event.outcome.verdict == Verdict::Forward => {
                Err(format!("an error about a packet to {:?}, to which none was sent, came in", flow.from))
            }
            Err(_) => must_drop(event, &[DropReason::IcmpNoMapping]),
        }
    }

    /// REQ-5: about a packet that came from outside.
    pub(super) fn outbound_error(&mut self, event: &Event<'_>, kind: u8) -> Judgement {
        let Content::Error { quote, .. } = &event.seen.content else { return Err("no error".into()) };
        let Some(flow) = answered_flow(quote, Direction::Outbound) else {
            return must_drop(event, &[DropReason::IcmpQuote]);
        };
        if !matches!(flow.protocol, ICMP | UDP | TCP) {
            return must_drop(event, &[DropReason::Protocol]);
        }
        let session = self.find(flow.protocol, flow.from, flow.to).map(|at| self.sessions[at].outside);
        let Some(outside) = session.or_else(|| self.mapping_of(&flow)) else {
            return match self.fate(event.seen.src, event.seen.dst) {
                Fate::Pass => self.must_pass(event),
                _ => must_drop(event, &[DropReason::IcmpNoMapping]),
            };
        };
        if !self.behaviour().icmp_rules.errors.contains(&kind) {
            return must_drop(event, &[DropReason::IcmpType]);
        }
        // REQ-5c: the outer source is the translator's.
        let ends = Seen { src: *outside.ip(), ..event.seen.clone() };
        if !self.is_outside(event.seen.dst) {
            return must_send_error(event, Verdict::Forward, &ends, [flow.to, outside], flow.protocol);
        }
        // REQ-7: about a hairpinned packet, it goes back inside.
        let there = Flow { from: outside, ..flow };
        match self.admitted(&there) {
            Ok(found) => {
                let inside = self.sessions[found[0]].inside;
                let ends = Seen { dst: *inside.ip(), ..ends };
                must_send_error(event, Verdict::Back, &ends, [inside, outside], flow.protocol)
            }
            Err(_) => must_drop(event, &[DropReason::IcmpNoMapping]),
        }
    }
}

/// The error must have come out with these outer ends, and in its quote these ends, and otherwise as it was.
fn must_send_error(
    event: &Event<'_>,
    verdict: Verdict,
    ends: &Seen,
    quoted: [SocketAddrV4; 2],
    protocol: u8,
) -> Judgement {
    let Some(out) = event.out.filter(|_| event.outcome.verdict == verdict) else {
        return Err(format!("expected {verdict:?} of an error as {ends:?}, was {:?}", event.outcome.verdict));
    };
    let (Content::Error { quote: before, .. }, Content::Error { quote: after, .. }) =
        (&event.seen.content, &out.content)
    else {
        return Err(format!("expected an ICMP error, was {out:?}"));
    };
    let ident = if ends.dont_fragment { ends.ident } else { out.ident };
    let expected = Seen { ttl: event.seen.ttl - 1, ident, content: out.content.clone(), ..ends.clone() };
    let heads = |content: &Content| match content {
        Content::Error { kind, code, mtu, .. } => Some((*kind, *code, *mtu)),
        _ => None,
    };
    if *out != expected || heads(&out.content) != heads(&event.seen.content) {
        return Err(format!("expected {expected:?}, came out as {out:?}"));
    }
    let [src, dst] = quoted;
    let ports = if protocol == ICMP { [src.port().max(dst.port()); 2] } else { [src.port(), dst.port()] };
    if foreign::quoted_ends(after) != Some(([*src.ip(), *dst.ip()], protocol, ports)) {
        return Err(format!("expected a quote of {quoted:?}, was {:?}", foreign::quoted_ends(after)));
    }
    quote_is_sound(before, after)?;
    sound(out)
}

/// Nothing else in the quote has changed, its header's checksum is right, and its transport checksum is as right or wrong as it was.
fn quote_is_sound(before: &[u8], after: &[u8]) -> Judgement {
    let header_len = usize::from(after[0] & 0xf) * 4;
    if checksum(&after[..header_len]) != 0 || before.len() != after.len() {
        return Err(format!("the quote's header is damaged: {after:?}"));
    }
    let protocol = after[9];
    let may_change = |at: usize| {
        let l4 = at.wrapping_sub(header_len);
        let in_transport = match protocol {
            UDP => matches!(l4, 0..4 | 6..8),
            TCP => matches!(l4, 0..4 | 16..18),
            _ => matches!(l4, 2..6),
        };
        matches!(at, 10..20) || in_transport
    };
    if let Some(at) = (0..after.len()).find(|at| before[*at] != after[*at] && !may_change(*at)) {
        return Err(format!("byte {at} of the quote has changed"));
    }
    let total_len = usize::from(u16::from_be_bytes([after[2], after[3]]));
    if total_len > after.len() {
        return Ok(());
    }
    let error = |quote: &[u8]| {
        let frame = [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0], &quote[..total_len]].concat();
        foreign::read(&frame).map(|seen| seen.checksum_error)
    };
    if error(before) == error(after) { Ok(()) } else { Err("the quote's transport checksum went wrong".into()) }
}
