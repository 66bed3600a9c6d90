use std::sync::atomic::{AtomicU64, Ordering};

use natrig_link::Link;
use natrig_link::memory::pair;
use natrig_wire::template::{FourTuple, UdpTemplate};
use natrig_wire::{ipv4, udp};

use super::*;

const INSIDE: SideConfig =
    SideConfig { mac: MacAddr([2, 0, 0, 0, 0, 1]), peer: MacAddr([2, 0, 0, 0, 0, 9]), addresses: Vec::new() };
const OUTSIDE: SideConfig =
    SideConfig { mac: MacAddr([2, 0, 0, 0, 0, 2]), peer: MacAddr([2, 0, 0, 0, 0, 8]), addresses: Vec::new() };
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);
const NAT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 8);

fn tuple() -> FourTuple {
    FourTuple { src: Ipv4Addr::new(10, 0, 1, 50), src_port: 40_000, dst: Ipv4Addr::new(203, 0, 113, 10), dst_port: 443 }
}

fn frame(ttl: u8) -> Vec<u8> {
    let mut bytes = vec![0; 128];
    UdpTemplate::<18>::new(60, INSIDE.mac, INSIDE.peer, ttl).unwrap().emit(&mut bytes, &tuple(), &[7; 18]);
    bytes
}

fn forwarding() -> Stage {
    let inside = SideConfig { addresses: vec![ROUTER], ..INSIDE };
    Stage::new(inside, OUTSIDE, Engine::Forward(Box::new(Forwarder::new(ROUTER, NAT))))
}

fn process(stage: &mut Stage, from: Side, buffers: &mut [Vec<u8>], len: usize) -> Picks {
    let mut picks = Picks::default();
    let mut frames: Vec<Frame<'_>> = buffers.iter_mut().map(|bytes| Frame::new(bytes, len)).collect();
    stage.process(from, &mut frames, 1, &mut picks);
    picks
}

#[test]
fn forwards_with_the_other_sides_addresses_and_one_ttl_less() {
    let mut stage = forwarding();
    let mut buffers = [frame(64)];
    let picks = process(&mut stage, Side::Inside, &mut buffers, 60);
    assert_eq!((&picks.forward[..], &picks.back[..]), (&[0][..], &[][..]));
    let ethernet = ethernet::Packet::new_checked(&buffers[0][..60]).unwrap();
    assert_eq!((ethernet.src(), ethernet.dst()), (OUTSIDE.mac, OUTSIDE.peer));
    let ip = ipv4::Packet::new_checked(ethernet.payload()).unwrap();
    assert_eq!((ip.ttl(), ip.verify_checksum(), ip.src()), (63, true, tuple().src));
}

#[test]
fn an_expired_ttl_goes_back_as_an_icmp_error_and_is_counted() {
    let mut stage = forwarding();
    let mut buffers = [frame(1)];
    let mut picks = Picks::default();
    let mut frames: Vec<Frame<'_>> = buffers.iter_mut().map(|bytes| Frame::new(bytes, 60)).collect();
    stage.process(Side::Inside, &mut frames, 1, &mut picks);
    assert_eq!((&picks.forward[..], &picks.back[..]), (&[][..], &[0][..]));
    let ethernet = ethernet::Packet::new_checked(frames[0].bytes()).unwrap();
    assert_eq!((ethernet.src(), ethernet.dst()), (INSIDE.mac, INSIDE.peer));
    let ip = ipv4::Packet::new_checked(ethernet.payload()).unwrap();
    assert_eq!((ip.protocol(), ip.src(), ip.dst()), (ipv4::protocol::ICMP, ROUTER, tuple().src));
    assert_eq!(stage.counts().dropped().collect::<Vec<_>>(), [("answered", 1)]);
}

