//! Links over rings in mapped BPF arrays.

use crate::common::Direction;
use crate::netns::{in_fresh_namespace_as_root, in_user_namespace, set_mtu, set_up, veth_pair};
use crate::property;
use arrayvec::ArrayVec;
use natrig_link::packet::{PacketLink, PacketOptions};
use natrig_link::ring::{self, RingLink, RingOptions};
use natrig_link::{BURST_MAX, FRAME_LEN_MAX, Link, LinkStats, OpenError, RecvError, affinity, clock};
use natrig_wire::Frame;
use std::time::{Duration, Instant};

fn small_rings() -> RingOptions {
    RingOptions { rx_slots: 512, ..RingOptions::default() }
}

fn open_one(interface: &str, options: &RingOptions) -> RingLink {
    ring::open(&[interface], options).unwrap().remove(0).remove(0)
}

#[test]
fn ring_links_account_for_every_frame() {
    in_fresh_namespace_as_root("ring::ring_links_account_for_every_frame", || {
        veth_pair("left", "right", 1);
        let lost = property(24, FRAME_LEN_MAX, || {
            let mut links = ring::open(&["left", "right"], &small_rings()).unwrap();
            let right = links.remove(1).remove(0);
            (links.remove(0).remove(0), right)
        });
        assert!(lost > 0, "no ring ever ran full");
    });
}

#[test]
fn ring_links_of_two_arenas_account_for_every_frame() {
    in_fresh_namespace_as_root("ring::ring_links_of_two_arenas_account_for_every_frame", || {
        veth_pair("left", "right", 1);
        let lost = property(12, 240, || {
            let options = RingOptions { rx_slots: 300, ..RingOptions::small_frames() };
            (open_one("left", &options), open_one("right", &options))
        });
        assert!(lost > 0, "no ring ever ran full");
    });
}

#[test]
fn where_nobody_takes_live_frames_others_are_sent() {
    in_fresh_namespace_as_root("ring::where_nobody_takes_live_frames_others_are_sent", || {
        veth_pair("left", "right", 1);
        let mut left = open_one("left", &small_rings());
        // A packet socket needs no NAPI, and so there is none.
        let mut right = PacketLink::open("right", &PacketOptions::default()).unwrap();
        let mut lost = Direction::default();
        lost.send(&mut left, &[(0, 100); 50]);
        assert_eq!((lost.taken, left.stats().tx_refused), (50, 50));
        let mut forth = Direction::default();
        forth.send(&mut left, &[(0, 100); 200]);
        assert_eq!((forth.taken, left.stats().tx_refused), (200, 50));
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut received = 0;
        while received < 200 && Instant::now() < deadline {
            received += right.recv(BURST_MAX, &mut |_| {}).unwrap();
        }
        assert_eq!(received, 200);
    });
}

#[test]
fn queues_are_dealt_out_to_links() {
    in_fresh_namespace_as_root("ring::queues_are_dealt_out_to_links", || {
        veth_pair("left", "right", 3);
        let mut left = open_one("left", &small_rings());
        let options = RingOptions { links_per_interface: 2, ..small_rings() };
        let mut right = ring::open(&["right"], &options).unwrap().remove(0);
        assert_eq!(right.iter().map(|link| link.describe().slots).collect::<Vec<_>>(), [1024, 512]);
        // The kernel chooses the queue by the processor that sends.
        let mut sent = 0;
        for core in affinity::allowed_cores().unwrap() {
            affinity::pin_current_thread(core).unwrap();
            let mut forth = Direction::default();
            forth.send(&mut left, &[(0, 100); 200]);
            assert_eq!(forth.taken, 200);
            sent += forth.taken;
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut received = 0;
        while received < sent && Instant::now() < deadline {
            for link in &mut right {
                received += link.recv(BURST_MAX, &mut |_| {}).unwrap() as u64;
            }
        }
        assert_eq!(received, sent);
    });
}

/// What has arrived once there are `count` frames.
fn collect(link: &mut RingLink, count: usize) -> Vec<Vec<u8>> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut arrived = Vec::new();
    while arrived.len() < count && Instant::now() < deadline {
        link.recv(BURST_MAX, &mut |frames| arrived.extend(frames.iter().map(|frame| frame.bytes().to_vec()))).unwrap();
    }
    arrived
}

