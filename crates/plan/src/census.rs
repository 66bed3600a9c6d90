//! Who talks to whom, how often and how many at once, from any number of observations in bounded memory.
//!
//! Destinations are kept by the Space-Saving algorithm (Metwally, Agrawal, El Abbadi, ICDT 2005): [`DESTINATIONS`] of them, and when another
//! one comes the least seen makes room. With N observations, every destination that was seen more than N / DESTINATIONS times is kept,
//! and its count is at most as much too high. While there are no more destinations than that, nothing is lost.
//!
//! Over time each destination has at most [`BINS`] bins of a width that all share, one second to begin with. When the time seen does not
//! fit any more, pairs of bins become one. The number open at once is known exactly at the ends of bins; within them it is at most that plus
//! what began in the bin. That is the interval of the peak.
//!
//! Whether an observation continues a flow that was seen before is looked up in a table of fixed size; what falls out of it counts as new.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::net::Ipv4Addr;

use crate::demand::{Demand, Span};
use crate::inputs::Flow;
use crate::sim::Lives;
use crate::timing::{Close, Protocol};

/// Destinations kept.
pub const DESTINATIONS: usize = 4096;
/// Bins of a destination.
pub const BINS: usize = 2048;
/// Flows remembered, a power of two.
const REMEMBERED: usize = 1 << 22;
/// Inside addresses counted one by one.
const INSIDE_MAX: usize = 1 << 20;
/// A flow that was silent for so long is another one: twice the longest aggregation interval of a flow log would be too long for ports that
/// are used again.
const SAME_FLOW_S: u32 = 120;
/// Linux keeps what is closed in its table for so long; what is listed as closed was closed in this time.
const TIME_WAIT_S: f64 = 120.0;

type Key = (Protocol, u32, u16);

#[derive(Debug, Clone, Copy, Default)]
struct Bin {
    began: u32,
    ended: u32,
    opened: u32,
}

#[derive(Debug, Default)]
struct Counts {
    key: Option<Key>,
    seen: u64,
    bins: Vec<Bin>,
    opened: u64,
    listed_open: u64,
    listed_closed: u64,
    packets: u64,
    bytes: u64,
}

/// The counts.
#[derive(Debug)]
pub struct Census {
    index: HashMap<Key, u32, BuildHasherDefault<DefaultHasher>>,
    destinations: Vec<Counts>,
    /// Least seen first; what is out of date is put right when it comes up.
    least: BinaryHeap<Reverse<(u64, u32)>>,
    /// Seconds of a bin, and the number of the first one since 1970.
    width_s: u64,
    first_bin: u64,
    started: bool,
    first_s: u64,
    last_s: u64,
    remembered: Box<[(u32, u32)]>,
    inside: HashSet<u32>,
    observed: u64,
    displaced: u64,
    is_list: bool,
}

impl Default for Census {
    fn default() -> Self {
        Self {
            index: HashMap::default(),
            destinations: Vec::new(),
            least: BinaryHeap::new(),
            width_s: 1,
            first_bin: 0,
            started: false,
            first_s: 0,
            last_s: 0,
            remembered: vec![(0, 0); REMEMBERED].into_boxed_slice(),
            inside: HashSet::new(),
            observed: 0,
            displaced: 0,
            is_list: false,
        }
    }
}

impl Census {
    /// A flow was seen from `start_s` to `end_s`; `opened`: it began then, if that is known.
    pub fn interval(&mut self, flow: &Flow, start_s: u64, end_s: u64, opened: Option<bool>, packets: u64, bytes: u64) {
        let continued = self.remember(flow, start_s, end_s);
        let opened = opened.unwrap_or(!continued);
        let at = self.destination(flow);
        self.cover(start_s);
        self.cover(end_s + 1);
        let (start, end) = (self.bin(start_s), self.bin(end_s + 1));
        let counts = &mut self.destinations[at];
        counts.packets += packets;
        counts.bytes += bytes;
        counts.opened += u64::from(opened);
        let bin = counts.bin(start);
        bin.began += 1;
        bin.opened += u32::from(opened);
        counts.bin(end).ended += 1;
    }

