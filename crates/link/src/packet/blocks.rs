//! The TPACKET_V3 receive ring: blocks of packed frames, for throughput.
//!
//! The kernel fills a block and hands it over when it is full, or a millisecond after it was opened; so frames arrive in lumps and
//! late, and cost less each. The status word of a block says whose it is, with the same ordering as in [`super::receive`] (kernel:
//! `prb_close_block`, `net/packet/af_packet.c`). Frames lie close together: there is no room to grow in place but for padding.

use super::receive::{BLOCK_BYTES, Received, finish, slot_bytes};
use super::{PacketOptions, socket};
use crate::BURST;
use crate::error::OpenError;
use crate::sys::Mapping;
use arrayvec::ArrayVec;
use natrig_wire::Frame;
use std::mem::offset_of;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// The ring's version (linux/if_packet.h, `enum tpacket_versions`).
const TPACKET_V3: i32 = 2;

/// When the kernel hands over a block that is not full, in milliseconds: as soon as it can.
const RETIRE_MS: u32 = 1;

/// Whether a block, and how many frames of it, are left to present.
#[derive(Debug, Clone, Copy, Default)]
struct Open {
    frames_left: u32,
    /// Where in the block the next frame's header is.
    offset: usize,
}

#[derive(Debug)]
pub(super) struct BlockRing {
    mapping: Mapping,
    blocks: usize,
    frame_len_max: usize,
    /// The block that the kernel hands over, or has handed over, next.
    block: usize,
    open: Option<Open>,
}

impl BlockRing {
    /// Makes the ring of a socket that is not bound yet, as large as one of slots would be.
    pub(super) fn new(fd: BorrowedFd<'_>, options: &PacketOptions) -> Result<Self, OpenError> {
        let slot_bytes = slot_bytes(options)?;
        let blocks = (options.rx_slots * slot_bytes).div_ceil(BLOCK_BYTES).max(4);
        socket::option(fd, libc::PACKET_VERSION, &TPACKET_V3, "choose version 3 of the packet ring")?;
        let request = libc::tpacket_req3 {
            tp_block_size: BLOCK_BYTES as u32,
            tp_block_nr: blocks as u32,
            // In this version only a divisor of the block size that the kernel checks.
            tp_frame_size: slot_bytes as u32,
            tp_frame_nr: (blocks * BLOCK_BYTES / slot_bytes) as u32,
            tp_retire_blk_tov: RETIRE_MS,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        socket::option(fd, libc::PACKET_RX_RING, &request, "make a packet receive ring")?;
        let mapping = Mapping::new(fd, blocks * BLOCK_BYTES, 0)
            .map_err(|source| OpenError::System { what: "map a packet receive ring", source })?;
        Ok(Self { mapping, blocks, frame_len_max: options.frame_len_max, block: 0, open: None })
    }

    /// Presents up to `max` frames of one block where they lie, and gives the block back with its last frame.
    pub(super) fn take(
        &mut self,
        max: usize,
        complete_checksums: bool,
        on_burst: &mut dyn FnMut(&mut [Frame<'_>]),
    ) -> Received {
        let mut received = Received::default();
        let block = self.block_start();
        let status = status(block);
        let Open { mut frames_left, mut offset } = match self.open {
            Some(open) => open,
            None if status.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 => return received,
            None => first_frame(block),
        };
        let mut burst = ArrayVec::<Frame<'_>, BURST>::new();
        while frames_left > 0 && burst.len() < max.min(BURST) {
            // SAFETY: the block is ours until its status is written below, after the last use of `burst`; the kernel has written a
            // header at `offset`, which it took from the header before, or the block's.
            let header = unsafe { *block.add(offset).cast::<libc::tpacket3_hdr>().as_ref() };
            let start = offset + usize::from(header.tp_mac);
            let (len, next) = (header.tp_snaplen as usize, offset + header.tp_next_offset as usize);
            let end = if frames_left > 1 { next.max(start) } else { start + len };
            offset = next;
            frames_left -= 1;
            let whole = header.tp_snaplen == header.tp_len && len <= self.frame_len_max;
            if !whole || end > BLOCK_BYTES {
                received.truncated += 1;
                continue;
            }
            // SAFETY: as above; `end <= BLOCK_BYTES`, and no two frames overlap, as the next header starts at `end` or later.
            let buf = unsafe { NonNull::slice_from_raw_parts(block.add(start), end - start).as_mut() };
            burst.push(finish(Frame::new(buf, len), header.tp_status, complete_checksums, &mut received));
        }
        if !burst.is_empty() {
            on_burst(&mut burst);
        }
        drop(burst);
        if frames_left > 0 {
            self.open = Some(Open { frames_left, offset });
        } else {
            self.open = None;
            self.block = (self.block + 1) % self.blocks;
            status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
        }
        received
    }

    pub(super) fn blocks(&self) -> usize {
        self.blocks
    }

    fn block_start(&self) -> NonNull<u8> {
        // SAFETY: `block < blocks`, and the mapping holds that many.
        unsafe { self.mapping.start().add(self.block * BLOCK_BYTES) }
    }
}

/// What the header of a block that is ours says.
fn first_frame(block: NonNull<u8>) -> Open {
    // SAFETY: the status has said that the block is ours and its header written, in the version asked for.
    let header = unsafe { block.cast::<libc::tpacket_block_desc>().as_ref().hdr.bh1 };
    Open { frames_left: header.num_pkts, offset: header.offset_to_first_pkt as usize }
}

/// The status word of a block, which this process and the kernel both write.
fn status<'a>(block: NonNull<u8>) -> &'a AtomicU32 {
    let offset = offset_of!(libc::tpacket_block_desc, hdr) + offset_of!(libc::tpacket_hdr_v1, block_status);
    // SAFETY: the block is mapped for as long as the ring lives, and no caller keeps the reference; the word is aligned, as blocks
    // are aligned to pages; it is never accessed but atomically.
    unsafe { block.add(offset).cast::<AtomicU32>().as_ref() }
}
