//! Everything together on a virtual clock: pods, nodes, the gateway, servers, and the moment when something changes.

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;

use natrig_bench::scenario::Word;
use natrig_lab::bridge::{Fate, Layer};
use natrig_nat::{Direction, Profile};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use natrig_wire::Frame;

use crate::client::{self, Client, ClientClass};
use crate::event::{Event, events};
use crate::host::{Host, VirtualConnection};
use crate::measured::{Lives, Traffic};
use crate::path::{Gateway, Losses, Node, Path, SECOND_NS, destination};
use crate::place;
use crate::scenario::{Procedure, Scenario};
use crate::server::Server;

/// One way from pod to server, or back.
const DELAY_NS: u64 = 500_000;
/// Programs look at the clock so often.
const TICK_NS: u64 = SECOND_NS / 2;
/// Connections that a server can have with one client: what is stuck stays until it times out.
const BACKLOG: usize = 6;

/// A machine and what runs on it.
struct Machine {
    host: Host,
    clients: Vec<Client<VirtualConnection>>,
    servers: Vec<Server<VirtualConnection>>,
    due_ns: u64,
    tick_ns: u64,
    /// Something has arrived.
    stirred: bool,
}

/// A frame on its way.
struct Flying {
    arrives_ns: u64,
    machine: usize,
    frame: Vec<u8>,
}

pub(crate) struct World<'s> {
    scenario: &'s Scenario,
    machines: Vec<Machine>,
    by_address: HashMap<Ipv4Addr, usize>,
    path: Path,
    flying: VecDeque<Flying>,
    losses: Losses,
    sent: u64,
    delivered: u64,
    now_ns: u64,
    rng: Pcg64Mcg,
}

impl<'s> World<'s> {
    pub(crate) fn new(scenario: &'s Scenario, node: &Profile, gateway: &Profile, seed: u64) -> Result<Self, String> {
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let nodes = (0..scenario.nodes)
            .map(|number| {
                Node::new(place::node(number), scenario.node_engine, node, scenario.masquerade_before, rng.random())
            })
            .collect::<Result<Vec<Node>, String>>()?;
        let gateway = Gateway::new(place::public(scenario.gateway_addresses), gateway, rng.random())?;
        let mut world = Self {
            scenario,
            machines: Vec::new(),
            by_address: HashMap::new(),
            path: Path { nodes, gateway: Some(gateway) },
            flying: VecDeque::new(),
            losses: Losses::default(),
            sent: 0,
            delivered: 0,
            now_ns: 0,
            rng,
        };
        world.populate();
        Ok(world)
    }

    fn populate(&mut self) {
        let pace = &self.scenario.pace;
        for pod in 0..self.scenario.nodes * self.scenario.pods_per_node {
            let far = self.machine(place::far(pod));
            let near = self.machine(place::near(pod));
            let client = self.machine(place::pod(pod));
            let node = (pod / self.scenario.pods_per_node) as usize;
            for (number, class) in ClientClass::ALL.iter().enumerate() {
                let server = if *class == ClientClass::WithinVpc { near } else { far };
                let address = self.machines[server].host.address;
                let Machine { host, servers, .. } = &mut self.machines[server];
                servers.extend((0..BACKLOG).map(|_| Server::new(*class, host.add_connection(pace), pace)));
                let start_ns = self.rng.random_range(0..2 * SECOND_NS);
                let first_port = 33_000 + 2000 * number as u16 + self.rng.random_range(0..1000);
                let Machine { host, clients, .. } = &mut self.machines[client];
                let (own, connection) = ((host.address, first_port), host.add_connection(pace));
                clients.push(Client::new(*class, node, own, address, connection, (pace, start_ns)));
            }
        }
    }

