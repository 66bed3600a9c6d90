//! MLRsearch against simulated systems whose true bound is known.

mod search_systems;

use natrig_bench::search::mlr::{Config, Goal, GoalResult, SearchError, Step, Trial, next_step};
use natrig_bench::search::{Irregular, trial_loss_ratio};
use search_systems::{KINDS, MAX_PPS, MIN_PPS, SplitMix64, System};

const SECOND_NS: u64 = 1_000_000_000;

/// 200 of each kind.
const SYSTEMS: u64 = 1_200;

/// Mean seconds of trials, warm-up included, that FD.io CSIT's MLRsearch library (csit at 78e52b9, its defaults, `fail_fast` off)
/// needed on these same systems: cliff, slope, wandering, stalling, all of it, collapsing.
const CSIT_NDR_AND_PDR_SECONDS: [f64; 6] = [35.04, 49.68, 53.81, 41.40, 76.33, 92.77];
const CSIT_NDR_SECONDS: [f64; 6] = [27.36, 28.05, 39.23, 33.27, 45.53, 82.72];
const CSIT_RFC2544_SECONDS: [f64; 6] = [136.48, 103.12, 119.63, 582.62, 615.27, 601.14];

#[test]
fn ndr_and_pdr_bounds_hold_the_truth_and_cost_no_more_than_csit() {
    let tallies = tally(&[Goal::csit_ndr(), Goal::csit_pdr()]);
    for (kind, tally) in tallies.iter().enumerate() {
        assert!(tally.goals > 300, "{}: {tally:?}", KINDS[kind]);
        assert!(tally.mean_seconds() <= CSIT_NDR_AND_PDR_SECONDS[kind], "{}: {tally:?}", KINDS[kind]);
        // No bound is where seven in ten trials say the opposite.
        assert!(tally.sane_share() >= 0.98, "{}: {tally:?}", KINDS[kind]);
    }
    let [cliff, slope, wandering, stalling, all, collapsing] = tallies.map(|tally| tally.inside_share());
    // Without noise the truth is always inside; stalls that stay below the exceed ratio are seen through; where the capacity itself
    // wanders by more than the width, the bound is a matter of chance, and the intervals say so by their stated rate.
    assert_eq!((cliff, slope), (1.0, 1.0));
    assert!(stalling >= 0.98, "{stalling}");
    assert!(collapsing >= 0.93, "{collapsing}");
    assert!(wandering >= 0.75, "{wandering}");
    assert!(all >= 0.70, "{all}");
}

#[test]
fn one_goal_alone_costs_no_more_than_csit() {
    for (kind, tally) in tally(&[Goal::csit_ndr()]).iter().enumerate() {
        assert!(tally.mean_seconds() <= CSIT_NDR_SECONDS[kind], "{}: {tally:?}", KINDS[kind]);
        assert!(tally.sane_share() >= 0.975, "{}: {tally:?}", KINDS[kind]);
    }
}

#[test]
fn rfc2544_trials_of_a_minute_cost_no_more_than_csit() {
    let tallies = tally(&[Goal::rfc2544(0.005)]);
    for (kind, tally) in tallies.iter().enumerate() {
        assert!(tally.mean_seconds() <= CSIT_RFC2544_SECONDS[kind], "{}: {tally:?}", KINDS[kind]);
    }
    // One lossy trial decides, so only systems without noise have a true bound in the sense of the goal.
    assert_eq!((tallies[0].inside_share(), tallies[1].inside_share()), (1.0, 1.0));
}

#[test]
fn each_step_follows_from_the_outcomes_alone() {
    let config = unbounded(&[Goal::csit_ndr(), Goal::csit_pdr()]);
    let finished = search(&config, &System::draw(4), 4, SECOND_NS);
    for (done, trial) in finished.trials.iter().enumerate() {
        let step = next_step(&config, &finished.trials[..done]).unwrap();
        assert_eq!(step, Step::Trial { load_pps: trial.load_pps, duration_ns: trial.duration_ns });
    }
}

