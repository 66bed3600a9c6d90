//! Ordinary packets by fixed offset: whole IPv4 without options, UDP or TCP, nothing about them that asks for care.

use crate::packet::{L3, u16_at};
use crate::pair::{Addrs, Ports};
use crate::session::{QUICK_TCP, QUICK_UDP, Session, TCP, UDP};
use crate::tcp::bits;
use natrig_wire::checksum::Delta;

/// Where the transport header begins.
pub(crate) const L4: usize = L3 + 20;
/// Ethernet, IPv4 and UDP headers.
const UDP_HEADERS: usize = L4 + 8;
/// Ethernet, IPv4 and TCP headers.
const TCP_HEADERS: usize = L4 + 20;
const TTL: usize = L3 + 8;
const PROTOCOL: usize = L3 + 9;
const CHECKSUM: usize = L3 + 10;
const ADDRS: usize = L3 + 12;

/// TTL going down by one, in a checksum in memory order.
const TTL_DELTA: Delta = Delta::new().u16(u16::from_ne_bytes([1, 0]), 0);

/// An ordinary packet's flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) addrs: Addrs,
    pub(crate) ports: Ports,
    pub(crate) protocol: u8,
}

impl Head {
    /// Reads the flow of a packet that is known to be ordinary.
    #[inline(always)]
    pub(crate) fn again(frame: &[u8]) -> Option<Self> {
        let bytes: &[u8; UDP_HEADERS] = frame.first_chunk()?;
        let addrs = bytes[ADDRS..].first_chunk().map(|addrs| Addrs::from_wire(*addrs))?;
        let ports = bytes[L4..].first_chunk().map(|ports| Ports::from_wire(*ports))?;
        Some(Self { addrs, ports, protocol: bytes[PROTOCOL] })
    }

    /// Checks that a packet is ordinary and reads its flow: IPv4 without options, whole, TTL to spare, header checksum right, UDP or TCP.
    #[inline(always)]
    pub(crate) fn read(frame: &[u8]) -> Option<Self> {
        let bytes: &[u8; UDP_HEADERS] = frame.first_chunk()?;
        // EtherType to identification; fragment word to header checksum.
        let (first, second) = (long(bytes, L3 - 2), long(bytes, L3 + 6));
        let is_plain = first & 0xff_ffff == 0x45_0008;
        // Not a bit but "don't fragment". A TTL above one has a bit above the lowest.
        let is_whole = second & 0xff3f == 0;
        let lives = second & 0xfe_0000 != 0;
        let total_len = usize::from(u16_at(bytes, L3 + 2));
        if !is_plain || !is_whole || !lives || total_len + L3 > frame.len() || !header_sum_is_right(bytes) {
            return None;
        }
        let head = Self::again(frame)?;
        // The length of the datagram, or of TCP's header, is within the packet.
        let whole = match head.protocol {
            UDP => total_len >= 28 && usize::from(u16_at(bytes, L4 + 4)) + 20 == total_len,
            TCP => {
                frame.len() >= TCP_HEADERS
                    && (20..=total_len.saturating_sub(20)).contains(&(usize::from(frame[L4 + 12] >> 4) * 4))
            }
            _ => false,
        };
        whole.then_some(head)
    }
}

/// True if the words of a header without options add up to all ones (RFC 1071): their sum is a multiple of 65535, and not zero, because
/// the version is not. Neither the order of bytes nor the width of the words makes a difference to that (§2); six bytes at a time leave
/// room for the carries.
#[inline(always)]
fn header_sum_is_right(bytes: &[u8; UDP_HEADERS]) -> bool {
    let addrs = long(bytes, ADDRS);
    let before_addrs = (long(bytes, L3 - 2) >> 16) + (long(bytes, L3 + 6) & 0xffff_ffff_ffff);
    (before_addrs + (addrs >> 32) + (addrs & 0xffff_ffff)).is_multiple_of(0xffff)
}

