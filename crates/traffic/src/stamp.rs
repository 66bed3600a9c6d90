//! The eighteen bytes behind the UDP header by which every frame accounts for itself.

/// Bytes of a stamp.
pub const STAMP_LEN: usize = 18;

/// Where the stamp stands in a frame: flow and sequence number first, by which a frame is known at every point of its way.
pub const STAMP_AT: usize = natrig_wire::template::HEADERS_LEN;

/// The largest trial number; the bit above it says "answer".
pub const TRIAL_ID_MAX: u8 = 0x7f;

const ANSWER: u8 = 0x80;

/// Position of the trial number, whose upper bit says "answer", in the stamp.
pub(crate) const TRIAL_AT: usize = 17;

/// Which frame this is and when it was meant to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Index of the flow in its set.
    pub flow: u32,
    /// Position in the flow, from 0.
    pub seq: u32,
    /// When the schedule wanted it sent, in nanoseconds since the trial's epoch; 40 bits, 18 minutes.
    pub intended_ns: u64,
    /// How much later it was handed to the link, in nanoseconds; saturates at 4.29 s.
    pub lag_ns: u32,
    /// Number of the trial, up to [`TRIAL_ID_MAX`].
    pub trial: u8,
    /// True on the way back.
    pub answer: bool,
}

impl Stamp {
    /// The stamp as bytes.
    #[inline]
    pub fn to_bytes(self) -> [u8; STAMP_LEN] {
        let frame = u64::from(self.flow) << 32 | u64::from(self.seq);
        let times = self.intended_ns << 24 | u64::from(self.lag_ns >> 8);
        let trial = (self.trial & TRIAL_ID_MAX) | if self.answer { ANSWER } else { 0 };
        let mut bytes = [0; STAMP_LEN];
        bytes[..8].copy_from_slice(&frame.to_be_bytes());
        bytes[8..16].copy_from_slice(&times.to_be_bytes());
        bytes[16..].copy_from_slice(&[self.lag_ns as u8, trial]);
        bytes
    }

    /// The stamp in `bytes`.
    #[inline]
    pub fn from_bytes(bytes: &[u8; STAMP_LEN]) -> Self {
        let [f0, f1, f2, f3, f4, f5, f6, f7, t0, t1, t2, t3, t4, t5, t6, t7, lag, trial] = *bytes;
        let frame = u64::from_be_bytes([f0, f1, f2, f3, f4, f5, f6, f7]);
        let times = u64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]);
        Self {
            flow: (frame >> 32) as u32,
            seq: frame as u32,
            intended_ns: times >> 24,
            lag_ns: (times as u32) << 8 | u32::from(lag),
            trial: trial & TRIAL_ID_MAX,
            answer: trial & ANSWER != 0,
        }
    }
}

/// The trial byte of an answer to a frame with `trial_byte`.
#[inline]
pub(crate) const fn answered(trial_byte: u8) -> u8 {
    trial_byte | ANSWER
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(flow: u32, seq: u32, intended_ns in 0u64..1 << 40, lag_ns: u32, trial in 0..=TRIAL_ID_MAX, answer: bool) {
            let stamp = Stamp { flow, seq, intended_ns, lag_ns, trial, answer };
            prop_assert_eq!(Stamp::from_bytes(&stamp.to_bytes()), stamp);
        }
    }

    #[test]
    fn an_answer_differs_by_one_bit() {
        let stamp = Stamp { flow: 1, seq: 2, intended_ns: 3, lag_ns: 4, trial: 5, answer: false };
        let mut bytes = stamp.to_bytes();
        bytes[TRIAL_AT] = answered(bytes[TRIAL_AT]);
        assert_eq!(Stamp::from_bytes(&bytes), Stamp { answer: true, ..stamp });
    }
}
