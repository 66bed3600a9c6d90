//! Connections through a rig: opened, spoken on, closed, many at a time; with each step it is known whom it reached.

use std::collections::HashMap;
use std::net::SocketAddrV4;

use natrig_wire::tcp::flag;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::observe::RefusedBy;
use crate::rig::{Crossing, End, Message, Outgoing, PAYLOAD_LEN, Rig, RigError};
use crate::scenario::Protocol;
use crate::workload::Origin;

/// A connection that has been opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Connection {
    /// Who opened it.
    pub origin: Origin,
    pod: SocketAddrV4,
    server: SocketAddrV4,
    /// The pod as the server sees it.
    pub outside: SocketAddrV4,
    /// Next sequence numbers of pod and server.
    seqs: [u32; 2],
}

/// What came of opening connections.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    /// By order of asking: the number of the connection, or none if it was refused.
    pub numbers: Vec<Option<u32>>,
    /// By whom.
    pub refused: Vec<RefusedBy>,
    /// Ports tried by allocations that succeeded, and how many these were.
    pub tries: (u64, u64),
}

/// Whom something that was said reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Whom it should.
    Well,
    /// The server, which does not know the tuple that it came with.
    AsStranger(SocketAddrV4),
    /// Another pod.
    ByAnother,
    /// Nobody; a reset came back.
    Reset,
    /// Nobody.
    Nobody,
}

/// What should not happen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Frames of which nothing is known.
    pub vanished: u64,
    /// Frames that came out damaged.
    pub corrupt: u64,
    /// New connections that came out with the tuple of another that is open.
    pub shared: u64,
}

/// Opens and closes connections.
pub(crate) struct Talker {
    /// What they go through.
    pub rig: Rig,
    /// What has gone wrong so far.
    pub faults: Faults,
    connections: Vec<Option<Connection>>,
    free: Vec<u32>,
    by_tuple: HashMap<(SocketAddrV4, SocketAddrV4), u32>,
    rng: Pcg64Mcg,
}

impl Talker {
    /// Nobody talks yet.
    pub(crate) fn new(rig: Rig) -> Self {
        Self {
            rig,
            faults: Faults::default(),
            connections: Vec::new(),
            free: Vec::new(),
            by_tuple: HashMap::new(),
            rng: Pcg64Mcg::seed_from_u64(0),
        }
    }

    /// Forgets all connections, and has the layers forget them.
    ///
    /// # Errors
    /// [`RigError`].
    pub(crate) fn reset(&mut self, seed: u64) -> Result<(), RigError> {
        self.connections.clear();
        self.free.clear();
        self.by_tuple.clear();
        self.rng = Pcg64Mcg::seed_from_u64(seed);
        self.rig.reset(seed)
    }

    /// An open connection.
    pub(crate) fn connection(&self, number: u32) -> Option<&Connection> {
        self.connections.get(number as usize)?.as_ref()
    }

    /// Opens connections by their first packets; with `complete` they are answered, and TCP's are established.
    ///
    /// # Errors
    /// [`RigError`].
    pub(crate) fn open(&mut self, origins: &[Origin], complete: bool) -> Result<Opened, RigError> {
        let numbers: Vec<u32> = origins.iter().map(|origin| self.enter(*origin)).collect();
        let outgoing: Vec<Outgoing> = numbers.iter().filter_map(|n| self.pod_says(*n, flag::SYN)).collect();
        let crossing = self.cross(End::Pods, &outgoing)?;
        let mut opened =
            Opened { numbers: vec![None; numbers.len()], refused: crossing.refused, tries: crossing.tries };
        let at: HashMap<u32, usize> = numbers.iter().enumerate().map(|(nth, number)| (*number, nth)).collect();
        for message in &crossing.arrived {
            // Something late from before is nobody's.
            let Some(nth) = at.get(&message.connection) else { continue };
            opened.numbers[*nth] = Some(message.connection);
            if let Some(Some(connection)) = self.connections.get_mut(message.connection as usize) {
                connection.outside = message.source;
            }
            let before = self.by_tuple.insert((message.source, message.destination), message.connection);
            self.faults.shared += u64::from(before.is_some_and(|other| other != message.connection));
        }
        for number in numbers.iter().zip(&opened.numbers).filter(|(_, opened)| opened.is_none()).map(|(n, _)| *n) {
            self.forget(number);
        }
        if complete {
            let open: Vec<u32> = opened.numbers.iter().flatten().copied().collect();
            self.say(End::Servers, &open, flag::SYN | flag::ACK)?;
            if self.rig.bed().traffic.protocol == Protocol::Tcp {
                self.say(End::Pods, &open, flag::ACK)?;
            }
        }
        Ok(opened)
    }

