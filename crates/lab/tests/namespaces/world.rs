//! Worlds that are held by a process of their own.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use natrig_lab::world::{DownError, Left, NamespaceRecord, StateDir, WorldError, WorldMark, WorldRecord, clean, down};

use crate::support::{Actor, eventually, role};

const PATIENCE: Duration = Duration::from_secs(5);

fn state_dir() -> (tempfile::TempDir, StateDir) {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDir::at(directory.path().join("natrig")).unwrap();
    (directory, state)
}

/// A program that stays, inside.
fn sleeper(state: &StateDir, world: &str, namespace: &str) -> Actor {
    Actor::inside(state.path(), world, namespace, &["sh", "-c", "echo in; exec sleep 60"])
}

fn ended_pids(ended: &[natrig_lab::world::Ended]) -> Vec<u32> {
    ended.iter().map(|ended| ended.pid).collect()
}

pub(crate) fn up_exec_down() {
    let (_directory, state) = state_dir();
    let mut demo = Actor::holder(state.path(), "demo");
    let mut other = Actor::holder(state.path(), "other");
    assert_eq!((demo.first_line.as_str(), other.first_line.as_str()), ("ready", "ready"));
    let again = Actor::start(&["holder", state.path().to_str().unwrap(), "demo"]);
    assert!(again.first_line.contains("already stands"), "{}", again.first_line);
    assert!(again.first_line.contains(&demo.pid().to_string()));

    let inside = |world, namespace, path| {
        let state = state.path().to_str().unwrap();
        let output = role(&["exec", state, world, namespace, "cat", path]).stderr(Stdio::null()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let addresses = inside("demo", "pods", "/proc/self/net/fib_trie");
    assert!(addresses.contains("|-- 10.0.1.50\n"), "{addresses}");
    assert!(inside("demo", "internet", "/proc/self/net/fib_trie").contains("|-- 203.0.113.10\n"));
    let error = inside("demo", "moon", "/proc/self/comm");
    assert!(error.contains("no namespace `moon`, only pods, node, gateway, internet"), "{error}");

    let mut left_inside = sleeper(&state, "demo", "node");
    let mut untouched = sleeper(&state, "other", "node");
    assert_eq!((left_inside.first_line.as_str(), untouched.first_line.as_str()), ("in", "in"));
    let report = {
        // Somebody has to collect the children, else they stay as zombies: here that is their parent, this process.
        let collect = std::thread::spawn(move || {
            assert!(eventually(|| demo.has_ended() && left_inside.has_ended()));
            [demo.pid(), left_inside.pid()]
        });
        let report = down(&state, "demo", PATIENCE).unwrap();
        assert_eq!(ended_pids(&report.ended), collect.join().unwrap());
        report
    };
    assert!(report.left.is_empty() && report.ended.iter().all(|ended| !ended.forced), "{report:?}");
    assert_eq!(report.ended[1].namespace.as_deref(), Some("node"));
    assert!(matches!(down(&state, "demo", PATIENCE), Err(DownError::World(WorldError::Unknown(_)))));

    assert!(!other.has_ended() && !untouched.has_ended());
    assert!(state.load("other").unwrap().holder.is_alive());
    down(&state, "other", PATIENCE).unwrap();
    assert_eq!(fs::read_dir(state.path()).unwrap().count(), 0);
}

pub(crate) fn clean_removes_what_sigkill_left() {
    let (_directory, state) = state_dir();
    let mut dead = Actor::holder(state.path(), "dead");
    let mut standing = Actor::holder(state.path(), "standing");
    let mut orphan = sleeper(&state, "dead", "internet");
    let mut resident = sleeper(&state, "standing", "internet");
    let mut bystander = Actor { child: Command::new("sleep").arg("60").spawn().unwrap(), first_line: String::new() };
    dead.child.kill().unwrap();
    dead.child.wait().unwrap();
    fs::write(state.path().join("foreign.json"), "{}").unwrap();
    fs::write(state.path().join(format!(".dead.{}.tmp", dead.pid())), "").unwrap();
    assert!(matches!(state.check_free("dead"), Err(WorldError::LeftBehind { .. })));
    assert!(!orphan.has_ended());
    let late = sleeper(&state, "dead", "internet");
    assert!(late.first_line.contains("is dead"), "{}", late.first_line);

    let report = clean(&state).unwrap();
    assert_eq!(report.worlds, ["dead"]);
    assert_eq!(ended_pids(&report.ended), [orphan.pid()]);
    assert_eq!(report.half_written.len(), 1);
    assert_eq!(report.standing, ["standing"]);
    assert!(matches!(&report.left[..], [Left { what, .. }] if what.ends_with("foreign.json")), "{report:?}");
    assert!(eventually(|| orphan.has_ended()));

    let again = clean(&state).unwrap();
    assert!(again.nothing_done() && again.standing == ["standing"], "{again:?}");
    assert!(!standing.has_ended() && !resident.has_ended() && !bystander.has_ended());
    assert!(matches!(state.check_free("dead"), Ok(())));
}

/// The kernel gives the number of a namespace that has gone to the next one that is made, whoever makes it.
pub(crate) fn clean_spares_strangers() {
    let (_directory, state) = state_dir();
    let holder = Actor::holder(state.path(), "mine");
    let mut stranger = sleeper(&state, "mine", "pods");
    let mut bystander = Actor { child: Command::new("sleep").arg("60").spawn().unwrap(), first_line: String::new() };
    let record = state.load("mine").unwrap();

    let here = fs::metadata("/proc/self/ns/net").unwrap().ino();
    let mut namespaces = record.namespaces.clone();
    namespaces.push(NamespaceRecord { name: "here".to_owned(), inode: here, fd: 0 });
    let mut forged = WorldRecord { name: "gone".to_owned(), mark: WorldMark::fresh().unwrap(), namespaces, ..record };
    forged.holder.start_ticks += 1;
    fs::write(state.path().join("gone.json"), serde_json::to_string(&forged).unwrap()).unwrap();

    let report = clean(&state).unwrap();
    assert_eq!((report.worlds.as_slice(), report.ended.as_slice()), (&["gone".to_owned()][..], &[][..]));
    assert!(!stranger.has_ended() && !bystander.has_ended());
    drop(holder);
}

pub(crate) fn stubborn_programs_are_killed() {
    let (_directory, state) = state_dir();
    let mut holder = Actor::holder(state.path(), "demo");
    let mut stubborn =
        Actor::inside(state.path(), "demo", "gateway", &["sh", "-c", "trap '' TERM; echo in; exec sleep 60"]);
    holder.child.kill().unwrap();
    holder.child.wait().unwrap();
    let report = down(&state, "demo", PATIENCE).unwrap();
    assert_eq!(ended_pids(&report.ended), [stubborn.pid()]);
    assert!(report.ended[0].forced && report.left.is_empty(), "{report:?}");
    assert!(eventually(|| stubborn.has_ended()));
}
