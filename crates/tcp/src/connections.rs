//! Many connections at once, made, kept alive and unmade on a schedule by whoever is at the two ends: open loop, so that a device that is
//! slow to let one through does not keep the next one from being tried. Nothing is sent twice: a connection that lost a segment stays
//! unfinished, and which segment it was is counted.

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::Arc;

use arrayvec::ArrayVec;
use hdrhistogram::Histogram;
use natrig_bench::result::Dropped;
use natrig_bench::scenario::Word as _;
use natrig_bench::{Ends, Outlet, Polled, RigError, Talk};
use natrig_link::{BURST_MAX, Link, SendError, clock};
use natrig_traffic::{FlowSet, Refused, Schedule, TTL, histogram};
use natrig_wire::Frame;
use natrig_wire::template::FourTuple;

use crate::segment::{Arrived, FRAME_LEN, Kind, Odd, Segment, read};

/// What happens to connections of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// They are made, and stand.
    Open,
    /// They are made, and unmade at once.
    Whole,
    /// They are asked whether they are alive.
    Ask,
    /// They are unmade.
    Close,
}

/// One thing to be done in a session: connections in turn, from the first again when all have had theirs.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) what: What,
    /// The connections, by number.
    pub(crate) connections: std::ops::Range<u32>,
    /// When each is due.
    pub(crate) schedule: Schedule,
    done: u32,
}

impl Work {
    pub(crate) fn new(what: What, connections: std::ops::Range<u32>, schedule: Schedule) -> Self {
        Self { what, connections, schedule, done: 0 }
    }
}

/// Who speaks, and what must be seen.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    /// The four tuples as clients send them.
    pub(crate) tuples: Arc<FlowSet>,
    pub(crate) clients: Outlet,
    pub(crate) servers: Outlet,
    /// Addresses that servers may see; none: the clients' own tuples.
    pub(crate) sources: Option<Vec<Ipv4Addr>>,
    /// Routers on the way.
    pub(crate) routers: u8,
}

/// A connection.
#[derive(Debug, Clone, Copy, Default)]
struct Connection {
    /// Tells it from an earlier one.
    generation: u8,
    /// When its SYN was due, from the epoch.
    due_ns: u64,
    /// When it was last asked whether it is alive, from the epoch; none: not since it answered.
    asked_ns: Option<u64>,
    /// What the server sees as its client.
    seen: Option<(Ipv4Addr, u16)>,
    /// True if it is to be closed as soon as it stands.
    whole: bool,
    closed: bool,
}

/// What a session came to.
#[derive(Debug, Clone)]
pub(crate) struct Counts {
    /// Connections tried, by SYNs handed to the link.
    pub(crate) tried: u64,
    /// Of these, connections that stood at the client.
    pub(crate) made: u64,
    /// Connections whose last ACK reached the server.
    pub(crate) unmade: u64,
    /// Connections asked whether they are alive, and answers.
    pub(crate) asked: u64,
    pub(crate) alive: u64,
    /// Segments handed to a link and segments that arrived as they should, by [`Kind`].
    pub(crate) sent: [u64; KINDS],
    pub(crate) received: [u64; KINDS],
    /// Resets, of whoever.
    pub(crate) resets: u64,
    /// Segments with a wrong checksum, tuple or TTL.
    pub(crate) wrong: u64,
    /// What was wrong with the first of them, in words.
    pub(crate) first_wrong: Option<String>,
    /// From when a SYN was due to the SYN-ACK at the client.
    pub(crate) handshake_ns: Histogram<u64>,
    /// From when a SYN was due to the last ACK at the server.
    pub(crate) whole_ns: Histogram<u64>,
    /// From when a keepalive was due to its answer.
    pub(crate) alive_ns: Histogram<u64>,
    /// By how much later than due the link took the first segment of what is to be done.
    pub(crate) lag_ns: Histogram<u64>,
}

pub(crate) const KINDS: usize = Kind::ALL.len();

impl Counts {
    fn new() -> Self {
        let [handshake_ns, whole_ns, alive_ns, lag_ns] = [(); 4].map(|()| histogram());
        Self {
            tried: 0,
            made: 0,
            unmade: 0,
            asked: 0,
            alive: 0,
            sent: [0; KINDS],
            received: [0; KINDS],
            resets: 0,
            wrong: 0,
            first_wrong: None,
            handshake_ns,
            whole_ns,
            alive_ns,
            lag_ns,
        }
    }

    /// Segments that did not arrive, or not as they should.
    pub(crate) fn lost(&self) -> u64 {
        self.sent.iter().sum::<u64>() - self.received.iter().sum::<u64>()
    }
}

