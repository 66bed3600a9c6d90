//! A link that spoils what is received on it: seeded, counted faults for tests and scenarios.
//!
//! Faults strike on reception, where frames can be changed in place. Time is counted in frames, never in nanoseconds, so that the
//! same seed and the same frames give the same faults.

use crate::{BURST_MAX, Link, LinkDescription, LinkStats, RecvError, SendError};
use arrayvec::ArrayVec;
use natrig_wire::Frame;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;
use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

/// How often each fault strikes, in frames of a million, and how far delays go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultOptions {
    /// Seed of the dice.
    pub seed: u64,
    /// Frames that vanish.
    pub drop_ppm: u32,
    /// Frames that come twice, the copy behind the next frame.
    pub duplicate_ppm: u32,
    /// Frames that change places with the next one.
    pub reorder_ppm: u32,
    /// Frames with one bit flipped.
    pub corrupt_ppm: u32,
    /// Frames held back until `delay_frames` others have passed.
    pub delay_ppm: u32,
    /// See `delay_ppm`.
    pub delay_frames: u32,
    /// The most frames held back at once; beyond that, frames pass as they are. Bounds the memory.
    pub held_max: usize,
    /// After how many receptions of nothing a frame that is held back is let go although none came behind it.
    pub idle_polls_max: u32,
}

impl Default for FaultOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            drop_ppm: 0,
            duplicate_ppm: 0,
            reorder_ppm: 0,
            corrupt_ppm: 0,
            delay_ppm: 0,
            delay_frames: 16,
            held_max: 1024,
            idle_polls_max: 1000,
        }
    }
}

/// How many frames met which fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FaultCounters {
    /// Frames that vanished.
    pub dropped: u64,
    /// Copies made.
    pub duplicated: u64,
    /// Frames held back behind one other.
    pub reordered: u64,
    /// Frames with a bit flipped.
    pub corrupted: u64,
    /// Frames held back behind `delay_frames` others.
    pub delayed: u64,
    /// Frames that passed unspoilt because too many were held back already.
    pub spared: u64,
}

const NEAR: usize = 0;
const FAR: usize = 1;

/// A wrapper that spoils what the link inside receives, and passes on what is sent.
#[derive(Debug)]
pub struct Fault<L> {
    inner: L,
    dice: Dice,
    /// Frames held back: [`NEAR`] behind one other, [`FAR`] behind `delay_frames` others.
    lanes: [Lane; 2],
    /// Frames that came from the link inside so far: the time by which held frames are due.
    frames_seen: u64,
    idle_polls: u32,
    idle_polls_max: u32,
    presented: LinkStats,
    counters: FaultCounters,
}

impl<L: Link> Fault<L> {
    /// Wraps `inner`.
    pub fn new(inner: L, options: FaultOptions) -> Self {
        let slot_bytes = inner.describe().slot_bytes as usize;
        let lane = |distance| Lane::new(distance, options.held_max / 2, slot_bytes);
        Self {
            inner,
            dice: Dice { rng: Pcg32::seed_from_u64(options.seed), options },
            lanes: [lane(1), lane(u64::from(options.delay_frames))],
            frames_seen: 0,
            idle_polls: 0,
            idle_polls_max: options.idle_polls_max,
            presented: LinkStats::default(),
            counters: FaultCounters::default(),
        }
    }

    /// The faults so far.
    pub fn counters(&self) -> FaultCounters {
        self.counters
    }

    /// Frames held back at the moment.
    pub fn held(&self) -> usize {
        self.lanes.iter().map(|lane| lane.held.len()).sum()
    }

    /// The link inside; frames held back are lost.
    pub fn into_inner(self) -> L {
        self.inner
    }
}

