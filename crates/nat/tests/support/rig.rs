//! A translator, a clock, and room for one frame.

use natrig_nat::{Config, Direction, Nat, Verdict};
use natrig_wire::Frame;

/// Bytes of a slot: the largest frame sent here, and the headers of an ICMP error about it.
const SLOT: usize = 4096;

pub struct Rig {
    pub nat: Nat,
    pub now_ns: u64,
    slot: Vec<u8>,
}

/// What became of a frame. Of one that was dropped the bytes mean nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub verdict: Verdict,
    pub frame: Vec<u8>,
}

impl Rig {
    pub fn new(config: Config, seed: u64) -> Self {
        let nat = Nat::new(config, seed).expect("the configuration is valid");
        Self { nat, now_ns: 1_000_000_000, slot: vec![0; SLOT] }
    }

    pub fn pass(&mut self, dir: Direction, frame: &[u8]) -> Outcome {
        self.slot[..frame.len()].copy_from_slice(frame);
        let mut frames = [Frame::new(&mut self.slot, frame.len())];
        let mut verdicts = [Verdict::Forward];
        self.nat.translate_burst(dir, &mut frames, &mut verdicts, self.now_ns);
        Outcome { verdict: verdicts[0], frame: frames[0].bytes().to_vec() }
    }
}
