//! The figures that the design is held against, as ratios within one run on one processor, each with its target and whether it is met: the
//! ordinary path against the least that any translator has to do, new mappings at rising occupancy, the pauses of expiry, memory per
//! mapping, established flows under four kinds of flood.
//!
//! `cargo bench -p natrig-nat --bench speed` takes about two minutes and 3 GiB; without `--bench` (`cargo test --benches`) it only shows
//! that everything runs. `--smallest N` and `--largest N` leave other tables out, `--only established` (`creation`, `expiry`, `hostile`)
//! the rest, `--narrow` translates without wide registers. A figure that misses its target is said to, and is no failure: what a machine's
//! neighbours do is not the design's fault.
#![deny(unsafe_code)]

mod creation;
mod established;
mod expiry;
#[path = "../support/floor.rs"]
mod floor;
#[path = "../support/hashed.rs"]
mod hashed;
mod hostile;
mod place;
#[path = "../../src/prefetch.rs"]
#[expect(dead_code, reason = "a benchmark fetches ahead, and compares no bytes")]
mod prefetch;
#[path = "../support/mod.rs"]
mod support;

use natrig_nat::{Direction, Nat, Verdict};
use natrig_wire::Frame;
use std::hint::black_box;
use std::time::{Duration, Instant};
use support::{BURST, Ring};

/// How much is to be done.
pub(crate) struct Plan {
    only: Option<String>,
    /// Established flows without wide registers.
    narrow: bool,
    /// Mappings of the tables.
    sizes: Vec<usize>,
    /// Bursts of each contender in each round.
    bursts: usize,
    rounds: usize,
    /// Bursts of new flows at each mark.
    creating: usize,
    /// Mappings that end at once.
    expiring: usize,
}

impl Plan {
    fn from_args() -> Self {
        let args: Vec<String> = std::env::args().collect();
        let value = |name: &str| args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1));
        let number = |name: &str| value(name).and_then(|value| value.parse().ok());
        let only = value("--only").cloned();
        let narrow = args.iter().any(|arg| arg == "--narrow");
        if !args.iter().any(|arg| arg == "--bench") {
            return Self { only, narrow, sizes: vec![1000], bursts: 4, rounds: 1, creating: 1, expiring: 2000 };
        }
        let mut sizes = vec![1000, 64_000, 1_000_000, 10_000_000];
        let (least, most) = (number("--smallest").unwrap_or(0), number("--largest").unwrap_or(usize::MAX));
        sizes.retain(|size| (least..=most).contains(size));
        let bursts = number("--bursts").unwrap_or(2000);
        let rounds = number("--rounds").unwrap_or(5);
        Self { only, narrow, sizes, bursts, rounds, creating: 16, expiring: 1_000_000 }
    }

    fn wants(&self, part: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only == part)
    }
}

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn main() {
    let plan = Plan::from_args();
    println!("{}", place::settle());
    if plan.wants("established") {
        established::run(&plan);
    }
    if plan.wants("creation") {
        creation::run(&plan);
    }
    if plan.wants("expiry") {
        expiry::run(&plan);
    }
    if plan.wants("hostile") {
        hostile::run(&plan);
    }
}

/// Whether a figure meets its target, in words.
fn verdict(figure: f64, most: f64) -> String {
    let met = if figure <= most { "met" } else { "MISSED" };
    format!("{figure:.2} (at most {most}: {met})")
}

fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// How long `run` takes on the frames of a burst.
fn timed(ring: &mut Ring, burst: usize, mut run: impl FnMut(&mut [Frame<'_>])) -> Duration {
    ring.with_frames(burst, |frames| {
        let start = Instant::now();
        run(frames);
        start.elapsed()
    })
}

fn ns_per_packet(took: Duration) -> f64 {
    took.as_nanos() as f64 / BURST as f64
}

fn translate(nat: &mut Nat, dir: Direction, frames: &mut [Frame<'_>]) {
    translate_at(nat, dir, frames, 2);
}

fn translate_at(nat: &mut Nat, dir: Direction, frames: &mut [Frame<'_>], now_ns: u64) {
    let mut verdicts = [Verdict::Forward; BURST];
    nat.translate_burst(dir, frames, &mut verdicts, now_ns);
    black_box(&verdicts);
}
