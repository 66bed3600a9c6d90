//! The toggle in real time: the kernel's own TCP in namespaces of pods and servers, with the same programs as on the virtual clock.

mod plan;
mod socket;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use natrig_bench::scenario::Word;
use natrig_lab::bridge::{Bridge, Layer};
use natrig_lab::lease::Lease;
use natrig_link::wait::Rest;
use natrig_link::{Link, clock};
use natrig_nat::Profile;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use self::socket::{Listeners, Place, Socket};
use crate::client::{Client, ClientClass};
use crate::connection::Connection;
use crate::event::{Event, events};
use crate::measured::{Lives, Traffic};
use crate::pace::ns;
use crate::path::{Gateway, Losses, Node, Path};
use crate::place;
use crate::scenario::{NFTABLES, Procedure, Scenario, TranslatedBy};
use crate::server::Server;

/// Programs look at the clock and at their sockets so often.
const TICK: Duration = Duration::from_millis(10);
/// Longest sleep of natrig's boxes.
const NAP: Duration = Duration::from_millis(50);
/// How long it may take until nothing moves any more once everybody has given up, and how long nothing must move.
const SETTLING: Duration = Duration::from_secs(3);
const SETTLED: Duration = Duration::from_millis(100);

/// Why there is no result.
pub(crate) enum RealError {
    /// Something is missing on this machine that could be there.
    Environment(String),
    /// Something else.
    Failed(String),
}

impl From<String> for RealError {
    fn from(message: String) -> Self {
        Self::Failed(message)
    }
}

/// Who translates at nodes.
pub(crate) fn nodes_by(scenario: &Scenario) -> TranslatedBy {
    plan::nodes_by(scenario)
}

/// What would be built, a line each.
pub(crate) fn planned(scenario: &Scenario, gateway: &str) -> Vec<String> {
    plan::world(scenario, gateway).plan.to_string().lines().map(str::to_owned).collect()
}

/// Lets it all happen behind one gateway; none: it was cancelled.
pub(crate) fn run(
    scenario: &Scenario,
    node: &Profile,
    (name, gateway): (&str, Option<&Profile>),
    cancel: &AtomicBool,
) -> Result<Option<Lives>, RealError> {
    let mut rng = Pcg64Mcg::seed_from_u64(scenario.seed);
    let world = plan::world(scenario, name);
    let lease = world.plan.build().map_err(|error| {
        let message = error.to_string();
        if error.reason.is_environment() { RealError::Environment(message) } else { RealError::Failed(message) }
    })?;
    let lease = Arc::new(lease);
    let open =
        |(node, span)| Bridge::open(&lease, &span).map(|bridge| (node, bridge)).map_err(|error| error.to_string());
    let bridges = world.spans.into_iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let own = Own {
        path: Path {
            nodes: natrigs_nodes(scenario, node, &mut rng)?,
            gateway: natrigs_gateway(scenario, gateway, &mut rng)?,
        },
        losses: Losses::default(),
    };
    let own = Mutex::new(own);
    let stop = AtomicBool::new(false);
    let lives = thread::scope(|scope| {
        let boxes = scope.spawn(|| forward(bridges, &own, &stop));
        let lives = Programs::start(scenario, &lease, &mut rng)
            .and_then(|mut programs| programs.live(scenario, name, &own, (cancel, &mut rng)));
        stop.store(true, Ordering::Release);
        let forwarded = boxes.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        forwarded?;
        lives
    })?;
    Ok(lives)
}

/// natrig's own boxes, and what was lost in them.
struct Own {
    path: Path,
    losses: Losses,
}

fn natrigs_nodes(scenario: &Scenario, profile: &Profile, rng: &mut Pcg64Mcg) -> Result<Vec<Node>, String> {
    if nodes_by(scenario) == TranslatedBy::Nftables {
        return Ok(Vec::new());
    }
    let (engine, before) = (scenario.node_engine, scenario.masquerade_before);
    (0..scenario.nodes).map(|number| Node::new(place::node(number), engine, profile, before, rng.random())).collect()
}

fn natrigs_gateway(
    scenario: &Scenario,
    profile: Option<&Profile>,
    rng: &mut Pcg64Mcg,
) -> Result<Option<Gateway>, String> {
    let public = place::public(scenario.gateway_addresses);
    profile.map(|profile| Gateway::new(public, profile, rng.random())).transpose()
}

