//! A flat hash index: keyed hash → number of a slab entry.
//!
//! Buckets of one cache line hold twelve entries of a one-byte tag and a 32-bit number; the keys themselves lie in the slab. A bucket
//! that is full sends new entries on to the next one and counts them, so that a look-up knows when to stop and removal leaves no
//! tombstones (the overflow count of Facebook's F14). A hit costs one line here and one in the slab.

/// No entry.
pub(crate) const NONE: u32 = u32::MAX;

const SLOTS: usize = 12;
/// Per cent of the slots that are used when the index is as full as it may be: 10.2 of 12.
const LOAD_PERCENT: usize = 85;

const LOW_BITS_8: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS_8: u64 = 0x8080_8080_8080_8080;
const LOW_BITS_4: u32 = 0x0101_0101;
const HIGH_BITS_4: u32 = 0x8080_8080;

#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Bucket {
    tags_low: u64,
    tags_high: u32,
    /// Entries whose way from their home bucket leads past this one.
    overflow: u32,
    slots: [u32; SLOTS],
}

const EMPTY: Bucket = Bucket { tags_low: 0, tags_high: 0, overflow: 0, slots: [NONE; SLOTS] };

impl Bucket {
    /// A bit (the top one of each byte) for each slot whose tag may be `tag`. A byte above a true match can be a false one, which
    /// the comparison of keys weeds out.
    #[inline(always)]
    fn matches(&self, tag: u8) -> (u64, u32) {
        let low = self.tags_low ^ (u64::from(tag) * LOW_BITS_8);
        let high = self.tags_high ^ (u32::from(tag) * LOW_BITS_4);
        (low.wrapping_sub(LOW_BITS_8) & !low & HIGH_BITS_8, high.wrapping_sub(LOW_BITS_4) & !high & HIGH_BITS_4)
    }

    fn set_tag(&mut self, slot: usize, tag: u8) {
        if slot < 8 {
            let shift = slot * 8;
            self.tags_low = self.tags_low & !(0xff << shift) | u64::from(tag) << shift;
        } else {
            let shift = (slot - 8) * 8;
            self.tags_high = self.tags_high & !(0xff << shift) | u32::from(tag) << shift;
        }
    }

    fn free_slot(&self) -> Option<usize> {
        self.slots.iter().position(|slot| *slot == NONE)
    }
}

/// Iterates over candidate slots of a match result.
#[inline(always)]
fn next_slot(bits: &mut (u64, u32)) -> Option<usize> {
    if bits.0 != 0 {
        let slot = bits.0.trailing_zeros() as usize / 8;
        bits.0 &= bits.0 - 1;
        Some(slot)
    } else if bits.1 != 0 {
        let slot = 8 + bits.1.trailing_zeros() as usize / 8;
        bits.1 &= bits.1 - 1;
        Some(slot)
    } else {
        None
    }
}

#[inline(always)]
fn tag_of(hash: u64) -> u8 {
    // The low byte: the bucket comes from the high half. Zero means "empty".
    (hash as u8).max(1)
}

/// The index. It never grows: it is made for a capacity, and holds at least as many.
#[derive(Debug)]
pub(crate) struct Index {
    buckets: Box<[Bucket]>,
}

