//! The translator and its parts.

use crate::allocate::Choice;
use crate::answer::TokenBucket;
use crate::behaviour::{Behaviour, IpId, PortBlocks, Refresh};
use crate::collect::Collector;
use crate::destinations::Destinations;
use crate::fragments::Fragments;
use crate::hash::KeyedHash;
use crate::held::HeldPool;
use crate::lanes::Lanes;
use crate::packet::L3;
use crate::policer::Policer;
use crate::ports::PortSpace;
use crate::session::{ICMP, TCP, UDP};
use crate::sources::Sources;
use crate::table::{Keys, Table};
use crate::tcp::{self, State};
use crate::time::TICK_NS;
use crate::wheel::before;
use crate::{Config, ConfigError, Counters, MappingView, Policy};
use core::net::Ipv4Addr;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// A NAT44 translator.
#[derive(Debug)]
pub struct Nat {
    pub(crate) config: Config,
    pub(crate) table: Table,
    pub(crate) ports: PortSpace,
    /// Only if something is to be remembered per source.
    pub(crate) sources: Option<Sources>,
    /// Only if connections per destination are limited.
    pub(crate) destinations: Option<Destinations>,
    pub(crate) fragments: Fragments,
    pub(crate) held: HeldPool,
    /// A held frame is being looked at again: it must not be held once more.
    pub(crate) releasing: bool,
    /// Where a held frame is worked on.
    pub(crate) scratch: Box<[u8]>,
    pub(crate) counters: Counters,
    pub(crate) rng: Pcg64Mcg,
    /// Outside addresses, sorted, with their numbers.
    outside: Vec<(u32, u16)>,
    /// The lowest of them, and how far above it the highest is.
    outside_low: u32,
    outside_span: u32,
    /// Policy translates everything that comes from inside.
    pub(crate) translates_all: bool,
    /// The tick of the burst.
    pub(crate) now: u32,
    pub(crate) now_ns: u64,
    /// Sessions with deadlines up to this tick are dead.
    pub(crate) clock: u32,
    /// Timeouts in ticks by direction and state: zero if packets of that direction do not refresh.
    pub(crate) refresh: [[u32; State::COUNT]; 2],
    pub(crate) timeouts: [u32; State::COUNT],
    /// Longest frame by direction: what the link behind takes.
    pub(crate) frame_max: [usize; 2],
    /// Next identification by destination; none if they are preserved.
    pub(crate) idents: Option<Box<[u16; IDENTS]>>,
    /// Only if the processor can work on several packets at once.
    pub(crate) lanes: Option<Lanes>,
    pub(crate) choice: Choice,
    pub(crate) collector: Collector,
    pub(crate) errors: TokenBucket,
    /// Only if a capacity is enforced.
    pub(crate) policer: Option<Policer>,
}

/// Counters of identifications; destinations share them by hash.
pub(crate) const IDENTS: usize = 1024;

/// True if something has to be remembered about each inside source.
fn needs_sources(behaviour: &Behaviour, addresses: usize) -> bool {
    let quota = &behaviour.quota;
    let limits = quota.ports_per_source > 0 || quota.sessions_per_source > 0 || quota.new_per_second > 0;
    limits || quota.blocks != PortBlocks::Shared || behaviour.pool.paired && addresses > 1
}

