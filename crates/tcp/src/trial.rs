//! One session through one device, and what is kept of it.

use natrig_bench::result::{Place, Quantiles, Status};
use natrig_bench::scenario::{Design, Lineup, Word as _};
use natrig_bench::test::{Session, TestError};
use natrig_bench::{Bench, EngineError, Subject, TrialError, sources_expected};
use natrig_traffic::{FlowSet, FlowSpec};

use crate::Tcp;
use crate::connections::{Connections, Setting, Work};
use crate::result::{LostSegments, Purpose, Table, Trial};
use crate::scenario::Scenario;
use crate::segment::Kind;

/// On top of the share that a scenario allows: what a short session may be late by, in nanoseconds.
const LATE_SLACK_NS: u64 = 100_000;

/// By which share a session may be late before it begins nothing more, unless the scenario lets it be later and still count.
const GIVE_UP_SHARE: f64 = 0.1;

/// On top of that, in nanoseconds.
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

/// A design in one round.
pub(crate) struct Device<'r, 'b, 's> {
    pub(crate) bench: &'r mut Bench<'b>,
    pub(crate) session: &'r mut Session<'s, Tcp>,
    pub(crate) scenario: &'r Scenario,
    pub(crate) subject: Subject,
    pub(crate) lineup: Lineup,
    pub(crate) design: Design,
    pub(crate) round: u32,
    pub(crate) seed: u64,
}

impl Device<'_, '_, '_> {
    /// Clients and servers of so many connections.
    pub(crate) fn connections(&self, count: u32) -> Result<Connections, Stop> {
        let scenario = self.scenario;
        let tuples = FlowSet::new(&FlowSpec {
            pods: scenario.topology.pod_addresses().collect(),
            src_ports: (scenario.src_ports.first, scenario.src_ports.last),
            servers: scenario.topology.server_addresses().collect(),
            dst_port: scenario.dst_port,
            flows: count,
            seed: scenario.seed,
        });
        Ok(Connections::new(Setting {
            tuples: std::sync::Arc::new(tuples.map_err(|e| failed("make connections")(&e))?),
            clients: self.subject.initiator(self.bench),
            servers: self.subject.responder(self.bench),
            sources: sources_expected(self.design, &scenario.topology),
            routers: self.lineup.routers(),
            burst: self.subject.burst(self.bench),
        }))
    }

    /// The tables are empty, and no connection stands.
    pub(crate) fn empty(&mut self, connections: &mut Connections) -> Result<(), Stop> {
        connections.forget();
        self.subject.empty_tables(self.bench).map(|_| ()).map_err(Stop::from)
    }

    /// Runs a session of `work`, the first of which goes at `rate_per_s` and takes `takes_ns`, and keeps it.
    pub(crate) fn trial(
        &mut self,
        connections: &mut Connections,
        purpose: Purpose,
        work: Vec<Work>,
        rate_per_s: f64,
        takes_ns: u64,
    ) -> Result<Trial, Stop> {
        connections.prepare(work);
        let overrun = self.scenario.limits.overrun;
        let late_ns = (takes_ns as f64 * overrun.max(GIVE_UP_SHARE)) as u64;
        let give_up_after_ns = takes_ns.saturating_add(late_ns).saturating_add(GIVE_UP_SLACK_NS);
        let account = self.subject.session(self.bench, connections, give_up_after_ns)?;
        if account.end.cancelled {
            return Err(Stop::Cancelled);
        }
        let limits = &self.scenario.limits;
        let counts = connections.counts();
        let send_lag = Quantiles::of(&counts.lag_ns);
        let overrun_ns = (takes_ns as f64 * overrun) as u64;
        let on_time_ns = takes_ns.saturating_add(overrun_ns).saturating_add(LATE_SLACK_NS);
        let late = account.end.sent_after_ns > on_time_ns.min(give_up_after_ns)
            || send_lag.ns_p99.or(send_lag.ns_max).is_some_and(|lag| lag > u64::from(limits.send_lag_p99_us) * 1000);
        let lost = Kind::ALL.iter().filter_map(|kind| {
            let segments = counts.sent[*kind as usize] - counts.received[*kind as usize];
            (segments > 0).then_some(LostSegments { kind: *kind, segments })
        });
        let dropped: u64 = account.drops.iter().map(|drop| drop.frames).sum();
        let trial = Trial {
            number: self.session.record.measured.trials.len() as u32 + 1,
            round: self.round,
            purpose,
            engines: self.lineup,
            design: self.design,
            rate_per_s_offered: rate_per_s,
            tried: counts.tried,
            made: counts.made,
            unmade: counts.unmade,
            asked: counts.asked,
            alive: counts.alive,
            lost: lost.collect(),
            resets: counts.resets,
            wrong: counts.wrong,
            first_wrong: counts.first_wrong.clone(),
            drops: account.drops,
            // A segment that came in wrong has arrived, if not as what it was.
            unaccounted: counts.lost() as i64 - counts.wrong as i64 - dropped as i64,
            handshake: Quantiles::of(&counts.handshake_ns),
            whole: Quantiles::of(&counts.whole_ns),
            keepalive: Quantiles::of(&counts.alive_ns),
            send_lag,
            generator_late: late,
        };
        self.session.record.measured.trials.push(trial.clone());
        Ok(trial)
    }

    /// Entries of the tables.
    pub(crate) fn entries(&mut self) -> Result<Vec<Table>, Stop> {
        Ok(tables(self.subject.entries(self.bench)?))
    }

    /// The same of natrig's own layers when so much time has passed.
    pub(crate) fn entries_after(&mut self, seconds: u32) -> Vec<Table> {
        tables(self.subject.entries_after(u64::from(seconds) * 1_000_000_000))
    }
}

fn tables(entries: Vec<(Place, u64)>) -> Vec<Table> {
    entries.into_iter().map(|(place, entries)| Table { place, entries }).collect()
}
