//! A new configuration without an end to what goes on: sessions of one translator carried over to another.

use crate::behaviour::{Dependence, Overload};
use crate::entries::ENTRIES_PER_SESSION;
use crate::nat::is_translatable;
use crate::policy::Decision;
use crate::session::{Session, flag};
use crate::table::slot_of;
use crate::wheel::before;
use crate::{Direction, Nat};
use core::net::Ipv4Addr;

/// What became of another translator's sessions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Sessions that go on as they were: same outside address and port, same state.
    pub kept: u64,
    /// Sessions that the new configuration does not allow.
    pub revoked: u64,
}

/// Flags that a session has by itself, and not by its place in the table.
const OWN_FLAGS: u8 = flag::HAIRPIN | flag::FROM_OUTSIDE | flag::REPLIED;

impl Nat {
    /// Takes over what goes on in `old`, to stand in its place from now on: its clock, its counters, and every session that this
    /// translator could have made, with its outside address, port, state and the time that it has left (at most this translator's
    /// timeout). Ports that are held after their mapping ended stay held. To be called on a translator that has seen no packet yet.
    ///
    /// Revoked are sessions whose outside address or port is no longer given out, those that policy no longer translates as they are,
    /// those over a quota or beyond the table's capacity, and those that contradict another one under the new mapping behaviour.
    /// Held frames and half-known fragments are not carried over: the frames count as dropped while held.
    pub fn adopt(&mut self, old: &Self) -> Adopted {
        self.begin_burst(old.now_ns);
        self.counters = old.counters.clone();
        let counters = &mut self.counters;
        counters.held_dropped = counters.held + counters.fragments_made - counters.released;
        if let (Some(idents), Some(known)) = (&mut self.idents, &old.idents) {
            idents.copy_from_slice(&known[..]);
        }
        let same_blocks = self.config.behaviour.quota == old.config.behaviour.quota
            && self.config.behaviour.ports.range == old.config.behaviour.ports.range;
        let mut adopted = Adopted::default();
        let living = |session: &&Session| !session.is_free() && before(old.clock, session.expires);
        let with = |flags| {
            let among = flag::HALF | flag::HELD;
            old.table.slab.entries.iter().filter(living).filter(move |session| session.flags & among == flags)
        };
        // Half sessions behind whole ones, and held ports last: where they contradict another session, that is worth more.
        for session in with(0).chain(with(flag::HALF)) {
            if same_blocks {
                self.adopt_blocks(old, session.inside().0);
            }
            if self.adopt_session(session, old.table.lost(session)) {
                adopted.kept += 1;
            } else {
                self.dismiss(session.inside().0, false);
                adopted.revoked += 1;
            }
        }
        for session in with(flag::HELD) {
            if !self.adopt_hold(session) {
                self.dismiss(session.inside().0, false);
            }
        }
        self.table.flush();
        self.counters.revoked += adopted.revoked;
        self.counters.live = u64::from(self.table.slab.live());
        self.collector_starts();
        adopted
    }

    /// `lost`: the direction whose entry the session has lost. Where entries do not go one by one, it gets it back.
    fn adopt_session(&mut self, old: &Session, lost: Option<Direction>) -> bool {
        let lost = lost.filter(|_| self.config.behaviour.table.full.by_entry());
        let timeout = self.timeouts[old.state as usize];
        let deadline = self.now.wrapping_add(timeout);
        let expires = if before(deadline, old.expires) { deadline } else { old.expires };
        let session = Session { flags: old.flags & OWN_FLAGS, expires, ..*old };
        if self.address_number(session.outside().0).is_none() {
            return self.adopt_direct(session);
        }
        let entries = ENTRIES_PER_SESSION - u32::from(lost.is_some());
        if !self.table.has_room_for(entries) || !self.could_translate(&session) {
            return false;
        }
        let Some((beside, new_port)) = self.place_for(&session, lost) else { return false };
        if !self.admit_adopted(&session, new_port) {
            return false;
        }
        let linked = self.table.link(session, beside);
        debug_assert!(linked.is_some(), "there was room");
        self.account_adopted(&session, new_port);
        if let (Some(index), Some(lost)) = (linked, lost) {
            self.table.lose(index, lost);
        }
        true
    }

    /// A flow that is not translated, followed so that its replies are not either.
    fn adopt_direct(&mut self, session: Session) -> bool {
        let direct = session.inside() == session.outside() && self.config.behaviour.policy.track_direct;
        direct && self.table.link_direct(session).is_some()
    }

