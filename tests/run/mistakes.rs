//! Mistakes of those who type and write scenarios: exit code 2, one message, and nothing created.

use std::fs;
use std::path::Path;

use super::scenarios;
use crate::support::harness::Outcome;
use crate::support::place::Place;
use crate::support::process::Ended;

/// Scenarios with one mistake each, between « and », and what is said about it.
const TABLES: [&str; 7] = [
    include_str!("../../crates/bench/tests/scenario_mistakes/syntax.txt"),
    include_str!("../../crates/bench/tests/scenario_mistakes/keys.txt"),
    include_str!("../../crates/bench/tests/scenario_mistakes/types.txt"),
    include_str!("../../crates/bench/tests/scenario_mistakes/words.txt"),
    include_str!("../../crates/bench/tests/scenario_mistakes/bounds.txt"),
    include_str!("../../crates/bench/tests/scenario_mistakes/plans.txt"),
    include_str!("../../crates/bench/tests/scenario_mistakes/together.txt"),
];

fn is_a_mistake(ended: &Ended) {
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{ended}");
    let errors = ended.stderr.lines().filter(|line| line.starts_with("error: ")).count();
    assert_eq!(errors, 1, "{ended}");
}

pub(crate) fn scenarios(place: &Place<'_>) -> Outcome {
    let mut count = 0;
    for case in TABLES.iter().flat_map(|table| table.split("\n----\n")) {
        let (text, said) = case.trim_end().split_once("\nerror: ").unwrap();
        let (message, _) = said.split_once("\nhelp: ").unwrap();
        let (before, _) = text.split_once('«').unwrap();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
        place.file("mistake.toml", &text.replace(['«', '»'], ""));

        let ended = place.run(["run", "mistake.toml", "--out", "out"]);
        is_a_mistake(&ended);
        let lines: Vec<&str> = ended.stderr.lines().collect();
        assert_eq!(lines[0], format!("error: {message}"), "{ended}");
        assert_eq!(lines[1].trim(), format!("--> mistake.toml:{line}:{column}"), "{ended}");
        assert!(lines[4].ends_with('^') && lines[5].starts_with("help: "), "{ended}");
        assert_eq!(place.listing(), ["mistake.toml"], "something was created");
        count += 1;
    }
    assert!(count >= 30, "{count} cases");
    // A world is not made from such a file either.
    let ended = place.run(["up", "mistake.toml"]);
    is_a_mistake(&ended);
    Ok(())
}

pub(crate) fn unreadable_scenarios(place: &Place<'_>) -> Outcome {
    place.directory("directory.toml");
    fs::write(place.join("bytes.toml"), [0x74, 0xff, 0xfe, 0x0a]).unwrap();
    let before = place.listing();
    for name in ["missing.toml", "directory.toml", "bytes.toml"] {
        let ended = place.run(["run", name]);
        is_a_mistake(&ended);
        assert!(ended.stderr.contains(name), "{ended}");
        assert_eq!(place.listing(), before, "something was created");
    }
    Ok(())
}

pub(crate) fn command_line(place: &Place<'_>) -> Outcome {
    place.file("tiny.toml", &scenarios::fixed(1));
    let mistakes: [(&[&str], &str); 11] = [
        (&["run", "tiny.toml", "--rounds", "0"], "rounds"),
        (&["run", "tiny.toml", "--rounds", "101"], "rounds"),
        (&["run", "tiny.toml", "--seed", "9007199254740992"], "seed"),
        (&["run", "tiny.toml", "--design", "nodes"], "gateway"),
        (&["run", "tiny.toml", "--link", "carrier-pigeon"], "memory"),
        (&["run", "tiny.toml", "--colour"], "--colour"),
        (&["walk"], "walk"),
        (&["up", "--name", "No Name"], "No Name"),
        (&["exec", "--name", "nobody", "pods", "--", "true"], "nobody"),
        (&["down", "--name", "nobody"], "nobody"),
        (&["profiles", "openwrt"], "openwrt"),
    ];
    for (arguments, word) in mistakes {
        let ended = place.run(arguments);
        is_a_mistake(&ended);
        assert!(ended.stderr.contains(word), "no {word} in: {ended}");
        let created: Vec<_> = place.listing().into_iter().filter(|name| name != "state").collect();
        assert_eq!(created, ["tiny.toml"], "something was created");
    }
    Ok(())
}

/// Not one without permission: in a user namespace of his own, an ordinary user is root over all his files.
pub(crate) fn unwritable_directory(place: &Place<'_>) -> Outcome {
    place.file("tiny.toml", &scenarios::fixed(1));
    for out in ["/proc", "/proc/natrig"] {
        let ended = place.run(["run", "tiny.toml", "--link", "memory", "--out", out]);
        is_a_mistake(&ended);
        assert!(ended.stderr.contains(out) && ended.stderr.contains("help: "), "{ended}");
    }
    assert_eq!(place.listing(), ["tiny.toml"]);
    Ok(())
}

pub(crate) fn file_for_directory(place: &Place<'_>) -> Outcome {
    place.file("tiny.toml", &scenarios::fixed(1));
    place.file("taken", "mine");
    for out in ["taken", "taken/new"] {
        let ended = place.run(["run", "tiny.toml", "--link", "memory", "--out", out]);
        is_a_mistake(&ended);
        assert!(ended.stderr.contains(out), "{ended}");
    }
    assert_eq!(place.listing(), ["taken", "tiny.toml"]);
    assert_eq!(fs::read_to_string(place.join("taken")).unwrap(), "mine");
    Ok(())
}

pub(crate) fn dry_run(place: &Place<'_>) -> Outcome {
    place.file("tiny.toml", &scenarios::fixed(1));
    for arguments in [&["run", "--dry-run"][..], &["run", "tiny.toml", "--out", "out", "--dry-run"]] {
        let text = place.natrig(arguments).succeed();
        for word in ["veth", "gateway", "none, node, gateway, both"] {
            assert!(text.contains(word), "no {word} in:\n{text}");
        }
        assert_eq!(place.listing(), ["tiny.toml"], "something was created");
    }
    Ok(())
}

/// Every scenario that comes with natrig, of whatever test, has a question and a plan.
pub(crate) fn shipped(place: &Place<'_>) -> Outcome {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench-configs");
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let first = text.lines().next().unwrap();
        assert!(first.starts_with("# ") && first.ends_with('?'), "{}: {first}", file.display());
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        // Where an ordinary user can read it, beside those that it names.
        place.file(&name, &text);
        names.push(name);
    }
    for name in &names {
        if fs::read_to_string(place.join(name)).unwrap().contains("\ntest = \"plan\"\n") {
            // Nothing is run: `plan::` has cases of its own.
            continue;
        }
        assert!(!place.natrig(["run", name, "--dry-run"]).succeed().trim().is_empty(), "{name} has no plan");
    }
    assert!(names.len() >= 9, "{names:?}");
    Ok(())
}

pub(crate) fn reports(place: &Place<'_>) -> Outcome {
    place.file("not.json", "{");
    place.file("other.json", "{\"schema_version\": 1}");
    place.file("newer.json", "{\"schema_version\": 4000000000}");
    for (name, word) in
        [("not.json", "not.json"), ("other.json", "other.json"), ("newer.json", "newer"), (".", "result.json")]
    {
        let ended = place.run(["report", name]);
        is_a_mistake(&ended);
        assert!(ended.stderr.contains(word), "no {word} in: {ended}");
    }
    Ok(())
}
