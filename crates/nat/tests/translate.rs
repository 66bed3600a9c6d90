//! The ordinary life of packets: there and back, for every protocol, with nothing changed that should not be.

mod kit;

use kit::*;
use natrig_nat::{Direction, DropReason, Forwarder, Verdict};
use natrig_wire::{Frame, icmpv4};

const POD: &str = "10.0.0.1:1234";
const SERVER: &str = "203.0.113.5:80";

#[test]
fn udp_goes_out_and_comes_back_through_every_profile() {
    for profile in natrig_nat::Profile::names() {
        let mut rig = Rig::new(profile, |_| ());
        for _ in 0..3 {
            let sent = udp(at(POD), at(SERVER), b"question");
            let out = rig.out_ok(&sent);
            let (from, to) = ends(&out);
            assert_eq!((*from.ip(), to, ttl(&out)), (ip(OUTSIDE), at(SERVER), 63), "{profile}");
            assert_eq!(out[ETHERNET + 28..], sent[ETHERNET + 28..]);
            let back = rig.in_ok(&udp(at(SERVER), from, b"answer"));
            assert_eq!((ends(&back), ttl(&back)), ((at(SERVER), at(POD)), 63));
        }
        let counters = rig.nat.counters();
        assert_eq!((counters.created, counters.translated_out, counters.translated_in, counters.live), (1, 3, 3, 1));
        let view = rig.nat.mappings().next().unwrap();
        assert_eq!((view.inside, view.remote, view.packets_out, view.packets_in), (at(POD), at(SERVER), 3, 3));
    }
}

#[test]
fn tcp_connects_talks_and_closes_through_every_profile() {
    for profile in natrig_nat::Profile::names() {
        let mut rig = Rig::new(profile, |_| ());
        let from = source(&rig.out_ok(&tcp(at(POD), at(SERVER), SYN)));
        let expect = |rig: &Rig, state: &str| assert_eq!(rig.nat.mappings().next().unwrap().state, state, "{profile}");
        expect(&rig, "syn-sent");
        assert_eq!(destination(&rig.in_ok(&tcp(at(SERVER), from, SYN | ACK))), at(POD));
        rig.out_ok(&tcp(at(POD), at(SERVER), ACK));
        expect(&rig, "established");
        for _ in 0..2 {
            assert_eq!(source(&rig.out_ok(&tcp_seq(at(POD), at(SERVER), ACK, 1001, b"GET /"))), from);
            assert_eq!(destination(&rig.in_ok(&tcp_seq(at(SERVER), from, ACK, 5, b"200"))), at(POD));
        }
        rig.out_ok(&tcp(at(POD), at(SERVER), FIN | ACK));
        rig.in_ok(&tcp(at(SERVER), from, ACK));
        rig.in_ok(&tcp(at(SERVER), from, FIN | ACK));
        rig.out_ok(&tcp(at(POD), at(SERVER), ACK));
        let state = rig.nat.mappings().next().unwrap().state;
        assert!(["last-ack", "time-wait"].contains(&state), "{profile}: {state}");
    }
}

#[test]
fn echo_goes_out_and_comes_back() {
    let mut rig = Rig::new("rfc4787", |_| ());
    let out = rig.out_ok(&ping("10.0.0.1", "203.0.113.5", 99));
    let (from, _) = ends(&out);
    let back = rig.in_ok(&pong("203.0.113.5", OUTSIDE, from.port()));
    assert_eq!(ends(&back), (at("203.0.113.5:99"), at("10.0.0.1:99")));
    rig.in_drop(&pong("203.0.113.5", OUTSIDE, from.port().wrapping_add(1)), DropReason::NoMapping);
}

