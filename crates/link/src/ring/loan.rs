//! Slots that a link lends to whoever makes frames: these leave from where they were made.

use super::arena::{Arena, SLOT_HEADER_BYTES};
use crate::{BURST_MAX, Loan};
use arrayvec::ArrayVec;
use natrig_wire::Frame;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The slots that link `number` of an arena lends.
#[derive(Debug)]
pub(super) struct RingLoan {
    arena: Arc<Arena>,
    number: usize,
    lent: Arc<AtomicBool>,
}

impl RingLoan {
    /// The only one for as long as it lives: `lent` is the link's own.
    pub(super) fn new(arena: &Arc<Arena>, number: usize, lent: &Arc<AtomicBool>) -> Option<Self> {
        let free = !lent.swap(true, Ordering::Acquire);
        free.then(|| Self { arena: Arc::clone(arena), number, lent: Arc::clone(lent) })
    }
}

impl Loan for RingLoan {
    fn places<'a>(&'a mut self, count: usize, frames: &mut ArrayVec<Frame<'a>, BURST_MAX>) {
        for nth in 0..count.min(frames.remaining_capacity()) {
            let slot = self.arena.slot(self.arena.lent_slot(self.number, nth));
            // SAFETY: the slot is this loan's, which is the only one of its link and is borrowed for as long as the frames live; `nth` comes
            // up once. The program reads it only within a call that sends, and whoever makes that call has borrowed it too.
            let place =
                unsafe { NonNull::slice_from_raw_parts(slot.add(SLOT_HEADER_BYTES), self.arena.room()).as_mut() };
            frames.push(Frame::new(place, self.arena.room()));
        }
    }
}

impl Drop for RingLoan {
    fn drop(&mut self) {
        self.lent.store(false, Ordering::Release);
    }
}
