//! Medians and percentiles with intervals from order statistics, which hold for any distribution.

use hdrhistogram::Histogram;

use super::distribution::{binomial_pmf, normal_cdf};
use super::{Interval, sorted};

/// Fewest samples expected beyond a percentile for it to be shown: n·(1 − p), and n·p for percentiles below the median.
///
/// With fewer, the upper rank of a 95 % interval is beyond the largest sample. So p99 needs 570 samples, p99.9 5,700.
pub const MIN_TAIL_SAMPLES: f64 = 5.7;

/// z of a two-sided interval of 95 %.
const Z_95: f64 = 1.959_963_984_540_054;

/// The median; `None` without values, or if one is not finite.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// The p-quantile, p in 0..=1, linear between order statistics (type 7 of Hyndman and Fan, The American Statistician 50, 1996).
/// `None` without values, or if one is not finite or p is out of range.
pub fn quantile(values: &[f64], p: f64) -> Option<f64> {
    let values = sorted(values)?;
    if !(0.0..=1.0).contains(&p) {
        return None;
    }
    let position = p * (values.len() - 1) as f64;
    let (below, share) = (position.floor() as usize, position.fract());
    let above = (below + 1).min(values.len() - 1);
    Some(values[below] + share * (values[above] - values[below]))
}

/// The narrowest interval of the median between two order statistics, equally far from either end, that covers with at least
/// `confidence`; its stated confidence is exact for any continuous distribution (David and Nagaraja, Order Statistics, §7.1).
///
/// Below six values no such interval reaches 95 %: then it is smallest to largest, with the confidence that has (none for one value).
/// `None` without values, or if one is not finite.
pub fn median_interval(values: &[f64], confidence: f64) -> Option<Interval> {
    let values = sorted(values)?;
    let n = values.len() as u64;
    let mut covered = min_max_coverage(n, 0.5);
    let mut outside = 0;
    // Rank 1 + outside to rank n − outside leaves out P(X <= outside) on either side.
    while 2 * (outside + 1) < n {
        let narrower = covered - 2.0 * binomial_pmf(n, 0.5, outside + 1);
        if narrower < confidence {
            break;
        }
        covered = narrower;
        outside += 1;
    }
    let (low, high) = (outside as usize, values.len() - 1 - outside as usize);
    Some(Interval { low: values[low], high: values[high], confidence: covered })
}

/// Probability that the range from the smallest to the largest of `n` values holds the p-quantile: 1 − pⁿ − (1 − p)ⁿ.
pub fn min_max_coverage(n: u64, p: f64) -> f64 {
    let n = n as f64;
    (1.0 - p.powf(n) - (1.0 - p).powf(n)).max(0.0)
}

/// The ranks, from 1, of the order statistics around the p-quantile of `n` samples with about 95 % confidence:
/// ⌊np − 1.96·√(np(1−p))⌋ and ⌈np + 1.96·√(np(1−p))⌉ + 1 (as Lancet computes it; Kogias, Mallon, Bugnion, USENIX ATC 2019).
///
/// `None` if the sample does not support the percentile: see [`MIN_TAIL_SAMPLES`].
pub fn percentile_ranks(n: u64, p: f64) -> Option<(u64, u64)> {
    if !(p > 0.0 && p < 1.0) {
        return None;
    }
    let count = n as f64;
    // Rounding of 1 − p must not refuse the sample that is just large enough.
    if count * p.min(1.0 - p) < MIN_TAIL_SAMPLES - 1e-6 {
        return None;
    }
    let half_width = Z_95 * (count * p * (1.0 - p)).sqrt();
    let low = (count * p - half_width).floor();
    let high = (count * p + half_width).ceil() + 1.0;
    (low >= 1.0 && high <= count).then_some((low as u64, high as u64))
}

/// The 95 % interval of the p-quantile of `values`; its stated confidence is that of the ranks, exact for small samples. `None` if the
/// sample is too small for it, or a value is not finite.
pub fn percentile_interval(values: &[f64], p: f64) -> Option<Interval> {
    let (low, high) = percentile_ranks(values.len() as u64, p)?;
    let values = sorted(values)?;
    let confidence = rank_coverage(values.len() as u64, p, low, high);
    Some(Interval { low: values[low as usize - 1], high: values[high as usize - 1], confidence })
}

/// [`percentile_interval`] of the values recorded in a histogram, in its unit and to its precision.
pub fn histogram_percentile_interval(histogram: &Histogram<u64>, p: f64) -> Option<Interval> {
    let (low, high) = percentile_ranks(histogram.len(), p)?;
    let mut interval = Interval { low: 0.0, high: 0.0, confidence: rank_coverage(histogram.len(), p, low, high) };
    let mut seen = 0;
    for step in histogram.iter_recorded() {
        let before = seen;
        seen += step.count_since_last_iteration();
        let value = histogram.median_equivalent(step.value_iterated_to()) as f64;
        if (before + 1..=seen).contains(&low) {
            interval.low = value;
        }
        if (before + 1..=seen).contains(&high) {
            interval.high = value;
        }
    }
    Some(interval)
}

