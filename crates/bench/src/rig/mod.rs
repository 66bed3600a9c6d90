//! The rig: six link ends, two stages between them, generator and reflector outside, and the threads that run them.
//!
//! ```text
//! generator ═ Pods─NodeInside ═ node ═ NodeOutside─GatewayInside ═ gateway ═ GatewayOutside─Internet ═ reflector
//! └─ tester thread ─┘           └──────────── layers thread ──────────────┘              └─ tester thread ─┘
//! ```
//!
//! The tester shares one thread and the layers another, so that on two processors neither disturbs the other, and the layers' thread
//! is the one whose time is the cost of the design. A layer that the kernel forwards at has neither stage nor links: its work is done
//! inside the calls by which the box before it sends, or in threads of the kernel's; programs in the kernel stamp frames there.

pub(crate) mod hop;
mod links;
mod placement;
mod run;
mod traffic;

use std::net::Ipv4Addr;

use natrig_lab::stage::{Engine, PumpError, PumpTimes, Side, SideConfig, Stage, pump};
use natrig_lab::topology::{Boxes, Port, Topology, WorldUse};
use natrig_link::passage::{Passage, Sample};
use natrig_link::{Link, RecvError, clock};
use natrig_traffic::{Endpoint, ReflectError};

use crate::hops::SAMPLES_MAX;
use crate::result::Place;

pub use links::{LinkError, OpenLink};
pub(crate) use links::{Links, add_drop, lost_between};
pub(crate) use placement::{Placed, pin_kernel_thread};
pub(crate) use run::Session;
pub use run::{PhaseEnd, Polled, Talk};
pub(crate) use traffic::{TesterTimes, Traffic};

