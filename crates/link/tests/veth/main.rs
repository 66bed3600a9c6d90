//! Links over a veth pair in a network namespace of the test's own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;
mod killed;
mod netns;
mod packet;
mod ring;
mod tap;
mod xdp;

use common::{Direction, bursts, cross, play, script};
use natrig_link::Link;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::cell::Cell;

/// Plays random scripts over links that `open` makes on the two ends of a veth pair, and then crosses threads over them. Returns how many
/// frames were lost, all of them counted, because nobody received in time.
fn property<A: Link, B: Link>(cases: u32, len_max: usize, open: impl Fn() -> (A, B)) -> u64 {
    let lost = Cell::new(0);
    let count = |directions: [Direction; 2]| {
        lost.set(lost.get() + directions.iter().map(|direction| direction.lost).sum::<u64>());
    };
    // A few random scripts may leave every ring room: then there are more of them, until what is asked for has been seen.
    for _ in 0..10 {
        run(cases, &script(len_max, 30), |script| {
            let (mut first, mut second) = open();
            count(play(&mut first, &mut second, &script));
        });
        run(cases.div_ceil(8), &bursts(len_max), |bursts| {
            let (mut first, mut second) = open();
            count(cross(&mut first, &mut second, &bursts));
        });
        if lost.get() > 0 {
            break;
        }
    }
    lost.get()
}

fn run<S: Strategy>(cases: u32, strategy: &S, check: impl Fn(S::Value)) {
    let mut runner = TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) });
    let outcome = runner.run(strategy, |value| {
        check(value);
        Ok(())
    });
    if let Err(error) = outcome {
        let text = error.to_string();
        panic!("{}", text.chars().take(600).collect::<String>());
    }
}
