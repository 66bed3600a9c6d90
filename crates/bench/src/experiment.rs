//! One design under one frame size: fresh tables, every flow through once, then trials over the mappings that stand.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use natrig_lab::kernel_threads::KernelThreads;
use natrig_lab::stage::{PumpTimes, Stage, StageCounts};
use natrig_lab::topology::{Port, Topology, WorldUse};
use natrig_link::clock;
use natrig_traffic::{
    Expectation, FlowSet, FrameSizes, Generator, GeneratorConfig, Latency, ReceiveCounts, Receiver, Reflector,
    Schedule, TRIAL_ID_MAX, TTL,
};

use crate::engine::{EngineError, Engines};
use crate::judge;
use crate::result::{
    Answers, Dropped, KernelActivity, Latencies, LayerTime, Place, Preload, Purpose, Quantiles, Role, RoleTime, Trial,
    WrongFrame,
};
use crate::rig::{self, Layers, PhaseEnd, Placed, RigError, Session, TesterTimes, Traffic};
use crate::scenario::{Design, FrameMix, FrameSize, Lineup, Scenario, TrafficDirection};
use crate::world::{KernelError, World, kernel_drops};

/// Why an experiment cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A translator cannot be made.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The frame sizes cannot be sent.
    #[error("failed to {0}")]
    Sizes(#[from] natrig_traffic::SizeError),
    /// The frames cannot be made.
    #[error("failed to make a frame template: {0}")]
    Template(#[from] natrig_wire::WireError),
}

/// Rate at which mappings are made before a measurement, frames per second: safely below what any link here loses frames at.
const PRELOAD_PPS: f64 = 100_000.0;

/// How long mappings may have gone without all being used, in nanoseconds, before an experiment starts over: well below the shortest
/// timer of any profile (30 s).
const MAPPINGS_FRESH_NS: u64 = 10_000_000_000;

/// On top of a tenth of a trial's duration: what a short trial may be late by.
const GIVE_UP_SLACK_NS: u64 = 5_000_000;

/// Two TTLs are spent on the way, one at each layer.
const TTL_LEFT: u8 = TTL - 2;

/// The parts of a run that all its experiments use.
pub(crate) struct Bench<'a> {
    /// What is measured.
    pub scenario: &'a Scenario,
    /// Makes what stands at the layers.
    pub engines: &'a Engines,
    /// All flows.
    pub flows: Arc<FlowSet>,
    /// One for each lineup.
    pub worlds: Vec<World>,
    /// The two threads' processors.
    pub placed: Placed,
    /// The kernel's threads on these processors.
    pub softirq: KernelThreads,
    /// Set when the run is to end early.
    pub cancel: &'a AtomicBool,
    /// Number of the last session.
    pub sessions: u32,
}

/// What a trial offers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offer {
    /// What for.
    pub purpose: Purpose,
    /// Frames per second.
    pub rate_pps: f64,
    /// For how long.
    pub duration_ns: u64,
    /// For Poisson arrivals.
    pub seed: u64,
}

/// A trial and the histograms that its quantiles come from.
#[derive(Debug)]
pub(crate) struct Measured {
    /// For the result.
    pub trial: Trial,
    /// Latencies at the servers' end.
    pub latency: Latency,
    /// The generator's send lag.
    pub lag_ns: hdrhistogram::Histogram<u64>,
    /// True if it was called off.
    pub cancelled: bool,
}

/// A design with its tables.
pub(crate) struct Experiment {
    /// Which world it is in.
    world: usize,
    design: Design,
    frame_size: FrameSize,
    layers: Layers,
    traffic: Traffic,
    /// When every flow had last been used.
    loaded_at_ns: Option<u64>,
    seed: u64,
}