impl Index {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        let buckets = (capacity * 100).div_ceil(SLOTS * LOAD_PERCENT).max(2);
        Self { buckets: vec![EMPTY; buckets].into_boxed_slice() }
    }

    /// Bytes of memory used.
    pub(crate) fn memory(&self) -> usize {
        size_of_val(&*self.buckets)
    }

    #[inline(always)]
    fn home(&self, hash: u64) -> usize {
        (((hash >> 32) * self.buckets.len() as u64) >> 32) as usize
    }

    #[inline(always)]
    fn next(&self, bucket: usize) -> usize {
        if bucket + 1 == self.buckets.len() { 0 } else { bucket + 1 }
    }

    /// Touches the cache line where a look-up of `hash` begins; the value only keeps the load alive.
    #[inline(always)]
    pub(crate) fn touch(&self, hash: u64) -> u64 {
        self.buckets[self.home(hash)].tags_low
    }

    /// The first entry in the home bucket whose tag fits, unverified, or [`NONE`]: what a batch fetches ahead.
    #[inline(always)]
    pub(crate) fn candidate(&self, hash: u64) -> u32 {
        let bucket = &self.buckets[self.home(hash)];
        let mut bits = bucket.matches(tag_of(hash));
        next_slot(&mut bits).map_or(NONE, |slot| bucket.slots[slot])
    }

    /// The entry with this hash for which `is_key` holds.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is_key: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = tag_of(hash);
        let mut at = self.home(hash);
        for _ in 0..self.buckets.len() {
            let bucket = &self.buckets[at];
            let mut bits = bucket.matches(tag);
            while let Some(slot) = next_slot(&mut bits) {
                let entry = bucket.slots[slot];
                if entry != NONE && is_key(entry) {
                    return Some(entry);
                }
            }
            if bucket.overflow == 0 {
                return None;
            }
            at = self.next(at);
        }
        None
    }

    /// Adds an entry. The caller keeps the number of entries within the capacity and does not add a key twice.
    pub(crate) fn insert(&mut self, hash: u64, entry: u32) {
        let mut at = self.home(hash);
        for _ in 0..self.buckets.len() {
            let bucket = &mut self.buckets[at];
            if let Some(slot) = bucket.free_slot() {
                bucket.slots[slot] = entry;
                bucket.set_tag(slot, tag_of(hash));
                return;
            }
            bucket.overflow += 1;
            at = self.next(at);
        }
        debug_assert!(false, "an index holds no more than its capacity");
    }

    /// Removes an entry; true if it was there.
    pub(crate) fn remove(&mut self, hash: u64, entry: u32) -> bool {
        let Some((at, slot)) = self.position(hash, entry) else { return false };
        let mut passed = self.home(hash);
        while passed != at {
            self.buckets[passed].overflow -= 1;
            passed = self.next(passed);
        }
        let bucket = &mut self.buckets[at];
        bucket.slots[slot] = NONE;
        bucket.set_tag(slot, 0);
        true
    }

    /// Puts `new` in the place of `old`, under the same key.
    pub(crate) fn replace(&mut self, hash: u64, old: u32, new: u32) -> bool {
        let Some((at, slot)) = self.position(hash, old) else { return false };
        self.buckets[at].slots[slot] = new;
        true
    }

    fn position(&self, hash: u64, entry: u32) -> Option<(usize, usize)> {
        let mut at = self.home(hash);
        for _ in 0..self.buckets.len() {
            let bucket = &self.buckets[at];
            if let Some(slot) = bucket.slots.iter().position(|slot| *slot == entry) {
                return Some((at, slot));
            }
            if bucket.overflow == 0 {
                return None;
            }
            at = self.next(at);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn a_bucket_is_a_cache_line() {
        assert_eq!(size_of::<Bucket>(), 64);
    }

    #[test]
    fn full_to_capacity_every_entry_is_found() {
        let mut index = Index::with_capacity(10_000);
        let hash = |entry: u32| u64::from(entry).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for entry in 0..10_000 {
            index.insert(hash(entry), entry);
        }
        for entry in 0..10_000 {
            assert_eq!(index.find(hash(entry), |found| found == entry), Some(entry));
        }
        assert!(index.memory() <= 10_000 * 64 / 10);
        for entry in 0..10_000 {
            assert!(index.remove(hash(entry), entry));
        }
        assert!(
            index.buckets.iter().all(|bucket| bucket.overflow == 0 && bucket.tags_low == 0 && bucket.tags_high == 0)
        );
    }

    proptest! {
        /// Few distinct hashes, so that buckets overflow into each other all the time.
        #[test]
        fn agrees_with_a_hash_map(operations in proptest::collection::vec((0u8..3, 0u64..5, 0u32..40), 0..400)) {
            let mut index = Index::with_capacity(40);
            let mut model: HashMap<u32, u64> = HashMap::new();
            for (operation, place, entry) in operations {
                let hash = place << 62 | place;
                match (operation, model.get(&entry).copied()) {
                    (0, None) if model.len() < 40 => {
                        index.insert(hash, entry);
                        model.insert(entry, hash);
                    }
                    (1, Some(hash)) => {
                        prop_assert!(index.remove(hash, entry));
                        model.remove(&entry);
                    }
                    (2, Some(hash)) if !model.contains_key(&(entry + 100)) => {
                        prop_assert!(index.replace(hash, entry, entry + 100));
                        model.remove(&entry);
                        model.insert(entry + 100, hash);
                    }
                    _ => {}
                }
                for (entry, hash) in &model {
                    prop_assert_eq!(index.find(*hash, |found| found == *entry), Some(*entry));
                }
            }
        }
    }
}
