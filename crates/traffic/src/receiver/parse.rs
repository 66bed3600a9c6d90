//! From bytes to what a stamped UDP frame says, and whether its checksums are right.

use std::net::Ipv4Addr;
use std::ops::Range;

use natrig_wire::template::{FourTuple, HEADERS_LEN, UdpTemplate};
use natrig_wire::{checksum, ethernet, ipv4, udp};

use crate::{FRAME_LEN_MIN, STAMP_LEN, Stamp};

const IP: usize = ethernet::HEADER_LEN;
const UDP: usize = IP + ipv4::HEADER_LEN;
/// Version 4, a header of five words.
const VERSION_IHL_PLAIN: u8 = 0x45;

/// A stamped UDP frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) tuple: FourTuple,
    pub(super) ttl: u8,
    pub(super) stamp: Stamp,
    /// Of the frame, in bytes without FCS.
    pub(super) len: usize,
    /// That of the IP header and that of the datagram.
    pub(super) checksums_right: bool,
}

/// The stamped UDP frame in `frame`, if it is one.
#[inline]
pub(super) fn parse(frame: &[u8]) -> Option<Parsed> {
    parse_plain(frame).or_else(|| parse_any(frame))
}

/// Frames as nearly all of ours are: no options, no fragment, and nothing behind the datagram. [`parse_any`] would say the same of them.
#[inline]
fn parse_plain(frame: &[u8]) -> Option<Parsed> {
    let head = frame.first_chunk::<FRAME_LEN_MIN>()?;
    let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let address = |at: usize| Ipv4Addr::new(head[at], head[at + 1], head[at + 2], head[at + 3]);
    let ip_len = frame.len() - IP;
    let udp_len = word(UDP + udp::offset::LENGTH);
    let plain = word(IP - 2) == ethernet::ethertype::IPV4
        && head[IP + ipv4::offset::VERSION_IHL] == VERSION_IHL_PLAIN
        && head[IP + ipv4::offset::PROTOCOL] == ipv4::protocol::UDP
        && word(IP + ipv4::offset::FRAGMENT) & (ipv4::flag::MF | ipv4::flag::OFFSET) == 0
        && usize::from(word(IP + ipv4::offset::LENGTH)) == ip_len
        && usize::from(udp_len) == ip_len - ipv4::HEADER_LEN;
    if !plain {
        return None;
    }
    // The addresses of the pseudo-header stand in front of the datagram: one sum does for both.
    let pseudo = u32::from(ipv4::protocol::UDP) + u32::from(udp_len);
    let udp_sum = checksum::sum(pseudo, &frame[IP + ipv4::offset::SRC..]);
    let ip_sum = checksum::sum(0, &head[IP..UDP]);
    Some(Parsed {
        tuple: FourTuple {
            src: address(IP + ipv4::offset::SRC),
            src_port: word(UDP + udp::offset::SRC_PORT),
            dst: address(IP + ipv4::offset::DST),
            dst_port: word(UDP + udp::offset::DST_PORT),
        },
        ttl: head[IP + ipv4::offset::TTL],
        stamp: Stamp::from_bytes(head.last_chunk::<STAMP_LEN>()?),
        len: frame.len(),
        checksums_right: word(UDP + udp::offset::CHECKSUM) != 0
            && checksum::fold(ip_sum) == 0xffff
            && checksum::fold(udp_sum) == 0xffff,
    })
}

/// Whatever may be a stamped UDP frame.
#[cold]
fn parse_any(frame: &[u8]) -> Option<Parsed> {
    let ethernet = ethernet::Packet::new_checked(frame).ok()?;
    if ethernet.ethertype() != ethernet::ethertype::IPV4 {
        return None;
    }
    let ip = ipv4::Packet::new_checked(ethernet.payload()).ok()?;
    if ip.protocol() != ipv4::protocol::UDP || ip.is_fragment() {
        return None;
    }
    let datagram = udp::Packet::new_checked(ip.payload()).ok()?;
    let stamp = Stamp::from_bytes(datagram.payload().first_chunk::<STAMP_LEN>()?);
    let (src, dst) = (ip.src(), ip.dst());
    Some(Parsed {
        tuple: FourTuple { src, src_port: datagram.src_port(), dst, dst_port: datagram.dst_port() },
        ttl: ip.ttl(),
        stamp,
        len: frame.len(),
        // Ours always carry a UDP checksum: one that a layer has zeroed is damage too.
        checksums_right: datagram.checksum() != 0 && ip.verify_checksum() && datagram.verify_checksum(src, dst),
    })
}

/// How frames that the link has cut are read.
#[derive(Debug)]
pub(super) struct Heads {
    /// Bytes that they are cut to.
    len: usize,
    /// Of the last frame that was cut, what is missing, and its sum as it was sent.
    end: Range<usize>,
    end_sum: u32,
}

impl Heads {
    /// Frames are cut to `len` bytes.
    pub(super) fn cut_to(len: usize) -> Self {
        Self { len, end: len..len, end_sum: 0 }
    }

