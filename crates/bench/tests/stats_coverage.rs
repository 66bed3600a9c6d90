//! Intervals hold the truth, and tests err, as often as they say: simulated with fixed seeds.

use natrig_bench::stats::{
    Better, Looks, Policy, Verdict, bca_interval, benjamini_hochberg, compare, detectable_change, hodges_lehmann,
    log_ratios, median_interval, percentile_interval, sign_flip_p, signed_rank_p, tost_p, walsh_interval,
};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

/// How a sample is drawn; all have median zero, but for the exponential, whose median is ln 2.
#[derive(Debug, Clone, Copy)]
enum Law {
    Normal,
    Uniform,
    /// Heavy tails: Student's t with two degrees of freedom.
    Wild,
    Exponential,
}

impl Law {
    fn draw(self, random: &mut Pcg64) -> f64 {
        let uniform = 1.0 - random.random::<f64>();
        match self {
            Self::Normal => normal(random),
            Self::Uniform => uniform - 0.5,
            Self::Wild => normal(random) / (-uniform.ln()).sqrt(),
            Self::Exponential => -uniform.ln(),
        }
    }

    fn sample(self, n: usize, random: &mut Pcg64) -> Vec<f64> {
        (0..n).map(|_| self.draw(random)).collect()
    }
}

fn normal(random: &mut Pcg64) -> f64 {
    let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.random::<f64>()).cos()
}

fn random(seed: u64) -> Pcg64 {
    Pcg64::seed_from_u64(seed)
}

/// Share of `times` in which something happens.
fn share(times: u32, mut happens: impl FnMut() -> bool) -> f64 {
    f64::from((0..times).filter(|_| happens()).count() as u32) / f64::from(times)
}

/// Four standard errors of a share.
fn slack(probability: f64, times: u32) -> f64 {
    4.0 * (probability * (1.0 - probability) / f64::from(times)).sqrt()
}

#[test]
fn median_intervals_cover_exactly_what_they_state() {
    const TIMES: u32 = 4_000;
    for (n, law) in [(3, Law::Wild), (5, Law::Exponential), (10, Law::Normal), (21, Law::Exponential)] {
        let median = if matches!(law, Law::Exponential) { std::f64::consts::LN_2 } else { 0.0 };
        let mut random = random(n as u64);
        let stated = median_interval(&vec![0.0; n], 0.95).unwrap().confidence;
        let covered = share(TIMES, || median_interval(&law.sample(n, &mut random), 0.95).unwrap().contains(median));
        assert!((covered - stated).abs() < slack(stated, TIMES), "{n} {law:?}: {covered} for {stated}");
    }
}

#[test]
fn percentile_intervals_cover_exactly_what_they_state() {
    const TIMES: u32 = 1_500;
    for (n, p) in [(570, 0.99), (2_000, 0.99), (200, 0.9), (1_000, 0.5)] {
        let mut random = random(n as u64);
        let truth = -(1.0f64 - p).ln();
        let mut stated = 0.0;
        let covered = share(TIMES, || {
            let interval = percentile_interval(&Law::Exponential.sample(n, &mut random), p).unwrap();
            stated = interval.confidence;
            interval.contains(truth)
        });
        assert!(stated >= 0.95 && (covered - stated).abs() < slack(stated, TIMES), "{n} {p}: {covered} for {stated}");
    }
}

#[test]
fn walsh_intervals_cover_exactly_what_they_state_whatever_the_tails() {
    const TIMES: u32 = 3_000;
    for (n, law) in [(4, Law::Normal), (6, Law::Wild), (8, Law::Uniform), (20, Law::Wild)] {
        let mut random = random(n as u64);
        let stated = walsh_interval(&law.sample(n, &mut random), 0.95).unwrap().confidence;
        let covered = share(TIMES, || walsh_interval(&law.sample(n, &mut random), 0.95).unwrap().contains(0.0));
        assert!((covered - stated).abs() < slack(stated, TIMES), "{n} {law:?}: {covered} for {stated}");
    }
}

