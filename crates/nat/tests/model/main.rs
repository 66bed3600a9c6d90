//! The translator held against a reference that is slow and obvious, by random operations on a virtual clock.
//!
//! `NATRIG_NIGHTLY=1` makes the sequences many and long: more than ten million operations.

mod behaviours;
#[path = "../support/dice.rs"]
mod dice;
mod drive;
#[path = "../support/foreign.rs"]
mod foreign;
mod ops;
#[path = "../support/packet.rs"]
mod packet;
mod reference;
#[path = "../support/rig.rs"]
mod rig;

use natrig_nat::Profile;

/// Sequences per profile, operations per sequence, and as many behaviours of no profile at all.
fn effort() -> (u64, usize) {
    if std::env::var_os("NATRIG_NIGHTLY").is_some() { (300, 2_000) } else { (12, 500) }
}

#[test]
fn profiles_do_what_the_reference_allows() {
    let (sequences, len) = effort();
    for name in Profile::names() {
        for seed in 0..sequences {
            drive::hold_against_reference(name, &behaviours::small_profile(name, seed), seed, len);
        }
    }
}

#[test]
fn any_behaviour_does_what_the_reference_allows() {
    let (sequences, len) = effort();
    for seed in 0..sequences * Profile::names().len() as u64 {
        drive::hold_against_reference("a behaviour", &behaviours::any(seed), seed, len);
    }
}
