//! Changes in a history of results.
//!
//! E-divisive means with a t-test, as in Hunter (Fleming et al., ICPE 2023): the energy statistic of Matteson and James (JASA 109,
//! 2014) proposes where a series divides best, Student's t-test decides whether it does. The other known way, minimum description length
//! as in FD.io CSIT's jumpavg, needs no threshold, but gives no p-value and no control over false alarms; with the t-test a change in
//! the history is told in the terms of every other verdict here, the answer is deterministic, and a p-value and a size can be asked for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::distribution::student_t_two_sided;

/// How easily a change is believed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChangeSettings {
    /// Results looked at together; windows overlap by half. Old changes do not hide new ones.
    pub window: usize,
    /// Largest p of the t-test between the results before and after. Since the place was chosen to look like a change, about one
    /// window in a hundred without any shows one at 0.001.
    pub max_p: f64,
    /// Smallest relative change of the mean worth telling.
    pub min_change: f64,
}

impl Default for ChangeSettings {
    /// Hunter's window and p.
    fn default() -> Self {
        Self { window: 50, max_p: 0.001, min_change: 0.0 }
    }
}

/// A place where the level of a series changes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChangePoint {
    /// Index of the first result after the change.
    pub index: usize,
    /// Mean of the results since the change before, in the unit of the series.
    pub mean_before: f64,
    /// Mean of the results until the change after.
    pub mean_after: f64,
    /// Two-sided p of Student's t-test between the two.
    pub p: f64,
}

impl ChangePoint {
    /// (after − before) / |before|.
    pub fn relative_change(&self) -> f64 {
        (self.mean_after - self.mean_before) / self.mean_before.abs()
    }
}

/// Fewest results on either side of a change: two could still be one bad day.
const MIN_SEGMENT: usize = 3;

/// Fewest results of a series in which a change can be found at all.
pub const CHANGE_RUNS_MIN: usize = 2 * MIN_SEGMENT;

/// How much weaker a change may be to be considered before the weakest are merged away again, as in Hunter.
const WEAK_P_FACTOR: f64 = 10.0;

/// How much stronger a change must be that is held against a part of what follows: there is a choice of parts.
const UNDONE_P_FACTOR: f64 = 0.01;

/// The changes of level in a series, oldest first. A series with a value that is not finite, or too short to divide, has none.
pub fn change_points(series: &[f64], settings: &ChangeSettings) -> Vec<ChangePoint> {
    if series.iter().any(|value| !value.is_finite()) {
        return Vec::new();
    }
    let mut candidates = Vec::new();
    let window = settings.window.max(CHANGE_RUNS_MIN);
    let mut start = 0;
    loop {
        let end = (start + window).min(series.len());
        divide(series, start, end, settings.max_p * WEAK_P_FACTOR, &mut candidates);
        if end == series.len() {
            break;
        }
        start += window / 2;
    }
    candidates.sort_unstable();
    candidates.dedup();
    merge(series, candidates, settings)
}

/// Divides a segment where it divides best, and its parts again, while the t-test agrees.
fn divide(series: &[f64], start: usize, end: usize, max_p: f64, found: &mut Vec<usize>) {
    let Some((place, until)) = best_division(&series[start..end]) else {
        return;
    };
    let (middle, until) = (start + place, start + until);
    // Also against what comes next alone: where a change is undone, the rest of the segment would hide it.
    if t_test_p(&series[start..middle], &series[middle..end]) <= max_p
        || t_test_p(&series[start..middle], &series[middle..until]) <= max_p * UNDONE_P_FACTOR
    {
        found.push(middle);
        divide(series, start, middle, max_p, found);
        divide(series, middle, end, max_p, found);
    }
}

/// Takes out the least convincing change until each that is left stands against its neighbours.
fn merge(series: &[f64], mut places: Vec<usize>, settings: &ChangeSettings) -> Vec<ChangePoint> {
    loop {
        let points: Vec<ChangePoint> = (0..places.len()).map(|i| change_at(series, &places, i)).collect();
        let weakest = (0..points.len()).max_by(|&a, &b| points[a].p.total_cmp(&points[b].p));
        let smallest = (0..points.len())
            .min_by(|&a, &b| points[a].relative_change().abs().total_cmp(&points[b].relative_change().abs()));
        match (weakest, smallest) {
            (Some(weakest), _) if points[weakest].p > settings.max_p => places.remove(weakest),
            (_, Some(smallest)) if points[smallest].relative_change().abs() < settings.min_change => {
                places.remove(smallest)
            }
            _ => return points,
        };
    }
}

fn change_at(series: &[f64], places: &[usize], i: usize) -> ChangePoint {
    let start = i.checked_sub(1).map_or(0, |before| places[before]);
    let end = places.get(i + 1).copied().unwrap_or(series.len());
    let (before, after) = (&series[start..places[i]], &series[places[i]..end]);
    ChangePoint { index: places[i], mean_before: mean(before), mean_after: mean(after), p: t_test_p(before, after) }
}

/// The place τ that maximises the energy statistic between what is before τ and what is from τ to some κ (Matteson and James, §3.1: κ
/// lets a change be found that is undone later); both of them. `None` if the segment is too short.
fn best_division(segment: &[f64]) -> Option<(usize, usize)> {
    let n = segment.len();
    let distances = Distances::new(segment);
    let mut best: Option<(f64, (usize, usize))> = None;
    for place in MIN_SEGMENT..=n.saturating_sub(MIN_SEGMENT) {
        for end in place + MIN_SEGMENT..=n {
            let energy = distances.energy(place, end);
            if best.is_none_or(|(highest, _)| energy > highest) {
                best = Some((energy, (place, end)));
            }
        }
    }
    best.map(|(_, division)| division)
}

