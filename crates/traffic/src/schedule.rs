//! When frames are meant to leave: open loop, so a late frame does not move the next one.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

/// How arrivals are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Arrivals {
    /// Equal gaps.
    #[default]
    Constant,
    /// Exponential gaps: a Poisson process, which samples without aliasing (PASTA).
    Poisson,
}

/// Intended send times of one trial, ascending, in nanoseconds since its epoch.
#[derive(Debug, Clone)]
pub struct Schedule {
    gap_ns: f64,
    end_ns: f64,
    next_ns: f64,
    index: u64,
    rng: Option<Pcg64Mcg>,
}

impl Schedule {
    /// `rate_pps` frames a second for `duration_ns`, from 0. A rate that is not positive gives no frame.
    pub fn new(arrivals: Arrivals, rate_pps: f64, duration_ns: u64, seed: u64) -> Self {
        let gap_ns = if rate_pps > 0.0 { 1e9 / rate_pps } else { f64::INFINITY };
        let rng = match arrivals {
            Arrivals::Constant => None,
            Arrivals::Poisson => Some(Pcg64Mcg::seed_from_u64(seed)),
        };
        let mut schedule = Self { gap_ns, end_ns: duration_ns as f64, next_ns: 0.0, index: 0, rng };
        if schedule.gap_ns.is_infinite() {
            schedule.next_ns = f64::INFINITY;
        } else if schedule.rng.is_some() {
            schedule.next_ns = schedule.exponential_gap();
        }
        schedule
    }

    /// `count` frames, one after the other as fast as `rate_pps`.
    pub fn count(count: u64, rate_pps: f64) -> Self {
        let mut schedule = Self::new(Arrivals::Constant, rate_pps, 0, 0);
        // Half a gap behind the last one, so that rounding neither loses nor adds a frame.
        schedule.end_ns = (count as f64 - 0.5) * schedule.gap_ns;
        schedule
    }

    /// When the next frame is due, or `None` when the trial's time is over.
    #[inline]
    pub fn peek(&self) -> Option<u64> {
        (self.next_ns < self.end_ns).then_some(self.next_ns as u64)
    }

    /// Moves on to the frame after.
    #[inline]
    pub fn advance(&mut self) {
        self.index += 1;
        // A constant schedule is computed from the index: sums of gaps would drift.
        self.next_ns =
            if self.rng.is_some() { self.next_ns + self.exponential_gap() } else { self.index as f64 * self.gap_ns };
    }

    fn exponential_gap(&mut self) -> f64 {
        let uniform: f64 = self.rng.as_mut().map_or(0.5, |rng| rng.random());
        -(1.0 - uniform).ln() * self.gap_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(mut schedule: Schedule) -> Vec<u64> {
        std::iter::from_fn(|| {
            let next = schedule.peek();
            schedule.advance();
            next
        })
        .collect()
    }

    #[test]
    fn constant_gaps_do_not_drift() {
        let times = times(Schedule::new(Arrivals::Constant, 3_000_000.0, 1_000_000_000, 0));
        assert_eq!(times.len(), 3_000_000);
        assert_eq!((times[0], times[1], times[3], times[2_999_997]), (0, 333, 1000, 999_999_000));
    }

    #[test]
    fn a_count_is_met_exactly() {
        for rate in [1.0, 7.7, 250_000.0, 999_983.0] {
            assert_eq!(times(Schedule::count(1000, rate)).len(), 1000, "at {rate} pps");
        }
        assert!(times(Schedule::count(10, 0.0)).is_empty());
    }

    /// Mean and variance of exponential gaps are gap and gap²; their lag-1 correlation is zero.
    #[test]
    fn poisson_gaps_are_exponential() {
        let times = times(Schedule::new(Arrivals::Poisson, 1e6, 200_000_000, 7));
        let gaps: Vec<f64> = times.windows(2).map(|w| (w[1] - w[0]) as f64).collect();
        let n = gaps.len() as f64;
        let mean = gaps.iter().sum::<f64>() / n;
        let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / n;
        let lag1 = gaps.windows(2).map(|w| (w[0] - mean) * (w[1] - mean)).sum::<f64>() / n / variance;
        assert!((n - 200_000.0).abs() < 5.0 * 200_000f64.sqrt(), "{n} arrivals");
        assert!((mean - 1000.0).abs() < 15.0 && (variance.sqrt() - 1000.0).abs() < 20.0 && lag1.abs() < 0.012);
        let again = Schedule::new(Arrivals::Poisson, 1e6, 200_000_000, 7);
        assert_eq!(times[0], again.peek().unwrap());
    }
}
