//! Fragments: what the first fragment of a datagram was translated to, the others are translated to as well.

use crate::behaviour::{FragmentLimits, FragmentRule};
use crate::hash::{KeyKind, KeyedHash};
use crate::held::Wait;
use crate::index::{Index, Load, NONE};
use crate::ordinary::may_be_fragmented;
use crate::packet::{L3, Packet, Rewrite, decrement_ttl, put_u16, u16_at, u32_at};
use crate::pair::{Addrs, Ports};
use crate::session::TCP;
use crate::time::ticks;
use crate::wheel::before;
use crate::{Direction, DropReason, Nat, Verdict};
use natrig_wire::Frame;
use natrig_wire::checksum::Delta;

/// What is known about a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Its first fragment has not come.
    Unknown,
    /// Its fragments get these addresses and this identification.
    Translated { addrs: Addrs, ident: u16, verdict: Verdict },
    /// Its first fragment was refused.
    Refused(DropReason),
}

#[derive(Debug, Clone, Copy)]
struct Datagram {
    addrs: Addrs,
    ident: u16,
    protocol: u8,
    dir: Direction,
    fate: Fate,
    /// Bytes of payload seen, and how many there are in all once the last fragment has come.
    seen: u32,
    total: u32,
    held: u32,
    expires: u32,
    /// Free: the next free one. In use: order of arrival, which is order of expiry.
    next: u32,
    prev: u32,
}

/// Datagrams whose fragments are under way.
#[derive(Debug)]
pub(crate) struct Fragments {
    limits: FragmentLimits,
    index: Index,
    entries: Box<[Datagram]>,
    free: u32,
    oldest: u32,
    newest: u32,
}

impl Fragments {
    pub(crate) fn new(limits: &FragmentLimits) -> Self {
        let empty = Datagram {
            addrs: Addrs::new(0, 0),
            ident: 0,
            protocol: 0,
            dir: Direction::Outbound,
            fate: Fate::Unknown,
            seen: 0,
            total: u32::MAX,
            held: 0,
            expires: 0,
            next: NONE,
            prev: NONE,
        };
        let mut entries = vec![empty; limits.max_tracked as usize].into_boxed_slice();
        for (next, entry) in (1u32..).zip(entries.iter_mut()) {
            entry.next = if next == limits.max_tracked { NONE } else { next };
        }
        Self {
            limits: limits.clone(),
            index: Index::new(limits.max_tracked as usize, limits.max_tracked.max(1), Load::Dense),
            entries,
            free: if limits.max_tracked == 0 { NONE } else { 0 },
            oldest: NONE,
            newest: NONE,
        }
    }

    pub(crate) fn memory(&self) -> usize {
        self.index.memory() + size_of_val(&*self.entries)
    }

    fn hash(hash: &KeyedHash, dir: Direction, protocol: u8, addrs: Addrs, ident: u16) -> u64 {
        hash.hash(KeyKind::Fragment, protocol, addrs.bits(), u32::from(ident) << 1 | dir as u32)
    }

    fn find(&self, hash: &KeyedHash, dir: Direction, packet: &Packet) -> Option<u32> {
        let addrs = Addrs::new(packet.src, packet.dst);
        self.index.find(Self::hash(hash, dir, packet.protocol, addrs, packet.ident), |entry| {
            let entry = &self.entries[entry as usize];
            let same = entry.addrs == addrs && entry.ident == packet.ident;
            same && entry.protocol == packet.protocol && entry.dir == dir
        })
    }

    /// Enters a datagram; when there is no room the oldest one makes it. None if none may be tracked at all.
    fn insert(&mut self, hash: &KeyedHash, dir: Direction, packet: &Packet, now: u32) -> Option<(u32, Option<u32>)> {
        let mut displaced = None;
        if self.free == NONE {
            let oldest = (self.oldest != NONE).then_some(self.oldest)?;
            self.remove(hash, oldest);
            displaced = Some(oldest);
        }
        let number = self.free;
        let entry = &mut self.entries[number as usize];
        self.free = entry.next;
        *entry = Datagram {
            addrs: Addrs::new(packet.src, packet.dst),
            ident: packet.ident,
            protocol: packet.protocol,
            dir,
            fate: Fate::Unknown,
            seen: 0,
            total: u32::MAX,
            held: 0,
            expires: now.wrapping_add(ticks(self.limits.timeout_s)),
            next: NONE,
            prev: self.newest,
        };
        let key = Self::hash(hash, dir, entry.protocol, entry.addrs, entry.ident);
        match self.entries.get_mut(self.newest as usize) {
            Some(newest) => newest.next = number,
            None => self.oldest = number,
        }
        self.newest = number;
        self.index.insert(key, number);
        Some((number, displaced))
    }

