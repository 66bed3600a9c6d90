//! What must hold of any result, however the run went.

use std::collections::HashSet;
use std::fs;
use std::net::SocketAddrV4;
use std::path::Path;
use std::sync::OnceLock;

use jsonschema::Validator;
use natrig_bench::result::{RunResult, TcpCheck, Trial};
use natrig_bench::scenario::{Design, Scenario};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads a result and holds it against the published schema, and its trials against their own books.
pub(crate) fn result(text: &str) -> RunResult {
    let value: Value = serde_json::from_str(text).unwrap();
    holds(schema(), &value);
    let result: RunResult = serde_json::from_value(value).unwrap();
    for trial in &result.trials {
        conserved(trial);
    }
    for check in &result.tcp_checks {
        client_is_seen_right(check, &result.scenario);
    }
    result
}

/// Reads the result in a run's directory.
pub(crate) fn written(directory: &Path) -> RunResult {
    result(&fs::read_to_string(directory.join("result.json")).unwrap())
}

/// All that a run was asked for is there.
pub(crate) fn complete(result: &RunResult, directory: &Path) {
    let scenario = &result.scenario;
    let checked: HashSet<_> = result.tcp_checks.iter().map(|check| (check.design, check.engines.to_string())).collect();
    assert_eq!(checked.len(), scenario.designs.len() * scenario.lineups().len(), "{checked:?}");
    let cell = |trial: &Trial| (trial.round, trial.design, trial.engines.to_string(), trial.frame_size.to_string());
    let cells: HashSet<_> = result.trials.iter().map(cell).collect();
    let summaries = scenario.designs.len() * scenario.lineups().len() * scenario.traffic.frame_sizes.len();
    assert_eq!(cells.len(), scenario.measure.rounds as usize * summaries, "{cells:?}");
    let numbers: Vec<u32> = result.trials.iter().map(|trial| trial.number).collect();
    assert_eq!(numbers, (1..=numbers.len() as u32).collect::<Vec<_>>());
    assert_eq!(result.designs.len(), summaries);
    let summary = fs::read_to_string(directory.join("summary.md")).unwrap();
    assert!(summary.contains(&scenario.title), "{summary}");
    for design in &scenario.designs {
        assert!(summary.contains(&design.to_string()), "no {design} in:\n{summary}");
    }
}

/// Sent = received + faulty + dropped, by our own sum, and no frame came out wrong.
fn conserved(trial: &Trial) {
    let what = || format!("{trial:#?}");
    let answered = trial.answers.as_ref().map_or(0, |answers| answers.sent);
    let back = trial.answers.as_ref().map_or(0, |a| a.received + a.corrupted + a.mistranslated);
    let there = trial.received + trial.corrupted + trial.mistranslated;
    let dropped: u64 = trial.drops.iter().map(|drop| drop.frames).sum();
    assert_eq!(trial.sent + answered, there + back + dropped, "{}", what());
    assert_eq!(trial.unaccounted, 0, "{}", what());
    assert!(trial.drops.iter().all(|drop| drop.frames > 0 && !drop.reason.is_empty()), "{}", what());
    assert_eq!(trial.lost, trial.sent.cast_signed() - trial.received.cast_signed(), "{}", what());
    let wrong = trial.answers.as_ref().map_or(0, |answers| answers.corrupted + answers.mistranslated);
    assert_eq!((trial.corrupted, trial.mistranslated, wrong), (0, 0, 0), "{}", what());
    assert!(trial.wrong_frame.is_none(), "{}", what());
}

/// The servers see a pod's own address and port, the node's address, or the gateway's.
fn client_is_seen_right(check: &TcpCheck, scenario: &Scenario) {
    assert!(check.passed && check.failure.is_none() && check.bytes > 0, "{check:?}");
    let seen: SocketAddrV4 = check.client_seen.as_ref().unwrap().parse().unwrap();
    let topology = &scenario.topology;
    match check.design {
        Design::None => assert_eq!(seen, SocketAddrV4::new(topology.pods.first, scenario.traffic.src_ports.first)),
        Design::Node => assert!(topology.node.addresses.contains(seen.ip()), "{check:?}"),
        Design::Gateway | Design::Both => assert!(topology.gateway.addresses.contains(seen.ip()), "{check:?}"),
    }
}

/// Reads the record of another test and holds it against the schema of that name.
pub(crate) fn record<T: DeserializeOwned>(text: &str, schema: &str) -> T {
    let value: Value = serde_json::from_str(text).unwrap();
    holds(&validator(schema), &value);
    serde_json::from_value(value).unwrap()
}

fn holds(schema: &Validator, value: &Value) {
    let errors: Vec<String> =
        schema.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "it is not as the schema says: {errors:#?}");
}

fn schema() -> &'static Validator {
    static SCHEMA: OnceLock<Validator> = OnceLock::new();
    SCHEMA.get_or_init(|| validator("result.schema.json"))
}

fn validator(name: &str) -> Validator {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    let text = fs::read_to_string(path).unwrap();
    jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap()
}
