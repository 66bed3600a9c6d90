//! Sessions and every way to find one.

use crate::Direction;
use crate::behaviour::{Dependence, Overload, ProtocolRules};
use crate::hash::{KeyKind, KeyedHash};
use crate::index::{Index, Load};
use crate::pair::{Addrs, Ports};
use crate::session::{Session, Slab, TCP, UDP, flag};
use crate::wheel::{Wheel, before};
use arrayvec::ArrayVec;

/// Which keys a protocol's mappings are entered under.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keys {
    pub(crate) mapping: Dependence,
    /// By inside end (and remote address): mappings that several sessions may share.
    pub(crate) inside: bool,
    /// By outside end: ports that are never overloaded.
    pub(crate) outside: bool,
    /// By outside end and remote address: filters and overloading that depend on the address.
    pub(crate) peer: bool,
}

impl Keys {
    pub(crate) fn new(rules: &ProtocolRules, reuse_source_mapping: bool) -> Self {
        Self {
            mapping: rules.mapping,
            inside: rules.mapping != Dependence::AddressAndPortDependent || reuse_source_mapping,
            outside: rules.overload == Overload::Never,
            peer: rules.overload == Overload::PerAddress || rules.filtering == Dependence::AddressDependent,
        }
    }
}

/// Number of a protocol in tables by protocol.
#[inline(always)]
pub(crate) const fn slot_of(protocol: u8) -> usize {
    match protocol {
        UDP => crate::ports::UDP_SLOT,
        TCP => crate::ports::TCP_SLOT,
        _ => crate::ports::ICMP_SLOT,
    }
}

/// The sessions, their indexes and their timers.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) hash: KeyedHash,
    pub(crate) slab: Slab,
    pub(crate) outbound: Index,
    pub(crate) inbound: Index,
    /// Mappings by inside end, outside end, and peer.
    groups: Index,
    pub(crate) wheel: Wheel,
    keys: [Keys; 3],
    pending: ArrayVec<Pending, PENDING_MAX>,
    /// Sessions that have lost one of their two entries, and how many entries there may be.
    halves: u32,
    entries_max: u32,
    /// Sessions that have ended.
    pub(crate) ended: u64,
}

/// Entries under outside ends that wait for their cache lines.
const PENDING_MAX: usize = 64;

#[derive(Debug)]
struct Pending {
    inbound: u64,
    outside: Option<u64>,
    index: u32,
}

impl Table {
    /// Most sessions that a table of this capacity can have: where each has two entries that go one by one, all may have lost one.
    pub(crate) const fn sessions_max(capacity: u32, by_entry: bool) -> u32 {
        if by_entry { 2 * capacity } else { capacity }
    }

    pub(crate) fn new(capacity: u32, by_entry: bool, keys: [Keys; 3], hash: KeyedHash, now: u32) -> Self {
        let entries_max = 2 * capacity;
        let capacity = Self::sessions_max(capacity, by_entry);
        let groups = keys
            .iter()
            .map(|keys| usize::from(keys.inside) + usize::from(keys.outside) + usize::from(keys.peer))
            .max()
            .unwrap_or(0);
        Self {
            hash,
            slab: Slab::with_capacity(capacity),
            outbound: Index::new(capacity as usize, capacity, Load::Fast),
            inbound: Index::new(capacity as usize, capacity, Load::Fast),
            groups: Index::new(capacity as usize * groups, capacity, Load::Dense),
            wheel: Wheel::new(now),
            keys,
            pending: ArrayVec::new(),
            halves: 0,
            entries_max,
            ended: 0,
        }
    }

    pub(crate) fn memory(&self) -> usize {
        size_of_val(&*self.slab.entries) + self.outbound.memory() + self.inbound.memory() + self.groups.memory()
    }

    pub(crate) fn keys(&self, protocol: u8) -> Keys {
        self.keys[slot_of(protocol)]
    }

    /// The index of what packets of one direction carry.
    #[inline(always)]
    pub(crate) const fn index<const OUT: bool>(&self) -> &Index {
        if OUT { &self.outbound } else { &self.inbound }
    }

    #[inline(always)]
    pub(crate) fn outbound_hash(&self, protocol: u8, addrs: Addrs, ports: Ports) -> u64 {
        self.hash.hash(KeyKind::Outbound, protocol, addrs.bits(), ports.bits())
    }

    #[inline(always)]
    pub(crate) fn inbound_hash(&self, protocol: u8, addrs: Addrs, ports: Ports) -> u64 {
        self.hash.hash(KeyKind::Inbound, protocol, addrs.bits(), ports.bits())
    }

