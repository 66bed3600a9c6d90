//! Where a curve crosses a level: a slope fitted to the attempts around it, and how far other rounds would have put it.

/// Attempts that found about as many flows open.
#[derive(Debug, Clone, Copy)]
pub(super) struct Around {
    /// How many flows.
    pub flows: f64,
    /// How many attempts.
    pub attempts: f64,
    /// Of these refused.
    pub refused: f64,
}

/// Refusals that a slope is fitted to, if there are as many: the share refused is then known to some 8 %.
const REFUSALS_WANTED: f64 = 150.0;
/// Groups on either side of the crossing, at most: beyond, no curve is straight.
const REACH_MAX: usize = 24;
/// And at least; more where a curve is so flat that a line through few groups leads out of them.
const REACH_LEAST: [usize; 3] = [5, 10, 20];

/// Flows at which `share` of attempts is refused, `first` being the group near which it is; none if the attempts around show no slope.
pub(super) fn crossing(groups: &[Around], first: usize, share: f64) -> Option<f64> {
    REACH_LEAST.iter().find_map(|least| near(groups, first, share, *least))
}

fn near(groups: &[Around], first: usize, share: f64, least: usize) -> Option<f64> {
    const RECENTRED: usize = 8;
    let mut centre = first;
    let mut found = None;
    for _ in 0..RECENTRED {
        let around = window(groups, centre, least);
        let (low, high) = (around.first()?.flows, around.last()?.flows);
        let flows = slope(around, share)?;
        found = (low..=high).contains(&flows).then_some(flows);
        // The line is good for what it was fitted to: one that leads further is fitted again from there.
        let flows = flows.clamp(low, high);
        let nearest = groups.partition_point(|group| group.flows < flows).min(groups.len() - 1);
        if nearest == centre {
            break;
        }
        centre = nearest;
    }
    found
}

/// As many groups on both sides as there are refusals wanted.
fn window(groups: &[Around], centre: usize, least: usize) -> &[Around] {
    let of = |reach: usize| &groups[centre.saturating_sub(reach)..(centre + reach + 1).min(groups.len())];
    let enough = |reach: &usize| of(*reach).iter().map(|group| group.refused).sum::<f64>() >= REFUSALS_WANTED;
    of((least..=REACH_MAX).find(enough).unwrap_or(REACH_MAX))
}

/// Logistic regression of refusals on flows, by Newton's method: where it is at `share`, if it rises.
fn slope(groups: &[Around], share: f64) -> Option<f64> {
    const STEPS: usize = 30;
    let (low, high) = (groups.first()?.flows, groups.last()?.flows);
    let (middle, half) = ((low + high) / 2.0, (high - low) / 2.0);
    if half <= 0.0 {
        return None;
    }
    let (mut at, mut rise) = ((share / (1.0 - share)).ln(), 1.0);
    for _ in 0..STEPS {
        let (mut gradient, mut information) = ([0.0; 2], [0.0; 3]);
        for Around { flows, attempts, refused } in groups {
            let x = (flows - middle) / half;
            let expected = 1.0 / (1.0 + (-(at + rise * x)).exp());
            let (error, weight) = (refused - attempts * expected, attempts * expected * (1.0 - expected));
            gradient = [gradient[0] + error, gradient[1] + error * x];
            information = [information[0] + weight, information[1] + weight * x, information[2] + weight * x * x];
        }
        let [a, b, c] = information;
        let determinant = a * c - b * b;
        if determinant <= 0.0 {
            return None;
        }
        // No step is longer than a share's tenfold: far from the answer Newton's overshoot.
        let step = [c * gradient[0] - b * gradient[1], a * gradient[1] - b * gradient[0]];
        let [more, steeper] = step.map(|part| (part / determinant).clamp(-2.3, 2.3));
        (at, rise) = (at + more, rise + steeper);
        if more.abs().max(steeper.abs()) < 1e-9 {
            break;
        }
    }
    let flows = middle + half * ((share / (1.0 - share)).ln() - at) / rise;
    (rise > 0.0 && flows.is_finite()).then_some(flows)
}

/// Half the width of the 95 % interval of a figure, from what it would have been without each of the rounds in turn (the jackknife; Efron
/// and Tibshirani, An Introduction to the Bootstrap, ch. 11). None from less than four rounds.
pub(crate) fn uncertainty(without_each: &[f64]) -> Option<f64> {
    const ROUNDS_LEAST: usize = 4;
    let n = without_each.len();
    if n < ROUNDS_LEAST {
        return None;
    }
    let mean = without_each.iter().sum::<f64>() / n as f64;
    let squares: f64 = without_each.iter().map(|value| (value - mean).powi(2)).sum();
    Some(student((n - 1) as f64) * (squares * (n - 1) as f64 / n as f64).sqrt())
}

/// Student's t at 97.5 % for three or more degrees of freedom, within 1 % (Abramowitz and Stegun, 26.7.5).
fn student(degrees: f64) -> f64 {
    const Z: f64 = 1.959_964;
    let first = (Z.powi(3) + Z) / 4.0;
    let second = (5.0 * Z.powi(5) + 16.0 * Z.powi(3) + 3.0 * Z) / 96.0;
    let third = (3.0 * Z.powi(7) + 19.0 * Z.powi(5) + 17.0 * Z.powi(3) - 15.0 * Z) / 384.0;
    Z + first / degrees + second / degrees.powi(2) + third / degrees.powi(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_read_where_it_is() {
        // One refusal in a thousand at 500 flows, ten times as many 100 flows on.
        let share = |flows: f64| 0.001 * 10_f64.powf((flows - 500.0) / 100.0);
        let groups: Vec<Around> = (300..700)
            .step_by(10)
            .map(|flows| {
                let flows = f64::from(flows);
                Around { flows, attempts: 10_000.0, refused: 10_000.0 * share(flows) }
            })
            .collect();
        let found = crossing(&groups, 30, 0.001).unwrap();
        assert!((found - 500.0).abs() < 2.0, "{found}");
        assert_eq!(crossing(&groups[..1], 0, 0.001), None);
    }

    #[test]
    fn the_jackknife_of_a_mean_is_its_standard_error() {
        let values = [3.0, 5.0, 8.0, 4.0, 6.0];
        let sum: f64 = values.iter().sum();
        let without: Vec<f64> = values.iter().map(|value| (sum - value) / 4.0).collect();
        let variance = values.iter().map(|value| (value - sum / 5.0).powi(2)).sum::<f64>() / 4.0;
        assert!((uncertainty(&without).unwrap() - 2.776 * (variance / 5.0).sqrt()).abs() < 0.02);
        assert_eq!(uncertainty(&without[..3]), None);
    }

    #[test]
    fn students_t_is_that_of_the_tables() {
        for (degrees, expected) in [(3.0, 3.182), (9.0, 2.262), (39.0, 2.023)] {
            assert!((student(degrees) / expected - 1.0_f64).abs() < 0.01, "{degrees}: {}", student(degrees));
        }
    }
}
