//! Connections per outside address and remote end, for gateways that limit them.

use crate::hash::{KeyKind, KeyedHash};
use crate::index::{Index, Load, NONE};
use crate::pair::Addrs;

#[derive(Debug, Clone, Copy)]
struct Destination {
    addrs: Addrs,
    port: u16,
    protocol: u8,
    /// Connections; of a free entry the next free one.
    count: u32,
}

/// The counts. There is room for as many remote ends as there can be sessions.
#[derive(Debug)]
pub(crate) struct Destinations {
    index: Index,
    entries: Vec<Destination>,
    free: u32,
    limit: u32,
}

impl Destinations {
    pub(crate) fn new(capacity: u32, limit: u32) -> Self {
        Self {
            index: Index::new(capacity as usize, capacity, Load::Dense),
            entries: Vec::with_capacity(capacity as usize),
            free: NONE,
            limit,
        }
    }

    pub(crate) fn memory(&self) -> usize {
        self.index.memory() + self.entries.capacity() * size_of::<Destination>()
    }

    fn find(&self, hash: u64, protocol: u8, outside: u32, remote: (u32, u16)) -> Option<u32> {
        self.index.find(hash, |entry| {
            let entry = &self.entries[entry as usize];
            entry.addrs == Addrs::new(outside, remote.0) && entry.port == remote.1 && entry.protocol == protocol
        })
    }

    fn hash(hash: &KeyedHash, protocol: u8, outside: u32, remote: (u32, u16)) -> u64 {
        hash.hash(KeyKind::Destination, protocol, Addrs::new(outside, remote.0).bits(), u32::from(remote.1))
    }

    /// True if one more connection may go there.
    pub(crate) fn has_room(&self, hash: &KeyedHash, protocol: u8, outside: u32, remote: (u32, u16)) -> bool {
        let found = self.find(Self::hash(hash, protocol, outside, remote), protocol, outside, remote);
        found.is_none_or(|entry| self.entries[entry as usize].count < self.limit)
    }

    /// Counts a connection.
    pub(crate) fn add(&mut self, hash: &KeyedHash, protocol: u8, outside: u32, remote: (u32, u16)) {
        let key = Self::hash(hash, protocol, outside, remote);
        if let Some(entry) = self.find(key, protocol, outside, remote) {
            self.entries[entry as usize].count += 1;
            return;
        }
        let fresh = Destination { addrs: Addrs::new(outside, remote.0), port: remote.1, protocol, count: 1 };
        let number = if let Some(entry) = self.entries.get_mut(self.free as usize) {
            core::mem::replace(&mut self.free, core::mem::replace(entry, fresh).count)
        } else {
            self.entries.push(fresh);
            self.entries.len() as u32 - 1
        };
        self.index.insert(key, number);
    }

    /// A connection ended.
    pub(crate) fn remove(&mut self, hash: &KeyedHash, protocol: u8, outside: u32, remote: (u32, u16)) {
        let key = Self::hash(hash, protocol, outside, remote);
        let Some(number) = self.find(key, protocol, outside, remote) else { return };
        let entry = &mut self.entries[number as usize];
        entry.count -= 1;
        if entry.count == 0 {
            entry.count = self.free;
            self.free = number;
            self.index.remove(key, number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn counts_to_the_limit_per_remote_end_and_forgets_what_ended() {
        let hash = KeyedHash::new(&mut rand_pcg::Pcg64Mcg::seed_from_u64(1));
        let mut counts = Destinations::new(4, 2);
        for _ in 0..2 {
            assert!(counts.has_room(&hash, 6, 1, (2, 443)));
            counts.add(&hash, 6, 1, (2, 443));
        }
        assert!(!counts.has_room(&hash, 6, 1, (2, 443)));
        assert!(
            counts.has_room(&hash, 6, 1, (2, 80))
                && counts.has_room(&hash, 17, 1, (2, 443))
                && counts.has_room(&hash, 6, 3, (2, 443))
        );
        counts.remove(&hash, 6, 1, (2, 443));
        counts.remove(&hash, 6, 1, (2, 443));
        assert!(counts.has_room(&hash, 6, 1, (2, 443)));
        for port in 0..4 {
            counts.add(&hash, 6, 1, (2, port));
        }
        assert_eq!(counts.entries.len(), 4);
    }
}
