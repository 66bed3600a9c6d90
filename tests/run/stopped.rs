//! Runs that are ended early, and those who read the result meanwhile.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use natrig_bench::result::{RunResult, Status};
use nix::sys::signal::Signal;

use super::{scenarios, sound};
use crate::support::eventually;
use crate::support::harness::Outcome;
use crate::support::place::{Place, listing};

/// A run that would take a minute or more, with some trials behind it.
const TRIALS: usize = 3;

fn trials_in(file: &Path) -> usize {
    let text = fs::read_to_string(file).unwrap_or_default();
    serde_json::from_str::<RunResult>(&text).map_or(0, |result| result.trials.len())
}

pub(crate) fn file_is_always_whole(place: &Place<'_>) -> Outcome {
    place.file("tiny.toml", &scenarios::fixed(1));
    let file = place.join("out").join("result.json");
    let mut run = place.natrig(["run", "tiny.toml", "--link", "memory", "--out", "out"]);
    let (mut reads, mut trials) = (0, 0);
    while !run.has_ended() {
        // Without a pause, the reader would be what the trials are disturbed by.
        thread::sleep(Duration::from_millis(1));
        // Before the file is there, nobody can be misled by it.
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let result: RunResult = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert!(result.trials.len() >= trials, "trials were lost");
        trials = result.trials.len();
        reads += 1;
    }
    assert!(reads > 0);
    assert_eq!(run.finish().code, Some(0));
    sound::written(&place.join("out"));
    Ok(())
}

pub(crate) fn nowhere_to_keep_it(place: &Place<'_>) -> Outcome {
    place.file("tiny.toml", &scenarios::fixed(1));
    let out = place.join("out");
    let run = place.natrig(["run", "tiny.toml", "--link", "memory", "--json", "--out", "out"]);
    eventually("it measures", || trials_in(&out.join("result.json")) > 0);
    // Somebody tidies up.
    fs::rename(&out, place.join("elsewhere")).unwrap();
    let ended = run.finish();
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(ended.stderr.contains("warning: ") && ended.stderr.contains("out"), "{ended}");
    // All was measured nevertheless, and is told.
    assert_eq!(sound::result(&ended.stdout).status, Status::Complete);
    assert!(trials_in(&place.join("elsewhere").join("result.json")) > 0);
    Ok(())
}

pub(crate) fn interrupted(place: &Place<'_>) -> Outcome {
    place.file("long.toml", &scenarios::fixed(100));
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let out = signal.as_str();
        let run = place.natrig(["run", "long.toml", "--link", "packet", "--json", "--out", out]);
        let file = place.join(out).join("result.json");
        eventually("trials are behind it", || trials_in(&file) >= TRIALS);
        run.signal(signal);
        let ended = run.finish();
        assert_eq!(ended.code, Some(130), "{ended}");
        let result = sound::written(&place.join(out));
        assert_eq!(result, sound::result(&ended.stdout));
        assert_eq!(result.status, Status::Interrupted);
        assert!(result.trials.len() >= TRIALS && result.tcp_checks.len() == 4);
        assert_eq!(listing(&place.join(out)), ["report.html", "result.json", "summary.md"]);
        let report = place.run(["report", out]);
        assert_eq!(report.code, Some(0), "{report}");
    }
    nothing_to_remove(place);
    Ok(())
}

pub(crate) fn killed(place: &Place<'_>) -> Outcome {
    place.file("long.toml", &scenarios::fixed(100));
    let file = place.join("out").join("result.json");
    let run = place.natrig(["run", "long.toml", "--link", "packet", "--out", "out"]);
    let mut finished = 0;
    eventually("trials are behind it", || {
        finished = trials_in(&file);
        finished >= TRIALS
    });
    run.signal(Signal::SIGKILL);
    let ended = run.finish();
    assert_eq!(ended.code, None, "{ended}");
    let result = sound::written(&place.join("out"));
    assert_eq!(result.status, Status::Running);
    assert!(result.trials.len() >= finished);
    for format in ["terminal", "markdown"] {
        let report = place.run(["report", "out", "--format", format]);
        assert_eq!(report.code, Some(0), "{report}");
    }
    nothing_to_remove(place);
    // Another run in the same place minds nothing of that.
    let ended = place.run(["run", "long.toml", "--rounds", "1", "--link", "packet", "--out", "out"]);
    assert_eq!(ended.code, Some(0), "{ended}");
    assert_eq!(sound::written(&place.join("out")).status, Status::Complete);
    assert_eq!(listing(&place.join("out")), ["report.html", "result.json", "summary.md"]);
    Ok(())
}

fn nothing_to_remove(place: &Place<'_>) {
    let ended = place.run(["clean"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "nothing to remove\n"), "{ended}");
    assert!(listing(&place.state()).is_empty());
}
