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

/// How a loop over links rests while nothing comes: it polls on for a moment, as answers often come within microseconds, and then
/// sleeps.
///
/// Where all links can wake it, it sleeps until one does. Where one cannot (rings in memory or in BPF maps), it sleeps blindly, longer
/// and longer: what comes then waits for up to [`BLIND_SLEEP_MAX`], and for the scheduler. Under load neither ever happens.
#[derive(Debug, Default)]
pub struct Rest {
    empty_polls: u32,
    blind_sleeps: u32,
}

/// Polls without a frame before sleeping.
const POLLS_BEFORE_SLEEP: u32 = 200;

const BLIND_SLEEP_MIN: Duration = Duration::from_micros(50);
/// The longest sleep between two looks at links that cannot wake anybody. A ring of 8192 slots holds what comes in that time at four
/// million frames a second.
pub const BLIND_SLEEP_MAX: Duration = Duration::from_millis(2);

impl Rest {
    /// Something came.
    pub const fn work(&mut self) {
        *self = Self { empty_polls: 0, blind_sleeps: 0 };
    }

    /// Nothing came: returns at once, or sleeps for at most `nap`.
    ///
    /// # Errors
    /// As [`until_readable`].
    pub fn rest(&mut self, links: &[&dyn Link], nap: Duration) -> io::Result<()> {
        self.empty_polls += 1;
        if self.empty_polls <= POLLS_BEFORE_SLEEP {
            return Ok(());
        }
        if until_readable(links, nap)? != Woken::MustPoll {
            // It may have been a signal, or a frame for somebody else: look once, then sleep on.
            self.empty_polls = POLLS_BEFORE_SLEEP;
            return Ok(());
        }
        let sleep = BLIND_SLEEP_MIN.saturating_mul(1 << self.blind_sleeps.min(16)).min(BLIND_SLEEP_MAX).min(nap);
        self.blind_sleeps = self.blind_sleeps.saturating_add(1);
        std::thread::sleep(sleep);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory;

    #[test]
    fn it_polls_on_before_it_sleeps_and_again_after_work() {
        let (a, b) = memory::pair(8, 64);
        let mut rest = Rest::default();
        for _ in 0..2 {
            for _ in 0..POLLS_BEFORE_SLEEP {
                rest.rest(&[&a, &b], Duration::from_secs(5)).unwrap();
            }
            assert_eq!(rest.blind_sleeps, 0);
            for sleeps in 1..=3 {
                rest.rest(&[&a, &b], Duration::from_secs(5)).unwrap();
                assert_eq!(rest.blind_sleeps, sleeps);
            }
            rest.work();
        }
    }

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
