//! Everything together on a virtual clock: pods, nodes, the gateway, servers, and the moment when something changes.

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;

use natrig_bench::scenario::Word;
use natrig_nat::{Direction, Profile};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::client::{Client, ClientClass};
use crate::host::Host;
use crate::path::{Fate, Gateway, Losses, Node, SECOND_NS, destination};
use crate::scenario::{Change, Procedure, Scenario};
use crate::server::Server;

/// One way from pod to server, or back.
const DELAY_NS: u64 = 500_000;
/// Programs look at the clock so often.
const TICK_NS: u64 = SECOND_NS / 2;
/// Before the change everything settles for so long.
const SETTLE_NS: u64 = 40 * SECOND_NS;

/// A machine and what runs on it.
struct Machine {
    host: Host,
    clients: Vec<Client>,
    servers: Vec<Server>,
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

/// Something that happens to a node's pods, or to the gateway.
#[derive(Debug, Clone, Copy)]
enum Event {
    Drain { node: usize },
    Change { node: usize },
    Restart { node: usize },
}

pub(crate) struct World<'s> {
    scenario: &'s Scenario,
    machines: Vec<Machine>,
    by_address: HashMap<Ipv4Addr, usize>,
    nodes: Vec<Node>,
    gateway: Gateway,
    flying: VecDeque<Flying>,
    pub(crate) losses: Losses,
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
    now_ns: u64,
    rng: Pcg64Mcg,
}

impl<'s> World<'s> {
    pub(crate) fn new(scenario: &'s Scenario, node: &Profile, gateway: &Profile, seed: u64) -> Result<Self, String> {
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let nodes = (0..scenario.nodes)
            .map(|number| {
                Node::new(node_address(number), scenario.node_engine, node, scenario.masquerade_before, rng.random())
            })
            .collect::<Result<Vec<Node>, String>>()?;
        let public = (1..=scenario.gateway_addresses).map(|number| Ipv4Addr::new(198, 51, 100, number as u8)).collect();
        let gateway = Gateway::new(public, gateway, rng.random())?;
        let mut world = Self {
            scenario,
            machines: Vec::new(),
            by_address: HashMap::new(),
            nodes,
            gateway,
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
        for pod in 0..self.scenario.nodes * self.scenario.pods_per_node {
            let [high, low] = (pod as u16).to_be_bytes();
            let far = self.machine(Ipv4Addr::new(203, 0, 113, 0).to_bits() + pod + 1);
            let near = self.machine(Ipv4Addr::new(10, 9, high, low).to_bits() + 1);
            let client = self.machine(Ipv4Addr::new(10, 0, 64 + high, low).to_bits() + 1);
            let node = (pod / self.scenario.pods_per_node) as usize;
            for (number, class) in ClientClass::ALL.iter().enumerate() {
                let server = if *class == ClientClass::WithinVpc { near } else { far };
                let address = self.machines[server].host.address;
                let Machine { host, servers, .. } = &mut self.machines[server];
                servers.extend(Server::listen(*class, host));
                let start_ns = self.rng.random_range(0..2 * SECOND_NS);
                let first_port = 33_000 + 2000 * number as u16 + self.rng.random_range(0..1000);
                let Machine { host, clients, .. } = &mut self.machines[client];
                clients.push(Client::new(*class, node, address, first_port, host, start_ns));
            }
        }
    }

    fn machine(&mut self, address: u32) -> usize {
        let address = Ipv4Addr::from_bits(address);
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
    pub(crate) fn run(&mut self, cancelled: &dyn Fn() -> bool) -> Result<Option<Vec<Client>>, String> {
        let mut events = self.events();
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
        let mut clients: Vec<Client> = Vec::new();
        for machine in &mut self.machines {
            for mut client in machine.clients.drain(..) {
                client.end(self.now_ns);
                clients.push(client);
            }
        }
        Ok(Some(clients))
    }

    /// Frames that are still on their way.
    pub(crate) fn in_flight(&self) -> u64 {
        self.flying.len() as u64
    }

    fn events(&self) -> VecDeque<(u64, Event)> {
        let gap_ns = u64::from(self.scenario.interval_s) * SECOND_NS;
        let mut events = Vec::new();
        for node in 0..self.nodes.len() {
            let start_ns = match self.scenario.procedure {
                Procedure::AtOnce => SETTLE_NS,
                Procedure::Rolling | Procedure::DrainFirst => SETTLE_NS + node as u64 * gap_ns,
            };
            if self.scenario.procedure == Procedure::DrainFirst {
                let grace_ns = u64::from(self.scenario.grace_s) * SECOND_NS;
                events.push((start_ns, Event::Drain { node }));
                events.push((start_ns + grace_ns, Event::Change { node }));
                events.push((start_ns + grace_ns, Event::Restart { node }));
            } else {
                events.push((start_ns, Event::Change { node }));
            }
        }
        // Stable: a node's pods start again after its change.
        events.sort_by_key(|(at_ns, _)| *at_ns);
        events.into()
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
                // The gateway is one: it changes with the first node.
                match self.scenario.change {
                    Change::MasqueradeOff => self.nodes[node].switch(false, seed)?,
                    Change::MasqueradeOn => self.nodes[node].switch(true, seed)?,
                    Change::NodeFlush => self.nodes[node].flush(seed)?,
                    Change::GatewayRestart if node == 0 => self.gateway.restart(seed)?,
                    Change::GatewayDown if node == 0 => {
                        self.gateway.take_down(now_ns + u64::from(self.scenario.interval_s) * SECOND_NS);
                    }
                    Change::GatewayRestart | Change::GatewayDown => {}
                }
            }
            Event::Restart { node } => self.each_client_of(node, |client, host| client.restart(host, now_ns)),
        }
        Ok(())
    }