/// P(low <= number of samples at or below the quantile < high): exact, but for large samples, where the normal distribution is.
fn rank_coverage(n: u64, p: f64, low: u64, high: u64) -> f64 {
    if n <= 100_000 {
        return (low..high).map(|k| binomial_pmf(n, p, k)).sum();
    }
    let (mean, deviation) = (n as f64 * p, (n as f64 * p * (1.0 - p)).sqrt());
    let up_to = |k: u64| normal_cdf((k as f64 - 0.5 - mean) / deviation);
    up_to(high) - up_to(low)
}

/// The smallest of the values that at least the share `p` of them does not exceed: of fewer than a hundred the 1st percentile is the
/// smallest, the 99th the largest. None of no values.
pub fn nearest_rank(values: &[f64], p: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (p * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_quantiles() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[1.0, f64::NAN]), None);
        assert_eq!(quantile(&[10.0, 20.0, 30.0], 0.25), Some(15.0));
        assert_eq!(quantile(&[10.0, 20.0, 30.0], 1.0), Some(30.0));
        assert_eq!(quantile(&[10.0], 1.1), None);
    }

    /// Conover, Practical Nonparametric Statistics, table of the sign test: n = 10 gives ranks 2 and 9 with 97.85 %.
    #[test]
    fn a_median_interval_states_its_exact_coverage() {
        let ten: Vec<f64> = (1..=10).map(f64::from).collect();
        let interval = median_interval(&ten, 0.95).unwrap();
        assert_eq!((interval.low, interval.high), (2.0, 9.0));
        assert!((interval.confidence - (1.0 - 22.0 / 1024.0)).abs() < 1e-12);
        let interval = median_interval(&ten[..3], 0.95).unwrap();
        assert_eq!((interval.low, interval.high), (1.0, 3.0));
        assert!((interval.confidence - 0.75).abs() < 1e-12);
        let one = median_interval(&ten[..1], 0.95).unwrap();
        assert_eq!((one.low, one.high, one.confidence), (1.0, 1.0, 0.0));
        assert_eq!(median_interval(&[], 0.95), None);
    }

    #[test]
    fn the_range_of_a_small_sample() {
        assert_eq!(min_max_coverage(1, 0.5), 0.0);
        assert_eq!(min_max_coverage(6, 0.5), 0.968_75);
        assert!((min_max_coverage(100, 0.99) - (1.0 - 0.99f64.powi(100))).abs() < 1e-12);
    }

    #[test]
    fn a_percentile_the_sample_does_not_support_is_refused() {
        for (p, enough) in [(0.99, 570), (0.999, 5_700), (0.9999, 57_000), (0.5, 12)] {
            assert!(percentile_ranks(enough, p).is_some(), "{p}");
            assert!(percentile_ranks(enough - 1, p).is_none(), "{p}");
            let (low, high) = percentile_ranks(enough, p).unwrap();
            assert!(1 <= low && high <= enough);
        }
        assert_eq!(percentile_ranks(1_000_000, 1.0), None);
        assert_eq!(percentile_ranks(1_000, 0.99), Some((983, 998)));
    }

    #[test]
    fn the_coverage_of_ranks_is_about_95_percent_whatever_the_way_it_is_computed() {
        for (n, p) in [(570, 0.99), (1_000, 0.99), (1_000, 0.5), (10_000, 0.999), (1_000_000, 0.999)] {
            let (low, high) = percentile_ranks(n, p).unwrap();
            let coverage = rank_coverage(n, p, low, high);
            assert!((0.95..0.99).contains(&coverage), "{n} {p}: {coverage}");
        }
        let exact: f64 = (989_805..=990_197).map(|k| binomial_pmf(1_000_000, 0.99, k)).sum();
        assert!((exact - rank_coverage(1_000_000, 0.99, 989_805, 990_198)).abs() < 1e-4);
    }

    #[test]
    fn a_histogram_gives_the_interval_of_its_values() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        let values: Vec<f64> = (1..=1_000).map(f64::from).collect();
        for value in 1..=1_000 {
            histogram.record(value).unwrap();
        }
        let interval = percentile_interval(&values, 0.99).unwrap();
        assert_eq!((interval.low, interval.high), (983.0, 998.0));
        assert_eq!(histogram_percentile_interval(&histogram, 0.99), Some(interval));
        assert_eq!(histogram_percentile_interval(&histogram, 0.999), None);
    }

    #[test]
    fn percentiles_of_few_values_are_their_ends() {
        let ten: Vec<f64> = (1..=10).map(f64::from).collect();
        assert_eq!((nearest_rank(&ten, 0.01), nearest_rank(&ten, 0.99)), (Some(1.0), Some(10.0)));
        let many: Vec<f64> = (1..=1000).map(f64::from).collect();
        assert_eq!((nearest_rank(&many, 0.01), nearest_rank(&many, 0.99)), (Some(10.0), Some(990.0)));
        assert_eq!(nearest_rank(&[], 0.5), None);
    }
}
