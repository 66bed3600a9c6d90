//! Comparisons of two samples that share no blocks: the rank-sum counterpart of [`super::compare`].

use super::distribution::student_t_quantile;
use super::verdict::{POWER, decide};
use super::{Comparison, Interval, Policy, median};

/// Most values of a side whose rank sums are all counted.
const VALUES_MAX: usize = 200;

/// Judges two samples of positive values that were not measured in blocks: the shift of their logarithms by Hodges and Lehmann's two-sample
/// estimate, with the exact interval of the Mann–Whitney test (Annals of Mathematical Statistics 18, 1947), and two one-sided tests for
/// equality. What the machine did between the two is in the difference. `None` if a side is empty or has more than 200 values, or a value
/// is not positive.
pub fn compare_unpaired(base: &[f64], new: &[f64], policy: &Policy) -> Option<Comparison> {
    let logs = |values: &[f64]| -> Option<Vec<f64>> {
        values.iter().map(|value| Some(value.ln()).filter(|log| log.is_finite())).collect()
    };
    let (base, new) = (logs(base)?, logs(new)?);
    if base.is_empty() || new.is_empty() || base.len().max(new.len()) > VALUES_MAX {
        return None;
    }
    let null = RankSum::new(base.len(), new.len());
    let mut shifts: Vec<f64> = new.iter().flat_map(|new| base.iter().map(move |base| new - base)).collect();
    shifts.sort_by(f64::total_cmp);
    let estimate = median(&shifts)?;
    let interval = null.interval(&shifts, 1.0 - policy.alpha);
    let margin = policy.margin.max(0.0).ln_1p();
    // How many shifts are above a value is the statistic of the test that the true one is it.
    let above = |value: f64| {
        let [above, equal] = shifts.iter().fold([0.0, 0.0], |[above, equal], shift| {
            [above + f64::from(u8::from(*shift > value)), equal + f64::from(u8::from(*shift == value))]
        });
        above + 0.5 * equal
    };
    let all = shifts.len() as f64;
    let p_difference = (2.0 * null.at_most(above(0.0)).min(null.at_most(all - above(0.0)))).min(1.0);
    let p_equivalence = null.at_most(all - above(-margin)).max(null.at_most(above(margin)));
    let detectable = detectable(&base, &new, &null, policy.alpha);
    let verdict = decide(&interval, p_equivalence, margin, detectable, policy);
    Some(Comparison {
        blocks: base.len().min(new.len()) as u32,
        ratio: estimate.exp(),
        interval: interval.exp(),
        p_difference,
        p_equivalence,
        detectable,
        verdict,
    })
}

/// The relative change that samples with this much scatter would show four times in five, by Welch's formula.
fn detectable(base: &[f64], new: &[f64], null: &RankSum, alpha: f64) -> Option<f64> {
    let variance = |values: &[f64]| {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (values.len() as f64 - 1.0)
    };
    if base.len() < 2 || new.len() < 2 || 2.0 * null.at_most(0.0) > alpha {
        return None;
    }
    let error = (variance(base) / base.len() as f64 + variance(new) / new.len() as f64).sqrt();
    let degrees = (base.len() + new.len() - 2) as f64;
    let t = student_t_quantile(1.0 - 0.5 * alpha, degrees) + student_t_quantile(POWER, degrees);
    Some((t * error).exp_m1()).filter(|change| change.is_finite())
}

/// Distribution of the Mann–Whitney statistic where both sides are alike.
struct RankSum {
    /// Probability of each value.
    weights: Vec<f64>,
}

