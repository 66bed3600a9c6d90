//! What several cases need.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use natrig_lab::lease::{InterfaceCounters, Lease};
use natrig_lab::privilege::{self, Privilege};

/// Enters what it takes; where nothing helps, ends the case with the reason.
pub(crate) fn enter_or_skip() -> Privilege {
    let privilege = privilege::enter();
    if let Some(why) = privilege.why_memory() {
        skip(&why);
    }
    privilege
}

pub(crate) fn skip(why: &str) -> ! {
    println!("{why}");
    std::process::exit(crate::SKIPPED.into());
}

/// Until `done`, for at most five seconds: the kernel takes namespaces down in the background.
pub(crate) fn eventually(mut done: impl FnMut() -> bool) -> bool {
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(5) {
        if done() {
            return true;
        }
        thread::sleep(Duration::from_millis(20));
    }
    done()
}

pub(crate) fn counters(lease: &Lease, namespace: &str, interface: &str) -> InterfaceCounters {
    lease
        .link_stats()
        .unwrap()
        .into_iter()
        .find(|counters| counters.namespace == namespace && counters.interface == interface)
        .unwrap()
}

/// This binary again, in another role; ended when the case ends, however it does.
pub(crate) struct Actor {
    pub(crate) child: Child,
    pub(crate) first_line: String,
}

impl Actor {
    /// Starts it and waits for the first line that it writes.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut child = role(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut first_line = String::new();
        let output = child.stdout.as_mut().unwrap();
        BufReader::new(output).read_line(&mut first_line).unwrap();
        Self { child, first_line: first_line.trim().to_owned() }
    }

    /// A world called `name`, held by a process that is waiting for SIGTERM. Skips the case where that is not possible.
    pub(crate) fn holder(state: &Path, name: &str) -> Self {
        let holder = Self::start(&["holder", state.to_str().unwrap(), name]);
        if let Some(why) = holder.first_line.strip_prefix("skip: ") {
            skip(why);
        }
        holder
    }

    /// A program inside a world.
    pub(crate) fn inside(state: &Path, world: &str, namespace: &str, program: &[&str]) -> Self {
        let arguments = [&["exec", state.to_str().unwrap(), world, namespace], program].concat();
        Self::start(&arguments)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ended and collected.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn role(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.arg("--role").args(arguments);
    command
}
