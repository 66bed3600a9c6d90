//! Scaling over processors (section 5.2): a chain on each, from the Initiator through the layers to the Responder, in a world of its own, and
//! the connections dealt out to them by a hash of their four tuples, as a network card with several queues does. The Tester takes its
//! share of each processor: what is found is the rate of the two together, and how that grows.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::net::Ipv4Addr;
use std::sync::{Arc, Barrier};
use std::thread;

use natrig_bench::devices::{Range, Stop, in_rounds_beside};
use natrig_bench::result::Status;
use natrig_bench::scenario::{self, Placement};
use natrig_bench::search::ndr::{Outcome, Step, Validity};
use natrig_bench::test::{Session, TestError};
use natrig_link::affinity;
use natrig_traffic::FlowSet;

use crate::Rfc9693;
use crate::phase2::MIN_PPS;
use crate::result::{Figure, Phase, Quantity, Trial};
use crate::scenario::{Kind, Scenario};
use crate::talk::Tester;
use crate::trial::{Chain, Offer};
use crate::tuples;

/// Runs the test, on as many of the processors that are asked for as there are.
pub(crate) fn run(
    session: &mut Session<'_, Rfc9693>,
    scenario: &Scenario,
    frame_len: usize,
) -> Result<Status, TestError> {
    let cores = affinity::allowed_cores().unwrap_or_default();
    let (counts, left_out): (Vec<u32>, Vec<u32>) =
        scenario.processors.counts.iter().copied().partition(|count| *count as usize <= cores.len());
    if !left_out.is_empty() {
        let there = cores.len();
        session.record.warnings.push(format!("scaling over processors: there are {there}, so not on {left_out:?}"));
    }
    let most = counts.iter().copied().max().unwrap_or(0) as usize;
    let chains: Vec<Scenario> = cores.iter().take(most).zip(0..).map(|(core, nth)| on(scenario, *core, nth)).collect();
    let worlds: Vec<scenario::Scenario> = chains.iter().map(Scenario::world).collect();
    in_rounds_beside(session, &worlds, frame_len, scenario.repetitions, |benches, session, subjects, turn| {
        let parts = benches.iter_mut().zip(subjects).zip(&chains);
        let chains = parts.map(|((bench, subject), scenario)| Chain { bench, scenario, subject, turn }).collect();
        let mut device = Device { chains, session };
        counts.iter().try_for_each(|count| device.measure(*count))
    })
}

/// What stands on the `nth` processor. Two that share a way out must not choose the same port of the same address.
fn on(scenario: &Scenario, core: usize, nth: u32) -> Scenario {
    let mut own = scenario.clone();
    let core = core as u16;
    own.devices.link.placement = Placement::Cpus { tester: core, dut: core };
    let (node, gateway) = (&mut own.devices.topology.node.addresses, &mut own.devices.topology.gateway.addresses);
    for addresses in [node, gateway] {
        let by = nth * addresses.len() as u32;
        addresses.iter_mut().for_each(|address| *address = Ipv4Addr::from_bits(address.to_bits() + by));
    }
    own
}

/// A Device Under Test on several processors, in one repetition.
struct Device<'r, 'b, 's> {
    chains: Vec<Chain<'r, 'b>>,
    session: &'r mut Session<'s, Rfc9693>,
}

