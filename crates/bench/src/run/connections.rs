//! Connections per second that a design takes, and the ports that it has for one destination.

use std::sync::Arc;

use natrig_traffic::{FlowSet, FlowSpec};

use super::{RunError, Running, flow_spec};
use crate::bed::Subject;
use crate::experiment::{Experiment, PRELOAD_PPS};
use crate::search::ndr::{NdrConfig, NdrSearch, Outcome, PLAIN_LOSS_RATIO, Step, Validity};
use crate::summary::Summaries;

/// The search ends when the bounds are this share apart.
pub const CONNECTIONS_PRECISION: f64 = 0.05;

/// Connections per second. More than 16 million no generator here sends.
const LOWEST: f64 = 1000.0;
const HIGHEST: f64 = 16e6;

/// So slow that a trial takes longer than this is not tried: a machine on which everything is late would take minutes to say so.
const TRIAL_MAX_S: f64 = 4.0;

/// A rate that failed is tried again, as in the search for the frame rate.
const ATTEMPTS: u32 = 2;

const TRIALS_MAX: u32 = 24;

/// What a session of some milliseconds may be late by.
const LATE_SHARE: f64 = 0.05;
const LATE_SLACK_NS: u64 = 100_000;

impl Running<'_, '_> {
    /// The highest rate at which each of so many connections, one frame each, makes its mapping and gets through empty tables.
    pub(super) fn connection_rate(&mut self, summaries: &mut Summaries) -> Result<(), RunError> {
        let connections = self.bench.scenario.measure.connections;
        if connections == 0 {
            return Ok(());
        }
        let mut experiment = self.with_flows(FlowSpec { flows: connections, ..flow_spec(self.bench.scenario) })?;
        let mut search = NdrSearch::new(NdrConfig {
            min_pps: LOWEST.max(f64::from(connections) / TRIAL_MAX_S),
            max_pps: HIGHEST,
            hint_pps: summaries.connections_so_far(&self.cell.key),
            relative_precision: CONNECTIONS_PRECISION,
            trial_duration_ns: 1,
            attempts: ATTEMPTS,
            plain_loss_ratio: PLAIN_LOSS_RATIO,
            max_trials: TRIALS_MAX,
        })?;
        while !self.cancelled() {
            let rate_pps = match search.next() {
                Step::Trial { rate_pps, .. } => rate_pps,
                Step::Done(bounds) => {
                    summaries.connections(&self.cell.key, self.cell.round, &bounds);
                    return Ok(());
                }
            };
            let (through, sent_after_ns) = experiment.new_flows(self.bench, rate_pps)?;
            let takes_ns = f64::from(connections) / rate_pps * 1e9;
            let late = sent_after_ns > (takes_ns * (1.0 + LATE_SHARE)) as u64 + LATE_SLACK_NS;
            search.report(&Outcome {
                offered_pps: rate_pps,
                achieved_pps: through.sent as f64 / (sent_after_ns.max(1) as f64 / 1e9),
                sent: through.sent,
                lost: through.sent - through.received,
                validity: if late { Validity::GeneratorLimited } else { Validity::Valid },
            })?;
        }
        Ok(())
    }

    /// How many flows to one destination there can be at once: counted, so once is enough.
    pub(super) fn usable_ports(&mut self, summaries: &mut Summaries) -> Result<(), RunError> {
        let scenario = self.bench.scenario;
        if scenario.measure.connections == 0 || self.cell.round > 1 || self.cancelled() {
            return Ok(());
        }
        let mut spec = FlowSpec { flows: scenario.flows_to_one_server(), ..flow_spec(scenario) };
        spec.servers.truncate(1);
        let mut experiment = self.with_flows(spec)?;
        let (through, _) = experiment.new_flows(self.bench, PRELOAD_PPS)?;
        if !self.cancelled() {
            summaries.usable_ports(&self.cell.key, self.cell.round, through.received);
        }
        Ok(())
    }

    /// The same design with tables of its own, for other flows.
    pub(super) fn with_flows(&self, spec: FlowSpec) -> Result<Experiment, RunError> {
        let subject = Subject::new(self.bench, self.cell.world, self.cell.key.design, self.seed)?;
        Ok(Experiment::new(self.bench, subject, &Arc::new(FlowSet::new(&spec)?), self.cell.key.frame_size)?)
    }
}
