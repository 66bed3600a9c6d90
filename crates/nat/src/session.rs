//! One cache line per session, in a slab.
//!
//! A session is the translation between one inside end, one remote end and one outside end. With endpoint-dependent mapping each session
//! is a mapping of its own; with wider mapping the sessions of one mapping form a ring, and the mapping lives as long as the ring does:
//! there is no second kind of record.

use crate::Direction;
use crate::index::NONE;
use crate::pair::{Addrs, Ports};
use crate::tcp::State;
use core::net::{Ipv4Addr, SocketAddrV4};
use natrig_wire::checksum::Delta;

/// Protocol numbers (RFC 5237 registry).
pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;

/// Set in [`Session::flags`].
pub(crate) mod flag {
    /// The remote end is an outside address of ours.
    pub(crate) const HAIRPIN: u8 = 1;
    /// The first packet came from outside.
    pub(crate) const FROM_OUTSIDE: u8 = 2;
    /// Something came back to whoever began.
    pub(crate) const REPLIED: u8 = 4;
    /// The session that its mapping's inside key is entered under.
    pub(crate) const INSIDE_HEAD: u8 = 8;
    /// The session that its mapping's outside key is entered under.
    pub(crate) const OUTSIDE_HEAD: u8 = 16;
    /// The session that its mapping's outside end and remote address are entered under.
    pub(crate) const PEER_HEAD: u8 = 32;
    /// Ended; only its port is still held.
    pub(crate) const HELD: u8 = 64;
    /// One of its two entries has been evicted: it is found by packets of one direction only.
    pub(crate) const HALF: u8 = 128;
}

/// The ordinary path may translate UDP packets of a session.
pub(crate) const QUICK_UDP: u8 = 1;
/// The ordinary path may translate TCP segments without SYN, FIN and RST of a session.
pub(crate) const QUICK_TCP: u8 = 2;

/// A translation and its state. Packets of ICMP queries have the identifier as the inside (outside) port, and remote port 0.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Session {
    /// Inside address, remote address, outside address: an outbound packet carries the first two, an inbound one the last two.
    pub(crate) addrs: [u8; 12],
    /// The tick at which it is dead.
    pub(crate) expires: u32,
    /// Inside port, remote port.
    pub(crate) out_ports: Ports,
    /// Remote port, outside port.
    pub(crate) in_ports: Ports,
    /// What outbound translation of the address changes in a checksum, in memory order; inbound it is the complement. The TTL is not in it.
    pub(crate) addr_delta: u16,
    /// The same of address and port together.
    pub(crate) l4_delta: u16,
    pub(crate) state: State,
    pub(crate) protocol: u8,
    pub(crate) flags: u8,
    /// What of it the ordinary path may translate: [`QUICK_UDP`] or [`QUICK_TCP`], outbound in the lower half, inbound in the upper.
    pub(crate) quick: u8,
    pub(crate) packets_out: u32,
    pub(crate) packets_in: u32,
    /// Neighbours in the timer wheel; free entries are linked by `wheel_next`.
    pub(crate) wheel_next: u32,
    pub(crate) wheel_prev: u32,
    /// Neighbours in the mapping's ring.
    pub(crate) ring_next: u32,
    pub(crate) ring_prev: u32,
    /// TCP: the sequence number behind the last byte sent outbound when closing began.
    pub(crate) seq_end: u32,
}

impl Session {
    const EMPTY: Self = Self {
        addrs: [0; 12],
        expires: 0,
        out_ports: Ports::new(0, 0),
        in_ports: Ports::new(0, 0),
        addr_delta: 0,
        l4_delta: 0,
        state: State::Free,
        protocol: 0,
        flags: 0,
        quick: 0,
        packets_out: 0,
        packets_in: 0,
        wheel_next: NONE,
        wheel_prev: NONE,
        ring_next: NONE,
        ring_prev: NONE,
        seq_end: 0,
    };

