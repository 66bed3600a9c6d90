//! The way between pods and servers: a node for some pods each, and the gateway. What stands there is natrig's own NAT, a frame at a time.

use std::collections::{BTreeMap, HashSet};
use std::net::{Ipv4Addr, SocketAddrV4};

use natrig_bench::scenario::Word;
use natrig_bench::words;
use natrig_lab::bridge::{Fate, Layer, decide};
use natrig_nat::{Direction, Forwarder, Nat, Profile};
use natrig_wire::{Frame, ethernet, ipv4};

use crate::place;
use crate::scenario::Change;

/// Nanoseconds of a second.
pub(crate) const SECOND_NS: u64 = 1_000_000_000;

words! {
    /// How a node's masquerading is done, which decides what a change means for connections that live.
    NodeEngine {
        /// Decided for each packet as Cilium's BPF programs do: what is on the way back is translated as long as an entry is there.
        Bpf = "bpf",
        /// Decided with the first packet of a connection, as conntrack does: living connections stay as they were.
        Conntrack = "conntrack",
        /// The same, but packets leave by another interface afterwards: the kernel then forgets connections that were masqueraded, with
        /// one packet of each (nf_nat_masquerade.c).
        ConntrackOtherInterface = "conntrack-other-interface",
    }
}

/// Who talks to whom: both ends of a TCP connection.
type Tuple = (SocketAddrV4, SocketAddrV4);

/// A node.
pub(crate) struct Node {
    pub(crate) address: Ipv4Addr,
    engine: NodeEngine,
    profile: Profile,
    nat: Nat,
    forwarder: Forwarder,
    masquerading: bool,
    /// Connections that conntrack knows as translated, and as not.
    translated: HashSet<Tuple>,
    direct: HashSet<Tuple>,
    /// Connections of which the next packet is the last that the old ways swallow.
    dying: HashSet<Tuple>,
    is_down: bool,
}

impl Node {
    pub(crate) fn new(
        address: Ipv4Addr,
        engine: NodeEngine,
        profile: &Profile,
        masquerading: bool,
        seed: u64,
    ) -> Result<Self, String> {
        Ok(Self {
            address,
            engine,
            profile: profile.clone(),
            nat: translator(profile, vec![address], seed)?,
            forwarder: Forwarder::new(address, address),
            masquerading,
            translated: HashSet::new(),
            direct: HashSet::new(),
            dying: HashSet::new(),
            is_down: false,
        })
    }

    /// Switches masquerading, with living connections on the way.
    fn switch(&mut self, masquerading: bool, seed: u64) -> Result<(), String> {
        self.masquerading = masquerading;
        if self.engine == NodeEngine::ConntrackOtherInterface {
            self.nat = translator(&self.profile, vec![self.address], seed)?;
            self.dying = std::mem::take(&mut self.translated);
        }
        Ok(())
    }

    /// Forgets every connection.
    fn flush(&mut self, seed: u64) -> Result<(), String> {
        self.nat = translator(&self.profile, vec![self.address], seed)?;
        self.translated.clear();
        self.direct.clear();
        Ok(())
    }

    /// Its way out goes down: conntrack forgets what was masqueraded there (nf_nat_masquerade.c), BPF maps do not.
    fn take_down(&mut self, seed: u64) -> Result<(), String> {
        self.is_down = true;
        if self.engine != NodeEngine::Bpf {
            self.nat = translator(&self.profile, vec![self.address], seed)?;
            self.translated.clear();
        }
        Ok(())
    }

    /// A frame from a pod to the internet.
    fn outbound(&mut self, frame: &mut Frame<'_>, now_ns: u64) -> Fate {
        let Some(tuple) = tuple(frame.bytes()) else { return Fate::Lost("not-tcp") };
        if self.dying.remove(&tuple) {
            return Fate::Lost("interface-changed");
        }
        let translate = match self.engine {
            NodeEngine::Bpf => self.masquerading,
            NodeEngine::Conntrack | NodeEngine::ConntrackOtherInterface => {
                self.translated.contains(&tuple) || self.masquerading && !self.direct.contains(&tuple)
            }
        };
        if translate {
            self.translated.insert(tuple);
            self.nat.pass(Direction::Outbound, frame, now_ns)
        } else {
            self.direct.insert(tuple);
            self.route(Direction::Outbound, frame)
        }
    }

    /// A frame to a pod: one that comes for the node is translated back as long as it is known what for.
    fn inbound(&mut self, frame: &mut Frame<'_>, now_ns: u64) -> Fate {
        if destination(frame.bytes()) == self.address {
            self.nat.pass(Direction::Inbound, frame, now_ns)
        } else {
            self.route(Direction::Inbound, frame)
        }
    }

    /// A frame that is nobody's to translate.
    fn route(&mut self, direction: Direction, frame: &mut Frame<'_>) -> Fate {
        decide(|frames, verdicts| self.forwarder.translate_burst(direction, frames, verdicts, 0), frame)
    }
}

