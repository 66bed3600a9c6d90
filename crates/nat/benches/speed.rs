//! The figures that the design is held against, as ratios within one run: the ordinary path against the floor, new mappings at rising
//! occupancy, the longest pause of expiry, memory per mapping.
//!
//! `cargo bench -p natrig-nat --bench speed` takes a few minutes and up to 2 GiB; without `--bench` (`cargo test --benches`) it only shows
//! that everything runs. `--largest N` leaves tables of more than N mappings out, `--only established` (`creation`, `hostile`, `expiry`) the rest.

mod support;

use natrig_nat::{Direction, Nat, Verdict};
use natrig_wire::Frame;
use std::hint::black_box;
use std::time::Instant;
use support::floor::Floor;
use support::{BURST, BURSTS, Numbers, Ring, addresses_for, fill, translator};

/// Nanoseconds per packet: the median of at least so many bursts. `prepare` fills the ring, `run` is timed on each burst of it.
fn per_packet(
    bursts: usize,
    ring: &mut Ring,
    mut prepare: impl FnMut(&mut Ring),
    mut run: impl FnMut(&mut [Frame<'_>]),
) -> f64 {
    let mut samples = Vec::with_capacity(bursts + BURSTS);
    while samples.len() < bursts {
        prepare(ring);
        for burst in 0..BURSTS {
            let took = ring.with_frames(burst, |frames| {
                let start = Instant::now();
                run(frames);
                start.elapsed()
            });
            samples.push(took.as_nanos() as f64 / BURST as f64);
        }
    }
    median(&mut samples)
}

fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

struct Plan {
    only: Option<String>,
    sizes: Vec<usize>,
    bursts: usize,
    rounds: usize,
    creating: usize,
    expiring: usize,
}

impl Plan {
    fn from_args() -> Self {
        let args: Vec<String> = std::env::args().collect();
        let value = |name: &str| args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1));
        let number = |name: &str| value(name).and_then(|value| value.parse().ok());
        let only = value("--only").cloned();
        if !args.iter().any(|arg| arg == "--bench") {
            return Self { only, sizes: vec![1000], bursts: 4, rounds: 1, creating: 1, expiring: 2000 };
        }
        let mut sizes = vec![1000, 64_000, 1_000_000, 10_000_000];
        sizes.retain(|size| *size <= number("--largest").unwrap_or(usize::MAX));
        let bursts = number("--bursts").unwrap_or(4000);
        let rounds = number("--rounds").unwrap_or(5);
        Self { only, sizes, bursts, rounds, creating: 16, expiring: 1_000_000 }
    }

    fn wants(&self, part: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only == part)
    }
}

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn main() {
    let plan = Plan::from_args();
    if plan.wants("established") {
        println!("established path, random flows, 64-byte UDP, ns per packet (median of bursts, best of rounds)");
        println!(
            "{:>10} {:>8} {:>8} {:>8} {:>7} {:>7} {:>14}",
            "mappings", "floor", "out", "in", "out/fl", "in/fl", "bytes/mapping"
        );
        for size in &plan.sizes {
            established(&plan, *size);
        }
    }
    if plan.wants("creation") {
        println!("\nnew mappings, ns per mapping, by occupancy of the ports");
        creation(&plan);
    }
    if plan.wants("hostile") {
        println!("\nestablished path between bursts of hostile packets, ns per packet, and of the quiet");
        hostile(&plan);
    }
    if plan.wants("expiry") {
        println!("\nexpiry of {} mappings under traffic", plan.expiring);
        expiry(&plan);
    }
}

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn established(plan: &Plan, size: usize) {
    let mut ring = Ring::new();
    let mut nat = translator("rfc4787", size, addresses_for(size));
    fill(&mut nat, &mut ring, 0, size, 1);
    answer_all(&mut nat, &mut ring, size);
    let mut floor = Floor::new(nat.memory().min(size * 96));
    let mut numbers = Numbers(7);
    let mut best = [f64::MAX; 3];
    for round in 0..plan.rounds as u64 {
        let bursts = plan.bursts;
        let at_floor = per_packet(
            bursts,
            &mut ring,
            |ring| ring.write_random(&mut numbers, size),
            |frames| floor.run(frames, round),
        );
        let out = per_packet(
            bursts,
            &mut ring,
            |ring| ring.write_random(&mut numbers, size),
            |frames| translate(&mut nat, Direction::Outbound, frames),
        );
        let inb = inbound(bursts, size, &mut ring, &mut nat, &mut numbers);
        for (best, sample) in best.iter_mut().zip([at_floor, out, inb]) {
            *best = best.min(sample);
        }
    }
    let [floor, out, inb] = best;
    let memory = nat.memory() as f64 / size as f64;
    println!("{size:>10} {floor:>8.2} {out:>8.2} {inb:>8.2} {:>7.2} {:>7.2} {memory:>14.1}", out / floor, inb / floor);
}

