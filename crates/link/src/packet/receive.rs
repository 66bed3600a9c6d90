//! The TPACKET_V2 receive ring.
//!
//! Each slot starts with a header whose status word says whose it is: the kernel's while TP_STATUS_USER is clear, ours while it is
//! set. Both sides hand a slot over by writing the status with release order and look at it with acquire order (kernel:
//! `__packet_set_status`, `__packet_get_status` in `net/packet/af_packet.c`).

use super::oversize::{META_LEN, Oversize, is_merged};
use super::{PacketOptions, checksum, socket};
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
const TPACKET_V2: i32 = 1;

/// Where the kernel puts an Ethernet frame in its slot: header and address rounded up to 16, a link header's room, so that the
/// network header is aligned to 16 again (kernel: `tpacket_rcv`).
const FRAME_OFFSET: usize = (libc::TPACKET2_HDRLEN + 16).next_multiple_of(16) - 14;

const SMALL_SLOT_BYTES: usize = 256;

/// The longest frame that fits into a small slot.
pub(super) const SMALL_FRAME_LEN_MAX: usize = SMALL_SLOT_BYTES - FRAME_OFFSET;

/// What the kernel allocates at once; large, so that few page table entries cover the ring, and a power of two times any slot size.
pub(super) const BLOCK_BYTES: usize = 64 << 10;

/// The longest frame a slot can be asked for: one slot a block.
const FRAME_LEN_LIMIT: usize = BLOCK_BYTES - FRAME_OFFSET;

#[derive(Debug)]
pub(super) struct Ring {
    mapping: Mapping,
    slots: usize,
    slot_bytes: usize,
    /// The slot that the kernel fills, or has filled, next.
    next: usize,
}

/// What [`Ring::take`] presented, and what it lost.
#[derive(Debug, Default)]
pub(super) struct Received {
    pub(super) frames: usize,
    pub(super) bytes: u64,
    pub(super) truncated: u64,
    /// The burst ended at a frame whose copy is the next one on the socket.
    pub(super) copied: bool,
    /// And that frame belongs to a virtual LAN, of which the copy does not tell.
    pub(super) copied_tagged: bool,
}

impl Ring {
    /// Makes the ring of a socket that is not bound yet.
    pub(super) fn new(fd: BorrowedFd<'_>, options: &PacketOptions) -> Result<Self, OpenError> {
        if options.frame_len_max > FRAME_LEN_LIMIT {
            return Err(OpenError::Options {
                reason: "frames for a packet ring must fit into 64 KiB with their header",
            });
        }
        let meta_len = if options.cut_merged { META_LEN } else { 0 };
        let slot_bytes = (options.frame_len_max + FRAME_OFFSET + meta_len).next_power_of_two().max(SMALL_SLOT_BYTES);
        let slots_per_block = BLOCK_BYTES / slot_bytes;
        let blocks = options.rx_slots.max(1).div_ceil(slots_per_block);
        let slots = blocks * slots_per_block;
        socket::option(fd, libc::PACKET_VERSION, &TPACKET_V2, "choose version 2 of the packet ring")?;
        let request = libc::tpacket_req {
            tp_block_size: BLOCK_BYTES as u32,
            tp_block_nr: blocks as u32,
            tp_frame_size: slot_bytes as u32,
            tp_frame_nr: slots as u32,
        };
        socket::option(fd, libc::PACKET_RX_RING, &request, "make a packet receive ring")?;
        let mapping = Mapping::new(fd, slots * slot_bytes, 0)
            .map_err(|source| OpenError::System { what: "map a packet receive ring", source })?;
        Ok(Self { mapping, slots, slot_bytes, next: 0 })
    }

