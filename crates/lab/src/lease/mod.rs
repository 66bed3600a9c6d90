//! A built world. It lasts exactly as long as this process holds it: every namespace is a file descriptor and has no name in any file
//! system, and interfaces, addresses and routes live in namespaces. Whatever ends the process, a signal that cannot be caught
//! included, the kernel closes the descriptors and takes everything down.

mod build;
mod conntrack;
mod counters;
mod ethtool;
mod ip_losses;
mod kernel;
mod lookup;
mod napi;
mod netlink;
mod netns;
mod routing;
mod watch;

use std::fmt;
use std::io;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

pub use self::build::{BuildError, StepError};
pub use self::conntrack::ConntrackCounters;
pub use self::counters::{CountersError, InterfaceCounters};
pub use self::ip_losses::IpLosses;
pub use self::kernel::{KernelBox, KernelBoxError, KernelCounters};
pub use self::lookup::{Lookup, LookupError, Way};
pub use self::netns::Namespace;
pub use self::watch::{Heading, RULE_LOG_GROUP, RuleHit, Seen, Sighting, Watch, WatchError};
use crate::plan::Plan;
use crate::procfs;

/// A world that stands. Dropping it takes it down; [`Lease::close`] also tells what keeps it from going.
#[derive(Debug)]
pub struct Lease {
    namespaces: Vec<Namespace>,
}

impl Plan {
    /// Builds the world.
    ///
    /// # Errors
    /// The first step that failed; what the steps before it made is gone again.
    pub fn build(&self) -> Result<Lease, BuildError> {
        build::build(self, Vec::new()).map(|namespaces| Lease { namespaces })
    }
}

/// Why a namespace cannot be entered.
#[derive(Debug, Error)]
pub enum EnterError {
    /// The world has no such namespace.
    #[error("enter namespace `{0}`: this world has none of that name")]
    Unknown(String),
    /// The kernel refuses.
    #[error("enter namespace `{namespace}`: {source}")]
    Refused {
        /// The namespace.
        namespace: String,
        /// Why.
        source: io::Error,
    },
}

/// Why a program cannot be started in a namespace.
#[derive(Debug, Error)]
pub enum SpawnError {
    /// The namespace cannot be entered.
    #[error("start {program}: {source}")]
    Enter {
        /// The program.
        program: String,
        /// Why.
        source: EnterError,
    },
    /// The program cannot be started.
    #[error("start {program} in namespace `{namespace}`: {source}")]
    Program {
        /// The program.
        program: String,
        /// The namespace.
        namespace: String,
        /// Why.
        source: io::Error,
    },
}

/// The world was given up, and is not gone: others are still inside. The last one to leave takes it down.
#[derive(Debug, Error)]
#[error("take the world down: still in use by {}", list(.users))]
pub struct CloseError {
    /// Who is inside.
    pub users: Vec<NamespaceUser>,
}

/// A process or thread inside a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceUser {
    /// The namespace's name in the plan.
    pub namespace: String,
    /// Process number, or thread number for a thread of this process.
    pub pid: u32,
    /// The command's or the thread's name.
    pub command: String,
}

impl fmt::Display for NamespaceUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}) in {}", self.command, self.pid, self.namespace)
    }
}

fn list(users: &[NamespaceUser]) -> String {
    let users: Vec<_> = users.iter().map(NamespaceUser::to_string).collect();
    users.join(", ")
}

/// A thread that has been joined, or a process that has been waited for, is inside a moment longer: the kernel reports the end before
/// it lets go of the namespaces (`do_exit` in `kernel/exit.c`).
const LEAVING: Duration = Duration::from_millis(200);

impl Lease {
    /// The namespaces, in the plan's order.
    pub fn namespaces(&self) -> &[Namespace] {
        &self.namespaces
    }

