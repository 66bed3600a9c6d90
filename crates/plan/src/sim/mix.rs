//! Who opens connections, to whom, how often, and for how long.

use rand::RngExt;
use rand_pcg::Pcg64Mcg;

use super::layer::TICKS_PER_S;
use super::{Class, Lives};

/// Longest life: half of the tick counter's range would be too long.
const LIFE_TICKS_MAX: f64 = (1u32 << 30) as f64;

/// All classes together are one Poisson process, and each connection of it is of some class by chance.
#[derive(Debug)]
pub(crate) struct Mix {
    rate_per_tick: f64,
    /// Walker's alias method over the classes (Vose, 1991): a threshold and another class for each.
    thresholds: Vec<(u32, u16)>,
    classes: Vec<Shape>,
}

#[derive(Debug, Clone, Copy)]
struct Shape {
    protocol: u8,
    life_ticks: f64,
    lives: Lives,
    first_remote: u16,
    remotes: u16,
    pods: u32,
    first_pod: u32,
}

impl Mix {
    /// None if nothing ever arrives.
    pub(crate) fn new(classes: &[Class]) -> Option<Self> {
        let total: f64 = classes.iter().map(|class| class.rate_per_s).sum();
        if total.is_nan() || total <= 0.0 {
            return None;
        }
        let mut first_remote = 0u16;
        let shapes = (0u32..).zip(classes).map(|(number, class)| {
            let shape = Shape {
                protocol: class.protocol.number(),
                life_ticks: class.life_s * f64::from(TICKS_PER_S),
                lives: class.lives,
                first_remote,
                remotes: class.remotes,
                pods: class.pods.max(1),
                // Classes that few pods use are used by different ones.
                first_pod: number.wrapping_mul(7919),
            };
            first_remote = first_remote.wrapping_add(class.remotes);
            shape
        });
        let weights: Vec<f64> = classes.iter().map(|class| class.rate_per_s / total * classes.len() as f64).collect();
        Some(Self {
            rate_per_tick: total / f64::from(TICKS_PER_S),
            classes: shapes.collect(),
            thresholds: alias(weights),
        })
    }

    /// From one arrival to the next.
    #[inline]
    pub(crate) fn gap_ticks(&self, rng: &mut Pcg64Mcg) -> f64 {
        exponential(rng) / self.rate_per_tick
    }

    /// Where a connection goes.
    #[inline]
    pub(crate) fn remote(&self, rng: &mut Pcg64Mcg) -> u16 {
        let drawn: u64 = rng.random();
        let at = (((drawn >> 32) * self.thresholds.len() as u64) >> 32) as usize;
        let (threshold, other) = self.thresholds[at];
        let class = if (drawn as u32) < threshold { at } else { usize::from(other) };
        let Shape { first_remote, remotes, .. } = self.classes[class];
        if remotes == 1 { first_remote } else { first_remote + rng.random_range(0..remotes) }
    }

    pub(crate) fn protocol(&self, class: u16) -> u8 {
        self.classes[usize::from(class)].protocol
    }

    /// Which of the fleet's pods opens a connection of this class.
    #[inline]
    pub(crate) fn pod(&self, class: u16, pods: u32, rng: &mut Pcg64Mcg) -> u32 {
        let shape = &self.classes[usize::from(class)];
        let pod = rng.random_range(0..shape.pods.min(pods));
        if shape.pods >= pods { pod } else { (pod + shape.first_pod) % pods }
    }

    #[inline]
    pub(crate) fn life_ticks(&self, class: u16, rng: &mut Pcg64Mcg) -> u32 {
        let shape = &self.classes[usize::from(class)];
        let ticks = match shape.lives {
            Lives::Fixed => shape.life_ticks,
            Lives::Exponential => exponential(rng) * shape.life_ticks,
        };
        // Between two ticks chance decides, so that the mean is kept.
        (ticks + rng.random::<f64>()).min(LIFE_TICKS_MAX) as u32
    }
}

/// What is left of the life of a connection that is found open.
pub(crate) fn residual_ticks(class: &Class, rng: &mut Pcg64Mcg) -> u32 {
    let ticks = class.life_s * f64::from(TICKS_PER_S);
    let left = match class.lives {
        Lives::Fixed => ticks * rng.random::<f64>(),
        Lives::Exponential => exponential(rng) * ticks,
    };
    left.min(LIFE_TICKS_MAX) as u32
}

/// A draw from the exponential distribution of mean 1.
#[inline]
fn exponential(rng: &mut Pcg64Mcg) -> f64 {
    -(1.0 - rng.random::<f64>()).ln()
}

/// The table of the alias method for weights whose mean is 1.
fn alias(mut weights: Vec<f64>) -> Vec<(u32, u16)> {
    let mut table: Vec<(u32, u16)> = (0..weights.len()).map(|at| (u32::MAX, at as u16)).collect();
    let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..weights.len()).partition(|at| weights[*at] < 1.0);
    while let (Some(few), Some(&many)) = (small.pop(), large.last()) {
        table[few] = ((weights[few] * f64::from(u32::MAX)) as u32, many as u16);
        weights[many] -= 1.0 - weights[few];
        if weights[many] < 1.0 {
            large.pop();
            small.push(many);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timing::{Close, Protocol};
    use rand::SeedableRng;

    #[test]
    fn classes_come_as_often_as_their_rates_say() {
        let class = |remotes, rate_per_s| Class {
            protocol: Protocol::Tcp,
            remotes,
            rate_per_s,
            life_s: 2.0,
            lives: Lives::Exponential,
            close: Close::Fin,
            pods: 10,
        };
        let mix = Mix::new(&[class(1, 70.0), class(2, 20.0), class(1, 0.0), class(1, 10.0)]).unwrap();
        let mut rng = Pcg64Mcg::seed_from_u64(1);
        let mut counts = [0u32; 5];
        for _ in 0..100_000 {
            counts[usize::from(mix.remote(&mut rng))] += 1;
        }
        for (count, expected) in counts.into_iter().zip([70_000i32, 10_000, 10_000, 0, 10_000]) {
            assert!((count as i32 - expected).abs() < 600, "{counts:?}");
        }
        let gaps: f64 = (0..100_000).map(|_| mix.gap_ticks(&mut rng)).sum();
        assert!((gaps / 100_000.0 - 1.0).abs() < 0.02, "100 a second is one a tick");
        let lives: f64 = (0..100_000).map(|_| f64::from(mix.life_ticks(0, &mut rng))).sum();
        assert!((lives / 100_000.0 - 200.0).abs() < 3.0);
    }

    #[test]
    fn nothing_comes_of_nothing() {
        assert!(Mix::new(&[]).is_none());
    }
}