/// A segment that waits for its link.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    segment: Segment,
    tuple: FourTuple,
    /// When it was due, from the epoch, if it is the schedule that asks for it.
    due_ns: Option<u64>,
}

/// Segments that wait for their link.
#[derive(Debug)]
struct Outgoing {
    outlet: Outlet,
    waiting: VecDeque<Waiting>,
    /// How many of these the schedule asks for.
    due: usize,
    buffer: Vec<u8>,
    /// Segments that the link did not take and that are lost.
    refused: u64,
    /// How many segments may be under way, if whoever sends is to wait for room.
    room: Option<usize>,
    /// How many are, and when last one arrived, from the epoch.
    under_way: usize,
    moved_ns: u64,
}

/// Segments that have been under way for so long, with nothing behind them, will not come: their room is free.
const LOST_AFTER_NS: u64 = 200_000_000;

/// Clients and servers of all connections.
#[derive(Debug)]
pub(crate) struct Connections {
    setting: Setting,
    connections: Vec<Connection>,
    /// Which connection has a client's tuple, and which one is behind what a server sees.
    by_client: HashMap<FourTuple, u32>,
    by_seen: HashMap<FourTuple, u32>,
    work: Vec<Work>,
    counts: Counts,
    out: Outgoing,
    back: Outgoing,
    epoch_ns: u64,
    trial: u8,
}

impl Connections {
    pub(crate) fn new(setting: Setting) -> Self {
        let count = setting.tuples.len() as usize;
        let outgoing = |outlet: Outlet| Outgoing {
            outlet,
            waiting: VecDeque::new(),
            due: 0,
            buffer: vec![0; FRAME_LEN * outlet.burst.clamp(1, BURST_MAX)],
            refused: 0,
            room: None,
            under_way: 0,
            moved_ns: 0,
        };
        Self {
            connections: vec![Connection::default(); count],
            by_client: setting.tuples.iter().copied().zip(0..).collect(),
            by_seen: HashMap::with_capacity(count),
            work: Vec::new(),
            counts: Counts::new(),
            out: outgoing(setting.clients),
            back: outgoing(setting.servers),
            epoch_ns: 0,
            trial: 0,
            setting,
        }
    }

    /// The tables between the ends are empty: no connection stands.
    pub(crate) fn forget(&mut self) {
        self.connections.fill(Connection::default());
        self.by_seen.clear();
    }

