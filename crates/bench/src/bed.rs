//! The test bed: worlds that stand, in each a design whose tables can be emptied, and sessions of whatever talks at the two ends.

use std::borrow::Cow;
use std::sync::atomic::AtomicBool;

use natrig_lab::kernel_threads::KernelThreads;
use natrig_lab::noise::{CoreActivity, CoreReading, core_mhz};
use natrig_lab::stage::{PumpTimes, Stage, StageCounts};
use natrig_lab::topology::{Port, Topology, WorldUse};
use natrig_link::affinity::{self, DmaLatencyGuard};
use natrig_link::passage::{Passage, Sample};
use natrig_link::priority::{self, UrgentTime};
use natrig_link::{OpenError, clock};
use natrig_traffic::{Endpoint, Refused, TRIAL_ID_MAX};

use crate::carrier::Carrier;
use crate::engine::{EngineError, Engines};
use crate::result::{Dropped, Environment, KernelActivity, LinkFacts, NO_TAP, Noise, Place, Role};
use crate::rig::{self, Layers, PhaseEnd, Placed, RigError, Session, Talk};
use crate::scenario::{Design, Engine, Lineup, Placement, Scenario};
use crate::world::{KernelError, World, WorldError, Worlds, kernel_drops};

/// A week: longer than any timer of a profile.
const BEYOND_TIMERS_NS: u64 = 7 * 24 * 3600 * 1_000_000_000;

/// How often an empty table is deleted for comparison; the median counts.
const CONTROLS: u64 = 5;

/// The worlds of a scenario and what all experiments in them use.
pub struct Bench<'a> {
    /// What is measured.
    pub(crate) scenario: &'a Scenario,
    /// Makes what stands at the layers.
    pub(crate) engines: &'a Engines,
    /// One for each lineup.
    pub(crate) worlds: Vec<World>,
    /// The two threads' processors.
    pub(crate) placed: Placed,
    /// The kernel's threads on these processors.
    softirq: KernelThreads,
    /// Set when the run is to end early.
    pub(crate) cancel: &'a AtomicBool,
    /// Number of the last session.
    sessions: u32,
    /// While it is there, idle processors do not sleep deeply.
    _awake: Option<DmaLatencyGuard>,
    /// How long measuring threads can be before all others; none where they may not.
    urgent_time: Option<UrgentTime>,
}

