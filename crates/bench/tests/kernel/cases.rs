//! The cases. None of them depends on how fast the machine is.

use std::env;
use std::fs;
use std::process::Command;
use std::sync::atomic::AtomicBool;

use natrig_bench::result::{Invalid, LinkFacts, NO_TAP, Place, Program, Purpose, Role, RunResult, Status, Tap, Trial};
use natrig_bench::scenario::{
    Design, Engine, FrameMix, FrameSize, KernelAddress, KernelWork, Lineup, PortRange, Rate, Scenario, TrafficDirection,
};
use natrig_bench::{Carrier, Engines, Observer, OpenLink, RunError, WorldError, environment, plan, run};
use natrig_lab::nft;
use natrig_lab::plan::PortChoice;
use natrig_lab::privilege;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;

const KERNEL: Lineup = Lineup::both(Engine::Nftables);

/// Enters what it takes; where nothing helps, ends the case with the reason.
fn enter_or_skip() {
    if let Some(why) = privilege::enter().why_memory() {
        skip(&why);
    }
    if nft::find().is_none() {
        skip(&nft::NftError::Missing.to_string());
    }
}

fn skip(why: &str) -> ! {
    println!("{why}");
    std::process::exit(crate::SKIPPED.into());
}

/// Small, slow traffic under gates that only a standstill trips.
fn scenario() -> Scenario {
    let mut scenario = Scenario::quick();
    scenario.traffic.flows = 60;
    scenario.measure.rounds = 1;
    scenario.measure.trial_ms = 20;
    scenario.measure.latency_ms = 20;
    scenario.measure.rate = Rate::FixedPps(10_000);
    scenario.measure.time_limit_s = 600;
    scenario.limits.send_lag_p99_us = 4_000_000;
    scenario.limits.overrun = 0.5;
    scenario.limits.disturbed = 10.0;
    scenario.limits.max_retries = 10;
    scenario
}

struct Nobody;

impl Observer for Nobody {
    fn phase(&mut self, _: &str) {}
    fn trial(&mut self, _: &Trial, _: f64) {}
    fn result(&mut self, _: &RunResult) {}
}

fn by_rule() -> Carrier {
    Carrier::Veth(vec![OpenLink::Ring, OpenLink::Packet])
}

fn measure(scenario: &Scenario) -> Result<RunResult, RunError> {
    let result = measure_over(scenario, &by_rule())?;
    assert_eq!(result.warnings, Vec::<String>::new());
    Ok(result)
}

fn measure_over(scenario: &Scenario, carrier: &Carrier) -> Result<RunResult, RunError> {
    let plan = plan(scenario, &Engines::new(scenario)?).unwrap();
    let program = Program { version: "0".to_owned(), commit: None, profile: "debug".to_owned() };
    let environment = environment("", None, plan);
    let mut result =
        RunResult::begun(program, "2026-01-01T00:00:00Z".to_owned(), Vec::new(), environment, scenario.clone());
    run(scenario, carrier, &mut result, &mut Nobody, &AtomicBool::new(false))?;
    assert_eq!(result.status, Status::Complete);
    Ok(result)
}

/// What must hold of every trial: each frame right or accounted for, and no reason against it but a disturbance.
fn check(result: &RunResult) {
    assert!(!result.trials.is_empty());
    for trial in &result.trials {
        assert_eq!(
            (trial.unaccounted, trial.mistranslated, trial.corrupted, trial.duplicated),
            (0, 0, 0, 0),
            "{trial:?}"
        );
        assert!(trial.invalid.iter().all(|why| why.is_disturbance()), "{trial:?}");
        if trial.received > 0 {
            assert!(trial.cpu_ns_per_packet.is_some_and(|ns| ns > 0.0), "{trial:?}");
        }
    }
    check_hops(result);
    for check in &result.tcp_checks {
        assert!(check.passed, "{check:?}");
    }
}