    fn machine(&mut self, address: Ipv4Addr) -> usize {
        let tick_ns = self.rng.random_range(0..TICK_NS);
        let number = self.machines.len();
        let host = Host::new(address, self.rng.random());
        self.by_address.insert(address, number);
        let machine =
            Machine { host, clients: Vec::new(), servers: Vec::new(), due_ns: tick_ns, tick_ns, stirred: false };
        self.machines.push(machine);
        number
    }

    /// Lets it all happen; what became of the clients' connections. `cancelled` ends it early, with nothing.
    pub(crate) fn run(&mut self, cancelled: &dyn Fn() -> bool) -> Result<Option<Lives>, String> {
        let mut events = events(self.scenario);
        let last_ns = events.back().map_or(0, |(at_ns, _)| *at_ns);
        let end_ns = last_ns + u64::from(self.scenario.observe_s) * SECOND_NS;
        let mut steps = 0_u64;
        loop {
            let machine_ns = self.machines.iter().map(|machine| machine.due_ns).min().unwrap_or(u64::MAX);
            let frame_ns = self.flying.front().map_or(u64::MAX, |flying| flying.arrives_ns);
            let event_ns = events.front().map_or(u64::MAX, |(at_ns, _)| *at_ns);
            self.now_ns = self.now_ns.max(machine_ns.min(frame_ns).min(event_ns));
            if self.now_ns >= end_ns {
                break;
            }
            while events.front().is_some_and(|(at_ns, _)| *at_ns <= self.now_ns) {
                if let Some((_, event)) = events.pop_front() {
                    self.happen(event)?;
                }
            }
            self.land();
            self.poll_all();
            steps += 1;
            if steps.is_multiple_of(4096) && cancelled() {
                return Ok(None);
            }
        }
        let mut fates: Vec<(ClientClass, client::Fate)> = Vec::new();
        for machine in &mut self.machines {
            for mut client in machine.clients.drain(..) {
                client.end(self.now_ns);
                fates.push((client.class, client.fate));
            }
        }
        let (sent, delivered, in_flight) = (self.sent, self.delivered, self.flying.len() as u64);
        let traffic = Traffic { sent, delivered, in_flight, losses: std::mem::take(&mut self.losses) };
        Ok(Some(Lives { fates, traffic, longest_stall_ns: 0 }))
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        let now_ns = self.now_ns;
        match event {
            Event::Drain { node } => self.each_client_of(node, |client, host| {
                client.changed(now_ns);
                client.drain(host);
            }),
            Event::Change { node } => {
                if self.scenario.procedure != Procedure::DrainFirst {
                    self.each_client_of(node, |client, _| client.changed(now_ns));
                }
                let seed = self.rng.random();
                self.path.change(self.scenario.change, node, seed)?;
            }
            Event::Revive { node } => self.path.revive(self.scenario.change, node),
            Event::Restart { node } => self.each_client_of(node, |client, host| client.restart(host, now_ns)),
        }
        Ok(())
    }

    fn each_client_of(&mut self, node: usize, mut act: impl FnMut(&mut Client<VirtualConnection>, &mut Host)) {
        for machine in &mut self.machines {
            for client in machine.clients.iter_mut().filter(|client| client.node == node) {
                act(client, &mut machine.host);
                machine.stirred = true;
            }
        }
    }

    fn land(&mut self) {
        while self.flying.front().is_some_and(|flying| flying.arrives_ns <= self.now_ns) {
            let Some(Flying { machine, frame, .. }) = self.flying.pop_front() else { break };
            let machine = &mut self.machines[machine];
            self.delivered += 1;
            machine.stirred = true;
            if let Some(heard) = machine.host.deliver(frame)
                && let Some(client) = machine.clients.iter_mut().find(|client| client.local_port == heard.port)
            {
                client.connection.arrived(heard.reset);
            }
        }
    }

