//! A single-producer single-consumer ring of fixed slots, each holding one frame.
//!
//! Two counters run freely: `tail`, how many frames the producer has put, and `head`, how many the consumer has released. Slot
//! `n % slots` belongs to the consumer while `head <= n < tail` and to the producer otherwise. Each side writes its own counter with
//! release order once a burst, after it is done with the slots it hands over, and reads the other's with acquire order, so that what
//! was done to a slot happens before the other side touches it. Each counter has cache lines of its own, and each side keeps a copy of
//! the other's counter, which it refreshes only when the copy does not suffice.

use crate::BURST;
use crate::sys::Mapping;
use arrayvec::ArrayVec;
use natrig_wire::Frame;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes before each frame in its slot: its length. Four bytes, so that length and smallest frame share one cache line.
const HEADER_LEN: usize = size_of::<u32>();

/// Slots start on cache lines.
const SLOT_ALIGN: usize = 64;

/// A counter alone on its lines; two lines, because the processor prefetches them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counter(AtomicUsize);

#[derive(Debug)]
struct Shared {
    /// Frames released by the consumer.
    head: Counter,
    /// Frames put by the producer.
    tail: Counter,
    memory: Mapping,
    slots: usize,
    stride: usize,
}

impl Shared {
    /// The slot of the frame with running number `number`.
    #[inline]
    fn slot(&self, number: usize) -> NonNull<u8> {
        let index = number & (self.slots - 1);
        // SAFETY: `index < slots`, and the mapping is `slots * stride` bytes long.
        unsafe { self.memory.start().add(index * self.stride) }
    }

    fn capacity(&self) -> usize {
        self.stride - HEADER_LEN
    }
}

/// A ring of at least `slots` slots for frames of up to `frame_len_max` bytes.
pub(super) fn new(slots: usize, frame_len_max: usize) -> (Producer, Consumer) {
    let slots = slots.max(1).next_power_of_two();
    let stride = (frame_len_max.max(1) + HEADER_LEN).next_multiple_of(SLOT_ALIGN);
    let bytes = slots.saturating_mul(stride);
    let memory = match Mapping::anonymous(bytes) {
        Ok(memory) => memory,
        Err(error) => panic!("no memory for a ring of {slots} slots of {stride} bytes: {error}"),
    };
    let shared = Arc::new(Shared { head: Counter::default(), tail: Counter::default(), memory, slots, stride });
    let producer = Producer { shared: Arc::clone(&shared), tail: 0, head_seen: 0 };
    (producer, Consumer { shared, head: 0, tail_seen: 0 })
}

/// The sending side.
#[derive(Debug)]
pub(super) struct Producer {
    shared: Arc<Shared>,
    tail: usize,
    head_seen: usize,
}

/// What [`Producer::put`] did.
pub(super) struct Put {
    pub(super) frames: usize,
    pub(super) bytes: u64,
    pub(super) too_long: usize,
}

impl Producer {
    /// Copies the picked frames into slots until the ring is full; frames longer than a slot are passed over and counted.
    #[inline]
    pub(super) fn put(&mut self, frames: &[Frame<'_>], pick: &[u16]) -> Put {
        let shared = &*self.shared;
        let mut free = shared.slots - (self.tail - self.head_seen);
        if free < pick.len() {
            self.head_seen = shared.head.0.load(Ordering::Acquire);
            free = shared.slots - (self.tail - self.head_seen);
        }
        let mut put = Put { frames: 0, bytes: 0, too_long: 0 };
        for index in pick {
            let bytes = frames[usize::from(*index)].bytes();
            if bytes.len() > shared.capacity() {
                put.too_long += 1;
                continue;
            }
            if put.frames == free {
                break;
            }
            let slot = shared.slot(self.tail + put.frames);
            // SAFETY: the slot is past `tail` and less than `slots` past `head`, so it is the producer's until `tail` is stored below;
            // it is aligned for u32 and holds the header and `capacity() >= bytes.len()` bytes. `bytes` lies elsewhere: a frame in
            // this ring's slots is the consumer's, which are others.
            unsafe {
                slot.cast::<u32>().write(bytes.len() as u32);
                slot.add(HEADER_LEN).copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len());
            }
            put.frames += 1;
            put.bytes += bytes.len() as u64;
        }
        if put.frames > 0 {
            self.tail += put.frames;
            shared.tail.0.store(self.tail, Ordering::Release);
        }
        put
    }
}

/// The receiving side.
#[derive(Debug)]
pub(super) struct Consumer {
    shared: Arc<Shared>,
    head: usize,
    tail_seen: usize,
}

/// What [`Consumer::take`] presented.
pub(super) struct Taken {
    pub(super) frames: usize,
    pub(super) bytes: u64,
}

impl Consumer {
    /// Presents up to `max` frames in their slots and releases the slots.
    #[inline]
    pub(super) fn take(&mut self, max: usize, on_burst: &mut dyn FnMut(&mut [Frame<'_>])) -> Taken {
        let shared = &*self.shared;
        if self.tail_seen - self.head < max {
            self.tail_seen = shared.tail.0.load(Ordering::Acquire);
        }
        let count = max.min(self.tail_seen - self.head);
        let mut taken = Taken { frames: count, bytes: 0 };
        if count == 0 {
            return taken;
        }
        let mut burst = ArrayVec::<Frame<'_>, BURST>::new();
        for number in self.head..self.head + count {
            let slot = shared.slot(number);
            // SAFETY: `head <= number < tail`, so the slot is the consumer's until `head` is stored below, after the last use of
            // `burst`; the producer has written its header. No two numbers of a burst share a slot, as `count <= slots`.
            let (len, buf) = unsafe {
                let len = slot.cast::<u32>().read() as usize;
                (len, NonNull::slice_from_raw_parts(slot.add(HEADER_LEN), shared.capacity()).as_mut())
            };
            taken.bytes += len as u64;
            burst.push(Frame::new(buf, len));
        }
        on_burst(&mut burst);
        drop(burst);
        self.head += count;
        shared.head.0.store(self.head, Ordering::Release);
        taken
    }

    pub(super) fn slots(&self) -> usize {
        self.shared.slots
    }

    pub(super) fn slot_bytes(&self) -> usize {
        self.shared.stride
    }
}
