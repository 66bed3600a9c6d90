//! The choice of an outside address and port by itself: for those who ask which port a translator would give, and who keep account of the
//! ports in use in their own way. A simulation of a whole fleet has no room for a [`Nat`](crate::Nat) per node, and no frames.

use crate::DropReason;
use crate::allocate::{Choice, choose};
use crate::behaviour::{Behaviour, PortBlocks, PortRules, PortSeed};
use crate::hash::{KeyKind, KeyedHash};
use crate::pair::Addrs;
use crate::ports::{PortRequest, PortSpace};
use crate::session::ICMP;
use crate::sources::{NO_ADDRESS, Sources};
use crate::table::slot_of;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// IP protocol number: 1, 6 or 17.
    pub protocol: u8,
    /// Inside address and port.
    pub inside: (u32, u16),
    /// Remote address and port.
    pub remote: (u32, u16),
}

/// What the asker knows: which ports are in use towards the remote end of the [`Wish`], by the number of the outside address.
pub trait PortsInUse {
    /// May this port be given? `closed_counts`: one whose connection is closed may be taken from it.
    fn is_free(&mut self, address: u16, port: u16, closed_counts: bool) -> bool;
    /// Does the address have room for one more connection to the remote end (`max_per_destination`)?
    fn has_room(&mut self, address: u16) -> bool;
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocation {
    /// Number of the outside address, and the port; or why there is none.
    pub outcome: Result<(u16, u16), DropReason>,
    /// Ports looked at.
    pub tries: u32,
    /// The search was long, or in vain, and the behaviour asks for collection of dead entries then.
    pub pressure: bool,
}

/// Ports of a pool of outside addresses, given out as [`Nat`](crate::Nat) gives them out.
#[derive(Debug)]
pub struct Allocator {
    rules: PortRules,
    paired: bool,
    choice: Choice,
    space: PortSpace,
    sources: Option<Sources>,
    hash: KeyedHash,
    rng: Pcg64Mcg,
}

impl Allocator {
    /// For a pool of `addresses` outside addresses, at most 65,535. The behaviour is one that [`Config::validate`](crate::Config::validate)
    /// accepts. Of quotas it knows port blocks only.
    pub fn new(behaviour: &Behaviour, addresses: usize, seed: u64) -> Self {
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let hash = KeyedHash::new(&mut rng);
        let overload = [behaviour.udp.overload, behaviour.tcp.overload, behaviour.icmp.overload];
        let remembers = behaviour.quota.blocks != PortBlocks::Shared || behaviour.pool.paired && addresses > 1;
        Self {
            rules: behaviour.ports.clone(),
            paired: behaviour.pool.paired,
            choice: Choice { rule: behaviour.pool.choice, total: addresses, round_robin: 0 },
            space: PortSpace::new(&behaviour.ports, overload, addresses, Pcg64Mcg::seed_from_u64(rng.random())),
            sources: remembers.then(|| Sources::new(&behaviour.quota, behaviour.ports.range, addresses)),
            hash,
            rng,
        }
    }

    /// True if every port that was given has to be given back by [`Self::release`]; else it is enough that [`PortsInUse`] says it is free.
    pub fn wants_release(&self) -> bool {
        self.sources.is_some() || self.space.keeps_account()
    }

    /// The addresses and ports that wishes to come are likely to try first, if each finds one at once: a hint what to fetch from memory.
    pub fn likely(&self, wishes: impl Iterator<Item = (Wish, Option<u16>)>) -> impl Iterator<Item = (u16, u16)> {
        let (mut choice, mut rng, mut seeds) = (self.choice.clone(), self.rng.clone(), self.space.rng.clone());
        wishes.map(move |(wish, at)| {
            let address = at.unwrap_or_else(|| match choice.total {
                1 => 0,
                _ => choose(&mut choice, &self.hash, &mut rng, wish.inside.0, wish.remote.0).0 as u16,
            });
            (address, self.space.likely(slot_of(wish.protocol), wish.inside.1, &mut seeds))
        })
    }

    /// Finds a port for `wish`, of any address that the rules allow, or of address number `at`.
    pub fn allocate(&mut self, wish: &Wish, at: Option<u16>, ports: &mut impl PortsInUse) -> Allocation {
        let source = match &mut self.sources {
            // Whose address is given needs no pairing.
            Some(sources) if at.is_some() && !sources.has_blocks() => None,
            None => None,
            Some(sources) => match sources.find_or_insert(&self.hash, wish.inside.0, 0) {
                Ok(source) => Some(source),
                Err(_) => return Allocation { outcome: Err(DropReason::SourcesFull), tries: 0, pressure: false },
            },
        };
        let (first, count) = match at {
            Some(number) => (usize::from(number), 1),
            None => self.addresses(wish, source),
        };
        let (mut tries, mut reason) = (0, DropReason::PortsExhausted);
        for step in 0..count {
            let number = ((first + step) % self.choice.total) as u16;
            let found = self.allocate_at(wish, number, source, ports);
            tries += found.1;
            match found.0 {
                Ok(port) => {
                    self.account(wish, number, port, source);
                    let pressure = self.rules.pressure_signal && found.1 > self.rules.max_attempts / 2;
                    return Allocation { outcome: Ok((number, port)), tries, pressure };
                }
                Err(refusal) => reason = refusal,
            }
        }
        if let (Some(sources), Some(source)) = (&mut self.sources, source) {
            sources.release_if_idle(&self.hash, source);
        }
        let pressure = self.rules.pressure_signal && reason == DropReason::PortsExhausted;
        Allocation { outcome: Err(reason), tries, pressure }
    }

