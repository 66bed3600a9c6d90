//! Tables whose sessions have an entry for each direction, and lose them one by one: Cilium's, current and older.

mod kit;

use kit::*;
use natrig_nat::behaviour::{FullPolicy, Overload, Probe};
use natrig_nat::{Config, ConfigError, Direction, DropReason, MappingView, Nat, Profile};
use std::net::SocketAddrV4;

const SERVER: &str = "203.0.113.5:80";
const CURRENT: &str = "cilium-bpf";
const OLDER: [&str; 2] = ["cilium-bpf-old32", "cilium-bpf-old128"];

/// A flow that has lost its entry of direction `lost`: the translator, and the flow's inside and outside ends.
fn half(profile: &str, lost: Direction) -> (Rig, SocketAddrV4, SocketAddrV4) {
    let mut rig = Rig::new(profile, |config| config.behaviour.table.capacity = 4);
    for host in 1..=4 {
        rig.map_udp(&format!("10.0.0.{host}:{}", 40_000 + host), SERVER);
    }
    rig.wait(5);
    for host in 1..=50 {
        rig.map_udp(&format!("10.0.1.{host}:{}", 41_000 + host), SERVER);
        let found = rig.nat.mappings().find(|view| view.lost == Some(lost) && view.inside.ip().octets()[2] == 0);
        if let Some(MappingView { inside, outside, .. }) = found {
            return (rig, inside, outside);
        }
    }
    panic!("no old flow has lost its {lost:?} entry");
}

fn lost(rig: &Rig, inside: SocketAddrV4) -> Vec<Option<Direction>> {
    rig.nat.mappings().filter(|view| view.inside == inside).map(|view| view.lost).collect()
}

#[test]
fn pressure_takes_the_oldest_entries_one_by_one() {
    for profile in [CURRENT, OLDER[0], OLDER[1]] {
        let mut rig = Rig::new(profile, |config| config.behaviour.table.capacity = 64);
        for host in 1..=64 {
            if host == 33 {
                rig.wait(30);
            }
            rig.map_udp(&format!("10.0.0.{host}:{}", 40_000 + host), SERVER);
        }
        assert_eq!(rig.nat.counters().entries_evicted, 0, "{profile}");
        for host in 1..=8 {
            rig.map_udp(&format!("10.0.1.{host}:{}", 41_000 + host), SERVER);
        }
        let views: Vec<_> = rig.nat.mappings().collect();
        let halves = views.iter().filter(|view| view.lost.is_some()).count();
        let counters = rig.nat.counters();
        assert_eq!((counters.entries_evicted, counters.dropped_total()), (16, 0), "{profile}");
        assert_eq!(2 * views.len() - halves, 128, "{profile}: the table is full to the last entry");
        assert_eq!(counters.evicted, 72 - views.len() as u64, "{profile}");
        let young = |view: &&MappingView| view.lost.is_some() && view.expires_in_ns > 30 * SECOND;
        assert!(halves > 8 && views.iter().filter(young).count() <= 2, "{profile}: {halves} halves");
    }
}

/// The answer finds nothing, and is lost; the next packet from inside makes the entry again, at the same port.
#[test]
fn without_its_reverse_entry_a_flow_is_deaf_until_it_speaks() {
    let (mut rig, inside, outside) = half(CURRENT, Direction::Inbound);
    rig.in_drop(&udp(at(SERVER), outside, b"lost"), DropReason::NoMapping);
    assert_eq!(source(&rig.out_ok(&udp(inside, at(SERVER), b"speaks"))), outside);
    assert_eq!((lost(&rig, inside), rig.nat.counters().entries_restored), (vec![None], 1));
    assert_eq!(destination(&rig.in_ok(&udp(at(SERVER), outside, b"heard"))), inside);
}

/// An answer makes the entry again, so that the flow keeps its port.
#[test]
fn without_its_forward_entry_a_flow_keeps_its_port_if_an_answer_comes_first() {
    let (mut rig, inside, outside) = half(CURRENT, Direction::Outbound);
    assert_eq!(destination(&rig.in_ok(&udp(at(SERVER), outside, b"answer"))), inside);
    assert_eq!((lost(&rig, inside), rig.nat.counters().entries_restored), (vec![None], 1));
    assert_eq!(source(&rig.out_ok(&udp(inside, at(SERVER), b"goes on"))), outside);
}

/// If the flow speaks first it gets another port, because its own reverse entry stands in its way; and what comes to the old one still
/// reaches it. In older versions as well.
#[test]
fn without_its_forward_entry_a_flow_that_speaks_first_gets_another_port() {
    let mut both = 0;
    for profile in [CURRENT, OLDER[0], OLDER[1]] {
        let (mut rig, inside, outside) = half(profile, Direction::Outbound);
        let other = source(&rig.out_ok(&udp(inside, at(SERVER), b"speaks")));
        assert_ne!(other, outside, "{profile}");
        // The entries that went for the new ones may have been the last of the old flow.
        if lost(&rig, inside).contains(&Some(Direction::Outbound)) {
            both += 1;
            for end in [outside, other] {
                assert_eq!(destination(&rig.in_ok(&udp(at(SERVER), end, b"answer"))), inside, "{profile}");
            }
        }
        assert_eq!(rig.nat.counters().entries_restored, 0, "{profile}");
    }
    assert!(both > 0);
}