/// Why frames could not be moved.
#[derive(Debug, thiserror::Error)]
pub enum RigError {
    /// A layer's thread.
    #[error("failed to move frames through a layer: {0}")]
    Layer(#[from] PumpError),
    /// The tester's thread, at the servers' end or in the TCP check.
    #[error("failed to receive or answer at the servers' end: {0}")]
    Reflect(#[from] ReflectError),
    /// The tester's thread, at the pods' end.
    #[error("failed to receive at the pods' end: {0}")]
    Receive(#[from] RecvError),
    /// The tester's thread, at the pods' end.
    #[error("failed to send at the pods' end: {0}")]
    Send(#[from] natrig_link::SendError),
    /// A measuring thread ended by a panic.
    #[error("failed to finish: a measuring thread panicked")]
    Panicked,
}

/// The two boxes in the middle and what they were busy with.
#[derive(Debug)]
pub(crate) struct Layers {
    /// The node; none where the kernel forwards.
    pub node: Option<Stage>,
    /// The gateway; none where the kernel forwards.
    pub gateway: Option<Stage>,
    /// The node's time.
    pub node_times: PumpTimes,
    /// The gateway's time.
    pub gateway_times: PumpTimes,
    /// What the two read the time from: one clock, unless a test says otherwise.
    pub clocks: [fn() -> u64; 2],
}

impl Layers {
    /// The boxes of a topology with these engines in them.
    pub(crate) fn new(topology: &Topology, world: WorldUse, [node, gateway]: [Option<Engine>; 2]) -> Self {
        let node = node.map(|engine| {
            Stage::new(
                side(Port::NodeInside, world, vec![topology.pods.router]),
                side(Port::NodeOutside, world, topology.node.addresses.clone()),
                engine,
            )
        });
        let gateway = gateway.map(|engine| {
            Stage::new(
                side(Port::GatewayInside, world, vec![topology.gateway.private_address]),
                side(Port::GatewayOutside, world, topology.gateway.addresses.clone()),
                engine,
            )
        });
        let (node_times, gateway_times) = (PumpTimes::default(), PumpTimes::default());
        Self { node, gateway, node_times, gateway_times, clocks: [clock::now_ns; 2] }
    }

    /// The stages there are.
    pub(crate) fn stages(&self) -> impl Iterator<Item = (Place, &Stage)> {
        [(Place::Node, &self.node), (Place::Gateway, &self.gateway)]
            .into_iter()
            .filter_map(|(place, stage)| Some((place, stage.as_ref()?)))
    }

    /// From the next session on stamps the frames of `sample`, or none.
    pub(crate) fn sample(&mut self, sample: Option<Sample>) {
        for stage in [&mut self.node, &mut self.gateway].into_iter().flatten() {
            stage.passages_mut().begin(sample, SAMPLES_MAX as usize);
        }
    }

    /// The stamps of each layer.
    pub(crate) fn passages(&self) -> Vec<(Place, &[Passage])> {
        self.stages().map(|(place, stage)| (place, stage.passages().log())).collect()
    }

    /// By how much the layers' clocks are off from the tester's, at least, in nanoseconds; layers with the same clock are left out.
    pub(crate) fn clocks_off(&self) -> Vec<(Place, u64)> {
        let clock = |place| if place == Place::Node { self.clocks[0] } else { self.clocks[1] };
        let off = self.stages().map(|(place, _)| (place, off_ns(clock(place))));
        off.filter(|(_, off_ns)| *off_ns > 0).collect()
    }

    /// Moves at most one burst over each of the ways through the boxes. Returns how many frames there were.
    ///
    /// # Errors
    /// What the links return.
    pub(crate) fn poll(&mut self, links: &mut LayerLinks) -> Result<usize, PumpError> {
        let Self { node, gateway, node_times, gateway_times, clocks: [node_clock, gateway_clock] } = self;
        let mut node = node.as_mut().zip(links.node.as_mut());
        let mut gateway = gateway.as_mut().zip(links.gateway.as_mut());
        let mut frames = 0;
        if let Some((stage, links)) = &mut node {
            frames += through(stage, links, Side::Inside, *node_clock, node_times)?;
        }
        if let Some((stage, links)) = &mut gateway {
            frames += through(stage, links, Side::Inside, *gateway_clock, gateway_times)?;
            frames += through(stage, links, Side::Outside, *gateway_clock, gateway_times)?;
        }
        if let Some((stage, links)) = &mut node {
            frames += through(stage, links, Side::Outside, *node_clock, node_times)?;
        }
        Ok(frames)
    }
}

/// How often a clock is read between two readings of the reference. One pair that nothing came between is enough.
const CLOCK_READINGS: u32 = 64;

/// By how much a clock is off, at least: a reading must lie between those of the reference before and after it.
fn off_ns(tap: fn() -> u64) -> u64 {
    let reading = || {
        let (before, at, after) = (clock::now_ns(), tap(), clock::now_ns());
        before.saturating_sub(at).max(at.saturating_sub(after))
    };
    (0..CLOCK_READINGS).map(|_| reading()).max().unwrap_or(0)
}

/// What has arrived at one side of a box.
fn through(
    stage: &mut Stage,
    links: &mut BoxLinks,
    from: Side,
    clock: fn() -> u64,
    times: &mut PumpTimes,
) -> Result<usize, PumpError> {
    let BoxLinks { inside, outside } = links;
    let (near, far) = match from {
        Side::Inside => (inside, outside),
        Side::Outside => (outside, inside),
    };
    pump(stage, from, &mut **near, &mut **far, clock, times)
}

/// The link ends that the layers' thread owns; none at a box that the kernel forwards at.
pub(crate) struct LayerLinks {
    /// The node's.
    pub node: Option<BoxLinks>,
    /// The gateway's.
    pub gateway: Option<BoxLinks>,
}

/// The two link ends of a box.
pub(crate) struct BoxLinks {
    /// Towards the pods.
    pub inside: Box<dyn Link>,
    /// Towards the servers.
    pub outside: Box<dyn Link>,
}

/// The two outer link ends, which the tester's thread owns.
pub struct Ends {
    /// The pods', where the initiator is.
    pub pods: Box<dyn Link>,
    /// The servers', where the responder is.
    pub internet: Box<dyn Link>,
}

/// The MAC addresses of a frame that generator or reflector send out of `port`.
pub(crate) fn endpoint(port: Port, boxes: Boxes) -> Endpoint {
    let world = WorldUse::Measurement(boxes);
    Endpoint { mac: port.speaking_mac(world), peer: port.peer().speaking_mac(world) }
}

fn side(port: Port, world: WorldUse, addresses: Vec<Ipv4Addr>) -> SideConfig {
    SideConfig { mac: port.speaking_mac(world), peer: port.peer().speaking_mac(world), addresses }
}
