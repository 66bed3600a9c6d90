//! Setups filled by the same connections, their curves, and the kernel's beside those of the profiles that describe it.

use natrig_bench::test::{Session, TestError};
use natrig_lab::plan::PortChoice;

use super::Exhaustion;
use super::steps::{Ended, STOPPED, failed, finished, next, open, take_faults};
use crate::experiment::fill::{self, Filled, Until};
use crate::observe::{Curve, LevelReached, refusal, uncertainty};
use crate::result::{Agreement, FillResult, LevelDifference, Spread};
use crate::rig::Bed;
use crate::scenario::{Fill, Setup, Standing};
use crate::talk::Talker;

/// A setup that is being filled.
struct Filling {
    talker: Talker,
    nominal: u64,
    until: Until,
    rounds: Vec<Filled>,
    /// All of them together.
    pooled: Option<Pooled>,
}

/// All setups by turns, round after round.
pub(super) fn fills(session: &mut Session<'_, Exhaustion>, settings: &Fill) -> Result<Ended, TestError> {
    let scenario = session.record.scenario.clone();
    let mut fillings = Vec::new();
    for setup in &scenario.nats {
        let nominal = Bed::new(&scenario, setup, 1).nominal().map_err(|error| failed(&error))?;
        let attempts = (nominal as f64 * settings.attempts_per_port) as u64;
        let until = Until { refused: settings.until_refused, attempts };
        let attempts_max = u32::try_from(attempts).unwrap_or(u32::MAX).saturating_add(1000);
        let bed = Bed::new(&scenario, setup, attempts_max);
        if let Some(talker) = open(session, bed)? {
            fillings.push(Filling { talker, nominal, until, rounds: Vec::new(), pooled: None });
        }
    }
    let steps = scenario.rounds as usize * fillings.len();
    for round in 0..scenario.rounds {
        for nth in 0..fillings.len() {
            if let Some(ended) = next(session) {
                return Ok(ended);
            }
            let filling = &mut fillings[nth];
            let setup = filling.talker.rig.bed().setup.clone();
            let done = (round as usize * (steps / scenario.rounds as usize) + nth) as f64 / steps as f64;
            session.phase(&format!("filling, round {}: {setup}", round + 1), done);
            let seed = scenario.seed + u64::from(round);
            let step = fill::round(&mut filling.talker, filling.nominal, filling.until, seed, session.cancel);
            let Some(filled) = finished(step)? else { return Ok(STOPPED) };
            filling.rounds.push(filled);
            filling.pooled = filling.pool();
            take_faults(session, &mut filling.talker.faults);
            let pooled: Vec<&Pooled> = fillings.iter().filter_map(|filling| filling.pooled.as_ref()).collect();
            session.record.measured.agreements = agreements(&pooled);
            session.record.measured.fills = pooled.into_iter().map(|pooled| pooled.result.clone()).collect();
            session.save();
        }
    }
    Ok(Ended::Done)
}

/// All rounds of a setup together.
struct Pooled {
    result: FillResult,
    /// The levels without each of the rounds in turn.
    without_each: Vec<Vec<LevelReached>>,
}

impl Filling {
    fn pool(&self) -> Option<Pooled> {
        let (first, others) = self.rounds.split_first()?;
        let mut curve = first.curve.clone();
        let mut refused = first.refused.clone();
        for round in others {
            curve.add(&round.curve);
            round.refused.iter().for_each(|one| refusal::add(&mut refused, one));
        }
        let without_each: Vec<Vec<LevelReached>> = self.without_each().iter().map(Curve::levels).collect();
        let mut levels = curve.levels();
        for (nth, level) in levels.iter_mut().enumerate() {
            let others: Option<Vec<f64>> = without_each.iter().map(|levels| levels[nth].occupancy).collect();
            level.occupancy_error = others.and_then(|others| uncertainty(&others));
        }
        let sum = |of: fn(&Filled) -> u64| self.rounds.iter().map(of).sum::<u64>();
        let (tries, allocations) = (sum(|round| round.tries.0), sum(|round| round.tries.1));
        let firsts = self.rounds.iter().filter_map(|round| round.first_refusal).map(|flows| flows as f64);
        let result = FillResult {
            setup: self.talker.rig.bed().setup.clone(),
            rounds: self.rounds.len() as u32,
            nominal_ports: self.nominal,
            attempts: sum(|round| round.attempts),
            opened: sum(|round| round.opened),
            first_refusal_flows: Spread::of(firsts.collect()),
            levels,
            tries_mean: (allocations > 0).then(|| tries as f64 / allocations as f64),
            refused,
            points: curve.points(),
        };
        Some(Pooled { result, without_each })
    }

