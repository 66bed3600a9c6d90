//! The open-loop generator at the pods' end.

use std::sync::Arc;

use arrayvec::ArrayVec;
use hdrhistogram::Histogram;
use natrig_link::{BURST_MAX, Link, Loan, SendError};
use natrig_wire::template::UdpTemplate;
use natrig_wire::{Frame, MacAddr, WireError};

use crate::tally::Tally;
use crate::{FlowSet, FrameSizes, STAMP_LEN, Schedule, Stamp, TTL};

/// Whose MAC addresses a frame carries when it leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// Source: our own.
    pub mac: MacAddr,
    /// Destination: the next hop's.
    pub peer: MacAddr,
}

/// What becomes of frames that the link does not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// They are sent later, and their lag shows it: the way into a device that this machine's own kernel is slow to open.
    Wait,
    /// They are lost, and counted in [`GeneratorCounts::refused`]: the link's ring is the next device's receive ring, and a sender
    /// that waited for room in it would not be open loop.
    Lose,
}

/// What a generator is made from.
#[derive(Debug, Clone)]
pub struct GeneratorConfig {
    /// The flows, used in turn.
    pub flows: Arc<FlowSet>,
    /// Frame sizes, used in turn.
    pub sizes: FrameSizes,
    /// MAC addresses.
    pub endpoint: Endpoint,
    /// Most frames handed to the link at once (1..=256). Small bursts keep the generator's own share of the latency small.
    pub burst: usize,
    /// What becomes of frames that the link does not take.
    pub refused: Refused,
}

/// What a trial's generator did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GeneratorCounts {
    /// Frames that left: taken by the link, or lost at it.
    pub sent: u64,
    /// Their bytes, without FCS.
    pub sent_bytes: u64,
    /// Of these, frames that the link did not take and that are lost.
    pub refused: u64,
    /// Calls in which the link took fewer frames than were due.
    pub refused_calls: u64,
}

/// Flows that are opened while frames go over others: the first frame of each comes in between, and it has no second one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewFlows {
    /// The first of them; all flows before it are those that stand.
    pub first: u32,
    /// How many there are.
    pub count: u32,
    /// One frame in so many opens one, until there are no more; at least 2.
    pub one_in: u32,
}

impl NewFlows {
    /// How many have been opened before the `index`th frame of a trial.
    fn opened(&self, index: u64) -> u64 {
        (index / self.one_in()).min(u64::from(self.count))
    }

    /// Whether the `index`th frame of a trial opens one.
    fn opens(&self, index: u64) -> bool {
        index % self.one_in() == self.one_in() - 1 && self.opened(index) < u64::from(self.count)
    }

    fn one_in(&self) -> u64 {
        u64::from(self.one_in.max(2))
    }

    /// Flow and sequence number of the `index`th frame of a trial.
    fn frame(&self, index: u64) -> (u32, u32) {
        let opened = self.opened(index);
        if self.opens(index) {
            return (self.first + opened as u32, 0);
        }
        let nth = index - opened;
        let standing = u64::from(self.first.max(1));
        ((nth % standing) as u32, (nth / standing) as u32)
    }
}

/// Whether a trial's schedule has run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendProgress {
    /// More frames are due, now or later.
    Sending,
    /// The last frame of the schedule has left.
    Finished,
}

/// Sends stamped frames of a flow set on an open-loop schedule.
#[derive(Debug)]
pub struct Generator {
    config: GeneratorConfig,
    /// The flows to use, in turn; none: all of them as they stand.
    order: Option<Vec<u32>>,
    /// The flows that it opens meanwhile; none: it knows no difference.
    new: Option<NewFlows>,
    /// Whether its frames bear the mark of answers.
    answers: bool,
    /// How far ahead of their time frames are handed to a link that waits for it, in nanoseconds.
    ahead_ns: u64,
    /// By frame length: `templates[i]` makes frames of `lens[i]` bytes.
    lens: Vec<usize>,
    templates: Vec<UdpTemplate<STAMP_LEN>>,
    places: Places,
    /// Which template's frame lies in each place since the last time.
    made: Vec<Option<u16>>,
    schedule: Schedule,
    /// Intended times of frames that are due and not yet sent.
    due: ArrayVec<u64, BURST_MAX>,
    /// When those of a burst that waited for their time had left, from the clock's own epoch.
    left_ns: Vec<u64>,
    epoch_ns: u64,
    trial: u8,
    counts: GeneratorCounts,
    lag: Tally,
    /// Of the frames that open a flow meanwhile; they are not in the other.
    new_lag: Tally,
}

