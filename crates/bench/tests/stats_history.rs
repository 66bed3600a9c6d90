//! Change points in histories with known changes, and latencies of layers whose sum is known.

use hdrhistogram::Histogram;
use natrig_bench::stats::{ChangeSettings, change_points, convolve};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

fn normal(random: &mut Pcg64) -> f64 {
    let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.random::<f64>()).cos()
}

/// Levels as (number of results, mean), with a relative scatter.
fn history(levels: &[(usize, f64)], scatter: f64, random: &mut Pcg64) -> Vec<f64> {
    let levels = levels.iter().flat_map(|&(count, level)| std::iter::repeat_n(level, count));
    levels.map(|level| level * (1.0 + scatter * normal(random))).collect()
}

#[test]
fn changes_of_two_scatters_are_found_where_they_are() {
    let mut random = Pcg64::seed_from_u64(1);
    let (mut found, mut exact, mut extra) = (0, 0, 0);
    for _ in 0..200 {
        let place = random.random_range(15..85);
        let series = history(&[(place, 5e6), (100 - place, 4.8e6)], 0.02, &mut random);
        let points = change_points(&series, &ChangeSettings::default());
        let near = points.iter().filter(|point| point.index.abs_diff(place) <= 5).count();
        found += u32::from(near > 0);
        exact += u32::from(points.iter().any(|point| point.index.abs_diff(place) <= 1));
        extra += points.len() - near.min(1);
    }
    assert!(
        found >= 190 && exact >= 150 && extra <= 20,
        "{found} found, {exact} of them exactly, {extra} that are none"
    );
}

#[test]
fn a_history_without_changes_rarely_shows_one() {
    let mut random = Pcg64::seed_from_u64(2);
    let settings = ChangeSettings::default();
    let shows_one = |_: &u32| !change_points(&history(&[(50, 1e6)], 0.03, &mut random), &settings).is_empty();
    let alarms = (0..600).filter(shows_one).count();
    assert!(alarms <= 12, "{alarms} of 600 windows");
}

#[test]
fn a_change_that_is_undone_as_late_as_it_came_is_found() {
    let mut random = Pcg64::seed_from_u64(5);
    let found = |_: &u32| {
        let series = history(&[(15, 100.0), (15, 95.0), (15, 100.0)], 0.02, &mut random);
        let points = change_points(&series, &ChangeSettings::default());
        let near = |place: usize| points.iter().any(|point| point.index.abs_diff(place) <= 3);
        points.len() == 2 && near(15) && near(30)
    };
    let found = (0..200).filter(found).count();
    assert!(found >= 180, "{found} of 200");
}

#[test]
fn several_changes_of_a_long_history_are_told_apart() {
    let mut random = Pcg64::seed_from_u64(3);
    let levels = [(60, 100.0), (40, 92.0), (70, 97.0), (30, 110.0), (100, 105.0)];
    let truth = [60, 100, 170, 200];
    let mut all = 0;
    for _ in 0..40 {
        let points = change_points(&history(&levels, 0.015, &mut random), &ChangeSettings::default());
        let hit = |place: &usize| points.iter().any(|point| point.index.abs_diff(*place) <= 3);
        all += u32::from(points.len() == 4 && truth.iter().all(hit));
    }
    assert!(all >= 28, "{all} of 40");
}

#[test]
fn a_convolution_has_the_quantiles_of_the_sum() {
    let mut random = Pcg64::seed_from_u64(4);
    let mut draw = |base: f64, spread: f64| {
        // A lognormal body, and a stall now and then.
        let stall = if random.random::<f64>() < 0.002 { 200_000.0 * random.random::<f64>() } else { 0.0 };
        (base + spread * normal(&mut random).exp() + stall) as u64
    };
    let empty = || Histogram::<u64>::new_with_bounds(1, 10_000_000_000, 3).unwrap();
    let (mut node, mut gateway, mut both) = (empty(), empty(), empty());
    for _ in 0..300_000 {
        node.record(draw(3_000.0, 800.0)).unwrap();
        gateway.record(draw(6_000.0, 1_500.0)).unwrap();
        both.record(draw(3_000.0, 800.0) + draw(6_000.0, 1_500.0)).unwrap();
    }
    let predicted = convolve(&node, &gateway, 0).unwrap();
    assert_eq!(predicted.len(), 300_000);
    for (p, tolerance) in [(0.1, 0.01), (0.5, 0.01), (0.9, 0.01), (0.99, 0.02), (0.999, 0.1), (0.9999, 0.1)] {
        let (predicted, measured) = (predicted.value_at_quantile(p) as f64, both.value_at_quantile(p) as f64);
        assert!((predicted / measured - 1.0).abs() < tolerance, "p{p}: {predicted} for {measured}");
    }
    let mean = predicted.mean() / both.mean() - 1.0;
    assert!(mean.abs() < 0.005, "{mean}");
}
