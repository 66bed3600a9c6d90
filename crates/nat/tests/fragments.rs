//! Fragments in any order, links of different MTU, and the bounds on what waits.

mod kit;

use kit::*;
use natrig_nat::{Direction, DropReason, Verdict};

const POD: &str = "10.0.0.1:1234";
const SERVER: &str = "203.0.113.5:80";

fn datagram(len: usize) -> Vec<u8> {
    let payload: Vec<u8> = (0..len).map(|n| n as u8).collect();
    udp(at(POD), at(SERVER), &payload)
}

#[test]
fn fragments_in_order_are_translated_alike_in_both_directions() {
    for profile in ["rfc4787", "netfilter", "cilium-bpf", "aws-natgw"] {
        let mut rig = Rig::new(profile, |_| ());
        let out: Vec<_> = fragments(&datagram(3000), &[1480, 2960]).iter().map(|piece| rig.out_ok(piece)).collect();
        let whole = reassemble(&out).unwrap();
        let (from, to) = ends(&whole);
        assert_eq!((*from.ip(), to), (ip(OUTSIDE), at(SERVER)), "{profile}");
        assert!(out.iter().all(|piece| ttl(piece) == 63));
        let answer = udp(at(SERVER), from, &[7; 2000]);
        let back: Vec<_> = fragments(&answer, &[1480]).iter().map(|piece| rig.in_ok(piece)).collect();
        assert_eq!(ends(&reassemble(&back).unwrap()), (at(SERVER), at(POD)), "{profile}");
    }
}

#[test]
fn tcp_and_echo_fragments_are_translated_where_the_profile_does_that() {
    let mut rig = Rig::new("rfc4787", |_| ());
    let segment = tcp_seq(at(POD), at(SERVER), SYN, 1, &[3; 1000]);
    let out: Vec<_> = fragments(&segment, &[480]).iter().map(|piece| rig.out_ok(piece)).collect();
    assert_eq!(destination(&reassemble(&out).unwrap()), at(SERVER));
    let big_ping =
        icmp(ip("10.0.0.1"), ip("203.0.113.5"), natrig_wire::icmpv4::Repr::Echo { ident: 9, seq: 1 }, &[1; 2000]);
    let out: Vec<_> = fragments(&big_ping, &[1480]).iter().map(|piece| rig.out_ok(piece)).collect();
    assert_eq!(*source(&reassemble(&out).unwrap()).ip(), ip(OUTSIDE));
    let mut rig = Rig::new("aws-natgw", |_| ());
    for piece in fragments(&segment, &[480]) {
        rig.out_drop(&piece, DropReason::Fragment);
    }
}

/// RFC 4787 REQ-14.
#[test]
fn fragments_in_any_order_arrive_and_follow_the_first_one() {
    let pieces = fragments(&datagram(4000), &[800, 1600, 2400, 3200]);
    for order in [[4, 3, 2, 1, 0], [1, 0, 4, 2, 3], [2, 4, 0, 1, 3]] {
        let mut rig = Rig::new("rfc4787", |_| ());
        let mut out = Vec::new();
        for index in order {
            match rig.out(&pieces[index]) {
                (Verdict::Forward, frame) => out.push(frame),
                (verdict, _) => {
                    assert_eq!(verdict, Verdict::Hold);
                    assert!(rig.nat.holds_frames());
                }
            }
            for (verdict, frame) in rig.released(Direction::Outbound) {
                assert_eq!(verdict, Verdict::Forward);
                out.push(frame);
            }
        }
        assert_eq!(*source(&reassemble(&out).unwrap()).ip(), ip(OUTSIDE), "{order:?}");
        assert!(!rig.nat.holds_frames());
        let counters = rig.nat.counters();
        assert_eq!((counters.translated_out, counters.held, counters.released), (5, counters.held, counters.held));
    }
}