#[test]
fn half_a_second_of_waiting_counted_decides_a_load_in_seven_trials() {
    let config = unbounded(&[Goal::csit_ndr()]);
    let system = System::draw(0);
    let finished = search(&config, &system, 0, SECOND_NS * 3 / 2);
    let at = |load: f64| finished.trials.iter().filter(|trial| trial.load_pps == load).count();
    let result = finished.results[0];
    assert_eq!(at(result.relevant_lower_pps.unwrap()), 7);
    assert_eq!(at(result.relevant_upper_pps.unwrap()), 8);
}

#[test]
fn a_generator_that_is_the_bottleneck_gives_an_irregular_result() {
    let config = Config { max_pps: 20_000.0, ..unbounded(&[Goal::csit_ndr(), Goal::csit_pdr()]) };
    let finished = search(&config, &System::draw(0), 0, SECOND_NS);
    for result in &finished.results {
        assert_eq!(result.irregular, Some(Irregular::MaxLoadIsLower));
        assert_eq!((result.relevant_lower_pps, result.relevant_upper_pps), (Some(20_000.0), None));
        assert_eq!(result.conditional_throughput_pps, Some(20_000.0));
    }
    assert_eq!(finished.trials.len(), 12, "a warm-up and eleven trials");
}

#[test]
fn a_system_below_the_limits_gives_an_irregular_result() {
    let config = Config { min_pps: 19e6, ..unbounded(&[Goal::csit_ndr()]) };
    let finished = search(&config, &System::draw(0), 0, SECOND_NS);
    let result = finished.results[0];
    assert_eq!(result.irregular, Some(Irregular::MinLoadIsUpper));
    assert_eq!((result.relevant_lower_pps, result.relevant_upper_pps), (None, Some(19e6)));
    assert_eq!(result.conditional_throughput_pps, None);
}

#[test]
fn a_spent_budget_ends_the_search_with_what_is_known() {
    let config = Config { budget_ns: 20 * SECOND_NS, ..unbounded(&[Goal::csit_ndr(), Goal::csit_pdr()]) };
    let finished = search(&config, &System::draw(4), 4, SECOND_NS);
    assert_eq!(finished.trials.len(), 21, "the warm-up is not counted");
    assert!(finished.results.iter().all(|result| result.irregular == Some(Irregular::BudgetSpent)));
}

#[test]
fn any_outcomes_at_all_end_with_bounds_in_order() {
    let goals = [Goal::csit_ndr(), Goal::csit_pdr(), Goal::tst009(0.01), Goal::rfc2544(0.02)];
    let config = Config { budget_ns: 2_000 * SECOND_NS, ..unbounded(&goals) };
    for seed in 0..200 {
        let mut random = SplitMix64::new(seed);
        let often = random.uniform();
        let mut trials = Vec::new();
        let results = loop {
            match next_step(&config, &trials).unwrap() {
                Step::Done(results) => break results,
                Step::Trial { load_pps, duration_ns } => {
                    let loss_ratio = if random.uniform() < often { 0.0 } else { random.uniform().powi(6) };
                    trials.push(Trial { load_pps, duration_ns, effective_duration_ns: duration_ns, loss_ratio });
                }
            }
        };
        for (goal, result) in goals.iter().zip(results) {
            if let (Some(lower), Some(upper)) = (result.relevant_lower_pps, result.relevant_upper_pps) {
                assert!(lower < upper);
                let is_narrow = (upper - lower) / upper <= goal.relative_width + 1e-9;
                assert_eq!(is_narrow, result.irregular.is_none(), "{seed} {result:?}");
            }
        }
    }
}

#[test]
fn impossible_input_is_refused() {
    let good = Config::csit(1e3, 1e6);
    assert_eq!(next_step(&Config::csit(0.0, 1e6), &[]), Err(SearchError::Limits { min_pps: 0.0, max_pps: 1e6 }));
    let with_goals = |goals| Config { goals, ..Config::csit(1e3, 1e6) };
    assert_eq!(next_step(&with_goals(vec![]), &[]), Err(SearchError::NoGoals));
    let bad_goal = with_goals(vec![Goal { exceed_ratio: 1.0, ..Goal::csit_ndr() }]);
    assert!(matches!(next_step(&bad_goal, &[]), Err(SearchError::Goal { index: 0, .. })));
    let trial = Trial { load_pps: 1e6, duration_ns: 1, effective_duration_ns: 1, loss_ratio: 0.0 };
    let beyond = Trial { load_pps: 2e6, ..trial };
    assert_eq!(next_step(&good, &[trial, beyond]), Err(SearchError::Trial { index: 1 }));
    let no_number = Trial { loss_ratio: f64::NAN, ..trial };
    assert_eq!(next_step(&good, &[no_number]), Err(SearchError::Trial { index: 0 }));
}

