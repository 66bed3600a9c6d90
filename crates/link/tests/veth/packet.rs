//! AF_PACKET links, with and without pnet.

use crate::common::{self, Direction};
use crate::netns::{in_fresh_namespace, offloads_off, send_partial_checksum, set_up, veth_pair};
use crate::property;
use natrig_link::packet::{Fanout, FanoutBy, PacketLink, PacketOptions, Reception};
use natrig_link::pnet::PnetLink;
use natrig_link::wait::{self, Woken};
use natrig_link::{BURST_MAX, FRAME_LEN_MAX, Link, LinkKind, LinkStats, OpenError, RecvError, SendError};
use natrig_wire::{Frame, ipv4, tcp};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

#[test]
fn packet_links_account_for_every_frame() {
    in_fresh_namespace("packet::packet_links_account_for_every_frame", || {
        let options = PacketOptions { rx_slots: 512, ..PacketOptions::default() };
        veth_pair("left", "right", 1);
        let open = |interface| PacketLink::open(interface, &options).unwrap();
        assert!(property(24, FRAME_LEN_MAX, || (open("left"), open("right"))) > 0, "no ring ever ran full");
    });
}

#[test]
fn packet_links_with_blocks_account_for_every_frame() {
    in_fresh_namespace("packet::packet_links_with_blocks_account_for_every_frame", || {
        veth_pair("left", "right", 1);
        let options = PacketOptions { rx_slots: 64, reception: Reception::Blocks, ..PacketOptions::default() };
        let open = |interface| PacketLink::open(interface, &options).unwrap();
        assert!(property(16, FRAME_LEN_MAX, || (open("left"), open("right"))) > 0, "no ring ever ran full");
    });
}

#[test]
fn packet_links_that_cut_merged_frames_account_for_every_frame() {
    in_fresh_namespace("packet::packet_links_that_cut_merged_frames_account_for_every_frame", || {
        veth_pair("left", "right", 1);
        let options = PacketOptions { rx_slots: 512, cut_merged: true, ..PacketOptions::default() };
        let open = |interface| PacketLink::open(interface, &options).unwrap();
        assert!(property(16, FRAME_LEN_MAX, || (open("left"), open("right"))) > 0, "no ring ever ran full");
    });
}

#[test]
fn frames_of_virtual_lans_keep_their_tags() {
    in_fresh_namespace("packet::frames_of_virtual_lans_keep_their_tags", || {
        veth_pair("left", "right", 1);
        for cut_merged in [false, true] {
            let options = PacketOptions { cut_merged, ..PacketOptions::default() };
            let [mut left, mut right] =
                ["left", "right"].map(|interface| PacketLink::open(interface, &options).unwrap());
            let mut tagged: Vec<u8> = (0..64).collect();
            tagged[0] = 2;
            tagged[12..18].copy_from_slice(&[0x81, 0, 0x20, 5, 0x08, 0]);
            let mut frame = tagged.clone();
            assert_eq!(left.send(&[Frame::new(&mut frame, 64)], &[0]).unwrap(), 1);
            let deadline = Instant::now() + Duration::from_secs(10);
            let mut seen = Vec::new();
            while seen.is_empty() && Instant::now() < deadline {
                right.recv(BURST_MAX, &mut |burst| seen.extend_from_slice(burst[0].bytes())).unwrap();
            }
            assert_eq!(seen, tagged);
        }
    });
}

#[test]
fn links_of_a_fanout_group_share_the_frames() {
    in_fresh_namespace("packet::links_of_a_fanout_group_share_the_frames", || {
        veth_pair("left", "right", 1);
        let mut left = PacketLink::open("left", &PacketOptions::default()).unwrap();
        let fanout = Some(Fanout { group: 7, by: FanoutBy::Processor });
        let options = PacketOptions { fanout, ..PacketOptions::default() };
        let mut right = [(); 2].map(|()| PacketLink::open("right", &options).unwrap());
        let mut forth = Direction::default();
        forth.send(&mut left, &[(0, 60); 100]);
        let mut back = Direction::default();
        back.send(&mut right[0], &[(1, 60); 10]);
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut received = 0;
        while received < 100 && Instant::now() < deadline {
            for link in &mut right {
                received += link.recv(BURST_MAX, &mut |_| {}).unwrap();
            }
        }
        assert_eq!(received, 100, "each frame at one of them, and none of their own");
    });
}

#[test]
fn packet_links_with_small_slots_count_long_frames() {
    in_fresh_namespace("packet::packet_links_with_small_slots_count_long_frames", || {
        let options = PacketOptions { rx_slots: 4096, ..PacketOptions::small_frames() };
        veth_pair("left", "right", 1);
        let open = |interface| PacketLink::open(interface, &options).unwrap();
        assert!(property(8, 250, || (open("left"), open("right"))) > 0, "no frame was too long");
    });
}

