//! The end of sessions: timers, periodic collection, what is given back.

use crate::Nat;
use crate::behaviour::{Collection, CollectionRules};
use crate::session::{TCP, UDP, flag};
use crate::table::slot_of;
use crate::tcp::State;
use crate::time::{tick_of, ticks};
use crate::wheel::before;

/// Sessions that one burst may visit for the sake of timers: so many, and as many more as were made in the burst before. A visit that
/// ends a session takes about half a microsecond in a large table; all of them together stay well below 50 µs.
const STEPS_PER_BURST: u32 = 32;
/// Sessions visited before a new mapping is refused while timers lag behind.
const STEPS_BEFORE_REFUSAL: u32 = 4096;

/// Runs of periodic collection.
#[derive(Debug)]
pub(crate) struct Collector {
    interval: u32,
    next: u32,
    running: bool,
    live_at_start: u64,
    ended_at_start: u64,
    wanted: bool,
    started: bool,
    created_before: u64,
}

impl Collector {
    pub(crate) const fn new(rules: &CollectionRules) -> Self {
        Self {
            interval: ticks(rules.start_s),
            next: 0,
            running: false,
            live_at_start: 0,
            ended_at_start: 0,
            wanted: false,
            started: false,
            created_before: 0,
        }
    }
}

/// The interval of periodic collection, in ticks of [`TICK_NS`](crate::TICK_NS), that follows one of `interval` ticks at whose end
/// `collected` of `live` entries were dead (Cilium, pkg/maps/ctmap, `GetInterval`).
pub fn next_collection_interval(rules: &CollectionRules, interval: u32, collected: u64, live: u64) -> u32 {
    let ratio = collected as f64 / live.max(1) as f64;
    let factor = match ratio {
        // A run that finds nothing says nothing.
        0.0 => 1.0,
        ratio if ratio > 0.25 => 1.0 - ratio.min(0.9),
        ratio if ratio < 0.05 => 1.5,
        _ => 1.0,
    };
    let interval = (f64::from(interval) * factor) as u32;
    interval.clamp(ticks(rules.min_s), ticks(rules.max_s))
}

impl Nat {
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
            self.table.wheel.start(self.now);
        }
        if self.config.behaviour.collection.mode == Collection::Exact {
            self.clock = self.now;
        } else {
            self.run_collector();
        }
        if !self.table.wheel.is_caught_up(self.clock.wrapping_add(1)) {
            let made = self.counters.created - self.collector.created_before;
            self.collect(STEPS_PER_BURST + made.min(u64::from(STEPS_PER_BURST)) as u32);
        }
        self.collector.created_before = self.counters.created;
    }

    /// Begins a run of the collector when it is time, or when it was asked for.
    fn run_collector(&mut self) {
        let rules = &self.config.behaviour.collection;
        let collector = &mut self.collector;
        let asked = collector.wanted && self.now.wrapping_sub(self.clock) >= ticks(rules.min_s);
        if !collector.running && (asked || !before(self.now, collector.next)) {
            collector.running = true;
            collector.wanted = false;
            collector.live_at_start = u64::from(self.table.slab.live());
            collector.ended_at_start = self.counters.expired;
            self.clock = self.now;
        }
    }

    /// Whatever is there now was not made in the last burst.
    pub(crate) const fn collector_starts(&mut self) {
        self.collector.created_before = self.counters.created;
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

    /// Adapts the interval to what the run has found.
    fn finish_run(&mut self) {
        let rules = &self.config.behaviour.collection;
        let collector = &mut self.collector;
        let collected = self.counters.expired - collector.ended_at_start;
        collector.interval = next_collection_interval(rules, collector.interval, collected, collector.live_at_start);
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

    /// Ends a session that is still in the wheel.
    pub(crate) fn end_early(&mut self, index: u32, may_hold: bool) {
        self.table.wheel.remove(&mut self.table.slab, index);
        self.end(index, may_hold);
    }

    /// Ends a session that is in no wheel slot any more; if its mapping ends with it, its port is freed, or held first.
    pub(crate) fn end(&mut self, index: u32, may_hold: bool) {
        let session = *self.table.slab.at(index);
        let slot = slot_of(session.protocol);
        let (outside, remote) = (session.outside(), session.remote());
        let last = self.table.is_last_of_mapping(index);
        // A flow that is not translated has its own address on the outside, and no port of ours.
        let address = self.address_number(outside.0);
        let held = session.has(flag::HELD);
        if !held
            && address.is_some()
            && let Some(destinations) = &mut self.destinations
        {
            destinations.remove(&self.table.hash, session.protocol, outside.0, remote);
        }
        let hold = self.hold_ticks(session.protocol, session.state);
        // The hold begins when the mapping's time was over, however late that is noticed.
        let over = if before(session.expires, self.clock) { session.expires } else { self.now };
        let until = over.wrapping_add(hold);
        let holds = may_hold && !held && last && before(self.now, until) && address.is_some();
        if holds {
            self.table.hold(index, until);
        } else {
            self.table.unlink(index);
            self.table.slab.remove(index);
            if last && let Some(address) = address {
                self.ports.give(address, slot, outside.1);
            }
        }
        self.counters.live = u64::from(self.table.slab.live());
        let Some(sources) = &mut self.sources else { return };
        if address.is_none() {
            return;
        }
        let Some(number) = sources.find(&self.table.hash, session.inside().0) else { return };
        let source = sources.at_mut(number);
        source.sessions -= u32::from(!held);
        source.ports[slot] -= u32::from(last && !holds);
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
}
