//! A hierarchical timer wheel over the slab (Varghese and Lauck, 1987), made lazy.
//!
//! Four levels of 256 slots, intrusive lists. A packet only moves a session's deadline; the session itself stays in its slot until that
//! comes up, and is then put where its deadline now is. So the established path never touches the wheel, and each session is visited about
//! once per idle timeout. A slot that comes up need not be worked off at once: [`Wheel::next_due`] hands out one session at a time,
//! and the wheel's hand waits. Whether a session is dead is decided by its deadline, not by the hand.

use crate::index::NONE;
use crate::session::Slab;

const LEVELS: usize = 4;
const SLOTS: usize = 256;

/// The wheel. Ticks are 32 bits and wrap; deadlines lie less than 2³¹ ticks ahead.
#[derive(Debug)]
pub(crate) struct Wheel {
    heads: Box<[[u32; SLOTS]; LEVELS]>,
    /// Bit per slot: not empty.
    filled: [[u64; SLOTS / 64]; LEVELS],
    /// Everything due before this tick has been handed out.
    hand: u32,
    /// The hand has come to a new round of level 0 and the higher levels are not yet spread over it.
    opening: bool,
}

/// True if tick `a` is before tick `b`.
#[inline(always)]
pub(crate) const fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

impl Wheel {
    pub(crate) fn new(now: u32) -> Self {
        Self { heads: Box::new([[NONE; SLOTS]; LEVELS]), filled: [[0; SLOTS / 64]; LEVELS], hand: now, opening: false }
    }

    /// Sets the hand of a wheel that is still empty.
    pub(crate) const fn start(&mut self, now: u32) {
        self.hand = now;
    }

    /// Level and slot for a deadline, as the hand stands.
    fn place(&self, deadline: u32) -> (usize, usize) {
        let deadline = if before(deadline, self.hand) { self.hand } else { deadline };
        // The highest byte in which deadline and hand differ says the level.
        let level = (31 - ((deadline ^ self.hand) | 1).leading_zeros() as usize) / 8;
        (level, (deadline >> (8 * level)) as usize % SLOTS)
    }

    /// Enters session `index` by its deadline.
    pub(crate) fn insert(&mut self, slab: &mut Slab, index: u32) {
        let (level, slot) = self.place(slab.at(index).expires);
        let head = self.heads[level][slot];
        let entry = slab.at_mut(index);
        entry.wheel_next = head;
        // The first of a list keeps its slot where the others keep their predecessor.
        entry.wheel_prev = NONE - 1 - (level * SLOTS + slot) as u32;
        if head != NONE {
            slab.at_mut(head).wheel_prev = index;
        }
        self.heads[level][slot] = index;
        self.filled[level][slot / 64] |= 1 << (slot % 64);
    }

    /// Takes session `index` out.
    pub(crate) fn remove(&mut self, slab: &mut Slab, index: u32) {
        let (next, prev) = (slab.at(index).wheel_next, slab.at(index).wheel_prev);
        if next != NONE {
            slab.at_mut(next).wheel_prev = prev;
        }
        let place = (NONE - 1 - prev) as usize;
        if place < LEVELS * SLOTS {
            let (level, slot) = (place / SLOTS, place % SLOTS);
            self.heads[level][slot] = next;
            if next == NONE {
                self.filled[level][slot / 64] &= !(1 << (slot % 64));
            }
        } else {
            slab.at_mut(prev).wheel_next = next;
        }
    }

    /// Takes out and returns the next session whose deadline is before `now`; puts sessions with later deadlines where they belong.
    /// `steps` bounds the sessions touched; at zero the search breaks off.
    pub(crate) fn next_due(&mut self, slab: &mut Slab, now: u32, steps: &mut u32) -> Option<u32> {
        loop {
            if self.opening && !self.open(slab, steps) {
                return None;
            }
            if !before(self.hand, now) {
                return None;
            }
            let index = self.heads[0][self.hand as usize % SLOTS];
            if index == NONE {
                self.advance(now);
                continue;
            }
            if *steps == 0 {
                return None;
            }
            *steps -= 1;
            self.remove(slab, index);
            if before(slab.at(index).expires, now) {
                return Some(index);
            }
            // Its deadline has moved, to `now` or behind, so that it never goes back into the slot being worked off.
            self.insert(slab, index);
        }
    }

    /// True if nothing due before `now` is left.
    pub(crate) const fn is_caught_up(&self, now: u32) -> bool {
        !self.opening && !before(self.hand, now)
    }

