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
        let mut bytes = [0; STAMP_LEN];
        bytes[0..4].copy_from_slice(&self.flow.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.seq.to_be_bytes());
        bytes[8..13].copy_from_slice(&self.intended_ns.to_be_bytes()[3..]);
        bytes[13..17].copy_from_slice(&self.lag_ns.to_be_bytes());
        bytes[TRIAL_AT] = (self.trial & TRIAL_ID_MAX) | if self.answer { ANSWER } else { 0 };
        bytes
    }

    /// The stamp in `bytes`.
    #[inline]
    pub fn from_bytes(bytes: &[u8; STAMP_LEN]) -> Self {
        let [f0, f1, f2, f3, s0, s1, s2, s3, i0, i1, i2, i3, i4, l0, l1, l2, l3, trial] = *bytes;
        Self {
            flow: u32::from_be_bytes([f0, f1, f2, f3]),
            seq: u32::from_be_bytes([s0, s1, s2, s3]),
            intended_ns: u64::from_be_bytes([0, 0, 0, i0, i1, i2, i3, i4]),
            lag_ns: u32::from_be_bytes([l0, l1, l2, l3]),
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
