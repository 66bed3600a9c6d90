//! Established flows while somebody sends what hurts.

use crate::established::answer_all;
use crate::support::{BURST, FRAME_LEN, ICMP_ERROR_LEN, Numbers, Ring, addresses_for, fill, translator};
use crate::{Plan, median, ns_per_packet, timed, verdict};
use natrig_nat::{Direction, Verdict};

/// Four fifths of the throughput are left at least.
const SLOWER_MAX: f64 = 1.25;

/// A flood: `write` puts its packet of a number into a slot of the ring.
struct Flood {
    name: &'static str,
    dir: Direction,
    len: usize,
    write: fn(&mut Ring, usize, u32),
}

const OUTSIDE: u32 = 0xc612_0000;
const STRANGER: u32 = 0xcb00_7105;
const ATTACKER: u32 = 0x0aff_0001;
const SYN: u8 = 2;

const FLOODS: [Flood; 5] = [
    Flood { name: "nothing", dir: Direction::Outbound, len: 0, write: |_, _, _| () },
    Flood {
        name: "half-open connections",
        dir: Direction::Outbound,
        len: FRAME_LEN,
        // All from one host, each to another end.
        write: |ring, slot, n| {
            ring.redirect(slot, ATTACKER, 0x0800_0000 + n);
            ring.make_tcp(slot, SYN);
        },
    },
    Flood {
        name: "keys alike but for a few bits",
        dir: Direction::Outbound,
        len: FRAME_LEN,
        write: |ring, slot, n| ring.redirect(slot, ATTACKER, (n << 20).wrapping_add(0x0800_0000)),
    },
    Flood {
        name: "fragments without a first one",
        dir: Direction::Inbound,
        len: FRAME_LEN,
        write: |ring, slot, _| {
            ring.redirect(slot, STRANGER, OUTSIDE);
            ring.make_fragment(slot, 24);
        },
    },
    Flood {
        name: "ICMP errors about others' flows",
        dir: Direction::Inbound,
        len: ICMP_ERROR_LEN,
        write: |ring, slot, _| {
            ring.redirect(slot, OUTSIDE, STRANGER);
            ring.make_icmp_error(slot);
        },
    },
];

/// Flows of many sources, while one source, or a stranger, sends as many packets as they do.
#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
pub(crate) fn run(plan: &Plan) {
    println!("\nEstablished flows between bursts of a flood: ns per packet, times of those in peace");
    let mut rounds: [Vec<f64>; FLOODS.len()] = Default::default();
    for _ in 0..plan.rounds {
        for (samples, flood) in rounds.iter_mut().zip(&FLOODS) {
            samples.push(round(plan, flood));
        }
    }
    let ns = rounds.map(|mut samples| median(&mut samples));
    for (flood, ns_now) in FLOODS.iter().zip(ns) {
        println!("{:>32} {ns_now:>7.2} {}", flood.name, verdict(ns_now / ns[0], SLOWER_MAX));
    }
}

/// Nanoseconds per packet of the established flows.
fn round(plan: &Plan, flood: &Flood) -> f64 {
    let flows = 60_000.min(plan.bursts * BURST);
    let mut nat = translator("rfc4787", 2 * flows, addresses_for(2 * flows));
    let mut ring = Ring::new();
    fill(&mut nat, &mut ring, 0, flows, 1);
    answer_all(&mut nat, &mut ring, flows);
    let mut numbers = Numbers(3);
    let mut samples = Vec::new();
    for burst in 0..plan.bursts {
        for slot in 0..BURST {
            let number = burst * BURST + slot;
            ring.write(0, slot, numbers.below(flows));
            ring.write(1, slot, number % flows);
            (flood.write)(&mut ring, BURST + slot, number as u32);
        }
        ring.with_frames(1, |frames| {
            for frame in frames.iter_mut() {
                frame.resize(flood.len);
            }
            nat.translate_burst(flood.dir, frames, &mut [Verdict::Forward; BURST], 2);
        });
        let mut verdicts = [Verdict::Forward; BURST];
        let took = timed(&mut ring, 0, |frames| nat.translate_burst(Direction::Outbound, frames, &mut verdicts, 2));
        assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Forward), "an established flow was lost");
        samples.push(ns_per_packet(took));
    }
    median(&mut samples)
}
