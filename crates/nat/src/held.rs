//! Copies of frames that wait: fragments for their first one, connection attempts from outside for one from inside to cross them, pieces
//! of a packet for their turn.

use crate::index::NONE;
use crate::wheel::before;
use crate::{Direction, DropReason, Verdict};
use arrayvec::ArrayVec;
use natrig_wire::Frame;

/// Longest frame kept, unless an MTU asks for more.
const SLOT_LEN: usize = 2048;
/// Frames presented at once.
pub(crate) const RELEASE_BURST: usize = 64;

/// What a held frame waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The first fragment of its datagram, whose number this is.
    FirstFragment(u32),
    /// A SYN from inside; the hash of the connection's ends.
    Syn(u64),
    /// Nothing: no SYN came from inside.
    SynOver,
    /// Nothing: to be looked at again.
    Over,
    /// Nothing: its fate is known.
    Decided(Verdict),
}

#[derive(Debug, Clone, Copy)]
struct Held {
    len: u16,
    dir: Direction,
    wait: Wait,
    deadline: u32,
    /// Free: the next free slot. Held: order of arrival.
    next: u32,
    prev: u32,
}

/// The slots. Held ones form a list in order of arrival.
#[derive(Debug)]
pub(crate) struct HeldPool {
    bytes: Box<[u8]>,
    slot_len: usize,
    slots: Box<[Held]>,
    free: u32,
    first: u32,
    last: u32,
    count: u32,
    /// Frames whose waiting is over.
    ready: u32,
    /// Frames that wait for a SYN from inside.
    syns: u32,
}

impl HeldPool {
    pub(crate) fn new(count: u32, longest: usize) -> Self {
        let slot_len = SLOT_LEN.max(longest);
        let empty = Held { len: 0, dir: Direction::Inbound, wait: Wait::Over, deadline: 0, next: NONE, prev: NONE };
        let mut slots = vec![empty; count as usize].into_boxed_slice();
        for (next, slot) in (1u32..).zip(slots.iter_mut()) {
            slot.next = if next == count { NONE } else { next };
        }
        Self {
            bytes: vec![1; slot_len * count as usize].into_boxed_slice(),
            slot_len,
            slots,
            free: if count == 0 { NONE } else { 0 },
            first: NONE,
            last: NONE,
            count: 0,
            ready: 0,
            syns: 0,
        }
    }

    pub(crate) fn memory(&self) -> usize {
        self.bytes.len() + size_of_val(&*self.slots)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) const fn has_syns(&self) -> bool {
        self.syns > 0
    }

    /// True if so many more frames can be held.
    pub(crate) const fn has_room(&self, frames: u32) -> bool {
        self.slots.len() as u32 - self.count >= frames
    }

