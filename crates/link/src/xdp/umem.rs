//! The memory that frames lie in, cut into chunks.
//!
//! Each chunk belongs to one queue at a time, or to the kernel on behalf of one. A queue that sends a frame from a chunk of another
//! keeps that chunk and leaves one of its own in exchange, noted in a table, so that chunks never travel back and each queue has
//! always as many as it started with.

use super::XdpOptions;
use crate::error::OpenError;
use crate::sys::Mapping;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// What the kernel leaves free in front of each frame (kernel: XDP_PACKET_HEADROOM).
const HEADROOM: usize = 256;

const NO_CHUNK: u32 = u32::MAX;

/// Sizes of rings and chunks, checked.
#[derive(Debug)]
pub(super) struct Sizes {
    pub(super) chunk_bytes: usize,
    pub(super) rx_slots: u32,
    pub(super) tx_slots: u32,
}

impl Sizes {
    pub(super) fn new(options: &XdpOptions) -> Result<Self, OpenError> {
        // A page at most in aligned mode, and no less than half a page (kernel: `xdp_umem_reg`).
        let chunk_bytes = [2048, 4096].into_iter().find(|bytes| options.frame_len_max + HEADROOM <= *bytes);
        let Some(chunk_bytes) = chunk_bytes else {
            return Err(OpenError::Options { reason: "frames for AF_XDP are at most 3840 bytes long" });
        };
        let slots = |slots: usize| slots.clamp(1, 1 << 20).next_power_of_two() as u32;
        Ok(Self { chunk_bytes, rx_slots: slots(options.rx_slots), tx_slots: slots(options.tx_slots) })
    }

    pub(super) fn chunks_per_queue(&self) -> usize {
        (self.rx_slots + self.tx_slots) as usize
    }
}

#[derive(Debug)]
pub(super) struct Umem {
    memory: Mapping,
    chunk_bytes: usize,
    /// By chunk: what its holder gets in exchange. Written and taken within one burst, by the thread that presents and sends it.
    exchanged: Box<[AtomicU32]>,
}

impl Umem {
    pub(super) fn new(sizes: &Sizes, queues: u32) -> Result<Self, OpenError> {
        let chunks = queues as usize * sizes.chunks_per_queue();
        let memory = Mapping::anonymous(chunks * sizes.chunk_bytes)
            .map_err(|source| OpenError::System { what: "map memory for frames", source })?;
        let exchanged = (0..chunks).map(|_| AtomicU32::new(NO_CHUNK)).collect();
        Ok(Self { memory, chunk_bytes: sizes.chunk_bytes, exchanged })
    }

    pub(super) fn start(&self) -> NonNull<u8> {
        self.memory.start()
    }

    pub(super) fn len(&self) -> usize {
        self.exchanged.len() * self.chunk_bytes
    }

    pub(super) fn chunk_bytes(&self) -> usize {
        self.chunk_bytes
    }

    /// The chunk that holds `address`, an offset into this memory; the bits below the chunk size are where in it.
    pub(super) fn chunk_of(&self, address: u64) -> u32 {
        (address / self.chunk_bytes as u64) as u32
    }

    /// Where a chunk starts, as an offset into this memory.
    pub(super) fn address_of(&self, chunk: u32) -> u64 {
        u64::from(chunk) * self.chunk_bytes as u64
    }

    /// From `address`, which must lie in this memory, to the end of its chunk.
    pub(super) fn rest_of_chunk(&self, address: u64) -> NonNull<[u8]> {
        let address = address as usize;
        assert!(address < self.len());
        let left = self.chunk_bytes - address % self.chunk_bytes;
        // SAFETY: `address` is inside the mapping, and so is the rest of its chunk.
        unsafe { NonNull::slice_from_raw_parts(self.memory.start().add(address), left) }
    }

    /// The address of `start`, if it lies in this memory.
    pub(super) fn address_at(&self, start: *const u8) -> Option<u64> {
        let offset = start.addr().checked_sub(self.memory.start().as_ptr().addr())?;
        (offset < self.len()).then_some(offset as u64)
    }

    /// Gives `own` to the holder of `chunk` in exchange for it; false if that chunk was given away already.
    pub(super) fn exchange(&self, chunk: u32, own: u32) -> bool {
        let slot = &self.exchanged[chunk as usize];
        slot.compare_exchange(NO_CHUNK, own, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// What the holder of `chunk` has now: the chunk itself, unless it was exchanged.
    pub(super) fn settle(&self, chunk: u32) -> u32 {
        match self.exchanged[chunk as usize].swap(NO_CHUNK, Ordering::Relaxed) {
            NO_CHUNK => chunk,
            received => received,
        }
    }
}
