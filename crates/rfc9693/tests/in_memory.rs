//! Every test over links in memory, at rates that any machine holds: what is counted must add up, and every field must be there.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use natrig_bench::environment;
use natrig_bench::result::{Program, Status};
use natrig_bench::scenario::Design;
use natrig_bench::test::{Record, RecordOf, Session, Test};
use natrig_lab::privilege;
use natrig_report::record;
use natrig_report::terminal::Options;
use natrig_rfc9693::Rfc9693;
use natrig_rfc9693::result::{Diagnosis, Quantity};
use natrig_rfc9693::scenario::{Kind, Scenario};

fn parse(text: &str) -> Scenario {
    let text = format!("test = \"rfc9693\"\n{text}");
    Rfc9693::read(&text, Path::new("test.toml"), &["cilium-bpf", "aws-natgw"])
        .unwrap_or_else(|f| panic!("{}", f.message))
}

fn measure(scenario: Scenario) -> RecordOf<Rfc9693> {
    let program = Program { version: "0".to_owned(), commit: None, profile: "debug".to_owned() };
    let environment = environment("memory", None, Vec::new());
    let record = Record::begun(Rfc9693::NAME, program, String::new(), scenario, environment);
    let (privilege, cancel) = (privilege::enter(), AtomicBool::new(false));
    let mut session =
        Session { record, privilege: &privilege, watcher: &mut (), cancel: &cancel, started: Instant::now() };
    let status = Rfc9693::run(&mut session).unwrap();
    session.record.status = status;
    session.record
}

const SLOW: &str = r#"
repetitions = 1
tuples = { connections = 400 }
establishment = { min_pps = 500, max_pps = 20_000, error = 0.5 }
phase2 = { trial_ms = 30, latency_ms = 60, error = 0.5 }
tear_down = { connections = [200] }
scaling = { connections = [200] }
limits = { send_lag_p99_us = 400_000, overrun = 0.5, max_retries = 10 }
link = { kind = "memory" }
"#;

/// Whatever the machine did meanwhile, every trial's account is closed and every figure is one of its trials'.
fn check(record: &RecordOf<Rfc9693>) {
    let measured = &record.measured;
    assert!(!measured.trials.is_empty());
    for trial in &measured.trials {
        let n = u64::from(trial.connections);
        for phase in trial.phases() {
            assert_eq!(phase.wrong(), 0, "{trial:?}");
            let dropped: u64 = phase.drops.iter().map(|drop| drop.frames).sum();
            assert_eq!(phase.lost(), dropped, "{trial:?}");
        }
        assert!(trial.phase1.out.sent <= n && trial.phase1.back.sent == 0, "{trial:?}");
        assert_eq!(trial.state_table, trial.phase1.out.received, "{trial:?}");
        match trial.diagnosis {
            Diagnosis::PhaseOneLoss => assert!(trial.validation.is_none() && trial.phase1.out.received < n),
            Diagnosis::AllValidated => assert_eq!(trial.validation.as_ref().unwrap().back.received, n),
            Diagnosis::ValidationLoss => assert!(trial.validation.as_ref().unwrap().back.received < n),
        }
        if trial.is_validated() && trial.design != Design::None {
            assert!(trial.tables.iter().all(|table| table.entries == n), "{trial:?}");
        }
    }
    for figure in &measured.figures {
        assert!(figure.percentile_1 <= figure.median && figure.median <= figure.percentile_99, "{figure:?}");
        assert!(figure.values.len() as u32 + figure.without <= record.scenario.repetitions);
    }
}

