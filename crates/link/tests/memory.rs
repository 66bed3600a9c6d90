//! Links in memory under random bursts, in one thread and across two.

mod common;

use common::{Direction, bursts, cross, frame_bytes, play, script};
use natrig_link::fault::{Fault, FaultOptions};
use natrig_link::{BURST_MAX, FRAME_LEN_MAX, Link, memory};
use natrig_wire::Frame;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn nothing_is_lost_or_reordered(slots in 1usize..600, script in script(FRAME_LEN_MAX, 40)) {
        let (mut first, mut second) = memory::pair(slots, FRAME_LEN_MAX);
        let directions = play(&mut first, &mut second, &script);
        for direction in directions {
            prop_assert_eq!(direction.taken, direction.received);
        }
    }

    #[test]
    fn nothing_is_lost_on_the_way_to_another_thread(slots in 1usize..600, bursts in bursts(FRAME_LEN_MAX)) {
        let (mut first, mut second) = memory::pair(slots, FRAME_LEN_MAX);
        let [sent, received] = cross(&mut first, &mut second, &bursts);
        prop_assert_eq!((sent.taken, received.lost), (received.received, 0));
    }

    #[test]
    fn frames_too_long_are_counted(script in script(FRAME_LEN_MAX, 20)) {
        let (mut first, mut second) = memory::pair(1024, 190);
        let [forth, back] = play(&mut first, &mut second, &script);
        prop_assert_eq!(forth.taken - forth.received, first.stats().tx_refused);
        prop_assert_eq!(back.taken - back.received, second.stats().tx_refused);
    }
}

#[test]
fn frames_cross_threads_whole_and_in_order() {
    const FRAMES: u32 = 200_000;
    let (mut near, mut far) = memory::pair(512, 128);
    let sender = std::thread::spawn(move || {
        let mut number = 0;
        while number < FRAMES {
            let mut bytes: Vec<Vec<u8>> = (number..FRAMES.min(number + 100))
                .map(|number| frame_bytes(0, number, 60 + (number % 60) as usize))
                .collect();
            let frames: Vec<Frame<'_>> = bytes.iter_mut().map(|bytes| Frame::whole(bytes)).collect();
            let pick: Vec<u16> = (0..frames.len() as u16).collect();
            let taken = near.send(&frames, &pick).unwrap();
            number += taken as u32;
            if taken == 0 {
                std::thread::yield_now();
            }
        }
    });
    let mut next = 0;
    while next < FRAMES {
        let presented = far
            .recv(BURST_MAX, &mut |burst| {
                for frame in burst {
                    assert_eq!(common::check_frame(frame.bytes()), Some((0, next)));
                    next += 1;
                }
            })
            .unwrap();
        if presented == 0 {
            std::thread::yield_now();
        }
    }
    sender.join().unwrap();
}

#[test]
fn a_faulty_link_counts_what_it_takes_away() {
    let (mut first, second) = memory::pair(1024, FRAME_LEN_MAX);
    let mut second = Fault::new(second, FaultOptions { seed: 3, drop_ppm: 100_000, ..FaultOptions::default() });
    let mut forth = Direction::default();
    for len in 60..1000 {
        forth.send(&mut first, &[(0, len), (1, len), (2, len)]);
        forth.recv(&mut second, BURST_MAX);
    }
    assert_eq!(forth.taken, forth.offered);
    assert_eq!(forth.taken - forth.received, second.counters().dropped);
    assert!(second.counters().dropped > 100);
}
