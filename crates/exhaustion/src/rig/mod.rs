//! What connections go through: nodes and a gateway, and at both ends somebody who sends and looks at what arrives.
//!
//! ```text
//! pods ═ node 1 ═╗
//! pods ═ node 2 ═╬═ gateway ═ servers
//! ```
//!
//! One thread does everything: it sends a few frames, moves them through the stages, and goes on when it knows of each what became of
//! it. So attempts are answered in the order in which they were made, and nothing is lost for want of room. In memory time is what the
//! experiment says; over veth it is the machine's.

mod bed;
mod build;
mod frame;
mod junction;
mod tally;

use std::collections::HashSet;
use std::net::SocketAddrV4;
use std::time::Duration;

use natrig_bench::profile::LoadProfileError;
use natrig_bench::result::LinkFacts;
use natrig_lab::lease::{BuildError, KernelBoxError};
use natrig_lab::stage::{Engine, PumpError, PumpTimes, Side, Stage, pump};
use natrig_link::{BURST_MAX, Link, RecvError, SendError, clock};
use natrig_nat::ConfigError;
use natrig_traffic::Endpoint;
use natrig_wire::Frame;

pub(crate) use self::bed::Bed;
use self::frame::{FRAME_LEN_MAX, Received};
pub(crate) use self::frame::{Message, PAYLOAD_LEN};
use self::tally::{KernelSide, Settings, Tally};
use crate::observe::{Layer, RefusedBy};

