//! New mappings, in a table that is filled until no port and no entry is left.

use crate::support::{BURST, PORTS_PER_ADDRESS as PORTS, Ring, fill, translator};
use crate::{Plan, median, ns_per_packet, timed, translate, verdict};
use natrig_nat::Direction;

/// Nanoseconds that a new mapping may take where half of the ports are taken: five million a second.
const HALF_NS_MAX: f64 = 200.0;
/// How much longer one may take when one port in a thousand is left.
const SLOWER_MAX: f64 = 2.0;
const MARKS: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
pub(crate) fn run(plan: &Plan) {
    let mut rounds: [Vec<f64>; MARKS.len()] = Default::default();
    for _ in 0..plan.rounds {
        for (samples, sample) in rounds.iter_mut().zip(round(plan)) {
            samples.push(sample);
        }
    }
    let ns = rounds.map(|mut samples| median(&mut samples));
    println!("\nNew mappings, by the share of ports and of entries that are taken");
    for (mark, ns) in MARKS.iter().zip(ns) {
        println!("{:>8.1} % {ns:>7.1} ns {:>6.2} M/s", mark * 100.0, 1000.0 / ns);
    }
    let [half, .., last] = ns;
    println!("half full, ns: {}", verdict(half, HALF_NS_MAX));
    println!("one port in a thousand left, times of half full: {}", verdict(last / half, SLOWER_MAX));
}

/// Nanoseconds per mapping up to each mark.
fn round(plan: &Plan) -> [f64; MARKS.len()] {
    let largest = plan.sizes.iter().copied().filter(|size| *size <= 1_000_000).max().unwrap_or(1000);
    let addresses = (largest / PORTS).max(1);
    let full = addresses * PORTS;
    let mut nat = translator("rfc4787", full, addresses);
    let mut ring = Ring::new();
    let mut at = 0;
    let ns = MARKS.map(|mark| {
        // The bursts that are timed end at the mark.
        let to = ((full as f64 * mark) as usize).saturating_sub(plan.creating * BURST).max(at);
        fill(&mut nat, &mut ring, at, to, 1);
        at = to;
        let mut samples: Vec<f64> = (0..plan.creating)
            .map(|_| {
                for slot in 0..BURST {
                    ring.write(0, slot, at + slot);
                }
                at += BURST;
                ns_per_packet(timed(&mut ring, 0, |frames| translate(&mut nat, Direction::Outbound, frames)))
            })
            .collect();
        median(&mut samples)
    });
    assert_eq!(nat.counters().dropped_total(), 0);
    ns
}
