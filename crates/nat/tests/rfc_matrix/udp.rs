//! RFC 4787.

use std::net::Ipv4Addr;

use natrig_nat::behaviour::FragmentRule;
use natrig_nat::{Config, Direction};

use crate::foreign::{self, Content};
use crate::lab::{Got, Lab, OUTSIDE, POD, POD2, PORT, REMOTE, ROUTER, Subject, Verdict, end, holds_if, may};
use crate::mapping::{self, Transport};
use crate::packet::{self, Ip};
use crate::{Document, row};

pub(crate) fn document() -> Document {
    let rows = vec![
        row!("REQ-1", Must, "endpoint-independent mapping", maps_endpoint_independently),
        row!("REQ-2", Recommended, "paired IP address pooling", pairs_addresses),
        row!("REQ-3", MustNot, "port overloading", does_not_overload),
        row!("REQ-3a", Recommended, "source ports 0–1023 and 1024–65535 stay in their range", keeps_port_class),
        row!("REQ-4", Recommended, "port parity is preserved", keeps_parity),
        row!("REQ-5", Must, "a mapping lasts two minutes at least", lasts_two_minutes),
        row!("REQ-5a", May, "shorter timers for well-known destination ports", has_shorter_timers),
        row!("REQ-5b", May, "the timer can be configured", timer_is_configurable),
        row!("REQ-5c", Recommended, "the default is five minutes or more", lasts_five_minutes),
        row!("REQ-6", Must, "outbound packets refresh a mapping", outbound_refreshes),
        row!("REQ-6a", May, "inbound packets refresh a mapping", inbound_refreshes),
        row!("REQ-7", Must, "inside and outside addresses may be the same", survives_address_conflicts),
        row!("REQ-8", Recommended, "endpoint-independent or address-dependent filtering", filters_at_most_by_address),
        row!("REQ-9", Must, "hairpinning", hairpins),
        row!("REQ-9a", Must, "hairpinned packets have an external source address and port", hairpins_externally),
        row!("REQ-10", Should, "application level gateways are off", leaves_payload_alone),
        row!("REQ-10a", Recommended, "each of them can be switched off", has_no_gateways),
        row!("REQ-11", Must, "behaviour is the same under all conditions", does_not_change),
        row!("REQ-12", MustNot, "ICMP messages terminate a mapping", survives_icmp),
        row!("REQ-12a", ShouldNot, "ICMP messages are filtered by their source", takes_icmp_from_anybody),
        row!("REQ-12b", Recommended, "destination unreachable is supported", takes_unreachable),
        row!("REQ-13", Must, "too long and DF: answered by “fragmentation needed”", reports_too_big),
        row!("REQ-13a", Must, "too long and no DF: fragmented, in order", cuts_too_big),
        row!("REQ-14", Must, "fragments are received in any order (UDP, TCP, ICMP)", takes_fragments),
        row!("REQ-14a", Must, "a flood of fragments does not harm others", survives_fragment_floods),
    ];
    Document { number: 4787, title: "unicast UDP", rows }
}

fn maps_endpoint_independently(subject: &Subject) -> Verdict {
    mapping::is_endpoint_independent(subject, Transport::Udp)
}

fn pairs_addresses(subject: &Subject) -> Verdict {
    mapping::pairs_addresses(subject)
}

fn does_not_overload(subject: &Subject) -> Verdict {
    mapping::does_not_overload(subject, Transport::Udp)
}

fn keeps_port_class(subject: &Subject) -> Verdict {
    let mut lab = subject.lab();
    for port in [1, 80, 511, 512, 700, 1023, 1024, 5000, 40_000, 65_535] {
        let Some(outside) = lab.udp_out(end(POD, port), end(REMOTE, 53)) else {
            return Verdict::Violates(format!("source port {port} gets no mapping"));
        };
        if (outside.port() < 1024) != (port < 1024) {
            return Verdict::Violates("privileged source ports are mapped to others".into());
        }
    }
    Verdict::Holds
}

