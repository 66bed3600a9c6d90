//! When to stop measuring: planned looks at the data, with the error rate shared among them.

use super::{Comparison, Policy, Verdict, compare};

/// The numbers of blocks at which a comparison is looked at, up to a cap.
///
/// Looking often and stopping at the first success would raise the error rate with every look. Here each look has its share of alpha,
/// in proportion to the blocks since the last one (the linear case of Kim and DeMets' spending functions, Biometrika 74, 1987), and
/// is tested at that share alone. The shares add up to alpha, so by Bonferroni's inequality the whole procedure errs at most as
/// often as one test would, whatever the data.
#[derive(Debug, Clone, PartialEq)]
pub struct Looks {
    blocks: Vec<u32>,
}

/// What to do after a block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Decision {
    /// Measure on; the next look is at this many blocks.
    Continue {
        /// Total number of blocks.
        until_blocks: u32,
    },
    /// The verdict stands.
    Stop(Comparison),
}

impl Looks {
    /// Looks at `first` blocks, then every `every`, and at the cap. At least one look, at one block or more; a first look below eight
    /// blocks has too small a share of 5 % to show anything.
    pub fn new(first: u32, every: u32, cap: u32) -> Self {
        let cap = cap.max(1);
        let mut blocks: Vec<u32> = (first.clamp(1, cap)..cap).step_by(every.max(1) as usize).collect();
        blocks.push(cap);
        Self { blocks }
    }

    /// The numbers of blocks at which there is a look.
    pub fn blocks(&self) -> &[u32] {
        &self.blocks
    }

    /// Most blocks there will be.
    pub fn cap(&self) -> u32 {
        self.blocks.last().copied().unwrap_or(1)
    }

    /// The share of `alpha` that a look at this many blocks may spend; `None` if there is no look there.
    pub fn alpha_at(&self, blocks: u32, alpha: f64) -> Option<f64> {
        let look = self.blocks.binary_search(&blocks).ok()?;
        let before = look.checked_sub(1).map_or(0, |before| self.blocks[before]);
        Some(alpha * f64::from(blocks - before) / f64::from(self.cap()))
    }

    /// Judges the blocks so far, if it is time: stops at any verdict but inconclusive, and at the cap with whatever there is. The
    /// intervals in a [`Comparison`] have the confidence of their look. `None` if a log-ratio is not finite.
    pub fn decide(&self, log_ratios: &[f64], policy: &Policy) -> Option<Decision> {
        let seen = log_ratios.len() as u32;
        let next = self.blocks.iter().copied().find(|&blocks| blocks > seen);
        let alpha =
            if seen > self.cap() { self.alpha_at(self.cap(), policy.alpha) } else { self.alpha_at(seen, policy.alpha) };
        if let Some(alpha) = alpha {
            let comparison = compare(log_ratios, &Policy { alpha, ..*policy })?;
            if next.is_none() || !matches!(comparison.verdict, Verdict::Inconclusive { .. }) {
                return Some(Decision::Stop(comparison));
            }
        }
        Some(Decision::Continue { until_blocks: next.unwrap_or_else(|| self.cap()) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Better;
    use super::*;

    const POLICY: Policy = Policy { better: Better::Lower, margin: 0.02, alpha: 0.05 };

    #[test]
    fn the_shares_of_all_looks_add_up_to_alpha() {
        for looks in [Looks::new(8, 4, 24), Looks::new(8, 5, 24), Looks::new(1, 1, 7), Looks::new(9, 1, 3)] {
            let spent: f64 = looks.blocks().iter().filter_map(|&blocks| looks.alpha_at(blocks, 0.05)).sum();
            assert!((spent - 0.05).abs() < 1e-12, "{looks:?}");
        }
        assert_eq!(Looks::new(8, 4, 24).blocks(), [8, 12, 16, 20, 24]);
        assert_eq!(Looks::new(8, 4, 24).alpha_at(9, 0.05), None);
    }

    #[test]
    fn a_clear_difference_stops_at_the_first_look_that_can_show_it() {
        let looks = Looks::new(8, 4, 24);
        let worse: Vec<f64> = (0..24).map(|i| 0.2 + 0.001 * f64::from(i)).collect();
        assert_eq!(looks.decide(&worse[..5], &POLICY), Some(Decision::Continue { until_blocks: 8 }));
        let decision = looks.decide(&worse[..8], &POLICY);
        let Some(Decision::Stop(comparison)) = decision else { panic!("{decision:?}") };
        assert_eq!((comparison.verdict, comparison.blocks), (Verdict::Worse { beyond_margin: true }, 8));
    }

    #[test]
    fn noise_goes_on_to_the_cap_and_ends_there() {
        let looks = Looks::new(8, 4, 24);
        let noise: Vec<f64> = (0..30).map(|i| 0.3 * f64::from(i % 7 - 3)).collect();
        for seen in 0..24 {
            let decision = looks.decide(&noise[..seen], &POLICY);
            assert!(matches!(decision, Some(Decision::Continue { .. })), "{seen}: {decision:?}");
        }
        for seen in [24, 30] {
            let decision = looks.decide(&noise[..seen], &POLICY);
            let Some(Decision::Stop(comparison)) = decision else { panic!("{decision:?}") };
            assert!(matches!(comparison.verdict, Verdict::Inconclusive { detectable: Some(_) }));
        }
    }
}
