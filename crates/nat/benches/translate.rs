//! Benchmarks for people: the ordinary path beside the floor, beside itself one packet at a time, and beside a hash map over a slab; new
//! mappings; what is not ordinary.
#![deny(unsafe_code)]

#[path = "support/floor.rs"]
mod floor;
#[path = "support/hashed.rs"]
mod hashed;
#[path = "../src/prefetch.rs"]
#[expect(dead_code, reason = "a benchmark fetches ahead, and compares no bytes")]
mod prefetch;
mod support;

use criterion::{BenchmarkId, Criterion, Throughput};
use floor::{Floor, Touch};
use hashed::Hashed;
use natrig_nat::{Direction, Nat, Verdict};
use natrig_wire::Frame;
use std::hint::black_box;
use std::time::{Duration, Instant};
use support::{BURST, BURSTS, Numbers, Ring, addresses_for, fill, translator};

/// Times `run` on so many bursts; `prepare` fills the ring with frames before, out of the time.
fn time_bursts(
    bursts: u64,
    ring: &mut Ring,
    mut prepare: impl FnMut(&mut Ring),
    mut run: impl FnMut(&mut [Frame<'_>]),
) -> Duration {
    let mut total = Duration::ZERO;
    for burst in 0..bursts {
        let place = burst as usize % BURSTS;
        if place == 0 {
            prepare(ring);
        }
        total += ring.with_frames(place, |frames| {
            let start = Instant::now();
            run(frames);
            start.elapsed()
        });
    }
    total
}

fn translate(nat: &mut Nat, dir: Direction, frames: &mut [Frame<'_>]) {
    let mut verdicts = [Verdict::Forward; BURST];
    nat.translate_burst(dir, frames, &mut verdicts, 2);
    black_box(&verdicts);
}

fn established(c: &mut Criterion, sizes: &[usize]) {
    let mut group = c.benchmark_group("established");
    group.throughput(Throughput::Elements(BURST as u64));
    for size in sizes.iter().copied() {
        let mut ring = Ring::new();
        let mut numbers = Numbers(7);
        let mut nat = translator("rfc4787", size, addresses_for(size));
        fill(&mut nat, &mut ring, 0, size, 1);
        let mut floor = Floor::new(size);
        group.bench_function(BenchmarkId::new("floor", size), |b| {
            b.iter_custom(|bursts| {
                time_bursts(
                    bursts,
                    &mut ring,
                    |ring| ring.write_random(&mut numbers, size),
                    |frames| floor.run(frames, 1, Touch::Hint),
                )
            });
        });
        group.bench_function(BenchmarkId::new("core", size), |b| {
            b.iter_custom(|bursts| {
                let prepare = |ring: &mut Ring| ring.write_random(&mut numbers, size);
                time_bursts(bursts, &mut ring, prepare, |frames| translate(&mut nat, Direction::Outbound, frames))
            });
        });
        group.bench_function(BenchmarkId::new("core, one at a time", size), |b| {
            b.iter_custom(|bursts| {
                let prepare = |ring: &mut Ring| ring.write_random(&mut numbers, size);
                time_bursts(bursts, &mut ring, prepare, |frames| {
                    for frame in frames.chunks_mut(1) {
                        nat.translate_burst(Direction::Outbound, frame, &mut [Verdict::Forward], 2);
                    }
                })
            });
        });
        let mut hashed = Hashed::with_capacity(size);
        for flow in 0..size {
            ring.write(0, 0, flow);
            hashed.insert(ring.slot_mut(0));
        }
        group.bench_function(BenchmarkId::new("hashbrown over a slab", size), |b| {
            b.iter_custom(|bursts| {
                let prepare = |ring: &mut Ring| ring.write_random(&mut numbers, size);
                time_bursts(bursts, &mut ring, prepare, |frames| {
                    assert_eq!(hashed.run(frames, 2), BURST);
                })
            });
        });
    }
    group.finish();
}

fn creation(c: &mut Criterion, addresses: usize) {
    let mut group = c.benchmark_group("new mapping");
    group.throughput(Throughput::Elements(BURST as u64));
    let ports = addresses * 64_512;
    for (share, name) in [(0.5, "half of the ports taken"), (0.99, "99 % of the ports taken")] {
        group.bench_function(name, |b| {
            b.iter_custom(|bursts| {
                let mut total = Duration::ZERO;
                let mut ring = Ring::new();
                let mut left = bursts;
                while left > 0 {
                    // A fresh table as often as the ports between two marks are used up.
                    let taken = (ports as f64 * share) as usize;
                    let room = ((ports as f64 * 0.005) as usize / BURST).max(1) as u64;
                    let mut nat = translator("rfc4787", 2 * ports, addresses);
                    fill(&mut nat, &mut ring, 0, taken, 1);
                    let mut flow = taken;
                    for _ in 0..room.min(left) {
                        for slot in 0..BURST {
                            ring.write(0, slot, flow + slot);
                        }
                        flow += BURST;
                        total += ring.with_frames(0, |frames| {
                            let start = Instant::now();
                            translate(&mut nat, Direction::Outbound, frames);
                            start.elapsed()
                        });
                    }
                    left -= room.min(left);
                }
                total
            });
        });
    }
    group.finish();
}

fn unusual(c: &mut Criterion) {
    let mut group = c.benchmark_group("not ordinary");
    group.throughput(Throughput::Elements(BURST as u64));
    let mut nat = translator("rfc4787", 64_000, 1);
    let mut ring = Ring::new();
    fill(&mut nat, &mut ring, 0, 60_000, 1);
    let mut numbers = Numbers(7);
    group.bench_function("policed nonsense", |b| {
        b.iter_custom(|bursts| {
            let prepare = |ring: &mut Ring| {
                ring.write_random(&mut numbers, 60_000);
                for slot in 0..BURST * BURSTS {
                    ring.slot_mut(slot)[24] ^= 1;
                }
            };
            time_bursts(bursts, &mut ring, prepare, |frames| translate(&mut nat, Direction::Outbound, frames))
        });
    });
    group.bench_function("icmp error", |b| {
        b.iter_custom(|bursts| {
            let mut total = Duration::ZERO;
            for _ in 0..bursts {
                for slot in 0..BURST {
                    ring.write(0, slot, numbers.below(60_000));
                }
                ring.with_frames(0, |frames| translate(&mut nat, Direction::Outbound, frames));
                for slot in 0..BURST {
                    ring.make_icmp_error(slot);
                }
                total += ring.with_frames(0, |frames| {
                    for frame in frames.iter_mut() {
                        frame.resize(support::ICMP_ERROR_LEN);
                    }
                    let start = Instant::now();
                    translate(&mut nat, Direction::Inbound, frames);
                    start.elapsed()
                });
            }
            total
        });
    });
    group.finish();
}

fn main() {
    let real = std::env::args().any(|arg| arg == "--bench");
    let mut c = Criterion::default().configure_from_args();
    established(&mut c, if real { &[1000, 64_000, 1_000_000] } else { &[1000] });
    creation(&mut c, if real { 4 } else { 1 });
    unusual(&mut c);
    c.final_summary();
}
