//! Wide registers or none: the same becomes of every frame.

use natrig_nat::{Direction, MappingView, Nat, Profile, TICK_NS, Verdict};
use natrig_wire::Frame;

use crate::dice::Dice;
use crate::mutants;
use crate::packet;
use crate::random_input::config;

const BURST_MAX: u32 = 300;
const SLOT: usize = 2048;

#[derive(Debug, PartialEq)]
struct Fate {
    verdict: Verdict,
    bytes: Vec<u8>,
}

fn pass(nat: &mut Nat, dir: Direction, frames: &[Vec<u8>], now_ns: u64) -> Vec<Fate> {
    let mut slots: Vec<[u8; SLOT]> = vec![[0xee; SLOT]; frames.len()];
    let mut views: Vec<Frame<'_>> = slots
        .iter_mut()
        .zip(frames)
        .map(|(slot, frame)| {
            slot[..frame.len()].copy_from_slice(frame);
            Frame::new(slot, frame.len())
        })
        .collect();
    let mut verdicts: Vec<Verdict> =
        (0..frames.len()).map(|at| if at % 50 == 49 { Verdict::Skip } else { Verdict::Forward }).collect();
    nat.translate_burst(dir, &mut views, &mut verdicts, now_ns);
    views.iter().zip(verdicts).map(|(view, verdict)| Fate { verdict, bytes: view.bytes().to_vec() }).collect()
}

/// Datagrams of known flows for the most part; the others come from somebody who respects no format.
fn any_burst(dice: &mut Dice, dir: Direction, nat: &Nat, known: &[MappingView]) -> Vec<Vec<u8>> {
    let strangers = dice.pick(&[2, 10, 100]);
    let udp: Vec<&MappingView> = known.iter().filter(|view| view.protocol == packet::UDP).collect();
    (0..dice.below(BURST_MAX))
        .map(|_| {
            if udp.is_empty() || dice.one_in(strangers) {
                return loop {
                    if let (any_dir, frame) = mutants::any_frame(dice, &nat.config().outside, known)
                        && any_dir == dir
                    {
                        break frame;
                    }
                };
            }
            let view = udp[dice.below(udp.len() as u32) as usize];
            let (from, to) = match dir {
                Direction::Outbound => (view.inside, view.remote),
                Direction::Inbound => (view.remote, view.outside),
            };
            let mut datagram = packet::udp(from, to, &[7; 18]);
            datagram.ident = dice.below(65536) as u16;
            datagram.dont_fragment = dice.one_in(2);
            datagram.frame()
        })
        .collect()
}

#[test]
fn registers_make_no_difference() {
    let mut forwarded = 0;
    for name in Profile::names() {
        for seed in 0..6 {
            let config = config(name, seed);
            let mut wide = Nat::new(config.clone(), seed).unwrap();
            let mut narrow = Nat::new(config, seed).unwrap().without_wide_registers();
            let mut dice = Dice::new(seed ^ 0x1a9e5);
            let mut now_ns = TICK_NS;
            for number in 0..30 {
                let dir = if dice.one_in(2) { Direction::Outbound } else { Direction::Inbound };
                let known: Vec<MappingView> = wide.mappings().take(200).collect();
                let frames = any_burst(&mut dice, dir, &wide, &known);
                let fates = pass(&mut wide, dir, &frames, now_ns);
                assert_eq!(fates, pass(&mut narrow, dir, &frames, now_ns), "{name}, seed {seed}, burst {number}");
                assert!(wide.mappings().eq(narrow.mappings()), "{name}, seed {seed}, burst {number}");
                assert_eq!(wide.counters(), narrow.counters(), "{name}, seed {seed}, burst {number}");
                forwarded += fates.iter().filter(|fate| fate.verdict == Verdict::Forward).count();
                now_ns += dice.pick(&[0, 0, 1, 700, 30_000]) * TICK_NS;
            }
        }
    }
    // Else there were no flows to speak of.
    assert!(forwarded > 50_000, "{forwarded}");
}
