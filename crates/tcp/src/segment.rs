//! The segments of connections that are made and unmade and carry nothing: seven from the first SYN to the last ACK, and the keepalive with
//! its answer.
//!
//! Each says in its sequence numbers which connection it belongs to, so that who receives one knows what it should look like, whatever a
//! translator has made of its addresses and ports.

use natrig_bench::scenario::Word as _;
use natrig_traffic::{Endpoint, TTL};
use natrig_wire::template::FourTuple;
use natrig_wire::{WireError, ethernet, ipv4, tcp};

/// Length of a frame without FCS: the shortest there is.
pub(crate) const FRAME_LEN: usize = 60;

const IP: usize = ethernet::HEADER_LEN;
const TCP: usize = IP + ipv4::HEADER_LEN;

/// Plenty: nothing is ever sent into it.
const WINDOW: u16 = 0xffff;

natrig_bench::words! {
    /// What a segment is for.
    Kind {
        /// The client opens.
        Syn = "SYN",
        /// The server agrees.
        SynAck = "SYN-ACK",
        /// The client is connected.
        Ack = "ACK",
        /// The client closes.
        Fin = "FIN",
        /// The server has heard it.
        FinAck = "ACK of FIN",
        /// The server closes as well.
        ServerFin = "server's FIN",
        /// The client has heard that: the connection is over.
        LastAck = "last ACK",
        /// A keepalive (RFC 9293 §3.8.4): one byte before what comes next, empty.
        Keepalive = "keepalive",
        /// Its answer.
        Alive = "answer to keepalive",
    }
}

impl Kind {
    /// Control bits, and how far sequence and acknowledgement number are past the initial ones.
    const fn numbers(self) -> (u8, u32, Option<u32>) {
        const ACK: u8 = tcp::flag::ACK;
        match self {
            Self::Syn => (tcp::flag::SYN, 0, None),
            Self::SynAck => (tcp::flag::SYN | ACK, 0, Some(1)),
            Self::Ack => (ACK, 1, Some(1)),
            Self::Fin => (tcp::flag::FIN | ACK, 1, Some(1)),
            Self::FinAck => (ACK, 1, Some(2)),
            Self::ServerFin => (tcp::flag::FIN | ACK, 1, Some(2)),
            Self::LastAck => (ACK, 2, Some(2)),
            Self::Keepalive => (ACK, 0, Some(1)),
            Self::Alive => (ACK, 1, Some(1)),
        }
    }

    /// True if servers send it.
    pub(crate) const fn is_of_server(self) -> bool {
        matches!(self, Self::SynAck | Self::FinAck | Self::ServerFin | Self::Alive)
    }
}

/// A segment of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Number of its connection.
    pub(crate) connection: u32,
    /// Tells a connection from an earlier one of the same number; five bits count.
    pub(crate) generation: u8,
    pub(crate) kind: Kind,
}

/// A segment as it arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) segment: Segment,
    pub(crate) tuple: FourTuple,
    pub(crate) ttl: u8,
}

/// What is wrong with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Odd {
    /// Not of ours: no TCP over IPv4.
    Foreign,
    /// A checksum is wrong, or a number that no segment of ours has.
    Corrupted,
    /// Somebody on the way ended the connection.
    Reset,
}

/// Both ends begin at the same number.
const fn initial(connection: u32, generation: u8) -> u32 {
    (connection << 8) | ((generation as u32 & 31) << 3)
}

impl Segment {
    /// Writes its frame.
    pub(crate) fn emit(&self, frame: &mut [u8], endpoint: Endpoint, tuple: &FourTuple) -> Result<(), WireError> {
        let frame = frame.get_mut(..FRAME_LEN).ok_or(WireError::Truncated)?;
        frame.fill(0);
        let Endpoint { mac, peer } = endpoint;
        let ethernet = ethernet::Repr { dst: peer, src: mac, ethertype: ethernet::ethertype::IPV4 };
        ethernet.emit(&mut ethernet::Packet::new_checked(&mut *frame)?);
        let (flags, seq, ack) = self.kind.numbers();
        let first = initial(self.connection, self.generation);
        let segment = tcp::Repr {
            src_port: tuple.src_port,
            dst_port: tuple.dst_port,
            seq: first.wrapping_add(seq),
            ack: ack.map_or(0, |ack| first.wrapping_add(ack)),
            flags,
            window: WINDOW,
        };
        let (src, dst) = (tuple.src, tuple.dst);
        let ip = ipv4::Repr {
            src,
            dst,
            protocol: ipv4::protocol::TCP,
            ttl: TTL,
            ident: 0,
            dont_fragment: true,
            payload_len: tcp::HEADER_LEN,
        };
        ip.emit(&mut frame[IP..])?;
        let bytes = &mut frame[TCP..TCP + tcp::HEADER_LEN];
        segment.emit(bytes)?;
        tcp::Packet::new_checked(bytes)?.fill_checksum(src, dst);
        Ok(())
    }
}

