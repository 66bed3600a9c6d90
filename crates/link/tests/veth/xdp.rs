//! AF_XDP links.

use crate::common::Direction;
use crate::netns::{in_fresh_namespace_as_root, in_user_namespace, set_up, veth_pair};
use crate::property;
use natrig_link::packet::{PacketLink, PacketOptions};
use natrig_link::wait::{self, Woken};
use natrig_link::xdp::{self, XdpLink, XdpOptions};
use natrig_link::{BURST_MAX, FRAME_LEN_MAX, Link, LinkStats, OpenError, RecvError, SendError};
use natrig_wire::Frame;
use std::time::{Duration, Instant};

fn small_rings() -> XdpOptions {
    XdpOptions { rx_slots: 512, tx_slots: 256, ..XdpOptions::default() }
}

fn open_one(interface: &str) -> XdpLink {
    xdp::open(&[interface], &small_rings()).unwrap().remove(0).remove(0)
}

#[test]
fn xdp_links_account_for_every_frame() {
    in_fresh_namespace_as_root("xdp::xdp_links_account_for_every_frame", || {
        veth_pair("left", "right", 1);
        let lost = property(16, FRAME_LEN_MAX, || {
            let mut links = xdp::open(&["left", "right"], &small_rings()).unwrap();
            let right = links.remove(1).remove(0);
            (links.remove(0).remove(0), right)
        });
        assert!(lost > 0, "no ring ever ran full");
    });
}

#[test]
fn xdp_and_packet_links_understand_each_other() {
    in_fresh_namespace_as_root("xdp::xdp_and_packet_links_understand_each_other", || {
        veth_pair("left", "right", 1);
        let lost = property(8, FRAME_LEN_MAX, || {
            (open_one("left"), PacketLink::open("right", &PacketOptions::default()).unwrap())
        });
        assert!(lost > 0, "no ring ever ran full");
    });
}