struct Finished {
    trials: Vec<Trial>,
    results: Vec<GoalResult>,
}

fn unbounded(goals: &[Goal]) -> Config {
    Config { goals: goals.to_vec(), budget_ns: u64::MAX, ..Config::csit(MIN_PPS, MAX_PPS) }
}

/// Runs a search to its end; each trial counts `second_ns` nanoseconds per second.
fn search(config: &Config, system: &System, seed: u64, second_ns: u64) -> Finished {
    let mut random = SplitMix64::new(seed ^ 0xABCD_EF01);
    let mut trials = Vec::new();
    loop {
        match next_step(config, &trials).expect("a good configuration") {
            Step::Done(results) => return Finished { trials, results },
            Step::Trial { load_pps, duration_ns } => {
                assert!((config.min_pps..=config.max_pps).contains(&load_pps));
                let (sent, lost) = system.run(load_pps, duration_ns, &mut random);
                let effective_duration_ns = duration_ns / SECOND_NS * second_ns + duration_ns % SECOND_NS;
                let loss_ratio = trial_loss_ratio(sent, duration_ns, sent, lost);
                trials.push(Trial { load_pps, duration_ns, effective_duration_ns, loss_ratio });
            }
        }
        assert!(trials.len() < 1_000, "system {seed} never ends: {system:?}");
    }
}

/// What the searches over all systems of one kind came to.
#[derive(Default, Clone, Copy, Debug)]
struct Tally {
    systems: u32,
    seconds: f64,
    goals: u32,
    inside: u32,
    sane: u32,
}

impl Tally {
    fn mean_seconds(&self) -> f64 {
        self.seconds / f64::from(self.systems)
    }

    fn inside_share(&self) -> f64 {
        f64::from(self.inside) / f64::from(self.goals)
    }

    fn sane_share(&self) -> f64 {
        f64::from(self.sane) / f64::from(self.goals)
    }
}

fn tally(goals: &[Goal]) -> [Tally; 6] {
    let config = unbounded(goals);
    let mut tallies = [Tally::default(); 6];
    for seed in 0..SYSTEMS {
        let system = System::draw(seed);
        let finished = search(&config, &system, seed, SECOND_NS);
        let tally = &mut tallies[system.kind];
        tally.systems += 1;
        tally.seconds += finished.trials.iter().map(|trial| trial.duration_ns as f64 / 1e9).sum::<f64>();
        for (goal, result) in goals.iter().zip(&finished.results) {
            if let Some(truth_pps) = system.bound_pps(goal.final_trial_duration_ns, goal.loss_ratio, 0.5) {
                tally.goals += 1;
                judge(tally, &system, goal, result, truth_pps);
            }
        }
    }
    tallies
}

fn judge(tally: &mut Tally, system: &System, goal: &Goal, result: &GoalResult, truth_pps: f64) {
    let (Some(lower), Some(upper)) = (result.relevant_lower_pps, result.relevant_upper_pps) else {
        return;
    };
    assert_eq!(result.irregular, None);
    assert!((upper - lower) / upper <= goal.relative_width + 1e-9);
    assert!(result.conditional_throughput_pps >= Some(lower * (1.0 - goal.loss_ratio)));
    let exceed = |load| system.exceed_probability(load, goal.final_trial_duration_ns, goal.loss_ratio);
    // Frames are whole, so that the truth itself is no sharper than a frame or two.
    let slack = 2e9 / goal.final_trial_duration_ns as f64;
    tally.inside += u32::from(lower <= truth_pps + slack && truth_pps - slack <= upper);
    tally.sane += u32::from(exceed(lower) <= 0.7 && exceed(upper) >= 0.3);
}