fn translate(nat: &mut Nat, dir: Direction, frames: &mut [Frame<'_>]) {
    let mut verdicts = [Verdict::Forward; BURST];
    nat.translate_burst(dir, frames, &mut verdicts, 2);
    black_box(&verdicts);
}

/// Has every flow answered once, so that all are established.
fn answer_all(nat: &mut Nat, ring: &mut Ring, size: usize) {
    for flow in (0..size).step_by(BURST) {
        for slot in 0..BURST {
            ring.write(0, slot, (flow + slot).min(size - 1));
        }
        ring.with_frames(0, |frames| translate(nat, Direction::Outbound, frames));
        ring.turn_round(BURST);
        ring.with_frames(0, |frames| translate(nat, Direction::Inbound, frames));
    }
}

/// The answers to packets that went out a ring's length before.
fn inbound(bursts: usize, size: usize, ring: &mut Ring, nat: &mut Nat, numbers: &mut Numbers) -> f64 {
    let mut samples = Vec::with_capacity(bursts + BURSTS);
    while samples.len() < bursts {
        ring.write_random(numbers, size);
        for burst in 0..BURSTS {
            ring.with_frames(burst, |frames| translate(nat, Direction::Outbound, frames));
        }
        ring.turn_round(BURSTS * BURST);
        for burst in 0..BURSTS {
            let took = ring.with_frames(burst, |frames| {
                let start = Instant::now();
                translate(nat, Direction::Inbound, frames);
                start.elapsed()
            });
            samples.push(took.as_nanos() as f64 / BURST as f64);
        }
    }
    median(&mut samples)
}

/// One table, filled step by step until no port is left.
#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn creation(plan: &Plan) {
    let full = plan.sizes.iter().copied().filter(|size| *size <= 1_000_000).max().unwrap_or(1000);
    // Ports, not entries, are what runs out.
    let addresses = (full / 64_512).max(1);
    let full = addresses * 64_512;
    let mut nat = translator("rfc4787", 2 * full, addresses);
    let mut ring = Ring::new();
    let marks = [(0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %")];
    let mut at = 0;
    let mut half = 0.0;
    for (mark, name) in marks {
        // The bursts that are timed end at the mark.
        let to = ((full as f64 * mark) as usize).saturating_sub(plan.creating * BURST).max(at);
        fill(&mut nat, &mut ring, at, to, 1);
        at = to;
        let mut samples = Vec::new();
        for _ in 0..plan.creating {
            for slot in 0..BURST {
                ring.write(0, slot, at + slot);
            }
            at += BURST;
            let took = ring.with_frames(0, |frames| {
                let start = Instant::now();
                translate(&mut nat, Direction::Outbound, frames);
                start.elapsed()
            });
            samples.push(took.as_nanos() as f64 / BURST as f64);
        }
        let ns = median(&mut samples);
        if half == 0.0 {
            half = ns;
        }
        println!("{name:>10} {ns:>8.1} ns  {:>5.2} M/s  {:>5.2} x of 50 %", 1000.0 / ns, ns / half);
    }
    assert_eq!(nat.counters().dropped_total(), 0);
}

/// Established flows of many sources while one source, or a stranger, sends as many hostile packets as they send.
#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn hostile(plan: &Plan) {
    let flows = 60_000.min(plan.bursts * BURST);
    let attacks: [(&str, Direction, Attack); 5] = [
        ("nothing", Direction::Outbound, |_, _, _| ()),
        ("half-open flows", Direction::Outbound, |ring, slot, n| {
            // All from one host, each to another end.
            ring.write(1, slot, 0);
            ring.redirect(BURST + slot, 0x0aff_0001, 0x0800_0000 + n as u32);
        }),
        ("keys alike in most bits", Direction::Outbound, |ring, slot, n| {
            ring.write(1, slot, 0);
            ring.redirect(BURST + slot, 0x0aff_0001, ((n as u32) << 20).wrapping_add(0x0800_0000));
        }),
        ("fragments without a first one", Direction::Inbound, |ring, slot, n| {
            ring.write(1, slot, n);
            ring.redirect(BURST + slot, 0xcb00_7105, 0xc612_0000);
            ring.make_fragment(BURST + slot, 24);
        }),
        ("icmp errors about nothing", Direction::Inbound, |ring, slot, n| {
            ring.write(1, slot, n);
            ring.redirect(BURST + slot, 0xc612_0000, 0xcb00_7105);
            ring.make_icmp_error(BURST + slot);
        }),
    ];
    let mut quiet = 0.0;
    for (name, dir, attack) in attacks {
        let mut nat = translator("rfc4787", 2 * flows, addresses_for(2 * flows));
        let mut ring = Ring::new();
        fill(&mut nat, &mut ring, 0, flows, 1);
        answer_all(&mut nat, &mut ring, flows);
        let mut numbers = Numbers(3);
        let mut best = f64::MAX;
        for _ in 0..plan.rounds {
            let mut samples = Vec::new();
            for burst in 0..plan.bursts {
                for slot in 0..BURST {
                    ring.write(0, slot, numbers.below(flows));
                    attack(&mut ring, slot, burst * BURST + slot);
                }
                let hostile_len = if name.starts_with("icmp") { support::ICMP_ERROR_LEN } else { support::FRAME_LEN };
                ring.with_frames(1, |frames| {
                    for frame in frames.iter_mut() {
                        frame.resize(hostile_len);
                    }
                    nat.translate_burst(dir, frames, &mut [Verdict::Forward; BURST], 2);
                });
                samples.push(ring.with_frames(0, |frames| {
                    let start = Instant::now();
                    let mut verdicts = [Verdict::Forward; BURST];
                    nat.translate_burst(Direction::Outbound, frames, &mut verdicts, 2);
                    let took = start.elapsed();
                    assert!(
                        verdicts.iter().all(|verdict| *verdict == Verdict::Forward),
                        "an established flow was lost"
                    );
                    took.as_nanos() as f64 / BURST as f64
                }));
            }
            best = best.min(median(&mut samples));
        }
        if quiet == 0.0 {
            quiet = best;
        }
        println!("{name:>32} {best:>8.2} {:>6.2}", best / quiet);
    }
}

type Attack = fn(&mut Ring, usize, usize);

/// All mappings of a table run out at once while one flow talks.
#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn expiry(plan: &Plan) {
    let mut nat = translator("rfc4787", plan.expiring + 1, addresses_for(plan.expiring + 1));
    let mut ring = Ring::new();
    fill(&mut nat, &mut ring, 0, plan.expiring, 1);
    let late = 3700 * 1_000_000_000;
    let mut longest = 0;
    let mut pauses = Vec::new();
    let start = Instant::now();
    while nat.counters().expired < plan.expiring as u64 {
        for slot in 0..BURST {
            ring.write(0, slot, plan.expiring);
        }
        let took = ring.with_frames(0, |frames| {
            let start = Instant::now();
            let mut verdicts = [Verdict::Forward; BURST];
            nat.translate_burst(Direction::Outbound, frames, &mut verdicts, late);
            start.elapsed()
        });
        longest = longest.max(took.as_nanos());
        pauses.push(took.as_nanos() as f64);
    }
    median(&mut pauses);
    let at = |share: f64| pauses[((pauses.len() - 1) as f64 * share) as usize] / 1e3;
    let beyond = pauses.iter().filter(|pause| **pause > 50_000.0).count();
    println!(
        "{} bursts of {BURST} in {:.0} ms; a burst took us: {:.1} (median), {:.1} (p99), {:.1} (p99.9), {:.1} (longest); {beyond} above 50 us",
        pauses.len(),
        start.elapsed().as_secs_f64() * 1e3,
        at(0.5),
        at(0.99),
        at(0.999),
        longest as f64 / 1e3
    );
}