    /// Presents up to `max` frames in their slots and gives the slots back to the kernel. A burst ends where `oversize`, if there is
    /// one, has something to cut.
    #[inline]
    pub(super) fn take(
        &mut self,
        max: usize,
        complete_checksums: bool,
        mut oversize: Option<&mut Oversize>,
        on_burst: &mut dyn FnMut(&mut [Frame<'_>]),
    ) -> Received {
        let max = max.min(BURST);
        let mut received = Received::default();
        let mut burst = ArrayVec::<Frame<'_>, BURST>::new();
        let mut taken = 0;
        while burst.len() < max && taken < self.slots {
            let slot = self.slot(self.next + taken);
            let status = status(slot).load(Ordering::Acquire);
            if status & libc::TP_STATUS_USER == 0 {
                break;
            }
            taken += 1;
            // SAFETY: the status says that the slot is ours until it is written below, after the last use of `burst`; the kernel has
            // written the header. `taken <= slots`, so that no slot is looked at twice.
            let header = unsafe { slot.cast::<libc::tpacket2_hdr>().as_ref() };
            let (len, offset) = (header.tp_snaplen as usize, usize::from(header.tp_mac));
            let tag = vlan_tag(header, status);
            if header.tp_snaplen < header.tp_len || offset + len > self.slot_bytes {
                if oversize.is_some() && status & libc::TP_STATUS_COPY != 0 {
                    received.copied = true;
                    received.copied_tagged = tag.is_some();
                    break;
                }
                received.truncated += 1;
                continue;
            }
            if let Some(oversize) = &mut oversize {
                // SAFETY: as above; where merged frames are cut, the kernel has written META_LEN bytes about the frame in front of it.
                let whole =
                    unsafe { NonNull::slice_from_raw_parts(slot.add(offset - META_LEN), META_LEN + len).as_ref() };
                let (meta, frame) = whole.split_at(META_LEN);
                if is_merged(meta) && tag.is_none() {
                    received.truncated += u64::from(!oversize.take(meta, frame));
                    break;
                }
            }
            let start = if tag.is_some() { offset - TAG_LEN } else { offset };
            // SAFETY: as above; `offset <= slot_bytes`, and the header, in front of `start`, is not used any more: a tag has room between
            // the header with its address and the frame (see FRAME_OFFSET).
            let buf = unsafe { NonNull::slice_from_raw_parts(slot.add(start), self.slot_bytes - start).as_mut() };
            if let Some(tag) = tag {
                put_back(tag, buf);
            }
            burst.push(finish(Frame::new(buf, offset - start + len), status, complete_checksums, &mut received));
        }
        if !burst.is_empty() {
            on_burst(&mut burst);
        }
        drop(burst);
        for number in self.next..self.next + taken {
            status(self.slot(number)).store(libc::TP_STATUS_KERNEL, Ordering::Release);
        }
        self.next = (self.next + taken) % self.slots;
        received
    }

    pub(super) fn slots(&self) -> usize {
        self.slots
    }

    pub(super) fn slot_bytes(&self) -> usize {
        self.slot_bytes
    }

    /// The slot with that number; numbers go round once.
    #[inline]
    fn slot(&self, number: usize) -> NonNull<u8> {
        let index = if number < self.slots { number } else { number - self.slots };
        // SAFETY: `index < slots` as numbers are below `2 * slots`, and the mapping is `slots * slot_bytes` long.
        unsafe { self.mapping.start().add(index * self.slot_bytes) }
    }
}

/// Bytes of an IEEE 802.1Q tag: its EtherType, and priority and number of the virtual LAN.
const TAG_LEN: usize = 4;
const ETHERTYPE_8021Q: u16 = 0x8100;
/// linux/if_packet.h
const TP_STATUS_VLAN_VALID: u32 = 1 << 4;
const TP_STATUS_VLAN_TPID_VALID: u32 = 1 << 6;

const _: () = assert!(FRAME_OFFSET - TAG_LEN >= libc::TPACKET2_HDRLEN);

/// The tag that the kernel has taken out of a frame (kernel: `skb_vlan_untag`).
#[inline]
fn vlan_tag(header: &libc::tpacket2_hdr, status: u32) -> Option<[u8; TAG_LEN]> {
    if status & TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let known = status & TP_STATUS_VLAN_TPID_VALID != 0;
    let [a, b] = if known { header.tp_vlan_tpid } else { ETHERTYPE_8021Q }.to_be_bytes();
    let [c, d] = header.tp_vlan_tci.to_be_bytes();
    Some([a, b, c, d])
}

/// Puts a tag back behind the addresses of a frame that starts [`TAG_LEN`] bytes behind the start of `buf`: a frame of another LAN must not
/// look like one of this.
#[cold]
fn put_back(tag: [u8; TAG_LEN], buf: &mut [u8]) {
    const ADDRESSES: usize = 12;
    buf.copy_within(TAG_LEN..TAG_LEN + ADDRESSES, 0);
    buf[ADDRESSES..ADDRESSES + TAG_LEN].copy_from_slice(&tag);
}

/// How long a slot must be for the longest frame.
pub(super) fn slot_bytes(options: &PacketOptions) -> Result<usize, OpenError> {
    if options.frame_len_max > FRAME_LEN_LIMIT {
        return Err(OpenError::Options { reason: "frames for a packet ring must fit into 64 KiB with their header" });
    }
    Ok((options.frame_len_max + FRAME_OFFSET).next_power_of_two().max(SMALL_SLOT_BYTES))
}

/// Counts a frame that is presented, after completing its checksum if that is asked for and missing.
#[inline]
pub(super) fn finish<'a>(
    mut frame: Frame<'a>,
    status: u32,
    complete_checksums: bool,
    received: &mut Received,
) -> Frame<'a> {
    if complete_checksums && status & libc::TP_STATUS_CSUMNOTREADY != 0 {
        checksum::complete(frame.bytes_mut());
    }
    received.frames += 1;
    received.bytes += frame.len() as u64;
    frame
}

/// The status word of a slot, which this process and the kernel both write.
#[inline]
fn status<'a>(slot: NonNull<u8>) -> &'a AtomicU32 {
    // SAFETY: the slot is mapped for as long as the ring lives, and no caller keeps the reference; the word is aligned, as slots are
    // aligned to 256; it is never accessed but atomically.
    unsafe { slot.add(offset_of!(libc::tpacket2_hdr, tp_status)).cast::<AtomicU32>().as_ref() }
}
