//! A layer of translators: all nodes of a fleet, or its gateway.

use natrig_nat::behaviour::{Behaviour, Collection, CollectionRules, FullPolicy};
use natrig_nat::{Allocator, DropReason, PortsInUse, TICK_NS, TRIES_MAX, Wish, next_collection_interval};
use rand::RngExt;
use rand_pcg::Pcg64Mcg;
use std::collections::VecDeque;

use super::calendar::Calendar;
use super::table::{PortTable, Use, address_of, key};

/// Ticks in a second.
pub(crate) const TICKS_PER_S: u32 = (1_000_000_000 / TICK_NS) as u32;

/// What a layer has counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerCounts {
    /// Ports asked for.
    pub asked: u64,
    /// Ports not to be had, by the reason: [`DropReason`] as an index.
    pub refused: [u64; DropReason::COUNT],
    /// Allocations by the number of ports looked at; the last has all that needed more.
    pub tries: Vec<u64>,
    /// Entries that were over the capacity of a table that makes room for new ones by ending old ones.
    pub evicted: u64,
    /// Closed connections that lost their port to a new one before their time (Linux).
    pub reused: u64,
    /// Most entries in the table of one device at once.
    pub entries_max: u32,
    /// Requests for collection before its time.
    pub pressure_signals: u64,
    /// Runs of periodic collection.
    pub collections: u64,
}

impl LayerCounts {
    fn new() -> Self {
        Self {
            asked: 0,
            refused: [0; DropReason::COUNT],
            tries: vec![0; TRIES_MAX + 1],
            evicted: 0,
            reused: 0,
            entries_max: 0,
            pressure_signals: 0,
            collections: 0,
        }
    }

    /// Ports not to be had, whatever the reason.
    #[must_use]
    pub fn refused_total(&self) -> u64 {
        self.refused.iter().sum()
    }
}

/// Who shares a table and a collector.
#[derive(Debug, Clone, Copy)]
struct Device {
    entries: u32,
    /// Of these, those that wait for collection.
    dead: u32,
    /// What ends up to here is gone. Without periodic collection that is the present.
    clock: u32,
    interval: u32,
    next: u32,
}

/// A port that is kept for a while after its connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kept {
    /// Tick at which it comes free.
    pub(crate) expires: u32,
    /// Inside address of the connection.
    pub(crate) inside: u32,
    pub(crate) address: u16,
    pub(crate) remote: u16,
    pub(crate) port: u16,
    pub(crate) protocol: u8,
}

/// Ports that are all kept for the same time come free in the order in which their connections ended.
#[derive(Debug)]
struct Queue {
    ticks: u32,
    ports: VecDeque<Kept>,
}

/// Searches, or ports that come free, whose lines of memory are fetched together.
pub(crate) const AHEAD: usize = 32;

/// Translators of one behaviour.
#[derive(Debug)]
pub(crate) struct Layer {
    allocator: Allocator,
    /// Every address is a device of its own (nodes), or all are one device (a gateway).
    device_each: bool,
    devices: Vec<Device>,
    table: PortTable,
    /// A queue for each time that occurs, of which there are a few.
    queues: Vec<Queue>,
    /// When collectors run, by device.
    collectors: Calendar<u16>,
    /// Ports that have entered a queue.
    kept: u64,
    capacity: u32,
    full: FullPolicy,
    collection: Option<CollectionRules>,
    /// Ports in use by address and remote end, if there is a limit on them.
    in_use: Vec<u32>,
    in_use_max: u32,
    remotes: usize,
    evicts: bool,
    /// Somebody has to be told when a port comes free.
    wants_release: bool,
    rng: Pcg64Mcg,
    pub(crate) counts: LayerCounts,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker {
    pub(crate) wish: Wish,
    pub(crate) remote: u16,
    /// The outside address, if that is not to be chosen.
    pub(crate) at: Option<u16>,
}

/// The part of a layer that says which ports are in use, while its allocator is asked.
struct View<'l> {
    table: &'l mut PortTable,
    devices: &'l [Device],
    device_each: bool,
    in_use: &'l [u32],
    in_use_max: u32,
    remotes: usize,
    rng: &'l mut Pcg64Mcg,
    remote: u16,
    now: u32,
}

impl PortsInUse for View<'_> {
    #[inline]
    fn is_free(&mut self, address: u16, port: u16, closed_counts: bool) -> bool {
        let Some(used) = self.table.get(key(address, self.remote, port)) else { return true };
        let clock = self.devices[if self.device_each { usize::from(address) } else { 0 }].clock;
        // Whether a new connection's first sequence number lies beyond the last one of a closed connection of another host is chance.
        used.expires <= clock || closed_counts && used.closes <= self.now && self.rng.random()
    }

    #[inline]
    fn has_room(&mut self, address: u16) -> bool {
        self.in_use_max == 0
            || self.in_use[usize::from(address) * self.remotes + usize::from(self.remote)] < self.in_use_max
    }
}

