//! TCP, from the file to the page.

use std::fs;

use serde_json::Value;

use crate::support::harness::Outcome;
use crate::support::place::Place;

/// Rates that any machine carries, and limits that a busy one does not exceed.
const SMALL: &str = "\
test = \"tcp\"
rounds = 1
designs = [\"none\", \"both\"]
rate = { connections = 300, min_cps = 1000, max_cps = 4000, error = 0.5 }
churn = { background = 50, connections = 200, keepalives_per_s = 2000 }
transfer = { flows = 2, bytes = 100_000, loss_ppm = 10_000, repeats = 1, rto_min_ms = 20, patience_s = 120 }
limits = { send_lag_p99_us = 4_000_000, overrun = 0.5, max_retries = 10 }
";

pub(crate) fn over_memory(place: &Place<'_>) -> Outcome {
    let result = measured(place, &["--link", "memory"]);
    for churn in result["measured"]["churns"].as_array().unwrap() {
        let later = churn["entries_later"].as_array().unwrap();
        assert!(later.iter().all(|table| table["entries"] == 0), "{churn}");
    }
    place.file("wrong.toml", &SMALL.replace("flows = 2", "flow = 2"));
    let ended = place.run(["run", "wrong.toml"]);
    assert_eq!(ended.code, Some(2), "{ended}");
    assert!(ended.stderr.contains("wrong.toml:6:14") && ended.stderr.contains("did you mean `flows`?"), "{ended}");
    Ok(())
}

pub(crate) fn over_veth(place: &Place<'_>) -> Outcome {
    measured(place, &[]);
    Ok(())
}

/// Runs it, and checks what holds of every result.
fn measured(place: &Place<'_>, options: &[&str]) -> Value {
    place.file("tcp.toml", SMALL);
    let ended = place.run(["run", "tcp.toml", "--out", "out"].iter().chain(options));
    // A machine that stalls may leave a figure without a value: that is code 4, and said.
    assert!(matches!(ended.code, Some(0 | 4)), "{ended}");
    let told = ended.stdout;
    for words in ["opened and closed", "Connections that were to live through churn", "Flows between real stacks"] {
        assert!(told.contains(words), "no {words} in:\n{told}");
    }
    let result: Value = serde_json::from_str(&fs::read_to_string(place.join("out/result.json")).unwrap()).unwrap();
    assert_eq!((&result["test"], &result["status"]["state"]), (&"tcp".into(), &"complete".into()));
    for trial in result["measured"]["trials"].as_array().unwrap() {
        assert_eq!((&trial["wrong"], &trial["unaccounted"]), (&0.into(), &0.into()), "{trial}");
    }
    assert_eq!(place.natrig(["report", "out"]).succeed(), told, "a report says what the run said");
    result
}
