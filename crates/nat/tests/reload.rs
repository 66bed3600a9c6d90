//! One translator stands in another's place: what goes on goes on, if the new configuration allows it.

mod kit;

use kit::*;
use natrig_nat::behaviour::{PortRange, Timers};
use natrig_nat::{Adopted, Config, MappingView, Nat, Policy, Profile, Verdict};
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddrV4;

const SECOND_ADDRESS: &str = "198.51.100.77";
const SERVER: &str = "203.0.113.5:443";

/// Some of everything: three pods, both transports and echo, several servers, one connection that has closed.
fn busy(rig: &mut Rig) {
    for pod in 1..=3 {
        for port in 0..10 {
            let from = at(&format!("10.0.0.{pod}:{}", 2000 + port));
            for server in [SERVER, "203.0.113.6:443", "203.0.113.6:53"] {
                rig.out(&udp(from, at(server), b"hello"));
                let (verdict, out) = rig.out(&tcp(from, at(server), SYN));
                if verdict == Verdict::Forward {
                    rig.inb(&tcp(at(server), source(&out), SYN | ACK));
                    rig.out(&tcp(from, at(server), ACK));
                }
            }
        }
        rig.out(&ping(&format!("10.0.0.{pod}"), "203.0.113.5", 7));
    }
    rig.out(&tcp(at("10.0.0.1:2000"), at(SERVER), RST | ACK));
}

/// Puts a translator of this configuration in the place of the rig's.
fn reload(rig: &mut Rig, change: impl FnOnce(&mut Config)) -> Adopted {
    let mut config = rig.nat.config().clone();
    change(&mut config);
    let Ok(mut fresh) = Nat::new(config, 99) else { panic!("the configuration is impossible") };
    let adopted = fresh.adopt(&rig.nat);
    rig.nat = fresh;
    adopted
}

fn views(rig: &Rig) -> Vec<MappingView> {
    let mut views: Vec<_> = rig.nat.mappings().collect();
    views.sort_by_key(|view| (view.protocol, view.inside, view.remote));
    views
}

/// The session's own packets are translated as it says, both ways.
fn assert_goes_on(rig: &mut Rig, view: &MappingView) {
    let (there, back) = match view.protocol {
        17 => (udp(view.inside, view.remote, b"on"), udp(view.remote, view.outside, b"and on")),
        6 => (tcp(view.inside, view.remote, ACK), tcp(view.remote, view.outside, ACK)),
        _ => (
            ping(&view.inside.ip().to_string(), &view.remote.ip().to_string(), view.inside.port()),
            pong(&view.remote.ip().to_string(), &view.outside.ip().to_string(), view.outside.port()),
        ),
    };
    assert_eq!(source(&rig.out_ok(&there)), view.outside, "{view:?}");
    assert_eq!(destination(&rig.in_ok(&back)), view.inside, "{view:?}");
}

#[test]
fn the_same_configuration_keeps_everything_with_every_profile() {
    for profile in Profile::names() {
        let mut rig = Rig::new(profile, |_| ());
        busy(&mut rig);
        rig.wait(5);
        rig.out(&udp(at("10.0.0.1:2000"), at(SERVER), b"last"));
        let (before, counters) = (views(&rig), rig.nat.counters().clone());
        assert!(before.len() > 90, "{profile}: {}", before.len());
        let sessions = before.iter().filter(|view| view.state != "held").count() as u64;
        let adopted = reload(&mut rig, |_| ());
        assert_eq!(adopted, Adopted { kept: sessions, revoked: 0 }, "{profile}");
        assert_eq!((views(&rig), rig.nat.counters()), (before.clone(), &counters), "{profile}");
        for view in before.iter().filter(|view| !["close", "held"].contains(&view.state)) {
            assert_goes_on(&mut rig, view);
        }
        // And its time runs out as it would have.
        rig.wait(1_000_000);
        rig.nat.expire(rig.now_ns);
        rig.wait(1_000_000);
        rig.nat.expire(rig.now_ns);
        assert_eq!((rig.nat.counters().live, rig.nat.mappings().count()), (0, 0), "{profile}");
    }
}

#[test]
fn more_addresses_keep_everything_and_are_used_from_now_on() {
    let mut rig = Rig::new("aws-natgw", |_| ());
    busy(&mut rig);
    let before = views(&rig);
    let adopted = reload(&mut rig, |config| config.outside = vec![ip(SECOND_ADDRESS), ip(OUTSIDE)]);
    assert_eq!((adopted.revoked, views(&rig)), (0, before));
    let used: BTreeSet<_> = (0..200u16).map(|pod| *rig.map_udp(&format!("10.0.1.{pod}:5000"), SERVER).ip()).collect();
    assert_eq!(used.len(), 2, "{used:?}");
}