    pub(crate) fn new(protocol: u8, inside: (u32, u16), remote: (u32, u16), outside: (u32, u16)) -> Self {
        let addr = Delta::new().u32(inside.0, outside.0);
        let l4 = addr.u16(inside.1, outside.1);
        let mut addrs = [0; 12];
        addrs[..8].copy_from_slice(&Addrs::new(inside.0, remote.0).to_wire());
        addrs[8..].copy_from_slice(&outside.0.to_be_bytes());
        Self {
            addrs,
            out_ports: Ports::new(inside.1, remote.1),
            in_ports: Ports::new(remote.1, outside.1),
            addr_delta: addr.to_bits().to_be(),
            l4_delta: l4.to_bits().to_be(),
            protocol,
            ..Self::EMPTY
        }
    }

    /// What an outbound packet carries: inside address, remote address.
    #[inline(always)]
    pub(crate) const fn out_addrs(&self) -> Addrs {
        let [a, b, c, d, e, f, g, h, ..] = self.addrs;
        Addrs::from_wire([a, b, c, d, e, f, g, h])
    }

    /// What an inbound packet carries: remote address, outside address.
    #[inline(always)]
    pub(crate) const fn in_addrs(&self) -> Addrs {
        let [.., a, b, c, d, e, f, g, h] = self.addrs;
        Addrs::from_wire([a, b, c, d, e, f, g, h])
    }

    #[inline(always)]
    pub(crate) const fn inside(&self) -> (u32, u16) {
        (self.out_addrs().first(), self.out_ports.first())
    }

    #[inline(always)]
    pub(crate) const fn remote(&self) -> (u32, u16) {
        (self.out_addrs().second(), self.out_ports.second())
    }

    #[inline(always)]
    pub(crate) const fn outside(&self) -> (u32, u16) {
        (self.in_addrs().second(), self.in_ports.second())
    }

    /// Sets `quick` after a change of state or flags.
    pub(crate) const fn settle(&mut self) {
        let code = match self.protocol {
            UDP => QUICK_UDP,
            TCP => QUICK_TCP,
            _ => 0,
        };
        let ordinary = self.flags & (flag::HELD | flag::HAIRPIN | flag::HALF) == 0;
        let out = if ordinary && self.state.is_steady(true) { code } else { 0 };
        let inb = if ordinary && self.state.is_steady(false) { code } else { 0 };
        self.quick = out | inb << 4;
    }

    /// True if the ordinary path may translate such packets of this direction.
    #[inline(always)]
    pub(crate) const fn is_quick(&self, kind: u8, outbound: bool) -> bool {
        self.quick & if outbound { kind } else { kind << 4 } != 0
    }

    #[inline(always)]
    pub(crate) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(crate) const fn is_free(&self) -> bool {
        matches!(self.state, State::Free)
    }
}

/// All sessions. Entries are numbered; free ones form a list.
#[derive(Debug)]
pub(crate) struct Slab {
    pub(crate) entries: Box<[Session]>,
    free: u32,
    live: u32,
}

impl Slab {
    pub(crate) fn with_capacity(capacity: u32) -> Self {
        let mut entries = vec![Session::EMPTY; capacity as usize].into_boxed_slice();
        for (index, entry) in (1u32..).zip(entries.iter_mut()) {
            entry.wheel_next = if index == capacity { NONE } else { index };
        }
        Self { entries, free: 0, live: 0 }
    }

    pub(crate) const fn live(&self) -> u32 {
        self.live
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.free == NONE
    }

    /// Puts a session into a free entry.
    pub(crate) fn insert(&mut self, session: Session) -> Option<u32> {
        let index = self.free;
        let entry = self.entries.get_mut(index as usize)?;
        self.free = entry.wheel_next;
        *entry = session;
        entry.settle();
        entry.ring_next = index;
        entry.ring_prev = index;
        self.live += 1;
        Some(index)
    }

    /// Frees an entry that is in no list any more.
    pub(crate) fn remove(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        debug_assert!(!entry.is_free());
        entry.state = State::Free;
        entry.flags = 0;
        entry.quick = 0;
        entry.wheel_next = self.free;
        self.free = index;
        self.live -= 1;
    }

