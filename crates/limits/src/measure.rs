//! Measuring: all worlds are built first, as attaching a program in the middle stalls traffic; then, round by round, every cell.

use std::fmt::Display;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use natrig_bench::result::{Environment, Purpose, Status, Trial};
use natrig_bench::search::ndr::{NdrConfig, NdrSearch, Step};
use natrig_bench::test::{Session, TestError};
use natrig_bench::{Bench, Experiment, Offer as TrialOffer, Subject, flow_set, outcome};
use natrig_traffic::{Arrivals, FlowSet, Schedule};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::alone;
use crate::cells::{Cell, Flows, MILLION, Offer, Way, What};
use crate::record::{CellRecord, RoleCost, Round};
use crate::stand::{Cores, Ground, Key};
use crate::{PathLimits, Settings, apart, base, targets};

/// More than any generator sends, so that a frame is always due.
const FLAT_OUT_PPS: f64 = 50e6;

/// How near a search must come, as a share.
const PRECISION: f64 = 0.03;

/// How often a rate must lose frames to count as too high: a veth's ring holds 256 frames, which a stall of the hypervisor's fills.
const ATTEMPTS: u32 = 4;

/// Trials of a search, at most: cold, it begins with what no generator can offer.
const TRIALS_MAX: u32 = 40;

/// Frames a second where nothing else goes on, and for how many trials' time.
const IDLE_PPS: f64 = 2000.0;
const IDLE_TRIALS: u64 = 5;

/// Latency takes more frames than a rate does.
const LATENCY_TRIALS: u64 = 3;

pub(crate) fn run(session: &mut Session<'_, PathLimits>) -> Result<Status, TestError> {
    let settings = session.record.scenario.clone();
    let cells = targets::cells(&settings);
    let cores = Cores::here();
    let record = |cell: &Cell, refused| CellRecord {
        name: cell.name(&settings),
        offer: cell.offer.words().to_owned(),
        cores: cell.way.cores(),
        frame_bytes: u32::from(cell.what.frame_bytes()),
        refused,
        rounds: Vec::new(),
        rate_pps: None,
        cpu_ns_per_packet: None,
    };
    session.phase("building the worlds", 0.0);
    let mut keys: Vec<Key> = Vec::new();
    for cell in cells.iter().filter(|cell| cores.placement(cell.way, false).is_some()) {
        let new: Vec<Key> = cell.keys().into_iter().filter(|key| !keys.contains(key)).collect();
        keys.extend(new);
    }
    let grounds: Vec<(Key, Result<Ground, String>)> =
        keys.into_iter().map(|key| (key, Ground::new(&settings, key))).collect();
    let cancel = session.cancel;
    let mut worlds = Worlds { open: Vec::new(), refused: Vec::new() };
    for (index, (key, ground)) in grounds.iter().enumerate() {
        // What there is to know of links and threads is said of each cell; of the first ring world it stands for the others.
        let mut environment: Environment = session.record.environment.clone();
        let opened = match ground {
            Ok(ground) => ground.open(cancel, &mut environment, &mut session.record.warnings),
            Err(reason) => Err(reason.clone()),
        };
        if index == 0 {
            session.record.environment = environment;
        }
        match opened {
            Ok(bench) => worlds.open.push((*key, bench)),
            Err(reason) => worlds.refused.push((*key, reason)),
        }
    }
    session.record.measured.cells = cells.iter().map(|cell| record(cell, worlds.refusal(cell, cores))).collect();
    let flows = AllFlows::new(&settings).map_err(failed)?;
    let outcome = rounds(session, &settings, &cells, &mut worlds, &flows, cores);
    for (_, bench) in worlds.open {
        bench.close(&mut session.record.warnings);
    }
    outcome
}

/// The worlds there are, and those that cannot be had here.
struct Worlds<'a> {
    open: Vec<(Key, Bench<'a>)>,
    refused: Vec<(Key, String)>,
}

impl<'a> Worlds<'a> {
    fn refusal(&self, cell: &Cell, cores: Cores) -> Option<String> {
        if cores.placement(cell.way, false).is_none() {
            return Some("there is one processor only".to_owned());
        }
        let keys = cell.keys();
        self.refused.iter().find(|(key, _)| keys.contains(key)).map(|(_, reason)| reason.clone())
    }

    /// The worlds of a cell, their threads placed.
    fn of(&mut self, cell: &Cell, cores: Cores) -> Vec<&mut Bench<'a>> {
        let keys = cell.keys();
        let mut benches = Vec::new();
        for (key, bench) in &mut self.open {
            if let Some(nth) = keys.iter().position(|wanted| wanted == key) {
                if let Some(placement) = cores.placement(cell.way, nth > 0) {
                    bench.place(placement);
                }
                benches.push(bench);
            }
        }
        benches
    }
}

