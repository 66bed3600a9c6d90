//! Packets to send through a translator, and a look at what comes out.
#![expect(dead_code, reason = "each test file uses a part of the kit")]
#![expect(clippy::unwrap_used, reason = "a test that cannot build its packets has failed")]

use natrig_nat::{Config, Direction, DropReason, Nat, Profile, Verdict};
use natrig_wire::{Frame, checksum, icmpv4, ipv4, tcp, udp};
use std::net::{Ipv4Addr, SocketAddrV4};

pub(crate) const SECOND: u64 = 1_000_000_000;
pub(crate) const ETHERNET: usize = 14;
pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;

/// `10.0.0.1:1234`.
pub(crate) fn at(text: &str) -> SocketAddrV4 {
    text.parse().unwrap()
}

pub(crate) fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

/// A frame with a TTL of 64 around this payload.
pub(crate) fn ipv4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let repr = ipv4::Repr { src, dst, protocol, ttl: 64, ident: 7, dont_fragment: false, payload_len: payload.len() };
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    frame.resize(ETHERNET + 20, 0);
    repr.emit(&mut frame[ETHERNET..]).unwrap();
    frame.extend(payload);
    frame
}

pub(crate) fn udp(src: SocketAddrV4, dst: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 8 + payload.len()];
    bytes[8..].copy_from_slice(payload);
    udp::Repr { src_port: src.port(), dst_port: dst.port(), payload_len: payload.len() }.emit(&mut bytes).unwrap();
    udp::Packet::new_checked(&mut bytes[..]).unwrap().fill_checksum(*src.ip(), *dst.ip());
    ipv4(*src.ip(), *dst.ip(), 17, &bytes)
}

pub(crate) fn tcp_seq(src: SocketAddrV4, dst: SocketAddrV4, flags: u8, seq: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 20 + payload.len()];
    bytes[20..].copy_from_slice(payload);
    let repr = tcp::Repr { src_port: src.port(), dst_port: dst.port(), seq, ack: 0, flags, window: 1000 };
    repr.emit(&mut bytes).unwrap();
    tcp::Packet::new_checked(&mut bytes[..]).unwrap().fill_checksum(*src.ip(), *dst.ip());
    ipv4(*src.ip(), *dst.ip(), 6, &bytes)
}

pub(crate) fn tcp(src: SocketAddrV4, dst: SocketAddrV4, flags: u8) -> Vec<u8> {
    tcp_seq(src, dst, flags, 1000, &[])
}

pub(crate) fn icmp(src: Ipv4Addr, dst: Ipv4Addr, repr: icmpv4::Repr, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 8 + payload.len()];
    bytes[8..].copy_from_slice(payload);
    repr.emit(&mut bytes).unwrap();
    ipv4(src, dst, 1, &bytes)
}

pub(crate) fn ping(src: &str, dst: &str, ident: u16) -> Vec<u8> {
    icmp(ip(src), ip(dst), icmpv4::Repr::Echo { ident, seq: 1 }, b"natrig")
}

pub(crate) fn pong(src: &str, dst: &str, ident: u16) -> Vec<u8> {
    icmp(ip(src), ip(dst), icmpv4::Repr::EchoReply { ident, seq: 1 }, b"natrig")
}

/// An ICMP error about `frame`, quoting `quote_len` bytes of its packet.
pub(crate) fn icmp_error(src: &str, kind: u8, code: u8, frame: &[u8], quote_len: usize) -> Vec<u8> {
    let quote = &frame[ETHERNET..];
    let dst = Ipv4Addr::new(quote[12], quote[13], quote[14], quote[15]);
    icmp(ip(src), dst, icmpv4::Repr::Error { kind, code, rest: 0 }, &quote[..quote_len.min(quote.len())])
}

/// Sets bytes of the IPv4 header and makes its checksum right again.
pub(crate) fn with_ip(mut frame: Vec<u8>, changes: &[(usize, u8)]) -> Vec<u8> {
    for (offset, value) in changes {
        frame[ETHERNET + offset] = *value;
    }
    ipv4::Packet::new_checked(&mut frame[ETHERNET..]).unwrap().fill_checksum();
    frame
}

pub(crate) fn with_ttl(frame: Vec<u8>, ttl: u8) -> Vec<u8> {
    with_ip(frame, &[(8, ttl)])
}

