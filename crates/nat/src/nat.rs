//! The translator: its parts, its clock, and the way through them of a frame that is not ordinary.

use crate::answer::{self, Error};
use crate::behaviour::{Behaviour, Collection, Exhaustion, IcmpRules, PortBlocks, Refresh};
use crate::destinations::Destinations;
use crate::hash::KeyedHash;
use crate::packet::{Packet, decrement_ttl, is_bad_destination, is_bad_source};
use crate::ports::PortSpace;
use crate::session::{ICMP, TCP, UDP, flag};
use crate::sources::Sources;
use crate::table::{Keys, Table};
use crate::tcp::{self, State};
use crate::time::{TICK_NS, tick_of, ticks};
use crate::wheel::before;
use crate::{Config, ConfigError, Counters, Direction, DropReason, MappingView, Verdict};
use core::net::Ipv4Addr;
use natrig_wire::{Frame, icmpv4};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// Sessions that one burst may visit for the sake of timers.
const STEPS_PER_BURST: u32 = 64;
/// Sessions visited before a new mapping is refused while timers lag behind.
const STEPS_BEFORE_REFUSAL: u32 = 4096;

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
    pub(crate) counters: Counters,
    pub(crate) rng: Pcg64Mcg,
    /// Outside addresses, sorted, with their numbers.
    outside: Vec<(u32, u16)>,
    /// The tick of the burst.
    pub(crate) now: u32,
    pub(crate) now_ns: u64,
    /// Sessions with deadlines up to this tick are dead.
    pub(crate) clock: u32,
    /// Timeouts in ticks by direction and state: zero if packets of that direction do not refresh.
    pub(crate) refresh: [[u32; State::COUNT]; 2],
    pub(crate) timeouts: [u32; State::COUNT],
    /// Longest ordinary frame by direction: what the link behind takes.
    pub(crate) frame_max: [usize; 2],
    pub(crate) round_robin: usize,
    collector: Collector,
    errors: TokenBucket,
    /// Keeps the loads of the touch pass alive.
    pub(crate) touched: u64,
}

/// Runs of periodic collection.
#[derive(Debug)]
struct Collector {
    interval: u32,
    next: u32,
    running: bool,
    live_at_start: u64,
    ended_at_start: u64,
    wanted: bool,
    started: bool,
}

#[derive(Debug)]
struct TokenBucket {
    per_second: u32,
    tokens: u32,
    second_ns: u64,
}

