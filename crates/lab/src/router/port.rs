//! One side of a router: who it is there, and whom it knows.

use std::net::Ipv4Addr;

use natrig_nat::Verdict;
use natrig_wire::{Frame, MacAddr, arp, ethernet};

use super::neighbours::{Action, Neighbours};
use super::outbox::{Kind, Outbox};
use super::undeliverable::{self, Undeliverable};
use super::{PortConfig, RouterCounts, Routes, Way};
use crate::stage::Side;

/// RFC 5227 §1.1: ANNOUNCE_NUM and ANNOUNCE_INTERVAL.
const ANNOUNCEMENTS: u32 = 2;
const ANNOUNCE_INTERVAL_NS: u64 = 2_000_000_000;
/// Announcements sent at each tick, however many addresses there are.
const ANNOUNCEMENTS_PER_TICK: usize = 32;
/// RFC 5227 §1.1: DEFEND_INTERVAL.
const DEFEND_INTERVAL_NS: u64 = 10_000_000_000;

const DESTINATION: usize = ethernet::HEADER_LEN + 16;

#[derive(Debug)]
pub(super) struct Port {
    pub(super) side: Side,
    /// Addresses sorted.
    pub(super) config: PortConfig,
    pub(super) neighbours: Neighbours,
    pub(super) outbox: Outbox,
    recent: Recent,
    announcing: Announcing,
    defended_ns: Option<u64>,
    /// Who has claimed which of our addresses, since it was asked for.
    pub(super) conflict: Option<(Ipv4Addr, MacAddr)>,
}

impl Port {
    pub(super) fn new(side: Side, config: PortConfig) -> Self {
        let mut port = Self {
            side,
            config: PortConfig { mac: config.mac, own: config.own, addresses: Vec::new() },
            neighbours: Neighbours::default(),
            outbox: Outbox::default(),
            recent: Recent::default(),
            announcing: Announcing::default(),
            defended_ns: None,
            conflict: None,
        };
        port.configure(config);
        port
    }

    pub(super) fn configure(&mut self, mut config: PortConfig) {
        config.addresses.push(config.own);
        config.addresses.sort_unstable();
        config.addresses.dedup();
        self.config = config;
        self.recent.forget();
        self.announcing = Announcing::default();
    }

    /// Whether the translator shall see a frame that has arrived: `Forward` or `Skip`.
    #[inline]
    pub(super) fn admit(
        &mut self,
        frame: &Frame<'_>,
        routes: &Routes,
        counts: &mut RouterCounts,
        now_ns: u64,
    ) -> Verdict {
        let Some(head) = frame.bytes().first_chunk::<{ DESTINATION + 4 }>() else {
            counts.not_for_us += 1;
            return Verdict::Skip;
        };
        let to_us = head[..6] == self.config.mac.0;
        if to_us && head[12..14] == ethernet::ethertype::IPV4.to_be_bytes() {
            let destination = destination_of(head);
            if self.turns_round(destination, routes) {
                counts.same_side += 1;
                return Verdict::Skip;
            }
            return Verdict::Forward;
        }
        let to_all = head[..6] == MacAddr::BROADCAST.0;
        if (to_us || to_all) && head[12..14] == ethernet::ethertype::ARP.to_be_bytes() {
            counts.arp_received += 1;
            self.hear(frame.bytes(), routes, counts, now_ns);
        } else {
            counts.not_for_us += 1;
        }
        Verdict::Skip
    }

    /// Whether a packet that has arrived here would have to leave here.
    #[inline]
    fn turns_round(&self, destination: Ipv4Addr, routes: &Routes) -> bool {
        routes.side_of(destination) == Some(self.side) && !self.owns(destination)
    }

    fn owns(&self, address: Ipv4Addr) -> bool {
        self.config.addresses.binary_search(&address).is_ok()
    }

    /// Gives a frame the MAC addresses with which it leaves here. False: it cannot leave now; it waits, or has been dropped and counted.
    #[inline]
    pub(super) fn address(&mut self, frame: &mut Frame<'_>, kind: Kind, way: &mut Way<'_>) -> bool {
        let Some(head) = frame.bytes().first_chunk::<{ DESTINATION + 4 }>() else { return false };
        let destination = destination_of(head);
        let found = self.recent.find(destination).or_else(|| self.find_neighbour(frame, destination, kind, way));
        let Some(mac) = found else { return false };
        set_macs(frame.bytes_mut(), mac, self.config.mac);
        true
    }

