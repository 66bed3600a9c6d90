//! The course of a test: repetition by repetition, the devices in random order, each with its tests in the order that they need.

use natrig_bench::devices::{Stop, in_rounds};
use natrig_bench::result::Status;
use natrig_bench::scenario::Design;
use natrig_bench::test::{Session, TestError};
use natrig_wire::ethernet::FCS_LEN;

use crate::Rfc9693;
use crate::connections::Found;
use crate::processors;
use crate::result::{Figure, Quantity};
use crate::scenario::Kind;
use crate::trial::{Chain, Dut};

/// Runs all tests of the session's scenario.
pub(crate) fn run(session: &mut Session<'_, Rfc9693>) -> Result<Status, TestError> {
    let scenario = session.record.scenario.clone();
    let frame_len = usize::from(scenario.tuples.frame_size) - FCS_LEN;
    let mut status = Status::Complete;
    if scenario.does(Kind::Processors) {
        status = processors::run(session, &scenario, frame_len)?;
    }
    if status != Status::Complete || scenario.tests == [Kind::Processors] {
        return Ok(status);
    }
    in_rounds(session, &scenario.world(), frame_len, scenario.repetitions, |bench, session, subject, turn| {
        Dut { chain: Chain { bench, scenario: &scenario, subject, turn }, session }.tests()
    })
}

impl Dut<'_, '_, '_> {
    /// All tests of the scenario, once. The establishment rate comes first whatever is asked for: test phase 1 of the others goes by it.
    fn tests(&mut self) -> Result<(), Stop> {
        let scenario = self.chain.scenario;
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
        let has_table = self.chain.turn.design != Design::None;
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

    fn found_before(&self, test: Kind, quantity: Quantity, connections: u32) -> Option<f64> {
        self.session.record.measured.found_before(&Figure::about(&self.chain.turn, test, quantity, connections, 0))
    }
}
