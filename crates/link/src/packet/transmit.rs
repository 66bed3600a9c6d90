//! Sending by sendmmsg(2), straight from where the frames lie.

use crate::error::{SendError, means_down};
use crate::{BURST, LinkStats};
use natrig_wire::Frame;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// The most frames that go to the kernel in one call.
pub(crate) const BATCH_MAX: usize = BURST;

/// The two arrays that sendmmsg reads, kept so that sending allocates nothing. Between calls their pointers are stale and not used.
#[derive(Debug)]
pub(crate) struct Batch {
    vectors: Box<[libc::iovec]>,
    messages: Box<[libc::mmsghdr]>,
}

// SAFETY: the pointers inside are written and read within one call of `send`, which holds `&mut self`.
unsafe impl Send for Batch {}

impl Batch {
    pub(crate) fn new() -> Self {
        let vector = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        // SAFETY: all zeroes are a valid `mmsghdr`: null pointers and lengths of zero.
        let message: libc::mmsghdr = unsafe { std::mem::zeroed() };
        Self { vectors: vec![vector; BATCH_MAX].into(), messages: vec![message; BATCH_MAX].into() }
    }

    /// Sends the picked frames until the kernel takes no more; see [`crate::Link::send`].
    pub(crate) fn send(
        &mut self,
        fd: BorrowedFd<'_>,
        frames: &[Frame<'_>],
        pick: &[u16],
        stats: &mut LinkStats,
    ) -> Result<usize, SendError> {
        let mut taken = 0;
        while taken < pick.len() {
            let batch = &pick[taken..pick.len().min(taken + BATCH_MAX)];
            match self.send_batch(fd, frames, batch) {
                Ok(sent) => {
                    for index in &batch[..sent] {
                        stats.tx_bytes += frames[usize::from(*index)].len() as u64;
                    }
                    stats.tx_frames += sent as u64;
                    taken += sent;
                }
                Err(error) => match error.raw_os_error() {
                    // The first frame of the batch can never leave: longer than the MTU, or shorter than an Ethernet header.
                    Some(libc::EMSGSIZE | libc::EINVAL) => {
                        stats.tx_refused += 1;
                        taken += 1;
                    }
                    // No room in the socket or the device; the frame is not sent.
                    Some(libc::EAGAIN | libc::ENOBUFS) => return Ok(taken),
                    Some(libc::EINTR) => {}
                    // Told on the next call, which starts with the frame that failed.
                    _ if taken > 0 => return Ok(taken),
                    Some(errno) if means_down(errno) => return Err(SendError::Down),
                    _ => return Err(SendError::Io(error)),
                },
            }
        }
        Ok(taken)
    }

    /// One system call: how many frames of `batch` were sent. At least one, or an error about the first.
    fn send_batch(&mut self, fd: BorrowedFd<'_>, frames: &[Frame<'_>], batch: &[u16]) -> io::Result<usize> {
        for ((index, vector), message) in batch.iter().zip(&mut self.vectors).zip(&mut self.messages) {
            let bytes = frames[usize::from(*index)].bytes();
            *vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
            message.msg_hdr.msg_iov = vector;
            message.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: `batch` is no longer than the arrays, and each message used has just been pointed at its vector, and the vector at
        // bytes borrowed by `frames`, which the kernel only reads and has copied when the call returns.
        let sent = unsafe {
            libc::sendmmsg(fd.as_raw_fd(), self.messages.as_mut_ptr(), batch.len() as u32, libc::MSG_DONTWAIT)
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
    }
}
