//! Whole runs over links in memory: what a run leaves behind, whatever the machine is busy with.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::sync::atomic::{AtomicBool, Ordering};

use natrig_bench::result::{Place, Program, Purpose, RunResult, Status, Trial};
use natrig_bench::scenario::{
    Design, Engine, FrameMix, FrameSize, MlrSearch, Placement, Rate, Scenario, Search, TrafficDirection,
};
use natrig_bench::search::Irregular;
use natrig_bench::{Carrier, Observer, environment, run};
use natrig_traffic::Arrivals;

/// More frames than any of these sessions has under way.
const SLOTS: u32 = 1 << 16;

const ALL: [Design; 4] = [Design::None, Design::Node, Design::Gateway, Design::Both];

/// Counts what it is told, and calls the run off after some trials.
#[derive(Default)]
struct Watcher<'a> {
    trials: u32,
    results: u32,
    longest: usize,
    cancel_after: Option<(u32, &'a AtomicBool)>,
}

impl Observer for Watcher<'_> {
    fn phase(&mut self, _: &str) {}

    fn trial(&mut self, _: &Trial, done: f64) {
        assert!((0.0..=1.0).contains(&done));
        self.trials += 1;
        if let Some((after, cancel)) = self.cancel_after
            && self.trials >= after
        {
            cancel.store(true, Ordering::Relaxed);
        }
    }

    fn result(&mut self, result: &RunResult) {
        self.results += 1;
        self.longest = self.longest.max(result.trials.len());
    }
}

/// Little traffic under gates that nothing trips, over rings that hold all of it: these tests are about accounting, and whether the machine
/// stands still meanwhile must not matter.
fn scenario() -> Scenario {
    let mut scenario = Scenario::quick();
    scenario.traffic.flows = 50;
    scenario.measure.rounds = 2;
    scenario.measure.trial_ms = 10;
    scenario.measure.latency_ms = 20;
    scenario.measure.rate = Rate::FixedPps(20_000);
    scenario.measure.time_limit_s = 600;
    scenario.limits.send_lag_p99_us = u32::MAX;
    scenario.limits.overrun = f64::MAX;
    scenario.limits.disturbed = f64::MAX;
    scenario.limits.max_retries = 0;
    scenario.link.slots = Some(SLOTS);
    scenario
}

fn blank(scenario: &Scenario) -> RunResult {
    let program = Program { version: "0".to_owned(), commit: None, profile: "debug".to_owned() };
    let environment = environment("memory", None, Vec::new());
    RunResult::begun(program, "2026-01-01T00:00:00Z".to_owned(), Vec::new(), environment, scenario.clone())
}

fn measure(scenario: &Scenario) -> RunResult {
    let mut result = blank(scenario);
    let mut watcher = Watcher::default();
    run(scenario, &Carrier::Memory, &mut result, &mut watcher, &AtomicBool::new(false)).unwrap();
    assert_eq!(watcher.trials as usize, result.trials.len());
    assert!(watcher.results > watcher.trials, "the result is handed out after every trial and at the end");
    assert_eq!(watcher.longest, result.trials.len());
    result
}

/// What must hold of every trial, whatever the machine did to it.
fn check(result: &RunResult) {
    assert!(!result.trials.is_empty());
    for (index, trial) in result.trials.iter().enumerate() {
        assert_eq!(trial.number as usize, index + 1);
        assert_eq!(
            (trial.unaccounted, trial.mistranslated, trial.corrupted, trial.duplicated),
            (0, 0, 0, 0),
            "{trial:?}"
        );
        let dropped: u64 = trial.drops.iter().map(|drop| drop.frames).sum();
        if trial.answers.is_none() {
            assert_eq!(trial.sent, trial.received + dropped, "{trial:?}");
        }
        let opened =
            result.loads.iter().find(|load| load.trial == trial.number).map_or(0, |load| load.new.send_lag.samples);
        assert_eq!(trial.latency.intended_to_received.samples + opened, trial.received);
        assert_eq!(trial.latency.send_lag.samples + opened, trial.sent);
    }
}

#[test]
fn a_fixed_rate_over_all_designs() {
    let scenario = scenario();
    let result = measure(&scenario);
    check(&result);
    assert_eq!(result.status, Status::Complete);
    let passed: Vec<(Design, bool)> = result.tcp_checks.iter().map(|check| (check.design, check.passed)).collect();
    assert_eq!(passed, ALL.map(|design| (design, true)));
    assert_eq!(result.designs.len(), 4);
    for round in 1..=2 {
        for design in ALL {
            let purposes: Vec<Purpose> = result
                .trials
                .iter()
                .filter(|trial| (trial.round, trial.design) == (round, design))
                .map(|trial| trial.purpose)
                .collect();
            assert!(purposes.contains(&Purpose::Fixed) && purposes.contains(&Purpose::Latency), "{round} {design}");
        }
    }
    assert_eq!(result.costs.len(), 1);
}

