//! One design under one frame size: fresh tables, every flow through once, then trials over the mappings that stand.

use std::net::Ipv4Addr;
use std::sync::Arc;

use hdrhistogram::Histogram;
use natrig_lab::stage::PumpTimes;
use natrig_lab::topology::Topology;
use natrig_link::clock;
use natrig_link::passage::Sample;
use natrig_traffic::{
    Expectation, FlowSet, FrameSizes, Generator, GeneratorConfig, Latency, NewFlows, ReceiveCounts, Receiver,
    Reflector, STAMP_AT, Schedule, TTL,
};

use crate::bed::{Account, Bench, Outlet, Subject, TrialError};
use crate::engine::EngineError;
use crate::hops::{Journeys, SAMPLES_MAX};
use crate::judge;
use crate::result::{
    Answers, Dropped, KernelActivity, Latencies, LayerTime, Noise, Place, Preload, Purpose, Quantiles, Role, RoleTime,
    TableCount, Trial, WrongFrame, to_hex,
};
use crate::rig::{self, PhaseEnd, Placed, TesterTimes, Traffic};
use crate::scenario::{Design, FrameMix, FrameSize, Lineup, TrafficDirection};

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
pub(crate) const PRELOAD_PPS: f64 = 100_000.0;

/// How long mappings may have gone without all being used, in nanoseconds, before an experiment starts over: well below the shortest
/// timer of any profile (30 s).
const MAPPINGS_FRESH_NS: u64 = 10_000_000_000;

/// What a trial offers.
#[derive(Debug, Clone, Copy)]
pub struct Offer {
    /// What for.
    pub purpose: Purpose,
    /// Frames per second.
    pub rate_pps: f64,
    /// For how long.
    pub duration_ns: u64,
    /// For Poisson arrivals.
    pub seed: u64,
    /// Whether frames are stamped at the layers.
    pub stamps: bool,
}

/// A trial and the histograms that its quantiles come from.
#[derive(Debug)]
pub struct Measured {
    /// For the result.
    pub trial: Trial,
    /// Latencies at the servers' end.
    pub latency: Latency,
    /// The generator's send lag.
    pub lag_ns: Histogram<u64>,
    /// Those of the frames that opened a flow meanwhile, which are in neither of the others.
    pub(crate) new: Latencies,
    /// Times between taps; none in a search, where nobody reads them.
    pub(crate) journeys: Option<Journeys>,
    /// True if it was called off.
    pub cancelled: bool,
}

/// A design with its tables.
pub struct Experiment {
    subject: Subject,
    flows: Arc<FlowSet>,
    frame_size: FrameSize,
    traffic: Traffic,
    /// Flows that stand before a trial; those behind them are opened in it.
    established: u32,
    /// How these come in between.
    new: Option<NewFlows>,
    /// When every flow had last been used.
    loaded_at_ns: Option<u64>,
}