    /// Carries out further steps in the world that stands. Namespaces that they make are gone again at the end.
    ///
    /// # Errors
    /// The first step that failed; those before it have been done.
    pub fn apply(&self, plan: &Plan) -> Result<(), BuildError> {
        if plan.steps.is_empty() {
            return Ok(());
        }
        let namespaces =
            self.namespaces.iter().map(Namespace::try_clone).collect::<Result<_, _>>().map_err(|error| BuildError {
                number: 1,
                total: plan.steps.len(),
                step: String::new(),
                reason: StepError::Enter(error),
            })?;
        build::build(plan, namespaces).map(drop)
    }

    /// Runs `work` in a thread inside the namespace and waits for it: sockets opened there belong to the namespace, wherever they are
    /// used afterwards. The calling thread stays where it is. A panic in `work` goes on in the caller.
    ///
    /// # Errors
    /// No such namespace, or it cannot be entered; `work` has not run then.
    pub fn run_in<T: Send>(&self, namespace: &str, work: impl FnOnce() -> T + Send) -> Result<T, EnterError> {
        let namespace = self
            .namespaces
            .iter()
            .find(|candidate| candidate.name() == namespace)
            .ok_or_else(|| EnterError::Unknown(namespace.to_owned()))?;
        let inside = || {
            namespace
                .enter()
                .map_err(|source| EnterError::Refused { namespace: namespace.name().to_owned(), source })?;
            Ok(work())
        };
        thread::scope(|scope| match scope.spawn(inside).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// Starts a program inside the namespace: a child gets the namespaces of the thread that starts it.
    ///
    /// The child keeps its namespace alive; end it before the lease.
    ///
    /// # Errors
    /// No such namespace, it cannot be entered, or the program cannot be started.
    pub fn spawn_in(&self, namespace: &str, command: &mut Command) -> Result<Child, SpawnError> {
        let program = command.get_program().to_string_lossy().into_owned();
        match self.run_in(namespace, || command.spawn()) {
            Ok(Ok(child)) => Ok(child),
            Ok(Err(source)) => Err(SpawnError::Program { program, namespace: namespace.to_owned(), source }),
            Err(source) => Err(SpawnError::Enter { program, source }),
        }
    }

    /// The kernel's counters of every interface.
    ///
    /// # Errors
    /// A namespace cannot be entered, or netlink does not answer.
    pub fn link_stats(&self) -> Result<Vec<InterfaceCounters>, CountersError> {
        counters::read(&self.namespaces)
    }

    /// The kernel's threads that NAPI of an interface runs in; none where it does not, or where the kernel does not tell.
    ///
    /// # Errors
    /// No such namespace, or it cannot be entered.
    pub fn napi_threads(&self, namespace: &str, interface: &str) -> Result<Vec<u32>, EnterError> {
        self.run_in(namespace, || napi::threads(interface).unwrap_or_default())
    }

    /// Takes the world down.
    ///
    /// # Errors
    /// Others are still inside, so that the kernel keeps it until they leave. The lease itself is given up all the same.
    pub fn close(self) -> Result<(), CloseError> {
        let since = Instant::now();
        loop {
            let users = self.users();
            if users.is_empty() {
                return Ok(());
            }
            if since.elapsed() > LEAVING {
                return Err(CloseError { users });
            }
            thread::sleep(LEAVING / 20);
        }
    }

    fn users(&self) -> Vec<NamespaceUser> {
        let name_of = |inode| {
            self.namespaces
                .iter()
                .find(|namespace| namespace.inode() == inode)
                .map(|namespace| namespace.name().to_owned())
        };
        let threads = procfs::threads_of_this_process().into_iter().map(|tid| (tid, format!("/proc/self/task/{tid}")));
        let own = std::process::id();
        let processes =
            procfs::processes().into_iter().filter(|pid| *pid != own).map(|pid| (pid, format!("/proc/{pid}")));
        threads
            .chain(processes)
            .filter_map(|(pid, directory)| {
                let namespace = name_of(procfs::net_namespace(&directory)?)?;
                let command = procfs::command_name(&directory);
                Some(NamespaceUser { namespace, pid, command })
            })
            .collect()
    }
}
