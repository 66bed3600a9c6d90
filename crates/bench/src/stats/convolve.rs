//! What two layers' latencies would be together, if they were independent.

use hdrhistogram::{CreationError, Histogram};

/// Bits of an input latency that are kept: at most 128 values per doubling.
const INPUT_BITS: u32 = 8;

/// Bits of an output latency that are kept, enough for three decimal digits.
const OUTPUT_BITS: u32 = 11;

/// Why there is no convolution.
#[derive(Debug, thiserror::Error)]
pub enum ConvolveError {
    /// One side has no values.
    #[error("an empty histogram has no distribution")]
    Empty,
    /// The sum does not fit into a histogram.
    #[error("failed to make the histogram of the sum: {0}")]
    Range(#[from] CreationError),
}

/// The distribution of a + b − `shared_ns` for independent latencies a and b, nanoseconds.
///
/// Quantiles do not add, distributions do, by convolution; what the measured latency of both layers has beyond this prediction is
/// dependence. Latencies of a single layer, stamped at its taps, have nothing in common: `shared_ns` is zero. End-to-end latencies
/// of two designs both contain the bare path, so its typical latency (the median of `none`) is to be taken off once; that is exact
/// only if the bare path does not vary.
///
/// The result has the digits of `a` and as many values as the smaller side, which is what its tail can be trusted for. Values are kept
/// to 0.8 % on the way in, averages exactly but for rounding to whole nanoseconds.
///
/// # Errors
/// [`ConvolveError`] if a side is empty or the sum out of range.
pub fn convolve(a: &Histogram<u64>, b: &Histogram<u64>, shared_ns: u64) -> Result<Histogram<u64>, ConvolveError> {
    if a.is_empty() || b.is_empty() {
        return Err(ConvolveError::Empty);
    }
    let (left, right) = (Masses::of(a), Masses::of(b));
    let mut sum = Masses::default();
    for &(weight_a, ns_a) in &left.filled() {
        for &(weight_b, ns_b) in &right.filled() {
            sum.add(weight_a * weight_b, (ns_a + ns_b - shared_ns as f64).max(0.0), OUTPUT_BITS);
        }
    }
    let highest = (a.max() + b.max()).max(2);
    let mut result = Histogram::new_with_bounds(1, highest, a.sigfig())?;
    let count = a.len().min(b.len()) as f64;
    // Rounding the running total, not each weight, neither loses nor makes up values.
    let (mut total, mut recorded) = (0.0, 0);
    for (weight, ns) in sum.filled() {
        total += weight;
        let due = (total * count).round() as u64;
        // Never above the bounds the histogram was made for.
        result.saturating_record_n(ns.round() as u64, due - recorded);
        recorded = due;
    }
    Ok(result)
}

/// Shares of a distribution in bins of equal relative width, each with its mean.
#[derive(Default)]
struct Masses {
    /// Weight, and weight times nanoseconds, by bin.
    bins: Vec<(f64, f64)>,
}

impl Masses {
    fn of(histogram: &Histogram<u64>) -> Self {
        let mut masses = Self::default();
        for step in histogram.iter_recorded() {
            let ns = histogram.median_equivalent(step.value_iterated_to());
            let weight = step.count_since_last_iteration() as f64 / histogram.len() as f64;
            masses.add(weight, ns as f64, INPUT_BITS);
        }
        masses
    }

    fn add(&mut self, weight: f64, ns: f64, bits: u32) {
        let bin = bin(ns as u64, bits);
        if bin >= self.bins.len() {
            self.bins.resize(bin + 1, (0.0, 0.0));
        }
        self.bins[bin].0 += weight;
        self.bins[bin].1 += weight * ns;
    }

    /// Weight and mean of each bin that has any, by increasing latency.
    fn filled(&self) -> Vec<(f64, f64)> {
        self.bins.iter().filter(|(weight, _)| *weight > 0.0).map(|(weight, sum)| (*weight, sum / weight)).collect()
    }
}

/// Number of the bin that keeps the leading `bits` bits of a value; bins are numbered without gaps, in order.
const fn bin(value: u64, bits: u32) -> usize {
    let dropped = (u64::BITS - value.leading_zeros()).saturating_sub(bits);
    ((dropped as usize) << (bits - 1)) + (value >> dropped) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: impl IntoIterator<Item = u64>) -> Histogram<u64> {
        let mut histogram = Histogram::new_with_bounds(1, 10_000_000_000, 3).unwrap();
        for value in values {
            histogram.record(value).unwrap();
        }
        histogram
    }

    #[test]
    fn bins_are_in_order_and_without_gaps() {
        let mut last = 0;
        for value in 1..100_000 {
            let bin = bin(value, INPUT_BITS);
            assert!(bin == last || bin == last + 1, "{value}");
            last = bin;
        }
        assert!(bin(u64::MAX, OUTPUT_BITS) < 64 << OUTPUT_BITS);
    }

    #[test]
    fn two_coins_make_three_sums() {
        let a = histogram([1_000, 1_000, 3_000, 3_000]);
        let b = histogram([10_000, 20_000, 10_000, 20_000]);
        let sum = convolve(&a, &b, 0).unwrap();
        assert_eq!(sum.len(), 4);
        for (ns, count) in [(11_000, 1), (13_000, 1), (21_000, 1), (23_000, 1)] {
            assert_eq!(sum.count_between(ns * 99 / 100, ns * 101 / 100), count, "{ns}");
        }
        let without_shared = convolve(&a, &b, 1_000).unwrap();
        assert_eq!(without_shared.count_between(9_900, 10_100), 1);
    }

    #[test]
    fn the_smaller_side_gives_the_number_of_values() {
        let sum = convolve(&histogram(1..=1_000), &histogram(1..=50), 0).unwrap();
        assert_eq!(sum.len(), 50);
        assert!(matches!(convolve(&histogram([]), &histogram([1]), 0), Err(ConvolveError::Empty)));
    }

    #[test]
    fn more_shared_than_there_is_gives_zero() {
        let sum = convolve(&histogram([100]), &histogram([100]), 1_000).unwrap();
        assert_eq!((sum.len(), sum.max()), (1, 0));
    }
}