#[test]
fn frames_made_in_lent_slots_arrive_as_they_were_made() {
    const DIFFER: usize = 60;
    in_fresh_namespace_as_root("ring::frames_made_in_lent_slots_arrive_as_they_were_made", || {
        veth_pair("left", "right", 1);
        let (mut left, mut right) = (open_one("left", &small_rings()), open_one("right", &small_rings()));
        let mut loan = left.lend().unwrap();
        assert!(left.lend().is_none(), "nobody else may write there meanwhile");
        let pick: Vec<u16> = (0..BURST_MAX as u16).collect();
        let mut number = 0u8;
        // Whole frames first, then only what differs; by sendmmsg and live; and others of another length in between.
        for (len, count) in [(1514, 300), (1514, 5), (1514, 300), (700, 40), (1514, 300)] {
            let (mut made, mut frames): (Vec<Vec<u8>>, _) = (Vec::new(), ArrayVec::new());
            loan.places(count, &mut frames);
            for frame in &mut frames {
                number = number.wrapping_add(1);
                frame.resize(len);
                let place = frame.bytes_mut();
                place[..len].iter_mut().enumerate().skip(DIFFER).for_each(|(at, byte)| *byte = (at * len) as u8);
                place[..DIFFER].fill(number);
                made.push(place[..len].to_vec());
            }
            assert_eq!(left.send_alike(&frames, &pick[..count], DIFFER).unwrap(), count);
            assert_eq!(collect(&mut right, count), made);
        }
        // What comes from elsewhere is not taken for alike.
        let mut others: Vec<Vec<u8>> = (0..100u8).map(|number| vec![number; 1514]).collect();
        let made = others.clone();
        let frames: Vec<Frame<'_>> = others.iter_mut().map(|bytes| Frame::new(bytes, 1514)).collect();
        assert_eq!(left.send(&frames, &pick[..100]).unwrap(), 100);
        assert_eq!(collect(&mut right, 100), made);
        drop(loan);
        assert!(left.lend().is_some());
    });
}

#[test]
fn timed_frames_leave_at_their_time_and_not_before() {
    const COUNT: usize = 200;
    const GAP_NS: u64 = 5_000;
    in_fresh_namespace_as_root("ring::timed_frames_leave_at_their_time_and_not_before", || {
        veth_pair("left", "right", 1);
        let (mut left, mut right) = (open_one("left", &small_rings()), open_one("right", &small_rings()));
        assert!(left.waits_ns() > GAP_NS);
        assert_eq!(PacketLink::open("left", &PacketOptions::default()).unwrap().waits_ns(), 0, "it cannot wait");
        let mut made: Vec<Vec<u8>> = (0..COUNT).map(|number| vec![number as u8; 100]).collect();
        let pick: Vec<u16> = (0..COUNT as u16).collect();
        let receiver = std::thread::spawn(move || {
            let (mut arrived, deadline) = (Vec::new(), Instant::now() + Duration::from_secs(10));
            while arrived.len() < COUNT && Instant::now() < deadline {
                let at_ns = &mut |frames: &mut [Frame<'_>]| {
                    let now_ns = clock::now_ns();
                    arrived.extend(frames.iter().map(|frame| (frame.bytes()[20], now_ns)));
                };
                right.recv(BURST_MAX, at_ns).unwrap();
            }
            arrived
        });
        let frames: Vec<Frame<'_>> = made.iter_mut().map(|bytes| Frame::new(bytes, 100)).collect();
        let first_ns = clock::now_ns() + GAP_NS;
        let wanted_ns: Vec<u64> = (0..COUNT as u64).map(|nth| first_ns + nth * GAP_NS).collect();
        let mut left_ns = wanted_ns.clone();
        assert_eq!(left.send_timed(&frames, &pick, 60, &mut left_ns).unwrap(), COUNT);
        let arrived = receiver.join().unwrap();
        assert_eq!(arrived.len(), COUNT, "{:?}", left.stats());
        for (nth, ((number, arrived_ns), (wanted_ns, left_ns))) in
            arrived.into_iter().zip(wanted_ns.into_iter().zip(&left_ns)).enumerate()
        {
            assert_eq!(usize::from(number), nth);
            assert!(arrived_ns >= wanted_ns, "frame {nth} was there {} ns before its time", wanted_ns - arrived_ns);
            assert!(*left_ns >= wanted_ns, "frame {nth} is said to have left before its time");
        }
        assert!(left_ns.is_sorted());
    });
}

