//! What a full table gives up, told from outside: offer more connections than it holds, then see which still get answers.
//!
//! RFC 9693 §4.9 names three policies for N > S offers to a table of S: the first S survive (keep-old), the last S (LRU), or, where
//! the K oldest are collected together, the last S − K + 1 to S. Real LRUs sample: of k random entries the least recently used goes.

use natrig_bench::settings::Word;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One fill: for each connection offered, in order, whether it got answers at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fill {
    /// By order of offering.
    pub(crate) survived: Vec<bool>,
}

natrig_bench::words! {
    /// What a full table does.
    Replacement {
        /// All survived: the table was not filled.
        NotFull = "not-full",
        /// New connections are refused.
        KeepOld = "keep-old",
        /// The least recently used connection goes.
        Lru = "lru",
        /// The least recently used of a random few goes.
        SampledLru = "sampled-lru",
        /// Many of the oldest go at once.
        BatchGc = "batch-gc",
        /// Any connection goes, old or new alike.
        Random = "random",
        /// None of these.
        Unknown = "unknown",
    }
}

/// A policy, with its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReplacementEstimate {
    /// The policy.
    pub policy: Replacement,
    /// How many connections the table holds, S.
    pub capacity: Option<u32>,
    /// How many go at once, K, of `batch-gc`.
    pub batch: Option<u32>,
    /// Of how many the oldest goes, of `sampled-lru`.
    pub sample: Option<u32>,
}

/// Share of survivors that must lie where a policy puts them. The rest may be lost frames.
const CLEAR: f64 = 0.98;
/// Largest difference between a sampled LRU's ages and what the sampling predicts.
const AGE_FIT: f64 = 0.06;
const SAMPLE_MAX: u32 = 32;

/// Tells the policy from fills with different numbers of offers, all of which exceed the capacity by up to several times.
pub(crate) fn estimate(fills: &[Fill]) -> ReplacementEstimate {
    let none = ReplacementEstimate { policy: Replacement::Unknown, capacity: None, batch: None, sample: None };
    let overflowing: Vec<&Fill> = fills.iter().filter(|fill| fill.survived.contains(&false)).collect();
    let counts: Vec<u32> = overflowing.iter().map(|fill| fill.survivors()).collect();
    let (Some(most), Some(fewest)) = (counts.iter().max().copied(), counts.iter().min().copied()) else {
        return ReplacementEstimate { policy: Replacement::NotFull, ..none };
    };
    let all = |share: fn(&Fill) -> f64| overflowing.iter().all(|fill| share(fill) >= CLEAR);
    let found = ReplacementEstimate { capacity: Some(most), ..none };
    if all(Fill::among_first) {
        return ReplacementEstimate { policy: Replacement::KeepOld, ..found };
    }
    if all(Fill::among_last) {
        // Lost frames make counts differ a little; a batch makes them differ by its length.
        let spread = most - fewest;
        return if f64::from(spread) <= f64::from(most) * (1.0 - CLEAR) {
            ReplacementEstimate { policy: Replacement::Lru, ..found }
        } else {
            ReplacementEstimate { policy: Replacement::BatchGc, batch: Some(spread + 1), ..found }
        };
    }
    // Of the fill that overflowed most there is most to see.
    let Some(longest) = overflowing.iter().max_by_key(|fill| fill.survived.len()) else { return found };
    let (sample, misfit) = longest.best_sample();
    if misfit > AGE_FIT {
        return found;
    }
    match sample {
        1 => ReplacementEstimate { policy: Replacement::Random, ..found },
        _ => ReplacementEstimate { policy: Replacement::SampledLru, sample: Some(sample), ..found },
    }
}

impl Fill {
    fn survivors(&self) -> u32 {
        self.survived.iter().filter(|survived| **survived).count() as u32
    }

    /// Share of survivors among as many of the oldest.
    fn among_first(&self) -> f64 {
        let survivors = self.survivors() as usize;
        share(&self.survived[..survivors])
    }

    /// Share of survivors among as many of the newest.
    fn among_last(&self) -> f64 {
        let survivors = self.survivors() as usize;
        share(&self.survived[self.survived.len() - survivors..])
    }

