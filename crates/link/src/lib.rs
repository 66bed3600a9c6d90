//! Links: bursts of frames in and out.
//!
//! A [`Link`] presents the frames that have arrived where they lie and takes what is to be sent. [`memory`] joins two stages of one
//! process; [`packet`], [`xdp`], [`ring`] and [`pnet`] speak to network interfaces through the kernel; [`fault`], [`tap`] and
//! [`complete`] wrap any link; [`passage`] stamps a sample of what passes, [`kernel_tap`] the same where the kernel forwards.
//! [`redirect`] joins two interfaces without any link.
//! [`available`] says which kinds can be made here. [`wait`] sleeps until one of several links has something, [`clock`],
//! [`affinity`] and [`priority`] are the few other things that a packet loop asks of the system; [`tcp`] asks about a connection. All unsafe code of the project is in this crate.

pub mod affinity;
mod bpf;
pub mod clock;
pub mod complete;
mod error;
pub mod fault;
pub mod kernel_tap;
pub mod memory;
pub mod packet;
pub mod passage;
pub mod pnet;
pub mod priority;
mod probe;
pub mod redirect;
pub mod ring;
mod stats;
mod sys;
pub mod tap;
pub mod tcp;
pub mod wait;
pub mod xdp;

use arrayvec::ArrayVec;
use natrig_wire::Frame;
use std::fmt::Debug;
use std::os::fd::BorrowedFd;

pub use error::{OpenError, RecvError, SendError};
pub use probe::available;
pub use stats::{LinkDescription, LinkKind, LinkStats};

/// The most frames that one call of [`Link::recv`] presents. Most links present fewer at once; those that pay for each call of the
/// kernel and not for each frame want as many as they can get.
pub const BURST_MAX: usize = 2048;

/// What links present at once that gain nothing from longer bursts: few enough that the frames are still in the nearest cache when
/// they are sent.
pub(crate) const BURST: usize = 256;

/// The longest frame of a standard Ethernet, without its frame check sequence, in bytes.
pub const FRAME_LEN_MAX: usize = 1514;

/// The longest packet that an interface of the calling thread's network namespace takes, in bytes, without the Ethernet header.
///
/// # Errors
/// [`OpenError::NoSuchInterface`], or what the kernel answers.
pub fn mtu(interface: &str) -> Result<u32, OpenError> {
    let found = sys::Interface::find(interface)?;
    found.mtu().map_err(|source| OpenError::System { what: "ask for the MTU", source })
}

/// Whether what comes from an interface of the calling thread's network namespace may be TCP segments in one piece, which an XDP program
/// there would have the sender cut: it is an end of a veth pair with segmentation offload, as the kernel makes both ends.
pub fn brings_whole_segments(interface: &str) -> bool {
    sys::Interface::find(interface).is_ok_and(|interface| interface.is_veth() && interface.cuts_segments())
}

