//! A case: what is sent, in which order, and what must hold of whatever comes out.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::panic::{self, AssertUnwindSafe};

use natrig_nat::{Config, Counters, Direction, Nat, TICK_NS, Verdict};
use natrig_wire::Frame;

use crate::foreign::{self, Seen};
use crate::packet;

/// Places in a frame.
const SOURCE: usize = 26;
const DESTINATION: usize = 30;

/// One step of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ticks.
    Wait(u64),
    Send {
        dir: Direction,
        bytes: Vec<u8>,
        /// Bytes of the slot behind the frame.
        room: usize,
    },
}

/// A translator under test, and the clock.
pub(crate) struct Bench {
    pub(crate) nat: Nat,
    now_ns: u64,
    memory: usize,
    slot: Vec<u8>,
}

impl Bench {
    pub(crate) fn new(config: Config, seed: u64) -> Self {
        let nat = Nat::new(config, seed).expect("the configuration is valid");
        let memory = nat.memory();
        Self { nat, now_ns: 1_000_000_000, memory, slot: Vec::new() }
    }

    /// Takes a step; an error says what should not have been. The verdict, if it sent something.
    pub(crate) fn step(&mut self, step: &Step) -> Result<Option<Verdict>, String> {
        let (dir, bytes, room) = match step {
            Step::Wait(ticks) => {
                self.now_ns += ticks * TICK_NS;
                self.nat.expire(self.now_ns);
                self.release()?;
                return Ok(None);
            }
            Step::Send { dir, bytes, room } => (*dir, bytes, *room),
        };
        // Behind the frame lies what somebody else left there.
        self.slot.clear();
        self.slot.extend(bytes);
        self.slot.resize(bytes.len() + room, 0xee);
        let before = fates(self.nat.counters());
        let mut frames = [Frame::new(&mut self.slot, bytes.len())];
        let mut verdicts = [Verdict::Forward];
        self.nat.translate_burst(dir, &mut frames, &mut verdicts, self.now_ns);
        let verdict = verdicts[0];
        let outside = &self.nat.config().outside;
        let is_own = |frame: &[u8], at: usize| {
            let addr = frame.get(at..at + 4).map(|addr| Ipv4Addr::new(addr[0], addr[1], addr[2], addr[3]));
            addr.is_some_and(|addr| outside.contains(&addr))
        };
        if dir == Direction::Inbound && is_own(bytes, SOURCE) && !matches!(verdict, Verdict::Drop(_)) {
            return Err("a packet from an address of the translator's own was let in".into());
        }
        if verdict == Verdict::Forward && dir == Direction::Outbound && is_own(frames[0].bytes(), DESTINATION) {
            return Err("a packet to an address of the translator's own went out".into());
        }
        match verdict {
            Verdict::Forward | Verdict::Back => sound(bytes, frames[0].bytes(), verdict)?,
            Verdict::Drop(_) | Verdict::Hold => {}
            Verdict::Skip => return Err("a frame was not looked at".into()),
        }
        self.release()?;
        let after = fates(self.nat.counters());
        if after != before + 1 {
            return Err(format!("{before} fates became {after} by one frame"));
        }
        Ok(Some(verdict))
    }

    fn release(&mut self) -> Result<(), String> {
        let mut wrong = None;
        for dir in [Direction::Outbound, Direction::Inbound] {
            loop {
                let count = self.nat.release(dir, self.now_ns, &mut |frames, verdicts| {
                    for (frame, verdict) in frames.iter().zip(verdicts) {
                        if matches!(verdict, Verdict::Forward | Verdict::Back) {
                            let refused = foreign::read(frame.bytes()).err();
                            wrong = wrong
                                .take()
                                .or_else(|| refused.map(|error| format!("released, and refused by {error}")));
                        }
                    }
                });
                if count == 0 {
                    break;
                }
            }
        }
        if self.nat.memory() != self.memory {
            return Err(format!("memory went from {} to {} bytes", self.memory, self.nat.memory()));
        }
        wrong.map_or(Ok(()), Err)
    }
}