    /// Closes connections: with FINs on both sides, or by the pods' resets. UDP's are only forgotten. The numbers are free afterwards.
    ///
    /// # Errors
    /// [`RigError`].
    pub(crate) fn close(&mut self, numbers: &[u32], abort: bool) -> Result<(), RigError> {
        if self.rig.bed().traffic.protocol == Protocol::Tcp {
            if abort {
                self.say(End::Pods, numbers, flag::RST | flag::ACK)?;
            } else {
                self.say(End::Pods, numbers, flag::FIN | flag::ACK)?;
                self.say(End::Servers, numbers, flag::FIN | flag::ACK)?;
                self.say(End::Pods, numbers, flag::ACK)?;
            }
        }
        numbers.iter().for_each(|number| self.forget(*number));
        Ok(())
    }

    /// Says something on connections, from one end, and tells whom it reached.
    ///
    /// # Errors
    /// [`RigError`].
    pub(crate) fn say(&mut self, from: End, numbers: &[u32], flags: u8) -> Result<Vec<Heard>, RigError> {
        let outgoing: Vec<Outgoing> = numbers
            .iter()
            .filter_map(|number| match from {
                End::Pods => self.pod_says(*number, flags),
                End::Servers => self.server_says(*number, flags),
            })
            .collect();
        let crossing = self.cross(from, &outgoing)?;
        let mut heard: HashMap<u32, Heard> = HashMap::new();
        for message in &crossing.arrived {
            let Some(connection) = self.connection(message.connection) else { continue };
            let how = match from {
                End::Pods if message.source == connection.outside => Heard::Well,
                End::Pods => Heard::AsStranger(message.source),
                End::Servers if message.destination == connection.pod => Heard::Well,
                End::Servers => Heard::ByAnother,
            };
            heard.insert(message.connection, how);
        }
        let speaker = |connection: &Connection| if from == End::Pods { connection.pod } else { connection.server };
        Ok(numbers
            .iter()
            .map(|number| {
                let reset = || {
                    let speaker = self.connection(*number).map(speaker);
                    crossing.resets.iter().any(|(_, to)| Some(*to) == speaker)
                };
                let silence = || if reset() { Heard::Reset } else { Heard::Nobody };
                heard.get(number).copied().unwrap_or_else(silence)
            })
            .collect())
    }

    /// The server resets a tuple that it does not know. Whom that reached.
    ///
    /// # Errors
    /// [`RigError`].
    pub(crate) fn refuse_stranger(&mut self, number: u32, stranger: SocketAddrV4) -> Result<bool, RigError> {
        let Some(Outgoing { node, message }) = self.server_says(number, flag::RST) else { return Ok(false) };
        let message = Message { destination: stranger, ..message };
        let crossing = self.cross(End::Servers, &[Outgoing { node, message }])?;
        Ok(crossing.arrived.iter().any(|arrived| arrived.connection == number))
    }

    /// Drops what is known of a connection.
    pub(crate) fn forget(&mut self, number: u32) {
        let Some(connection) = self.connections.get_mut(number as usize).and_then(Option::take) else { return };
        let tuple = (connection.outside, connection.server);
        if self.by_tuple.get(&tuple) == Some(&number) {
            self.by_tuple.remove(&tuple);
        }
        self.free.push(number);
    }

    fn enter(&mut self, origin: Origin) -> u32 {
        let bed = self.rig.bed();
        let (pod, server) = bed.world.ends(&origin, &bed.traffic);
        let seqs = [self.rng.random(), self.rng.random()];
        let connection = Connection { origin, pod, server, outside: pod, seqs };
        match self.free.pop() {
            Some(number) => {
                self.connections[number as usize] = Some(connection);
                number
            }
            None => {
                self.connections.push(Some(connection));
                self.connections.len() as u32 - 1
            }
        }
    }

    fn pod_says(&mut self, number: u32, flags: u8) -> Option<Outgoing> {
        let world = self.rig.bed().world;
        let connection = self.connections.get_mut(number as usize)?.as_mut()?;
        let [seq, ack] = connection.seqs;
        let message =
            Message { source: connection.pod, destination: connection.server, connection: number, flags, seq, ack };
        connection.seqs[0] = seq.wrapping_add(length(flags));
        Some(Outgoing { node: world.node_of(connection.origin.pod), message })
    }

    fn server_says(&mut self, number: u32, flags: u8) -> Option<Outgoing> {
        let connection = self.connections.get_mut(number as usize)?.as_mut()?;
        let [ack, seq] = connection.seqs;
        let (source, destination) = (connection.server, connection.outside);
        let message = Message { source, destination, connection: number, flags, seq, ack };
        connection.seqs[1] = seq.wrapping_add(length(flags));
        Some(Outgoing { node: 0, message })
    }

    fn cross(&mut self, from: End, outgoing: &[Outgoing]) -> Result<Crossing, RigError> {
        let crossing = self.rig.cross(from, outgoing)?;
        // What a kernel has no mapping for goes to its own stack, which counts nothing that would be counted here.
        let taken_in = from == End::Servers && self.rig.bed().setup.has_kernel();
        self.faults.vanished += if taken_in { 0 } else { crossing.vanished };
        self.faults.corrupt += crossing.corrupt;
        Ok(crossing)
    }
}

/// What a segment takes of the sequence space.
fn length(flags: u8) -> u32 {
    PAYLOAD_LEN + u32::from(flags & (flag::SYN | flag::FIN) != 0)
}