/// Reads a frame that arrived where servers are, or where clients are.
pub(crate) fn read(frame: &[u8], at_server: bool) -> Result<Arrived, Odd> {
    let outer = ethernet::Packet::new_checked(frame).map_err(|_| Odd::Foreign)?;
    if outer.ethertype() != ethernet::ethertype::IPV4 {
        return Err(Odd::Foreign);
    }
    let ip = ipv4::Packet::new_checked(outer.payload()).map_err(|_| Odd::Foreign)?;
    if ip.protocol() != ipv4::protocol::TCP || ip.is_fragment() {
        return Err(Odd::Foreign);
    }
    let (src, dst) = (ip.src(), ip.dst());
    let packet = tcp::Packet::new_checked(ip.payload()).map_err(|_| Odd::Corrupted)?;
    if !ip.verify_checksum() || !packet.verify_checksum(src, dst) {
        return Err(Odd::Corrupted);
    }
    if packet.flags() & tcp::flag::RST != 0 {
        return Err(Odd::Reset);
    }
    let (seq, past) = (packet.seq(), packet.seq() & 7);
    let first = seq - past;
    let answers = (packet.flags() & tcp::flag::ACK != 0).then(|| packet.ack().wrapping_sub(first));
    let fits = |kind: &&Kind| kind.is_of_server() != at_server && kind.numbers() == (packet.flags(), past, answers);
    let kind = *Kind::ALL.iter().find(fits).ok_or(Odd::Corrupted)?;
    Ok(Arrived {
        segment: Segment { connection: seq >> 8, generation: (seq >> 3 & 31) as u8, kind },
        tuple: FourTuple { src, src_port: packet.src_port(), dst, dst_port: packet.dst_port() },
        ttl: ip.ttl(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use natrig_wire::MacAddr;
    use std::net::Ipv4Addr;

    const TUPLE: FourTuple = FourTuple {
        src: Ipv4Addr::new(10, 0, 0, 1),
        src_port: 40_000,
        dst: Ipv4Addr::new(198, 51, 100, 7),
        dst_port: 80,
    };

    fn frame(segment: Segment) -> [u8; FRAME_LEN] {
        let mut frame = [0xee; FRAME_LEN];
        let endpoint = Endpoint { mac: MacAddr([2; 6]), peer: MacAddr([4; 6]) };
        segment.emit(&mut frame, endpoint, &TUPLE).unwrap();
        frame
    }

    #[test]
    fn every_segment_is_read_as_it_was_written_and_at_its_own_end_only() {
        for &kind in Kind::ALL {
            let segment = Segment { connection: (1 << 24) - 1, generation: 31, kind };
            let frame = frame(segment);
            let arrived = Arrived { segment, tuple: TUPLE, ttl: TTL };
            assert_eq!(read(&frame, !kind.is_of_server()), Ok(arrived));
            assert_ne!(read(&frame, kind.is_of_server()).map(|arrived| arrived.segment), Ok(segment), "{kind}");
        }
    }

    #[test]
    fn a_changed_bit_and_a_reset_are_noticed() {
        let mut syn = frame(Segment { connection: 3, generation: 0, kind: Kind::Syn });
        syn[TCP + tcp::offset::SEQ] ^= 1;
        assert_eq!(read(&syn, true), Err(Odd::Corrupted));
        let mut syn = frame(Segment { connection: 3, generation: 0, kind: Kind::Syn });
        syn[TCP + tcp::offset::FLAGS] |= tcp::flag::RST;
        let mut view = tcp::Packet::new_checked(&mut syn[TCP..TCP + tcp::HEADER_LEN]).unwrap();
        view.fill_checksum(TUPLE.src, TUPLE.dst);
        assert_eq!(read(&syn, true), Err(Odd::Reset));
    }
}
