//! What a rig is built from: a setup with all that experiments vary about it.

use natrig_lab::plan::{KernelNat, Plan, Step, Translate};
use natrig_lab::stage::Engine;
use natrig_lab::topology::{Boxes, ForwardedBy, Port, Topology};
use natrig_nat::behaviour::{Behaviour, PortBlocks, PortRange};
use natrig_nat::{Forwarder, Nat};
use std::net::Ipv4Addr;

use super::RigError;
use crate::observe::Layer;
use crate::scenario::{Changes, Over, Protocol, Scenario, Setup, Standing, Traffic, World};

/// One setup of an experiment.
#[derive(Debug, Clone)]
pub(crate) struct Bed {
    /// What stands where.
    pub setup: Setup,
    /// Who talks to whom.
    pub world: World,
    /// How.
    pub traffic: Traffic,
    /// What differs at the node.
    pub node: Changes,
    /// What differs at the gateway.
    pub gateway: Changes,
    /// No more connections than that are ever tried: no table needs more room.
    pub attempts_max: u32,
    /// The tables are to overflow: the kernel's is asked for no room.
    pub overflows: bool,
}

/// Entries on top of one for each connection.
const SPARE: u32 = 1024;

impl Bed {
    /// A setup as the scenario says.
    pub(crate) fn new(scenario: &Scenario, setup: &Setup, attempts_max: u32) -> Self {
        Self {
            setup: setup.clone(),
            world: scenario.world,
            traffic: scenario.traffic.clone(),
            node: scenario.node.clone(),
            gateway: scenario.gateway.clone(),
            attempts_max,
            overflows: false,
        }
    }

    /// What stands at a layer, and what differs there.
    pub(crate) fn layer(&self, layer: Layer) -> (&Standing, &Changes) {
        match layer {
            Layer::Node => (&self.setup.node, &self.node),
            Layer::Gateway => (&self.setup.gateway, &self.gateway),
        }
    }

    /// Who forwards at the two boxes.
    pub(crate) fn boxes(&self) -> Boxes {
        let by = |standing: &Standing| if standing.is_kernel() { ForwardedBy::Kernel } else { ForwardedBy::Stage };
        Boxes { node: by(&self.setup.node), gateway: by(&self.setup.gateway) }
    }

    /// Over veth: a world of namespaces for each node, and who forwards at its boxes. Several nodes share a gateway of natrig's by being
    /// heard at the ends where their own would be; in front of the kernel a router joins them there, which stands at the node of one
    /// more world, the gateway's.
    pub(super) fn worlds(&self) -> Vec<(Topology, Boxes)> {
        let boxes = self.boxes();
        let nodes = |boxes| (0..self.world.nodes).map(move |node| (self.world.topology_of(node), boxes));
        if !self.is_joined() {
            return nodes(boxes).collect();
        }
        let gateway = (self.world.topology(), Boxes { node: ForwardedBy::Stage, ..boxes });
        nodes(Boxes { gateway: ForwardedBy::Stage, ..boxes }).chain([gateway]).collect()
    }

    /// Whether a router joins the nodes.
    pub(super) fn is_joined(&self) -> bool {
        self.setup.gateway.is_kernel() && self.world.nodes > 1
    }

    /// Ports that there nominally are at a layer for one destination, over all its addresses; none if it does not translate.
    ///
    /// # Errors
    /// [`RigError`].
    pub(crate) fn nominal_at(&self, layer: Layer) -> Result<Option<u64>, RigError> {
        let (standing, changes) = self.layer(layer);
        let World { nodes, pods, node_addresses, gateway_addresses, .. } = self.world;
        let addresses = match layer {
            Layer::Node => u64::from(nodes * node_addresses),
            Layer::Gateway => u64::from(gateway_addresses),
        };
        Ok(match standing {
            Standing::Forward => None,
            // nf_nat_l4proto_unique_tuple, for source ports from 1024 on.
            Standing::Kernel(_) => Some(addresses * u64::from(changes.ports.map_or(64_512, |ports| ports.count()))),
            Standing::Profile(name) => {
                let behaviour = behaviour(name, changes)?;
                let extra = behaviour.ports.extra_range.map_or(0, PortRange::len);
                let all = addresses * u64::from(behaviour.ports.range.len() + extra);
                if behaviour.quota.blocks == PortBlocks::Shared {
                    return Ok(Some(all));
                }
                let sources = if layer == Layer::Gateway && self.setup.node.translates() {
                    nodes * node_addresses
                } else {
                    nodes * pods
                };
                Some(all.min(u64::from(sources) * u64::from(behaviour.quota.block_max)))
            }
        })
    }