struct AllFlows {
    one: Arc<FlowSet>,
    many: Arc<FlowSet>,
    million: Arc<FlowSet>,
    /// The many, dealt out by a hash of their tuples.
    shards: [Arc<FlowSet>; 2],
}

impl AllFlows {
    fn new(settings: &Settings) -> Result<Self, natrig_traffic::FlowError> {
        let of = |count| {
            let mut scenario = base(settings);
            scenario.traffic.flows = count;
            flow_set(&scenario).map(Arc::new)
        };
        let many = of(settings.flows)?;
        let shards = [0, 1].map(|shard| {
            let hash = BuildHasherDefault::<DefaultHasher>::default();
            let own = many.iter().filter(|tuple| hash.hash_one(tuple) % 2 == shard).copied().collect();
            FlowSet::from_tuples(own).map(Arc::new)
        });
        let [first, second] = shards;
        Ok(Self { one: of(1)?, many, million: of(MILLION)?, shards: [first?, second?] })
    }

    fn of(&self, flows: Flows) -> &Arc<FlowSet> {
        match flows {
            Flows::One => &self.one,
            Flows::Many => &self.many,
            Flows::Million => &self.million,
        }
    }
}

fn rounds(
    session: &mut Session<'_, PathLimits>,
    settings: &Settings,
    cells: &[Cell],
    worlds: &mut Worlds<'_>,
    flows: &AllFlows,
    cores: Cores,
) -> Result<Status, TestError> {
    let mut rng = Pcg64Mcg::seed_from_u64(settings.seed);
    let limit = Duration::from_secs(u64::from(settings.time_limit_s));
    let mut longest = Duration::ZERO;
    for round in 0..settings.rounds {
        let began = session.started.elapsed();
        if began + longest > limit {
            return Ok(Status::TimeLimit);
        }
        session.record.measured.line_ns.extend(apart::line_ns(cores));
        let mut order: Vec<usize> = (0..cells.len()).collect();
        order.shuffle(&mut rng);
        // Some are measured at rates that this round has found.
        order.sort_by_key(|index| cells[*index].paced_by().is_some());
        for (nth, index) in order.into_iter().enumerate() {
            let cell = &cells[index];
            let done = (f64::from(round) + nth as f64 / cells.len() as f64) / f64::from(settings.rounds);
            session.phase(&format!("{}: {}", cell.name(settings), cell.offer.words()), done);
            let seed: u64 = rng.random();
            if session.record.measured.cells[index].refused.is_some() {
                session.record.measured.cells[index].rounds.push(None);
                continue;
            }
            let known = &session.record.measured.cells;
            let pace = cell.paced_by().and_then(|pace| cells.iter().position(|other| *other == pace));
            let pace = pace.and_then(|at| known[at].rounds.last()?.as_ref());
            let task = Task {
                cell,
                settings,
                flows: flows.of(cell.flows),
                shards: &flows.shards,
                seed,
                hint_pps: known[index].rate_pps.map(|rate| rate.median),
                pace_pps: pace.map(|round| round.rate_pps),
            };
            let (figure, wrong) = match task.measure(worlds.of(cell, cores)) {
                Ok(found) => (found.round, found.wrong),
                Err(reason) => {
                    session.record.measured.cells[index].refused = Some(reason);
                    (None, 0)
                }
            };
            if session.cancelled() {
                return Ok(Status::Interrupted);
            }
            let measured = &mut session.record.measured;
            measured.wrong += wrong;
            measured.cells[index].add(figure);
            session.save();
        }
        session.record.measured.judge(settings, cells);
        session.save();
        longest = longest.max(session.started.elapsed() - began);
    }
    Ok(Status::Complete)
}

/// A cell in a round.
struct Task<'a> {
    cell: &'a Cell,
    settings: &'a Settings,
    flows: &'a Arc<FlowSet>,
    shards: &'a [Arc<FlowSet>; 2],
    seed: u64,
    /// Where a search begins.
    hint_pps: Option<f64>,
    /// What the cell that this one goes by gave in this round.
    pace_pps: Option<f64>,
}

/// What a round gave, and frames that came out wrong.
#[derive(Default)]
struct Found {
    round: Option<Round>,
    wrong: u64,
}

