/// Which of a flow's last 64 sequence numbers have been seen.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Window {
    /// One above the highest number seen; 0 before the first.
    next: u32,
    /// Bit n: number `next - 1 - n` has been seen.
    seen: u64,
}

/// What a sequence number is to its flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Higher than all before.
    InOrder,
    /// New, but a higher one came first.
    Reordered,
    /// Seen before.
    Duplicate,
    /// More than 64 behind: too late to tell a duplicate from a straggler; counted as a duplicate, never as delivered.
    TooOld,
}

impl Window {
    #[inline]
    pub(crate) fn record(&mut self, seq: u32) -> Arrival {
        if seq >= self.next {
            let ahead = seq - self.next;
            self.seen = if ahead < 63 { (self.seen << (ahead + 1)) | 1 } else { 1 };
            self.next = seq.saturating_add(1);
            return Arrival::InOrder;
        }
        let behind = self.next - 1 - seq;
        if behind >= u64::BITS {
            return Arrival::TooOld;
        }
        let bit = 1 << behind;
        if self.seen & bit != 0 {
            return Arrival::Duplicate;
        }
        self.seen |= bit;
        Arrival::Reordered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// Against a plain set, for arrivals that jump less than the window is wide.
        #[test]
        fn agrees_with_a_set(jumps in proptest::collection::vec(-40i64..40, 1..300)) {
            let (mut window, mut seen, mut at) = (Window::default(), BTreeSet::new(), 0i64);
            for jump in jumps {
                at = (at + jump).max(0);
                let (seq, highest) = (at as u32, seen.last().copied());
                let expected = match highest {
                    Some(top) if seq <= top && top - seq >= 64 => Arrival::TooOld,
                    _ if seen.contains(&seq) => Arrival::Duplicate,
                    Some(top) if seq < top => Arrival::Reordered,
                    _ => Arrival::InOrder,
                };
                seen.insert(seq);
                prop_assert_eq!(window.record(seq), expected, "seq {}", seq);
            }
        }
    }

    #[test]
    fn a_long_jump_clears_the_window() {
        let mut window = Window::default();
        assert_eq!(window.record(0), Arrival::InOrder);
        assert_eq!(window.record(63), Arrival::InOrder);
        assert_eq!(window.record(0), Arrival::Duplicate);
        assert_eq!(window.record(64), Arrival::InOrder);
        assert_eq!(window.record(0), Arrival::TooOld);
        assert_eq!(window.record(1000), Arrival::InOrder);
        assert_eq!(window.record(999), Arrival::Reordered);
    }
}