    /// Room for a frame of this length, to be filled by the caller; false if there is none.
    pub(crate) fn push(
        &mut self,
        dir: Direction,
        wait: Wait,
        deadline: u32,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> bool {
        let index = self.free;
        if len > self.slot_len || index == NONE {
            return false;
        }
        self.free = self.slots[index as usize].next;
        fill(&mut self.bytes[index as usize * self.slot_len..][..len]);
        self.slots[index as usize] = Held { len: len as u16, dir, wait, deadline, next: NONE, prev: self.last };
        match self.slots.get_mut(self.last as usize) {
            Some(last) => last.next = index,
            None => self.first = index,
        }
        self.last = index;
        self.count += 1;
        self.count_wait(wait, 1);
        true
    }

    fn count_wait(&mut self, wait: Wait, by: i32) {
        let counter = match wait {
            Wait::Over | Wait::SynOver | Wait::Decided(_) => &mut self.ready,
            Wait::Syn(_) => &mut self.syns,
            Wait::FirstFragment(_) => return,
        };
        *counter = counter.wrapping_add_signed(by);
    }

    fn set_wait(&mut self, index: u32, wait: Wait) {
        let old = core::mem::replace(&mut self.slots[index as usize].wait, wait);
        self.count_wait(old, -1);
        self.count_wait(wait, 1);
    }

    fn indices(&self) -> impl Iterator<Item = u32> {
        core::iter::successors(self.slots.get(self.first as usize).map(|_| self.first), |index| {
            let next = self.slots[*index as usize].next;
            (next != NONE).then_some(next)
        })
    }

    /// Ends the waiting of all frames that wait for this. They are few: walking them costs what the bound on their number allows.
    pub(crate) fn settle(&mut self, wait: Wait, now: Wait) -> u32 {
        let mut settled = 0;
        let mut at = self.first;
        while let Some(slot) = self.slots.get(at as usize) {
            let next = slot.next;
            if slot.wait == wait {
                self.set_wait(at, now);
                settled += 1;
            }
            at = next;
        }
        settled
    }

    /// True if a frame waits for this.
    pub(crate) fn waits(&self, wait: Wait) -> bool {
        self.indices().any(|index| self.slots[index as usize].wait == wait)
    }

    /// Decides what waited too long.
    pub(crate) fn run_out(&mut self, now: u32) {
        let mut at = self.first;
        while let Some(slot) = self.slots.get(at as usize) {
            let next = slot.next;
            let late = !before(now, slot.deadline);
            match slot.wait {
                Wait::FirstFragment(_) if late => {
                    self.set_wait(at, Wait::Decided(Verdict::Drop(DropReason::FragmentTimeout)));
                }
                Wait::Syn(_) if late => self.set_wait(at, Wait::SynOver),
                Wait::FirstFragment(_) | Wait::Syn(_) | Wait::Over | Wait::SynOver | Wait::Decided(_) => {}
            }
            at = next;
        }
    }

    /// True if there is a frame to be presented.
    pub(crate) const fn has_ready(&self) -> bool {
        self.ready > 0
    }

    /// The oldest frames of a direction whose waiting is over, in order of arrival, and what they waited for. They stay until freed.
    pub(crate) fn ready(&self, dir: Direction, out: &mut [(u32, Wait); RELEASE_BURST]) -> usize {
        let ready = self.indices().filter(|index| {
            let slot = &self.slots[*index as usize];
            slot.dir == dir && !matches!(slot.wait, Wait::FirstFragment(_) | Wait::Syn(_))
        });
        let mut count = 0;
        for (place, index) in out.iter_mut().zip(ready) {
            *place = (index, self.slots[index as usize].wait);
            count += 1;
        }
        count
    }

    /// Length of a frame.
    fn len_of(&self, index: u32) -> usize {
        usize::from(self.slots[index as usize].len)
    }

    /// Takes the memory of the slots away for as long as frames in it are presented.
    pub(crate) fn take_bytes(&mut self) -> Box<[u8]> {
        core::mem::take(&mut self.bytes)
    }

    /// Gives it back.
    pub(crate) fn return_bytes(&mut self, bytes: Box<[u8]>) {
        self.bytes = bytes;
    }

    /// Copies a frame out, to be worked on; the buffer is as long as a slot.
    pub(crate) fn copy_out(&self, index: u32, buffer: &mut [u8]) -> usize {
        let len = self.len_of(index);
        buffer[..len].copy_from_slice(&self.bytes[index as usize * self.slot_len..][..len]);
        len
    }

    /// Puts a frame that was worked on back, with its fate.
    pub(crate) fn put_back(&mut self, index: u32, frame: &[u8], verdict: Verdict) {
        self.bytes[index as usize * self.slot_len..][..frame.len()].copy_from_slice(frame);
        self.slots[index as usize].len = frame.len() as u16;
        self.set_wait(index, Wait::Decided(verdict));
    }

    pub(crate) const fn slot_len(&self) -> usize {
        self.slot_len
    }

    /// The frames in these slots of the memory taken away, in this order.
    pub(crate) fn frames<'b>(&self, bytes: &'b mut [u8], picked: &[(u32, Wait)]) -> ArrayVec<Frame<'b>, RELEASE_BURST> {
        let mut found: [Option<Frame<'b>>; RELEASE_BURST] = [const { None }; RELEASE_BURST];
        for (number, slot) in (0u32..).zip(bytes.chunks_exact_mut(self.slot_len)) {
            if let Some(place) = picked.iter().position(|(index, _)| *index == number) {
                found[place] = Some(Frame::new(slot, self.len_of(number)));
            }
        }
        found.into_iter().flatten().collect()
    }

