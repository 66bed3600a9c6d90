//! The Tester: an Initiator at the pods' end, a Responder at the servers', and the Responder's state table.

use std::sync::Arc;

use natrig_bench::result::Dropped;
use natrig_bench::{Ends, Outlet, Polled, RigError, Talk};
use natrig_link::{BURST_MAX, Link, clock};
use natrig_traffic::{
    Expectation, FlowError, FlowSet, FrameSizes, Generator, GeneratorConfig, Receiver, Schedule, SendProgress, TTL,
};
use natrig_wire::WireError;
use natrig_wire::template::FourTuple;

/// Two TTLs are spent on the way, one at each layer.
const TTL_LEFT: u8 = TTL - 2;

/// How frames leave.
#[derive(Debug, Clone)]
pub(crate) struct Sending {
    /// From the pods' end.
    pub(crate) initiator: Outlet,
    /// From the servers'.
    pub(crate) responder: Outlet,
    /// Their size.
    pub(crate) sizes: FrameSizes,
}

/// One end: who sends there, when, and who receives there.
struct End {
    generator: Option<Generator>,
    schedule: Option<Schedule>,
    receiver: Receiver,
}

/// The Tester.
pub(crate) struct Tester {
    flows: Arc<FlowSet>,
    sending: Sending,
    initiator: End,
    responder: End,
}

impl Tester {
    /// A Tester for these connections; `sources` may be seen by the Responder, or only the Initiator's own tuples.
    pub(crate) fn new(
        flows: Arc<FlowSet>,
        sending: Sending,
        sources: Option<Vec<std::net::Ipv4Addr>>,
    ) -> Result<Self, WireError> {
        let at_server = Expectation::AtServer { sources, ttl: TTL_LEFT };
        let receiver = |expected| Receiver::new(flows.clone(), sending.sizes.clone(), expected);
        let end = |receiver| End { generator: None, schedule: None, receiver };
        let mut initiator = end(receiver(Expectation::AtPod { ttl: TTL_LEFT }));
        initiator.generator = Some(generator(&sending.sizes, sending.initiator, flows.clone())?);
        Ok(Self { initiator, responder: end(receiver(at_server)), flows, sending })
    }

    /// N.
    pub(crate) fn connections(&self) -> u32 {
        self.flows.len()
    }

    /// The Device Under Test has forgotten everything: so does the state table.
    pub(crate) fn forget(&mut self) {
        self.responder.receiver.forget_bindings();
        self.initiator.receiver.forget_bindings();
        self.responder.generator = None;
    }

    /// In the next session the Initiator sends so, the Responder so. Both use each of their tuples in turn: the Initiator all, in the order
    /// of `initiators_order` where there is one, the Responder those of its state table, in the order that `shuffle` makes of them.
    pub(crate) fn prepare(
        &mut self,
        initiator: Option<Schedule>,
        responder: Option<Schedule>,
        shuffle: impl Fn(&mut [u32]),
    ) -> Result<(), PrepareError> {
        if responder.is_some() {
            let (table, mut order) = self.state_table()?;
            shuffle(&mut order);
            let mut from_table = generator(&self.sending.sizes, self.sending.responder, Arc::new(table))?.answering();
            from_table.use_in_order(order);
            self.responder.generator = Some(from_table);
        }
        self.initiator.schedule = initiator;
        self.responder.schedule = responder;
        Ok(())
    }

    /// The Initiator uses its tuples in an order that `shuffle` makes, from the next session on.
    pub(crate) fn shuffle_initiator(&mut self, shuffle: impl Fn(&mut [u32])) {
        let mut order: Vec<u32> = (0..self.flows.len()).collect();
        shuffle(&mut order);
        if let Some(generator) = &mut self.initiator.generator {
            generator.use_in_order(order);
        }
    }