fn keeps_parity(subject: &Subject) -> Verdict {
    let mut lab = subject.lab();
    for pod in 1..=4u8 {
        for port in 40_000..40_015 {
            let outside = lab.udp_out(end(Ipv4Addr::new(10, 0, 1, pod), port), end(REMOTE, 53));
            if outside.is_some_and(|outside| outside.port() % 2 != port % 2) {
                return Verdict::Violates("even ports become odd, or odd ones even".into());
            }
        }
    }
    Verdict::Holds
}

/// True if a mapping is gone when it has been idle for so long; `answered`: its flow went both ways.
fn is_gone_after(subject: &Subject, idle_s: f64, answered: bool) -> bool {
    let open = |lab: &mut Lab| {
        let outside = lab.udp_out(end(POD, PORT), end(REMOTE, 53))?;
        if answered {
            lab.udp_in(end(REMOTE, 53), outside)?;
        }
        Some(outside)
    };
    subject.dies_within(idle_s, open, |lab, outside| lab.udp_in(end(REMOTE, 53), *outside).is_some())
}

fn lasts(subject: &Subject, seconds: f64) -> Verdict {
    match (is_gone_after(subject, seconds - 0.1, false), is_gone_after(subject, seconds - 0.1, true)) {
        (false, false) => Verdict::Holds,
        (true, false) => Verdict::Violates("a flow that nobody answered goes earlier".into()),
        (_, true) => Verdict::Violates("it goes earlier".into()),
    }
}

fn lasts_two_minutes(subject: &Subject) -> Verdict {
    lasts(subject, 120.0)
}

fn lasts_five_minutes(subject: &Subject) -> Verdict {
    lasts(subject, 300.0)
}

fn has_shorter_timers(_: &Subject) -> Verdict {
    may(false)
}

fn timer_is_configurable(subject: &Subject) -> Verdict {
    let outlasts = |timer_s: u32| {
        let mut lab = subject.lab_with(|config| {
            config.behaviour.timers.udp_new_s = timer_s;
            config.behaviour.timers.udp_stream_s = timer_s;
        });
        let outside = lab.udp_out(end(POD, PORT), end(REMOTE, 53));
        lab.wait(800.0);
        outside.is_some_and(|outside| lab.udp_in(end(REMOTE, 53), outside).is_some())
    };
    may(outlasts(1000) && !outlasts(30))
}

/// True if a mapping is alive after ten minutes in which packets went one way every 20 s.
fn is_kept_alive_by(subject: &Subject, dir: Direction) -> bool {
    let mut lab = subject.lab();
    let Some(outside) = lab.udp_out(end(POD, PORT), end(REMOTE, 53)) else { return false };
    for _ in 0..60 {
        lab.wait(20.0);
        let passed = match dir {
            Direction::Outbound => lab.udp_out(end(POD, PORT), end(REMOTE, 53)) == Some(outside),
            Direction::Inbound => lab.udp_in(end(REMOTE, 53), outside).is_some(),
        };
        if !passed {
            return false;
        }
    }
    lab.udp_in(end(REMOTE, 53), outside).is_some()
}

fn outbound_refreshes(subject: &Subject) -> Verdict {
    holds_if(is_kept_alive_by(subject, Direction::Outbound), "outbound packets do not keep it alive")
}

fn inbound_refreshes(subject: &Subject) -> Verdict {
    may(is_kept_alive_by(subject, Direction::Inbound))
}

/// A remote host has the address of a pod.
fn survives_address_conflicts(subject: &Subject) -> Verdict {
    let mut lab = subject.lab();
    let remote = end(POD2, 53);
    let reached = lab.udp_out(end(POD, PORT), remote).and_then(|outside| lab.udp_in(remote, outside));
    holds_if(reached == Some(end(POD, PORT)), "a remote host with a pod's address cannot be reached")
}

fn filters_at_most_by_address(subject: &Subject) -> Verdict {
    mapping::filters_at_most_by_address(subject, Transport::Udp)
}

fn hairpins(subject: &Subject) -> Verdict {
    mapping::hairpins(subject, Transport::Udp)
}

