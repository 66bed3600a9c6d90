//! The memory that the links of an arena share with each other and with the BPF program, and the program.
//!
//! The layouts are those of `bpf/ring.bpf.c`, which also says who may touch what, and in which order.

use super::RingOptions;
use crate::BURST_MAX;
use crate::bpf::{Object, open_error, program_io_error};
use crate::error::OpenError;
use crate::sys::{Interface, Mapping};
use aya::maps::xdp::DevMap;
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};

pub(super) const PORTS_MAX: usize = 4;
const QUEUES_MAX: u32 = 16;
const RINGS_MAX: usize = PORTS_MAX * QUEUES_MAX as usize;

/// The most slots that one call sends.
pub(super) const BATCH_MAX: usize = BURST_MAX;

pub(super) const SLOT_HEADER_BYTES: usize = 16;
pub(super) const SLOT_BYTES_SMALL: usize = 256;
const SLOT_BYTES_LARGE: usize = 2112;
const SLOT_BYTES_LARGEST: usize = 4160;

/// Ethernet, IP with all options, TCP with all options.
const HEAD_BYTES_MIN: usize = 14 + 60 + 60;

/// What a page holds beside the bookkeeping of live frames, XDP's headroom and room for `skb_shared_info` (kernel: `xdp_page_head`,
/// TEST_XDP_FRAME_SIZE in `net/bpf/test_run.c`), less the metadata, rounded down.
pub(super) const LIVE_FRAME_LEN_MAX: usize = 3328;

/// Frames the kernel works on before it lets softirqs run: fits a veth's ring of 256 four times.
const LIVE_BATCH: u32 = 64;

/// The same where they wait for their time: they leave together, so with the last of them.
pub(super) const TIMED_BATCH: u32 = 16;

/// How long the program waits for a slot's time, in nanoseconds: so many readings of the clock (READINGS_MAX in `bpf/ring.bpf.c`) take
/// longer on any processor.
pub(super) const WAITS_NS: u64 = 16_000;

/// Where in a slot its time is.
pub(super) const SLOT_TIME_AT: usize = 8;

/// Bytes of the longest [`Arena::template`].
const TEMPLATE_BYTES: usize = 4 * RINGS_MAX + LIVE_FRAME_LEN_MAX;

/// The program for each size of slot.
static OBJECTS: [(usize, &[u8]); 3] = [
    (SLOT_BYTES_SMALL, aya::include_bytes_aligned!("../../bpf/ring_256.o")),
    (SLOT_BYTES_LARGE, aya::include_bytes_aligned!("../../bpf/ring_2112.o")),
    (SLOT_BYTES_LARGEST, aya::include_bytes_aligned!("../../bpf/ring_4160.o")),
];

/// `struct ring`: counters of one receive ring.
#[repr(C)]
pub(super) struct Ring {
    pub(super) produced: AtomicU32,
    _unused0: [u32; 15],
    pub(super) consumed: AtomicU32,
    _unused1: [u32; 15],
    pub(super) overflow: AtomicU64,
    pub(super) too_long: AtomicU64,
    _unused2: [u64; 6],
}

/// `struct send`: what one link sends next.
#[repr(C)]
pub(super) struct Outgoing {
    pub(super) next: AtomicU32,
    pub(super) port: AtomicU32,
    pub(super) refused: AtomicU32,
    pub(super) differ: AtomicU32,
    pub(super) timed: AtomicU32,
    _unused: [u32; 11],
    pub(super) slot: [AtomicU32; BATCH_MAX],
}

/// Slots, rings and the program of some interfaces.
#[derive(Debug)]
pub(super) struct Arena {
    // Declared before the object: unmapped before the maps go.
    slots: Mapping,
    rings: Mapping,
    sends: Mapping,
    object: Object,
    slot_bytes: usize,
    slot_count: usize,
    ring_slots: u32,
    queues: u32,
    links: usize,
    staging_first: u32,
}