/// One thread sends, moves and receives; also where the generator stands in the node's place.
#[test]
fn everything_in_one_thread() {
    let mut scenario = scenario();
    scenario.link.placement = Placement::RunToCompletion;
    scenario.traffic.direction = TrafficDirection::Both;
    let result = measure(&scenario);
    check(&result);
    let [thread] = &result.environment.placement[..] else { panic!("{:?}", result.environment.placement) };
    assert_eq!(thread.roles, ["generator", "reflector", "node", "gateway"]);
    scenario.node.engine = Engine::Absent;
    scenario.designs = vec![Design::None, Design::Gateway];
    let result = measure(&scenario);
    check(&result);
    for trial in &result.trials {
        assert!(trial.layer_times.iter().all(|time| time.place == Place::Gateway), "{trial:?}");
        assert!(trial.answers.as_ref().unwrap().received > 0);
    }
    assert!(result.tcp_checks.iter().all(|check| check.passed), "{:?}", result.tcp_checks);
}

#[test]
fn answers_come_back_through_both_layers() {
    let mut scenario = scenario();
    scenario.traffic.direction = TrafficDirection::Both;
    scenario.traffic.schedule = Arrivals::Poisson;
    let result = measure(&scenario);
    check(&result);
    for trial in &result.trials {
        let answers = trial.answers.as_ref().unwrap();
        assert_eq!((answers.mistranslated, answers.corrupted, answers.duplicated), (0, 0, 0), "{trial:?}");
        assert_eq!(answers.sent, trial.received);
        assert!(answers.received > 0);
    }
}

#[test]
fn frame_sizes_are_measured_each_on_its_own() {
    let mut scenario = scenario();
    scenario.designs = vec![Design::None, Design::Both];
    scenario.traffic.frame_sizes = vec![FrameSize::Bytes(64), FrameSize::Bytes(1518), FrameSize::Mix(FrameMix::Imix)];
    scenario.measure.rounds = 1;
    let result = measure(&scenario);
    check(&result);
    assert_eq!(result.designs.len(), 6);
    assert!(result.costs.is_empty(), "without all four designs there is no 2×2");
}

#[test]
fn a_search_ends_with_bounds_that_its_trials_bear_out() {
    let mut scenario = scenario();
    scenario.designs = vec![Design::Gateway];
    scenario.measure.rounds = 1;
    scenario.measure.rate =
        Rate::Search(Search { min_pps: 1000, max_pps: 100_000, precision: 0.2, confirm: 1, max_trials: 30 });
    let result = measure(&scenario);
    check(&result);
    let summary = &result.designs[0];
    if let Some(rate) = summary.rate_pps {
        let passed = |trial: &&Trial| trial.purpose == Purpose::Search && trial.is_valid() && trial.lost == 0;
        assert!(result.trials.iter().filter(passed).any(|trial| trial.rate_pps_offered == rate.median));
    }
}

/// A highest load that any machine forwards: the search ends there, says so, and says what it rests on.
#[test]
fn mlrsearch_writes_the_bounds_of_every_goal() {
    let mut scenario = scenario();
    scenario.designs = vec![Design::Gateway];
    scenario.measure.rounds = 1;
    scenario.measure.trial_ms = 20;
    let search =
        MlrSearch { min_pps: 1000, max_pps: 2000, initial_trial_ms: 20, duration_sum_ms: 60, ..MlrSearch::CSIT };
    scenario.measure.rate = Rate::Mlrsearch(search);
    let result = measure(&scenario);
    check(&result);
    let [search] = &result.searches[..] else { panic!("{:?}", result.searches) };
    assert_eq!(search.goals.iter().map(|found| found.goal.loss_ratio).collect::<Vec<f64>>(), [0.0, 0.005]);
    assert!(search.trials >= 2 && search.spent_ns == u64::from(search.trials) * 20_000_000, "{search:?}");
    for found in &search.goals {
        let Some(lower) = found.relevant_lower_pps else { continue };
        assert!(found.relevant_upper_pps.is_none_or(|upper| upper > lower), "{found:?}");
        assert_eq!(found.irregular == Some(Irregular::MaxLoadIsLower), lower == 2000.0, "{found:?}");
    }
    let rate = result.designs[0].rate_pps.map(|rate| rate.median);
    assert_eq!(rate, search.goals[0].relevant_lower_pps);
}

