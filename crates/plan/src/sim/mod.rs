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
use layer::{AHEAD, Asker, Kept, Layer, TICKS_PER_S};
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

/// A fleet and its clock.
#[derive(Debug)]
pub struct Simulation {
    nodes: u32,
    pods: u32,
    mix: Mix,
    calendar: Calendar<Open>,
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

/// An open connection. What a layer that does not translate would have is zero.
#[derive(Debug, Clone, Copy)]
struct Open {
    pod: u32,
    remote: u16,
    /// The node's port.
    node_port: u16,
    /// The gateway's address and port.
    address: u16,
    port: u16,
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
        let node = setup.node.map(|behaviour| {
            Layer::new(behaviour, setup.nodes as usize, true, remotes, expected(behaviour), START, &mut rng)
        });
        let gateway = setup.gateway.map(|(behaviour, addresses)| {
            // Every pod is a source of its own; how many a profile remembers is not a limit of any vendor's.
            let mut behaviour = behaviour.clone();
            behaviour.quota.max_sources = behaviour.quota.max_sources.max(setup.pods).max(setup.nodes);
            Layer::new(&behaviour, addresses, false, remotes, expected(&behaviour), START, &mut rng)
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
        self.layers_mut().for_each(Layer::forget_counts);
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
            self.touch(self.ahead.iter().rev());
        }
    }

    /// Fetches what the searches of connections to come begin with.
    fn touch<'a>(&self, coming: impl Iterator<Item = &'a Arrival> + Clone) {
        let asker = |arrival: &Arrival, at| Asker {
            wish: Wish {
                protocol: self.mix.protocol(arrival.class),
                inside: (POD_NET + arrival.pod, arrival.source),
                remote: (REMOTE_NET + u32::from(arrival.remote), REMOTE_PORT),
            },
            remote: arrival.remote,
            at,
        };
        if let Some(layer) = &self.node {
            layer.touch(coming.clone().map(|arrival| asker(arrival, Some(arrival.node))));
        }
        if let Some(layer) = &self.gateway {
            layer.touch(coming.map(|arrival| asker(arrival, None)));
        }
    }

    /// A pod, and a source port of it, for a connection to a remote end.
    fn someone(&mut self, remote: u16, class: u16) -> Arrival {
        let pod = self.mix.pod(class, self.pods, &mut self.rng);
        let source = self.rng.random_range(EPHEMERAL);
        Arrival { tick: 0, life: 0, pod, node: (pod % self.nodes) as u16, remote, class, source }
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
            let mut left = (alive + gone).round() as usize;
            let mut some = Vec::with_capacity(AHEAD);
            while left > 0 {
                some.clear();
                some.extend((0..left.min(AHEAD)).map(|_| {
                    let remote = first_remote + self.rng.random_range(0..class.remotes);
                    // In random order: whoever comes when the ports are gone is as likely to be one of these as one of those.
                    let end = if self.rng.random::<f64>() * (alive + gone) < alive {
                        self.preloaded += 1;
                        START + mix::residual_ticks(class, &mut self.rng).max(1)
                    } else {
                        START - self.rng.random_range(0..after)
                    };
                    (self.someone(remote, number as u16), end)
                }));
                left -= some.len();
                self.touch(some.iter().map(|(arrival, _)| arrival));
                for (arrival, end) in &some {
                    self.open_until(arrival, *end);
                }
            }
            first_remote += class.remotes;
        }
        self.layers_mut().for_each(Layer::sort_kept);
        self.forget_counts();
    }

    fn advance(&mut self, tick: u32) {
        while self.calendar.now() < tick {
            let due = self.calendar.next();
            for open in due.iter() {
                self.close(&open);
            }
            self.calendar.done(due);
            let now = self.calendar.now();
            self.layers_mut().for_each(|layer| layer.pass(now));
        }
    }

    fn layers_mut(&mut self) -> impl Iterator<Item = &mut Layer> {
        [&mut self.node, &mut self.gateway].into_iter().flatten()
    }

    /// A connection ends, and its ports are kept for a while.
    fn close(&mut self, open: &Open) {
        let Open { pod, remote, node_port, address, port } = *open;
        self.closed += 1;
        self.remotes[usize::from(remote)].open -= 1;
        let now = self.calendar.now();
        let class = self.class_of[usize::from(remote)];
        let [node_spans, gateway_spans] = self.spans[usize::from(class)];
        let (node, protocol) = ((pod % self.nodes) as u16, self.mix.protocol(class));
        let seen = self.seen_by_gateway(pod, node);
        if let Some(layer) = &mut self.node {
            let after = node_spans.after;
            let (expires, inside) = (now + after, POD_NET + pod);
            layer.keep(after, Kept { expires, inside, address: node, remote, port: node_port, protocol });
        }
        if let Some(layer) = &mut self.gateway {
            let after = gateway_spans.after;
            layer.keep(after, Kept { expires: now + after, inside: seen, address, remote, port, protocol });
        }
    }

    /// The source address that the gateway knows a connection by.
    fn seen_by_gateway(&self, pod: u32, node: u16) -> u32 {
        if self.by_node || self.node.is_some() { NODE_NET + u32::from(node) } else { POD_NET + pod }
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
        let seen = self.seen_by_gateway(pod, node);
        let (mut at_node, mut at_gateway) = (None, None);
        let expires = end + node_spans.after;
        if let Some(layer) = self.node.as_mut().filter(|layer| layer.is_uncollected(node, expires, now)) {
            let wish = Wish { protocol, inside: (POD_NET + pod, source), remote: far };
            match layer.allocate(&Asker { wish, remote, at: Some(node) }, now, Use { expires, closes: end }) {
                Ok((_, port)) => {
                    let inside = wish.inside.0;
                    at_node = Some(Kept { expires, inside, address: node, remote, port, protocol });
                }
                Err(_) => {
                    self.remotes[usize::from(remote)].refused_node += 1;
                    return;
                }
            }
        }
        let expires = end + gateway_spans.after;
        if let Some(layer) = self.gateway.as_mut().filter(|layer| layer.is_uncollected(0, expires, now)) {
            let wish = Wish { protocol, inside: (seen, at_node.map_or(source, |kept| kept.port)), remote: far };
            match layer.allocate(&Asker { wish, remote, at: None }, now, Use { expires, closes: end }) {
                Ok((address, port)) => {
                    at_gateway = Some(Kept { expires, inside: seen, address, remote, port, protocol });
                }
                Err(_) => {
                    self.remotes[usize::from(remote)].refused_gateway += 1;
                    if let Some((layer, kept)) = self.node.as_mut().zip(at_node) {
                        let expires = now + node_spans.unanswered;
                        layer.shorten(node, remote, kept.port, expires);
                        layer.keep(node_spans.unanswered, Kept { expires, ..kept });
                    }
                    return;
                }
            }
        }
        if end > now {
            self.opened += 1;
            let counts = &mut self.remotes[usize::from(remote)];
            counts.open += 1;
            counts.open_max = counts.open_max.max(counts.open);
            let node_port = at_node.map_or(0, |kept| kept.port);
            let (address, port) = at_gateway.map_or((0, 0), |kept| (kept.address, kept.port));
            self.calendar.note(end, Open { pod, remote, node_port, address, port });
            return;
        }
        for (layer, kept, after) in
            [(&mut self.node, at_node, node_spans.after), (&mut self.gateway, at_gateway, gateway_spans.after)]
        {
            if let Some((layer, kept)) = layer.as_mut().zip(kept) {
                layer.keep(after, kept);
            }
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
