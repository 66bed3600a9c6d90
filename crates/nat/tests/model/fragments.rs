//! Datagrams in pieces: what comes out, put together again, is the translated datagram.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use natrig_nat::behaviour::FragmentRule;
use natrig_nat::{Direction, DropReason, Profile, Verdict};

use crate::dice::Dice;
use crate::foreign::{self, Content, Seen};
use crate::packet::{self, ICMP, Ip, SYN, TCP, UDP};
use crate::rig::Rig;

const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const REMOTE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 1), 53);
/// Bytes of data per datagram.
const DATA_LEN: usize = 400;

fn rig(name: &str) -> Rig {
    Rig::new(Profile::builtin(name).expect("a profile that comes with the library").config(vec![OUTSIDE]), 1)
}

fn pod(number: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(10, 0, 1, 1 + (number % 200) as u8), 40_000 + number)
}

fn datagram(protocol: u8, from: SocketAddrV4, to: SocketAddrV4, ident: u16) -> Ip {
    let data: Vec<u8> = (0..DATA_LEN).map(|at| (at as u8).wrapping_mul(ident as u8 | 1)).collect();
    let packet = match protocol {
        UDP => packet::udp(from, to, &data),
        TCP => packet::tcp(from, to, SYN, 1, &data),
        _ => packet::query(*from.ip(), *to.ip(), 8, from.port(), &data),
    };
    Ip { ident, ..packet }
}

/// Passes one frame and takes whatever that sets free.
fn pass(rig: &mut Rig, dir: Direction, frame: &[u8], out: &mut Vec<Seen>) -> Verdict {
    let outcome = rig.pass(dir, frame);
    if outcome.verdict == Verdict::Forward {
        out.push(foreign::read(&outcome.frame).unwrap());
    }
    while let Some((verdict, frame)) = rig.release_one(dir) {
        assert_eq!(verdict, Verdict::Forward);
        out.push(foreign::read(&frame).unwrap());
    }
    outcome.verdict
}

/// Puts pieces together by what RFC 791 says they have in common, and reads the whole.
fn reassembled(pieces: &[Seen]) -> Vec<Seen> {
    let mut datagrams: BTreeMap<_, BTreeMap<u16, &Seen>> = BTreeMap::new();
    for piece in pieces {
        datagrams
            .entry((piece.src, piece.dst, piece.protocol, piece.ident))
            .or_default()
            .insert(piece.fragment_offset, piece);
    }
    let whole = |((src, dst, protocol, ident), pieces): (_, BTreeMap<u16, &Seen>)| {
        let mut payload = Vec::new();
        for (offset, piece) in &pieces {
            let Content::Opaque(bytes) = &piece.content else { panic!("{piece:?} is no piece") };
            assert_eq!(usize::from(*offset), payload.len(), "a piece is missing");
            payload.extend(bytes);
        }
        assert!(!pieces.values().last().unwrap().more_fragments, "the last piece is missing");
        foreign::read(&Ip { ident, ..Ip::new(src, dst, protocol, payload) }.frame()).unwrap()
    };
    datagrams.into_iter().map(whole).collect()
}

fn rule(name: &str, protocol: u8) -> FragmentRule {
    let behaviour = Profile::builtin(name).expect("a profile that comes with the library").behaviour;
    match protocol {
        UDP => behaviour.udp.fragments,
        TCP => behaviour.tcp.fragments,
        _ => behaviour.icmp.fragments,
    }
}

/// Several datagrams at once, their pieces in any order, some of them twice.
fn any_order(name: &str, protocol: u8, seed: u64) {
    let mut dice = Dice::new(seed);
    let mut rig = rig(name);
    let count = 1 + dice.below(6) as u16;
    let whole: Vec<Ip> = (0..count).map(|at| datagram(protocol, pod(at), REMOTE, 100 + at)).collect();
    let mut pieces: Vec<Ip> = whole.iter().flat_map(|ip| ip.fragments(24 + 8 * dice.below(10) as usize)).collect();
    for at in (1..pieces.len()).rev() {
        pieces.swap(at, dice.below(at as u32 + 1) as usize);
    }
    let mut out = Vec::new();
    for piece in &pieces {
        let verdict = pass(&mut rig, Direction::Outbound, &piece.frame(), &mut out);
        assert!(matches!(verdict, Verdict::Forward | Verdict::Hold), "{name}: {verdict:?}");
    }
    assert!(!rig.nat.holds_frames(), "{name}: all first fragments have come");
    let seen = reassembled(&out);
    assert_eq!(seen.len(), whole.len(), "{name}");
    for datagram in seen {
        assert_eq!((datagram.src, datagram.checksum_error), (OUTSIDE, 0), "{name}: {datagram:?}");
    }
    assert!(out.iter().all(|piece| piece.ttl == 63));
}