/// Why a session could not be run.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The tables could not be emptied.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Frames could not be moved.
    #[error(transparent)]
    Rig(#[from] RigError),
    /// The kernel could not be told, or asked.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

impl<'a> Bench<'a> {
    /// Builds a world for each lineup of `scenario`, with links for frames of up to `frame_len_max` bytes (without FCS), and writes into
    /// `environment` and `warnings` what there is to know of them.
    ///
    /// # Errors
    /// [`WorldError`].
    pub fn open(
        scenario: &'a Scenario,
        engines: &'a Engines,
        carrier: &Carrier,
        frame_len_max: usize,
        cancel: &'a AtomicBool,
        environment: &mut Environment,
        warnings: &mut Vec<String>,
    ) -> Result<Self, WorldError> {
        let placed = Placed::new(scenario.link.placement);
        let opened = Worlds::open(scenario, carrier, placed, frame_len_max)?;
        warnings.extend(opened.warnings);
        let worlds = opened.worlds;
        if let Some(world) = worlds.first() {
            environment.link = LinkFacts { candidates: opened.candidates, ..world.links.describe().into() };
        }
        let refusals = opened.refusals.iter();
        environment.link.notes.extend(refusals.map(|refusal| format!("not the first choice: {refusal}")));
        let mut untapped: Vec<String> = worlds.iter().flat_map(|world| &world.links.untapped).map(no_tap).collect();
        untapped.dedup();
        environment.link.notes.extend(untapped);
        environment.placement = placed.threads(&scenario.lineups(), scenario.link.kernel);
        environment.nats = engines.facts();
        let softirq = KernelThreads::softirq(&placed.processors());
        let awake = affinity::hold_dma_latency_at_zero();
        environment.link.notes.push(match awake {
            Some(_) => "idle processors are kept from deep sleep (/dev/cpu_dma_latency held at 0)".to_owned(),
            None => "idle processors may sleep deeply: /dev/cpu_dma_latency is not ours to hold at 0".to_owned(),
        });
        let urgent_time = UrgentTime::available();
        environment.link.notes.push(match urgent_time {
            Some(_) => "while latency is measured, for up to 0.7 s, no ordinary thread takes the processor from those that move frames (SCHED_FIFO)".to_owned(),
            None => "other threads may take the processor from those that move frames: real-time priority is not ours to have".to_owned(),
        });
        Ok(Self { scenario, engines, worlds, placed, softirq, cancel, sessions: 0, _awake: awake, urgent_time })
    }

    /// Has the threads of further sessions run elsewhere. The kernel's threads stay where they are.
    pub fn place(&mut self, placement: Placement) {
        self.placed = Placed::new(placement);
        self.softirq = KernelThreads::softirq(&self.placed.processors());
    }

    /// What stands at the layers, one entry for each world.
    pub fn lineups(&self) -> impl Iterator<Item = Lineup> {
        self.worlds.iter().map(|world| world.lineup)
    }

    /// Writes the settings of the kernel's boxes into `environment`: once it has been told to translate for the first time.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn note_kernel_settings(&self, environment: &mut Environment) -> Result<(), KernelError> {
        for world in &self.worlds {
            environment.kernel.extend(world.kernel_settings()?);
        }
        Ok(())
    }

    /// Takes the worlds down. What cannot be taken down cleanly is said in `warnings`.
    pub fn close(self, warnings: &mut Vec<String>) {
        for world in self.worlds {
            if let Err(error) = world.close() {
                warnings.push(format!("the world could not be taken down cleanly: {error}"));
            }
        }
    }
}

/// A design in a world, with its tables.
pub struct Subject {
    world: usize,
    design: Design,
    seed: u64,
    layers: Layers,
}

/// What a session left in the counters of everything between the two ends.
#[derive(Debug, Clone)]
pub struct Account {
    /// When it was over.
    pub end: PhaseEnd,
    /// Frames that ended on the way, by place and reason. What the ends themselves know is not in it.
    pub drops: Vec<Dropped>,
    /// How long the kernel's threads were busy, where that can be told.
    pub threads_ns: Vec<(Role, u64)>,
    /// What the kernel did at the boxes that it forwards at.
    pub kernel: Vec<KernelActivity>,
    /// What else went on; none where threads are not pinned, or the kernel does not tell.
    pub noise: Option<Noise>,
    /// Layers whose clock is not the tester's, and by how many nanoseconds it is off, at least.
    pub clocks_off: Vec<(Place, u64)>,
}

/// How frames leave one of the two ends.
#[derive(Debug, Clone, Copy)]
pub struct Outlet {
    /// Their MAC addresses.
    pub endpoint: Endpoint,
    /// How many should be handed to the link at once, at most.
    pub burst: usize,
    /// What becomes of those that it does not take.
    pub refused: Refused,
    /// How many frames may be under way to the other end before a ring could have no room for one; none where the link itself waits.
    pub room: Option<usize>,
    /// The box next to it.
    pub next: Place,
}

impl Outlet {
    /// Adds frames that the link did not take and that are lost: it was the next box's receive ring that had no room.
    pub fn add_refused(&self, drops: &mut Vec<Dropped>, frames: u64) {
        rig::add_drop(drops, self.next, "receive_ring_full", frames);
    }
}