#[test]
fn an_address_that_is_taken_away_ends_its_own_sessions_only() {
    let mut rig = Rig::with_pool("aws-natgw", &[OUTSIDE, SECOND_ADDRESS], |_| ());
    busy(&mut rig);
    let (stays, goes): (Vec<_>, Vec<_>) = views(&rig).into_iter().partition(|view| *view.outside.ip() == ip(OUTSIDE));
    assert!(!stays.is_empty() && !goes.is_empty());
    let adopted = reload(&mut rig, |config| config.outside = vec![ip(OUTSIDE)]);
    assert_eq!(adopted, Adopted { kept: stays.len() as u64, revoked: goes.len() as u64 });
    assert_eq!((views(&rig), rig.nat.counters().revoked), (stays, adopted.revoked));
    // A datagram of a flow that lost its address gets another.
    let one = goes.iter().find(|view| view.protocol == 17).unwrap();
    assert_eq!(*source(&rig.out_ok(&udp(one.inside, one.remote, b"again"))).ip(), ip(OUTSIDE));
}

#[test]
fn ports_that_are_not_given_out_any_more_end_their_sessions() {
    let mut rig = Rig::new("rfc4787", |_| ());
    busy(&mut rig);
    let range = PortRange::new(1024, 30_000);
    let fits = |view: &MappingView| view.protocol == 1 || range.contains(view.outside.port());
    let stays: Vec<_> = views(&rig).into_iter().filter(fits).collect();
    let adopted = reload(&mut rig, |config| config.behaviour.ports.range = range);
    assert!(adopted.kept > 0 && adopted.revoked > 0);
    assert_eq!(views(&rig), stays);
}

#[test]
fn flows_that_policy_lets_pass_now_are_no_sessions_any_more() {
    let mut rig = Rig::new("rfc4787", |_| ());
    busy(&mut rig);
    let policy = Policy { native_routing: vec!["203.0.113.6/32".parse().unwrap()], ..Policy::default() };
    let adopted = reload(&mut rig, |config| config.policy = policy);
    assert!(adopted.kept > 0 && views(&rig).iter().all(|view| *view.remote.ip() == ip("203.0.113.5")));
    let passed = rig.out_ok(&udp(at("10.0.0.1:2000"), at("203.0.113.6:53"), b"as it is"));
    assert_eq!(source(&passed), at("10.0.0.1:2000"));
}

#[test]
fn shorter_timers_count_from_now() {
    let mut rig = Rig::new("rfc4787", |_| ());
    rig.map_udp("10.0.0.1:3000", SERVER);
    let shorter = |timers: &Timers| Timers { udp_new_s: 30, udp_stream_s: 30, ..timers.clone() };
    reload(&mut rig, |config| config.behaviour.timers = shorter(&config.behaviour.timers));
    assert!(rig.nat.mappings().next().unwrap().expires_in_ns <= 30 * SECOND);
    reload(&mut rig, |config| config.behaviour.timers.udp_new_s = 300);
    assert!(rig.nat.mappings().next().unwrap().expires_in_ns <= 30 * SECOND, "nothing has refreshed it");
}

#[test]
fn a_quota_keeps_what_it_has_room_for() {
    let mut rig = Rig::new("rfc4787", |_| ());
    busy(&mut rig);
    reload(&mut rig, |config| config.behaviour.quota.sessions_per_source = 5);
    let mut by_source: HashMap<_, usize> = HashMap::new();
    for view in views(&rig) {
        *by_source.entry(*view.inside.ip()).or_default() += 1;
    }
    assert!(by_source.len() == 3 && by_source.values().all(|sessions| *sessions == 5), "{by_source:?}");
    let refused = rig.out(&udp(at("10.0.0.1:9999"), at(SERVER), b"no")).0;
    assert_ne!(refused, Verdict::Forward);
}

#[test]
fn a_smaller_table_keeps_what_it_has_room_for() {
    let mut rig = Rig::new("netfilter", |_| ());
    busy(&mut rig);
    let adopted = reload(&mut rig, |config| config.behaviour.table.capacity = 40);
    assert_eq!((adopted.kept, views(&rig).len()), (40, 40));
}

