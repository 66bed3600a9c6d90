//! The course of a test: repetition by repetition, the devices in random order, each with its tests in the order that they need.

use natrig_bench::result::Status;
use natrig_bench::scenario::{Design, Lineup};
use natrig_bench::test::{Session, TestError};
use natrig_bench::{Bench, Carrier, Engines, Subject, WorldError};
use natrig_lab::nft;
use natrig_wire::ethernet::FCS_LEN;

use crate::Rfc9693;
use crate::connections::Found;
use crate::result::{Figure, Quantity};
use crate::scenario::{Kind, Scenario};
use crate::trial::{Dut, Stop};
use crate::tuples::shuffle;

/// Runs all tests of the session's scenario.
pub(crate) fn run(session: &mut Session<'_, Rfc9693>) -> Result<Status, TestError> {
    let scenario = session.record.scenario.clone();
    let world = scenario.world();
    if world.needs_nft() && nft::find().is_none() {
        return Err(TestError::Environment(format!("set up the kernel's NAT: {}", nft::NftError::Missing)));
    }
    let carrier =
        Carrier::choose(&world, session.privilege).map_err(|refused| TestError::Environment(refused.to_string()))?;
    if carrier == Carrier::Memory {
        "memory".clone_into(&mut session.record.environment.mode);
    }
    let engines = Engines::new(&world).map_err(|error| TestError::Failed(format!("make the translators: {error}")))?;
    session.phase("building the world", 0.0);
    let frame_len = usize::from(scenario.tuples.frame_size) - FCS_LEN;
    let (environment, warnings) = (&mut session.record.environment, &mut session.record.warnings);
    let cancel = session.cancel;
    let mut bench =
        Bench::open(&world, &engines, &carrier, frame_len, cancel, environment, warnings).map_err(unbuilt)?;
    let outcome = repetitions(&mut bench, session, &scenario);
    bench.close(&mut session.record.warnings);
    outcome.map_or_else(Stop::outcome, |()| Ok(Status::Complete))
}

fn unbuilt(error: WorldError) -> TestError {
    match &error {
        WorldError::Build(build) if build.reason.is_environment() => TestError::Environment(error.to_string()),
        WorldError::Build(_)
        | WorldError::Plan(_)
        | WorldError::Links(_)
        | WorldError::Kernel(_)
        | WorldError::NoLink => TestError::Failed(format!("build the world: {error}")),
    }
}

fn repetitions(bench: &mut Bench<'_>, session: &mut Session<'_, Rfc9693>, scenario: &Scenario) -> Result<(), Stop> {
    let lineups: Vec<Lineup> = bench.lineups().collect();
    let mut devices: Vec<(usize, Design)> =
        (0..lineups.len()).flat_map(|world| scenario.designs.iter().map(move |design| (world, *design))).collect();
    for repetition in 1..=scenario.repetitions {
        let seed = scenario.seed.wrapping_add(u64::from(repetition).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        shuffle(&mut devices, seed);
        for (nth, (world, design)) in devices.iter().enumerate() {
            let part = nth as f64 / devices.len() as f64;
            let done = (f64::from(repetition - 1) + part) / f64::from(scenario.repetitions);
            let lineup = lineups[*world];
            session.phase(&format!("repetition {repetition}: design {design} of {lineup}"), done);
            let subject = Subject::new(bench, *world, *design, seed)?;
            let mut dut = Dut { bench, session, scenario, subject, lineup, design: *design, repetition, seed };
            dut.tests()?;
            if repetition == 1 && nth + 1 == devices.len() {
                let settings = bench.note_kernel_settings(&mut session.record.environment);
                settings.map_err(|e| crate::trial::failed("read the kernel's settings")(&e))?;
            }
            session.save();
        }
    }
    Ok(())
}

impl Dut<'_, '_, '_> {
    /// All tests of the scenario, once. The establishment rate comes first whatever is asked for: test phase 1 of the others goes by it.
    fn tests(&mut self) -> Result<(), Stop> {
        let scenario = self.scenario;
        let connections = scenario.tuples.connections;
        let established = self.establishment_figure(Kind::Establishment, connections)?;
        let Some(load_pps) = established.rate_pps.map(|pps| pps * scenario.phase2.load_fraction) else { return Ok(()) };
        let needs_throughput = [Kind::Throughput, Kind::FrameLoss, Kind::Latency];
        if needs_throughput.into_iter().any(|kind| scenario.does(kind)) {
            let found = self.throughput_figure(Kind::Throughput, connections, load_pps)?;
            if let Some(throughput_pps) = found.rate_pps {
                if scenario.does(Kind::FrameLoss) {
                    self.frame_loss(connections, load_pps, throughput_pps)?;
                }
                if scenario.does(Kind::Latency) {
                    self.latency(connections, load_pps, throughput_pps)?;
                }
            }
        }
        // Without a NAT there is no table.
        let has_table = self.design != Design::None;
        if scenario.does(Kind::TearDown) && has_table {
            self.tear_down(load_pps)?;
        }
        if scenario.does(Kind::Capacity) && has_table {
            self.capacity()?;
        }
        if scenario.does(Kind::Scaling) {
            for &connections in &scenario.scaling.connections {
                let established = self.establishment_figure(Kind::Scaling, connections)?;
                if let Some(pps) = established.rate_pps {
                    self.throughput_figure(Kind::Scaling, connections, pps * scenario.phase2.load_fraction)?;
                }
            }
        }
        Ok(())
    }

    fn establishment_figure(&mut self, test: Kind, connections: u32) -> Result<Found, Stop> {
        let hint_pps = self.found_before(test, Quantity::EstablishmentRate, connections);
        let found = self.establishment(test, connections, self.range(hint_pps))?;
        self.add(test, Quantity::EstablishmentRate, connections, found.rate_pps, found.generator_bound);
        Ok(found)
    }

    fn throughput_figure(&mut self, test: Kind, connections: u32, load_pps: f64) -> Result<Found, Stop> {
        let hint_pps = self.found_before(test, Quantity::Throughput, connections);
        let found = self.throughput(test, connections, load_pps, hint_pps)?;
        self.add(test, Quantity::Throughput, connections, found.rate_pps, found.generator_bound);
        Ok(found)
    }

    /// The median of earlier repetitions: only where a search begins, never where it ends.
    fn found_before(&self, test: Kind, quantity: Quantity, connections: u32) -> Option<f64> {
        let same = |figure: &&Figure| {
            (figure.engines, figure.design, figure.test) == (self.lineup, self.design, test)
                && (figure.quantity, figure.connections) == (quantity, connections)
        };
        self.session.record.measured.figures.iter().find(same).map(|figure| figure.median).filter(|pps| *pps > 0.0)
    }
}
