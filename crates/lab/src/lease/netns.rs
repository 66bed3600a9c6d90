//! An anonymous network namespace: a file descriptor, and nothing in any file system.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::MetadataExt;

use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace, kept by a file descriptor: with the last descriptor and the last process in it, it is gone.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    file: File,
    inode: u64,
}

impl Namespace {
    /// Makes a namespace and leaves the calling thread in it: for threads that are thrown away afterwards.
    pub(super) fn make_and_enter(name: &str) -> io::Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        // Not /proc/self: that is the process's first thread, which stays where it is.
        let file = File::open("/proc/thread-self/ns/net")?;
        Ok(Self { name: name.to_owned(), inode: file.metadata()?.ino(), file })
    }

    /// Moves the calling thread, and no other, into the namespace: for threads that are thrown away afterwards.
    pub(super) fn enter(&self) -> io::Result<()> {
        Ok(setns(&self.file, CloneFlags::CLONE_NEWNET)?)
    }

    /// The same namespace under a descriptor of its own.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { name: self.name.clone(), file: self.file.try_clone()?, inode: self.inode })
    }

    /// The name it has in its plan.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What `ls -i /proc/PID/ns/net` shows for a process in it. The kernel reuses the numbers of namespaces that are gone.
    pub const fn inode(&self) -> u64 {
        self.inode
    }

    /// The number of the descriptor in this process: others reach the namespace as `/proc/PID/fd/NUMBER`.
    pub fn fd_number(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
