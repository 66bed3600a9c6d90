//! A run: the world is built once; then, round by round, every design in random order; the result is handed out after every trial.

mod connections;
mod loads;
mod mlrsearch;
mod sequential;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use natrig_traffic::{FlowError, FlowSet, FlowSpec};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::aa;
use crate::bed::{Bench, Subject, TrialError};
use crate::calibrate;
use crate::carrier::Carrier;
use crate::engine::{EngineError, Engines};
use crate::experiment::{Experiment, Measured, Offer, SetupError, frame_sizes};
use crate::result::{Environment, Invalid, Purpose, RunResult, Status, TcpCheck, Trial};
use crate::scenario::{Measure, Rate, Scenario, Search};
use crate::search::ndr::{
    NdrConfig, NdrConfigError, NdrSearch, Outcome, PLAIN_LOSS_RATIO, ReportError, Step, Validity,
};
use crate::summary::{Key, Summaries};
use crate::tcp_check;
use crate::world::{KernelError, WorldError};

pub use connections::CONNECTIONS_PRECISION;
use sequential::Stopping;

/// Why a run ended before it measured anything, or in the middle.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The flows of the scenario cannot be made.
    #[error("failed to {0}")]
    Flows(#[from] FlowError),
    /// There is no world to measure in.
    #[error(transparent)]
    World(#[from] WorldError),
    /// A design cannot be set up.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// A trial cannot be run.
    #[error(transparent)]
    Trial(#[from] TrialError),
    /// The search cannot start with the scenario's settings.
    #[error("failed to start a search: {0}")]
    Search(#[from] NdrConfigError),
    /// MLRsearch cannot go on.
    #[error("failed to search: {0}")]
    Mlrsearch(#[from] crate::search::mlr::SearchError),
    /// The search and the trials do not go together.
    #[error("failed to go on searching: {0}")]
    Report(#[from] ReportError),
}

impl RunError {
    /// True if something is missing on this machine that could be there; the message names it.
    pub const fn is_environment(&self) -> bool {
        if let Self::World(WorldError::Build(error) | WorldError::Kernel(KernelError::SetUp(error)))
        | Self::Trial(TrialError::Kernel(KernelError::SetUp(error))) = self
        {
            return error.reason.is_environment();
        }
        false
    }
}

impl From<EngineError> for RunError {
    fn from(error: EngineError) -> Self {
        Self::Setup(error.into())
    }
}

/// What the one who runs is told.
pub trait Observer {
    /// Something begins that takes a while.
    fn phase(&mut self, what: &str);
    /// A trial is over; `done` of the run is behind, 0 to 1.
    fn trial(&mut self, trial: &Trial, done: f64);
    /// The result has grown: the moment to write it.
    fn result(&mut self, result: &RunResult);
}

/// Measures `scenario`, filling `result` from its [`RunResult::trials`] on. What was measured stays in `result` also when this fails.
///
/// # Errors
/// [`RunError`].
pub fn run(
    scenario: &Scenario,
    carrier: &Carrier,
    result: &mut RunResult,
    observer: &mut dyn Observer,
    cancel: &AtomicBool,
) -> Result<(), RunError> {
    measure(scenario, carrier, result, observer, cancel, rounds)
}

/// Compares each design with itself, `comparisons` times in all, and fills [`RunResult::aa`].
///
/// # Errors
/// [`RunError`].
pub fn run_aa(
    scenario: &Scenario,
    carrier: &Carrier,
    result: &mut RunResult,
    observer: &mut dyn Observer,
    cancel: &AtomicBool,
    comparisons: u32,
) -> Result<(), RunError> {
    measure(scenario, carrier, result, observer, cancel, |bench, flows, result, observer, started| {
        aa::run(bench, flows, result, observer, started, comparisons)
    })
}

/// Everything around what is measured.
fn measure(
    scenario: &Scenario,
    carrier: &Carrier,
    result: &mut RunResult,
    observer: &mut dyn Observer,
    cancel: &AtomicBool,
    what: impl FnOnce(&mut Bench<'_>, &Arc<FlowSet>, &mut RunResult, &mut dyn Observer, Instant) -> Result<Status, RunError>,
) -> Result<(), RunError> {
    let started = Instant::now();
    observer.phase("building the world");
    let engines = Engines::new(scenario)?;
    let flows = Arc::new(flow_set(scenario)?);
    let frame_len_max = frame_len_max(scenario)?;
    let (environment, warnings) = (&mut result.environment, &mut result.warnings);
    let mut bench = Bench::open(scenario, &engines, carrier, frame_len_max, cancel, environment, warnings)?;

    observer.phase("choosing processors");
    calibrate::settle(&mut bench, &flows, &mut result.environment)?;

    observer.phase("checking each design with a TCP connection");
    for world in 0..bench.worlds.len() {
        for design in &scenario.designs {
            let check = tcp_check::run(&mut bench, world, *design)?;
            warn_of(&check, &mut result.warnings);
            result.tcp_checks.push(check);
        }
    }
    bench.note_kernel_settings(&mut result.environment).map_err(WorldError::from)?;
    let outcome = what(&mut bench, &flows, result, observer, started);
    result.elapsed_ns = elapsed_ns(started);
    bench.close(&mut result.warnings);
    result.status = outcome?;
    observer.result(result);
    Ok(())
}

/// An environment before anything is known of links and placement.
pub fn environment(mode: &str, mode_reason: Option<String>, plan: Vec<String>) -> Environment {
    Environment {
        mode: mode.to_owned(),
        mode_reason,
        link: crate::result::LinkFacts::default(),
        placement: Vec::new(),
        plan,
        kernel: Vec::new(),
        nats: Vec::new(),
    }
}

fn rounds(
    bench: &mut Bench<'_>,
    flows: &Arc<FlowSet>,
    result: &mut RunResult,
    observer: &mut dyn Observer,
    started: Instant,
) -> Result<Status, RunError> {
    let scenario = bench.scenario;
    let limit_ns = u64::from(scenario.measure.time_limit_s) * 1_000_000_000;
    let mut rng = Pcg64Mcg::seed_from_u64(scenario.seed);
    let mut summaries = Summaries::new(scenario);
    let mut cells: Vec<Key> = summaries.keys().collect();
    let mut stopping = Stopping::new(scenario, &summaries);
    let mut longest_round_ns = 0;
    for round in 1..=scenario.measure.rounds {
        let round_began_ns = elapsed_ns(started);
        if round_began_ns + longest_round_ns > limit_ns {
            if let Some(stopping) = &mut stopping {
                stopping.look(round - 1, true, &summaries, result);
            }
            return Ok(Status::TimeLimit);
        }
        cells.shuffle(&mut rng);
        for key in &cells {
            let Some(world) = bench.worlds.iter().position(|world| world.lineup == key.lineup) else { continue };
            let cell = Cell { world, key: *key, round, hint: summaries.rate_so_far(key), seed: rng.random() };
            let mut report = |measured: &Measured, result: &mut RunResult| {
                result.elapsed_ns = elapsed_ns(started);
                let rounds_done = f64::from(round - 1) / f64::from(scenario.measure.rounds);
                let time_done = result.elapsed_ns as f64 / limit_ns as f64;
                observer.trial(&measured.trial, rounds_done.max(time_done).min(1.0));
                observer.result(result);
            };
            let finished = cell.measure(bench, flows, result, &mut summaries, &mut report)?;
            summaries.write(result);
            if !finished {
                return Ok(Status::Interrupted);
            }
        }
        longest_round_ns = longest_round_ns.max(elapsed_ns(started) - round_began_ns);
        if stopping.as_mut().is_some_and(|stopping| stopping.look(round, false, &summaries, result)) {
            break;
        }
    }
    Ok(Status::Complete)
}

/// One lineup in one design at one frame size in one round.
struct Cell {
    world: usize,
    key: Key,
    round: u32,
    hint: Option<f64>,
    seed: u64,
}

type Report<'a> = dyn FnMut(&Measured, &mut RunResult) + 'a;

impl Cell {
    /// False: called off.
    fn measure(
        &self,
        bench: &mut Bench<'_>,
        flows: &Arc<FlowSet>,
        result: &mut RunResult,
        summaries: &mut Summaries,
        report: &mut Report<'_>,
    ) -> Result<bool, RunError> {
        let subject = Subject::new(bench, self.world, self.key.design, self.seed)?;
        let mut experiment = Experiment::new(bench, subject, flows, self.key.frame_size)?;
        let mut cell = Running { cell: self, bench, experiment: &mut experiment, result, report, seed: self.seed };
        let Some(rate_pps) = (match cell.bench.scenario.measure.rate {
            Rate::Search(search) => cell.search(search, summaries)?,
            Rate::Mlrsearch(search) => cell.mlrsearch(search, summaries)?,
            Rate::FixedPps(pps) => cell.fixed(f64::from(pps), summaries)?,
        }) else {
            return Ok(!cell.cancelled());
        };
        cell.latency(rate_pps, summaries)?;
        cell.connection_rate(summaries)?;
        cell.usable_ports(summaries)?;
        cell.loads(rate_pps)?;
        cell.stamp_cost(rate_pps, summaries)?;
        Ok(!cell.cancelled())
    }
}

/// A cell at work.
struct Running<'a, 'b> {
    cell: &'a Cell,
    bench: &'a mut Bench<'b>,
    experiment: &'a mut Experiment,
    result: &'a mut RunResult,
    report: &'a mut Report<'a>,
    seed: u64,
}

impl Running<'_, '_> {
    /// The highest rate without loss, if there is one.
    fn search(&mut self, search: Search, summaries: &mut Summaries) -> Result<Option<f64>, RunError> {
        let mut search = NdrSearch::new(ndr_config(&self.bench.scenario.measure, search, self.cell.hint))?;
        let mut best: Option<Trial> = None;
        loop {
            let (rate_pps, duration_ns) = match search.next() {
                Step::Trial { rate_pps, duration_ns } => (rate_pps, duration_ns),
                Step::Done(bounds) => {
                    summaries.rate(&self.cell.key, self.cell.round, &bounds, best.as_ref());
                    return Ok(bounds.relevant_lower_pps);
                }
            };
            let trial = self.trial(Purpose::Search, rate_pps, duration_ns, true)?.trial;
            if self.cancelled() || !trial.invalid.iter().all(Invalid::is_disturbance) {
                // A design that translates wrongly or loses track of frames has no rate.
                return Ok(None);
            }
            search.report(&outcome(&trial))?;
            let passed = trial.is_valid() && trial.lost == 0;
            if passed && best.as_ref().is_none_or(|best| trial.rate_pps_offered >= best.rate_pps_offered) {
                best = Some(trial);
            }
        }
    }

    fn fixed(&mut self, rate_pps: f64, summaries: &mut Summaries) -> Result<Option<f64>, RunError> {
        let duration_ns = u64::from(self.bench.scenario.measure.trial_ms) * 1_000_000;
        let measured = self.valid_trial(Purpose::Fixed, rate_pps, duration_ns, true)?;
        if let Some(measured) = measured {
            summaries.fixed(&self.cell.key, self.cell.round, &measured.trial);
        }
        Ok((!self.cancelled()).then_some(rate_pps))
    }

    fn latency(&mut self, rate_pps: f64, summaries: &mut Summaries) -> Result<(), RunError> {
        let measure = &self.bench.scenario.measure;
        if !measure.asks_for_latency() {
            return Ok(());
        }
        let (rate_pps, duration_ns) = (rate_pps * measure.latency_fraction, u64::from(measure.latency_ms) * 1_000_000);
        if let Some(measured) = self.valid_trial(Purpose::Latency, rate_pps, duration_ns, true)? {
            summaries.latency(&self.cell.key, self.cell.round, &measured);
        }
        Ok(())
    }

    /// What the stamps cost, in one design of each lineup: two trials at the rate found, one with stamps and one without, in random order.
    fn stamp_cost(&mut self, rate_pps: f64, summaries: &mut Summaries) -> Result<(), RunError> {
        let is_last = Some(&self.cell.key.design) == self.bench.scenario.designs.last();
        if !is_last || !self.experiment.has_taps(self.bench) || self.cancelled() {
            return Ok(());
        }
        let duration_ns = u64::from(self.bench.scenario.measure.trial_ms) * 1_000_000;
        let with_first = self.cell.seed & 1 == 0;
        let first = self.valid_trial(Purpose::StampCost, rate_pps, duration_ns, with_first)?;
        let Some(first) = first else { return Ok(()) };
        let second = self.valid_trial(Purpose::StampCost, rate_pps, duration_ns, !with_first)?;
        let Some(second) = second else { return Ok(()) };
        let (with, without) = if with_first { (first, second) } else { (second, first) };
        summaries.stamp_cost(&self.cell.key, [&without.trial, &with.trial]);
        Ok(())
    }

    /// Repeats a trial that the machine disturbed, as often as the scenario allows.
    fn valid_trial(
        &mut self,
        purpose: Purpose,
        rate_pps: f64,
        duration_ns: u64,
        stamps: bool,
    ) -> Result<Option<Measured>, RunError> {
        for _ in 0..=self.bench.scenario.limits.max_retries {
            let measured = self.trial(purpose, rate_pps, duration_ns, stamps)?;
            if self.cancelled() {
                return Ok(None);
            }
            if measured.trial.is_valid() {
                return Ok(Some(measured));
            }
            if !measured.trial.invalid.iter().all(Invalid::is_disturbance) {
                return Ok(None);
            }
        }
        Ok(None)
    }

    fn trial(&mut self, purpose: Purpose, rate_pps: f64, duration_ns: u64, stamps: bool) -> Result<Measured, RunError> {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let offer = Offer { purpose, rate_pps, duration_ns, seed: self.seed >> 11, stamps };
        let mut measured = self.experiment.trial(self.bench, offer)?;
        if !measured.cancelled {
            measured.trial.number = self.result.trials.len() as u32 + 1;
            measured.trial.round = self.cell.round;
            self.result.trials.push(measured.trial.clone());
            (self.report)(&measured, self.result);
        }
        Ok(measured)
    }

    fn cancelled(&self) -> bool {
        self.bench.cancel.load(Ordering::Relaxed)
    }
}

fn ndr_config(measure: &Measure, search: Search, hint_pps: Option<f64>) -> NdrConfig {
    NdrConfig {
        min_pps: f64::from(search.min_pps),
        max_pps: f64::from(search.max_pps),
        hint_pps,
        relative_precision: search.precision,
        trial_duration_ns: u64::from(measure.trial_ms) * 1_000_000,
        attempts: search.confirm + 1,
        plain_loss_ratio: PLAIN_LOSS_RATIO,
        max_trials: search.max_trials,
    }
}

/// What a search is told of a trial.
pub fn outcome(trial: &Trial) -> Outcome {
    let validity = if trial.is_valid() {
        Validity::Valid
    } else if trial.invalid.iter().any(Invalid::is_of_generator) {
        Validity::GeneratorLimited
    } else {
        Validity::Disturbed
    };
    Outcome {
        offered_pps: trial.rate_pps_offered,
        achieved_pps: trial.rate_pps_achieved,
        sent: trial.sent,
        lost: u64::try_from(trial.lost).unwrap_or(0),
        validity,
    }
}

/// The flows of a scenario.
///
/// # Errors
/// [`FlowError`].
pub fn flow_set(scenario: &Scenario) -> Result<FlowSet, FlowError> {
    FlowSet::new(&flow_spec(scenario))
}

pub(crate) fn flow_spec(scenario: &Scenario) -> FlowSpec {
    let traffic = &scenario.traffic;
    FlowSpec {
        pods: scenario.topology.pod_addresses().collect(),
        src_ports: (traffic.src_ports.first, traffic.src_ports.last),
        servers: scenario.topology.server_addresses().collect(),
        dst_port: traffic.dst_port,
        flows: traffic.flows,
        seed: scenario.seed,
    }
}

fn frame_len_max(scenario: &Scenario) -> Result<usize, SetupError> {
    let mut longest = 0;
    for size in &scenario.traffic.frame_sizes {
        longest = longest.max(frame_sizes(*size)?.len_max());
    }
    Ok(longest)
}

fn warn_of(check: &TcpCheck, warnings: &mut Vec<String>) {
    if let Some(failure) = &check.failure {
        warnings.push(format!("TCP does not get through design {} of {}: {failure}", check.design, check.engines));
    }
}

pub(crate) fn elapsed_ns(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