impl Generator {
    /// # Errors
    /// [`WireError`] if a frame size cannot hold the headers and the stamp.
    pub fn new(config: GeneratorConfig) -> Result<Self, WireError> {
        let lens = config.sizes.distinct();
        let Endpoint { mac, peer } = config.endpoint;
        let templates = lens.iter().map(|len| UdpTemplate::new(*len, peer, mac, TTL)).collect::<Result<_, _>>()?;
        let place_bytes = config.sizes.len_max().next_multiple_of(64);
        let burst = config.burst.clamp(1, BURST_MAX);
        Ok(Self {
            lens,
            templates,
            places: Places::Own { bytes: vec![0; place_bytes * burst], place_bytes },
            made: vec![None; burst],
            schedule: Schedule::count(0, 1.0),
            due: ArrayVec::new(),
            left_ns: Vec::new(),
            epoch_ns: 0,
            trial: 0,
            counts: GeneratorCounts::default(),
            lag: Tally::new(),
            new_lag: Tally::new(),
            order: None,
            new: None,
            answers: false,
            ahead_ns: 0,
            config: GeneratorConfig { burst, ..config },
        })
    }

    /// Uses only these flows, in this order, again and again. Without any it sends nothing.
    pub fn use_in_order(&mut self, order: Vec<u32>) {
        self.order = Some(order);
    }

    /// Opens flows while it sends over others, from the next trial on.
    pub fn introduce(&mut self, new: Option<NewFlows>) {
        self.new = new;
    }

    /// Sends from the far end: frames that a receiver at the pods takes for the answers of a flow.
    #[must_use]
    pub fn answering(self) -> Self {
        Self { answers: true, ..self }
    }

    /// Hands frames over so long before their time, in nanoseconds, if the link waits for it. Whoever calls does nothing else meanwhile.
    #[must_use]
    pub fn ahead(self, ahead_ns: u64) -> Self {
        Self { ahead_ns, ..self }
    }

    /// Starts a trial: intended times of `schedule` count from `epoch_ns`. Counts start from zero.
    pub fn begin(&mut self, trial: u8, schedule: Schedule, epoch_ns: u64) {
        self.schedule = schedule;
        self.due.clear();
        self.epoch_ns = epoch_ns;
        self.trial = trial;
        self.counts = GeneratorCounts::default();
        self.lag.clear();
        self.new_lag.clear();
    }

    /// Sends what is due at `now_ns`, at most one burst.
    ///
    /// # Errors
    /// Whatever the link returns.
    pub fn send_due(&mut self, link: &mut dyn Link, now_ns: u64) -> Result<SendProgress, SendError> {
        let Some(now_ns) = now_ns.checked_sub(self.epoch_ns) else { return Ok(SendProgress::Sending) };
        if self.order.as_ref().is_some_and(Vec::is_empty) {
            return Ok(SendProgress::Finished);
        }
        let waits_ns = if self.ahead_ns > 0 { link.waits_ns() } else { 0 };
        let until_ns = if waits_ns > 0 { now_ns + self.ahead_ns } else { now_ns };
        let mut next = self.schedule.peek();
        while let Some(intended_ns) = next.filter(|at| *at <= until_ns && self.due.len() < self.config.burst) {
            self.due.push(intended_ns);
            self.schedule.advance();
            next = self.schedule.peek();
        }
        if self.due.is_empty() {
            return Ok(if next.is_none() { SendProgress::Finished } else { SendProgress::Sending });
        }
        // As far as no gap is longer than the link waits.
        let mut before_ns = now_ns;
        let near = |at: &&u64| {
            let gap_ns = at.saturating_sub(before_ns);
            before_ns = before_ns.max(**at);
            gap_ns <= waits_ns
        };
        let count = match self.due.last() {
            Some(last) if *last <= now_ns => self.due.len(),
            _ => self.due.iter().take_while(near).count(),
        };
        if count > 0 {
            self.send_burst(link, now_ns, count)?;
        }
        Ok(if next.is_none() && self.due.is_empty() { SendProgress::Finished } else { SendProgress::Sending })
    }

