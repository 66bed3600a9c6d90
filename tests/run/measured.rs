//! Runs that come to their end.

use std::path::Path;

use natrig_bench::result::{Invalid, LinkFacts, RunResult, Status};
use natrig_bench::scenario::{Design, Word};

use super::{scenarios, sound};
use crate::support::harness::{Outcome, Skipped};
use crate::support::place::{Place, listing};
use crate::support::process::Ended;

/// What `--json` said of a run that went well, and the file says the same.
fn ran(place: &Place<'_>, arguments: &[&str], out: &str) -> RunResult {
    let ended = place.run([&["run"], arguments, &["--json", "--out", out]].concat());
    assert_eq!(ended.code, Some(0), "{ended}");
    checked(&ended, &place.join(out))
}

fn checked(ended: &Ended, out: &Path) -> RunResult {
    let result = sound::result(&ended.stdout);
    assert_eq!(result, sound::written(out));
    assert_eq!(result.status, Status::Complete, "{:?}", result.warnings);
    assert_eq!(listing(out), ["report.html", "result.json", "summary.md"]);
    sound::complete(&result, out);
    result
}

/// There are no more frames in a trial than the rings hold: none is lost, even if everybody has to wait for a processor.
fn nothing_is_lost(result: &RunResult) {
    for trial in &result.trials {
        assert_eq!((trial.lost, trial.drops.len()), (0, 0), "{trial:#?}");
        assert!(trial.preload.is_none_or(|preload| preload.sent == preload.received), "{trial:#?}");
    }
    assert_eq!(code_for(result), 0);
}

pub(crate) fn over_memory(place: &Place<'_>) -> Outcome {
    place.file("tiny.toml", &scenarios::fixed(2));
    let result = ran(place, &["tiny.toml", "--link", "memory"], "out");
    nothing_is_lost(&result);
    assert_eq!(result.scenario.designs, Design::ALL);
    assert_eq!((result.environment.mode.as_str(), result.environment.link.kind.as_str()), ("memory", "memory"));
    assert!(result.environment.plan.is_empty() && result.environment.mode_reason.is_some());
    assert_eq!(result.costs.len(), 1, "four designs make a 2×2");
    assert!(result.trials.iter().all(|trial| trial.answers.as_ref().is_some_and(|answers| answers.received > 0)));
    // What was asked for on the command line comes instead of what the file says.
    let result = ran(
        place,
        &["tiny.toml", "--link", "memory", "--design", "both,none", "--rounds", "1", "--seed", "7"],
        "other",
    );
    let scenario = &result.scenario;
    assert_eq!(
        (&scenario.designs[..], scenario.measure.rounds, scenario.seed),
        (&[Design::None, Design::Both][..], 1, 7)
    );
    assert!(result.costs.is_empty(), "no 2×2 without four designs");
    Ok(())
}

pub(crate) fn every_frame_size(place: &Place<'_>) -> Outcome {
    place.file("sizes.toml", &scenarios::sizes());
    let result = ran(place, &["sizes.toml", "--link", "memory"], "out");
    nothing_is_lost(&result);
    assert_eq!(result.costs.len(), 3);
    Ok(())
}

pub(crate) fn over_veth(place: &Place<'_>) -> Outcome {
    place.file("tiny.toml", &scenarios::fixed(2));
    let result = ran(place, &["tiny.toml", "--link", "packet"], "out");
    nothing_is_lost(&result);
    in_namespaces(place, &result);
    assert_eq!(result.environment.link.kind, "packet");
    assert!(result.environment.link.candidates.is_empty(), "where the kind is named, nothing is measured");
    Ok(())
}

fn in_namespaces(place: &Place<'_>, result: &RunResult) {
    let mode = if place.user.is_root() { "root" } else { "rootless" };
    assert_eq!((result.environment.mode.as_str(), &result.environment.mode_reason), (mode, &None));
    assert!(result.environment.plan.iter().any(|step| step.contains("veth")), "{:?}", result.environment.plan);
}

pub(crate) fn overload(place: &Place<'_>) -> Outcome {
    place.file("search.toml", &scenarios::search());
    for (link, design) in [("packet", "none,both"), ("memory", "both")] {
        let ended = place.run(["run", "search.toml", "--link", link, "--design", design, "--json", "--out", link]);
        let result = sound::result(&ended.stdout);
        assert_eq!(ended.code, Some(code_for(&result)), "{ended}");
        sound::complete(&result, &place.join(link));
        // In memory a full ring holds the sender up instead.
        assert!(link == "memory" || result.trials.iter().any(|trial| trial.lost > 0), "nothing was ever lost");
    }
    Ok(())
}

