//! TCP: connection attempts that cross, attempts that nobody waits for, connections without a beginning, resets, reuse.

mod kit;

use kit::*;
use natrig_nat::behaviour::{IdleExpiry, Midstream, UnsolicitedSyn};
use natrig_nat::{Direction, DropReason, Verdict};

const POD: &str = "10.0.0.1:1234";
const SERVER: &str = "203.0.113.5:80";

fn state(rig: &Rig) -> &'static str {
    rig.nat.mappings().next().map_or("none", |view| view.state)
}

fn connect(rig: &mut Rig) -> std::net::SocketAddrV4 {
    let from = source(&rig.out_ok(&tcp(at(POD), at(SERVER), SYN)));
    rig.in_ok(&tcp(at(SERVER), from, SYN | ACK));
    rig.out_ok(&tcp(at(POD), at(SERVER), ACK));
    assert_eq!(state(rig), "established");
    from
}

/// RFC 5382 REQ-2A.
#[test]
fn connection_attempts_that_cross_make_one_connection() {
    let mut rig = Rig::new("rfc4787", |_| ());
    let from = source(&rig.out_ok(&tcp(at(POD), at(SERVER), SYN)));
    rig.in_ok(&tcp(at(SERVER), from, SYN));
    assert_eq!(state(&rig), "syn-sent-both");
    rig.out_ok(&tcp(at(POD), at(SERVER), SYN | ACK));
    rig.in_ok(&tcp(at(SERVER), from, SYN | ACK));
    assert_eq!(state(&rig), "established");
}

/// RFC 5382 REQ-4: silence for 6 s, then ICMP port unreachable.
#[test]
fn an_attempt_that_nobody_waits_for_is_answered_after_six_seconds() {
    let mut rig = Rig::new("rfc4787", |_| ());
    let attempt = tcp(at(SERVER), at("198.51.100.1:5000"), SYN);
    assert_eq!(rig.inb(&attempt).0, Verdict::Hold);
    rig.wait(3);
    rig.in_drop(&attempt, DropReason::UnsolicitedSyn);
    assert_eq!(rig.released(Direction::Inbound), []);
    rig.wait(3);
    let released = rig.released(Direction::Inbound);
    let (verdict, answer) = &released[0];
    assert_eq!((*verdict, icmp_message(answer)), (Verdict::Back, (3, 3, at(SERVER), at("198.51.100.1:5000"))));
    assert_eq!(rig.nat.counters().answered(DropReason::UnsolicitedSyn), 1);
}

/// RFC 5382 REQ-4: an attempt from inside that crosses it within 6 s silences it.
#[test]
fn an_attempt_from_inside_that_crosses_a_waiting_one_silences_it() {
    let mut rig = Rig::new("rfc4787", |config| {
        config.behaviour.tcp.filtering = natrig_nat::behaviour::Dependence::AddressAndPortDependent;
    });
    // The mapping exists, towards another server; its filter keeps this one out.
    let from = source(&rig.out_ok(&tcp(at(POD), at("192.0.2.9:80"), SYN)));
    assert_eq!(rig.inb(&tcp(at(SERVER), from, SYN)).0, Verdict::Hold);
    rig.wait(2);
    assert_eq!(source(&rig.out_ok(&tcp(at(POD), at(SERVER), SYN))), from);
    assert_eq!(rig.released(Direction::Inbound)[0].0, Verdict::Drop(DropReason::UnsolicitedSyn));
    rig.wait(10);
    assert_eq!(rig.released(Direction::Inbound), []);
    assert_eq!(rig.nat.counters().answered(DropReason::UnsolicitedSyn), 0);
    rig.in_ok(&tcp(at(SERVER), from, SYN));
}