impl Arena {
    /// Loads the program for `interfaces` with so many receive queues each, attaches it, and makes room for `links` links.
    pub(super) fn new(
        interfaces: &[Interface],
        queues: &[u32],
        links: usize,
        options: &RingOptions,
    ) -> Result<Self, OpenError> {
        if options.frame_len_max > LIVE_FRAME_LEN_MAX {
            return Err(OpenError::Options { reason: "frames for a ring link are at most 3328 bytes long" });
        }
        let fitting = OBJECTS.iter().find(|(bytes, _)| options.frame_len_max + SLOT_HEADER_BYTES <= *bytes);
        let (slot_bytes, bytes) = *fitting.unwrap_or(&OBJECTS[OBJECTS.len() - 1]);
        if interfaces.len() > PORTS_MAX {
            return Err(OpenError::Options { reason: "an arena of ring links has at most 4 interfaces" });
        }
        let queues = queues.iter().copied().max().unwrap_or(1);
        if queues > QUEUES_MAX {
            return Err(OpenError::Options { reason: "an interface of a ring link has at most 16 receive queues" });
        }
        let ring_slots = options.rx_slots.clamp(1, 1 << 24).next_power_of_two() as u32;
        let rings = interfaces.len() * queues as usize;
        let staging_first = rings * ring_slots as usize;
        let slot_count = staging_first + 2 * links * BURST_MAX;
        let mut indices = [0u32; PORTS_MAX];
        for (to, from) in indices.iter_mut().zip(interfaces) {
            *to = from.index();
        }
        let stores_are_ordered = u32::from(cfg!(target_arch = "x86_64"));
        let room = slot_bytes - SLOT_HEADER_BYTES;
        let head_bytes = options.head_bytes.map_or(room, |bytes| bytes.clamp(HEAD_BYTES_MIN, room)) as u32;
        let mut object = Object::load(bytes, "natrig_ring", |loader| {
            loader
                .map_max_entries("slots", slot_count as u32)
                .override_global("PORT_IFINDEX", &indices, true)
                .override_global("PORT_QUEUES", &queues, true)
                .override_global("RING_SLOTS", &ring_slots, true)
                .override_global("STORES_ARE_ORDERED", &stores_are_ordered, true)
                .override_global("HEAD_BYTES", &head_bytes, true);
        })?;
        let mut ports: DevMap<_> = object.map_mut("ports")?;
        for (port, index) in indices.iter().take(interfaces.len()).enumerate() {
            let set = ports.set(port as u32, *index, None, 0);
            set.map_err(|error| open_error("name an interface to send to", error))?;
        }
        let arena = Self {
            slots: object.map_memory("slots", slot_count * slot_bytes)?,
            rings: object.map_memory("rings", RINGS_MAX * size_of::<Ring>())?,
            sends: object.map_memory("sends", RINGS_MAX * size_of::<Outgoing>())?,
            object,
            slot_bytes,
            slot_count,
            ring_slots,
            queues,
            links,
            staging_first: staging_first as u32,
        };
        arena.attach(interfaces)
    }

    /// Last, when everything is in place for the first frame.
    fn attach(mut self, interfaces: &[Interface]) -> Result<Self, OpenError> {
        for interface in interfaces {
            self.object.attach(interface.index())?;
        }
        Ok(self)
    }

    pub(super) fn slot_bytes(&self) -> usize {
        self.slot_bytes
    }

    pub(super) fn ring_slots(&self) -> u32 {
        self.ring_slots
    }

    /// The longest frame that a slot holds.
    pub(super) fn room(&self) -> usize {
        self.slot_bytes - SLOT_HEADER_BYTES
    }

    /// The number of the ring of a port's queue.
    pub(super) fn ring_of(&self, port: usize, queue: u32) -> u32 {
        port as u32 * self.queues + queue
    }

    pub(super) fn ring(&self, number: u32) -> &Ring {
        assert!((number as usize) < RINGS_MAX);
        // SAFETY: the mapping holds RINGS_MAX of these, page-aligned, for as long as `self`; all that is written is atomic.
        unsafe { self.rings.start().cast::<Ring>().add(number as usize).as_ref() }
    }

