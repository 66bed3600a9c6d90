//! Connection events a second of wall time, on one core: the fleet of 5,000 nodes and 250,000 pods.

use std::time::Instant;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use natrig_nat::{CAPACITY_MAX, Profile};
use natrig_plan::sim::{Class, Lives, Setup, Simulation};
use natrig_plan::timing::{Close, Protocol};

/// Connections that arrive in one step of the benchmark.
const STEP: u64 = 1_000_000;

fn classes() -> Vec<Class> {
    let class = |protocol, remotes, rate_per_s, life_s, close, pods| Class {
        protocol,
        remotes,
        rate_per_s,
        life_s,
        lives: Lives::Exponential,
        close,
        pods,
    };
    vec![
        class(Protocol::Tcp, 1, 1_500.0, 0.4, Close::Fin, 250_000),
        class(Protocol::Tcp, 16, 6_000.0, 2.0, Close::Fin, 250_000),
        class(Protocol::Tcp, 400, 40_000.0, 1.0, Close::Fin, 250_000),
        class(Protocol::Tcp, 8, 300.0, 1_800.0, Close::Fin, 50_000),
        class(Protocol::Udp, 4, 1_000.0, 0.1, Close::Idle, 250_000),
    ]
}

fn simulate(c: &mut Criterion) {
    let mut group = c.benchmark_group("fleet of 5,000 nodes and 250,000 pods");
    // An event is the opening or the closing of a connection: each connection has both.
    group.throughput(Throughput::Elements(2 * STEP)).sample_size(10);
    for (share, each) in
        [(1.0, "0.2 connections a second of each pod"), (0.25, "0.05 connections a second of each pod")]
    {
        let mut classes = classes();
        classes.iter_mut().for_each(|class| class.rate_per_s *= share);
        measure(&mut group, each, &classes);
    }
    group.finish();
}

fn measure(group: &mut BenchmarkGroup<'_, WallTime>, each: &str, classes: &[Class]) {
    for (name, node, gateway) in [
        ("node cilium-bpf", Some("cilium-bpf"), None),
        ("gateway aws-natgw", None, Some("aws-natgw")),
        ("both cilium-bpf, aws-natgw", Some("cilium-bpf"), Some("aws-natgw")),
        ("both netfilter, azure-natgw", Some("netfilter"), Some("azure-natgw")),
    ] {
        let behaviour = |name: Option<&str>| {
            let mut behaviour = name.and_then(Profile::builtin)?.behaviour;
            // So that every connection finds a port, and costs what it costs.
            behaviour.table.capacity = CAPACITY_MAX;
            Some(behaviour)
        };
        let (node, gateway) = (behaviour(node), behaviour(gateway));
        let setup = Setup {
            nodes: 5_000,
            pods: 250_000,
            classes,
            node: node.as_ref(),
            gateway: gateway.as_ref().map(|behaviour| (behaviour, 8)),
            empty: false,
            seed: 1,
        };
        let mut simulation = Simulation::new(&setup).expect("the fleet is within limits");
        group.bench_function(format!("{each}: {name}"), |b| b.iter(|| simulation.run(STEP)));
        let outcome = simulation.outcome();
        if outcome.asked == 0 {
            // Left out by the filter of the command line.
            continue;
        }
        eprintln!(
            "{name}: {} asked, refused {:?} {:.5}, {:.1} s, work per event {:.1}",
            outcome.asked,
            outcome.reasons(),
            outcome.refused_share().unwrap_or(0.0),
            outcome.time_s,
            outcome.work as f64 / outcome.events as f64
        );
        eprintln!("{}", costs(&mut simulation));
    }
}

/// What an event costs, however many there are: four times as many take four times as long.
fn costs(simulation: &mut Simulation) -> String {
    let measures = std::env::args().any(|word| word == "--bench");
    let counts = if measures { [STEP / 2, STEP, 2 * STEP, 4 * STEP] } else { [100, 200, 400, 800] };
    let cost = counts.map(|connections| {
        let began = Instant::now();
        simulation.run(connections);
        let seconds = began.elapsed().as_secs_f64();
        let per_event_ns = seconds * 1e9 / (2 * connections) as f64;
        format!("{:.1} M events in {seconds:.2} s ({per_event_ns:.0} ns each)", (2 * connections) as f64 / 1e6)
    });
    format!("cost: {}", cost.join(", "))
}

criterion_group!(benches, simulate);
criterion_main!(benches);
