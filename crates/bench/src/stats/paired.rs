//! Paired comparisons: two things measured in the same block, many blocks.
//!
//! Blocks take the machine's slow changes out, log-ratios make "20 % slower" and "25 % faster" the same size, and the signed-rank
//! family (Wilcoxon 1945; Hodges and Lehmann 1963) needs no more than a symmetric distribution of the differences. When the two are
//! the same thing in random order, symmetry is a fact, so the error rates below are exact in an A/A run.

use super::distribution::normal_cdf;
use super::{Interval, sorted};

/// From this many pairs on the signed-rank distribution is taken as normal.
const EXACT_PAIRS: usize = 200;

/// Most pairs whose sign flips are all enumerated: a million.
pub const SIGN_FLIP_PAIRS: usize = 20;

/// Why values cannot be paired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PairError {
    /// The two sides differ in length.
    #[error("{0} values cannot be paired with {1}")]
    Length(usize, usize),
    /// A ratio needs finite, positive values.
    #[error("block {0} has a value that is not finite and positive")]
    NotPositive(usize),
}

/// ln(new / base) per block, dimensionless; near zero this is the relative change.
///
/// # Errors
/// [`PairError`] if the lengths differ or a value is not positive.
pub fn log_ratios(base: &[f64], new: &[f64]) -> Result<Vec<f64>, PairError> {
    if base.len() != new.len() {
        return Err(PairError::Length(base.len(), new.len()));
    }
    let ratio = |(block, (base, new)): (usize, (&f64, &f64))| {
        let ratio = (new / base).ln();
        if *base > 0.0 && ratio.is_finite() { Ok(ratio) } else { Err(PairError::NotPositive(block)) }
    };
    base.iter().zip(new).enumerate().map(ratio).collect()
}

/// The Hodges–Lehmann estimate of the centre: the median of all averages of two values, each with itself too (Annals of Mathematical
/// Statistics 34, 1963). Nearly as sharp as the mean on clean data, and unmoved by a wild block. `None` without values, or if one is
/// not finite.
pub fn hodges_lehmann(values: &[f64]) -> Option<f64> {
    let walsh = walsh_averages(values)?;
    let middle = walsh.len() / 2;
    Some(if walsh.len() % 2 == 1 { walsh[middle] } else { 0.5 * (walsh[middle - 1] + walsh[middle]) })
}

/// The interval of the centre that belongs to the Hodges–Lehmann estimate: the values the signed-rank test does not reject
/// (Hollander, Wolfe and Chicken, Nonparametric Statistical Methods, §3.3). Its confidence is exact for a symmetric distribution.
///
/// Below six values 95 % cannot be had: then it is smallest to largest, with the confidence that has. `None` without values, or if one
/// is not finite.
pub fn walsh_interval(values: &[f64], confidence: f64) -> Option<Interval> {
    let walsh = walsh_averages(values)?;
    let null = SignedRank::new(values.len());
    // Leaving out k averages on either side covers with 1 − 2·P(T <= k), T the signed-rank statistic.
    let mut covered = 1.0 - 2.0 * null.at_most(0.0);
    let mut outside = 0;
    while 2 * (outside + 1) < walsh.len() {
        let narrower = 1.0 - 2.0 * null.at_most((outside + 1) as f64);
        if narrower < confidence {
            break;
        }
        covered = narrower;
        outside += 1;
    }
    Some(Interval { low: walsh[outside], high: walsh[walsh.len() - 1 - outside], confidence: covered.max(0.0) })
}

/// Two-sided p of Wilcoxon's signed-rank test that the differences are centred on zero. Exact up to 200 differences without ties;
/// tied sizes share their mean rank and zeros are left out, as Wilcoxon did. `None` if no difference is left, or one is not finite.
pub fn signed_rank_p(differences: &[f64]) -> Option<f64> {
    let (below, above) = signed_rank_tails(differences)?;
    Some((2.0 * f64::min(below, above)).min(1.0))
}

/// One-sided p-values of the signed-rank test: that the centre is at least zero, that it is at most zero.
pub(super) fn signed_rank_tails(differences: &[f64]) -> Option<(f64, f64)> {
    if differences.iter().any(|difference| !difference.is_finite()) {
        return None;
    }
    let mut by_size: Vec<f64> = differences.iter().copied().filter(|&difference| difference != 0.0).collect();
    by_size.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    let n = by_size.len();
    if n == 0 {
        return None;
    }
    let mut positive = 0.0;
    let mut start = 0;
    while start < n {
        let size = by_size[start].abs();
        let ties = by_size[start..].iter().take_while(|difference| difference.abs() == size).count();
        let mean_rank = start as f64 + 0.5 * (ties + 1) as f64;
        positive +=
            mean_rank * by_size[start..start + ties].iter().filter(|&&difference| difference > 0.0).count() as f64;
        start += ties;
    }
    let null = SignedRank::new(n);
    let all = 0.5 * (n * (n + 1)) as f64;
    Some((null.at_most(positive), null.at_most(all - positive)))
}