    /// How many bytes frames are cut to.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// As [`parse`], of a frame that may have been cut.
    pub(super) fn parse(&mut self, head: &[u8]) -> Option<Parsed> {
        let ethernet = ethernet::Packet::new_checked(head).ok()?;
        if ethernet.ethertype() != ethernet::ethertype::IPV4 {
            return None;
        }
        let ip = ipv4::Packet::new_head(ethernet.payload()).ok()?;
        if ip.protocol() != ipv4::protocol::UDP || ip.is_fragment() || ip.header_len() != ipv4::HEADER_LEN {
            return None;
        }
        let end = head.len()..(ethernet::HEADER_LEN + ip.total_len()).max(head.len());
        if self.end != end {
            self.end_sum = UdpTemplate::<STAMP_LEN>::filling_sum(end.clone());
            self.end = end;
        }
        let (len, src, dst) = (self.end.end, ip.src(), ip.dst());
        let (_, datagram) = head.split_at_checked(HEADERS_LEN - udp::HEADER_LEN)?;
        let udp_len = u16::try_from(ip.total_len() - ipv4::HEADER_LEN).ok()?;
        let word = |at: usize| Some(u16::from_be_bytes(*datagram.get(at..)?.first_chunk()?));
        let pseudo = checksum::pseudo_header(src.to_bits(), dst.to_bits(), ipv4::protocol::UDP, udp_len);
        let sum = checksum::sum(pseudo + self.end_sum, datagram);
        Some(Parsed {
            tuple: FourTuple {
                src,
                src_port: word(udp::offset::SRC_PORT)?,
                dst,
                dst_port: word(udp::offset::DST_PORT)?,
            },
            ttl: ip.ttl(),
            stamp: Stamp::from_bytes(head.get(HEADERS_LEN..)?.first_chunk::<STAMP_LEN>()?),
            len,
            checksums_right: word(udp::offset::LENGTH)? == udp_len
                && word(udp::offset::CHECKSUM)? != 0
                && ip.verify_checksum()
                && checksum::fold(sum) == 0xffff,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use natrig_wire::MacAddr;
    use proptest::prelude::*;

    fn frame(len: usize, tuple: &FourTuple, stamp: &[u8; STAMP_LEN]) -> Vec<u8> {
        let mac = MacAddr([2, 0, 0, 0, 0, 1]);
        let mut bytes = vec![0; len];
        UdpTemplate::<STAMP_LEN>::new(len, mac, mac, 64).unwrap().emit(&mut bytes, tuple, stamp);
        bytes
    }

    proptest! {
        /// Whole frames, and frames with some bytes changed, of which one in eight stands where it decides between the two; some with the
        /// checksums made right again, some cut or padded.
        #[test]
        fn the_short_way_says_what_the_long_way_says(
            len in 60usize..1515,
            tuple: (u32, u16, u32, u16),
            stamp: [u8; STAMP_LEN],
            damage in proptest::collection::vec((prop_oneof![7 => 0usize..60, 1 => 0usize..1514], any::<u8>()), 0..4),
            mend: bool,
            resize in prop_oneof![2 => Just(0i32), 1 => -70i32..40],
        ) {
            let tuple = FourTuple { src: tuple.0.into(), src_port: tuple.1, dst: tuple.2.into(), dst_port: tuple.3 };
            let mut bytes = frame(len, &tuple, &stamp);
            for (at, value) in damage {
                bytes[at % len] = value;
            }
            if mend && let Ok(mut ip) = ipv4::Packet::new_checked(&mut bytes[IP..]) {
                ip.fill_checksum();
            }
            bytes.resize(len.saturating_add_signed(resize as isize), 0);
            if let Some(plain) = parse_plain(&bytes) {
                prop_assert_eq!(Some(plain), parse_any(&bytes));
            }
        }

        #[test]
        fn what_the_generator_makes_goes_the_short_way(len in 60usize..1515, tuple: (u32, u16, u32, u16), stamp: [u8; STAMP_LEN]) {
            let tuple = FourTuple { src: tuple.0.into(), src_port: tuple.1, dst: tuple.2.into(), dst_port: tuple.3 };
            let plain = parse_plain(&frame(len, &tuple, &stamp)).unwrap();
            prop_assert_eq!((plain.tuple, plain.stamp.to_bytes(), plain.len), (tuple, stamp, len));
            prop_assert!(plain.checksums_right);
        }

        /// Every bit of what is summed counts.
        #[test]
        fn a_flipped_bit_is_seen(len in 60usize..200, bit in 14usize * 8..60 * 8, stamp: [u8; STAMP_LEN]) {
            let tuple = FourTuple { src: [10, 0, 0, 1].into(), src_port: 1, dst: [10, 0, 0, 2].into(), dst_port: 2 };
            let mut bytes = frame(len, &tuple, &stamp);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(parse(&bytes).is_none_or(|parsed| !parsed.checksums_right));
        }
    }
}