/// RFC 5508 REQ-4: outer destination and the whole quote are turned back; type and code stay.
#[test]
fn errors_about_what_went_out_come_back_with_the_inside_ends() {
    for (sent, quote_len) in [
        (udp(at(POD), at(SERVER), b"question"), 28),
        (udp(at(POD), at(SERVER), b"question"), 100),
        (tcp(at(POD), at(SERVER), SYN), 28),
        (tcp(at(POD), at(SERVER), SYN), 40),
        (ping("10.0.0.1", "203.0.113.5", 1234), 28),
    ] {
        let mut rig = Rig::new("rfc4787", |_| ());
        let out = rig.out_ok(&sent);
        let back = rig.in_ok(&icmp_error("192.0.2.77", 3, 4, &out, quote_len));
        let (kind, code, from, to) = icmp_message(&back);
        assert_eq!((kind, code), (3, 4));
        assert_eq!((from, to), ends(&sent));
        assert_eq!(back[ETHERNET + 16..][..4], [10, 0, 0, 1]);
        // What was quoted is the packet as it was sent, but for the identification, the TTL, and the checksum over them.
        let quoted = &back[ETHERNET + 28..];
        assert_eq!(quoted[..4], sent[ETHERNET..][..4]);
        assert_eq!(quoted[6..8], sent[ETHERNET + 6..][..2]);
        assert_eq!(quoted[12..], sent[ETHERNET + 12..][..quoted.len() - 12]);
    }
    let mut rig = Rig::new("rfc4787", |_| ());
    let stranger = udp(at("198.51.100.1:5555"), at(SERVER), b"never sent");
    rig.in_drop(&icmp_error("192.0.2.77", 3, 4, &stranger, 28), DropReason::IcmpNoMapping);
}

/// RFC 5508 REQ-5: the other way; the outer source is the mapping's outside address.
#[test]
fn errors_about_what_came_in_go_out_with_the_outside_ends() {
    let mut rig = Rig::new("rfc4787", |_| ());
    let from = rig.map_udp(POD, SERVER);
    let inside = rig.in_ok(&udp(at(SERVER), from, b"answer"));
    let mut error = icmp_error("10.0.0.1", 3, 3, &inside, 28);
    let out = rig.out_ok(&error);
    let (kind, code, quoted_from, quoted_to) = icmp_message(&out);
    assert_eq!((kind, code, quoted_from, quoted_to), (3, 3, at(SERVER), from));
    assert_eq!(out[ETHERNET + 12..][..8], [198, 51, 100, 1, 203, 0, 113, 5]);
    let last = error.len() - 1;
    error[last] ^= 1;
    rig.out_drop(&error, DropReason::IcmpChecksum);
}

#[test]
fn ttl_runs_out_on_either_side() {
    let mut rig = Rig::new("rfc4787", |_| ());
    let from = rig.map_udp(POD, SERVER);
    let (verdict, answer) = rig.out(&with_ttl(udp(at(POD), at(SERVER), &[7; 40]), 1));
    assert_eq!(verdict, Verdict::Back);
    assert_eq!(answer[ETHERNET + 12..][..8], [10, 0, 255, 254, 10, 0, 0, 1]);
    assert_eq!(icmp_message(&answer), (11, 0, at(POD), at(SERVER)));
    let (verdict, answer) = rig.inb(&with_ttl(udp(at(SERVER), from, b"x"), 1));
    assert_eq!((verdict, icmp_message(&answer)), (Verdict::Back, (11, 0, at(SERVER), from)));
    assert_eq!(answer[ETHERNET + 12..][..4], [198, 51, 100, 254]);
    assert_eq!(rig.nat.counters().answered(DropReason::TtlExpired), 2);
    let about_error = with_ttl(icmp_error("192.0.2.77", 3, 4, &udp(from, at(SERVER), b"x"), 28), 1);
    rig.in_drop(&about_error, DropReason::TtlExpired);
}

