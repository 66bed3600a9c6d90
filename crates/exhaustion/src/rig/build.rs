//! From a setup to boxes and links.

use std::net::Ipv4Addr;

use natrig_lab::lease::Lease;
use natrig_lab::plan::Plan;
use natrig_lab::stage::{Engine, SideConfig, Stage};
use natrig_lab::topology::{Boxes, ForwardedBy, Port, Topology, WorldUse};
use natrig_link::packet::{PacketLink, PacketOptions};
use natrig_link::{Link, memory};
use natrig_traffic::Endpoint;

use super::junction::Junction;
use super::tally::{KernelSide, Tally};
use super::{Bed, BoxAndLinks, EPOCH_NS, Rig, RigError};
use crate::scenario::Over;

/// More than are ever on their way at once.
const SLOTS: usize = 512;
/// ICMP errors quote a frame of ours behind headers of their own.
const SLOT_BYTES: usize = 192;

impl Rig {
    /// Builds it, with empty tables.
    ///
    /// # Errors
    /// [`RigError`].
    pub(crate) fn open(bed: Bed, seed: u64) -> Result<Self, RigError> {
        match bed.setup.over {
            Over::Memory => Self::in_memory(bed, seed),
            Over::Veth => Self::over_veth(bed, seed),
        }
    }

    fn in_memory(bed: Bed, seed: u64) -> Result<Self, RigError> {
        let world = bed.world;
        let (mut nodes, mut pods, mut joined) = (Vec::new(), Vec::new(), Vec::new());
        for node in 0..world.nodes {
            let ((near, inside), (outside, far)) = (pair(), pair());
            let stage = bed.node_engine(node, seed)?.map(|engine| node_stage(&bed, engine));
            nodes.push(stage.map(|stage| (stage, inside, outside)));
            pods.push(near);
            joined.push((far, world.pods_of(node).chain(world.addresses_of(node)).collect()));
        }
        let (outside, servers) = pair();
        let inside: Box<dyn Link> = Box::new(Junction::new(joined));
        let gateway = bed.gateway_engine(seed)?.map(|engine| (gateway_stage(&bed, engine), inside, outside));
        Ok(Self::assemble(bed, nodes, gateway, pods, servers, None, Some(EPOCH_NS)))
    }

    /// Worlds of namespaces, as the bed has them.
    fn over_veth(bed: Bed, seed: u64) -> Result<Self, RigError> {
        let (mut worlds, mut nodes, mut pods, mut joined) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut all = bed.worlds().into_iter();
        for (node, (topology, boxes)) in (0..bed.world.nodes).zip(all.by_ref()) {
            let lease = Plan::measurement(&topology, boxes)?.build()?;
            // From the inside out: frames sent to an end that is not open yet would be lost.
            let stage = match bed.node_engine(node, seed)? {
                None => None,
                Some(engine) => {
                    let (inside, outside) = (open(&lease, Port::NodeInside)?, open(&lease, Port::NodeOutside)?);
                    Some((node_stage(&bed, engine), inside, outside))
                }
            };
            nodes.push(stage);
            if !boxes.is_kernel(Port::GatewayInside) {
                let behind = bed.world.pods_of(node).chain(bed.world.addresses_of(node)).collect();
                joined.push((open(&lease, Port::GatewayInside)?, behind));
            }
            pods.push(open(&lease, Port::Pods)?);
            // Before the lines are opened: where connection tracking is a module, this loads it.
            lease.apply(&bed.kernel_plan(&topology, boxes))?;
            worlds.push((lease, boxes));
        }
        let mut outside = Port::GatewayOutside;
        if let Some((topology, boxes)) = all.next() {
            let lease = Plan::measurement(&topology, boxes)?.build()?;
            lease.apply(&bed.kernel_plan(&topology, boxes))?;
            worlds.insert(0, (lease, boxes));
            outside = Port::NodeOutside;
        }
        let engine = if bed.is_joined() { Some(bed.router_engine()) } else { bed.gateway_engine(seed)? };
        let gateway = match engine {
            None => None,
            Some(engine) => {
                let outside = open(&worlds[0].0, outside)?;
                let inside: Box<dyn Link> = Box::new(Junction::new(joined));
                Some((gateway_stage(&bed, engine), inside, outside))
            }
        };
        let servers = open(&worlds[0].0, Port::Internet)?;
        let kernel = KernelSide::open(worlds, names(&bed))?;
        Ok(Self::assemble(bed, nodes, gateway, pods, servers, Some(kernel), None))
    }

    fn assemble(
        bed: Bed,
        nodes: Vec<BoxAndLinks>,
        gateway: BoxAndLinks,
        pods: Vec<Box<dyn Link>>,
        servers: Box<dyn Link>,
        kernel: Option<KernelSide>,
        virtual_ns: Option<u64>,
    ) -> Self {
        let world = WorldUse::Measurement(bed.boxes());
        let endpoint = |port: Port| Endpoint { mac: port.speaking_mac(world), peer: port.peer().speaking_mac(world) };
        Self {
            tally: Tally::new(&nodes, &gateway, names(&bed)),
            pods_endpoint: endpoint(Port::Pods),
            servers_endpoint: endpoint(Port::Internet),
            bed,
            nodes,
            gateway,
            pods,
            servers,
            kernel,
            virtual_ns,
        }
    }
}

fn names(bed: &Bed) -> [String; 2] {
    [bed.setup.node.name().to_owned(), bed.setup.gateway.name().to_owned()]
}

fn pair() -> (Box<dyn Link>, Box<dyn Link>) {
    let (near, far) = memory::pair(SLOTS, SLOT_BYTES);
    (Box::new(near), Box::new(far))
}

fn open(lease: &Lease, port: Port) -> Result<Box<dyn Link>, RigError> {
    let failed = |reason: String| RigError::Open { namespace: port.namespace(), interface: port.interface(), reason };
    let link = lease
        .run_in(port.namespace(), || PacketLink::open(port.interface(), &PacketOptions::default()))
        .map_err(|error| failed(error.to_string()))?
        .map_err(|error| failed(error.to_string()))?;
    Ok(Box::new(link))
}

fn node_stage(bed: &Bed, engine: Engine) -> Stage {
    let topology = bed.world.topology();
    // Joined to others, a node has the router for a peer.
    let boxes = if bed.is_joined() { Boxes { gateway: ForwardedBy::Stage, ..bed.boxes() } } else { bed.boxes() };
    let inside = side(Port::NodeInside, boxes, vec![topology.pods.router]);
    Stage::new(inside, side(Port::NodeOutside, boxes, topology.node.addresses), engine)
}

/// The gateway, or the router in front of the kernel that is.
fn gateway_stage(bed: &Bed, engine: Engine) -> Stage {
    let Topology { node, gateway, .. } = bed.world.topology();
    let stages = Boxes { gateway: ForwardedBy::Stage, ..bed.boxes() };
    let inside = side(Port::GatewayInside, stages, vec![gateway.private_address]);
    let outside = if bed.is_joined() {
        side(Port::NodeOutside, Boxes { node: ForwardedBy::Stage, ..bed.boxes() }, node.addresses)
    } else {
        side(Port::GatewayOutside, stages, gateway.addresses)
    };
    Stage::new(inside, outside, engine)
}

fn side(port: Port, boxes: Boxes, addresses: Vec<Ipv4Addr>) -> SideConfig {
    let world = WorldUse::Measurement(boxes);
    SideConfig { mac: port.speaking_mac(world), peer: port.peer().speaking_mac(world), addresses }
}
