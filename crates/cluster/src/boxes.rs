//! natrig's own NATs in a cluster: at the interfaces of nodes, where Cilium's programs hang (`bpf_host.c`, to-netdev and from-netdev), at
//! NAT gateways, and, where the kernel has no rules for packets, at the internet gateway.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use natrig_lab::bridge::{Bridge, Fate, Layer, Span};
use natrig_lab::lease::Lease;
use natrig_link::clock;
use natrig_link::wait::Rest;
use natrig_nat::{Direction, InterfaceSelector, Nat, Profile};
use natrig_wire::{Frame, ethernet, ipv4, tcp, udp};

use crate::build;
use crate::model::{Cluster, Plugin, UPSTREAM, gateway_public};
use crate::probe::header::dissect;

/// Longest sleep while nothing comes.
const NAP: Duration = Duration::from_millis(20);

/// A box of natrig's, and what it does there.
#[derive(Debug, Clone)]
pub(crate) struct BoxPlan {
    /// Where it stands.
    pub(crate) span: Span,
    /// What it does.
    pub(crate) kind: BoxKind,
}

/// What a box does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BoxKind {
    /// Masquerades on a node's interface of that number.
    Node {
        /// The node, from 1.
        node: u8,
        /// The interface, from 0.
        interface: usize,
    },
    /// Is the NAT gateway of a zone.
    NatGateway {
        /// The zone, from 0.
        zone: u8,
    },
    /// Is the provider's NAT.
    Upstream,
    /// Is the internet gateway.
    InternetGateway,
}

