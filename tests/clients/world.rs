//! A world that stands for as long as a case needs it.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::run::scenarios;
use crate::support::eventually;
use crate::support::harness::Skipped;
use crate::support::place::Place;
use crate::support::process::Process;

pub(crate) struct World<'a> {
    place: &'a Place<'a>,
    pub(crate) name: &'static str,
    /// What `up` said.
    pub(crate) greeting: String,
}

impl<'a> World<'a> {
    /// Of the built-in scenario.
    pub(crate) fn up(place: &'a Place<'a>, name: &'static str, design: &str) -> Self {
        let greeting = place.natrig(["up", "--name", name, "--design", design]).succeed();
        Self { place, name, greeting }
    }

    /// Skipped where the kernel's NAT cannot be told what to do.
    pub(crate) fn up_by_kernel(place: &'a Place<'a>, name: &'static str, design: &str) -> Result<Self, Skipped> {
        place.file("kernel.toml", &scenarios::kernel());
        let ended = place.run(["up", "kernel.toml", "--name", name, "--design", design]);
        if ended.code == Some(5) && ended.stderr.contains("nft") {
            return Err(Skipped("the program nft is missing".to_owned()));
        }
        assert_eq!(ended.code, Some(0), "{ended}");
        Ok(Self { place, name, greeting: ended.stdout })
    }

    /// Starts a program in one of its namespaces.
    pub(crate) fn exec(&self, namespace: &str, program: &[&str]) -> Process {
        self.place.natrig([&["exec", "--name", self.name, namespace, "--"], program].concat())
    }

    /// Starts this binary in one of its namespaces.
    pub(crate) fn role(&self, namespace: &str, words: &[&str]) -> Process {
        let actor = self.place.actor_path();
        self.exec(namespace, &[&[actor.to_str().unwrap(), "--role"], words].concat())
    }

    /// Takes it down, which must go well.
    pub(crate) fn down(self) {
        let down = self.place.run(["down", "--name", self.name]);
        assert_eq!(down.code, Some(0), "{down}");
    }

    /// The holder's process number, from the state file.
    pub(crate) fn holder(&self) -> u32 {
        let text = fs::read_to_string(self.place.state().join(format!("{}.json", self.name))).unwrap();
        let record: Value = serde_json::from_str(&text).unwrap();
        u32::try_from(record["holder"]["pid"].as_u64().unwrap()).unwrap()
    }

    /// As a crash, or the kernel short of memory, would end it.
    pub(crate) fn kill_holder(&self) {
        let pid = self.holder();
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
        eventually("the holder is dead", || !is_alive(pid));
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        // For most cases this is the end; where a case has ended the world itself, there is nothing left to say about it.
        drop(self.place.run(["down", "--name", self.name]));
    }
}

/// Whether the process runs: one whose parent has not yet asked for its exit code does not.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The command's name is in brackets and may hold anything; the state comes behind.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}