#[test]
fn a_port_that_is_held_stays_held() {
    let mut rig = Rig::new("rfc4787", |config| {
        config.behaviour.hold.udp_s = 120;
        config.behaviour.ports.range = PortRange::new(5000, 5001);
        config.behaviour.ports.parity = false;
    });
    let first = rig.map_udp("10.0.0.1:3000", SERVER);
    rig.wait(301);
    rig.nat.expire(rig.now_ns);
    assert_eq!(views(&rig)[0].state, "held");
    assert_eq!(reload(&mut rig, |_| ()), Adopted { kept: 0, revoked: 0 });
    let second = rig.map_udp("10.0.0.2:3000", SERVER);
    assert_ne!(first, second);
    assert_ne!(rig.out(&udp(at("10.0.0.3:3000"), at(SERVER), b"?")).0, Verdict::Forward, "both ports are taken");
    rig.wait(121);
    rig.nat.expire(rig.now_ns);
    assert_eq!(rig.map_udp("10.0.0.3:3000", SERVER), first);
}

/// Sessions that have lost one of their two entries go on as half as they were.
#[test]
fn half_sessions_stay_half() {
    for profile in ["cilium-bpf", "cilium-bpf-old32"] {
        let mut rig = Rig::new(profile, |config| config.behaviour.table.capacity = 60);
        busy(&mut rig);
        let halves = |views: &[MappingView]| views.iter().filter(|view| view.lost.is_some()).count();
        let before = views(&rig);
        assert!(halves(&before) > 3, "{profile}: {}", halves(&before));
        let adopted = reload(&mut rig, |_| ());
        assert_eq!(adopted.revoked, 0, "{profile}");
        assert!(views(&rig) == before, "{profile}");
        // With a table that keeps sessions whole they are whole again, as far as nobody else has what they lost.
        let refuse = natrig_nat::behaviour::FullPolicy::Refuse;
        reload(&mut rig, |config| (config.behaviour.table.full, config.behaviour.table.capacity) = (refuse, 4096));
        assert_eq!(halves(&views(&rig)), 0, "{profile}");
        rig.wait(1_000_000);
        rig.nat.expire(rig.now_ns);
        rig.wait(1_000_000);
        rig.nat.expire(rig.now_ns);
        assert_eq!((rig.nat.counters().live, rig.nat.mappings().count()), (0, 0), "{profile}");
    }
}

/// From every profile to every other: what is kept is consistent with the new one's rules, and nothing of it stays for ever.
#[test]
fn from_any_profile_to_any_other() {
    for (from, to) in Profile::names().iter().flat_map(|from| Profile::names().iter().map(move |to| (from, to))) {
        let mut rig = Rig::with_pool(from, &[OUTSIDE, SECOND_ADDRESS], |_| ());
        busy(&mut rig);
        let before: Vec<_> = views(&rig);
        let other = Rig::with_pool(to, &[OUTSIDE, SECOND_ADDRESS], |_| ()).nat.config().clone();
        let adopted = reload(&mut rig, |config| *config = other);
        let case = format!("{from} to {to}: {adopted:?}");
        let sessions = |views: &[MappingView]| views.iter().filter(|view| view.state != "held").count() as u64;
        assert_eq!(adopted.kept + adopted.revoked, sessions(&before), "{case}");
        let kept = views(&rig);
        assert_eq!(sessions(&kept), adopted.kept, "{case}");
        assert!(
            kept.iter().all(|view| before.iter().any(|old| old.outside == view.outside && old.inside == view.inside))
        );
        let mut seen: HashMap<(u8, SocketAddrV4, SocketAddrV4), SocketAddrV4> = HashMap::new();
        for view in &kept {
            let other = seen.insert((view.protocol, view.outside, view.remote), view.inside);
            assert_eq!(other, None, "{case}: two inside ends behind {} to {}", view.outside, view.remote);
        }
        for view in kept.iter().filter(|view| !["close", "held"].contains(&view.state)) {
            assert_goes_on(&mut rig, view);
        }
        // New flows among the old ones.
        for pod in 4..=6 {
            for port in 0..10 {
                rig.out(&udp(at(&format!("10.0.0.{pod}:{}", 2000 + port)), at(SERVER), b"new"));
            }
        }
        for view in views(&rig) {
            let other = seen.insert((view.protocol, view.outside, view.remote), view.inside);
            assert!(other.is_none_or(|other| other == view.inside), "{case}: {view:?}");
        }
        for _ in 0..3 {
            rig.wait(1_000_000);
            rig.nat.expire(rig.now_ns);
        }
        assert_eq!((rig.nat.counters().live, rig.nat.mappings().count()), (0, 0), "{case}");
    }
}
