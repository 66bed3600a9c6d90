//! What is made of results that are there: comparisons, baselines, the history, other programs' forms, pages.

use std::fs;
use std::path::Path;

use natrig_bench::result::{RoundFigures, RunResult};
use serde_json::Value;

use super::{scenarios, sound};
use crate::support::harness::Outcome;
use crate::support::place::Place;

/// Runs that took turns are paired, others are not; what was measured differently is not compared at all, unless that is asked for.
pub(crate) fn sides(place: &Place<'_>) -> Outcome {
    place.file("tiny.toml", &scenarios::fixed(1));
    place.file("faster.toml", &scenarios::fixed(1).replace("10_000", "12_000"));
    for (scenario, out) in [("tiny.toml", "a"), ("tiny.toml", "b"), ("faster.toml", "c")] {
        let ended = place.run(["run", scenario, "--link", "memory", "--design", "both", "--out", out]);
        assert_eq!(ended.code, Some(0), "{ended}");
        let page = fs::read_to_string(place.join(out).join("report.html")).unwrap();
        assert!(page.contains("<svg") && !page.contains("<script"), "{page}");
    }
    let same = place.run(["compare", "a", "b"]);
    assert_eq!(same.code, Some(0), "{same}");
    assert!(same.stdout.contains("Not paired") && same.stdout.contains("base: “Tiny” of 20"), "{same}");
    let different = place.run(["compare", "a", "c"]);
    assert_eq!(different.code, Some(2), "{different}");
    assert!(different.stderr.contains("fixed_pps: 10000 against 12000"), "{different}");
    let anyway = place.run(["compare", "a", "c", "--anyway"]);
    assert_eq!(anyway.code, Some(0), "{anyway}");
    assert!(anyway.stdout.contains("NOT THE SAME SETTINGS"), "{anyway}");
    mistakes(place);
    Ok(())
}

/// What cannot be compared, and what is said then.
fn mistakes(place: &Place<'_>) {
    let text = fs::read_to_string(place.join("a").join("result.json")).unwrap();
    let made: Value = serde_json::from_str(&text).unwrap();
    let other = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut other = made.clone();
        change(&mut other);
        place.file(name, &other.to_string());
    };
    other("newer.json", &|result| result["schema_version"] = 99.into());
    other("tcp.json", &|result| result["test"] = "tcp".into());
    other("void.json", &|result| result["designs"] = Vec::<Value>::new().into());
    place.file("cut.json", &text[..text.len() / 2]);
    // Two runs of one side that were not measured alike.
    for (nth, from) in ["a", "c"].into_iter().enumerate() {
        fs::create_dir_all(place.join("mixed").join(nth.to_string())).unwrap();
        let to = place.join("mixed").join(nth.to_string()).join("result.json");
        fs::copy(place.join(from).join("result.json"), to).unwrap();
    }
    for (new, said) in [
        ("nothing-like-it", "nor a baseline of that name"),
        ("newer.json", "use the natrig that wrote it"),
        ("tcp.json", "it is of the test tcp"),
        ("void.json", "the new has no figures to compare"),
        ("cut.json", "cut.json as a result of rates: EOF"),
        ("mixed", "fixed_pps: 10000 against 12000"),
    ] {
        let ended = place.run(["compare", "a", new]);
        assert!(ended.code == Some(2) && ended.stderr.contains(said), "{ended}");
    }
    let missing = place.run(["history"]);
    assert!(missing.code == Some(2) && missing.stderr.contains("help: `natrig run` adds a line"), "{missing}");
}

