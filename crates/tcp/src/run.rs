//! The course of a test: round by round, the designs in random order, each with all of its parts.

use natrig_bench::devices::{Range, Stop, in_rounds};
use natrig_bench::result::{Dropped, Quantiles, Status};
use natrig_bench::search::ndr::{Outcome, Step, Validity};
use natrig_bench::stats;
use natrig_bench::test::{Session, TestError};
use natrig_lab::plan::TIME_WAIT_S;
use natrig_traffic::Schedule;
use natrig_traffic::tcp::Segments;
use natrig_wire::ethernet::{self, FCS_LEN};

use crate::Tcp;
use crate::connections::{What, Work};
use crate::result::{ChurnOutcome, Figure, Purpose, Quantity, SegmentCounts, TransferOutcome, Trial};
use crate::scenario::Part;
use crate::transfers::{Setting, Transfers};
use crate::trial::Device;

/// Frames of the world: a transfer's are as long as they may be.
const FRAME_LEN: usize = 1518 - FCS_LEN;

/// The rate at which the background is made, asked and unmade, per second: where nothing is in question.
const GENTLE_PER_S: f64 = 20_000.0;

/// Runs all parts of the session's scenario.
pub(crate) fn run(session: &mut Session<'_, Tcp>) -> Result<Status, TestError> {
    let scenario = session.record.scenario.clone();
    in_rounds(session, &scenario.world(), FRAME_LEN, scenario.rounds, |bench, session, subject, turn| {
        Device { bench, session, scenario: &scenario, subject, turn }.parts()
    })
}