    /// The session of an outbound packet: inside end, remote end.
    pub(crate) fn find_outbound(&self, hash: u64, protocol: u8, addrs: Addrs, ports: Ports) -> Option<u32> {
        self.outbound.find(hash, |index| {
            let session = self.slab.at(index);
            session.out_addrs() == addrs && session.out_ports == ports && session.protocol == protocol
        })
    }

    /// The session, perhaps only held, of an inbound packet: remote end, outside end.
    pub(crate) fn find_inbound(&self, hash: u64, protocol: u8, addrs: Addrs, ports: Ports) -> Option<u32> {
        debug_assert!(self.pending.is_empty());
        self.inbound.find(hash, |index| {
            let session = self.slab.at(index);
            session.in_addrs() == addrs && session.in_ports == ports && session.protocol == protocol
        })
    }

    fn inside_hash(&self, protocol: u8, inside: (u32, u16), remote: u32) -> u64 {
        let remote = if self.keys(protocol).mapping == Dependence::AddressDependent { remote } else { 0 };
        self.hash.hash(KeyKind::Inside, protocol, Addrs::new(inside.0, remote).bits(), u32::from(inside.1))
    }

    fn outside_hash(&self, protocol: u8, outside: (u32, u16)) -> u64 {
        self.hash.hash(KeyKind::Outside, protocol, u64::from(outside.0), u32::from(outside.1))
    }

    fn peer_hash(&self, protocol: u8, outside: (u32, u16), remote: u32) -> u64 {
        self.hash.hash(KeyKind::Peer, protocol, Addrs::new(outside.0, remote).bits(), u32::from(outside.1))
    }

    /// Fetches the line where the mapping of an inside end is looked for.
    pub(crate) fn prefetch_inside(&self, protocol: u8, inside: (u32, u16), remote: u32) {
        if self.keys(protocol).inside {
            self.groups.prefetch(self.groups.home(self.inside_hash(protocol, inside, remote)));
        }
    }

    /// Enters what is still to be entered into the indexes by outside ends.
    #[inline]
    pub(crate) fn flush(&mut self) {
        if !self.pending.is_empty() {
            self.flush_pending();
        }
    }

    #[inline(never)]
    fn flush_pending(&mut self) {
        for Pending { inbound, outside, index } in self.pending.drain(..) {
            self.inbound.insert(inbound, index);
            if let Some(outside) = outside {
                self.groups.insert(outside, index);
            }
        }
    }

    /// A session of the mapping of this inside end (and, with address-dependent mapping, this remote address).
    pub(crate) fn find_inside(&self, protocol: u8, inside: (u32, u16), remote: u32) -> Option<u32> {
        if !self.keys(protocol).inside {
            return None;
        }
        let by_address = self.keys(protocol).mapping == Dependence::AddressDependent;
        self.groups.find(self.inside_hash(protocol, inside, remote), |index| {
            let session = self.slab.at(index);
            session.has(flag::INSIDE_HEAD)
                && session.inside() == inside
                && session.protocol == protocol
                && (!by_address || session.remote().0 == remote)
        })
    }

    /// The same where sessions do share a mapping, and are not only given the same outside end if that is free.
    pub(crate) fn find_mapping(&self, protocol: u8, inside: (u32, u16), remote: u32) -> Option<u32> {
        let shares = self.keys(protocol).mapping != Dependence::AddressAndPortDependent;
        shares.then(|| self.find_inside(protocol, inside, remote))?
    }

    /// A session of the mapping that has this outside end, where ports are never overloaded.
    pub(crate) fn find_outside(&self, protocol: u8, outside: (u32, u16)) -> Option<u32> {
        if !self.keys(protocol).outside {
            return None;
        }
        debug_assert!(self.pending.is_empty());
        self.groups.find(self.outside_hash(protocol, outside), |index| {
            let session = self.slab.at(index);
            session.has(flag::OUTSIDE_HEAD) && session.outside() == outside && session.protocol == protocol
        })
    }

    /// A session with this outside end and remote address.
    pub(crate) fn find_peer(&self, protocol: u8, outside: (u32, u16), remote: u32) -> Option<u32> {
        if !self.keys(protocol).peer {
            return None;
        }
        self.groups.find(self.peer_hash(protocol, outside, remote), |index| {
            let session = self.slab.at(index);
            session.has(flag::PEER_HEAD)
                && session.outside() == outside
                && session.remote().0 == remote
                && session.protocol == protocol
        })
    }

