//! Random frames from both sides, through every profile.

use std::path::Path;

use natrig_nat::behaviour::PortBlocks;
use natrig_nat::{Config, Direction, Profile, Verdict};

use crate::case::{self, Bench, Step};
use crate::dice::Dice;
use crate::mutants;

/// Frames in the short run.
const FRAMES: u64 = 150_000;
const FRAMES_NIGHTLY: u64 = 100_000_000;
/// A fresh translator after so many steps: what a case that goes wrong may consist of.
const STEPS: usize = 4000;

fn frames() -> u64 {
    let nightly = std::env::var_os("NATRIG_NIGHTLY").is_some();
    number_from("NATRIG_FRAMES").unwrap_or(if nightly { FRAMES_NIGHTLY } else { FRAMES })
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}, which is no number")))
}

/// A profile with few ports and a small table every other time, and links of any MTU now and then.
pub(crate) fn config(name: &str, seed: u64) -> Config {
    let dice = &mut Dice::new(seed);
    let profile = Profile::builtin(name).expect("a profile that comes with the library");
    let outside = (1..=dice.pick(&[1, 1, 2])).map(|host| std::net::Ipv4Addr::new(192, 0, 2, host)).collect();
    let mut config = profile.config(outside);
    let behaviour = &mut config.behaviour;
    behaviour.table.capacity = dice.pick(&[4, 64, 1000]);
    if dice.one_in(2) {
        behaviour.ports.range.high = behaviour.ports.range.low + 15;
        behaviour.quota.block_max = behaviour.quota.block_max.min(8);
        if behaviour.quota.blocks != PortBlocks::Shared {
            behaviour.quota.block_min = 2;
        }
    }
    behaviour.fragments.max_tracked = behaviour.fragments.max_tracked.min(dice.pick(&[0, 1, 16, 4096]));
    behaviour.fragments.max_held = behaviour.fragments.max_held.min(dice.pick(&[0, 2, 16, 256]));
    if dice.one_in(3) {
        config.outside_mtu = Some(dice.pick(&[68, 100, 576]));
        config.inside_mtu = Some(dice.pick(&[68, 200, 1500]));
    }
    config
}

/// What was sent and what became of it.
#[derive(Debug, Default)]
struct Tally {
    frames: u64,
    forwarded: u64,
    back: u64,
    held: u64,
}

impl Tally {
    fn count(&mut self, verdict: Verdict) {
        self.frames += 1;
        match verdict {
            Verdict::Forward => self.forwarded += 1,
            Verdict::Back => self.back += 1,
            Verdict::Hold => self.held += 1,
            Verdict::Drop(_) | Verdict::Skip => {}
        }
    }
}

/// One translator, some thousand steps.
fn round(name: &str, seed: u64, tally: &mut Tally) {
    let config = config(name, seed);
    let outside = config.outside.clone();
    let mut bench = Bench::new(config.clone(), seed);
    let mut dice = Dice::new(seed ^ 0x5eed);
    let mut steps = Vec::with_capacity(STEPS);
    let mut known = Vec::new();
    for number in 0..STEPS {
        if number % 32 == 0 {
            known = bench.nat.mappings().take(64).collect();
        }
        let step = if dice.one_in(50) {
            Step::Wait(dice.pick(&[0, 1, 100, 700, 3100, 30_000]))
        } else {
            let (dir, bytes) = mutants::any_frame(&mut dice, &outside, &known);
            Step::Send { dir, bytes, room: dice.pick(&[0, 8, 28, 600, 2000]) }
        };
        steps.push(step);
        let taken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| bench.step(&steps[number])));
        match taken.unwrap_or_else(|_| Err("panicked".into())) {
            Ok(Some(verdict)) => tally.count(verdict),
            Ok(None) => {}
            Err(what) => fail(name, &config, seed, &steps, &what),
        }
    }
}

/// Shrinks the case, writes it down, and fails.
fn fail(name: &str, config: &Config, seed: u64, steps: &[Step], what: &str) -> ! {
    let shortest = case::shrink(config, seed, steps);
    let text = format!("# {name}, seed {seed}: {what}\n{}", case::to_text(&shortest));
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{seed}.hex"));
    let written = std::fs::write(&path, &text).map(|()| path.display().to_string());
    panic!(
        "{text}The case is {written:?}: put it into tests/corpus once its name says what it shows.\nIt goes wrong with {:?}, {config:#?}",
        case::run(config, seed, &shortest),
    );
}

#[test]
fn random_frames_do_no_harm() {
    let mut tally = Tally::default();
    let mut seed = number_from("NATRIG_SEED").unwrap_or(0);
    while tally.frames < frames() {
        for name in Profile::names() {
            round(name, seed, &mut tally);
        }
        seed += 1;
    }
    println!("{tally:?}");
    // Else most of them say nothing.
    assert!(tally.forwarded > tally.frames / 10 && tally.back > tally.frames / 200 && tally.held > 0, "{tally:?}");
}

#[test]
fn a_case_survives_being_written_down() {
    let steps = [
        Step::Wait(17),
        Step::Send { dir: Direction::Outbound, bytes: vec![0, 0xfe, 7], room: 28 },
        Step::Send { dir: Direction::Inbound, bytes: Vec::new(), room: 0 },
    ];
    assert_eq!(case::from_text(&case::to_text(&steps)), steps);
}