impl Device<'_, '_, '_> {
    fn measure(&mut self, processors: u32) -> Result<(), Stop> {
        let Some(first) = self.chains.first() else { return Ok(()) };
        let scenario = first.scenario;
        let connections = scenario.tuples.connections;
        let mut testers = self.testers(connections, processors)?;
        let establishment = scenario.establishment;
        let times = f64::from(processors);
        let range = Range {
            min_per_s: f64::from(establishment.min_pps),
            max_per_s: f64::from(establishment.max_pps) * times,
            hint_per_s: self.found_before(Quantity::EstablishmentRate, connections, processors),
            error: establishment.error,
            confirm: scenario.confirm,
        };
        let established = self.search(range, |device, rate_pps| device.trials(&mut testers, rate_pps, None))?;
        self.add(Quantity::EstablishmentRate, connections, processors, established);
        let Some(load_pps) = established.map(|pps| pps * scenario.phase2.load_fraction) else { return Ok(()) };
        let range = Range {
            min_per_s: MIN_PPS * times,
            hint_per_s: self.found_before(Quantity::Throughput, connections, processors),
            error: scenario.phase2.error,
            ..range
        };
        let duration_ns = u64::from(scenario.phase2.trial_ms) * 1_000_000;
        let throughput = self.search(range, |device, rate_pps| {
            let offer = Offer::untimed(rate_pps / times, duration_ns);
            device.trials(&mut testers, load_pps, Some(offer))
        })?;
        self.add(Quantity::Throughput, connections, processors, throughput);
        Ok(())
    }

    /// A Tester for each chain, with the connections that fall to it.
    fn testers(&self, connections: u32, processors: u32) -> Result<Vec<Tester>, Stop> {
        let failed = Stop::failed("make connections");
        let Some(first) = self.chains.first() else { return Ok(Vec::new()) };
        let all = tuples::connections(first.scenario, connections).map_err(|e| failed(&e))?;
        let hash = BuildHasherDefault::<DefaultHasher>::default();
        let tester = |(chain, nth): (&Chain<'_, '_>, u64)| {
            let own = all.iter().filter(|tuple| hash.hash_one(tuple) % u64::from(processors) == nth).copied().collect();
            chain.tester(Arc::new(FlowSet::from_tuples(own).map_err(|e| failed(&e))?))
        };
        self.chains.iter().take(processors as usize).zip(0..).map(tester).collect()
    }

    /// The highest rate at which no chain loses anything or is late: where Tester and device share a processor, being late is how too
    /// high a rate shows.
    fn search(
        &mut self,
        range: Range,
        mut run: impl FnMut(&mut Self, f64) -> Result<Vec<Trial>, Stop>,
    ) -> Result<Option<f64>, Stop> {
        let mut search = range.search()?;
        loop {
            let rate_pps = match search.next() {
                Step::Trial { rate_pps, .. } => rate_pps,
                Step::Done(bounds) => return Ok(bounds.relevant_lower_pps),
            };
            let trials = run(self, rate_pps)?;
            if trials.iter().any(|trial| trial.wrong() > 0) {
                return Ok(None);
            }
            let phases = || trials.iter().flat_map(Trial::phases);
            let failed = phases().any(|phase| phase.generator_late) || !trials.iter().all(Trial::is_validated);
            let lost = phases().map(Phase::lost).sum::<u64>().max(u64::from(failed));
            let sent: u64 = phases().map(|phase| phase.out.sent + phase.back.sent).sum();
            // What a chain was too late for counts as lost: a rate far too high is told from a stall, and not tried again.
            let held = phases().map(|phase| phase.rate_pps_achieved / phase.rate_pps_offered).fold(1.0, f64::min);
            let not_held = if failed { (sent as f64 * (1.0 - held)) as u64 } else { 0 };
            let outcome = Outcome {
                offered_pps: rate_pps,
                achieved_pps: rate_pps,
                sent,
                lost: lost.max(not_held),
                validity: Validity::Valid,
            };
            search.report(&outcome).map_err(|e| Stop::failed("search")(&e))?;
        }
    }

    /// A trial on each chain at the same time, with `phase1_pps` over all of them; kept. Each part of it begins when all have ended the one
    /// before, test phase 2 only if nobody lost a frame so far.
    fn trials(&mut self, testers: &mut [Tester], phase1_pps: f64, phase2: Option<Offer>) -> Result<Vec<Trial>, Stop> {
        let all: u32 = testers.iter().map(Tester::connections).sum();
        let number = self.session.record.measured.trials.len() as u32 + 1;
        let mut trials = side_by_side(&mut self.chains, testers, |nth, chain, tester| {
            let share = f64::from(tester.connections()) / f64::from(all);
            chain.begin(tester, number + nth as u32, Kind::Processors, phase1_pps * share)
        })?;
        trials.iter_mut().for_each(|trial| trial.processors = testers.len() as u32);
        let begun = trials;
        let mut trials = side_by_side(&mut self.chains, testers, |nth, chain, tester| {
            let mut trial = begun[nth].clone();
            if trial.is_established() {
                chain.validate(tester, &mut trial)?;
            }
            Ok(trial)
        })?;
        if let Some(offer) = phase2.filter(|_| trials.iter().all(Trial::is_validated)) {
            let validated = trials;
            trials = side_by_side(&mut self.chains, testers, |nth, chain, tester| {
                let mut trial = validated[nth].clone();
                chain.forward(tester, &mut trial, offer).map(|()| trial)
            })?;
        }
        self.session.record.measured.trials.extend(trials.iter().cloned());
        Ok(trials)
    }

    fn found_before(&self, quantity: Quantity, connections: u32, processors: u32) -> Option<f64> {
        self.session.record.measured.found_before(&self.about(quantity, connections, processors)?)
    }

    fn add(&mut self, quantity: Quantity, connections: u32, processors: u32, value: Option<f64>) {
        if let Some(about) = self.about(quantity, connections, processors) {
            self.session.record.measured.add(about, value, false);
        }
    }

    fn about(&self, quantity: Quantity, connections: u32, processors: u32) -> Option<Figure> {
        let turn = &self.chains.first()?.turn;
        Some(Figure::about(turn, Kind::Processors, quantity, connections, processors))
    }
}

/// Has each chain do something with its Tester, all from the same moment on.
fn side_by_side<'b, T: Send>(
    chains: &mut [Chain<'_, 'b>],
    testers: &mut [Tester],
    what: impl Fn(usize, &mut Chain<'_, 'b>, &mut Tester) -> Result<T, Stop> + Sync,
) -> Result<Vec<T>, Stop> {
    let ready = Barrier::new(testers.len());
    thread::scope(|scope| {
        let begin = |(nth, (chain, tester))| {
            let (what, ready) = (&what, &ready);
            scope.spawn(move || {
                ready.wait();
                what(nth, chain, tester)
            })
        };
        let threads: Vec<_> = chains.iter_mut().zip(testers).enumerate().map(begin).collect();
        let ended = threads.into_iter().map(|thread| match thread.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        ended.collect()
    })
}