    fn remove(&mut self, hash: &KeyedHash, number: u32) {
        let Datagram { addrs, ident, protocol, dir, next, prev, .. } = self.entries[number as usize];
        self.index.remove(Self::hash(hash, dir, protocol, addrs, ident), number);
        match self.entries.get_mut(prev as usize) {
            Some(entry) => entry.next = next,
            None => self.oldest = next,
        }
        match self.entries.get_mut(next as usize) {
            Some(entry) => entry.prev = prev,
            None => self.newest = prev,
        }
        self.entries[number as usize].next = self.free;
        self.free = number;
    }

    /// A datagram whose time is over, if there is one.
    fn expired(&self, now: u32) -> Option<u32> {
        let entry = self.entries.get(self.oldest as usize)?;
        (!before(now, entry.expires)).then_some(self.oldest)
    }

    /// Counts a fragment; true if the datagram is complete.
    fn count(&mut self, number: u32, packet: &Packet) -> bool {
        let entry = &mut self.entries[number as usize];
        entry.seen = entry.seen.saturating_add(packet.l4_len() as u32);
        if !packet.more_fragments {
            entry.total = u32::from(packet.fragment_offset) + packet.l4_len() as u32;
        }
        entry.seen >= entry.total
    }
}

impl Nat {
    fn fragment_rule(&self, protocol: u8) -> FragmentRule {
        if crate::nat::is_translatable(protocol) { self.rules_of(protocol).fragments } else { FragmentRule::Drop }
    }

    /// A fragment of a datagram that is to be translated. `Err` leaves the frame as it was.
    pub(crate) fn fragment(
        &mut self,
        dir: Direction,
        frame: &mut Frame<'_>,
        packet: &Packet,
    ) -> Result<Verdict, DropReason> {
        let rule = self.fragment_rule(packet.protocol);
        if rule == FragmentRule::Drop {
            return Err(DropReason::Fragment);
        }
        self.forget_fragments();
        if packet.fragment_offset == 0 {
            return self.first_fragment(dir, frame, packet);
        }
        // RFC 3128: nothing may be written over what the first fragment showed of the header.
        if packet.protocol == TCP && packet.fragment_offset < 20 {
            return Err(DropReason::FragmentTiny);
        }
        self.later_fragment(dir, frame, packet, rule)
    }

    /// Forgets datagrams whose time is over. What waits for them runs out by itself.
    fn forget_fragments(&mut self) {
        while let Some(number) = self.fragments.expired(self.now) {
            self.fragments.remove(&self.table.hash, number);
        }
    }

    fn first_fragment(
        &mut self,
        dir: Direction,
        frame: &mut Frame<'_>,
        packet: &Packet,
    ) -> Result<Verdict, DropReason> {
        let old = self.fragments.find(&self.table.hash, dir, packet);
        // The same again, or another datagram under the same identification: either way the latest counts.
        let number = match old {
            Some(number) => Some(number),
            None => self.track(dir, packet),
        };
        let result = self.translate_whole(dir, frame, packet);
        let Some(number) = number else { return result };
        let fate = match result {
            Ok(verdict @ (Verdict::Forward | Verdict::Back)) => {
                let bytes = &frame.bytes()[L3..];
                let addrs = Addrs::new(u32_at(bytes, 12), u32_at(bytes, 16));
                Fate::Translated { addrs, ident: u16_at(bytes, 4), verdict }
            }
            Ok(Verdict::Drop(reason)) => Fate::Refused(reason),
            Ok(Verdict::Hold | Verdict::Skip) => Fate::Refused(DropReason::FragmentUnknown),
            Err(reason) => Fate::Refused(reason),
        };
        let entry = &mut self.fragments.entries[number as usize];
        let had_held = core::mem::take(&mut entry.held) > 0;
        entry.fate = fate;
        entry.seen = packet.l4_len() as u32;
        if had_held {
            self.held.settle(Wait::FirstFragment(number), Wait::Over);
        }
        result
    }

