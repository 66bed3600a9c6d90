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
    through(World::up(place, "none", "none"), None, Length::Short);
    Ok(())
}

pub(crate) fn node(place: &Place<'_>) -> Outcome {
    through(World::up(place, "node", "node"), Some(NODE), Length::Short);
    Ok(())
}

pub(crate) fn gateway(place: &Place<'_>) -> Outcome {
    through(World::up(place, "gateway", "gateway"), Some(GATEWAY), Length::Short);
    Ok(())
}

pub(crate) fn both(place: &Place<'_>) -> Outcome {
    let length = if place.user.is_second() { Length::Short } else { Length::Gibibyte };
    through(World::up(place, "both", "both"), Some(GATEWAY), length);
    Ok(())
}

pub(crate) fn both_by_kernel(place: &Place<'_>) -> Outcome {
    let world = World::up_by_kernel(place, "kernel", "both")?;
    for namespace in ["node", "gateway"] {
        let forwards = world.exec(namespace, &["cat", "/proc/sys/net/ipv4/ip_forward"]).succeed();
        assert_eq!(forwards, "1\n", "it is not the kernel that stands at the {namespace}");
    }
    through(world, Some(GATEWAY), Length::Short);
    Ok(())
}

/// How much is sent to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Short,
    /// Takes a debug build some ten seconds.
    Gibibyte,
}

fn through(world: World<'_>, view: View, length: Length) {
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

    let full = env::var_os("NATRIG_FULL").is_some_and(|value| value == "1");
    let [up, down] = [full || length == Length::Gibibyte, full].map(|long| if long { "1024" } else { "128" });
    for (way, mebibytes) in [("Up", up), ("Down", down)] {
        print!("  {}: {}", world.name, run(&["transfer", PODS[0], SERVERS[0], way, mebibytes]));
    }
    drop(servers);
    world.down();
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