#[test]
fn bca_intervals_cover_about_95_percent_from_eight_blocks_on() {
    const TIMES: u32 = 600;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let centre = |values: &[f64]| hodges_lehmann(values).unwrap();
    let covered = |n: usize, law: Law, statistic: &dyn Fn(&[f64]) -> f64, truth: f64| {
        let mut random = random(n as u64);
        share(TIMES, || {
            let seed = random.random();
            bca_interval(&law.sample(n, &mut random), statistic, 0.95, 400, seed).unwrap().contains(truth)
        })
    };
    for (n, law) in [(8, Law::Normal), (8, Law::Wild), (12, Law::Uniform)] {
        let covered = covered(n, law, &centre, 0.0);
        assert!((0.93..0.99).contains(&covered), "centre of {n} {law:?}: {covered}");
    }
    for (n, law, truth, least) in [
        (8, Law::Normal, 0.0, 0.92),
        (20, Law::Uniform, 0.0, 0.93),
        // A skewed mean is the hard case: the second-order correction is not yet enough at twenty.
        (20, Law::Exponential, 1.0, 0.90),
        (50, Law::Exponential, 1.0, 0.92),
    ] {
        let covered = covered(n, law, &mean, truth);
        assert!((least..0.985).contains(&covered), "mean of {n} {law:?}: {covered}");
    }
}

#[test]
fn exact_tests_err_as_often_as_they_say() {
    const TIMES: u32 = 4_000;
    for (n, law) in [(6, Law::Wild), (9, Law::Normal), (12, Law::Uniform)] {
        for (name, p_of) in [("signs", sign_flip_p as fn(&[f64]) -> Option<f64>), ("ranks", signed_rank_p)] {
            let mut random = random(n as u64);
            let rejected = share(TIMES, || p_of(&law.sample(n, &mut random)).unwrap() <= 0.05);
            // Never above; below by the steps of a distribution with few values only.
            assert!(rejected <= 0.05 + slack(0.05, TIMES), "{name} {n} {law:?}: {rejected}");
            assert!(rejected >= 0.025, "{name} {n} {law:?}: {rejected}");
        }
    }
}

const POLICY: Policy = Policy { better: Better::Higher, margin: 0.02, alpha: 0.05 };

/// Two runs of the same thing: a level that wanders from block to block, and noise of each side's own.
fn paired_blocks(n: usize, law: Law, noise: f64, effect: f64, random: &mut Pcg64) -> Vec<f64> {
    let mut base = Vec::new();
    let mut new = Vec::new();
    for _ in 0..n {
        let level = 1e6 * (0.2 * law.draw(random)).clamp(-2.0, 2.0).exp();
        base.push(level * (noise * law.draw(random)).exp());
        new.push(level * (effect + noise * law.draw(random)).exp());
    }
    log_ratios(&base, &new).expect("positive figures")
}

fn is_alarm(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Better { .. } | Verdict::Worse { .. })
}

#[test]
fn the_same_thing_twice_is_rarely_called_different() {
    const TIMES: u32 = 3_000;
    for (n, law, noise) in
        [(8, Law::Normal, 0.05), (8, Law::Wild, 0.02), (10, Law::Exponential, 0.1), (30, Law::Wild, 0.05)]
    {
        let mut random = random(n as u64);
        let alarms = share(TIMES, || {
            is_alarm(compare(&paired_blocks(n, law, noise, 0.0, &mut random), &POLICY).unwrap().verdict)
        });
        assert!(alarms <= 0.05 + slack(0.05, TIMES), "{n} {law:?}: {alarms}");
    }
}