    fn each_client_of(&mut self, node: usize, mut act: impl FnMut(&mut Client, &mut Host)) {
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
                client.heard(heard.reset, self.now_ns);
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
            machine.servers.iter_mut().for_each(|server| server.drive(&mut machine.host, now_ns));
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
    fn send(&mut self, from: usize, mut frame: Vec<u8>) {
        let sender = self.machines[from].host.address;
        let outcome = if is_pod(sender) {
            self.carry_out(sender, &mut frame)
        } else if is_within_vpc(sender) {
            self.carry_in(&mut frame)
        } else {
            match self.gateway.pass(Direction::Inbound, &mut frame, self.now_ns) {
                Fate::Onward => self.carry_in(&mut frame),
                Fate::Back => Ok(()),
                Fate::Lost(reason) => Err(("gateway", reason)),
            }
        };
        match outcome {
            Ok(()) => match self.by_address.get(&destination(&frame)) {
                Some(machine) => {
                    self.flying.push_back(Flying { arrives_ns: self.now_ns + DELAY_NS, machine: *machine, frame });
                }
                None => self.losses.count("network", "no-such-host"),
            },
            Err((place, reason)) => self.losses.count(place, reason),
        }
    }

    fn carry_out(&mut self, pod: Ipv4Addr, frame: &mut [u8]) -> Result<(), (&'static str, &'static str)> {
        let node = self.node_of(pod).ok_or(("network", "no-such-pod"))?;
        if is_within_vpc(destination(frame)) {
            return match self.nodes[node].route(Direction::Outbound, frame) {
                Fate::Onward | Fate::Back => Ok(()),
                Fate::Lost(reason) => Err(("node", reason)),
            };
        }
        match self.nodes[node].outbound(frame, self.now_ns) {
            Fate::Back => return Ok(()),
            Fate::Lost(reason) => return Err(("node", reason)),
            Fate::Onward => {}
        }
        match self.gateway.pass(Direction::Outbound, frame, self.now_ns) {
            Fate::Onward => Ok(()),
            // A reset, say: on its way back it is translated at the node as an answer is.
            Fate::Back => self.carry_in(frame),
            Fate::Lost(reason) => Err(("gateway", reason)),
        }
    }

    fn carry_in(&mut self, frame: &mut [u8]) -> Result<(), (&'static str, &'static str)> {
        let to = destination(frame);
        let by_address = self.nodes.iter().position(|node| node.address == to);
        let node = by_address.or_else(|| self.node_of(to)).ok_or(("network", "no-such-host"))?;
        match self.nodes[node].inbound(frame, self.now_ns) {
            Fate::Onward | Fate::Back => Ok(()),
            Fate::Lost(reason) => Err(("node", reason)),
        }
    }

    fn node_of(&self, pod: Ipv4Addr) -> Option<usize> {
        let machine = self.by_address.get(&pod)?;
        self.machines[*machine].clients.first().map(|client| client.node)
    }
}

fn node_address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 10).to_bits() + number)
}

fn is_pod(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    a == 10 && b == 0 && c >= 64
}

const fn is_within_vpc(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    a == 10 && b == 9
}