    pub(crate) fn free(&mut self, index: u32) {
        let Held { next, prev, wait, .. } = self.slots[index as usize];
        self.count_wait(wait, -1);
        match self.slots.get_mut(prev as usize) {
            Some(slot) => slot.next = next,
            None => self.first = next,
        }
        match self.slots.get_mut(next as usize) {
            Some(slot) => slot.prev = prev,
            None => self.last = prev,
        }
        self.slots[index as usize].next = self.free;
        self.free = index;
        self.count -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(pool: &mut HeldPool, wait: Wait, byte: u8) -> bool {
        pool.push(Direction::Outbound, wait, 100, 4, |bytes| bytes.fill(byte))
    }

    #[test]
    fn frames_come_out_in_order_of_arrival_and_their_room_is_used_again() {
        let mut pool = HeldPool::new(3, 0);
        assert!(push(&mut pool, Wait::FirstFragment(7), 1) && push(&mut pool, Wait::FirstFragment(8), 2));
        assert!(push(&mut pool, Wait::FirstFragment(7), 3) && !push(&mut pool, Wait::Over, 4));
        assert!(!pool.has_ready() && pool.waits(Wait::FirstFragment(8)));
        assert_eq!(pool.settle(Wait::FirstFragment(7), Wait::Over), 2);
        let mut picked = [(0, Wait::Over); RELEASE_BURST];
        let count = pool.ready(Direction::Outbound, &mut picked);
        assert_eq!(picked[..count], [(0, Wait::Over), (2, Wait::Over)]);
        assert_eq!(pool.ready(Direction::Inbound, &mut [(0, Wait::Over); RELEASE_BURST]), 0);
        let mut bytes = pool.take_bytes();
        let frames = pool.frames(&mut bytes, &[(2, Wait::Over), (0, Wait::Over)]);
        assert_eq!([frames[0].bytes(), frames[1].bytes()], [[3; 4], [1; 4]]);
        drop(frames);
        pool.return_bytes(bytes);
        pool.free(0);
        pool.free(2);
        assert!(!pool.has_ready() && push(&mut pool, Wait::Over, 5) && pool.has_ready() && !pool.is_empty());
    }

    #[test]
    fn waiting_ends_with_time() {
        let mut pool = HeldPool::new(2, 0);
        push(&mut pool, Wait::FirstFragment(7), 1);
        push(&mut pool, Wait::Syn(1), 2);
        pool.run_out(99);
        assert!(!pool.has_ready() && pool.has_syns());
        pool.run_out(100);
        let mut picked = [(0, Wait::Over); RELEASE_BURST];
        assert_eq!(pool.ready(Direction::Outbound, &mut picked), 2);
        assert_eq!(picked[0].1, Wait::Decided(Verdict::Drop(DropReason::FragmentTimeout)));
        assert_eq!(picked[1].1, Wait::SynOver);
    }

    #[test]
    fn a_frame_longer_than_a_slot_is_refused() {
        let mut pool = HeldPool::new(1, 0);
        assert!(!pool.push(Direction::Inbound, Wait::Over, 0, SLOT_LEN + 1, |_| ()));
        assert!(!HeldPool::new(0, 0).push(Direction::Inbound, Wait::Over, 0, 60, |_| ()));
    }
}