impl Nat {
    /// Makes a translator. All memory that it will ever use is taken here. The seed keys the hashes and the choice of ports.
    ///
    /// # Errors
    /// [`Config::validate`]'s.
    pub fn new(config: Config, seed: u64) -> Result<Self, ConfigError> {
        config.validate()?;
        let behaviour = &config.behaviour;
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let protocols = [&behaviour.udp, &behaviour.tcp, &behaviour.icmp];
        let capacity = behaviour.table.capacity;
        let sessions = Table::sessions_max(capacity, behaviour.table.full.by_entry());
        let addresses = config.outside.len();
        let keys = protocols.map(|rules| Keys::new(rules, behaviour.ports.reuse_source_mapping));
        let overload = protocols.map(|rules| rules.overload);
        let hash = KeyedHash::new(&mut rng);
        let ports = PortSpace::new(&behaviour.ports, overload, addresses, Pcg64Mcg::seed_from_u64(rng.random()));
        let mut outside: Vec<(u32, u16)> =
            (0u16..).zip(&config.outside).map(|(number, addr)| (addr.to_bits(), number)).collect();
        outside.sort_unstable();
        let outside_low = outside.first().map_or(0, |(lowest, _)| *lowest);
        let timeouts = tcp::timeouts(&behaviour.timers, behaviour.tcp_rules.machine);
        let mtus = [config.outside_mtu, config.inside_mtu];
        let longest = mtus.iter().flatten().max().map_or(0, |mtu| usize::from(*mtu) + L3);
        let held = HeldPool::new(behaviour.fragments.max_held, longest);
        let limits = &behaviour.quota;
        Ok(Self {
            table: Table::new(capacity, behaviour.table.full.by_entry(), keys, hash, 0),
            ports,
            sources: needs_sources(behaviour, addresses)
                .then(|| Sources::new(limits, behaviour.ports.range, addresses)),
            destinations: (behaviour.ports.max_per_destination > 0)
                .then(|| Destinations::new(sessions, behaviour.ports.max_per_destination)),
            fragments: Fragments::new(&behaviour.fragments),
            scratch: vec![0; held.slot_len()].into_boxed_slice(),
            held,
            releasing: false,
            counters: Counters::default(),
            idents: (behaviour.ip_id == IpId::Rewrite).then(|| Box::new(rng.random())),
            rng,
            outside_low,
            outside_span: outside.last().map_or(0, |(highest, _)| highest - outside_low),
            outside,
            translates_all: config.policy == Policy::default() && behaviour.policy.translate_link_local,
            now: 0,
            now_ns: 0,
            clock: 0,
            refresh: [Refresh::Outbound, Refresh::Inbound].map(|one| refresh_table(behaviour, &timeouts, one)),
            timeouts,
            frame_max: mtus.map(|mtu| mtu.map_or(usize::MAX, |mtu| usize::from(mtu) + L3)),
            lanes: Lanes::detect(),
            choice: Choice { rule: behaviour.pool.choice, total: addresses, round_robin: 0 },
            collector: Collector::new(&behaviour.collection),
            errors: TokenBucket::new(behaviour.icmp_rules.built_per_second),
            policer: Policer::new(&behaviour.capacity),
            config,
        })
    }

    /// Has it take packets one by one, as on processors without AVX-512: for tests, and to see what the wide registers are worth. What
    /// becomes of the packets is the same.
    #[must_use]
    pub fn without_wide_registers(mut self) -> Self {
        self.lanes = None;
        self
    }

    /// What has been counted so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The configuration it was made from.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// All sessions, held ports included, in no order that means anything. For listing, not for the data path.
    pub fn mappings(&self) -> impl Iterator<Item = MappingView> {
        let used = self.table.slab.entries.iter().filter(|session| !session.is_free());
        used.filter(|session| before(self.clock, session.expires)).map(|session| {
            let left = session.expires.wrapping_sub(self.now).cast_signed().max(0).cast_unsigned();
            MappingView::new(session, u64::from(left) * TICK_NS, self.table.lost(session))
        })
    }

    /// Bytes of memory that the tables take.
    pub fn memory(&self) -> usize {
        let sources = self.sources.as_ref().map_or(0, Sources::memory);
        let destinations = self.destinations.as_ref().map_or(0, Destinations::memory);
        self.table.memory()
            + sources
            + destinations
            + self.ports.memory()
            + self.fragments.memory()
            + self.held.memory()
    }

    /// Number of an outside address.
    pub(crate) fn address_number(&self, addr: u32) -> Option<u16> {
        if addr.wrapping_sub(self.outside_low) > self.outside_span {
            return None;
        }
        let at = self.outside.binary_search_by_key(&addr, |(addr, _)| *addr).ok()?;
        Some(self.outside[at].1)
    }

    /// True for an address of the translator itself that is no outside address.
    pub(crate) fn is_router(&self, addr: u32) -> bool {
        let addr = Ipv4Addr::from_bits(addr);
        addr == self.config.inside_router || addr == self.config.outside_router
    }

    pub(crate) fn is_dead(&self, index: u32) -> bool {
        !before(self.clock, self.table.slab.at(index).expires)
    }
}

/// Timeouts by state for packets of one direction; zero where they do not refresh.
fn refresh_table(behaviour: &Behaviour, timeouts: &[u32; State::COUNT], one: Refresh) -> [u32; State::COUNT] {
    let mut table = *timeouts;
    for state in State::ALL {
        let rules = match state {
            State::UdpNew | State::UdpNewIn | State::UdpStream => &behaviour.udp,
            State::Icmp => &behaviour.icmp,
            State::Free
            | State::SynSent
            | State::SynSent2
            | State::SynReceived
            | State::Established
            | State::Midstream
            | State::FinOriginal
            | State::FinReply
            | State::FinWait
            | State::CloseWait
            | State::LastAck
            | State::TimeWait
            | State::Close => &behaviour.tcp,
        };
        if rules.refresh != Refresh::Both && rules.refresh != one {
            table[state as usize] = 0;
        }
    }
    table
}

/// Protocols that have a translation at all.
pub(crate) const fn is_translatable(protocol: u8) -> bool {
    matches!(protocol, UDP | TCP | ICMP)
}