    /// Ports that there nominally are for one destination on the whole way.
    ///
    /// # Errors
    /// [`RigError`].
    pub(crate) fn nominal(&self) -> Result<u64, RigError> {
        let both = [self.nominal_at(Layer::Node)?, self.nominal_at(Layer::Gateway)?];
        Ok(both.into_iter().flatten().min().unwrap_or(0))
    }

    /// Connections a second that ports nominally suffice for if each lasts so long: the least over layers of ports over the time that a
    /// port is taken, which ends with the timeout of closed connections and the hold. What a periodic collector adds is not in it.
    ///
    /// # Errors
    /// [`RigError`].
    pub(crate) fn formula_per_s(&self, lifetime_s: f64) -> Result<Option<f64>, RigError> {
        let tcp = self.traffic.protocol == Protocol::Tcp;
        let mut least: Option<f64> = None;
        for layer in [Layer::Node, Layer::Gateway] {
            let Some(ports) = self.nominal_at(layer)? else { continue };
            let (standing, changes) = self.layer(layer);
            let taken_s = match standing {
                Standing::Profile(name) => {
                    let behaviour = behaviour(name, changes)?;
                    let (timers, hold) = (&behaviour.timers, &behaviour.hold);
                    if tcp { timers.tcp_time_wait_s + hold.tcp_fin_s } else { timers.udp_stream_s + hold.udp_s }
                }
                // What the world's plan sets unless told otherwise.
                Standing::Kernel(_) | Standing::Forward => {
                    if tcp {
                        changes.closing_s.unwrap_or(120)
                    } else {
                        changes.udp_s.unwrap_or(3600)
                    }
                }
            };
            let per_s = ports as f64 / (lifetime_s + f64::from(taken_s));
            least = Some(least.map_or(per_s, |least| least.min(per_s)));
        }
        Ok(least)
    }

    /// The steps by which the world over veth is built; what it consists of in memory. Makes sure that all profiles can be had.
    ///
    /// # Errors
    /// [`RigError`].
    pub(crate) fn plan(&self) -> Result<Vec<String>, RigError> {
        self.node_engine(0, 0)?;
        self.gateway_engine(0)?;
        let topology = self.world.topology();
        topology.validate()?;
        let mut lines = vec![format!("{}:", self.setup)];
        match self.setup.over {
            Over::Memory => {
                let World { nodes, pods, servers, .. } = self.world;
                lines.push(format!(
                    "links in memory: {nodes} nodes with {pods} pods each, a gateway, {servers} servers"
                ));
            }
            Over::Veth => {
                for (nth, (topology, boxes)) in self.worlds().iter().enumerate() {
                    let world = Plan::measurement(topology, *boxes)?;
                    if nth as u32 == self.world.nodes {
                        lines.push("world of the gateway:".to_owned());
                    } else if self.world.nodes > 1 {
                        lines.push(format!("world of node {}:", nth + 1));
                    }
                    for plan in [world, self.kernel_plan(topology, *boxes)] {
                        lines.extend(plan.to_string().lines().map(str::to_owned));
                    }
                }
            }
        }
        Ok(lines)
    }

    /// What decides at a node, with empty tables; none where the kernel does.
    ///
    /// # Errors
    /// [`RigError`].
    pub(super) fn node_engine(&self, node: u32, seed: u64) -> Result<Option<Engine>, RigError> {
        let addresses: Vec<Ipv4Addr> = self.world.addresses_of(node).collect();
        self.engine(Layer::Node, self.world.topology().pods.router, addresses, seed ^ (u64::from(node) << 32))
    }

    /// What decides where nodes are joined in front of the kernel.
    pub(super) fn router_engine(&self) -> Engine {
        let topology = self.world.topology();
        let node = topology.node.addresses.first().copied().unwrap_or(Ipv4Addr::UNSPECIFIED);
        Engine::Forward(Box::new(Forwarder::new(topology.gateway.private_address, node)))
    }

    /// What decides at the gateway, with empty tables; none where the kernel does.
    ///
    /// # Errors
    /// [`RigError`].
    pub(super) fn gateway_engine(&self, seed: u64) -> Result<Option<Engine>, RigError> {
        let gateway = self.world.topology().gateway;
        // Another seed: two layers that hash alike would pick alike.
        self.engine(Layer::Gateway, gateway.private_address, gateway.addresses, seed ^ 0x6761_7465)
    }

