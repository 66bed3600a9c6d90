//! A UDP frame made once and filled in many times: what a generator needs per frame is a copy, a few stores and a short sum.

use core::net::Ipv4Addr;
use core::ops::Range;

use crate::{MacAddr, WireError, checksum, ethernet, ipv4, udp};

const IP: usize = ethernet::HEADER_LEN;
const UDP: usize = IP + ipv4::HEADER_LEN;
/// Bytes in front of the UDP payload.
pub const HEADERS_LEN: usize = UDP + udp::HEADER_LEN;

/// What differs from one flow's frames to another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FourTuple {
    /// Source address.
    pub src: Ipv4Addr,
    /// Source port.
    pub src_port: u16,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Destination port.
    pub dst_port: u16,
}

impl FourTuple {
    /// The tuple of an answer.
    #[inline]
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self { src: self.dst, src_port: self.dst_port, dst: self.src, dst_port: self.src_port }
    }
}

impl core::fmt::Display for FourTuple {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}:{} → {}:{}", self.src, self.src_port, self.dst, self.dst_port)
    }
}

/// A UDP frame of a fixed length whose tuple and first `STAMP` payload bytes are filled in per frame.
#[derive(Debug, Clone)]
pub struct UdpTemplate<const STAMP: usize> {
    bytes: Vec<u8>,
    /// Sum of the IP header with zero addresses and checksum.
    ip_sum: u32,
    /// Sum of pseudo-header, UDP header and payload with zero addresses, ports, stamp and checksum.
    udp_sum: u32,
}

impl<const STAMP: usize> UdpTemplate<STAMP> {
    /// The shortest frame (in bytes without FCS) that holds the headers and the stamp.
    pub const LEN_MIN: usize = HEADERS_LEN + STAMP;

    /// A template for frames of `len` bytes (without FCS). The payload behind the stamp is a fixed pattern.
    ///
    /// # Errors
    /// [`WireError::Truncated`] for a `len` below [`Self::LEN_MIN`], [`WireError::Malformed`] beyond what IPv4 can carry.
    pub fn new(len: usize, dst_mac: MacAddr, src_mac: MacAddr, ttl: u8) -> Result<Self, WireError> {
        let payload_len = len.checked_sub(HEADERS_LEN).filter(|n| *n >= STAMP).ok_or(WireError::Truncated)?;
        let mut bytes = vec![0; len];
        for (at, byte) in bytes.iter_mut().enumerate().skip(Self::LEN_MIN) {
            *byte = Self::filling(at);
        }
        let ethernet = ethernet::Repr { dst: dst_mac, src: src_mac, ethertype: ethernet::ethertype::IPV4 };
        ethernet.emit(&mut ethernet::Packet::new_checked(&mut bytes[..])?);
        let unspecified = Ipv4Addr::UNSPECIFIED;
        udp::Repr { src_port: 0, dst_port: 0, payload_len }.emit(&mut bytes[UDP..])?;
        let ip = ipv4::Repr {
            src: unspecified,
            dst: unspecified,
            protocol: ipv4::protocol::UDP,
            ttl,
            ident: 0,
            dont_fragment: true,
            payload_len: udp::HEADER_LEN + payload_len,
        };
        ip.emit(&mut bytes[IP..])?;
        bytes[IP + ipv4::offset::CHECKSUM..][..2].fill(0);
        let udp_len = (udp::HEADER_LEN + payload_len) as u16;
        let pseudo = checksum::pseudo_header(0, 0, ipv4::protocol::UDP, udp_len);
        let ip_sum = checksum::sum(0, &bytes[IP..UDP]);
        let udp_sum = u32::from(checksum::fold(checksum::sum(pseudo, &bytes[UDP..])));
        Ok(Self { bytes, ip_sum, udp_sum })
    }

    /// The byte at offset `at`, behind the stamp, of frames of any length.
    const fn filling(at: usize) -> u8 {
        at.wrapping_sub(Self::LEN_MIN) as u8
    }

    /// What these bytes behind the stamp, from an even offset on, add to the sum of a frame's UDP checksum.
    pub fn filling_sum(range: Range<usize>) -> u32 {
        checksum::sum(0, &range.map(Self::filling).collect::<Vec<u8>>())
    }

