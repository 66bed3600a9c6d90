//! Eviction by entry. In an LRU map a session has two entries, one for each direction, and pressure takes either of them (Cilium,
//! bpf/lib/nat.h over BPF_MAP_TYPE_LRU_HASH). What is left is translated in one direction only, until a packet of that direction makes
//! the other entry again; older versions never do. A flow whose outbound entry is gone gets another port with its next packet.
//!
//! Age is the flow's, not the entry's. The map itself refreshes what a look-up finds (kernel/bpf/hashtab.c), so that where only one entry is
//! looked up the other one of a one-way flow ages there, and does not here.

use crate::behaviour::FullPolicy;
use crate::create::EVICTION_SAMPLE;
use crate::session::flag;
use crate::wheel::before;
use crate::{Direction, Nat};
use rand::RngExt;

/// Entries of a new session.
pub(crate) const ENTRIES_PER_SESSION: u32 = 2;

impl Nat {
    /// Evicts entries, but none of session `keep`, until there is room for so many.
    pub(crate) fn make_room_for(&mut self, entries: u32, keep: Option<u32>) {
        while !self.table.has_room_for(entries) {
            let Some((victim, dir)) = self.sample_entry(keep) else { return };
            self.evict_entry(victim, dir);
        }
    }

    fn evict_entry(&mut self, victim: u32, dir: Direction) {
        let session = self.table.slab.at(victim);
        let is_half = session.has(flag::HALF);
        // What is not translated has no entries of this kind: it goes whole.
        let direct = self.address_number(session.outside().0).is_none();
        self.counters.entries_evicted += if is_half || !direct { 1 } else { 2 };
        if is_half || direct {
            self.end_early(victim, false);
            self.counters.evicted += 1;
        } else {
            self.table.lose(victim, dir);
        }
    }

    /// The least recently used entry of a few.
    fn sample_entry(&mut self, keep: Option<u32>) -> Option<(u32, Direction)> {
        let slots = self.table.slab.entries.len() as u32;
        let mut oldest = None;
        let mut seen = 0;
        // Half of the slots may be free, when no session has lost an entry.
        for _ in 0..8 * EVICTION_SAMPLE {
            let (slot, dir) = (self.rng.random_range(0..slots), self.any_direction());
            let session = self.table.slab.at(slot);
            // A session with one entry is drawn half as often as one with two.
            let drawn = !session.is_free() && (!session.has(flag::HALF) || dir == Direction::Outbound);
            if !drawn || keep == Some(slot) {
                continue;
            }
            if oldest.is_none_or(|(other, _)| before(self.last_used(slot), self.last_used(other))) {
                oldest = Some((slot, dir));
            }
            seen += 1;
            if seen == EVICTION_SAMPLE {
                break;
            }
        }
        let any = || (0..slots).find(|slot| !self.table.slab.at(*slot).is_free() && keep != Some(*slot));
        oldest.or_else(|| any().map(|slot| (slot, Direction::Outbound)))
    }

    fn any_direction(&mut self) -> Direction {
        if self.rng.random() { Direction::Outbound } else { Direction::Inbound }
    }

    /// Before a packet of direction `dir` is translated by a session: if that has lost the other direction's entry, it is made again where
    /// the profile does that. False if another session has it now (BPF_NOEXIST): then the packet is not translated.
    pub(crate) fn restore(&mut self, index: u32, dir: Direction) -> bool {
        let session = *self.table.slab.at(index);
        if !session.has(flag::HALF) || self.config.behaviour.table.full != FullPolicy::EvictEntryRestore {
            return true;
        }
        self.table.flush();
        let lost = match dir {
            Direction::Outbound => Direction::Inbound,
            Direction::Inbound => Direction::Outbound,
        };
        if let Some(holder) = self.table.holder(&session, lost) {
            if !self.is_dead(holder) {
                // By a packet from inside the flow has got another port since: that entry stands, and this one serves as long as it lasts.
                return lost == Direction::Outbound;
            }
            self.end_early(holder, false);
            self.counters.expired += 1;
        }
        self.make_room_for(1, Some(index));
        self.table.regain(index, lost);
        self.counters.entries_restored += 1;
        true
    }
}