/// [`Link::send_timed`] of a link that waits for nothing.
pub(crate) fn send_at_once<L: Link + ?Sized>(
    link: &mut L,
    frames: &[Frame<'_>],
    pick: &[u16],
    differ: usize,
    times: &mut [u64],
) -> Result<usize, SendError> {
    let taken = link.send_alike(frames, pick, differ)?;
    times.fill(clock::now_ns());
    Ok(taken)
}

/// Bursts of Ethernet frames in and out.
pub trait Link: Send {
    /// Presents up to `max` (at most [`BURST_MAX`]) received frames in place to `on_burst`, which is called at most once and never
    /// with an empty slice, and releases their slots afterwards. Never waits. Returns how many were presented.
    ///
    /// # Errors
    /// What the kernel says about the link as a whole; losing single frames is no error but a count in [`LinkStats`].
    fn recv(&mut self, max: usize, on_burst: &mut dyn FnMut(&mut [Frame<'_>])) -> Result<usize, RecvError>;

    /// Sends `frames[i]` for each `i` of `pick`, in that order, and returns how many of `pick` were taken: a prefix, shorter than
    /// `pick` when the way out is full. Never waits. A frame that can never leave (longer than the link's slots or the interface's
    /// MTU) is taken, not sent, and counted in [`LinkStats::tx_refused`], so that it does not block the frames behind it.
    ///
    /// # Errors
    /// When nothing was taken and trying again does not help by itself.
    ///
    /// # Panics
    /// If an index in `pick` is outside `frames`.
    fn send(&mut self, frames: &[Frame<'_>], pick: &[u16]) -> Result<usize, SendError>;

    /// As [`Link::send`], of frames that are all of one length and the same from byte `differ` on: a link that knows so need not copy what
    /// it has copied for the frame before.
    ///
    /// # Errors
    /// As [`Link::send`].
    fn send_alike(&mut self, frames: &[Frame<'_>], pick: &[u16], differ: usize) -> Result<usize, SendError> {
        let _ = differ;
        self.send(frames, pick)
    }

    /// For how long [`Self::send_timed`] waits for the time of a frame after the one before, in nanoseconds; 0: it does not wait.
    fn waits_ns(&self) -> u64 {
        0
    }

    /// As [`Self::send_alike`], but no frame leaves before its time of `times` ([`clock::now_ns`]), which is replaced by a time at which it
    /// had left. The call lasts until then, so gaps between times, and to the first, must not be longer than [`Self::waits_ns`], or it is
    /// lost and counted in [`LinkStats::tx_refused`].
    ///
    /// # Errors
    /// As for [`Self::send`].
    fn send_timed(
        &mut self,
        frames: &[Frame<'_>],
        pick: &[u16],
        differ: usize,
        times: &mut [u64],
    ) -> Result<usize, SendError> {
        send_at_once(self, frames, pick, differ, times)
    }

    /// Memory from which this link sends without a copy, for whoever makes frames, if it has any and it is not lent already. Frames made
    /// elsewhere are sent all the same.
    fn lend(&mut self) -> Option<Box<dyn Loan>> {
        None
    }

    /// Counters since the link was made. They never go down.
    fn stats(&mut self) -> LinkStats;

    /// What to wait on for callers that want to sleep until something arrives; `None` for a link that must be polled.
    fn poll_fd(&self) -> Option<BorrowedFd<'_>>;

    /// What this link is, for the result.
    fn describe(&self) -> LinkDescription;
}

/// Memory that belongs to a link and to whoever borrowed it: [`Link::lend`].
pub trait Loan: Send + Debug {
    /// Appends the first `count` places for a frame (at most as many as there is room for), always the same, and each as it was left,
    /// whole.
    fn places<'a>(&'a mut self, count: usize, frames: &mut ArrayVec<Frame<'a>, BURST_MAX>);
}

impl<L: Link + ?Sized> Link for Box<L> {
    fn recv(&mut self, max: usize, on_burst: &mut dyn FnMut(&mut [Frame<'_>])) -> Result<usize, RecvError> {
        (**self).recv(max, on_burst)
    }

    fn send(&mut self, frames: &[Frame<'_>], pick: &[u16]) -> Result<usize, SendError> {
        (**self).send(frames, pick)
    }

    fn send_alike(&mut self, frames: &[Frame<'_>], pick: &[u16], differ: usize) -> Result<usize, SendError> {
        (**self).send_alike(frames, pick, differ)
    }

    fn waits_ns(&self) -> u64 {
        (**self).waits_ns()
    }

    fn send_timed(
        &mut self,
        frames: &[Frame<'_>],
        pick: &[u16],
        differ: usize,
        times: &mut [u64],
    ) -> Result<usize, SendError> {
        (**self).send_timed(frames, pick, differ, times)
    }

    fn lend(&mut self) -> Option<Box<dyn Loan>> {
        (**self).lend()
    }

    fn stats(&mut self) -> LinkStats {
        (**self).stats()
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        (**self).poll_fd()
    }

    fn describe(&self) -> LinkDescription {
        (**self).describe()
    }
}
