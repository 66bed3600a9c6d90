//! One trial: an empty table, test phase 1, validation, and perhaps test phase 2.

use std::sync::Arc;

use natrig_bench::devices::{Stop, Table, Turn};
use natrig_bench::result::Quantiles;
use natrig_bench::test::Session;
use natrig_bench::{Account, Bench, Subject, sources_expected};
use natrig_traffic::{Arrivals, FlowSet, FrameSizes, Generator, Receiver, Schedule};

use crate::Rfc9693;
use crate::result::{Diagnosis, Figure, Phase, Quantity, Trial, Way};
use crate::scenario::{Kind, Scenario, Ways};
use crate::talk::{Sending, Tester};
use crate::tuples;

/// A Device Under Test in one repetition.
pub(crate) struct Dut<'r, 'b, 's> {
    pub(crate) chain: Chain<'r, 'b>,
    pub(crate) session: &'r mut Session<'s, Rfc9693>,
}

/// A Device Under Test between the ends of its Tester: all of what is measured, or one processor's part of it.
pub(crate) struct Chain<'r, 'b> {
    pub(crate) bench: &'r mut Bench<'b>,
    pub(crate) scenario: &'r Scenario,
    pub(crate) subject: Subject,
    /// Which it is, and in which repetition.
    pub(crate) turn: Turn,
}

/// What a phase offers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offer {
    /// Frames per second in each active direction.
    pub(crate) rate_pps: f64,
    /// For how long.
    pub(crate) duration_ns: u64,
    /// What counts is when frames come and go.
    pub(crate) timed: bool,
}

impl Offer {
    /// What counts is what arrives.
    pub(crate) const fn untimed(rate_pps: f64, duration_ns: u64) -> Self {
        Self { rate_pps, duration_ns, timed: false }
    }
}

impl Dut<'_, '_, '_> {
    /// A Tester for so many connections through this device.
    pub(crate) fn tester(&self, connections: u32) -> Result<Tester, Stop> {
        let flows = tuples::connections(self.chain.scenario, connections);
        self.chain.tester(flows.map_err(|e| Stop::failed("make connections")(&e))?)
    }

    /// Runs a trial with test phase 1 at `phase1_pps`, and keeps it. Test phase 2 only comes after a validation that found every
    /// connection.
    pub(crate) fn trial(
        &mut self,
        tester: &mut Tester,
        test: Kind,
        phase1_pps: f64,
        phase2: Option<Offer>,
    ) -> Result<Trial, Stop> {
        let number = self.session.record.measured.trials.len() as u32 + 1;
        let mut trial = self.chain.begin(tester, number, test, phase1_pps)?;
        if trial.is_established() {
            self.chain.validate(tester, &mut trial)?;
        }
        if let Some(offer) = phase2.filter(|_| trial.is_validated()) {
            self.chain.forward(tester, &mut trial, offer)?;
        }
        self.session.record.measured.trials.push(trial.clone());
        Ok(trial)
    }

    /// Adds a value of this repetition to a figure.
    pub(crate) fn add(
        &mut self,
        test: Kind,
        quantity: Quantity,
        connections: u32,
        value: Option<f64>,
        generator_bound: bool,
    ) {
        let about = Figure::about(&self.chain.turn, test, quantity, connections, 0);
        self.session.record.measured.add(about, value, generator_bound);
    }
}

impl Chain<'_, '_> {
    /// A Tester for these connections.
    pub(crate) fn tester(&self, flows: Arc<FlowSet>) -> Result<Tester, Stop> {
        let sizes =
            FrameSizes::cycle(&[self.scenario.tuples.frame_size]).map_err(|e| Stop::failed("make frames")(&e))?;
        let (initiator, responder) = (self.subject.initiator(self.bench), self.subject.responder(self.bench));
        let sending = Sending { initiator, responder, sizes };
        let sources = sources_expected(self.turn.design, &self.scenario.devices.topology);
        Tester::new(flows, sending, sources).map_err(|e| Stop::failed("make frames")(&e))
    }

    /// Empty tables, and test phase 1.
    pub(crate) fn begin(
        &mut self,
        tester: &mut Tester,
        number: u32,
        test: Kind,
        phase1_pps: f64,
    ) -> Result<Trial, Stop> {
        self.subject.empty_tables(self.bench)?;
        tester.forget();
        let connections = tester.connections();
        let (schedule, takes_ns) = counted(u64::from(connections), phase1_pps);
        let phase1 = self.phase(tester, Offer::untimed(phase1_pps, takes_ns), Some(schedule), None)?;
        let tables = self.subject.entries(self.bench)?;
        Ok(Trial {
            number,
            repetition: self.turn.round,
            test,
            engines: self.turn.lineup,
            design: self.turn.design,
            connections,
            processors: 0,
            state_table: tester.state_table_entries(),
            tables: tables.into_iter().map(Table::from).collect(),
            validation: None,
            phase2: None,
            diagnosis: Diagnosis::PhaseOneLoss,
            phase1,
        })
    }