/// Where trials were stamped, there is a time for each layer, whoever stands there; or it is said why there is not.
fn check_hops(result: &RunResult) {
    let untapped = |place: Place| {
        let word = format!("{NO_TAP} {place}, where the kernel forwards: ");
        result.environment.link.notes.iter().any(|note| note.starts_with(&word))
    };
    for trial in result.trials.iter().filter(|trial| trial.stamped && trial.received > 0) {
        let Lineup { node, gateway } = trial.engines;
        let layers = [(Place::Node, node, Tap::NodeIn), (Place::Gateway, gateway, Tap::GatewayIn)];
        let tapped = layers.map(|(place, engine, tap)| {
            (tap, engine != Engine::Absent && !(engine == Engine::Nftables && untapped(place)))
        });
        let hops = trial.hops.as_ref().unwrap();
        for (tap, tapped) in tapped {
            let leg = hops.legs.iter().find(|leg| leg.from == tap);
            assert_eq!(leg.is_some(), tapped, "{tap:?} {hops:?}");
            // Two readings of a clock and what lies between them.
            assert!(leg.is_none_or(|leg| leg.time.ns_p50.is_some_and(|ns| ns > 1)), "{leg:?}");
        }
        assert_eq!((hops.one_in, hops.samples), (1, trial.received), "a frame that some tap has missed");
    }
}

pub(crate) fn both_engines_in_one_run() {
    enter_or_skip();
    let mut scenario = scenario();
    scenario.engines = vec![Engine::Nftables, Engine::Userspace];
    scenario.traffic.direction = TrafficDirection::Both;
    scenario.traffic.frame_sizes = vec![FrameSize::Bytes(64), FrameSize::Mix(FrameMix::Imix)];
    let result = measure(&scenario).unwrap();
    check(&result);
    assert_eq!(
        (result.designs.len(), result.tcp_checks.len(), result.costs.len(), result.comparisons.len()),
        (16, 8, 4, 8)
    );
    for trial in &result.trials {
        assert!(trial.received > 0 && trial.answers.as_ref().is_some_and(|answers| answers.received > 0), "{trial:?}");
        let stages = trial.cpu.iter().filter(|time| matches!(time.role, Role::Node | Role::Gateway)).count();
        assert_eq!((stages, trial.layer_times.len()), if trial.engines == KERNEL { (0, 0) } else { (2, 2) });
        let remembered: Vec<(Place, u32)> =
            trial.kernel.iter().map(|kernel| (kernel.place, kernel.connections)).collect();
        let flows = |translates| if translates { 60 } else { 0 };
        let expected = [
            (Place::Node, flows(trial.design.translates_at_node())),
            (Place::Gateway, flows(trial.design.translates_at_gateway())),
        ];
        assert_eq!(remembered, if trial.engines == KERNEL { &expected[..] } else { &[] }, "{trial:?}");
    }
    // In random order, so not one engine after the other.
    let switches = result.trials.windows(2).filter(|pair| pair[0].engines != pair[1].engines).count();
    assert!(switches > 1, "{switches}");
    assert_eq!(result.environment.kernel.len(), 2);
    let timeout = &result.environment.kernel[0].settings["net.netfilter.nf_conntrack_udp_timeout"];
    assert_eq!(timeout, "3600");
    assert!(result.environment.plan.iter().any(|line| line == "nat       gateway:outside: masquerade"));
}

pub(crate) fn an_engine_at_each_layer() {
    enter_or_skip();
    for (node, gateway) in [(Engine::Userspace, Engine::Nftables), (Engine::Nftables, Engine::Userspace)] {
        let mut scenario = scenario();
        (scenario.node.engine, scenario.gateway.engine) = (node, gateway);
        scenario.traffic.direction = TrafficDirection::Both;
        for layer in [&mut scenario.node, &mut scenario.gateway] {
            layer.ports = PortChoice::FullyRandom;
            layer.port_range = Some(PortRange { first: 20_000, last: 29_999 });
        }
        scenario.gateway.nat = KernelAddress::Snat;
        scenario.topology.gateway.addresses =
            [[198, 51, 100, 8], [198, 51, 100, 10], [198, 51, 100, 11]].map(Into::into).to_vec();
        let result = measure(&scenario).unwrap();
        check(&result);
        let lineup = Lineup { node, gateway };
        assert!(result.trials.iter().all(|trial| trial.engines == lineup && trial.received > 0));
        let kernel_at = if node == Engine::Nftables { Place::Node } else { Place::Gateway };
        for trial in &result.trials {
            let translates = if kernel_at == Place::Node {
                trial.design.translates_at_node()
            } else {
                trial.design.translates_at_gateway()
            };
            assert_eq!(trial.kernel.len(), 1);
            let expected = (kernel_at, if translates { 60 } else { 0 });
            assert_eq!((trial.kernel[0].place, trial.kernel[0].connections), expected, "{trial:?}");
        }
    }
}

