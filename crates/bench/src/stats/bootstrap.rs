//! BCa bootstrap intervals: of any statistic, over any kind of block.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::Interval;
use super::distribution::{normal_cdf, normal_quantile, student_t_quantile};

/// Why there is no bootstrap interval.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum BootstrapError {
    /// One block has no spread, and none has nothing.
    #[error("a bootstrap needs at least two blocks, not {0}")]
    TooFewBlocks(usize),
    /// Too few resamples for the ends of the interval.
    #[error("{resamples} resamples are too few for a confidence of {confidence}")]
    TooFewResamples {
        /// Resamples asked for.
        resamples: u32,
        /// Confidence asked for.
        confidence: f64,
    },
    /// The statistic is not finite for the blocks or for a resample of them.
    #[error("the statistic is not a finite number")]
    NotFinite,
}

/// The bias-corrected and accelerated interval (Efron, JASA 82, 1987) of `statistic`, resampling whole blocks with replacement.
///
/// What belongs together (the designs of a round, the packets of a trial) must be one block: resampling packets would treat a
/// trial's shared luck as evidence. With few blocks the plain interval is too narrow, so its ends are moved out as far as Student's t
/// is from the normal distribution (Hesterberg, The American Statistician 69, 2015: the expanded interval). The confidence is
/// nominal. Same seed, same interval; 2,000 resamples are usual.
///
/// # Errors
/// [`BootstrapError`]: too few blocks or resamples, or a statistic that is not finite.
pub fn bca_interval<T: Copy>(
    blocks: &[T],
    statistic: impl Fn(&[T]) -> f64,
    confidence: f64,
    resamples: u32,
    seed: u64,
) -> Result<Interval, BootstrapError> {
    let n = blocks.len();
    if n < 2 {
        return Err(BootstrapError::TooFewBlocks(n));
    }
    let tail = 0.5 * (1.0 - confidence);
    if !(confidence > 0.0 && confidence < 1.0 && tail * f64::from(resamples) >= 5.0) {
        return Err(BootstrapError::TooFewResamples { resamples, confidence });
    }
    let estimate = statistic(blocks);
    let replicates = resample(blocks, &statistic, resamples, seed);
    if !estimate.is_finite() || replicates.iter().any(|value| !value.is_finite()) {
        return Err(BootstrapError::NotFinite);
    }
    let below = replicates.iter().filter(|&&value| value < estimate).count();
    let equal = replicates.iter().filter(|&&value| value == estimate).count();
    let share_below = (below as f64 + 0.5 * equal as f64) / f64::from(resamples);
    let edge = 0.5 / f64::from(resamples);
    let bias = normal_quantile(share_below.clamp(edge, 1.0 - edge));
    let acceleration = acceleration(blocks, &statistic).ok_or(BootstrapError::NotFinite)?;
    let expanded = student_t_quantile(1.0 - tail, (n - 1) as f64) * (n as f64 / (n - 1) as f64).sqrt();
    let end = |z: f64| {
        let shifted = bias + z;
        // Beyond its pole the correction turns round: the end of the sample is then as far as it can mean.
        let share = normal_cdf(bias + shifted / (1.0 - acceleration * shifted).max(1e-9));
        let position = share * f64::from(resamples + 1) - 1.0;
        let last = replicates.len() - 1;
        let index = position.floor().clamp(0.0, last as f64) as usize;
        let next = (index + 1).min(last);
        replicates[index] + (position - index as f64).clamp(0.0, 1.0) * (replicates[next] - replicates[index])
    };
    Ok(Interval { low: end(-expanded), high: end(expanded), confidence })
}

/// The statistic of each resample, in increasing order.
fn resample<T: Copy>(blocks: &[T], statistic: &impl Fn(&[T]) -> f64, resamples: u32, seed: u64) -> Vec<f64> {
    let mut random = Pcg64::seed_from_u64(seed);
    let mut drawn = blocks.to_vec();
    let mut replicates: Vec<f64> = (0..resamples)
        .map(|_| {
            for block in &mut drawn {
                *block = blocks[random.random_range(0..blocks.len())];
            }
            statistic(&drawn)
        })
        .collect();
    replicates.sort_by(f64::total_cmp);
    replicates
}

/// Efron's a: the skewness of the jackknife values, a sixth of it. Zero if leaving out a block changes nothing.
fn acceleration<T: Copy>(blocks: &[T], statistic: &impl Fn(&[T]) -> f64) -> Option<f64> {
    let left_out = |i: usize| statistic(&[&blocks[..i], &blocks[i + 1..]].concat());
    let values: Vec<f64> = (0..blocks.len()).map(left_out).collect();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let moment = |power| values.iter().map(|value| (mean - value).powi(power)).sum::<f64>();
    let spread = moment(2).powf(1.5);
    let acceleration = if spread > 0.0 { moment(3) / (6.0 * spread) } else { 0.0 };
    acceleration.is_finite().then_some(acceleration)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / values.len() as f64
    }

    #[test]
    fn the_same_seed_gives_the_same_interval() {
        let values = [1.0, 2.0, 4.0, 3.0, 9.0, 2.5];
        let interval = |seed| bca_interval(&values, mean, 0.95, 2_000, seed).unwrap();
        assert_eq!(interval(1), interval(1));
        assert_ne!(interval(1), interval(2));
        assert!(interval(1).contains(mean(&values)));
        // Skewed to the right: the upper end is farther away.
        assert!(interval(1).high - mean(&values) > mean(&values) - interval(1).low);
    }

    #[test]
    fn blocks_can_be_anything() {
        let blocks = [[1.0, 2.0], [2.0, 4.1], [3.0, 6.2], [4.0, 7.9], [5.0, 10.1]];
        let slope = |blocks: &[[f64; 2]]| {
            blocks.iter().map(|block| block[1]).sum::<f64>() / blocks.iter().map(|block| block[0]).sum::<f64>()
        };
        assert!(bca_interval(&blocks, slope, 0.9, 1_000, 7).unwrap().is_within(1.9, 2.1));
    }

    #[test]
    fn impossible_input_is_refused() {
        assert_eq!(bca_interval(&[1.0], mean, 0.95, 2_000, 0), Err(BootstrapError::TooFewBlocks(1)));
        let too_few = BootstrapError::TooFewResamples { resamples: 100, confidence: 0.95 };
        assert_eq!(bca_interval(&[1.0, 2.0], mean, 0.95, 100, 0), Err(too_few));
        assert_eq!(bca_interval(&[1.0, f64::NAN], mean, 0.95, 2_000, 0), Err(BootstrapError::NotFinite));
        let constant = bca_interval(&[5.0; 8], mean, 0.95, 2_000, 0).unwrap();
        assert_eq!((constant.low, constant.high), (5.0, 5.0));
    }
}