impl Task<'_> {
    fn measure(&self, mut benches: Vec<&mut Bench<'_>>) -> Result<Found, String> {
        match (self.cell.offer, benches.as_mut_slice()) {
            (Offer::LossFree, [bench]) => self.search(bench),
            (Offer::Latency, [bench]) => self.latency(bench),
            (Offer::NewFlows, [bench]) => self.new_flows(bench),
            (Offer::Alone | Offer::LagConstant | Offer::LagPoisson | Offer::LagFloor, [bench]) => self.alone(bench),
            (Offer::RoundTrip, [bench]) => self.round_trip(bench),
            (Offer::FlatOut, [bench]) => {
                let mut experiment = self.experiment(bench)?;
                let trial = self.trial(&mut experiment, bench, Purpose::Fixed, FLAT_OUT_PPS, 1)?;
                Ok(Found::of(&[trial]))
            }
            (Offer::FlatOut, [first, second]) if self.cell.way == Way::TwoCores => self.side_by_side(first, second),
            (_, benches) => Err(format!("measure in {} worlds at once", benches.len())),
        }
    }

    fn experiment(&self, bench: &Bench<'_>) -> Result<Experiment, String> {
        self.experiment_with(bench, self.flows)
    }

    fn experiment_with(&self, bench: &Bench<'_>, flows: &Arc<FlowSet>) -> Result<Experiment, String> {
        let subject = Subject::new(bench, 0, self.cell.what.design(), self.seed).map_err(words)?;
        Experiment::new(bench, subject, flows, self.cell.frame_size()).map_err(words)
    }

    fn trial(
        &self,
        experiment: &mut Experiment,
        bench: &mut Bench<'_>,
        purpose: Purpose,
        rate_pps: f64,
        times_longer: u64,
    ) -> Result<Trial, String> {
        let duration_ns = u64::from(self.settings.trial_ms) * 1_000_000 * times_longer;
        let offer = TrialOffer { purpose, rate_pps, duration_ns, seed: self.seed >> 11, stamps: false };
        Ok(experiment.trial(bench, offer).map_err(words)?.trial)
    }

    fn search(&self, bench: &mut Bench<'_>) -> Result<Found, String> {
        let mut experiment = self.experiment(bench)?;
        let mut search = NdrSearch::new(NdrConfig {
            min_pps: 10_000.0,
            max_pps: FLAT_OUT_PPS,
            hint_pps: self.hint_pps,
            relative_precision: PRECISION,
            trial_duration_ns: u64::from(self.settings.trial_ms) * 1_000_000,
            attempts: ATTEMPTS,
            plain_loss_ratio: 0.05,
            max_trials: TRIALS_MAX,
        })
        .map_err(words)?;
        let mut best: Option<Trial> = None;
        let mut wrong = 0;
        loop {
            let rate_pps = match search.next() {
                Step::Trial { rate_pps, .. } => rate_pps,
                Step::Done(bounds) => {
                    let round = bounds.relevant_lower_pps.zip(best).map(|(rate_pps, best)| Round {
                        rate_pps,
                        generator_bound: bounds.generator_limited,
                        ..Round::of(&best)
                    });
                    return Ok(Found { round, wrong });
                }
            };
            let trial = self.trial(&mut experiment, bench, Purpose::Search, rate_pps, 1)?;
            wrong += wrong_frames(&trial);
            if wrong > 0 {
                return Ok(Found { round: None, wrong });
            }
            search.report(&outcome(&trial)).map_err(words)?;
            let passed = trial.is_valid() && trial.lost == 0;
            if passed && best.as_ref().is_none_or(|best| trial.rate_pps_offered >= best.rate_pps_offered) {
                best = Some(trial);
            }
        }
    }

    fn latency(&self, bench: &mut Bench<'_>) -> Result<Found, String> {
        let Some(kernel_pps) = self.pace_pps else { return Ok(Found::default()) };
        let mut experiment = self.experiment(bench)?;
        let trial = self.trial(&mut experiment, bench, Purpose::Latency, kernel_pps / 2.0, LATENCY_TRIALS)?;
        Ok(Found::of(&[trial]))
    }

    fn alone(&self, bench: &mut Bench<'_>) -> Result<Found, String> {
        let (arrivals, rate_pps, times_longer) = match (self.cell.offer, self.pace_pps) {
            (Offer::LagConstant | Offer::LagFloor, Some(pps)) => (Arrivals::Constant, pps / 2.0, LATENCY_TRIALS),
            (Offer::LagPoisson, Some(pps)) => (Arrivals::Poisson, pps / 2.0, LATENCY_TRIALS),
            (Offer::Alone, _) => (Arrivals::Constant, FLAT_OUT_PPS, 1),
            // There was no rate to take half of.
            _ => return Ok(Found::default()),
        };
        let duration_ns = u64::from(self.settings.trial_ms) * 1_000_000 * times_longer;
        let schedule = Schedule::new(arrivals, rate_pps, duration_ns, self.seed >> 11);
        let subject = Subject::new(bench, 0, self.cell.what.design(), self.seed).map_err(words)?;
        let (frame_bytes, offer) = (self.cell.frame_bytes_with_fcs(), self.cell.offer);
        let round = alone::send(bench, subject, self.flows, frame_bytes, schedule, duration_ns, offer)?;
        Ok(Found { round: Some(round), wrong: 0 })
    }

    fn round_trip(&self, bench: &mut Bench<'_>) -> Result<Found, String> {
        let mut experiment = self.experiment(bench)?;
        let trial = self.trial(&mut experiment, bench, Purpose::Latency, IDLE_PPS, IDLE_TRIALS)?;
        let mut found = Found::of(std::slice::from_ref(&trial));
        if let (Some(round), Some(answers)) = (&mut found.round, &trial.answers) {
            let ns = |quantile: Option<u64>| quantile.map(|ns| ns as f64);
            (round.latency_ns_p50, round.latency_ns_p99) =
                (ns(answers.round_trip.ns_p50), ns(answers.round_trip.ns_p99));
        }
        Ok(found)
    }

    fn new_flows(&self, bench: &mut Bench<'_>) -> Result<Found, String> {
        let mut experiment = self.experiment(bench)?;
        let (flows, took_ns) = experiment.new_flows(bench, FLAT_OUT_PPS).map_err(words)?;
        let round = Round {
            rate_pps: flows.received as f64 / (took_ns.max(1) as f64 / 1e9),
            lost: flows.sent as i64 - flows.received as i64,
            ..Round::default()
        };
        Ok(Found { round: Some(round), wrong: 0 })
    }

    /// Two worlds, each on a processor of its own, at the same time.
    fn side_by_side(&self, first: &mut Bench<'_>, second: &mut Bench<'_>) -> Result<Found, String> {
        let together = Barrier::new(2);
        // In memory nothing else makes two chains one: each has its share of the same flows.
        let in_memory = self.cell.what == What::BothMemory;
        let flows = if in_memory { self.shards.each_ref() } else { [self.flows; 2] };
        let flat_out = |bench: &mut Bench<'_>, flows: &Arc<FlowSet>| {
            let prepared = self.experiment_with(bench, flows).and_then(|mut experiment| {
                experiment.load(bench).map_err(words)?;
                Ok(experiment)
            });
            // Whatever happened, the other one waits here.
            together.wait();
            self.trial(&mut prepared?, bench, Purpose::Fixed, FLAT_OUT_PPS, 1)
        };
        let trials = std::thread::scope(|scope| {
            let other = scope.spawn(|| flat_out(second, flows[1]));
            let first = flat_out(first, flows[0]);
            let second = other.join().map_err(|_| "finish: a measuring thread panicked".to_owned())?;
            Ok::<_, String>([first?, second?])
        })?;
        Ok(Found::of(&trials))
    }
}