#[test]
fn pnet_links_account_for_every_frame() {
    in_fresh_namespace("packet::pnet_links_account_for_every_frame", || {
        veth_pair("left", "right", 1);
        let open = |interface| PnetLink::open(interface).unwrap();
        assert!(property(12, FRAME_LEN_MAX, || (open("left"), open("right"))) > 0, "no ring ever ran full");
    });
}

#[test]
fn a_full_packet_ring_loses_what_it_counts() {
    in_fresh_namespace("packet::a_full_packet_ring_loses_what_it_counts", || {
        veth_pair("left", "right", 1);
        let mut left = PacketLink::open("left", &PacketOptions::default()).unwrap();
        let options = PacketOptions { rx_slots: 256, ..PacketOptions::small_frames() };
        let mut right = PacketLink::open("right", &options).unwrap();
        assert_eq!((right.describe().slots, right.describe().slot_bytes), (256, 256));
        let mut forth = Direction::default();
        for _ in 0..10 {
            forth.send(&mut left, &[(0, 60); 100]);
        }
        assert_eq!(forth.taken, 1000);
        forth.drain(left.stats(), &mut right, LinkStats::default());
        assert_eq!(forth.received, 256);
        assert_eq!(right.stats().rx_overflow, 1000 - 256);
    });
}

#[test]
fn frames_longer_than_the_mtu_are_refused_and_counted() {
    in_fresh_namespace("packet::frames_longer_than_the_mtu_are_refused_and_counted", || {
        veth_pair("left", "right", 1);
        let mut packet = PacketLink::open("left", &PacketOptions::default()).unwrap();
        let mut pnet = PnetLink::open("left").unwrap();
        let mut right = PacketLink::open("right", &PacketOptions::default()).unwrap();
        for link in [&mut packet as &mut dyn Link, &mut pnet] {
            let mut forth = Direction::default();
            forth.send(link, &[(0, 60), (0, 1519), (0, 61), (0, 3000), (0, 1514)]);
            assert_eq!(forth.taken, 5);
            let before = right.stats();
            forth.drain(link.stats(), &mut right, before);
            assert_eq!(forth.received, 3);
            assert_eq!((link.stats().tx_frames, link.stats().tx_refused), (3, 2));
        }
    });
}

#[test]
fn a_sleeper_is_woken_by_a_frame() {
    in_fresh_namespace("packet::a_sleeper_is_woken_by_a_frame", || {
        veth_pair("left", "right", 1);
        let mut left = PacketLink::open("left", &PacketOptions::default()).unwrap();
        let mut right = PacketLink::open("right", &PacketOptions::default()).unwrap();
        let mut slow = PnetLink::open("right").unwrap();
        let asleep = wait::until_readable(&[&left, &right, &slow], Duration::from_millis(1)).unwrap();
        assert_eq!(asleep, Woken::TimedOut);
        let mut forth = Direction::default();
        let sender = std::thread::spawn(move || {
            forth.send(&mut left, &[(0, 60)]);
            (forth, left.stats())
        });
        let awake = wait::until_readable(&[&right, &slow], Duration::from_secs(60)).unwrap();
        assert_eq!(awake, Woken::Readable);
        let (mut forth, sent) = sender.join().unwrap();
        forth.drain(sent, &mut right, LinkStats::default());
        assert_eq!(slow.recv(BURST_MAX, &mut |_| {}).unwrap(), 1, "each socket gets its own copy");
    });
}

#[test]
fn an_interface_that_goes_down_is_an_error() {
    in_fresh_namespace("packet::an_interface_that_goes_down_is_an_error", || {
        veth_pair("left", "right", 1);
        let mut links: [Box<dyn Link>; 2] = [
            Box::new(PacketLink::open("left", &PacketOptions::default()).unwrap()),
            Box::new(PnetLink::open("left").unwrap()),
        ];
        set_up("left", false);
        for link in &mut links {
            let answers: Vec<_> = (0..10_000).map(|_| link.recv(BURST_MAX, &mut |_| {})).collect();
            assert!(answers.iter().any(|answer| matches!(answer, Err(RecvError::Down))), "{:?}", link.describe());
            let mut bytes = common::frame_bytes(0, 0, 60);
            let frames = [Frame::new(&mut bytes, 60)];
            let answer = link.send(&frames, &[0]);
            assert!(matches!(answer, Err(SendError::Down)), "{answer:?} {:?}", link.describe());
        }
    });
}

#[test]
fn an_interface_that_is_not_there_is_named() {
    in_fresh_namespace("packet::an_interface_that_is_not_there_is_named", || {
        let error = PacketLink::open("nowhere", &PacketOptions::default()).unwrap_err();
        assert!(matches!(&error, OpenError::NoSuchInterface { interface } if interface == "nowhere"), "{error}");
        natrig_link::available(LinkKind::Packet).unwrap();
        assert!(PnetLink::open("with\0nul").unwrap_err().to_string().contains("no such interface"));
    });
}