/// A frame that came out is one for two foreign decoders, and its checksum is no worse than it was.
fn sound(before: &[u8], after: &[u8], verdict: Verdict) -> Result<(), String> {
    if is_routed(before, after) {
        return Ok(());
    }
    let after = foreign::read(after).map_err(|error| format!("came out, and is refused by {error}"))?;
    let Ok(before) = foreign::read(before) else {
        // It can only have come out as something that the translator wrote itself.
        let answered = verdict == Verdict::Back && after.checksum_error == 0;
        return if answered { Ok(()) } else { Err(format!("what no decoder takes came out as {after:?}")) };
    };
    let unharmed = after.checksum_error == before.checksum_error;
    let built = verdict == Verdict::Back && after.checksum_error == 0;
    // What was cut into pieces has a checksum that only the whole can show.
    if unharmed || built || is_cut(&before, &after) { Ok(()) } else { Err(format!("{before:?} came out as {after:?}")) }
}

/// One hop older and otherwise as it was: a router has no opinion on what lies behind the IPv4 header.
fn is_routed(before: &[u8], after: &[u8]) -> bool {
    const TTL: usize = 22;
    const CHECKSUM: [usize; 2] = [24, 25];
    let header_len = after.get(14).map_or(0, |first| usize::from(first & 0xf) * 4);
    let header = after.get(14..14 + header_len).filter(|header| header.len() >= 20);
    let same = |at: usize| before[at] == after[at] || at == TTL || CHECKSUM.contains(&at);
    before.len() == after.len()
        && header.is_some_and(|header| packet::checksum(header) == 0)
        && (0..after.len()).all(same)
        && before[TTL] == after[TTL] + 1
}

const fn is_cut(before: &Seen, after: &Seen) -> bool {
    after.more_fragments && !before.more_fragments
}

/// Frames by what became of them; each has one fate, and one that was held has its second one counted in its place.
fn fates(counters: &Counters) -> u64 {
    let forwarded = counters.translated_out + counters.translated_in + counters.passed + counters.hairpinned;
    let answered: u64 = counters.answered.iter().sum();
    // Pieces of what was cut are released as well.
    let held = counters.held + counters.fragments_made - counters.released - counters.held_dropped;
    forwarded + counters.dropped_total() + answered + counters.echo_answered + held
}

/// What went wrong, and at which step.
pub(crate) fn run(config: &Config, seed: u64, steps: &[Step]) -> Result<(), (usize, String)> {
    let mut bench = Bench::new(config.clone(), seed);
    for (at, step) in steps.iter().enumerate() {
        let taken = panic::catch_unwind(AssertUnwindSafe(|| bench.step(step)));
        taken.unwrap_or_else(|_| Err("panicked".into())).map_err(|what| (at, what))?;
    }
    Ok(())
}

/// The shortest case that still goes wrong (Zeller and Hildebrandt, ddmin, 2002).
pub(crate) fn shrink(config: &Config, seed: u64, steps: &[Step]) -> Vec<Step> {
    let mut steps = steps.to_vec();
    let mut piece = steps.len() / 2;
    while piece > 0 {
        let mut at = 0;
        while at < steps.len() {
            let rest = [&steps[..at], &steps[(at + piece).min(steps.len())..]].concat();
            match run(config, seed, &rest) {
                Err((last, _)) => steps = rest[..=last].to_vec(),
                Ok(()) => at += piece,
            }
        }
        piece /= 2;
    }
    steps
}

/// A case as text: `wait TICKS`, `out HEX` or `in HEX`, with the room behind the frame after a plus sign.
pub(crate) fn to_text(steps: &[Step]) -> String {
    let mut text = String::new();
    for step in steps {
        let _ = match step {
            Step::Wait(ticks) => writeln!(text, "wait {ticks}"),
            Step::Send { dir, bytes, room } => {
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                let dir = if *dir == Direction::Outbound { "out" } else { "in" };
                writeln!(text, "{dir} {hex} +{room}")
            }
        };
    }
    text
}

pub(crate) fn from_text(text: &str) -> Vec<Step> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| step_from(line).unwrap_or_else(|| panic!("not a step: {line}"))).collect()
}

fn step_from(line: &str) -> Option<Step> {
    let mut words = line.split_whitespace();
    let dir = match words.next()? {
        "wait" => return words.next()?.parse().ok().map(Step::Wait),
        "out" => Direction::Outbound,
        "in" => Direction::Inbound,
        _ => return None,
    };
    let hex = words.next().filter(|word| !word.starts_with('+')).unwrap_or("");
    let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(byte).collect();
    let room = line.rsplit_once('+').map_or(Some(0), |(_, room)| room.parse().ok())?;
    Some(Step::Send { dir, bytes: bytes?, room })
}