fn hairpins_externally(subject: &Subject) -> Verdict {
    match mapping::hairpins(subject, Transport::Udp) {
        Verdict::Violates(_) => Verdict::NotApplicable("no hairpinning"),
        verdict => verdict,
    }
}

/// Text that looks like an application protocol's, with the address of a pod in it.
fn leaves_payload_alone(subject: &Subject) -> Verdict {
    let mut lab = subject.lab();
    let texts: [(u16, &[u8]); 3] = [
        (5060, b"REGISTER sip:10.0.1.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.1.1:40000\r\n"),
        (69, b"\x00\x01file\x00octet\x00"),
        (2427, b"CRCX 1 10.0.1.1:40000"),
    ];
    for (port, text) in texts {
        let sent = lab.outbound(&packet::udp(end(POD, PORT), end(REMOTE, port), text)).forwarded();
        if !sent.is_some_and(|seen| matches!(seen.content, Content::Udp { data, .. } if data == text)) {
            return Verdict::Violates(format!("the payload to port {port} is changed"));
        }
    }
    Verdict::Holds
}

fn has_no_gateways(_: &Subject) -> Verdict {
    Verdict::NotApplicable("there are no application level gateways")
}

fn does_not_change(subject: &Subject) -> Verdict {
    mapping::does_not_change(subject, Transport::Udp)
}

/// A UDP packet as it travels outside, from the outside end of a new flow.
fn sent(lab: &mut Lab) -> Option<Ip> {
    let outside = lab.udp_out(end(POD, PORT), end(REMOTE, 53))?;
    Some(packet::udp(outside, end(REMOTE, 53), b"out"))
}

fn survives_icmp(subject: &Subject) -> Verdict {
    let mut lab = subject.lab();
    let Some(sent) = sent(&mut lab) else { return Verdict::Violates("no mapping is made".into()) };
    let codes = (0..16).map(|code| [3, code]).chain([[4, 0], [5, 1], [11, 0], [11, 1], [12, 0]]);
    for kind_code in codes {
        lab.error_in(&sent, kind_code);
    }
    let outside = end(sent.src, u16::from_be_bytes([sent.payload[0], sent.payload[1]]));
    holds_if(lab.udp_in(end(REMOTE, 53), outside).is_some(), "the mapping is gone")
}

fn takes_icmp_from_anybody(subject: &Subject) -> Verdict {
    let mut lab = subject.lab();
    let Some(sent) = sent(&mut lab) else { return Verdict::Violates("no mapping is made".into()) };
    for from in [REMOTE, ROUTER, Ipv4Addr::new(8, 8, 8, 8)] {
        let got = lab.inbound(&packet::error(from, OUTSIDE, [3, 3], 0, &sent.bytes()));
        if got.forwarded().is_none_or(|seen| seen.dst != POD) {
            return Verdict::Violates("no ICMP error comes in".into());
        }
    }
    Verdict::Holds
}

fn takes_unreachable(subject: &Subject) -> Verdict {
    let mut lab = subject.lab();
    let Some(sent) = sent(&mut lab) else { return Verdict::Violates("no mapping is made".into()) };
    for code in 0..16 {
        if lab.error_in(&sent, [3, code]).forwarded().is_none_or(|seen| seen.dst != POD) {
            return Verdict::Violates("no ICMP error comes in".into());
        }
    }
    Verdict::Holds
}

fn narrow(config: &mut Config) {
    config.outside_mtu = Some(576);
    config.behaviour.fragments.max_held = config.behaviour.fragments.max_held.max(8);
}

fn reports_too_big(subject: &Subject) -> Verdict {
    let mut lab = subject.lab_with(narrow);
    let mut packet = packet::udp(end(POD, PORT), end(REMOTE, 53), &[7; 1000]);
    packet.dont_fragment = true;
    let Got::Back(seen) = lab.outbound(&packet) else {
        return Verdict::Violates("no “fragmentation needed” is sent".into());
    };
    let right = matches!(seen.content, Content::Error { kind: 3, code: 4, mtu: 576, .. }) && seen.dst == POD;
    holds_if(right, "“fragmentation needed” has the wrong MTU or receiver")
}

