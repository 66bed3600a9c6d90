//! A translator that stands by itself between two links: what a [`Stage`](crate::stage::Stage) is in a world of known neighbours, with
//! neighbours that have to be found.
//!
//! A [`Router`] owns a MAC address and IPv4 addresses on each side, answers ARP for them and announces them (RFC 826, RFC 5227), hands
//! what is addressed to it to the translator, and sends what comes out to the next hop that its [`Routes`] name. Frames for a neighbour
//! who is not known yet wait for the answer, within bounds; if there is none, their sender gets the ICMP error that RFC 1812 asks for,
//! translated like any other. Without sockets and clocks: [`poll`] joins it with two links.

mod counts;
mod neighbours;
mod outbox;
mod poll;
mod port;
mod routes;
mod undeliverable;

use std::net::Ipv4Addr;

use arrayvec::ArrayVec;
use natrig_link::{BURST_MAX, Link, SendError};
use natrig_nat::{Nat, Verdict};
use natrig_wire::{Frame, MacAddr};

pub use self::counts::RouterCounts;
use self::outbox::Kind;
pub use self::poll::poll;
use self::port::Port;
pub use self::routes::{Route, Routes};
use self::undeliverable::Undeliverable;
use crate::stage::Side;

/// How a router speaks on one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortConfig {
    /// Its MAC address there.
    pub mac: MacAddr,
    /// The address that it asks and complains from.
    pub own: Ipv4Addr,
    /// All addresses that are its own there, that one included: it answers ARP for them.
    pub addresses: Vec<Ipv4Addr>,
}

/// What a router is made from, beside its translator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterConfig {
    /// Towards the hosts whose addresses are translated.
    pub inside: PortConfig,
    /// Towards everybody else.
    pub outside: PortConfig,
    /// The ways out, on both sides.
    pub routes: Routes,
}

/// A neighbour whose MAC address is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownNeighbour {
    /// On which side.
    pub side: Side,
    /// Its IPv4 address.
    pub address: Ipv4Addr,
    /// Its MAC address.
    pub mac: MacAddr,
    /// Nanoseconds since it last said so.
    pub confirmed_ago_ns: u64,
}

/// A translator with two links' worth of neighbours.
#[derive(Debug)]
pub struct Router {
    /// Inside, outside.
    ports: [Port; 2],
    routes: Routes,
    nat: Box<Nat>,
    counts: RouterCounts,
    verdicts: Box<[Verdict; BURST_MAX]>,
    undeliverable: Undeliverable,
    ticked_ns: u64,
    /// No frame has come since the last tick.
    idle: bool,
}

/// How often neighbours' timers are looked at.
pub const TICK_NS: u64 = 100_000_000;

impl Router {
    /// With nobody known yet. The translator's outside addresses should be among the outside port's.
    pub fn new(config: RouterConfig, nat: Nat) -> Self {
        Self {
            ports: [Port::new(Side::Inside, config.inside), Port::new(Side::Outside, config.outside)],
            routes: config.routes,
            nat: Box::new(nat),
            counts: RouterCounts::default(),
            verdicts: Box::new([Verdict::Skip; BURST_MAX]),
            undeliverable: Undeliverable::default(),
            ticked_ns: 0,
            idle: true,
        }
    }

    /// Takes another configuration and another translator. Neighbours are kept: the links are the same. What the old translator held
    /// is lost, and counted.
    pub fn replace(&mut self, config: RouterConfig, nat: Nat) {
        self.counts.lost_by_reload += held(&self.nat);
        let [inside, outside] = &mut self.ports;
        inside.configure(config.inside);
        outside.configure(config.outside);
        self.routes = config.routes;
        *self.nat = nat;
    }