impl RankSum {
    fn new(m: usize, n: usize) -> Self {
        // Coefficients of the Gaussian binomial: the product over i of (1 − q^(m+i)) / (1 − q^i), scaled as it grows.
        let top = m * n;
        let mut weights = vec![0.0; top + 1];
        weights[0] = 1.0;
        for i in 1..=n {
            for at in (m + i..=top).rev() {
                weights[at] -= weights[at - m - i];
            }
            for at in i..=top {
                weights[at] += weights[at - i];
            }
            let largest = weights.iter().copied().fold(0.0, f64::max);
            weights.iter_mut().for_each(|weight| *weight /= largest);
        }
        let sum: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight = (*weight / sum).max(0.0));
        Self { weights }
    }

    /// P(U <= u).
    fn at_most(&self, u: f64) -> f64 {
        self.weights.iter().take((u.floor().max(-1.0) + 1.0) as usize).sum::<f64>().min(1.0)
    }

    /// The shifts that the test does not reject; all of them, with the confidence that has, where the samples are too small.
    fn interval(&self, shifts: &[f64], confidence: f64) -> Interval {
        let covered = |outside: usize| 1.0 - 2.0 * self.at_most(outside as f64);
        let mut outside = 0;
        while 2 * (outside + 1) < shifts.len() && covered(outside + 1) >= confidence {
            outside += 1;
        }
        let (low, high) = (shifts[outside], shifts[shifts.len() - 1 - outside]);
        Interval { low, high, confidence: covered(outside).max(0.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Better, Verdict};
    use super::*;

    const POLICY: Policy = Policy { better: Better::Higher, margin: 0.03, alpha: 0.05 };

    /// The tables of Mann and Whitney: of 252 orders of five and five, two are as far apart as can be.
    #[test]
    fn known_probabilities() {
        let five = RankSum::new(5, 5);
        assert!((2.0 * five.at_most(0.0) - 2.0 / 252.0).abs() < 1e-12);
        assert!((2.0 * five.at_most(2.0) - 8.0 / 252.0).abs() < 1e-12);
        assert!((five.at_most(25.0) - 1.0).abs() < 1e-9);
        assert!((2.0 * RankSum::new(3, 3).at_most(0.0) - 0.1).abs() < 1e-12);
    }

    #[test]
    fn verdicts() {
        let around = |centre: f64| -> Vec<f64> {
            [-1.0, 0.9, -0.6, 0.5, -0.2, 0.3, 1.1, -0.8].map(|x| centre * (1.0 + 0.004 * x)).to_vec()
        };
        let verdict = |new: f64| compare_unpaired(&around(100.0), &around(new), &POLICY).unwrap();
        assert_eq!(verdict(120.0).verdict, Verdict::Better { beyond_margin: true });
        assert_eq!(verdict(80.0).verdict, Verdict::Worse { beyond_margin: true });
        assert_eq!(verdict(100.0).verdict, Verdict::Equal { within: 0.03 });
        assert!((verdict(120.0).ratio - 1.2).abs() < 0.01 && verdict(120.0).interval.contains(1.2));
        let wild: Vec<f64> = (0..8).map(|i| 100.0 * 1.5_f64.powi(i % 3 - 1)).collect();
        let unsure = compare_unpaired(&wild, &around(101.0), &POLICY).unwrap();
        assert!(matches!(unsure.verdict, Verdict::Inconclusive { detectable: Some(change) } if change > 0.1));
    }

    /// Of equal things measured apart, at most the nominal share is called different.
    #[test]
    fn false_alarms_are_as_rare_as_promised() {
        let mut state = 1u64;
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            100.0 * (1.0 + 0.2 * ((state >> 33) as f64 / f64::from(1u32 << 31) - 0.5))
        };
        let alarms = (0..2000).filter(|_| {
            let sides: [Vec<f64>; 2] = [0, 1].map(|_| (0..7).map(|_| noise()).collect());
            let verdict = compare_unpaired(&sides[0], &sides[1], &POLICY).unwrap().verdict;
            matches!(verdict, Verdict::Better { .. } | Verdict::Worse { .. })
        });
        let alarms = alarms.count();
        assert!(alarms <= 120, "{alarms} of 2000 at 5 %");
    }

    #[test]
    fn few_values_show_nothing() {
        let judged = compare_unpaired(&[1.0, 1.1, 1.2], &[2.0, 2.1, 2.2], &POLICY).unwrap();
        assert_eq!(judged.verdict, Verdict::Inconclusive { detectable: None });
        assert_eq!(compare_unpaired(&[], &[1.0], &POLICY), None);
        assert_eq!(compare_unpaired(&[0.0], &[1.0], &POLICY), None);
    }
}
