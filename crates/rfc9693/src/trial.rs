//! One trial: an empty table, test phase 1, validation, and perhaps test phase 2.

use natrig_bench::result::{Dropped, Place, Quantiles, Status};
use natrig_bench::scenario::{Design, Lineup};
use natrig_bench::test::{Session, TestError};
use natrig_bench::{Account, Bench, EngineError, Subject, TrialError, sources_expected};
use natrig_traffic::{Arrivals, FrameSizes, Generator, Receiver, Schedule};

use crate::Rfc9693;
use crate::result::{Diagnosis, Figure, Phase, Quantity, Table, Trial, Way};
use crate::scenario::{Kind, Scenario, Ways};
use crate::talk::{Sending, Tester};
use crate::tuples;

/// On top of the share that a scenario allows: what a short phase may be late by, in nanoseconds. A processor that this machine shares takes
/// as much away in one go.
const LATE_SLACK_NS: u64 = 100_000;

/// After a tenth more time than it should take, and this, a phase sends no more, in nanoseconds.
const GIVE_UP_SLACK_NS: u64 = 5_000_000;

/// Why a test does not go on.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Somebody wanted that.
    Cancelled,
    /// It cannot.
    Failed(TestError),
}

impl From<TrialError> for Stop {
    fn from(error: TrialError) -> Self {
        Self::Failed(TestError::Failed(format!("run a trial: {error}")))
    }
}

impl From<EngineError> for Stop {
    fn from(error: EngineError) -> Self {
        Self::Failed(TestError::Failed(format!("set up a design: {error}")))
    }
}

/// Anything else that ends a test.
pub(crate) fn failed(doing: &str) -> impl Fn(&dyn std::fmt::Display) -> Stop {
    move |error| Stop::Failed(TestError::Failed(format!("{doing}: {error}")))
}

impl Stop {
    /// How the test ended.
    pub(crate) fn outcome(self) -> Result<Status, TestError> {
        match self {
            Self::Cancelled => Ok(Status::Interrupted),
            Self::Failed(error) => Err(error),
        }
    }
}

/// A Device Under Test in one repetition.
pub(crate) struct Dut<'r, 'b, 's> {
    pub(crate) bench: &'r mut Bench<'b>,
    pub(crate) session: &'r mut Session<'s, Rfc9693>,
    pub(crate) scenario: &'r Scenario,
    pub(crate) subject: Subject,
    pub(crate) lineup: Lineup,
    pub(crate) design: Design,
    pub(crate) repetition: u32,
    /// For the orders of this repetition.
    pub(crate) seed: u64,
}

/// What test phase 2 offers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offer {
    /// Frames per second in each active direction.
    pub(crate) rate_pps: f64,
    /// For how long.
    pub(crate) duration_ns: u64,
}

