//! IPv4 (RFC 791).

use core::net::Ipv4Addr;

use crate::{WireError, checksum};

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;
/// Bytes of the longest header.
pub const HEADER_LEN_MAX: usize = 60;

/// Byte offsets in the header.
pub mod offset {
    /// Version and header length in words.
    pub const VERSION_IHL: usize = 0;
    /// Type of service.
    pub const TOS: usize = 1;
    /// Total length.
    pub const LENGTH: usize = 2;
    /// Identification.
    pub const IDENT: usize = 4;
    /// Flags and fragment offset.
    pub const FRAGMENT: usize = 6;
    /// Time to live.
    pub const TTL: usize = 8;
    /// Protocol.
    pub const PROTOCOL: usize = 9;
    /// Header checksum.
    pub const CHECKSUM: usize = 10;
    /// Source address.
    pub const SRC: usize = 12;
    /// Destination address.
    pub const DST: usize = 16;
}

/// Bits of the fragment word.
pub mod flag {
    /// Don't fragment.
    pub const DF: u16 = 0x4000;
    /// More fragments.
    pub const MF: u16 = 0x2000;
    /// Fragment offset in units of eight bytes.
    pub const OFFSET: u16 = 0x1fff;
}

/// Protocol numbers.
pub mod protocol {
    /// ICMP
    pub const ICMP: u8 = 1;
    /// TCP
    pub const TCP: u8 = 6;
    /// UDP
    pub const UDP: u8 = 17;
}

/// A view of an IPv4 packet whose header and length fields fit its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Packet<T>(T);

impl<T: AsRef<[u8]>> Packet<T> {
    /// Checks version and both lengths; bytes behind the total length (Ethernet padding) are allowed and never shown.
    ///
    /// # Errors
    /// [`WireError::Truncated`] or [`WireError::Malformed`].
    pub fn new_checked(buffer: T) -> Result<Self, WireError> {
        let packet = Self::new_head(buffer)?;
        if packet.0.as_ref().len() < packet.total_len() { Err(WireError::Truncated) } else { Ok(packet) }
    }

    /// As [`Packet::new_checked`], of a packet whose end may be missing: [`Packet::payload`] is not to be had of it.
    ///
    /// # Errors
    /// [`WireError::Truncated`] without the whole header, [`WireError::Malformed`] for another version or impossible lengths.
    pub fn new_head(buffer: T) -> Result<Self, WireError> {
        let bytes = buffer.as_ref();
        let Some(head) = bytes.first_chunk::<HEADER_LEN>() else { return Err(WireError::Truncated) };
        if head[offset::VERSION_IHL] >> 4 != 4 {
            return Err(WireError::Malformed);
        }
        let packet = Self(buffer);
        let (header, total, have) = (packet.header_len(), packet.total_len(), packet.0.as_ref().len());
        if header < HEADER_LEN || total < header {
            Err(WireError::Malformed)
        } else if have < header {
            Err(WireError::Truncated)
        } else {
            Ok(packet)
        }
    }

    fn u16(&self, at: usize) -> u16 {
        let bytes = self.0.as_ref();
        u16::from_be_bytes([bytes[at], bytes[at + 1]])
    }

    fn addr(&self, at: usize) -> Ipv4Addr {
        let bytes = self.0.as_ref();
        Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3])
    }

    /// Header length in bytes, options included.
    pub fn header_len(&self) -> usize {
        usize::from(self.0.as_ref()[offset::VERSION_IHL] & 0x0f) * 4
    }

    /// Total length in bytes, as the header says.
    pub fn total_len(&self) -> usize {
        usize::from(self.u16(offset::LENGTH))
    }

    /// Identification.
    pub fn ident(&self) -> u16 {
        self.u16(offset::IDENT)
    }

    /// The don't-fragment flag.
    pub fn dont_fragment(&self) -> bool {
        self.u16(offset::FRAGMENT) & flag::DF != 0
    }

    /// The more-fragments flag.
    pub fn more_fragments(&self) -> bool {
        self.u16(offset::FRAGMENT) & flag::MF != 0
    }

    /// Fragment offset in bytes.
    pub fn fragment_offset(&self) -> usize {
        usize::from(self.u16(offset::FRAGMENT) & flag::OFFSET) * 8
    }

    /// True for any fragment of a larger packet.
    pub fn is_fragment(&self) -> bool {
        self.u16(offset::FRAGMENT) & (flag::MF | flag::OFFSET) != 0
    }

    /// Time to live.
    pub fn ttl(&self) -> u8 {
        self.0.as_ref()[offset::TTL]
    }

    /// Protocol number.
    pub fn protocol(&self) -> u8 {
        self.0.as_ref()[offset::PROTOCOL]
    }

    /// Source address.
    pub fn src(&self) -> Ipv4Addr {
        self.addr(offset::SRC)
    }

    /// Destination address.
    pub fn dst(&self) -> Ipv4Addr {
        self.addr(offset::DST)
    }

    /// True if the header checksum is right.
    pub fn verify_checksum(&self) -> bool {
        checksum::fold(checksum::sum(0, &self.0.as_ref()[..self.header_len()])) == 0xffff
    }

    /// What the packet carries, padding excluded.
    pub fn payload(&self) -> &[u8] {
        &self.0.as_ref()[self.header_len()..self.total_len()]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the time to live; the checksum is not touched.
    pub fn set_ttl(&mut self, ttl: u8) {
        self.0.as_mut()[offset::TTL] = ttl;
    }

    /// Sets the source address; the checksum is not touched.
    pub fn set_src(&mut self, addr: Ipv4Addr) {
        self.0.as_mut()[offset::SRC..offset::SRC + 4].copy_from_slice(&addr.octets());
    }

    /// Sets the destination address; the checksum is not touched.
    pub fn set_dst(&mut self, addr: Ipv4Addr) {
        self.0.as_mut()[offset::DST..offset::DST + 4].copy_from_slice(&addr.octets());
    }

    /// Computes and writes the header checksum.
    pub fn fill_checksum(&mut self) {
        let len = self.header_len();
        let header = &mut self.0.as_mut()[..len];
        header[offset::CHECKSUM..offset::CHECKSUM + 2].fill(0);
        let value = checksum::finish(checksum::sum(0, header));
        header[offset::CHECKSUM..offset::CHECKSUM + 2].copy_from_slice(&value.to_be_bytes());
    }

    /// What the packet carries, padding excluded.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let range = self.header_len()..self.total_len();
        &mut self.0.as_mut()[range]
    }
}

