//! When connections begin and how long they last: an open loop, which refusals do not slow down.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// A connection that shall be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// When, from the beginning.
    pub(crate) at_ns: u64,
    /// For how long.
    pub(crate) lifetime_ns: u64,
}

/// Poisson arrivals with exponentially distributed lifetimes; endless.
#[derive(Debug, Clone)]
pub(crate) struct Arrivals {
    gap_ns: f64,
    lifetime_ns: f64,
    at_ns: f64,
    rng: Pcg64Mcg,
}

impl Arrivals {
    /// `per_second` connections a second on average, that last `lifetime_s` on average. Both are above zero.
    pub(crate) fn new(per_second: f64, lifetime_s: f64, seed: u64) -> Self {
        Self { gap_ns: 1e9 / per_second, lifetime_ns: lifetime_s * 1e9, at_ns: 0.0, rng: Pcg64Mcg::seed_from_u64(seed) }
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        let uniform: f64 = self.rng.random();
        // 1 − u lies in (0, 1]: its logarithm exists.
        -(1.0 - uniform).ln() * mean
    }
}

impl Iterator for Arrivals {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let gap = self.exponential(self.gap_ns);
        self.at_ns += gap;
        let lifetime = self.exponential(self.lifetime_ns);
        Some(Arrival { at_ns: self.at_ns as u64, lifetime_ns: lifetime as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_lifetime_are_as_asked_for() {
        let all: Vec<Arrival> = Arrivals::new(1000.0, 2.0, 3).take(100_000).collect();
        let seconds = all.last().unwrap().at_ns as f64 / 1e9;
        assert!((seconds - 100.0).abs() < 1.0, "{seconds}");
        let mean_s = all.iter().map(|arrival| arrival.lifetime_ns as f64).sum::<f64>() / 1e5 / 1e9;
        assert!((mean_s - 2.0).abs() < 0.03, "{mean_s}");
        assert!(all.windows(2).all(|pair| pair[0].at_ns <= pair[1].at_ns));
    }
}