impl Experiment {
    /// Sets up `design` with empty tables.
    ///
    /// # Errors
    /// [`SetupError`].
    pub(crate) fn new(
        bench: &Bench<'_>,
        world: usize,
        design: Design,
        frame_size: FrameSize,
        seed: u64,
    ) -> Result<Self, SetupError> {
        let scenario = bench.scenario;
        let World { lineup, links, .. } = &bench.worlds[world];
        let sizes = frame_sizes(frame_size)?;
        let flows = &bench.flows;
        let generator = Generator::new(GeneratorConfig {
            flows: flows.clone(),
            sizes: sizes.clone(),
            endpoint: rig::endpoint(Port::Pods, lineup.boxes()),
            burst: links.generator_burst(),
            refused: links.refused(),
        })?;
        let at_server = Expectation::AtServer { sources: sources_expected(design, &scenario.topology), ttl: TTL_LEFT };
        let answers = scenario.traffic.direction == TrafficDirection::Both;
        let returns =
            answers.then(|| Receiver::new(flows.clone(), sizes.clone(), Expectation::AtPod { ttl: TTL_LEFT }));
        let receiver = Receiver::new(flows.clone(), sizes, at_server);
        let reflector = Reflector::new(receiver, rig::endpoint(Port::Internet, lineup.boxes()), answers);
        Ok(Self {
            world,
            design,
            frame_size,
            layers: measured_layers(bench, *lineup, design, seed)?,
            traffic: Traffic { generator, returns, reflector },
            loaded_at_ns: None,
            seed,
        })
    }

    /// Runs one trial, after test phase 1 (RFC 9693 §4.2) where mappings do not stand.
    ///
    /// # Errors
    /// [`TrialError`]; losing frames is no error but what is measured.
    pub(crate) fn trial(&mut self, bench: &mut Bench<'_>, offer: Offer) -> Result<Measured, TrialError> {
        let fresh = |at: u64| clock::now_ns().saturating_sub(at) < MAPPINGS_FRESH_NS;
        let preload = if self.loaded_at_ns.is_some_and(fresh) { None } else { Some(self.preload(bench)?) };
        let arrivals = bench.scenario.traffic.schedule;
        let schedule = Schedule::new(arrivals, offer.rate_pps, offer.duration_ns, offer.seed);
        // A generator that cannot keep up must not hold up the search: what it has not sent by then stays unsent.
        let give_up_after_ns = offer.duration_ns + offer.duration_ns / 10 + GIVE_UP_SLACK_NS;
        let phase = self.phase(bench, schedule, give_up_after_ns)?;
        if phase.sent >= u64::from(bench.flows.len()) {
            self.loaded_at_ns = Some(clock::now_ns());
        }
        let mut trial = self.describe(&offer, preload, &phase);
        judge::judge(&mut trial, &bench.scenario.limits, phase.end.sent_after_ns, bench.flows.len());
        if trial.mistranslated + trial.corrupted > 0 {
            // The next trial must show its own faults, not this one's.
            self.loaded_at_ns = None;
        }
        Ok(Measured {
            trial,
            latency: self.traffic.reflector.receiver().latency().clone(),
            lag_ns: self.traffic.generator.counts().lag_ns.clone(),
            cancelled: phase.end.cancelled,
        })
    }

    /// Every flow once, through empty tables.
    fn preload(&mut self, bench: &mut Bench<'_>) -> Result<Preload, TrialError> {
        self.layers = measured_layers(bench, bench.worlds[self.world].lineup, self.design, self.seed)?;
        bench.worlds[self.world].reset_kernel(bench.engines, self.design)?;
        self.traffic.reflector.receiver_mut().forget_bindings();
        let flows = u64::from(bench.flows.len());
        let phase = self.phase(bench, Schedule::count(flows, PRELOAD_PPS), u64::MAX)?;
        self.loaded_at_ns = Some(clock::now_ns());
        Ok(Preload { sent: phase.sent, received: phase.there.received })
    }

