//! What the RFCs and MLRsearch ask for, from the file to the page: small, and with limits that a busy machine does not exceed.

use std::fs;

use natrig_bench::result::RunResult;
use natrig_bench::scenario::{FrameSize, Rate};
use serde_json::Value;

use super::sound;
use crate::support::harness::Outcome;
use crate::support::place::Place;

const RFC9693: &str = "\
test = \"rfc9693\"
designs = [\"both\"]
tests = [\"connection-establishment\", \"throughput\", \"frame-loss\", \"latency\", \"connection-tear-down\"]
repetitions = 1
confirm = 2
tuples = { connections = 100 }
establishment = { min_pps = 1000, max_pps = 4000, error = 0.5 }
phase2 = { trial_ms = 20, latency_ms = 30, error = 0.5 }
tear_down = { connections = [50] }
limits = { send_lag_p99_us = 4_000_000, overrun = 0.5, max_retries = 2 }
";

pub(crate) fn rfc9693_over_memory(place: &Place<'_>) -> Outcome {
    rfc9693(place, "memory");
    place.file("wrong.toml", &RFC9693.replace("confirm = 2", "confrim = 2"));
    let ended = place.run(["run", "wrong.toml"]);
    assert_eq!(ended.code, Some(2), "{ended}");
    assert!(ended.stderr.contains("wrong.toml:5:1") && ended.stderr.contains("did you mean `confirm`?"), "{ended}");
    Ok(())
}

pub(crate) fn rfc9693_over_veth(place: &Place<'_>) -> Outcome {
    rfc9693(place, "packet");
    Ok(())
}

fn rfc9693(place: &Place<'_>, link: &str) {
    place.file("rfc9693.toml", RFC9693);
    let ended = place.run(["run", "rfc9693.toml", "--link", link, "--out", "out"]);
    // A machine that stalls may leave a figure without a value: that is code 4, and said.
    assert!(matches!(ended.code, Some(0 | 4)), "{ended}");
    let told = ended.stdout;
    for words in ["connection establishment rate", "validated", "1st", "99th", "repetitions", "pseudorandom", "α = 0.5"]
    {
        assert!(told.contains(words), "no {words} in:\n{told}");
    }
    let result: Value = serde_json::from_str(&fs::read_to_string(place.join("out/result.json")).unwrap()).unwrap();
    assert_eq!((&result["test"], &result["status"]["state"]), (&"rfc9693".into(), &"complete".into()));
    let trials = result["measured"]["trials"].as_array().unwrap();
    assert!(!trials.is_empty());
    for phase in trials.iter().flat_map(|trial| ["phase1", "validation", "phase2"].map(|phase| &trial[phase])) {
        let count = |way: &str, what: &str| phase[way][what].as_u64().unwrap_or(0);
        let drops = phase["drops"].as_array().into_iter().flatten();
        let dropped: u64 = drops.map(|drop| drop["frames"].as_u64().unwrap()).sum();
        let sum = |what| count("out", what) + count("back", what);
        assert_eq!((sum("sent"), sum("wrong")), (sum("received") + dropped, 0), "{phase}");
    }
    assert_eq!(place.natrig(["report", "out"]).succeed(), told, "a report says what the run said");
}

/// NDR and PDR over several frame sizes, and RFC 2544's goal.
fn rates(method: &str) -> String {
    format!(
        "title = \"Rates\"\nquestion = \"Which?\"\ndesigns = [\"none\", \"both\"]\n\
         [traffic]\nflows = 64\nframe_size = [64, \"imix\"]\n\
         [limits]\nsend_lag_p99_us = 4_000_000\noverrun = 0.5\ndisturbed = 10.0\nmax_retries = 10\n\
         [measure]\nrounds = 1\ntrial_ms = 10\nlatency_ms = 10\n\
         [measure.search]\nmethod = \"{method}\"\nmin_pps = 1_000\nmax_pps = 8_000\nwidth = 0.5\ninitial_trial_ms = 10\n\
         duration_sum_ms = 20\nbudget_s = 5\n"
    )
}

pub(crate) fn rates_over_memory(place: &Place<'_>) -> Outcome {
    both_methods(place, "memory");
    Ok(())
}

pub(crate) fn rates_over_veth(place: &Place<'_>) -> Outcome {
    both_methods(place, "packet");
    Ok(())
}

/// A name of CSIT's in place of a file.
pub(crate) fn suites(place: &Place<'_>) -> Outcome {
    let name = "nat44-h4-p63-s252-cps-ndr";
    let arguments = ["--link", "memory", "--rounds", "1", "--design", "none,both", "--json", "--out", "out"];
    let ended = place.run([&["run", name][..], &arguments].concat());
    assert!(matches!(ended.code, Some(0 | 4)), "{ended}");
    let result: RunResult = sound::result(&ended.stdout);
    let scenario = &result.scenario;
    assert_eq!((&scenario.title[..], scenario.topology.pods.count, scenario.traffic.flows), (name, 4, 252));
    assert_eq!(scenario.measure.connections, 252);
    // A session of a few microseconds is late on a busy machine, and then it is no figure.
    let rates = result.designs.iter().filter_map(|design| design.connections_per_s);
    assert!(rates.clone().all(|rate| rate.median >= 1000.0), "{:?}", rates.collect::<Vec<_>>());
    assert!(place.natrig(["report", "out"]).succeed().contains(&format!("suite {name}")));
    let ended = place.run(["run", "nat44-h4-p63-s252-cps-pdr"]);
    assert_eq!(ended.code, Some(2), "{ended}");
    assert!(ended.stderr.contains("cps-ndr can be run"), "{ended}");
    Ok(())
}

fn both_methods(place: &Place<'_>, link: &str) {
    for method in ["mlrsearch", "rfc2544"] {
        place.file("rates.toml", &rates(method));
        let ended = place.run(["run", "rates.toml", "--link", link, "--json", "--out", method]);
        assert!(matches!(ended.code, Some(0 | 4)), "{ended}");
        let result: RunResult = sound::result(&ended.stdout);
        sound::complete(&result, &place.join(method));
        let Rate::Mlrsearch(search) = result.scenario.measure.rate else { panic!("{:?}", result.scenario.measure) };
        // NDR and PDR, or RFC 2544's goal alone.
        let goals = if search.pdr_loss_ratio > 0.0 { 2 } else { 1 };
        assert_eq!((goals, search.exceed_ratio > 0.0), if method == "rfc2544" { (1, false) } else { (2, true) });
        assert_eq!(result.searches.len(), 2 * 2, "a search for each design and frame size");
        for search in &result.searches {
            assert_eq!(search.goals.len(), goals, "{search:?}");
        }
        let sizes: Vec<FrameSize> = result.scenario.traffic.frame_sizes.clone();
        assert!(sizes.iter().all(|size| result.designs.iter().any(|design| design.frame_size == *size)));
    }
}