    fn engine(
        &self,
        layer: Layer,
        inside: Ipv4Addr,
        outside: Vec<Ipv4Addr>,
        seed: u64,
    ) -> Result<Option<Engine>, RigError> {
        let (standing, changes) = self.layer(layer);
        let name = match standing {
            Standing::Kernel(_) => return Ok(None),
            Standing::Forward => {
                let first = outside.first().copied().unwrap_or(Ipv4Addr::UNSPECIFIED);
                return Ok(Some(Engine::Forward(Box::new(Forwarder::new(inside, first)))));
            }
            Standing::Profile(name) => name,
        };
        let mut behaviour = behaviour(name, changes)?;
        behaviour.table.capacity = behaviour.table.capacity.min(self.attempts_max.saturating_add(SPARE));
        let mut config = natrig_nat::Config::new(outside, behaviour);
        config.inside_router = inside;
        let refused = |source| RigError::Config { name: name.clone(), source };
        let nat = Nat::new(config, seed).map_err(refused)?;
        Ok(Some(Engine::Nat(Box::new(nat))))
    }

    /// The steps that make the kernel translate at the boxes of a world, with nothing remembered.
    pub(super) fn kernel_plan(&self, topology: &Topology, boxes: Boxes) -> Plan {
        let nat = |layer, port: Port, addresses: &[Ipv4Addr]| {
            let (Standing::Kernel(ports), changes) = self.layer(layer) else { return None };
            let translate =
                if addresses.len() > 1 { Translate::Snat(addresses.to_vec()) } else { Translate::Masquerade };
            let port_range = changes.ports.map(|ports| (ports.first, ports.last));
            boxes.is_kernel(port).then_some(KernelNat { translate, ports: *ports, port_range })
        };
        let node = nat(Layer::Node, Port::NodeOutside, &topology.node.addresses);
        let gateway = nat(Layer::Gateway, Port::GatewayOutside, &topology.gateway.addresses);
        let connections = if self.overflows { SPARE } else { self.attempts_max.saturating_add(SPARE) };
        let mut plan = Plan::translation(boxes, node.as_ref(), gateway.as_ref(), connections);
        for (layer, port) in [(Layer::Node, Port::NodeOutside), (Layer::Gateway, Port::GatewayOutside)] {
            if boxes.is_kernel(port) {
                plan.steps.extend(timeouts(self.layer(layer).1, port.namespace()));
            }
        }
        plan
    }
}

/// How a profile behaves with what differs from it.
fn behaviour(name: &str, changes: &Changes) -> Result<Behaviour, RigError> {
    let mut behaviour = natrig_bench::profile::load(name)?.behaviour;
    let Changes { ports, ports_per_source, table, established_s, closing_s, udp_s, hold_s, collect_s } = changes;
    if let Some(ports) = ports {
        behaviour.ports.range = PortRange::new(ports.first, ports.last);
        behaviour.ports.extra_range = None;
    }
    let timers = &mut behaviour.timers;
    let hold = &mut behaviour.hold;
    let collection = &mut behaviour.collection;
    for (slots, value) in [
        (vec![&mut behaviour.quota.ports_per_source], ports_per_source),
        (vec![&mut behaviour.table.capacity], table),
        (vec![&mut timers.tcp_established_s], established_s),
        (
            vec![
                &mut timers.tcp_fin_wait_s,
                &mut timers.tcp_close_wait_s,
                &mut timers.tcp_last_ack_s,
                &mut timers.tcp_time_wait_s,
                &mut timers.tcp_close_s,
            ],
            closing_s,
        ),
        (vec![&mut timers.udp_new_s, &mut timers.udp_stream_s], udp_s),
        (vec![&mut hold.tcp_fin_s, &mut hold.tcp_rst_s, &mut hold.udp_s], hold_s),
        (vec![&mut collection.start_s, &mut collection.min_s, &mut collection.max_s], collect_s),
    ] {
        if let Some(value) = value {
            slots.into_iter().for_each(|slot| *slot = *value);
        }
    }
    Ok(behaviour)
}

/// The kernel's timeouts (`Documentation/networking/nf_conntrack-sysctl.rst`).
fn timeouts(changes: &Changes, namespace: &'static str) -> impl Iterator<Item = Step> {
    let closing = ["fin_wait", "close_wait", "last_ack", "time_wait", "close"].map(|state| {
        let key = format!("tcp_timeout_{state}");
        (key, changes.closing_s)
    });
    let others = [
        ("tcp_timeout_established".to_owned(), changes.established_s),
        ("udp_timeout".to_owned(), changes.udp_s),
        ("udp_timeout_stream".to_owned(), changes.udp_s),
    ];
    closing.into_iter().chain(others).filter_map(move |(key, value)| {
        let key = format!("net.netfilter.nf_conntrack_{key}");
        Some(Step::Sysctl { namespace: namespace.to_owned(), key, value: value?.to_string(), optional: false })
    })
}