impl Layer {
    /// `addresses` that are a device each, or all one. `expected`: uses at a time, to begin with. Each collector starts at some point of
    /// its first interval.
    pub(crate) fn new(
        behaviour: &Behaviour,
        addresses: usize,
        device_each: bool,
        remotes: usize,
        expected: usize,
        now: u32,
        rng: &mut Pcg64Mcg,
    ) -> Self {
        let limit = behaviour.ports.max_per_destination;
        let periodic = behaviour.collection.mode == Collection::Periodic;
        let allocator = Allocator::new(behaviour, addresses, rng.random());
        let mut layer = Self {
            wants_release: allocator.wants_release(),
            allocator,
            device_each,
            devices: vec![
                Device { entries: 0, dead: 0, clock: now, interval: 0, next: 0 };
                if device_each { addresses } else { 1 }
            ],
            table: PortTable::with_room(expected),
            queues: Vec::new(),
            collectors: Calendar::new(now),
            kept: 0,
            capacity: behaviour.table.capacity,
            full: behaviour.table.full,
            collection: periodic.then(|| behaviour.collection.clone()),
            in_use: vec![0; if limit > 0 { addresses * remotes } else { 0 }],
            in_use_max: limit,
            remotes,
            evicts: behaviour.ports.evict_closing_within > 0,
            rng: <Pcg64Mcg as rand::SeedableRng>::seed_from_u64(rng.random()),
            counts: LayerCounts::new(),
        };
        layer.start_collectors(now);
        layer
    }

    /// Fetches the lines that the searches to come are likely to begin with. First it is said which, then all are fetched: nothing stands
    /// between one miss and the next, so that they wait for memory together.
    pub(crate) fn touch(&self, askers: impl Iterator<Item = Asker> + Clone) {
        let likely = self.allocator.likely(askers.clone().map(|asker| (asker.wish, asker.at)));
        let mut slots = [0; AHEAD];
        for (slot, ((address, port), asker)) in slots.iter_mut().zip(likely.zip(askers)) {
            *slot = self.table.home(key(address, asker.remote, port));
        }
        self.table.touch(&slots);
    }

    fn start_collectors(&mut self, now: u32) {
        let Some(rules) = &self.collection else { return };
        for (number, device) in (0u16..).zip(&mut self.devices) {
            device.interval = rules.start_s * TICKS_PER_S;
            device.next = now + 1 + self.rng.random_range(0..device.interval);
            device.clock = device.next - device.interval;
            self.collectors.note(device.next, number);
        }
    }

    /// Finds a port; the use lasts until `expires`, its connection until `closes`.
    pub(crate) fn allocate(&mut self, asker: &Asker, now: u32, lasts: Use) -> Result<(u16, u16), DropReason> {
        self.counts.asked += 1;
        if !self.device_each && self.collection.is_none() {
            self.devices[0].clock = now;
        } else if let (Some(at), None) = (asker.at, &self.collection) {
            self.devices[usize::from(at)].clock = now;
        }
        let outcome = self.find(asker, now);
        match outcome {
            Ok((address, port)) => self.enter(asker, now, lasts, address, port),
            Err(reason) => self.counts.refused[reason as usize] += 1,
        }
        outcome
    }

    fn find(&mut self, asker: &Asker, now: u32) -> Result<(u16, u16), DropReason> {
        let own = asker.at.map_or(0, |at| self.device_of(at));
        if self.devices[own].entries >= self.capacity {
            if self.full == FullPolicy::Refuse {
                return Err(DropReason::TableFull);
            }
            self.counts.evicted += 1;
        }
        let mut view = View {
            table: &mut self.table,
            devices: &self.devices,
            device_each: self.device_each,
            in_use: &self.in_use,
            in_use_max: self.in_use_max,
            remotes: self.remotes,
            rng: &mut self.rng,
            remote: asker.remote,
            now,
        };
        let allocation = self.allocator.allocate(&asker.wish, asker.at, &mut view);
        if allocation.outcome.is_ok() {
            self.counts.tries[(allocation.tries as usize).min(TRIES_MAX)] += 1;
        }
        if allocation.pressure {
            self.counts.pressure_signals += 1;
            if let Some(rules) = &self.collection {
                let soonest = (self.devices[own].clock + rules.min_s * TICKS_PER_S).max(now + 1);
                if soonest < self.devices[own].next {
                    self.devices[own].next = soonest;
                    self.collectors.note(soonest, own as u16);
                }
            }
        }
        allocation.outcome
    }

