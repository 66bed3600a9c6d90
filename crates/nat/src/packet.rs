//! Headers as the translator reads and writes them: by fixed offset for the ordinary packet, field by field for the others.

use crate::DropReason;
use crate::pair::{Addrs, Ports};
use crate::session::{ICMP, Session, TCP, UDP};
use natrig_wire::checksum::{self, Delta};

/// Where IPv4 begins in a frame.
pub(crate) const L3: usize = 14;
const ETHERTYPE_IPV4: u16 = 0x0800;
const MORE_FRAGMENTS: u16 = 0x2000;
const DONT_FRAGMENT: u16 = 0x4000;

/// TTL going down by one, in a checksum: the word it is the upper byte of goes down by 0x100.
const TTL_DELTA: Delta = Delta::new().u16(0x0100, 0);

#[inline(always)]
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

#[inline(always)]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[inline(always)]
pub(crate) fn ports_at(bytes: &[u8], at: usize) -> Ports {
    Ports::from_wire([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[inline(always)]
pub(crate) fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

#[inline(always)]
pub(crate) fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

/// An IPv4 packet read with care: any options, fragments, any protocol.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packet {
    pub(crate) src: u32,
    pub(crate) dst: u32,
    pub(crate) protocol: u8,
    pub(crate) ttl: u8,
    pub(crate) ident: u16,
    pub(crate) dont_fragment: bool,
    pub(crate) more_fragments: bool,
    /// Bytes.
    pub(crate) fragment_offset: u16,
    pub(crate) total_len: usize,
    /// Where the transport header begins in the frame.
    pub(crate) l4: usize,
}

impl Packet {
    /// Reads and checks what RFC 1812 §5.2.2 asks for.
    pub(crate) fn read(frame: &[u8]) -> Result<Self, DropReason> {
        if frame.len() < L3 || u16_at(frame, 12) != ETHERTYPE_IPV4 {
            return Err(DropReason::NotIpv4);
        }
        let ip = &frame[L3..];
        if ip.len() < 20 || ip[0] >> 4 != 4 {
            return Err(DropReason::Malformed);
        }
        let header_len = usize::from(ip[0] & 0xf) * 4;
        let total_len = usize::from(u16_at(ip, 2));
        if header_len < 20 || total_len < header_len || total_len > ip.len() {
            return Err(DropReason::Malformed);
        }
        if checksum::fold(checksum::sum(0, &ip[..header_len])) != 0xffff {
            return Err(DropReason::HeaderChecksum);
        }
        let fragment = u16_at(ip, 6);
        Ok(Self {
            src: u32_at(ip, 12),
            dst: u32_at(ip, 16),
            protocol: ip[9],
            ttl: ip[8],
            ident: u16_at(ip, 4),
            dont_fragment: fragment & DONT_FRAGMENT != 0,
            more_fragments: fragment & MORE_FRAGMENTS != 0,
            fragment_offset: (fragment & 0x1fff) << 3,
            total_len,
            l4: L3 + header_len,
        })
    }

    /// Reads a packet that is known to be ordinary.
    pub(crate) fn of_ordinary(frame: &[u8]) -> Self {
        Self {
            src: u32_at(frame, L3 + 12),
            dst: u32_at(frame, L3 + 16),
            protocol: frame[L3 + 9],
            ttl: frame[L3 + 8],
            ident: u16_at(frame, L3 + 4),
            dont_fragment: u16_at(frame, L3 + 6) & DONT_FRAGMENT != 0,
            more_fragments: false,
            fragment_offset: 0,
            total_len: usize::from(u16_at(frame, L3 + 2)),
            l4: L3 + 20,
        }
    }

    pub(crate) const fn is_fragment(&self) -> bool {
        self.more_fragments || self.fragment_offset != 0
    }

    /// The end of the IPv4 packet in the frame; what is behind it is padding.
    pub(crate) const fn end(&self) -> usize {
        L3 + self.total_len
    }

    pub(crate) const fn l4_len(&self) -> usize {
        self.end() - self.l4
    }

    /// The transport header of a UDP or TCP packet, if it is all there: a first fragment must hold what is rewritten.
    pub(crate) fn transport<'f>(&self, frame: &'f [u8]) -> Result<&'f [u8], DropReason> {
        let l4 = frame.get(self.l4..self.end()).ok_or(DropReason::Malformed)?;
        let least = if self.protocol == TCP { 20 } else { 8 };
        if l4.len() >= least {
            return Ok(l4);
        }
        Err(if self.is_fragment() { DropReason::FragmentTiny } else { DropReason::Malformed })
    }
}

/// A change of one end of a packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rewrite {
    pub(crate) addrs: Addrs,
    /// Ports, or for ICMP the identifier in both halves.
    pub(crate) ports: Ports,
    pub(crate) addr_delta: Delta,
    pub(crate) l4_delta: Delta,
}

impl Rewrite {
    /// From the inside end to the outside end (source), or back (destination).
    pub(crate) fn of(session: &Session, outbound: bool) -> Self {
        // Outbound the deltas as they are, inbound their complements.
        let (addrs, ports, flip) = if outbound {
            (session.in_addrs().swapped(), session.in_ports.swapped(), 0)
        } else {
            (session.out_addrs().swapped(), session.out_ports.swapped(), 0xffff)
        };
        Self {
            addrs,
            ports,
            addr_delta: Delta::from_bits(u16::from_be(session.addr_delta) ^ flip),
            l4_delta: Delta::from_bits(u16::from_be(session.l4_delta) ^ flip),
        }
    }