#[test]
fn a_frame_whose_time_is_too_far_off_is_lost_and_counted() {
    in_fresh_namespace_as_root("ring::a_frame_whose_time_is_too_far_off_is_lost_and_counted", || {
        veth_pair("left", "right", 1);
        let (mut left, mut right) = (open_one("left", &small_rings()), open_one("right", &small_rings()));
        let mut made = [[0u8; 100], [1u8; 100], [2u8; 100]];
        let frames: Vec<Frame<'_>> = made.iter_mut().map(|bytes| Frame::new(bytes, 100)).collect();
        let far_ns = clock::now_ns() + 600_000_000_000;
        assert_eq!(left.send_timed(&frames, &[0, 1, 2], 100, &mut [0, far_ns, 0]).unwrap(), 3);
        let arrived = collect(&mut right, 2);
        assert_eq!(arrived.iter().map(|frame| frame[99]).collect::<Vec<_>>(), [0, 2]);
        assert_eq!((left.stats().tx_frames, left.stats().tx_refused), (2, 1));
    });
}

#[test]
fn of_long_frames_one_in_64_is_whole() {
    in_fresh_namespace_as_root("ring::of_long_frames_one_in_64_is_whole", || {
        veth_pair("left", "right", 1);
        let mut left = open_one("left", &small_rings());
        let mut right = open_one("right", &RingOptions { head_bytes: Some(176), ..small_rings() });
        let pick: Vec<u16> = (0..128).collect();
        for (len, cut) in [(1514, 126), (177, 126), (176, 0), (60, 0)] {
            let before = right.stats().rx_bytes;
            let mut sent: Vec<Vec<u8>> = (0..128u8).map(|number| vec![number; len]).collect();
            let frames: Vec<Frame<'_>> = sent.iter_mut().map(|bytes| Frame::new(bytes, len)).collect();
            assert_eq!(left.send(&frames, &pick).unwrap(), 128);
            let arrived = collect(&mut right, 128);
            assert!(arrived.iter().zip(&sent).all(|(arrived, sent)| sent.starts_with(arrived)));
            assert_eq!(arrived.iter().filter(|frame| frame.len() < len).count(), cut, "{len}");
            assert!(arrived.iter().all(|frame| frame.len() == len || frame.len() == 176));
            assert_eq!(right.stats().rx_bytes - before, 128 * len as u64);
        }
    });
}

#[test]
fn a_stage_forwards_from_the_slot_of_arrival() {
    in_fresh_namespace_as_root("ring::a_stage_forwards_from_the_slot_of_arrival", || {
        veth_pair("pods", "inside", 1);
        veth_pair("outside", "internet", 1);
        let mut generator = PacketLink::open("pods", &PacketOptions::default()).unwrap();
        let mut stage = ring::open(&["inside", "outside"], &small_rings()).unwrap();
        let mut outside = stage.remove(1).remove(0);
        let mut inside = stage.remove(0).remove(0);
        let mut sink = open_one("internet", &small_rings());
        let mut forth = Direction::default();
        let lengths: Vec<(u8, usize)> = (60..=FRAME_LEN_MAX).map(|len| ((len % 4) as u8, len)).collect();
        for burst in lengths.chunks(200) {
            forth.send(&mut generator, burst);
            let sent = generator.stats().tx_frames;
            let deadline = Instant::now() + Duration::from_secs(10);
            while outside.stats().tx_frames < sent {
                assert!(Instant::now() < deadline, "{:?}", inside.stats());
                inside
                    .recv(BURST_MAX, &mut |frames| {
                        // Every other one first, to see that the slots that are picked are sent and no others.
                        let (even, odd): (Vec<u16>, Vec<u16>) =
                            (0..frames.len() as u16).partition(|at| frames[usize::from(*at)].bytes()[14] % 2 == 0);
                        assert_eq!(outside.send(frames, &even).unwrap(), even.len());
                        assert_eq!(outside.send(frames, &odd).unwrap(), odd.len());
                    })
                    .unwrap();
            }
            while forth.received < sent {
                assert!(Instant::now() < deadline, "{:?}", sink.stats());
                forth.recv(&mut sink, BURST_MAX);
            }
        }
        assert_eq!(forth.received, lengths.len() as u64);
    });
}

#[test]
fn live_frames_that_nobody_receives_are_counted() {
    in_fresh_namespace_as_root("ring::live_frames_that_nobody_receives_are_counted", || {
        veth_pair("left", "right", 1);
        let mut left = open_one("left", &small_rings());
        // Without an XDP program or receive offload the peer has no NAPI, and the driver takes no live frame.
        let mut right = PacketLink::open("right", &PacketOptions::default()).unwrap();
        let mut forth = Direction::default();
        forth.send(&mut left, &[(0, 60); 100]);
        assert_eq!(forth.taken, 100);
        let stats = left.stats();
        assert_eq!((stats.tx_frames, stats.tx_refused), (0, 100));
        forth.send(&mut left, &[(0, 60); 5]);
        assert_eq!(left.stats().tx_frames, 5, "a small burst takes the other way");
        forth.drain(left.stats(), &mut right, LinkStats::default());
    });
}

