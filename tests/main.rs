//! End to end: the program as it was built, run as its users run it, and real programs through the worlds that it sets up.
//!
//! Root runs most cases twice, as itself and as an ordinary user; anybody else once. Cases that need namespaces are skipped aloud where
//! there are none, and counted; with `NATRIG_REQUIRE_NAMESPACES=1` it is a failure if none of them ran. With `NATRIG_FULL=1` the transfer
//! through each design is as long as in a release check. A word behind `--` runs the cases whose names contain it.
//!
//! Some cases need a program at the far end of a world, or a process in a user namespace of its own, which takes a process with one
//! thread: then this binary starts itself again in a *role*. That is why it has a `main` of its own.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests, with a harness of their own")]

mod clients;
mod exhaustion;
mod nat;
mod plan;
mod run;
mod support;

use std::env;
use std::process::ExitCode;

use support::harness::{self, Case};

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let cases = run::CASES.into_iter().chain(clients::CASES).chain(nat::CASES);
    let cases: Vec<Case> = cases.chain(exhaustion::CASES).chain(plan::CASES).collect();
    match arguments.next().as_deref() {
        Some("--role") => play(&arguments.collect::<Vec<_>>()),
        Some("--list") => {
            for case in &cases {
                println!("{}: test", case.name);
            }
            ExitCode::SUCCESS
        }
        filter => harness::run_all(&cases, filter.filter(|word| !word.starts_with("--"))),
    }
}

/// What this binary does for a case, in a process of its own.
fn play(role: &[String]) -> ExitCode {
    let words: Vec<&str> = role.iter().map(String::as_str).collect();
    match words[..] {
        ["limits", setting, ref program @ ..] => support::limits::exec_with(setting, program),
        ["room-for-one", natrig, directory] => run::killed::room_for_one(natrig, directory),
        ["nat", natrig, ref words @ ..] => nat::act(natrig, words),
        ["servers", address] => clients::servers::serve(address),
        ["shrink-path", address, port, mtu] => clients::icmp::shrink_path(address, port, mtu),
        ["watch-pings"] => clients::icmp::watch_pings(),
        ["get", from, to] => clients::programs::get(from, to),
        ["transfer", from, to, way, mebibytes] => clients::programs::transfer(from, to, way, mebibytes),
        ["query", from, to] => clients::programs::query(from, to),
        ["crowd", to, connections] => clients::programs::crowd(to, connections),
        ["refused", from, to] => clients::programs::refused(from, to),
        ["ping", from, to] => clients::icmp::ping(from, to),
        ["trace", from, to] => clients::icmp::trace(from, to),
        ["path-mtu", from, to] => clients::icmp::path_mtu(from, to),
        _ => panic!("no such role: {words:?}"),
    }
    ExitCode::SUCCESS
}