/// UDP 10.0.0.1:1024 -> 10.0.0.2:53 "abc", padded, its checksum left as the pseudo-header's sum, as a stack leaves it to a card.
const PARTIAL_UDP: [u8; 60] = {
    let mut frame = [0; 60];
    let head = [
        2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, // Ethernet
        0x45, 0, 0, 31, 0, 0, 0x40, 0, 64, 17, 0x26, 0xcc, 10, 0, 0, 1, 10, 0, 0, 2, // IPv4
        4, 0, 0, 53, 0, 11, 0x14, 0x1f, b'a', b'b', b'c', // UDP
    ];
    let mut at = 0;
    while at < head.len() {
        frame[at] = head[at];
        at += 1;
    }
    frame
};

#[test]
fn partial_checksums_are_completed_if_asked() {
    in_fresh_namespace("packet::partial_checksums_are_completed_if_asked", || {
        veth_pair("left", "right", 1);
        let completing = PacketOptions { complete_checksums: true, ..PacketOptions::small_frames() };
        let in_blocks = PacketOptions { reception: Reception::Blocks, ..completing };
        let mut completing = PacketLink::open("right", &completing).unwrap();
        let mut in_blocks = PacketLink::open("right", &in_blocks).unwrap();
        let mut plain = PacketLink::open("right", &PacketOptions::small_frames()).unwrap();
        send_partial_checksum("left", &PARTIAL_UDP);
        let received = |link: &mut PacketLink| {
            let mut bytes: Vec<u8> = Vec::new();
            wait::until_readable(&[&*link], Duration::from_secs(10)).unwrap();
            link.recv(BURST_MAX, &mut |burst| bytes.extend(burst[0].bytes())).unwrap();
            bytes
        };
        assert_eq!(received(&mut plain), PARTIAL_UDP);
        let mut expected = PARTIAL_UDP;
        // Over 141f (pseudo-header), 0400 0035 000b 6162 6300: dcc1.
        expected[40..42].copy_from_slice(&(!0xdcc1u16).to_be_bytes());
        assert_eq!(received(&mut completing), expected);
        assert_eq!(received(&mut in_blocks), expected);
    });
}

/// The first segments of a connection, 1448 bytes each.
fn segments(count: u16) -> Vec<Vec<u8>> {
    let (src, dst) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
    let one = |number: u16| {
        let mut frame = vec![number as u8; 14 + 20 + 20 + 1448];
        frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
        let ip = ipv4::Repr { src, dst, protocol: 6, ttl: 64, ident: number, dont_fragment: true, payload_len: 1468 };
        let tcp =
            tcp::Repr { src_port: 1, dst_port: 2, seq: u32::from(number) * 1448, ack: 5, flags: 0x10, window: 99 };
        tcp.emit(&mut frame[34..]).unwrap();
        tcp::Packet::new_checked(&mut frame[34..]).unwrap().fill_checksum(src, dst);
        ip.emit(&mut frame[14..]).unwrap();
        frame
    };
    (0..count).map(one).collect()
}

#[test]
fn what_was_cut_leaves_as_one() {
    in_fresh_namespace("packet::what_was_cut_leaves_as_one", || {
        veth_pair("left", "right", 1);
        // As many as an IPv4 packet holds, and the others.
        what_was_cut_leaves_as(2);
        offloads_off("left");
        what_was_cut_leaves_as(60);
    });
}

/// Sixty segments by so many frames.
fn what_was_cut_leaves_as(frames_seen: u64) {
    let merging = PacketOptions { cut_merged: true, complete_checksums: true, ..PacketOptions::default() };
    let mut left = PacketLink::open("left", &merging).unwrap();
    let mut cutting = PacketLink::open("right", &merging).unwrap();
    let mut plain = PacketLink::open("right", &PacketOptions::default()).unwrap();
    let sent = segments(60);
    let mut copies = sent.clone();
    let frames: Vec<Frame<'_>> = copies.iter_mut().map(|bytes| Frame::whole(bytes)).collect();
    assert_eq!(left.send(&frames, &(0..60).collect::<Vec<u16>>()).unwrap(), 60);
    assert_eq!((left.stats().tx_frames, left.stats().tx_bytes), (60, 60 * 1502));
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut seen: Vec<Vec<u8>> = Vec::new();
    while seen.len() < 60 && Instant::now() < deadline {
        cutting.recv(BURST_MAX, &mut |burst| seen.extend(burst.iter().map(|frame| frame.bytes().to_vec()))).unwrap();
    }
    assert_eq!(seen.len(), 60);
    plain.recv(BURST_MAX, &mut |_| {}).unwrap();
    let stats = plain.stats();
    assert_eq!(stats.rx_frames + stats.rx_truncated, frames_seen, "{stats:?}");
    assert!(sent == seen, "each as it was");
}