    /// The curve of all rounds but one, for each.
    fn without_each(&self) -> Vec<Curve> {
        let mut before = Curve::new(self.nominal);
        let mut without: Vec<Curve> = Vec::with_capacity(self.rounds.len());
        for round in &self.rounds {
            without.push(before.clone());
            before.add(&round.curve);
        }
        let mut after = Curve::new(self.nominal);
        for (curve, round) in without.iter_mut().zip(&self.rounds).rev() {
            curve.add(&after);
            after.add(&round.curve);
        }
        without
    }
}

/// Two curves are alike if they are no further apart at any level, in percentage points.
const AGREEMENT_PP: f64 = 2.0;

/// Each of the kernel's curves against that of the profile that describes it, whatever carried frames there.
fn agreements(fills: &[&Pooled]) -> Vec<Agreement> {
    let mut agreements = Vec::new();
    let has_kernel = |fill: &&&Pooled| fill.result.setup.has_kernel();
    for kernel in fills.iter().filter(has_kernel) {
        let profiles = fills.iter().filter(|fill| !has_kernel(fill));
        let same = profiles.filter(|fill| describes(&fill.result.setup, &kernel.result.setup));
        agreements.extend(same.map(|profile| agreement(profile, kernel)));
    }
    agreements
}

fn describes(profile: &Setup, kernel: &Setup) -> bool {
    let is = |standing: &Standing, described_by: &Standing| described(standing) == Some(described_by.name());
    is(&kernel.node, &profile.node) && is(&kernel.gateway, &profile.gateway)
}

/// The profile that describes what stands at a layer, by its name.
fn described(standing: &Standing) -> Option<&str> {
    match standing {
        Standing::Kernel(PortChoice::Default) => Some("netfilter"),
        Standing::Kernel(PortChoice::FullyRandom) => Some("netfilter-fully-random"),
        // The kernel's half-random search starts at a hash; no profile describes it.
        Standing::Kernel(PortChoice::Random) => None,
        Standing::Profile(_) | Standing::Forward => Some(standing.name()),
    }
}

fn agreement(profile: &Pooled, kernel: &Pooled) -> Agreement {
    let pp = |ours: &LevelReached, theirs: &LevelReached| {
        ours.occupancy.zip(theirs.occupancy).map(|(ours, theirs)| (theirs - ours) * 100.0)
    };
    let pairs = profile.result.levels.iter().zip(&kernel.result.levels);
    let levels: Vec<LevelDifference> = pairs
        .enumerate()
        .map(|(nth, (ours, theirs))| {
            // The same traffic went through both in each round, so a round is left out of both.
            let without_each: Option<Vec<f64>> = (profile.without_each.len() == kernel.without_each.len())
                .then(|| profile.without_each.iter().zip(&kernel.without_each))
                .and_then(|rounds| rounds.map(|(ours, theirs)| pp(&ours[nth], &theirs[nth])).collect());
            LevelDifference {
                refused: ours.refused,
                profile: ours.occupancy,
                kernel: theirs.occupancy,
                difference_pp: pp(ours, theirs),
                difference_error_pp: without_each.and_then(|others| uncertainty(&others)),
            }
        })
        .collect();
    let near = |level: &LevelDifference, error_pp: f64| match level.difference_pp {
        Some(difference_pp) => difference_pp.abs() + error_pp <= AGREEMENT_PP,
        None => level.profile.is_none() && level.kernel.is_none(),
    };
    let surely = |level: &LevelDifference| match level.difference_pp {
        Some(_) => Some(near(level, level.difference_error_pp?)),
        None => Some(near(level, 0.0)),
    };
    Agreement {
        profile: profile.result.setup.clone(),
        kernel: kernel.result.setup.clone(),
        within_two_points: levels.iter().all(|level| near(level, 0.0)),
        surely_within: levels
            .iter()
            .map(surely)
            .collect::<Option<Vec<bool>>>()
            .map(|all| all.into_iter().all(|one| one)),
        levels,
    }
}
