//! How often which time was taken, cheap to add to: what a histogram is filled from once a trial is over.
//!
//! The buckets are those of the histogram, so that nothing is lost between the two. A frame is counted in up to three of these, and
//! there are millions a second on the processor that also makes them.

use hdrhistogram::Histogram;

/// Longest time that is told apart, in nanoseconds.
const MAX_NS: u64 = 60_000_000_000;
/// Decimal digits of a time that are kept.
const DIGITS: u8 = 3;
/// Bits of a time that are kept: the histogram tells values below 2 × 10³ apart, rounded up to a power of two, and of larger ones that
/// many bits less one. A test holds each bucket against the histogram's.
const BITS: u32 = 11;
const HALF: usize = 1 << (BITS - 1);

/// An empty histogram of nanoseconds up to a minute, three significant digits.
pub fn histogram() -> Histogram<u64> {
    #[expect(clippy::expect_used, reason = "bounds and digits are constants that hdrhistogram accepts")]
    Histogram::new_with_bounds(1, MAX_NS, DIGITS).expect("constant bounds")
}

/// Times in nanoseconds, counted by bucket.
#[derive(Debug)]
pub(crate) struct Tally {
    counts: Box<[u64]>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; bucket(MAX_NS) + 1].into() }
    }

    /// Counts a time; one above a minute as a minute, none as a nanosecond.
    #[inline]
    pub(crate) fn add(&mut self, ns: u64) {
        self.counts[bucket(ns.clamp(1, MAX_NS))] += 1;
    }

    pub(crate) fn clear(&mut self) {
        self.counts.fill(0);
    }

    /// As a histogram.
    pub(crate) fn histogram(&self) -> Histogram<u64> {
        let mut histogram = histogram();
        for (bucket, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            histogram.saturating_record_n(lowest(bucket), *count);
        }
        histogram
    }
}

/// The number of the bucket that `ns` is counted in.
#[inline]
const fn bucket(ns: u64) -> usize {
    let dropped = u64::BITS - BITS - (ns | ((1 << BITS) - 1)).leading_zeros();
    dropped as usize * HALF + (ns >> dropped) as usize
}

/// The least time that is counted in `bucket`.
const fn lowest(bucket: usize) -> u64 {
    let dropped = (bucket / HALF).saturating_sub(1);
    ((bucket - dropped * HALF) as u64) << dropped
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn there_are_as_many_buckets_as_the_histogram_has_and_each_begins_where_its_does() {
        let (reference, tally) = (histogram(), Tally::new());
        for at in 0..tally.counts.len() {
            let ns = lowest(at);
            assert_eq!(bucket(ns), at);
            assert_eq!(reference.lowest_equivalent(ns), ns);
            assert_eq!(bucket(reference.highest_equivalent(ns)), at);
            assert_eq!(bucket(reference.highest_equivalent(ns) + 1), at + 1);
        }
    }

    proptest! {
        #[test]
        fn it_becomes_the_histogram_of_the_same_times(
            times in proptest::collection::vec((0u32..40, any::<u64>()).prop_map(|(bits, ns)| ns % (1 << bits)), 0..200),
        ) {
            let (mut reference, mut tally) = (histogram(), Tally::new());
            for ns in times {
                reference.saturating_record(ns.clamp(1, MAX_NS));
                tally.add(ns);
            }
            let filled = tally.histogram();
            prop_assert_eq!(&filled, &reference);
            prop_assert_eq!((filled.max(), filled.min(), filled.len()), (reference.max(), reference.min(), reference.len()));
            tally.clear();
            prop_assert!(tally.histogram().is_empty());
        }
    }
}