/// The answer comes in pieces as well.
fn inbound(name: &str, seed: u64) {
    let mut dice = Dice::new(seed);
    let mut rig = rig(name);
    let outcome = rig.pass(Direction::Outbound, &packet::udp(pod(0), REMOTE, b"?").frame());
    let Content::Udp { ports, .. } = foreign::read(&outcome.frame).unwrap().content else { panic!("{name}") };
    let answer = datagram(UDP, REMOTE, SocketAddrV4::new(OUTSIDE, ports[0]), 7);
    let mut pieces = answer.fragments(24);
    for at in (1..pieces.len()).rev() {
        pieces.swap(at, dice.below(at as u32 + 1) as usize);
    }
    let mut out = Vec::new();
    for piece in &pieces {
        pass(&mut rig, Direction::Inbound, &piece.frame(), &mut out);
    }
    let [whole] = &reassembled(&out)[..] else { panic!("{name}: not one datagram") };
    assert_eq!((whole.dst, whole.checksum_error), (*pod(0).ip(), 0), "{name}");
    assert!(matches!(&whole.content, Content::Udp { ports, .. } if ports[1] == pod(0).port()), "{name}: {whole:?}");
}

#[test]
fn pieces_in_any_order_make_the_translated_datagram() {
    for name in Profile::names() {
        for protocol in [UDP, TCP, ICMP] {
            if rule(name, protocol) == FragmentRule::Hold {
                (0..50).for_each(|seed| any_order(name, protocol, seed));
            }
        }
        if rule(name, UDP) == FragmentRule::Hold {
            (0..20).for_each(|seed| inbound(name, seed));
        }
    }
}

#[test]
fn where_pieces_are_only_followed_those_before_the_first_are_lost() {
    for name in Profile::names() {
        for protocol in [UDP, TCP] {
            if rule(name, protocol) != FragmentRule::Track {
                continue;
            }
            let mut rig = rig(name);
            let pieces = datagram(protocol, pod(1), REMOTE, 5).fragments(80);
            let unknown = Verdict::Drop(DropReason::FragmentUnknown);
            let mut out = Vec::new();
            assert_eq!(pass(&mut rig, Direction::Outbound, &pieces[1].frame(), &mut out), unknown, "{name}");
            for piece in &pieces {
                assert_eq!(pass(&mut rig, Direction::Outbound, &piece.frame(), &mut out), Verdict::Forward, "{name}");
            }
            assert_eq!(reassembled(&out)[0].checksum_error, 0, "{name}");
            // It was complete: its identification may now mean another one.
            assert_eq!(pass(&mut rig, Direction::Outbound, &pieces[1].frame(), &mut out), unknown, "{name}");
        }
    }
}

#[test]
fn where_pieces_are_refused_every_one_is() {
    for name in Profile::names() {
        for protocol in [UDP, TCP, ICMP] {
            if rule(name, protocol) != FragmentRule::Drop {
                continue;
            }
            let mut rig = rig(name);
            for piece in datagram(protocol, pod(1), REMOTE, 5).fragments(80) {
                let outcome = rig.pass(Direction::Outbound, &piece.frame());
                assert_eq!(outcome.verdict, Verdict::Drop(DropReason::Fragment), "{name}, protocol {protocol}");
            }
            assert_eq!(rig.nat.mappings().count(), 0, "{name}: a piece that is refused makes nothing");
        }
    }
}

#[test]
fn a_piece_whose_first_never_comes_is_dropped_in_time() {
    let mut rig = rig("rfc4787");
    let timeout_s = u64::from(rig.nat.config().behaviour.fragments.timeout_s);
    let pieces = datagram(UDP, pod(1), REMOTE, 5).fragments(80);
    assert_eq!(rig.pass(Direction::Outbound, &pieces[1].frame()).verdict, Verdict::Hold);
    rig.now_ns += timeout_s * 1_000_000_000 - 20_000_000;
    assert_eq!(rig.release_one(Direction::Outbound), None);
    rig.now_ns += 20_000_000;
    let released = rig.release_one(Direction::Outbound).map(|(verdict, _)| verdict);
    assert_eq!(released, Some(Verdict::Drop(DropReason::FragmentTimeout)));
    assert_eq!((rig.nat.counters().held_dropped, rig.nat.holds_frames()), (1, false));
}

/// RFC 1858 and RFC 3128: no piece is so small, or so placed, that the header is not all in the first one.
#[test]
fn pieces_cannot_hide_or_overwrite_a_header() {
    let mut rig = rig("rfc4787");
    let whole = datagram(TCP, pod(1), REMOTE, 5);
    let tiny = Verdict::Drop(DropReason::FragmentTiny);
    assert_eq!(rig.pass(Direction::Outbound, &whole.fragments(8)[0].frame()).verdict, tiny);
    let over_the_flags = Ip { fragment_offset: 8, more_fragments: true, payload: vec![0xff; 24], ..whole };
    assert_eq!(rig.pass(Direction::Outbound, &over_the_flags.frame()).verdict, tiny);
    assert_eq!(rig.nat.mappings().count(), 0);
}
