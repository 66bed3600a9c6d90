//! Which port is in use towards which remote end, and until when.
//!
//! A port comes free by the mere passing of time: no event takes it out of the table. What is dead is overwritten by the next who asks for
//! it, or swept by a hand that moves on with every insertion, so that each use of a port touches its line of memory once.

/// Slots that the hand passes for each insertion. Each pass over the table takes as many insertions as a quarter of its slots.
const SWEPT_PER_INSERTION: usize = 4;
/// Slots of the smallest table.
const SLOTS_MIN: usize = 64;

/// A use of a port.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Use {
    /// Tick at which it ends.
    pub(crate) expires: u32,
    /// Tick at which its connection was closed.
    pub(crate) closes: u32,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    /// Zero: empty.
    key: u64,
    used: Use,
}

const EMPTY: Slot = Slot { key: 0, used: Use { expires: 0, closes: 0 } };

/// Key of a port of an outside address towards a remote end.
#[inline]
pub(crate) const fn key(address: u16, remote: u16, port: u16) -> u64 {
    1 << 63 | (address as u64) << 32 | (remote as u64) << 16 | port as u64
}

/// The outside address of a key.
#[inline]
pub(crate) const fn address_of(key: u64) -> u16 {
    (key >> 32) as u16
}

/// A hash table with linear probing. Four neighbouring ports have neighbouring slots: searches go from port to port.
#[derive(Debug)]
pub(crate) struct PortTable {
    slots: Box<[Slot]>,
    filled: usize,
    hand: usize,
    /// Slots looked at.
    pub(crate) work: u64,
}

impl PortTable {
    /// With room for `uses` before it has to grow.
    pub(crate) fn with_room(uses: usize) -> Self {
        let slots = (uses * 3).next_power_of_two().max(SLOTS_MIN);
        Self { slots: vec![EMPTY; slots].into_boxed_slice(), filled: 0, hand: 0, work: 0 }
    }

    /// The slot where a port's use would stand.
    #[inline]
    pub(crate) fn home(&self, key: u64) -> usize {
        let wide = u128::from((key >> 2).wrapping_mul(0x9e37_79b9_7f4a_7c15)) * 0xd6e8_feb8_6659_fd93;
        let spread = (wide >> 64) as u64 ^ wide as u64;
        (spread as usize & !3 | (key & 3) as usize) & (self.slots.len() - 1)
    }

    /// The slot of `key`, or the empty one where it would go.
    #[inline]
    fn find(&mut self, key: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = self.home(key);
        loop {
            self.work += 1;
            let found = self.slots[at].key;
            if found == key || found == 0 {
                return at;
            }
            at = (at + 1) & mask;
        }
    }

    /// Looks at slots, so that their lines of memory are at hand soon.
    #[inline]
    pub(crate) fn touch(&self, slots: &[usize]) {
        std::hint::black_box(slots.iter().fold(0, |all, slot| all ^ self.slots[*slot].key));
    }

    /// The use of a port, dead or alive.
    #[inline]
    pub(crate) fn get(&mut self, key: u64) -> Option<Use> {
        let slot = self.find(key);
        let slot = &self.slots[slot];
        (slot.key != 0).then_some(slot.used)
    }

    /// Enters a use in place of what may stand there, and sweeps a little.
    #[inline]
    pub(crate) fn put(&mut self, key: u64, used: Use, is_dead: impl Fn(u64, Use) -> bool) {
        let at = self.find(key);
        let fresh = self.slots[at].key == 0;
        self.slots[at] = Slot { key, used };
        if !fresh {
            return;
        }
        self.filled += 1;
        for _ in 0..SWEPT_PER_INSERTION {
            self.work += 1;
            let slot = self.slots[self.hand];
            if slot.key != 0 && is_dead(slot.key, slot.used) {
                // What moves into the gap is looked at next time.
                self.remove(self.hand);
            } else {
                self.hand = (self.hand + 1) & (self.slots.len() - 1);
            }
        }
        if self.filled * 2 > self.slots.len() {
            self.grow(is_dead);
        }
    }

    /// Empties a slot and closes the gap (Knuth, volume 3, algorithm 6.4R).
    fn remove(&mut self, slot: usize) {
        let mask = self.slots.len() - 1;
        let (mut gap, mut at) = (slot, slot);
        loop {
            at = (at + 1) & mask;
            self.work += 1;
            let next = self.slots[at];
            if next.key == 0 {
                break;
            }
            let from_home = at.wrapping_sub(self.home(next.key)) & mask;
            if from_home >= at.wrapping_sub(gap) & mask {
                self.slots[gap] = next;
                gap = at;
            }
        }
        self.slots[gap] = EMPTY;
        self.filled -= 1;
    }

    fn grow(&mut self, is_dead: impl Fn(u64, Use) -> bool) {
        let old = std::mem::take(&mut self.slots);
        let alive = |slot: &&Slot| slot.key != 0 && !is_dead(slot.key, slot.used);
        let count = old.iter().filter(alive).count();
        self.slots = vec![EMPTY; (count * 4).next_power_of_two().max(SLOTS_MIN)].into_boxed_slice();
        self.filled = count;
        self.hand = 0;
        self.work += old.len() as u64;
        for slot in old.iter().filter(alive) {
            let at = self.find(slot.key);
            self.slots[at] = *slot;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        /// Against a map, while time passes and the hand sweeps.
        #[test]
        fn agrees_with_a_map(steps in proptest::collection::vec((0u16..3, 0u16..2, 0u16..200, 1u32..40), 1..600)) {
            let mut table = PortTable::with_room(1);
            let mut model: HashMap<u64, u32> = HashMap::new();
            for (now, (address, remote, port, lasts)) in (0u32..).zip(steps) {
                let key = key(address, remote, port);
                let alive = model.get(&key).is_some_and(|expires| *expires > now);
                prop_assert_eq!(table.get(key).is_some_and(|used| used.expires > now), alive);
                prop_assert_eq!(address_of(key), address);
                if !alive {
                    model.insert(key, now + lasts);
                    table.put(key, Use { expires: now + lasts, closes: now }, |_, used| used.expires <= now);
                }
                let living = model.values().filter(|expires| **expires > now).count();
                prop_assert!(table.filled >= living);
            }
        }
    }

    #[test]
    fn dead_uses_do_not_pile_up() {
        let mut table = PortTable::with_room(1000);
        let slots = table.slots.len();
        for now in 0..1_000_000u32 {
            let key = key((now >> 16) as u16, 0, now as u16);
            table.put(key, Use { expires: now + 900, closes: now }, |_, used| used.expires <= now);
        }
        assert!(table.slots.len() <= slots * 4, "{} slots for 900 uses at a time", table.slots.len());
        assert!(table.work < 20_000_000, "{} slots looked at", table.work);
    }
}
