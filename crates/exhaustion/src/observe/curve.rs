//! The refusal curve: the probability that a new connection is refused, against how many are open already.
//!
//! Attempts of all rounds are pooled into bins of concurrent flows and smoothed by isotonic regression (pool adjacent violators): a port
//! search cannot get better as ports get fewer. A level is near where the smoothed curve first is at or above it: there a slope is fitted
//! to the attempts around, so that hundreds of refusals tell where it is crossed and not the first few that happen to come. A limit that
//! refuses everything beyond it has no slope, and is where it is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::level::{Around, crossing};

/// Shares of refused attempts at which a curve is read.
pub(crate) const LEVELS: [f64; 4] = [0.001, 0.01, 0.05, 0.5];

/// Bins over the nominal ports; more are added where flows exceed them.
const BINS: u64 = 512;
/// Points that are kept for drawing.
const POINTS: usize = 64;

/// Attempts and refusals by concurrent flows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Curve {
    nominal: u64,
    bins: Vec<Bin>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Bin {
    attempts: u64,
    refused: u64,
    /// Flows that each attempt found open, and those to the destination that has most, added up.
    found: (u64, u64),
    /// Fewest flows at which one was refused, and how many of them went to the destination that has most.
    refused_from: Option<(u64, u64)>,
    /// Port tries, and the allocations that needed them, where the translator tells.
    tries: u64,
    allocations: u64,
}

/// A point of a smoothed curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CurvePoint {
    /// Concurrent flows.
    pub flows: f64,
    /// The same as a fraction of the nominal ports for one destination.
    pub occupancy: f64,
    /// Share of attempts refused there.
    pub refused: f64,
    /// Ports tried per allocation there, where the translator tells.
    pub tries: Option<f64>,
}

/// Where a curve reaches a level.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LevelReached {
    /// Share of attempts refused.
    pub refused: f64,
    /// Concurrent flows there; absent if the curve ends below.
    pub flows: Option<f64>,
    /// Of these, flows to the destination that has most.
    pub hottest_flows: Option<f64>,
    /// That as a fraction of the nominal ports, which are counted per destination.
    pub occupancy: Option<f64>,
    /// Half the width of that fraction's 95 % interval over rounds; absent with less than four.
    pub occupancy_error: Option<f64>,
    /// Ports tried per allocation there, where the translator tells.
    pub tries: Option<f64>,
}

impl Bin {
    fn around(&self) -> Around {
        let attempts = self.attempts as f64;
        Around { flows: self.found.0 as f64 / attempts, attempts, refused: self.refused as f64 }
    }

    /// Flows to the destination that has most.
    fn hottest(&self) -> f64 {
        self.found.1 as f64 / self.attempts as f64
    }
}

/// Neighbouring bins of one refusal share.
#[derive(Debug, Clone, Copy)]
struct Block {
    first: usize,
    last: usize,
    attempts: u64,
    refused: u64,
}

impl Block {
    fn share(&self) -> f64 {
        self.refused as f64 / self.attempts as f64
    }
}

impl Curve {
    /// An empty curve over so many nominal ports.
    pub(crate) fn new(nominal: u64) -> Self {
        Self { nominal: nominal.max(1), bins: Vec::new() }
    }

    /// An attempt that found `live` flows open, `hottest` of them at one destination.
    pub(crate) fn attempt(&mut self, live: u64, hottest: u64, refused: bool) {
        let bin = self.bin(live);
        bin.attempts += 1;
        bin.found = (bin.found.0 + live, bin.found.1 + hottest);
        if refused {
            bin.refused += 1;
            bin.refused_from = fewer(bin.refused_from, Some((live, hottest)));
        }
    }

    /// `allocations` found their ports in `tries` tries, with `live` flows open.
    pub(crate) fn tried(&mut self, live: u64, tries: u64, allocations: u64) {
        let bin = self.bin(live);
        bin.tries += tries;
        bin.allocations += allocations;
    }

