//! From paired log-ratios to a verdict: better, worse, equal within a margin, or inconclusive.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::distribution::student_t_quantile;
use super::paired::signed_rank_tails;
use super::{Interval, hodges_lehmann, signed_rank_p, smallest_p, walsh_interval};

/// Chance with which an effect of the detectable size would have been seen.
pub(super) const POWER: f64 = 0.8;

/// Which direction of a figure is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// Rates.
    Higher,
    /// Latencies and costs.
    Lower,
}

/// By what a comparison is judged.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Policy {
    /// Which direction is good.
    pub better: Better,
    /// Relative change that does not matter, e.g. 0.03: ratios from 1/1.03 to 1.03 count as equal.
    pub margin: f64,
    /// Chance, at most, of calling equal things different, and of calling things equal that differ by the margin.
    pub alpha: f64,
}

/// What a comparison shows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Verdict {
    /// The new one is better.
    Better {
        /// The whole interval is beyond the margin: surely by more than it.
        beyond_margin: bool,
    },
    /// The new one is worse.
    Worse {
        /// The whole interval is beyond the margin: surely by more than it.
        beyond_margin: bool,
    },
    /// The difference is smaller than the margin.
    Equal {
        /// The margin, relative.
        within: f64,
    },
    /// Neither a difference nor equality was shown.
    Inconclusive {
        /// Relative change that would have been seen four times in five; `None` if so few blocks could show no change at all.
        detectable: Option<f64>,
    },
}

/// A comparison in figures; ratios are new / base.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// Paired blocks.
    pub blocks: u32,
    /// Hodges–Lehmann estimate of the ratio.
    pub ratio: f64,
    /// Its exact interval, see [`walsh_interval`].
    pub interval: Interval,
    /// Two-sided p of no difference (signed-rank).
    pub p_difference: f64,
    /// p of a difference of the margin or more (TOST).
    pub p_equivalence: f64,
    /// Relative change that would have been seen four times in five; `None` if so few blocks could show no change at all.
    pub detectable: Option<f64>,
    /// What follows.
    pub verdict: Verdict,
}

/// Judges paired log-ratios (see [`super::log_ratios`]): equal if two one-sided tests say so, else different if the interval of
/// the ratio excludes 1, else inconclusive.
///
/// The tests are signed-rank tests, exact for few blocks: in an A/A run at most the share `alpha` of comparisons is called better or
/// worse, however noisy the machine. `None` without log-ratios, or if one is not finite.
pub fn compare(log_ratios: &[f64], policy: &Policy) -> Option<Comparison> {
    let estimate = hodges_lehmann(log_ratios)?;
    let interval = walsh_interval(log_ratios, 1.0 - policy.alpha)?;
    let p_equivalence = tost_p(log_ratios, policy.margin)?;
    let detectable = detectable_change(log_ratios, policy.alpha);
    let margin = policy.margin.ln_1p();
    let verdict = decide(&interval, p_equivalence, margin, detectable, policy);
    Some(Comparison {
        blocks: log_ratios.len() as u32,
        ratio: estimate.exp(),
        interval: interval.exp(),
        // All differences zero: nothing speaks against equality.
        p_difference: signed_rank_p(log_ratios).unwrap_or(1.0),
        p_equivalence,
        detectable,
        verdict,
    })
}

/// What follows from the interval of the log of a ratio and from the test of its equality; `margin` is that of the log.
pub(super) fn decide(
    interval: &Interval,
    p_equivalence: f64,
    margin: f64,
    detectable: Option<f64>,
    policy: &Policy,
) -> Verdict {
    if p_equivalence <= policy.alpha {
        return Verdict::Equal { within: policy.margin };
    }
    if interval.confidence < 1.0 - policy.alpha || interval.contains(0.0) {
        return Verdict::Inconclusive { detectable };
    }
    let beyond_margin = interval.low > margin || interval.high < -margin;
    if (interval.low > 0.0) == (policy.better == Better::Higher) {
        Verdict::Better { beyond_margin }
    } else {
        Verdict::Worse { beyond_margin }
    }
}

/// p of two one-sided signed-rank tests (Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987): that the ratio is
/// outside 1/(1 + margin) … 1 + margin. `None` without log-ratios, or if one is not finite.
pub fn tost_p(log_ratios: &[f64], margin: f64) -> Option<f64> {
    if log_ratios.is_empty() || log_ratios.iter().any(|ratio| !ratio.is_finite()) {
        return None;
    }
    let margin = margin.max(0.0).ln_1p();
    let shifted = |by: f64| -> Vec<f64> { log_ratios.iter().map(|ratio| ratio + by).collect() };
    let too_low = signed_rank_tails(&shifted(margin)).map_or(1.0, |(_, at_most_zero)| at_most_zero);
    let too_high = signed_rank_tails(&shifted(-margin)).map_or(1.0, |(at_least_zero, _)| at_least_zero);
    Some(f64::max(too_low, too_high))
}

