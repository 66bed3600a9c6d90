//! The rig: six link ends, two stages between them, generator and reflector outside, and the threads that run them.
//!
//! ```text
//! generator ═ Pods─NodeInside ═ node ═ NodeOutside─GatewayInside ═ gateway ═ GatewayOutside─Internet ═ reflector
//! └─ tester thread ─┘           └──────────── layers thread ──────────────┘              └─ tester thread ─┘
//! ```
//!
//! The tester shares one thread and the layers another, so that on two processors neither disturbs the other, and the layers' thread
//! is the one whose time is the cost of the design.

mod links;
mod placement;
mod run;

use std::net::Ipv4Addr;

use natrig_lab::stage::{Engine, PumpError, PumpTimes, Side, SideConfig, Stage, pump};
use natrig_lab::topology::{Boxes, Port, Topology, WorldUse};
use natrig_link::{Link, RecvError, clock};
use natrig_traffic::{Endpoint, ReflectError};

pub use links::{LinkError, OpenLink};
pub(crate) use links::{Links, add_drop, lost_between};
pub(crate) use placement::Placed;
pub(crate) use run::{PhaseEnd, Session, Traffic};

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
    /// The node.
    pub node: Stage,
    /// The gateway.
    pub gateway: Stage,
    /// The node's time.
    pub node_times: PumpTimes,
    /// The gateway's time.
    pub gateway_times: PumpTimes,
}

impl Layers {
    /// The boxes of a topology with these engines in them.
    pub(crate) fn new(topology: &Topology, world: WorldUse, node: Engine, gateway: Engine) -> Self {
        let node = Stage::new(
            side(Port::NodeInside, world, vec![topology.pods.router]),
            side(Port::NodeOutside, world, topology.node.addresses.clone()),
            node,
        );
        let gateway = Stage::new(
            side(Port::GatewayInside, world, vec![topology.gateway.private_address]),
            side(Port::GatewayOutside, world, topology.gateway.addresses.clone()),
            gateway,
        );
        Self { node, gateway, node_times: PumpTimes::default(), gateway_times: PumpTimes::default() }
    }

    /// Moves at most one burst over each of the four ways through the boxes. Returns how many frames there were.
    ///
    /// # Errors
    /// What the links return.
    pub(crate) fn poll(&mut self, links: &mut LayerLinks) -> Result<usize, PumpError> {
        let Self { node, gateway, node_times, gateway_times } = self;
        let LayerLinks { node_inside, node_outside, gateway_inside, gateway_outside } = links;
        let now = clock::now_ns;
        Ok(pump(node, Side::Inside, &mut **node_inside, &mut **node_outside, now, node_times)?
            + pump(gateway, Side::Inside, &mut **gateway_inside, &mut **gateway_outside, now, gateway_times)?
            + pump(gateway, Side::Outside, &mut **gateway_outside, &mut **gateway_inside, now, gateway_times)?
            + pump(node, Side::Outside, &mut **node_outside, &mut **node_inside, now, node_times)?)
    }
}

/// The four link ends that the layers' thread owns.
pub(crate) struct LayerLinks {
    /// Towards the pods.
    pub node_inside: Box<dyn Link>,
    /// Towards the gateway.
    pub node_outside: Box<dyn Link>,
    /// Towards the node.
    pub gateway_inside: Box<dyn Link>,
    /// Towards the servers.
    pub gateway_outside: Box<dyn Link>,
}

/// The two link ends that the tester's thread owns.
pub(crate) struct TesterLinks {
    /// The generator's.
    pub pods: Box<dyn Link>,
    /// The reflector's.
    pub internet: Box<dyn Link>,
}

/// The MAC addresses of a frame that leaves `port` when generator, stages and reflector own all addresses.
pub(crate) fn endpoint(port: Port) -> Endpoint {
    let world = WorldUse::Measurement(Boxes::STAGES);
    Endpoint { mac: port.speaking_mac(world), peer: port.peer().speaking_mac(world) }
}

fn side(port: Port, world: WorldUse, addresses: Vec<Ipv4Addr>) -> SideConfig {
    SideConfig { mac: port.speaking_mac(world), peer: port.peer().speaking_mac(world), addresses }
}
