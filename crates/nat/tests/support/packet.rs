//! Packets for tests, written byte by byte and with a checksum of their own, so that nothing of what is tested is trusted.

use std::net::{Ipv4Addr, SocketAddrV4};

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;

/// An IPv4 packet (RFC 791 §3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ip {
    pub(crate) src: Ipv4Addr,
    pub(crate) dst: Ipv4Addr,
    pub(crate) ttl: u8,
    pub(crate) ident: u16,
    pub(crate) dont_fragment: bool,
    pub(crate) more_fragments: bool,
    /// Bytes.
    pub(crate) fragment_offset: u16,
    /// A multiple of four bytes.
    pub(crate) options: Vec<u8>,
    pub(crate) protocol: u8,
    pub(crate) payload: Vec<u8>,
}

impl Ip {
    pub(crate) fn new(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, payload: Vec<u8>) -> Self {
        let (dont_fragment, more_fragments) = (false, false);
        let options = Vec::new();
        Self {
            src,
            dst,
            ttl: 64,
            ident: 0x1234,
            dont_fragment,
            more_fragments,
            fragment_offset: 0,
            options,
            protocol,
            payload,
        }
    }

    /// The packet without Ethernet header, as an ICMP error quotes it.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let header_len = 20 + self.options.len();
        let flags = u16::from(self.dont_fragment) << 14 | u16::from(self.more_fragments) << 13;
        let mut bytes = vec![0x40 | (header_len / 4) as u8, 0];
        bytes.extend(((header_len + self.payload.len()) as u16).to_be_bytes());
        bytes.extend(self.ident.to_be_bytes());
        bytes.extend((flags | (self.fragment_offset / 8)).to_be_bytes());
        bytes.extend([self.ttl, self.protocol, 0, 0]);
        bytes.extend(self.src.octets());
        bytes.extend(self.dst.octets());
        bytes.extend(&self.options);
        let sum = checksum(&bytes);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    /// The packet in an Ethernet frame, unpadded.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00];
        frame.extend(self.bytes());
        frame
    }

    /// Cut into fragments of at most `len` bytes of payload (a multiple of eight).
    pub(crate) fn fragments(&self, len: usize) -> Vec<Self> {
        let count = self.payload.len().div_ceil(len);
        let piece = |at: usize, payload: &[u8]| Self {
            more_fragments: at + 1 < count,
            fragment_offset: (at * len) as u16,
            payload: payload.to_vec(),
            ..self.clone()
        };
        self.payload.chunks(len).enumerate().map(|(at, payload)| piece(at, payload)).collect()
    }
}

/// RFC 1071, one word after the other.
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for word in bytes.chunks(2) {
        sum += u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Fills in the checksum at `at` of a TCP or UDP payload.
pub(crate) fn fill_transport_checksum(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, payload: &mut [u8], at: usize) {
    payload[at..at + 2].fill(0);
    let mut covered = [src.octets(), dst.octets()].concat();
    covered.extend([0, protocol]);
    covered.extend((payload.len() as u16).to_be_bytes());
    covered.extend(&*payload);
    let sum = match checksum(&covered) {
        0 if protocol == UDP => 0xffff,
        sum => sum,
    };
    payload[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

pub(crate) fn udp(from: SocketAddrV4, to: SocketAddrV4, data: &[u8]) -> Ip {
    let mut payload = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    payload.extend((8 + data.len() as u16).to_be_bytes());
    payload.extend([0, 0]);
    payload.extend(data);
    fill_transport_checksum(*from.ip(), *to.ip(), UDP, &mut payload, 6);
    Ip::new(*from.ip(), *to.ip(), UDP, payload)
}

pub(crate) fn tcp(from: SocketAddrV4, to: SocketAddrV4, flags: u8, seq: u32, data: &[u8]) -> Ip {
    let mut payload = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    payload.extend(seq.to_be_bytes());
    payload.extend(if flags & ACK == 0 { [0; 4] } else { [0, 0, 0x30, 0x39] });
    payload.extend([5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    payload.extend(data);
    fill_transport_checksum(*from.ip(), *to.ip(), TCP, &mut payload, 16);
    Ip::new(*from.ip(), *to.ip(), TCP, payload)
}

/// An ICMP message of a type with identifier and sequence number.
pub(crate) fn query(from: Ipv4Addr, to: Ipv4Addr, kind: u8, ident: u16, data: &[u8]) -> Ip {
    icmp(from, to, [kind, 0], [ident, 1], data)
}

/// An ICMP error that quotes `quote`; `mtu` is that of "fragmentation needed".
pub(crate) fn error(from: Ipv4Addr, to: Ipv4Addr, [kind, code]: [u8; 2], mtu: u16, quote: &[u8]) -> Ip {
    icmp(from, to, [kind, code], [0, mtu], quote)
}

fn icmp(from: Ipv4Addr, to: Ipv4Addr, first: [u8; 2], rest: [u16; 2], data: &[u8]) -> Ip {
    let mut payload = vec![first[0], first[1], 0, 0];
    payload.extend(rest.iter().flat_map(|word| word.to_be_bytes()));
    payload.extend(data);
    let sum = checksum(&payload);
    payload[2..4].copy_from_slice(&sum.to_be_bytes());
    Ip::new(from, to, ICMP, payload)
}
