//! The headers of a packet, as far as they tell who talks to whom.

use std::fmt;
use std::net::Ipv4Addr;

use natrig_wire::{icmpv4, ipv4, tcp, udp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// UDP port of VXLAN as Cilium has it.
const VXLAN_PORT: u16 = 8472;
/// Between the UDP header and the IP packet inside: VXLAN's header (RFC 7348, section 5) and Ethernet's.
const VXLAN_ETHERNET: usize = 8 + 14;

/// Who talks to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Header {
    /// Source address.
    pub source: Ipv4Addr,
    /// Source port, or the identifier of an echo; 0 if there is neither.
    pub source_port: u16,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Destination port, or the identifier of an echo.
    pub destination_port: u16,
    /// Time to live.
    pub ttl: u8,
    /// `udp`, `tcp SYN`, `icmp echo`, …
    pub what: String,
    /// Source and destination of the packet that this one is wrapped in.
    pub tunnel: Option<(Ipv4Addr, Ipv4Addr)>,
}

/// A packet's headers, and what lies behind them.
pub(crate) struct Dissected<'p> {
    pub(crate) header: Header,
    pub(crate) protocol: u8,
    /// TCP's flags, ICMP's type.
    pub(super) kind: u8,
    pub(super) payload: &'p [u8],
}

/// None if it is nothing that we send.
pub(crate) fn dissect(packet: &[u8]) -> Option<Dissected<'_>> {
    let outer = dissect_plain(packet)?;
    if outer.protocol != ipv4::protocol::UDP || outer.header.destination_port != VXLAN_PORT {
        return Some(outer);
    }
    let mut inner = dissect_plain(outer.payload.get(VXLAN_ETHERNET..)?)?;
    inner.header.tunnel = Some((outer.header.source, outer.header.destination));
    Some(inner)
}

fn dissect_plain(packet: &[u8]) -> Option<Dissected<'_>> {
    let ip = ipv4::Packet::new_checked(packet).ok()?;
    let (protocol, header_len, total_len) = (ip.protocol(), ip.header_len(), ip.total_len());
    let body = packet.get(header_len..total_len)?;
    let (source_port, destination_port, kind, what, payload) = match protocol {
        ipv4::protocol::UDP => {
            let datagram = udp::Packet::new_checked(body).ok()?;
            (datagram.src_port(), datagram.dst_port(), 0, "udp".to_owned(), body.get(udp::HEADER_LEN..)?)
        }
        ipv4::protocol::TCP => {
            let segment = tcp::Packet::new_checked(body).ok()?;
            let flags = segment.flags();
            let payload = body.get(segment.header_len()..)?;
            (segment.src_port(), segment.dst_port(), flags, format!("tcp {}", flag_names(flags)), payload)
        }
        ipv4::protocol::ICMP => {
            let message = icmpv4::Packet::new_checked(body).ok()?;
            let kind = message.kind();
            let ident = if icmpv4::is_error(kind) { 0 } else { message.ident() };
            (ident, ident, kind, format!("icmp {}", icmp_name(kind)), body.get(icmpv4::HEADER_LEN..)?)
        }
        _ => return None,
    };
    let (source, destination, ttl) = (ip.src(), ip.dst(), ip.ttl());
    let header = Header { source, source_port, destination, destination_port, ttl, what, tunnel: None };
    Some(Dissected { header, protocol, kind, payload })
}

fn flag_names(flags: u8) -> String {
    let names = [(tcp::flag::SYN, "SYN"), (tcp::flag::FIN, "FIN"), (tcp::flag::RST, "RST"), (tcp::flag::ACK, "ACK")];
    let set: Vec<&str> = names.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name).collect();
    set.join(" ")
}

fn icmp_name(kind: u8) -> String {
    match kind {
        icmpv4::kind::ECHO => "echo".to_owned(),
        icmpv4::kind::ECHO_REPLY => "echo reply".to_owned(),
        icmpv4::kind::UNREACHABLE => "unreachable".to_owned(),
        icmpv4::kind::TIME_EXCEEDED => "time exceeded".to_owned(),
        other => format!("type {other}"),
    }
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |address: Ipv4Addr, port: u16| match port {
            0 => address.to_string(),
            port => format!("{address}:{port}"),
        };
        let (from, to) = (end(self.source, self.source_port), end(self.destination, self.destination_port));
        write!(f, "{} {from} → {to}, ttl {}", self.what, self.ttl)?;
        self.tunnel.map_or(Ok(()), |(from, to)| write!(f, ", in VXLAN {from} → {to}"))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A UDP packet without checksums.
    pub(in crate::probe) fn udp_packet(from: ([u8; 4], u16), to: ([u8; 4], u16), payload: &[u8]) -> Vec<u8> {
        let udp_len = (udp::HEADER_LEN + payload.len()) as u16;
        let mut packet = vec![0x45, 0];
        packet.extend((20 + udp_len).to_be_bytes());
        packet.extend([0, 0, 0, 0, 64, ipv4::protocol::UDP, 0, 0]);
        packet.extend(from.0);
        packet.extend(to.0);
        packet.extend(from.1.to_be_bytes());
        packet.extend(to.1.to_be_bytes());
        packet.extend(udp_len.to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(payload);
        packet
    }

    #[test]
    fn a_wrapped_packet_is_unwrapped() {
        let inner = udp_packet(([10, 244, 1, 5], 1000), ([10, 244, 2, 5], 2000), b"hello");
        let wrapped = [&[0; VXLAN_ETHERNET][..], &inner].concat();
        let outer = udp_packet(([10, 0, 0, 10], 5555), ([10, 0, 0, 11], VXLAN_PORT), &wrapped);
        let plain = dissect(&inner).unwrap();
        assert_eq!((plain.header.tunnel, plain.payload), (None, &b"hello"[..]));
        let seen = dissect(&outer).unwrap();
        assert_eq!(seen.header.tunnel, Some((Ipv4Addr::new(10, 0, 0, 10), Ipv4Addr::new(10, 0, 0, 11))));
        assert_eq!(
            seen.header.to_string(),
            "udp 10.244.1.5:1000 → 10.244.2.5:2000, ttl 64, in VXLAN 10.0.0.10 → 10.0.0.11"
        );
    }

    #[test]
    fn what_is_cut_short_is_nothing() {
        let packet = udp_packet(([1, 1, 1, 1], 1), ([2, 2, 2, 2], 2), b"x");
        for len in 0..packet.len() {
            assert!(dissect(&packet[..len]).is_none(), "{len}");
        }
    }
}