    /// The frame with this stamp as it is sent; `None` if there is no such flow.
    pub fn frame(&self, stamp: &Stamp) -> Option<Vec<u8>> {
        let tuple = self.config.flows.get(stamp.flow)?;
        let index = u64::from(stamp.seq) * u64::from(self.config.flows.len()) + u64::from(stamp.flow);
        let len = self.config.sizes.len_of(index);
        let kind = self.lens.iter().position(|known| *known == len)?;
        let mut frame = vec![0; len];
        self.templates[kind].emit(&mut frame, tuple, &Stamp { answer: false, ..*stamp }.to_bytes());
        Some(frame)
    }

    /// What has been sent since [`Generator::begin`].
    pub fn counts(&self) -> GeneratorCounts {
        self.counts
    }

    /// Actual minus intended send time of every frame since then, in nanoseconds; those that open a flow meanwhile are not in it.
    pub fn lag_ns(&self) -> Histogram<u64> {
        self.lag.histogram()
    }

    /// The same of the frames that open a flow meanwhile.
    pub fn new_lag_ns(&self) -> Histogram<u64> {
        self.new_lag.histogram()
    }

    /// The first `count` of those that are due. Not a part of its caller, which is asked far more often than something is due: a frame of this
    /// size on the stack is touched page by page.
    #[inline(never)]
    fn send_burst(&mut self, link: &mut dyn Link, now_ns: u64, count: usize) -> Result<(), SendError> {
        if let Some(loan) = link.lend() {
            self.places = Places::Lent(loan);
            self.made.fill(None);
        }
        let mut frames: ArrayVec<Frame<'_>, BURST_MAX> = ArrayVec::new();
        self.places.take(count, &mut frames);
        let burst = Burst {
            config: &self.config,
            lens: &self.lens,
            templates: &self.templates,
            due: &self.due[..count],
            now_ns,
            trial: self.trial,
            answers: self.answers,
        };
        let first = self.counts.sent;
        let mut indices = first..;
        let mut index = || indices.next().unwrap_or_default();
        match (&self.order, self.new) {
            (Some(order), _) => {
                let used = order.len().max(1) as u64;
                burst.make(&mut frames, &mut self.made, || {
                    let index = index();
                    (order.get((index % used) as usize).copied().unwrap_or(0), (index / used) as u32)
                });
            }
            (None, Some(new)) => burst.make(&mut frames, &mut self.made, || new.frame(index())),
            (None, None) => {
                let mut turn = Turn::at(first, self.config.flows.len());
                burst.make(&mut frames, &mut self.made, || turn.next());
            }
        }
        let (all, alike_from) = (&ALL[..count], if self.lens.len() == 1 { ALIKE_FROM } else { usize::MAX });
        self.left_ns.clear();
        let taken = if self.due[count - 1] > now_ns {
            self.left_ns.extend(self.due[..count].iter().map(|intended_ns| self.epoch_ns + intended_ns));
            link.send_timed(&frames, all, alike_from, &mut self.left_ns)?
        } else {
            link.send_alike(&frames, all, alike_from)?
        };
        let left = match self.config.refused {
            Refused::Wait => taken,
            Refused::Lose => frames.len(),
        };
        self.counts.sent_bytes += match self.lens[..] {
            [len] => (left * len) as u64,
            _ => frames[..left].iter().map(|frame| frame.len() as u64).sum(),
        };
        let new = self.new.filter(|_| self.order.is_none());
        for ((nth, index), intended_ns) in (first..).enumerate().zip(self.due.drain(..left)) {
            let opens = new.is_some_and(|new| new.opens(index));
            let lag = if opens { &mut self.new_lag } else { &mut self.lag };
            let left_ns = self.left_ns.get(nth).map_or(now_ns, |at| at.saturating_sub(self.epoch_ns));
            lag.add(left_ns.saturating_sub(intended_ns));
        }
        self.counts.sent += left as u64;
        self.counts.refused += (left - taken) as u64;
        self.counts.refused_calls += u64::from(taken < frames.len());
        Ok(())
    }
}

/// What a burst's frames are made from.
struct Burst<'a> {
    config: &'a GeneratorConfig,
    lens: &'a [usize],
    templates: &'a [UdpTemplate<STAMP_LEN>],
    /// When each was meant to leave.
    due: &'a [u64],
    now_ns: u64,
    trial: u8,
    answers: bool,
}