/// The kernel's threads take over what the tester sends.
pub(crate) fn the_kernel_in_threads_of_its_own() {
    enter_or_skip();
    let mut scenario = scenario();
    scenario.engines = vec![Engine::Nftables];
    scenario.link.kernel = KernelWork::Threads;
    scenario.traffic.direction = TrafficDirection::Both;
    let result = match measure_over(&scenario, &by_rule()) {
        Err(error) if error.to_string().contains("NAPI in threads") => skip(&error.to_string()),
        outcome => outcome.unwrap(),
    };
    check(&result);
    let not_pinned = |warning: &String| warning.contains("are not pinned to core");
    assert!(result.warnings.iter().all(not_pinned), "{:?}", result.warnings);
    for trial in &result.trials {
        assert!(trial.received > 0, "{trial:?}");
        // A kernel that does not tell its threads does not tell their time, either.
        if let Some(napi) = trial.cpu.iter().find(|time| time.role == Role::Napi) {
            assert!(napi.busy_ns > 0, "{trial:?}");
        }
    }
}

/// An XDP program joins the gateway's interfaces, inside the sender's calls and in threads; the generator is its neighbour.
pub(crate) fn nobody_forwards_at_the_gateway() {
    enter_or_skip();
    for work in [KernelWork::Inline, KernelWork::Threads] {
        let mut scenario = scenario();
        (scenario.node.engine, scenario.gateway.engine) = (Engine::Absent, Engine::Redirect);
        scenario.designs = vec![Design::None];
        scenario.link.kernel = work;
        scenario.traffic.direction = TrafficDirection::Both;
        let result = match measure_over(&scenario, &by_rule()) {
            Err(error) if error.to_string().contains("failed to open") => skip(&error.to_string()),
            Err(error) if error.to_string().contains("NAPI in threads") => skip(&error.to_string()),
            outcome => outcome.unwrap(),
        };
        check(&result);
        for trial in &result.trials {
            assert!(trial.received > 0 && trial.layer_times.is_empty(), "{trial:?}");
            assert_eq!(trial.answers.as_ref().unwrap().received, trial.received);
        }
    }
}

/// Set where a case runs in a time namespace.
const OTHER_TIME: &str = "NATRIG_TEST_OTHER_TIME";

/// A process whose clock is a microsecond ahead of that of the kernel's programs.
pub(crate) fn a_tap_by_another_clock() {
    if env::var_os(OTHER_TIME).is_none() {
        if !geteuid().is_root() {
            skip("no taps in the kernel without privileges outside of user namespaces");
        }
        // `CLONE_NEWTIME` of `linux/sched.h`: for processes that this one starts (time_namespaces(7)).
        if let Err(why) = unshare(CloneFlags::from_bits_retain(0x80)) {
            skip(&format!("no time namespace: {why}"));
        }
        fs::write("/proc/self/timens_offsets", "monotonic 0 1000").unwrap();
        let mut again = Command::new(env::current_exe().unwrap());
        let status = again.args(["--case", "a_tap_by_another_clock"]).env(OTHER_TIME, "1").status().unwrap();
        std::process::exit(status.code().unwrap_or(1));
    }
    enter_or_skip();
    let mut scenario = scenario();
    scenario.engines = vec![Engine::Nftables];
    scenario.designs = vec![Design::Gateway];
    scenario.limits.max_retries = 0;
    let result = measure_over(&scenario, &by_rule()).unwrap();
    if result.environment.link.notes.iter().any(|note| note.starts_with(NO_TAP)) {
        skip("no taps in the kernel here");
    }
    let mut stamped = result.trials.iter().filter(|trial| trial.stamped).peekable();
    assert!(stamped.peek().is_some());
    for trial in stamped {
        for layer in [Place::Node, Place::Gateway] {
            let off = |why: &Invalid| matches!(why, Invalid::TapClock { place, off_ns: 1..=1000 } if *place == layer);
            assert!(trial.invalid.iter().any(off), "{:?}", trial.invalid);
        }
    }
}

