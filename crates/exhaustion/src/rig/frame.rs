//! Frames of connections: TCP segments and UDP datagrams that carry eight bytes, by which the far end knows whose they are, whatever
//! the NATs have made of their tuple.

use std::net::SocketAddrV4;

use natrig_traffic::{Endpoint, TTL};
use natrig_wire::ipv4::protocol;
use natrig_wire::{ethernet, ipv4, tcp, udp};

use crate::scenario::Protocol;

/// Room for any of our frames.
pub(crate) const FRAME_LEN_MAX: usize = 64;
/// The shortest Ethernet frame, without its check sequence.
const FRAME_LEN_MIN: usize = 60;
const IP: usize = ethernet::HEADER_LEN;
const TRANSPORT: usize = IP + ipv4::HEADER_LEN;
const MARK_LEN: usize = 8;
/// Bytes that every segment of ours carries.
pub(crate) const PAYLOAD_LEN: u32 = MARK_LEN as u32;
/// What a mark's second half is made with.
const MARK: u32 = 0x6e61_7472;

/// What a frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Message {
    /// From.
    pub source: SocketAddrV4,
    /// To.
    pub destination: SocketAddrV4,
    /// Of which connection.
    pub connection: u32,
    /// TCP control bits; zero in UDP.
    pub flags: u8,
    /// TCP sequence number.
    pub seq: u32,
    /// TCP acknowledgement number.
    pub ack: u32,
}

/// What a received frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// One of ours.
    Message(Message),
    /// A reset without a payload, made by something on the way.
    Reset {
        /// From.
        source: SocketAddrV4,
        /// To.
        destination: SocketAddrV4,
    },
    /// An ICMP message.
    Icmp,
    /// One of ours that arrived damaged.
    Corrupt,
    /// Not ours.
    Foreign,
}

/// Writes the frame, and returns its length.
pub(crate) fn emit(
    message: &Message,
    kind: Protocol,
    endpoint: Endpoint,
    bytes: &mut [u8; FRAME_LEN_MAX],
) -> Option<usize> {
    *bytes = [0; FRAME_LEN_MAX];
    let (src, dst) = (*message.source.ip(), *message.destination.ip());
    let (header_len, number) = match kind {
        Protocol::Tcp => (tcp::HEADER_LEN, protocol::TCP),
        Protocol::Udp => (udp::HEADER_LEN, protocol::UDP),
    };
    let end = TRANSPORT + header_len + MARK_LEN;
    let head = ethernet::Repr { dst: endpoint.peer, src: endpoint.mac, ethertype: ethernet::ethertype::IPV4 };
    head.emit(&mut ethernet::Packet::new_checked(&mut bytes[..]).ok()?);
    let ip = ipv4::Repr {
        src,
        dst,
        protocol: number,
        ttl: TTL,
        ident: 0,
        dont_fragment: true,
        payload_len: header_len + MARK_LEN,
    };
    ip.emit(&mut bytes[IP..]).ok()?;
    let mark = &mut bytes[end - MARK_LEN..end];
    mark[..4].copy_from_slice(&message.connection.to_be_bytes());
    mark[4..].copy_from_slice(&(message.connection ^ MARK).to_be_bytes());
    let (src_port, dst_port) = (message.source.port(), message.destination.port());
    match kind {
        Protocol::Tcp => {
            let Message { flags, seq, ack, .. } = *message;
            let header = tcp::Repr { src_port, dst_port, seq, ack, flags, window: u16::MAX };
            header.emit(&mut bytes[TRANSPORT..]).ok()?;
            tcp::Packet::new_checked(&mut bytes[TRANSPORT..end]).ok()?.fill_checksum(src, dst);
        }
        Protocol::Udp => {
            udp::Repr { src_port, dst_port, payload_len: MARK_LEN }.emit(&mut bytes[TRANSPORT..]).ok()?;
            udp::Packet::new_checked(&mut bytes[TRANSPORT..end]).ok()?.fill_checksum(src, dst);
        }
    }
    Some(end.max(FRAME_LEN_MIN))
}