impl Burst<'_> {
    /// Makes a frame in each of `frames`; `next` says of which flow, and which of its frames. `made`: what lies there already.
    #[inline]
    fn make(&self, frames: &mut [Frame<'_>], made: &mut [Option<u16>], mut next: impl FnMut() -> (u32, u32)) {
        let flows = &*self.config.flows;
        for ((intended_ns, frame), made) in self.due.iter().zip(frames).zip(made) {
            let (flow, seq) = next();
            let stamp = Stamp {
                flow,
                seq,
                intended_ns: *intended_ns,
                lag_ns: u32::try_from(self.now_ns.saturating_sub(*intended_ns)).unwrap_or(u32::MAX),
                trial: self.trial,
                answer: self.answers,
            };
            let (kind, len) = match *self.lens {
                [len] => (0, len),
                ref lens => {
                    let len = self.config.sizes.len_of(u64::from(seq) * u64::from(flows.len()) + u64::from(flow));
                    // A handful of lengths at most: a scan is the fastest map.
                    (lens.iter().position(|known| *known == len).unwrap_or(0), len)
                }
            };
            if let Some(tuple) = flows.get(flow) {
                let (template, place) = (&self.templates[kind], frame.bytes_mut());
                if made.replace(kind as u16) == Some(kind as u16) {
                    template.fill_in(place, tuple, &stamp.to_bytes());
                } else {
                    template.emit(place, tuple, &stamp.to_bytes());
                }
            }
            frame.resize(len);
        }
    }
}

/// From where on frames of one length are the same.
const ALIKE_FROM: usize = UdpTemplate::<STAMP_LEN>::LEN_MIN;

/// Where frames are made: each burst in the same places.
#[derive(Debug)]
enum Places {
    /// Memory of the generator's own, which the link copies from.
    Own { bytes: Vec<u8>, place_bytes: usize },
    /// Memory that the link sends from.
    Lent(Box<dyn Loan>),
}

impl Places {
    /// The first `count`, each whole.
    fn take<'a>(&'a mut self, count: usize, frames: &mut ArrayVec<Frame<'a>, BURST_MAX>) {
        match self {
            Self::Own { bytes, place_bytes } => {
                let places = bytes.chunks_exact_mut(*place_bytes).take(count);
                frames.extend(places.map(|place| Frame::new(place, *place_bytes)));
            }
            Self::Lent(loan) => loan.places(count, frames),
        }
    }
}

/// Flows in turn, without a division for each frame.
struct Turn {
    flows: u32,
    flow: u32,
    seq: u32,
}

impl Turn {
    /// Before the `index`th frame of a trial.
    fn at(index: u64, flows: u32) -> Self {
        let flows_wide = u64::from(flows);
        Self { flows, flow: (index % flows_wide) as u32, seq: (index / flows_wide) as u32 }
    }

    /// Flow and sequence number of the next frame.
    fn next(&mut self) -> (u32, u32) {
        let frame = (self.flow, self.seq);
        self.flow += 1;
        if self.flow == self.flows {
            (self.flow, self.seq) = (0, self.seq.wrapping_add(1));
        }
        frame
    }
}

/// "All of them, in order", for [`Link::send`].
pub(crate) static ALL: [u16; BURST_MAX] = {
    let mut all = [0; BURST_MAX];
    let mut index = 0;
    while index < BURST_MAX {
        all[index] = index as u16;
        index += 1;
    }
    all
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn flows_come_in_turn_from_wherever_a_burst_begins() {
        for flows in [1, 3] {
            for first in 0..7u64 {
                let mut turn = Turn::at(first, u32::try_from(flows).unwrap());
                for index in first..first + 8 {
                    assert_eq!(turn.next(), ((index % flows) as u32, (index / flows) as u32));
                }
            }
        }
    }

    #[test]
    fn new_flows_come_once_each_and_the_others_go_on_in_turn() {
        let new = NewFlows { first: 3, count: 2, one_in: 4 };
        let frames: Vec<(u32, u32)> = (0..14).map(|index| new.frame(index)).collect();
        let expected = [
            (0, 0),
            (1, 0),
            (2, 0),
            (3, 0),
            (0, 1),
            (1, 1),
            (2, 1),
            (4, 0),
            (0, 2),
            (1, 2),
            (2, 2),
            (0, 3),
            (1, 3),
            (2, 3),
        ];
        assert_eq!(frames, expected);
        assert_eq!(frames.iter().collect::<HashSet<_>>().len(), frames.len(), "no frame twice");
    }
}
