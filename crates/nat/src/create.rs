//! New sessions.

use crate::behaviour::{Dependence, FullPolicy};
use crate::entries::ENTRIES_PER_SESSION;
use crate::outbound::Flow;
use crate::session::{ICMP, Session, TCP, flag};
use crate::sources::SourceRefusal;
use crate::table::{Table, slot_of};
use crate::tcp::{self, State, bits};
use crate::wheel::before;
use crate::{Direction, DropReason, Nat};
use core::net::Ipv4Addr;
use rand::RngExt;

/// Entries looked at for one to evict: Linux looks into eight hash chains (NF_CT_EVICTION_RANGE).
pub(crate) const EVICTION_SAMPLE: u32 = 8;

impl Nat {
    /// Makes a session for an outbound flow that has none, in its mapping or in a new one.
    pub(crate) fn create(&mut self, flow: &Flow, hash: u64, address: Option<Ipv4Addr>) -> Result<u32, DropReason> {
        match self.try_create(flow, hash, address) {
            Err(_) if self.collect_before_refusal() => self.try_create(flow, hash, address),
            result => result,
        }
    }

    fn try_create(&mut self, flow: &Flow, hash: u64, address: Option<Ipv4Addr>) -> Result<u32, DropReason> {
        let (protocol, inside, remote) = (flow.protocol, flow.source(), flow.destination());
        let beside = self.live_session(protocol, inside, remote.0);
        // With wider mapping the outside end is given; otherwise one is looked for, and `beside` is at most a hint.
        let shared = beside.filter(|_| self.table.keys(protocol).mapping != Dependence::AddressAndPortDependent);
        let admitted = self.admit(protocol, inside.0, shared.is_none());
        let result = match admitted {
            Ok(()) => self.make_session(flow, hash, address, beside, shared),
            Err(reason) => Err(reason),
        };
        if result.is_err() {
            self.dismiss(inside.0, admitted.is_ok());
        }
        result
    }

    /// The source has been admitted, and its session counted.
    fn make_session(
        &mut self,
        flow: &Flow,
        hash: u64,
        address: Option<Ipv4Addr>,
        beside: Option<u32>,
        shared: Option<u32>,
    ) -> Result<u32, DropReason> {
        let (protocol, inside, remote) = (flow.protocol, flow.source(), flow.destination());
        let ended = self.table.ended;
        let victim = self.choose_victim()?;
        let outside = match shared {
            Some(index) => self.table.slab.at(index).outside(),
            None => self.allocate(flow, hash, address, beside)?,
        };
        if shared.is_some() && !self.destination_has_room(protocol, outside.0, remote) {
            return Err(DropReason::DestinationLimit);
        }
        // Nobody goes for a session that cannot be had.
        self.make_room(victim);
        // Eviction may have ended what was found first, and with it the use of its port.
        let beside = if self.table.ended == ended { beside } else { self.live_session(protocol, inside, remote.0) };
        let new_port = shared.is_none() || beside.is_none();
        let mut session = Session::new(protocol, inside, remote, outside);
        session.state = first_state(flow);
        if flow.tcp_flags & (bits::SYN | bits::ACK) == bits::SYN | bits::ACK {
            session.flags |= flag::FROM_OUTSIDE;
        }
        if self.address_number(remote.0).is_some() {
            session.flags |= flag::HAIRPIN;
        }
        session.expires = self.now.wrapping_add(self.timeouts[session.state as usize]);
        let index = self.table.link(session, beside).ok_or(DropReason::TableFull)?;
        self.account(&session, new_port, address.is_some());
        Ok(index)
    }

    /// A living session of an inside end (and remote address, if mappings depend on that).
    fn live_session(&mut self, protocol: u8, inside: (u32, u16), remote: u32) -> Option<u32> {
        self.living(|table| table.find_inside(protocol, inside, remote))
    }

    /// What `find` finds of a mapping that lives. Sessions of it that are dead and not yet collected end here, so that another one may be
    /// found.
    pub(crate) fn living(&mut self, find: impl Fn(&Table) -> Option<u32>) -> Option<u32> {
        loop {
            let index = find(&self.table).filter(|index| !self.table.slab.at(*index).has(flag::HELD))?;
            if !self.is_dead(index) {
                return Some(index);
            }
            self.counters.expired += 1;
            self.end_early(index, true);
        }
    }

    /// State of a flow that begins outside and is not translated: a session whose outside end is its inside end.
    pub(crate) fn follow_direct(&mut self, flow: &Flow) -> Result<(), DropReason> {
        self.table.flush();
        let hash = self.table.inbound_hash(flow.protocol, flow.addrs, flow.ports);
        let found = self.table.find_inbound(hash, flow.protocol, flow.addrs, flow.ports);
        if let Some(index) = found {
            if !self.is_dead(index) {
                self.restore(index, Direction::Inbound);
                self.follow(index, Direction::Inbound, flow);
                return Ok(());
            }
            self.end_early(index, false);
            self.counters.expired += 1;
        }
        let victim = self.choose_victim()?;
        self.make_room(victim);
        let (remote, inside) = (flow.source(), flow.destination());
        let mut session = Session::new(flow.protocol, inside, remote, inside);
        session.state = first_state(flow);
        session.flags = flag::FROM_OUTSIDE;
        if session.state == State::UdpNew {
            session.state = State::UdpNewIn;
        }
        session.expires = self.now.wrapping_add(self.timeouts[session.state as usize]);
        self.table.link_direct(session).ok_or(DropReason::TableFull)?;
        self.counters.live = u64::from(self.table.slab.live());
        Ok(())
    }