    /// Enters a session whose keys are new. `mapping`: a session of the mapping it belongs to, if that exists. None if the table is full.
    ///
    /// Its outside end has only just become known, so that its lines in the indexes are not at hand: they are asked for here, and the
    /// entries follow by [`Table::flush`], before anything is looked for by an outside end.
    pub(crate) fn link(&mut self, session: Session, mapping: Option<u32>) -> Option<u32> {
        let keys = self.keys(session.protocol);
        let peer = self.find_peer(session.protocol, session.outside(), session.remote().0);
        let index = self.slab.insert(session)?;
        self.outbound.insert(self.outbound_hash(session.protocol, session.out_addrs(), session.out_ports), index);
        let inbound = self.inbound_hash(session.protocol, session.in_addrs(), session.in_ports);
        self.inbound.prefetch(self.inbound.home(inbound));
        let mut outside = None;
        let mut heads = 0;
        match peer.or(mapping) {
            // Sessions with one peer lie side by side in the ring, so that the next of them is at hand when their head goes.
            Some(beside) => self.slab.join_ring(beside, index),
            None => {
                if keys.inside {
                    self.groups.insert(self.inside_hash(session.protocol, session.inside(), session.remote().0), index);
                    heads |= flag::INSIDE_HEAD;
                }
                if keys.outside {
                    let hash = self.outside_hash(session.protocol, session.outside());
                    self.groups.prefetch(self.groups.home(hash));
                    outside = Some(hash);
                    heads |= flag::OUTSIDE_HEAD;
                }
            }
        }
        if keys.peer && peer.is_none() {
            self.groups.insert(self.peer_hash(session.protocol, session.outside(), session.remote().0), index);
            heads |= flag::PEER_HEAD;
        }
        self.slab.at_mut(index).flags |= heads;
        self.wheel.insert(&mut self.slab, index);
        if self.pending.is_full() {
            self.flush_pending();
        }
        self.pending.push(Pending { inbound, outside, index });
        Some(index)
    }

    /// Enters a session that is not translated: it is found by its packets, but is no mapping.
    pub(crate) fn link_direct(&mut self, session: Session) -> Option<u32> {
        let index = self.slab.insert(session)?;
        self.outbound.insert(self.outbound_hash(session.protocol, session.out_addrs(), session.out_ports), index);
        self.inbound.insert(self.inbound_hash(session.protocol, session.in_addrs(), session.in_ports), index);
        self.wheel.insert(&mut self.slab, index);
        Some(index)
    }

    /// Takes a session out of all indexes and of its ring, not out of the slab nor the wheel.
    pub(crate) fn unlink(&mut self, index: u32) {
        self.flush();
        self.ended += 1;
        let session = *self.slab.at(index);
        if !session.has(flag::HELD) {
            self.outbound.remove(self.outbound_hash(session.protocol, session.out_addrs(), session.out_ports), index);
        }
        self.inbound.remove(self.inbound_hash(session.protocol, session.in_addrs(), session.in_ports), index);
        self.unlink_groups(index, &session);
        self.slab.leave_ring(index);
        self.halves -= u32::from(session.has(flag::HALF));
    }

    /// True if there is room for so many entries.
    pub(crate) const fn has_room_for(&self, entries: u32) -> bool {
        2 * self.slab.live() - self.halves + entries <= self.entries_max
    }

    /// Takes one of a session's two entries away.
    pub(crate) fn lose(&mut self, index: u32, lost: Direction) {
        self.flush();
        let session = self.slab.at_mut(index);
        session.flags |= flag::HALF;
        session.settle();
        let session = *session;
        self.halves += 1;
        match lost {
            Direction::Outbound => {
                let hash = self.outbound_hash(session.protocol, session.out_addrs(), session.out_ports);
                self.outbound.remove(hash, index)
            }
            Direction::Inbound => {
                let hash = self.inbound_hash(session.protocol, session.in_addrs(), session.in_ports);
                self.inbound.remove(hash, index)
            }
        };
    }

    /// Makes the entry again that a session has lost.
    pub(crate) fn regain(&mut self, index: u32, lost: Direction) {
        let session = self.slab.at_mut(index);
        session.flags &= !flag::HALF;
        session.settle();
        let session = *session;
        self.halves -= 1;
        match lost {
            Direction::Outbound => {
                let hash = self.outbound_hash(session.protocol, session.out_addrs(), session.out_ports);
                self.outbound.insert(hash, index);
            }
            Direction::Inbound => {
                let hash = self.inbound_hash(session.protocol, session.in_addrs(), session.in_ports);
                self.inbound.insert(hash, index);
            }
        }
    }