/// Why there is no rig, or it does not work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RigError {
    /// A profile cannot be had.
    #[error(transparent)]
    Profile(#[from] LoadProfileError),
    /// A profile does not go with its addresses.
    #[error("set up profile {name}: {source}")]
    Config {
        /// Its name.
        name: String,
        /// Why.
        source: ConfigError,
    },
    /// The address plan cannot be built.
    #[error("plan the world: {0}")]
    Plan(#[from] natrig_lab::topology::TopologyError),
    /// The world cannot be built here.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A link cannot be opened.
    #[error("open {interface} in namespace {namespace}: {reason}")]
    Open {
        /// Where.
        namespace: &'static str,
        /// Which.
        interface: &'static str,
        /// Why.
        reason: String,
    },
    /// The kernel at a box does not answer.
    #[error(transparent)]
    Kernel(#[from] KernelBoxError),
    /// A layer does not move frames.
    #[error("move frames through a layer: {0}")]
    Pump(#[from] PumpError),
    /// An end does not receive.
    #[error("receive: {0}")]
    Recv(#[from] RecvError),
    /// An end does not send.
    #[error("send: {0}")]
    Send(#[from] SendError),
}

impl RigError {
    /// Whether another machine, or more privilege, would help.
    pub(crate) fn is_environment(&self) -> bool {
        matches!(self, Self::Build(_) | Self::Open { .. })
    }
}

/// Where frames are sent from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The pods' end.
    Pods,
    /// The servers' end.
    Servers,
}

/// A frame to be sent: from which node's pods, if from pods.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outgoing {
    /// The node.
    pub node: u32,
    /// What it says.
    pub message: Message,
}

/// What became of frames.
#[derive(Debug, Default)]
pub(crate) struct Crossing {
    /// What arrived at the other end.
    pub arrived: Vec<Message>,
    /// Resets that arrived at the end that had sent: by whom they seem to be sent, and to whom.
    pub resets: Vec<(SocketAddrV4, SocketAddrV4)>,
    /// Frames of ours that arrived damaged.
    pub corrupt: u64,
    /// New connections refused, by layer and reason.
    pub refused: Vec<RefusedBy>,
    /// Frames that ended at a layer, refused or not.
    pub ended: u64,
    /// Frames of which nothing is known.
    pub vanished: u64,
    /// Ports tried by allocations that succeeded, and how many these were.
    pub tries: (u64, u64),
    /// Connections whose frames are on their way; what arrives of others is late, and was given up.
    expected: HashSet<u32>,
}

/// The nodes, the gateway, and the two ends.
pub(crate) struct Rig {
    bed: Bed,
    nodes: Vec<BoxAndLinks>,
    gateway: BoxAndLinks,
    pods: Vec<Box<dyn Link>>,
    servers: Box<dyn Link>,
    pods_endpoint: Endpoint,
    servers_endpoint: Endpoint,
    /// Only over veth.
    kernel: Option<KernelSide>,
    tally: Tally,
    /// None: the machine's.
    virtual_ns: Option<u64>,
}

/// A box; none where the kernel forwards.
type BoxAndLinks = Option<(Stage, Box<dyn Link>, Box<dyn Link>)>;

/// When virtual time begins: long enough after zero for everything to lie in the past.
const EPOCH_NS: u64 = 1_000_000_000_000;
/// Frames sent at once.
const CHUNK: usize = 64;
/// Over veth: nothing has moved for so long, so that the kernel is asked for what it has dropped.
const QUIET: Duration = Duration::from_millis(1);
/// Over veth: nothing has moved for so long, so that nothing will.
const PATIENCE: Duration = Duration::from_millis(250);
/// Steps in which virtual time goes on while nothing is sent: collectors run when they are due.
const STEP_NS: u64 = 1_000_000_000;

impl Rig {
    /// Now, nanoseconds.
    pub(crate) fn now_ns(&self) -> u64 {
        self.virtual_ns.unwrap_or_else(clock::now_ns)
    }

    /// Connections that the kernel tracks at most, where it stands at a layer.
    ///
    /// # Errors
    /// [`RigError`].
    pub(crate) fn kernel_table(&self) -> Result<Option<u32>, RigError> {
        let settings = self.kernel_settings()?;
        let all = settings.iter().flat_map(|(_, settings)| settings);
        Ok(all.filter(|(key, _)| key == "net.netfilter.nf_conntrack_max").find_map(|(_, value)| value.parse().ok()))
    }

    /// What it was built from.
    pub(crate) fn bed(&self) -> &Bed {
        &self.bed
    }

    /// What carries frames.
    pub(crate) fn link(&self) -> LinkFacts {
        self.servers.describe().into()
    }

    /// Settings that bear on what the kernel does, by layer.
    ///
    /// # Errors
    /// [`RigError`].
    pub(crate) fn kernel_settings(&self) -> Result<Vec<(Layer, Settings)>, RigError> {
        self.kernel.as_ref().map_or_else(|| Ok(Vec::new()), KernelSide::settings)
    }

    /// Empties all tables; in memory, time goes on.
    ///
    /// # Errors
    /// [`RigError`].
    pub(crate) fn reset(&mut self, seed: u64) -> Result<(), RigError> {
        for (node, slot) in (0..).zip(&mut self.nodes) {
            if let (Some((stage, ..)), Some(engine)) = (slot, self.bed.node_engine(node, seed)?) {
                *stage.engine_mut() = engine;
            }
        }
        if let (Some((stage, ..)), Some(engine)) = (&mut self.gateway, self.bed.gateway_engine(seed)?) {
            *stage.engine_mut() = engine;
        }
        if let Some(kernel) = &mut self.kernel {
            kernel.forget()?;
        }
        self.drain()?;
        self.tally = Tally::new(&self.nodes, &self.gateway, self.tally.names().clone());
        Ok(())
    }

    /// Lets time pass until `at_ns`.
    ///
    /// # Errors
    /// [`RigError`].
    pub(crate) fn wait_until(&mut self, at_ns: u64) -> Result<(), RigError> {
        match self.virtual_ns {
            Some(mut now_ns) => {
                while now_ns < at_ns {
                    now_ns = (now_ns + STEP_NS).min(at_ns);
                    self.virtual_ns = Some(now_ns);
                    self.expire(now_ns);
                }
            }
            None => {
                while clock::now_ns() < at_ns {
                    self.poll()?;
                    let left_ns = at_ns.saturating_sub(clock::now_ns());
                    std::thread::sleep(Duration::from_nanos(left_ns).min(QUIET));
                }
                self.expire(clock::now_ns());
            }
        }
        Ok(())
    }

    /// Sends frames from one end, and waits until it is known what became of each.
    ///
    /// # Errors
    /// [`RigError`].
    pub(crate) fn cross(&mut self, from: End, outgoing: &[Outgoing]) -> Result<Crossing, RigError> {
        let mut crossing = Crossing::default();
        for chunk in outgoing.chunks(CHUNK) {
            let known = crossing.known();
            crossing.expected = chunk.iter().map(|outgoing| outgoing.message.connection).collect();
            self.send(from, chunk, &mut crossing)?;
            self.settle(from, chunk.len() as u64, known, &mut crossing)?;
        }
        self.tally.read(&self.nodes, &self.gateway, &mut crossing);
        Ok(crossing)
    }

    /// Connections that a layer remembers now.
    ///
    /// # Errors
    /// [`RigError`].
    pub(crate) fn remembered(&mut self, layer: Layer) -> Result<u64, RigError> {
        if let Some(connections) = self.kernel.as_mut().map(|kernel| kernel.connections(layer)).transpose()?.flatten() {
            return Ok(connections);
        }
        let now_ns = self.now_ns();
        self.expire(now_ns);
        Ok(self.engines(layer).map(|engine| if let Engine::Nat(nat) = engine { nat.counters().live } else { 0 }).sum())
    }

    fn engines(&self, layer: Layer) -> impl Iterator<Item = &Engine> {
        let (nodes, gateway) = match layer {
            Layer::Node => (&self.nodes[..], None),
            Layer::Gateway => (&[][..], self.gateway.as_ref()),
        };
        nodes.iter().flatten().chain(gateway).map(|(stage, ..)| stage.engine())
    }

    fn expire(&mut self, now_ns: u64) {
        for (stage, ..) in self.nodes.iter_mut().flatten().chain(&mut self.gateway) {
            if let Engine::Nat(nat) = stage.engine_mut() {
                nat.expire(now_ns);
            }
        }
    }

    fn send(&mut self, from: End, chunk: &[Outgoing], crossing: &mut Crossing) -> Result<(), RigError> {
        let kind = self.bed.traffic.protocol;
        let endpoint = if from == End::Pods { self.pods_endpoint } else { self.servers_endpoint };
        let mut slots = [[0; FRAME_LEN_MAX]; CHUNK];
        let lens: Vec<usize> = chunk
            .iter()
            .zip(&mut slots)
            .map(|(outgoing, slot)| frame::emit(&outgoing.message, kind, endpoint, slot).unwrap_or(0))
            .collect();
        let frames: Vec<Frame<'_>> = slots.iter_mut().zip(&lens).map(|(slot, len)| Frame::new(slot, *len)).collect();
        let mut first = 0;
        while first < chunk.len() {
            // Frames of one node leave together, in the order in which they were asked for.
            let node = chunk[first].node;
            let run =
                chunk[first..].iter().take_while(|outgoing| outgoing.node == node || from == End::Servers).count();
            let picks: Vec<u16> = (first..first + run).map(|index| index as u16).collect();
            let mut left = &picks[..];
            while !left.is_empty() {
                let link = if from == End::Pods { &mut self.pods[node as usize] } else { &mut self.servers };
                left = &left[link.send(&frames, left)?..];
                self.poll()?;
                self.receive(from, crossing)?;
            }
            first += run;
        }
        Ok(())
    }

    /// Until each of `sent` frames has arrived, or is known to have ended.
    fn settle(&mut self, from: End, sent: u64, known_before: u64, crossing: &mut Crossing) -> Result<(), RigError> {
        let mut quiet_since = clock::now_ns();
        let (mut idle_polls, mut ask_after) = (0, QUIET);
        loop {
            let known = crossing.known();
            let moved = self.poll()?;
            self.receive(from, crossing)?;
            if crossing.known() - known_before < sent {
                self.tally.read(&self.nodes, &self.gateway, crossing);
            }
            if crossing.known() - known_before >= sent {
                return Ok(());
            }
            if moved > 0 || crossing.known() > known {
                (quiet_since, idle_polls) = (clock::now_ns(), 0);
                continue;
            }
            idle_polls += 1;
            let quiet = Duration::from_nanos(clock::now_ns() - quiet_since);
            if let Some(kernel) = self.kernel.as_mut().filter(|_| quiet > ask_after) {
                // What is late may be dropped late.
                kernel.read(crossing)?;
                ask_after *= 4;
            }
            // In memory nothing is on its way between two polls.
            let over = if self.virtual_ns.is_some() { idle_polls > 2 } else { quiet > PATIENCE };
            if over {
                crossing.vanished += sent.saturating_sub(crossing.known() - known_before);
                return Ok(());
            }
        }
    }

    /// Moves at most one burst over each way through the boxes. Returns how many frames there were.
    fn poll(&mut self) -> Result<usize, RigError> {
        let fixed_ns = self.virtual_ns;
        let now = || fixed_ns.unwrap_or_else(clock::now_ns);
        let mut times = PumpTimes::default();
        let mut frames = 0;
        for (stage, inside, outside) in self.nodes.iter_mut().flatten() {
            frames += pump(stage, Side::Inside, &mut **inside, &mut **outside, now, &mut times)?;
        }
        if let Some((stage, inside, outside)) = &mut self.gateway {
            // A junction presents one of its links at a time.
            for _ in 0..self.nodes.len() {
                frames += pump(stage, Side::Inside, &mut **inside, &mut **outside, now, &mut times)?;
            }
            frames += pump(stage, Side::Outside, &mut **outside, &mut **inside, now, &mut times)?;
        }
        for (stage, inside, outside) in self.nodes.iter_mut().flatten() {
            frames += pump(stage, Side::Outside, &mut **outside, &mut **inside, now, &mut times)?;
        }
        Ok(frames)
    }

    /// Takes what has arrived at the ends.
    fn receive(&mut self, from: End, crossing: &mut Crossing) -> Result<(), RigError> {
        let Self { pods, servers, .. } = self;
        for (end, link) in pods.iter_mut().map(|link| (End::Pods, link)).chain([(End::Servers, servers)]) {
            link.recv(BURST_MAX, &mut |frames| {
                for frame in frames {
                    match frame::read(frame.bytes()) {
                        Received::Message(message)
                            if end != from && crossing.expected.contains(&message.connection) =>
                        {
                            crossing.arrived.push(message);
                        }
                        Received::Corrupt if end != from => crossing.corrupt += 1,
                        Received::Reset { source, destination } if end == from => {
                            crossing.resets.push((source, destination));
                        }
                        Received::Message(_) | Received::Corrupt | Received::Reset { .. } => {}
                        Received::Icmp | Received::Foreign => {}
                    }
                }
            })?;
        }
        Ok(())
    }

    /// Throws away what is still on its way.
    fn drain(&mut self) -> Result<(), RigError> {
        let mut idle = 0;
        while idle < 3 {
            let moved = self.poll()?;
            self.receive(End::Pods, &mut Crossing::default())?;
            idle = if moved == 0 { idle + 1 } else { 0 };
        }
        Ok(())
    }
}

impl Crossing {
    /// Frames of which it is known what became of them.
    fn known(&self) -> u64 {
        // Natrig's NATs count what they answer with a reset as ended there. A kernel that has no mapping for a segment takes it in, and its
        // stack resets the connection that it knows nothing of: then the reset is all that there is to see.
        self.arrived.len() as u64 + self.corrupt + self.ended.max(self.resets.len() as u64)
    }
}
