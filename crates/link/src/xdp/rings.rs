//! The four rings of an AF_XDP socket, single-producer single-consumer, shared with the kernel.
//!
//! Both sides store their own index with release order after they are done with the entries before it, and load the other's with
//! acquire order before they touch entries (kernel: `net/xdp/xsk_queue.h`).

use crate::sys::Mapping;
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// Entries of a ring: frame addresses (`u64`) or descriptors, plain integers both.
pub(super) trait Entry: Copy {}
impl Entry for u64 {}
impl Entry for libc::xdp_desc {}

/// The mapping of one ring, whichever side we are.
#[derive(Debug)]
struct Shared<T> {
    mapping: Mapping,
    offsets: libc::xdp_ring_offset,
    entries: u32,
    _entry: std::marker::PhantomData<T>,
}

impl<T: Entry> Shared<T> {
    fn new(fd: BorrowedFd<'_>, offset: u64, offsets: libc::xdp_ring_offset, entries: u32) -> io::Result<Self> {
        let len = offsets.desc as usize + entries as usize * size_of::<T>();
        let mapping = Mapping::new(fd, len, offset as i64)?;
        Ok(Self { mapping, offsets, entries, _entry: std::marker::PhantomData })
    }

    fn word(&self, offset: u64) -> &AtomicU32 {
        // SAFETY: the kernel said that one of the ring's words is there; it is aligned, mapped as long as `self`, and only accessed
        // atomically.
        unsafe { self.mapping.start().add(offset as usize).cast::<AtomicU32>().as_ref() }
    }

    fn producer(&self) -> &AtomicU32 {
        self.word(self.offsets.producer)
    }

    fn consumer(&self) -> &AtomicU32 {
        self.word(self.offsets.consumer)
    }

    fn wants_wakeup(&self) -> bool {
        self.word(self.offsets.flags).load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }

    fn entry(&self, number: u32) -> NonNull<T> {
        let index = number & (self.entries - 1);
        // SAFETY: `index < entries`, and the mapping holds that many after `desc`, aligned for them.
        unsafe { self.mapping.start().add(self.offsets.desc as usize).cast::<T>().add(index as usize) }
    }
}

/// A ring that we fill: FILL or TX.
#[derive(Debug)]
pub(super) struct Producer<T> {
    shared: Shared<T>,
    /// Entries written, up to which the kernel has been told or will be by [`Producer::publish`].
    produced: u32,
}

impl<T: Entry> Producer<T> {
    pub(super) fn new(
        fd: BorrowedFd<'_>,
        offset: u64,
        offsets: libc::xdp_ring_offset,
        entries: u32,
    ) -> io::Result<Self> {
        Ok(Self { shared: Shared::new(fd, offset, offsets, entries)?, produced: 0 })
    }

    /// Writes an entry. The caller never has more entries in a ring than it has room for, as there are no more chunks than that. The kernel's
    /// index does not say so: it hands frames over first, and then tells which entries it took for them (`xsk_flush` in `net/xdp/xsk.c`).
    pub(super) fn push(&mut self, entry: T) {
        // SAFETY: the entry is past the published index, so the kernel does not look at it.
        unsafe { self.shared.entry(self.produced).write(entry) };
        self.produced = self.produced.wrapping_add(1);
    }

    /// Tells the kernel of all entries written.
    pub(super) fn publish(&mut self) {
        self.shared.producer().store(self.produced, Ordering::Release);
    }

    /// Entries that the kernel has not taken.
    pub(super) fn pending(&self) -> u32 {
        self.produced.wrapping_sub(self.shared.consumer().load(Ordering::Acquire))
    }

    /// Whether the kernel waits for a system call before it looks at the ring.
    pub(super) fn wants_wakeup(&self) -> bool {
        self.shared.wants_wakeup()
    }
}

/// A ring that the kernel fills: RX or COMPLETION.
#[derive(Debug)]
pub(super) struct Consumer<T> {
    shared: Shared<T>,
    consumed: u32,
}

impl<T: Entry> Consumer<T> {
    pub(super) fn new(
        fd: BorrowedFd<'_>,
        offset: u64,
        offsets: libc::xdp_ring_offset,
        entries: u32,
    ) -> io::Result<Self> {
        Ok(Self { shared: Shared::new(fd, offset, offsets, entries)?, consumed: 0 })
    }

    /// Entries there, up to `max`; they stay until [`Consumer::release`].
    pub(super) fn peek(&self, max: usize) -> impl ExactSizeIterator<Item = T> + '_ {
        let there = self.shared.producer().load(Ordering::Acquire).wrapping_sub(self.consumed);
        (0..there.min(max as u32)).map(|nth| {
            // SAFETY: the kernel has published the entry and does not write it again before it is released.
            unsafe { self.shared.entry(self.consumed.wrapping_add(nth)).read() }
        })
    }

    /// Gives the first `count` entries back.
    pub(super) fn release(&mut self, count: usize) {
        self.consumed = self.consumed.wrapping_add(count as u32);
        self.shared.consumer().store(self.consumed, Ordering::Release);
    }
}