impl Subject {
    /// `design` in the world of that number (in the order of [`Bench::lineups`]). The kernel's tables are emptied by
    /// [`Self::empty_tables`] only.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn new(bench: &Bench<'_>, world: usize, design: Design, seed: u64) -> Result<Self, EngineError> {
        let layers = measured_layers(bench, bench.worlds[world].lineup, design, seed)?;
        Ok(Self { world, design, seed, layers })
    }

    /// What stands at the layers.
    pub fn lineup(&self, bench: &Bench<'_>) -> Lineup {
        bench.worlds[self.world].lineup
    }

    /// Where is translated.
    pub fn design(&self) -> Design {
        self.design
    }

    /// The two boxes.
    pub(crate) fn layers(&self) -> &Layers {
        &self.layers
    }

    /// The two boxes.
    #[cfg(test)]
    pub(crate) fn layers_mut(&mut self) -> &mut Layers {
        &mut self.layers
    }

    /// Whether each measuring thread has a processor that nobody else of ours uses.
    pub(crate) fn has_own_processors(&self, bench: &Bench<'_>) -> bool {
        !bench.placed.shared() && bench.worlds[self.world].napi.pids().is_empty()
    }

    /// How frames leave the pods' end.
    pub fn initiator(&self, bench: &Bench<'_>) -> Outlet {
        let lineup = self.lineup(bench);
        let next = if lineup.node == Engine::Absent { Place::Gateway } else { Place::Node };
        self.outlet(bench, Place::Pods, lineup.start(), next)
    }

    /// How frames leave the servers' end.
    pub fn responder(&self, bench: &Bench<'_>) -> Outlet {
        self.outlet(bench, Place::Internet, Port::Internet, Place::Gateway)
    }

    /// To how many bytes frames may be cut at the servers' end.
    pub(crate) fn heads(&self, bench: &Bench<'_>) -> Option<usize> {
        bench.worlds[self.world].links.heads()
    }

    /// Whether any frame that passes can be stamped on the way.
    pub(crate) fn has_taps(&self, bench: &Bench<'_>) -> bool {
        self.layers.stages().next().is_some() || !bench.worlds[self.world].links.taps.is_empty()
    }

    /// From the next session on frames of `sample` are stamped at the layers, or none.
    ///
    /// # Errors
    /// [`TrialError::Kernel`].
    pub(crate) fn sample(&mut self, bench: &mut Bench<'_>, sample: Option<Sample>) -> Result<(), TrialError> {
        self.layers.sample(sample);
        Ok(bench.worlds[self.world].sample(sample)?)
    }

    /// The stamps of the last session, layer by layer on the way to the servers.
    pub(crate) fn passages(&self, bench: &Bench<'_>) -> Vec<(Place, Cow<'_, [Passage]>)> {
        let own = self.layers.passages().into_iter().map(|(place, log)| (place, Cow::Borrowed(log)));
        let taps = &bench.worlds[self.world].links.taps;
        let kernel = taps.iter().map(|(place, tap)| (*place, Cow::Owned(tap.passages())));
        let mut passages: Vec<_> = own.chain(kernel).collect();
        passages.sort_by_key(|(place, _)| *place);
        passages
    }

    fn outlet(&self, bench: &Bench<'_>, end: Place, port: Port, next: Place) -> Outlet {
        let World { links, lineup, .. } = &bench.worlds[self.world];
        let endpoint = rig::endpoint(port, lineup.boxes());
        Outlet { endpoint, burst: links.burst(end), refused: links.refused(end), room: links.room(end), next }
    }

    /// Empties the tables: natrig's own NATs are made anew, the kernel is told to delete its connections.
    ///
    /// # Errors
    /// [`TrialError`].
    pub fn empty_tables(&mut self, bench: &mut Bench<'_>) -> Result<(), TrialError> {
        let world = &mut bench.worlds[self.world];
        let engines = bench.engines.stages(world.lineup, self.design, self.seed)?;
        let clocks = self.layers.clocks;
        self.layers = Layers::new(&bench.scenario.topology, WorldUse::Measurement(world.lineup.boxes()), engines);
        self.layers.clocks = clocks;
        world.reset_kernel(bench.engines, self.design)?;
        Ok(())
    }

    /// Deletes all connections, and again when there are none left, as a control: natrig's own NATs end each as when its time has come,
    /// the kernel is told to delete its own. Returns how long each took, in nanoseconds. The clocks of natrig's own NATs are moved on, so
    /// that nothing may go through them before [`Self::empty_tables`].
    ///
    /// # Errors
    /// [`TrialError`].
    pub fn tear_down(&mut self, bench: &mut Bench<'_>) -> Result<[u64; 2], TrialError> {
        let full_ns = self.delete_connections(bench, BEYOND_TIMERS_NS)?;
        // A single one may have been interrupted, and is then longer than all that there was to delete.
        let empty = |nth| self.delete_connections(bench, nth * BEYOND_TIMERS_NS);
        let mut empty_ns = (2..2 + CONTROLS).map(empty).collect::<Result<Vec<u64>, TrialError>>()?;
        empty_ns.sort_unstable();
        Ok([full_ns, empty_ns[empty_ns.len() / 2]])
    }

    fn delete_connections(&mut self, bench: &mut Bench<'_>, later_ns: u64) -> Result<u64, TrialError> {
        let began_ns = clock::now_ns();
        self.expire(began_ns + later_ns);
        bench.worlds[self.world].reset_kernel(bench.engines, self.design)?;
        Ok(clock::now_ns() - began_ns)
    }

    /// Entries that the tables hold now, at node and gateway: sessions of natrig's own NATs, connections that the kernel tracks. None
    /// where nothing remembers.
    ///
    /// # Errors
    /// [`TrialError`].
    pub fn entries(&mut self, bench: &mut Bench<'_>) -> Result<Vec<(Place, u64)>, TrialError> {
        let mut entries = self.own_entries();
        entries.extend(bench.worlds[self.world].connections()?);
        Ok(entries)
    }

    /// The same of natrig's own NATs when so much time has passed: their clocks are moved on, so that nothing may go through them before
    /// [`Self::empty_tables`].
    pub fn entries_after(&mut self, later_ns: u64) -> Vec<(Place, u64)> {
        self.expire(clock::now_ns() + later_ns);
        self.own_entries()
    }

    /// Sessions of natrig's own NATs.
    fn own_entries(&self) -> Vec<(Place, u64)> {
        self.layers.stages().filter_map(|(place, stage)| Some((place, stage.sessions()?))).collect()
    }

    /// Moves the clocks of natrig's own NATs on.
    fn expire(&mut self, now_ns: u64) {
        let Layers { node, gateway, .. } = &mut self.layers;
        for stage in [node, gateway].into_iter().flatten() {
            if let natrig_lab::stage::Engine::Nat(nat) = stage.engine_mut() {
                nat.expire(now_ns);
            }
        }
    }

    /// Connections in the kernel's tables whose time is not over yet.
    ///
    /// # Errors
    /// [`TrialError`].
    pub fn kernel_entries_live(&mut self, bench: &mut Bench<'_>) -> Result<Vec<(Place, u64)>, TrialError> {
        Ok(bench.worlds[self.world].live_connections()?)
    }

    /// Has the kernel forget a TCP connection so many seconds after both ends have closed it, until it is told otherwise.
    ///
    /// # Errors
    /// [`TrialError`].
    pub fn set_kernel_time_wait(&self, bench: &Bench<'_>, seconds: u32) -> Result<(), TrialError> {
        Ok(bench.worlds[self.world].set_time_wait(seconds)?)
    }

    /// Runs `talk` until it is over, or `give_up_after_ns` from its epoch nothing more is sent. `timed_ns`: for how long it sends, if what
    /// counts is when frames come and go; the threads that move them then have their processors before all others, where that is allowed.
    ///
    /// # Errors
    /// [`TrialError`]; losing frames is no error but what is measured.
    pub fn session(
        &mut self,
        bench: &mut Bench<'_>,
        talk: &mut dyn Talk,
        give_up_after_ns: u64,
        timed_ns: Option<u64>,
    ) -> Result<Account, TrialError> {
        let world = &mut bench.worlds[self.world];
        world.links.flush(2).map_err(RigError::from)?;
        bench.sessions += 1;
        let session = Session {
            trial: (bench.sessions % u32::from(TRIAL_ID_MAX)) as u8 + 1,
            give_up_after_ns,
            threads: vec![world.napi.clone(), bench.softirq.clone()],
            urgent_ns: timed_ns
                .filter(|takes_ns| bench.urgent_time.as_ref().is_some_and(|urgent_time| urgent_time.take(*takes_ns))),
            past_kernel: [world.lineup.node, world.lineup.gateway]
                .iter()
                .any(|engine| matches!(engine, Engine::Nftables | Engine::Redirect)),
        };
        let kernel_before = world.read_kernel()?;
        let links_before = world.links.stats();
        let stages_before: Vec<StageCounts> = self.layers.stages().map(|(_, stage)| stage.counts().clone()).collect();
        (self.layers.node_times, self.layers.gateway_times) = (PumpTimes::default(), PumpTimes::default());
        let threads = [(Role::Napi, &world.napi), (Role::Softirq, &bench.softirq)];
        let threads_before_ns = threads.map(|(_, threads)| threads.busy_ns());
        let mut clocks_off = self.layers.clocks_off();
        clocks_off.extend(&world.clocks_off);
        let processors = bench.placed.processors();
        let (began_ns, cores_before) = (clock::now_ns(), CoreReading::read(&processors));
        let urgent_napi = if session.urgent_ns.is_some() { world.napi.pids() } else { &[] };
        set_urgent(urgent_napi, true);
        let end = session.run(&mut world.links, &mut self.layers, talk, bench.placed, bench.cancel);
        set_urgent(urgent_napi, false);
        let end = end?;
        let elapsed_ns = clock::now_ns() - began_ns;
        let cores = CoreReading::read(&processors).zip(cores_before).map(|(is, was)| is.since(&was));
        let noise = cores.zip(end.waited_ns).map(|(CoreActivity { steal_ns, foreign_ns, interrupts }, waited_ns)| {
            let cpu_mhz = processors.iter().filter_map(|cpu| core_mhz(*cpu)).min_by(f64::total_cmp);
            Noise { elapsed_ns, waited_ns, steal_ns, foreign_ns, interrupts, cpu_mhz }
        });
        let ran = |((role, threads), before): ((Role, &KernelThreads), Option<u64>)| {
            Some((role, threads.busy_ns()?.saturating_sub(before?)))
        };
        let threads_ns = threads.into_iter().zip(threads_before_ns).filter_map(ran).collect();
        let links_after = world.links.stats();
        let kernel_after = world.read_kernel()?;

        let mut drops = rig::lost_between(&links_before, &links_after);
        for ((place, stage), before) in self.layers.stages().zip(&stages_before) {
            stage_drops(place, stage, before, &mut drops);
        }
        kernel_drops(world.lineup.boxes(), &kernel_before, &kernel_after, &mut drops);
        let kernel = world.kernel_activity(&kernel_before, &kernel_after)?;
        Ok(Account { end, drops, threads_ns, kernel, noise, clocks_off })
    }
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

/// The kernel's threads that forward are treated as ours are, where that is allowed.
fn set_urgent(threads: &[u32], urgent: bool) {
    for pid in threads {
        let _ = priority::set(*pid, urgent);
    }
}

fn no_tap((place, why): &(Place, OpenError)) -> String {
    format!("{NO_TAP} {place}, where the kernel forwards: {why}")
}

fn stage_drops(place: Place, stage: &Stage, before: &StageCounts, drops: &mut Vec<Dropped>) {
    let earlier: Vec<(&str, u64)> = before.dropped().collect();
    for (reason, frames) in stage.counts().dropped() {
        let was = earlier.iter().find(|(name, _)| *name == reason).map_or(0, |(_, frames)| *frames);
        rig::add_drop(drops, place, reason, frames - was);
    }
}
