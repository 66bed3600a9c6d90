//! Through two NATs in a row over every kind of link, and what two decoders that others have written make of what came out.

#[path = "../../../nat/tests/support/foreign.rs"]
#[expect(dead_code, reason = "the translator's own tests read more out of a frame")]
mod foreign;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use natrig_lab::lease::Lease;
use natrig_lab::plan::Plan;
use natrig_lab::stage::{Engine, PumpTimes, Side, SideConfig, Stage, pump};
use natrig_lab::topology::{Boxes, Port, Topology, WorldUse};
use natrig_link::packet::{PacketLink, PacketOptions, Reception};
use natrig_link::pnet::PnetLink;
use natrig_link::ring::{self, RingOptions};
use natrig_link::xdp::{self, XdpOptions};
use natrig_link::{BURST_MAX, Link, OpenError, clock, memory};
use natrig_nat::{Nat, Profile};
use natrig_wire::{Frame, ethernet, icmpv4, ipv4, tcp, udp};

use self::foreign::{Content, Seen};
use crate::support::{enter_or_skip, skip};

const WORLD: WorldUse = WorldUse::Measurement(Boxes::STAGES);
const TTL: u8 = 64;
/// Two boxes.
const TTL_LEFT: u8 = TTL - 2;

pub(crate) type Links = Vec<Box<dyn Link>>;

/// Opens interfaces of a box together, as a stage does.
pub(crate) type Open = fn(&[&str]) -> Result<Links, OpenError>;

fn boxed(link: impl Link + 'static) -> Box<dyn Link> {
    Box::new(link)
}

pub(crate) const SLOTS: Open = |names| packet(names, Reception::Slots);
pub(crate) const BLOCKS: Open = |names| packet(names, Reception::Blocks);
pub(crate) const PNET: Open = |names| names.iter().map(|name| PnetLink::open(name).map(boxed)).collect();
pub(crate) const AF_XDP: Open =
    |names| Ok(xdp::open(names, &XdpOptions::default())?.into_iter().flatten().map(boxed).collect());
pub(crate) const RINGS: Open =
    |names| Ok(ring::open(names, &RingOptions::default())?.into_iter().flatten().map(boxed).collect());

pub(crate) fn over_packet_slots() {
    over_veth(SLOTS);
}

pub(crate) fn over_packet_blocks() {
    over_veth(BLOCKS);
}

pub(crate) fn over_pnet() {
    over_veth(PNET);
}

pub(crate) fn over_af_xdp() {
    over_veth(AF_XDP);
}

pub(crate) fn over_rings_and_live_frames() {
    over_veth(RINGS);
}

pub(crate) fn over_memory() {
    let [pods, node, gateway] = [(); 3].map(|()| memory::pair(1024, 1514));
    let links = [pods.0, pods.1, node.0, node.1, gateway.0, gateway.1].map(boxed);
    Way::new(links.into()).carries_everything();
}

fn packet(names: &[&str], reception: Reception) -> Result<Links, OpenError> {
    let options = PacketOptions { reception, ..PacketOptions::default() };
    names.iter().map(|name| PacketLink::open(name, &options).map(boxed)).collect()
}

fn over_veth(open: Open) {
    enter_or_skip();
    let lease = Plan::measurement(&Topology::default(), Boxes::STAGES).unwrap().build().unwrap();
    let [node, gateway] = box_links(&lease, open);
    let (pods, internet) = (links_of(&lease, &[Port::Pods], open), links_of(&lease, &[Port::Internet], open));
    Way::new([pods, node, gateway, internet].into_iter().flatten().collect()).carries_everything();
    lease.close().unwrap();
}

/// The links of node and gateway.
pub(crate) fn box_links(lease: &Lease, open: Open) -> [Links; 2] {
    // From the inside out: what is sent to an end that is not open yet is lost.
    let boxes = [[Port::NodeInside, Port::NodeOutside], [Port::GatewayInside, Port::GatewayOutside]];
    boxes.map(|ports| links_of(lease, &ports, open))
}

/// Ends the case where this kind of link cannot be had.
fn links_of(lease: &Lease, ports: &[Port], open: Open) -> Links {
    let names: Vec<&str> = ports.iter().map(|port| port.interface()).collect();
    match lease.run_in(ports[0].namespace(), || open(&names)).unwrap() {
        Ok(links) => links,
        Err(error @ (OpenError::NotPermitted { .. } | OpenError::NotSupported { .. })) => skip(&error.to_string()),
        Err(error) => panic!("{error}"),
    }
}

