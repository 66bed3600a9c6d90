//! A fleet on a virtual clock: connections come and go, and the allocators of `nat` give them ports, at every node and at the gateway.
//!
//! There are no frames and no sessions: a connection is a few numbers in a calendar, and a use of a port a line in a table. So a
//! connection costs the same however many there are (a test counts the work), and millions a second fit on a core.
//!
//! The fleet begins in equilibrium: as many connections of each class are there at the start as Little's law says, each with what is left
//! of its life, and the ports of those that have just ended are still held.

mod calendar;
mod layer;
mod mix;
mod table;

use natrig_nat::behaviour::Behaviour;
use natrig_nat::{DropReason, Wish};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::timing::{Afterlife, Close, Protocol, unanswered_s};
use calendar::Calendar;
pub use layer::LayerCounts;
use layer::{Asker, Layer, TICKS_PER_S};
use mix::Mix;
use table::Use;

/// Linux's ephemeral ports: net.ipv4.ip_local_port_range.
pub const EPHEMERAL: std::ops::RangeInclusive<u16> = 32_768..=60_999;
/// Remote ends of one simulation.
pub const REMOTES_MAX: usize = 1 << 16;
/// Nodes of one simulation: each has a number of 16 bits.
pub const NODES_MAX: u32 = 65_535;
/// Outside addresses of the gateway: each has a number of 14 bits.
pub const ADDRESSES_MAX: usize = 1 << 14;

/// Where the clock starts: far enough from 0 for what began before.
const START: u32 = 1 << 27;

/// How the lives of a class are spread about their mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lives {
    /// All alike.
    Fixed,
    /// Exponentially.
    Exponential,
}

/// Connections of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Class {
    /// Protocol.
    pub protocol: Protocol,
    /// Remote ends, each address and port by itself, all alike.
    pub remotes: u16,
    /// New connections a second, of the whole fleet.
    pub rate_per_s: f64,
    /// Mean life, seconds.
    pub life_s: f64,
    /// Its spread.
    pub lives: Lives,
    /// How they end.
    pub close: Close,
    /// How many of the pods make them.
    pub pods: u32,
}

/// What is simulated.
#[derive(Debug, Clone)]
pub struct Setup<'s> {
    /// Nodes.
    pub nodes: u32,
    /// Pods, spread evenly over the nodes.
    pub pods: u32,
    /// Connections.
    pub classes: &'s [Class],
    /// What every node does, if nodes translate. Each has one address.
    pub node: Option<&'s Behaviour>,
    /// What the gateway does, if it translates, and how many addresses it has.
    pub gateway: Option<(&'s Behaviour, usize)>,
    /// Nobody is there at the start, rather than as many as there usually are.
    pub empty: bool,
    /// Seed.
    pub seed: u64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Simulated time, seconds.
    pub time_s: f64,
    /// Connections asked for since the start.
    pub asked: u64,
    /// Of these, those that every layer had a port for.
    pub opened: u64,
    /// Openings and closings, those at the start included: the connection events of a rate.
    pub events: u64,
    /// Slots looked at, ports tried and notes written: what the work grows with.
    pub work: u64,
    /// Per remote end: asked, refused by the node, refused by the gateway, and most connections at once.
    pub remotes: Vec<RemoteCounts>,
    /// The nodes.
    pub node: Option<LayerCounts>,
    /// The gateway.
    pub gateway: Option<LayerCounts>,
}

/// What came of connections to a remote end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemoteCounts {
    /// Asked for.
    pub asked: u64,
    /// Refused by a node.
    pub refused_node: u64,
    /// Refused by the gateway.
    pub refused_gateway: u64,
    /// Open now.
    pub open: u32,
    /// Most that were open at once.
    pub open_max: u32,
}

/// Ticks of a class of connections.
#[derive(Debug, Clone, Copy)]
struct Spans {
    /// From the end of a connection until the port is free, or waits for collection.
    after: u32,
    /// The same of a connection attempt that came to nothing.
    unanswered: u32,
}

/// A connection that is to come.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    tick: u32,
    life: u32,
    pod: u32,
    node: u16,
    remote: u16,
    class: u16,
    source: u16,
}

