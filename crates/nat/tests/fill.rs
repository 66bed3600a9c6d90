//! Port allocators filled against one destination, held against the figures that simulations of the real ones gave.
//!
//! 2,000 pods, ephemeral source ports (32768–60999), one remote end, nothing expires. The occupancy at which refusals first reach a share of
//! 1,000 attempts is the median of nine seeds.

mod kit;

use kit::*;
use natrig_nat::{Direction, Verdict};
use natrig_wire::Frame;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddrV4};

const SEEDS: u64 = 9;
const WINDOW: usize = 1000;
/// Share of refusals, and how far the occupancy may be from the figure.
const MARKS: [(f64, f64); 4] = [(0.001, 0.03), (0.01, 0.02), (0.05, 0.02), (0.5, 0.02)];

/// The occupancies at which refusals reach each mark.
fn fill(profile: &str, ports: usize, seed: u64) -> [f64; 4] {
    let mut nat = translator(profile, 1 << 17, seed);
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let mut known = HashSet::new();
    let (mut reached, mut used) = ([None; 4], 0);
    while reached.contains(&None) {
        let mut refused = 0;
        for _ in 0..WINDOW {
            let pod = loop {
                let pod = SocketAddrV4::new(
                    Ipv4Addr::from_bits(0x0a00_0000 + rng.random_range(1..=2000)),
                    rng.random_range(32768..=60999),
                );
                if known.insert(pod) {
                    break pod;
                }
            };
            let mut bytes = tcp(pod, at("203.0.113.5:443"), SYN);
            let mut frames = [Frame::whole(&mut bytes)];
            let mut verdicts = [Verdict::Forward];
            nat.translate_burst(Direction::Outbound, &mut frames, &mut verdicts, SECOND);
            refused += usize::from(verdicts[0] != Verdict::Forward);
        }
        used += WINDOW - refused;
        for ((share, _), reached) in MARKS.iter().zip(&mut reached) {
            if refused as f64 >= share * WINDOW as f64 && reached.is_none() {
                *reached = Some(used as f64 / ports as f64);
            }
        }
        assert_eq!(nat.counters().live, used as u64);
    }
    let tries: u64 = nat.counters().tries.iter().sum();
    assert_eq!(tries, used as u64, "every allocation has its number of tries");
    reached.map(Option::unwrap_or_default)
}

fn check(profile: &str, ports: usize, expected: [f64; 4]) {
    let mut runs: Vec<[f64; 4]> = (0..SEEDS).map(|seed| fill(profile, ports, seed)).collect();
    for (mark, ((share, tolerance), expected)) in MARKS.iter().zip(expected).enumerate() {
        runs.sort_by(|a, b| a[mark].total_cmp(&b[mark]));
        let median = runs[runs.len() / 2][mark];
        assert!(
            (median - expected).abs() <= *tolerance,
            "{profile}: {share} refused at {median:.3}, expected {expected:.3}"
        );
    }
}

#[test]
fn cilium_with_32_contracting_tries() {
    check("cilium-bpf", 32768, [0.61, 0.63, 0.67, 0.83]);
}

#[test]
fn cilium_with_32_walking_tries() {
    check("cilium-bpf-old32", 32768, [0.65, 0.74, 0.79, 0.92]);
}

#[test]
fn cilium_with_128_walking_tries() {
    check("cilium-bpf-old128", 32768, [0.80, 0.85, 0.88, 0.93]);
}

#[test]
fn netfilter_keeping_source_ports() {
    check("netfilter", 64512, [0.61, 0.69, 0.91, 0.99]);
}

#[test]
fn netfilter_fully_random() {
    check("netfilter-fully-random", 64512, [0.88, 0.93, 0.96, 0.997]);
}

/// Gateways whose search is not published find every free port, up to the connections that they allow to one destination.
#[test]
fn gateways_reach_their_published_limits() {
    for (profile, limit) in [("aws-natgw", 55_000), ("azure-natgw", 50_000)] {
        let mut nat = translator(profile, 1 << 16, 1);
        for n in 0..limit + 10 {
            let pod = SocketAddrV4::new(Ipv4Addr::from_bits(0x0a00_0001 + n / 60_000), (1024 + n % 60_000) as u16);
            let mut bytes = tcp(pod, at("203.0.113.5:443"), SYN);
            let mut frames = [Frame::whole(&mut bytes)];
            let mut verdicts = [Verdict::Forward];
            nat.translate_burst(Direction::Outbound, &mut frames, &mut verdicts, SECOND);
        }
        assert_eq!(nat.counters().created, u64::from(limit), "{profile}");
        assert_eq!(nat.counters().dropped(natrig_nat::DropReason::DestinationLimit), 10, "{profile}");
    }
}
