//! An outside address and port for a new mapping.

use crate::behaviour::AddressChoice;
use crate::hash::{KeyKind, KeyedHash};
use crate::outbound::Flow;
use crate::pair::Addrs;
use crate::ports::{PortRequest, Search};
use crate::session::{ICMP, TCP, flag};
use crate::sources::NO_ADDRESS;
use crate::table::slot_of;
use crate::wheel::before;
use crate::{DropReason, Nat};
use core::net::Ipv4Addr;
use rand::RngExt;
use rand_pcg::Pcg64Mcg;

/// Which outside address comes first.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    pub(crate) rule: AddressChoice,
    pub(crate) total: usize,
    pub(crate) round_robin: usize,
}

/// The first address to try for a flow of an inside and a remote address, and how many to try from there.
pub(crate) fn choose(
    choice: &mut Choice,
    hash: &KeyedHash,
    rng: &mut Pcg64Mcg,
    inside: u32,
    remote: u32,
) -> (usize, usize) {
    let total = choice.total;
    let hash = |key: u64| (hash.hash(KeyKind::Source, 1, key, 0) >> 32) as usize % total;
    match choice.rule {
        AddressChoice::FirstFit => (0, total),
        AddressChoice::RoundRobin => {
            choice.round_robin = (choice.round_robin + 1) % total;
            (choice.round_robin, total)
        }
        AddressChoice::Random => (rng.random_range(0..total), total),
        AddressChoice::HashSource => (hash(u64::from(inside)), 1),
        AddressChoice::HashSourceDestination => (hash(Addrs::new(inside, remote).bits()), 1),
    }
}

impl Nat {
    /// Finds an outside end for a flow. `own`: the address that policy asks for. `beside`: another session of the inside end.
    pub(crate) fn allocate(
        &mut self,
        flow: &Flow,
        hash: u64,
        own: Option<Ipv4Addr>,
        beside: Option<u32>,
    ) -> Result<(u32, u16), DropReason> {
        if let Some(outside) = self.reuse(flow, own, beside) {
            return Ok(outside);
        }
        let (first, count) = self.addresses(flow, own)?;
        let total = self.config.outside.len();
        let mut reason = DropReason::PortsExhausted;
        for step in 0..count {
            let number = ((first + step) % total) as u16;
            match self.allocate_at(flow, hash, number) {
                Ok(outside) => return Ok(outside),
                Err(refusal) => reason = refusal,
            }
        }
        self.counters.allocation_failures += 1;
        Err(reason)
    }

    /// Linux gives a new connection of an inside end the outside end that another one has, if that is free for it.
    fn reuse(&mut self, flow: &Flow, own: Option<Ipv4Addr>, beside: Option<u32>) -> Option<(u32, u16)> {
        if !self.config.behaviour.ports.reuse_source_mapping {
            return None;
        }
        let outside = self.table.slab.at(beside?).outside();
        self.table.flush();
        if own.is_some_and(|own| own.to_bits() != outside.0)
            || self.table.user_of(flow.protocol, outside, flow.destination()).is_some()
        {
            return None;
        }
        self.counters.count_tries(1);
        Some(outside)
    }

    /// The first address to try, and how many.
    fn addresses(&mut self, flow: &Flow, own: Option<Ipv4Addr>) -> Result<(usize, usize), DropReason> {
        if let Some(own) = own {
            let number = self.address_number(own.to_bits()).ok_or(DropReason::Policy)?;
            return Ok((usize::from(number), 1));
        }
        let total = self.config.outside.len();
        if total == 1 {
            return Ok((0, 1));
        }
        let inside = flow.source().0;
        if let Some(sources) = &self.sources
            && let Some(number) = sources.find(&self.table.hash, inside)
            && (self.config.behaviour.pool.paired || sources.has_blocks())
            && sources.at(number).address != NO_ADDRESS
        {
            return Ok((usize::from(sources.at(number).address), 1));
        }
        Ok(choose(&mut self.choice, &self.table.hash, &mut self.rng, inside, flow.destination().0))
    }

    fn allocate_at(&mut self, flow: &Flow, hash: u64, number: u16) -> Result<(u32, u16), DropReason> {
        let (protocol, slot) = (flow.protocol, slot_of(flow.protocol));
        let outside = self.config.outside[usize::from(number)].to_bits();
        if !self.destination_has_room(protocol, outside, flow.destination()) {
            return Err(DropReason::DestinationLimit);
        }
        if !self.ports.has_free(number, slot) {
            return Err(DropReason::PortsExhausted);
        }
        let port = self.search(flow, hash, number)?;
        if self.table.keys(protocol).outside {
            return Ok((outside, port));
        }
        // What was in the way is dead, or may be evicted.
        if let Some(user) = self.table.user_of(protocol, (outside, port), flow.destination()) {
            if self.is_dead(user) {
                self.counters.expired += 1;
            } else {
                self.counters.evicted += 1;
            }
            self.end_early(user, false);
        }
        Ok((outside, port))
    }

    /// True if an outside address may have one more connection to a remote end.
    pub(crate) fn destination_has_room(&self, protocol: u8, outside: u32, remote: (u32, u16)) -> bool {
        let Some(destinations) = &self.destinations else { return true };
        destinations.has_room(&self.table.hash, protocol, outside, remote)
    }

    fn search(&mut self, flow: &Flow, hash: u64, number: u16) -> Result<u16, DropReason> {
        if !self.table.keys(flow.protocol).outside {
            self.table.flush();
        }
        let source = match &mut self.sources {
            // Blocks are of ports; identifiers are everybody's.
            Some(sources) if sources.has_blocks() && flow.protocol != ICMP => {
                sources.find(&self.table.hash, flow.source().0)
            }
            _ => None,
        };
        let mut tries = 0;
        loop {
            let search = self.search_once(flow, hash, number, source);
            tries += search.tries;
            if let Some(port) = search.port {
                self.counters.count_tries(tries);
                if self.config.behaviour.ports.pressure_signal && tries > self.config.behaviour.ports.max_attempts / 2 {
                    self.signal_pressure();
                }
                return Ok(port);
            }
            let grown = match (&mut self.sources, source) {
                (Some(sources), Some(source)) => {
                    sources.at_mut(source).address = number;
                    sources.grow(source)
                }
                _ => false,
            };
            if !grown {
                if self.config.behaviour.ports.pressure_signal {
                    self.signal_pressure();
                }
                return Err(DropReason::PortsExhausted);
            }
        }
    }

    fn search_once(&mut self, flow: &Flow, hash: u64, number: u16, source: Option<u32>) -> Search {
        let outside = self.config.outside[usize::from(number)].to_bits();
        let table = &self.table;
        let clock = self.clock;
        let blocks = match (&self.sources, source) {
            (Some(sources), Some(source)) => Some(&sources.at(source).blocks),
            _ => None,
        };
        let request =
            PortRequest { address: number, slot: slot_of(flow.protocol), port: flow.source().1, hash, blocks };
        self.ports.search(&request, |port, hard| {
            let Some(user) = table.user_of(flow.protocol, (outside, port), flow.destination()) else { return true };
            let session = table.slab.at(user);
            let closed = flow.protocol == TCP
                && flow.is_syn()
                && session.state.is_closed()
                && !session.has(flag::HELD)
                && flow.seq.wrapping_sub(session.seq_end).cast_signed() > 0;
            !before(clock, session.expires) || hard && closed
        })
    }
}