/// Packets that ended in boxes: the namespace, and why.
pub(crate) type Lost = Arc<Mutex<Vec<(String, &'static str)>>>;

/// The reason of an internet gateway.
pub(crate) const NO_PUBLIC_ADDRESS: &str = "no-public-address";

/// Boxes at work, until they are dropped.
#[derive(Debug)]
pub(crate) struct Boxes {
    lost: Lost,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Boxes {
    /// Sets them up in a world that stands.
    pub(crate) fn start(cluster: &Cluster, lease: &Lease, plans: &[BoxPlan]) -> Result<Self, String> {
        let (lost, stop) = (Lost::default(), Arc::new(AtomicBool::new(false)));
        let mut rooms = Vec::new();
        for BoxPlan { span, kind } in plans {
            let bridge = Bridge::open(lease, span).map_err(|error| error.to_string())?;
            rooms.push(Room { namespace: span.namespace.clone(), bridge, engine: engine(cluster, *kind)? });
        }
        let work = Work { rooms, lost: Arc::clone(&lost), stop: Arc::clone(&stop) };
        let thread = (!plans.is_empty()).then(|| std::thread::spawn(move || work.run()));
        Ok(Self { lost, stop, thread })
    }

    /// What has ended in boxes since this was asked last.
    pub(crate) fn take_lost(&self) -> Vec<(String, &'static str)> {
        std::mem::take(&mut *self.lost.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Boxes {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // One that has panicked has said so.
            let _ = thread.join();
        }
    }
}

struct Room {
    namespace: String,
    bridge: Bridge,
    engine: Engine,
}

struct Work {
    rooms: Vec<Room>,
    lost: Lost,
    stop: Arc<AtomicBool>,
}

impl Work {
    fn run(mut self) {
        let mut flows: HashMap<u8, HashSet<Flow>> = HashMap::new();
        let mut rest = Rest::default();
        while !self.stop.load(Ordering::Acquire) {
            let mut moved = 0;
            for Room { namespace, bridge, engine } in &mut self.rooms {
                let lost = &self.lost;
                let mut note = |reason| {
                    lost.lock().unwrap_or_else(PoisonError::into_inner).push((namespace.clone(), reason));
                };
                let now_ns = clock::now_ns();
                let pumped = match engine {
                    Engine::Gateway(nat) => bridge.pump(&mut **nat, &mut note, now_ns),
                    Engine::OneToOne(layer) => bridge.pump(layer, &mut note, now_ns),
                    Engine::Node { number, nat, own, address } => {
                        let flows = flows.entry(*number).or_default();
                        let mut layer = NodeLayer { nat, own, address: *address, flows };
                        bridge.pump(&mut layer, &mut note, now_ns)
                    }
                };
                // A link fails when the world goes down under it.
                moved += pumped.unwrap_or(0);
            }
            let links: Vec<_> = self.rooms.iter().flat_map(|room| room.bridge.links()).collect();
            if moved > 0 {
                rest.work();
            } else if rest.rest(&links, NAP).is_err() {
                std::thread::sleep(NAP);
            }
        }
    }
}

enum Engine {
    Gateway(Box<Nat>),
    OneToOne(OneToOne),
    /// A node's translator on one interface; the node's addresses, and that of the interface.
    Node {
        number: u8,
        nat: Box<Nat>,
        own: Vec<Ipv4Addr>,
        address: Ipv4Addr,
    },
}

fn engine(cluster: &Cluster, kind: BoxKind) -> Result<Engine, String> {
    let gateway = |public: Vec<Ipv4Addr>| {
        let profile = profile(&cluster.gateway_profile())?;
        let seed = public.first().map_or(1, |address| u64::from(address.to_bits()));
        let nat = Nat::new(profile.config(public), seed).map_err(|error| error.to_string())?;
        Ok(Engine::Gateway(Box::new(nat)))
    };
    match kind {
        BoxKind::NatGateway { zone } => gateway(gateway_public(zone, cluster.nat_gateway.addresses)),
        BoxKind::Upstream => gateway(vec![UPSTREAM]),
        BoxKind::InternetGateway => Ok(Engine::OneToOne(OneToOne { pairs: cluster.public_addresses() })),
        BoxKind::Node { node, interface } => {
            let Plugin::Cilium(cilium) = &cluster.plugin else {
                return Err("only Cilium's masquerading can be a profile's".to_owned());
            };
            let address = cluster.node_address(node, interface);
            let (mut policy, link_local) = build::policy(cluster, cilium, node);
            policy.egress_interface.clone_from(&cluster.node.interfaces[interface]);
            if !cilium.masquerade {
                // No interface has that name.
                policy.interfaces = vec![InterfaceSelector("none".to_owned())];
            }
            let mut config = profile(&cluster.node_profile())?.config(vec![address]);
            config.policy = policy;
            config.behaviour.policy.translate_link_local = link_local;
            let seed = u64::from(address.to_bits());
            let nat = Nat::new(config, seed).map_err(|error| error.to_string())?;
            let own = (0..cluster.node.interfaces.len()).map(|nth| cluster.node_address(node, nth)).collect();
            Ok(Engine::Node { number: node, nat: Box::new(nat), own, address })
        }
    }
}

fn profile(name: &str) -> Result<Profile, String> {
    let mut profile = natrig_bench::profile::load(name).map_err(|error| error.to_string())?;
    // A table for a few questions.
    profile.behaviour.table.capacity = profile.behaviour.table.capacity.min(65_536);
    Ok(profile)
}

/// Protocol, source, destination.
type Flow = (u8, (Ipv4Addr, u16), (Ipv4Addr, u16));

fn flow(frame: &Frame<'_>) -> Option<Flow> {
    let packet = dissect(&frame.bytes()[ethernet::HEADER_LEN..])?;
    let header = packet.header;
    Some((packet.protocol, (header.source, header.source_port), (header.destination, header.destination_port)))
}

/// Where Cilium's program hangs on an interface: what is the host's own business passes as it is, and so do answers of pods that were asked
/// from outside (`snat_v4_needs_masquerade`, steps 3 and 4).
struct NodeLayer<'a> {
    nat: &'a mut Nat,
    own: &'a [Ipv4Addr],
    address: Ipv4Addr,
    /// What came for pods from outside, on any interface of the node.
    flows: &'a mut HashSet<Flow>,
}

impl Layer for NodeLayer<'_> {
    fn pass(&mut self, direction: Direction, frame: &mut Frame<'_>, now_ns: u64) -> Fate {
        let Ok(ip) = ipv4::Packet::new_checked(&frame.bytes()[ethernet::HEADER_LEN..]) else {
            return Fate::Lost("malformed");
        };
        let (source, destination) = (ip.src(), ip.dst());
        if direction == Direction::Inbound {
            if destination != self.address {
                self.flows.extend(flow(frame));
                return Fate::Onward;
            }
            let as_it_came = frame.bytes().to_vec();
            raise_ttl(frame);
            if self.nat.pass(direction, frame, now_ns) != Fate::Onward {
                // It is for the node itself.
                frame.resize(as_it_came.len());
                frame.bytes_mut().copy_from_slice(&as_it_came);
            }
            return Fate::Onward;
        }
        let answers = flow(frame).is_some_and(|(protocol, from, to)| self.flows.contains(&(protocol, to, from)));
        if self.own.contains(&source) || answers {
            return Fate::Onward;
        }
        raise_ttl(frame);
        self.nat.pass(direction, frame, now_ns)
    }
}

/// A translator counts as a hop; a program at an interface is none.
fn raise_ttl(frame: &mut Frame<'_>) {
    if let Ok(mut ip) = ipv4::Packet::new_checked(&mut frame.bytes_mut()[ethernet::HEADER_LEN..]) {
        ip.set_ttl(ip.ttl().saturating_add(1));
        ip.fill_checksum();
    }
}

/// An internet gateway: addresses that have a public one are translated to it, and back.
struct OneToOne {
    /// Public, private.
    pairs: Vec<(Ipv4Addr, Ipv4Addr)>,
}

impl Layer for OneToOne {
    fn pass(&mut self, direction: Direction, frame: &mut Frame<'_>, _now_ns: u64) -> Fate {
        let Ok(mut ip) = ipv4::Packet::new_checked(&mut frame.bytes_mut()[ethernet::HEADER_LEN..]) else {
            return Fate::Lost("malformed");
        };
        if ip.ttl() <= 1 {
            return Fate::Lost("time-to-live");
        }
        match direction {
            Direction::Outbound => match self.pairs.iter().find(|(_, private)| *private == ip.src()) {
                Some((public, _)) => ip.set_src(*public),
                None => return Fate::Lost(NO_PUBLIC_ADDRESS),
            },
            Direction::Inbound => match self.pairs.iter().find(|(public, _)| *public == ip.dst()) {
                Some((_, private)) => ip.set_dst(*private),
                None => return Fate::Lost("no-such-address"),
            },
        }
        ip.set_ttl(ip.ttl() - 1);
        ip.fill_checksum();
        let (source, destination) = (ip.src(), ip.dst());
        let protocol = ip.protocol();
        let body = ip.payload_mut();
        if protocol == ipv4::protocol::UDP
            && let Ok(mut datagram) = udp::Packet::new_checked(&mut *body)
        {
            datagram.fill_checksum(source, destination);
        } else if protocol == ipv4::protocol::TCP
            && let Ok(mut segment) = tcp::Packet::new_checked(&mut *body)
        {
            segment.fill_checksum(source, destination);
        }
        Fate::Onward
    }
}
