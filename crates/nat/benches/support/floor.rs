//! The least that any translator has to do.

use natrig_wire::Frame;
use std::hint::black_box;

/// What no translator can do without, and nothing else: read the frame's header, fetch one line of a table, note there that the flow lives,
/// write the header. Batches and table are as large as the translator's.
pub(crate) struct Floor {
    table: Vec<[u64; 8]>,
}

const BATCH: usize = 64;

impl Floor {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { table: (0..bytes as u64 / 64).map(|n| [n; 8]).collect() }
    }

    pub(crate) fn run(&mut self, frames: &mut [Frame<'_>], now: u64) {
        for batch in frames.chunks_mut(BATCH) {
            let mut places = [0; BATCH];
            for (frame, place) in batch.iter().zip(&mut places) {
                let key: u64 = frame.bytes()[26..].first_chunk().map_or(0, |key| u64::from_be_bytes(*key));
                let ports: u32 = frame.bytes()[34..].first_chunk().map_or(0, |key| u32::from_be_bytes(*key));
                let mixed = (key ^ u64::from(ports) << 16).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                *place = ((u128::from(mixed) * self.table.len() as u128) >> 64) as usize;
            }
            let mut kept = 0;
            for place in places {
                kept ^= self.table[place][0];
            }
            black_box(kept);
            for (frame, place) in batch.iter_mut().zip(places) {
                let entry = &mut self.table[place];
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