/// A machine that is busy with other things may have disturbed all trials of a design.
fn code_for(result: &RunResult) -> i32 {
    let invalid = result.trials.iter().flat_map(|trial| &trial.invalid);
    for reason in invalid {
        assert!(reason.is_disturbance(), "{reason:?}");
    }
    if result.designs.iter().all(|design| design.rate_pps.is_some()) { 0 } else { 4 }
}

/// Links that need more than a user namespace gives.
pub(crate) fn over_xdp(place: &Place<'_>) -> Outcome {
    place.file("tiny.toml", &scenarios::fixed(1));
    for link in ["ring", "xdp"] {
        let ended = place.run(["run", "tiny.toml", "--link", link, "--json", "--out", link]);
        if ended.code == Some(5) {
            assert!(ended.stderr.contains("XDP") && ended.stderr.contains("help: --link packet"), "{ended}");
            assert_eq!(place.listing(), ["tiny.toml"], "something was created");
            assert!(!place.user.is_root() || ended.stderr.contains("BPF"), "{ended}");
            continue;
        }
        assert!(place.user.is_root() && ended.code == Some(0), "{ended}");
        let result = checked(&ended, &place.join(link));
        nothing_is_lost(&result);
        assert_eq!(result.environment.link.kind, link);
    }
    Ok(())
}

pub(crate) fn kernel(place: &Place<'_>) -> Outcome {
    place.file("kernel.toml", &scenarios::kernel());
    let ended = place.run(["run", "kernel.toml", "--link", "packet", "--json", "--out", "out"]);
    if ended.code == Some(5) && ended.stderr.contains("nft") {
        assert_eq!(place.listing(), ["kernel.toml"], "something was created");
        return Err(Skipped("the program nft is missing".to_owned()));
    }
    assert_eq!(ended.code, Some(0), "{ended}");
    let result = checked(&ended, &place.join("out"));
    nothing_is_lost(&result);
    assert_eq!(result.scenario.lineups().len(), 2);
    assert_eq!((result.costs.len(), result.comparisons.len()), (2, 4));
    Ok(())
}

pub(crate) fn over_pnet(place: &Place<'_>) -> Outcome {
    let slow = scenarios::fixed(1)
        .replace("fixed_rate_pps = 10_000", "fixed_rate_pps = 2_000")
        .replace("frame_size = 64", "frame_size = 1518");
    place.file("slow.toml", &slow);
    let result = ran(place, &["slow.toml", "--link", "pnet"], "out");
    in_namespaces(place, &result);
    assert_eq!(result.environment.link.kind, "pnet");
    Ok(())
}

/// What somebody types who has just arrived; one round of it.
pub(crate) fn built_in(place: &Place<'_>) -> Outcome {
    let ended = place.run(["run", "--rounds", "1"]);
    let mut results = listing(&place.join("natrig-results"));
    assert_eq!(results.iter().any(|name| name == "history.jsonl"), ended.code == Some(0), "{ended}");
    results.retain(|name| name != "history.jsonl");
    assert_eq!(results.len(), 1, "{ended}");
    let out = place.join("natrig-results").join(&results[0]);
    let result = sound::written(&out);
    assert_eq!(ended.code, Some(code_for(&result)), "{ended}");
    in_namespaces(place, &result);
    sound::complete(&result, &out);
    let LinkFacts { kind, candidates, .. } = &result.environment.link;
    assert!(candidates.len() == 3 && candidates[0].taken && candidates[0].kind == *kind, "{candidates:?}");
    assert!(ended.stdout.contains("over one hop"), "{ended}");
    for word in ["none", "node", "gateway", "both"] {
        assert!(ended.stdout.contains(word), "no {word} in:\n{ended}");
    }
    let again = place.run(["report".as_ref(), out.as_os_str()]);
    assert_eq!((again.code, again.stdout), (Some(0), ended.stdout));
    Ok(())
}

pub(crate) fn two_at_once(place: &Place<'_>) -> Outcome {
    place.file("tiny.toml", &scenarios::fixed(3));
    let start = |out| place.natrig(["run", "tiny.toml", "--link", "packet", "--json", "--out", out]);
    for (out, process) in [("one", start("one")), ("other", start("other"))] {
        let ended = process.finish();
        assert_eq!(ended.code, Some(0), "{ended}");
        nothing_is_lost(&checked(&ended, &place.join(out)));
    }
    Ok(())
}

pub(crate) fn no_valid_trial(place: &Place<'_>) -> Outcome {
    place.file("fast.toml", &scenarios::too_fast());
    let ended = place.run(["run", "fast.toml", "--link", "memory", "--json", "--out", "out"]);
    assert_eq!(ended.code, Some(4), "{ended}");
    let result = checked(&ended, &place.join("out"));
    for trial in &result.trials {
        assert!(trial.invalid.iter().any(|reason| matches!(reason, Invalid::Overrun { .. })), "{trial:#?}");
    }
    assert!(result.designs.iter().all(|design| design.rate_pps.is_none()));
    Ok(())
}