impl Dut<'_, '_, '_> {
    /// A Tester for so many connections through this device.
    pub(crate) fn tester(&self, connections: u32) -> Result<Tester, Stop> {
        let flows = tuples::connections(self.scenario, connections).map_err(|e| failed("make connections")(&e))?;
        let sizes = FrameSizes::cycle(&[self.scenario.tuples.frame_size]).map_err(|e| failed("make frames")(&e))?;
        let sending = Sending {
            initiator: self.subject.initiator(self.bench),
            responder: self.subject.responder(self.bench),
            burst: self.subject.burst(self.bench),
            refused: self.subject.refused(self.bench),
            sizes,
        };
        let sources = sources_expected(self.design, &self.scenario.topology);
        Tester::new(flows, sending, sources).map_err(|e| failed("make frames")(&e))
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
        self.subject.empty_tables(self.bench)?;
        tester.forget();
        let connections = tester.connections();
        let count = |entries: u64, pps| (Schedule::count(entries, pps), (entries as f64 / pps * 1e9) as u64);
        let (schedule, takes_ns) = count(u64::from(connections), phase1_pps);
        let phase1 = self.phase(tester, phase1_pps, Some(schedule), None, takes_ns)?;
        let tables = self.subject.entries(self.bench)?;
        let state_table = tester.state_table_entries();
        let mut trial = Trial {
            number: self.session.record.measured.trials.len() as u32 + 1,
            repetition: self.repetition,
            test,
            engines: self.lineup,
            design: self.design,
            connections,
            state_table,
            tables: tables.into_iter().map(|(place, entries)| Table { place, entries }).collect(),
            validation: None,
            phase2: None,
            diagnosis: Diagnosis::PhaseOneLoss,
            phase1,
        };
        if trial.phase1.out.received == u64::from(connections) {
            let validation_pps = phase1_pps * self.scenario.establishment.alpha;
            let (schedule, takes_ns) = count(state_table, validation_pps);
            let validation = self.phase(tester, validation_pps, None, Some(schedule), takes_ns)?;
            let all = validation.back.received == u64::from(connections);
            trial.diagnosis = if all { Diagnosis::AllValidated } else { Diagnosis::ValidationLoss };
            trial.validation = Some(validation);
        }
        if let Some(Offer { rate_pps, duration_ns }) = phase2.filter(|_| trial.is_validated()) {
            let seed = self.seed;
            tester.shuffle_initiator(|order| tuples::shuffle(order, seed ^ INITIATOR));
            let stream = || Some(Schedule::new(Arrivals::Constant, rate_pps, duration_ns, seed));
            let ways = self.scenario.phase2.ways;
            let (out, back) = (stream().filter(|_| ways != Ways::In), stream().filter(|_| ways != Ways::Out));
            trial.phase2 = Some(self.phase(tester, rate_pps, out, back, duration_ns)?);
        }
        self.session.record.measured.trials.push(trial.clone());
        Ok(trial)
    }

    fn phase(
        &mut self,
        tester: &mut Tester,
        rate_pps: f64,
        out: Option<Schedule>,
        back: Option<Schedule>,
        takes_ns: u64,
    ) -> Result<Phase, Stop> {
        let seed = self.seed;
        let responder_order = |order: &mut [u32]| tuples::shuffle(order, seed ^ RESPONDER);
        tester.prepare(out, back, responder_order).map_err(|e| failed("prepare a phase")(&e))?;
        let account = self.subject.session(self.bench, tester, give_up_after_ns(takes_ns))?;
        if account.end.cancelled {
            return Err(Stop::Cancelled);
        }
        Ok(self.described(tester, rate_pps, takes_ns, account))
    }

    fn described(&self, tester: &Tester, rate_pps: f64, takes_ns: u64, account: Account) -> Phase {
        let sent_after_ns = account.end.sent_after_ns;
        let senders: Vec<&Generator> = [tester.outwards().0, tester.in_reverse().0].into_iter().flatten().collect();
        let lags = senders.iter().map(|sender| Quantiles::of(&sender.counts().lag_ns));
        let send_lag_ns = lags.filter_map(|lag| lag.ns_p99.or(lag.ns_max)).max();
        let limits = &self.scenario.limits;
        let overrun_ns = (takes_ns as f64 * limits.overrun) as u64 + LATE_SLACK_NS;
        // What was given up was not sent at all: late, whatever the scenario tolerates.
        let late = sent_after_ns > (takes_ns + overrun_ns).min(give_up_after_ns(takes_ns))
            || send_lag_ns.is_some_and(|lag| lag > u64::from(limits.send_lag_p99_us) * 1000);
        let over_s = sent_after_ns.max(takes_ns) as f64 / 1e9;
        let slowest = senders.iter().map(|sender| sender.counts().sent as f64 / over_s).fold(f64::INFINITY, f64::min);
        let mut drops = account.drops;
        for (sender, place) in [(tester.outwards().0, Place::Node), (tester.in_reverse().0, Place::Gateway)] {
            // In memory the link of a sender is the receive ring of the box next to it.
            let frames = sender.map_or(0, |sender| sender.counts().refused);
            if frames > 0 {
                drops.push(Dropped { place, reason: "receive_ring_full".to_owned(), frames });
            }
        }
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

    /// Adds a value of this repetition to a figure.
    pub(crate) fn add(
        &mut self,
        test: Kind,
        quantity: Quantity,
        connections: u32,
        value: Option<f64>,
        generator_bound: bool,
    ) {
        let about = Figure {
            engines: self.lineup,
            design: self.design,
            test,
            quantity,
            connections,
            values: Vec::new(),
            median: 0.0,
            percentile_1: 0.0,
            percentile_99: 0.0,
            generator_bound: 0,
            without: 0,
        };
        self.session.record.measured.add(about, value, generator_bound);
    }
}

/// When a phase sends no more.
fn give_up_after_ns(takes_ns: u64) -> u64 {
    takes_ns + takes_ns / 10 + GIVE_UP_SLACK_NS
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
        delay: Quantiles::of(&to.latency().intended_ns),
    }
}
