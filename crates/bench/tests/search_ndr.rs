//! The quick loss-free search against simulated systems whose true bound is known.

mod search_systems;

use natrig_bench::search::Irregular;
use natrig_bench::search::ndr::{Bounds, NdrConfig, NdrConfigError, NdrSearch, Outcome, ReportError, Step, Validity};
use search_systems::{KINDS, MAX_PPS, MIN_PPS, SplitMix64, System};

const CONFIG: NdrConfig = NdrConfig {
    min_pps: MIN_PPS,
    max_pps: MAX_PPS,
    hint_pps: None,
    relative_precision: 0.02,
    trial_duration_ns: 1_000_000_000,
    attempts: 3,
    plain_loss_ratio: 0.05,
    max_trials: 40,
};

#[test]
fn bounds_hold_the_truth_on_random_systems() {
    let mut inside = [0u32; 6];
    let mut count = [0u32; 6];
    let mut trials = [0u32; 2];
    for seed in 0..1_200 {
        let system = System::draw(seed);
        let Some((low, high)) = truth(&system) else {
            continue;
        };
        let bounds = on_system(CONFIG, &system, seed);
        let (lower, upper) = (bounds.relevant_lower_pps.unwrap(), bounds.relevant_upper_pps.unwrap());
        assert_eq!((bounds.irregular, bounds.generator_limited), (None, false));
        assert!((upper - lower) / upper <= CONFIG.relative_precision);
        count[system.kind] += 1;
        inside[system.kind] += u32::from(lower <= high && low <= upper);

        let again = on_system(NdrConfig { hint_pps: Some(lower), ..CONFIG }, &system, seed + 1_000_000);
        trials[0] += bounds.trials;
        trials[1] += again.trials;
    }
    for (kind, (&inside, &count)) in inside.iter().zip(&count).enumerate() {
        let least = if kind < 2 { 1.0 } else { 0.96 };
        assert!(count > 150 && f64::from(inside) >= least * f64::from(count), "{}: {inside} of {count}", KINDS[kind]);
    }
    assert!(trials[1] * 4 < trials[0] * 3, "the answer of the first round saves a quarter of the second: {trials:?}");
}

#[test]
fn a_cliff_is_found_from_what_it_forwards_and_confirmed_from_the_hint() {
    let cliff = |rate_pps: f64| valid(rate_pps, (rate_pps - 3e6).max(0.0) as u64);
    let bounds = drive(CONFIG, cliff);
    assert!(is(bounds.relevant_lower_pps, 3e6), "{bounds:?}");
    // Max Load, what it forwarded, and one width more three times over: that loss is small enough to be a stall.
    assert_eq!(bounds.trials, 5);
    let bounds = drive(NdrConfig { hint_pps: Some(3e6), ..CONFIG }, cliff);
    assert_eq!((bounds.relevant_lower_pps, bounds.trials), (Some(3e6), 4));
    let bounds = drive(NdrConfig { hint_pps: Some(1e12), ..CONFIG }, cliff);
    assert!(is(bounds.relevant_lower_pps, 3e6), "{bounds:?}");
}

#[test]
fn a_stall_in_two_of_three_trials_does_not_lower_the_answer() {
    let stalling = || {
        let mut trial = 0;
        move |rate_pps: f64| {
            trial += 1;
            valid(rate_pps, (rate_pps - 3e6).max(0.0) as u64 + if trial % 3 == 0 { 0 } else { 7 })
        }
    };
    let config = NdrConfig { max_trials: 200, ..CONFIG };
    assert!(drive(config, stalling()).relevant_lower_pps > Some(2.9e6));
    let without_verification = drive(NdrConfig { attempts: 1, ..config }, stalling());
    assert!(without_verification.relevant_lower_pps < Some(2.9e6));
}