    /// Every entry of the state table once, in reverse.
    pub(crate) fn validate(&mut self, tester: &mut Tester, trial: &mut Trial) -> Result<(), Stop> {
        let validation_pps = trial.phase1.rate_pps_offered * self.scenario.establishment.alpha;
        let (schedule, takes_ns) = counted(trial.state_table, validation_pps);
        let validation = self.phase(tester, Offer::untimed(validation_pps, takes_ns), None, Some(schedule))?;
        let all = validation.back.received == u64::from(trial.connections);
        trial.diagnosis = if all { Diagnosis::AllValidated } else { Diagnosis::ValidationLoss };
        trial.validation = Some(validation);
        Ok(())
    }

    /// Test phase 2.
    pub(crate) fn forward(&mut self, tester: &mut Tester, trial: &mut Trial, offer: Offer) -> Result<(), Stop> {
        let Offer { rate_pps, duration_ns, .. } = offer;
        let seed = self.turn.seed;
        tester.shuffle_initiator(|order| tuples::shuffle(order, seed ^ INITIATOR));
        let stream = || Some(Schedule::new(Arrivals::Constant, rate_pps, duration_ns, seed));
        let ways = self.scenario.phase2.ways;
        let (out, back) = (stream().filter(|_| ways != Ways::In), stream().filter(|_| ways != Ways::Out));
        trial.phase2 = Some(self.phase(tester, offer, out, back)?);
        Ok(())
    }

    fn phase(
        &mut self,
        tester: &mut Tester,
        offer: Offer,
        out: Option<Schedule>,
        back: Option<Schedule>,
    ) -> Result<Phase, Stop> {
        let Offer { rate_pps, duration_ns: takes_ns, timed } = offer;
        let seed = self.turn.seed;
        let responder_order = |order: &mut [u32]| tuples::shuffle(order, seed ^ RESPONDER);
        tester.prepare(out, back, responder_order).map_err(|e| Stop::failed("prepare a phase")(&e))?;
        let give_up_after_ns = self.scenario.devices.limits.give_up_after_ns(takes_ns);
        let account = self.subject.session(self.bench, tester, give_up_after_ns, timed.then_some(takes_ns))?;
        if account.end.cancelled {
            return Err(Stop::Cancelled);
        }
        Ok(self.described(tester, rate_pps, takes_ns, account))
    }

    fn described(&self, tester: &Tester, rate_pps: f64, takes_ns: u64, account: Account) -> Phase {
        let sent_after_ns = account.end.sent_after_ns;
        let senders: Vec<&Generator> = [tester.outwards().0, tester.in_reverse().0].into_iter().flatten().collect();
        let lags = senders.iter().map(|sender| Quantiles::of(&sender.lag_ns()));
        let send_lag_ns = lags.filter_map(|lag| lag.ns_p99.or(lag.ns_max)).max();
        let late = self.scenario.devices.limits.is_late(takes_ns, sent_after_ns, send_lag_ns);
        let over_s = sent_after_ns.max(takes_ns) as f64 / 1e9;
        let slowest = senders.iter().map(|sender| sender.counts().sent as f64 / over_s).fold(f64::INFINITY, f64::min);
        let mut drops = account.drops;
        tester.add_refused(&mut drops);
        Phase {
            rate_pps_offered: rate_pps,
            rate_pps_achieved: if slowest.is_finite() { slowest } else { 0.0 },
            out: way(tester.outwards()),
            back: way(tester.in_reverse()),
            drops,
            send_lag_ns,
            generator_late: late,
        }
    }
}

/// So many frames at a rate, and how long that takes.
fn counted(frames: u64, rate_pps: f64) -> (Schedule, u64) {
    (Schedule::count(frames, rate_pps), (frames as f64 / rate_pps * 1e9) as u64)
}

/// The Initiator's order in test phase 2 must not be the Responder's: neighbours in both would be neighbours in the table.
const INITIATOR: u64 = 0x696e_6974;
const RESPONDER: u64 = 0x7265_7370;

fn way((from, to): (Option<&Generator>, &Receiver)) -> Way {
    let Some(from) = from else { return Way::default() };
    let counts = to.counts();
    Way {
        sent: from.counts().sent,
        received: counts.received,
        wrong: counts.corrupted + counts.mistranslated,
        shared: counts.shared,
        delay: Quantiles::of(&to.latency().intended_ns),
    }
}
