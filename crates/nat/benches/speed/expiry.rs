//! The pauses that expiry makes: all mappings of a table run out at once while one flow talks.

use crate::support::{BURST, Ring, addresses_for, fill, translator};
use crate::{Plan, timed, translate_at, verdict};
use natrig_nat::Direction;

/// Microseconds that expiry may add to a burst.
const PAUSE_US_MAX: f64 = 50.0;
/// The same bursts do the same work each time, and what the machine adds it adds each time to others.
const TIMES: usize = 5;

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
pub(crate) fn run(plan: &Plan) {
    let mut least: Vec<f64> = Vec::new();
    let mut longest = 0.0;
    for _ in 0..TIMES {
        let pauses = once(plan);
        longest = pauses.iter().copied().fold(longest, f64::max);
        if least.is_empty() {
            least = pauses;
            continue;
        }
        assert_eq!(least.len(), pauses.len(), "the same mappings end in the same bursts");
        for (least, pause) in least.iter_mut().zip(pauses) {
            *least = least.min(pause);
        }
    }
    let worst = least.iter().copied().fold(0.0, f64::max);
    least.sort_by(f64::total_cmp);
    let at = |share: f64| least[((least.len() - 1) as f64 * share) as usize];
    println!(
        "\nExpiry of {} mappings: microseconds that a burst of {BURST} takes, {} bursts, the least of {TIMES} times",
        plan.expiring,
        least.len()
    );
    println!(
        "median {:.1}, p99 {:.1}, p99.9 {:.1}, longest {}",
        at(0.5),
        at(0.99),
        at(0.999),
        verdict(worst, PAUSE_US_MAX)
    );
    println!("longest at all, with what the machine added: {longest:.1}");
}

/// Microseconds of each burst until all have ended.
fn once(plan: &Plan) -> Vec<f64> {
    let mut nat = translator("rfc4787", plan.expiring + 1, addresses_for(plan.expiring + 1));
    let mut ring = Ring::new();
    fill(&mut nat, &mut ring, 0, plan.expiring, 1);
    let late_ns = 3700 * 1_000_000_000;
    let mut pauses = Vec::new();
    while nat.counters().expired < plan.expiring as u64 {
        for slot in 0..BURST {
            ring.write(0, slot, plan.expiring);
        }
        let took = timed(&mut ring, 0, |frames| translate_at(&mut nat, Direction::Outbound, frames, late_ns));
        pauses.push(took.as_nanos() as f64 / 1e3);
    }
    pauses
}
