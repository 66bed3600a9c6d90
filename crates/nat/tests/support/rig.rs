//! A translator, a clock, and room for one frame.

use std::collections::VecDeque;

use natrig_nat::{Config, Direction, Nat, Verdict};
use natrig_wire::Frame;

/// Bytes of a slot: the largest frame sent here, and the headers of an ICMP error about it.
const SLOT: usize = 4096;

pub(crate) struct Rig {
    pub(crate) nat: Nat,
    pub(crate) now_ns: u64,
    slot: Vec<u8>,
    released: VecDeque<(Verdict, Vec<u8>)>,
}

/// What became of a frame. Of one that was dropped the bytes mean nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    pub(crate) frame: Vec<u8>,
}

impl Rig {
    pub(crate) fn new(config: Config, seed: u64) -> Self {
        let nat = Nat::new(config, seed).expect("the configuration is valid");
        Self { nat, now_ns: 1_000_000_000, slot: vec![0; SLOT], released: VecDeque::new() }
    }

    pub(crate) fn pass(&mut self, dir: Direction, frame: &[u8]) -> Outcome {
        self.slot[..frame.len()].copy_from_slice(frame);
        let mut frames = [Frame::new(&mut self.slot, frame.len())];
        let mut verdicts = [Verdict::Forward];
        self.nat.translate_burst(dir, &mut frames, &mut verdicts, self.now_ns);
        Outcome { verdict: verdicts[0], frame: frames[0].bytes().to_vec() }
    }

    /// Frames that were held and are due, one after the other.
    pub(crate) fn release_one(&mut self, dir: Direction) -> Option<(Verdict, Vec<u8>)> {
        if self.released.is_empty() {
            let released = &mut self.released;
            self.nat.release(dir, self.now_ns, &mut |frames, verdicts| {
                released.extend(verdicts.iter().copied().zip(frames.iter().map(|frame| frame.bytes().to_vec())));
            });
        }
        self.released.pop_front()
    }
}
