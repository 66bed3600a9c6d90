//! What was delivered, and whether it is what the design must make of it. The receiver decides, never the sender.

mod parse;

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use hdrhistogram::Histogram;
use natrig_link::passage::Sample;
use natrig_wire::template::FourTuple;

use self::parse::{Heads, Parsed, parse};
use crate::tally::Tally;
use crate::window::{self, Window};
use crate::{FlowSet, FrameSizes, Stamp};

/// What a frame must look like where it is received.
#[derive(Debug, Clone)]
pub enum Expectation {
    /// At the servers: destination untouched; source as the design says, and the same for all frames of a flow.
    AtServer {
        /// Addresses that may appear as source; `None` where no layer translates: the pod's own tuple must appear.
        sources: Option<Vec<Ipv4Addr>>,
        /// TTL left.
        ttl: u8,
    },
    /// Back at the pods: exactly the reverse of what the pod sent.
    AtPod {
        /// TTL left.
        ttl: u8,
    },
}

/// Why a frame is not what the design must make of it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// An IP or UDP checksum is wrong, or the bytes are not the frame that was sent.
    Corrupted,
    /// Source address that no layer of this design may show.
    WrongSource,
    /// The destination was changed.
    WrongDestination,
    /// A flow changed its translated tuple within a trial.
    MappingChanged,
    /// Two flows came out with one tuple.
    MappingShared,
    /// The TTL is not what the hops leave of it.
    WrongTtl,
    /// The length is not that of the frame sent.
    WrongLength,
}

/// The first frame with a fault, for the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultSample {
    /// What is wrong.
    pub fault: Fault,
    /// The tuple that the pod sent, where the stamp could be read.
    pub sent: Option<FourTuple>,
    /// What the stamp says, right or wrong.
    pub stamp: Stamp,
    /// The bytes received.
    pub bytes: Vec<u8>,
}

/// Frames by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReceiveCounts {
    /// Delivered: right, and for the first time.
    pub received: u64,
    /// Their bytes, without FCS.
    pub received_bytes: u64,
    /// Delivered, but after a later frame of the flow.
    pub reordered: u64,
    /// Right, but seen before.
    pub duplicated: u64,
    /// [`Fault::Corrupted`] or [`Fault::WrongLength`].
    pub corrupted: u64,
    /// Any other [`Fault`].
    pub mistranslated: u64,
    /// Of these, [`Fault::MappingShared`]: right in everything else.
    pub shared: u64,
    /// Left over from another trial.
    pub stale: u64,
    /// Not ours: no stamp to read.
    pub foreign: u64,
}

/// The latencies of delivered frames, in nanoseconds.
#[derive(Debug, Clone)]
pub struct Latency {
    /// From the time the schedule wanted the frame sent: free of coordinated omission.
    pub intended_ns: Histogram<u64>,
    /// From the time it was handed to the link.
    pub sent_ns: Histogram<u64>,
}

/// The same while they are taken.
#[derive(Debug)]
struct LatencyTally {
    intended: Tally,
    sent: Tally,
}

impl LatencyTally {
    fn new() -> Self {
        Self { intended: Tally::new(), sent: Tally::new() }
    }

    fn clear(&mut self) {
        self.intended.clear();
        self.sent.clear();
    }

    #[inline]
    fn add(&mut self, since_intended_ns: u64, since_sent_ns: u64) {
        self.intended.add(since_intended_ns);
        self.sent.add(since_sent_ns);
    }

    fn histograms(&self) -> Latency {
        Latency { intended_ns: self.intended.histogram(), sent_ns: self.sent.histogram() }
    }
}

/// A sampled frame that was delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Which frame, as in [`natrig_link::passage::Passage::key`].
    pub key: u64,
    /// When the schedule wanted it sent.
    pub intended_ns: u64,
    /// When it was handed to the link.
    pub sent_ns: u64,
    /// When the burst that it came in was fetched.
    pub received_ns: u64,
}

