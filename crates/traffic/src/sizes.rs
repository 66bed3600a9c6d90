//! Frame sizes, as RFC 2544 counts them: with the four bytes of FCS that a veth does not carry.

use natrig_wire::ethernet::FCS_LEN;

use crate::FRAME_LEN_MIN;

/// CSIT's IMIX: 28 × 64, 16 × 570 and 4 × 1518 bytes.
const IMIX: [(u16, usize); 3] = [(64, 28), (570, 16), (1518, 4)];

/// The largest frame size: an MTU of 1500.
const SIZE_MAX: u16 = 1518;
const SIZE_MIN: u16 = (FRAME_LEN_MIN + FCS_LEN) as u16;

/// Why a list of sizes cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// No size at all.
    #[error("send frames of no size")]
    Empty,
    /// Outside 64..=1518.
    #[error("send frames of {0} bytes: sizes go from 64 to 1518, FCS included")]
    OutOfRange(u16),
}

/// The sizes of frames, in a fixed cycle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameSizes {
    /// Lengths without FCS.
    cycle: Vec<u16>,
}

impl FrameSizes {
    /// Each of `sizes` (bytes with FCS) in turn.
    ///
    /// # Errors
    /// [`SizeError`].
    pub fn cycle(sizes: &[u16]) -> Result<Self, SizeError> {
        if sizes.is_empty() {
            return Err(SizeError::Empty);
        }
        let len = |size: &u16| match *size {
            SIZE_MIN..=SIZE_MAX => Ok(size - FCS_LEN as u16),
            size => Err(SizeError::OutOfRange(size)),
        };
        Ok(Self { cycle: sizes.iter().map(len).collect::<Result<_, _>>()? })
    }

    /// CSIT's IMIX, its large frames spread evenly over the cycle.
    pub fn imix() -> Self {
        let total: usize = IMIX.iter().map(|(_, count)| count).sum();
        let mut placed = [0usize; IMIX.len()];
        let cycle = (1..=total).map(|slot| {
            // The size that is furthest behind its share so far.
            let behind = |kind: usize| (IMIX[kind].1 * slot) as isize - (placed[kind] * total) as isize;
            let kind = (0..IMIX.len()).max_by_key(|kind| behind(*kind)).unwrap_or(0);
            placed[kind] += 1;
            IMIX[kind].0 - FCS_LEN as u16
        });
        Self { cycle: cycle.collect() }
    }

    /// Length in bytes, without FCS, of the `index`th frame of a trial.
    #[inline]
    pub fn len_of(&self, index: u64) -> usize {
        match self.cycle[..] {
            [only] => usize::from(only),
            ref cycle => usize::from(cycle[(index % cycle.len() as u64) as usize]),
        }
    }

    /// The different lengths (without FCS), ascending.
    pub fn distinct(&self) -> Vec<usize> {
        let mut lens: Vec<usize> = self.cycle.iter().map(|len| usize::from(*len)).collect();
        lens.sort_unstable();
        lens.dedup();
        lens
    }

    /// The longest frame in bytes, without FCS.
    pub fn len_max(&self) -> usize {
        self.distinct().last().copied().unwrap_or(FRAME_LEN_MIN)
    }

    /// Mean frame size in bytes, with FCS.
    pub fn mean(&self) -> f64 {
        let sum: usize = self.cycle.iter().map(|len| usize::from(*len) + FCS_LEN).sum();
        sum as f64 / self.cycle.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imix_has_its_shares() {
        let imix = FrameSizes::imix();
        let count = |size: usize| (0..48).filter(|i| imix.len_of(*i) == size - FCS_LEN).count();
        assert_eq!((count(64), count(570), count(1518)), (28, 16, 4));
        assert_eq!(imix.distinct(), [60, 566, 1514]);
        let large: Vec<u64> = (0..96).filter(|i| imix.len_of(*i) == 1514).collect();
        assert!(large.windows(2).all(|w| (10..=14).contains(&(w[1] - w[0]))), "large frames come evenly: {large:?}");
    }

    #[test]
    fn sizes_are_bounded() {
        assert_eq!(FrameSizes::cycle(&[]), Err(SizeError::Empty));
        assert_eq!(FrameSizes::cycle(&[63]), Err(SizeError::OutOfRange(63)));
        assert_eq!(FrameSizes::cycle(&[64, 1519]), Err(SizeError::OutOfRange(1519)));
        let two = FrameSizes::cycle(&[64, 1518]).unwrap();
        assert_eq!((two.len_of(0), two.len_of(1), two.len_of(2), two.len_max()), (60, 1514, 60, 1514));
        assert_eq!(two.mean(), 791.0);
    }
}