/// Moves frames through natrig's own boxes until `stop` is set.
fn forward(mut bridges: Vec<(Option<usize>, Bridge)>, own: &Mutex<Own>, stop: &AtomicBool) -> Result<(), String> {
    let mut rest = Rest::default();
    while !stop.load(Ordering::Acquire) {
        let mut moved = 0;
        {
            let Own { path, losses } = &mut *locked(own);
            for (node, bridge) in &mut bridges {
                let (place, layer): (_, Option<&mut dyn Layer>) = match node {
                    Some(node) => ("node", path.nodes.get_mut(*node).map(|node| node as _)),
                    None => ("gateway", path.gateway.as_mut().map(|gateway| gateway as _)),
                };
                if let Some(layer) = layer {
                    let pumped = bridge.pump(layer, &mut |reason| losses.count(place, reason), clock::now_ns());
                    moved += pumped.map_err(|error| error.to_string())?;
                }
            }
        }
        if moved > 0 {
            rest.work();
        } else if bridges.is_empty() {
            thread::sleep(NAP);
        } else {
            let links: Vec<&dyn Link> = bridges.iter().flat_map(|(_, bridge)| bridge.links()).collect();
            rest.rest(&links, NAP).map_err(|error| format!("wait for frames: {error}"))?;
        }
    }
    Ok(())
}

/// A thread that has panicked holds no half of a change: it ends the run.
fn locked(own: &Mutex<Own>) -> MutexGuard<'_, Own> {
    own.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All clients and servers.
struct Programs {
    lease: Arc<Lease>,
    clients: Vec<(Client<Socket>, Place)>,
    /// Those within the VPC and those on the internet need no place: they are connected to.
    servers: Vec<Server<Socket>>,
    listeners: [Listeners; 2],
    began_ns: u64,
}

impl Programs {
    fn start(scenario: &Scenario, lease: &Arc<Lease>, rng: &mut Pcg64Mcg) -> Result<Self, RealError> {
        let at = |namespace: String| Place { lease: Arc::clone(lease), namespace };
        let (within, outside): (Vec<ClientClass>, Vec<ClientClass>) =
            ClientClass::ALL.iter().partition(|class| **class == ClientClass::WithinVpc);
        let listeners = [
            Listeners::open(&at(plan::INTERNET.to_owned()), &outside)?,
            Listeners::open(&at(plan::HOST.to_owned()), &within)?,
        ];
        let mut clients = Vec::new();
        for pod in 0..scenario.nodes * scenario.pods_per_node {
            let node = (pod / scenario.pods_per_node) as usize;
            for (number, class) in ClientClass::ALL.iter().enumerate() {
                let server = if *class == ClientClass::WithinVpc { place::near(pod) } else { place::far(pod) };
                let start_ns = rng.random_range(0..ns(1000));
                let port = 33_000 + 2000 * number as u16 + rng.random_range(0..1000);
                let (own, pace) = ((place::pod(pod), port), &scenario.pace);
                let client = Client::new(*class, node, own, server, Socket::new(pace), (pace, start_ns));
                clients.push((client, at(plan::pods(node))));
            }
        }
        Ok(Self { lease: Arc::clone(lease), clients, servers: Vec::new(), listeners, began_ns: clock::now_ns() })
    }

    fn now_ns(&self) -> u64 {
        clock::now_ns() - self.began_ns
    }

    fn live(
        &mut self,
        scenario: &Scenario,
        gateway: &str,
        own: &Mutex<Own>,
        (cancel, rng): (&AtomicBool, &mut Pcg64Mcg),
    ) -> Result<Option<Lives>, RealError> {
        let mut events = events(scenario);
        let end_ns = ns(1000 * scenario.lasts_s());
        let (mut last_ns, mut longest_stall_ns) = (self.now_ns(), 0);
        loop {
            let now_ns = self.now_ns();
            longest_stall_ns = longest_stall_ns.max(now_ns - last_ns);
            last_ns = now_ns;
            if cancel.load(Ordering::Relaxed) {
                return Ok(None);
            }
            if now_ns >= end_ns {
                break;
            }
            while events.front().is_some_and(|(at_ns, _)| *at_ns <= now_ns) {
                if let Some((_, event)) = events.pop_front() {
                    self.happen(event, scenario, gateway, own, rng.random())?;
                }
            }
            self.drive(scenario, now_ns);
            thread::sleep(TICK);
        }
        let end_ns = self.now_ns();
        let fates = self.clients.iter_mut().map(|(client, _)| {
            client.end(end_ns);
            (client.class, client.fate)
        });
        let fates = fates.collect();
        let (sent, delivered) = self.give_up()?;
        let mut losses = std::mem::take(&mut locked(own).losses);
        let mut traffic = Traffic { sent, delivered, in_flight: 0, losses: Losses::default() };
        self.kernels_losses(scenario, gateway, &mut traffic, &mut losses)?;
        traffic.losses = losses;
        Ok(Some(Lives { fates, traffic, longest_stall_ns }))
    }