/// Every flow that is opened meanwhile is counted apart, once, and none of them stood before.
#[test]
fn latency_under_load_tells_new_flows_from_established_ones() {
    let mut scenario = scenario();
    scenario.designs = vec![Design::Both];
    scenario.measure.rounds = 1;
    scenario.measure.rate = Rate::FixedPps(20_000);
    scenario.measure.latency_ms = 100;
    scenario.measure.latency_loads = vec![0.0, 0.5];
    scenario.measure.new_flows = 20;
    let result = measure(&scenario);
    check(&result);
    assert_eq!(result.loads.iter().map(|load| load.load).collect::<Vec<f64>>(), [0.0, 0.5]);
    for (load, frames) in result.loads.iter().zip([100, 1000]) {
        let trial = &result.trials[load.trial as usize - 1];
        assert_eq!((trial.purpose, &trial.invalid[..]), (Purpose::Load, &[][..]));
        assert_eq!(trial.preload.unwrap().sent, u64::from(scenario.traffic.flows), "fresh tables each time");
        assert!(trial.tables.iter().all(|table| table.connections == 70), "{:?}", trial.tables);
        for samples in [load.new.intended_to_received, load.new.sent_to_received, load.new.send_lag] {
            assert_eq!(samples.samples, 20);
            assert!(samples.ns_p99.is_none(), "twenty samples have no 99th percentile");
        }
        let established = &load.established;
        for samples in [established.intended_to_received, established.sent_to_received, established.send_lag] {
            assert_eq!(samples.samples, frames - 20);
        }
    }
}

/// The 2×2 has the connection rate and the ports beside the rest; ports are counted, so they are known exactly where nothing limits them.
#[test]
fn the_costs_tell_connections_and_ports() {
    let mut scenario = scenario();
    scenario.measure.rounds = 1;
    scenario.measure.connections = 500;
    let result = measure(&scenario);
    check(&result);
    let ports = |design| {
        let summary = result.designs.iter().find(|summary| summary.design == design).unwrap();
        summary.usable_ports.unwrap().median
    };
    let [none, node, gateway, both] = ALL.map(ports);
    assert_eq!(none, f64::from(scenario.flows_to_one_server()));
    assert!(node < none && gateway < none && both <= node.min(gateway), "{node} {gateway} {both}");
    let effects = result.costs[0].usable_ports.as_ref().unwrap();
    assert_eq!(effects.interaction.median, both - node - gateway + none);
    for summary in &result.designs {
        assert!(summary.connections_per_s.is_none_or(|rate| rate.median >= 1000.0), "{summary:?}");
    }
}

/// Whatever the comparisons say, the looks are those that were planned, and a run that ends early has decided all of them.
#[test]
fn a_run_may_end_when_its_comparisons_are_decided() {
    let mut scenario = scenario();
    scenario.designs = vec![Design::None, Design::Both];
    scenario.measure.rounds = 10;
    (scenario.measure.first_look, scenario.measure.look_every) = (8, 1);
    let result = measure(&scenario);
    check(&result);
    let rounds = result.trials.iter().map(|trial| trial.round).max();
    let sequential = result.sequential.unwrap();
    assert_eq!((&sequential.planned[..], sequential.alpha), (&[8, 9, 10][..], 0.05));
    assert_eq!(sequential.looks.last().copied(), rounds);
    assert!(sequential.planned.starts_with(&sequential.looks), "{:?}", sequential.looks);
    assert_eq!(sequential.comparisons.len(), 1);
    assert_eq!(sequential.decided, rounds < Some(10));
}

#[test]
fn a_run_that_is_called_off_keeps_what_it_has() {
    let scenario = scenario();
    let (mut result, cancel) = (blank(&scenario), AtomicBool::new(false));
    let mut watcher = Watcher { cancel_after: Some((3, &cancel)), ..Watcher::default() };
    run(&scenario, &Carrier::Memory, &mut result, &mut watcher, &cancel).unwrap();
    assert_eq!((result.status.clone(), result.trials.len()), (Status::Interrupted, 3));
    check(&result);
}

/// More flows than the profile's ports to one destination: test phase 1 cannot give all of them a mapping, the layer and the reason are
/// named, and no such trial counts.
#[test]
fn flows_without_ports_are_refused_by_a_named_layer_and_void_the_trial() {
    let mut scenario = scenario();
    scenario.topology.internet.server_count = 1;
    scenario.traffic.flows = 40_000;
    scenario.designs = vec![Design::Node];
    scenario.measure.rounds = 1;
    scenario.measure.rate = Rate::FixedPps(400_000);
    scenario.measure.trial_ms = 100;
    let result = measure(&scenario);
    check(&result);
    let trial = &result.trials[0];
    assert!(!trial.is_valid());
    assert!(trial.preload.unwrap().received < 40_000);
    let refused = |drop: &natrig_bench::result::Dropped| drop.place == Place::Node && drop.reason == "ports_exhausted";
    assert!(trial.drops.iter().any(refused), "{:?}", trial.drops);
}
