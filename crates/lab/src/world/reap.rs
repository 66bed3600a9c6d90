//! Taking worlds down, and cleaning up behind holders that died.
//!
//! A process is ended only if it is in a namespace of the number that the record gives, *and* that namespace carries the world's mark:
//! the number alone may by now be somebody else's.

use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use thiserror::Error;

use super::state_dir::remove_if_same;
use super::{StateDir, StateFile, WorldError, WorldRecord};
use crate::procfs;

/// Between a polite signal to a program inside a world and an impolite one.
const PATIENCE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(10);

/// A process that was ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Process number.
    pub pid: u32,
    /// The command's name.
    pub command: String,
    /// The namespace that it was in, by its name in the plan; none for a holder.
    pub namespace: Option<String>,
    /// Whether it took SIGKILL.
    pub forced: bool,
}

/// Something that is still there, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// A process or a file.
    pub what: String,
    /// Why.
    pub reason: String,
}

/// What taking a world down did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownReport {
    /// The world.
    pub name: String,
    /// The holder, if it still lived, and then whatever had run inside.
    pub ended: Vec<Ended>,
    /// What would not go.
    pub left: Vec<Left>,
}

/// Why a world could not be taken down.
#[derive(Debug, Error)]
pub enum DownError {
    /// Its state file cannot be read or removed.
    #[error(transparent)]
    World(#[from] WorldError),
    /// The holder cannot be ended.
    #[error("end process {pid}, which holds world `{name}`: {source}")]
    Holder {
        /// The world.
        name: String,
        /// Its holder.
        pid: u32,
        /// Why.
        source: io::Error,
    },
}

/// Ends a world: its holder first, with SIGTERM and after `patience` with SIGKILL; then what still runs inside; then its state file.
///
/// # Errors
/// There is no such world, or its holder cannot be ended.
pub fn down(state: &StateDir, name: &str, patience: Duration) -> Result<DownReport, DownError> {
    let record = state.load(name)?;
    let mut report = DownReport { name: name.to_owned(), ended: Vec::new(), left: Vec::new() };
    report.ended.extend(end_holder(&record, patience)?);
    end_inside(&record, &mut report.ended, &mut report.left);
    remove_if_same(&state.path().join(format!("{name}.json")), &record)?;
    Ok(report)
}

fn end_holder(record: &WorldRecord, patience: Duration) -> Result<Option<Ended>, DownError> {
    let holder = &record.holder;
    if !holder.is_alive() {
        return Ok(None);
    }
    let command = procfs::command_name(&format!("/proc/{}", holder.pid));
    let failed = |source| DownError::Holder { name: record.name.clone(), pid: holder.pid, source };
    for (signal, patience) in [(Signal::SIGTERM, patience), (Signal::SIGKILL, PATIENCE)] {
        send(holder.pid, signal).map_err(failed)?;
        if wait_until(patience, || !holder.is_alive()) {
            return Ok(Some(Ended { pid: holder.pid, command, namespace: None, forced: signal == Signal::SIGKILL }));
        }
    }
    Err(failed(io::ErrorKind::TimedOut.into()))
}

/// What cleaning up did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CleanReport {
    /// Worlds whose holder was dead, by name; their state files are removed.
    pub worlds: Vec<String>,
    /// What still ran inside them.
    pub ended: Vec<Ended>,
    /// Half-written state files of dead processes; removed.
    pub half_written: Vec<PathBuf>,
    /// Worlds that stand; untouched.
    pub standing: Vec<String>,
    /// What would not go, or is not ours to judge.
    pub left: Vec<Left>,
}

impl CleanReport {
    /// Whether there was nothing to remove.
    pub fn nothing_done(&self) -> bool {
        self.worlds.is_empty() && self.ended.is_empty() && self.half_written.is_empty()
    }
}

impl fmt::Display for CleanReport {
    /// One line per thing removed or left.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for world in &self.worlds {
            writeln!(f, "removed the state file of world {world}")?;
        }
        for Ended { pid, command, namespace, forced } in &self.ended {
            let verb = if *forced { "killed" } else { "ended" };
            let place = namespace.as_deref().unwrap_or("the holder's place");
            writeln!(f, "{verb} {command} ({pid}) in {place}")?;
        }
        for path in &self.half_written {
            writeln!(f, "removed {}", path.display())?;
        }
        for Left { what, reason } in &self.left {
            writeln!(f, "left {what}: {reason}")?;
        }
        if self.nothing_done() {
            writeln!(f, "nothing to remove")?;
        }
        Ok(())
    }
}