    /// The session that has the entry of this direction which a session has, or would have.
    pub(crate) fn holder(&self, session: &Session, dir: Direction) -> Option<u32> {
        let protocol = session.protocol;
        match dir {
            Direction::Outbound => {
                let hash = self.outbound_hash(protocol, session.out_addrs(), session.out_ports);
                self.find_outbound(hash, protocol, session.out_addrs(), session.out_ports)
            }
            Direction::Inbound => {
                let hash = self.inbound_hash(protocol, session.in_addrs(), session.in_ports);
                self.find_inbound(hash, protocol, session.in_addrs(), session.in_ports)
            }
        }
    }

    /// The direction whose entry a session has lost.
    pub(crate) fn lost(&self, session: &Session) -> Option<Direction> {
        let is_it = |index: u32| core::ptr::eq(self.slab.at(index), session);
        let found = |dir| self.holder(session, dir).is_some_and(is_it);
        match session.has(flag::HALF) {
            false => None,
            true if found(Direction::Outbound) => Some(Direction::Inbound),
            true => Some(Direction::Outbound),
        }
    }

    /// True if the session's outside port is used by no other session of its mapping.
    pub(crate) fn is_last_of_mapping(&self, index: u32) -> bool {
        let session = self.slab.at(index);
        session.ring_next == index || self.keys(session.protocol).mapping == Dependence::AddressAndPortDependent
    }

    /// A session whose mapping ends with it leaves its port behind: found no more but as an obstacle to allocation.
    pub(crate) fn hold(&mut self, index: u32, expires: u32) {
        self.flush();
        self.ended += 1;
        let session = *self.slab.at(index);
        self.outbound.remove(self.outbound_hash(session.protocol, session.out_addrs(), session.out_ports), index);
        // Only where the peer key says which ports are in use does it outlive the session.
        let keys = self.keys(session.protocol);
        let peer_head = if keys.peer && !keys.outside { session.flags & flag::PEER_HEAD } else { 0 };
        self.unlink_groups(index, &Session { flags: session.flags & !peer_head, ..session });
        self.slab.leave_ring(index);
        let entry = self.slab.at_mut(index);
        entry.flags =
            entry.flags & !(flag::INSIDE_HEAD | flag::OUTSIDE_HEAD | flag::PEER_HEAD) | peer_head | flag::HELD;
        entry.settle();
        entry.expires = expires;
        self.wheel.insert(&mut self.slab, index);
    }

    fn unlink_groups(&mut self, index: u32, session: &Session) {
        let alone = session.ring_next == index;
        for (head, key) in [
            (flag::INSIDE_HEAD, self.inside_hash(session.protocol, session.inside(), session.remote().0)),
            (flag::OUTSIDE_HEAD, self.outside_hash(session.protocol, session.outside())),
        ] {
            if !session.has(head) {
                continue;
            }
            if alone {
                self.groups.remove(key, index);
            } else {
                self.groups.replace(key, index, session.ring_next);
                self.slab.at_mut(session.ring_next).flags |= head;
            }
        }
        if session.has(flag::PEER_HEAD) {
            let key = self.peer_hash(session.protocol, session.outside(), session.remote().0);
            let same_peer = |other: u32| {
                other != index
                    && self.slab.at(other).remote().0 == session.remote().0
                    && self.slab.at(other).outside() == session.outside()
            };
            match [session.ring_next, session.ring_prev].into_iter().find(|other| same_peer(*other)) {
                Some(other) => {
                    self.groups.replace(key, index, other);
                    self.slab.at_mut(other).flags |= flag::PEER_HEAD;
                }
                None => {
                    self.groups.remove(key, index);
                }
            }
        }
    }

    /// Sets a new deadline; the wheel need only know if it is earlier than the one before.
    pub(crate) fn set_deadline(&mut self, index: u32, expires: u32) {
        let old = core::mem::replace(&mut self.slab.at_mut(index).expires, expires);
        if before(expires, old) {
            self.wheel.remove(&mut self.slab, index);
            self.wheel.insert(&mut self.slab, index);
        }
    }

    /// The session that stands in the way of using an overloaded port towards a remote end.
    pub(crate) fn user_of(&self, protocol: u8, outside: (u32, u16), remote: (u32, u16)) -> Option<u32> {
        if self.keys(protocol).peer && !self.keys(protocol).outside {
            return self.find_peer(protocol, outside, remote.0);
        }
        let (addrs, ports) = (Addrs::new(remote.0, outside.0), Ports::new(remote.1, outside.1));
        self.find_inbound(self.inbound_hash(protocol, addrs, ports), protocol, addrs, ports)
    }
}