    fn enter(&mut self, asker: &Asker, now: u32, lasts: Use, address: u16, port: u16) {
        let key = key(address, asker.remote, port);
        if self.evicts && self.table.get(key).is_some_and(|used| used.expires > now) {
            self.counts.reused += 1;
            self.leave(address, asker.remote);
        }
        let (devices, device_each) = (&self.devices, self.device_each);
        let exact = self.collection.is_none();
        self.table.put(key, lasts, |key, used| {
            let device = if device_each { usize::from(address_of(key)) } else { 0 };
            used.expires <= if exact { now } else { devices[device].clock }
        });
        let own = self.device_of(address);
        let device = &mut self.devices[own];
        device.entries += 1;
        self.counts.entries_max = self.counts.entries_max.max(device.entries);
        if self.in_use_max > 0 {
            self.in_use[usize::from(address) * self.remotes + usize::from(asker.remote)] += 1;
        }
    }

    /// Keeps a port for so many ticks after its connection. Calls for the same number of ticks come in the order of their ends.
    #[inline]
    pub(crate) fn keep(&mut self, ticks: u32, port: Kept) {
        self.kept += 1;
        match self.queues.iter_mut().find(|queue| queue.ticks == ticks) {
            Some(queue) => queue.ports.push_back(port),
            None => self.queues.push(Queue { ticks, ports: VecDeque::from([port]) }),
        }
    }

    /// Brings ports that were kept in any order into that of their ends.
    pub(crate) fn sort_kept(&mut self) {
        for queue in &mut self.queues {
            queue.ports.make_contiguous().sort_unstable_by_key(|port| port.expires);
        }
    }

    /// Lets one tick pass, up to `now`: ports come free, collectors run.
    pub(crate) fn pass(&mut self, now: u32) {
        for number in 0..self.queues.len() {
            self.free(number, now);
        }
        if self.collection.is_some() {
            let due = self.collectors.next();
            due.iter().for_each(|device| self.collect(device, now));
            self.collectors.done(due);
        }
    }

    fn free(&mut self, number: usize, now: u32) {
        loop {
            let (mut slots, mut count) = ([0; AHEAD], 0);
            let due = self.queues[number].ports.iter().take_while(|port| port.expires <= now);
            for (slot, port) in slots.iter_mut().zip(due) {
                *slot = self.table.home(key(port.address, port.remote, port.port));
                count += 1;
            }
            if self.evicts {
                self.table.touch(&slots[..count]);
            }
            for _ in 0..count {
                if let Some(port) = self.queues[number].ports.pop_front() {
                    self.expire(&port);
                }
            }
            if count < AHEAD {
                return;
            }
        }
    }

    /// The time of a use is over.
    fn expire(&mut self, kept: &Kept) {
        let Kept { expires, inside, address, remote, port, protocol } = *kept;
        // Somebody else may have the port by now.
        if self.evicts && self.table.get(key(address, remote, port)).is_none_or(|used| used.expires != expires) {
            return;
        }
        if self.wants_release {
            self.allocator.release(protocol, inside, address, port);
        }
        if self.collection.is_some() {
            let own = self.device_of(address);
            self.devices[own].dead += 1;
        } else {
            self.leave(address, remote);
        }
    }

    fn leave(&mut self, address: u16, remote: u16) {
        let own = self.device_of(address);
        self.devices[own].entries -= 1;
        if self.in_use_max > 0 {
            self.in_use[usize::from(address) * self.remotes + usize::from(remote)] -= 1;
        }
    }

    /// Runs a device's collector, if it was not brought forward.
    fn collect(&mut self, number: u16, now: u32) {
        let device = &mut self.devices[usize::from(number)];
        let Some(rules) = self.collection.as_ref().filter(|_| device.next == now) else { return };
        self.counts.collections += 1;
        let (live, dead) = (u64::from(device.entries), u64::from(device.dead));
        device.interval = next_collection_interval(rules, device.interval, dead, live);
        device.entries -= device.dead;
        device.dead = 0;
        device.clock = now;
        device.next = now + device.interval;
        self.collectors.note(device.next, number);
    }

    /// True if a use that ended at `expires` has not been collected yet.
    pub(crate) fn is_uncollected(&self, address: u16, expires: u32, now: u32) -> bool {
        expires > now || self.collection.is_some() && expires > self.devices[self.device_of(address)].clock
    }

    /// The use of a port ends earlier than was thought.
    pub(crate) fn shorten(&mut self, address: u16, remote: u16, port: u16, expires: u32) {
        self.table.put(key(address, remote, port), Use { expires, closes: expires }, |_, _| false);
    }

    /// Ticks of the first interval of collection; none without.
    pub(crate) fn first_interval(&self) -> u32 {
        self.collection.as_ref().map_or(0, |rules| rules.start_s * TICKS_PER_S)
    }

    /// Starts counting anew.
    pub(crate) fn forget_counts(&mut self) {
        self.counts = LayerCounts::new();
        self.counts.entries_max = self.devices.iter().map(|device| device.entries).max().unwrap_or(0);
    }

    fn device_of(&self, address: u16) -> usize {
        if self.device_each { usize::from(address) } else { 0 }
    }

    /// Slots looked at, and notes written.
    pub(crate) fn work(&self) -> u64 {
        self.table.work + self.collectors.work + self.kept
    }
}