    /// What the next session does: open loop, or `waiting` for room in the rings on the way, so that none can overflow.
    pub(crate) fn prepare(&mut self, work: Vec<Work>, waiting: bool) {
        self.work = work;
        for end in [&mut self.out, &mut self.back] {
            end.room = end.outlet.room.filter(|_| waiting);
        }
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Adds the segments that the links of the two ends did not take.
    pub(crate) fn add_refused(&self, drops: &mut Vec<Dropped>) {
        for end in [&self.out, &self.back] {
            end.outlet.add_refused(drops, end.refused);
        }
    }

    /// Starts what is due, at most a burst of each work. True if there is nothing left to start, now or later.
    fn start_due(&mut self, now_ns: u64) -> bool {
        let Some(now_ns) = now_ns.checked_sub(self.epoch_ns) else { return false };
        let Self { work, connections, counts, out, setting, trial, .. } = self;
        let mut all = true;
        for work in work {
            let mut next = work.schedule.peek();
            let mut started = 0;
            while let Some(due_ns) = next.filter(|due_ns| *due_ns <= now_ns && started < setting.clients.burst) {
                work.schedule.advance();
                next = work.schedule.peek();
                started += 1;
                let number = work.connections.start + work.done % work.connections.len().max(1) as u32;
                work.done += 1;
                let (Some(tuple), Some(connection)) =
                    (setting.tuples.get(number), connections.get_mut(number as usize))
                else {
                    continue;
                };
                let kind = match work.what {
                    What::Open | What::Whole => {
                        let whole = work.what == What::Whole;
                        *connection = Connection { generation: *trial & 31, due_ns, whole, ..Connection::default() };
                        counts.tried += 1;
                        Kind::Syn
                    }
                    What::Ask => {
                        // A keepalive is answered or it is not: the clock runs from the first that was not.
                        connection.asked_ns.get_or_insert(due_ns);
                        counts.asked += 1;
                        Kind::Keepalive
                    }
                    What::Close => {
                        connection.due_ns = due_ns;
                        Kind::Fin
                    }
                };
                let segment = Segment { connection: number, generation: connection.generation, kind };
                out.waiting.push_back(Waiting { segment, tuple: *tuple, due_ns: Some(due_ns) });
                out.due += 1;
            }
            all &= next.is_none();
        }
        all
    }

    /// At the servers' end.
    fn serve(&mut self, frame: &[u8], now_ns: u64) {
        let arrived = match read(frame, true) {
            Ok(arrived) => arrived,
            Err(odd) => return self.odd(odd),
        };
        let Arrived { segment, tuple, ttl } = arrived;
        let Some(connection) = self.known(segment) else { return };
        let sent = self.setting.tuples.get(segment.connection).copied();
        let fault = self.fault_at_server(segment, &tuple, sent, ttl, connection.seen);
        if let Some(fault) = fault {
            return self.wrong(fault, segment, tuple);
        }
        self.counts.received[segment.kind as usize] += 1;
        let connection = &mut self.connections[segment.connection as usize];
        connection.seen = Some((tuple.src, tuple.src_port));
        let mut say = |kind| self.back.push(Segment { kind, ..segment }, tuple.reversed());
        match segment.kind {
            Kind::Syn => {
                self.by_seen.insert(tuple, segment.connection);
                say(Kind::SynAck);
            }
            Kind::Fin => {
                say(Kind::FinAck);
                say(Kind::ServerFin);
            }
            Kind::Keepalive => say(Kind::Alive),
            Kind::LastAck => {
                if !std::mem::replace(&mut connection.closed, true) {
                    self.counts.unmade += 1;
                    let since_ns = now_ns.saturating_sub(self.epoch_ns + connection.due_ns);
                    self.counts.whole_ns.saturating_record(since_ns.max(1));
                }
                // From here on somebody else may have the port.
                self.by_seen.remove(&tuple);
            }
            Kind::Ack | Kind::SynAck | Kind::FinAck | Kind::ServerFin | Kind::Alive => {}
        }
    }

    fn fault_at_server(
        &self,
        segment: Segment,
        tuple: &FourTuple,
        sent: Option<FourTuple>,
        ttl: u8,
        seen: Option<(Ipv4Addr, u16)>,
    ) -> Option<&'static str> {
        let Some(sent) = sent else { return Some("a connection that there is not") };
        if (tuple.dst, tuple.dst_port) != (sent.dst, sent.dst_port) {
            return Some("another destination");
        }
        if ttl != TTL - self.setting.routers {
            return Some("another TTL");
        }
        let source_allowed = match &self.setting.sources {
            None => *tuple == sent,
            Some(pool) => pool.contains(&tuple.src),
        };
        if !source_allowed {
            return Some("a source that no layer has");
        }
        if seen.is_some_and(|seen| seen != (tuple.src, tuple.src_port)) {
            return Some("another source than before");
        }
        let shared = self.by_seen.get(tuple).is_some_and(|owner| *owner != segment.connection);
        shared.then_some("the source of another live connection")
    }

    /// At the clients' end.
    fn listen(&mut self, frame: &[u8], now_ns: u64) {
        let arrived = match read(frame, false) {
            Ok(arrived) => arrived,
            Err(odd) => return self.odd(odd),
        };
        let Arrived { segment, tuple, ttl } = arrived;
        if self.known(segment).is_none() {
            return;
        }
        let sent = tuple.reversed();
        if self.by_client.get(&sent) != Some(&segment.connection) {
            return self.wrong("another client", segment, tuple);
        }
        if ttl != TTL - self.setting.routers {
            return self.wrong("another TTL", segment, tuple);
        }
        self.counts.received[segment.kind as usize] += 1;
        let connection = &mut self.connections[segment.connection as usize];
        let since_ns = |due_ns: u64| now_ns.saturating_sub(self.epoch_ns + due_ns).max(1);
        let mut say = |kind| self.out.push(Segment { kind, ..segment }, sent);
        match segment.kind {
            Kind::SynAck => {
                self.counts.made += 1;
                self.counts.handshake_ns.saturating_record(since_ns(connection.due_ns));
                say(Kind::Ack);
                if connection.whole {
                    say(Kind::Fin);
                }
            }
            Kind::ServerFin => say(Kind::LastAck),
            Kind::Alive => {
                self.counts.alive += 1;
                if let Some(asked_ns) = connection.asked_ns.take() {
                    self.counts.alive_ns.saturating_record(since_ns(asked_ns));
                }
            }
            Kind::Syn | Kind::Ack | Kind::Fin | Kind::FinAck | Kind::LastAck | Kind::Keepalive => {}
        }
    }

    /// The connection of a segment; none if it is of an earlier one.
    fn known(&self, segment: Segment) -> Option<Connection> {
        let connection = self.connections.get(segment.connection as usize).copied()?;
        (connection.generation == segment.generation).then_some(connection)
    }

    fn odd(&mut self, odd: Odd) {
        match odd {
            Odd::Foreign => {}
            Odd::Reset => self.counts.resets += 1,
            Odd::Corrupted => {
                self.counts.wrong += 1;
                self.counts.first_wrong.get_or_insert_with(|| "a checksum, or a number that nobody sent".to_owned());
            }
        }
    }