#[test]
fn translates_and_translates_back() {
    let profile = natrig_nat::Profile::builtin("rfc4787").unwrap();
    let nat = Nat::new(profile.config(vec![NAT]), 1).unwrap();
    let mut stage = Stage::new(INSIDE, OUTSIDE, Engine::Nat(Box::new(nat)));
    let mut buffers = [frame(64)];
    assert_eq!(process(&mut stage, Side::Inside, &mut buffers, 60).forward.len(), 1);
    let (src, src_port) = {
        let ip = ipv4::Packet::new_checked(&buffers[0][14..60]).unwrap();
        (ip.src(), udp::Packet::new_checked(ip.payload()).unwrap().src_port())
    };
    assert_eq!(src, NAT);

    let answer = FourTuple { src, src_port, ..tuple() }.reversed();
    let mut back = [vec![0; 128]];
    UdpTemplate::<18>::new(60, OUTSIDE.mac, OUTSIDE.peer, 64).unwrap().emit(&mut back[0], &answer, &[7; 18]);
    assert_eq!(process(&mut stage, Side::Outside, &mut back, 60).forward.len(), 1);
    let ip = ipv4::Packet::new_checked(&back[0][14..60]).unwrap();
    let datagram = udp::Packet::new_checked(ip.payload()).unwrap();
    assert_eq!((ip.dst(), datagram.dst_port()), (tuple().src, tuple().src_port));
    assert!(datagram.verify_checksum(ip.src(), ip.dst()));
    assert_eq!(&back[0][..12], &[INSIDE.peer.0, INSIDE.mac.0].concat()[..]);
}

#[test]
fn answers_arp_for_its_own_addresses_only() {
    for (asked, answered) in [(ROUTER, true), (Ipv4Addr::new(10, 0, 1, 2), false)] {
        let mut stage = forwarding();
        let mut buffers = [vec![0; 60]];
        let request = arp::Repr {
            operation: arp::Operation::Request,
            sender_mac: INSIDE.peer,
            sender_ip: tuple().src,
            target_mac: MacAddr::default(),
            target_ip: asked,
        };
        let header = ethernet::Repr { dst: MacAddr::BROADCAST, src: INSIDE.peer, ethertype: ethernet::ethertype::ARP };
        header.emit(&mut ethernet::Packet::new_checked(&mut buffers[0][..]).unwrap());
        request.emit(&mut buffers[0][14..]).unwrap();
        let picks = process(&mut stage, Side::Inside, &mut buffers, 60);
        assert_eq!(picks.back.len(), usize::from(answered));
        assert_eq!(
            (stage.counts().arp_answered, stage.counts().not_for_us),
            (u64::from(answered), u64::from(!answered))
        );
        if answered {
            assert_eq!(arp::Repr::parse(&buffers[0][14..]).unwrap(), request.answer(INSIDE.mac));
        }
    }
}

#[test]
fn other_hosts_frames_are_left_alone() {
    let mut stage = forwarding();
    let mut other = frame(64);
    other[5] ^= 1;
    let mut buffers = [other.clone(), vec![0; 60]];
    let picks = process(&mut stage, Side::Inside, &mut buffers, 60);
    assert!(picks.forward.is_empty() && picks.back.is_empty());
    assert_eq!((stage.counts().not_for_us, &buffers[0]), (2, &other));
    let mut runt = [vec![0; 5]];
    assert!(process(&mut stage, Side::Inside, &mut runt, 5).forward.is_empty());
}

static NOW_NS: AtomicU64 = AtomicU64::new(0);

fn clock() -> u64 {
    NOW_NS.fetch_add(10, Ordering::Relaxed)
}

/// What a full link does not take is dropped and counted: in = out + dropped.
#[test]
fn pumping_into_a_full_link_counts_what_it_loses() {
    let mut stage = forwarding();
    let (mut generator, mut near) = pair(64, 128);
    let (mut far, mut sink) = pair(8, 128);
    let mut buffers: Vec<Vec<u8>> = (0..20).map(|_| frame(64)).collect();
    let frames: Vec<Frame<'_>> = buffers.iter_mut().map(|bytes| Frame::new(bytes, 60)).collect();
    let all: Vec<u16> = (0..20).collect();
    assert_eq!(generator.send(&frames, &all).unwrap(), 20);
    let mut times = PumpTimes::default();
    let moved = pump(&mut stage, Side::Inside, &mut near, &mut far, clock, &mut times).unwrap();
    let mut arrived = 0;
    sink.recv(256, &mut |frames| arrived += frames.len()).unwrap();
    let lost: u64 = stage.counts().dropped().map(|(_, frames)| frames).sum();
    assert_eq!((moved, stage.counts().forwarded), (20, arrived as u64));
    assert_eq!(arrived as u64 + lost, 20);
    assert!(lost > 0 && times.frames == 20 && times.total_ns() > 0);
}
