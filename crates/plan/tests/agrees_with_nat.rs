//! The simulation against the translator itself, driven with frames in memory: the same traffic has to end the same way.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "../../nat/tests/kit/mod.rs"]
mod kit;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::net::{Ipv4Addr, SocketAddrV4};

use kit::{ACK, FIN, SECOND, SYN, at, source, tcp, tcp_seq};
use natrig_nat::behaviour::{Behaviour, PortRange};
use natrig_nat::{Direction, Nat, Profile, Verdict};
use natrig_plan::sim::{Class, EPHEMERAL, Lives, Setup, Simulation};
use natrig_plan::timing::{Close, Protocol};
use natrig_wire::Frame;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

const SEEDS: u64 = 5;
const SERVER: &str = "203.0.113.5:443";
const OUTSIDE: &str = "198.51.100.1";

fn behaviour(profile: &str) -> Behaviour {
    Profile::builtin(profile).unwrap().behaviour
}

fn class(rate_per_s: f64, life_s: f64) -> Class {
    Class {
        protocol: Protocol::Tcp,
        remotes: 1,
        rate_per_s,
        life_s,
        lives: Lives::Exponential,
        close: Close::Fin,
        pods: u32::MAX,
    }
}

fn send(nat: &mut Nat, dir: Direction, bytes: &[u8], now_ns: u64) -> Option<Vec<u8>> {
    let mut bytes = bytes.to_vec();
    let len = bytes.len();
    let mut verdicts = [Verdict::Forward];
    nat.translate_burst(dir, &mut [Frame::new(&mut bytes, len)], &mut verdicts, now_ns);
    (verdicts[0] == Verdict::Forward).then_some(bytes)
}

fn pod(rng: &mut Pcg64Mcg) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::from_bits(0x0a00_0000 + rng.random_range(1..=2000)), rng.random_range(EPHEMERAL))
}

/// Attempts, as shares of the ports that there are, after which the ports in use are counted.
const MARKS: [f64; 4] = [0.7, 0.9, 1.0, 1.25];

/// Ports in use at each mark; an attempt says if it got one.
fn usable(ports: f64, mut attempt: impl FnMut() -> bool) -> [u64; 4] {
    let (mut attempts, mut used) = (0, 0);
    MARKS.map(|mark| {
        while f64::from(attempts) < mark * ports {
            attempts += 1;
            used += u64::from(attempt());
        }
        used
    })
}

fn usable_of_frames(behaviour: &Behaviour, seed: u64) -> [u64; 4] {
    let mut config = natrig_nat::Config::new(vec![OUTSIDE.parse().unwrap()], behaviour.clone());
    config.behaviour.table.capacity = 1 << 17;
    let mut nat = Nat::new(config, seed).unwrap();
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let mut known = HashSet::new();
    usable(f64::from(behaviour.ports.range.len()), || {
        let pod = loop {
            let pod = pod(&mut rng);
            if known.insert(pod) {
                break pod;
            }
        };
        send(&mut nat, Direction::Outbound, &tcp(pod, at(SERVER), SYN), SECOND).is_some()
    })
}

fn usable_of_simulation(behaviour: &Behaviour, seed: u64) -> [u64; 4] {
    let classes = [class(10_000.0, 1e6)];
    let setup =
        Setup { nodes: 1, pods: 2000, classes: &classes, node: Some(behaviour), gateway: None, empty: true, seed };
    let mut simulation = Simulation::new(&setup).unwrap();
    let mut opened = 0;
    usable(f64::from(behaviour.ports.range.len()), || {
        simulation.run(1);
        let before = std::mem::replace(&mut opened, simulation.opened());
        opened > before
    })
}

fn median(mut values: Vec<u64>) -> f64 {
    values.sort_unstable();
    values[values.len() / 2] as f64
}

#[test]
fn usable_ports_agree_within_a_hundredth() {
    for profile in ["cilium-bpf", "cilium-bpf-old128", "netfilter", "netfilter-fully-random"] {
        let behaviour = behaviour(profile);
        let ports = f64::from(behaviour.ports.range.len());
        let frames: Vec<[u64; 4]> = (0..SEEDS).map(|seed| usable_of_frames(&behaviour, seed)).collect();
        let simulated: Vec<[u64; 4]> = (100..100 + SEEDS).map(|seed| usable_of_simulation(&behaviour, seed)).collect();
        for mark in 0..MARKS.len() {
            let [frames, simulated] =
                [&frames, &simulated].map(|runs| median(runs.iter().map(|run| run[mark]).collect()));
            println!("{profile}, {} attempts per port: {frames} by frames, {simulated} simulated", MARKS[mark]);
            assert!((frames - simulated).abs() <= 0.01 * ports, "{profile}: {frames} by frames, {simulated} simulated");
        }
    }
}

