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

use common::{play, script};
use natrig_link::Link;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// Plays random scripts over links that `open` makes on the two ends of a veth pair.
fn property<A: Link, B: Link>(cases: u32, len_max: usize, open: impl Fn() -> (A, B)) {
    let mut runner = TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) });
    let outcome = runner.run(&script(len_max, 30), |script| {
        let (mut first, mut second) = open();
        play(&mut first, &mut second, &script);
        Ok(())
    });
    if let Err(error) = outcome {
        let text = error.to_string();
        panic!("{}", text.chars().take(600).collect::<String>());
    }
}