impl Device<'_, '_, '_> {
    fn parts(&mut self) -> Result<(), Stop> {
        let scenario = self.scenario;
        let mut found = None;
        if scenario.does(Part::ConnectionRate) {
            found = self.connection_rate()?;
        }
        if scenario.does(Part::Churn) {
            let highest =
                if scenario.does(Part::ConnectionRate) { found } else { Some(f64::from(scenario.rate.max_cps)) };
            match highest {
                Some(highest) => self.churn(highest * scenario.churn.rate_fraction)?,
                None => self.no_churn(),
            }
        }
        if scenario.does(Part::Transfer) {
            self.transfer()?;
        }
        Ok(())
    }

    /// The highest rate at which every connection is made and unmade, through tables that are empty before.
    fn connection_rate(&mut self) -> Result<Option<f64>, Stop> {
        let rate = self.scenario.rate;
        let mut connections = self.connections(rate.connections)?;
        let (min_per_s, max_per_s) = (f64::from(rate.min_cps), f64::from(rate.max_cps));
        let hint_per_s = self.found_before();
        let mut search =
            Range { min_per_s, max_per_s, hint_per_s, error: rate.error, confirm: rate.confirm }.search()?;
        loop {
            let rate_per_s = match search.next() {
                Step::Trial { rate_pps, .. } => rate_pps,
                Step::Done(bounds) => {
                    let (found, bound) = (bounds.relevant_lower_pps, bounds.generator_limited);
                    self.add(Quantity::ConnectionRate, found, bound);
                    return Ok(found);
                }
            };
            self.empty(&mut connections)?;
            let (schedule, takes_ns) = in_turn(rate.connections, rate_per_s);
            let work = vec![Work::new(What::Whole, 0..rate.connections, schedule)];
            let trial = self.trial(&mut connections, Purpose::Rate, work, rate_per_s, takes_ns)?;
            if trial.wrong > 0 {
                // A device that gets connections wrong has no rate.
                self.add(Quantity::ConnectionRate, None, false);
                return Ok(None);
            }
            search
                .report(&Outcome {
                    offered_pps: rate_per_s,
                    achieved_pps: trial.tried as f64 / (takes_ns as f64 / 1e9),
                    sent: trial.tried,
                    lost: trial.tried - trial.unmade.min(trial.tried),
                    validity: if trial.generator_late { Validity::GeneratorLimited } else { Validity::Valid },
                })
                .map_err(|e| Stop::failed("search")(&e))?;
        }
    }

    /// Only where a search begins, never where it ends.
    fn found_before(&self) -> Option<f64> {
        let same = |figure: &&Figure| {
            (figure.engines, figure.design, figure.quantity)
                == (self.turn.lineup, self.turn.design, Quantity::ConnectionRate)
        };
        self.session.record.measured.figures.iter().find(same).map(|figure| figure.median).filter(|rate| *rate > 0.0)
    }

    /// Connections come and go over others that live: nothing may be lost, and in the end nothing may be left.
    fn churn(&mut self, rate_per_s: f64) -> Result<(), Stop> {
        let churn = self.scenario.churn;
        let (background, all) = (churn.background, churn.background + churn.connections);
        let mut connections = self.connections(all)?;
        self.empty(&mut connections)?;
        self.subject.set_kernel_time_wait(self.bench, churn.kernel_time_wait_s)?;
        let gently = |what| {
            let (schedule, takes_ns) = in_turn(background, GENTLE_PER_S);
            (vec![Work::new(what, 0..background, schedule)], takes_ns)
        };
        let (work, takes_ns) = gently(What::Open);
        let made = self.trial(&mut connections, Purpose::Background, work, GENTLE_PER_S, takes_ns)?;

        let (schedule, takes_ns) = in_turn(churn.connections, rate_per_s);
        let keepalives_per_s = f64::from(churn.keepalives_per_s);
        let keepalives = ((takes_ns as f64 / 1e9 * keepalives_per_s) as u64).max(1);
        let work = vec![
            Work::new(What::Whole, background..all, schedule),
            Work::new(What::Ask, 0..background, Schedule::count(keepalives, keepalives_per_s)),
        ];
        let churned = self.trial(&mut connections, Purpose::Churn, work, rate_per_s, takes_ns)?;

        let (work, takes_ns) = gently(What::Ask);
        let asked = self.trial(&mut connections, Purpose::Check, work, GENTLE_PER_S, takes_ns)?;
        let (work, takes_ns) = gently(What::Close);
        let closed = self.trial(&mut connections, Purpose::Close, work, GENTLE_PER_S, takes_ns)?;
        let mut drops: Vec<Dropped> = Vec::new();
        for drop in [&made, &churned, &asked, &closed].into_iter().flat_map(|trial| &trial.drops) {
            match drops.iter_mut().find(|known| (known.place, &known.reason) == (drop.place, &drop.reason)) {
                Some(known) => known.frames += drop.frames,
                None => drops.push(drop.clone()),
            }
        }

        let entries_at_end = self.entries()?;
        let mut entries_later = self.entries_after(churn.empty_after_s);
        entries_later.extend(self.kernel_entries_later(churn.kernel_time_wait_s)?);
        self.subject.set_kernel_time_wait(self.bench, TIME_WAIT_S)?;
        self.session.record.measured.churns.push(ChurnOutcome {
            round: self.turn.round,
            engines: self.turn.lineup,
            design: self.turn.design,
            background: made.made,
            alive_after: asked.alive,
            churned: (churned.tried, churned.unmade),
            rate_per_s,
            keepalives: (churned.asked, churned.alive),
            entries_at_end,
            drops,
            entries_later,
        });
        self.latencies(&churned);
        Ok(())
    }

    fn latencies(&mut self, churned: &Trial) {
        let counts = churned.wrong == 0 && !churned.generator_late;
        let ns =
            |value: fn(&Quantiles) -> Option<u64>, of: &Quantiles| value(of).filter(|_| counts).map(|ns| ns as f64);
        for (quantity, value) in [
            (Quantity::HandshakeP50, ns(|of| of.ns_p50, &churned.handshake)),
            (Quantity::HandshakeP99, ns(|of| of.ns_p99, &churned.handshake)),
            (Quantity::KeepaliveP50, ns(|of| of.ns_p50, &churned.keepalive)),
            (Quantity::KeepaliveP99, ns(|of| of.ns_p99, &churned.keepalive)),
        ] {
            self.add(quantity, value, false);
        }
    }

    /// There was no rate to take a share of.
    fn no_churn(&mut self) {
        for quantity in [Quantity::HandshakeP50, Quantity::HandshakeP99, Quantity::KeepaliveP50, Quantity::KeepaliveP99]
        {
            self.add(quantity, None, false);
        }
    }

    /// Flows between real stacks, so many times: each with other losses, which are the same for every design.
    fn transfer(&mut self) -> Result<(), Stop> {
        let (mut goodputs, mut handshakes, mut again, mut timed_out) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for nth in 1..=self.scenario.transfer.repeats {
            let outcome = self.transfer_once(nth)?;
            goodputs.extend(outcome.took_ns.map(|ns| outcome.bytes as f64 * 8.0 / (ns.max(1) as f64 / 1e9)));
            handshakes.extend(outcome.handshake.ns_max.map(|ns| ns as f64));
            again.push((outcome.client.again() + outcome.server.again()) as f64);
            timed_out += u32::from(outcome.timed_out());
            self.session.record.measured.transfers.push(outcome);
        }
        self.add(Quantity::Goodput, stats::median(&goodputs), false);
        self.add(Quantity::TimedOut, Some(f64::from(timed_out)), false);
        self.add(Quantity::TransferHandshake, stats::median(&handshakes), false);
        self.add(Quantity::Retransmissions, stats::median(&again), false);
        Ok(())
    }

    fn transfer_once(&mut self, nth: u32) -> Result<TransferOutcome, Stop> {
        let scenario = self.scenario;
        let transfer = scenario.transfer;
        self.subject.empty_tables(self.bench)?;
        let mut transfers = Transfers::new(Setting {
            client: scenario.devices.topology.pods.first,
            client_endpoint: self.subject.initiator(self.bench).endpoint,
            server: std::net::SocketAddrV4::new(scenario.devices.topology.internet.server_first, scenario.dst_port),
            server_endpoint: self.subject.responder(self.bench).endpoint,
            first_port: scenario.src_ports.first,
            flows: transfer.flows,
            bytes: transfer.bytes,
            loss_ppm: transfer.loss_ppm,
            rto_min_ms: transfer.rto_min_ms,
            mtu: FRAME_LEN - ethernet::HEADER_LEN,
            seed: self.turn.seed.wrapping_add(u64::from(nth)),
        });
        let patience_ns = u64::from(transfer.patience_s) * 1_000_000_000;
        let account = self.subject.session(self.bench, &mut transfers, patience_ns, None)?;
        if account.end.cancelled {
            return Err(Stop::Cancelled);
        }
        let (bytes, wrong_bytes) = transfers.bytes();
        let [client, server] = transfers.segments().map(counts);
        Ok(TransferOutcome {
            round: self.turn.round,
            nth,
            engines: self.turn.lineup,
            design: self.turn.design,
            flows: (u64::from(transfer.flows), transfers.finished()),
            bytes,
            wrong_bytes,
            took_ns: transfers.done_ns(),
            handshake: Quantiles::of(transfers.handshake_ns()),
            client,
            server,
            drops: account.drops,
        })
    }

    fn add(&mut self, quantity: Quantity, value: Option<f64>, generator_bound: bool) {
        self.session.record.measured.add((self.turn.lineup, self.turn.design), quantity, value, generator_bound);
    }
}

/// So many in turn, and how long that takes.
fn in_turn(count: u32, rate_per_s: f64) -> (Schedule, u64) {
    (Schedule::count(u64::from(count), rate_per_s), (f64::from(count) / rate_per_s * 1e9) as u64)
}

fn counts(segments: Segments) -> SegmentCounts {
    let Segments { sent, lost_on_purpose, received, retransmitted } = segments;
    SegmentCounts {
        sent,
        lost_on_purpose,
        received,
        again_syn: retransmitted.syn,
        again_fast: retransmitted.data_fast,
        again_timeout: retransmitted.data_timeout,
        again_fin: retransmitted.fin,
    }
}
