//! The least that any translator has to do.

use crate::prefetch::prefetch;
use natrig_wire::Frame;
use std::hint::black_box;

/// What no translator can do without, and nothing else: read the frame's header, fetch one line of a table, note there that the flow lives,
/// write the header. No look-up: where the line is, is computed from the header. No checks: every frame is believed. As many entries of one
/// line as the translator has mappings, batches as large as its batches, the same hint to fetch ahead.
pub(crate) struct Floor {
    table: Vec<Entry>,
}

/// An entry is a cache line, as a session is.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Entry([u64; 8]);

const BATCH: usize = 128;

/// How lines are fetched ahead.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Touch {
    /// By the hint that the translator uses.
    Hint,
    /// By reading them: what there is without that hint.
    Read,
}

impl Floor {
    pub(crate) fn new(mappings: usize) -> Self {
        Self { table: (0..mappings as u64).map(|n| Entry([n; 8])).collect() }
    }

    pub(crate) fn run(&mut self, frames: &mut [Frame<'_>], now: u64, touch: Touch) {
        for batch in frames.chunks_mut(BATCH) {
            let mut places = [0; BATCH];
            for (frame, place) in batch.iter().zip(&mut places) {
                let key: u64 = frame.bytes()[26..].first_chunk().map_or(0, |key| u64::from_be_bytes(*key));
                let ports: u32 = frame.bytes()[34..].first_chunk().map_or(0, |key| u32::from_be_bytes(*key));
                let mixed = (key ^ u64::from(ports) << 16).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                *place = ((u128::from(mixed) * self.table.len() as u128) >> 64) as usize;
                if touch == Touch::Hint {
                    prefetch(&self.table, *place);
                }
            }
            if touch == Touch::Read {
                black_box(places.iter().fold(0, |kept, place| kept ^ self.table[*place].0[0]));
            }
            for (frame, place) in batch.iter_mut().zip(places) {
                let entry = &mut self.table[place].0;
                entry[7] = now;
                let bytes = frame.bytes_mut();
                bytes[22] = entry[1] as u8;
                bytes[24..26].copy_from_slice(&(entry[2] as u16).to_be_bytes());
                bytes[26..34].copy_from_slice(&entry[3].to_be_bytes());
                bytes[34..38].copy_from_slice(&(entry[4] as u32).to_be_bytes());
                bytes[40..42].copy_from_slice(&(entry[5] as u16).to_be_bytes());
            }
        }
    }
}