    /// A flow began.
    pub fn opened(&mut self, flow: &Flow, now_s: u64) {
        self.remember(flow, now_s, now_s);
        let at = self.destination(flow);
        self.cover(now_s);
        let start = self.bin(now_s);
        let counts = &mut self.destinations[at];
        counts.opened += 1;
        let bin = counts.bin(start);
        bin.began += 1;
        bin.opened += 1;
    }

    /// A flow ended. What is not remembered to be open is one that has ended already, or that began before the log.
    pub fn closed(&mut self, flow: &Flow, now_s: u64) {
        let (slot, print) = place(flow);
        if self.remembered[slot].0 != print {
            return;
        }
        self.remembered[slot] = (0, 0);
        let at = self.destination(flow);
        self.cover(now_s);
        let end = self.bin(now_s);
        self.destinations[at].bin(end).ended += 1;
    }

    /// A flow is in a list of those that there are at one moment.
    pub fn listed(&mut self, flow: &Flow, closed: bool) {
        self.is_list = true;
        let at = self.destination(flow);
        let counts = &mut self.destinations[at];
        if closed {
            counts.listed_closed += 1;
        } else {
            counts.listed_open += 1;
        }
    }

    /// Inside addresses, as far as they were counted.
    #[must_use]
    pub fn inside(&self) -> u32 {
        self.inside.len() as u32
    }

    /// What a reader should know.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.displaced > 0 {
            warnings.push(format!(
                "more than {DESTINATIONS} destinations: those with fewer than {} of the {} observations may be missing, and counts may be as much too high",
                self.observed / DESTINATIONS as u64 + 1,
                self.observed
            ));
        }
        if self.width_s > 1 {
            warnings.push(format!(
                "peaks are known to {} s: a peak lies between what was open at the end of such a span and that plus what began in it",
                self.width_s
            ));
        }
        if self.is_list {
            warnings.push(
                "a list is one moment, not a peak; rates are what closed within the last 120 s (TIME_WAIT), half to double of it".to_owned(),
            );
        }
        warnings
    }

    /// The demand of each destination, those with most connections first.
    #[must_use]
    pub fn demands(&self) -> Vec<Demand> {
        let mut demands: Vec<Demand> = self.destinations.iter().filter_map(|counts| self.demand(counts)).collect();
        demands.sort_by(|a, b| b.open[1].total_cmp(&a.open[1]));
        demands
    }

    fn demand(&self, counts: &Counts) -> Option<Demand> {
        let (protocol, address, port) = counts.key?;
        let span_s = (self.last_s.saturating_sub(self.first_s) + 1) as f64;
        let (mut open, mut rate): (Span, Span) = counts.peaks(self.width_s, span_s);
        if counts.listed_open + counts.listed_closed > 0 {
            let listed = counts.listed_open as f64;
            let closed_per_s = counts.listed_closed as f64 / TIME_WAIT_S;
            open = open.map(|open| open + listed);
            rate = [rate[0] + closed_per_s / 2.0, rate[1] + closed_per_s, rate[2] + closed_per_s * 2.0];
        }
        Some(Demand {
            name: format!("{}:{port}", Ipv4Addr::from_bits(address)),
            protocol,
            remotes: 1,
            rate_per_s: rate,
            open,
            close: if protocol == Protocol::Tcp { Close::Fin } else { Close::Idle },
            silence_s: 0,
            pods: self.inside().max(1),
            packets_per_s: counts.packets as f64 / span_s,
            bits_per_s: counts.bytes as f64 * 8.0 / span_s,
            lives: Lives::Exponential,
            basis: vec!["logs".to_owned()],
        })
    }

    fn destination(&mut self, flow: &Flow) -> usize {
        self.observed += 1;
        if self.inside.len() < INSIDE_MAX {
            self.inside.insert(flow.inside.0);
        }
        let key = (flow.protocol, flow.remote.0, flow.remote.1);
        if let Some(&at) = self.index.get(&key) {
            self.destinations[at as usize].seen += 1;
            return at as usize;
        }
        let at = if self.destinations.len() < DESTINATIONS {
            self.destinations.push(Counts::default());
            self.destinations.len() - 1
        } else {
            self.displace()
        };
        let seen = self.destinations[at].seen + 1;
        self.destinations[at] = Counts { key: Some(key), seen, ..Counts::default() };
        self.least.push(Reverse((seen, at as u32)));
        self.index.insert(key, at as u32);
        at
    }

    /// Takes out the least seen.
    fn displace(&mut self) -> usize {
        while let Some(Reverse((seen, at))) = self.least.pop() {
            let counts = &self.destinations[at as usize];
            if counts.seen > seen {
                self.least.push(Reverse((counts.seen, at)));
                continue;
            }
            self.displaced += 1;
            if let Some(key) = counts.key {
                self.index.remove(&key);
            }
            return at as usize;
        }
        0
    }

    /// True if the flow was seen not long before; it is seen now.
    fn remember(&mut self, flow: &Flow, start_s: u64, end_s: u64) -> bool {
        let (slot, print) = place(flow);
        let (known, last_s) = self.remembered[slot];
        self.remembered[slot] = (print, end_s as u32);
        known == print && (start_s as u32) <= last_s.saturating_add(SAME_FLOW_S)
    }

    fn bin(&self, time_s: u64) -> usize {
        (time_s / self.width_s - self.first_bin) as usize
    }

    /// Makes room for a point in time: moves the first bin, or doubles the width of all.
    fn cover(&mut self, time_s: u64) {
        if !self.started {
            self.started = true;
            (self.first_s, self.last_s) = (time_s, time_s);
            self.first_bin = time_s;
        }
        self.first_s = self.first_s.min(time_s);
        self.last_s = self.last_s.max(time_s);
        loop {
            let (first, last) = (self.first_s / self.width_s, self.last_s / self.width_s);
            if first >= self.first_bin && last < self.first_bin + BINS as u64 {
                return;
            }
            if last - first < BINS as u64 && first < self.first_bin {
                // A quarter in hand, so that not every earlier record moves everything.
                let slack = (BINS as u64 / 4).min(BINS as u64 - 1 - (last - first)).min(first);
                let by = (self.first_bin - (first - slack)) as usize;
                self.destinations.iter_mut().for_each(|counts| counts.move_by(by));
                self.first_bin -= by as u64;
                continue;
            }
            let odd = self.first_bin % 2 == 1;
            self.destinations.iter_mut().for_each(|counts| counts.halve(odd));
            self.first_bin /= 2;
            self.width_s *= 2;
        }
    }
}

