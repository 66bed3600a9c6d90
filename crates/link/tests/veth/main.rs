//! Links over a veth pair in a network namespace of the test's own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;
mod netns;
mod packet;

use common::{play, script};
use natrig_link::Link;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// Plays random scripts over links that `open` makes on the two ends of a veth pair.
fn property<L: Link>(cases: u32, len_max: usize, open: impl Fn(&str) -> L) {
    netns::veth_pair("left", "right", 1);
    let mut runner = TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) });
    runner
        .run(&script(len_max, 30), |script| {
            let (mut first, mut second) = (open("left"), open("right"));
            play(&mut first, &mut second, &script);
            Ok(())
        })
        .unwrap();
}