/// Receives the frames of a flow set and holds them against an [`Expectation`].
#[derive(Debug)]
pub struct Receiver {
    flows: Arc<FlowSet>,
    sizes: FrameSizes,
    expectation: Expectation,
    windows: Vec<Window>,
    bindings: Vec<Option<(Ipv4Addr, u16)>>,
    owners: HashMap<FourTuple, u32>,
    counts: ReceiveCounts,
    latency: LatencyTally,
    /// Of the frames that open a flow; they are not in the other.
    latency_new: LatencyTally,
    new_from: u32,
    fault_sample: Option<FaultSample>,
    heads: Option<Heads>,
    sample: Option<Sample>,
    arrivals: Vec<Arrival>,
    epoch_ns: u64,
    trial: u8,
}

impl Receiver {
    /// A receiver for frames of `flows` with the lengths of `sizes`.
    pub fn new(flows: Arc<FlowSet>, sizes: FrameSizes, expectation: Expectation) -> Self {
        let count = flows.len() as usize;
        Self {
            sizes,
            expectation,
            windows: vec![Window::default(); count],
            bindings: vec![None; count],
            owners: HashMap::with_capacity(count),
            counts: ReceiveCounts::default(),
            latency: LatencyTally::new(),
            latency_new: LatencyTally::new(),
            new_from: u32::MAX,
            fault_sample: None,
            heads: None,
            sample: None,
            arrivals: Vec::new(),
            epoch_ns: 0,
            trial: 0,
            flows,
        }
    }

    /// Starts a trial; what is known of the translated tuples stays (they must not change while mappings live).
    pub fn begin(&mut self, trial: u8, epoch_ns: u64) {
        self.windows.fill(Window::default());
        self.counts = ReceiveCounts::default();
        self.latency.clear();
        self.latency_new.clear();
        (self.trial, self.epoch_ns) = (trial, epoch_ns);
    }

    /// Forgets the translated tuples: the mappings are gone.
    pub fn forget_bindings(&mut self) {
        self.bindings.fill(None);
        self.owners.clear();
        self.fault_sample = None;
    }

    /// From the next trial on notes when the frames of `sample` arrive, of at most `room` of them; of none, without a sample.
    pub fn sample(&mut self, sample: Option<Sample>, room: usize) {
        self.sample = sample;
        self.arrivals.clear();
        if sample.is_some() {
            self.arrivals.reserve_exact(room);
        }
    }

    /// The sampled frames that were delivered.
    pub fn arrivals(&self) -> &[Arrival] {
        &self.arrivals
    }

    /// Frames of exactly `len` bytes may be the beginning of longer ones, whose end the link has spared itself: their UDP checksum is held
    /// against the end that was sent. That of the others is held against the bytes that arrived, as ever.
    pub fn heads(&mut self, len: Option<usize>) {
        self.heads = len.map(Heads::cut_to);
    }

    /// Looks at one frame. True if it was delivered: right, and for the first time.
    #[inline]
    pub fn receive(&mut self, frame: &[u8], now_ns: u64) -> bool {
        let parsed = match &mut self.heads {
            Some(heads) if heads.len() == frame.len() => heads.parse(frame),
            _ => parse(frame),
        };
        let Some(parsed) = parsed else {
            self.counts.foreign += 1;
            return false;
        };
        if parsed.stamp.trial != self.trial
            || parsed.stamp.answer != matches!(self.expectation, Expectation::AtPod { .. })
        {
            self.counts.stale += 1;
            return false;
        }
        if let Err(fault) = self.judge(&parsed) {
            self.fault(fault, &parsed, frame);
            return false;
        }
        self.deliver(&parsed.stamp, parsed.len, now_ns)
    }

    /// What has arrived since [`Receiver::begin`].
    pub fn counts(&self) -> ReceiveCounts {
        self.counts
    }

    /// The latencies since [`Receiver::begin`].
    pub fn latency(&self) -> Latency {
        self.latency.histograms()
    }

    /// Those of the frames that opened a flow meanwhile, which are not in the others.
    pub fn latency_new(&self) -> Latency {
        self.latency_new.histograms()
    }

    /// The first faulty frame since the bindings were forgotten.
    pub fn fault_sample(&self) -> Option<&FaultSample> {
        self.fault_sample.as_ref()
    }

    /// Flows from this one on are new when their frame comes: it is counted apart.
    pub fn new_from(&mut self, first: u32) {
        self.new_from = first;
    }

