//! Going into a world that another process holds.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;

use nix::sched::{CloneFlags, setns};
use thiserror::Error;

use super::WorldRecord;
use crate::procfs;

/// Why this process could not go into a world.
#[derive(Debug, Error)]
pub enum EnterWorldError {
    /// The holder has ended, and with it the world.
    #[error("enter world `{name}`: its holder, process {pid}, is dead: `natrig clean` removes what is left")]
    HolderDead {
        /// The world.
        name: String,
        /// Its holder.
        pid: u32,
    },
    /// The world has no such namespace.
    #[error("enter world `{name}`: it has no namespace `{namespace}`, only {known}")]
    UnknownNamespace {
        /// The world.
        name: String,
        /// What was asked for.
        namespace: String,
        /// What there is.
        known: String,
    },
    /// The holder's descriptor leads to something else than what it noted.
    #[error("enter world `{name}`: process {pid} no longer holds namespace `{namespace}`")]
    NotHeld {
        /// The world.
        name: String,
        /// Its holder.
        pid: u32,
        /// What was asked for.
        namespace: String,
    },
    /// Only a process with one thread can enter a user namespace.
    #[error("enter world `{name}`: this process already has {threads} threads")]
    Threads {
        /// The world.
        name: String,
        /// How many.
        threads: usize,
    },
    /// The kernel refuses.
    #[error("enter world `{name}`: {what}: {source}")]
    Refused {
        /// The world.
        name: String,
        /// Doing what.
        what: String,
        /// Why.
        source: io::Error,
    },
}

/// Moves this process into one namespace of a world, for a program to be executed there afterwards. For a world that was made in a
/// user namespace, it enters that first: to be called first thing in `main`, with one thread.
///
/// # Errors
/// The world has gone or has no such namespace, or the kernel refuses. After [`EnterWorldError::Refused`] the process may be in the user
/// namespace already and should end.
pub fn enter_existing(world: &WorldRecord, namespace: &str) -> Result<(), EnterWorldError> {
    let name = || world.name.clone();
    let pid = world.holder.pid;
    if !world.holder.is_alive() {
        return Err(EnterWorldError::HolderDead { name: name(), pid });
    }
    let target = world.namespaces.iter().find(|candidate| candidate.name == namespace).ok_or_else(|| {
        let known: Vec<_> = world.namespaces.iter().map(|n| n.name.as_str()).collect();
        EnterWorldError::UnknownNamespace { name: name(), namespace: namespace.to_owned(), known: known.join(", ") }
    })?;
    let refused =
        |what: &str, source: io::Error| EnterWorldError::Refused { name: name(), what: what.to_owned(), source };

    // Both are opened before anything changes: afterwards this process may see the holder with other eyes.
    let path = format!("/proc/{pid}/fd/{}", target.fd);
    let net = File::open(&path).map_err(|e| refused(&path, e))?;
    let inode = net.metadata().map_err(|e| refused(&path, e))?.ino();
    if inode != target.inode {
        return Err(EnterWorldError::NotHeld { name: name(), pid, namespace: namespace.to_owned() });
    }
    if let Some(user) = foreign_user_namespace(pid).map_err(|e| refused("its user namespace", e))? {
        setns(user, CloneFlags::CLONE_NEWUSER).map_err(|errno| {
            let threads = procfs::threads_of_this_process().len();
            if threads > 1 {
                EnterWorldError::Threads { name: name(), threads }
            } else {
                refused("its user namespace", errno.into())
            }
        })?;
    }
    setns(net, CloneFlags::CLONE_NEWNET).map_err(|errno| refused(namespace, errno.into()))
}

/// The user namespace of a process, unless it is ours: entering one's own is an error (setns(2)).
fn foreign_user_namespace(pid: u32) -> io::Result<Option<File>> {
    let theirs = File::open(format!("/proc/{pid}/ns/user"))?;
    let own = fs::metadata("/proc/self/ns/user")?.ino();
    Ok((theirs.metadata()?.ino() != own).then_some(theirs))
}
