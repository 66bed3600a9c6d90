//! Worlds from `up` to `down`, and what becomes of them when their holder is killed.

use std::fs;

use nix::sys::signal::Signal;

use super::world::{World, is_alive};
use crate::support::eventually;
use crate::support::harness::Outcome;
use crate::support::place::{Place, listing};
use crate::support::process::Process;

/// A program that stays inside until it is ended.
fn resident(world: &World<'_>, namespace: &str) -> Process {
    let resident = world.exec(namespace, &["sh", "-c", "echo in; exec sleep 600"]);
    resident.says("in");
    resident
}

pub(crate) fn down_leaves_nothing(place: &Place<'_>) -> Outcome {
    let world = World::up(place, "demo", "both");
    let holder = world.holder();
    assert!(world.greeting.contains("design both") && world.greeting.contains("198.51.100.8"), "{}", world.greeting);
    assert!(world.greeting.contains("natrig down --name demo"), "{}", world.greeting);
    let inside = resident(&world, "node");
    let down = place.run(["down", "--name", "demo"]);
    assert_eq!((down.code, down.stdout.as_str()), (Some(0), "world demo is down\n"), "{down}");
    assert_eq!(inside.finish().code, None, "what ran inside is ended");
    assert!(!is_alive(holder));
    assert!(listing(&place.state()).is_empty(), "{:?}", listing(&place.state()));
    let again = place.run(["down", "--name", "demo"]);
    assert_eq!(again.code, Some(2), "{again}");
    let clean = place.run(["clean"]);
    assert_eq!((clean.code, clean.stdout.as_str()), (Some(0), "nothing to remove\n"), "{clean}");
    Ok(())
}

pub(crate) fn exec_is_the_program(place: &Place<'_>) -> Outcome {
    let world = World::up(place, "demo", "none");
    let ended = world.exec("pods", &["sh", "-c", "echo out; echo err >&2; exit 7"]).finish();
    assert_eq!((ended.code, &*ended.stdout, &*ended.stderr), (Some(7), "out\n", "err\n"), "{ended}");
    for (namespace, interface) in [("pods", "eth0"), ("node", "inside"), ("gateway", "outside"), ("internet", "eth0")] {
        let devices = world.exec(namespace, &["cat", "/proc/net/dev"]).succeed();
        assert!(devices.contains(&format!("{interface}:")), "{namespace}: {devices}");
    }
    let ended = world.exec("moon", &["true"]).finish();
    assert_eq!(ended.code, Some(2), "{ended}");
    assert!(ended.stderr.contains("no namespace `moon`, only pods, node, gateway, internet"), "{ended}");
    let ended = world.exec("pods", &["/no/such/program"]).finish();
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(ended.stderr.contains("failed to run /no/such/program"), "{ended}");
    let ended = place.run(["exec", "--name", "other", "pods", "--", "true"]);
    assert_eq!(ended.code, Some(2), "{ended}");
    assert!(ended.stderr.contains("`other`") && ended.stderr.contains("natrig up"), "{ended}");
    Ok(())
}

pub(crate) fn a_name_is_given_once(place: &Place<'_>) -> Outcome {
    let world = World::up(place, "demo", "both");
    let before = listing(&place.state());
    for arguments in [&["up", "--name", "demo"][..], &["up", "--name", "demo", "--foreground"]] {
        let again = place.run(arguments);
        assert_eq!((again.code, again.stdout.as_str()), (Some(2), ""), "{again}");
        assert!(again.stderr.contains("demo") && again.stderr.contains("already stands"), "{again}");
        assert!(again.stderr.contains(&world.holder().to_string()), "{again}");
    }
    assert_eq!(listing(&place.state()), before);
    assert_eq!(world.exec("pods", &["true"]).finish().code, Some(0), "the first one is as it was");
    Ok(())
}

pub(crate) fn worlds_do_not_meet(place: &Place<'_>) -> Outcome {
    let one = World::up(place, "one", "none");
    let other = World::up(place, "other", "both");
    let server = one.role("internet", &["servers", "203.0.113.10"]);
    server.says("ready");
    let own = "10.0.1.50";
    let seen = one.role("pods", &["get", own, "203.0.113.10"]).succeed();
    assert!(seen.split(' ').nth(1).unwrap().starts_with(own), "{seen}");
    // The same addresses in another world are other hosts: nobody serves there.
    let ended = other.role("pods", &["get", own, "203.0.113.10"]).finish();
    assert!(ended.stderr.contains("ConnectionRefused"), "{ended}");
    Ok(())
}