fn cuts_too_big(subject: &Subject) -> Verdict {
    let mut lab = subject.lab_with(narrow);
    let packet = packet::udp(end(POD, PORT), end(REMOTE, 53), &[7; 1000]);
    let Some(first) = lab.outbound(&packet).forwarded() else {
        return Verdict::Violates("packets that are too long are dropped".into());
    };
    let mut pieces = vec![first];
    pieces.extend(lab.released(Direction::Outbound).into_iter().filter_map(Got::forwarded));
    let mut payload = Vec::new();
    for piece in &pieces {
        let Content::Opaque(bytes) = &piece.content else { return Verdict::Violates("it is not cut".into()) };
        if usize::from(piece.fragment_offset) != payload.len() || bytes.len() + 20 > 576 {
            return Verdict::Violates("pieces are out of order or too long".into());
        }
        payload.extend(bytes);
    }
    let whole = Ip::new(pieces[0].src, pieces[0].dst, packet::UDP, payload);
    let seen = foreign::read(&whole.frame());
    let right = seen.is_ok_and(|seen| {
        seen.checksum_error == 0 && matches!(&seen.content, Content::Udp { data, .. } if data == &[7; 1000])
    });
    holds_if(
        right && pieces.iter().rev().skip(1).all(|piece| piece.more_fragments),
        "the pieces do not make the packet",
    )
}

/// Sends a datagram in pieces, the last one first if `backwards`; true if all came out.
fn passes_in_pieces(lab: &mut Lab, datagram: &Ip, backwards: bool) -> bool {
    let mut pieces = datagram.fragments(32);
    if backwards {
        pieces.reverse();
    }
    let mut out = 0;
    for piece in &pieces {
        out += usize::from(lab.outbound(piece).forwarded().is_some());
        out += lab.released(Direction::Outbound).into_iter().filter_map(Got::forwarded).count();
    }
    out == pieces.len()
}

fn takes_fragments(subject: &Subject) -> Verdict {
    let data = [9; 120];
    let datagrams = [
        ("UDP", packet::udp(end(POD, PORT), end(REMOTE, 53), &data)),
        ("TCP", packet::tcp(end(POD, PORT), end(REMOTE, 80), packet::SYN, 1, &data)),
        ("ICMP", packet::query(POD, REMOTE, 8, PORT, &data)),
    ];
    let mut lost = Vec::new();
    for (name, datagram) in datagrams {
        let in_order = passes_in_pieces(&mut subject.lab(), &datagram, false);
        let out_of_order = passes_in_pieces(&mut subject.lab(), &datagram, true);
        match (in_order, out_of_order) {
            (false, _) => lost.push(format!("{name} fragments are dropped")),
            (true, false) => lost.push(format!("{name} fragments are dropped if the first comes late")),
            (true, true) => {}
        }
    }
    holds_if(lost.is_empty(), lost.join(", "))
}

/// Pieces without a first one, more than can be followed or held; then a whole packet, and one in pieces.
fn survives_fragment_floods(subject: &Subject) -> Verdict {
    if subject.behaviour().udp.fragments == FragmentRule::Drop {
        return Verdict::NotApplicable("fragments are dropped");
    }
    let mut lab = subject.lab();
    let outside = lab.udp_out(end(POD, PORT), end(REMOTE, 53));
    for ident in 0..20_000u16 {
        let mut piece = packet::udp(end(POD2, 41_000), end(REMOTE, 53), &[0; 64]).fragments(32).remove(1);
        piece.ident = ident;
        piece.src = Ipv4Addr::from_bits(0x0a00_0200 + u32::from(ident % 64));
        lab.outbound(&piece);
    }
    let whole = lab.udp_out(end(POD, PORT), end(REMOTE, 53)) == outside;
    let back = outside.is_some_and(|outside| lab.udp_in(end(REMOTE, 53), outside).is_some());
    let in_pieces = passes_in_pieces(&mut lab, &packet::udp(end(POD, PORT), end(REMOTE, 53), &[1; 120]), false);
    holds_if(whole && back && in_pieces, "after a flood of fragments others are lost")
}