    #[inline(always)]
    pub(crate) fn at(&self, index: u32) -> &Session {
        &self.entries[index as usize]
    }

    #[inline(always)]
    pub(crate) fn at_mut(&mut self, index: u32) -> &mut Session {
        &mut self.entries[index as usize]
    }

    /// Puts `index` (alone so far) into the ring of `beside`, right behind it.
    pub(crate) fn join_ring(&mut self, beside: u32, index: u32) {
        let next = self.at(beside).ring_next;
        self.at_mut(index).ring_prev = beside;
        self.at_mut(index).ring_next = next;
        self.at_mut(beside).ring_next = index;
        self.at_mut(next).ring_prev = index;
    }

    /// Takes `index` out of its ring.
    pub(crate) fn leave_ring(&mut self, index: u32) {
        let Session { ring_next, ring_prev, .. } = *self.at(index);
        self.at_mut(ring_prev).ring_next = ring_next;
        self.at_mut(ring_next).ring_prev = ring_prev;
        self.at_mut(index).ring_next = index;
        self.at_mut(index).ring_prev = index;
    }
}

/// A session as it is listed for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappingView {
    /// IP protocol number: 1, 6 or 17.
    pub protocol: u8,
    /// Inside address and port (ICMP: identifier).
    pub inside: SocketAddrV4,
    /// Outside address and port (ICMP: identifier).
    pub outside: SocketAddrV4,
    /// Remote address and port (ICMP: port 0).
    pub remote: SocketAddrV4,
    /// State's name, such as `established`, `udp-stream` or `held`.
    pub state: &'static str,
    /// Nanoseconds from the last burst until it expires if nothing refreshes it.
    pub expires_in_ns: u64,
    /// Outbound packets translated (modulo 2³²).
    pub packets_out: u32,
    /// Inbound packets translated (modulo 2³²).
    pub packets_in: u32,
    /// The direction whose packets find it no more, because its entry has been evicted.
    pub lost: Option<Direction>,
}

impl MappingView {
    pub(crate) fn new(session: &Session, expires_in_ns: u64, lost: Option<Direction>) -> Self {
        let end = |(addr, port)| SocketAddrV4::new(Ipv4Addr::from_bits(addr), port);
        Self {
            protocol: session.protocol,
            inside: end(session.inside()),
            outside: end(session.outside()),
            remote: end(session.remote()),
            state: if session.has(flag::HELD) { "held" } else { session.state.as_str() },
            expires_in_ns,
            packets_out: session.packets_out,
            packets_in: session.packets_in,
            lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_a_cache_line() {
        assert_eq!(size_of::<Session>(), 64);
    }

    #[test]
    fn a_slab_refuses_when_full_and_reuses_what_is_freed() {
        let mut slab = Slab::with_capacity(2);
        let session = Session { state: State::UdpNew, ..Session::new(UDP, (1, 2), (3, 4), (5, 6)) };
        assert_eq!([slab.insert(session), slab.insert(session), slab.insert(session)], [Some(0), Some(1), None]);
        assert!(slab.is_full());
        slab.remove(0);
        assert_eq!((slab.live(), slab.insert(session)), (1, Some(0)));
    }

    #[test]
    fn rings_join_and_part() {
        let mut slab = Slab::with_capacity(3);
        let session = Session { state: State::UdpNew, ..Session::new(UDP, (1, 2), (3, 4), (5, 6)) };
        for _ in 0..3 {
            slab.insert(session);
        }
        slab.join_ring(0, 1);
        slab.join_ring(0, 2);
        assert_eq!([slab.at(0).ring_next, slab.at(2).ring_next, slab.at(1).ring_next], [2, 1, 0]);
        slab.leave_ring(0);
        assert_eq!([slab.at(0).ring_next, slab.at(2).ring_next, slab.at(1).ring_next], [0, 1, 2]);
        slab.leave_ring(2);
        assert_eq!(slab.at(1).ring_next, 1);
    }
}
