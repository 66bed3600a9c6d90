//! Sending by sendmmsg(2), straight from where the frames lie.

use super::merge::{AS_IT_IS, Head};
use super::socket;
use crate::error::{SendError, means_down};
use crate::{BURST, LinkStats};
use natrig_wire::Frame;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// The most frames that go to the kernel in one call.
pub(crate) const BATCH_MAX: usize = BURST;

/// The arrays that sendmmsg reads, kept so that sending allocates nothing. Between calls their pointers are stale and not used.
#[derive(Debug)]
pub(crate) struct Batch {
    vectors: Box<[libc::iovec]>,
    messages: Box<[libc::mmsghdr]>,
    merging: Option<Merging>,
}

/// For a socket that wants to know what each message stands for.
#[derive(Debug)]
struct Merging {
    /// What stands in front of each message.
    heads: Box<[Head]>,
    /// Frames in each message.
    counts: Box<[usize]>,
    /// The longest frame that is merged with others; none once the kernel has refused to take any.
    frame_len_max: usize,
    /// Whether the socket may still send past the queueing discipline.
    may_bypass: bool,
}

// SAFETY: the pointers inside are written and read within one call of `send`, which holds `&mut self`.
unsafe impl Send for Batch {}

impl Batch {
    pub(crate) fn new() -> Self {
        let vector = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        // SAFETY: all zeroes are a valid `mmsghdr`: null pointers and lengths of zero.
        let message: libc::mmsghdr = unsafe { std::mem::zeroed() };
        Self { vectors: vec![vector; BATCH_MAX].into(), messages: vec![message; BATCH_MAX].into(), merging: None }
    }

    /// For a socket with PACKET_VNET_HDR: frames of up to `frame_len_max` bytes that make up a longer one leave as that.
    pub(crate) fn merging(frame_len_max: usize) -> Self {
        let Self { vectors, messages, .. } = Self::new();
        let (heads, counts) = (vec![AS_IT_IS; BATCH_MAX].into(), vec![0; BATCH_MAX].into());
        // A head and a payload for each frame, at most.
        let vectors = [&*vectors, &*vectors].concat().into();
        Self { vectors, messages, merging: Some(Merging { heads, counts, frame_len_max, may_bypass: true }) }
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
                    Some(libc::EMSGSIZE | libc::EINVAL) if self.gives_up_merging() => {}
                    Some(libc::ENOBUFS) if self.gives_up_bypass(fd) => {}
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

    /// Whether the message that the kernel has refused stood for several frames: from now on each leaves by itself.
    fn gives_up_merging(&mut self) -> bool {
        let refused = self.merging.as_mut().filter(|merging| merging.counts[0] > 1);
        refused.map(|merging| merging.frame_len_max = 0).is_some()
    }

    /// The way past the queueing discipline drops what has to be cut for the interface (kernel: `__dev_direct_xmit` in `net/core/dev.c`): the
    /// ordinary way cuts it. True when it has just been taken.
    fn gives_up_bypass(&mut self, fd: BorrowedFd<'_>) -> bool {
        let dropped = self.merging.as_mut().filter(|merging| merging.counts[0] > 1 && merging.may_bypass);
        dropped.is_some_and(|merging| {
            merging.may_bypass = false;
            socket::bypass_queueing(fd, false).is_ok()
        })
    }

    /// One system call: how many frames of `batch` were sent. At least one, or an error about the first message.
    fn send_batch(&mut self, fd: BorrowedFd<'_>, frames: &[Frame<'_>], batch: &[u16]) -> io::Result<usize> {
        if self.merging.is_some() {
            return self.send_merged(fd, frames, batch);
        }
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

    /// The same where frames that make up a longer one leave as that.
    fn send_merged(&mut self, fd: BorrowedFd<'_>, frames: &[Frame<'_>], batch: &[u16]) -> io::Result<usize> {
        let Self { vectors, messages, merging: Some(Merging { heads, counts, frame_len_max, .. }) } = self else {
            return Ok(0);
        };
        let (mut named, mut used, mut at) = (0, 0, 0);
        while at < batch.len() {
            let count;
            (heads[named], count) = Head::of(frames, &batch[at..], *frame_len_max);
            let head = &heads[named];
            let run = &mut vectors[used..=used + count];
            run[0] = libc::iovec { iov_base: head.bytes().as_ptr().cast_mut().cast(), iov_len: head.bytes().len() };
            for (vector, index) in run[1..].iter_mut().zip(&batch[at..]) {
                let payload = &frames[usize::from(*index)].bytes()[head.replaces()..];
                *vector = libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() };
            }
            let message = &mut messages[named].msg_hdr;
            (message.msg_iov, message.msg_iovlen) = (run.as_mut_ptr(), run.len());
            counts[named] = count;
            (named, used, at) = (named + 1, used + count + 1, at + count);
        }
        // SAFETY: `named` messages have just been pointed at vectors of their own, and these at heads, which nothing changes before the
        // call returns, and at bytes borrowed by `frames`; the kernel only reads them and has copied them when it returns.
        let sent = unsafe { libc::sendmmsg(fd.as_raw_fd(), messages.as_mut_ptr(), named as u32, libc::MSG_DONTWAIT) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(counts[..sent as usize].iter().sum()) }
    }
}