impl Counts {
    fn bin(&mut self, at: usize) -> &mut Bin {
        if self.bins.len() <= at {
            self.bins.resize(at + 1, Bin::default());
        }
        &mut self.bins[at]
    }

    fn move_by(&mut self, by: usize) {
        if !self.bins.is_empty() {
            self.bins.splice(0..0, std::iter::repeat_n(Bin::default(), by));
            self.bins.truncate(BINS);
        }
    }

    fn halve(&mut self, odd: bool) {
        let shift = usize::from(odd);
        for at in 0..self.bins.len() {
            let bin = std::mem::take(&mut self.bins[at]);
            let into = &mut self.bins[(at + shift) / 2];
            into.began += bin.began;
            into.ended += bin.ended;
            into.opened += bin.opened;
        }
        self.bins.truncate((self.bins.len() + shift).div_ceil(2));
    }

    /// The peak of what is open, and of the rate over a minute or a bin.
    fn peaks(&self, width_s: u64, span_s: f64) -> (Span, Span) {
        let (mut level, mut sure, mut most) = (0i64, 0i64, 0i64);
        let minute = (60 / width_s).max(1) as usize;
        let (mut in_minute, mut busiest, mut busiest_bin) = (0u64, 0u64, 0u32);
        for (at, bin) in self.bins.iter().enumerate() {
            most = most.max(level + i64::from(bin.began));
            level = (level + i64::from(bin.began) - i64::from(bin.ended)).max(0);
            sure = sure.max(level);
            in_minute += u64::from(bin.opened);
            if at >= minute {
                in_minute -= u64::from(self.bins[at - minute].opened);
            }
            busiest = busiest.max(in_minute);
            busiest_bin = busiest_bin.max(bin.opened);
        }
        let over_s = ((minute as u64 * width_s) as f64).min(span_s);
        let mean = self.opened as f64 / span_s;
        let peak = busiest as f64 / over_s;
        let (sure, most) = (sure as f64, most as f64);
        // Times are whole seconds: what ended in a second is gone when that second begins.
        let most = if width_s == 1 { sure } else { most };
        let usual = f64::midpoint(sure, most);
        ([sure, usual, most], [mean, peak, (f64::from(busiest_bin) / width_s as f64).max(peak)])
    }
}

