//! TCP (RFC 9293): the header, as far as a translator looks at it.

use core::net::Ipv4Addr;

use crate::{WireError, checksum, ipv4::protocol};

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;

/// Byte offsets in the header.
pub mod offset {
    /// Source port.
    pub const SRC_PORT: usize = 0;
    /// Destination port.
    pub const DST_PORT: usize = 2;
    /// Sequence number.
    pub const SEQ: usize = 4;
    /// Acknowledgement number.
    pub const ACK: usize = 8;
    /// Header length in words (upper four bits).
    pub const DATA_OFFSET: usize = 12;
    /// Control bits.
    pub const FLAGS: usize = 13;
    /// Window.
    pub const WINDOW: usize = 14;
    /// Checksum.
    pub const CHECKSUM: usize = 16;
    /// Urgent pointer.
    pub const URGENT: usize = 18;
}

/// Control bits.
pub mod flag {
    /// No more data from sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// Acknowledgement field is significant.
    pub const ACK: u8 = 0x10;
}

/// A view of a TCP segment whose header fits its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Packet<T>(T);

impl<T: AsRef<[u8]>> Packet<T> {
    /// # Errors
    /// [`WireError::Truncated`] or [`WireError::Malformed`].
    pub fn new_checked(buffer: T) -> Result<Self, WireError> {
        let have = buffer.as_ref().len();
        if have < HEADER_LEN {
            return Err(WireError::Truncated);
        }
        let packet = Self(buffer);
        match packet.header_len() {
            header if header < HEADER_LEN => Err(WireError::Malformed),
            header if header > have => Err(WireError::Truncated),
            _ => Ok(packet),
        }
    }

    fn u16(&self, at: usize) -> u16 {
        let bytes = self.0.as_ref();
        u16::from_be_bytes([bytes[at], bytes[at + 1]])
    }

    fn u32(&self, at: usize) -> u32 {
        let bytes = self.0.as_ref();
        u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    }

    /// Source port.
    pub fn src_port(&self) -> u16 {
        self.u16(offset::SRC_PORT)
    }

    /// Destination port.
    pub fn dst_port(&self) -> u16 {
        self.u16(offset::DST_PORT)
    }

    /// Sequence number.
    pub fn seq(&self) -> u32 {
        self.u32(offset::SEQ)
    }

    /// Acknowledgement number.
    pub fn ack(&self) -> u32 {
        self.u32(offset::ACK)
    }

    /// Header length in bytes, options included.
    pub fn header_len(&self) -> usize {
        usize::from(self.0.as_ref()[offset::DATA_OFFSET] >> 4) * 4
    }

    /// Control bits, of [`flag`].
    pub fn flags(&self) -> u8 {
        self.0.as_ref()[offset::FLAGS]
    }

    /// Window, unscaled.
    pub fn window(&self) -> u16 {
        self.u16(offset::WINDOW)
    }

    /// True if the checksum is right.
    pub fn verify_checksum(&self, src: Ipv4Addr, dst: Ipv4Addr) -> bool {
        let bytes = self.0.as_ref();
        checksum::fold(checksum::sum(pseudo(src, dst, bytes.len()), bytes)) == 0xffff
    }

    /// What the segment carries.
    pub fn payload(&self) -> &[u8] {
        &self.0.as_ref()[self.header_len()..]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Computes and writes the checksum.
    pub fn fill_checksum(&mut self, src: Ipv4Addr, dst: Ipv4Addr) {
        let bytes = self.0.as_mut();
        bytes[offset::CHECKSUM..][..2].fill(0);
        let value = checksum::finish(checksum::sum(pseudo(src, dst, bytes.len()), bytes));
        bytes[offset::CHECKSUM..][..2].copy_from_slice(&value.to_be_bytes());
    }
}

/// A segment's length is what its IPv4 packet leaves it, so at most 65515.
fn pseudo(src: Ipv4Addr, dst: Ipv4Addr, len: usize) -> u32 {
    checksum::pseudo_header(src.to_bits(), dst.to_bits(), protocol::TCP, len as u16)
}

/// A TCP header without options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Control bits, of [`flag`].
    pub flags: u8,
    /// Window, unscaled.
    pub window: u16,
}

impl Repr {
    /// Parses a header and verifies the checksum; options are skipped.
    ///
    /// # Errors
    /// [`WireError::Checksum`].
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>, src: Ipv4Addr, dst: Ipv4Addr) -> Result<Self, WireError> {
        if !packet.verify_checksum(src, dst) {
            return Err(WireError::Checksum);
        }
        Ok(Self {
            src_port: packet.src_port(),
            dst_port: packet.dst_port(),
            seq: packet.seq(),
            ack: packet.ack(),
            flags: packet.flags(),
            window: packet.window(),
        })
    }

    /// Writes the header with a zero checksum ([`Packet::fill_checksum`] fills it once the payload stands).
    ///
    /// # Errors
    /// [`WireError::Truncated`] if `bytes` is shorter than a header.
    pub fn emit(&self, bytes: &mut [u8]) -> Result<(), WireError> {
        let header = bytes.first_chunk_mut::<HEADER_LEN>().ok_or(WireError::Truncated)?;
        *header = [0; HEADER_LEN];
        header[offset::SRC_PORT..][..2].copy_from_slice(&self.src_port.to_be_bytes());
        header[offset::DST_PORT..][..2].copy_from_slice(&self.dst_port.to_be_bytes());
        header[offset::SEQ..][..4].copy_from_slice(&self.seq.to_be_bytes());
        header[offset::ACK..][..4].copy_from_slice(&self.ack.to_be_bytes());
        header[offset::DATA_OFFSET] = 5 << 4;
        header[offset::FLAGS] = self.flags;
        header[offset::WINDOW..][..2].copy_from_slice(&self.window.to_be_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SRC: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
    const DST: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);
    const REPR: Repr = Repr {
        src_port: 48896,
        dst_port: 80,
        seq: 0x0123_4567,
        ack: 0x89ab_cdef,
        flags: flag::SYN | flag::ACK,
        window: 0x0123,
    };

    /// A segment by hand; its checksum is checked by two foreign decoders in `tests/foreign.rs`.
    const SEGMENT: [u8; 24] = [
        0xbf, 0x00, 0x00, 0x50, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x50, 0x12, 0x01, 0x23, 0x00, 0x00,
        0x00, 0x00, 0xaa, 0x00, 0x00, 0xff,
    ];

    #[test]
    fn parses_and_emits_literal_bytes() {
        let mut bytes = SEGMENT;
        let mut view = Packet::new_checked(&mut bytes[..]).unwrap();
        assert_eq!(Repr::parse(&view, SRC, DST), Err(WireError::Checksum));
        view.fill_checksum(SRC, DST);
        assert_eq!(Repr::parse(&view, SRC, DST), Ok(REPR));
        assert_eq!(view.payload(), &SEGMENT[20..]);
        let mut out = [0xee; 20];
        REPR.emit(&mut out).unwrap();
        assert_eq!(out, SEGMENT[..20]);
    }

    #[test]
    fn notices_lengths_that_lie() {
        let mut bytes = SEGMENT;
        bytes[12] = 0x40;
        assert_eq!(Packet::new_checked(&bytes[..]).unwrap_err(), WireError::Malformed);
        bytes[12] = 0x70;
        assert_eq!(Packet::new_checked(&bytes[..]).unwrap_err(), WireError::Truncated);
        assert_eq!(Packet::new_checked(&bytes[..19]).unwrap_err(), WireError::Truncated);
    }
}