    fn phase(&mut self, bench: &mut Bench<'_>, schedule: Schedule, give_up_after_ns: u64) -> Result<Phase, TrialError> {
        let world = &mut bench.worlds[self.world];
        world.links.flush(2).map_err(RigError::from)?;
        bench.sessions += 1;
        let session = Session {
            trial: (bench.sessions % u32::from(TRIAL_ID_MAX)) as u8 + 1,
            schedule,
            give_up_after_ns,
            threads: vec![world.napi.clone(), bench.softirq.clone()],
        };
        let kernel_before = world.read_kernel()?;
        let links_before = world.links.stats();
        let stages_before: Vec<StageCounts> = self.layers.stages().map(|(_, stage)| stage.counts().clone()).collect();
        (self.layers.node_times, self.layers.gateway_times) = (PumpTimes::default(), PumpTimes::default());
        let threads = [(Role::Napi, &world.napi), (Role::Softirq, &bench.softirq)];
        let threads_before_ns = threads.map(|(_, threads)| threads.busy_ns());
        let end = session.run(&mut world.links, &mut self.layers, &mut self.traffic, bench.placed, bench.cancel)?;
        let ran = |((role, threads), before): ((Role, &KernelThreads), Option<u64>)| {
            Some((role, threads.busy_ns()?.saturating_sub(before?)))
        };
        let threads_ns: Vec<(Role, u64)> = threads.into_iter().zip(threads_before_ns).filter_map(ran).collect();
        let links_after = world.links.stats();
        let kernel_after = world.read_kernel()?;

        let mut drops = rig::lost_between(&links_before, &links_after);
        for ((place, stage), before) in self.layers.stages().zip(&stages_before) {
            stage_drops(place, stage, before, &mut drops);
        }
        kernel_drops(world.lineup.boxes(), &kernel_before, &kernel_after, &mut drops);
        let (answered, refused) = self.traffic.reflector.answers();
        rig::add_drop(&mut drops, Place::Internet, "answer_refused", refused);
        rig::add_drop(&mut drops, Place::Node, "receive_ring_full", self.traffic.generator.counts().refused);
        Ok(Phase {
            sent: self.traffic.generator.counts().sent,
            there: self.traffic.reflector.receiver().counts(),
            answered: answered + refused,
            back: self.traffic.returns.as_ref().map(Receiver::counts),
            drops,
            cpu: self.role_times(&end, bench.placed, &threads_ns),
            kernel: world.kernel_activity(&kernel_before, &kernel_after)?,
            lineup: world.lineup,
            end,
        })
    }

    /// How long each role that there is was busy.
    fn role_times(&self, end: &PhaseEnd, placed: Placed, threads_ns: &[(Role, u64)]) -> Vec<RoleTime> {
        let TesterTimes { generate_ns, reflect_ns, collect_ns } = end.tester;
        let mut roles = vec![(Role::Generator, placed.tester, generate_ns)];
        for (place, _) in self.layers.stages() {
            let (role, times) = match place {
                Place::Node => (Role::Node, &self.layers.node_times),
                Place::Gateway | Place::Pods | Place::Internet => (Role::Gateway, &self.layers.gateway_times),
            };
            roles.push((role, placed.layers, times.total_ns()));
        }
        roles.push((Role::Reflector, placed.tester, reflect_ns));
        roles.extend(self.traffic.returns.as_ref().map(|_| (Role::Collector, placed.tester, collect_ns)));
        roles.extend(threads_ns.iter().map(|(role, busy_ns)| {
            // One thread on each measuring processor, or all where the layers would be.
            (*role, if *role == Role::Napi { placed.layers } else { None }, *busy_ns)
        }));
        roles.into_iter().map(|(role, cpu, busy_ns)| RoleTime { role, cpu, busy_ns }).collect()
    }

    fn describe(&self, offer: &Offer, preload: Option<Preload>, phase: &Phase) -> Trial {
        let Phase { there, back, .. } = phase;
        let latency = self.traffic.reflector.receiver().latency();
        let sent_after_s = phase.end.sent_after_ns.max(offer.duration_ns) as f64 / 1e9;
        let dropped: u64 = phase.drops.iter().map(|drop| drop.frames).sum();
        let ended = |counts: &ReceiveCounts| counts.received + counts.corrupted + counts.mistranslated;
        let returned = back.as_ref().map_or(0, ended);
        let answers = self.traffic.returns.as_ref().zip(back.as_ref()).map(|(receiver, back)| Answers {
            sent: phase.answered,
            received: back.received,
            duplicated: back.duplicated,
            corrupted: back.corrupted,
            mistranslated: back.mistranslated,
            round_trip: Quantiles::of(&receiver.latency().intended_ns),
        });
        Trial {
            number: 0,
            round: 0,
            engines: phase.lineup,
            design: self.design,
            frame_size: self.frame_size,
            purpose: offer.purpose,
            seed: offer.seed,
            rate_pps_offered: offer.rate_pps,
            rate_pps_achieved: phase.sent as f64 / sent_after_s,
            duration_ns: offer.duration_ns,
            preload,
            sent: phase.sent,
            received: there.received,
            lost: phase.sent as i64 - there.received as i64,
            reordered: there.reordered,
            duplicated: there.duplicated,
            corrupted: there.corrupted,
            mistranslated: there.mistranslated,
            answers,
            unaccounted: (phase.sent + phase.answered) as i64 - (ended(there) + returned + dropped) as i64,
            drops: phase.drops.clone(),
            wrong_frame: self.wrong_frame(),
            invalid: Vec::new(),
            latency: Latencies {
                intended_to_received: Quantiles::of(&latency.intended_ns),
                sent_to_received: Quantiles::of(&latency.sent_ns),
                send_lag: Quantiles::of(&self.traffic.generator.counts().lag_ns),
            },
            layer_times: self.layers.stages().map(|(place, _)| self.layer_time(place)).collect(),
            cpu: phase.cpu.clone(),
            cpu_ns_per_packet: (there.received > 0).then(|| {
                let busy_ns: u64 = phase.cpu.iter().map(|role| role.busy_ns).sum();
                busy_ns as f64 / there.received as f64
            }),
            kernel: phase.kernel.clone(),
        }
    }

