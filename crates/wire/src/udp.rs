//! UDP (RFC 768).

use core::net::Ipv4Addr;

use crate::{WireError, checksum, ipv4::protocol};

/// Bytes of the header.
pub const HEADER_LEN: usize = 8;

/// Byte offsets in the header.
pub mod offset {
    /// Source port.
    pub const SRC_PORT: usize = 0;
    /// Destination port.
    pub const DST_PORT: usize = 2;
    /// Length of header and payload.
    pub const LENGTH: usize = 4;
    /// Checksum; zero means none.
    pub const CHECKSUM: usize = 6;
}

/// A view of a UDP datagram whose length field fits its bytes.
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
        match packet.length() {
            length if length < HEADER_LEN => Err(WireError::Malformed),
            length if length > have => Err(WireError::Truncated),
            _ => Ok(packet),
        }
    }

    fn u16(&self, at: usize) -> u16 {
        let bytes = self.0.as_ref();
        u16::from_be_bytes([bytes[at], bytes[at + 1]])
    }

    /// Source port.
    pub fn src_port(&self) -> u16 {
        self.u16(offset::SRC_PORT)
    }

    /// Destination port.
    pub fn dst_port(&self) -> u16 {
        self.u16(offset::DST_PORT)
    }

    /// Length of header and payload in bytes.
    pub fn length(&self) -> usize {
        usize::from(self.u16(offset::LENGTH))
    }

    /// The checksum field; zero means none.
    pub fn checksum(&self) -> u16 {
        self.u16(offset::CHECKSUM)
    }

    /// True if there is no checksum, or the right one.
    pub fn verify_checksum(&self, src: Ipv4Addr, dst: Ipv4Addr) -> bool {
        let length = self.length();
        let pseudo = checksum::pseudo_header(src.to_bits(), dst.to_bits(), protocol::UDP, length as u16);
        self.checksum() == 0 || checksum::fold(checksum::sum(pseudo, &self.0.as_ref()[..length])) == 0xffff
    }

    /// What the datagram carries.
    pub fn payload(&self) -> &[u8] {
        &self.0.as_ref()[HEADER_LEN..self.length()]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// What the datagram carries.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let length = self.length();
        &mut self.0.as_mut()[HEADER_LEN..length]
    }

    /// Computes and writes the checksum; a result of zero is written as all ones.
    pub fn fill_checksum(&mut self, src: Ipv4Addr, dst: Ipv4Addr) {
        let length = self.length();
        let pseudo = checksum::pseudo_header(src.to_bits(), dst.to_bits(), protocol::UDP, length as u16);
        let bytes = &mut self.0.as_mut()[..length];
        bytes[offset::CHECKSUM..][..2].fill(0);
        let value = match checksum::finish(checksum::sum(pseudo, bytes)) {
            0 => 0xffff,
            value => value,
        };
        bytes[offset::CHECKSUM..][..2].copy_from_slice(&value.to_be_bytes());
    }
}

/// A UDP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Bytes carried.
    pub payload_len: usize,
}

impl Repr {
    /// Parses a header and verifies the checksum, if there is one.
    ///
    /// # Errors
    /// [`WireError::Checksum`].
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>, src: Ipv4Addr, dst: Ipv4Addr) -> Result<Self, WireError> {
        if !packet.verify_checksum(src, dst) {
            return Err(WireError::Checksum);
        }
        Ok(Self { src_port: packet.src_port(), dst_port: packet.dst_port(), payload_len: packet.length() - HEADER_LEN })
    }

    /// Writes the header with a zero checksum ([`Packet::fill_checksum`] fills it once the payload stands).
    ///
    /// # Errors
    /// [`WireError::Truncated`] if `bytes` cannot hold header and payload, [`WireError::Malformed`] if the length exceeds 65535.
    pub fn emit(&self, bytes: &mut [u8]) -> Result<(), WireError> {
        let length = HEADER_LEN + self.payload_len;
        if bytes.len() < length {
            return Err(WireError::Truncated);
        }
        let length = u16::try_from(length).map_err(|_| WireError::Malformed)?;
        bytes[offset::SRC_PORT..][..2].copy_from_slice(&self.src_port.to_be_bytes());
        bytes[offset::DST_PORT..][..2].copy_from_slice(&self.dst_port.to_be_bytes());
        bytes[offset::LENGTH..][..2].copy_from_slice(&length.to_be_bytes());
        bytes[offset::CHECKSUM..][..2].fill(0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SRC: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
    const DST: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);

    /// As in smoltcp's tests: ports 48896 → 53, payload aa 00 00 ff, checksum 124d between 192.168.1.1 and 192.168.1.2.
    const DATAGRAM: [u8; 12] = [0xbf, 0x00, 0x00, 0x35, 0x00, 0x0c, 0x12, 0x4d, 0xaa, 0x00, 0x00, 0xff];

    #[test]
    fn parses_and_emits_literal_bytes() {
        let view = Packet::new_checked(&DATAGRAM[..]).unwrap();
        let repr = Repr::parse(&view, SRC, DST).unwrap();
        assert_eq!(repr, Repr { src_port: 48896, dst_port: 53, payload_len: 4 });
        let mut out = [0; 12];
        out[8..].copy_from_slice(view.payload());
        repr.emit(&mut out).unwrap();
        Packet::new_checked(&mut out[..]).unwrap().fill_checksum(SRC, DST);
        assert_eq!(out, DATAGRAM);
    }

    #[test]
    fn checksum_zero_means_none_and_wrong_is_wrong() {
        let mut bytes = DATAGRAM;
        bytes[8] ^= 1;
        assert!(!Packet::new_checked(&bytes[..]).unwrap().verify_checksum(SRC, DST));
        bytes[6..8].fill(0);
        assert!(Packet::new_checked(&bytes[..]).unwrap().verify_checksum(SRC, DST));
    }

    #[test]
    fn notices_lengths_that_lie() {
        let mut bytes = DATAGRAM;
        bytes[5] = 13;
        assert_eq!(Packet::new_checked(&bytes[..]).unwrap_err(), WireError::Truncated);
        bytes[5] = 7;
        assert_eq!(Packet::new_checked(&bytes[..]).unwrap_err(), WireError::Malformed);
        assert_eq!(Packet::new_checked(&bytes[..7]).unwrap_err(), WireError::Truncated);
    }
}
