use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stats::MIN_TAIL_SAMPLES;

/// A median and the interval that holds the true one with the stated confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Interval {
    /// The sample's median.
    pub median: f64,
    /// Lower end: an order statistic of the sample.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Probability that an interval made this way holds the true median, 0 to 1.
    pub confidence: f64,
    /// How many rounds it comes from.
    pub rounds: u32,
}

/// Quantiles of a histogram of nanoseconds; those that the sample is too small for are absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Quantiles {
    /// How many values.
    pub samples: u64,
    /// The smallest.
    pub ns_min: Option<u64>,
    /// 50 %.
    pub ns_p50: Option<u64>,
    /// 90 %.
    pub ns_p90: Option<u64>,
    /// 99 %.
    pub ns_p99: Option<u64>,
    /// 99.9 %.
    pub ns_p999: Option<u64>,
    /// 99.99 %.
    pub ns_p9999: Option<u64>,
    /// The largest.
    pub ns_max: Option<u64>,
}

impl Quantiles {
    /// The quantiles that `histogram` supports.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let samples = histogram.len();
        let some = |value: u64| (samples > 0).then_some(value);
        let quantile = |p: f64| {
            // The epsilon keeps 5660 × (1 − 0.999) on the right side of its own rounding.
            (samples as f64 * (1.0 - p) + 1e-6 >= MIN_TAIL_SAMPLES).then(|| histogram.value_at_quantile(p))
        };
        Self {
            samples,
            ns_min: some(histogram.min()),
            ns_p50: quantile(0.5),
            ns_p90: quantile(0.9),
            ns_p99: quantile(0.99),
            ns_p999: quantile(0.999),
            ns_p9999: quantile(0.9999),
            ns_max: some(histogram.max()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_given_only_where_the_sample_supports_them() {
        let mut histogram = Histogram::new_with_bounds(1, 1_000_000, 3).unwrap();
        assert_eq!(Quantiles::of(&histogram), Quantiles::default());
        for value in 1..=570 {
            histogram.record(value).unwrap();
        }
        let some = Quantiles::of(&histogram);
        assert_eq!((some.samples, some.ns_p50, some.ns_p99, some.ns_p999), (570, Some(285), Some(565), None));
        for value in 571..=5700 {
            histogram.record(value).unwrap();
        }
        assert!(Quantiles::of(&histogram).ns_p999.is_some() && Quantiles::of(&histogram).ns_p9999.is_none());
    }
}