    fn track(&mut self, dir: Direction, packet: &Packet) -> Option<u32> {
        let (number, displaced) = self.fragments.insert(&self.table.hash, dir, packet, self.now)?;
        if let Some(displaced) = displaced {
            let lost = Wait::Decided(Verdict::Drop(DropReason::FragmentNoRoom));
            self.held.settle(Wait::FirstFragment(displaced), lost);
        }
        Some(number)
    }

    fn translate_whole(
        &mut self,
        dir: Direction,
        frame: &mut Frame<'_>,
        packet: &Packet,
    ) -> Result<Verdict, DropReason> {
        match dir {
            Direction::Outbound => self.outbound_whole(frame, packet),
            Direction::Inbound => self.inbound_whole(frame, packet),
        }
    }

    fn later_fragment(
        &mut self,
        dir: Direction,
        frame: &mut Frame<'_>,
        packet: &Packet,
        rule: FragmentRule,
    ) -> Result<Verdict, DropReason> {
        let Some(number) = self.fragments.find(&self.table.hash, dir, packet) else {
            if rule == FragmentRule::Track || self.releasing {
                return Err(DropReason::FragmentUnknown);
            }
            let number = self.track(dir, packet).ok_or(DropReason::FragmentNoRoom)?;
            return self.hold_fragment(dir, frame, packet, number);
        };
        match self.fragments.entries[number as usize].fate {
            Fate::Unknown if self.releasing => Err(DropReason::FragmentUnknown),
            Fate::Unknown => self.hold_fragment(dir, frame, packet, number),
            Fate::Refused(reason) => Err(reason),
            Fate::Translated { addrs: new, ident, verdict } => {
                let none = Ports::new(0, 0);
                Rewrite::between((Addrs::new(packet.src, packet.dst), none), (new, none))
                    .apply_addresses(frame.bytes_mut());
                set_ident(frame.bytes_mut(), ident);
                decrement_ttl(frame.bytes_mut());
                if self.fragments.count(number, packet) {
                    self.fragments.remove(&self.table.hash, number);
                }
                let counter = match dir {
                    _ if verdict == Verdict::Back => &mut self.counters.hairpinned,
                    Direction::Outbound => &mut self.counters.translated_out,
                    Direction::Inbound => &mut self.counters.translated_in,
                };
                *counter += 1;
                Ok(verdict)
            }
        }
    }

    fn hold_fragment(
        &mut self,
        dir: Direction,
        frame: &Frame<'_>,
        packet: &Packet,
        number: u32,
    ) -> Result<Verdict, DropReason> {
        let entry = &mut self.fragments.entries[number as usize];
        if entry.held >= self.fragments.limits.max_held_per_datagram {
            return Err(DropReason::FragmentNoRoom);
        }
        let bytes = &frame.bytes()[..packet.end()];
        let kept = self.held.push(dir, Wait::FirstFragment(number), entry.expires, bytes.len(), |slot| {
            slot.copy_from_slice(bytes);
        });
        if !kept {
            return Err(DropReason::FragmentNoRoom);
        }
        entry.held += 1;
        self.counters.held += 1;
        Ok(Verdict::Hold)
    }

    /// Gives a packet that may be, or is, fragmented a new identification (RFC 6864 §5.3.1), counted per destination.
    pub(crate) fn renew_ident(&mut self, frame: &mut [u8], packet: &Packet) {
        if !packet.dont_fragment || packet.is_fragment() {
            self.set_next_ident(frame, packet.dst);
        }
    }

    /// The same for an ordinary packet, which is no fragment.
    #[inline(always)]
    pub(crate) fn renew_ident_of(&mut self, frame: &mut [u8]) {
        if may_be_fragmented(frame) {
            self.set_next_ident(frame, u32_at(frame, L3 + 16));
        }
    }

    #[inline(always)]
    fn set_next_ident(&mut self, frame: &mut [u8], dst: u32) {
        if let Some(idents) = &mut self.idents {
            let ident = &mut idents[self.table.hash.spread(dst)];
            *ident = ident.wrapping_add(1);
            set_ident(frame, *ident);
        }
    }
}

/// Sets the identification field, checksum included.
#[inline(always)]
pub(crate) fn set_ident(frame: &mut [u8], ident: u16) {
    let ip = &mut frame[L3..];
    let sum = Delta::new().u16(u16_at(ip, 4), ident).apply(u16_at(ip, 10));
    put_u16(ip, 4, ident);
    put_u16(ip, 10, sum);
}
