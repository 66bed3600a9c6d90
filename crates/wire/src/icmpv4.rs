//! ICMP for IPv4 (RFC 792, RFC 1191, RFC 4884).

use crate::{WireError, checksum};

/// Bytes of the header that every message shares.
pub const HEADER_LEN: usize = 8;

/// Byte offsets in the header.
pub mod offset {
    /// Type.
    pub const TYPE: usize = 0;
    /// Code.
    pub const CODE: usize = 1;
    /// Checksum.
    pub const CHECKSUM: usize = 2;
    /// Identifier of a query.
    pub const IDENT: usize = 4;
    /// Sequence number of a query.
    pub const SEQ: usize = 6;
    /// Next-hop MTU of "fragmentation needed" (RFC 1191).
    pub const NEXT_HOP_MTU: usize = 6;
}

/// Message types.
pub mod kind {
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 3;
    /// Source quench (deprecated by RFC 6633).
    pub const SOURCE_QUENCH: u8 = 4;
    /// Redirect.
    pub const REDIRECT: u8 = 5;
    /// Echo.
    pub const ECHO: u8 = 8;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 11;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 12;
    /// Timestamp.
    pub const TIMESTAMP: u8 = 13;
    /// Timestamp reply.
    pub const TIMESTAMP_REPLY: u8 = 14;
}

/// Codes of [`kind::UNREACHABLE`].
pub mod unreachable {
    /// Host unreachable.
    pub const HOST: u8 = 1;
    /// Port unreachable.
    pub const PORT: u8 = 3;
    /// Fragmentation needed and DF set.
    pub const FRAGMENTATION_NEEDED: u8 = 4;
    /// Communication administratively prohibited (RFC 1812).
    pub const ADMINISTRATIVELY_PROHIBITED: u8 = 13;
}

/// True for messages that quote the packet they are about.
#[inline]
pub const fn is_error(kind: u8) -> bool {
    matches!(
        kind,
        kind::UNREACHABLE | kind::SOURCE_QUENCH | kind::REDIRECT | kind::TIME_EXCEEDED | kind::PARAMETER_PROBLEM
    )
}

/// A view of an ICMP message at least as long as its header.
#[derive(Debug, Clone, Copy)]
pub struct Packet<T>(T);

impl<T: AsRef<[u8]>> Packet<T> {
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn new_checked(buffer: T) -> Result<Self, WireError> {
        if buffer.as_ref().len() < HEADER_LEN { Err(WireError::Truncated) } else { Ok(Self(buffer)) }
    }

    fn u16(&self, at: usize) -> u16 {
        let bytes = self.0.as_ref();
        u16::from_be_bytes([bytes[at], bytes[at + 1]])
    }

    /// Type, of [`kind`] or another.
    pub fn kind(&self) -> u8 {
        self.0.as_ref()[offset::TYPE]
    }

    /// Code.
    pub fn code(&self) -> u8 {
        self.0.as_ref()[offset::CODE]
    }

    /// Identifier of a query.
    pub fn ident(&self) -> u16 {
        self.u16(offset::IDENT)
    }

    /// Sequence number of a query.
    pub fn seq(&self) -> u16 {
        self.u16(offset::SEQ)
    }

    /// Next-hop MTU of "fragmentation needed".
    pub fn next_hop_mtu(&self) -> u16 {
        self.u16(offset::NEXT_HOP_MTU)
    }

    /// True if the checksum is right.
    pub fn verify_checksum(&self) -> bool {
        checksum::fold(checksum::sum(0, self.0.as_ref())) == 0xffff
    }

    /// What follows the header: a query's data, or the packet that an error quotes.
    pub fn payload(&self) -> &[u8] {
        &self.0.as_ref()[HEADER_LEN..]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// What follows the header.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.0.as_mut()[HEADER_LEN..]
    }

    /// Computes and writes the checksum over the whole message.
    pub fn fill_checksum(&mut self) {
        let bytes = self.0.as_mut();
        bytes[offset::CHECKSUM..][..2].fill(0);
        let value = checksum::finish(checksum::sum(0, bytes));
        bytes[offset::CHECKSUM..][..2].copy_from_slice(&value.to_be_bytes());
    }
}