pub(crate) fn in_the_foreground(place: &Place<'_>) -> Outcome {
    let up = place.natrig(["up", "--name", "demo", "--design", "node", "--foreground"]);
    up.says("ready");
    let inside = place.run(["exec", "--name", "demo", "pods", "--", "cat", "/proc/net/fib_trie"]);
    assert!(inside.stdout.contains("10.0.1.50"), "{inside}");
    up.signal(Signal::SIGINT);
    assert_eq!(up.finish().code, Some(0));
    assert!(listing(&place.state()).is_empty(), "{:?}", listing(&place.state()));
    Ok(())
}

pub(crate) fn a_dead_world_cannot_be_entered(place: &Place<'_>) -> Outcome {
    let world = World::up(place, "demo", "both");
    world.kill_holder();
    let ended = world.exec("pods", &["true"]).finish();
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended}");
    assert!(ended.stderr.contains("is dead") && ended.stderr.contains("natrig clean"), "{ended}");
    let again = place.run(["up", "--name", "demo"]);
    assert_eq!(again.code, Some(2), "{again}");
    assert!(again.stderr.contains("natrig clean"), "{again}");
    Ok(())
}

pub(crate) fn clean_after_kill_9(place: &Place<'_>) -> Outcome {
    let world = World::up(place, "demo", "both");
    let (mut polite, mut stubborn) = (
        resident(&world, "internet"),
        world.exec("pods", &["sh", "-c", "trap '' TERM; echo in; while true; do sleep 1; done"]),
    );
    stubborn.says("in");
    world.kill_holder();
    assert!(!polite.has_ended() && !stubborn.has_ended(), "programs outlive their world's holder");

    let clean = place.run(["clean"]);
    assert_eq!(clean.code, Some(0), "{clean}");
    for words in [
        "removed the state file of world demo",
        &format!("({}) in internet", polite.id()),
        &format!("({}) in pods", stubborn.id()),
    ] {
        assert!(clean.stdout.contains(words), "no {words} in: {clean}");
    }
    assert_eq!((polite.finish().code, stubborn.finish().code), (None, None));
    assert!(listing(&place.state()).is_empty(), "{:?}", listing(&place.state()));
    let again = place.run(["clean"]);
    assert_eq!((again.code, again.stdout.as_str()), (Some(0), "nothing to remove\n"), "{again}");
    // The name is free again.
    let next = World::up(place, "demo", "none");
    assert_eq!(next.exec("pods", &["true"]).finish().code, Some(0));
    Ok(())
}

pub(crate) fn down_after_kill_9(place: &Place<'_>) -> Outcome {
    let world = World::up(place, "demo", "gateway");
    let inside = resident(&world, "gateway");
    world.kill_holder();
    let down = place.run(["down", "--name", "demo"]);
    assert_eq!(down.code, Some(0), "{down}");
    assert_eq!(inside.finish().code, None);
    assert!(listing(&place.state()).is_empty(), "{:?}", listing(&place.state()));
    Ok(())
}

pub(crate) fn clean_leaves_alone_what_stands(place: &Place<'_>) -> Outcome {
    let (dead, standing) = (World::up(place, "dead", "both"), World::up(place, "standing", "both"));
    let mut inside = resident(&standing, "pods");
    let mut bystander = place.start("sleep", ["600"]);
    let orphan = resident(&dead, "pods");
    dead.kill_holder();
    let foreign = place.state().join("foreign.json");
    fs::write(&foreign, "{}").unwrap();
    let files_of = |name: &str| -> Vec<String> {
        listing(&place.state()).into_iter().filter(|file| file.starts_with(name)).collect()
    };
    let kept = files_of("standing");

    let clean = place.run(["clean"]);
    // A file that is not ours is named, and left, and somebody has to look at it.
    assert_eq!(clean.code, Some(1), "{clean}");
    assert!(clean.stdout.contains("foreign.json"), "{clean}");
    assert_eq!(fs::read_to_string(&foreign).unwrap(), "{}");
    assert_eq!(orphan.finish().code, None);
    assert!(files_of("dead").is_empty(), "{:?}", files_of("dead"));
    assert_eq!(files_of("standing"), kept);
    assert!(is_alive(standing.holder()) && !inside.has_ended() && !bystander.has_ended());
    assert_eq!(standing.exec("internet", &["true"]).finish().code, Some(0));

    let down = place.run(["down", "--name", "standing"]);
    assert_eq!(down.code, Some(0), "{down}");
    eventually("what ran inside is ended", || inside.has_ended());
    assert!(!bystander.has_ended());
    Ok(())
}
