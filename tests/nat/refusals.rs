//! What it refuses to do, and how it says so.

use std::net::Ipv4Addr;

use natrig_lab::plan::{At, Plan, Step};

use super::site::{ARGUMENTS, NAT_OUTSIDE, Site, WIDE};
use crate::support::harness::Outcome;
use crate::support::place::Place;

/// Nothing is needed for these, and nothing is created.
pub(crate) fn command_line(place: &Place<'_>) -> Outcome {
    let check = |arguments: &[&str], words: &[&str]| {
        let ended = place.run(arguments);
        assert_eq!(ended.code, Some(2), "{ended}");
        for word in words {
            assert!(ended.stderr.contains(word), "`{word}` is not in: {ended}");
        }
    };
    check(&["nat"], &["--inside INTERFACE is missing"]);
    check(&["nat", "--inside", "a", "--outside", "b"], &["--profile PROFILE is missing"]);
    check(&["nat", "--inside", "a", "--outside", "b", "--link", "memory"], &["auto, ring, xdp, packet, pnet"]);
    check(&["nat", "--config", "missing.toml"], &["missing.toml"]);
    place.file("typo.toml", "inside = \"a\"\noutsid = \"b\"\n");
    check(&["nat", "--config", "typo.toml"], &["typo.toml", "line 2", "outsid", "expected one of"]);
    check(&["nat", "stats", "--name", "nobody"], &["no NAT called `nobody` runs here"]);
    check(&["nat", "list", "--name", "../x"], &["is no name"]);
    let absent = [&ARGUMENTS[..], &["--inside=no-such-if"]].concat();
    check(&absent, &["cannot be used multiple times"]);
    let absent: Vec<&str> =
        ARGUMENTS.into_iter().map(|word| if word == "--inside=in" { "--inside=no-such-if" } else { word }).collect();
    check(&absent, &["no-such-if"]);
    check(&[&ARGUMENTS[..], &["--netns", "no-such-ns"]].concat(), &["no-such-ns"]);
    assert!(!place.listing().contains(&"natrig-results".to_owned()));
    let help = place.run(["nat", "--help"]);
    assert!(help.code == Some(0) && help.stdout.contains("the kernel must not own"), "{help}");
    Ok(())
}

/// The role: a kernel that would interfere.
pub(crate) fn in_the_way(natrig: &str) {
    let site = Site::build(natrig, WIDE);
    let with = |more: &[&str]| site.run(&[&ARGUMENTS[..], more].concat());
    // The kernel in the middle forwards, and with the interfaces' own MAC addresses it would see the same packets as we.
    let ended = with(&["--mac", "interface", "--link", "packet"]);
    assert!(ended.code == Some(2) && ended.stderr.contains("net.ipv4.conf.in.forwarding=0"), "{ended}");
    let address: Ipv4Addr = NAT_OUTSIDE.parse().unwrap();
    let steps = vec![Step::Addresses { at: At::new("nat", "out"), first: address, count: 1 }];
    site.lease.apply(&Plan { steps }).unwrap();
    let ended = with(&["--link", "packet"]);
    assert_eq!(ended.code, Some(2), "{ended}");
    assert!(ended.stderr.contains("ip address del 198.51.100.2 dev out"), "{ended}");
}
