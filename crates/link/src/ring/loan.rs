//! Slots that a link lends to whoever makes frames: these leave from where they were made.

use super::arena::{Arena, SLOT_HEADER_BYTES};
use crate::{BURST_MAX, Loan};
use arrayvec::ArrayVec;
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
    fn places(&mut self, count: usize) -> ArrayVec<&mut [u8], BURST_MAX> {
        let place = |nth| {
            let slot = self.arena.slot(self.arena.lent_slot(self.number, nth));
            // SAFETY: the slot is this loan's, which is the only one of its link and is borrowed for as long as the answer; `nth` comes
            // up once. The program reads it only within a call that sends, and whoever makes that call has borrowed it too.
            unsafe { NonNull::slice_from_raw_parts(slot.add(SLOT_HEADER_BYTES), self.arena.room()).as_mut() }
        };
        (0..count.min(BURST_MAX)).map(place).collect()
    }
}

impl Drop for RingLoan {
    fn drop(&mut self) {
        self.lent.store(false, Ordering::Release);
    }
}