impl<L: Link> Link for Fault<L> {
    fn recv(&mut self, max: usize, on_burst: &mut dyn FnMut(&mut [Frame<'_>])) -> Result<usize, RecvError> {
        let Self { inner, dice, lanes, frames_seen, presented, counters, .. } = self;
        let max = max.min(BURST_MAX);
        let now = if self.idle_polls >= self.idle_polls_max { u64::MAX } else { *frames_seen };
        let due = due_counts(lanes, now, max);
        let room = max - due.iter().sum::<usize>();
        let mut shown = 0;
        // Frames due come first: they are older. What comes due within this burst waits for the next.
        let mut present = |burst: &mut ArrayVec<Frame<'_>, BURST_MAX>| {
            presented.rx_frames += burst.len() as u64;
            presented.rx_bytes += burst.iter().map(|frame| frame.len() as u64).sum::<u64>();
            shown = burst.len();
            if !burst.is_empty() {
                on_burst(burst);
            }
        };
        let mut arrived = 0;
        if room > 0 {
            arrived = inner.recv(room, &mut |frames| {
                let mut fates = [Fate::Pass; BURST_MAX];
                for (frame, fate) in frames.iter_mut().zip(&mut fates) {
                    *frames_seen += 1;
                    *fate = dice.strike(frame, lanes, *frames_seen, counters);
                }
                let mut burst = ArrayVec::<Frame<'_>, BURST_MAX>::new();
                for (lane, due) in lanes.iter_mut().zip(due) {
                    burst.extend(lane.held.iter_mut().take(due).map(Held::frame));
                }
                for (frame, fate) in frames.iter_mut().zip(fates) {
                    if fate == Fate::Pass {
                        let len = frame.len();
                        burst.push(Frame::new(frame.buffer_mut(), len));
                    }
                }
                present(&mut burst);
            })?;
        }
        if arrived == 0 && due != [0, 0] {
            let mut burst = ArrayVec::<Frame<'_>, BURST_MAX>::new();
            for (lane, due) in lanes.iter_mut().zip(due) {
                burst.extend(lane.held.iter_mut().take(due).map(Held::frame));
            }
            present(&mut burst);
        }
        for (lane, due) in lanes.iter_mut().zip(due) {
            lane.release(due);
        }
        self.idle_polls = if arrived == 0 { self.idle_polls.saturating_add(1) } else { 0 };
        Ok(shown)
    }

    fn send(&mut self, frames: &[Frame<'_>], pick: &[u16]) -> Result<usize, SendError> {
        self.inner.send(frames, pick)
    }

    /// What this wrapper presented; losses and transmission as the link inside counts them.
    fn stats(&mut self) -> LinkStats {
        LinkStats { rx_frames: self.presented.rx_frames, rx_bytes: self.presented.rx_bytes, ..self.inner.stats() }
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        // A frame held back wakes nobody.
        if self.held() > 0 { None } else { self.inner.poll_fd() }
    }

    fn describe(&self) -> LinkDescription {
        let mut description = self.inner.describe();
        description.notes.push(format!("with faults: {:?}", self.dice.options));
        description
    }
}

/// How many frames of each lane are due, at most `max` together.
fn due_counts(lanes: &[Lane; 2], now: u64, max: usize) -> [usize; 2] {
    let [near, far] =
        lanes.each_ref().map(|lane| lane.held.iter().take(max).take_while(|held| held.due <= now).count());
    [near, far.min(max - near)]
}

/// What becomes of a frame in this burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Pass,
    /// Not presented now, or never.
    Withhold,
}

#[derive(Debug)]
struct Dice {
    rng: Pcg32,
    options: FaultOptions,
}

impl Dice {
    /// Lets chance loose on one frame, the `number`th. At most one of dropping and holding back; the others come on top.
    fn strike(
        &mut self,
        frame: &mut Frame<'_>,
        lanes: &mut [Lane; 2],
        number: u64,
        counters: &mut FaultCounters,
    ) -> Fate {
        let FaultOptions { drop_ppm, duplicate_ppm, reorder_ppm, corrupt_ppm, delay_ppm, .. } = self.options;
        if self.hits(drop_ppm) {
            counters.dropped += 1;
            return Fate::Withhold;
        }
        if self.hits(corrupt_ppm) && !frame.is_empty() {
            let bit = self.rng.random_range(0..frame.len() * 8);
            frame.bytes_mut()[bit / 8] ^= 1 << (bit % 8);
            counters.corrupted += 1;
        }
        for (ppm, lane, counter, fate) in [
            (duplicate_ppm, NEAR, &mut counters.duplicated, Fate::Pass),
            (reorder_ppm, NEAR, &mut counters.reordered, Fate::Withhold),
            (delay_ppm, FAR, &mut counters.delayed, Fate::Withhold),
        ] {
            if !self.hits(ppm) {
                continue;
            }
            if !lanes[lane].hold(frame, number) {
                counters.spared += 1;
                continue;
            }
            *counter += 1;
            if fate == Fate::Withhold {
                return fate;
            }
        }
        Fate::Pass
    }

    /// One throw of the dice. Always one, also at zero, so that one rate does not shift the others.
    fn hits(&mut self, ppm: u32) -> bool {
        self.rng.random_range(0..1_000_000u32) < ppm
    }
}

/// Frames held back for the same number of frames, and so in the order they are due.
#[derive(Debug)]
struct Lane {
    distance: u64,
    held: VecDeque<Held>,
    spare: Vec<Box<[u8]>>,
}

#[derive(Debug)]
struct Held {
    due: u64,
    len: usize,
    slot: Box<[u8]>,
}

impl Held {
    fn frame(&mut self) -> Frame<'_> {
        Frame::new(&mut self.slot, self.len)
    }
}

