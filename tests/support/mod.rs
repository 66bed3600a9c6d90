//! What all cases stand on.

pub(crate) mod harness;
pub(crate) mod limits;
pub(crate) mod place;
pub(crate) mod process;
pub(crate) mod schema;

use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take before a case gives up: far beyond what a busy machine needs, so that it means a hang.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

/// Until `done`, for at most [`LIMIT`].
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < LIMIT, "it does not come about: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