#[test]
fn looking_again_and_again_does_not_raise_the_false_alarms() {
    const TIMES: u32 = 2_000;
    let looks = Looks::new(8, 2, 24);
    let run = |effect: f64, random: &mut Pcg64| {
        let blocks = paired_blocks(24, Law::Normal, 0.03, effect, random);
        let mut at_looks =
            looks.blocks().iter().map(|seen| (*seen, looks.judge(*seen, &blocks[..*seen as usize], &POLICY)));
        at_looks.find_map(|(seen, comparison)| comparison.filter(|comparison| looks.is_over(seen, comparison))).unwrap()
    };
    let mut random = random(1);
    let alarms = share(TIMES, || is_alarm(run(0.0, &mut random).verdict));
    assert!(alarms <= 0.05 + slack(0.05, TIMES), "{alarms}");
    // Nor does it make the intervals cover less: all of them together, those at looks that did not stop included.
    let covered = share(TIMES, || {
        let blocks = paired_blocks(24, Law::Normal, 0.03, 0.04, &mut random);
        looks
            .blocks()
            .iter()
            .all(|&seen| looks.judge(seen, &blocks[..seen as usize], &POLICY).unwrap().interval.contains(0.04f64.exp()))
    });
    assert!(covered >= 0.95 - slack(0.05, TIMES), "{covered}");
    // A large effect is seen, and early.
    let mut blocks = 0;
    let seen = share(500, || {
        let comparison = run(-0.1, &mut random);
        blocks += comparison.blocks;
        matches!(comparison.verdict, Verdict::Worse { .. })
    });
    assert!(seen > 0.98, "{seen}");
    assert!(f64::from(blocks) / 500.0 < 16.0, "{blocks}");
}

#[test]
fn things_that_differ_by_the_margin_are_rarely_called_equal() {
    const TIMES: u32 = 3_000;
    for (effect, law) in [(0.02f64.ln_1p(), Law::Normal), (-(0.02f64.ln_1p()), Law::Wild)] {
        let mut random = random(5);
        let equal = share(TIMES, || tost_p(&paired_blocks(10, law, 0.005, effect, &mut random), 0.02).unwrap() <= 0.05);
        assert!(equal <= 0.05 + slack(0.05, TIMES), "{equal}");
    }
    // And things that are equal are called so, when the noise allows.
    let mut random = random(6);
    let equal = share(500, || tost_p(&paired_blocks(10, Law::Normal, 0.005, 0.0, &mut random), 0.02).unwrap() <= 0.05);
    assert!(equal > 0.99, "{equal}");
}

#[test]
fn a_change_of_the_detectable_size_is_seen_four_times_in_five() {
    let (n, noise) = (12, 0.03);
    let mut random = random(8);
    let typical =
        |random: &mut Pcg64| detectable_change(&paired_blocks(n, Law::Normal, noise, 0.0, random), 0.05).unwrap();
    let detectable = (0..500).map(|_| typical(&mut random)).sum::<f64>() / 500.0;
    let effect = detectable.ln_1p();
    let policy = Policy { margin: 0.0, ..POLICY };
    let seen = share(2_000, || {
        is_alarm(compare(&paired_blocks(n, Law::Normal, noise, effect, &mut random), &policy).unwrap().verdict)
    });
    assert!((0.72..0.88).contains(&seen), "{seen}");
}

#[test]
fn among_many_comparisons_the_share_of_false_alarms_stays_below_q() {
    let mut random = random(9);
    let (mut false_share, mut found) = (0.0, 0);
    const RUNS: u32 = 200;
    for _ in 0..RUNS {
        // Ten real effects among forty comparisons.
        let p_values: Vec<f64> = (0..40)
            .map(|i| {
                let effect = if i < 10 { 0.08 } else { 0.0 };
                signed_rank_p(&paired_blocks(14, Law::Normal, 0.03, effect, &mut random)).unwrap()
            })
            .collect();
        let adjusted = benjamini_hochberg(&p_values);
        let rejected = |range: std::ops::Range<usize>| adjusted[range].iter().filter(|&&p| p <= 0.1).count();
        let (right, wrong) = (rejected(0..10), rejected(10..40));
        found += right;
        false_share += wrong as f64 / (right + wrong).max(1) as f64;
    }
    assert!(false_share / f64::from(RUNS) <= 0.1, "{false_share}");
    assert!(found as u32 > 9 * RUNS, "{found}");
}