    /// As [`Port::address`], for a frame that does not leave with a burst.
    pub(super) fn send_later(&mut self, frame: &mut Frame<'_>, kind: Kind, way: &mut Way<'_>) {
        if self.address(frame, kind, way) && !self.outbox.push(kind, frame.bytes()) {
            way.counts.left(kind, false);
        }
    }

    /// What the translator says about a frame that came from here and does not leave by the other side.
    #[inline]
    pub(super) fn settle(&mut self, frame: &mut Frame<'_>, verdict: Verdict, way: &mut Way<'_>) {
        match verdict {
            Verdict::Back => self.send_later(frame, Kind::Returned, way),
            Verdict::Drop(reason) => way.counts.drops[reason as usize] += 1,
            Verdict::Forward | Verdict::Hold | Verdict::Skip => {}
        }
    }

    #[cold]
    fn find_neighbour(
        &mut self,
        frame: &Frame<'_>,
        destination: Ipv4Addr,
        kind: Kind,
        way: &mut Way<'_>,
    ) -> Option<MacAddr> {
        let Some(hop) = way.routes.next_hop(self.side, destination) else {
            way.counts.no_route += 1;
            way.undeliverable.push(self.side, undeliverable::NETWORK, frame.bytes());
            return None;
        };
        if let Some(mac) = self.neighbours.use_mac(hop, way.now_ns) {
            self.recent.put(destination, mac);
            return Some(mac);
        }
        let held = self.neighbours.hold(hop, kind, frame.bytes(), way.now_ns);
        way.counts.unresolved += held.dropped;
        if held.ask {
            self.ask(hop, None);
        }
        None
    }

    /// An ARP packet.
    #[cold]
    fn hear(&mut self, frame: &[u8], routes: &Routes, counts: &mut RouterCounts, now_ns: u64) {
        let Ok(said) = arp::Repr::parse(&frame[ethernet::HEADER_LEN..]) else { return };
        if self.owns(said.sender_ip) {
            if said.sender_mac != self.config.mac {
                counts.conflicts += 1;
                self.defend(&said, now_ns);
            }
            return;
        }
        let asks_us = said.operation == arp::Operation::Request && self.owns(said.target_ip);
        // A probe (RFC 5227 §2.1.1) has no sender yet.
        if !said.sender_ip.is_unspecified() && !said.sender_mac.is_group() {
            let welcome = asks_us && routes.is_on_link(self.side, said.sender_ip);
            let (waiting, changed) = self.neighbours.learn(said.sender_ip, said.sender_mac, welcome, now_ns);
            if changed {
                self.recent.forget();
            }
            for mut one in waiting {
                set_macs(&mut one.bytes, said.sender_mac, self.config.mac);
                if !self.outbox.push(one.kind, &one.bytes) {
                    counts.left(one.kind, false);
                }
            }
        }
        if asks_us {
            self.say(&said.answer(self.config.mac), said.sender_mac);
        }
    }

    /// RFC 5227 §2.4 (b): says once more whose the address is, and not again for a while.
    fn defend(&mut self, said: &arp::Repr, now_ns: u64) {
        if self.defended_ns.is_none_or(|at| now_ns.saturating_sub(at) >= DEFEND_INTERVAL_NS) {
            self.defended_ns = Some(now_ns);
            self.conflict = Some((said.sender_ip, said.sender_mac));
            self.announce(said.sender_ip);
        }
    }

    pub(super) fn tick(&mut self, now_ns: u64, counts: &mut RouterCounts, undeliverable: &mut Undeliverable) {
        // So that use is noted again.
        self.recent.forget();
        for action in self.neighbours.tick(now_ns) {
            match action {
                Action::Ask(address, mac) => self.ask(address, mac),
                Action::GiveUp(waiting) => {
                    counts.unresolved += waiting.len() as u64;
                    for one in waiting {
                        undeliverable.push(self.side, undeliverable::HOST, &one.bytes);
                    }
                }
            }
        }
        for at in self.announcing.due(self.config.addresses.len(), now_ns) {
            self.announce(self.config.addresses[at]);
        }
    }

