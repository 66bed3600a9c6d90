//! Packets of established flows, and what else could be done with them in the same time.

use crate::floor::{Floor, Touch};
use crate::hashed::Hashed;
use crate::support::{BURST, BURSTS, Numbers, Ring, addresses_for, fill, translator};
use crate::{Plan, median, ns_per_packet, timed, translate, verdict};
use natrig_nat::{Direction, Nat, Verdict};
use natrig_wire::Frame;

/// Bytes of memory that a mapping may take, all told.
const BYTES_MAX: f64 = 96.0;

/// Most times of the floor's. In the smallest table arithmetic dominates, and the floor has none.
const fn ratio_max(mappings: usize) -> f64 {
    if mappings <= 1000 { 3.5 } else { 2.0 }
}

const NAMES: [&str; 6] = ["floor", "out", "in", "one by one", "hash map", "floor, read"];

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
pub(crate) fn run(plan: &Plan) {
    println!(
        "\nEstablished flows in random order, 64-byte UDP, bursts of {BURST}: ns per packet, median of bursts and rounds"
    );
    println!("{:>9} {}", "mappings", NAMES.map(|name| format!("{name:>11}")).join(" "));
    let rows: Vec<Row> = plan.sizes.iter().map(|size| row(plan, *size)).collect();
    println!("\nTimes of the floor's (median over rounds; the floor with the same hint to fetch ahead)");
    for Row { size, out, inb, .. } in &rows {
        let most = ratio_max(*size);
        println!("{size:>9} out {}, in {}", verdict(*out, most), verdict(*inb, most));
    }
    println!("\nBytes per mapping, all tables");
    for Row { size, bytes, .. } in &rows {
        // Ports and fragments take what they take, however few the mappings are.
        let what = if *size < 10_000_000 { format!("{bytes:.1}") } else { verdict(*bytes, BYTES_MAX) };
        println!("{size:>9} {what}");
    }
}

struct Row {
    size: usize,
    out: f64,
    inb: f64,
    bytes: f64,
}

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn row(plan: &Plan, size: usize) -> Row {
    let mut ring = Ring::new();
    let mut nat = translator("rfc4787", size, addresses_for(size));
    if plan.narrow {
        nat = nat.without_wide_registers();
    }
    fill(&mut nat, &mut ring, 0, size, 1);
    answer_all(&mut nat, &mut ring, size);
    let mut floor = Floor::new(size);
    let mut hashed = Hashed::with_capacity(size);
    for flow in 0..size {
        ring.write(0, 0, flow);
        hashed.insert(ring.slot_mut(0));
    }
    let mut numbers = Numbers(7);
    let mut rounds: [Vec<f64>; NAMES.len()] = Default::default();
    for round in 0..plan.rounds as u64 {
        let mut on = |run: &mut dyn FnMut(&mut [Frame<'_>])| random(plan.bursts, size, &mut ring, &mut numbers, run);
        let took = [
            on(&mut |frames| floor.run(frames, round, Touch::Hint)),
            on(&mut |frames| translate(&mut nat, Direction::Outbound, frames)),
            on(&mut |frames| {
                frames.chunks_mut(1).for_each(|frame| {
                    nat.translate_burst(Direction::Outbound, frame, &mut [Verdict::Forward], 2);
                })
            }),
            on(&mut |frames| assert_eq!(hashed.run(frames, 2), BURST)),
            on(&mut |frames| floor.run(frames, round, Touch::Read)),
        ];
        let inb = inbound(plan.bursts, size, &mut ring, &mut nat, &mut numbers);
        let [floor, out, single, map, read] = took;
        for (samples, sample) in rounds.iter_mut().zip([floor, out, inb, single, map, read]) {
            samples.push(sample);
        }
    }
    // Ratios within a round: what the machine's neighbours do changes from one to the next.
    let ratio = |samples: &[f64]| {
        median(&mut samples.iter().zip(&rounds[0]).map(|(own, floor)| own / floor).collect::<Vec<_>>())
    };
    let (out, inb) = (ratio(&rounds[1]), ratio(&rounds[2]));
    println!("{size:>9} {}", rounds.map(|mut samples| format!("{:>11.2}", median(&mut samples))).join(" "));
    Row { size, out, inb, bytes: nat.memory() as f64 / size as f64 }
}

/// Nanoseconds per packet of random flows.
fn random(
    bursts: usize,
    flows: usize,
    ring: &mut Ring,
    numbers: &mut Numbers,
    run: &mut dyn FnMut(&mut [Frame<'_>]),
) -> f64 {
    let mut samples = Vec::with_capacity(bursts + BURSTS);
    while samples.len() < bursts {
        ring.write_random(numbers, flows);
        samples.extend((0..BURSTS).map(|burst| ns_per_packet(timed(ring, burst, &mut *run))));
    }
    median(&mut samples)
}

/// The answers to packets that went out a ring's length before.
fn inbound(bursts: usize, flows: usize, ring: &mut Ring, nat: &mut Nat, numbers: &mut Numbers) -> f64 {
    let mut samples = Vec::with_capacity(bursts + BURSTS);
    while samples.len() < bursts {
        ring.write_random(numbers, flows);
        for burst in 0..BURSTS {
            ring.with_frames(burst, |frames| translate(nat, Direction::Outbound, frames));
        }
        ring.turn_round(BURSTS * BURST);
        samples.extend(
            (0..BURSTS)
                .map(|burst| ns_per_packet(timed(ring, burst, |frames| translate(nat, Direction::Inbound, frames)))),
        );
    }
    median(&mut samples)
}

/// Has every flow answered once, so that all are established.
pub(crate) fn answer_all(nat: &mut Nat, ring: &mut Ring, size: usize) {
    for flow in (0..size).step_by(BURST) {
        for slot in 0..BURST {
            ring.write(0, slot, (flow + slot).min(size - 1));
        }
        ring.with_frames(0, |frames| translate(nat, Direction::Outbound, frames));
        ring.turn_round(BURST);
        ring.with_frames(0, |frames| translate(nat, Direction::Inbound, frames));
    }
}
