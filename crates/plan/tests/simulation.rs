//! What can be known of a simulated fleet without another one.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use natrig_nat::behaviour::{Behaviour, Collection};
use natrig_nat::{DropReason, Profile};
use natrig_plan::sim::{Class, Lives, Setup, Simulation};
use natrig_plan::timing::{Close, Protocol};

fn behaviour(profile: &str) -> Behaviour {
    Profile::builtin(profile).unwrap().behaviour
}

fn class(remotes: u16, rate_per_s: f64, life_s: f64) -> Class {
    Class {
        protocol: Protocol::Tcp,
        remotes,
        rate_per_s,
        life_s,
        lives: Lives::Exponential,
        close: Close::Fin,
        pods: u32::MAX,
    }
}

/// The work of a connection does not grow with the number of connections: four times as many cost four times as much.
#[test]
fn work_grows_with_events_and_with_nothing_else() {
    let classes = [class(40, 3000.0, 3.0), class(1, 200.0, 20.0)];
    let (node, gateway) = (behaviour("netfilter"), behaviour("azure-natgw"));
    let setup = Setup {
        nodes: 100,
        pods: 5000,
        classes: &classes,
        node: Some(&node),
        gateway: Some((&gateway, 2)),
        empty: false,
        seed: 1,
    };
    let cost = |connections: u64| {
        let mut simulation = Simulation::new(&setup).unwrap();
        simulation.run(600_000);
        let before = simulation.outcome();
        simulation.run(connections);
        let after = simulation.outcome();
        (after.work - before.work) as f64 / (after.events - before.events) as f64
    };
    let [few, many] = [cost(200_000), cost(800_000)];
    assert!((many / few - 1.0).abs() < 0.05, "{few:.2} steps an event, then {many:.2}");
}

/// Little's law from the first moment on: the fleet starts in equilibrium.
#[test]
fn as_many_are_open_as_rate_times_life() {
    let classes = [class(1, 100.0, 50.0)];
    let node = behaviour("netfilter-fully-random");
    let setup =
        Setup { nodes: 10, pods: 100, classes: &classes, node: Some(&node), gateway: None, empty: false, seed: 3 };
    let mut simulation = Simulation::new(&setup).unwrap();
    for _ in 0..20 {
        simulation.run_for(10.0);
        let open = f64::from(simulation.outcome().remotes[0].open);
        // Six deviations of a Poisson number.
        assert!((open - 5000.0).abs() < 6.0 * 5000_f64.sqrt(), "{open} open");
    }
    let outcome = simulation.outcome();
    assert_eq!(outcome.refused_share(), Some(0.0));
    assert_eq!(outcome.asked, outcome.opened);
    assert!((outcome.time_s - 200.0).abs() < 0.1);
}

/// Azure holds a port for 65 s after a FIN, and its entry for 1 s: 64,512 ports bear so many a second, and half as many again are refused.
#[test]
fn what_is_refused_is_what_the_ports_cannot_bear() {
    let mut gateway = behaviour("azure-natgw");
    gateway.ports.max_per_destination = 10_000;
    let sustainable = 10_000.0 / (1.0 + 1.0 + 65.0);
    let classes = [class(1, sustainable * 2.0, 1.0)];
    let setup = Setup {
        nodes: 10,
        pods: 1000,
        classes: &classes,
        node: None,
        gateway: Some((&gateway, 1)),
        empty: false,
        seed: 1,
    };
    let mut simulation = Simulation::new(&setup).unwrap();
    simulation.run_for(300.0);
    simulation.forget_counts();
    simulation.run_for(600.0);
    let outcome = simulation.outcome();
    let per_s = outcome.opened as f64 / 600.0;
    assert!((per_s / sustainable - 1.0).abs() < 0.02, "{per_s:.1} a second instead of {sustainable:.1}");
    assert_eq!(
        outcome.reasons().iter().map(|(reason, ..)| *reason).collect::<Vec<_>>(),
        [DropReason::DestinationLimit]
    );
    assert_eq!(outcome.refused()[1] + outcome.opened, outcome.asked);
}

#[test]
fn collection_at_intervals_costs_ports() {
    let mut exact = behaviour("cilium-bpf");
    exact.collection.mode = Collection::Exact;
    let periodic = behaviour("cilium-bpf");
    let classes = [class(1, 150.0, 1.0)];
    let entries = |node: &Behaviour| {
        let setup =
            Setup { nodes: 1, pods: 50, classes: &classes, node: Some(node), gateway: None, empty: false, seed: 1 };
        let mut simulation = Simulation::new(&setup).unwrap();
        simulation.run_for(900.0);
        simulation.outcome().node.unwrap()
    };
    let (exact, periodic) = (entries(&exact), entries(&periodic));
    // 150 a second for a second and ten more.
    assert!((1500..1900).contains(&exact.entries_max), "{}", exact.entries_max);
    assert!(periodic.entries_max > 5 * exact.entries_max, "{} and {}", periodic.entries_max, exact.entries_max);
    assert!(periodic.collections > 0 && exact.collections == 0);
}

/// Blocks of 64 ports per node (Google, static): a node with more connections to one destination than that has some refused.
#[test]
fn port_blocks_bind_by_node() {
    let gateway = behaviour("gcp-cloudnat-static");
    let classes = [class(1, 10.0, 100.0)];
    let refused = |nodes| {
        let setup = Setup {
            nodes,
            pods: 1000,
            classes: &classes,
            node: None,
            gateway: Some((&gateway, 2)),
            empty: false,
            seed: 1,
        };
        let mut simulation = Simulation::new(&setup).unwrap();
        simulation.run_for(300.0);
        simulation.outcome().refused_share().unwrap()
    };
    // 1,000 connections open and 1,200 in TIME_WAIT, on 5 or on 500 nodes.
    assert!(refused(5) > 0.5);
    assert!(refused(500) < 0.001);
}

#[test]
fn every_profile_can_stand_at_either_layer() {
    let classes = [class(3, 50.0, 2.0), Class { protocol: Protocol::Udp, ..class(2, 20.0, 1.0) }];
    for profile in Profile::names() {
        let behaviour = behaviour(profile);
        for (node, gateway) in
            [(Some(&behaviour), None), (None, Some((&behaviour, 2))), (Some(&behaviour), Some((&behaviour, 1)))]
        {
            let setup = Setup { nodes: 4, pods: 40, classes: &classes, node, gateway, empty: false, seed: 1 };
            let mut simulation = Simulation::new(&setup).unwrap();
            simulation.run(2000);
            let outcome = simulation.outcome();
            assert_eq!(outcome.asked, 2000);
            assert_eq!(outcome.opened + outcome.refused().iter().sum::<u64>(), 2000, "{profile}");
            let again = {
                let mut simulation = Simulation::new(&setup).unwrap();
                simulation.run(2000);
                simulation.outcome()
            };
            assert_eq!(outcome, again, "{profile}: the same seed, the same fleet");
        }
    }
}