    /// Asks everybody, or the neighbour who was last known to have the address.
    fn ask(&mut self, address: Ipv4Addr, mac: Option<MacAddr>) {
        let question = arp::Repr {
            operation: arp::Operation::Request,
            sender_mac: self.config.mac,
            sender_ip: self.config.own,
            target_mac: MacAddr::default(),
            target_ip: address,
        };
        self.say(&question, mac.unwrap_or(MacAddr::BROADCAST));
    }

    fn announce(&mut self, address: Ipv4Addr) {
        let announcement = arp::Repr {
            operation: arp::Operation::Request,
            sender_mac: self.config.mac,
            sender_ip: address,
            target_mac: MacAddr::default(),
            target_ip: address,
        };
        self.say(&announcement, MacAddr::BROADCAST);
    }

    fn say(&mut self, what: &arp::Repr, to: MacAddr) {
        let mut frame = [0; FRAME_LEN_MIN];
        set_macs(&mut frame, to, self.config.mac);
        frame[12..14].copy_from_slice(&ethernet::ethertype::ARP.to_be_bytes());
        if what.emit(&mut frame[ethernet::HEADER_LEN..]).is_ok() {
            // Without room it is asked again, by us or by them.
            let _ = self.outbox.push(Kind::Arp, &frame);
        }
    }
}

/// The shortest frame of an Ethernet, without its frame check sequence: ARP is padded to it.
const FRAME_LEN_MIN: usize = 60;

#[inline]
fn destination_of(head: &[u8; DESTINATION + 4]) -> Ipv4Addr {
    Ipv4Addr::new(head[DESTINATION], head[DESTINATION + 1], head[DESTINATION + 2], head[DESTINATION + 3])
}

#[inline]
fn set_macs(frame: &mut [u8], to: MacAddr, from: MacAddr) {
    if let Some(addresses) = frame.first_chunk_mut::<12>() {
        addresses[..6].copy_from_slice(&to.0);
        addresses[6..].copy_from_slice(&from.0);
    }
}

/// Where packets went a moment ago, so that most need neither route nor neighbour looked up.
#[derive(Debug)]
struct Recent {
    slots: Box<[Slot; SLOTS]>,
    generation: u32,
}

const SLOTS: usize = 1024;

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    generation: u32,
    destination: u32,
    mac: MacAddr,
}

impl Default for Recent {
    fn default() -> Self {
        Self { slots: Box::new([Slot::default(); SLOTS]), generation: 1 }
    }
}

impl Recent {
    #[inline]
    const fn home(destination: u32) -> usize {
        // Fibonacci hashing: the upper ten bits.
        (destination.wrapping_mul(0x9e37_79b9) >> 22) as usize
    }

    #[inline]
    fn find(&self, destination: Ipv4Addr) -> Option<MacAddr> {
        let slot = &self.slots[Self::home(destination.to_bits())];
        (slot.generation == self.generation && slot.destination == destination.to_bits()).then_some(slot.mac)
    }

    fn put(&mut self, destination: Ipv4Addr, mac: MacAddr) {
        let destination = destination.to_bits();
        self.slots[Self::home(destination)] = Slot { generation: self.generation, destination, mac };
    }

    fn forget(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        if self.generation == 0 {
            // After 2³² generations the old ones would look new.
            *self = Self::default();
        }
    }
}

/// How far the announcements of our addresses are (RFC 5227 §2.3).
#[derive(Debug, Default)]
struct Announcing {
    rounds: u32,
    next: usize,
    not_before_ns: u64,
}

impl Announcing {
    /// Which of `addresses` are to be announced now.
    fn due(&mut self, addresses: usize, now_ns: u64) -> std::ops::Range<usize> {
        if self.rounds == ANNOUNCEMENTS || now_ns < self.not_before_ns {
            return 0..0;
        }
        let from = self.next;
        self.next = addresses.min(from + ANNOUNCEMENTS_PER_TICK);
        let due = from..self.next;
        if self.next == addresses {
            self.rounds += 1;
            self.next = 0;
            self.not_before_ns = now_ns + ANNOUNCE_INTERVAL_NS;
        }
        due
    }
}