/// Removes what dead holders have left, and nothing else: state files, and programs that still run inside their worlds. Worlds that
/// stand are not touched; doing it twice does no more.
///
/// # Errors
/// The directory of state files cannot be read.
pub fn clean(state: &StateDir) -> Result<CleanReport, WorldError> {
    let mut report = CleanReport::default();
    for StateFile { path, record } in state.list()? {
        let left = |reason| Left { what: path.display().to_string(), reason };
        match record {
            Err(error) => report.left.push(left(error.to_string())),
            Ok(record) if record.holder.is_alive() => report.standing.push(record.name),
            Ok(record) => {
                end_inside(&record, &mut report.ended, &mut report.left);
                match remove_if_same(&path, &record) {
                    Ok(()) => report.worlds.push(record.name),
                    Err(error) => report.left.push(left(error.to_string())),
                }
            }
        }
    }
    for (path, pid) in state.temporaries()? {
        if procfs::incarnation(pid).is_err() {
            match fs::remove_file(&path) {
                Ok(()) => report.half_written.push(path),
                Err(error) => report.left.push(Left { what: path.display().to_string(), reason: error.to_string() }),
            }
        }
    }
    Ok(report)
}

/// A process inside a world.
struct Inside {
    pid: u32,
    start_ticks: u64,
    command: String,
    namespace: String,
}

/// Politely first, then not. Programs that are started meanwhile are met in the next round.
fn end_inside(record: &WorldRecord, ended: &mut Vec<Ended>, left: &mut Vec<Left>) {
    let mut refused = Vec::new();
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let mut told = Vec::new();
        wait_until(PATIENCE, || {
            let mut inside = find_inside(record);
            inside.retain(|process| !refused.contains(&process.pid));
            for process in &inside {
                if !told.contains(&process.pid) {
                    told.push(process.pid);
                    if let Err(error) = end(process, signal, ended) {
                        refused.push(process.pid);
                        left.push(Left {
                            what: format!("{} ({})", process.command, process.pid),
                            reason: error.to_string(),
                        });
                    }
                }
            }
            inside.is_empty()
        });
    }
    for process in find_inside(record) {
        ended.retain(|gone| gone.pid != process.pid);
        if !refused.contains(&process.pid) {
            left.push(Left {
                what: format!("{} ({})", process.command, process.pid),
                reason: "it does not end, not even by SIGKILL".to_owned(),
            });
        }
    }
}

/// Notes the process as ended; whoever is still there in the end is struck off again.
fn end(process: &Inside, signal: Signal, ended: &mut Vec<Ended>) -> io::Result<()> {
    let same = procfs::incarnation(process.pid).is_ok_and(|now| now.start_ticks == process.start_ticks);
    if !same {
        return Ok(());
    }
    send(process.pid, signal)?;
    ended.retain(|earlier| earlier.pid != process.pid);
    ended.push(Ended {
        pid: process.pid,
        command: process.command.clone(),
        namespace: Some(process.namespace.clone()),
        forced: signal == Signal::SIGKILL,
    });
    Ok(())
}

fn find_inside(record: &WorldRecord) -> Vec<Inside> {
    // Another boot, another kernel: none of these namespaces exists.
    if !procfs::boot_id().is_ok_and(|boot_id| boot_id == record.holder.boot_id) {
        return Vec::new();
    }
    let own = std::process::id();
    procfs::processes()
        .into_iter()
        .filter(|pid| *pid != own)
        .filter_map(|pid| {
            let directory = format!("/proc/{pid}");
            let inode = procfs::net_namespace(&directory)?;
            let namespace = record.namespaces.iter().find(|n| n.inode == inode)?;
            let incarnation = procfs::incarnation(pid).ok()?;
            if incarnation.zombie || !record.mark.is_on(pid) {
                return None;
            }
            Some(Inside {
                pid,
                start_ticks: incarnation.start_ticks,
                command: procfs::command_name(&directory),
                namespace: namespace.name.clone(),
            })
        })
        .collect()
}

/// That the process is gone already is what we want.
fn send(pid: u32, signal: Signal) -> io::Result<()> {
    // 0 and negative numbers would mean whole groups of processes.
    let raw = i32::try_from(pid).ok().filter(|raw| *raw > 1);
    let pid = Pid::from_raw(raw.ok_or(io::ErrorKind::InvalidInput)?);
    match kill(pid, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Asks at once and then every [`POLL`]; false when `patience` is over.
fn wait_until(patience: Duration, mut done: impl FnMut() -> bool) -> bool {
    let since = Instant::now();
    loop {
        if done() {
            return true;
        }
        if since.elapsed() >= patience {
            return false;
        }
        thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_processes_and_init_are_never_signalled() {
        for pid in [0, 1, u32::MAX] {
            assert!(send(pid, Signal::SIGCONT).is_err());
        }
    }

    #[test]
    fn a_report_in_words() {
        let report = CleanReport {
            worlds: vec!["demo".to_owned()],
            ended: vec![Ended {
                pid: 42,
                command: "sleep".to_owned(),
                namespace: Some("pods".to_owned()),
                forced: true,
            }],
            ..CleanReport::default()
        };
        assert_eq!(report.to_string(), "removed the state file of world demo\nkilled sleep (42) in pods\n");
        assert_eq!(CleanReport::default().to_string(), "nothing to remove\n");
    }
}