/// Two-sided p of the sign-flip test that the differences are centred on zero: the share of all 2ⁿ ways to choose their signs whose sum
/// is at least as far from zero (Fisher 1935). Exact. `None` without differences, with more than [`SIGN_FLIP_PAIRS`], or if one is not
/// finite.
pub fn sign_flip_p(differences: &[f64]) -> Option<f64> {
    let n = differences.len();
    if n == 0 || n > SIGN_FLIP_PAIRS || differences.iter().any(|difference| !difference.is_finite()) {
        return None;
    }
    let observed: f64 = differences.iter().sum();
    let scale: f64 = differences.iter().map(|difference| difference.abs()).sum();
    // A sum that differs from the observed one by rounding only is as far from zero.
    let limit = observed.abs() - 1e-12 * scale;
    let mut sum = -scale;
    let mut as_far = u32::from(sum.abs() >= limit);
    let mut is_positive = [false; SIGN_FLIP_PAIRS];
    // In Gray code order each choice of signs differs from the one before by one flip.
    for step in 1u32..1 << n {
        let flipped = step.trailing_zeros() as usize;
        let change = 2.0 * differences[flipped].abs();
        sum += if is_positive[flipped] { -change } else { change };
        is_positive[flipped] = !is_positive[flipped];
        as_far += u32::from(sum.abs() >= limit);
    }
    Some(f64::from(as_far) / f64::from(1u32 << n))
}

/// The smallest two-sided p that `n` pairs can give in either test, 2 / 2ⁿ: five pairs can never show anything at 5 %.
pub fn smallest_p(n: usize) -> f64 {
    (2.0 * 0.5f64.powf(n as f64)).min(1.0)
}

fn walsh_averages(values: &[f64]) -> Option<Vec<f64>> {
    let values = sorted(values)?;
    let mut walsh: Vec<f64> = (0..values.len())
        .flat_map(|i| (i..values.len()).map(move |j| (i, j)))
        .map(|(i, j)| 0.5 * (values[i] + values[j]))
        .collect();
    walsh.sort_by(f64::total_cmp);
    Some(walsh)
}

/// The distribution of the sum of the ranks of positive differences when every sign is a fair coin.
struct SignedRank {
    n: usize,
    /// P(T <= t) by t; empty where the normal distribution serves.
    cumulative: Vec<f64>,
}

impl SignedRank {
    fn new(n: usize) -> Self {
        if n > EXACT_PAIRS {
            return Self { n, cumulative: Vec::new() };
        }
        let mut chance = vec![0.0; n * (n + 1) / 2 + 1];
        chance[0] = 1.0;
        for rank in 1..=n {
            let highest = rank * (rank + 1) / 2;
            for sum in (0..=highest).rev() {
                let with_rank = if sum >= rank { chance[sum - rank] } else { 0.0 };
                chance[sum] = 0.5 * (chance[sum] + with_rank);
            }
        }
        let cumulative = chance.iter().scan(0.0, |sum, chance| {
            *sum += chance;
            Some(f64::min(*sum, 1.0))
        });
        Self { n, cumulative: cumulative.collect() }
    }

