//! `natrig plan` as it is typed.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::harness::Users::Anybody;
use crate::support::harness::{Case, Outcome, case};
use crate::support::place::Place;
use crate::support::schema;

pub(crate) const CASES: [Case; 4] = [
    case("plan::a_fleet_file", Anybody, fleet),
    case("plan::logs", Anybody, logs),
    case("plan::mistakes", Anybody, mistakes),
    case("plan::what_the_readme_shows", Anybody, readme),
];

const FLEET: &str = include_str!("../bench-configs/plan-fleet.toml");

fn fleet(place: &Place<'_>) -> Outcome {
    place.file("fleet.toml", &format!("simulated_connections = 20_000\n{FLEET}"));
    let text = place.natrig(["plan", "fleet.toml"]).succeed();
    assert!(text.contains("What breaks first") && text.contains("payments"), "{text}");
    let markdown = place.natrig(["plan", "fleet.toml", "--format", "markdown"]).succeed();
    assert!(markdown.contains("## What breaks first") && markdown.contains("ports.max_per_destination"), "{markdown}");
    let plan: Value = serde_json::from_str(&place.natrig(["plan", "fleet.toml", "--json"]).succeed()).unwrap();
    schema::holds("plan.schema.json", &plan);
    assert_eq!(plan["designs"].as_array().unwrap().len(), 4);
    assert_eq!(plan["designs"][3]["simulated"]["connections"], 20_000);
    Ok(())
}

fn logs(place: &Place<'_>) -> Outcome {
    let mut log = String::from(
        "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status\n",
    );
    for n in 0..3000 {
        let (pod, port, start) = (n % 200, 40_000 + n % 20_000, 1_700_000_000 + n / 10);
        let _ =
            writeln!(log, "2 1 eni-1 10.0.1.{pod} 203.0.113.7 {port} 443 6 10 840 {start} {} ACCEPT OK", start + 59);
    }
    log.push_str("2 1 eni-1 10.0.1.7 203.0");
    place.file("flow.log", &log);
    let plan: Value =
        serde_json::from_str(&place.natrig(["plan", "--flow-logs", "flow.log", "--json"]).succeed()).unwrap();
    // Ten a second, each for a minute.
    assert_eq!(plan["destinations"][0]["open"]["value"], 600.0, "{plan}");
    schema::holds("plan.schema.json", &plan);
    assert_eq!(plan["inputs"][0]["counted"], 3000);
    assert_eq!(plan["inputs"][0]["skipped"][0]["first_line"], 3002);
    place.file(
        "conntrack.txt",
        "tcp 6 431999 ESTABLISHED src=10.0.1.5 dst=203.0.113.7 sport=40000 dport=443 src=203.0.113.7 dst=198.51.100.1 sport=443 dport=40000 [ASSURED] use=1\n",
    );
    let text = place.natrig(["plan", "--conntrack", "conntrack.txt"]).succeed();
    assert!(text.contains("203.0.113.7:443") && text.contains("a list is one moment"), "{text}");
    Ok(())
}

/// Each command line of the README that plans, word for word.
fn readme(place: &Place<'_>) -> Outcome {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = fs::read_to_string(home.join("README.md")).unwrap();
    let lines: Vec<&str> =
        readme.lines().filter_map(|line| line.strip_prefix("$ ")).filter(|line| line.contains("natrig plan")).collect();
    assert_eq!(lines.len(), 3, "{lines:#?}");
    for (line, expected) in lines.iter().zip(["payments", "203.0.113.3:443", "203.0.113.21:5671"]) {
        for file in line.split(' ').filter(|word| word.contains('/') && word.contains(".t")) {
            // A shorter simulation than the fleet's: this build is not optimised.
            let short = if file.ends_with(".toml") { "simulated_connections = 20_000\n" } else { "" };
            let text = format!("{short}{}", fs::read_to_string(home.join(file)).unwrap());
            place.file(Path::new(file).file_name().unwrap().to_str().unwrap(), &text);
        }
        let here = line.replace("bench-configs/", "").replace("docs/examples/", "");
        let here = here.replace("natrig plan", &format!("{} plan", place.natrig_path().display()));
        let ended = place.start("sh", ["-c", &format!("{here} --out plan")]).finish();
        assert_eq!(ended.code, Some(0), "{line}: {ended}");
        assert!(ended.stdout.contains("What breaks first") && ended.stdout.contains(expected), "{ended}");
        let written: Value = serde_json::from_str(&fs::read_to_string(place.join("plan/plan.json")).unwrap()).unwrap();
        schema::holds("plan.schema.json", &written);
        assert!(fs::read_to_string(place.join("plan/plan.html")).unwrap().contains(expected));
        assert!(fs::read_to_string(place.join("plan/plan.md")).unwrap().contains(expected));
    }
    Ok(())
}

fn mistakes(place: &Place<'_>) -> Outcome {
    place.file("not.log", "hello\n");
    place.file("fleet.toml", "test = \"plan\"\n[fleet]\nnodes = 0\n");
    for (words, said) in [
        (&["plan"][..], "nothing to plan for"),
        (&["plan", "--flow-logs", "missing.log"], "failed to read missing.log"),
        (&["plan", "--flow-logs", "not.log"], "no record of the default format"),
        (&["plan", "--conntrack", "not.log"], "conntrack -L"),
        (&["plan", "--hubble", "not.log"], "no JSON"),
        (&["plan", "fleet.toml"], "at least 1"),
    ] {
        let ended = place.run(words);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{ended}");
        assert!(ended.stderr.contains("error: ") && ended.stderr.contains(said), "{ended}");
    }
    Ok(())
}
