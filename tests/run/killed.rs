//! That the kernel takes a killed run's world down, shown by a limit that has room for one world only.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use natrig_bench::result::Status;

use super::{scenarios, sound};
use crate::support::eventually;
use crate::support::harness::Outcome;
use crate::support::limits::{self, Inside};
use crate::support::place::Place;
use crate::support::process::{Ended, Process};

/// The namespace that the process is in itself; the world's four; the one that is made to see what is possible; and one of an
/// earlier attempt that the kernel has not yet taken down. A second world does not fit.
const ROOM: &str = "7";

pub(crate) fn leaves_nothing(place: &Place<'_>) -> Outcome {
    place.file("long.toml", &scenarios::fixed(100));
    let natrig = place.natrig_path();
    let ended = place.role(["room-for-one".as_ref(), natrig.as_os_str(), place.path().as_os_str()]).finish();
    if let Some(why) = limits::skipped(&ended) {
        return Err(why);
    }
    assert_eq!(ended.code, Some(0), "{ended}");
    Ok(())
}

/// The role: everything in one user namespace, whose limit holds for all that is started from here.
pub(crate) fn room_for_one(natrig: &str, directory: &str) {
    if let Err(why) = limits::enter(Inside::Root).and_then(|()| limits::set("max_net_namespaces", ROOM)) {
        limits::give_up(&why);
    }
    let directory = Path::new(directory);
    let start = |rounds: &str, out: &str| -> Process {
        let mut command = Command::new(natrig);
        command.args(["run", "long.toml", "--link", "packet", "--rounds", rounds, "--out", out]);
        Process::start(command.current_dir(directory).stdin(Stdio::null()))
    };
    let first = start("100", "first");
    let file = directory.join("first").join("result.json");
    eventually("it measures", || std::fs::read_to_string(&file).is_ok_and(|text| text.contains("\"number\"")));

    // A world that stands leaves no room for another: that is said, and in the result.
    let second = start("1", "second").finish();
    assert_eq!(second.code, Some(5), "{second}");
    let result = sound::written(&directory.join("second"));
    assert!(
        matches!(&result.status, Status::Failed(reason) if reason.contains("max_net_namespaces")),
        "{:?}",
        result.status
    );
    assert!(second.stderr.contains("max_net_namespaces") && result.trials.is_empty(), "{second}");

    first.signal(nix::sys::signal::Signal::SIGKILL);
    first.finish();
    let third = when_there_is_room(|| start("1", "third").finish());
    assert_eq!(third.code, Some(0), "{third}");
}

/// The kernel takes namespaces down in the background: for a while there may be no room.
fn when_there_is_room(mut attempt: impl FnMut() -> Ended) -> Ended {
    for _ in 0..20 {
        let ended = attempt();
        if ended.code == Some(0) {
            return ended;
        }
        thread::sleep(Duration::from_millis(500));
    }
    attempt()
}
