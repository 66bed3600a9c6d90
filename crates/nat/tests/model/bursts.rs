//! Frames in bursts fare as they do one at a time.

use natrig_nat::{Config, Direction, TICK_NS, Verdict};
use natrig_wire::Frame;

use crate::dice::Dice;
use crate::ops::{self, Op};
use crate::reference::Row;
use crate::rig::Rig;

/// More than one batch of the ordinary path.
const BURST_MAX: usize = 140;
const SLOT: usize = 2048;

/// Two translators of one seed, one fed in bursts, the other frame by frame.
pub(crate) fn compare(name: &str, config: &Config, seed: u64, bursts: usize) {
    let mut dice = Dice::new(seed);
    // A collector that is asked for comes before the next burst: for one of the two that is the next frame.
    let mut config = config.clone();
    config.behaviour.ports.pressure_signal = false;
    let config = &config;
    let mut single = Rig::new(config.clone(), seed);
    let mut burst = Rig::new(config.clone(), seed);
    for number in 0..bursts {
        let rows = rows(&single);
        let (dir, frames) = any_burst(&mut dice, config, &rows);
        let alone: Vec<(Verdict, Vec<u8>)> = frames.iter().map(|frame| visible(single.pass(dir, frame))).collect();
        let together = pass_burst(&mut burst, dir, &frames);
        for (at, (alone, together)) in alone.iter().zip(&together).enumerate() {
            assert_eq!(alone, together, "{name}, seed {seed}, burst {number}, frame {at} of {} {dir:?}", frames.len());
        }
        assert_eq!(rows_of(&single), rows_of(&burst), "{name}, seed {seed}, burst {number}");
        assert_eq!(single.nat.counters(), burst.nat.counters(), "{name}, seed {seed}, burst {number}");
        for dir in [Direction::Outbound, Direction::Inbound] {
            while let Some(released) = single.release_one(dir) {
                assert_eq!(Some(released), burst.release_one(dir), "{name}, seed {seed}, burst {number}");
            }
        }
        let Op::Wait { ticks } = any_wait(&mut dice, config) else { continue };
        for rig in [&mut single, &mut burst] {
            rig.now_ns += ticks * TICK_NS;
            rig.nat.expire(rig.now_ns);
        }
    }
}

fn any_wait(dice: &mut Dice, config: &Config) -> Op {
    loop {
        if let wait @ Op::Wait { .. } = ops::any_op(dice, &config.behaviour) {
            return wait;
        }
    }
}

/// Frames of one direction; those of known flows often come in runs.
fn any_burst(dice: &mut Dice, config: &Config, rows: &[Row]) -> (Direction, Vec<Vec<u8>>) {
    let dir = if dice.one_in(2) { Direction::Outbound } else { Direction::Inbound };
    let len = 1 + dice.below(BURST_MAX as u32) as usize;
    let mut frames = Vec::new();
    while frames.len() < len {
        let op = ops::any_op(dice, &config.behaviour);
        if let Some((_, packet)) = ops::packet_of(&op, config, rows).filter(|(op_dir, _)| *op_dir == dir) {
            frames.extend(vec![packet.frame(); 1 + dice.below(3) as usize]);
        }
    }
    frames.truncate(len);
    (dir, frames)
}

fn pass_burst(rig: &mut Rig, dir: Direction, frames: &[Vec<u8>]) -> Vec<(Verdict, Vec<u8>)> {
    let mut slots = vec![[0; SLOT]; frames.len()];
    for (slot, frame) in slots.iter_mut().zip(frames) {
        slot[..frame.len()].copy_from_slice(frame);
    }
    let mut views: Vec<Frame<'_>> =
        slots.iter_mut().zip(frames).map(|(slot, frame)| Frame::new(slot, frame.len())).collect();
    let mut verdicts = vec![Verdict::Forward; frames.len()];
    rig.nat.translate_burst(dir, &mut views, &mut verdicts, rig.now_ns);
    let bytes = views.iter().map(|view| view.bytes().to_vec());
    verdicts.into_iter().zip(bytes).map(|(verdict, frame)| visible(crate::rig::Outcome { verdict, frame })).collect()
}

/// Of a frame that goes nowhere the bytes do not count.
fn visible(outcome: crate::rig::Outcome) -> (Verdict, Vec<u8>) {
    let goes = matches!(outcome.verdict, Verdict::Forward | Verdict::Back);
    (outcome.verdict, if goes { outcome.frame } else { Vec::new() })
}

fn rows(rig: &Rig) -> Vec<Row> {
    rig.nat.mappings().map(|view| Row::of_view(&view, rig.now_ns / TICK_NS)).collect()
}

fn rows_of(rig: &Rig) -> Vec<Row> {
    let mut rows = rows(rig);
    rows.sort_unstable();
    rows
}
