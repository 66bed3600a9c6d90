//! A flat hash index: keyed hash → number of a slab entry.
//!
//! Buckets of one cache line hold twelve slots: a one-byte tag each, and 32 bits with the number and as many more bits of the hash as the
//! number leaves room for. The keys themselves lie in the slab. A bucket that is full sends new entries on to the next one and counts them,
//! so that a look-up knows when to stop and removal leaves no tombstones (the overflow count of Facebook's F14). A hit costs one line here
//! and one in the slab, and hardly ever a wrong one.

use crate::prefetch::{equal_bytes, prefetch};

/// No entry.
pub(crate) const NONE: u32 = u32::MAX;

const SLOTS: usize = 12;

/// Per cent of the slots that are used when an index is as full as it may be. On the ordinary path few entries may lie outside their
/// home bucket (about one in eighty); elsewhere memory counts more.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Load {
    Fast = 65,
    Dense = 85,
}

#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Bucket {
    tags: [u8; SLOTS],
    /// Entries whose way from their home bucket leads past this one.
    overflow: u32,
    pub(crate) slots: [u32; SLOTS],
}

const EMPTY: Bucket = Bucket { tags: [0; SLOTS], overflow: 0, slots: [NONE; SLOTS] };

impl Bucket {
    /// The slots whose tag is `tag`.
    #[inline(always)]
    fn matches(&self, tag: u8) -> Matches {
        // Sixteen bytes of one line: with the count behind the tags.
        let [a, b, c, d, e, f, g, h, i, j, k, l] = self.tags;
        let low = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let high = u64::from(u32::from_le_bytes([i, j, k, l])) | u64::from(self.overflow) << 32;
        Matches(equal_bytes([low, high], tag) & ((1 << SLOTS) - 1))
    }

    /// Puts an entry into the first free slot; false if there is none. The tag of a free slot is zero, as may be that of others.
    #[inline(always)]
    fn insert(&mut self, tag: u8, packed: u32) -> bool {
        let Some(slot) = self.slots.iter().position(|slot| *slot == NONE) else { return false };
        self.slots[slot] = packed;
        self.tags[slot] = tag;
        true
    }

    fn clear(&mut self, slot: usize) {
        self.slots[slot] = NONE;
        self.tags[slot] = 0;
    }
}

/// A bit for each slot.
#[derive(Debug, Clone, Copy)]
struct Matches(u32);

impl Matches {
    /// The first slot; more than there are if there is none.
    #[inline(always)]
    const fn first(self) -> usize {
        self.0.trailing_zeros() as usize
    }

    #[inline(always)]
    const fn without_first(self) -> Self {
        Self(self.0 & self.0.wrapping_sub(1))
    }
}

#[inline(always)]
const fn tag_of(hash: u64) -> u8 {
    // The low byte: the bucket comes from the high half.
    hash as u8
}

/// The index. It never grows: it is made for a capacity, and holds at least as many.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) buckets: Box<[Bucket]>,
    /// The bits of a slot that are of the hash; the others are the entry's number.
    pub(crate) hash_mask: u32,
}

impl Index {
    /// For at most `capacity` entries, whose numbers are below `numbers`.
    pub(crate) fn new(capacity: usize, numbers: u32, load: Load) -> Self {
        let buckets = (capacity * 100).div_ceil(SLOTS * load as usize).max(2);
        // All ones is no number: a slot of all ones is empty.
        let hash_mask = !(u32::MAX >> numbers.leading_zeros());
        Self { buckets: vec![EMPTY; buckets].into_boxed_slice(), hash_mask }
    }

    /// Bytes of memory used.
    pub(crate) fn memory(&self) -> usize {
        size_of_val(&*self.buckets)
    }

    /// The number of the bucket where a look-up begins.
    #[inline(always)]
    pub(crate) fn home(&self, hash: u64) -> u32 {
        (((hash >> 32) * self.buckets.len() as u64) >> 32) as u32
    }

    #[inline(always)]
    fn next(&self, bucket: usize) -> usize {
        if bucket + 1 == self.buckets.len() { 0 } else { bucket + 1 }
    }

    /// What a slot holds for an entry.
    #[inline(always)]
    fn pack(&self, hash: u64, entry: u32) -> u32 {
        entry | self.hash_bits(hash)
    }

    /// The bits of the hash that a slot has room for: the upper ones of the lower half. The tag is the lowest ones of that.
    #[inline(always)]
    pub(crate) const fn hash_bits(&self, hash: u64) -> u32 {
        hash as u32 & self.hash_mask
    }

    /// Asks for a bucket's cache line.
    #[inline(always)]
    pub(crate) fn prefetch(&self, home: u32) {
        prefetch(&self.buckets, home as usize);
    }

