//! The worlds that are measured in: one for each lineup, and links of one kind to all of them.

use natrig_lab::kernel_threads::KernelThreads;
use natrig_lab::lease::{
    BuildError, CloseError, CountersError, EnterError, InterfaceCounters, KernelBox, KernelBoxError, KernelCounters,
    Lease,
};
use natrig_lab::plan::{KernelNat, Plan};
use natrig_lab::topology::{Boxes, ForwardedBy, Port, TopologyError};
use natrig_link::OpenError;
use natrig_link::passage::Sample;

use crate::carrier::Carrier;
use crate::engine::Engines;
use crate::result::{Dropped, KernelActivity, KernelSettings, LinkCandidate, Place};
use crate::rig::hop::{self, Candidate};
use crate::rig::{LinkError, Links, OpenLink, Placed, add_drop, pin_kernel_thread};
use crate::scenario::{Design, KernelWork, Lineup, Scenario};

/// Why there are no worlds.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// The address plan cannot be built.
    #[error("failed to plan the world: {0}")]
    Plan(#[from] TopologyError),
    /// A world cannot be built here.
    #[error("failed to {0}")]
    Build(#[from] BuildError),
    /// Its links cannot be opened.
    #[error(transparent)]
    Links(#[from] LinkError),
    /// The kernel at a box cannot be spoken to.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// No kind of link was asked for.
    #[error("failed to open links: no kind of link to try")]
    NoLink,
}

/// Why the kernel does not translate as it should, or does not tell.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// It cannot be set up for a design.
    #[error("failed to set up the kernel's NAT: {0}")]
    SetUp(#[from] BuildError),
    /// A box does not answer.
    #[error("failed to {0}")]
    Box(#[from] KernelBoxError),
    /// Frames cannot be stamped there.
    #[error("failed to stamp frames at the {place}: {source}")]
    Tap {
        /// Where.
        place: Place,
        /// Why.
        source: OpenError,
    },
    /// A box cannot be entered.
    #[error("failed to {0}")]
    Enter(#[from] EnterError),
    /// Interfaces' counters cannot be read.
    #[error("failed to {0}")]
    Counters(#[from] CountersError),
}

/// A world, and the links to it.
pub(crate) struct World {
    /// What stands in it.
    pub(crate) lineup: Lineup,
    /// The ends that frames are sent and received at.
    pub(crate) links: Links,
    /// The kernel's threads that forward, where they do.
    pub(crate) napi: KernelThreads,
    /// Boxes whose frames the kernel stamps now, by a clock that is not the tester's, and by how many nanoseconds it is off, at least.
    pub(crate) clocks_off: Vec<(Place, u64)>,
    /// Whether the kernel stamps anything now.
    stamping: bool,
    /// None with links in memory.
    lease: Option<Lease>,
    kernel: Kernel,
}

/// What the kernel does in a world.
#[derive(Default)]
struct Kernel {
    boxes: Vec<(Place, KernelBox)>,
    /// How it translates now, at node and gateway.
    nats: [Option<KernelNat>; 2],
    /// What it must be able to remember.
    connections: u32,
}

/// Worlds, and how their links came about.
pub(crate) struct Worlds {
    /// In the order of the scenario's lineups; at least one.
    pub(crate) worlds: Vec<World>,
    /// What there was to choose from, if links were chosen by measurement.
    pub(crate) candidates: Vec<LinkCandidate>,
    /// Kinds of link that would have been preferred, and why they cannot be had.
    pub(crate) refusals: Vec<LinkError>,
    /// What is not as asked for, in words.
    pub(crate) warnings: Vec<String>,
}

/// What the kernel has counted in a world, before a trial or after.
#[derive(Default)]
pub(crate) struct KernelReading {
    boxes: Vec<(Place, KernelCounters)>,
    interfaces: Vec<InterfaceCounters>,
}

/// Connections on top of one for each flow: that of the TCP check, and what may come in on the way.
const SPARE_CONNECTIONS: u32 = 1024;

impl Worlds {
    /// Builds a world for each lineup, and opens the first kind of link that can be had in all of them, or the fastest.
    ///
    /// # Errors
    /// [`WorldError`].
    pub(crate) fn open(
        scenario: &Scenario,
        carrier: &Carrier,
        placed: Placed,
        frame_len_max: usize,
    ) -> Result<Self, WorldError> {
        let lineups = scenario.lineups();
        let slots = scenario.link.slots;
        let mut measured = Vec::new();
        let kinds = match carrier {
            Carrier::Memory => {
                let world = |lineup| World {
                    lineup,
                    links: Links::in_memory(lineup, slots, frame_len_max),
                    napi: KernelThreads::default(),
                    clocks_off: Vec::new(),
                    stamping: false,
                    lease: None,
                    kernel: Kernel::default(),
                };
                let worlds = lineups.into_iter().map(world).collect();
                return Ok(Self { worlds, candidates: Vec::new(), refusals: Vec::new(), warnings: Vec::new() });
            }
            Carrier::Veth(kinds) => kinds.clone(),
            Carrier::Fastest(kinds) => {
                measured = hop::by_rate(kinds, hop::Wanted { slots, frame_len_max, cpu: placed.tester })?;
                measured.iter().map(|candidate| candidate.how).collect()
            }
        };
        let leases = lineups
            .iter()
            .map(|lineup| Ok(Plan::measurement(&scenario.topology, boxes(scenario, *lineup))?.build()?))
            .collect::<Result<Vec<Lease>, WorldError>>()?;
        let (links, refusals) = open_links(&leases, &lineups, scenario.link.kernel, &kinds, slots, frame_len_max)?;
        // Those before the one that is in use were refused after all.
        let in_use = refusals.len();
        let told = |(nth, candidate): (usize, Candidate)| candidate.told(nth == in_use);
        let candidates = measured.into_iter().enumerate().map(told).collect();
        let (mut worlds, mut warnings) = (Vec::new(), Vec::new());
        for ((lineup, lease), links) in lineups.into_iter().zip(leases).zip(links) {
            let kernel = Kernel::new(&lease, lineup.boxes(), scenario.connections_max())?;
            let napi = napi_threads(&lease, boxes(scenario, lineup)).map_err(KernelError::from)?;
            warnings.extend(placed.layers.and_then(|cpu| pin_napi(&napi, cpu)));
            let (clocks_off, stamping) = (Vec::new(), false);
            worlds.push(World { lineup, links, napi, clocks_off, stamping, lease: Some(lease), kernel });
        }
        Ok(Self { worlds, candidates, refusals, warnings })
    }
}

/// Who forwards at the boxes, and where.
fn boxes(scenario: &Scenario, lineup: Lineup) -> Boxes {
    let work = |by| match (by, scenario.link.kernel) {
        (ForwardedBy::Kernel, KernelWork::Threads) => ForwardedBy::KernelThreads,
        (ForwardedBy::Redirect, KernelWork::Threads) => ForwardedBy::RedirectThreads,
        (by, KernelWork::Threads | KernelWork::Inline) => by,
    };
    let Boxes { node, gateway } = lineup.boxes();
    Boxes { node: work(node), gateway: work(gateway) }
}

fn napi_threads(lease: &Lease, boxes: Boxes) -> Result<KernelThreads, KernelBoxError> {
    let mut pids = Vec::new();
    for port in Port::ALL.into_iter().filter(|port| boxes.has_threads(*port)) {
        pids.extend(lease.napi_threads(port.namespace(), port.interface())?);
    }
    Ok(KernelThreads::new(pids))
}

/// What is to be said if the threads stay where the scheduler puts them.
fn pin_napi(threads: &KernelThreads, cpu: usize) -> Option<String> {
    let refused = threads.pids().iter().find_map(|pid| pin_kernel_thread(*pid, cpu).err())?;
    Some(format!("the kernel's threads are not pinned to core {cpu} but go where the scheduler puts them: {refused}"))
}

/// Links to all worlds, of the first of `kinds` that can be had, and why those before it cannot.
fn open_links(
    leases: &[Lease],
    lineups: &[Lineup],
    kernel: KernelWork,
    kinds: &[OpenLink],
    slots: Option<u32>,
    frame_len_max: usize,
) -> Result<(Vec<Links>, Vec<LinkError>), WorldError> {
    let mut refusals = Vec::new();
    for how in kinds {
        let open = |(lease, lineup): (&Lease, &Lineup)| Links::open(lease, *lineup, kernel, *how, slots, frame_len_max);
        match leases.iter().zip(lineups).map(open).collect::<Result<Vec<Links>, LinkError>>() {
            Ok(links) => return Ok((links, refusals)),
            Err(error) => refusals.push(error),
        }
    }
    Err(refusals.pop().map_or(WorldError::NoLink, WorldError::Links))
}

impl World {
    /// Has the kernel translate as `design` wants it, with no connection remembered.
    ///
    /// # Errors
    /// [`KernelError`].
    pub(crate) fn reset_kernel(&mut self, engines: &Engines, design: Design) -> Result<(), KernelError> {
        let Some(lease) = &self.lease else { return Ok(()) };
        let Kernel { boxes, nats, connections } = &mut self.kernel;
        let wanted = engines.kernel_nats(self.lineup, design);
        if nats.each_ref().map(Option::as_ref) != wanted {
            let [node, gateway] = wanted;
            lease.apply(&Plan::translation(self.lineup.boxes(), node, gateway, *connections))?;
            *nats = wanted.map(Option::<&KernelNat>::cloned);
        }
        for (_, kernel_box) in boxes {
            kernel_box.forget_connections()?;
        }
        Ok(())
    }

    /// Has the kernel stamp the frames of `sample` from now on, or none, at the boxes where it can.
    ///
    /// # Errors
    /// [`KernelError`].
    pub(crate) fn sample(&mut self, sample: Option<Sample>) -> Result<(), KernelError> {
        let Some(lease) = self.lease.as_ref().filter(|_| self.stamping || sample.is_some()) else { return Ok(()) };
        self.clocks_off.clear();
        self.stamping = sample.is_some();
        for (place, tap) in &mut self.links.taps {
            let place = *place;
            let begin = || -> Result<u64, OpenError> {
                let off_ns = if sample.is_some() { tap.clock_off_ns()? } else { 0 };
                tap.begin(sample).map(|()| off_ns)
            };
            let inside = if place == Place::Node { Port::NodeInside } else { Port::GatewayInside };
            let off_ns = lease.run_in(inside.namespace(), begin)?;
            let off_ns = off_ns.map_err(|source| KernelError::Tap { place, source })?;
            self.clocks_off.extend((off_ns > 0).then_some((place, off_ns)));
        }
        Ok(())
    }

    /// What the kernel has counted so far; nothing where it does not forward.
    ///
    /// # Errors
    /// [`KernelError`].
    pub(crate) fn read_kernel(&mut self) -> Result<KernelReading, KernelError> {
        let Some(lease) = self.lease.as_ref().filter(|_| !self.kernel.boxes.is_empty()) else {
            return Ok(KernelReading::default());
        };
        let read = |(place, kernel_box): &mut (Place, KernelBox)| Ok((*place, kernel_box.counters(lease)?));
        let boxes = self.kernel.boxes.iter_mut().map(read).collect::<Result<_, KernelBoxError>>()?;
        Ok(KernelReading { boxes, interfaces: lease.link_stats()? })
    }

    /// Connections that the kernel remembers at each box that it forwards at.
    ///
    /// # Errors
    /// [`KernelError`].
    pub(crate) fn connections(&mut self) -> Result<Vec<(Place, u64)>, KernelError> {
        let of_box = |(place, kernel_box): &mut (Place, KernelBox)| Ok((*place, u64::from(kernel_box.connections()?)));
        self.kernel.boxes.iter_mut().map(of_box).collect()
    }

    /// Of these, those whose time is not over yet.
    ///
    /// # Errors
    /// [`KernelError`].
    pub(crate) fn live_connections(&mut self) -> Result<Vec<(Place, u64)>, KernelError> {
        let of_box =
            |(place, kernel_box): &mut (Place, KernelBox)| Ok((*place, u64::from(kernel_box.live_connections()?)));
        self.kernel.boxes.iter_mut().map(of_box).collect()
    }

    /// Has the kernel forget a TCP connection so many seconds after both ends have closed it.
    ///
    /// # Errors
    /// [`KernelError`].
    pub(crate) fn set_time_wait(&self, seconds: u32) -> Result<(), KernelError> {
        let Some(lease) = &self.lease else { return Ok(()) };
        Ok(lease.apply(&Plan::time_wait(self.lineup.boxes(), seconds))?)
    }

    /// What the kernel did between two readings, and remembers now.
    ///
    /// # Errors
    /// [`KernelError`].
    pub(crate) fn kernel_activity(
        &mut self,
        before: &KernelReading,
        after: &KernelReading,
    ) -> Result<Vec<KernelActivity>, KernelError> {
        let boxes = self.kernel.boxes.iter_mut().zip(before.boxes.iter().zip(&after.boxes));
        boxes
            .map(|((place, kernel_box), ((_, was), (_, is)))| {
                let (place, counters) = (*place, is.since(was));
                Ok(KernelActivity { place, connections: kernel_box.connections()?, counters })
            })
            .collect()
    }

    /// The settings of the kernel's boxes.
    ///
    /// # Errors
    /// [`KernelError`].
    pub(crate) fn kernel_settings(&self) -> Result<Vec<KernelSettings>, KernelError> {
        let Some(lease) = &self.lease else { return Ok(Vec::new()) };
        let of_box = |(place, kernel_box): &(Place, KernelBox)| {
            let settings = kernel_box.settings(lease)?.into_iter().collect();
            Ok(KernelSettings { engines: self.lineup, place: *place, settings })
        };
        self.kernel.boxes.iter().map(of_box).collect()
    }

    /// Takes the world down.
    ///
    /// # Errors
    /// [`CloseError`].
    pub(crate) fn close(self) -> Result<(), CloseError> {
        let Self { links, lease, kernel, .. } = self;
        drop((links, kernel));
        lease.map_or(Ok(()), Lease::close)
    }
}

impl Kernel {
    fn new(lease: &Lease, boxes: Boxes, flows: u32) -> Result<Self, KernelError> {
        let kernel =
            |port: Port, place| boxes.is_kernel(port).then(|| Ok((place, lease.kernel_box(port.namespace())?)));
        let boxes = [kernel(Port::NodeInside, Place::Node), kernel(Port::GatewayInside, Place::Gateway)];
        Ok(Self {
            boxes: boxes.into_iter().flatten().collect::<Result<_, KernelBoxError>>()?,
            nats: [None, None],
            connections: flows.saturating_add(SPARE_CONNECTIONS),
        })
    }
}

/// Frames that ended at the kernel's boxes between two readings.
pub(crate) fn kernel_drops(boxes: Boxes, before: &KernelReading, after: &KernelReading, drops: &mut Vec<Dropped>) {
    for ((place, was), (_, is)) in before.boxes.iter().zip(&after.boxes) {
        for (reason, frames) in is.since(was).dropped() {
            add_drop(drops, *place, reason, frames);
        }
    }
    for (port, place) in [
        (Port::NodeInside, Place::Node),
        (Port::NodeOutside, Place::Node),
        (Port::GatewayInside, Place::Gateway),
        (Port::GatewayOutside, Place::Gateway),
    ] {
        if !boxes.is_kernel(port) {
            continue;
        }
        let since = |port, counter: fn(&InterfaceCounters) -> u64| {
            let of = |reading: &KernelReading| counter_of(reading, port, counter);
            of(after).saturating_sub(of(before))
        };
        add_drop(drops, place, "interface_tx_dropped", since(port, |counters| counters.tx_dropped));
        // A frame for which the receiving end of a veth has no room counts at both ends. Whoever sent it has accounted for it: the
        // kernel above, all others by what their link says of it.
        let refused = since(port.peer(), |counters| counters.tx_dropped);
        let lost = since(port, |counters| counters.rx_dropped).saturating_sub(refused);
        add_drop(drops, place, "interface_rx_dropped", lost);
    }
}

fn counter_of(reading: &KernelReading, port: Port, counter: fn(&InterfaceCounters) -> u64) -> u64 {
    let is_it = |c: &&InterfaceCounters| c.namespace == port.namespace() && c.interface == port.interface();
    reading.interfaces.iter().find(is_it).map_or(0, counter)
}

/// The steps by which the worlds of a scenario are built, and how the kernel is told to translate in each design, in words.
///
/// # Errors
/// The address plan is impossible.
pub fn plan(scenario: &Scenario, engines: &Engines) -> Result<Vec<String>, TopologyError> {
    let lineups = scenario.lineups();
    let mut lines = Vec::new();
    for lineup in &lineups {
        if lineups.len() > 1 {
            lines.push(format!("world for {lineup}:"));
        }
        lines.extend(words(&Plan::measurement(&scenario.topology, boxes(scenario, *lineup))?));
        lines.extend(translations(scenario, engines, *lineup));
    }
    Ok(lines)
}

fn translations(scenario: &Scenario, engines: &Engines, lineup: Lineup) -> Vec<String> {
    let mut lines = Vec::new();
    if !lineup.boxes().any_kernel() {
        return lines;
    }
    for design in &scenario.designs {
        let [node, gateway] = engines.kernel_nats(lineup, *design);
        let connections = scenario.traffic.flows.saturating_add(SPARE_CONNECTIONS);
        lines.push(format!("for design {design}:"));
        lines.extend(words(&Plan::translation(lineup.boxes(), node, gateway, connections)));
    }
    lines
}

fn words(plan: &Plan) -> Vec<String> {
    plan.to_string().lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use natrig_lab::lease::ConntrackCounters;

    use super::*;
    use crate::scenario::Engine;

    fn interface(port: Port, rx_dropped: u64, tx_dropped: u64) -> InterfaceCounters {
        InterfaceCounters {
            namespace: port.namespace().to_owned(),
            interface: port.interface().to_owned(),
            rx_frames: 0,
            rx_bytes: 0,
            rx_dropped,
            rx_errors: 0,
            rx_missed: 0,
            tx_frames: 0,
            tx_bytes: 0,
            tx_dropped,
            tx_errors: 0,
        }
    }

    #[test]
    fn a_frame_that_two_interfaces_count_was_lost_once() {
        let boxes = Boxes { node: ForwardedBy::Kernel, gateway: ForwardedBy::Kernel };
        let conntrack = ConntrackCounters { drop: 2, ..ConntrackCounters::default() };
        let counted = KernelCounters { conntrack, ..KernelCounters::default() };
        let reading = |counted, interfaces| KernelReading {
            boxes: vec![(Place::Node, KernelCounters::default()), (Place::Gateway, counted)],
            interfaces,
        };
        let before = reading(KernelCounters::default(), vec![interface(Port::Pods, 0, 100)]);
        let after = reading(
            counted,
            vec![
                // The generator's link has told of these three.
                interface(Port::Pods, 0, 103),
                interface(Port::NodeInside, 3, 0),
                interface(Port::NodeOutside, 0, 4),
                interface(Port::GatewayInside, 9, 0),
                interface(Port::GatewayOutside, 0, 1),
            ],
        );
        let mut drops = Vec::new();
        kernel_drops(boxes, &before, &after, &mut drops);
        let drop = |place, reason: &str, frames| Dropped { place, reason: reason.to_owned(), frames };
        let expected = [
            drop(Place::Gateway, "conntrack_table_full", 2),
            drop(Place::Node, "interface_tx_dropped", 4),
            drop(Place::Gateway, "interface_rx_dropped", 5),
            drop(Place::Gateway, "interface_tx_dropped", 1),
        ];
        assert_eq!(drops, expected);
    }

    #[test]
    fn the_plan_of_both_engines_in_words() {
        let mut scenario = Scenario::quick();
        scenario.engines = vec![Engine::Userspace, Engine::Nftables];
        let engines = Engines::new(&scenario).unwrap();
        let lines = plan(&scenario, &engines).unwrap();
        let at = |wanted: &str| lines.iter().position(|line| line == wanted).unwrap_or_else(|| panic!("{wanted}"));
        assert_eq!(at("world for userspace:"), 0);
        assert!(at("sysctl    node: net.ipv4.ip_forward = 0") < at("world for nftables:"));
        assert!(at("sysctl    node: net.ipv4.ip_forward = 1") > at("world for nftables:"));
        assert_eq!(
            lines[at("for design none:") + 1..at("for design node:")],
            ["nat       node: none", "nat       gateway: none"]
        );
        assert!(at("nat       node:outside: masquerade") > at("for design node:"));
        assert!(at("room      gateway: net.netfilter.nf_conntrack_max at least 2024") > at("for design gateway:"));

        scenario.engines.clear();
        let lines = plan(&scenario, &engines).unwrap();
        assert!(lines.iter().all(|line| !line.ends_with(':')), "{lines:?}");
    }
}