#[test]
fn every_test_runs_and_reports_what_the_rfc_asks_for() {
    let scenario = parse(&format!(
        "designs = [\"none\", \"both\"]\ntests = [\"connection-establishment\", \"throughput\", \"frame-loss\", \"latency\", \
         \"connection-tear-down\", \"scaling\"]\n{SLOW}"
    ));
    let record = measure(scenario);
    check(&record);
    assert_eq!(record.status, Status::Complete);
    let has = |quantity, design| {
        let of = |figure: &&natrig_rfc9693::result::Figure| figure.quantity == quantity && figure.design == design;
        record.measured.figures.iter().any(|figure| of(&figure))
    };
    for design in [Design::None, Design::Both] {
        assert!(has(Quantity::EstablishmentRate, design));
    }
    assert!(!has(Quantity::TearDownRate, Design::None), "no table, nothing to tear down");
    let torn_down = record.measured.figures.iter().filter(|figure| figure.quantity == Quantity::TearDownRate);
    assert!(torn_down.count() > 0);
    let page = record::markdown::<Rfc9693>(&record);
    for words in [
        "Maximum connection establishment rate",
        "median",
        "1st perc.",
        "99th perc.",
        "repetitions",
        "α = 0.5",
        "pseudorandom",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert!(record::terminal::<Rfc9693>(&record, Options::default()).contains("state table"));
    let json = serde_json::to_string(&record).unwrap();
    let again: RecordOf<Rfc9693> = serde_json::from_str(&json).unwrap();
    // Without the feature that makes floats come back to the last bit, only what is no float can be compared.
    assert_eq!(again.scenario.tuples, record.scenario.tuples);
    assert_eq!(again.measured.trials.len(), record.measured.trials.len());
}

/// A machine that stalls while the empty table is deleted, for comparison, leaves no rate.
#[test]
fn sessions_are_ended_and_gone_at_a_rate() {
    let scenario = parse(&format!(
        "designs = [\"both\"]\ntests = [\"connection-tear-down\"]\n{}",
        SLOW.replace("tear_down = { connections = [200] }", "tear_down = { connections = [2000] }")
    ));
    let measured = (0..8).any(|_| {
        let record = measure(scenario.clone());
        check(&record);
        let rate = record.measured.figures.iter().find(|figure| figure.quantity == Quantity::TearDownRate);
        rate.is_some_and(|figure| figure.without == 0 && figure.median > 0.0)
    });
    assert!(measured, "no rate");
}

/// A chain on each processor: all that each has is counted, and every connection is on exactly one of them.
#[test]
fn a_device_on_several_processors_has_its_connections_dealt_out() {
    let scenario = parse(&format!(
        "designs = [\"gateway\"]\ntests = [\"processors\"]\nprocessors = {{ counts = [1, 2, 16] }}\n{SLOW}"
    ));
    let record = measure(scenario);
    check(&record);
    assert_eq!(record.status, Status::Complete);
    let trials = &record.measured.trials;
    let counts: Vec<u32> = record.measured.figures.iter().map(|figure| figure.processors).collect();
    let there = std::thread::available_parallelism().map_or(1, usize::from) as u32;
    for count in [1, 2, 16] {
        assert_eq!(counts.contains(&count), count <= there, "{counts:?} of {there}");
    }
    let of = |count| trials.iter().filter(move |trial| trial.processors == count);
    for count in [1, 2].into_iter().filter(|count| *count <= there) {
        let all: Vec<u32> = of(count).map(|trial| trial.connections).collect();
        assert!(!all.is_empty() && (all.len() as u32).is_multiple_of(count));
        assert!(all.chunks(count as usize).all(|chains| chains.iter().sum::<u32>() == 400), "{all:?}");
    }
    let one = record.measured.figures.iter().filter(|figure| figure.processors == 1 && figure.without == 0);
    assert!(one.clone().all(|figure| figure.efficiency == Some(1.0)));
    let page = record::terminal::<Rfc9693>(&record, Options::default());
    assert!(page.contains("Scaling over processors") && page.contains("processors"), "{page}");
}

/// A profile with a table of 600 entries.
fn small(name: &str, builtin: &str) -> PathBuf {
    let at = builtin.find("\ncapacity = {").unwrap();
    let value = at + builtin[at..].find("value = ").unwrap() + "value = ".len();
    let end = value + builtin[value..].find(',').unwrap();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&file, format!("{}600{}", &builtin[..value], &builtin[end..])).unwrap();
    file
}

/// The least recently used entries make room for new ones, which then have the same ports to the same server: that is no fault.
#[test]
fn a_table_that_replaces_gives_ports_away_and_that_is_told_apart() {
    let profile = small("replaces.toml", include_str!("../../nat/profiles/cilium-bpf.toml"));
    let scenario = parse(&format!(
        "designs = [\"gateway\"]\ntests = [\"table-capacity\"]\ngateway = {{ profile = {profile:?} }}\n\
         topology = {{ internet = {{ server_count = 1 }} }}\n\
         capacity = {{ initial = 100, maximum = 3200, error = 50 }}\n{}",
        SLOW.replace("connections = 400", "connections = 100, src_ports = \"1024-1223\", dst_ports = \"1-1\"")
    ));
    let reached = (0..8).any(|_| {
        let record = measure(scenario.clone());
        let trials = &record.measured.trials;
        assert!(trials.iter().all(|trial| trial.wrong() == 0), "{trials:?}");
        trials.iter().any(|trial| trial.replaced() > 0)
    });
    assert!(reached, "no search overfilled the table");
}

/// A table of 600 entries, by a profile of its own: the search must end just below, whatever rates the machine holds.
#[test]
fn the_capacity_of_a_known_table_is_found() {
    let profile = small("keeps.toml", include_str!("../../nat/profiles/rfc4787.toml"));
    let scenario = parse(&format!(
        "designs = [\"gateway\"]\ntests = [\"table-capacity\"]\ngateway = {{ profile = {profile:?} }}\n\
         capacity = {{ initial = 100, maximum = 3200, error = 50 }}\n{SLOW}"
    ));
    // On a machine that stalls, the search may end before it comes near: what it says then is little, but must be true all the same.
    let reached = (0..8).any(|_| {
        let record = measure(scenario.clone());
        check(&record);
        let trials = &record.measured.trials;
        let held = trials.iter().filter(|trial| trial.is_validated()).map(|trial| trial.connections).max();
        assert!(held.is_none_or(|held| held <= 600), "more than there is room for: {held:?}");
        let capacity = record.measured.figures.iter().filter(|figure| figure.test == Kind::Capacity);
        assert!(capacity.flat_map(|figure| &figure.values).all(|value| *value <= 600.0), "{record:?}");
        trials.iter().any(|trial| trial.connections > 600)
    });
    assert!(reached, "no search came near the capacity");
}