pub(crate) fn the_fastest_links_are_taken() {
    enter_or_skip();
    let mut scenario = scenario();
    scenario.designs = vec![Design::Both];
    scenario.measure.latency_ms = 0;
    let kinds = vec![OpenLink::Ring, OpenLink::Xdp, OpenLink::Packet, OpenLink::PacketBlocks];
    let result = measure_over(&scenario, &Carrier::Fastest(kinds)).unwrap();
    check(&result);
    assert!(result.trials.iter().all(|trial| trial.purpose != Purpose::Latency));
    let LinkFacts { kind, candidates, .. } = &result.environment.link;
    assert_eq!(candidates.len(), 4);
    assert!(candidates.iter().all(|candidate| candidate.rate_pps.is_some() != candidate.refused.is_some()));
    let rates: Vec<f64> = candidates.iter().map(|candidate| candidate.rate_pps.unwrap_or(0.0)).collect();
    assert!(rates.is_sorted_by(|a, b| a >= b), "{rates:?}");
    assert_eq!(candidates.iter().map(|candidate| candidate.taken).collect::<Vec<_>>(), [true, false, false, false]);
    assert!(candidates[0].kind.starts_with(kind), "{kind} {candidates:?}");
    // Both ways of AF_PACKET are there for whoever can be here.
    assert!(rates.iter().filter(|rate_pps| **rate_pps > 0.0).count() >= 2, "{candidates:?}");
}

pub(crate) fn every_kind_of_link_accounts_for_every_frame() {
    enter_or_skip();
    let mut scenario = scenario();
    scenario.designs = vec![Design::Both];
    scenario.traffic.direction = TrafficDirection::Both;
    scenario.traffic.frame_sizes = vec![FrameSize::Mix(FrameMix::Imix)];
    let kinds = [OpenLink::Packet, OpenLink::PacketBlocks, OpenLink::Pnet, OpenLink::Xdp, OpenLink::Ring];
    for how in kinds {
        match measure_over(&scenario, &Carrier::Veth(vec![how])) {
            Ok(result) => {
                check(&result);
                assert!(result.trials.iter().any(|trial| trial.received > 0), "{how:?}");
            }
            Err(RunError::World(WorldError::Links(error))) if matches!(how, OpenLink::Xdp | OpenLink::Ring) => {
                println!("{how:?}: {error}");
            }
            Err(error) => panic!("{how:?}: {error}"),
        }
    }
}

/// Ten ports for thirty flows: for twenty of them the kernel finds none.
pub(crate) fn what_the_kernel_drops_is_accounted_for() {
    enter_or_skip();
    let mut scenario = scenario();
    scenario.engines = vec![Engine::Nftables];
    scenario.designs = vec![Design::Gateway];
    scenario.topology.internet.server_count = 1;
    scenario.traffic.flows = 30;
    scenario.gateway.port_range = Some(PortRange { first: 5000, last: 5009 });
    scenario.limits.max_retries = 0;
    let result = measure(&scenario).unwrap();
    check(&result);
    let trial = &result.trials[0];
    let preload = trial.preload.unwrap();
    assert_eq!((preload.sent, preload.received), (30, 10), "{trial:?}");
    let [drop] = &trial.drops[..] else { panic!("{trial:?}") };
    assert_eq!((drop.place, drop.reason.as_str()), (Place::Gateway, "conntrack_insert_failed"));
    assert_eq!(drop.frames, trial.sent - trial.received);
    assert_eq!(trial.kernel[0].place, Place::Node);
    assert_eq!((trial.kernel[1].connections, trial.kernel[1].counters.conntrack.insert_failed), (10, drop.frames));
}

pub(crate) fn more_flows_than_the_kernel_tracks() {
    enter_or_skip();
    let limit = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max").ok();
    let Some(limit) = limit.and_then(|text| text.trim().parse::<u32>().ok()).filter(|limit| *limit < 1 << 20) else {
        skip("the kernel tracks as many connections as any scenario can ask for, or does not tell");
    };
    let mut scenario = scenario();
    scenario.engines = vec![Engine::Nftables];
    scenario.designs = vec![Design::Gateway];
    scenario.topology.internet.server_count = 20;
    scenario.traffic.flows = limit;
    match measure(&scenario) {
        Err(error) => {
            assert!(error.is_environment(), "{error}");
            assert!(error.to_string().contains("sysctl -w net.netfilter.nf_conntrack_max="), "{error}");
        }
        Ok(_) => skip("on this kernel each namespace has a limit of its own"),
    }
}