    /// Decides about a burst that arrived at side `from` and rewrites the frames; `forward` says which leave by the other side.
    /// Everything else that is to leave follows by [`Router::send`].
    pub fn process(
        &mut self,
        from: Side,
        frames: &mut [Frame<'_>],
        now_ns: u64,
        forward: &mut ArrayVec<u16, BURST_MAX>,
    ) {
        forward.clear();
        self.idle = false;
        let Self { ports: [inside, outside], routes, nat, counts, verdicts, undeliverable, .. } = self;
        let (near, far) = match from {
            Side::Inside => (inside, outside),
            Side::Outside => (outside, inside),
        };
        counts.received[from as usize] += frames.len() as u64;
        let verdicts = &mut verdicts[..frames.len()];
        for (frame, verdict) in frames.iter().zip(verdicts.iter_mut()) {
            *verdict = near.admit(frame, routes, counts, now_ns);
        }
        nat.translate_burst(from.direction(), frames, verdicts, now_ns);
        let mut way = Way { routes, counts, undeliverable, now_ns };
        for (index, (frame, verdict)) in frames.iter_mut().zip(verdicts).enumerate() {
            if *verdict != Verdict::Forward {
                near.settle(frame, *verdict, &mut way);
            } else if far.address(frame, Kind::Forwarded, &mut way) {
                forward.push(index as u16);
            }
        }
    }

    /// What is due beside frames: held frames whose waiting is over, neighbours' timers, errors about what could not be delivered.
    /// To be called after every burst and, without bursts, every [`TICK_NS`] or so.
    pub fn settle(&mut self, now_ns: u64) {
        for from in [Side::Inside, Side::Outside] {
            self.release(from, now_ns);
        }
        if now_ns.saturating_sub(self.ticked_ns) >= TICK_NS {
            self.ticked_ns = now_ns;
            for port in &mut self.ports {
                port.tick(now_ns, &mut self.counts, &mut self.undeliverable);
            }
            self.undeliverable.tick();
            if self.idle {
                self.nat.expire(now_ns);
            }
            self.idle = true;
        }
        self.tell_undeliverable(now_ns);
    }

    /// Sends what waits to leave by `side`.
    ///
    /// # Errors
    /// What the link returns; frames that it did not take are dropped and counted.
    pub fn send(&mut self, side: Side, link: &mut dyn Link) -> Result<(), SendError> {
        self.ports[side as usize].outbox.send(link, &mut self.counts)
    }

    /// Somebody else who claims one of our addresses, at most once in ten seconds for each side.
    pub fn take_conflict(&mut self) -> Option<(Ipv4Addr, MacAddr)> {
        self.ports.iter_mut().find_map(|port| port.conflict.take())
    }

    /// What was done so far.
    pub fn counts(&self) -> RouterCounts {
        let waiting = self.ports.iter().map(|port| port.neighbours.waiting() as u64).sum();
        RouterCounts { held: held(&self.nat), waiting, ..self.counts.clone() }
    }

    /// The translator.
    pub fn nat(&self) -> &Nat {
        &self.nat
    }

    /// Everybody whose MAC address is known, the inside first, in the order of addresses.
    pub fn neighbours(&self, now_ns: u64) -> impl Iterator<Item = KnownNeighbour> + '_ {
        self.ports.iter().flat_map(move |port| {
            let known = port.neighbours.known(now_ns);
            known.map(|(address, mac, confirmed_ago_ns)| KnownNeighbour {
                side: port.side,
                address,
                mac,
                confirmed_ago_ns,
            })
        })
    }

    /// Frames that the translator held and lets go now.
    fn release(&mut self, from: Side, now_ns: u64) {
        if !self.nat.holds_frames() {
            return;
        }
        let Self { ports: [inside, outside], routes, nat, counts, undeliverable, .. } = self;
        let (near, far) = match from {
            Side::Inside => (inside, outside),
            Side::Outside => (outside, inside),
        };
        nat.release(from.direction(), now_ns, &mut |frames, verdicts| {
            let mut way = Way { routes, counts, undeliverable, now_ns };
            for (frame, verdict) in frames.iter_mut().zip(verdicts) {
                settle_later(near, far, frame, *verdict, &mut way);
            }
        });
    }

    /// Errors about packets that could not be delivered, on the way that an error of the next hop's would have come.
    fn tell_undeliverable(&mut self, now_ns: u64) {
        while let Some(lost) = self.undeliverable.pop() {
            let complainant = self.ports[lost.side.other() as usize].config.own;
            let mut buffer = [0; undeliverable::FRAME_LEN_MAX];
            let Some(len) = lost.emit_error(complainant, &mut buffer) else { continue };
            self.counts.undeliverable_told += 1;
            let mut frames = [Frame::new(&mut buffer, len)];
            let mut verdicts = [Verdict::Forward];
            self.nat.translate_burst(lost.side.direction(), &mut frames, &mut verdicts, now_ns);
            let Self { ports: [inside, outside], routes, counts, undeliverable, .. } = self;
            let (near, far) = match lost.side {
                Side::Inside => (inside, outside),
                Side::Outside => (outside, inside),
            };
            let mut way = Way { routes, counts, undeliverable, now_ns };
            settle_later(near, far, &mut frames[0], verdicts[0], &mut way);
        }
    }
}

/// What a frame needs on its way out.
struct Way<'a> {
    routes: &'a Routes,
    counts: &'a mut RouterCounts,
    undeliverable: &'a mut Undeliverable,
    now_ns: u64,
}

/// What the translator says about a frame that came from `near`, and in no burst.
fn settle_later(near: &mut Port, far: &mut Port, frame: &mut Frame<'_>, verdict: Verdict, way: &mut Way<'_>) {
    if verdict == Verdict::Forward {
        far.send_later(frame, Kind::Forwarded, way);
    } else {
        near.settle(frame, verdict, way);
    }
}

/// Frames that the translator holds now.
fn held(nat: &Nat) -> u64 {
    let counters = nat.counters();
    (counters.held + counters.fragments_made).saturating_sub(counters.released + counters.held_dropped)
}

#[cfg(test)]
mod tests;