    /// `directed`: the outside address is what policy asked for, and says nothing about where the source's other sessions go.
    pub(crate) fn account(&mut self, session: &Session, new_port: bool, directed: bool) {
        let slot = slot_of(session.protocol);
        let outside = session.outside();
        self.counters.created += 1;
        self.counters.live = u64::from(self.table.slab.live());
        let Some(address) = self.address_number(outside.0) else { return };
        if new_port {
            self.ports.take(address, slot, outside.1);
        }
        if let Some(destinations) = &mut self.destinations {
            destinations.add(&self.table.hash, session.protocol, outside.0, session.remote());
        }
        if let Some(sources) = &mut self.sources
            && let Some(number) = sources.find(&self.table.hash, session.inside().0)
        {
            let source = sources.at_mut(number);
            source.ports[slot] += u32::from(new_port);
            if !directed {
                source.address = address;
            }
        }
    }

    /// Checks the source's quota, and counts the session that is to be made: a source that has sessions is not forgotten.
    fn admit(&mut self, protocol: u8, inside: u32, new_port: bool) -> Result<(), DropReason> {
        let Some(sources) = &mut self.sources else { return Ok(()) };
        let refused = |refusal| match refusal {
            SourceRefusal::Full => DropReason::SourcesFull,
            SourceRefusal::Ports | SourceRefusal::Sessions => DropReason::SourceLimit,
            SourceRefusal::Rate => DropReason::SourceRate,
        };
        let number = sources.find_or_insert(&self.table.hash, inside, self.now).map_err(refused)?;
        sources.admit(number, slot_of(protocol), new_port, self.now).map_err(refused)?;
        sources.at_mut(number).sessions += 1;
        Ok(())
    }

    /// Nothing came of a session. A source that has nothing takes no room.
    pub(crate) fn dismiss(&mut self, inside: u32, counted: bool) {
        let Some(sources) = &mut self.sources else { return };
        let Some(number) = sources.find(&self.table.hash, inside) else { return };
        sources.at_mut(number).sessions -= u32::from(counted);
        sources.release_if_idle(&self.table.hash, number);
    }

    /// The session that has to go for a new one, if the table is full.
    fn choose_victim(&mut self) -> Result<Option<u32>, DropReason> {
        let policy = self.config.behaviour.table.full;
        if !self.table.slab.is_full() || policy.by_entry() {
            return Ok(None);
        }
        let victim = match policy {
            FullPolicy::Refuse | FullPolicy::EvictEntry | FullPolicy::EvictEntryRestore => None,
            FullPolicy::EvictOldest => self.sample_oldest(),
            FullPolicy::EvictUnreplied => self.sample_unreplied(),
        };
        victim.map(Some).ok_or(DropReason::TableFull)
    }

    /// Ends the victim if there still is no room without.
    fn make_room(&mut self, victim: Option<u32>) {
        if self.config.behaviour.table.full.by_entry() {
            self.make_room_for(ENTRIES_PER_SESSION, None);
        }
        if let Some(victim) = victim.filter(|_| self.table.slab.is_full()) {
            self.end_early(victim, false);
            self.counters.evicted += 1;
        }
    }

    /// The tick at which a session was used last: when its deadline was set.
    pub(crate) fn last_used(&self, index: u32) -> u32 {
        let session = self.table.slab.at(index);
        session.expires.wrapping_sub(self.timeouts[session.state as usize])
    }

    /// The least recently used of a few.
    fn sample_oldest(&mut self) -> Option<u32> {
        let capacity = self.table.slab.entries.len() as u32;
        let mut oldest = self.rng.random_range(0..capacity);
        for _ in 1..EVICTION_SAMPLE {
            let other = self.rng.random_range(0..capacity);
            if before(self.last_used(other), self.last_used(oldest)) {
                oldest = other;
            }
        }
        Some(oldest)
    }

    fn sample_unreplied(&mut self) -> Option<u32> {
        let capacity = self.table.slab.entries.len() as u32;
        (0..EVICTION_SAMPLE)
            .map(|_| self.rng.random_range(0..capacity))
            .find(|index| !self.table.slab.at(*index).has(flag::REPLIED))
    }
}

const fn first_state(flow: &Flow) -> State {
    match flow.protocol {
        TCP => tcp::first(flow.tcp_flags),
        ICMP => State::Icmp,
        _ => State::UdpNew,
    }
}
