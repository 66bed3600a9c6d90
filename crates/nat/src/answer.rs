//! Packets that the translator builds itself, in the place of the one they answer.

use crate::packet::{L3, Packet, is_bad_destination, is_bad_source, put_u16, put_u32, u16_at, u32_at};
use crate::session::{ICMP, TCP};
use crate::tcp::bits;
use natrig_wire::{Frame, checksum, icmpv4};

/// RFC 1812 §4.3.2.3: as much of the packet as fits into an error of 576 bytes.
const ERROR_MAX: usize = 576;
const ERROR_HEADERS: usize = 28;
const TTL: u8 = 64;
/// The precedence of ICMP errors (RFC 1812 §4.3.2.5).
const INTERNETWORK_CONTROL: u8 = 6 << 5;

/// An ICMP error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Error {
    pub(crate) kind: u8,
    pub(crate) code: u8,
    /// Next-hop MTU; otherwise zero.
    pub(crate) mtu: u16,
}

impl Error {
    pub(crate) const TTL: Self = Self { kind: icmpv4::kind::TIME_EXCEEDED, code: 0, mtu: 0 };

    pub(crate) const fn unreachable(code: u8) -> Self {
        Self { kind: icmpv4::kind::UNREACHABLE, code, mtu: 0 }
    }
}

/// So many a second, and then no more until the next second.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    per_second: u32,
    tokens: u32,
    second: u64,
}

impl TokenBucket {
    /// Zero: no limit.
    pub(crate) const fn new(per_second: u32) -> Self {
        Self { per_second, tokens: 0, second: u64::MAX }
    }

    pub(crate) const fn take(&mut self, now_ns: u64) -> bool {
        if self.per_second == 0 {
            return true;
        }
        let second = now_ns / 1_000_000_000;
        if second != self.second {
            self.second = second;
            self.tokens = self.per_second;
        }
        let some = self.tokens > 0;
        self.tokens -= some as u32;
        some
    }
}

/// True if an ICMP error may be sent about this packet (RFC 1812 §4.3.2.7).
pub(crate) fn may_be_answered(frame: &[u8], packet: &Packet) -> bool {
    let is_error = packet.protocol == ICMP && frame.get(packet.l4).is_none_or(|kind| icmpv4::is_error(*kind));
    let to_group = frame[0] & 1 != 0;
    packet.fragment_offset == 0
        && !is_error
        && !to_group
        && !is_bad_source(packet.src)
        && !is_bad_destination(packet.dst)
}

/// Builds an ICMP error about the packet in the frame, in its place; false if the frame has no room for it.
pub(crate) fn icmp_error(frame: &mut Frame<'_>, packet: &Packet, error: Error, from: u32) -> bool {
    let room = frame.capacity().saturating_sub(L3 + ERROR_HEADERS);
    let quote = packet.total_len.min(ERROR_MAX - ERROR_HEADERS).min(room);
    if quote < packet.l4 - L3 + 8.min(packet.l4_len()) {
        return false;
    }
    let to = packet.src;
    let total_len = ERROR_HEADERS + quote;
    frame.buffer_mut().copy_within(L3..L3 + quote, L3 + ERROR_HEADERS);
    if !frame.resize(L3 + total_len) {
        return false;
    }
    let bytes = frame.bytes_mut();
    write_ipv4(bytes, total_len, ICMP, from, to);
    let message = &mut bytes[L3 + 20..];
    message[..8].fill(0);
    message[0] = error.kind;
    message[1] = error.code;
    put_u16(message, 6, error.mtu);
    let sum = checksum::finish(checksum::sum(0, message));
    put_u16(message, 2, sum);
    true
}

/// Builds the reset that answers a TCP segment (RFC 9293 §3.5.2), in its place; false if the segment is itself a reset.
pub(crate) fn reset(frame: &mut Frame<'_>, packet: &Packet) -> bool {
    let bytes = frame.bytes();
    let Some(segment) = bytes.get(packet.l4..packet.end()).filter(|segment| segment.len() >= 20) else { return false };
    let flags = segment[13];
    if flags & bits::RST != 0 {
        return false;
    }
    let ports = u32_at(segment, 0).rotate_left(16);
    let data = segment.len().saturating_sub(usize::from(segment[12] >> 4) * 4) as u32;
    let (seq, ack, answer) = if flags & bits::ACK != 0 {
        (u32_at(segment, 8), 0, bits::RST)
    } else {
        let taken = data + u32::from(flags & bits::SYN != 0) + u32::from(flags & bits::FIN != 0);
        (0, u32_at(segment, 4).wrapping_add(taken), bits::RST | bits::ACK)
    };
    if !frame.resize(L3 + 40) {
        return false;
    }
    let bytes = frame.bytes_mut();
    write_ipv4(bytes, 40, TCP, packet.dst, packet.src);
    let segment = &mut bytes[L3 + 20..];
    segment.fill(0);
    put_u32(segment, 0, ports);
    put_u32(segment, 4, seq);
    put_u32(segment, 8, ack);
    segment[12] = 5 << 4;
    segment[13] = answer;
    let sum = checksum::finish(checksum::sum(checksum::pseudo_header(packet.dst, packet.src, TCP, 20), segment));
    put_u16(segment, 16, sum);
    true
}

/// Turns an echo request into its reply.
pub(crate) fn echo_reply(frame: &mut Frame<'_>, packet: &Packet) {
    let bytes = frame.bytes_mut();
    let message = &mut bytes[packet.l4..packet.end()];
    let old = u16_at(message, 0);
    message[0] = icmpv4::kind::ECHO_REPLY;
    let sum = checksum::Delta::new().u16(old, u16_at(message, 0)).apply(u16_at(message, 2));
    put_u16(message, 2, sum);
    let ip = &mut bytes[L3..];
    put_u32(ip, 12, packet.dst);
    put_u32(ip, 16, packet.src);
    ip[8] = TTL;
    put_u16(ip, 10, 0);
    let sum = checksum::finish(checksum::sum(0, &ip[..packet.l4 - L3]));
    put_u16(ip, 10, sum);
}

fn write_ipv4(frame: &mut [u8], total_len: usize, protocol: u8, src: u32, dst: u32) {
    let ip = &mut frame[L3..L3 + 20];
    ip.fill(0);
    ip[0] = 0x45;
    if protocol == ICMP {
        ip[1] = INTERNETWORK_CONTROL;
    }
    put_u16(ip, 2, total_len as u16);
    // RFC 6864: with "don't fragment" the identification means nothing.
    put_u16(ip, 6, 0x4000);
    ip[8] = TTL;
    ip[9] = protocol;
    put_u32(ip, 12, src);
    put_u32(ip, 16, dst);
    let sum = checksum::finish(checksum::sum(0, ip));
    put_u16(ip, 10, sum);
}
