//! What is due when: a wheel of four levels of 256 slots (Varghese and Lauck, 1987). Entries are small and are copied from level to level,
//! so that everything that is due in a tick lies side by side.

const LEVELS: usize = 4;
const SLOTS: usize = 256;

#[derive(Debug, Clone, Copy)]
struct Due<T> {
    tick: u32,
    what: T,
}

/// Notes for later.
#[derive(Debug)]
pub(crate) struct Calendar<T> {
    slots: Vec<Vec<Due<T>>>,
    now: u32,
    /// Entries written, moves included.
    pub(crate) work: u64,
}

impl<T: Copy> Calendar<T> {
    /// An empty one.
    pub(crate) fn new(now: u32) -> Self {
        Self { slots: vec![Vec::new(); LEVELS * SLOTS], now, work: 0 }
    }

    /// Notes `what` for `tick`, or for the next tick if that is not in the future.
    #[inline]
    pub(crate) fn note(&mut self, tick: u32, what: T) {
        let tick = tick.max(self.now + 1);
        // The highest byte in which it differs from the present says the level.
        let level = (31 - ((tick ^ self.now) | 1).leading_zeros() as usize) / 8;
        let slot = (tick >> (8 * level)) as usize % SLOTS;
        self.work += 1;
        self.slots[level * SLOTS + slot].push(Due { tick, what });
    }

    /// Moves on by one tick and hands out what is due then; to be given back by [`Self::done`].
    pub(crate) fn next(&mut self) -> DueNow<T> {
        self.now += 1;
        let top = (self.now.trailing_zeros() as usize / 8).min(LEVELS - 1);
        for level in (1..=top).rev() {
            let at = level * SLOTS + (self.now >> (8 * level)) as usize % SLOTS;
            let mut spread = std::mem::take(&mut self.slots[at]);
            for due in &spread {
                let level = (31 - ((due.tick ^ self.now) | 1).leading_zeros() as usize) / 8;
                let slot = (due.tick >> (8 * level)) as usize % SLOTS;
                self.slots[level * SLOTS + slot].push(*due);
            }
            self.work += spread.len() as u64;
            spread.clear();
            self.slots[at] = spread;
        }
        DueNow(std::mem::take(&mut self.slots[self.now as usize % SLOTS]))
    }

    /// Takes back the memory of what was due.
    pub(crate) fn done(&mut self, mut due: DueNow<T>) {
        due.0.clear();
        let slot = self.now as usize % SLOTS;
        if self.slots[slot].is_empty() {
            self.slots[slot] = due.0;
        }
    }

    /// The present.
    pub(crate) const fn now(&self) -> u32 {
        self.now
    }
}

/// What is due in a tick.
#[derive(Debug)]
pub(crate) struct DueNow<T>(Vec<Due<T>>);

impl<T: Copy> DueNow<T> {
    /// Each note.
    pub(crate) fn iter(&self) -> impl Iterator<Item = T> {
        self.0.iter().map(|due| due.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn everything_comes_in_its_tick(
            start in prop_oneof![Just(0u32), Just(250), Just(65_500)],
            notes in proptest::collection::vec((0u32..300, 0u32..70_000), 1..80),
        ) {
            let mut calendar = Calendar::new(start);
            let mut model: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
            for (at, (wait, ahead)) in (0u64..).zip(notes) {
                for _ in 0..wait {
                    let due = calendar.next();
                    let mut found: Vec<u64> = due.iter().collect();
                    found.sort_unstable();
                    prop_assert_eq!(found, model.remove(&calendar.now()).unwrap_or_default());
                    calendar.done(due);
                }
                calendar.note(calendar.now() + ahead, at);
                model.entry(calendar.now() + ahead.max(1)).or_default().push(at);
            }
            while let Some((tick, expected)) = model.pop_first() {
                let due = loop {
                    let due = calendar.next();
                    if calendar.now() == tick {
                        break due;
                    }
                    prop_assert_eq!(due.iter().count(), 0);
                };
                let mut found: Vec<u64> = due.iter().collect();
                found.sort_unstable();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
