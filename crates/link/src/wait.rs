//! Sleeping until one of several links has something.

use crate::Link;
use arrayvec::ArrayVec;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use std::io;
use std::time::Duration;

/// The most links that one call waits for.
pub const LINKS_MAX: usize = 64;

/// Why [`until_readable`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// At least one link has frames, or an error to tell.
    Readable,
    /// Nothing came in time, or a signal came first.
    TimedOut,
    /// A link among them cannot wake anybody and must be polled; no time was spent.
    MustPoll,
}

/// Sleeps until a link of `links` can be received from, `timeout` is over, or a signal arrives.
///
/// # Errors
/// What poll(2) answers, but for EINTR.
///
/// # Panics
/// With more than [`LINKS_MAX`] links.
pub fn until_readable(links: &[&dyn Link], timeout: Duration) -> io::Result<Woken> {
    let mut fds = ArrayVec::<PollFd<'_>, LINKS_MAX>::new();
    for link in links {
        match link.poll_fd() {
            Some(fd) => fds.push(PollFd::new(fd, PollFlags::POLLIN)),
            None => return Ok(Woken::MustPoll),
        }
    }
    match ppoll(&mut fds, Some(TimeSpec::from_duration(timeout)), None) {
        Ok(0) | Err(nix::errno::Errno::EINTR) => Ok(Woken::TimedOut),
        Ok(_) => Ok(Woken::Readable),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory;

    #[test]
    fn links_in_memory_must_be_polled() {
        let (a, b) = memory::pair(8, 64);
        assert_eq!(until_readable(&[&a, &b], Duration::from_secs(5)).unwrap(), Woken::MustPoll);
    }

    #[test]
    fn without_links_it_sleeps() {
        assert_eq!(until_readable(&[], Duration::from_millis(1)).unwrap(), Woken::TimedOut);
    }
}