/// An IPv4 header without options, not a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Protocol number.
    pub protocol: u8,
    /// Time to live.
    pub ttl: u8,
    /// Identification.
    pub ident: u16,
    /// The don't-fragment flag.
    pub dont_fragment: bool,
    /// Bytes carried.
    pub payload_len: usize,
}

impl Repr {
    /// Parses a header and verifies its checksum; options are skipped.
    ///
    /// # Errors
    /// [`WireError::Checksum`].
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Self, WireError> {
        if !packet.verify_checksum() {
            return Err(WireError::Checksum);
        }
        Ok(Self {
            src: packet.src(),
            dst: packet.dst(),
            protocol: packet.protocol(),
            ttl: packet.ttl(),
            ident: packet.ident(),
            dont_fragment: packet.dont_fragment(),
            payload_len: packet.total_len() - packet.header_len(),
        })
    }

    /// Bytes of the packet with this header.
    pub const fn total_len(&self) -> usize {
        HEADER_LEN + self.payload_len
    }

    /// Writes the header, checksum included.
    ///
    /// # Errors
    /// [`WireError::Truncated`] if `bytes` is shorter than a header, [`WireError::Malformed`] if the total length exceeds 65535.
    pub fn emit(&self, bytes: &mut [u8]) -> Result<(), WireError> {
        let header = bytes.first_chunk_mut::<HEADER_LEN>().ok_or(WireError::Truncated)?;
        let total = u16::try_from(self.total_len()).map_err(|_| WireError::Malformed)?;
        let fragment = if self.dont_fragment { flag::DF } else { 0 };
        *header = [0; HEADER_LEN];
        header[offset::VERSION_IHL] = 0x45;
        header[offset::LENGTH..][..2].copy_from_slice(&total.to_be_bytes());
        header[offset::IDENT..][..2].copy_from_slice(&self.ident.to_be_bytes());
        header[offset::FRAGMENT..][..2].copy_from_slice(&fragment.to_be_bytes());
        header[offset::TTL] = self.ttl;
        header[offset::PROTOCOL] = self.protocol;
        header[offset::SRC..][..4].copy_from_slice(&self.src.octets());
        header[offset::DST..][..4].copy_from_slice(&self.dst.octets());
        let value = checksum::finish(checksum::sum(0, header));
        header[offset::CHECKSUM..][..2].copy_from_slice(&value.to_be_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The textbook header: 172.16.10.99 to 172.16.10.12, TCP, checksum b1e6.
    const HEADER: [u8; 20] = [
        0x45, 0x00, 0x00, 0x3c, 0x1c, 0x46, 0x40, 0x00, 0x40, 0x06, 0xb1, 0xe6, 0xac, 0x10, 0x0a, 0x63, 0xac, 0x10,
        0x0a, 0x0c,
    ];

    fn packet() -> [u8; 64] {
        let mut bytes = [0x5a; 64];
        bytes[..20].copy_from_slice(&HEADER);
        bytes
    }

    #[test]
    fn parses_and_emits_literal_bytes() {
        let bytes = packet();
        let view = Packet::new_checked(&bytes[..]).unwrap();
        let repr = Repr::parse(&view).unwrap();
        assert_eq!((repr.protocol, repr.ttl, repr.dont_fragment, repr.payload_len), (protocol::TCP, 64, true, 40));
        assert_eq!(view.payload().len(), 40, "padding is not payload");
        let mut out = [0; 20];
        repr.emit(&mut out).unwrap();
        assert_eq!(out, HEADER);
    }

    #[test]
    fn notices_lengths_that_lie() {
        let cases = [
            (0, 0x65, WireError::Malformed),
            (0, 0x44, WireError::Malformed),
            (3, 19, WireError::Malformed),
            (2, 1, WireError::Truncated),
        ];
        for (at, value, expected) in cases {
            let mut bytes = packet();
            bytes[at] = value;
            assert_eq!(Packet::new_checked(&bytes[..]).unwrap_err(), expected, "byte {at} = {value:#x}");
        }
        assert_eq!(Packet::new_checked(&HEADER[..19]).unwrap_err(), WireError::Truncated);
    }

    #[test]
    fn fills_and_verifies_the_checksum() {
        let mut bytes = packet();
        bytes[8] = 63;
        let mut view = Packet::new_checked(&mut bytes[..]).unwrap();
        assert!(!view.verify_checksum());
        assert_eq!(Repr::parse(&view), Err(WireError::Checksum));
        view.fill_checksum();
        assert!(view.verify_checksum());
    }

    #[test]
    fn fragments() {
        let mut bytes = packet();
        bytes[6..8].copy_from_slice(&0x2003u16.to_be_bytes());
        let view = Packet::new_checked(&bytes[..]).unwrap();
        assert!(view.is_fragment() && view.more_fragments() && !view.dont_fragment());
        assert_eq!(view.fragment_offset(), 24);
    }
}