    /// The k for which "the oldest of k random entries goes" predicts the survivors' ages best, and by how much it errs.
    fn best_sample(&self) -> (u32, f64) {
        const LOOKS: usize = 256;
        let capacity = self.survivors().max(1) as usize;
        let offers = self.survived.len();
        let mut older = Vec::with_capacity(LOOKS);
        let mut survivors = 0;
        for (nth, survived) in self.survived.iter().enumerate() {
            if nth % offers.div_ceil(LOOKS) == 0 {
                older.push((nth, survivors as f64 / capacity as f64));
            }
            survivors += usize::from(*survived);
        }
        let misfit = |k: u32| {
            // Offers that come before the table is full are all in it when evictions begin.
            let predicted = |nth: usize| {
                let evictions = (offers - nth.max(capacity).min(offers)) as f64;
                share_older((nth as f64 / capacity as f64).min(1.0), evictions / capacity as f64, k)
            };
            older.iter().map(|(nth, found)| (predicted(*nth) - found).abs()).fold(0.0, f64::max)
        };
        (1..=SAMPLE_MAX).map(|k| (k, misfit(k))).min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((1, f64::INFINITY))
    }
}

/// Of a full table's entries the share that is older than an offer, after so many evictions per entry, if it was `before` them.
///
/// An eviction that takes the oldest of k takes one of the share F with probability 1 − (1 − F)^k: F′ = −(1 − (1 − F)^k).
fn share_older(before: f64, evictions: f64, k: u32) -> f64 {
    const STEPS: u32 = 200;
    let step = evictions / f64::from(STEPS);
    let slope = |share: f64| (1.0 - share.clamp(0.0, 1.0)).powi(k.cast_signed()) - 1.0;
    (0..STEPS).fold(before, |share, _| share + step * slope(share + step / 2.0 * slope(share)))
}

fn share(survived: &[bool]) -> f64 {
    let survivors = survived.iter().filter(|survived| **survived).count();
    survivors as f64 / survived.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64Mcg;

    /// A table that knows its entries by the order in which they came.
    fn fill(offers: usize, capacity: usize, mut make_room: impl FnMut(&mut Vec<usize>) -> bool) -> Fill {
        let mut table = Vec::new();
        for offer in 0..offers {
            if table.len() < capacity || make_room(&mut table) {
                table.push(offer);
            }
        }
        Fill { survived: (0..offers).map(|offer| table.binary_search(&offer).is_ok()).collect() }
    }

    fn fills(capacity: usize, mut make_room: impl FnMut(&mut Vec<usize>) -> bool) -> Vec<Fill> {
        // Steps in the golden ratio to the capacity: no batch divides them.
        (0..24).map(|nth| fill(capacity + 1 + nth * capacity * 618 / 4000, capacity, &mut make_room)).collect()
    }

    #[test]
    fn a_table_that_keeps_what_it_has() {
        let found = estimate(&fills(1000, |_| false));
        assert_eq!((found.policy, found.capacity), (Replacement::KeepOld, Some(1000)));
    }

    #[test]
    fn a_table_that_gives_up_its_oldest() {
        let found = estimate(&fills(1000, |table| {
            table.remove(0);
            true
        }));
        assert_eq!((found.policy, found.capacity), (Replacement::Lru, Some(1000)));
    }

    #[test]
    fn a_table_that_gives_up_many_at_once() {
        let found = estimate(&fills(1000, |table| {
            table.drain(..250);
            true
        }));
        assert_eq!(found.policy, Replacement::BatchGc);
        // Fills end anywhere between two collections, so that the extremes are met within a few.
        assert!((950..=1000).contains(&found.capacity.unwrap()), "{found:?}");
        assert!((150..=250).contains(&found.batch.unwrap()), "{found:?}");
    }

    #[test]
    fn tables_that_ask_a_random_few() {
        for k in [1, 2, 5, 8] {
            let mut rng = Pcg64Mcg::seed_from_u64(9);
            let found = estimate(&fills(2000, |table| {
                let oldest = (0..k).map(|_| rng.random_range(0..table.len())).min().unwrap();
                table.remove(oldest);
                true
            }));
            assert_eq!(found.capacity, Some(2000), "{k}");
            if k == 1 {
                assert_eq!(found.policy, Replacement::Random);
            } else {
                assert_eq!(found.policy, Replacement::SampledLru, "{k}");
                assert!(found.sample.unwrap().abs_diff(k) <= 1 + k / 4, "{k}: {found:?}");
            }
        }
    }

    #[test]
    fn nothing_is_said_of_a_table_that_was_never_full() {
        assert_eq!(estimate(&fills(100, |_| false)[..0]).policy, Replacement::NotFull);
        assert_eq!(estimate(&[fill(50, 100, |_| false)]).policy, Replacement::NotFull);
    }
}