    fn at_most(&self, statistic: f64) -> f64 {
        // Mean ranks of ties can be halves; rounding down would claim too much.
        let statistic = statistic.ceil();
        if let Some(last) = self.cumulative.len().checked_sub(1) {
            return self.cumulative[(statistic.max(0.0) as usize).min(last)];
        }
        let n = self.n as f64;
        let deviation = (n * (n + 1.0) * (2.0 * n + 1.0) / 24.0).sqrt();
        normal_cdf((statistic + 0.5 - n * (n + 1.0) / 4.0) / deviation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_block_by_block() {
        let ratios = log_ratios(&[100.0, 200.0], &[110.0, 100.0]).unwrap();
        assert!((ratios[0] - 1.1f64.ln()).abs() < 1e-15 && (ratios[1] - 0.5f64.ln()).abs() < 1e-15);
        assert_eq!(log_ratios(&[1.0], &[1.0, 2.0]), Err(PairError::Length(1, 2)));
        assert_eq!(log_ratios(&[1.0, 0.0], &[1.0, 2.0]), Err(PairError::NotPositive(1)));
        assert_eq!(log_ratios(&[-1.0], &[-2.0]), Err(PairError::NotPositive(0)));
        assert_eq!(log_ratios(&[1.0], &[f64::NAN]), Err(PairError::NotPositive(0)));
    }

    #[test]
    fn the_estimate_is_the_median_of_the_averages_of_two() {
        assert_eq!(hodges_lehmann(&[1.0, 2.0, 6.0]), Some(2.75));
        assert_eq!(hodges_lehmann(&[1.0, 5.0]), Some(3.0));
        assert_eq!(hodges_lehmann(&[0.0, 0.1, -0.1, 0.0, 1e9]).map(|estimate| estimate < 0.1), Some(true));
        assert_eq!(hodges_lehmann(&[]), None);
    }

    /// Hollander, Wolfe and Chicken, example 3.1 (Hamilton depression scale factor, nine patients): T⁺ = 5, p = 0.0391 two-sided,
    /// estimate −0.46, 96 % interval (−0.786, −0.010).
    #[test]
    #[expect(clippy::approx_constant, reason = "a patient's score, not π")]
    fn the_textbook_example() {
        let before = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30];
        let after = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29];
        let differences: Vec<f64> = before.iter().zip(after).map(|(before, after)| after - before).collect();
        assert!((signed_rank_p(&differences).unwrap() - 0.039_062_5).abs() < 1e-12);
        assert!((hodges_lehmann(&differences).unwrap() + 0.46).abs() < 1e-9);
        let interval = walsh_interval(&differences, 0.96).unwrap();
        assert!((interval.low + 0.786).abs() < 1e-9 && (interval.high + 0.010).abs() < 1e-9, "{interval:?}");
        assert!((interval.confidence - 0.960_937_5).abs() < 1e-12);
    }

    /// Smallest two-sided p-values: six pairs for a test at 5 %, eight for one at 1 %.
    #[test]
    fn few_pairs_can_show_little() {
        let same_sign = |n: u32| (1..=n).map(|i| f64::from(i) + 0.5).collect::<Vec<f64>>();
        for (n, p) in [(5, 0.0625), (6, 0.031_25), (8, 0.007_812_5)] {
            assert_eq!(smallest_p(n as usize), p);
            assert_eq!(sign_flip_p(&same_sign(n)), Some(p));
            assert!((signed_rank_p(&same_sign(n)).unwrap() - p).abs() < 1e-15);
        }
        let three = walsh_interval(&[1.0, 2.0, 4.0], 0.95).unwrap();
        assert_eq!((three.low, three.high, three.confidence), (1.0, 4.0, 0.75));
    }

    #[test]
    fn sign_flips_are_all_enumerated() {
        // Sums of ±1 ±2 ±3: 6, 4, 2, 0, 0, −2, −4, −6.
        assert_eq!(sign_flip_p(&[1.0, 2.0, 3.0]), Some(0.25));
        assert_eq!(sign_flip_p(&[1.0, 2.0, -3.0]), Some(1.0));
        assert_eq!(sign_flip_p(&[-1.0, 2.0, 3.0]), Some(0.5));
        assert_eq!(sign_flip_p(&[0.1, 0.2, 0.3]), Some(0.25));
        assert_eq!(sign_flip_p(&[]), None);
        assert_eq!(sign_flip_p(&[1.0; 21]), None);
    }

    #[test]
    fn the_normal_distribution_takes_over_smoothly() {
        let exact = SignedRank::new(200);
        let n = 200.0;
        let deviation = f64::sqrt(n * (n + 1.0) * (2.0 * n + 1.0) / 24.0);
        for statistic in [8_000.0, 9_000.0, 10_050.0] {
            let normal = normal_cdf((statistic + 0.5 - n * (n + 1.0) / 4.0) / deviation);
            assert!((exact.at_most(statistic) - normal).abs() < 5e-4, "{statistic}");
        }
        let mostly_positive: Vec<f64> = (1..=250).map(|i| f64::from(if i % 5 < 3 { i } else { -i })).collect();
        assert!(signed_rank_p(&mostly_positive).unwrap() < 0.01);
    }

    #[test]
    fn ties_share_their_rank_and_zeros_are_left_out() {
        assert_eq!(signed_rank_p(&[0.0, 0.0]), None);
        assert_eq!(signed_rank_p(&[f64::NAN]), None);
        assert_eq!(signed_rank_p(&[1.0, -1.0]), Some(1.0));
        assert_eq!(signed_rank_p(&[0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]), Some(0.031_25));
    }
}