/// Connections drawn at a time.
const AHEAD: usize = 32;

/// A fleet and its clock.
#[derive(Debug)]
pub struct Simulation {
    nodes: u32,
    pods: u32,
    mix: Mix,
    calendar: Calendar,
    node: Option<Layer>,
    gateway: Option<Layer>,
    /// By class: at the node, at the gateway.
    spans: Vec<[Spans; 2]>,
    remotes: Vec<RemoteCounts>,
    /// Class by remote end.
    class_of: Vec<u16>,
    /// The gateway knows its sources by node (port blocks), or by what the node or the pod sends.
    by_node: bool,
    rng: Pcg64Mcg,
    /// Connections that are to arrive, the next one last.
    ahead: Vec<Arrival>,
    /// The tick of the last of them.
    drawn_until: f64,
    asked: u64,
    opened: u64,
    closed: u64,
    preloaded: u64,
}

/// Why a fleet cannot be simulated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// More than can be numbered.
    #[error("{what} {count} is not within 1 to {max}")]
    OutOfRange {
        /// Of what.
        what: &'static str,
        /// How many.
        count: u64,
        /// At most.
        max: u64,
    },
    /// No connections.
    #[error("nobody opens a connection: every rate is 0")]
    Silent,
}

/// What the calendar notes: kind, port, remote, node or pod-independent source, address.
const CLOSE: u64 = 0;
const NODE_FREE: u64 = 1;
const GATEWAY_FREE: u64 = 2;
const COLLECT: u64 = 3;

const fn note(kind: u64, node: u16, address: u16, remote: u16, port: u16) -> u64 {
    kind << 62 | (address as u64) << 48 | (node as u64) << 32 | (remote as u64) << 16 | port as u64
}

/// A node's address, as the gateway sees it.
const NODE_NET: u32 = 0x0a00_0000;
/// A pod's address, as the node sees it.
const POD_NET: u32 = 0x6440_0000;
/// Where remote ends are.
const REMOTE_NET: u32 = 0xcb00_0000;
const REMOTE_PORT: u16 = 443;

impl Simulation {
    /// A fleet in equilibrium.
    ///
    /// # Errors
    /// There is more of something than can be numbered, or nothing happens.
    pub fn new(setup: &Setup<'_>) -> Result<Self, SetupError> {
        let remotes: usize = setup.classes.iter().map(|class| usize::from(class.remotes)).sum();
        let addresses = setup.gateway.map_or(1, |(_, addresses)| addresses);
        for (what, count, max) in [
            ("number of nodes", u64::from(setup.nodes), u64::from(NODES_MAX)),
            ("number of pods", u64::from(setup.pods), 1 << 24),
            ("number of remote ends", remotes as u64, REMOTES_MAX as u64),
            ("number of gateway addresses", addresses as u64, ADDRESSES_MAX as u64),
        ] {
            if count == 0 || count > max {
                return Err(SetupError::OutOfRange { what, count, max });
            }
        }
        let mut rng = Pcg64Mcg::seed_from_u64(setup.seed);
        let mix = Mix::new(setup.classes).ok_or(SetupError::Silent)?;
        let expected = |behaviour: &Behaviour| {
            let per_class = setup.classes.iter().map(|class| {
                let [_, usual, _] = Afterlife::of(behaviour, class.protocol, class.close).seconds();
                class.rate_per_s * (class.life_s + usual)
            });
            if setup.empty { 0 } else { (per_class.sum::<f64>() * 1.1).min(2e8) as usize }
        };
        let mut class_of = Vec::new();
        for (number, class) in (0u16..).zip(setup.classes) {
            class_of.extend(std::iter::repeat_n(number, usize::from(class.remotes)));
        }
        let spans = |behaviour: Option<&Behaviour>, class: &Class| {
            behaviour.map_or(Spans { after: 0, unanswered: 0 }, |behaviour| {
                let after = Afterlife::of(behaviour, class.protocol, class.close);
                Spans {
                    after: (after.timer_s + after.hold_s) * TICKS_PER_S,
                    unanswered: unanswered_s(behaviour, class.protocol) * TICKS_PER_S,
                }
            })
        };
        let by_node = setup
            .gateway
            .is_some_and(|(behaviour, _)| behaviour.quota.blocks != natrig_nat::behaviour::PortBlocks::Shared);
        let node = setup
            .node
            .map(|behaviour| Layer::new(behaviour, setup.nodes as usize, true, remotes, expected(behaviour), &mut rng));
        let gateway = setup.gateway.map(|(behaviour, addresses)| {
            // Every pod is a source of its own; how many a profile remembers is not a limit of any vendor's.
            let mut behaviour = behaviour.clone();
            behaviour.quota.max_sources = behaviour.quota.max_sources.max(setup.pods).max(setup.nodes);
            Layer::new(&behaviour, addresses, false, remotes, expected(&behaviour), &mut rng)
        });
        let mut simulation = Self {
            nodes: setup.nodes,
            pods: setup.pods,
            spans: setup
                .classes
                .iter()
                .map(|class| [spans(setup.node, class), spans(setup.gateway.map(|(behaviour, _)| behaviour), class)])
                .collect(),
            mix,
            calendar: Calendar::new(START),
            node,
            gateway,
            remotes: vec![RemoteCounts::default(); remotes],
            class_of,
            by_node,
            rng,
            ahead: Vec::with_capacity(AHEAD + 1),
            drawn_until: f64::from(START),
            asked: 0,
            opened: 0,
            closed: 0,
            preloaded: 0,
        };
        simulation.start_collectors();
        if !setup.empty {
            simulation.preload(setup.classes);
        }
        Ok(simulation)
    }

