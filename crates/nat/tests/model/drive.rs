//! The translator and its reference side by side.

use std::panic::{self, AssertUnwindSafe};

use natrig_nat::behaviour::Collection;
use natrig_nat::{Config, Counters, Direction, TICK_NS, Verdict};

use crate::dice::Dice;
use crate::foreign;
use crate::ops::{self, Op};
use crate::reference::{Event, Reference, Row};
use crate::rig::Rig;

/// A difference, and after how many operations.
#[derive(Debug, Clone)]
pub(crate) struct Difference {
    pub(crate) at: usize,
    pub(crate) what: String,
}

/// Runs a sequence, and says what the translator has counted. A panic is a difference, too.
pub(crate) fn run(config: &Config, seed: u64, ops: &[Op]) -> Result<Counters, Difference> {
    let mut pair = Pair::new(config.clone(), seed);
    for (at, op) in ops.iter().enumerate() {
        let step = panic::catch_unwind(AssertUnwindSafe(|| pair.step(op)));
        step.unwrap_or_else(|_| Err("panicked".into())).map_err(|what| Difference { at, what })?;
    }
    Ok(pair.rig.nat.counters().clone())
}

struct Pair {
    config: Config,
    rig: Rig,
    reference: Reference,
    memory: usize,
}

impl Pair {
    fn new(config: Config, seed: u64) -> Self {
        let rig = Rig::new(config.clone(), seed);
        let reference = Reference::new(config.clone());
        let memory = rig.nat.memory();
        let mut pair = Self { config, rig, reference, memory };
        pair.rig.nat.expire(pair.rig.now_ns);
        pair.reference.now = pair.now();
        pair
    }

    fn now(&self) -> u64 {
        self.rig.now_ns / TICK_NS
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = self.rig.nat.mappings().map(|view| Row::of_view(&view, self.now())).collect();
        rows.sort_unstable();
        rows
    }

    fn step(&mut self, op: &Op) -> Result<(), String> {
        if let Op::Wait { ticks } = op {
            self.rig.now_ns += ticks * TICK_NS;
            self.rig.nat.expire(self.rig.now_ns);
            let rows = self.rows();
            self.reference.advance(self.now(), &rows)?;
            self.release()?;
            return self.reference.compare(&rows);
        }
        let Some((dir, packet)) = ops::packet_of(op, &self.config, &self.rows()) else { return Ok(()) };
        let frame = packet.frame();
        let seen = foreign::read(&frame)?;
        // A collector that was asked for may run at any time.
        if self.config.behaviour.collection.mode == Collection::Periodic {
            self.rig.nat.expire(self.rig.now_ns);
            self.reference.advance(self.now(), &self.rows())?;
        }
        let before = fates(self.rig.nat.counters());
        let outcome = self.rig.pass(dir, &frame);
        let rows = self.rows();
        let out = match outcome.verdict {
            Verdict::Forward | Verdict::Back => {
                Some(foreign::read(&outcome.frame).map_err(|error| format!("what came out is no packet: {error}"))?)
            }
            Verdict::Drop(_) | Verdict::Hold | Verdict::Skip => None,
        };
        self.reference.judge(&Event {
            dir,
            packet: &packet,
            seen: &seen,
            outcome: &outcome,
            out: out.as_ref(),
            rows: &rows,
        })?;
        self.reference.compare(&rows)?;
        self.release()?;
        if fates(self.rig.nat.counters()) != before + 1 {
            return Err(format!("{} fates were counted for one frame", fates(self.rig.nat.counters()) - before));
        }
        if self.rig.nat.memory() != self.memory {
            return Err(format!("memory went from {} to {} bytes", self.memory, self.rig.nat.memory()));
        }
        Ok(())
    }
}

impl Pair {
    /// Frames that have waited long enough.
    fn release(&mut self) -> Result<(), String> {
        for dir in [Direction::Inbound, Direction::Outbound] {
            while let Some((verdict, frame)) = self.rig.release_one(dir) {
                let out = match verdict {
                    Verdict::Forward | Verdict::Back => Some(foreign::read(&frame)?),
                    Verdict::Drop(_) | Verdict::Hold | Verdict::Skip => None,
                };
                self.reference.judge_release(verdict, out.as_ref())?;
            }
        }
        if self.reference.has_due() { Err("a frame that is due was not released".into()) } else { Ok(()) }
    }
}

/// Frames by what became of them; each has one fate.
fn fates(counters: &Counters) -> u64 {
    let forwarded = counters.translated_out + counters.translated_in + counters.passed + counters.hairpinned;
    let answered: u64 = counters.answered.iter().sum();
    // What was held and then released or dropped has been counted by its second fate as well.
    let held = counters.held - counters.released - counters.held_dropped;
    forwarded + counters.dropped_total() + answered + counters.echo_answered + held
}

pub(crate) fn any_sequence(config: &Config, seed: u64, len: usize) -> Vec<Op> {
    let mut dice = Dice::new(seed);
    (0..len).map(|_| ops::any_op(&mut dice, &config.behaviour)).collect()
}

/// Runs a random sequence; on a difference, looks for the shortest sequence that still shows one, and prints it. Returns what the translator
/// has counted.
pub(crate) fn hold_against_reference(name: &str, config: &Config, seed: u64, len: usize) -> Counters {
    let ops = any_sequence(config, seed, len);
    let difference = match run(config, seed, &ops) {
        Ok(counters) => return counters,
        Err(difference) => difference,
    };
    let (seed, shortest, difference) = shrink(config, seed, &ops[..=difference.at], difference);
    panic!(
        "{name}, seed {seed}: {} operations suffice for a difference:\n{}\n{}\nwith {config:#?}",
        shortest.len(),
        told(config, seed, &shortest),
        difference.what,
    );
}

/// A sequence, and what the table looked like before and after the last operation.
fn told(config: &Config, seed: u64, ops: &[Op]) -> String {
    let mut pair = Pair::new(config.clone(), seed);
    let mut lines = Vec::new();
    for (at, op) in ops.iter().enumerate() {
        lines.push(format!("    {op:?}"));
        // A panic is part of the story.
        let _ = panic::catch_unwind(AssertUnwindSafe(|| pair.step(op)));
        if at + 2 >= ops.len() {
            lines.extend(pair.rows().iter().map(|row| format!("        {row:?}")));
        }
    }
    lines.join("\n")
}

/// The translator's own dice fall differently when operations are taken away: a few seeds are tried.
fn run_any(config: &Config, seed: u64, ops: &[Op]) -> Option<(u64, Difference)> {
    (seed..seed + 4).find_map(|seed| Some((seed, run(config, seed, ops).err()?)))
}

/// Takes away as much as possible: halves first, single operations last (Zeller and Hildebrandt, ddmin, 2002).
fn shrink(config: &Config, seed: u64, ops: &[Op], difference: Difference) -> (u64, Vec<Op>, Difference) {
    let (mut seed, mut ops, mut difference) = (seed, ops.to_vec(), difference);
    let mut piece = ops.len() / 2;
    while piece > 0 {
        let mut at = 0;
        while at < ops.len() {
            let rest = [&ops[..at], &ops[(at + piece).min(ops.len())..]].concat();
            if let Some((other_seed, other)) = run_any(config, seed, &rest) {
                ops = rest[..=other.at].to_vec();
                (seed, difference) = (other_seed, other);
            } else {
                at += piece;
            }
        }
        piece /= 2;
    }
    (seed, ops, difference)
}