/// The ends of a UDP or TCP packet, or of an ICMP query (identifier at the port of both), after checking every checksum.
pub(crate) fn ends(frame: &[u8]) -> (SocketAddrV4, SocketAddrV4) {
    let packet = ipv4::Packet::new_checked(&frame[ETHERNET..]).unwrap();
    assert!(packet.verify_checksum(), "IPv4 header checksum");
    let (src, dst) = (packet.src(), packet.dst());
    let (from, to) = match packet.protocol() {
        17 => {
            let datagram = udp::Packet::new_checked(packet.payload()).unwrap();
            assert!(datagram.verify_checksum(src, dst), "UDP checksum");
            (datagram.src_port(), datagram.dst_port())
        }
        6 => {
            let segment = tcp::Packet::new_checked(packet.payload()).unwrap();
            assert!(segment.verify_checksum(src, dst), "TCP checksum");
            (segment.src_port(), segment.dst_port())
        }
        _ => {
            let message = icmpv4::Packet::new_checked(packet.payload()).unwrap();
            assert!(message.verify_checksum(), "ICMP checksum");
            (message.ident(), message.ident())
        }
    };
    (SocketAddrV4::new(src, from), SocketAddrV4::new(dst, to))
}

pub(crate) fn source(frame: &[u8]) -> SocketAddrV4 {
    ends(frame).0
}

pub(crate) fn destination(frame: &[u8]) -> SocketAddrV4 {
    ends(frame).1
}

pub(crate) fn ttl(frame: &[u8]) -> u8 {
    frame[ETHERNET + 8]
}

/// Type and code of an ICMP message with right checksums, and the ends of the packet it quotes.
pub(crate) fn icmp_message(frame: &[u8]) -> (u8, u8, SocketAddrV4, SocketAddrV4) {
    let packet = ipv4::Packet::new_checked(&frame[ETHERNET..]).unwrap();
    assert!(packet.verify_checksum(), "IPv4 header checksum");
    assert_eq!(packet.protocol(), 1);
    let message = icmpv4::Packet::new_checked(packet.payload()).unwrap();
    assert!(message.verify_checksum(), "ICMP checksum");
    let quote = message.payload();
    let header_len = usize::from(quote[0] & 15) * 4;
    assert_eq!(checksum::fold(checksum::sum(0, &quote[..header_len])), 0xffff, "quoted header checksum");
    let port = |offset: usize| u16::from_be_bytes([quote[header_len + offset], quote[header_len + offset + 1]]);
    let ports = if quote[9] == 1 { (port(4), port(4)) } else { (port(0), port(2)) };
    let addr = |at: usize| Ipv4Addr::new(quote[at], quote[at + 1], quote[at + 2], quote[at + 3]);
    (message.kind(), message.code(), SocketAddrV4::new(addr(12), ports.0), SocketAddrV4::new(addr(16), ports.1))
}

/// A translator with one outside address and room for so many mappings.
pub(crate) fn translator(profile: &str, capacity: u32, seed: u64) -> Nat {
    let mut config = Profile::builtin(profile).unwrap().config(vec![ip(OUTSIDE)]);
    config.behaviour.table.capacity = capacity;
    Nat::new(config, seed).unwrap()
}

/// A translator under test, with a clock.
pub(crate) struct Rig {
    pub(crate) nat: Nat,
    pub(crate) now_ns: u64,
}

pub(crate) const OUTSIDE: &str = "198.51.100.1";

impl Rig {
    pub(crate) fn new(profile: &str, change: impl FnOnce(&mut Config)) -> Self {
        Self::with_pool(profile, &[OUTSIDE], change)
    }

    pub(crate) fn with_pool(profile: &str, outside: &[&str], change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Profile::builtin(profile).unwrap().config(outside.iter().map(|addr| ip(addr)).collect());
        config.behaviour.table.capacity = 4096;
        config.behaviour.quota.max_sources = config.behaviour.quota.max_sources.min(4096);
        config.inside_router = ip("10.0.255.254");
        config.outside_router = ip("198.51.100.254");
        change(&mut config);
        Self { nat: Nat::new(config, 1).unwrap(), now_ns: 1_000 * SECOND }
    }

    pub(crate) fn wait(&mut self, seconds: u64) {
        self.now_ns += seconds * SECOND;
    }

