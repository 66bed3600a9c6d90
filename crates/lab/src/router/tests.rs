use natrig_nat::{Config, Profile};
use natrig_wire::template::{FourTuple, UdpTemplate};
use natrig_wire::{arp, ethernet, icmpv4, ipv4, udp};
use proptest::prelude::*;

use super::*;
use crate::router::neighbours::{NEIGHBOURS_MAX, TRIES};

const S: u64 = 1_000_000_000;
const POD: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 50);
const POD_MAC: MacAddr = MacAddr([2, 0, 0, 0, 1, 50]);
const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);
const INSIDE_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const OUTSIDE_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const POOL: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 8);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const GATEWAY_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);

/// Takes what it is sent, keeps it, and never has anything to receive.
#[derive(Default)]
struct Sink(Vec<Vec<u8>>);

impl Link for Sink {
    fn recv(&mut self, _: usize, _: &mut dyn FnMut(&mut [Frame<'_>])) -> Result<usize, natrig_link::RecvError> {
        Ok(0)
    }

    fn send(&mut self, frames: &[Frame<'_>], pick: &[u16]) -> Result<usize, SendError> {
        self.0.extend(pick.iter().map(|index| frames[usize::from(*index)].bytes().to_vec()));
        Ok(pick.len())
    }

    fn stats(&mut self) -> natrig_link::LinkStats {
        natrig_link::LinkStats::default()
    }

    fn poll_fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        None
    }

    fn describe(&self) -> natrig_link::LinkDescription {
        natrig_link::LinkDescription { kind: natrig_link::LinkKind::Memory, slots: 0, slot_bytes: 0, notes: Vec::new() }
    }
}

fn config() -> RouterConfig {
    let route = |destination: &str, side, via| Route { destination: destination.parse().unwrap(), side, via };
    RouterConfig {
        inside: PortConfig { mac: INSIDE_MAC, own: INSIDE, addresses: Vec::new() },
        outside: PortConfig { mac: OUTSIDE_MAC, own: OUTSIDE, addresses: vec![POOL] },
        routes: Routes::new(vec![
            route("10.0.1.0/24", Side::Inside, None),
            route("198.51.100.0/24", Side::Outside, None),
            route("203.0.113.0/24", Side::Outside, Some(GATEWAY)),
        ]),
    }
}

fn nat(pool: &[Ipv4Addr]) -> Nat {
    let profile = Profile::builtin("rfc4787").unwrap();
    let mut config: Config = profile.config(pool.to_vec());
    (config.inside_router, config.outside_router) = (INSIDE, OUTSIDE);
    Nat::new(config, 1).unwrap()
}

/// A router, and everything that has left it.
struct Bench {
    router: Router,
    inside: Sink,
    outside: Sink,
    now_ns: u64,
}

impl Bench {
    fn new() -> Self {
        let router = Router::new(config(), nat(&[POOL]));
        Self { router, inside: Sink::default(), outside: Sink::default(), now_ns: S }
    }

    fn give(&mut self, from: Side, frame: &[u8]) {
        let mut buffer = frame.to_vec();
        buffer.resize(frame.len().max(700), 0);
        let mut frames = [Frame::new(&mut buffer, frame.len())];
        let mut forward = ArrayVec::new();
        self.router.process(from, &mut frames, self.now_ns, &mut forward);
        let far = if from == Side::Inside { &mut self.outside } else { &mut self.inside };
        self.router.counts.forwarded += far.send(&frames, &forward).unwrap() as u64;
        self.settle();
    }

    fn settle(&mut self) {
        self.router.settle(self.now_ns);
        self.router.send(Side::Inside, &mut self.inside).unwrap();
        self.router.send(Side::Outside, &mut self.outside).unwrap();
        assert_balanced(&self.router);
    }

    fn wait(&mut self, ns: u64) {
        let until_ns = self.now_ns + ns;
        while self.now_ns < until_ns {
            self.now_ns += TICK_NS;
            self.settle();
        }
    }

    /// What has left since it was asked last.
    fn left(&mut self, side: Side) -> Vec<Vec<u8>> {
        std::mem::take(if side == Side::Inside { &mut self.inside.0 } else { &mut self.outside.0 })
    }

    /// A settled bench: announcements are over, the gateway and the pod are known.
    fn settled() -> Self {
        let mut bench = Self::new();
        bench.wait(3 * S);
        bench.give(Side::Inside, &arp_frame(arp::Operation::Request, POD, POD_MAC, INSIDE));
        bench.give(Side::Outside, &arp_frame(arp::Operation::Request, GATEWAY, GATEWAY_MAC, OUTSIDE));
        bench.left(Side::Inside);
        bench.left(Side::Outside);
        bench
    }
}

/// Each frame that came in or was made is in exactly one count.
fn assert_balanced(router: &Router) {
    let counts = router.counts();
    let made = router.nat().counters().fragments_made + counts.undeliverable_told;
    let ended: u64 = counts.dropped().map(|(_, frames)| frames).sum();
    let travelled = counts.forwarded + counts.returned + counts.held + counts.waiting;
    let others = counts.not_for_us + counts.arp_received;
    let received: u64 = counts.received.iter().sum();
    assert_eq!(received + made, travelled + ended + others, "{counts:?}");
}

fn arp_frame(operation: arp::Operation, from: Ipv4Addr, mac: MacAddr, about: Ipv4Addr) -> Vec<u8> {
    let said =
        arp::Repr { operation, sender_mac: mac, sender_ip: from, target_mac: MacAddr::default(), target_ip: about };
    let mut frame = vec![0; 60];
    frame[..6].copy_from_slice(&MacAddr::BROADCAST.0);
    frame[6..12].copy_from_slice(&mac.0);
    frame[12..14].copy_from_slice(&ethernet::ethertype::ARP.to_be_bytes());
    said.emit(&mut frame[14..]).unwrap();
    frame
}

fn udp_frame(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), mac: MacAddr, ttl: u8) -> Vec<u8> {
    let mut frame = vec![0; 60];
    let tuple = FourTuple { src: from.0, src_port: from.1, dst: to.0, dst_port: to.1 };
    UdpTemplate::<18>::new(60, mac, POD_MAC, ttl).unwrap().emit(&mut frame, &tuple, &[7; 18]);
    frame
}

fn query(port: u16) -> Vec<u8> {
    udp_frame((POD, port), (SERVER, 53), INSIDE_MAC, 64)
}

fn macs(frame: &[u8]) -> (MacAddr, MacAddr) {
    let ethernet = ethernet::Packet::new_checked(frame).unwrap();
    (ethernet.src(), ethernet.dst())
}

fn said(frame: &[u8]) -> arp::Repr {
    arp::Repr::parse(&frame[14..]).unwrap()
}

/// Source and destination of a UDP packet.
fn ends(frame: &[u8]) -> ((Ipv4Addr, u16), (Ipv4Addr, u16)) {
    let ip = ipv4::Packet::new_checked(&frame[14..]).unwrap();
    assert!(ip.verify_checksum());
    let udp = udp::Packet::new_checked(ip.payload()).unwrap();
    ((ip.src(), udp.src_port()), (ip.dst(), udp.dst_port()))
}

#[test]
fn its_addresses_are_announced_twice_and_answered_for() {
    let mut bench = Bench::new();
    bench.settle();
    bench.wait(5 * S);
    let announced: Vec<_> = bench.left(Side::Outside).iter().map(|frame| said(frame)).collect();
    let addresses: Vec<_> = announced.iter().map(|one| one.sender_ip).collect();
    assert_eq!(addresses, [OUTSIDE, POOL, OUTSIDE, POOL]);
    assert!(announced.iter().all(|one| one.target_ip == one.sender_ip && one.sender_mac == OUTSIDE_MAC));
    for address in [OUTSIDE, POOL] {
        bench.give(Side::Outside, &arp_frame(arp::Operation::Request, GATEWAY, GATEWAY_MAC, address));
        let [answer] = &bench.left(Side::Outside)[..] else { panic!("one answer") };
        assert_eq!(macs(answer), (OUTSIDE_MAC, GATEWAY_MAC));
        assert_eq!((said(answer).operation, said(answer).sender_ip), (arp::Operation::Reply, address));
    }
    // Not for anybody else's, nor for those of the other side.
    for address in [SERVER, INSIDE, GATEWAY] {
        bench.give(Side::Outside, &arp_frame(arp::Operation::Request, GATEWAY, GATEWAY_MAC, address));
    }
    assert_eq!(bench.left(Side::Outside).len(), 0);
}

#[test]
fn a_packet_waits_for_its_gateway_and_the_answer_finds_its_way_back() {
    let mut bench = Bench::new();
    bench.wait(3 * S);
    bench.left(Side::Outside);
    bench.give(Side::Inside, &query(4000));
    bench.give(Side::Inside, &query(4001));
    let [question] = &bench.left(Side::Outside)[..] else { panic!("one question for two packets") };
    assert_eq!((said(question).target_ip, said(question).sender_ip), (GATEWAY, OUTSIDE));
    assert_eq!(macs(question), (OUTSIDE_MAC, MacAddr::BROADCAST));
    assert_eq!(bench.router.counts().waiting, 2);

    bench.give(Side::Outside, &arp_frame(arp::Operation::Reply, GATEWAY, GATEWAY_MAC, OUTSIDE));
    let sent = bench.left(Side::Outside);
    assert_eq!((sent.len(), bench.router.counts().waiting), (2, 0));
    let mut seen = Vec::new();
    for frame in &sent {
        assert_eq!(macs(frame), (OUTSIDE_MAC, GATEWAY_MAC));
        let (from, to) = ends(frame);
        assert_eq!((from.0, to), (POOL, (SERVER, 53)));
        seen.push(from);
    }

    // The pod has never spoken ARP: it is asked in its turn.
    bench.left(Side::Inside);
    bench.give(Side::Outside, &udp_frame((SERVER, 53), seen[1], OUTSIDE_MAC, 64));
    let [question] = &bench.left(Side::Inside)[..] else { panic!("one question") };
    assert_eq!((said(question).target_ip, said(question).sender_ip), (POD, INSIDE));
    bench.give(Side::Inside, &arp_frame(arp::Operation::Reply, POD, POD_MAC, INSIDE));
    let [answer] = &bench.left(Side::Inside)[..] else { panic!("one answer") };
    assert_eq!((macs(answer), ends(answer)), ((INSIDE_MAC, POD_MAC), ((SERVER, 53), (POD, 4001))));
    assert_eq!((bench.router.counts().forwarded, bench.router.counts().dropped().count()), (3, 0));
}

#[test]
fn who_asks_is_known_and_packets_leave_with_their_burst() {
    let mut bench = Bench::settled();
    let mut buffers = [query(1), query(2), query(3)];
    let mut frames: Vec<Frame<'_>> = buffers.iter_mut().map(|bytes| Frame::new(bytes, 60)).collect();
    let mut forward = ArrayVec::new();
    bench.router.process(Side::Inside, &mut frames, bench.now_ns, &mut forward);
    assert_eq!(forward[..], [0, 1, 2]);
    assert!(frames.iter().all(|frame| macs(frame.bytes()) == (OUTSIDE_MAC, GATEWAY_MAC)));
    assert_eq!(bench.router.neighbours(bench.now_ns).map(|one| one.address).collect::<Vec<_>>(), [POD, GATEWAY]);
}

#[test]
fn a_host_on_the_outside_link_is_a_neighbour_itself() {
    let mut bench = Bench::settled();
    let beside = Ipv4Addr::new(198, 51, 100, 77);
    bench.give(Side::Inside, &udp_frame((POD, 1), (beside, 9), INSIDE_MAC, 64));
    assert_eq!(said(&bench.left(Side::Outside)[0]).target_ip, beside);
}

/// The sender of a packet for a neighbour who does not answer gets an error about its own packet, not about the translated one.
#[test]
fn a_silent_gateway_is_told_to_the_sender_in_its_own_words() {
    let mut bench = Bench::new();
    bench.wait(3 * S);
    bench.give(Side::Inside, &arp_frame(arp::Operation::Request, POD, POD_MAC, INSIDE));
    bench.give(Side::Inside, &query(4000));
    bench.left(Side::Inside);
    bench.wait(4 * S);
    let errors = bench.left(Side::Inside);
    let [error] = &errors[..] else { panic!("one error, not {}", errors.len()) };
    let ip = ipv4::Packet::new_checked(&error[14..]).unwrap();
    assert_eq!((macs(error), ip.src(), ip.dst()), ((INSIDE_MAC, POD_MAC), INSIDE, POD));
    let message = icmpv4::Packet::new_checked(ip.payload()).unwrap();
    assert!(ip.verify_checksum() && message.verify_checksum());
    assert_eq!((message.kind(), message.code()), (icmpv4::kind::UNREACHABLE, icmpv4::unreachable::HOST));
    let quoted = ipv4::Packet::new_checked(message.payload()).unwrap();
    assert_eq!((quoted.src(), quoted.dst()), (POD, SERVER));
    assert_eq!(&quoted.payload()[..2], 4000u16.to_be_bytes());
    let questions = bench.left(Side::Outside).iter().filter(|frame| said(frame).target_ip == GATEWAY).count();
    assert_eq!((questions, bench.router.counts().unresolved), (TRIES as usize, 1));
}

#[test]
fn no_route_is_told_at_once() {
    let mut bench = Bench::settled();
    bench.give(Side::Inside, &udp_frame((POD, 1), (Ipv4Addr::new(192, 0, 2, 1), 9), INSIDE_MAC, 64));
    let [error] = &bench.left(Side::Inside)[..] else { panic!("one error") };
    let message = icmpv4::Packet::new_checked(&error[34..]).unwrap();
    assert_eq!((message.kind(), message.code()), (icmpv4::kind::UNREACHABLE, 0));
    assert_eq!(bench.router.counts().no_route, 1);
}

/// A server's packet for a pod that has gone: the server learns it from the address that it knows.
#[test]
fn a_pod_that_has_gone_is_told_to_the_server() {
    let mut bench = Bench::settled();
    bench.give(Side::Inside, &query(4000));
    let (outside, _) = ends(&bench.left(Side::Outside)[0]);
    // Long enough for the pod to be forgotten, short enough for its mapping to live: it is refreshed.
    for _ in 0..4 {
        bench.wait(100 * S);
        bench.give(Side::Outside, &arp_frame(arp::Operation::Request, GATEWAY, GATEWAY_MAC, OUTSIDE));
        bench.give(Side::Inside, &query(4000));
    }
    bench.left(Side::Outside);
    bench.give(Side::Outside, &udp_frame((SERVER, 53), outside, OUTSIDE_MAC, 64));
    bench.wait(5 * S);
    let errors: Vec<_> = bench.left(Side::Outside).into_iter().filter(|frame| frame[12..14] == [8, 0]).collect();
    let [error] = &errors[..] else { panic!("one error, not {}", errors.len()) };
    let ip = ipv4::Packet::new_checked(&error[14..]).unwrap();
    assert_eq!(ip.dst(), SERVER);
    let message = icmpv4::Packet::new_checked(ip.payload()).unwrap();
    let quoted = ipv4::Packet::new_checked(message.payload()).unwrap();
    assert_eq!((quoted.src(), quoted.dst()), (SERVER, outside.0));
    assert!(message.verify_checksum());
}

#[test]
fn an_expired_ttl_goes_back_to_its_sender() {
    let mut bench = Bench::settled();
    bench.give(Side::Inside, &udp_frame((POD, 1), (SERVER, 9), INSIDE_MAC, 1));
    let [error] = &bench.left(Side::Inside)[..] else { panic!("one error") };
    assert_eq!(macs(error), (INSIDE_MAC, POD_MAC));
    assert_eq!(error[34], icmpv4::kind::TIME_EXCEEDED);
    assert_eq!(bench.router.counts().returned, 1);
}

#[test]
fn neighbours_of_one_side_reach_each_other_without_us() {
    let mut bench = Bench::settled();
    bench.give(Side::Inside, &udp_frame((POD, 1), (Ipv4Addr::new(10, 0, 1, 51), 9), INSIDE_MAC, 64));
    bench.give(Side::Outside, &udp_frame((SERVER, 1), (GATEWAY, 9), OUTSIDE_MAC, 64));
    assert_eq!((bench.router.counts().same_side, bench.router.nat().counters().created), (2, 0));
    assert_eq!(bench.left(Side::Inside).len() + bench.left(Side::Outside).len(), 0);
}

/// Two inside hosts meet by way of an outside address: the packet goes back to the inside, to the other's MAC address.
#[test]
fn a_hairpin_goes_to_the_other_inside_host() {
    let mut bench = Bench::settled();
    bench.give(Side::Inside, &query(4000));
    let (outside, _) = ends(&bench.left(Side::Outside)[0]);
    let other = Ipv4Addr::new(10, 0, 1, 51);
    bench.give(Side::Inside, &udp_frame((other, 77), outside, INSIDE_MAC, 64));
    let [frame] = &bench.left(Side::Inside)[..] else { panic!("one frame") };
    let (from, to) = ends(frame);
    assert_eq!((macs(frame), from.0, to), ((INSIDE_MAC, POD_MAC), POOL, (POD, 4000)));
    assert_eq!((bench.left(Side::Outside).len(), bench.router.counts().returned), (0, 1));
}

#[test]
fn frames_for_others_are_not_touched() {
    let mut bench = Bench::settled();
    let mut ipv6 = query(1);
    ipv6[12..14].copy_from_slice(&ethernet::ethertype::IPV6.to_be_bytes());
    let other_host = udp_frame((POD, 1), (SERVER, 9), MacAddr([2, 9, 9, 9, 9, 9]), 64);
    let broadcast = udp_frame((POD, 1), (SERVER, 9), MacAddr::BROADCAST, 64);
    for frame in [&ipv6[..], &other_host, &broadcast, &[0; 20], &[]] {
        bench.give(Side::Inside, frame);
    }
    assert_eq!((bench.router.counts().not_for_us, bench.outside.0.len()), (5, 0));
}

#[test]
fn somebody_else_with_our_address_is_counted_and_answered_once_in_a_while() {
    let mut bench = Bench::settled();
    for _ in 0..3 {
        bench.give(Side::Outside, &arp_frame(arp::Operation::Reply, POOL, GATEWAY_MAC, POOL));
    }
    assert_eq!(bench.router.counts().conflicts, 3);
    assert_eq!((bench.router.take_conflict(), bench.router.take_conflict()), (Some((POOL, GATEWAY_MAC)), None));
    let [defence] = &bench.left(Side::Outside)[..] else { panic!("one defence") };
    assert_eq!((said(defence).sender_ip, said(defence).sender_mac), (POOL, OUTSIDE_MAC));
}

#[test]
fn a_flood_to_silent_neighbours_takes_bounded_room() {
    let mut bench = Bench::settled();
    for number in 0..(2 * NEIGHBOURS_MAX as u32) {
        let to = Ipv4Addr::from_bits((GATEWAY.to_bits() & !0xff) + number % 200 + 10);
        bench.give(Side::Inside, &udp_frame((POD, 1 + number as u16), (to, 9), INSIDE_MAC, 64));
    }
    let counts = bench.router.counts();
    assert_eq!((counts.waiting, counts.unresolved), (1024, 2 * NEIGHBOURS_MAX as u64 - 1024));
    bench.wait(5 * S);
    assert_eq!(bench.router.counts().waiting, 0);
    // The gateway is still known.
    bench.left(Side::Outside);
    bench.give(Side::Inside, &query(1));
    assert_eq!(macs(&bench.left(Side::Outside)[0]).1, GATEWAY_MAC);
}

#[derive(Debug, Clone)]
enum Event {
    Query { host: u8, port: u16, to: u8 },
    Answer { nth: usize },
    Stray { side: bool, bytes: Vec<u8> },
    Arp { side: bool, host: u8, mac: u8, reply: bool, for_us: bool },
    Wait { ms: u16 },
    Reload,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..4u8, 1..8u16, 0..4u8).prop_map(|(host, port, to)| Event::Query { host, port, to }),
        4 => (0..16usize).prop_map(|nth| Event::Answer { nth }),
        1 => (any::<bool>(), prop::collection::vec(any::<u8>(), 0..80))
            .prop_map(|(side, bytes)| Event::Stray { side, bytes }),
        3 => (any::<bool>(), 0..4u8, 0..3u8, any::<bool>(), any::<bool>())
            .prop_map(|(side, host, mac, reply, for_us)| Event::Arp { side, host, mac, reply, for_us }),
        2 => (0..5000u16).prop_map(|ms| Event::Wait { ms }),
        1 => Just(Event::Reload),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes, each frame ends in one count (checked after each), and what leaves goes to a MAC address that its next hop has
    /// claimed.
    #[test]
    fn nothing_is_lost_unaccounted_and_nothing_goes_astray(events in prop::collection::vec(event(), 1..120)) {
        let mut bench = Bench::new();
        let mut answers: Vec<Vec<u8>> = Vec::new();
        let mut claimed: Vec<(Ipv4Addr, MacAddr)> = Vec::new();
        let outside_host = |host: u8| Ipv4Addr::new(198, 51, 100, if host == 0 { 1 } else { 100 + host });
        for event in events {
            match event {
                Event::Query { host, port, to } => {
                    let to = if to == 3 { SERVER } else { outside_host(to) };
                    let from = Ipv4Addr::new(10, 0, 1, 50 + host);
                    bench.give(Side::Inside, &udp_frame((from, port), (to, 53), INSIDE_MAC, 64));
                }
                Event::Answer { nth } => {
                    if let Some(answer) = answers.get(nth).cloned() {
                        bench.give(Side::Outside, &answer);
                    }
                }
                Event::Stray { side, bytes } => {
                    bench.give(if side { Side::Inside } else { Side::Outside }, &bytes);
                }
                Event::Arp { side, host, mac, reply, for_us } => {
                    let (side, address, own) = if side {
                        (Side::Inside, Ipv4Addr::new(10, 0, 1, 50 + host), INSIDE)
                    } else {
                        (Side::Outside, outside_host(host), OUTSIDE)
                    };
                    let mac = MacAddr([2, 1, side as u8, host, mac, 1]);
                    claimed.push((address, mac));
                    let operation = if reply { arp::Operation::Reply } else { arp::Operation::Request };
                    bench.give(side, &arp_frame(operation, address, mac, if for_us { own } else { address }));
                }
                Event::Wait { ms } => bench.wait(u64::from(ms) * 1_000_000),
                Event::Reload => {
                    bench.router.replace(config(), nat(&[POOL]));
                    bench.settle();
                }
            }
            for side in [Side::Inside, Side::Outside] {
                for frame in bench.left(side) {
                    if frame[12..14] != ethernet::ethertype::IPV4.to_be_bytes() {
                        continue;
                    }
                    let ip = ipv4::Packet::new_checked(&frame[14..]).unwrap();
                    let hop = if ip.dst() == SERVER { GATEWAY } else { ip.dst() };
                    prop_assert!(claimed.contains(&(hop, macs(&frame).1)), "{hop} never was at {}", macs(&frame).1);
                    if side == Side::Outside && ip.protocol() == ipv4::protocol::UDP {
                        let (from, to) = ends(&frame);
                        answers.push(udp_frame(to, from, OUTSIDE_MAC, 64));
                    }
                }
            }
        }
    }
}
