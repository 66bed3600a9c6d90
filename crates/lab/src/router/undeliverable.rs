//! Telling senders that their packets have no way on (RFC 1812 §5.2.7.1).
//!
//! The packet in hand is translated already, and its sender knows it by other addresses. So the error is made as the next hop beyond us
//! would have made it, and sent through the translator from there: what an error about a translated packet needs is done in one place.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use natrig_wire::{ethernet, icmpv4, ipv4};

use crate::stage::Side;

/// Code "network unreachable": there is no route.
pub(super) const NETWORK: u8 = 0;
/// Code "host unreachable": the neighbour does not answer.
pub(super) const HOST: u8 = icmpv4::unreachable::HOST;

/// RFC 1812 §4.3.2.3: at most 576 bytes of IPv4.
const ERROR_LEN_MAX: usize = 576;
const QUOTE_LEN_MAX: usize = ERROR_LEN_MAX - ipv4::HEADER_LEN - icmpv4::HEADER_LEN;
pub(super) const FRAME_LEN_MAX: usize = ethernet::HEADER_LEN + ERROR_LEN_MAX;
/// Errors made between two ticks, a tenth of a second: RFC 1812 §4.3.2.8 asks for a limit.
const PER_TICK: u32 = 100;
const TTL: u8 = 64;

/// A packet that could not leave by a side.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) side: Side,
    code: u8,
    /// As much of it as an error quotes, from the IPv4 header.
    packet: Box<[u8]>,
}

/// Packets whose senders are still to be told.
#[derive(Debug, Default)]
pub(super) struct Undeliverable {
    lost: VecDeque<Lost>,
    told: u32,
}

impl Undeliverable {
    /// A frame that could not leave by `side`.
    pub(super) fn push(&mut self, side: Side, code: u8, frame: &[u8]) {
        let packet = &frame[ethernet::HEADER_LEN..];
        if self.told < PER_TICK && may_be_answered(packet) {
            self.told += 1;
            self.lost.push_back(Lost { side, code, packet: packet[..packet.len().min(QUOTE_LEN_MAX)].into() });
        }
    }

    pub(super) fn pop(&mut self) -> Option<Lost> {
        self.lost.pop_front()
    }

    pub(super) fn tick(&mut self) {
        self.told = 0;
    }
}

impl Lost {
    /// Writes the error, from `complainant` to the packet's source, as a frame without MAC addresses. Returns its length.
    pub(super) fn emit_error(&self, complainant: Ipv4Addr, frame: &mut [u8; FRAME_LEN_MAX]) -> Option<usize> {
        let source = self.packet.get(ipv4::offset::SRC..)?.first_chunk::<4>()?;
        let header = ipv4::Repr {
            src: complainant,
            dst: Ipv4Addr::from_octets(*source),
            protocol: ipv4::protocol::ICMP,
            ttl: TTL,
            ident: 0,
            dont_fragment: false,
            payload_len: icmpv4::HEADER_LEN + self.packet.len(),
        };
        let len = ethernet::HEADER_LEN + header.total_len();
        frame[12..14].copy_from_slice(&ethernet::ethertype::IPV4.to_be_bytes());
        header.emit(&mut frame[ethernet::HEADER_LEN..len]).ok()?;
        let message = &mut frame[ethernet::HEADER_LEN + ipv4::HEADER_LEN..len];
        message[icmpv4::offset::TYPE] = icmpv4::kind::UNREACHABLE;
        message[icmpv4::offset::CODE] = self.code;
        message[icmpv4::HEADER_LEN..].copy_from_slice(&self.packet);
        icmpv4::Packet::new_checked(message).ok()?.fill_checksum();
        Some(len)
    }
}

/// RFC 1812 §4.3.2.7: not about errors, nor about fragments but the first.
fn may_be_answered(packet: &[u8]) -> bool {
    let Some(head) = packet.first_chunk::<{ ipv4::HEADER_LEN }>() else { return false };
    let header_len = usize::from(head[ipv4::offset::VERSION_IHL] & 0x0f) * 4;
    let fragment = u16::from_be_bytes([head[ipv4::offset::FRAGMENT], head[ipv4::offset::FRAGMENT + 1]]);
    let is_error = head[ipv4::offset::PROTOCOL] == ipv4::protocol::ICMP
        && packet.get(header_len).is_none_or(|kind| icmpv4::is_error(*kind));
    fragment & ipv4::flag::OFFSET == 0 && !is_error
}