impl Experiment {
    /// Traffic for a subject whose tables have yet to be filled.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn new(
        bench: &Bench<'_>,
        subject: Subject,
        flows: &Arc<FlowSet>,
        frame_size: FrameSize,
    ) -> Result<Self, SetupError> {
        let scenario = bench.scenario;
        let sizes = frame_sizes(frame_size)?;
        let Outlet { endpoint, burst, refused, .. } = subject.initiator(bench);
        let (flow_set, frames) = (flows.clone(), sizes.clone());
        let generator = Generator::new(GeneratorConfig { flows: flow_set, sizes: frames, endpoint, burst, refused })?;
        let sources = sources_expected(subject.design(), &scenario.topology);
        let ttl = TTL - subject.lineup(bench).routers();
        let at_server = Expectation::AtServer { sources, ttl };
        let answers = scenario.traffic.direction == TrafficDirection::Both;
        let returns = answers.then(|| Receiver::new(flows.clone(), sizes.clone(), Expectation::AtPod { ttl }));
        let mut receiver = Receiver::new(flows.clone(), sizes, at_server);
        receiver.heads(subject.heads(bench));
        let reflector = Reflector::new(receiver, subject.responder(bench).endpoint, answers);
        let (schedule, times) = (Schedule::count(0, 1.0), TesterTimes::default());
        let traffic = Traffic { generator, returns, reflector, schedule, times };
        let established = flows.len();
        Ok(Self { subject, flows: flows.clone(), frame_size, traffic, established, new: None, loaded_at_ns: None })
    }

    /// From the next trial on the flows behind the first `established` are opened while it runs, through tables that hold only the others;
    /// one frame in `one_in` opens one.
    pub(crate) fn open_meanwhile(&mut self, established: u32, one_in: u32) {
        self.established = established;
        self.new = Some(NewFlows { first: established, count: self.flows.len() - established, one_in });
        self.traffic.reflector.receiver_mut().new_from(established);
        self.loaded_at_ns = None;
    }

    /// Runs one trial, after test phase 1 (RFC 9693 §4.2) where mappings do not stand.
    ///
    /// # Errors
    /// [`TrialError`]; losing frames is no error but what is measured.
    pub fn trial(&mut self, bench: &mut Bench<'_>, offer: Offer) -> Result<Measured, TrialError> {
        let preload = self.load(bench)?;
        let arrivals = bench.scenario.traffic.schedule;
        let schedule = Schedule::new(arrivals, offer.rate_pps, offer.duration_ns, offer.seed);
        // A generator that cannot keep up must not hold up the search: what it has not sent by then stays unsent.
        let give_up_after_ns = bench.scenario.limits.give_up_after_ns(offer.duration_ns);
        let frames = (offer.rate_pps * offer.duration_ns as f64 / 1e9) as u64;
        let sample = offer.stamps.then(|| Sample::of(frames, SAMPLES_MAX, STAMP_AT));
        self.sample(bench, sample)?;
        self.traffic.generator.introduce(self.new);
        let timed = matches!(offer.purpose, Purpose::Latency | Purpose::Load);
        let phase = self.phase(bench, schedule, give_up_after_ns, timed.then_some(offer.duration_ns))?;
        self.traffic.generator.introduce(None);
        let journeys = (sample.is_some() && offer.purpose != Purpose::Search).then(|| self.journeys(bench));
        if phase.sent >= u64::from(self.established) {
            self.loaded_at_ns = Some(clock::now_ns());
        }
        let mut trial = self.describe(&offer, preload, &phase);
        trial.hops = journeys.as_ref().zip(sample).and_then(|(journeys, sample)| journeys.summary(sample.one_in()));
        let context = judge::Context {
            limits: &bench.scenario.limits,
            sent_after_ns: phase.end.sent_after_ns,
            established: self.established,
            flows: self.flows.len(),
            own_processors: self.subject.has_own_processors(bench),
            clocks_off: phase.clocks_off,
            disordered: journeys.as_ref().map_or(0, |journeys| journeys.disordered),
        };
        judge::judge(&mut trial, context);
        if trial.mistranslated + trial.corrupted > 0 {
            // The next trial must show its own faults, not this one's.
            self.loaded_at_ns = None;
        }
        Ok(Measured {
            trial,
            latency: self.traffic.reflector.receiver().latency(),
            lag_ns: self.traffic.generator.lag_ns(),
            new: latencies(&self.traffic.reflector.receiver().latency_new(), &self.traffic.generator.new_lag_ns()),
            journeys,
            cancelled: phase.end.cancelled,
        })
    }

    /// Has every flow make its mapping, unless all have just been used: what [`Self::trial`] does first.
    ///
    /// # Errors
    /// [`TrialError`].
    pub fn load(&mut self, bench: &mut Bench<'_>) -> Result<Option<Preload>, TrialError> {
        let fresh = |at: u64| clock::now_ns().saturating_sub(at) < MAPPINGS_FRESH_NS;
        if self.loaded_at_ns.is_some_and(fresh) { Ok(None) } else { self.preload(bench).map(Some) }
    }

    /// Every flow once through empty tables, one after the other at `rate_pps` or as fast as it goes. Also how long it took until the last
    /// had left, in nanoseconds.
    ///
    /// # Errors
    /// [`TrialError`].
    pub fn new_flows(&mut self, bench: &mut Bench<'_>, rate_pps: f64) -> Result<(Preload, u64), TrialError> {
        self.subject.empty_tables(bench)?;
        self.traffic.reflector.receiver_mut().forget_bindings();
        self.sample(bench, None)?;
        let flows = u64::from(self.established);
        let phase = self.phase(bench, Schedule::count(flows, rate_pps), u64::MAX, None)?;
        self.loaded_at_ns = Some(clock::now_ns());
        Ok((Preload { sent: phase.sent, received: phase.there.received }, phase.end.sent_after_ns))
    }

    /// Every flow once, through empty tables.
    fn preload(&mut self, bench: &mut Bench<'_>) -> Result<Preload, TrialError> {
        self.new_flows(bench, PRELOAD_PPS).map(|(preload, _)| preload)
    }

    #[cfg(test)]
    pub(crate) fn layers_mut(&mut self) -> &mut rig::Layers {
        self.subject.layers_mut()
    }

    /// Whether any frame can be stamped on the way.
    pub(crate) fn has_taps(&self, bench: &Bench<'_>) -> bool {
        self.subject.has_taps(bench)
    }

    /// Says which frames are stamped in the next session.
    fn sample(&mut self, bench: &mut Bench<'_>, sample: Option<Sample>) -> Result<(), TrialError> {
        self.traffic.reflector.receiver_mut().sample(sample, SAMPLES_MAX as usize);
        self.subject.sample(bench, sample)
    }

    fn journeys(&self, bench: &Bench<'_>) -> Journeys {
        Journeys::join(self.traffic.reflector.receiver().arrivals(), &self.subject.passages(bench))
    }

    fn phase(
        &mut self,
        bench: &mut Bench<'_>,
        schedule: Schedule,
        give_up_after_ns: u64,
        timed_ns: Option<u64>,
    ) -> Result<Phase, TrialError> {
        self.traffic.schedule = schedule;
        let Account { end, mut drops, threads_ns, kernel, noise, clocks_off } =
            self.subject.session(bench, &mut self.traffic, give_up_after_ns, timed_ns)?;
        let (answered, refused) = self.traffic.reflector.answers();
        rig::add_drop(&mut drops, Place::Internet, "answer_refused", refused);
        self.subject.initiator(bench).add_refused(&mut drops, self.traffic.generator.counts().refused);
        Ok(Phase {
            sent: self.traffic.generator.counts().sent,
            there: self.traffic.reflector.receiver().counts(),
            answered: answered + refused,
            back: self.traffic.returns.as_ref().map(Receiver::counts),
            drops,
            cpu: self.role_times(bench.placed, &threads_ns),
            kernel,
            lineup: self.subject.lineup(bench),
            noise,
            clocks_off,
            end,
        })
    }

    /// How long each role that there is was busy.
    fn role_times(&self, placed: Placed, threads_ns: &[(Role, u64)]) -> Vec<RoleTime> {
        let TesterTimes { generate_ns, reflect_ns, collect_ns } = self.traffic.times;
        let layers = self.subject.layers();
        let mut roles = vec![(Role::Generator, placed.tester, generate_ns)];
        for (place, _) in layers.stages() {
            let (role, times) = match place {
                Place::Node => (Role::Node, &layers.node_times),
                Place::Gateway | Place::Pods | Place::Internet => (Role::Gateway, &layers.gateway_times),
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
            design: self.subject.design(),
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
            latency: latencies(&latency, &self.traffic.generator.lag_ns()),
            layer_times: self.subject.layers().stages().map(|(place, _)| self.layer_time(place)).collect(),
            cpu: phase.cpu.clone(),
            cpu_ns_per_packet: (there.received > 0).then(|| {
                let busy_ns: u64 = phase.cpu.iter().map(|role| role.busy_ns).sum();
                busy_ns as f64 / there.received as f64
            }),
            kernel: phase.kernel.clone(),
            hops: None,
            stamped: offer.stamps,
            tables: self.tables(),
            noise: phase.noise,
        }
    }

    fn layer_time(&self, place: Place) -> LayerTime {
        let layers = self.subject.layers();
        let times = if place == Place::Node { &layers.node_times } else { &layers.gateway_times };
        let PumpTimes { frames, bursts, recv_ns, process_ns, send_ns } = *times;
        LayerTime { place, frames, bursts, recv_ns, process_ns, send_ns }
    }

    /// Connections that the layers of natrig's own know, where they translate.
    fn tables(&self) -> Vec<TableCount> {
        let stages = self.subject.layers().stages();
        stages.filter_map(|(place, stage)| Some(TableCount { place, connections: stage.sessions()? })).collect()
    }

    fn wrong_frame(&self) -> Option<WrongFrame> {
        let there = self.traffic.reflector.receiver().fault_sample();
        let back = || self.traffic.returns.as_ref().and_then(Receiver::fault_sample);
        there.or_else(back).map(|sample| WrongFrame {
            fault: sample.fault,
            sent_tuple: sample.sent.map(|tuple| tuple.to_string()),
            sent_hex: self.traffic.generator.frame(&sample.stamp).map(|bytes| to_hex(&bytes)),
            bytes_hex: to_hex(&sample.bytes),
        })
    }
}

fn latencies(latency: &Latency, lag_ns: &Histogram<u64>) -> Latencies {
    Latencies {
        intended_to_received: Quantiles::of(&latency.intended_ns),
        sent_to_received: Quantiles::of(&latency.sent_ns),
        send_lag: Quantiles::of(lag_ns),
    }
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
    noise: Option<Noise>,
    clocks_off: Vec<(Place, u64)>,
}

/// The source addresses that servers must see in `design`; `None`: the pod's own tuple.
pub fn sources_expected(design: Design, topology: &Topology) -> Option<Vec<Ipv4Addr>> {
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