    /// Sends one frame through.
    pub(crate) fn send(&mut self, dir: Direction, bytes: &[u8]) -> (Verdict, Vec<u8>) {
        let mut buffer = bytes.to_vec();
        buffer.resize(bytes.len().max(60) + 600, 0xee);
        let mut frames = [Frame::new(&mut buffer, bytes.len())];
        let mut verdicts = [Verdict::Forward];
        self.nat.translate_burst(dir, &mut frames, &mut verdicts, self.now_ns);
        (verdicts[0], frames[0].bytes().to_vec())
    }

    pub(crate) fn out(&mut self, bytes: &[u8]) -> (Verdict, Vec<u8>) {
        self.send(Direction::Outbound, bytes)
    }

    pub(crate) fn inb(&mut self, bytes: &[u8]) -> (Verdict, Vec<u8>) {
        self.send(Direction::Inbound, bytes)
    }

    /// Sends a frame that must be forwarded.
    pub(crate) fn out_ok(&mut self, bytes: &[u8]) -> Vec<u8> {
        let (verdict, frame) = self.out(bytes);
        assert_eq!(verdict, Verdict::Forward);
        frame
    }

    pub(crate) fn in_ok(&mut self, bytes: &[u8]) -> Vec<u8> {
        let (verdict, frame) = self.inb(bytes);
        assert_eq!(verdict, Verdict::Forward);
        frame
    }

    pub(crate) fn out_drop(&mut self, bytes: &[u8], reason: DropReason) {
        assert_eq!(self.out(bytes).0, Verdict::Drop(reason));
    }

    pub(crate) fn in_drop(&mut self, bytes: &[u8], reason: DropReason) {
        assert_eq!(self.inb(bytes).0, Verdict::Drop(reason));
    }

    /// Sends a UDP packet out and returns the outside end it got.
    pub(crate) fn map_udp(&mut self, src: &str, dst: &str) -> SocketAddrV4 {
        source(&self.out_ok(&udp(at(src), at(dst), b"hello")))
    }

    /// Held frames of a direction whose waiting is over.
    pub(crate) fn released(&mut self, dir: Direction) -> Vec<(Verdict, Vec<u8>)> {
        let mut out = Vec::new();
        self.nat.release(dir, self.now_ns, &mut |frames, verdicts| {
            out.extend(frames.iter().zip(verdicts).map(|(frame, verdict)| (*verdict, frame.bytes().to_vec())));
        });
        out
    }
}

/// Cuts a packet into fragments whose payloads end at these offsets (multiples of eight) and at its end.
pub(crate) fn fragments(frame: &[u8], ends: &[usize]) -> Vec<Vec<u8>> {
    let payload = &frame[ETHERNET + 20..];
    let bounds: Vec<usize> = [0].into_iter().chain(ends.iter().copied()).chain([payload.len()]).collect();
    bounds
        .windows(2)
        .map(|bound| {
            let (from, to) = (bound[0], bound[1]);
            let mut piece = frame[..ETHERNET + 20].to_vec();
            piece.extend(&payload[from..to]);
            let more = if to < payload.len() { 0x20 } else { 0 };
            let offset = (from / 8) as u16;
            let len = (20 + to - from) as u16;
            with_ip(piece, &[(2, (len >> 8) as u8), (3, len as u8), (6, more | (offset >> 8) as u8), (7, offset as u8)])
        })
        .collect()
}

/// Puts fragments together again; None unless they are of one datagram and cover it.
pub(crate) fn reassemble(pieces: &[Vec<u8>]) -> Option<Vec<u8>> {
    let mut pieces = pieces.to_vec();
    let offset = |piece: &[u8]| usize::from(u16::from_be_bytes([piece[ETHERNET + 6] & 0x1f, piece[ETHERNET + 7]])) * 8;
    pieces.sort_by_key(|piece| offset(piece));
    let mut payload = Vec::new();
    for piece in &pieces {
        let view = ipv4::Packet::new_checked(&piece[ETHERNET..]).ok()?;
        if !view.verify_checksum()
            || offset(piece) != payload.len()
            || piece[ETHERNET + 4..][..2] != pieces[0][ETHERNET + 4..][..2]
        {
            return None;
        }
        payload.extend(view.payload());
    }
    if pieces.last()?[ETHERNET + 6] & 0x20 != 0 {
        return None;
    }
    let mut whole = pieces[0][..ETHERNET + 20].to_vec();
    whole.extend(&payload);
    let len = (20 + payload.len()) as u16;
    Some(with_ip(whole, &[(2, (len >> 8) as u8), (3, len as u8), (6, 0), (7, 0)]))
}