    /// Lets `count` connections arrive, and time pass until then.
    pub fn run(&mut self, count: u64) {
        for _ in 0..count {
            let arrival = self.next_arrival();
            self.advance(arrival.tick);
            self.open(&arrival);
        }
    }

    /// Lets time pass for so many seconds, with the connections that arrive in it.
    pub fn run_for(&mut self, seconds: f64) {
        let end = self.calendar.now() + (seconds * f64::from(TICKS_PER_S)) as u32;
        loop {
            let arrival = self.next_arrival();
            if arrival.tick > end {
                self.ahead.push(arrival);
                self.advance(end);
                return;
            }
            self.advance(arrival.tick);
            self.open(&arrival);
        }
    }

    /// Connections since the start that every layer had a port for.
    #[must_use]
    pub const fn opened(&self) -> u64 {
        self.opened
    }

    /// What has come of it so far.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let tries = |layer: &Option<Layer>| {
            let tries = layer.iter().flat_map(|layer| layer.counts.tries.iter());
            tries.zip(0u64..).map(|(count, tries)| count * tries).sum::<u64>()
        };
        let looked_at = |layer: &Option<Layer>| layer.as_ref().map_or(0, Layer::work);
        let layers = [&self.node, &self.gateway];
        Outcome {
            time_s: f64::from(self.calendar.now() - START) / f64::from(TICKS_PER_S),
            asked: self.asked,
            opened: self.opened,
            events: self.asked + self.closed + self.preloaded,
            work: self.calendar.work + layers.map(|layer| tries(layer) + looked_at(layer)).iter().sum::<u64>(),
            remotes: self.remotes.clone(),
            node: self.node.as_ref().map(|layer| layer.counts.clone()),
            gateway: self.gateway.as_ref().map(|layer| layer.counts.clone()),
        }
    }

    /// Forgets what was counted, so that a warm-up does not count.
    pub fn forget_counts(&mut self) {
        for layer in [&mut self.node, &mut self.gateway].into_iter().flatten() {
            layer.forget_counts();
        }
        for remote in &mut self.remotes {
            *remote = RemoteCounts { open: remote.open, open_max: remote.open, ..RemoteCounts::default() };
        }
        (self.asked, self.opened) = (0, 0);
    }

    /// The next connection. Connections are drawn some at a time, and what their search for a port begins with is fetched together.
    fn next_arrival(&mut self) -> Arrival {
        loop {
            if let Some(arrival) = self.ahead.pop() {
                return arrival;
            }
            for _ in 0..AHEAD {
                self.drawn_until += self.mix.gap_ticks(&mut self.rng);
                let remote = self.mix.remote(&mut self.rng);
                let class = self.class_of[usize::from(remote)];
                let life = self.mix.life_ticks(class, &mut self.rng);
                let arrival = self.someone(remote, class);
                self.ahead.push(Arrival { tick: self.drawn_until as u32, life: life.max(1), ..arrival });
            }
            self.ahead.reverse();
            let asker = |arrival: &Arrival, at| Asker {
                wish: Wish {
                    protocol: self.mix.protocol(arrival.class),
                    inside: (POD_NET + arrival.pod, arrival.source),
                    remote: (REMOTE_NET + u32::from(arrival.remote), REMOTE_PORT),
                },
                remote: arrival.remote,
                at,
            };
            let coming = self.ahead.iter().rev();
            if let Some(layer) = &self.node {
                layer.touch(coming.clone().map(|arrival| asker(arrival, Some(arrival.node))));
            }
            if let Some(layer) = &self.gateway {
                layer.touch(coming.map(|arrival| asker(arrival, None)));
            }
        }
    }

    /// A pod, and a source port of it, for a connection to a remote end.
    fn someone(&mut self, remote: u16, class: u16) -> Arrival {
        let pod = self.mix.pod(class, self.pods, &mut self.rng);
        let source = self.rng.random_range(EPHEMERAL);
        Arrival { tick: 0, life: 0, pod, node: (pod % self.nodes) as u16, remote, class, source }
    }

    fn start_collectors(&mut self) {
        let calendar = &mut self.calendar;
        for (layer, kind) in [(&mut self.node, 0), (&mut self.gateway, 1)] {
            if let Some(layer) = layer {
                layer.start(START, |device, tick| calendar.note(tick, note(COLLECT, device, kind, 0, 0)));
            }
        }
    }

    /// The connections that are there at the start, and the ports of those that are not there any more.
    fn preload(&mut self, classes: &[Class]) {
        let mut first_remote = 0;
        for (number, class) in classes.iter().enumerate() {
            let [node, gateway] = self.spans[number];
            let collected = [&self.node, &self.gateway].into_iter().flatten().map(Layer::first_interval).max();
            let after = node.after.max(gateway.after) + collected.unwrap_or(0);
            let rate = class.rate_per_s / f64::from(TICKS_PER_S);
            let alive = rate * class.life_s * f64::from(TICKS_PER_S);
            let gone = rate * f64::from(after);
            for _ in 0..((alive + gone).round() as u64) {
                let remote = first_remote + self.rng.random_range(0..class.remotes);
                // In random order: whoever comes when the ports are gone is as likely to be one of these as one of those.
                let end = if self.rng.random::<f64>() * (alive + gone) < alive {
                    self.preloaded += 1;
                    START + mix::residual_ticks(class, &mut self.rng).max(1)
                } else {
                    START - self.rng.random_range(0..after)
                };
                let arrival = self.someone(remote, number as u16);
                self.open_until(&arrival, end);
            }
            first_remote += class.remotes;
        }
        self.forget_counts();
    }

    fn advance(&mut self, tick: u32) {
        while self.calendar.now() < tick {
            let due = self.calendar.next();
            let now = self.calendar.now();
            for what in due.iter() {
                self.happen(what, now);
            }
            self.calendar.done(due);
        }
    }

    fn happen(&mut self, what: u64, now: u32) {
        let (port, remote, node) = (what as u16, (what >> 16) as u16, (what >> 32) as u16);
        let address = (what >> 48) as u16 & 0x3fff;
        match what >> 62 {
            CLOSE => {
                self.closed += 1;
                self.remotes[usize::from(remote)].open -= 1;
            }
            COLLECT => {
                let layer = if address == 0 { &mut self.node } else { &mut self.gateway };
                if let Some(next) = layer.as_mut().and_then(|layer| layer.collect(node, now)) {
                    self.calendar.note(next, note(COLLECT, node, address, 0, 0));
                }
            }
            kind => {
                let (layer, address) =
                    if kind == NODE_FREE { (&mut self.node, node) } else { (&mut self.gateway, address) };
                let wish = Wish {
                    protocol: self.mix.protocol(self.class_of[usize::from(remote)]),
                    inside: (NODE_NET + u32::from(node), 0),
                    remote: (REMOTE_NET + u32::from(remote), 0),
                };
                if let Some(layer) = layer {
                    layer.expire(&wish, address, remote, port, now);
                }
            }
        }
    }

    /// A connection arrives.
    fn open(&mut self, arrival: &Arrival) {
        self.asked += 1;
        self.remotes[usize::from(arrival.remote)].asked += 1;
        self.open_until(arrival, self.calendar.now() + arrival.life);
    }

    /// A connection that lasts until `end`, which may be over already.
    fn open_until(&mut self, arrival: &Arrival, end: u32) {
        let now = self.calendar.now();
        let Arrival { pod, node, remote, class, source, .. } = *arrival;
        let [node_spans, gateway_spans] = self.spans[usize::from(class)];
        let far = (REMOTE_NET + u32::from(remote), REMOTE_PORT);
        let protocol = self.mix.protocol(class);
        let mut inside = (POD_NET + pod, source);
        let mut at_node = None;
        let calendar = &mut self.calendar;
        if let Some(layer) = &mut self.node {
            let expires = end + node_spans.after;
            if layer.is_uncollected(node, expires, now) {
                let asker = Asker { wish: Wish { protocol, inside, remote: far }, remote, at: Some(node) };
                let collect = |device, tick| calendar.note(tick, note(COLLECT, device, 0, 0, 0));
                match layer.allocate(&asker, now, Use { expires, closes: end }, collect) {
                    Ok((_, port)) => {
                        at_node = Some(port);
                        inside = (NODE_NET + u32::from(node), port);
                    }
                    Err(_) => {
                        self.remotes[usize::from(remote)].refused_node += 1;
                        return;
                    }
                }
            }
        }
        if self.by_node {
            inside.0 = NODE_NET + u32::from(node);
        }
        let mut refused = false;
        if let Some(layer) = &mut self.gateway {
            let expires = end + gateway_spans.after;
            if layer.is_uncollected(0, expires, now) {
                let asker = Asker { wish: Wish { protocol, inside, remote: far }, remote, at: None };
                let collect = |device, tick| calendar.note(tick, note(COLLECT, device, 1, 0, 0));
                match layer.allocate(&asker, now, Use { expires, closes: end }, collect) {
                    Ok((address, port)) => {
                        calendar.note(expires, note(GATEWAY_FREE, node, address, remote, port));
                    }
                    Err(_) => {
                        self.remotes[usize::from(remote)].refused_gateway += 1;
                        refused = true;
                    }
                }
            }
        }
        if let (Some(port), Some(layer)) = (at_node, &mut self.node) {
            let mut expires = end + node_spans.after;
            if refused {
                expires = now + node_spans.unanswered;
                layer.shorten(node, remote, port, expires);
            }
            calendar.note(expires, note(NODE_FREE, node, 0, remote, port));
        }
        if !refused && end > now {
            self.opened += 1;
            let counts = &mut self.remotes[usize::from(remote)];
            counts.open += 1;
            counts.open_max = counts.open_max.max(counts.open);
            calendar.note(end, note(CLOSE, node, 0, remote, 0));
        }
    }
}

impl Outcome {
    /// Share of connections that some layer had no port for; none if nothing was asked.
    #[must_use]
    pub fn refused_share(&self) -> Option<f64> {
        (self.asked > 0).then(|| 1.0 - self.opened as f64 / self.asked as f64)
    }

    /// Connections refused by the node, and by the gateway.
    #[must_use]
    pub fn refused(&self) -> [u64; 2] {
        [
            self.remotes.iter().map(|remote| remote.refused_node).sum(),
            self.remotes.iter().map(|remote| remote.refused_gateway).sum(),
        ]
    }

    /// The reasons, with how often each layer gave them: `(reason, node, gateway)`.
    #[must_use]
    pub fn reasons(&self) -> Vec<(DropReason, u64, u64)> {
        let of = |layer: &Option<LayerCounts>, at: usize| layer.as_ref().map_or(0, |layer| layer.refused[at]);
        let all = DropReason::ALL.iter().enumerate();
        all.map(|(at, reason)| (*reason, of(&self.node, at), of(&self.gateway, at)))
            .filter(|(_, node, gateway)| node + gateway > 0)
            .collect()
    }
}