    fn drive(&mut self, scenario: &Scenario, now_ns: u64) {
        for (client, place) in &mut self.clients {
            client.drive(place, now_ns);
        }
        for (class, socket) in self.listeners.iter().flat_map(Listeners::accept) {
            self.servers.push(Server::new(class, socket, &scenario.pace));
        }
        // A server's socket is there already: it needs nothing of its place.
        let Some((_, place)) = self.clients.first_mut() else { return };
        self.servers.retain_mut(|server| server.drive(place, now_ns));
    }

    fn happen(
        &mut self,
        event: Event,
        scenario: &Scenario,
        gateway: &str,
        own: &Mutex<Own>,
        seed: u64,
    ) -> Result<(), RealError> {
        let now_ns = self.now_ns();
        let of = |node: usize| move |(client, _): &&mut (Client<Socket>, Place)| client.node == node;
        let apply = |plan: natrig_lab::plan::Plan| self.lease.apply(&plan).map_err(|error| error.to_string());
        match event {
            Event::Drain { node } => self.clients.iter_mut().filter(of(node)).for_each(|(client, place)| {
                client.changed(now_ns);
                client.drain(place);
            }),
            Event::Change { node } => {
                if scenario.procedure != Procedure::DrainFirst {
                    self.clients.iter_mut().filter(of(node)).for_each(|(client, _)| client.changed(now_ns));
                }
                apply(plan::change(scenario, gateway, node))?;
                locked(own).path.change(scenario.change, node, seed)?;
            }
            Event::Restart { node } => {
                self.clients.iter_mut().filter(of(node)).for_each(|(client, place)| client.restart(place, now_ns));
            }
            Event::Revive { node } => {
                apply(plan::revive(scenario, gateway, node))?;
                locked(own).path.revive(scenario.change, node);
            }
        }
        Ok(())
    }

    /// Everybody gives up, and when nothing moves any more: frames that hosts sent, and that arrived at hosts.
    fn give_up(&mut self) -> Result<(u64, u64), String> {
        for (client, place) in &mut self.clients {
            client.connection.abort(place);
            self.servers.iter_mut().for_each(|server| server.connection.abort(place));
        }
        self.servers.clear();
        let since_ns = clock::now_ns();
        let mut before = self.hosts()?;
        loop {
            thread::sleep(SETTLED);
            let now = self.hosts()?;
            if now == before || u128::from(clock::now_ns() - since_ns) > SETTLING.as_nanos() {
                return Ok(now);
            }
            before = now;
        }
    }

    fn hosts(&self) -> Result<(u64, u64), String> {
        let counters = self.lease.link_stats().map_err(|error| error.to_string())?;
        let is_host = |name: &str| name.starts_with("pods-") || [plan::HOST, plan::INTERNET].contains(&name);
        let hosts = counters.iter().filter(|counters| is_host(&counters.namespace));
        Ok(hosts.fold((0, 0), |(sent, delivered), at| (sent + at.tx_frames, delivered + at.rx_frames)))
    }

    /// What went into a box of the kernel's and did not come out; what came out of it and had not gone in, it has made itself.
    fn kernels_losses(
        &self,
        scenario: &Scenario,
        gateway: &str,
        traffic: &mut Traffic,
        losses: &mut Losses,
    ) -> Result<(), String> {
        let mut boxes = Vec::new();
        if nodes_by(scenario) == TranslatedBy::Nftables {
            boxes.extend((0..scenario.nodes as usize).map(|number| ("node", plan::node(number))));
        }
        if gateway == NFTABLES {
            boxes.push(("gateway", plan::GATEWAY.to_owned()));
        }
        let counters = self.lease.link_stats().map_err(|error| error.to_string())?;
        for (place, namespace) in boxes {
            let of_box = counters.iter().filter(|counters| counters.namespace == namespace);
            let (came, went) = of_box.fold((0, 0), |(came, went), at| (came + at.rx_frames, went + at.tx_frames));
            traffic.sent += u64::saturating_sub(went, came);
            (went..came).for_each(|_| losses.count(place, "kernel"));
        }
        Ok(())
    }
}
