//! Time stamps of frames that pass a point: which of them, and when. Nothing is added to the frames, and no clock is read for them:
//! whoever moves a burst knows when it came and when it left.

/// Which frames are stamped: one in so many, told by eight bytes that they carry through every layer.
///
/// The first four of these number the flow, the other four the frame within it. A frame is chosen if the sum of the two, modulo the
/// distance, is zero: a diagonal through flows and frames, which meets every flow, and every place in a burst, alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    pub(crate) key_at: usize,
    pub(crate) mask: u8,
}

impl Sample {
    /// Of about `frames` frames at most `samples_max`, or one in 256. The key stands at byte `key_at`.
    pub fn of(frames: u64, samples_max: u32, key_at: usize) -> Self {
        let distance = frames.div_ceil(u64::from(samples_max.max(1))).max(1).next_power_of_two().min(256);
        Self { key_at, mask: (distance - 1) as u8 }
    }

    /// One frame in so many is stamped.
    pub fn one_in(self) -> u32 {
        u32::from(self.mask) + 1
    }

    /// The key of a frame of a flow, if it is chosen.
    #[inline]
    pub fn choose(self, flow: u32, seq: u32) -> Option<u64> {
        ((flow.wrapping_add(seq) as u8) & self.mask == 0).then(|| u64::from(flow) << 32 | u64::from(seq))
    }

    /// The key that stands in a frame, if it is chosen.
    #[inline]
    fn key(self, frame: &[u8]) -> Option<u64> {
        let key = frame.get(self.key_at..)?.first_chunk::<8>()?;
        (key[3].wrapping_add(key[7]) & self.mask == 0).then(|| u64::from_be_bytes(*key))
    }
}

/// A frame was here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passage {
    /// Which frame.
    pub key: u64,
    /// When the burst that it came in was fetched.
    pub in_ns: u64,
    /// When that burst had been worked on and was about to be handed on.
    pub out_ns: u64,
}

/// The stamps of one point.
#[derive(Debug, Default)]
pub struct Passages {
    sample: Option<Sample>,
    log: Vec<Passage>,
}

impl Passages {
    /// Starts over: stamps the frames of `sample`, or none, and makes room for `room` stamps. What comes beyond that is not stamped.
    pub fn begin(&mut self, sample: Option<Sample>, room: usize) {
        self.sample = sample;
        self.log.clear();
        if sample.is_some() {
            self.log.reserve_exact(room);
        }
    }

    /// Stamps those of a burst that are chosen.
    #[inline]
    pub fn record<'a>(&mut self, burst: impl Iterator<Item = &'a [u8]>, in_ns: u64, out_ns: u64) {
        let Some(sample) = self.sample else { return };
        for key in burst.filter_map(|frame| sample.key(frame)) {
            if self.log.len() < self.log.capacity() {
                self.log.push(Passage { key, in_ns, out_ns });
            }
        }
    }

    /// The stamps since [`Self::begin`].
    pub fn log(&self) -> &[Passage] {
        &self.log
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(flow: u32, seq: u32) -> Vec<u8> {
        [&[0xff; 5][..], &flow.to_be_bytes(), &seq.to_be_bytes()].concat()
    }

    #[test]
    fn the_distance_follows_the_number_of_frames() {
        let one_in = |frames| Sample::of(frames, 1000, 0).one_in();
        assert_eq!([0, 1000, 1001, 3000, 4000, 1 << 40].map(one_in), [1, 1, 2, 4, 4, 256]);
    }

    #[test]
    fn every_flow_is_met_alike() {
        let sample = Sample::of(64_000, 4000, 5);
        assert_eq!(sample.one_in(), 16);
        for flow in 0..64 {
            assert_eq!((0..1600).filter(|seq| sample.choose(flow, *seq).is_some()).count(), 100, "{flow}");
        }
        for (flow, seq) in [(0, 0), (3, 13), (300, 4), (7, 1), (u32::MAX, 1)] {
            assert_eq!(sample.choose(flow, seq), sample.key(&frame(flow, seq)), "{flow} {seq}");
        }
        assert_eq!(sample.key(&[0; 12]), None, "too short for a key");
    }

    #[test]
    fn what_there_is_no_room_for_is_not_stamped() {
        let mut passages = Passages::default();
        let frames = [frame(0, 0), frame(0, 1), frame(0, 2)];
        let burst = || frames.iter().map(Vec::as_slice);
        passages.record(burst(), 1, 2);
        assert_eq!(passages.log(), []);
        passages.begin(Some(Sample::of(1, 1, 5)), 2);
        passages.record(burst(), 1, 2);
        let at = |key| Passage { key, in_ns: 1, out_ns: 2 };
        assert_eq!(passages.log(), [at(0), at(1)]);
        passages.begin(None, 0);
        passages.record(burst(), 1, 2);
        assert_eq!(passages.log(), []);
    }
}