    fn poll_all(&mut self) {
        let now_ns = self.now_ns;
        let mut leaving = Vec::new();
        for number in 0..self.machines.len() {
            let machine = &mut self.machines[number];
            if machine.due_ns > now_ns && !machine.stirred {
                continue;
            }
            machine.stirred = false;
            if machine.tick_ns <= now_ns {
                machine.tick_ns = now_ns + TICK_NS;
            }
            let mut out = Vec::new();
            machine.host.poll(now_ns, &mut out);
            machine.clients.iter_mut().for_each(|client| client.drive(&mut machine.host, now_ns));
            for server in &mut machine.servers {
                let port = server.class.server_port();
                if machine.host.listen(&server.connection, port) {
                    server.restart();
                } else {
                    server.drive(&mut machine.host, now_ns);
                }
            }
            // What the programs have just said leaves at once.
            machine.host.poll(now_ns, &mut out);
            // Never now: a stack that cannot send must not stop the clock.
            let stack_ns = machine.host.due_ns(now_ns).unwrap_or(u64::MAX).max(now_ns + SECOND_NS / 1000);
            machine.due_ns = stack_ns.min(machine.tick_ns);
            leaving.extend(out.into_iter().map(|frame| (number, frame)));
        }
        for (from, frame) in leaving {
            self.sent += 1;
            self.send(from, frame);
        }
    }

    /// Carries a frame through all that stands on its way.
    fn send(&mut self, from: usize, mut bytes: Vec<u8>) {
        let mut frame = Frame::whole(&mut bytes);
        match self.carry(self.machines[from].host.address, &mut frame) {
            Ok(()) => match self.by_address.get(&destination(frame.bytes())) {
                Some(machine) => {
                    let (arrives_ns, machine) = (self.now_ns + DELAY_NS, *machine);
                    self.flying.push_back(Flying { arrives_ns, machine, frame: bytes });
                }
                None => self.losses.count("network", "no-such-host"),
            },
            Err((place, reason)) => self.losses.count(place, reason),
        }
    }

    fn carry(&mut self, sender: Ipv4Addr, frame: &mut Frame<'_>) -> Result<(), (&'static str, &'static str)> {
        let now_ns = self.now_ns;
        let mut direction = Direction::Inbound;
        if place::is_pod(sender) {
            direction = Direction::Outbound;
            let node = self.node_of(sender).ok_or(("network", "no-such-pod"))?;
            let to = destination(frame.bytes());
            match self.path.nodes[node].pass(direction, frame, now_ns) {
                Fate::Lost(reason) => return Err(("node", reason)),
                Fate::Back => return Ok(()),
                Fate::Onward if place::is_within_vpc(to) => return Ok(()),
                Fate::Onward => {}
            }
        } else if place::is_within_vpc(sender) {
            return self.carry_in(frame);
        }
        let Some(gateway) = &mut self.path.gateway else { return Err(("network", "no-gateway")) };
        match (gateway.pass(direction, frame, now_ns), direction) {
            (Fate::Lost(reason), _) => Err(("gateway", reason)),
            (Fate::Onward, Direction::Outbound) | (Fate::Back, Direction::Inbound) => Ok(()),
            // A reset, say: on its way back it is translated at the node as an answer is.
            (Fate::Onward, Direction::Inbound) | (Fate::Back, Direction::Outbound) => self.carry_in(frame),
        }
    }

    fn carry_in(&mut self, frame: &mut Frame<'_>) -> Result<(), (&'static str, &'static str)> {
        let to = destination(frame.bytes());
        let by_address = self.path.nodes.iter().position(|node| node.address == to);
        let node = by_address.or_else(|| self.node_of(to)).ok_or(("network", "no-such-host"))?;
        match self.path.nodes[node].pass(Direction::Inbound, frame, self.now_ns) {
            Fate::Onward | Fate::Back => Ok(()),
            Fate::Lost(reason) => Err(("node", reason)),
        }
    }

    fn node_of(&self, pod: Ipv4Addr) -> Option<usize> {
        let machine = self.by_address.get(&pod)?;
        self.machines[*machine].clients.first().map(|client| client.node)
    }
}