    /// Asks for the line where a look-up goes on.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(crate) fn prefetch_next(&self, home: u32) {
        prefetch(&self.buckets, self.next(home as usize));
    }

    /// The first entry in the home bucket whose hash fits, its key unseen: what a batch fetches ahead. None if a look-up has to go further,
    /// or finds nothing.
    #[inline(always)]
    pub(crate) fn candidate(&self, home: u32, hash: u64) -> Option<u32> {
        let bucket = self.buckets.get(home as usize)?;
        let packed = bucket.slots.get(bucket.matches(tag_of(hash)).first())?;
        // With the right bits of the hash taken away, only the number is left.
        let number = packed ^ self.hash_bits(hash);
        (number & self.hash_mask == 0).then_some(number)
    }

    /// The first such entry on the whole way, or a number that no entry has.
    #[inline(never)]
    pub(crate) fn candidate_beyond(&self, home: u32, hash: u64) -> u32 {
        let mut candidate = NONE;
        self.walk(home, hash, |entry| {
            candidate = entry;
            true
        });
        candidate
    }

    /// Shows `stop` the entries whose hash fits until it says so.
    #[inline(always)]
    fn walk(&self, home: u32, hash: u64, mut stop: impl FnMut(u32) -> bool) {
        let (tag, bits) = (tag_of(hash), self.hash_bits(hash));
        let mut at = home as usize;
        for _ in 0..self.buckets.len() {
            let bucket = &self.buckets[at];
            let mut matches = bucket.matches(tag);
            let mut slot = matches.first();
            while let Some(packed) = bucket.slots.get(slot) {
                if *packed != NONE && packed & self.hash_mask == bits && stop(packed & !self.hash_mask) {
                    return;
                }
                matches = matches.without_first();
                slot = matches.first();
            }
            if bucket.overflow == 0 {
                return;
            }
            at = self.next(at);
        }
    }

    /// The entry with this hash for which `is_key` holds.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is_key: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut found = None;
        self.walk(self.home(hash), hash, |entry| {
            let is = is_key(entry);
            if is {
                found = Some(entry);
            }
            is
        });
        found
    }

    /// Adds an entry. The caller keeps the number of entries within the capacity and does not add a key twice.
    #[inline]
    pub(crate) fn insert(&mut self, hash: u64, entry: u32) {
        let packed = self.pack(hash, entry);
        let mut at = self.home(hash) as usize;
        while !self.buckets[at].insert(tag_of(hash), packed) {
            self.buckets[at].overflow += 1;
            at = self.next(at);
        }
    }

    /// Removes an entry; true if it was there.
    pub(crate) fn remove(&mut self, hash: u64, entry: u32) -> bool {
        let Some((at, slot)) = self.position(hash, entry) else { return false };
        let mut passed = self.home(hash) as usize;
        while passed != at {
            self.buckets[passed].overflow -= 1;
            passed = self.next(passed);
        }
        self.buckets[at].clear(slot);
        true
    }

    /// Puts `new` in the place of `old`, under the same key.
    pub(crate) fn replace(&mut self, hash: u64, old: u32, new: u32) -> bool {
        let Some((at, slot)) = self.position(hash, old) else { return false };
        self.buckets[at].slots[slot] = self.pack(hash, new);
        true
    }

    fn position(&self, hash: u64, entry: u32) -> Option<(usize, usize)> {
        let packed = self.pack(hash, entry);
        let mut at = self.home(hash) as usize;
        for _ in 0..self.buckets.len() {
            let bucket = &self.buckets[at];
            if let Some(slot) = bucket.slots.iter().position(|slot| *slot == packed) {
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
        let mut index = Index::new(10_000, 10_000, Load::Dense);
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
        assert!(index.buckets.iter().all(|bucket| bucket.overflow == 0 && bucket.tags == [0; SLOTS]));
    }

    #[test]
    fn the_largest_number_is_not_mistaken_for_an_empty_slot() {
        for numbers in [1, 2, 3, 4, 255, 256, crate::CAPACITY_MAX] {
            let mut index = Index::new(4, numbers, Load::Fast);
            index.insert(u64::MAX, numbers - 1);
            assert_eq!(index.find(u64::MAX, |_| true), Some(numbers - 1));
            assert_eq!(index.candidate(index.home(u64::MAX), u64::MAX), Some(numbers - 1));
            assert!(index.remove(u64::MAX, numbers - 1));
            // No valid number at any rate.
            assert!(index.candidate(index.home(u64::MAX), u64::MAX).is_none_or(|number| number >= numbers));
            assert!(index.candidate_beyond(index.home(u64::MAX), u64::MAX) >= numbers);
        }
    }

    proptest! {
        #[test]
        fn matches_are_the_slots_with_the_tag(tags: [u8; SLOTS], overflow: u32, at in 0..SLOTS) {
            let bucket = Bucket { tags, overflow, ..EMPTY };
            for tag in [tags[at], !tags[at], 0] {
                let mut matches = bucket.matches(tag);
                for slot in (0..SLOTS).filter(|slot| tags[*slot] == tag) {
                    prop_assert_eq!(matches.first(), slot);
                    matches = matches.without_first();
                }
                prop_assert!(matches.first() >= SLOTS);
            }
        }

        /// Few distinct hashes, so that buckets overflow into each other all the time.
        #[test]
        fn agrees_with_a_hash_map(operations in proptest::collection::vec((0u8..3, 0u64..5, 0u32..40), 0..400)) {
            let mut index = Index::new(40, 200, Load::Dense);
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
                    let candidate = index.candidate(index.home(*hash), *hash);
                    prop_assert_ne!(candidate.unwrap_or_else(|| index.candidate_beyond(index.home(*hash), *hash)), NONE);
                }
            }
        }
    }
}