/// The relative change that these many blocks with this much scatter would show at level `alpha` four times in five, by the t test's
/// formula (the signed-rank test needs 5 % more blocks at most on normal data). `None` if so few blocks can show nothing, or a
/// log-ratio is not finite.
pub fn detectable_change(log_ratios: &[f64], alpha: f64) -> Option<f64> {
    let n = log_ratios.len();
    if n < 2 || smallest_p(n) > alpha {
        return None;
    }
    let mean = log_ratios.iter().sum::<f64>() / n as f64;
    let variance = log_ratios.iter().map(|ratio| (ratio - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
    let degrees = (n - 1) as f64;
    let t = student_t_quantile(1.0 - 0.5 * alpha, degrees) + student_t_quantile(POWER, degrees);
    let change = (t * (variance / n as f64).sqrt()).exp_m1();
    change.is_finite().then_some(change)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy { better: Better::Higher, margin: 0.03, alpha: 0.05 };

    fn around(centre: f64, spread: f64) -> Vec<f64> {
        [-1.0, 0.9, -0.6, 0.5, -0.2, 0.3, 1.1, -0.8, 0.1, -0.4].map(|x| centre + spread * x).to_vec()
    }

    fn verdict(log_ratios: &[f64], policy: &Policy) -> Verdict {
        compare(log_ratios, policy).unwrap().verdict
    }

    #[test]
    fn the_four_verdicts() {
        assert_eq!(verdict(&around(0.10, 0.02), &POLICY), Verdict::Better { beyond_margin: true });
        assert_eq!(verdict(&around(-0.10, 0.02), &POLICY), Verdict::Worse { beyond_margin: true });
        assert_eq!(verdict(&around(-0.03, 0.02), &POLICY), Verdict::Worse { beyond_margin: false });
        assert_eq!(verdict(&around(0.0, 0.02), &POLICY), Verdict::Equal { within: 0.03 });
        assert!(matches!(verdict(&around(0.02, 0.1), &POLICY), Verdict::Inconclusive { detectable: Some(_) }));
        let costs = Policy { better: Better::Lower, ..POLICY };
        assert_eq!(verdict(&around(0.10, 0.02), &costs), Verdict::Worse { beyond_margin: true });
    }

    #[test]
    fn a_difference_too_small_to_matter_is_equality() {
        assert_eq!(verdict(&around(0.005, 0.004), &POLICY), Verdict::Equal { within: 0.03 });
        let strict = Policy { margin: 0.0, ..POLICY };
        assert_eq!(verdict(&around(0.005, 0.004), &strict), Verdict::Better { beyond_margin: true });
    }

    #[test]
    fn five_blocks_can_show_nothing_at_five_percent() {
        let few = &around(0.5, 0.01)[..5];
        assert_eq!(verdict(few, &POLICY), Verdict::Inconclusive { detectable: None });
        // Each one-sided test can reach 1/32.
        assert_eq!(verdict(&around(0.0, 0.01)[..5], &POLICY), Verdict::Equal { within: 0.03 });
        assert_eq!(verdict(&[0.0; 8], &POLICY), Verdict::Equal { within: 0.03 });
        assert_eq!(compare(&[], &POLICY), None);
        assert_eq!(compare(&[f64::NAN; 8], &POLICY), None);
    }

    /// 7.84·(s/δ)² pairs for 80 % power with a known spread; with an estimated one the change is a little larger.
    #[test]
    fn the_detectable_change_shrinks_with_the_root_of_the_blocks() {
        let ten = around(0.0, 0.02);
        let forty = [&ten[..], &ten, &ten, &ten].concat();
        let (few, many) = (detectable_change(&ten, 0.05).unwrap(), detectable_change(&forty, 0.05).unwrap());
        assert!((few / many - 2.2).abs() < 0.2, "{few} {many}");
        let spread = (ten.iter().map(|x| x * x).sum::<f64>() / 9.0).sqrt();
        assert!((few / (2.8 * spread / 10f64.sqrt()) - 1.1).abs() < 0.1, "{few}");
    }

    #[test]
    fn a_comparison_is_written_without_its_rust_names() {
        let json = serde_json::to_string(&Verdict::Inconclusive { detectable: None }).unwrap();
        assert_eq!(json, r#"{"verdict":"inconclusive","detectable":null}"#);
    }
}
