//! The toggle, from the file to the page.

use std::fs;

use serde_json::Value;

use crate::support::harness::Outcome;
use crate::support::place::Place;

const SMALL: &str = "\
test = \"toggle\"
[toggle]
observe_s = 60
[node]
count = 1
pods = 2
[gateway]
profiles = [\"aws-natgw\", \"netfilter\"]
";

pub(crate) fn toggle(place: &Place<'_>) -> Outcome {
    place.file("toggle.toml", SMALL);
    let told = place.natrig(["run", "toggle.toml", "--out", "out"]).succeed();
    for words in ["Behind aws-natgw", "Behind netfilter", "The answer", "breaks 100 % of the connections"] {
        assert!(told.contains(words), "no {words} in:\n{told}");
    }
    let result: Value = serde_json::from_str(&fs::read_to_string(place.join("out/result.json")).unwrap()).unwrap();
    assert_eq!(result["test"], "toggle");
    assert_eq!(result["status"]["state"], "complete");
    assert_eq!(result["measured"]["gateways"].as_array().unwrap().len(), 2);
    assert_eq!(place.natrig(["report", "out"]).succeed(), told, "a report says what the run said");
    assert!(fs::read_to_string(place.join("out/summary.md")).unwrap().starts_with("# toggle\n"));

    place.file("wrong.toml", &SMALL.replace("pods = 2", "pods = 2\nengine = \"ebpf\""));
    let ended = place.run(["run", "wrong.toml"]);
    assert_eq!(ended.code, Some(2), "{ended}");
    assert!(ended.stderr.contains("wrong.toml:7:10") && ended.stderr.contains("did you mean \"bpf\"?"), "{ended}");
    Ok(())
}
