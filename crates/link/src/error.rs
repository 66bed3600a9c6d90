//! Errors, one type per operation.

use std::io;

/// Why a link could not be made.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No interface of that name in the network namespace of the calling thread.
    #[error("open a link on `{interface}`: no such interface in this network namespace")]
    NoSuchInterface {
        /// The name asked for.
        interface: String,
    },
    /// The kernel wants privileges that this process lacks.
    #[error("{what}: not permitted; needs {needs}")]
    NotPermitted {
        /// What was tried.
        what: &'static str,
        /// The capabilities it takes.
        needs: &'static str,
    },
    /// This kernel or this interface does not know the feature.
    #[error("{what}: not supported by this kernel or interface")]
    NotSupported {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Any other refusal of the kernel.
    #[error("{what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The options contradict each other or a limit of the kernel.
    #[error("open a link: {reason}")]
    Options {
        /// Which option, and what it must be.
        reason: &'static str,
    },
}

impl OpenError {
    /// Sorts the kernel's answer to `what`, which takes the capabilities `needs`.
    pub(crate) fn from_io(what: &'static str, needs: &'static str, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::EPERM) => Self::NotPermitted { what, needs },
            Some(libc::ENOPROTOOPT | libc::EOPNOTSUPP | libc::EAFNOSUPPORT | libc::ENOSYS) => {
                Self::NotSupported { what, source }
            }
            _ => Self::System { what, source },
        }
    }
}

/// Why nothing can be received.
#[derive(Debug, thiserror::Error)]
pub enum RecvError {
    /// The interface was set down or removed.
    #[error("receive frames: the interface is down or gone")]
    Down,
    /// Any other answer of the kernel.
    #[error("receive frames")]
    Io(#[source] io::Error),
}

/// Why nothing can be sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The interface was set down or removed.
    #[error("send frames: the interface is down or gone")]
    Down,
    /// Any other answer of the kernel.
    #[error("send frames")]
    Io(#[source] io::Error),
}

/// The answers that mean an interface is down or gone.
pub(crate) fn means_down(errno: i32) -> bool {
    matches!(errno, libc::ENETDOWN | libc::ENXIO | libc::ENODEV)
}