#[test]
fn queues_are_dealt_out_to_links() {
    in_fresh_namespace_as_root("xdp::queues_are_dealt_out_to_links", || {
        veth_pair("left", "right", 3);
        let three = XdpOptions { links_per_interface: 3, ..small_rings() };
        let two = XdpOptions { links_per_interface: 2, ..small_rings() };
        let mut left = xdp::open(&["left"], &three).unwrap().remove(0);
        let mut right = xdp::open(&["right"], &two).unwrap().remove(0);
        assert_eq!(right.iter().map(|link| link.describe().slots).collect::<Vec<_>>(), [1024, 512]);
        for link in &mut left {
            let mut forth = Direction::default();
            forth.send(link, &[(0, 100); 200]);
            assert_eq!(forth.taken, 200);
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut received = [0; 2];
        while received.iter().sum::<usize>() < 600 && Instant::now() < deadline {
            wait::until_readable(&[&right[0], &right[1]], Duration::from_secs(1)).unwrap();
            for (link, received) in right.iter_mut().zip(&mut received) {
                *received += link.recv(BURST_MAX, &mut |_| {}).unwrap();
            }
        }
        // The queue that sends is the queue that receives.
        assert_eq!(received, [400, 200]);
    });
}

#[test]
fn a_stage_forwards_from_the_chunk_of_arrival() {
    in_fresh_namespace_as_root("xdp::a_stage_forwards_from_the_chunk_of_arrival", || {
        veth_pair("pods", "inside", 1);
        veth_pair("outside", "internet", 1);
        let mut generator = PacketLink::open("pods", &PacketOptions::default()).unwrap();
        // More frames than chunks, so that each chunk goes back and forth between the links several times.
        let mut stage = xdp::open(&["inside", "outside"], &small_rings()).unwrap();
        let mut outside = stage.remove(1).remove(0);
        let mut inside = stage.remove(0).remove(0);
        let mut sink = open_one("internet");
        let mut forth = Direction::default();
        for round in 0..4 {
            let lengths: Vec<(u8, usize)> = (60..=FRAME_LEN_MAX).map(|len| ((len % 4) as u8, len)).collect();
            for burst in lengths.chunks(100 + round) {
                forth.send(&mut generator, burst);
                let sent = generator.stats().tx_frames;
                let deadline = Instant::now() + Duration::from_secs(10);
                while outside.stats().tx_frames < sent {
                    assert!(Instant::now() < deadline, "{:?} {:?}", inside.stats(), outside.stats());
                    inside
                        .recv(BURST_MAX, &mut |frames| {
                            let pick: Vec<u16> = (0..frames.len() as u16).collect();
                            assert_eq!(outside.send(frames, &pick).unwrap(), pick.len());
                        })
                        .unwrap();
                }
                while forth.received < sent {
                    assert!(Instant::now() < deadline, "{:?}", sink.stats());
                    forth.recv(&mut sink, BURST_MAX);
                }
            }
        }
        assert_eq!(forth.received, 4 * (FRAME_LEN_MAX as u64 - 59));
        assert_eq!(inside.stats().rx_overflow + sink.stats().rx_overflow, 0);
    });
}

#[test]
fn a_frame_picked_twice_is_sent_twice() {
    in_fresh_namespace_as_root("xdp::a_frame_picked_twice_is_sent_twice", || {
        veth_pair("pods", "inside", 1);
        veth_pair("outside", "internet", 1);
        let mut generator = PacketLink::open("pods", &PacketOptions::default()).unwrap();
        let mut stage = xdp::open(&["inside", "outside"], &small_rings()).unwrap();
        let mut outside = stage.remove(1).remove(0);
        let mut inside = stage.remove(0).remove(0);
        let mut sink = open_one("internet");
        let mut forth = Direction::default();
        forth.send(&mut generator, &[(0, 77)]);
        let deadline = Instant::now() + Duration::from_secs(10);
        while inside.recv(1, &mut |frames| assert_eq!(outside.send(frames, &[0, 0, 0]).unwrap(), 3)).unwrap() == 0 {
            assert!(Instant::now() < deadline);
        }
        let mut copies = 0;
        while copies < 3 && Instant::now() < deadline {
            sink.recv(BURST_MAX, &mut |frames| {
                for frame in frames {
                    assert_eq!(crate::common::check_frame(frame.bytes()), Some((0, 0)));
                    copies += 1;
                }
            })
            .unwrap();
        }
        assert_eq!(copies, 3);
    });
}

#[test]
fn frames_longer_than_the_mtu_are_refused() {
    in_fresh_namespace_as_root("xdp::frames_longer_than_the_mtu_are_refused", || {
        veth_pair("left", "right", 1);
        let mut left = open_one("left");
        let mut right = PacketLink::open("right", &PacketOptions::default()).unwrap();
        let mut forth = Direction::default();
        forth.send(&mut left, &[(0, 1515), (0, 60), (1, 3000), (1, 1514)]);
        assert_eq!((left.stats().tx_frames, left.stats().tx_refused), (2, 2));
        forth.drain(left.stats(), &mut right, LinkStats::default());
        assert!(matches!(
            xdp::open(&["left"], &XdpOptions { frame_len_max: 4000, ..small_rings() }),
            Err(OpenError::Options { .. })
        ));
    });
}

#[test]
fn a_sleeper_is_woken() {
    in_fresh_namespace_as_root("xdp::a_sleeper_is_woken", || {
        veth_pair("left", "right", 1);
        let mut left = open_one("left");
        let mut right = open_one("right");
        assert_eq!(wait::until_readable(&[&right], Duration::from_millis(1)).unwrap(), Woken::TimedOut);
        let sender = std::thread::spawn(move || {
            let mut forth = Direction::default();
            forth.send(&mut left, &[(0, 60)]);
            (forth, left)
        });
        assert_eq!(wait::until_readable(&[&right], Duration::from_secs(60)).unwrap(), Woken::Readable);
        let (mut forth, mut left) = sender.join().unwrap();
        forth.drain(left.stats(), &mut right, LinkStats::default());
    });
}

#[test]
fn a_second_start_right_after_the_first_works() {
    in_fresh_namespace_as_root("xdp::a_second_start_right_after_the_first_works", || {
        veth_pair("left", "right", 1);
        for _ in 0..5 {
            let mut links = xdp::open(&["left", "right"], &small_rings()).unwrap();
            let mut right = links.remove(1).remove(0);
            let mut left = links.remove(0).remove(0);
            let mut forth = Direction::default();
            forth.send(&mut left, &[(0, 60); 50]);
            forth.drain(left.stats(), &mut right, LinkStats::default());
            assert_eq!(forth.received, 50);
        }
        let _first = open_one("left");
        let refused = xdp::open(&["left"], &small_rings()).unwrap_err();
        assert!(matches!(refused, OpenError::System { .. }), "{refused}");
    });
}

#[test]
fn an_interface_that_goes_down_is_an_error() {
    in_fresh_namespace_as_root("xdp::an_interface_that_goes_down_is_an_error", || {
        veth_pair("left", "right", 1);
        let mut link = open_one("left");
        set_up("left", false);
        let answers: Vec<_> = (0..10_000).map(|_| link.recv(BURST_MAX, &mut |_| {})).collect();
        assert!(answers.iter().any(|answer| matches!(answer, Err(RecvError::Down))));
        let mut bytes = crate::common::frame_bytes(0, 0, 60);
        let frames = [Frame::new(&mut bytes, 60)];
        let answers = [link.send(&frames, &[0]), link.send(&frames, &[0])];
        assert!(answers.iter().any(|answer| matches!(answer, Err(SendError::Down))), "{answers:?}");
    });
}

#[test]
fn without_privileges_the_reason_is_named() {
    in_user_namespace("xdp::without_privileges_the_reason_is_named", || {
        let refused = xdp::available().unwrap_err();
        assert!(matches!(refused, OpenError::NotPermitted { .. }), "{refused}");
    });
    in_fresh_namespace_as_root("xdp::without_privileges_the_reason_is_named", || xdp::available().unwrap());
}