    #[cold]
    fn wrong(&mut self, fault: &str, segment: Segment, tuple: FourTuple) {
        self.counts.wrong += 1;
        let sent = self.setting.tuples.get(segment.connection);
        self.counts.first_wrong.get_or_insert_with(|| {
            let sent = sent.map_or_else(String::new, |sent| format!(", sent as {sent}"));
            format!("{} {tuple}: {fault}{sent}", segment.kind)
        });
    }
}

impl Outgoing {
    fn begin(&mut self) {
        self.waiting.clear();
        (self.due, self.refused) = (0, 0);
        (self.under_way, self.moved_ns) = (0, 0);
    }

    fn push(&mut self, segment: Segment, tuple: FourTuple) {
        self.waiting.push_back(Waiting { segment, tuple, due_ns: None });
    }

    /// So many frames have arrived at the other end, at `now_ns` from the epoch.
    fn arrived(&mut self, frames: usize, now_ns: u64) {
        if frames > 0 {
            (self.under_way, self.moved_ns) = (self.under_way.saturating_sub(frames), now_ns);
        }
    }

    /// Hands one burst to the link at `now_ns` from the epoch.
    fn send(&mut self, link: &mut dyn Link, counts: &mut Counts, now_ns: u64) -> Result<(), SendError> {
        if now_ns > self.moved_ns + LOST_AFTER_NS {
            self.under_way = 0;
        }
        let Self { outlet, waiting, due, buffer, refused, room, under_way, moved_ns } = self;
        let room = room.map_or(usize::MAX, |room| room.saturating_sub(*under_way));
        let mut frames: ArrayVec<Frame<'_>, BURST_MAX> = ArrayVec::new();
        for (Waiting { segment, tuple, .. }, slot) in waiting.iter().zip(buffer.chunks_exact_mut(FRAME_LEN)).take(room)
        {
            // The slot is as long as the frame, and the frame is one that can be.
            let _ = segment.emit(slot, outlet.endpoint, tuple);
            frames.push(Frame::new(slot, FRAME_LEN));
        }
        if frames.is_empty() {
            return Ok(());
        }
        let all: ArrayVec<u16, BURST_MAX> = (0..frames.len() as u16).collect();
        let taken = link.send(&frames, &all)?;
        let left = match outlet.refused {
            Refused::Wait => taken,
            Refused::Lose => frames.len(),
        };
        *refused += (left - taken) as u64;
        if *under_way == 0 {
            *moved_ns = now_ns;
        }
        *under_way += taken;
        for Waiting { segment, due_ns, .. } in waiting.drain(..left) {
            counts.sent[segment.kind as usize] += 1;
            if let Some(due_ns) = due_ns {
                *due -= 1;
                counts.lag_ns.saturating_record(now_ns.saturating_sub(due_ns).max(1));
            }
        }
        Ok(())
    }
}

impl Talk for Connections {
    fn begin(&mut self, trial: u8, epoch_ns: u64) {
        (self.trial, self.epoch_ns) = (trial, epoch_ns);
        self.counts = Counts::new();
        self.out.begin();
        self.back.begin();
    }

    fn poll(&mut self, ends: &mut Ends, now_ns: u64, may_send: bool) -> Result<Polled, RigError> {
        let all_started = may_send && self.start_due(now_ns);
        let since_epoch_ns = now_ns.saturating_sub(self.epoch_ns);
        self.out.send(&mut *ends.pods, &mut self.counts, since_epoch_ns)?;
        let all_sent = all_started && self.out.due == 0;
        let arrived = ends.internet.recv(BURST_MAX, &mut |frames| {
            let now_ns = clock::now_ns();
            frames.iter().for_each(|frame| self.serve(frame.bytes(), now_ns));
        })?;
        self.out.arrived(arrived, since_epoch_ns);
        self.back.send(&mut *ends.internet, &mut self.counts, since_epoch_ns)?;
        let returned = ends.pods.recv(BURST_MAX, &mut |frames| {
            let now_ns = clock::now_ns();
            frames.iter().for_each(|frame| self.listen(frame.bytes(), now_ns));
        })?;
        self.back.arrived(returned, since_epoch_ns);
        let waiting = self.out.waiting.len() + self.back.waiting.len();
        // Segments that wait for room are not over: they count as movement.
        Ok(Polled { arrived: arrived + returned + usize::from(waiting > 0), all_sent })
    }

    fn is_complete(&self) -> bool {
        let waiting = self.out.waiting.len() + self.back.waiting.len();
        waiting == 0 && self.counts.lost() == 0
    }
}
