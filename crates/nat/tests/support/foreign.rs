//! What two foreign decoders, smoltcp's and pnet's, make of a frame.

use std::net::Ipv4Addr;

use pnet::packet as p;
use pnet::packet::Packet as _;
use smoltcp::wire as s;

/// A frame as both decoders read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) src: Ipv4Addr,
    pub(crate) dst: Ipv4Addr,
    pub(crate) ttl: u8,
    pub(crate) ident: u16,
    pub(crate) dont_fragment: bool,
    pub(crate) more_fragments: bool,
    /// Bytes.
    pub(crate) fragment_offset: u16,
    pub(crate) protocol: u8,
    pub(crate) content: Content,
    /// What the protocol's checksum is off by (one's complement): zero if it is right, or if it cannot be checked.
    pub(crate) checksum_error: u16,
}

/// What the packet carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Udp {
        ports: [u16; 2],
        data: Vec<u8>,
    },
    Tcp {
        ports: [u16; 2],
        seq: u32,
        ack: u32,
        flags: u8,
        data: Vec<u8>,
    },
    Query {
        kind: u8,
        ident: u16,
        data: Vec<u8>,
    },
    Error {
        kind: u8,
        code: u8,
        mtu: u16,
        quote: Vec<u8>,
    },
    /// A fragment, or a protocol that neither looks into.
    Opaque(Vec<u8>),
}

/// Reads a frame with both; an error if either refuses it, if they differ, or if the IPv4 header's checksum is wrong.
pub(crate) fn read(frame: &[u8]) -> Result<Seen, String> {
    let one = read_smoltcp(frame).map_err(|error| format!("smoltcp: {error}"))?;
    let two = read_pnet(frame).map_err(|error| format!("pnet: {error}"))?;
    if one != two { Err(format!("smoltcp reads {one:?}, pnet {two:?}")) } else { Ok(one) }
}

/// The ends of the packet that an ICMP error quotes: addresses, protocol, and ports or identifier (twice).
pub(crate) fn quoted_ends(quote: &[u8]) -> Option<([Ipv4Addr; 2], u8, [u16; 2])> {
    let ip = p::ipv4::Ipv4Packet::new(quote)?;
    let l4 = quote.get(usize::from(ip.get_header_length()) * 4..)?;
    let word = |at: usize| Some(u16::from_be_bytes([*l4.get(at)?, *l4.get(at + 1)?]));
    let protocol = ip.get_next_level_protocol().0;
    let ports = if protocol == 1 { [word(4)?, word(4)?] } else { [word(0)?, word(2)?] };
    Some(([ip.get_source(), ip.get_destination()], protocol, ports))
}

const fn is_error(kind: u8) -> bool {
    matches!(kind, 3 | 4 | 5 | 11 | 12)
}

fn read_smoltcp(frame: &[u8]) -> Result<Seen, &'static str> {
    let ethernet = s::EthernetFrame::new_checked(frame).map_err(|_| "Ethernet header")?;
    if ethernet.ethertype() != s::EthernetProtocol::Ipv4 {
        return Err("not IPv4");
    }
    let ip = s::Ipv4Packet::new_checked(ethernet.payload()).map_err(|_| "IPv4 header")?;
    if ip.version() != 4 || !ip.verify_checksum() {
        return Err("IPv4 version or checksum");
    }
    let (src, dst) = (ip.src_addr(), ip.dst_addr());
    let whole = !ip.more_frags() && ip.frag_offset() == 0;
    let payload = ip.payload();
    let mut right = true;
    let content = match u8::from(ip.next_header()) {
        17 if whole => {
            let udp = s::UdpPacket::new_checked(payload).map_err(|_| "UDP header")?;
            right = udp.verify_checksum(&src.into(), &dst.into());
            Content::Udp { ports: [udp.src_port(), udp.dst_port()], data: udp.payload().to_vec() }
        }
        6 if whole => {
            let tcp = s::TcpPacket::new_checked(payload).map_err(|_| "TCP header")?;
            right = tcp.verify_checksum(&src.into(), &dst.into());
            let flags =
                u8::from(tcp.fin()) | u8::from(tcp.syn()) << 1 | u8::from(tcp.rst()) << 2 | u8::from(tcp.psh()) << 3;
            let flags = flags | u8::from(tcp.ack()) << 4 | u8::from(tcp.urg()) << 5;
            let (seq, ack) = (tcp.seq_number().0 as u32, tcp.ack_number().0 as u32);
            Content::Tcp { ports: [tcp.src_port(), tcp.dst_port()], seq, ack, flags, data: tcp.payload().to_vec() }
        }
        1 if whole => {
            let icmp = s::Icmpv4Packet::new_checked(payload).map_err(|_| "ICMP header")?;
            right = icmp.verify_checksum();
            let kind = u8::from(icmp.msg_type());
            let data = payload[8..].to_vec();
            if is_error(kind) {
                Content::Error { kind, code: icmp.msg_code(), mtu: icmp.echo_seq_no(), quote: data }
            } else {
                Content::Query { kind, ident: icmp.echo_ident(), data }
            }
        }
        _ => Content::Opaque(payload.to_vec()),
    };
    // smoltcp says only whether; how much is pnet's to say.
    let checksum_error = if right { 0 } else { transport_error(payload, src, dst, u8::from(ip.next_header())) };
    Ok(Seen {
        src,
        dst,
        ttl: ip.hop_limit(),
        ident: ip.ident(),
        dont_fragment: ip.dont_frag(),
        more_fragments: ip.more_frags(),
        fragment_offset: ip.frag_offset(),
        protocol: u8::from(ip.next_header()),
        content,
        checksum_error,
    })
}