/// Older versions look at one entry only: what is lost stays lost as long as the flow speaks.
#[test]
fn older_versions_never_make_an_entry_again() {
    for profile in OLDER {
        let (mut rig, inside, outside) = half(profile, Direction::Inbound);
        for _ in 0..3 {
            assert_eq!(source(&rig.out_ok(&udp(inside, at(SERVER), b"speaks"))), outside, "{profile}");
            rig.in_drop(&udp(at(SERVER), outside, b"lost"), DropReason::NoMapping);
        }
        let (mut rig, inside, outside) = half(profile, Direction::Outbound);
        rig.in_ok(&udp(at(SERVER), outside, b"answer"));
        assert_eq!(lost(&rig, inside), [Some(Direction::Outbound)], "{profile}");
    }
}

/// The port of a flow without reverse entry is free for others. Whoever has it then has the answers; the current version drops the first
/// flow's packets (BPF_NOEXIST), older ones send them under the port of another.
#[test]
fn a_port_whose_reverse_entry_is_gone_is_given_to_the_next() {
    let mut both = 0;
    for (profile, refuses) in [(CURRENT, true), (OLDER[0], false), (OLDER[1], false)] {
        let (mut rig, inside, outside) = half(profile, Direction::Inbound);
        let newcomer = SocketAddrV4::new(ip("10.0.2.1"), inside.port());
        assert_eq!(source(&rig.out_ok(&udp(newcomer, at(SERVER), b"new"))), outside, "{profile}");
        // The entries that went for the newcomer's may have been the last of the old flow.
        if lost(&rig, inside).is_empty() {
            continue;
        }
        both += 1;
        if refuses {
            rig.out_drop(&udp(inside, at(SERVER), b"old"), DropReason::NoMapping);
        } else {
            assert_eq!(source(&rig.out_ok(&udp(inside, at(SERVER), b"old"))), outside, "{profile}");
        }
        assert_eq!(destination(&rig.in_ok(&udp(at(SERVER), outside, b"answer"))), newcomer, "{profile}");
    }
    assert!(both > 1);
}

/// Flows that come and go under pressure: the bound holds, every flow that has both entries works both ways, and nothing is left in the end.
#[test]
fn a_table_under_pressure_stays_within_its_bounds() {
    for profile in [CURRENT, OLDER[0]] {
        let mut rig = Rig::new(profile, |config| config.behaviour.table.capacity = 16);
        let memory = rig.nat.memory();
        for step in 0..6000u32 {
            let pod = SocketAddrV4::new(ip(&format!("10.0.0.{}", 1 + step * 7 % 40)), 40_000 + (step % 3) as u16);
            rig.out(&udp(pod, at(SERVER), b"out"));
            if step % 5 == 0 {
                let views: Vec<_> = rig.nat.mappings().collect();
                let entries: usize = views.iter().map(|view| if view.lost.is_some() { 1 } else { 2 }).sum();
                assert!(entries <= 32, "{profile}, step {step}: {entries} entries");
                let whole = views.iter().find(|view| view.lost.is_none()).unwrap();
                assert_eq!(destination(&rig.in_ok(&udp(at(SERVER), whole.outside, b"in"))), whole.inside);
                assert_eq!(source(&rig.out_ok(&udp(whole.inside, at(SERVER), b"out"))), whole.outside);
            }
            if step % 100 == 0 {
                rig.wait(20);
            }
        }
        assert!(rig.nat.counters().evicted > 1000 && rig.nat.counters().entries_evicted > 2000, "{profile}");
        rig.wait(100_000);
        rig.nat.expire(rig.now_ns);
        rig.wait(100_000);
        rig.nat.expire(rig.now_ns);
        assert_eq!(
            (rig.nat.mappings().count(), rig.nat.counters().live, rig.nat.memory()),
            (0, 0, memory),
            "{profile}"
        );
    }
}

#[test]
fn entries_go_one_by_one_only_where_each_session_has_two_of_its_own() {
    let refused = |change: fn(&mut Config)| {
        let mut config = Profile::builtin(CURRENT).unwrap().config(vec![ip(OUTSIDE)]);
        change(&mut config);
        matches!(Nat::new(config, 1), Err(ConfigError::Conflict(_)))
    };
    assert!(!refused(|_| ()));
    assert!(refused(|config| config.behaviour.hold.udp_s = 1));
    assert!(refused(|config| config.behaviour.ports.reuse_source_mapping = true));
    assert!(refused(|config| {
        config.behaviour.udp.overload = Overload::Never;
        config.behaviour.ports.probe = Probe::Scan;
    }));
    assert!(!refused(|config| {
        config.behaviour.hold.udp_s = 1;
        config.behaviour.table.full = FullPolicy::EvictOldest;
    }));
}