    /// Adds another round of the same.
    pub(crate) fn add(&mut self, other: &Self) {
        if self.bins.len() < other.bins.len() {
            self.bins.resize(other.bins.len(), Bin::default());
        }
        for (into, from) in self.bins.iter_mut().zip(&other.bins) {
            into.attempts += from.attempts;
            into.refused += from.refused;
            into.found = (into.found.0 + from.found.0, into.found.1 + from.found.1);
            into.refused_from = fewer(into.refused_from, from.refused_from);
            into.tries += from.tries;
            into.allocations += from.allocations;
        }
    }

    /// Concurrent flows at which the curve reaches a share of refusals; none if it ends below.
    pub(crate) fn reaches(&self, share: f64) -> Option<f64> {
        let blocks = self.smoothed();
        let block = blocks.iter().find(|block| block.share() >= share)?;
        Some(self.reached(block, share).0)
    }

    /// Where the curve reaches each of [`LEVELS`].
    pub(crate) fn levels(&self) -> Vec<LevelReached> {
        let blocks = self.smoothed();
        let mut least = (0.0, 0.0);
        LEVELS
            .iter()
            .map(|level| {
                let block = blocks.iter().find(|block| block.share() >= *level);
                let reached = block.map(|block| self.reached(block, *level));
                // From few refusals two slopes may cross; more of them are never reached earlier.
                let reached = reached.map(|(flows, hottest)| (flows.max(least.0), hottest.max(least.1)));
                least = reached.unwrap_or(least);
                LevelReached {
                    refused: *level,
                    flows: reached.map(|(flows, _)| flows),
                    hottest_flows: reached.map(|(_, hottest)| hottest),
                    occupancy: reached.map(|(_, hottest)| hottest / self.nominal as f64),
                    occupancy_error: None,
                    tries: block.and_then(|block| self.tries_around(block.first)),
                }
            })
            .collect()
    }

    /// The smoothed curve, thinned out for drawing; the points where it changes most are among them.
    pub(crate) fn points(&self) -> Vec<CurvePoint> {
        let blocks = self.smoothed();
        let mut points: Vec<CurvePoint> = Vec::new();
        for block in &blocks {
            for bin in [block.first, block.last] {
                if points.last().is_none_or(|last: &CurvePoint| last.flows < self.flows_at(bin)) {
                    let flows = self.flows_at(bin);
                    let (occupancy, tries) = (flows / self.nominal as f64, self.tries_around(bin));
                    points.push(CurvePoint { flows, occupancy, refused: block.share(), tries });
                }
            }
        }
        let step = points.len().div_ceil(POINTS).max(1);
        let last = points.len().saturating_sub(1);
        points.into_iter().enumerate().filter(|(nth, _)| nth % step == 0 || *nth == last).map(|(_, p)| p).collect()
    }

    fn bin(&mut self, live: u64) -> &mut Bin {
        let at = (live * BINS / self.nominal) as usize;
        if self.bins.len() <= at {
            self.bins.resize(at + 1, Bin::default());
        }
        &mut self.bins[at]
    }

    fn flows_at(&self, bin: usize) -> f64 {
        bin as f64 * self.nominal as f64 / BINS as f64
    }

    /// Flows at which `share` is reached, in `block` or near it, and how many of them go to the destination that has most.
    fn reached(&self, block: &Block, share: f64) -> (f64, f64) {
        // What refuses so many at once is a limit, not a slope: it lies at the first refusal, as the blocks before have fewer.
        const LIMIT: f64 = 0.9;
        const LIMIT_OVER_LEVEL: f64 = 20.0;
        let (flows, hottest) = self.bins[block.first].refused_from.unwrap_or_default();
        let first = (flows as f64, hottest as f64);
        if block.share() >= LIMIT.min(share * LIMIT_OVER_LEVEL) {
            return first;
        }
        let filled: Vec<&Bin> = self.bins.iter().filter(|bin| bin.attempts > 0).collect();
        let around: Vec<Around> = filled.iter().map(|bin| bin.around()).collect();
        let near = self.bins[..block.first].iter().filter(|bin| bin.attempts > 0).count();
        let Some(flows) = crossing(&around, near, share) else { return first };
        let after = around.partition_point(|group| group.flows < flows).clamp(1, around.len() - 1);
        let [before, after] = [after - 1, after].map(|nth| (around[nth].flows, filled[nth].hottest()));
        let way = (flows - before.0) / (after.0 - before.0);
        (flows, before.1 + way * (after.1 - before.1))
    }