#[test]
fn disturbed_trials_are_repeated_and_say_nothing() {
    let mut trial = 0;
    let mut rates = Vec::new();
    let bounds = drive(CONFIG, |rate_pps| {
        trial += 1;
        rates.push(rate_pps);
        match trial % 2 {
            1 => Outcome { validity: Validity::Disturbed, ..valid(rate_pps, 1_000) },
            _ => valid(rate_pps, (rate_pps - 3e6).max(0.0) as u64),
        }
    });
    assert!(is(bounds.relevant_lower_pps, 3e6) && bounds.trials == 10, "{bounds:?}");
    assert!(rates.chunks(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_trial_that_sent_nothing_says_nothing() {
    let bounds = drive(CONFIG, |rate_pps| Outcome { sent: 0, ..valid(rate_pps, 0) });
    assert_eq!((bounds.relevant_lower_pps, bounds.relevant_upper_pps), (None, None));
    assert_eq!((bounds.irregular, bounds.trials), (Some(Irregular::BudgetSpent), CONFIG.max_trials));
}

#[test]
fn a_generator_that_cannot_keep_up_is_named() {
    let held = |limit_pps: f64, capacity_pps: f64| {
        move |rate_pps: f64| {
            let validity = if rate_pps > limit_pps { Validity::GeneratorLimited } else { Validity::Valid };
            let achieved_pps = rate_pps.min(limit_pps);
            let lost = (achieved_pps - capacity_pps).max(0.0) as u64;
            Outcome { achieved_pps, sent: achieved_pps as u64, validity, ..valid(rate_pps, lost) }
        }
    };
    let bounds = drive(CONFIG, held(5e6, 8e6));
    assert_eq!((bounds.relevant_lower_pps, bounds.relevant_upper_pps), (Some(5e6), None));
    assert_eq!((bounds.irregular, bounds.generator_limited), (Some(Irregular::MaxLoadIsLower), true));
    assert_eq!(bounds.trials, 4, "three to believe it, one at what it can do");

    let bounds = drive(CONFIG, held(5e6, 3e6));
    assert!(is(bounds.relevant_lower_pps, 3e6), "{bounds:?}");
    assert_eq!((bounds.irregular, bounds.generator_limited), (None, false));

    let bounds = drive(CONFIG, held(1e3, 8e6));
    assert_eq!((bounds.relevant_lower_pps, bounds.generator_limited), (None, true));
}

#[test]
fn ends_of_the_range_are_irregular() {
    let bounds = drive(CONFIG, |rate_pps| valid(rate_pps, 0));
    assert_eq!((bounds.relevant_lower_pps, bounds.relevant_upper_pps), (Some(MAX_PPS), None));
    assert_eq!((bounds.irregular, bounds.generator_limited), (Some(Irregular::MaxLoadIsLower), false));
    let bounds = drive(CONFIG, |rate_pps| valid(rate_pps, rate_pps as u64));
    assert_eq!((bounds.relevant_lower_pps, bounds.relevant_upper_pps), (None, Some(MIN_PPS)));
    assert_eq!(bounds.irregular, Some(Irregular::MinLoadIsUpper));
}

#[test]
fn any_outcomes_at_all_end_within_the_trials_allowed() {
    for seed in 0..3_000 {
        let mut random = SplitMix64::new(seed);
        let bounds = drive(CONFIG, |rate_pps| {
            let validity = match (random.uniform() * 4.0) as u32 {
                0 => Validity::Disturbed,
                1 => Validity::GeneratorLimited,
                _ => Validity::Valid,
            };
            let lost = if random.uniform() < 0.5 { 0 } else { (rate_pps * random.uniform().powi(8)) as u64 };
            Outcome { achieved_pps: rate_pps * random.uniform(), validity, ..valid(rate_pps, lost) }
        });
        assert!(bounds.trials <= CONFIG.max_trials);
        if let (Some(lower), Some(upper)) = (bounds.relevant_lower_pps, bounds.relevant_upper_pps) {
            assert!(lower < upper, "{bounds:?}");
        }
    }
}

#[test]
fn impossible_input_is_refused() {
    let with = |change: fn(&mut NdrConfig)| {
        let mut config = CONFIG;
        change(&mut config);
        NdrSearch::new(config).err()
    };
    assert!(matches!(with(|c| c.min_pps = 0.0), Some(NdrConfigError::Limits { .. })));
    assert!(matches!(with(|c| c.max_pps = f64::NAN), Some(NdrConfigError::Limits { .. })));
    assert_eq!(with(|c| c.relative_precision = 1.0), Some(NdrConfigError::Precision(1.0)));
    assert_eq!(with(|c| c.attempts = 0), Some(NdrConfigError::Nothing));
    assert_eq!(with(|c| c.max_trials = 0), Some(NdrConfigError::Nothing));

    let mut search = NdrSearch::new(NdrConfig { max_trials: 1, ..CONFIG }).unwrap();
    assert_eq!(search.report(&valid(1e6, 0)), Err(ReportError::OtherRate));
    assert_eq!(search.report(&valid(MAX_PPS, 5)), Ok(()));
    assert_eq!(search.report(&valid(MAX_PPS, 5)), Err(ReportError::Ended));
}

/// Equal but for rounding.
fn is(rate_pps: Option<f64>, expected_pps: f64) -> bool {
    rate_pps.is_some_and(|rate| (rate / expected_pps - 1.0).abs() < 1e-9)
}

/// A trial of one second.
fn valid(rate_pps: f64, lost: u64) -> Outcome {
    Outcome { offered_pps: rate_pps, achieved_pps: rate_pps, sent: rate_pps as u64, lost, validity: Validity::Valid }
}

/// The loads between which a rate is neither surely passed (fewer than four in ten trials lose) nor surely failed (19 in 20 do): it
/// fails when three trials in a row lose.
fn truth(system: &System) -> Option<(f64, f64)> {
    let bound = |chance: f64| system.bound_pps(CONFIG.trial_duration_ns, 0.0, chance);
    Some((bound(0.4)?, bound(0.95)?))
}

fn on_system(config: NdrConfig, system: &System, seed: u64) -> Bounds {
    let mut random = SplitMix64::new(seed ^ 0x5EED);
    drive(config, |rate_pps| {
        let (sent, lost) = system.run(rate_pps, config.trial_duration_ns, &mut random);
        Outcome { offered_pps: rate_pps, achieved_pps: rate_pps, sent, lost, validity: Validity::Valid }
    })
}

fn drive(config: NdrConfig, mut run: impl FnMut(f64) -> Outcome) -> Bounds {
    let mut search = NdrSearch::new(config).expect("a good configuration");
    loop {
        match search.next() {
            Step::Done(bounds) => return bounds,
            Step::Trial { rate_pps, duration_ns } => {
                assert_eq!(duration_ns, config.trial_duration_ns);
                assert!((config.min_pps..=config.max_pps).contains(&rate_pps));
                search.report(&run(rate_pps)).expect("the rate asked for");
            }
        }
    }
}