fn place(flow: &Flow) -> (usize, u32) {
    let mut hasher = DefaultHasher::new();
    flow.hash(&mut hasher);
    let hash = hasher.finish();
    (hash as usize % REMEMBERED, (hash >> 32) as u32 | 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(pod: u32, port: u16, remote: u32) -> Flow {
        Flow { protocol: Protocol::Tcp, inside: (0x0a00_0000 + pod, port), remote: (remote, 443) }
    }

    #[test]
    fn what_is_open_at_once_is_exact_by_the_second() {
        let mut census = Census::default();
        for pod in 0..100 {
            census.interval(&flow(pod, 40_000, 1), 1000 + u64::from(pod), 1049 + u64::from(pod), Some(true), 1, 100);
        }
        let demands = census.demands();
        assert_eq!(demands[0].open[1], 50.0);
        assert_eq!((census.inside(), demands[0].rate_per_s[1]), (100, 1.0));
    }

    #[test]
    fn any_order_and_any_span_fit_and_the_interval_holds_the_truth() {
        let mut census = Census::default();
        let mut times: Vec<u64> = (0..20_000).map(|n| n * 37 % 100_000).collect();
        times.reverse();
        for (pod, start) in (0u32..).zip(times) {
            census.interval(&flow(pod, 40_000, 1), 500_000 + start, 500_099 + start, Some(true), 1, 1);
        }
        let mut starts: Vec<u64> = (0..20_000).map(|n| n * 37 % 100_000).collect();
        starts.sort_unstable();
        let at_once = |at: usize| starts[..=at].iter().rev().take_while(|start| **start + 100 > starts[at]).count();
        let truth = (0..starts.len()).map(at_once).max().unwrap() as f64;
        let open = census.demands()[0].open;
        assert!(open[0] <= truth && truth <= open[2], "{truth} and {open:?}");
        assert!(census.warnings().iter().any(|warning| warning.starts_with("peaks are known to 64 s")));
    }

    #[test]
    fn a_flow_that_goes_on_is_opened_once() {
        let mut census = Census::default();
        for minute in 0..10 {
            census.interval(&flow(1, 40_000, 1), 60 * minute, 60 * minute + 59, None, 1, 1);
        }
        let demand = &census.demands()[0];
        assert_eq!(demand.open[1], 1.0);
        assert!((demand.rate_per_s[0] * 601.0 - 1.0).abs() < 0.01, "{:?}", demand.rate_per_s);
    }

    #[test]
    fn the_busy_ones_stay_when_there_are_too_many() {
        let mut census = Census::default();
        for n in 0..200_000u32 {
            census.interval(
                &flow(n % 50, 1000 + (n % 60_000) as u16, if n % 10 == 0 { 7 } else { 1000 + n }),
                5,
                6,
                Some(true),
                1,
                1,
            );
        }
        assert_eq!(census.destinations.len(), DESTINATIONS);
        assert!(
            census
                .destinations
                .iter()
                .any(|counts| counts.key == Some((Protocol::Tcp, 7, 443)) && counts.opened == 20_000)
        );
        assert!(!census.warnings().is_empty());
    }

    #[test]
    fn events_open_and_close_once() {
        let mut census = Census::default();
        census.opened(&flow(1, 1, 9), 100);
        census.opened(&flow(2, 1, 9), 101);
        census.closed(&flow(1, 1, 9), 110);
        census.closed(&flow(1, 1, 9), 120);
        census.closed(&flow(3, 1, 9), 120);
        census.opened(&flow(4, 1, 9), 130);
        assert_eq!(census.demands()[0].open[1], 2.0);
    }
}