#[test]
fn profiles_may_drop_or_reset_unsolicited_attempts() {
    for (rule, expected) in
        [(UnsolicitedSyn::Drop, Verdict::Drop(DropReason::UnsolicitedSyn)), (UnsolicitedSyn::Reset, Verdict::Back)]
    {
        let mut rig = Rig::new("rfc4787", |config| config.behaviour.tcp_rules.unsolicited_syn = rule);
        let (verdict, answer) = rig.inb(&tcp(at(SERVER), at("198.51.100.1:5000"), SYN));
        assert_eq!(verdict, expected);
        if verdict == Verdict::Back {
            assert_eq!(ends(&answer), (at("198.51.100.1:5000"), at(SERVER)));
            assert_eq!(answer[ETHERNET + 33], RST | ACK);
            assert_eq!(answer[ETHERNET + 28..][..4], 1001u32.to_be_bytes(), "acknowledges the SYN");
        }
    }
}

/// An endpoint-independent filter lets an attempt in; what answers it makes the session.
#[test]
fn an_attempt_let_in_by_a_mapping_becomes_a_connection_when_it_is_answered() {
    let mut rig = Rig::new("rfc4787", |_| ());
    let outside = connect(&mut rig);
    let caller = at("192.0.2.77:999");
    assert_eq!(destination(&rig.in_ok(&tcp(caller, outside, SYN))), at(POD));
    assert_eq!(rig.nat.counters().live, 1, "strangers make no state");
    assert_eq!(source(&rig.out_ok(&tcp(at(POD), caller, SYN | ACK))), outside);
    rig.in_ok(&tcp(caller, outside, ACK));
    assert_eq!(rig.nat.mappings().map(|view| view.state).collect::<Vec<_>>(), ["established", "established"]);
    // A refusal goes out without a session.
    rig.in_ok(&tcp(at("192.0.2.78:999"), outside, SYN));
    assert_eq!(source(&rig.out_ok(&tcp(at(POD), at("192.0.2.78:999"), RST | ACK))), outside);
    assert_eq!(rig.nat.counters().live, 2);
}

#[test]
fn segments_of_unknown_connections_are_taken_up_dropped_or_reset() {
    for (rule, expected) in [
        (Midstream::Translate, Verdict::Forward),
        (Midstream::Drop, Verdict::Drop(DropReason::Midstream)),
        (Midstream::Reset, Verdict::Back),
    ] {
        let mut rig = Rig::new("netfilter", |config| config.behaviour.tcp_rules.midstream = rule);
        let (verdict, answer) = rig.out(&tcp(at(POD), at(SERVER), ACK));
        assert_eq!(verdict, expected);
        match verdict {
            Verdict::Forward => {
                assert_eq!(state(&rig), "midstream");
                rig.in_ok(&tcp(at(SERVER), source(&answer), ACK));
                assert_eq!(state(&rig), "established");
            }
            Verdict::Back => assert_eq!((answer[ETHERNET + 33], ends(&answer)), (RST, (at(SERVER), at(POD)))),
            Verdict::Drop(_) | Verdict::Hold | Verdict::Skip => assert_eq!(rig.nat.counters().live, 0),
        }
        rig.out(&tcp(at(POD), at("192.0.2.1:1"), RST));
        assert!(rig.nat.mappings().all(|view| view.remote != at("192.0.2.1:1")), "a reset starts nothing");
    }
}

#[test]
fn idle_connections_end_in_silence_or_in_resets() {
    for (rule, inside, outside) in [
        (IdleExpiry::Silent, Verdict::Drop(DropReason::Midstream), Verdict::Drop(DropReason::NoMapping)),
        (IdleExpiry::ResetInside, Verdict::Back, Verdict::Drop(DropReason::NoMapping)),
        (IdleExpiry::ResetBoth, Verdict::Back, Verdict::Back),
    ] {
        let mut rig = Rig::new("azure-natgw", |config| {
            config.behaviour.tcp_rules.idle_expiry = rule;
            config.behaviour.tcp_rules.midstream = Midstream::Drop;
        });
        let from = connect(&mut rig);
        rig.wait(239);
        rig.out_ok(&tcp(at(POD), at(SERVER), ACK));
        rig.wait(241);
        assert_eq!(rig.inb(&tcp(at(SERVER), from, ACK)).0, outside);
        assert_eq!(rig.out(&tcp(at(POD), at(SERVER), ACK)).0, inside);
        rig.out_ok(&tcp(at(POD), at(SERVER), SYN));
    }
}