/// Reads a frame.
pub(crate) fn read(bytes: &[u8]) -> Received {
    match parse(bytes) {
        Some(received) => received,
        None => Received::Foreign,
    }
}

fn parse(bytes: &[u8]) -> Option<Received> {
    let frame = ethernet::Packet::new_checked(bytes).ok()?;
    if frame.ethertype() != ethernet::ethertype::IPV4 {
        return None;
    }
    let ip = ipv4::Packet::new_checked(frame.payload()).ok()?;
    let (src, dst) = (ip.src(), ip.dst());
    let sound = ip.verify_checksum();
    match ip.protocol() {
        protocol::ICMP => Some(Received::Icmp),
        protocol::TCP => {
            let segment = tcp::Packet::new_checked(ip.payload()).ok()?;
            let source = SocketAddrV4::new(src, segment.src_port());
            let destination = SocketAddrV4::new(dst, segment.dst_port());
            let flags = segment.flags();
            let Some(connection) = marked(segment.payload()) else {
                let reset = flags & tcp::flag::RST != 0 && segment.payload().is_empty();
                return reset.then_some(Received::Reset { source, destination });
            };
            let (seq, ack) = (segment.seq(), segment.ack());
            let message = Message { source, destination, connection, flags, seq, ack };
            Some(if sound && segment.verify_checksum(src, dst) {
                Received::Message(message)
            } else {
                Received::Corrupt
            })
        }
        protocol::UDP => {
            let datagram = udp::Packet::new_checked(ip.payload()).ok()?;
            let connection = marked(datagram.payload())?;
            let source = SocketAddrV4::new(src, datagram.src_port());
            let destination = SocketAddrV4::new(dst, datagram.dst_port());
            let message = Message { source, destination, connection, flags: 0, seq: 0, ack: 0 };
            Some(if sound && datagram.verify_checksum(src, dst) {
                Received::Message(message)
            } else {
                Received::Corrupt
            })
        }
        _ => None,
    }
}

fn marked(payload: &[u8]) -> Option<u32> {
    let mark: &[u8; MARK_LEN] = payload.try_into().ok()?;
    let [a, b, c, d, e, f, g, h] = *mark;
    let connection = u32::from_be_bytes([a, b, c, d]);
    (connection ^ MARK == u32::from_be_bytes([e, f, g, h])).then_some(connection)
}

#[cfg(test)]
mod tests {
    use super::*;
    use natrig_wire::MacAddr;

    fn message(flags: u8, seq: u32) -> Message {
        Message {
            source: "10.1.0.50:40000".parse().unwrap(),
            destination: "203.0.113.10:443".parse().unwrap(),
            connection: 77,
            flags,
            seq,
            ack: seq,
        }
    }

    fn frame(message: &Message, kind: Protocol) -> Vec<u8> {
        let endpoint = Endpoint { mac: MacAddr([2, 0, 0, 0, 0, 1]), peer: MacAddr([2, 0, 0, 0, 0, 2]) };
        let mut bytes = [0; FRAME_LEN_MAX];
        let len = emit(message, kind, endpoint, &mut bytes).unwrap();
        bytes[..len].to_vec()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let segment = message(tcp::flag::SYN, 9);
        assert_eq!(read(&frame(&segment, Protocol::Tcp)), Received::Message(segment));
        let datagram = message(0, 0);
        assert_eq!(read(&frame(&datagram, Protocol::Udp)), Received::Message(datagram));
        assert_eq!(frame(&datagram, Protocol::Udp).len(), FRAME_LEN_MIN);
    }

    #[test]
    fn damage_is_seen_and_strangers_are_not_ours() {
        let mut bytes = frame(&message(tcp::flag::ACK, 1), Protocol::Tcp);
        bytes[TRANSPORT] ^= 1;
        assert_eq!(read(&bytes), Received::Corrupt);
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert_eq!(read(&bytes), Received::Foreign);
        assert_eq!(read(&bytes[..20]), Received::Foreign);
    }
}