impl Layer for Node {
    fn pass(&mut self, direction: Direction, frame: &mut Frame<'_>, now_ns: u64) -> Fate {
        match direction {
            // Only the way out is down: the VPC is behind another interface.
            Direction::Outbound if place::is_within_vpc(destination(frame.bytes())) => self.route(direction, frame),
            Direction::Inbound if place::is_within_vpc(source(frame.bytes())) => self.route(direction, frame),
            _ if self.is_down => Fate::Lost("interface-down"),
            Direction::Outbound => self.outbound(frame, now_ns),
            Direction::Inbound => self.inbound(frame, now_ns),
        }
    }
}

/// The gateway.
pub(crate) struct Gateway {
    profile: Profile,
    addresses: Vec<Ipv4Addr>,
    nat: Nat,
    is_down: bool,
}

impl Gateway {
    pub(crate) fn new(addresses: Vec<Ipv4Addr>, profile: &Profile, seed: u64) -> Result<Self, String> {
        let nat = translator(profile, addresses.clone(), seed)?;
        Ok(Self { profile: profile.clone(), addresses, nat, is_down: false })
    }

    /// Starts anew: nothing is known any more.
    fn restart(&mut self, seed: u64) -> Result<(), String> {
        self.nat = translator(&self.profile, self.addresses.clone(), seed)?;
        Ok(())
    }

    /// Gives up its first address; connections that do not have it go on.
    fn remove_address(&mut self, seed: u64) -> Result<(), String> {
        self.addresses.remove(0);
        let mut nat = translator(&self.profile, self.addresses.clone(), seed)?;
        nat.adopt(&self.nat);
        self.nat = nat;
        Ok(())
    }
}

impl Layer for Gateway {
    fn pass(&mut self, direction: Direction, frame: &mut Frame<'_>, now_ns: u64) -> Fate {
        if self.is_down {
            return Fate::Lost("interface-down");
        }
        self.nat.pass(direction, frame, now_ns)
    }
}

/// All that stands between pods and servers, as far as it is natrig's own.
pub(crate) struct Path {
    /// None where the kernel masquerades.
    pub(crate) nodes: Vec<Node>,
    /// None where the kernel is the gateway.
    pub(crate) gateway: Option<Gateway>,
}

impl Path {
    /// Changes a node; and the gateway, which is one, with the first of them.
    pub(crate) fn change(&mut self, change: Change, node: usize, seed: u64) -> Result<(), String> {
        let gateway = self.gateway.as_mut().filter(|_| node == 0);
        match (change, self.nodes.get_mut(node), gateway) {
            (Change::MasqueradeOff, Some(node), _) => node.switch(false, seed),
            (Change::MasqueradeOn, Some(node), _) => node.switch(true, seed),
            (Change::NodeFlush, Some(node), _) => node.flush(seed),
            (Change::NodeDown, Some(node), _) => node.take_down(seed),
            (Change::GatewayRestart, _, Some(gateway)) => gateway.restart(seed),
            (Change::AddressRemoved, _, Some(gateway)) => gateway.remove_address(seed),
            (Change::GatewayDown, _, Some(gateway)) => {
                gateway.is_down = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Ends a change that does not last.
    pub(crate) fn revive(&mut self, change: Change, node: usize) {
        match (change, self.nodes.get_mut(node), &mut self.gateway) {
            (Change::NodeDown, Some(node), _) => node.is_down = false,
            (Change::GatewayDown, _, Some(gateway)) => gateway.is_down = false,
            _ => {}
        }
    }
}

fn translator(profile: &Profile, addresses: Vec<Ipv4Addr>, seed: u64) -> Result<Nat, String> {
    let mut config = profile.config(addresses);
    // A table for the world's few connections.
    config.behaviour.table.capacity = config.behaviour.table.capacity.min(65_536);
    Nat::new(config, seed).map_err(|error| format!("set up the profile {}: {error}", profile.name))
}

/// Frames that ended on the way, by place and reason.
#[derive(Debug, Default, Clone)]
pub(crate) struct Losses(pub(crate) BTreeMap<(&'static str, &'static str), u64>);

impl Losses {
    pub(crate) fn count(&mut self, place: &'static str, reason: &'static str) {
        *self.0.entry((place, reason)).or_default() += 1;
    }
}

pub(crate) fn source(frame: &[u8]) -> Ipv4Addr {
    address(frame, ipv4::offset::SRC)
}

pub(crate) fn destination(frame: &[u8]) -> Ipv4Addr {
    address(frame, ipv4::offset::DST)
}

/// All frames of this world have a whole IPv4 header: its own hosts made them.
fn address(frame: &[u8], offset: usize) -> Ipv4Addr {
    let at = ethernet::HEADER_LEN + offset;
    let bytes: [u8; 4] = frame.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
    Ipv4Addr::from(bytes)
}

fn tuple(frame: &[u8]) -> Option<Tuple> {
    let packet = frame.get(ethernet::HEADER_LEN..)?;
    if *packet.get(ipv4::offset::PROTOCOL)? != ipv4::protocol::TCP {
        return None;
    }
    let ports = packet.get(usize::from(packet[0] & 0x0f) * 4..)?.get(..4)?;
    let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
    Some((SocketAddrV4::new(source(frame), port(0)), SocketAddrV4::new(destination(frame), port(2))))
}