impl Found {
    /// Trials at the same time: rates add up.
    fn of(trials: &[Trial]) -> Self {
        let wrong = trials.iter().map(wrong_frames).sum();
        let mut rounds = trials.iter().map(Round::of);
        let Some(mut sum) = rounds.next().filter(|_| wrong == 0) else { return Self { round: None, wrong } };
        for round in rounds {
            let share = |role: &RoleCost, rate_pps: f64, all_pps: f64| RoleCost {
                ns_per_packet: role.ns_per_packet * rate_pps / all_pps,
                ..*role
            };
            let all_pps = sum.rate_pps + round.rate_pps;
            let of_sum = sum.roles.iter().map(|role| share(role, sum.rate_pps, all_pps));
            sum.roles = of_sum.chain(round.roles.iter().map(|role| share(role, round.rate_pps, all_pps))).collect();
            sum.rate_pps = all_pps;
            sum.lost += round.lost;
        }
        Self { round: Some(sum), wrong }
    }
}

impl Round {
    /// What a trial says: frames delivered over the time in which they were sent.
    fn of(trial: &Trial) -> Self {
        let delivered = trial.received.max(1) as f64;
        let ns = |quantile: Option<u64>| quantile.map(|ns| ns as f64);
        Self {
            rate_pps: trial.rate_pps_achieved * trial.received as f64 / trial.sent.max(1) as f64,
            generator_bound: false,
            lost: trial.lost,
            roles: trial
                .cpu
                .iter()
                .map(|time| RoleCost { role: time.role, cpu: time.cpu, ns_per_packet: time.busy_ns as f64 / delivered })
                .collect(),
            latency_ns_p50: ns(trial.latency.intended_to_received.ns_p50),
            latency_ns_p99: ns(trial.latency.intended_to_received.ns_p99),
            send_lag_ns_p999: None,
        }
    }
}

fn wrong_frames(trial: &Trial) -> u64 {
    trial.mistranslated + trial.corrupted
}

fn words(error: impl Display) -> String {
    error.to_string()
}

fn failed(error: impl Display) -> TestError {
    TestError::Failed(error.to_string())
}