    /// Address and port that a flow has shown as its source; none before its first frame.
    pub fn binding(&self, flow: u32) -> Option<(Ipv4Addr, u16)> {
        self.bindings.get(flow as usize).copied().flatten()
    }

    /// How many flows have shown a translated tuple.
    pub fn bindings_learned(&self) -> usize {
        self.bindings.iter().flatten().count()
    }

    fn judge(&mut self, parsed: &Parsed) -> Result<(), Fault> {
        let stamp = &parsed.stamp;
        if !parsed.checksums_right {
            return Err(Fault::Corrupted);
        }
        let sent = *self.flows.get(stamp.flow).ok_or(Fault::Corrupted)?;
        let index = u64::from(stamp.seq) * u64::from(self.flows.len()) + u64::from(stamp.flow);
        if parsed.len != self.sizes.len_of(index) {
            return Err(Fault::WrongLength);
        }
        let seen = parsed.tuple;
        let (sources, ttl) = match &self.expectation {
            Expectation::AtPod { ttl } => {
                let right = seen == sent.reversed();
                return if !right {
                    Err(Fault::WrongDestination)
                } else if parsed.ttl != *ttl {
                    Err(Fault::WrongTtl)
                } else {
                    Ok(())
                };
            }
            Expectation::AtServer { sources, ttl } => (sources, *ttl),
        };
        if (seen.dst, seen.dst_port) != (sent.dst, sent.dst_port) {
            return Err(Fault::WrongDestination);
        }
        if parsed.ttl != ttl {
            return Err(Fault::WrongTtl);
        }
        let binding = &mut self.bindings[stamp.flow as usize];
        if let Some(known) = binding {
            return if *known == (seen.src, seen.src_port) { Ok(()) } else { Err(Fault::MappingChanged) };
        }
        let source_allowed = match sources {
            None => (seen.src, seen.src_port) == (sent.src, sent.src_port),
            Some(pool) => pool.contains(&seen.src),
        };
        if !source_allowed {
            return Err(Fault::WrongSource);
        }
        if *self.owners.entry(seen).or_insert(stamp.flow) != stamp.flow {
            return Err(Fault::MappingShared);
        }
        *binding = Some((seen.src, seen.src_port));
        Ok(())
    }

    fn deliver(&mut self, stamp: &Stamp, len: usize, now_ns: u64) -> bool {
        match self.windows[stamp.flow as usize].record(stamp.seq) {
            window::Arrival::InOrder => {}
            window::Arrival::Reordered => self.counts.reordered += 1,
            window::Arrival::Duplicate | window::Arrival::TooOld => {
                self.counts.duplicated += 1;
                return false;
            }
        }
        self.counts.received += 1;
        self.counts.received_bytes += len as u64;
        let since_intended = now_ns.saturating_sub(self.epoch_ns + stamp.intended_ns);
        let since_sent = since_intended.saturating_sub(u64::from(stamp.lag_ns));
        if stamp.flow >= self.new_from {
            self.latency_new.add(since_intended, since_sent);
            return true;
        }
        self.latency.add(since_intended, since_sent);
        if let Some(key) = self.sample.and_then(|sample| sample.choose(stamp.flow, stamp.seq))
            && self.arrivals.len() < self.arrivals.capacity()
        {
            let intended_ns = self.epoch_ns + stamp.intended_ns;
            let sent_ns = intended_ns + u64::from(stamp.lag_ns);
            self.arrivals.push(Arrival { key, intended_ns, sent_ns, received_ns: now_ns });
        }
        true
    }

    #[cold]
    fn fault(&mut self, fault: Fault, parsed: &Parsed, frame: &[u8]) {
        match fault {
            Fault::Corrupted | Fault::WrongLength => self.counts.corrupted += 1,
            Fault::MappingShared => {
                self.counts.mistranslated += 1;
                self.counts.shared += 1;
            }
            Fault::WrongSource | Fault::WrongDestination | Fault::MappingChanged | Fault::WrongTtl => {
                self.counts.mistranslated += 1;
            }
        }
        let sent = self.flows.get(parsed.stamp.flow).copied();
        let stamp = parsed.stamp;
        self.fault_sample.get_or_insert_with(|| FaultSample { fault, sent, stamp, bytes: frame.to_vec() });
    }
}

#[cfg(test)]
mod tests;
