//! Destinations of unequal popularity.

use rand::RngExt;
use rand_pcg::Pcg64Mcg;

/// Zipf's law: the destination of rank r is chosen with a probability proportional to r to the power of −s.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Zipf {
    /// Cumulative probabilities by rank; the last one is 1.
    cumulative: Vec<f64>,
}

impl Zipf {
    /// A law over `ranks` destinations; with an exponent of zero all are alike.
    ///
    /// # Panics
    /// If there are no destinations.
    pub(crate) fn new(ranks: u32, exponent: f64) -> Self {
        assert!(ranks > 0, "a law over no destinations");
        let mut sum = 0.0;
        let mut cumulative: Vec<f64> = (1..=ranks)
            .map(|rank| {
                sum += f64::from(rank).powf(-exponent);
                sum
            })
            .collect();
        cumulative.iter_mut().for_each(|value| *value /= sum);
        Self { cumulative }
    }

    /// A destination, from 0 for the most popular one.
    pub(crate) fn draw(&self, rng: &mut Pcg64Mcg) -> u32 {
        let at: f64 = rng.random();
        // Rounding may leave the last sum below 1.
        self.cumulative.partition_point(|value| *value <= at).min(self.cumulative.len() - 1) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn shares_follow_the_law() {
        let zipf = Zipf::new(4, 1.0);
        let mut rng = Pcg64Mcg::seed_from_u64(1);
        let mut counts = [0u32; 4];
        for _ in 0..100_000 {
            counts[zipf.draw(&mut rng) as usize] += 1;
        }
        // 1 + 1/2 + 1/3 + 1/4 = 25/12.
        for (rank, count) in counts.iter().enumerate() {
            let expected = 100_000.0 * 12.0 / 25.0 / (rank + 1) as f64;
            assert!((f64::from(*count) - expected).abs() < 800.0, "{counts:?}");
        }
    }

    #[test]
    fn without_skew_all_are_alike() {
        assert!((Zipf::new(10, 0.0).cumulative[0] - 0.1).abs() < 1e-12);
        assert_eq!(Zipf::new(1, 1.5).cumulative, [1.0]);
    }
}
