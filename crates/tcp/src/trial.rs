//! One session through one device, and what is kept of it.

use std::time::{Duration, Instant};

use natrig_bench::devices::{Stop, Table, Turn};
use natrig_bench::result::Quantiles;
use natrig_bench::scenario::Word as _;
use natrig_bench::test::Session;
use natrig_bench::{Bench, Subject, sources_expected};
use natrig_traffic::{FlowSet, FlowSpec};

use crate::Tcp;
use crate::connections::{Connections, Setting, Work};
use crate::result::{LostSegments, Purpose, Trial};
use crate::scenario::Scenario;
use crate::segment::Kind;

/// How much longer than its timers the kernel's tables may take to be empty.
const KERNEL_PATIENCE: Duration = Duration::from_secs(3);

/// A design in one round.
pub(crate) struct Device<'r, 'b, 's> {
    pub(crate) bench: &'r mut Bench<'b>,
    pub(crate) session: &'r mut Session<'s, Tcp>,
    pub(crate) scenario: &'r Scenario,
    pub(crate) subject: Subject,
    pub(crate) turn: Turn,
}

impl Device<'_, '_, '_> {
    /// Clients and servers of so many connections.
    pub(crate) fn connections(&self, count: u32) -> Result<Connections, Stop> {
        let scenario = self.scenario;
        let tuples = FlowSet::new(&FlowSpec {
            pods: scenario.devices.topology.pod_addresses().collect(),
            src_ports: (scenario.src_ports.first, scenario.src_ports.last),
            servers: scenario.devices.topology.server_addresses().collect(),
            dst_port: scenario.dst_port,
            flows: count,
            seed: scenario.devices.seed,
        });
        Ok(Connections::new(Setting {
            tuples: std::sync::Arc::new(tuples.map_err(|e| Stop::failed("make connections")(&e))?),
            clients: self.subject.initiator(self.bench),
            servers: self.subject.responder(self.bench),
            sources: sources_expected(self.turn.design, &scenario.devices.topology),
            routers: self.turn.lineup.routers(),
        }))
    }

    /// The tables are empty, and no connection stands.
    pub(crate) fn empty(&mut self, connections: &mut Connections) -> Result<(), Stop> {
        connections.forget();
        self.subject.empty_tables(self.bench).map_err(Stop::from)
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
        // What is asked of a rate is what is lost at it; of everything else, what becomes of connections when nothing is.
        connections.prepare(work, purpose != Purpose::Rate);
        let limits = &self.scenario.devices.limits;
        let give_up_after_ns = limits.give_up_after_ns(takes_ns);
        let account = self.subject.session(self.bench, connections, give_up_after_ns, None)?;
        if account.end.cancelled {
            return Err(Stop::Cancelled);
        }
        let counts = connections.counts();
        let send_lag = Quantiles::of(&counts.lag_ns);
        let late = limits.is_late(takes_ns, account.end.sent_after_ns, send_lag.ns_p99.or(send_lag.ns_max));
        let mut drops = account.drops;
        connections.add_refused(&mut drops);
        let lost = Kind::ALL.iter().filter_map(|kind| {
            let segments = counts.sent[*kind as usize] - counts.received[*kind as usize];
            (segments > 0).then_some(LostSegments { kind: *kind, segments })
        });
        let dropped: u64 = drops.iter().map(|drop| drop.frames).sum();
        let trial = Trial {
            number: self.session.record.measured.trials.len() as u32 + 1,
            round: self.turn.round,
            purpose,
            engines: self.turn.lineup,
            design: self.turn.design,
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
            drops,
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
        Ok(self.subject.entries(self.bench)?.into_iter().map(Table::from).collect())
    }

    /// The same of natrig's own layers when so much time has passed.
    pub(crate) fn entries_after(&mut self, seconds: u32) -> Vec<Table> {
        self.subject.entries_after(u64::from(seconds) * 1_000_000_000).into_iter().map(Table::from).collect()
    }

    /// What is left in the kernel's tables when its timers should have run out: it is given some seconds more, as long as anything is left.
    pub(crate) fn kernel_entries_later(&mut self, time_wait_s: u32) -> Result<Vec<Table>, Stop> {
        let until = Instant::now() + Duration::from_secs(u64::from(time_wait_s)) + KERNEL_PATIENCE;
        loop {
            let live = self.subject.kernel_entries_live(self.bench)?;
            if Instant::now() > until || live.iter().all(|(_, entries)| *entries == 0) {
                return Ok(live.into_iter().map(Table::from).collect());
            }
            if self.session.cancelled() {
                return Err(Stop::Cancelled);
            }
            std::thread::sleep(KERNEL_PATIENCE / 30);
        }
    }
}