    /// Gives back a port that was given for this protocol and inside address.
    pub fn release(&mut self, protocol: u8, inside: u32, address: u16, port: u16) {
        let slot = slot_of(protocol);
        self.space.give(address, slot, port);
        if let Some(sources) = &mut self.sources
            && let Some(number) = sources.find(&self.hash, inside)
        {
            let source = sources.at_mut(number);
            source.sessions -= 1;
            source.ports[slot] -= 1;
            sources.release_if_idle(&self.hash, number);
        }
    }

    fn addresses(&mut self, wish: &Wish, source: Option<u32>) -> (usize, usize) {
        if self.choice.total == 1 {
            return (0, 1);
        }
        if let (Some(sources), Some(source)) = (&self.sources, source)
            && (self.paired || sources.has_blocks())
            && sources.at(source).address != NO_ADDRESS
        {
            return (usize::from(sources.at(source).address), 1);
        }
        choose(&mut self.choice, &self.hash, &mut self.rng, wish.inside.0, wish.remote.0)
    }

    fn allocate_at(
        &mut self,
        wish: &Wish,
        number: u16,
        source: Option<u32>,
        ports: &mut impl PortsInUse,
    ) -> (Result<u16, DropReason>, u32) {
        let slot = slot_of(wish.protocol);
        if !ports.has_room(number) {
            return (Err(DropReason::DestinationLimit), 0);
        }
        if !self.space.has_free(number, slot) {
            return (Err(DropReason::PortsExhausted), 0);
        }
        let hash = match self.rules.seed {
            PortSeed::Hash => {
                let addrs = Addrs::new(wish.inside.0, wish.remote.0);
                let ends = u32::from(wish.inside.1) << 16 | u32::from(wish.remote.1);
                self.hash.hash(KeyKind::Outbound, wish.protocol, addrs.bits(), ends)
            }
            PortSeed::Random | PortSeed::Sequential | PortSeed::Source => 0,
        };
        let mut tries = 0;
        loop {
            let owner = source.filter(|_| wish.protocol != ICMP);
            let blocks = match (&self.sources, owner) {
                (Some(sources), Some(owner)) if sources.has_blocks() => Some(&sources.at(owner).blocks),
                _ => None,
            };
            let has_blocks = blocks.is_some();
            let request = PortRequest { address: number, slot, port: wish.inside.1, hash, blocks };
            let search = self.space.search(&request, |port, hard| ports.is_free(number, port, hard));
            tries += search.tries;
            if let Some(port) = search.port {
                return (Ok(port), tries);
            }
            let grown = match (&mut self.sources, owner) {
                (Some(sources), Some(owner)) if has_blocks => {
                    sources.at_mut(owner).address = number;
                    sources.grow(owner)
                }
                _ => false,
            };
            if !grown {
                return (Err(DropReason::PortsExhausted), tries);
            }
        }
    }

    fn account(&mut self, wish: &Wish, number: u16, port: u16, source: Option<u32>) {
        let slot = slot_of(wish.protocol);
        self.space.take(number, slot, port);
        if let (Some(sources), Some(source)) = (&mut self.sources, source) {
            let source = sources.at_mut(source);
            source.sessions += 1;
            source.ports[slot] += 1;
            source.address = number;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Profile;
    use std::collections::HashSet;

    struct Used(HashSet<(u16, u16)>);

    impl PortsInUse for Used {
        fn is_free(&mut self, address: u16, port: u16, _: bool) -> bool {
            !self.0.contains(&(address, port))
        }

        fn has_room(&mut self, _: u16) -> bool {
            true
        }
    }

    fn wish(n: u32) -> Wish {
        Wish { protocol: 6, inside: (0x0a00_0001 + n / 20_000, 33_000 + (n % 20_000) as u16), remote: (1, 443) }
    }

    #[test]
    fn a_port_in_use_is_not_given_twice_and_one_given_back_is() {
        let behaviour = Profile::builtin("rfc4787").unwrap().behaviour;
        let mut allocator = Allocator::new(&behaviour, 1, 1);
        assert!(allocator.wants_release());
        let mut used = Used(HashSet::new());
        let count = behaviour.ports.range.len();
        for n in 0..count {
            let given = allocator.allocate(&wish(n), None, &mut used).outcome.unwrap();
            assert!(used.0.insert(given));
        }
        assert_eq!(allocator.allocate(&wish(0), None, &mut used).outcome, Err(DropReason::PortsExhausted));
        allocator.release(6, wish(7).inside.0, 0, 4242);
        assert_eq!(allocator.allocate(&wish(0), None, &mut used).outcome, Ok((0, 4242)));
    }

    #[test]
    fn blocks_grow_as_the_translators_do_and_are_given_back() {
        let behaviour = Profile::builtin("gcp-cloudnat-static").unwrap().behaviour;
        let mut allocator = Allocator::new(&behaviour, 1, 1);
        let mut used = Used(HashSet::new());
        let given: Vec<(u16, u16)> = (0..64)
            .map(|_| {
                let given = allocator.allocate(&wish(1), None, &mut used).outcome.unwrap();
                used.0.insert(given);
                given
            })
            .collect();
        let ports = given.iter().map(|given| given.1);
        assert_eq!(ports.clone().max().unwrap() - ports.min().unwrap(), 63, "one block");
        assert_eq!(allocator.allocate(&wish(1), None, &mut used).outcome, Err(DropReason::PortsExhausted));
        allocator.release(6, wish(1).inside.0, given[3].0, given[3].1);
        used.0.remove(&given[3]);
        assert_eq!(allocator.allocate(&wish(1), None, &mut used).outcome, Ok(given[3]));
    }
}