/// RFC 7857 §2: half-closed connections live as long as open ones; closed ones four minutes; an RST four minutes, and it keeps nothing alive.
#[test]
fn closing_has_its_timers() {
    let mut rig = Rig::new("rfc4787", |_| ());
    let from = connect(&mut rig);
    rig.out_ok(&tcp(at(POD), at(SERVER), FIN | ACK));
    rig.wait(7000);
    rig.in_ok(&tcp(at(SERVER), from, ACK));
    rig.in_ok(&tcp(at(SERVER), from, FIN | ACK));
    rig.wait(239);
    rig.nat.expire(rig.now_ns);
    assert_eq!(rig.nat.counters().live, 1);
    rig.wait(2);
    rig.nat.expire(rig.now_ns);
    assert_eq!(rig.nat.counters().live, 0);
    let from = connect(&mut rig);
    rig.in_ok(&tcp(at(SERVER), from, RST));
    rig.wait(200);
    rig.in_ok(&tcp(at(SERVER), from, RST));
    rig.wait(41);
    rig.in_drop(&tcp(at(SERVER), from, RST), DropReason::NoMapping);
    let from = connect(&mut rig);
    rig.in_ok(&tcp(at(SERVER), from, RST));
    rig.out_ok(&tcp(at(POD), at(SERVER), ACK));
    assert_eq!(state(&rig), "established", "the reset was not believed");
}

/// Linux since 6.5: a connection in TIME_WAIT gives way to a new one from another host, if the new initial sequence number is beyond it.
#[test]
fn a_closed_connection_gives_way_in_the_last_attempts_of_a_window() {
    let run = |within: u32, isn: u32| {
        let mut rig = Rig::new("netfilter", |config| {
            // One port only: every search is one window of one attempt.
            config.behaviour.ports.range = natrig_nat::behaviour::PortRange::new(5000, 5000);
            config.behaviour.ports.evict_closing_within = within;
        });
        let from = source(&rig.out_ok(&tcp_seq(at(POD), at(SERVER), SYN, 1000, &[])));
        rig.in_ok(&tcp(at(SERVER), from, SYN | ACK));
        rig.out_ok(&tcp_seq(at(POD), at(SERVER), ACK, 1001, &[1; 99]));
        rig.out_ok(&tcp_seq(at(POD), at(SERVER), FIN | ACK, 1100, &[]));
        rig.in_ok(&tcp(at(SERVER), from, FIN | ACK));
        rig.out_ok(&tcp_seq(at(POD), at(SERVER), ACK, 1101, &[]));
        assert_eq!(state(&rig), "time-wait");
        let verdict = rig.out(&tcp_seq(at("10.0.0.2:7777"), at(SERVER), SYN, isn, &[])).0;
        (verdict, rig.nat.counters().evicted)
    };
    assert_eq!(run(32, 1102), (Verdict::Forward, 1));
    assert_eq!(run(32, 1101), (Verdict::Drop(DropReason::PortsExhausted), 0));
    assert_eq!(run(0, 1102), (Verdict::Drop(DropReason::PortsExhausted), 0));
}

#[test]
fn lengths_that_lie_are_malformed() {
    let mut rig = Rig::new("rfc4787", |_| ());
    for offset in [4 << 4, 15 << 4] {
        let mut segment = tcp(at(POD), at(SERVER), SYN);
        segment[ETHERNET + 32] = offset;
        rig.out_drop(&segment, DropReason::Malformed);
    }
    let mut short = tcp(at(POD), at(SERVER), SYN);
    short.truncate(ETHERNET + 20 + 12);
    rig.out_drop(&with_ip(short, &[(3, 32)]), DropReason::Malformed);
}