#[test]
fn without_its_first_fragment_nothing_passes_and_what_waits_runs_out() {
    let pieces = fragments(&datagram(3000), &[1480]);
    let mut rig = Rig::new("cilium-bpf", |_| ());
    rig.out_drop(&pieces[1], DropReason::FragmentUnknown);
    let mut rig = Rig::new("rfc4787", |_| ());
    assert_eq!(rig.out(&pieces[1]).0, Verdict::Hold);
    rig.wait(29);
    assert_eq!(rig.released(Direction::Outbound), []);
    rig.wait(2);
    assert_eq!(rig.released(Direction::Inbound), []);
    assert_eq!(rig.released(Direction::Outbound)[0].0, Verdict::Drop(DropReason::FragmentTimeout));
    assert_eq!((rig.nat.counters().dropped(DropReason::FragmentTimeout), rig.nat.counters().held_dropped), (1, 1));
    assert!(!rig.nat.holds_frames());
}

/// RFC 4787 REQ-14A: what strangers can make wait is bounded, and harms nobody who is known.
#[test]
fn a_flood_of_fragments_is_bounded() {
    let mut rig = Rig::new("rfc4787", |config| {
        config.behaviour.fragments.max_held = 8;
        config.behaviour.fragments.max_held_per_datagram = 3;
        config.behaviour.fragments.max_tracked = 16;
    });
    let from = rig.map_udp(POD, SERVER);
    let memory = rig.nat.memory();
    let stray = |ident: u16, index: usize| {
        let pieces = fragments(&udp(at(SERVER), from, &[0; 200]), &[48, 96, 144, 192]);
        with_ip(pieces[index].clone(), &[(4, (ident >> 8) as u8), (5, ident as u8)])
    };
    let held = (1..5).filter(|index| rig.inb(&stray(1, *index)).0 == Verdict::Hold).count();
    assert_eq!(held, 3, "per datagram");
    for ident in 2..1000 {
        rig.inb(&stray(ident, 1));
    }
    let waiting = rig.nat.counters().held - rig.nat.counters().released - rig.nat.counters().held_dropped;
    assert!(waiting <= 8, "{waiting} wait");
    assert_eq!(rig.nat.memory(), memory);
    // Datagrams that were displaced take along what waited for them.
    rig.wait(31);
    while rig.nat.holds_frames() {
        assert!(rig.released(Direction::Inbound).iter().all(|(verdict, _)| matches!(verdict, Verdict::Drop(_))));
    }
    assert_eq!(rig.nat.counters().held, rig.nat.counters().held_dropped);
    rig.in_ok(&udp(at(SERVER), from, b"still here"));
}

/// RFC 1858, RFC 3128.
#[test]
fn fragments_that_hide_or_overwrite_the_header_are_dropped() {
    let mut rig = Rig::new("rfc4787", |_| ());
    let pieces = fragments(&tcp(at(POD), at(SERVER), SYN), &[8, 16]);
    rig.out_drop(&pieces[0], DropReason::FragmentTiny);
    rig.out_drop(&pieces[1], DropReason::FragmentTiny);
}

#[test]
fn a_refused_datagram_takes_all_its_fragments_along() {
    let mut rig = Rig::new("rfc4787", |_| ());
    let pieces = fragments(&udp(at(SERVER), at("198.51.100.1:4444"), &[0; 100]), &[48, 80]);
    assert_eq!(rig.inb(&pieces[2]).0, Verdict::Hold);
    rig.in_drop(&pieces[0], DropReason::NoMapping);
    assert_eq!(rig.released(Direction::Inbound)[0].0, Verdict::Drop(DropReason::NoMapping));
    rig.in_drop(&pieces[1], DropReason::NoMapping);
}

