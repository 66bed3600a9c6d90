//! A table that is an LRU map with an entry for each direction of a flow (Cilium, bpf/lib/nat.h over BPF_MAP_TYPE_LRU_HASH).
//!
//! Every session says which of its two entries are in the map. Whatever the session has else stands in the value of either entry, so
//! that one is enough to translate its direction and, in newer versions, to make the other one again. An entry is as old as its flow: when
//! the last packet of either direction was is all that the translator remembers.

use natrig_nat::Direction;
use natrig_nat::behaviour::FullPolicy;

use super::{Event, Reference, Row, Session};

/// Entries that the translator looks at for the oldest one.
const SAMPLE: i32 = 8;
/// A run of victims that comes by chance once in so many is a difference.
const TOO_UNLIKELY: f64 = 1e12;

/// An entry that has gone, or both of a session that goes whole.
#[derive(Clone, Copy)]
struct Victim {
    entries: usize,
    last_used: u64,
}

impl Session {
    pub(super) const fn has_entry(&self, dir: Direction) -> bool {
        self.entries[dir as usize]
    }

    /// The session with those of its entries that are there afterwards.
    fn left_in(&self, rows: &[Row]) -> Self {
        let row = rows.iter().find(|row| row.same_session(self));
        let stays = |dir: usize| self.entries[dir] && row.is_some_and(|row| row.entries[dir]);
        Self { entries: [stays(0), stays(1)], ..self.clone() }
    }

    fn entry_count(&self) -> usize {
        self.entries.iter().filter(|is_there| **is_there).count()
    }
}

impl Reference {
    /// Before a packet of direction `dir` passes by session `at`: its lost entry is made again, if the profile does that. Returns where the
    /// session is then, and whether the packet may pass.
    pub(super) fn restore(&mut self, event: &Event<'_>, at: usize, dir: Direction) -> Result<(usize, bool), String> {
        let session = &self.sessions[at];
        let lost = dir.reversed();
        if session.has_entry(lost) || self.behaviour().table.full != FullPolicy::EvictEntryRestore {
            return Ok((at, true));
        }
        let holder = match lost {
            Direction::Outbound => self.find(session.protocol, session.inside, session.remote),
            Direction::Inbound => self.find_inbound(session.protocol, session.remote, session.outside),
        };
        // BPF_NOEXIST: nothing goes out under a port whose answers are another flow's. What comes in is welcome as it is.
        if holder.is_some() {
            return Ok((at, dir == Direction::Inbound));
        }
        let at = self.make_room(event, 1, Some(at))?;
        self.sessions[at].entries[lost as usize] = true;
        Ok((at, true))
    }

    /// Follows the translator in what it evicted for so many new entries: as many as it had to, none of session `keep`, and old ones.
    /// Returns where that session is now, or where the next one comes to be.
    pub(super) fn make_room(&mut self, event: &Event<'_>, needed: usize, keep: Option<usize>) -> Result<usize, String> {
        let there: usize = self.sessions.iter().map(Session::entry_count).sum();
        let too_many = (there + needed).saturating_sub(2 * self.behaviour().table.capacity as usize);
        let after: Vec<Session> = self.sessions.iter().map(|session| session.left_in(event.rows)).collect();
        let mut victims = Vec::new();
        let mut ages = Vec::new();
        for (at, (session, after)) in self.sessions.iter().zip(&after).enumerate() {
            let gone = session.entry_count() - after.entry_count();
            // What is routed as it is goes whole.
            let entries = if session.direct { 2 } else { 1 };
            if gone % entries != 0 || gone > 0 && keep == Some(at) {
                return Err(format!("{session:?} has lost {gone} entries"));
            }
            let last_used = self.last_used(session);
            victims.extend(vec![Victim { entries, last_used }; gone / entries]);
            if keep != Some(at) {
                ages.extend(vec![last_used; session.entry_count()]);
            }
        }
        let gone: usize = victims.iter().map(|victim| victim.entries).sum();
        let largest = victims.iter().map(|victim| victim.entries).max().unwrap_or(0);
        if gone < too_many || gone > 0 && gone - largest >= too_many {
            return Err(format!("{gone} entries of {there} went for {needed} new ones"));
        }
        self.judge_ages(&victims, &ages)?;
        let is_left = |session: &Session| session.entry_count() > 0;
        let at = after[..keep.unwrap_or(after.len())].iter().filter(|session| is_left(session)).count();
        self.sessions = after.into_iter().filter(is_left).collect();
        Ok(at)
    }

    /// The tick of the packet that set the deadline.
    fn last_used(&self, session: &Session) -> u64 {
        session.expires.saturating_sub(self.timeout(session.phase))
    }

    /// The victim is the oldest of a few entries drawn by lot. That all of these fall among the entries no older than the victim has the
    /// chance of their share to the power of [`SAMPLE`]; half of its inverse root is 1 on average at most, if the lots are fair, so that
    /// the product over all victims grows past a number only once in so many times (Ville's inequality).
    fn judge_ages(&mut self, victims: &[Victim], ages: &[u64]) -> Result<(), String> {
        let gone: usize = victims.iter().map(|victim| victim.entries).sum();
        for victim in victims {
            let not_older = ages.iter().filter(|last_used| **last_used >= victim.last_used).count();
            // The others may have gone before.
            let among = (ages.len() + victim.entries - gone).max(1);
            let share = (not_older as f64 / among as f64).min(1.0);
            self.suspicion = self.suspicion.max(1.0) * 0.5 * share.powi(-SAMPLE / 2);
            if self.suspicion > TOO_UNLIKELY {
                return Err(format!("entries used at {}, of {ages:?}, go too early too often", victim.last_used));
            }
        }
        Ok(())
    }
}