/// Eight bytes, the first one lowest.
#[inline(always)]
fn long(bytes: &[u8; UDP_HEADERS], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |long| u64::from_le_bytes(*long))
}

/// Translates an ordinary packet of a session in a steady state: addresses, ports, TTL, both checksums. False, and nothing changed, if the
/// packet is not the session's, or not to be translated without looking closer.
#[inline(always)]
pub(crate) fn translate<const OUT: bool>(frame: &mut [u8], session: &Session) -> bool {
    let Some(Head { addrs, ports, protocol }) = Head::again(frame) else { return false };
    let (own_addrs, own_ports, quick) = if OUT {
        (session.out_addrs, session.out_ports, session.quick & 0xf)
    } else {
        (session.in_addrs, session.in_ports, session.quick >> 4)
    };
    if (addrs.bits() ^ own_addrs.bits()) | u64::from(ports.bits() ^ own_ports.bits()) != 0 {
        return false;
    }
    // Outbound the deltas as they are, inbound their complements.
    let flip = if OUT { 0 } else { 0xffff };
    let l4_delta = Delta::from_bits(session.l4_delta ^ flip);
    if protocol == UDP {
        let Some(bytes) = frame.first_chunk_mut::<UDP_HEADERS>().filter(|_| quick == QUICK_UDP) else { return false };
        put(bytes, L4 + 6, l4_delta.apply_udp(get(bytes, L4 + 6)));
    } else {
        let Some(bytes) = frame.first_chunk_mut::<TCP_HEADERS>() else { return false };
        if quick != QUICK_TCP || bytes[L4 + 13] & (bits::SYN | bits::FIN | bits::RST) != 0 {
            return false;
        }
        put(bytes, L4 + 16, l4_delta.apply(get(bytes, L4 + 16)));
    }
    let Some(bytes) = frame.first_chunk_mut::<UDP_HEADERS>() else { return false };
    let (new_addrs, new_ports) =
        if OUT { (session.in_addrs, session.in_ports) } else { (session.out_addrs, session.out_ports) };
    bytes[TTL] -= 1;
    let addr_delta = Delta::from_bits(session.addr_delta ^ flip);
    put(bytes, CHECKSUM, addr_delta.apply_with(TTL_DELTA, get(bytes, CHECKSUM)));
    bytes[ADDRS..ADDRS + 8].copy_from_slice(&new_addrs.swapped().to_wire());
    bytes[L4..L4 + 4].copy_from_slice(&new_ports.swapped().to_wire());
    true
}

/// A checksum as it lies in memory. One's complement sums do not mind the order of bytes (RFC 1071 §2).
#[inline(always)]
fn get<const N: usize>(bytes: &[u8; N], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

#[inline(always)]
fn put<const N: usize>(bytes: &mut [u8; N], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_ne_bytes());
}

