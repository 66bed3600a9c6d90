//! One link: some receive queues of an interface.

use super::queue::Queue;
use crate::bpf::Object;
use crate::error::means_down;
use crate::sys::{Interface, StateWatch};
use crate::{Link, LinkDescription, LinkKind, LinkStats, OpenError, RecvError, SendError};
use natrig_wire::Frame;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// An interface as all links through it see it.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) interface: Interface,
    /// Keeps the program attached.
    pub(super) _object: Object,
}

/// A link over AF_XDP sockets; made by [`super::open`].
#[derive(Debug)]
pub struct XdpLink {
    /// Frames are sent through the first.
    queues: Vec<Queue>,
    /// The queue looked at last.
    next: usize,
    /// What to wait on when there are several queues.
    any: Option<Epoll>,
    port: Arc<Port>,
    slots: u32,
    slot_bytes: u32,
    watch: StateWatch,
}

impl XdpLink {
    /// `queues`: at least one.
    pub(super) fn new(queues: Vec<Queue>, port: Arc<Port>, slots: u32, slot_bytes: u32) -> Result<Self, OpenError> {
        let failed = |errno: nix::Error| OpenError::System { what: "wait on several sockets", source: errno.into() };
        let any = if queues.len() > 1 {
            let any = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(failed)?;
            for queue in &queues {
                any.add(queue.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, 0)).map_err(failed)?;
            }
            Some(any)
        } else {
            None
        };
        Ok(Self { queues, next: 0, any, port, slots, slot_bytes, watch: StateWatch::default() })
    }
}

impl Link for XdpLink {
    fn recv(&mut self, max: usize, on_burst: &mut dyn FnMut(&mut [Frame<'_>])) -> Result<usize, RecvError> {
        for _ in 0..self.queues.len() {
            self.next = (self.next + 1) % self.queues.len();
            let count = self.queues[self.next].take(max, on_burst);
            if count > 0 {
                return Ok(count);
            }
        }
        // What the device had no room for earlier. An error is told by the next transmission.
        let _ = self.queues[0].flush();
        if self.watch.finds_down(&self.port.interface) { Err(RecvError::Down) } else { Ok(0) }
    }

    fn send(&mut self, frames: &[Frame<'_>], pick: &[u16]) -> Result<usize, SendError> {
        self.queues[0].put(frames, pick).map_err(send_error)
    }

    fn stats(&mut self) -> LinkStats {
        let mut sum = LinkStats::default();
        for queue in &self.queues {
            sum.rx_frames += queue.stats.rx_frames;
            sum.rx_bytes += queue.stats.rx_bytes;
            sum.rx_overflow += queue.rx_lost();
            sum.tx_frames += queue.stats.tx_frames;
            sum.tx_bytes += queue.stats.tx_bytes;
            sum.tx_refused += queue.stats.tx_refused;
        }
        sum
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.any.as_ref().map_or_else(|| self.queues[0].as_fd(), |any| any.0.as_fd()))
    }

    fn describe(&self) -> LinkDescription {
        LinkDescription {
            kind: LinkKind::Xdp,
            slots: self.slots,
            slot_bytes: self.slot_bytes,
            notes: vec![format!("{} receive queues, copy mode, need-wakeup, native XDP", self.queues.len())],
        }
    }
}

fn send_error(error: io::Error) -> SendError {
    match error.raw_os_error() {
        Some(errno) if means_down(errno) => SendError::Down,
        _ => SendError::Io(error),
    }
}
