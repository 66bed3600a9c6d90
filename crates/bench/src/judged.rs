//! Figures of two things, round by round, and what follows from them.

use crate::result::{Figure, Judged, RoundFigures};
use crate::stats::{self, Looks, Policy};

/// Relative differences up to this do not matter, unless somebody says otherwise: runs of one thing differ by 2 to 4 % from each other.
pub const MARGIN: f64 = 0.03;

/// What stamps may cost.
pub(crate) const STAMP_MARGIN: f64 = 0.05;

/// Chance of calling equal things different, and of calling things equal that differ by the margin.
pub(crate) const ALPHA: f64 = 0.05;

/// Resamples of a bootstrap interval, and where their randomness comes from: the same figures give the same interval.
const RESAMPLES: u32 = 2_000;
const RESAMPLES_SEED: u64 = 0x0000_6e61_7472_6967;

/// By what a figure is judged.
pub(crate) const fn policy(figure: Figure, margin: f64) -> Policy {
    Policy { better: figure.better(), margin, alpha: ALPHA }
}

/// Compares within rounds. `None` if no round has the figure on both sides.
pub(crate) fn paired(figure: Figure, base: &[RoundFigures], new: &[RoundFigures]) -> Option<Judged> {
    paired_within(figure, base, new, MARGIN)
}

/// Compares within rounds at a planned look after so many of them.
pub(crate) fn at_look(
    figure: Figure,
    base: &[RoundFigures],
    new: &[RoundFigures],
    looks: &Looks,
    rounds: u32,
) -> Option<Judged> {
    let log_ratios = log_ratios(figure, base, new)?;
    let comparison = looks.judge(rounds, &log_ratios, &policy(figure, MARGIN))?;
    Some(Judged { figure, comparison, bootstrap: None })
}

/// The same with a margin of one's own.
pub(crate) fn paired_within(
    figure: Figure,
    base: &[RoundFigures],
    new: &[RoundFigures],
    margin: f64,
) -> Option<Judged> {
    let log_ratios = log_ratios(figure, base, new)?;
    let comparison = stats::compare(&log_ratios, &policy(figure, margin))?;
    let centre = |ratios: &[f64]| stats::hodges_lehmann(ratios).unwrap_or(f64::NAN);
    let bootstrap = stats::bca_interval(&log_ratios, centre, 1.0 - ALPHA, RESAMPLES, RESAMPLES_SEED).ok();
    Some(Judged { figure, comparison, bootstrap: bootstrap.map(|interval| interval.exp()) })
}

/// Of the rounds that have the figure on both sides.
fn log_ratios(figure: Figure, base: &[RoundFigures], new: &[RoundFigures]) -> Option<Vec<f64>> {
    let pairs = base.iter().zip(new).filter_map(|(base, new)| Some((figure.of(base)?, figure.of(new)?)));
    let (base, new): (Vec<f64>, Vec<f64>) = pairs.filter(|(base, new)| *base > 0.0 && *new > 0.0).unzip();
    stats::log_ratios(&base, &new).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Verdict;

    fn rounds(rates: &[f64]) -> Vec<RoundFigures> {
        rates.iter().map(|rate| RoundFigures { rate_pps: Some(*rate), ..RoundFigures::default() }).collect()
    }

    #[test]
    fn what_rounds_share_cancels() {
        let shared = [1.0, 0.4, 2.0, 1.3, 0.7, 3.0, 1.1, 0.9];
        let base = rounds(&shared.map(|x| 100.0 * x));
        let new = rounds(&shared.map(|x| 110.0 * x));
        let judged = paired(Figure::RatePps, &base, &new).unwrap();
        assert_eq!(judged.comparison.verdict, Verdict::Better { beyond_margin: true });
        assert!((judged.comparison.ratio - 1.1).abs() < 1e-9);
        let bootstrap = judged.bootstrap.unwrap();
        assert!(bootstrap.low <= 1.1 + 1e-9 && bootstrap.high >= 1.1 - 1e-9, "{bootstrap:?}");
        assert_eq!(paired(Figure::LatencyNsP50, &base, &new), None);
    }

    #[test]
    fn rounds_that_lack_a_side_are_left_out() {
        let mut new = rounds(&[1.0; 8]);
        new[3].rate_pps = None;
        assert_eq!(paired(Figure::RatePps, &rounds(&[1.0; 9]), &new).unwrap().comparison.blocks, 7);
    }
}