/// Eight blocks in turns, the new side half as fast: a regression, and exit code 3 if it was to be one.
pub(crate) fn regression(place: &Place<'_>) -> Outcome {
    place.file("tiny.toml", &scenarios::fixed(1));
    let ended = place.run(["run", "tiny.toml", "--link", "memory", "--design", "both", "--out", "out"]);
    assert_eq!(ended.code, Some(0), "{ended}");
    let made = sound::written(&place.join("out"));
    for (side, factor) in [("base", 1.0), ("new", 0.5), ("same", 1.0)] {
        for block in 0..8 {
            let rate = 1e5 * factor * (1.0 + 0.001 * f64::from((block * 5) % 8));
            write(&place.join(side).join(block.to_string()), &made, block, rate);
        }
    }
    let compare = |new: &str| place.run(["compare", "base", new, "--fail-on-regression", "--json"]);
    let worse = compare("new");
    assert_eq!(worse.code, Some(3), "{worse}");
    let told: Value = serde_json::from_str(&worse.stdout).unwrap();
    assert_eq!(told["paired"], true, "{told}");
    let rate = &told["cells"][0]["judged"][0];
    assert_eq!((&rate["figure"], &rate["comparison"]["verdict"]["verdict"]), (&"rate_pps".into(), &"worse".into()));
    assert_eq!(compare("same").code, Some(0));
    Ok(())
}

fn write(directory: &Path, made: &RunResult, block: i32, rate_pps: f64) {
    let mut result = made.clone();
    result.started_at = format!("2026-01-01T00:{block:02}:00Z");
    for design in &mut result.designs {
        design.rounds = vec![RoundFigures { rate_pps: Some(rate_pps), ..RoundFigures::default() }];
    }
    fs::create_dir_all(directory).unwrap();
    result.write(&directory.join("result.json")).unwrap();
}

pub(crate) fn kept(place: &Place<'_>) -> Outcome {
    place.file("tiny.toml", &scenarios::fixed(1));
    let ended = place.run(["run", "tiny.toml", "--link", "memory", "--design", "both", "--save-baseline", "first"]);
    assert_eq!(ended.code, Some(0), "{ended}");
    let history = place.run(["history"]);
    assert_eq!((history.code, history.stdout.contains("None in 1 run")), (Some(0), true), "{history}");
    assert!(history.stdout.contains("at least 6 runs"), "{history}");
    let ended = place.run(["compare", "first", "first"]);
    assert!(ended.code == Some(0) && ended.stdout.contains("on both sides, so that nothing can differ"), "{ended}");
    let ended = place.run(["compare", "first", "second"]);
    assert!(ended.code == Some(2) && ended.stderr.contains("help: baselines here: first"), "{ended}");
    assert_eq!(place.run(["run", "tiny.toml", "--save-baseline", "../out"]).code, Some(2));

    let baseline = "natrig-results/baselines/first.json";
    let export = |format: &str| {
        let ended = place.run(["export", baseline, "--format", format]);
        assert_eq!(ended.code, Some(0), "{ended}");
        ended.stdout
    };
    assert!(export("csv").lines().count() > 3);
    assert!(export("openmetrics").ends_with("# EOF\n"));
    assert!(export("hgrm").contains("1/(1-Percentile)"));
    let github: Value = serde_json::from_str(&export("github")).unwrap();
    assert!(github.as_array().unwrap().iter().all(|entry| entry["value"].as_f64().unwrap() > 0.0), "{github}");
    let bmf: Value = serde_json::from_str(&export("bmf")).unwrap();
    assert!(bmf["userspace/both/64"]["rate_pps"]["value"].as_f64().unwrap() > 0.0, "{bmf}");
    Ok(())
}

/// Few comparisons prove nothing; what is there must be counted right.
pub(crate) fn against_itself(place: &Place<'_>) -> Outcome {
    place.file("tiny.toml", &scenarios::fixed(1));
    let ended =
        place.run(["run", "tiny.toml", "--link", "memory", "--design", "none,both", "--aa", "2", "--out", "out"]);
    assert!(matches!(ended.code, Some(0 | 4)), "{ended}");
    let aa = sound::written(&place.join("out")).aa.unwrap();
    assert_eq!((aa.comparisons, aa.blocks), (2, 8));
    assert!(aa.trials >= 2 * 8 * 2);
    for figure in aa.figures {
        assert_eq!(figure.comparisons, figure.false_alarms + figure.equal + figure.inconclusive, "{figure:?}");
    }
    Ok(())
}
