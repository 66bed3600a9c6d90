//! What we write, two foreign decoders (smoltcp's and pnet's) read the same way.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::net::Ipv4Addr;

use natrig_wire::{MacAddr, arp, ethernet, icmpv4, ipv4, tcp, template};
use pnet::packet as p;
use proptest::prelude::*;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire as s;

fn ip_packet(header: &ipv4::Repr, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; header.total_len()];
    header.emit(&mut bytes).unwrap();
    bytes[ipv4::HEADER_LEN..].copy_from_slice(payload);
    bytes
}

proptest! {
    #[test]
    fn tcp_segments(src: u32, dst: u32, ttl in 1u8.., seq: u32, ack: u32, ports: (u16, u16), window: u16, payload in proptest::collection::vec(any::<u8>(), 0..100)) {
        prop_assume!(ports.0 != 0 && ports.1 != 0);
        let (src, dst) = (Ipv4Addr::from(src), Ipv4Addr::from(dst));
        let mut segment = vec![0; tcp::HEADER_LEN + payload.len()];
        segment[tcp::HEADER_LEN..].copy_from_slice(&payload);
        let flags = tcp::flag::ACK | tcp::flag::PSH;
        tcp::Repr { src_port: ports.0, dst_port: ports.1, seq, ack, flags, window }.emit(&mut segment).unwrap();
        tcp::Packet::new_checked(&mut segment[..]).unwrap().fill_checksum(src, dst);
        let header = ipv4::Repr { src, dst, protocol: ipv4::protocol::TCP, ttl, ident: 7, dont_fragment: true, payload_len: segment.len() };
        let bytes = ip_packet(&header, &segment);

        let ip = s::Ipv4Packet::new_checked(&bytes[..]).unwrap();
        prop_assert!(ip.verify_checksum());
        prop_assert_eq!((ip.src_addr(), ip.dst_addr(), ip.hop_limit()), (src, dst, ttl));
        let view = s::TcpPacket::new_checked(ip.payload()).unwrap();
        let caps = ChecksumCapabilities::default();
        let repr = s::TcpRepr::parse(&view, &src.into(), &dst.into(), &caps).unwrap();
        prop_assert_eq!((repr.src_port, repr.dst_port, repr.seq_number.0 as u32, repr.payload), ports_and(ports, seq, &payload));

        let ip = p::ipv4::Ipv4Packet::new(&bytes).unwrap();
        prop_assert_eq!(p::ipv4::checksum(&ip), ip.get_checksum());
        let view = p::tcp::TcpPacket::new(p::Packet::payload(&ip)).unwrap();
        prop_assert_eq!(p::tcp::ipv4_checksum(&view, &src, &dst), view.get_checksum());
        prop_assert_eq!((view.get_sequence(), view.get_acknowledgement(), view.get_flags()), (seq, ack, flags));
    }

    #[test]
    fn udp_frames(src: u32, dst: u32, ports: (u16, u16), len in 60usize..1515) {
        prop_assume!(ports.0 != 0 && ports.1 != 0);
        let tuple = template::FourTuple { src: src.into(), src_port: ports.0, dst: dst.into(), dst_port: ports.1 };
        let mac = MacAddr([2, 0, 0, 0, 0, 9]);
        let mut bytes = vec![0; len];
        template::UdpTemplate::<18>::new(len, mac, mac, 64).unwrap().emit(&mut bytes, &tuple, &[0x5a; 18]);

        let frame = s::EthernetFrame::new_checked(&bytes[..]).unwrap();
        prop_assert_eq!(frame.ethertype(), s::EthernetProtocol::Ipv4);
        let ip = s::Ipv4Packet::new_checked(frame.payload()).unwrap();
        prop_assert!(ip.verify_checksum());
        let view = s::UdpPacket::new_checked(ip.payload()).unwrap();
        prop_assert!(view.verify_checksum(&tuple.src.into(), &tuple.dst.into()));

        let frame = p::ethernet::EthernetPacket::new(&bytes).unwrap();
        let ip = p::ipv4::Ipv4Packet::new(p::Packet::payload(&frame)).unwrap();
        prop_assert_eq!(p::ipv4::checksum(&ip), ip.get_checksum());
        let view = p::udp::UdpPacket::new(p::Packet::payload(&ip)).unwrap();
        // pnet does not send a computed zero as all ones (RFC 768), so both zeros are one here.
        prop_assert_eq!(p::udp::ipv4_checksum(&view, &tuple.src, &tuple.dst) % 0xffff, view.get_checksum() % 0xffff);
        prop_assert_eq!((view.get_source(), view.get_destination()), ports);
    }

    #[test]
    fn icmp_messages(ident: u16, seq: u16, payload in proptest::collection::vec(any::<u8>(), 0..100)) {
        let mut bytes = vec![0; icmpv4::HEADER_LEN + payload.len()];
        bytes[icmpv4::HEADER_LEN..].copy_from_slice(&payload);
        icmpv4::Repr::Echo { ident, seq }.emit(&mut bytes).unwrap();
        let view = s::Icmpv4Packet::new_checked(&bytes[..]).unwrap();
        let repr = s::Icmpv4Repr::parse(&view, &ChecksumCapabilities::default()).unwrap();
        prop_assert_eq!(repr, s::Icmpv4Repr::EchoRequest { ident, seq_no: seq, data: &payload });
        let view = p::icmp::IcmpPacket::new(&bytes).unwrap();
        prop_assert_eq!(p::icmp::checksum(&view), view.get_checksum());
    }
}

fn ports_and(ports: (u16, u16), seq: u32, payload: &[u8]) -> (u16, u16, u32, &[u8]) {
    (ports.0, ports.1, seq, payload)
}

#[test]
fn arp_packets() {
    let ours = arp::Repr {
        operation: arp::Operation::Request,
        sender_mac: MacAddr([2, 0, 0, 0, 0, 1]),
        sender_ip: Ipv4Addr::new(10, 0, 0, 1),
        target_mac: MacAddr::default(),
        target_ip: Ipv4Addr::new(10, 0, 0, 2),
    };
    let mut bytes = [0; arp::FRAME_LEN];
    let header = ethernet::Repr { dst: MacAddr::BROADCAST, src: ours.sender_mac, ethertype: ethernet::ethertype::ARP };
    header.emit(&mut ethernet::Packet::new_checked(&mut bytes[..]).unwrap());
    ours.emit(&mut bytes[ethernet::HEADER_LEN..]).unwrap();

    let frame = s::EthernetFrame::new_checked(&bytes[..]).unwrap();
    let s::ArpRepr::EthernetIpv4 { operation, source_protocol_addr, target_protocol_addr, .. } =
        s::ArpRepr::parse(&s::ArpPacket::new_checked(frame.payload()).unwrap()).unwrap()
    else {
        panic!("not ARP for IPv4 over Ethernet")
    };
    assert_eq!(operation, s::ArpOperation::Request);
    assert_eq!((source_protocol_addr, target_protocol_addr), (ours.sender_ip, ours.target_ip));

    let frame = p::ethernet::EthernetPacket::new(&bytes).unwrap();
    let arp = p::arp::ArpPacket::new(p::Packet::payload(&frame)).unwrap();
    assert_eq!((arp.get_sender_proto_addr(), arp.get_target_proto_addr()), (ours.sender_ip, ours.target_ip));
}
