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

    /// Whether there is a look at this many blocks.
    pub fn is_look(&self, blocks: u32) -> bool {
        self.blocks.binary_search(&blocks).is_ok()
    }

    /// The share of `alpha` that a look at this many blocks may spend. Also at a number that was not planned, for a series that ends there
    /// for a reason that has nothing to do with its figures: what the planned looks before it have left.
    pub fn alpha_at(&self, blocks: u32, alpha: f64) -> f64 {
        let blocks = blocks.min(self.cap());
        let before = self.blocks.iter().copied().take_while(|&look| look < blocks).last().unwrap_or(0);
        alpha * f64::from(blocks - before) / f64::from(self.cap())
    }

    /// Judges at a look, after so many blocks, of which some may lack a figure. The intervals in a [`Comparison`] have the confidence of
    /// their look. `None` without log-ratios, or if one is not finite.
    pub fn judge(&self, blocks: u32, log_ratios: &[f64], policy: &Policy) -> Option<Comparison> {
        compare(log_ratios, &Policy { alpha: self.alpha_at(blocks, policy.alpha), ..*policy })
    }

    /// Whether a comparison is over after so many blocks: at any verdict but inconclusive, and at the cap.
    pub fn is_over(&self, blocks: u32, comparison: &Comparison) -> bool {
        blocks >= self.cap() || !matches!(comparison.verdict, Verdict::Inconclusive { .. })
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
            let spent: f64 = looks.blocks().iter().map(|&blocks| looks.alpha_at(blocks, 0.05)).sum();
            assert!((spent - 0.05).abs() < 1e-12, "{looks:?}");
        }
        let looks = Looks::new(8, 4, 24);
        assert_eq!(looks.blocks(), [8, 12, 16, 20, 24]);
        assert!(looks.is_look(12) && !looks.is_look(13));
        // A series that is cut short spends no more than its part.
        let spent = looks.alpha_at(8, 0.05) + looks.alpha_at(11, 0.05);
        assert!((spent - 0.05 * 11.0 / 24.0).abs() < 1e-12);
    }

    #[test]
    fn a_clear_difference_is_over_at_the_first_look_that_can_show_it_and_noise_at_the_cap() {
        let looks = Looks::new(8, 4, 24);
        let worse: Vec<f64> = (0..8).map(|i| 0.2 + 0.001 * f64::from(i)).collect();
        let comparison = looks.judge(8, &worse, &POLICY).unwrap();
        assert_eq!((comparison.verdict, comparison.blocks), (Verdict::Worse { beyond_margin: true }, 8));
        assert!(looks.is_over(8, &comparison));
        let noise: Vec<f64> = (0..24).map(|i| 0.3 * f64::from(i % 7 - 3)).collect();
        for look in [8, 12, 16, 20, 24] {
            let comparison = looks.judge(look, &noise[..look as usize], &POLICY).unwrap();
            assert!(matches!(comparison.verdict, Verdict::Inconclusive { detectable: Some(_) }));
            assert_eq!(looks.is_over(look, &comparison), look == 24);
        }
        assert_eq!(looks.judge(8, &[], &POLICY), None);
    }
}
