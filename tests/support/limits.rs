//! A user namespace of one's own, with limits in it: a machine that refuses namespaces, made without touching the machine.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

use super::harness::Skipped;
use super::process::Ended;

/// Who this process is in its user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inside {
    /// Who it was: what it executes has no privileges.
    Same,
    /// Root there: what it executes may do anything with what it makes there.
    Root,
}

/// Enters a new user namespace. `Err`: this machine does not let us.
pub(crate) fn enter(inside: Inside) -> Result<(), String> {
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)
        .map_err(|errno| format!("no user namespace: {errno}"))?;
    let (inner_uid, inner_gid) = match inside {
        Inside::Same => (uid.as_raw(), gid.as_raw()),
        Inside::Root => (0, 0),
    };
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("{inner_uid} {uid} 1")),
        ("gid_map", format!("{inner_gid} {gid} 1")),
    ] {
        fs::write(format!("/proc/self/{file}"), text).map_err(|error| format!("no user namespace: {file}: {error}"))?;
    }
    Ok(())
}

/// Sets `user.KEY` for the user namespace that [`enter`] made. `Err`: this machine does not let us.
pub(crate) fn set(key: &str, value: &str) -> Result<(), String> {
    fs::write(format!("/proc/sys/user/{key}"), value).map_err(|error| format!("user.{key} cannot be set: {error}"))
}

/// Ends a role that this machine does not allow; [`skipped`] knows it by that.
pub(crate) fn give_up(why: &str) -> ! {
    println!("{why}");
    std::process::exit(NOT_HERE)
}

/// Why a role gave up, if it did.
pub(crate) fn skipped(ended: &Ended) -> Option<Skipped> {
    (ended.code == Some(NOT_HERE)).then(|| Skipped(ended.stdout.trim().to_owned()))
}

const NOT_HERE: i32 = 77;

/// The role: executes `program` as an ordinary user where `setting` (`KEY=VALUE`) limits namespaces.
pub(crate) fn exec_with(setting: &str, program: &[&str]) {
    let (key, value) = setting.split_once('=').unwrap();
    if let Err(why) = enter(Inside::Same).and_then(|()| set(key, value)) {
        give_up(&why);
    }
    panic!("{}", Command::new(program[0]).args(&program[1..]).exec());
}