fn read_pnet(frame: &[u8]) -> Result<Seen, &'static str> {
    let ethernet = p::ethernet::EthernetPacket::new(frame).ok_or("Ethernet header")?;
    if ethernet.get_ethertype() != p::ethernet::EtherTypes::Ipv4 {
        return Err("not IPv4");
    }
    let ip = p::ipv4::Ipv4Packet::new(ethernet.payload()).ok_or("IPv4 header")?;
    if ip.get_version() != 4 || p::ipv4::checksum(&ip) % 0xffff != ip.get_checksum() % 0xffff {
        return Err("IPv4 version or checksum");
    }
    let (src, dst) = (ip.get_source(), ip.get_destination());
    let flags = ip.get_flags();
    let more_fragments = flags & p::ipv4::Ipv4Flags::MoreFragments != 0;
    let whole = !more_fragments && ip.get_fragment_offset() == 0;
    let payload = ip.payload();
    let protocol = ip.get_next_level_protocol().0;
    let content = match protocol {
        17 if whole => {
            let udp = p::udp::UdpPacket::new(payload).ok_or("UDP header")?;
            let data = payload.get(8..usize::from(udp.get_length())).ok_or("UDP length")?;
            Content::Udp { ports: [udp.get_source(), udp.get_destination()], data: data.to_vec() }
        }
        6 if whole => {
            let tcp = p::tcp::TcpPacket::new(payload).ok_or("TCP header")?;
            let data = payload.get(usize::from(tcp.get_data_offset()) * 4..).ok_or("TCP data offset")?;
            let (seq, ack) = (tcp.get_sequence(), tcp.get_acknowledgement());
            let flags = tcp.get_flags() & 0x3f;
            Content::Tcp { ports: [tcp.get_source(), tcp.get_destination()], seq, ack, flags, data: data.to_vec() }
        }
        1 if whole => {
            let icmp = p::icmp::IcmpPacket::new(payload).ok_or("ICMP header")?;
            let kind = icmp.get_icmp_type().0;
            let word = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
            let data = payload.get(8..).ok_or("ICMP header")?.to_vec();
            if is_error(kind) {
                Content::Error { kind, code: icmp.get_icmp_code().0, mtu: word(6), quote: data }
            } else {
                Content::Query { kind, ident: word(4), data }
            }
        }
        _ => Content::Opaque(payload.to_vec()),
    };
    Ok(Seen {
        src,
        dst,
        ttl: ip.get_ttl(),
        ident: ip.get_identification(),
        dont_fragment: flags & p::ipv4::Ipv4Flags::DontFragment != 0,
        more_fragments,
        fragment_offset: ip.get_fragment_offset() * 8,
        protocol,
        checksum_error: if whole { transport_error(payload, src, dst, protocol) } else { 0 },
        content,
    })
}

/// By how much the checksum of a whole packet is off, by pnet's reckoning. Rewriting a header keeps this number: it says whose fault a
/// wrong checksum is.
fn transport_error(payload: &[u8], src: Ipv4Addr, dst: Ipv4Addr, protocol: u8) -> u16 {
    let difference = |right: u16, is: u16| ((0xffff + u32::from(right) - u32::from(is)) % 0xffff) as u16;
    match protocol {
        17 => p::udp::UdpPacket::new(payload.get(..udp_len(payload)).unwrap_or_default())
            .filter(|udp| udp.get_checksum() != 0)
            .map_or(0, |udp| difference(p::udp::ipv4_checksum(&udp, &src, &dst), udp.get_checksum())),
        6 => p::tcp::TcpPacket::new(payload)
            .map_or(0, |tcp| difference(p::tcp::ipv4_checksum(&tcp, &src, &dst), tcp.get_checksum())),
        1 => p::icmp::IcmpPacket::new(payload)
            .map_or(0, |icmp| difference(p::icmp::checksum(&icmp), icmp.get_checksum())),
        _ => 0,
    }
}

fn udp_len(payload: &[u8]) -> usize {
    payload.get(4..6).map_or(0, |len| usize::from(u16::from_be_bytes([len[0], len[1]])))
}