impl Lane {
    fn new(distance: u64, slots: usize, slot_bytes: usize) -> Self {
        let spare = (0..slots).map(|_| vec![0; slot_bytes].into()).collect();
        Self { distance, held: VecDeque::with_capacity(slots), spare }
    }

    /// Takes a copy of the `number`th frame, if there is room.
    fn hold(&mut self, frame: &Frame<'_>, number: u64) -> bool {
        let bytes = frame.bytes();
        let Some(mut slot) = self.spare.pop_if(|slot| slot.len() >= bytes.len()) else { return false };
        slot[..bytes.len()].copy_from_slice(bytes);
        self.held.push_back(Held { due: number + self.distance, len: bytes.len(), slot });
        true
    }

    fn release(&mut self, count: usize) {
        self.spare.extend(self.held.drain(..count).map(|held| held.slot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory;

    const FRAMES: u32 = 10_000;

    /// Sends numbered frames through a faulty link; the numbers as they arrive, with whether the frame's pattern was intact.
    fn run(options: FaultOptions) -> (Vec<(u32, bool)>, FaultCounters) {
        let (mut near, far) = memory::pair(512, 64);
        let mut far = Fault::new(far, options);
        let mut seen = Vec::new();
        let mut drain = |far: &mut Fault<_>| {
            far.recv(BURST_MAX, &mut |burst| {
                for frame in burst {
                    let number = u32::from_be_bytes(frame.bytes()[..4].try_into().unwrap());
                    seen.push((number, frame.bytes()[4..].iter().all(|byte| *byte == 0x5a)));
                }
            })
            .unwrap();
        };
        for number in 0..FRAMES {
            let mut bytes = [0x5au8; 60];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            assert_eq!(near.send(&[Frame::new(&mut bytes, 60)], &[0]).unwrap(), 1);
            if number % 100 == 99 {
                drain(&mut far);
            }
        }
        for _ in 0..2 * options.idle_polls_max {
            drain(&mut far);
        }
        assert_eq!(far.held(), 0);
        let stats = far.stats();
        let counters = far.counters();
        assert_eq!(stats.rx_frames, seen.len() as u64);
        assert_eq!(u64::from(FRAMES) + counters.duplicated, stats.rx_frames + counters.dropped);
        (seen, counters)
    }

    #[test]
    fn without_faults_everything_passes_in_order() {
        let (seen, counters) = run(FaultOptions::default());
        assert!(seen.iter().map(|(number, _)| *number).eq(0..FRAMES));
        assert_eq!(counters, FaultCounters::default());
    }

    #[test]
    fn each_fault_strikes_about_as_often_as_asked_and_is_counted() {
        let options = FaultOptions {
            seed: 7,
            drop_ppm: 20_000,
            duplicate_ppm: 20_000,
            reorder_ppm: 20_000,
            corrupt_ppm: 20_000,
            delay_ppm: 20_000,
            ..FaultOptions::default()
        };
        let (seen, counters) = run(options);
        for count in [counters.dropped, counters.duplicated, counters.reordered, counters.corrupted, counters.delayed] {
            assert!((100..300).contains(&count), "{counters:?}");
        }
        let spoilt = seen.iter().filter(|(_, intact)| !intact).count() as u64;
        // A flip in the number itself leaves the pattern intact; a duplicate of a spoilt frame is spoilt too.
        assert!(spoilt > counters.corrupted / 2 && spoilt <= counters.corrupted + counters.duplicated);
        assert_eq!(run(options), (seen, counters), "the same seed gives the same faults");
    }

    #[test]
    fn a_reordered_frame_comes_behind_its_successor() {
        let (seen, counters) = run(FaultOptions { seed: 1, reorder_ppm: 50_000, ..FaultOptions::default() });
        let late = seen.windows(2).filter(|pair| pair[1].0 < pair[0].0).count() as u64;
        assert!(counters.reordered > 0 && late > 0 && late <= counters.reordered);
        let mut numbers: Vec<_> = seen.iter().map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..FRAMES));
    }

    #[test]
    fn when_no_more_can_be_held_frames_pass() {
        let options = FaultOptions { delay_ppm: 1_000_000, delay_frames: 50, held_max: 20, ..FaultOptions::default() };
        let (seen, counters) = run(options);
        assert_eq!(seen.len(), FRAMES as usize);
        assert_eq!(counters.delayed + counters.spared, u64::from(FRAMES));
        assert!(counters.spared > 0);
    }
}