#[test]
fn a_burst_is_its_frames_one_by_one() {
    let frames: Vec<_> = (0..200u16)
        .map(|n| udp(at(&format!("10.0.{}.1:{}", n % 7, 1000 + n % 50)), at(SERVER), &n.to_be_bytes()))
        .collect();
    let mut one = Rig::new("cilium-bpf", |_| ());
    let single: Vec<_> = frames.iter().map(|frame| one.out_ok(frame)).collect();
    let mut burst = Rig::new("cilium-bpf", |_| ());
    let mut buffers = frames.clone();
    let mut views: Vec<_> = buffers.iter_mut().map(|buffer| Frame::whole(buffer)).collect();
    let mut verdicts = vec![Verdict::Forward; views.len()];
    verdicts[3] = Verdict::Skip;
    verdicts[9] = Verdict::Drop(DropReason::Policy);
    burst.nat.translate_burst(Direction::Outbound, &mut views, &mut verdicts, burst.now_ns);
    for (index, (view, single)) in views.iter().zip(&single).enumerate() {
        let expected = if [3, 9].contains(&index) { &frames[index] } else { single };
        // Which port a colliding flow gets depends on how many random numbers were drawn before.
        assert_eq!(view.bytes()[ETHERNET + 8..ETHERNET + 20], expected[ETHERNET + 8..ETHERNET + 20], "frame {index}");
    }
    assert_eq!((verdicts[3], verdicts[9]), (Verdict::Skip, Verdict::Drop(DropReason::Policy)));
    assert!(
        verdicts.iter().enumerate().all(|(index, verdict)| [3, 9].contains(&index) || *verdict == Verdict::Forward)
    );
}

#[test]
fn what_is_not_for_a_translator_is_named() {
    let mut rig = Rig::new("aws-natgw", |_| ());
    rig.out_drop(&ipv4(ip("10.0.0.1"), ip("203.0.113.5"), 47, &[0; 20]), DropReason::Protocol);
    rig.out_drop(&udp(at("127.0.0.1:1"), at(SERVER), b""), DropReason::Martian);
    rig.out_drop(&udp(at(POD), at("224.0.0.1:1"), b""), DropReason::Martian);
    rig.out_drop(&udp(at("198.51.100.1:1"), at(SERVER), b""), DropReason::Martian);
    rig.in_drop(&udp(at(SERVER), at("10.0.0.1:5"), b""), DropReason::NotRouted);
    rig.in_drop(&udp(at(SERVER), at("198.51.100.1:5"), b""), DropReason::NoMapping);
    rig.in_drop(&ping("203.0.113.5", OUTSIDE, 1), DropReason::ForHost);
    rig.out_drop(&[0; 40], DropReason::NotIpv4);
    let mut bad = udp(at(POD), at(SERVER), b"");
    bad[ETHERNET + 10] ^= 1;
    rig.out_drop(&bad, DropReason::HeaderChecksum);
    assert_eq!(rig.nat.counters().dropped_total(), 9);
    assert_eq!(rig.nat.counters().dropped(DropReason::Martian), 3);
}

#[test]
fn a_forwarder_only_counts_hops() {
    let mut forwarder = Forwarder::new(ip("10.0.255.254"), ip("198.51.100.254"));
    let mut run = |bytes: &[u8]| {
        let mut buffer = bytes.to_vec();
        buffer.resize(bytes.len() + 100, 0);
        let mut frames = [Frame::new(&mut buffer, bytes.len())];
        let mut verdicts = [Verdict::Forward];
        forwarder.translate_burst(Direction::Outbound, &mut frames, &mut verdicts, 0);
        (verdicts[0], frames[0].bytes().to_vec())
    };
    let sent = udp(at(POD), at(SERVER), b"x");
    assert_eq!(run(&sent), (Verdict::Forward, with_ttl(sent.clone(), 63)));
    let unusual = ipv4(ip("10.0.0.1"), ip("203.0.113.5"), 47, &[0; 20]);
    assert_eq!(run(&unusual), (Verdict::Forward, with_ttl(unusual.clone(), 63)));
    let (verdict, answer) = run(&with_ttl(sent, 1));
    assert_eq!((verdict, icmp_message(&answer).0), (Verdict::Back, icmpv4::kind::TIME_EXCEEDED));
    assert_eq!(run(&[1; 30]).0, Verdict::Drop(DropReason::NotIpv4));
}
