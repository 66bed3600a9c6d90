//! Statistics for few, noisy, paired measurements: nothing here assumes a normal distribution unless it says so.
//!
//! * Of one sample: [`median`], [`quantile`], [`median_interval`], [`percentile_interval`] and the exact coverage of ranges.
//! * Of paired blocks: [`log_ratios`], [`hodges_lehmann`], [`walsh_interval`], [`bca_interval`], exact [`sign_flip_p`] and
//!   [`signed_rank_p`], and what follows from them: [`compare`] gives a [`Verdict`]. Where there are no blocks, [`compare_unpaired`].
//! * Over many comparisons: [`benjamini_hochberg`]; over time within one: [`Looks`].
//! * Of two layers' latencies: [`convolve`]; of a history: [`change_points`].
//!
//! Randomness comes from a seed given by the caller; the same seed gives the same figures.

mod bootstrap;
mod change_point;
mod convolve;
mod distribution;
mod multiple;
mod paired;
mod quantile;
mod sequential;
mod unpaired;
mod verdict;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use bootstrap::{BootstrapError, bca_interval};
pub use change_point::{CHANGE_RUNS_MIN, ChangePoint, ChangeSettings, change_points};
pub use convolve::{ConvolveError, convolve};
pub use multiple::benjamini_hochberg;
pub use paired::{
    PairError, SIGN_FLIP_PAIRS, hodges_lehmann, log_ratios, sign_flip_p, signed_rank_p, smallest_p, walsh_interval,
};
pub use quantile::{
    MIN_TAIL_SAMPLES, histogram_percentile_interval, median, median_interval, min_max_coverage, nearest_rank,
    percentile_interval, percentile_ranks, quantile,
};
pub use sequential::Looks;
pub use unpaired::compare_unpaired;
pub use verdict::{Better, Comparison, Policy, Verdict, compare, detectable_change, tost_p};

/// An interval and the probability with which intervals made this way hold the true value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Interval {
    /// Lower end, in the unit of the values it was made from.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Coverage, 0..=1: exact where the method is exact, nominal else. Below what was asked for where the sample is too small.
    pub confidence: f64,
}

impl Interval {
    /// Whether a value lies in the interval, ends included.
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }

    /// Whether the whole interval lies strictly between two values.
    pub fn is_within(&self, low: f64, high: f64) -> bool {
        low < self.low && self.high < high
    }

    /// The interval of e^x: from log-ratios to ratios.
    pub fn exp(&self) -> Self {
        Self { low: self.low.exp(), high: self.high.exp(), confidence: self.confidence }
    }
}

/// The values in increasing order; `None` if there are none, or if one is not finite.
fn sorted(values: &[f64]) -> Option<Vec<f64>> {
    if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    Some(values)
}
