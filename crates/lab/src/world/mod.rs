//! Worlds that stand until they are taken down: `natrig up`, `exec`, `down`, `clean`.
//!
//! A world is held by a process, its *holder*, and lasts as long as that. What lies on disk is one file per world that says who holds
//! it and where. After a holder's sudden death only two things are left: that file, and whatever programs were started inside.

mod enter;
mod mark;
mod reap;
mod state_dir;

use std::os::fd::RawFd;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::enter::{EnterWorldError, enter_existing};
pub use self::mark::WorldMark;
pub use self::reap::{CleanReport, DownError, DownReport, Ended, Left, clean, down};
pub use self::state_dir::{HeldWorld, STATE_DIR_VARIABLE, StateDir, StateDirError, StateFile, WorldError};
use crate::lease::Lease;
use crate::privilege::Mode;
use crate::procfs;

/// The format of the state file that this version writes and reads.
pub const WORLD_FORMAT: u32 = 1;

/// Longest name of a world.
pub const WORLD_NAME_MAX: usize = 32;

/// What the state file of a world says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldRecord {
    /// [`WORLD_FORMAT`].
    pub format: u32,
    /// The world's name.
    pub name: String,
    /// Who holds it.
    pub holder: Holder,
    /// How it was made.
    pub mode: Mode,
    /// The scenario it was made from, as the user named it.
    pub scenario: String,
    /// What every namespace carries, so that nothing else is ever taken for one.
    pub mark: WorldMark,
    /// The namespaces.
    pub namespaces: Vec<NamespaceRecord>,
}

/// The process that holds a world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    /// Process number.
    pub pid: u32,
    /// When it started, in clock ticks since boot: process numbers are used again, both together are not.
    pub start_ticks: u64,
    /// Which boot.
    pub boot_id: String,
}

/// One namespace of a world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamespaceRecord {
    /// Its name in the plan.
    pub name: String,
    /// Its inode number.
    pub inode: u64,
    /// The holder's descriptor of it.
    pub fd: RawFd,
}

/// Why no record can be made.
#[derive(Debug, Error)]
pub enum RecordError {
    /// The name would not do for a file.
    #[error("`{0}` is no name for a world: 1 to {WORLD_NAME_MAX} lower-case letters, digits, `-` and `_`")]
    Name(String),
    /// `/proc` does not tell about this process.
    #[error("read about this process in /proc: {0}")]
    Proc(#[from] std::io::Error),
}

impl WorldRecord {
    /// A record of a world that this process holds by `lease`, whose plan was made with `mark`.
    ///
    /// # Errors
    /// The name would not do, or `/proc` does not tell about this process.
    pub fn of(name: &str, mode: Mode, scenario: &str, mark: WorldMark, lease: &Lease) -> Result<Self, RecordError> {
        check_name(name)?;
        Ok(Self {
            format: WORLD_FORMAT,
            name: name.to_owned(),
            holder: Holder::this_process()?,
            mode,
            scenario: scenario.to_owned(),
            mark,
            namespaces: lease
                .namespaces()
                .iter()
                .map(|namespace| NamespaceRecord {
                    name: namespace.name().to_owned(),
                    inode: namespace.inode(),
                    fd: namespace.fd_number(),
                })
                .collect(),
        })
    }
}

/// Whether a world can have that name.
///
/// # Errors
/// It cannot.
pub fn check_name(name: &str) -> Result<(), RecordError> {
    let fits = (1..=WORLD_NAME_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    if fits { Ok(()) } else { Err(RecordError::Name(name.to_owned())) }
}

impl Holder {
    fn this_process() -> std::io::Result<Self> {
        let pid = std::process::id();
        Ok(Self { pid, start_ticks: procfs::incarnation(pid)?.start_ticks, boot_id: procfs::boot_id()? })
    }

    /// Whether it still runs: this very process, not a later one of the same number.
    pub fn is_alive(&self) -> bool {
        procfs::boot_id().is_ok_and(|boot_id| boot_id == self.boot_id)
            && procfs::incarnation(self.pid).is_ok_and(|now| now.start_ticks == self.start_ticks && !now.zombie)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_not_do() {
        for name in ["", "Demo", "a/b", "..", ".hidden", "a b", &"x".repeat(33)] {
            assert!(check_name(name).is_err(), "{name}");
        }
        for name in ["demo", "a-1_b", &"x".repeat(32)] {
            assert!(check_name(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_holder_is_one_incarnation_in_one_boot() {
        let holder = Holder::this_process().unwrap();
        assert!(holder.is_alive());
        let later = Holder { start_ticks: holder.start_ticks + 1, ..holder.clone() };
        assert!(!later.is_alive(), "a later process of the same number");
        let rebooted = Holder { boot_id: "another".to_owned(), ..holder };
        assert!(!rebooted.is_alive(), "a process of another boot");
    }
}