/// Ports are few so that equilibrium comes soon; so is the interval of collection.
fn small(profile: &str) -> Behaviour {
    let mut behaviour = behaviour(profile);
    behaviour.ports.range = PortRange::new(40_000, 40_999);
    if behaviour.collection.start_s > 0 {
        behaviour.collection.start_s = 60;
    }
    behaviour
}

const LIFE_S: f64 = 2.0;
const WARM_UP_S: f64 = 150.0;
const MEASURED_S: f64 = 300.0;

/// Connections a second that get a port while more are asked for.
fn sustained_by_frames(behaviour: &Behaviour, asked_per_s: f64, seed: u64) -> f64 {
    let mut nat = Nat::new(natrig_nat::Config::new(vec![OUTSIDE.parse().unwrap()], behaviour.clone()), seed).unwrap();
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let exponential = |rng: &mut Pcg64Mcg| -(1.0 - rng.random::<f64>()).ln();
    let mut open: BinaryHeap<Reverse<(u64, SocketAddrV4, SocketAddrV4, u32)>> = BinaryHeap::new();
    let mut in_use = HashSet::new();
    let (mut now_s, mut opened) = (1.0, 0u64);
    while now_s < WARM_UP_S + MEASURED_S {
        now_s += exponential(&mut rng) / asked_per_s;
        let now_ns = (now_s * 1e9) as u64;
        while let Some(Reverse((end_ns, pod, outside, seq))) = open.peek().copied().filter(|open| open.0.0 <= now_ns) {
            open.pop();
            in_use.remove(&pod);
            for (dir, bytes) in [
                (Direction::Outbound, tcp_seq(pod, at(SERVER), FIN | ACK, seq.wrapping_add(1), b"")),
                (Direction::Inbound, tcp(at(SERVER), outside, FIN | ACK)),
                (Direction::Outbound, tcp_seq(pod, at(SERVER), ACK, seq.wrapping_add(2), b"")),
            ] {
                assert!(send(&mut nat, dir, &bytes, end_ns.max(1)).is_some());
            }
        }
        let pod = pod(&mut rng);
        let seq: u32 = rng.random();
        if !in_use.insert(pod) {
            continue;
        }
        let Some(translated) = send(&mut nat, Direction::Outbound, &tcp_seq(pod, at(SERVER), SYN, seq, b""), now_ns)
        else {
            in_use.remove(&pod);
            continue;
        };
        let outside = source(&translated);
        assert!(send(&mut nat, Direction::Inbound, &tcp(at(SERVER), outside, SYN | ACK), now_ns).is_some());
        let ack = tcp_seq(pod, at(SERVER), ACK, seq.wrapping_add(1), b"");
        assert!(send(&mut nat, Direction::Outbound, &ack, now_ns).is_some());
        open.push(Reverse((now_ns + (exponential(&mut rng) * LIFE_S * 1e9) as u64, pod, outside, seq)));
        opened += u64::from(now_s >= WARM_UP_S);
    }
    opened as f64 / MEASURED_S
}

fn sustained_by_simulation(behaviour: &Behaviour, asked_per_s: f64, seed: u64) -> f64 {
    let classes = [class(asked_per_s, LIFE_S)];
    let setup =
        Setup { nodes: 1, pods: 2000, classes: &classes, node: Some(behaviour), gateway: None, empty: true, seed };
    let mut simulation = Simulation::new(&setup).unwrap();
    simulation.run_for(WARM_UP_S);
    simulation.forget_counts();
    simulation.run_for(MEASURED_S);
    simulation.outcome().opened as f64 / MEASURED_S
}

#[test]
fn sustained_rates_agree_within_three_hundredths() {
    // More than the ports can bear: 1,000 of them for the life of a connection and what follows. Linux takes ports from closed
    // connections, and bears much more than its TIME_WAIT lets one think.
    for (profile, asked_per_s) in [("cilium-bpf", 45.0), ("netfilter-fully-random", 600.0), ("azure-natgw", 30.0)] {
        let behaviour = small(profile);
        let mean = |of: &dyn Fn(u64) -> f64| (1..=2).map(of).sum::<f64>() / 2.0;
        let frames = mean(&|seed| sustained_by_frames(&behaviour, asked_per_s, seed));
        let simulated = mean(&|seed| sustained_by_simulation(&behaviour, asked_per_s, seed + 100));
        println!("{profile}: {frames:.2} a second by frames, {simulated:.2} simulated");
        assert!(
            (frames / simulated - 1.0).abs() <= 0.03,
            "{profile}: {frames:.2} a second by frames, {simulated:.2} simulated"
        );
    }
}