/// True if the packet may be fragmented on its way.
#[inline(always)]
pub(crate) fn may_be_fragmented(frame: &[u8]) -> bool {
    frame.get(L3 + 6).is_some_and(|flags| flags & 0x40 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Packet, Rewrite, decrement_ttl, put_u16};
    use crate::tcp::State;
    use natrig_wire::checksum;
    use proptest::prelude::*;

    /// A DNS query: 10.0.0.1 → 192.0.2.53, TTL 64, UDP 1234 → 53.
    fn dns() -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
        frame.extend([0x45, 0, 0, 0x20, 0x12, 0x34, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 192, 0, 2, 53]);
        frame.extend([0x04, 0xd2, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4]);
        right(&mut frame);
        let pseudo = checksum::pseudo_header(0x0a00_0001, 0xc000_0235, 17, 12);
        let sum = checksum::finish(checksum::sum(pseudo, &frame[34..]));
        put_u16(&mut frame, 40, sum);
        frame
    }

    fn right(frame: &mut [u8]) {
        put_u16(frame, 24, 0);
        let sum = checksum::finish(checksum::sum(0, &frame[14..34]));
        put_u16(frame, 24, sum);
    }

    #[test]
    fn reads_an_ordinary_packet() {
        let expected = Head { addrs: Addrs::new(0x0a00_0001, 0xc000_0235), ports: Ports::new(1234, 53), protocol: UDP };
        assert_eq!((Head::read(&dns()), Head::again(&dns())), (Some(expected), Some(expected)));
    }

    #[test]
    fn leaves_everything_unusual_to_the_careful_path() {
        for (at, value) in [(12, 0x86), (14, 0x46), (20, 0x20), (21, 1), (22, 1), (22, 0), (23, 47), (16, 9), (17, 27)]
        {
            let mut frame = dns();
            frame[at] = value;
            right(&mut frame);
            assert!(Head::read(&frame).is_none(), "byte {at} = {value}");
        }
        for len in [0, 7, 11, 13] {
            let mut frame = dns();
            frame[39] = len;
            assert!(Head::read(&frame).is_none(), "UDP length {len}");
        }
        let mut frame = dns();
        frame[24] ^= 1;
        assert!(Head::read(&frame).is_none());
        for len in 0..46 {
            assert!(Head::read(&dns()[..len]).is_none(), "{len} bytes");
        }
    }

    proptest! {
        #[test]
        fn any_header_with_a_right_checksum_is_right(mut header: [u8; 20], wrong in 1u8..) {
            let mut bytes = [0; UDP_HEADERS];
            header[10..12].fill(0);
            let sum = checksum::finish(checksum::sum(0, &header));
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            bytes[14..34].copy_from_slice(&header);
            prop_assert_eq!(header_sum_is_right(&bytes), checksum::fold(checksum::sum(0, &header)) == 0xffff);
            bytes[20] ^= wrong;
            prop_assert_eq!(header_sum_is_right(&bytes), checksum::fold(checksum::sum(0, &bytes[14..34])) == 0xffff);
        }

        /// The ordinary and the careful path agree, and inbound undoes outbound.
        #[test]
        fn both_paths_agree(outside: (u32, u16), checksum: u16) {
            let mut session = Session::new(UDP, (0x0a00_0001, 1234), (0xc000_0235, 53), outside);
            session.state = State::UdpStream;
            session.settle();
            let mut frame = dns();
            put_u16(&mut frame, 40, checksum);
            let mut careful = frame.clone();
            let mut fast = frame.clone();
            prop_assert!(translate::<true>(&mut fast, &session));
            let packet = Packet::read(&careful).unwrap();
            Rewrite::of(&session, true).apply(&mut careful, &packet);
            decrement_ttl(&mut careful);
            prop_assert_eq!(&fast, &careful);
            let (src, dst) = fast[26..34].split_at_mut(4);
            src.swap_with_slice(dst);
            let (src, dst) = fast[34..38].split_at_mut(2);
            src.swap_with_slice(dst);
            prop_assert!(translate::<false>(&mut fast, &session));
            prop_assert_eq!(&fast[26..34], &[192, 0, 2, 53, 10, 0, 0, 1]);
            prop_assert_eq!(u16_at(&fast, 40) % 0xffff, checksum % 0xffff);
        }
    }

    #[test]
    fn leaves_packets_alone_that_are_not_the_sessions_or_not_steady() {
        let mut session = Session::new(UDP, (0x0a00_0001, 1234), (0xc000_0235, 53), (0xc633_6401, 40_000));
        let mut frame = dns();
        for state in [State::UdpNew, State::UdpNewIn, State::Close] {
            session.state = state;
            session.settle();
            assert_eq!(translate::<true>(&mut frame, &session), state == State::UdpNew);
            frame = dns();
        }
        session.state = State::UdpStream;
        session.settle();
        frame[37] = 54;
        assert!(!translate::<true>(&mut frame, &session));
        session.flags |= crate::session::flag::HAIRPIN;
        session.settle();
        assert!(!translate::<true>(&mut dns(), &session));
    }
}