    /// Length of the frames in bytes, without FCS.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// A template is never empty.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Writes a whole frame to the start of `out`, both checksums right.
    ///
    /// # Panics
    /// If `out` is shorter than [`Self::len`].
    #[inline]
    pub fn emit(&self, out: &mut [u8], tuple: &FourTuple, stamp: &[u8; STAMP]) {
        out[..self.bytes.len()].copy_from_slice(&self.bytes);
        self.fill_in(out, tuple, stamp);
    }

    /// Makes the frame that a template of this length wrote to the start of `out` before, and that nobody has changed since, into another:
    /// what is the same in all of them stays as it is.
    ///
    /// # Panics
    /// If `out` is shorter than headers and stamp.
    #[inline]
    pub fn fill_in(&self, out: &mut [u8], tuple: &FourTuple, stamp: &[u8; STAMP]) {
        let (src, dst) = (tuple.src.to_bits(), tuple.dst.to_bits());
        let addresses = (src >> 16) + (src & 0xffff) + (dst >> 16) + (dst & 0xffff);
        let ip_checksum = checksum::finish(self.ip_sum + addresses);
        let udp_sum = self.udp_sum + addresses + u32::from(tuple.src_port) + u32::from(tuple.dst_port);
        let udp_checksum = match checksum::finish(checksum::sum(udp_sum, stamp)) {
            0 => 0xffff,
            value => value,
        };
        let out = &mut out[..Self::LEN_MIN];
        out[IP + ipv4::offset::CHECKSUM..][..2].copy_from_slice(&ip_checksum.to_be_bytes());
        out[IP + ipv4::offset::SRC..][..4].copy_from_slice(&src.to_be_bytes());
        out[IP + ipv4::offset::DST..][..4].copy_from_slice(&dst.to_be_bytes());
        out[UDP + udp::offset::SRC_PORT..][..2].copy_from_slice(&tuple.src_port.to_be_bytes());
        out[UDP + udp::offset::DST_PORT..][..2].copy_from_slice(&tuple.dst_port.to_be_bytes());
        out[UDP + udp::offset::CHECKSUM..][..2].copy_from_slice(&udp_checksum.to_be_bytes());
        out[HEADERS_LEN..].copy_from_slice(stamp);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    proptest! {
        #[test]
        fn frames_are_valid(len in 60usize..1515, src: u32, dst: u32, src_port: u16, dst_port: u16, stamp: [u8; 18]) {
            let template = UdpTemplate::<18>::new(len, MAC, MAC, 64).unwrap();
            let tuple = FourTuple { src: src.into(), src_port, dst: dst.into(), dst_port };
            let mut out = [0xee; 1600];
            template.emit(&mut out, &tuple, &stamp);
            let ethernet = ethernet::Packet::new_checked(&out[..len]).unwrap();
            let ip = ipv4::Packet::new_checked(ethernet.payload()).unwrap();
            let header = ipv4::Repr::parse(&ip).unwrap();
            prop_assert_eq!((header.src, header.dst, header.ttl), (tuple.src, tuple.dst, 64));
            let datagram = udp::Packet::new_checked(ip.payload()).unwrap();
            let repr = udp::Repr::parse(&datagram, header.src, header.dst).unwrap();
            prop_assert_eq!((repr.src_port, repr.dst_port, repr.payload_len), (src_port, dst_port, len - HEADERS_LEN));
            prop_assert_ne!(datagram.checksum(), 0);
            prop_assert_eq!(&datagram.payload()[..18], &stamp);
            prop_assert!(out[len..].iter().all(|b| *b == 0xee));
            let mut refilled = [0xee; 1600];
            template.emit(&mut refilled, &tuple.reversed(), &[0x5a; 18]);
            template.fill_in(&mut refilled, &tuple, &stamp);
            prop_assert_eq!(refilled, out);
        }
    }

    #[test]
    fn refuses_lengths_that_cannot_be() {
        assert_eq!(UdpTemplate::<18>::new(59, MAC, MAC, 64).unwrap_err(), WireError::Truncated);
        assert_eq!(UdpTemplate::<18>::new(70_000, MAC, MAC, 64).unwrap_err(), WireError::Malformed);
    }
}