    fn layer_time(&self, place: Place) -> LayerTime {
        let times = if place == Place::Node { &self.layers.node_times } else { &self.layers.gateway_times };
        let PumpTimes { frames, bursts, recv_ns, process_ns, send_ns } = *times;
        LayerTime { place, frames, bursts, recv_ns, process_ns, send_ns }
    }

    fn wrong_frame(&self) -> Option<WrongFrame> {
        let there = self.traffic.reflector.receiver().fault_sample();
        let back = || self.traffic.returns.as_ref().and_then(Receiver::fault_sample);
        there.or_else(back).map(|sample| WrongFrame {
            fault: sample.fault,
            sent_tuple: sample.sent.map(|tuple| tuple.to_string()),
            bytes_hex: sample.bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }
}

/// Why a trial could not be run.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The experiment could not start over.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Frames could not be moved.
    #[error(transparent)]
    Rig(#[from] RigError),
    /// The kernel could not be told, or asked.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// What a session left in the counters.
struct Phase {
    lineup: Lineup,
    end: PhaseEnd,
    sent: u64,
    there: ReceiveCounts,
    answered: u64,
    back: Option<ReceiveCounts>,
    drops: Vec<Dropped>,
    cpu: Vec<RoleTime>,
    kernel: Vec<KernelActivity>,
}

/// The boxes of `design` with fresh tables, in a world that is measured in.
pub(crate) fn measured_layers(
    bench: &Bench<'_>,
    lineup: Lineup,
    design: Design,
    seed: u64,
) -> Result<Layers, EngineError> {
    layers(bench.engines, &bench.scenario.topology, lineup, design, WorldUse::Measurement(lineup.boxes()), seed)
}

/// The boxes of `design` with fresh tables.
pub(crate) fn layers(
    engines: &Engines,
    topology: &Topology,
    lineup: Lineup,
    design: Design,
    world: WorldUse,
    seed: u64,
) -> Result<Layers, EngineError> {
    Ok(Layers::new(topology, world, engines.stages(lineup, design, seed)?))
}

/// The source addresses that servers must see in `design`; `None`: the pod's own tuple.
pub(crate) fn sources_expected(design: Design, topology: &Topology) -> Option<Vec<Ipv4Addr>> {
    match design {
        Design::None => None,
        Design::Node => Some(topology.node.addresses.clone()),
        Design::Gateway | Design::Both => Some(topology.gateway.addresses.clone()),
    }
}

/// The scenario's word for sizes as the generator's cycle.
pub(crate) fn frame_sizes(size: FrameSize) -> Result<FrameSizes, natrig_traffic::SizeError> {
    match size {
        FrameSize::Bytes(bytes) => FrameSizes::cycle(&[bytes]),
        FrameSize::Mix(FrameMix::Imix) => Ok(FrameSizes::imix()),
    }
}

fn stage_drops(place: Place, stage: &Stage, before: &StageCounts, drops: &mut Vec<Dropped>) {
    let earlier: Vec<(&str, u64)> = before.dropped().collect();
    for (reason, frames) in stage.counts().dropped() {
        let was = earlier.iter().find(|(name, _)| *name == reason).map_or(0, |(_, frames)| *frames);
        rig::add_drop(drops, place, reason, frames - was);
    }
}
