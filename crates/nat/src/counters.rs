//! What a translator counts.

use crate::DropReason;

/// Tries per port allocation are counted one by one up to this many.
pub const TRIES_MAX: usize = 256;

/// Counts since the translator was made. All are monotonic but the gauges, which say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counters {
    /// Frames forwarded with their addresses translated, outbound.
    pub translated_out: u64,
    /// Frames forwarded with their addresses translated, inbound.
    pub translated_in: u64,
    /// Frames forwarded untranslated because policy says so.
    pub passed: u64,
    /// Frames from inside sent back inside with both ends translated.
    pub hairpinned: u64,
    /// Frames kept for later (verdict `Hold`).
    pub held: u64,
    /// Kept frames presented again with a verdict other than `Drop`.
    pub released: u64,
    /// Kept frames that were dropped in the end; they are also in `drops`.
    pub held_dropped: u64,
    /// Additional frames made out of one that was too long for the next link.
    pub fragments_made: u64,
    /// Dropped frames by reason; index with [`Counters::dropped`].
    pub drops: [u64; DropReason::COUNT],
    /// Frames answered by an ICMP error, a reset or an echo reply in their place, by the reason they were not forwarded.
    pub answered: [u64; DropReason::COUNT],
    /// Echo requests to an outside address answered by the translator itself.
    pub echo_answered: u64,
    /// Mappings (with endpoint-dependent mapping: sessions) created.
    pub created: u64,
    /// Mappings and sessions that ended because they were idle, or because a hold ran out.
    pub expired: u64,
    /// Mappings and sessions that ended before their time to make room, where the profile evicts.
    pub evicted: u64,
    /// Sessions that ended because a new configuration does not allow them ([`Nat::adopt`](crate::Nat::adopt)).
    pub revoked: u64,
    /// Entries of sessions evicted one by one, where the profile does that. A session that has lost both counts as evicted, too.
    pub entries_evicted: u64,
    /// Entries that were evicted and made again.
    pub entries_restored: u64,
    /// ICMP errors translated, both directions.
    pub icmp_errors: u64,
    /// Gauge: entries in the table now, held ports included.
    pub live: u64,
    /// Successful port allocations by the number of ports tried; the last bucket holds [`TRIES_MAX`] and more. An allocation that
    /// kept the source port or an existing mapping's port at the first attempt counts as one try.
    pub tries: [u64; TRIES_MAX + 1],
    /// Port allocations that failed after all tries.
    pub allocation_failures: u64,
    /// Allocations that asked for collection because they needed more than half of the tries they may make.
    pub pressure_signals: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            translated_out: 0,
            translated_in: 0,
            passed: 0,
            hairpinned: 0,
            held: 0,
            released: 0,
            held_dropped: 0,
            fragments_made: 0,
            drops: [0; DropReason::COUNT],
            answered: [0; DropReason::COUNT],
            echo_answered: 0,
            created: 0,
            expired: 0,
            evicted: 0,
            entries_evicted: 0,
            entries_restored: 0,
            revoked: 0,
            icmp_errors: 0,
            live: 0,
            tries: [0; TRIES_MAX + 1],
            allocation_failures: 0,
            pressure_signals: 0,
        }
    }
}

impl Counters {
    /// Frames dropped for `reason`.
    pub const fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }

    /// Frames answered in their place for `reason`.
    pub const fn answered(&self, reason: DropReason) -> u64 {
        self.answered[reason as usize]
    }

    /// All frames dropped.
    pub fn dropped_total(&self) -> u64 {
        self.drops.iter().sum()
    }

    pub(crate) fn count_tries(&mut self, tries: u32) {
        self.tries[(tries as usize).min(TRIES_MAX)] += 1;
    }
}
