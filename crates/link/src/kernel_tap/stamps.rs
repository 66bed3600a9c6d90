//! The memory in which programs leave their stamps: the layouts are those of `bpf/stamp.h`.

use super::STAMPS_MAX;
use crate::bpf::{map_memory, open_error};
use crate::passage::{Passage, Sample};
use crate::sys::Mapping;
use crate::{OpenError, clock};
use aya::programs::{RawTracePoint, RawTracePointRunOptions, TestRun as _};
use aya::{Ebpf, EbpfLoader};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// In and out.
const SIDES: usize = 2;

/// `struct sample`: which frames a side stamps.
#[repr(C)]
struct Side {
    key_at: AtomicU32,
    mask: AtomicU32,
    room: AtomicU32,
    taken: AtomicU32,
    clock_ns: AtomicU64,
    _unused: [u32; 10],
}

/// `struct stamp`.
#[repr(C)]
struct Stamp {
    key: AtomicU64,
    ns: AtomicU64,
}

/// Both maps of an object that stamps.
#[derive(Debug)]
pub(crate) struct Stamps {
    sides: Mapping,
    stamps: Mapping,
}

/// The program that reads the clock.
const CLOCK: &str = "natrig_clock";

/// How often it is asked. One reading that nothing came between is enough.
const CLOCK_READINGS: u32 = 64;

impl Stamps {
    /// Before an object is loaded.
    pub(crate) fn set_up(loader: &mut EbpfLoader<'_>) {
        loader.map_max_entries("stamps", SIDES as u32 * STAMPS_MAX).override_global(
            "STAMPS_PER_SIDE",
            &STAMPS_MAX,
            true,
        );
    }

    /// Those of an object, whose clock can be read from then on.
    pub(crate) fn of(ebpf: &mut Ebpf) -> Result<Self, OpenError> {
        let program = ebpf.program_mut(CLOCK).and_then(|program| program.try_into().ok());
        let program: &mut RawTracePoint = program.ok_or(NO_CLOCK)?;
        program.load().map_err(|error| open_error("load a program that reads the clock", error))?;
        Self::map(|name, len| map_memory(ebpf, name, len))
    }

    /// Where `map` maps so many bytes of an array of that name.
    fn map(map: impl Fn(&str, usize) -> Result<Mapping, OpenError>) -> Result<Self, OpenError> {
        let stamps_len = SIDES * STAMPS_MAX as usize * size_of::<Stamp>();
        Ok(Self { sides: map("samples", SIDES * size_of::<Side>())?, stamps: map("stamps", stamps_len)? })
    }

    /// Has the programs start over with another sample, or none.
    pub(crate) fn begin(&self, sample: Option<Sample>) {
        for side in 0..SIDES {
            let Side { key_at, mask, room, taken, .. } = self.side(side);
            // No room first: nothing is stamped while the rest changes.
            room.store(0, Ordering::SeqCst);
            for stamp in self.used(side) {
                stamp.ns.store(0, Ordering::Relaxed);
            }
            taken.store(0, Ordering::Relaxed);
            if let Some(sample) = sample {
                key_at.store(sample.key_at as u32, Ordering::Relaxed);
                mask.store(u32::from(sample.mask), Ordering::Relaxed);
                room.store(STAMPS_MAX, Ordering::SeqCst);
            }
        }
    }

    /// What came and left.
    pub(crate) fn passages(&self) -> Vec<Passage> {
        let left: HashMap<u64, u64> = self.log(1).collect();
        self.log(0).filter_map(|(key, in_ns)| Some(Passage { key, in_ns, out_ns: *left.get(&key)? })).collect()
    }