#[test]
fn frames_that_do_not_fit_are_refused_and_counted() {
    in_fresh_namespace_as_root("ring::frames_that_do_not_fit_are_refused_and_counted", || {
        veth_pair("left", "right", 1);
        let options = RingOptions { live_frames_min: 0, ..RingOptions::small_frames() };
        let mut links = ring::open(&["left", "right"], &options).unwrap();
        let mut right = links.remove(1).remove(0);
        let mut left = links.remove(0).remove(0);
        let mut forth = Direction::default();
        forth.send(&mut left, &[(0, 241), (0, 60), (0, 240), (0, 1000), (1, 99)]);
        assert_eq!(forth.taken, 5);
        assert_eq!((left.stats().tx_frames, left.stats().tx_refused), (3, 2));
        forth.drain(left.stats(), &mut right, LinkStats::default());
        let mut long = PacketLink::open("left", &PacketOptions::default()).unwrap();
        let before = right.stats();
        forth.received = 0;
        forth.send(&mut long, &[(0, 241), (0, 1514), (2, 60)]);
        forth.drain(long.stats(), &mut right, before);
        assert_eq!(right.stats().rx_truncated, 2);
    });
}

#[test]
fn jumbo_frames_get_huge_slots() {
    in_fresh_namespace_as_root("ring::jumbo_frames_get_huge_slots", || {
        veth_pair("left", "right", 1);
        set_mtu("left", 3300);
        set_mtu("right", 3300);
        let options = RingOptions { frame_len_max: 3314, live_frames_min: 0, ..small_rings() };
        let mut links = ring::open(&["left", "right"], &options).unwrap();
        let mut right = links.remove(1).remove(0);
        let mut left = links.remove(0).remove(0);
        let mut forth = Direction::default();
        forth.send(&mut left, &[(0, 3314), (0, 60), (0, 2500), (0, 3315)]);
        assert_eq!((left.stats().tx_frames, left.stats().tx_refused), (3, 1));
        forth.drain(left.stats(), &mut right, LinkStats::default());
        let too_long = RingOptions { frame_len_max: 4000, ..small_rings() };
        assert!(matches!(ring::open(&["left"], &too_long), Err(OpenError::Options { .. })));
    });
}

#[test]
fn a_second_start_right_after_the_first_works() {
    in_fresh_namespace_as_root("ring::a_second_start_right_after_the_first_works", || {
        veth_pair("left", "right", 1);
        for _ in 0..5 {
            let mut links = ring::open(&["left", "right"], &small_rings()).unwrap();
            let mut right = links.remove(1).remove(0);
            let mut left = links.remove(0).remove(0);
            let mut forth = Direction::default();
            forth.send(&mut left, &[(0, 60); 50]);
            forth.drain(left.stats(), &mut right, LinkStats::default());
            assert_eq!(forth.received, 50);
        }
        let _first = open_one("left", &small_rings());
        let refused = ring::open(&["left"], &small_rings()).unwrap_err();
        assert!(refused.to_string().contains("attach"), "{refused}");
    });
}

#[test]
fn a_ring_link_tells_that_its_interface_is_down() {
    in_fresh_namespace_as_root("ring::a_ring_link_tells_that_its_interface_is_down", || {
        veth_pair("left", "right", 1);
        let mut link = open_one("left", &small_rings());
        set_up("left", false);
        let answers: Vec<_> = (0..10_000).map(|_| link.recv(BURST_MAX, &mut |_| {})).collect();
        assert!(answers.iter().any(|answer| matches!(answer, Err(RecvError::Down))));
    });
}

#[test]
fn without_privileges_the_reason_is_named() {
    in_user_namespace("ring::without_privileges_the_reason_is_named", || {
        let refused = ring::available().unwrap_err();
        assert!(matches!(refused, OpenError::NotPermitted { .. }), "{refused}");
        assert!(refused.to_string().contains("CAP_BPF"), "{refused}");
    });
    in_fresh_namespace_as_root("ring::without_privileges_the_reason_is_named", || ring::available().unwrap());
}
