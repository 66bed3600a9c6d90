//! One receive queue of an interface: its socket, its chunks, and how frames move through both.

use super::socket::Socket;
use super::umem::{Sizes, Umem};
use crate::{BURST, LinkStats};
use arrayvec::ArrayVec;
use natrig_wire::Frame;
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::Arc;

const ETHERNET_HEADER_LEN: usize = 14;

#[derive(Debug)]
pub(super) struct Queue {
    socket: Socket,
    umem: Arc<Umem>,
    /// Chunks of ours that are neither in a ring nor on their way.
    free: Vec<u32>,
    /// The longest frame that the interface lets out.
    tx_len_max: usize,
    pub(super) stats: LinkStats,
}

impl Queue {
    /// `chunks`: as many as the sizes say for one queue, this one's from now on.
    pub(super) fn new(mut socket: Socket, umem: Arc<Umem>, chunks: &[u32], sizes: &Sizes, mtu: u32) -> Self {
        let (to_kernel, free) = chunks.split_at(sizes.rx_slots as usize);
        for chunk in to_kernel {
            socket.fill.push(umem.address_of(*chunk));
        }
        socket.fill.publish();
        let tx_len_max = (mtu as usize + ETHERNET_HEADER_LEN).min(umem.chunk_bytes());
        Self { socket, free: free.to_vec(), tx_len_max, umem, stats: LinkStats::default() }
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Frames lost on the way in.
    pub(super) fn rx_lost(&self) -> u64 {
        self.socket.rx_lost()
    }

    /// Presents up to `max` frames in their chunks, and gives the kernel chunks for others.
    pub(super) fn take(&mut self, max: usize, on_burst: &mut dyn FnMut(&mut [Frame<'_>])) -> usize {
        let Self { socket, umem, stats, .. } = self;
        let mut burst = ArrayVec::<Frame<'_>, BURST>::new();
        let mut chunks = ArrayVec::<u32, BURST>::new();
        let mut bytes = 0;
        for descriptor in socket.rx.peek(max.min(BURST)) {
            chunks.push(umem.chunk_of(descriptor.addr));
            // SAFETY: the kernel has handed the chunk over by the descriptor; it goes back through the FILL ring below, after the
            // last use of `burst`. No two descriptors name the same chunk.
            let buf = unsafe { umem.rest_of_chunk(descriptor.addr).as_mut() };
            bytes += u64::from(descriptor.len);
            burst.push(Frame::new(buf, descriptor.len as usize));
        }
        let count = burst.len();
        if count > 0 {
            on_burst(&mut burst);
        }
        drop(burst);
        if count > 0 {
            stats.rx_frames += count as u64;
            stats.rx_bytes += bytes;
            socket.rx.release(count);
            for chunk in chunks {
                socket.fill.push(umem.address_of(umem.settle(chunk)));
            }
            socket.fill.publish();
            if socket.fill.wants_wakeup() {
                socket.kick_rx();
            }
        }
        count
    }

    /// Sends the picked frames until no chunk is free; see [`crate::Link::send`].
    pub(super) fn put(&mut self, frames: &[Frame<'_>], pick: &[u16]) -> io::Result<usize> {
        self.flush()?;
        self.reap();
        let mut taken = 0;
        for index in pick {
            let bytes = frames[usize::from(*index)].bytes();
            if !(ETHERNET_HEADER_LEN..=self.tx_len_max).contains(&bytes.len()) {
                self.stats.tx_refused += 1;
            } else if self.enqueue(bytes) {
                self.stats.tx_frames += 1;
                self.stats.tx_bytes += bytes.len() as u64;
            } else {
                break;
            }
            taken += 1;
        }
        self.socket.tx.publish();
        match self.flush() {
            Err(error) if taken == 0 => Err(error),
            // What was taken waits in the ring; the error is told by the next call.
            _ => Ok(taken),
        }
    }

    /// Takes back the chunks that the kernel has sent.
    fn reap(&mut self) {
        let Self { socket, umem, free, .. } = self;
        let sent = socket.completion.peek(usize::MAX);
        let count = sent.len();
        free.extend(sent.map(|address| umem.chunk_of(address)));
        socket.completion.release(count);
    }

    /// Puts a frame into the TX ring: where it lies, if that is a chunk of this UMEM, else in a copy. False if no chunk is free.
    fn enqueue(&mut self, bytes: &[u8]) -> bool {
        let Some(own) = self.free.pop() else { return false };
        let in_place = self
            .umem
            .address_at(bytes.as_ptr())
            .filter(|address| self.umem.exchange(self.umem.chunk_of(*address), own));
        let addr = in_place.unwrap_or_else(|| {
            let address = self.umem.address_of(own);
            let chunk = self.umem.rest_of_chunk(address).cast::<u8>();
            // SAFETY: the chunk is ours and free, so that `bytes` lies elsewhere; it is longer than `tx_len_max`, which the caller
            // has held `bytes` against.
            unsafe { chunk.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
            address
        });
        self.socket.tx.push(libc::xdp_desc { addr, len: bytes.len() as u32, options: 0 });
        true
    }

    /// Has the kernel send what is in the TX ring: in copy mode it does so within the call, some frames a call.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let mut pending = self.socket.tx.pending();
        while pending > 0 {
            let outcome = self.socket.kick_tx();
            let before = std::mem::replace(&mut pending, self.socket.tx.pending());
            match outcome.as_ref().map_err(io::Error::raw_os_error) {
                // The device has dropped the frame it was just given (kernel: `__xsk_generic_xmit`, NET_XMIT_DROP).
                Err(Some(libc::EBUSY)) => {
                    self.stats.tx_frames -= 1;
                    self.stats.tx_refused += 1;
                }
                Ok(()) | Err(Some(libc::EAGAIN | libc::ENOBUFS | libc::EINTR)) if pending < before => {}
                // No progress: room for completions is what may lack, and what can be made.
                Ok(()) | Err(Some(libc::EAGAIN | libc::ENOBUFS)) => {
                    let free = self.free.len();
                    self.reap();
                    if self.free.len() == free {
                        return Ok(());
                    }
                }
                Err(Some(libc::EINTR)) => {}
                Err(_) => return outcome,
            }
        }
        Ok(())
    }
}