/// Node and gateway, each with a NAT.
pub(crate) fn nats(topology: &Topology, world: WorldUse) -> [Stage; 2] {
    let side = |port: Port, addresses: &[Ipv4Addr]| SideConfig {
        mac: port.speaking_mac(world),
        peer: port.peer().speaking_mac(world),
        addresses: addresses.to_vec(),
    };
    let stage = |inside: Port, outside: Port, router: Ipv4Addr, addresses: &[Ipv4Addr], seed| {
        let mut config = Profile::builtin("netfilter").unwrap().config(addresses.to_vec());
        config.inside_router = router;
        let nat = Nat::new(config, seed).unwrap();
        Stage::new(side(inside, &[router]), side(outside, addresses), Engine::Nat(Box::new(nat)))
    };
    let Topology { pods, node, gateway, .. } = topology;
    [
        stage(Port::NodeInside, Port::NodeOutside, pods.router, &node.addresses[..1], 1),
        stage(Port::GatewayInside, Port::GatewayOutside, gateway.private_address, &gateway.addresses[..1], 2),
    ]
}

/// Six links and the two boxes between them.
struct Way {
    links: Links,
    stages: [Stage; 2],
    topology: Topology,
}

impl Way {
    fn new(links: Links) -> Self {
        let topology = Topology::default();
        Self { links, stages: nats(&topology, WORLD), topology }
    }

    /// Bursts small and large, all protocols, all lengths, there and back.
    fn carries_everything(mut self) {
        let (pod, server) = (self.topology.pods.first, self.topology.internet.server_first);
        let gateway = self.topology.gateway.addresses[0];
        let mut number = 0;
        for burst in [1, 3, 12, 40, 100] {
            let sent: Vec<Vec<u8>> = (0..burst)
                .map(|_| {
                    number += 1;
                    packet_number(number, pod, server)
                })
                .collect();
            let there = self.carry(Port::Pods, &sent);
            assert_eq!(there.len(), sent.len());
            let mut answers = Vec::new();
            for (sent, arrived) in sent.iter().zip(&there) {
                let (sent, seen) = (foreign::read(sent).unwrap(), foreign::read(arrived).unwrap());
                assert_eq!((seen.src, seen.dst, seen.ttl, seen.checksum_error), (gateway, server, TTL_LEFT, 0));
                assert_eq!(at_far_end(&sent, &seen), seen, "all but addresses, ports and TTL is as it was sent");
                answers.push(answer_to(arrived));
            }
            let back = self.carry(Port::Internet, &answers);
            assert_eq!(back.len(), sent.len());
            for (sent, arrived) in sent.iter().zip(&back) {
                let (sent, seen) = (foreign::read(sent).unwrap(), foreign::read(arrived).unwrap());
                assert_eq!((seen.src, seen.dst, seen.ttl, seen.checksum_error), (server, pod, TTL_LEFT, 0));
                assert_eq!(ends(&seen.content), reversed(&sent.content), "to whom it was that asked");
                assert_eq!(data(&seen.content), data(&sent.content));
            }
        }
        let losses: u64 = self.links.iter_mut().map(|link| link.stats()).map(|s| s.rx_overflow + s.tx_refused).sum();
        assert_eq!((losses, self.stages.iter().flat_map(|stage| stage.counts().dropped()).count()), (0, 0));
    }

    /// Sends frames from one end and gives what arrives at the other.
    fn carry(&mut self, from: Port, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let Self { links, stages: [node, gateway], .. } = self;
        let [pods, node_in, node_out, gateway_in, gateway_out, internet] = &mut links[..] else { panic!("six links") };
        let outwards = from == Port::Pods;
        let side = if outwards { Side::Inside } else { Side::Outside };
        let (start, end) = if outwards { (pods, internet) } else { (internet, pods) };
        let mut bytes = frames.to_vec();
        let burst: Vec<Frame<'_>> = bytes.iter_mut().map(|bytes| Frame::whole(bytes)).collect();
        let pick: Vec<u16> = (0..frames.len() as u16).collect();
        assert_eq!(start.send(&burst, &pick).unwrap(), frames.len());
        let mut arrived = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(10);
        while arrived.len() < frames.len() && Instant::now() < deadline {
            let times = &mut PumpTimes::default();
            let mut box_ = |stage: &mut Stage, inside: &mut Box<dyn Link>, outside: &mut Box<dyn Link>| {
                let (near, far) = if outwards { (inside, outside) } else { (outside, inside) };
                pump(stage, side, &mut **near, &mut **far, clock::now_ns, times).unwrap();
            };
            box_(node, node_in, node_out);
            box_(gateway, gateway_in, gateway_out);
            end.recv(BURST_MAX, &mut |frames| arrived.extend(frames.iter().map(|frame| frame.bytes().to_vec())))
                .unwrap();
        }
        arrived
    }
}

