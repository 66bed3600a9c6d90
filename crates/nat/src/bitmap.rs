//! Free ports of one outside address and protocol: 65536 bits under two levels of summary, so that the next free port is found in
//! constant time however few there are.

/// Bits of even positions in a word: even ports.
const EVEN: u64 = 0x5555_5555_5555_5555;

/// Which ports a search may return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parity {
    Any,
    Even,
    Odd,
}

impl Parity {
    const fn mask(self) -> u64 {
        match self {
            Self::Any => u64::MAX,
            Self::Even => EVEN,
            Self::Odd => !EVEN,
        }
    }

    pub(crate) const fn of(port: u16) -> Self {
        if port & 1 == 0 { Self::Even } else { Self::Odd }
    }
}

/// The free ports. A set bit is a free port.
#[derive(Debug, Clone)]
pub(crate) struct FreePorts {
    bits: Box<[u64; 1024]>,
    /// For each parity, which words of `bits` have a free port; then which words of that have one.
    even: Summary,
    odd: Summary,
    free: u32,
}

#[derive(Debug, Clone, Default)]
struct Summary {
    words: [u64; 16],
    top: u16,
}

impl Summary {
    #[inline]
    fn set(&mut self, word: usize, any: bool) {
        let (at, bit) = (word / 64, 1u64 << (word % 64));
        if (self.words[at] & bit != 0) == any {
            return;
        }
        if any {
            self.words[at] |= bit;
        } else {
            self.words[at] &= !bit;
        }
        if self.words[at] == 0 {
            self.top &= !(1 << at);
        } else {
            self.top |= 1 << at;
        }
    }

    /// The first word at or behind `word` that has a free port.
    fn next(&self, word: usize) -> Option<usize> {
        let at = word / 64;
        let here = self.words.get(at)? & (u64::MAX << (word % 64));
        if here != 0 {
            return Some(at * 64 + here.trailing_zeros() as usize);
        }
        let above = u32::from(self.top) & (u32::MAX << (at + 1));
        (above != 0).then(|| {
            let at = above.trailing_zeros() as usize;
            at * 64 + self.words[at].trailing_zeros() as usize
        })
    }
}

impl FreePorts {
    /// Bytes.
    pub(crate) const MEMORY: usize = size_of::<Self>() + 8 * 1024;

    /// None free.
    pub(crate) fn empty() -> Self {
        Self { bits: Box::new([0; 1024]), even: Summary::default(), odd: Summary::default(), free: 0 }
    }

    /// How many are free.
    pub(crate) const fn free(&self) -> u32 {
        self.free
    }

    #[inline]
    pub(crate) fn is_free(&self, port: u16) -> bool {
        self.bits[usize::from(port) / 64] >> (port % 64) & 1 == 1
    }

    /// Frees a port; false if it was free.
    pub(crate) fn give(&mut self, port: u16) -> bool {
        let word = usize::from(port) / 64;
        let bit = 1u64 << (port % 64);
        if self.bits[word] & bit != 0 {
            return false;
        }
        self.bits[word] |= bit;
        self.free += 1;
        self.summarise(word, port);
        true
    }

    /// Takes a port; false if it was not free.
    pub(crate) fn take(&mut self, port: u16) -> bool {
        let word = usize::from(port) / 64;
        let bit = 1u64 << (port % 64);
        if self.bits[word] & bit == 0 {
            return false;
        }
        self.bits[word] &= !bit;
        self.free -= 1;
        self.summarise(word, port);
        true
    }

    /// After a change of a port's bit in a word.
    fn summarise(&mut self, word: usize, port: u16) {
        let (summary, mask) = if port & 1 == 0 { (&mut self.even, EVEN) } else { (&mut self.odd, !EVEN) };
        summary.set(word, self.bits[word] & mask != 0);
    }

    /// The first free port of this parity at or behind `from` and not above `last`.
    pub(crate) fn next_free(&self, from: u16, last: u16, parity: Parity) -> Option<u16> {
        let word = usize::from(from) / 64;
        let here = self.bits[word] & parity.mask() & (u64::MAX << (from % 64));
        let (word, bits) = if here != 0 {
            (word, here)
        } else {
            let next = match parity {
                Parity::Even => self.even.next(word + 1),
                Parity::Odd => self.odd.next(word + 1),
                Parity::Any => match (self.even.next(word + 1), self.odd.next(word + 1)) {
                    (Some(even), Some(odd)) => Some(even.min(odd)),
                    (even, odd) => even.or(odd),
                },
            }?;
            (next, self.bits[next] & parity.mask())
        };
        let port = (word * 64) as u32 + bits.trailing_zeros();
        (port <= u32::from(last)).then_some(port as u16)
    }

    /// The first free port at or behind `from` within `low..=high`, going round at the end.
    pub(crate) fn next_free_around(&self, from: u16, low: u16, high: u16, parity: Parity) -> Option<u16> {
        self.next_free(from, high, parity)
            .or_else(|| if from > low { self.next_free(low, from - 1, parity) } else { None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn hands_out_the_very_last_port_from_any_start() {
        let mut ports = FreePorts::empty();
        ports.give(40_001);
        for from in [1024, 40_001, 40_002, 65_535] {
            assert_eq!(ports.next_free_around(from, 1024, 65_535, Parity::Any), Some(40_001));
            assert_eq!(ports.next_free_around(from, 1024, 65_535, Parity::Odd), Some(40_001));
            assert_eq!(ports.next_free_around(from, 1024, 65_535, Parity::Even), None);
        }
        assert!(ports.take(40_001) && !ports.take(40_001));
        assert_eq!((ports.free(), ports.next_free(0, 65_535, Parity::Any)), (0, None));
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(
            steps in proptest::collection::vec((any::<bool>(), prop_oneof![any::<u16>(), 0u16..130, 65_400u16..]), 0..200),
            from: u16, last: u16,
        ) {
            let mut ports = FreePorts::empty();
            let mut model = BTreeSet::new();
            for (give, port) in steps {
                if give {
                    prop_assert_eq!(ports.give(port), model.insert(port));
                } else {
                    prop_assert_eq!(ports.take(port), model.remove(&port));
                }
            }
            prop_assert_eq!(ports.free() as usize, model.len());
            for (parity, accepts) in [(Parity::Any, [true, true]), (Parity::Even, [true, false]), (Parity::Odd, [false, true])] {
                let expected = model.iter().copied().find(|port| *port >= from && *port <= last && accepts[usize::from(port & 1)]);
                prop_assert_eq!(ports.next_free(from, last, parity), expected);
            }
        }
    }
}