    pub(super) fn outgoing_of(&self, link: usize) -> &Outgoing {
        assert!(link < RINGS_MAX);
        // SAFETY: as for `ring`.
        unsafe { self.sends.start().cast::<Outgoing>().add(link).as_ref() }
    }

    /// The slot of the frame with running number `number` in a ring.
    pub(super) fn ring_slot(&self, ring: u32, number: u32) -> u32 {
        ring * self.ring_slots + (number & (self.ring_slots - 1))
    }

    /// The `nth` of the slots in which a link stages frames from elsewhere; `nth < BURST_MAX`.
    pub(super) fn staging_slot(&self, link: usize, nth: usize) -> u32 {
        self.staging_first + (link * BURST_MAX + nth) as u32
    }

    /// The `nth` of the slots that a link lends; `nth < BURST_MAX`.
    pub(super) fn lent_slot(&self, link: usize, nth: usize) -> u32 {
        self.staging_slot(self.links + link, nth)
    }

    /// Where a slot starts: its length, then, after [`SLOT_HEADER_BYTES`], its frame.
    pub(super) fn slot(&self, index: u32) -> NonNull<u8> {
        assert!((index as usize) < self.slot_count);
        // SAFETY: `index < slot_count`, and the mapping holds that many slots.
        unsafe { self.slots.start().add(index as usize * self.slot_bytes) }
    }

    /// The slot whose frame starts at `start`, if it is one of this arena.
    pub(super) fn slot_at(&self, start: *const u8) -> Option<u32> {
        let offset = start.addr().checked_sub(self.slots.start().as_ptr().addr() + SLOT_HEADER_BYTES)?;
        // It is asked of every frame: by a constant, division is multiplication.
        let (index, within) = match self.slot_bytes {
            SLOT_BYTES_SMALL => (offset / SLOT_BYTES_SMALL, offset % SLOT_BYTES_SMALL),
            SLOT_BYTES_LARGE => (offset / SLOT_BYTES_LARGE, offset % SLOT_BYTES_LARGE),
            _ => (offset / SLOT_BYTES_LARGEST, offset % SLOT_BYTES_LARGEST),
        };
        (index < self.slot_count && within == 0).then_some(index as u32)
    }

    /// What the kernel puts on pages before the program rewrites them: metadata, which carries nothing but whose length tells the program
    /// which link is sending, then a frame of zeros.
    pub(super) fn template(link: usize) -> Template {
        Template { metadata: 4 * link, bytes: vec![0; TEMPLATE_BYTES].into() }
    }

    /// Runs the program on `count` live frames for the link of `template`, of which the first `len` bytes are put on the pages before the
    /// program changes them; the right guess spares work.
    pub(super) fn send(&self, template: &Template, count: usize, len: usize, timed: bool) -> io::Result<()> {
        let data = &template.bytes[..template.metadata + len];
        let context = [template.metadata as u32, data.len() as u32, 0, 0, 0, 0];
        let mut context_bytes = [0u8; 24];
        for (to, from) in context_bytes.chunks_exact_mut(4).zip(context) {
            to.copy_from_slice(&from.to_ne_bytes());
        }
        let options = TestRunOptions {
            data_in: Some(data),
            ctx_in: Some(&context_bytes),
            repeat: count.max(1) as u32,
            attrs: TestRunAttrs::new().xdp_live_frames(if timed { TIMED_BATCH } else { LIVE_BATCH }),
            ..TestRunOptions::default()
        };
        let program = self.object.xdp().map_err(io::Error::other)?;
        program.test_run(options).map(drop).map_err(program_io_error)
    }
}

/// What lies on a page before the program runs: see [`Arena::template`].
#[derive(Debug)]
pub(super) struct Template {
    metadata: usize,
    bytes: Box<[u8]>,
}

impl Template {
    /// Frames are to be like this one, but for what the program writes.
    pub(super) fn fill(&mut self, frame: &[u8]) {
        self.bytes[self.metadata..][..frame.len()].copy_from_slice(frame);
    }
}