/// UDP, TCP and ICMP in turn, from a source port of its own, 60 to 1514 bytes long.
fn packet_number(number: u16, pod: Ipv4Addr, server: Ipv4Addr) -> Vec<u8> {
    let len = 60 + usize::from(number) * 37 % 1455;
    let mut frame: Vec<u8> = (0..len).map(|at| (at * 7 + usize::from(number)) as u8).collect();
    let (src_port, dst_port) = (20_000 + number, 443);
    let payload_len = len - ethernet::HEADER_LEN - ipv4::HEADER_LEN;
    let (_, l4) = frame.split_at_mut(ethernet::HEADER_LEN + ipv4::HEADER_LEN);
    let protocol = match number % 3 {
        0 => {
            udp::Repr { src_port, dst_port, payload_len: payload_len - udp::HEADER_LEN }.emit(l4).unwrap();
            udp::Packet::new_checked(l4).unwrap().fill_checksum(pod, server);
            ipv4::protocol::UDP
        }
        1 => {
            tcp::Repr { src_port, dst_port, seq: 1, ack: 0, flags: tcp::flag::SYN, window: 1000 }.emit(l4).unwrap();
            tcp::Packet::new_checked(l4).unwrap().fill_checksum(pod, server);
            ipv4::protocol::TCP
        }
        _ => {
            icmpv4::Repr::Echo { ident: src_port, seq: 1 }.emit(l4).unwrap();
            ipv4::protocol::ICMP
        }
    };
    let ip = ipv4::Repr { src: pod, dst: server, protocol, ttl: TTL, ident: number, dont_fragment: true, payload_len };
    ip.emit(&mut frame[ethernet::HEADER_LEN..]).unwrap();
    with_macs(frame, Port::Pods)
}

fn with_macs(mut frame: Vec<u8>, from: Port) -> Vec<u8> {
    let (dst, src) = (from.peer().speaking_mac(WORLD), from.speaking_mac(WORLD));
    let ethernet = ethernet::Repr { dst, src, ethertype: ethernet::ethertype::IPV4 };
    ethernet.emit(&mut ethernet::Packet::new_checked(&mut frame[..]).unwrap());
    frame
}

/// The same data from where it went to, to where it came from.
fn answer_to(arrived: &[u8]) -> Vec<u8> {
    let mut frame = arrived.to_vec();
    let seen = foreign::read(arrived).unwrap();
    let (_, l4) = frame.split_at_mut(ethernet::HEADER_LEN + ipv4::HEADER_LEN);
    let payload_len = l4.len();
    match seen.content {
        Content::Udp { ports: [from, to], .. } => {
            udp::Repr { src_port: to, dst_port: from, payload_len: payload_len - udp::HEADER_LEN }.emit(l4).unwrap();
            udp::Packet::new_checked(l4).unwrap().fill_checksum(seen.dst, seen.src);
        }
        Content::Tcp { ports: [from, to], seq, .. } => {
            let flags = tcp::flag::SYN | tcp::flag::ACK;
            let answer = tcp::Repr { src_port: to, dst_port: from, seq: 9, ack: seq + 1, flags, window: 1000 };
            answer.emit(l4).unwrap();
            tcp::Packet::new_checked(l4).unwrap().fill_checksum(seen.dst, seen.src);
        }
        Content::Query { ident, .. } => icmpv4::Repr::EchoReply { ident, seq: 1 }.emit(l4).unwrap(),
        other @ (Content::Error { .. } | Content::Opaque(_)) => panic!("{other:?}"),
    }
    let (src, dst, protocol) = (seen.dst, seen.src, seen.protocol);
    let ip = ipv4::Repr { src, dst, protocol, ttl: TTL, ident: seen.ident, dont_fragment: true, payload_len };
    ip.emit(&mut frame[ethernet::HEADER_LEN..]).unwrap();
    with_macs(frame, Port::Internet)
}

/// What `sent` must be at the far end, where `seen` says under which port.
fn at_far_end(sent: &Seen, seen: &Seen) -> Seen {
    let mut expected = Seen { src: seen.src, ttl: seen.ttl, ..sent.clone() };
    match (&mut expected.content, &seen.content) {
        (Content::Udp { ports, .. }, Content::Udp { ports: [port, _], .. })
        | (Content::Tcp { ports, .. }, Content::Tcp { ports: [port, _], .. }) => ports[0] = *port,
        (Content::Query { ident, .. }, Content::Query { ident: shown, .. }) => *ident = *shown,
        (sent, seen) => panic!("{sent:?} became {seen:?}"),
    }
    expected
}

fn ends(content: &Content) -> [u16; 2] {
    match content {
        Content::Udp { ports, .. } | Content::Tcp { ports, .. } => *ports,
        Content::Query { ident, .. } => [*ident; 2],
        other @ (Content::Error { .. } | Content::Opaque(_)) => panic!("{other:?}"),
    }
}

fn reversed(content: &Content) -> [u16; 2] {
    let [from, to] = ends(content);
    [to, from]
}

fn data(content: &Content) -> &[u8] {
    match content {
        // Behind the sequence number: that is ICMP's own.
        Content::Udp { data, .. } | Content::Tcp { data, .. } | Content::Query { data, .. } => data,
        other @ (Content::Error { .. } | Content::Opaque(_)) => panic!("{other:?}"),
    }
}
