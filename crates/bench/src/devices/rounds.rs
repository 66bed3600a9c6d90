//! The course of a test: round by round, the devices in random order.

use natrig_lab::nft;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;

use super::Stop;
use crate::bed::{Bench, Subject};
use crate::carrier::Carrier;
use crate::engine::{EngineError, Engines};
use crate::result::Status;
use crate::scenario::{Design, Lineup, Scenario};
use crate::test::{Session, Test, TestError};
use crate::world::WorldError;

/// A device's turn in a round.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// What stands at the layers.
    pub lineup: Lineup,
    /// Where is translated.
    pub design: Design,
    /// The round, from 1.
    pub round: u32,
    /// For all that is drawn in this round.
    pub seed: u64,
}

/// Builds `world` with links for frames of up to `frame_len_max` bytes (without FCS), and has `measure` measure each device once in each
/// round. The session is saved after each.
///
/// # Errors
/// [`TestError`].
pub fn in_rounds<T: Test>(
    session: &mut Session<'_, T>,
    world: &Scenario,
    frame_len_max: usize,
    rounds: u32,
    mut measure: impl FnMut(&mut Bench<'_>, &mut Session<'_, T>, Subject, Turn) -> Result<(), Stop>,
) -> Result<Status, TestError> {
    in_rounds_beside(
        session,
        std::slice::from_ref(world),
        frame_len_max,
        rounds,
        |benches, session, mut subjects, turn| match (benches, subjects.pop()) {
            ([bench], Some(subject)) => measure(bench, session, subject, turn),
            (_, _) => Ok(()),
        },
    )
}

/// The same with several worlds at once, alike but for addresses and places: each turn has a subject in each of them.
///
/// # Errors
/// [`TestError`].
pub fn in_rounds_beside<T: Test>(
    session: &mut Session<'_, T>,
    worlds: &[Scenario],
    frame_len_max: usize,
    rounds: u32,
    mut measure: impl FnMut(&mut [Bench<'_>], &mut Session<'_, T>, Vec<Subject>, Turn) -> Result<(), Stop>,
) -> Result<Status, TestError> {
    let Some(world) = worlds.first() else { return Ok(Status::Complete) };
    if world.needs_nft() && nft::find().is_none() {
        return Err(TestError::Environment(format!("set up the kernel's NAT: {}", nft::NftError::Missing)));
    }
    let carrier =
        Carrier::choose(world, session.privilege).map_err(|refused| TestError::Environment(refused.to_string()))?;
    if carrier == Carrier::Memory {
        "memory".clone_into(&mut session.record.environment.mode);
    }
    let engines = worlds.iter().map(Engines::new).collect::<Result<Vec<Engines>, EngineError>>();
    let engines = engines.map_err(|error| TestError::Failed(format!("make the translators: {error}")))?;
    session.phase("building the world", 0.0);
    let cancel = session.cancel;
    let mut benches = Vec::new();
    for (world, engines) in worlds.iter().zip(&engines) {
        let (environment, warnings) = (&mut session.record.environment, &mut session.record.warnings);
        let placed = std::mem::take(&mut environment.placement);
        benches.push(Bench::open(world, engines, &carrier, frame_len_max, cancel, environment, warnings)?);
        environment.placement.splice(0..0, placed);
    }
    let outcome = all(&mut benches, session, world, rounds, &mut measure);
    for bench in benches {
        bench.close(&mut session.record.warnings);
    }
    outcome.map_or_else(Stop::outcome, |()| Ok(Status::Complete))
}

fn all<T: Test>(
    benches: &mut [Bench<'_>],
    session: &mut Session<'_, T>,
    world: &Scenario,
    rounds: u32,
    measure: &mut impl FnMut(&mut [Bench<'_>], &mut Session<'_, T>, Vec<Subject>, Turn) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let lineups: Vec<Lineup> = benches.first().map_or_else(Vec::new, |bench| bench.lineups().collect());
    let mut devices: Vec<(usize, Design)> =
        (0..lineups.len()).flat_map(|world_nr| world.designs.iter().map(move |design| (world_nr, *design))).collect();
    let mut rng = Pcg64Mcg::seed_from_u64(world.seed);
    for round in 1..=rounds {
        devices.shuffle(&mut rng);
        let seed = world.seed.wrapping_add(u64::from(round).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for (nth, &(world_nr, design)) in devices.iter().enumerate() {
            let lineup = lineups[world_nr];
            let done = (f64::from(round - 1) + nth as f64 / devices.len() as f64) / f64::from(rounds);
            session.phase(&format!("round {round}: design {design} of {lineup}"), done);
            let subject = |bench: &Bench<'_>| Subject::new(bench, world_nr, design, seed);
            let subjects = benches.iter().map(subject).collect::<Result<Vec<Subject>, EngineError>>()?;
            measure(benches, session, subjects, Turn { lineup, design, round, seed })?;
            if round == 1 && nth + 1 == devices.len() {
                // The others are alike.
                let noted = benches.first().map(|bench| bench.note_kernel_settings(&mut session.record.environment));
                noted.transpose().map_err(|error| Stop::failed("read the kernel's settings")(&error))?;
            }
            session.save();
        }
    }
    Ok(())
}

impl From<WorldError> for TestError {
    fn from(error: WorldError) -> Self {
        match &error {
            WorldError::Build(build) if build.reason.is_environment() => Self::Environment(error.to_string()),
            WorldError::Build(_)
            | WorldError::Plan(_)
            | WorldError::Links(_)
            | WorldError::Kernel(_)
            | WorldError::NoLink => Self::Failed(format!("build the world: {error}")),
        }
    }
}