/// An ICMP header: the messages that a translator must know, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repr {
    /// Echo request.
    Echo {
        /// Identifier.
        ident: u16,
        /// Sequence number.
        seq: u16,
    },
    /// Echo reply.
    EchoReply {
        /// Identifier.
        ident: u16,
        /// Sequence number.
        seq: u16,
    },
    /// An error that quotes a packet.
    Error {
        /// Type, of [`kind`], for which [`is_error`] holds.
        kind: u8,
        /// Code.
        code: u8,
        /// The second word: next-hop MTU, pointer, gateway address, RFC 4884 length.
        rest: u32,
    },
}

impl Repr {
    /// Parses a header and verifies the checksum over the whole message.
    ///
    /// # Errors
    /// [`WireError::Checksum`], or [`WireError::Malformed`] for another type of message.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Self, WireError> {
        if !packet.verify_checksum() {
            return Err(WireError::Checksum);
        }
        match packet.kind() {
            kind::ECHO => Ok(Self::Echo { ident: packet.ident(), seq: packet.seq() }),
            kind::ECHO_REPLY => Ok(Self::EchoReply { ident: packet.ident(), seq: packet.seq() }),
            kind if is_error(kind) => Ok(Self::Error {
                kind,
                code: packet.code(),
                rest: u32::from(packet.ident()) << 16 | u32::from(packet.seq()),
            }),
            _ => Err(WireError::Malformed),
        }
    }

    /// Writes the header and, as what follows is expected to stand already, the checksum over all of `bytes`.
    ///
    /// # Errors
    /// [`WireError::Truncated`] if `bytes` is shorter than a header.
    pub fn emit(&self, bytes: &mut [u8]) -> Result<(), WireError> {
        let (kind, code, rest) = match *self {
            Self::Echo { ident, seq } => (kind::ECHO, 0, u32::from(ident) << 16 | u32::from(seq)),
            Self::EchoReply { ident, seq } => (kind::ECHO_REPLY, 0, u32::from(ident) << 16 | u32::from(seq)),
            Self::Error { kind, code, rest } => (kind, code, rest),
        };
        let header = bytes.first_chunk_mut::<HEADER_LEN>().ok_or(WireError::Truncated)?;
        header[offset::TYPE] = kind;
        header[offset::CODE] = code;
        header[offset::IDENT..].copy_from_slice(&rest.to_be_bytes());
        Packet(bytes).fill_checksum();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As in smoltcp's tests: echo request, ident 1234 hex, sequence abcd hex, payload aa 00 00 ff, checksum 8efe.
    const ECHO: [u8; 12] = [0x08, 0x00, 0x8e, 0xfe, 0x12, 0x34, 0xab, 0xcd, 0xaa, 0x00, 0x00, 0xff];

    #[test]
    fn parses_and_emits_literal_bytes() {
        let view = Packet::new_checked(&ECHO[..]).unwrap();
        assert_eq!(Repr::parse(&view), Ok(Repr::Echo { ident: 0x1234, seq: 0xabcd }));
        let mut out = [0; 12];
        out[8..].copy_from_slice(view.payload());
        Repr::Echo { ident: 0x1234, seq: 0xabcd }.emit(&mut out).unwrap();
        assert_eq!(out, ECHO);
    }

    #[test]
    fn errors_keep_their_second_word() {
        let mut bytes = [0x45; 36];
        let error = Repr::Error { kind: kind::UNREACHABLE, code: unreachable::FRAGMENTATION_NEEDED, rest: 1400 };
        error.emit(&mut bytes).unwrap();
        let view = Packet::new_checked(&bytes[..]).unwrap();
        assert_eq!((Repr::parse(&view), view.next_hop_mtu()), (Ok(error), 1400));
        bytes[20] ^= 1;
        assert_eq!(Repr::parse(&Packet::new_checked(&bytes[..]).unwrap()), Err(WireError::Checksum));
        assert_eq!(Packet::new_checked(&bytes[..7]).unwrap_err(), WireError::Truncated);
    }
}