/// Sums of |x − y| over rectangles of pairs, by inclusion and exclusion.
struct Distances {
    /// `prefix[i][j]` is the sum over the first i and the first j values.
    prefix: Vec<Vec<f64>>,
}

impl Distances {
    fn new(values: &[f64]) -> Self {
        let n = values.len();
        let mut prefix = vec![vec![0.0; n + 1]; n + 1];
        for i in 0..n {
            for j in 0..n {
                let distance = (values[i] - values[j]).abs();
                prefix[i + 1][j + 1] = distance + prefix[i][j + 1] + prefix[i + 1][j] - prefix[i][j];
            }
        }
        Self { prefix }
    }

    /// The scaled energy statistic between [0, place) and [place, end): mn/(m+n) · (2·E|X−Y| − E|X−X'| − E|Y−Y'|).
    fn energy(&self, place: usize, end: usize) -> f64 {
        let sum = |upto: usize| self.prefix[upto][upto];
        let (m, n) = (place as f64, (end - place) as f64);
        let within_before = sum(place);
        let between = self.prefix[place][end] - within_before;
        let within_after = sum(end) - within_before - 2.0 * between;
        let apart = 2.0 * between / (m * n) - within_before / (m * (m - 1.0)) - within_after / (n * (n - 1.0));
        m * n / (m + n) * apart
    }
}

/// Two-sided p of Student's t-test with pooled variance.
fn t_test_p(a: &[f64], b: &[f64]) -> f64 {
    let (m, n) = (a.len() as f64, b.len() as f64);
    let (mean_a, mean_b) = (mean(a), mean(b));
    let squares = |values: &[f64], mean: f64| values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    let degrees = m + n - 2.0;
    let error = ((squares(a, mean_a) + squares(b, mean_b)) / degrees * (1.0 / m + 1.0 / n)).sqrt();
    if error > 0.0 {
        return student_t_two_sided((mean_b - mean_a) / error, degrees);
    }
    // Without any scatter every difference is a change.
    f64::from(u8::from(mean_a == mean_b))
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [usize; 0] = [];

    fn indices(series: &[f64], settings: &ChangeSettings) -> Vec<usize> {
        change_points(series, settings).iter().map(|point| point.index).collect()
    }

    fn steps(levels: &[(usize, f64)]) -> Vec<f64> {
        let levels = levels.iter().flat_map(|&(count, level)| std::iter::repeat_n(level, count));
        levels.enumerate().map(|(i, level)| level + [0.3, -0.5, 0.1, 0.6, -0.4, -0.1][i % 6]).collect()
    }

    #[test]
    fn known_changes_are_found_where_they_are() {
        let settings = ChangeSettings::default();
        assert_eq!(indices(&steps(&[(20, 100.0), (20, 95.0)]), &settings), [20]);
        assert_eq!(indices(&steps(&[(30, 100.0), (12, 104.0), (30, 100.0)]), &settings), [30, 42]);
        assert_eq!(indices(&steps(&[(200, 100.0), (6, 90.0)]), &settings), [200]);
        assert_eq!(indices(&steps(&[(60, 100.0)]), &settings), NONE);
        // Up and down again, in equal parts.
        for part in [5, 6, 8, 15, 24] {
            assert_eq!(indices(&steps(&[(part, 100.0), (part, 103.0), (part, 100.0)]), &settings), [part, 2 * part]);
        }
    }

    #[test]
    fn a_change_carries_its_size_and_its_p() {
        let points = change_points(&steps(&[(24, 100.0), (24, 90.0)]), &ChangeSettings::default());
        assert!((points[0].relative_change() + 0.1).abs() < 1e-9);
        assert!(points[0].p < 1e-20);
        let large = ChangeSettings { min_change: 0.2, ..ChangeSettings::default() };
        assert_eq!(indices(&steps(&[(24, 100.0), (24, 90.0)]), &large), NONE);
    }

    #[test]
    fn one_bad_day_is_not_a_change() {
        let mut series = steps(&[(40, 100.0)]);
        series[25] = 50.0;
        assert_eq!(indices(&series, &ChangeSettings::default()), NONE);
    }

    #[test]
    fn odd_series_have_no_changes() {
        let settings = ChangeSettings::default();
        assert_eq!(indices(&[], &settings), NONE);
        assert_eq!(indices(&[1.0, 2.0, 3.0, 4.0, 5.0], &settings), NONE);
        assert_eq!(indices(&[7.0; 30], &settings), NONE);
        assert_eq!(indices(&[&[1.0; 10][..], &[f64::NAN], &[2.0; 10]].concat(), &settings), NONE);
        assert_eq!(indices(&[[1.0; 10], [2.0; 10]].concat(), &settings), [10]);
    }

    /// Student's sleep data (1908): t = −1.8608 with 18 degrees of freedom, p = 0.0792.
    #[test]
    fn the_t_test_is_students() {
        let one = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0];
        let two = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4];
        assert!((t_test_p(&one, &two) - 0.079_187).abs() < 1e-6);
    }
}