    /// For a packet that belongs to a mapping but to no session: new ends and what they change.
    pub(crate) fn between(old: (Addrs, Ports), new: (Addrs, Ports)) -> Self {
        let addr_delta = Delta::new().u32(old.0.first(), new.0.first()).u32(old.0.second(), new.0.second());
        let l4_delta = addr_delta.u16(old.1.first(), new.1.first()).u16(old.1.second(), new.1.second());
        Self { addrs: new.0, ports: new.1, addr_delta, l4_delta }
    }

    /// Writes it into a UDP or TCP packet (whole, or a first fragment), or an ICMP query; TTL stays.
    pub(crate) fn apply(&self, frame: &mut [u8], packet: &Packet) {
        self.apply_addresses(frame);
        let l4 = &mut frame[packet.l4..];
        match packet.protocol {
            UDP => {
                l4[..4].copy_from_slice(&self.ports.to_wire());
                let sum = self.l4_delta.apply_udp(u16_at(l4, 6));
                put_u16(l4, 6, sum);
            }
            TCP => {
                l4[..4].copy_from_slice(&self.ports.to_wire());
                let sum = self.l4_delta.apply(u16_at(l4, 16));
                put_u16(l4, 16, sum);
            }
            ICMP => {
                // No pseudo-header: the addresses do not count. One half of the ports is zero.
                let ident = self.ports.ident();
                let sum = Delta::new().u16(u16_at(l4, 4), ident).apply(u16_at(l4, 2));
                put_u16(l4, 2, sum);
                put_u16(l4, 4, ident);
            }
            _ => {}
        }
    }

    /// Writes the addresses only: a fragment without transport header.
    pub(crate) fn apply_addresses(&self, frame: &mut [u8]) {
        let ip = &mut frame[L3..];
        let sum = self.addr_delta.apply(u16_at(ip, 10));
        put_u16(ip, 10, sum);
        ip[12..20].copy_from_slice(&self.addrs.to_wire());
    }
}

/// One hop: TTL goes down by one.
#[inline(always)]
pub(crate) fn decrement_ttl(frame: &mut [u8]) {
    let ip = &mut frame[L3..];
    ip[8] -= 1;
    let sum = TTL_DELTA.apply(u16_at(ip, 10));
    put_u16(ip, 10, sum);
}

/// Ports of an ICMP query as a session has them.
pub(crate) const fn query_ports(ident: u16, outbound: bool) -> Ports {
    if outbound { Ports::new(ident, 0) } else { Ports::new(0, ident) }
}

/// True for addresses that no packet may come from.
pub(crate) const fn is_bad_source(addr: u32) -> bool {
    // "This" network, loopback, multicast and the reserved block above it (RFC 1812 §5.3.7).
    matches!(addr >> 24, 0 | 127 | 224..=255)
}

/// True for addresses that no packet may be routed to.
pub(crate) const fn is_bad_destination(addr: u32) -> bool {
    matches!(addr >> 24, 0 | 127 | 224..=239) || addr == u32::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A DNS query: IPv4 10.0.0.1 → 192.0.2.53, TTL 64, UDP 1234 → 53, checksum 0x8d53 taken from a capture re-addressed by hand.
    fn dns() -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
        frame.extend([0x45, 0, 0, 0x20, 0x12, 0x34, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 192, 0, 2, 53]);
        frame.extend([0x04, 0xd2, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4]);
        let sum = checksum::finish(checksum::sum(0, &frame[14..34]));
        put_u16(&mut frame, 24, sum);
        let pseudo = checksum::pseudo_header(0x0a00_0001, 0xc000_0235, 17, 12);
        let sum = checksum::finish(checksum::sum(pseudo, &frame[34..]));
        put_u16(&mut frame, 40, sum);
        frame
    }

    #[test]
    fn careful_reading_refuses_what_is_not_a_packet() {
        let check = |at: usize, value: u8| {
            let mut frame = dns();
            frame[at] = value;
            Packet::read(&frame).unwrap_err()
        };
        assert_eq!(check(12, 0x86), DropReason::NotIpv4);
        assert_eq!(check(14, 0x55), DropReason::Malformed);
        assert_eq!(check(14, 0x44), DropReason::Malformed);
        assert_eq!(check(16, 1), DropReason::Malformed);
        assert_eq!(check(24, 0), DropReason::HeaderChecksum);
        assert_eq!(Packet::read(&dns()[..33]).unwrap_err(), DropReason::Malformed);
    }

    #[test]
    fn a_rewrite_between_ends_is_the_sessions_rewrite() {
        let session = Session::new(TCP, (1, 2), (3, 4), (5, 6));
        let one = Rewrite::of(&session, true);
        let two = Rewrite::between((session.out_addrs(), session.out_ports), (one.addrs, one.ports));
        for sum in [0u16, 1, 0xabcd] {
            assert_eq!(one.l4_delta.apply(sum) % 0xffff, two.l4_delta.apply(sum) % 0xffff);
            assert_eq!(one.addr_delta.apply(sum) % 0xffff, two.addr_delta.apply(sum) % 0xffff);
        }
    }
}
