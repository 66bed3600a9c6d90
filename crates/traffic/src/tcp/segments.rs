//! What a stack says on the wire, and which of it it has said before.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use natrig_wire::{ipv4, tcp};

/// Segments of a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Segments {
    /// Made by the stack.
    pub sent: u64,
    /// Of these, lost before the link on purpose.
    pub lost_on_purpose: u64,
    /// Arrived from the link.
    pub received: u64,
    /// Of those made, segments made before.
    pub retransmitted: Retransmitted,
}

/// Segments that were sent again, by what they are and why.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retransmitted {
    /// SYN and SYN-ACK, when a timer ran out.
    pub syn: u64,
    /// Data, after three duplicate acknowledgements (RFC 5681 §3.2).
    pub data_fast: u64,
    /// Data, when a timer ran out.
    pub data_timeout: u64,
    /// FIN without data, when a timer ran out.
    pub fin: u64,
}

/// From so many duplicate acknowledgements on, what is sent again is so for them.
const DUPLICATES: u32 = 3;

/// Sees all segments of a host.
#[derive(Debug, Default)]
pub(super) struct Watch {
    pub(super) segments: Segments,
    connections: HashMap<Peer, Sent>,
}

/// A connection: its own port, the other's, and the other's address.
type Peer = (u16, u16, u32);

#[derive(Debug, Default)]
struct Sent {
    syn: bool,
    /// What comes next if nothing is sent again.
    next: Option<u32>,
    /// The last acknowledgement that came in, and how often it came again.
    acknowledged: u32,
    duplicates: u32,
}

impl Watch {
    /// A packet that the stack has made.
    pub(super) fn leaving(&mut self, packet: &[u8]) {
        let Some(([_, to], segment)) = parse(packet) else { return };
        self.segments.sent += 1;
        let again = &mut self.segments.retransmitted;
        let peer = (segment.src_port(), segment.dst_port(), to.to_bits());
        let (flags, seq) = (segment.flags(), segment.seq());
        let data = segment.payload().len() as u32;
        if flags & tcp::flag::SYN != 0 {
            // A port that is used again begins anew, with another number.
            let sent = self.connections.entry(peer).or_default();
            let next = Some(seq.wrapping_add(1));
            again.syn += u64::from(sent.syn && sent.next == next);
            *sent = Sent { syn: true, next, ..Sent::default() };
            return;
        }
        let Some(sent) = self.connections.get_mut(&peer) else { return };
        let fin = flags & tcp::flag::FIN != 0;
        let len = data + u32::from(fin);
        let Some(next) = sent.next.filter(|_| len > 0) else { return };
        if before(seq, next) {
            match (data > 0, sent.duplicates >= DUPLICATES) {
                (true, true) => again.data_fast += 1,
                (true, false) => again.data_timeout += 1,
                (false, _) => again.fin += 1,
            }
        }
        let end = seq.wrapping_add(len);
        if before(next, end) {
            sent.next = Some(end);
        }
    }

    /// A packet that the stack is about to read.
    pub(super) fn arrived(&mut self, packet: &[u8]) {
        let Some(([from, _], segment)) = parse(packet) else { return };
        self.segments.received += 1;
        let peer = (segment.dst_port(), segment.src_port(), from.to_bits());
        let Some(sent) = self.connections.get_mut(&peer) else { return };
        let empty = segment.payload().is_empty() && segment.flags() & (tcp::flag::SYN | tcp::flag::FIN) == 0;
        if segment.ack() == sent.acknowledged && empty {
            sent.duplicates += 1;
        } else if before(sent.acknowledged, segment.ack()) || sent.acknowledged == 0 {
            (sent.acknowledged, sent.duplicates) = (segment.ack(), 0);
        }
    }
}

/// The addresses, from and to, and the segment.
pub(super) fn parse(packet: &[u8]) -> Option<([Ipv4Addr; 2], tcp::Packet<&[u8]>)> {
    let ip = ipv4::Packet::new_checked(packet).ok()?;
    if ip.protocol() != ipv4::protocol::TCP {
        return None;
    }
    let header = ip.header_len();
    let segment = tcp::Packet::new_checked(packet.get(header..ip.total_len())?).ok()?;
    Some(([ip.src(), ip.dst()], segment))
}

/// In the arithmetic of sequence numbers.
fn before(a: u32, b: u32) -> bool {
    b.wrapping_sub(a).wrapping_sub(1) < 1 << 31
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const THERE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    fn packet(out: bool, flags: u8, seq: u32, ack: u32, data: usize) -> Vec<u8> {
        let mut bytes = vec![0; ipv4::HEADER_LEN + tcp::HEADER_LEN + data];
        let (src, dst) = if out { (HERE, THERE) } else { (THERE, HERE) };
        let (src_port, dst_port) = if out { (1, 2) } else { (2, 1) };
        let ip = ipv4::Repr {
            src,
            dst,
            protocol: ipv4::protocol::TCP,
            ttl: 64,
            ident: 0,
            dont_fragment: true,
            payload_len: tcp::HEADER_LEN + data,
        };
        ip.emit(&mut bytes).unwrap();
        tcp::Repr { src_port, dst_port, seq, ack, flags, window: 1 }.emit(&mut bytes[ipv4::HEADER_LEN..]).unwrap();
        bytes
    }

    #[test]
    fn what_is_sent_again_is_told_by_kind_and_cause() {
        let mut watch = Watch::default();
        let first = u32::MAX - 5;
        let out = |watch: &mut Watch, flags, ahead: u32, data| {
            watch.leaving(&packet(true, flags, first.wrapping_add(ahead), 7, data));
        };
        out(&mut watch, tcp::flag::SYN, 0, 0);
        out(&mut watch, tcp::flag::SYN, 0, 0);
        out(&mut watch, tcp::flag::ACK, 1, 0);
        out(&mut watch, tcp::flag::ACK, 1, 10);
        out(&mut watch, tcp::flag::ACK, 11, 10);
        out(&mut watch, tcp::flag::ACK, 1, 10);
        for _ in 0..4 {
            watch.arrived(&packet(false, tcp::flag::ACK, 7, first.wrapping_add(11), 0));
        }
        out(&mut watch, tcp::flag::ACK, 11, 10);
        watch.arrived(&packet(false, tcp::flag::ACK, 7, first.wrapping_add(21), 0));
        out(&mut watch, tcp::flag::FIN | tcp::flag::ACK, 21, 0);
        out(&mut watch, tcp::flag::FIN | tcp::flag::ACK, 21, 0);
        let Segments { sent, received, retransmitted, .. } = watch.segments;
        assert_eq!((sent, received), (9, 5));
        assert_eq!(retransmitted, Retransmitted { syn: 1, data_fast: 1, data_timeout: 1, fin: 1 });
    }
}