impl TokenBucket {
    fn take(&mut self, now_ns: u64) -> bool {
        if self.per_second == 0 {
            return true;
        }
        let second_ns = now_ns / 1_000_000_000;
        if second_ns != self.second_ns {
            self.second_ns = second_ns;
            self.tokens = self.per_second;
        }
        let some = self.tokens > 0;
        self.tokens -= u32::from(some);
        some
    }
}

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
        let keys = protocols.map(|rules| Keys::new(rules, behaviour.ports.reuse_source_mapping));
        let table = Table::new(capacity, keys, KeyedHash::new(&mut rng), 0);
        let ports = PortSpace::new(
            &behaviour.ports,
            protocols.map(|rules| rules.overload),
            config.outside.len(),
            Pcg64Mcg::seed_from_u64(rng.random()),
        );
        let mut outside: Vec<(u32, u16)> =
            (0u16..).zip(&config.outside).map(|(number, addr)| (addr.to_bits(), number)).collect();
        outside.sort_unstable();
        let timeouts = tcp::timeouts(&behaviour.timers, behaviour.tcp_rules.machine);
        Ok(Self {
            table,
            ports,
            sources: needs_sources(behaviour, config.outside.len())
                .then(|| Sources::new(&behaviour.quota, behaviour.ports.range, config.outside.len())),
            destinations: (behaviour.ports.max_per_destination > 0)
                .then(|| Destinations::new(capacity, behaviour.ports.max_per_destination)),
            counters: Counters::default(),
            rng,
            outside,
            now: 0,
            now_ns: 0,
            clock: 0,
            refresh: [Refresh::Outbound, Refresh::Inbound].map(|one| refresh_table(behaviour, &timeouts, one)),
            timeouts,
            frame_max: [config.outside_mtu, config.inside_mtu]
                .map(|mtu| mtu.map_or(usize::MAX, |mtu| usize::from(mtu) + crate::packet::L3)),
            round_robin: 0,
            collector: Collector {
                interval: ticks(behaviour.collection.start_s),
                next: 0,
                running: false,
                live_at_start: 0,
                ended_at_start: 0,
                wanted: false,
                started: false,
            },
            errors: TokenBucket { per_second: behaviour.icmp_rules.built_per_second, tokens: 0, second_ns: u64::MAX },
            touched: 0,
            config,
        })
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
        let alive =
            self.table.slab.entries.iter().filter(|session| !session.is_free() && before(self.clock, session.expires));
        alive.map(|session| {
            MappingView::new(
                session,
                u64::from(session.expires.wrapping_sub(self.now).cast_signed().max(0).cast_unsigned()) * TICK_NS,
            )
        })
    }

    /// Bytes of memory that the tables take.
    pub fn memory(&self) -> usize {
        self.table.memory()
            + self.sources.as_ref().map_or(0, Sources::memory)
            + self.destinations.as_ref().map_or(0, Destinations::memory)
    }

    /// Ends every session whose time has come, however many they are. `translate_burst` does this a little at a time.
    pub fn expire(&mut self, now_ns: u64) {
        self.begin_burst(now_ns);
        self.collect(u32::MAX);
    }

    /// Sets the clock and pays the burst's share of timer work.
    pub(crate) fn begin_burst(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        self.now = tick_of(now_ns);
        if !self.collector.started {
            self.collector.started = true;
            self.collector.next = self.now.wrapping_add(self.collector.interval);
            self.clock = self.now;
            self.table.wheel = crate::wheel::Wheel::new(self.now);
        }
        if self.config.behaviour.collection.mode == Collection::Exact {
            self.clock = self.now;
        } else {
            self.run_collector();
        }
        if !self.table.wheel.is_caught_up(self.clock.wrapping_add(1)) {
            self.collect(STEPS_PER_BURST);
        }
    }

    /// Begins a run of the collector when it is time, or when it was asked for.
    fn run_collector(&mut self) {
        let rules = &self.config.behaviour.collection;
        let collector = &mut self.collector;
        let since_last = self.now.wrapping_sub(self.clock);
        let asked = collector.wanted && since_last >= ticks(rules.min_s);
        if !collector.running && (asked || !before(self.now, collector.next)) {
            collector.running = true;
            collector.wanted = false;
            collector.live_at_start = u64::from(self.table.slab.live());
            collector.ended_at_start = self.counters.expired;
            self.clock = self.now;
        }
    }

    /// Asks for collection before its time.
    pub(crate) fn signal_pressure(&mut self) {
        self.counters.pressure_signals += 1;
        self.collector.wanted = true;
    }

    /// Ends dead sessions, touching at most `steps`.
    fn collect(&mut self, mut steps: u32) {
        let due = self.clock.wrapping_add(1);
        while let Some(index) = self.table.wheel.next_due(&mut self.table.slab, due, &mut steps) {
            self.counters.expired += 1;
            self.end(index, true);
        }
        if self.collector.running && self.table.wheel.is_caught_up(due) {
            self.finish_run();
        }
    }

    /// Adapts the interval to what the run has found (pkg/maps/ctmap: GetInterval).
    fn finish_run(&mut self) {
        let rules = &self.config.behaviour.collection;
        let collector = &mut self.collector;
        let collected = self.counters.expired - collector.ended_at_start;
        let ratio = collected as f64 / collector.live_at_start.max(1) as f64;
        let interval = f64::from(collector.interval);
        let interval = if ratio > 0.25 {
            interval * (1.0 - ratio.min(0.9))
        } else if ratio < 0.05 {
            interval * 1.5
        } else {
            interval
        };
        collector.interval = (interval as u32).clamp(ticks(rules.min_s), ticks(rules.max_s));
        collector.next = self.now.wrapping_add(collector.interval);
        collector.running = false;
    }

    /// Catches up with the timers before something is refused; false if there was nothing to catch up with.
    pub(crate) fn collect_before_refusal(&mut self) -> bool {
        if self.table.wheel.is_caught_up(self.clock.wrapping_add(1)) {
            return false;
        }
        self.collect(STEPS_BEFORE_REFUSAL);
        true
    }

    /// Ends a session that is in no wheel slot any more; if its mapping ends with it, its port is freed, or held first.
    pub(crate) fn end(&mut self, index: u32, may_hold: bool) {
        let session = *self.table.slab.at(index);
        let slot = crate::table::slot_of(session.protocol);
        let (outside, remote) = (session.outside(), session.remote());
        let last = self.table.is_last_of_mapping(index);
        let address = self.address_number(outside.0);
        let held = session.has(flag::HELD);
        if !held
            && address.is_some()
            && let Some(destinations) = &mut self.destinations
        {
            destinations.remove(&self.table.hash, session.protocol, outside.0, remote);
        }
        let hold = self.hold_ticks(session.protocol, session.state);
        let holds = may_hold && !held && last && hold > 0 && address.is_some();
        if holds {
            self.table.hold(index, self.now.wrapping_add(hold));
        } else {
            self.table.unlink(index);
            self.table.slab.remove(index);
            if last && let Some(address) = address {
                self.ports.give(address, slot, outside.1);
            }
        }
        self.counters.live = u64::from(self.table.slab.live());
        let Some(sources) = &mut self.sources else { return };
        let Some(number) = sources.find(&self.table.hash, session.inside().0) else { return };
        let source = sources.at_mut(number);
        source.sessions -= u32::from(!held);
        source.ports[slot] -= u32::from(last && !holds && address.is_some());
        sources.release_if_idle(&self.table.hash, number);
    }

    fn hold_ticks(&self, protocol: u8, state: State) -> u32 {
        let hold = &self.config.behaviour.hold;
        ticks(match protocol {
            UDP => hold.udp_s,
            TCP if state == State::Close => hold.tcp_rst_s,
            TCP => hold.tcp_fin_s,
            _ => hold.icmp_s,
        })
    }

    /// Number of an outside address.
    pub(crate) fn address_number(&self, addr: u32) -> Option<u16> {
        let at = self.outside.binary_search_by_key(&addr, |(addr, _)| *addr).ok()?;
        Some(self.outside[at].1)
    }

    pub(crate) fn is_dead(&self, index: u32) -> bool {
        !before(self.clock, self.table.slab.at(index).expires)
    }

    /// A frame that the ordinary path leaves alone, or whose flow is new.
    #[cold]
    #[inline(never)]
    pub(crate) fn careful(&mut self, dir: Direction, frame: &mut Frame<'_>) -> Verdict {
        let packet = match Packet::read(frame.bytes()) {
            Ok(packet) => packet,
            Err(reason) => return self.drop(reason),
        };
        if is_bad_source(packet.src) || is_bad_destination(packet.dst) {
            return self.drop(DropReason::Martian);
        }
        if packet.ttl <= 1 {
            return self.answer_error(dir, frame, &packet, Error::TTL, DropReason::TtlExpired);
        }
        let result = match dir {
            Direction::Outbound => self.outbound(frame, &packet),
            Direction::Inbound => self.inbound(frame, &packet),
        };
        result.unwrap_or_else(|reason| self.refuse(dir, frame, &packet, reason))
    }

    /// What a packet gets that cannot be forwarded for `reason`. The frame is still as it came in.
    pub(crate) fn refuse(
        &mut self,
        dir: Direction,
        frame: &mut Frame<'_>,
        packet: &Packet,
        reason: DropReason,
    ) -> Verdict {
        use DropReason as R;
        match reason {
            R::PortsExhausted
            | R::DestinationLimit
            | R::SourceLimit
            | R::SourceRate
            | R::TableFull
            | R::SourcesFull
                if dir == Direction::Outbound =>
            {
                let administrative = matches!(reason, R::SourceLimit | R::SourceRate);
                let code = match self.config.behaviour.exhaustion {
                    Exhaustion::Drop => return self.drop(reason),
                    // A quota is no shortage: RFC 5508 REQ-8 rather than RFC 6888 REQ-11.
                    Exhaustion::HostUnreachable if administrative => icmpv4::unreachable::ADMINISTRATIVELY_PROHIBITED,
                    Exhaustion::HostUnreachable => icmpv4::unreachable::HOST,
                    Exhaustion::AdministrativelyProhibited => icmpv4::unreachable::ADMINISTRATIVELY_PROHIBITED,
                };
                self.answer_error(dir, frame, packet, Error::unreachable(code), reason)
            }
            _ => self.drop(reason),
        }
    }

    pub(crate) fn drop(&mut self, reason: DropReason) -> Verdict {
        self.counters.drops[reason as usize] += 1;
        Verdict::Drop(reason)
    }

    /// Answers with an ICMP error if one may be sent, else drops.
    pub(crate) fn answer_error(
        &mut self,
        dir: Direction,
        frame: &mut Frame<'_>,
        packet: &Packet,
        error: Error,
        reason: DropReason,
    ) -> Verdict {
        let from = match dir {
            Direction::Outbound => self.config.inside_router,
            Direction::Inbound => self.config.outside_router,
        };
        let answered = answer::may_be_answered(frame.bytes(), packet)
            && self.errors.take(self.now_ns)
            && answer::icmp_error(frame, packet, error, from.to_bits());
        if !answered {
            return self.drop(reason);
        }
        self.counters.answered[reason as usize] += 1;
        Verdict::Back
    }

    /// Answers a TCP segment with a reset.
    pub(crate) fn answer_reset(&mut self, frame: &mut Frame<'_>, packet: &Packet, reason: DropReason) -> Verdict {
        if packet.is_fragment() || !answer::reset(frame, packet) {
            return self.drop(reason);
        }
        self.counters.answered[reason as usize] += 1;
        Verdict::Back
    }

    /// Answers an echo request to one of the translator's own addresses.
    pub(crate) fn answer_echo(&mut self, frame: &mut Frame<'_>, packet: &Packet) -> Verdict {
        answer::echo_reply(frame, packet);
        self.counters.echo_answered += 1;
        Verdict::Back
    }

    /// Routes a packet as it is.
    pub(crate) fn pass(&mut self, frame: &mut Frame<'_>) -> Verdict {
        decrement_ttl(frame.bytes_mut());
        self.counters.passed += 1;
        Verdict::Forward
    }

    pub(crate) fn icmp_rules(&self) -> &IcmpRules {
        &self.config.behaviour.icmp_rules
    }

    /// True for an address of the translator itself that is no outside address.
    pub(crate) fn is_router(&self, addr: u32) -> bool {
        let addr = Ipv4Addr::from_bits(addr);
        addr == self.config.inside_router || addr == self.config.outside_router
    }
}

/// Timeouts by state for packets of one direction; zero where they do not refresh.
fn refresh_table(behaviour: &Behaviour, timeouts: &[u32; State::COUNT], one: Refresh) -> [u32; State::COUNT] {
    let mut table = *timeouts;
    for (rules, states) in [
        (&behaviour.udp, &[State::UdpNew, State::UdpStream][..]),
        (&behaviour.icmp, &[State::Icmp][..]),
        (
            &behaviour.tcp,
            &[
                State::SynSent,
                State::SynSent2,
                State::SynReceived,
                State::Established,
                State::Midstream,
                State::FinOriginal,
                State::FinReply,
                State::FinWait,
                State::CloseWait,
                State::LastAck,
                State::TimeWait,
                State::Close,
            ][..],
        ),
    ] {
        if rules.refresh != Refresh::Both && rules.refresh != one {
            for state in states {
                table[*state as usize] = 0;
            }
        }
    }
    table
}

/// Protocols as counters and rules name them.
pub(crate) const fn is_translatable(protocol: u8) -> bool {
    matches!(protocol, UDP | TCP | ICMP)
}