    /// A port that nobody may have yet.
    fn adopt_hold(&mut self, old: &Session) -> bool {
        let session = Session { flags: old.flags & OWN_FLAGS, ..*old };
        if !self.table.has_room_for(ENTRIES_PER_SESSION) || !self.gives_out(&session) {
            return false;
        }
        self.table.flush();
        let taken = self.table.find_outside(session.protocol, session.outside()).is_some()
            || self.table.user_of(session.protocol, session.outside(), session.remote()).is_some();
        if taken || !self.admit_adopted(&session, true) {
            return false;
        }
        let Some(index) = self.table.link(session, None) else { return false };
        self.account_adopted(&session, true);
        self.table.wheel.remove(&mut self.table.slab, index);
        if let Some(destinations) = &mut self.destinations {
            destinations.remove(&self.table.hash, session.protocol, session.outside().0, session.remote());
        }
        self.table.hold(index, old.expires);
        if let Some(sources) = &mut self.sources
            && let Some(number) = sources.find(&self.table.hash, session.inside().0)
        {
            sources.at_mut(number).sessions -= 1;
        }
        true
    }

    /// Whether the session's outside end is one that this translator gives out at all.
    fn gives_out(&self, session: &Session) -> bool {
        let (address, port) = session.outside();
        let slot = slot_of(session.protocol);
        let in_block = || match &self.sources {
            Some(sources) if sources.has_blocks() && slot != crate::ports::ICMP_SLOT => sources
                .find(&self.table.hash, session.inside().0)
                .is_some_and(|number| sources.at(number).blocks.contains(port)),
            _ => true,
        };
        self.address_number(address).is_some() && self.ports.is_given_out(slot, port) && in_block()
    }

    /// Whether this translator would translate the session's packets to that outside end.
    fn could_translate(&self, session: &Session) -> bool {
        let ((inside, _), (outside, _), (remote, _)) = (session.inside(), session.outside(), session.remote());
        let decided = match self.decide(inside, remote) {
            Decision::Translate(_) => true,
            Decision::TranslateTo(address, _) => address == Ipv4Addr::from_bits(outside),
            Decision::Pass(_) | Decision::Drop(_) => false,
        };
        decided
            && is_translatable(session.protocol)
            && self.rules_of(session.protocol).translate
            && session.has(flag::HAIRPIN) == self.address_number(remote).is_some()
            && self.gives_out(session)
            && self.destination_has_room(session.protocol, outside, session.remote())
    }

    /// The session's mapping, if it is there already, and whether its port is new. None: it contradicts what is there. An entry that the
    /// session has `lost` contradicts nothing.
    fn place_for(&mut self, session: &Session, lost: Option<Direction>) -> Option<(Option<u32>, bool)> {
        self.table.flush();
        let (protocol, outside, remote) = (session.protocol, session.outside(), session.remote());
        let (mapping, overload) = (self.table.keys(protocol).mapping, self.rules_of(protocol).overload);
        let beside = self.table.find_inside(protocol, session.inside(), remote.0);
        let hash = self.table.outbound_hash(protocol, session.out_addrs(), session.out_ports);
        let found = self.table.find_outbound(hash, protocol, session.out_addrs(), session.out_ports);
        if found.is_some() && lost != Some(Direction::Outbound) {
            return None;
        }
        if mapping != Dependence::AddressAndPortDependent
            && let Some(mapping) = beside
        {
            return (self.table.slab.at(mapping).outside() == outside).then_some((beside, false));
        }
        let in_the_way = match overload {
            Overload::Never => self.table.find_outside(protocol, outside),
            Overload::PerAddress | Overload::PerEndpoint if lost == Some(Direction::Inbound) => None,
            Overload::PerAddress | Overload::PerEndpoint => self.table.user_of(protocol, outside, remote),
        };
        // A hint that two sessions of one inside end have one outside end, where that is wished for, is one only if they do.
        let beside = beside.filter(|beside| self.table.slab.at(*beside).outside() == outside);
        in_the_way.is_none().then_some((beside, true))
    }

    /// The quota, but for the rate: the session is not new.
    fn admit_adopted(&mut self, session: &Session, new_port: bool) -> bool {
        let Some(sources) = &mut self.sources else { return true };
        let Ok(number) = sources.find_or_insert(&self.table.hash, session.inside().0, self.now) else { return false };
        if !sources.has_room(number, slot_of(session.protocol), new_port) {
            return false;
        }
        sources.at_mut(number).sessions += 1;
        true
    }

    /// As for a session that is made, but that it is not counted as one.
    fn account_adopted(&mut self, session: &Session, new_port: bool) {
        let created = self.counters.created;
        self.account(session, new_port, false);
        self.counters.created = created;
    }

    /// The port blocks of a source, where they are given out as they were.
    fn adopt_blocks(&mut self, old: &Self, inside: u32) {
        let (Some(sources), Some(known)) = (&mut self.sources, &old.sources) else { return };
        let new_number = |number: u16| {
            let address = old.config.outside.get(usize::from(number))?;
            self.config.outside.iter().position(|other| other == address).map(|number| number as u16)
        };
        if sources.has_blocks() {
            sources.adopt_blocks(&self.table.hash, (known, &old.table.hash), inside, new_number, self.now);
        }
    }
}