    /// The Responder's state table: for each connection that it has seen, the four tuple to send to; and which connections those are.
    fn state_table(&self) -> Result<(FlowSet, Vec<u32>), FlowError> {
        let seen = |(flow, sent): (u32, &FourTuple)| {
            let (src, src_port) = self.responder.receiver.binding(flow)?;
            Some((flow, FourTuple { src, src_port, ..*sent }.reversed()))
        };
        let mut tuples: Vec<FourTuple> = self.flows.iter().map(|sent| sent.reversed()).collect();
        let mut order = Vec::with_capacity(tuples.len());
        for (flow, tuple) in (0..).zip(self.flows.iter()).filter_map(seen) {
            tuples[flow as usize] = tuple;
            order.push(flow);
        }
        Ok((FlowSet::from_tuples(tuples)?, order))
    }

    /// Entries of the state table.
    pub(crate) fn state_table_entries(&self) -> u64 {
        self.responder.receiver.bindings_learned() as u64
    }

    /// Who sends outwards, and who receives that.
    pub(crate) fn outwards(&self) -> (Option<&Generator>, &Receiver) {
        (self.initiator.sends(), &self.responder.receiver)
    }

    /// Who sends in reverse, and who receives that.
    pub(crate) fn in_reverse(&self) -> (Option<&Generator>, &Receiver) {
        (self.responder.sends(), &self.initiator.receiver)
    }

    /// Adds the frames that the links of the two ends did not take.
    pub(crate) fn add_refused(&self, drops: &mut Vec<Dropped>) {
        for (sender, from) in
            [(self.outwards().0, self.sending.initiator), (self.in_reverse().0, self.sending.responder)]
        {
            from.add_refused(drops, sender.map_or(0, |sender| sender.counts().refused));
        }
    }
}

/// Why a session cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrepareError {
    /// There is no state table.
    #[error("failed to {0}")]
    Table(#[from] FlowError),
    /// There are no frames.
    #[error("failed to make a frame template: {0}")]
    Template(#[from] WireError),
}

fn generator(sizes: &FrameSizes, from: Outlet, flows: Arc<FlowSet>) -> Result<Generator, WireError> {
    let Outlet { endpoint, burst, refused, .. } = from;
    Generator::new(GeneratorConfig { flows, sizes: sizes.clone(), endpoint, burst, refused })
}

impl End {
    /// The generator, if it sends in this session.
    fn sends(&self) -> Option<&Generator> {
        self.generator.as_ref().filter(|_| self.schedule.is_some())
    }

    fn begin(&mut self, trial: u8, epoch_ns: u64) {
        self.receiver.begin(trial, epoch_ns);
        if let (Some(generator), Some(schedule)) = (&mut self.generator, &self.schedule) {
            generator.begin(trial, schedule.clone(), epoch_ns);
        }
    }

    /// True if nothing is left to send.
    fn send(&mut self, link: &mut dyn Link, now_ns: u64) -> Result<bool, natrig_link::SendError> {
        match (&mut self.generator, &self.schedule) {
            (Some(generator), Some(_)) => Ok(generator.send_due(link, now_ns)? == SendProgress::Finished),
            _ => Ok(true),
        }
    }

    fn receive(&mut self, link: &mut dyn Link) -> Result<usize, natrig_link::RecvError> {
        let receiver = &mut self.receiver;
        link.recv(BURST_MAX, &mut |frames| {
            let now_ns = clock::now_ns();
            for frame in frames {
                receiver.receive(frame.bytes(), now_ns);
            }
        })
    }
}

impl Talk for Tester {
    fn begin(&mut self, trial: u8, epoch_ns: u64) {
        self.initiator.begin(trial, epoch_ns);
        self.responder.begin(trial, epoch_ns);
    }

    fn poll(&mut self, ends: &mut Ends, now_ns: u64, may_send: bool) -> Result<Polled, RigError> {
        let mut all_sent = false;
        if may_send {
            let initiator = self.initiator.send(&mut *ends.pods, now_ns)?;
            let responder = self.responder.send(&mut *ends.internet, now_ns)?;
            all_sent = initiator && responder;
        }
        let arrived = self.responder.receive(&mut *ends.internet)? + self.initiator.receive(&mut *ends.pods)?;
        Ok(Polled { arrived, all_sent })
    }

    fn is_complete(&self) -> bool {
        [self.outwards(), self.in_reverse()].into_iter().all(|(from, to)| {
            let sent = from.map_or(0, |generator| generator.counts().sent);
            to.counts().received == sent
        })
    }
}
