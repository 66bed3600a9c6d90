//! Real programs through each of the four designs.

use std::collections::HashSet;
use std::env;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::world::World;
use crate::support::harness::Outcome;
use crate::support::place::Place;

/// Addresses of the built-in scenario's world.
const PODS: [&str; 3] = ["10.0.1.50", "10.0.1.57", "10.0.1.65"];
const SERVERS: [&str; 2] = ["203.0.113.10", "203.0.113.12"];
const NODE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 8);
/// Who says that the time to live is over, at the first layer and at the second.
const ROUTERS: [&str; 2] = ["10.0.1.1", "10.0.8.8"];

const CROWD: usize = 1000;
/// As which a path with a narrow link shows itself.
const NARROW: &str = "1280";
const NARROW_PORT: &str = "9002";

/// What servers see of a pod; none: the pod itself.
type View = Option<Ipv4Addr>;

pub(crate) fn none(place: &Place<'_>) -> Outcome {
    through(place, "none", None);
    Ok(())
}

pub(crate) fn node(place: &Place<'_>) -> Outcome {
    through(place, "node", Some(NODE));
    Ok(())
}

pub(crate) fn gateway(place: &Place<'_>) -> Outcome {
    through(place, "gateway", Some(GATEWAY));
    Ok(())
}

pub(crate) fn both(place: &Place<'_>) -> Outcome {
    through(place, "both", Some(GATEWAY));
    Ok(())
}

fn through(place: &Place<'_>, design: &str, view: View) {
    let world = World::up(place, "clients", design);
    let mut servers: Vec<_> = SERVERS.iter().map(|server| world.role("internet", &["servers", server])).collect();
    for server in &mut servers {
        server.says("ready");
    }
    let run = |words: &[&str]| world.role("pods", words).succeed();

    for (pod, server) in PODS.iter().flat_map(|pod| SERVERS.map(|server| (pod, server))) {
        assert_eq!(seen_right(&run(&["get", pod, server]), view), 1);
    }
    assert_eq!(seen_right(&run(&["query", PODS[0], SERVERS[0]]), view), 5);
    assert_eq!(seen_right(&run(&["crowd", SERVERS[0], &CROWD.to_string()]), view), CROWD);
    run(&["refused", PODS[1], SERVERS[1]]);
    echo(&world, view);
    let hops = run(&["trace", PODS[2], SERVERS[0]]);
    assert_eq!(hops, format!("1 {}\n2 {}\n3 answer\n", ROUTERS[0], ROUTERS[1]));
    narrow_path(&world);

    for way in ["Up", "Down"] {
        let mebibytes = if is_full(place, design, way) { "1024" } else { "128" };
        print!("  {design}: {}", run(&["transfer", PODS[0], SERVERS[0], way, mebibytes]));
    }

    let down = place.run(["down", "--name", world.name]);
    assert_eq!(down.code, Some(0), "{down}");
}

/// A gibibyte takes a debug build some ten seconds: once it is worth them, and always where it is asked for.
fn is_full(place: &Place<'_>, design: &str, way: &str) -> bool {
    let once = design == "both" && way == "Up" && !place.user.is_second();
    once || env::var_os("NATRIG_FULL").is_some_and(|value| value == "1")
}

/// Each line: a pod's own address and port, and what a server saw. Returns how many.
fn seen_right(lines: &str, view: View) -> usize {
    let mut different = HashSet::new();
    for line in lines.lines() {
        let (own, seen) = line.split_once(' ').unwrap();
        let (own, seen): (SocketAddrV4, SocketAddrV4) = (own.parse().unwrap(), seen.parse().unwrap());
        match view {
            None => assert_eq!(seen, own),
            Some(address) => assert_eq!(*seen.ip(), address, "{line}"),
        }
        assert!(different.insert(seen), "two connections are seen as {seen}");
    }
    different.len()
}

fn echo(world: &World<'_>, view: View) {
    let watch = world.role("internet", &["watch-pings"]);
    watch.says("ready");
    for pod in PODS {
        let replies = world.role("pods", &["ping", pod, SERVERS[0]]).succeed();
        assert_eq!(replies, "reply 1\nreply 2\nreply 3\n");
        for _ in 0..3 {
            let seen: Ipv4Addr = watch.line().parse().unwrap();
            assert_eq!(seen, view.unwrap_or_else(|| pod.parse().unwrap()));
        }
    }
}

fn narrow_path(world: &World<'_>) {
    let router = world.role("internet", &["shrink-path", SERVERS[1], NARROW_PORT, NARROW]);
    router.says("ready");
    let to = format!("{}:{NARROW_PORT}", SERVERS[1]);
    assert_eq!(world.role("pods", &["path-mtu", PODS[0], &to]).succeed().trim(), NARROW);
}