    /// Moves the hand to the next filled slot of level 0, or to the start of the next round, or to `now`.
    fn advance(&mut self, now: u32) {
        let slot = self.hand as usize % SLOTS;
        let ahead = if slot + 1 < SLOTS { self.next_filled(0, slot + 1) } else { None };
        let base = self.hand & !0xff;
        let target = ahead.map_or_else(|| base.wrapping_add(SLOTS as u32), |slot| base | slot as u32);
        if before(now, target) {
            self.hand = now;
        } else {
            self.hand = target;
            self.opening = ahead.is_none();
        }
    }

    /// Spreads the slots of the higher levels in which a new round of level 0 begins over the lower ones. False if the steps ran out.
    fn open(&mut self, slab: &mut Slab, steps: &mut u32) -> bool {
        let top = (self.hand.trailing_zeros() as usize / 8).min(LEVELS - 1);
        for level in (1..=top).rev() {
            let slot = (self.hand >> (8 * level)) as usize % SLOTS;
            while self.heads[level][slot] != NONE {
                if *steps == 0 {
                    return false;
                }
                *steps -= 1;
                let index = self.heads[level][slot];
                self.remove(slab, index);
                self.insert(slab, index);
            }
        }
        self.opening = false;
        true
    }

    fn next_filled(&self, level: usize, from: usize) -> Option<usize> {
        let mut word = from / 64;
        let mut bits = self.filled[level][word] & (u64::MAX << (from % 64));
        while bits == 0 {
            word += 1;
            bits = *self.filled[level].get(word)?;
        }
        Some(word * 64 + bits.trailing_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{Session, UDP};
    use crate::tcp::State;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn slab_of(count: u32) -> Slab {
        let mut slab = Slab::with_capacity(count);
        for _ in 0..count {
            slab.insert(Session { state: State::UdpNew, ..Session::new(UDP, (1, 2), (3, 4), (5, 6)) });
        }
        slab
    }

    fn due(wheel: &mut Wheel, slab: &mut Slab, now: u32, mut steps: u32) -> Vec<u32> {
        let mut found: Vec<_> = core::iter::from_fn(|| wheel.next_due(slab, now, &mut steps)).collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn a_deadline_moved_ahead_is_honoured_without_touching_the_wheel() {
        let mut slab = slab_of(1);
        let mut wheel = Wheel::new(10);
        slab.at_mut(0).expires = 20;
        wheel.insert(&mut slab, 0);
        slab.at_mut(0).expires = 1000;
        assert!(due(&mut wheel, &mut slab, 1000, 100).is_empty());
        assert_eq!(due(&mut wheel, &mut slab, 1001, 100), [0]);
    }

    #[test]
    fn work_is_broken_off_and_taken_up_again() {
        let mut slab = slab_of(100);
        let mut wheel = Wheel::new(0);
        for index in 0..100 {
            slab.at_mut(index).expires = 300;
            wheel.insert(&mut slab, index);
        }
        let mut total = 0;
        let mut calls = 0;
        while !wheel.is_caught_up(400) {
            total += due(&mut wheel, &mut slab, 400, 7).len();
            calls += 1;
        }
        assert_eq!(total, 100);
        assert!(
            calls >= 200 / 7,
            "each session is moved once and handed out once, 7 touches a call; was {calls} calls"
        );
    }

    proptest! {
        /// Against a sorted map, across the wrap of the tick counter and all levels, with a budget that breaks off all the time.
        #[test]
        fn agrees_with_a_sorted_map(
            start in prop_oneof![any::<u32>(), Just(u32::MAX - 3), Just(255), Just(0xffff)],
            steps in proptest::collection::vec((0u8..4, 0u32..24, 0u32..24), 1..120),
        ) {
            let mut slab = slab_of(24);
            let mut wheel = Wheel::new(start);
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            let mut now = u64::from(start);
            for (operation, index, amount) in steps {
                // Amounts from one tick to months, a few around each power of two.
                let amount = (1u64 << amount) + u64::from(index % 3);
                match operation {
                    0 if !model.contains_key(&index) => {
                        model.insert(index, now + amount);
                        slab.at_mut(index).expires = (now + amount) as u32;
                        wheel.insert(&mut slab, index);
                    }
                    1 if model.contains_key(&index) => {
                        let later = model[&index] + amount;
                        if later < now + (1 << 30) {
                            model.insert(index, later);
                            slab.at_mut(index).expires = later as u32;
                        }
                    }
                    2 if model.remove(&index).is_some() => wheel.remove(&mut slab, index),
                    3 => {
                        now += amount;
                        let mut found = Vec::new();
                        while !wheel.is_caught_up(now as u32) {
                            found.extend(due(&mut wheel, &mut slab, now as u32, 5));
                        }
                        found.sort_unstable();
                        let expected: Vec<_> = model.iter().filter(|(_, at)| **at < now).map(|(index, _)| *index).collect();
                        model.retain(|_, at| *at >= now);
                        prop_assert_eq!(found, expected);
                    }
                    _ => {}
                }
            }
        }
    }
}