    /// Over a few bins: near exhaustion each holds few allocations.
    fn tries_around(&self, bin: usize) -> Option<f64> {
        const REACH: usize = 2;
        let bins = &self.bins[bin.saturating_sub(REACH)..(bin + REACH + 1).min(self.bins.len())];
        let allocations: u64 = bins.iter().map(|bin| bin.allocations).sum();
        let tries: u64 = bins.iter().map(|bin| bin.tries).sum();
        (allocations > 0).then(|| tries as f64 / allocations as f64)
    }

    /// Isotonic regression, weighted by attempts.
    fn smoothed(&self) -> Vec<Block> {
        let mut blocks: Vec<Block> = Vec::new();
        for (at, bin) in self.bins.iter().enumerate().filter(|(_, bin)| bin.attempts > 0) {
            let mut block = Block { first: at, last: at, attempts: bin.attempts, refused: bin.refused };
            while let Some(before) = blocks.pop_if(|before| before.share() >= block.share()) {
                block.first = before.first;
                block.attempts += before.attempts;
                block.refused += before.refused;
            }
            blocks.push(block);
        }
        blocks
    }
}

fn fewer(one: Option<(u64, u64)>, other: Option<(u64, u64)>) -> Option<(u64, u64)> {
    one.into_iter().chain(other).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64Mcg;

    #[test]
    fn levels_are_where_the_probability_reaches_them() {
        // Refusal probability u^16 of 16 independent probes, as in Knuth's analysis of uniform probing.
        let mut rng = Pcg64Mcg::seed_from_u64(1);
        let mut curve = Curve::new(10_000);
        for live in 0..10_000u64 {
            let occupancy = live as f64 / 10_000.0;
            for _ in 0..100 {
                curve.attempt(live, live, rng.random::<f64>() < occupancy.powi(16));
            }
        }
        for level in curve.levels() {
            let expected = level.refused.powf(1.0 / 16.0);
            let found = level.occupancy.unwrap();
            assert!((found - expected).abs() < 0.01, "{level:?}, expected {expected}");
            assert!((level.hottest_flows.unwrap() - found * 10_000.0).abs() < 1e-6);
        }
        let points = curve.points();
        assert!(points.len() <= POINTS + 1 && points.windows(2).all(|pair| pair[0].refused <= pair[1].refused));
    }

    #[test]
    fn a_hard_limit_is_found_exactly() {
        let mut curve = Curve::new(1024);
        (0..2000u64).for_each(|n| curve.attempt(n.min(513), n.min(513), n >= 513));
        assert!(curve.levels().iter().all(|level| level.flows == Some(513.0)), "{:?}", curve.levels());
    }

    #[test]
    fn a_curve_that_ends_early_says_so() {
        let mut curve = Curve::new(1000);
        (0..100).for_each(|live| curve.attempt(live, live, false));
        curve.tried(10, 12, 10);
        assert!(curve.levels().iter().all(|level| level.flows.is_none()));
        assert_eq!(curve.points()[0].refused, 0.0);
        assert_eq!(Curve::new(5).levels()[0].flows, None);
    }

    #[test]
    fn rounds_are_pooled() {
        let (mut one, mut other) = (Curve::new(100), Curve::new(100));
        (0..50).for_each(|live| one.attempt(live, 0, false));
        (0..100).for_each(|live| other.attempt(live, 0, live >= 90));
        one.add(&other);
        assert!((one.levels()[3].flows.unwrap() - 90.0).abs() < 1.0);
    }
}
