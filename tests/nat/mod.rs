//! `natrig nat` between two interfaces, with real programs on both sides of it.
//!
//! Namespaces and programs are those of one process, which the case starts in a role: it may become root in a user namespace of its own.

pub(crate) mod life;
pub(crate) mod path_mtu;
mod refusals;
pub(crate) mod reload;
mod site;
pub(crate) mod through;

use crate::support::harness::Users::{Anybody, Each};
use crate::support::harness::{Case, Outcome, case, in_namespaces};
use crate::support::limits;
use crate::support::place::Place;

pub(crate) const CASES: [Case; 10] = [
    in_namespaces("nat::programs_over_af_packet", Each, |place| play(place, &["through", "packet"])),
    in_namespaces("nat::programs_over_the_link_chosen", Anybody, |place| play(place, &["through", "auto"])),
    in_namespaces("nat::programs_over_live_frames", Anybody, |place| play(place, &["through", "ring"])),
    in_namespaces("nat::programs_over_af_xdp", Anybody, |place| play(place, &["through", "xdp"])),
    in_namespaces("nat::programs_over_pnet", Anybody, |place| play(place, &["through", "pnet"])),
    in_namespaces("nat::path_mtu_both_ways", Each, |place| play(place, &["path-mtu"])),
    in_namespaces("nat::reload_keeps_connections", Each, |place| play(place, &["reload"])),
    in_namespaces("nat::every_signal_and_a_second_start", Each, |place| play(place, &["life"])),
    in_namespaces("nat::what_stands_in_the_way_is_named", Each, |place| play(place, &["in-the-way"])),
    case("nat::mistakes_on_the_command_line", Anybody, refusals::command_line),
];

/// Runs a role to its end.
fn play(place: &Place<'_>, words: &[&str]) -> Outcome {
    let natrig = place.natrig_path();
    let ended = place.role([&["nat", natrig.to_str().unwrap()], words].concat()).finish();
    if let Some(why) = limits::skipped(&ended) {
        return Err(why);
    }
    assert_eq!(ended.code, Some(0), "{ended}");
    print!("{}", ended.stdout);
    Ok(())
}

/// The roles.
pub(crate) fn act(natrig: &str, words: &[&str]) {
    match words {
        ["through", link] => through::through(natrig, link),
        ["path-mtu"] => path_mtu::path_mtu(natrig),
        ["reload"] => reload::reload(natrig),
        ["life"] => life::life(natrig),
        ["in-the-way"] => refusals::in_the_way(natrig),
        _ => panic!("no such role: {words:?}"),
    }
}