/// RFC 4787 REQ-13, RFC 1191.
#[test]
fn too_long_packets_that_may_not_be_cut_are_answered_with_the_mtu() {
    let mut rig = Rig::new("rfc4787", |config| config.outside_mtu = Some(1000));
    let (verdict, answer) = rig.out(&with_ip(datagram(1200), &[(6, 0x40)]));
    assert_eq!(verdict, Verdict::Back);
    assert_eq!(icmp_message(&answer), (3, 4, at(POD), at(SERVER)));
    assert_eq!(answer[ETHERNET + 26..][..2], 1000u16.to_be_bytes());
    assert_eq!(rig.nat.counters().answered(DropReason::TooBig), 1);
    rig.out_ok(&with_ip(datagram(972), &[(6, 0x40)]));
}

/// RFC 4787 REQ-13A.
#[test]
fn too_long_packets_that_may_be_cut_leave_in_pieces_in_order() {
    let mut rig = Rig::new("rfc4787", |config| config.outside_mtu = Some(576));
    let (verdict, first) = rig.out(&datagram(1400));
    assert_eq!(verdict, Verdict::Forward);
    let mut pieces = vec![first];
    pieces.extend(rig.released(Direction::Outbound).into_iter().map(|(verdict, piece)| {
        assert_eq!(verdict, Verdict::Forward);
        piece
    }));
    assert_eq!(pieces.len(), 3);
    assert!(pieces.iter().all(|piece| piece.len() <= ETHERNET + 576));
    let whole = reassemble(&pieces).unwrap();
    assert_eq!((destination(&whole), &whole[ETHERNET + 28..]), (at(SERVER), &datagram(1400)[ETHERNET + 28..]));
    assert_eq!(rig.nat.counters().fragments_made, 2);
    // A fragment can be cut again; its place in the datagram stays.
    let mut out = Vec::new();
    for piece in fragments(&datagram(1400), &[1000]) {
        out.push(rig.out_ok(&piece));
        out.extend(rig.released(Direction::Outbound).into_iter().map(|(_, piece)| piece));
    }
    assert_eq!(destination(&reassemble(&out).unwrap()), at(SERVER));
}

#[test]
fn options_that_ask_for_it_are_copied_into_every_piece() {
    let mut rig = Rig::new("rfc4787", |config| config.outside_mtu = Some(576));
    let plain = datagram(1000);
    // Record route (7) stays in the first piece, loose source route (131) goes into all.
    let mut long = plain[..ETHERNET + 20].to_vec();
    long.extend([7, 3, 4, 131, 3, 4, 0, 0]);
    long.extend(&plain[ETHERNET + 20..]);
    let total = (long.len() - ETHERNET) as u16;
    let long = with_ip(long, &[(0, 0x47), (2, (total >> 8) as u8), (3, total as u8)]);
    let first = rig.out_ok(&long);
    assert_eq!(first[ETHERNET + 20..][..8], [7, 3, 4, 131, 3, 4, 0, 0]);
    let rest = rig.released(Direction::Outbound);
    assert_eq!(rest[0].1[ETHERNET + 20..][..8], [1, 1, 1, 131, 3, 4, 0, 0]);
}

/// RFC 6864 §5.3.1: two inside hosts that use one identification do not after translation.
#[test]
fn identifications_of_packets_that_may_be_cut_are_made_distinct() {
    let ident = |frame: &[u8]| [frame[ETHERNET + 4], frame[ETHERNET + 5]];
    let mut rig = Rig::new("rfc4787", |_| ());
    let one = rig.out_ok(&datagram(8));
    let two = rig.out_ok(&udp(at("10.0.0.2:1234"), at(SERVER), b"12345678"));
    let again = rig.out_ok(&datagram(8));
    assert!(ident(&one) != ident(&two) && ident(&one) != ident(&again));
    // A packet that may not be cut keeps it.
    let atomic = with_ip(datagram(8), &[(6, 0x40), (5, 77)]);
    assert_eq!(ident(&rig.out_ok(&atomic)), [0, 77]);
    let mut rig = Rig::new("netfilter", |_| ());
    assert_eq!(ident(&rig.out_ok(&datagram(8))), [0, 7]);
}
