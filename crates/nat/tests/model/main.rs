//! The translator held against a reference that is slow and obvious, by random operations on a virtual clock.
//!
//! `NATRIG_NIGHTLY=1` makes the sequences many and long: more than ten million operations.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]
#![expect(clippy::wildcard_enum_match_arm, reason = "what was not expected is wrong, whatever it is")]

mod behaviours;
mod bursts;
mod collector;
#[path = "../support/dice.rs"]
mod dice;
mod drive;
#[path = "../support/foreign.rs"]
mod foreign;
mod fragments;
mod ops;
#[path = "../support/packet.rs"]
mod packet;
mod reference;
#[path = "../support/rig.rs"]
mod rig;
mod round_trip;

use natrig_nat::Profile;
use natrig_nat::behaviour::FullPolicy;

/// Sequences per profile, operations per sequence, and as many behaviours of no profile at all.
fn effort() -> (u64, usize) {
    if std::env::var_os("NATRIG_NIGHTLY").is_some() { (300, 2_000) } else { (12, 500) }
}

#[test]
fn profiles_do_what_the_reference_allows() {
    let (sequences, len) = effort();
    for name in Profile::names() {
        let (mut evicted, mut restored) = (0, 0);
        for seed in 0..sequences {
            let counters = drive::hold_against_reference(name, &behaviours::small_profile(name, seed), seed, len);
            evicted += counters.entries_evicted;
            restored += counters.entries_restored;
        }
        // Tables of entries are full most of the time: every tenth operation takes one away.
        let full = Profile::builtin(name).unwrap().behaviour.table.full;
        let operations = sequences * len as u64;
        assert_eq!(evicted > operations / 10, full.by_entry(), "{name}: {evicted} entries evicted");
        assert_eq!(restored > operations / 100, full == FullPolicy::EvictEntryRestore, "{name}: {restored} restored");
    }
}

#[test]
fn any_behaviour_does_what_the_reference_allows() {
    let (sequences, len) = effort();
    for seed in 0..sequences * Profile::names().len() as u64 {
        drive::hold_against_reference("a behaviour", &behaviours::any(seed), seed, len);
    }
}

#[test]
fn bursts_fare_as_single_frames_do() {
    let (sequences, len) = effort();
    for name in Profile::names() {
        for seed in 0..sequences {
            bursts::compare(name, &behaviours::small_profile(name, seed), seed, len / 20);
        }
    }
    for seed in 0..sequences * Profile::names().len() as u64 {
        bursts::compare("a behaviour", &behaviours::any(seed), seed, len / 20);
    }
}

#[test]
fn what_goes_out_comes_back_as_it_was() {
    for name in Profile::names() {
        let made = round_trip::check(name, 4000);
        assert!(made >= 2000, "{name}: {made} of 4000 flows were translated");
    }
}

#[test]
fn no_inside_address_leaves() {
    for name in Profile::names() {
        round_trip::check_leaks(name);
    }
}