    /// By how much the programs' clock is off from ours, at least: a reading must lie between two of ours, before and after.
    pub(crate) fn clock_off_ns(&self, ebpf: &Ebpf) -> Result<u64, OpenError> {
        let program: &RawTracePoint =
            ebpf.program(CLOCK).and_then(|program| program.try_into().ok()).ok_or(NO_CLOCK)?;
        let mut off_ns = 0;
        for _ in 0..CLOCK_READINGS {
            let before_ns = clock::now_ns();
            let ran = program.test_run(RawTracePointRunOptions::default());
            let after_ns = clock::now_ns();
            ran.map_err(|error| open_error("run a program that reads the clock", error))?;
            let at_ns = self.side(0).clock_ns.load(Ordering::Relaxed);
            off_ns = off_ns.max(before_ns.saturating_sub(at_ns)).max(at_ns.saturating_sub(after_ns));
        }
        Ok(off_ns)
    }

    fn log(&self, side: usize) -> impl Iterator<Item = (u64, u64)> {
        let read = |stamp: &Stamp| {
            // Acquire: the program writes the key before the time.
            let ns = stamp.ns.load(Ordering::Acquire);
            (u64::from_be(stamp.key.load(Ordering::Relaxed)), ns)
        };
        self.used(side).iter().map(read).filter(|(_, ns)| *ns > 0)
    }

    /// Stamps that a side has taken up, whether they are written yet or not.
    fn used(&self, side: usize) -> &[Stamp] {
        let taken = self.side(side).taken.load(Ordering::Acquire).min(STAMPS_MAX) as usize;
        // SAFETY: the mapping holds STAMPS_MAX of these for each side, page-aligned, for as long as `self`; all of it is atomic.
        unsafe {
            let first = self.stamps.start().cast::<Stamp>().add(side * STAMPS_MAX as usize);
            std::slice::from_raw_parts(first.as_ptr(), taken)
        }
    }

    fn side(&self, side: usize) -> &Side {
        assert!(side < SIDES);
        // SAFETY: as for `used`; the mapping holds SIDES of these.
        unsafe { self.sides.start().cast::<Side>().add(side).as_ref() }
    }
}

const NO_CLOCK: OpenError = OpenError::Options { reason: "the BPF object lacks the program that reads the clock" };

#[cfg(test)]
mod tests {
    use super::*;

    /// In ordinary memory, with stamps as the programs write them.
    fn stamps() -> Stamps {
        Stamps::map(|_, len| Ok(Mapping::anonymous(len).unwrap())).unwrap()
    }

    fn write(stamps: &Stamps, side: usize, key: u64, ns: u64) {
        let nth = stamps.side(side).taken.fetch_add(1, Ordering::Relaxed) as usize;
        if nth < STAMPS_MAX as usize {
            let stamp = &stamps.used(side)[nth];
            stamp.key.store(key.to_be(), Ordering::Relaxed);
            stamp.ns.store(ns, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_passage_is_a_frame_that_came_and_left() {
        let stamps = stamps();
        stamps.begin(Some(Sample::of(4, 1, 42)));
        let side = stamps.side(1);
        let settings = [&side.key_at, &side.mask, &side.room].map(|field| field.load(Ordering::Relaxed));
        assert_eq!(settings, [42, 3, STAMPS_MAX]);
        for (side, key, ns) in [(0, 5, 100), (0, 6, 110), (1, 6, 150), (1, 7, 160), (0, 8, 120), (1, 8, 0)] {
            write(&stamps, side, key, ns);
        }
        assert_eq!(stamps.passages(), [Passage { key: 6, in_ns: 110, out_ns: 150 }]);
        stamps.begin(None);
        assert_eq!((stamps.passages(), stamps.side(0).room.load(Ordering::Relaxed)), (Vec::new(), 0));
        // What was there is not there again.
        for side in 0..SIDES {
            stamps.side(side).taken.store(2, Ordering::Relaxed);
        }
        assert_eq!(stamps.passages(), []);
    }

    #[test]
    fn more_frames_than_there_is_room_for_do_no_harm() {
        let stamps = stamps();
        stamps.begin(Some(Sample::of(1, 1, 0)));
        for key in 0..u64::from(STAMPS_MAX) + 10 {
            write(&stamps, 0, key, key + 1);
            write(&stamps, 1, key, key + 2);
        }
        assert_eq!(stamps.passages().len(), STAMPS_MAX as usize);
        stamps.begin(None);
        assert_eq!(stamps.passages(), []);
    }
}
