//! Connections that end when their time comes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What is to be closed, and when.
#[derive(Debug, Default)]
pub(super) struct Endings(BinaryHeap<Reverse<(u64, u32)>>);

impl Endings {
    pub(super) fn add(&mut self, at_ns: u64, number: u32) {
        self.0.push(Reverse((at_ns, number)));
    }

    /// Those due at `now_ns`, earliest first.
    pub(super) fn due(&mut self, now_ns: u64) -> Vec<u32> {
        let mut due = Vec::new();
        while self.0.peek().is_some_and(|Reverse((at_ns, _))| *at_ns <= now_ns) {
            due.extend(self.0.pop().map(|Reverse((_, number))| number));
        }
        due
    }

    /// All, whether due or not.
    pub(super) fn all(&mut self) -> Vec<u32> {
        self.due(u64::MAX)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_comes_in_order_and_once() {
        let mut endings = Endings::default();
        for (at_ns, number) in [(30, 3), (10, 1), (20, 2)] {
            endings.add(at_ns, number);
        }
        assert_eq!(endings.due(20), [1, 2]);
        assert_eq!((endings.due(29), endings.len()), (vec![], 1));
        assert_eq!(endings.all(), [3]);
    }
}
