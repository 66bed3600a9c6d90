//! Ordinary packets by fixed offset: whole IPv4 without options, UDP or TCP, nothing about them that asks for care.

use crate::packet::{L3, u16_at};
use crate::pair::{Addrs, Ports};
use crate::session::{QUICK_TCP, QUICK_UDP, Session, TCP, UDP};
use crate::tcp::{State, bits};
use crate::wheel::before;
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
pub(crate) const TTL_DELTA: Delta = Delta::new().u16(u16::from_ne_bytes([1, 0]), 0);

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

    /// Checks that a packet of `len` bytes at the start of a slot is ordinary and reads its flow: IPv4 without options, whole, TTL to
    /// spare, header checksum right, UDP or TCP.
    #[inline(always)]
    pub(crate) fn read(slot: &[u8], len: usize) -> Option<Self> {
        let bytes: &[u8; UDP_HEADERS] = slot.first_chunk()?;
        let is_plain = word(bytes, L3 - 2) & 0xff_ffff == 0x45_0008;
        // Not a bit but "don't fragment".
        let is_whole = u16::from_le_bytes([bytes[L3 + 6], bytes[L3 + 7]]) & 0xff3f == 0;
        let lives = bytes[TTL] > 1;
        let total_len = u32::from(u16_at(bytes, L3 + 2));
        // Room for UDP's header; as much for TCP's is asked for below.
        let fits = total_len >= 28 && total_len as usize + L3 <= len;
        if !is_plain || !is_whole || !lives || !fits || !header_sum_is_right(bytes) {
            return None;
        }
        let head = Self::again(slot)?;
        // The length of the datagram, or of TCP's header, is within the packet.
        let whole = match head.protocol {
            UDP => u32::from(u16_at(bytes, L4 + 4)) + 20 == total_len,
            TCP => {
                let header_len = slot.get(L4 + 12).map_or(0, |offset| u32::from(offset >> 4) * 4);
                (20..=total_len - 20).contains(&header_len)
            }
            _ => false,
        };
        whole.then_some(head)
    }
}

/// True if the words of a header without options add up to all ones (RFC 1071): their sum is a multiple of 65535, and not zero, because
/// the version is not. Neither the order of bytes nor the width of the words makes a difference to that (§2). That the packet is no
/// fragment leaves room for all carries but one.
#[inline(always)]
fn header_sum_is_right(bytes: &[u8; UDP_HEADERS]) -> bool {
    let before_addrs = long(bytes, L3) + u64::from(word(bytes, TTL));
    let (sum, carry) = before_addrs.overflowing_add(long(bytes, ADDRS));
    (sum + u64::from(carry)).is_multiple_of(0xffff)
}

/// Four bytes, the first one lowest.
#[inline(always)]
fn word(bytes: &[u8; UDP_HEADERS], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |word| u32::from_le_bytes(*word))
}

/// Eight bytes, the first one lowest.
#[inline(always)]
fn long(bytes: &[u8; UDP_HEADERS], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |long| u64::from_le_bytes(*long))
}

/// Translates an ordinary packet of a session in a steady state: address, port, TTL, both checksums. False, and nothing changed, if the
/// packet is not the session's, or not to be translated without looking closer.
#[inline(always)]
pub(crate) fn translate<const OUT: bool>(slot: &mut [u8], session: &Session) -> bool {
    let Some(bytes) = slot.first_chunk_mut::<UDP_HEADERS>() else { return false };
    let (own_addrs, own_ports) =
        if OUT { (session.out_addrs(), session.out_ports) } else { (session.in_addrs(), session.in_ports) };
    let ports = word(bytes, L4) ^ own_ports.bits().to_le();
    if (long(bytes, ADDRS) ^ own_addrs.bits().to_le()) | u64::from(ports) != 0 {
        return false;
    }
    // Outbound the deltas as they are, inbound their complements.
    let flip = if OUT { 0 } else { 0xffff };
    let l4_delta = Delta::from_bits(session.l4_delta ^ flip);
    if bytes[PROTOCOL] == UDP {
        if !session.is_quick(QUICK_UDP, OUT) {
            return false;
        }
        put(bytes, L4 + 6, l4_delta.apply_udp(get(bytes, L4 + 6)));
    } else {
        let Some(bytes) = slot.first_chunk_mut::<TCP_HEADERS>() else { return false };
        if !session.is_quick(QUICK_TCP, OUT) || bytes[L4 + 13] & (bits::SYN | bits::FIN | bits::RST) != 0 {
            return false;
        }
        put(bytes, L4 + 16, l4_delta.apply(get(bytes, L4 + 16)));
    }
    let Some(bytes) = slot.first_chunk_mut::<UDP_HEADERS>() else { return false };
    bytes[TTL] -= 1;
    let addr_delta = Delta::from_bits(session.addr_delta ^ flip);
    put(bytes, CHECKSUM, TTL_DELTA.apply(addr_delta.apply_nonzero(get(bytes, CHECKSUM))));
    // Outbound the source is another, inbound the destination.
    if OUT {
        bytes[ADDRS..ADDRS + 4].copy_from_slice(&session.in_addrs().to_wire()[4..]);
        bytes[L4..L4 + 2].copy_from_slice(&session.in_ports.to_wire()[2..]);
    } else {
        bytes[ADDRS + 4..ADDRS + 8].copy_from_slice(&session.out_addrs().to_wire()[..4]);
        bytes[L4 + 2..L4 + 4].copy_from_slice(&session.out_ports.to_wire()[..2]);
    }
    true
}

/// What the ordinary path needs to know of the time.
pub(crate) struct Clocks {
    pub(crate) now: u32,
    pub(crate) clock: u32,
    pub(crate) refresh: [u32; State::COUNT],
}

/// Translates a packet of a live session in a steady state; false if it is not that.
#[inline(always)]
pub(crate) fn established<const OUT: bool>(session: &mut Session, frame: &mut [u8], clocks: &Clocks) -> bool {
    if !before(clocks.clock, session.expires) || !translate::<OUT>(frame, session) {
        return false;
    }
    let timeout = clocks.refresh[session.state as usize];
    if timeout != 0 {
        session.expires = clocks.now.wrapping_add(timeout);
    }
    let counter = if OUT { &mut session.packets_out } else { &mut session.packets_in };
    *counter = counter.wrapping_add(1);
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
        assert_eq!((Head::read(&dns(), dns().len()), Head::again(&dns())), (Some(expected), Some(expected)));
    }

    #[test]
    fn leaves_everything_unusual_to_the_careful_path() {
        for (at, value) in [(12, 0x86), (14, 0x46), (20, 0x20), (21, 1), (22, 1), (22, 0), (23, 47), (16, 9), (17, 27)]
        {
            let mut frame = dns();
            frame[at] = value;
            right(&mut frame);
            assert!(Head::read(&frame, frame.len()).is_none(), "byte {at} = {value}");
        }
        for len in [0, 7, 11, 13] {
            let mut frame = dns();
            frame[39] = len;
            assert!(Head::read(&frame, frame.len()).is_none(), "UDP length {len}");
        }
        let mut frame = dns();
        frame[24] ^= 1;
        assert!(Head::read(&frame, frame.len()).is_none());
        for len in 0..46 {
            assert!(Head::read(&dns(), len).is_none() && Head::read(&dns()[..len], len).is_none(), "{len} bytes");
        }
    }

    proptest! {
        #[test]
        fn any_header_with_a_right_checksum_is_right(mut header: [u8; 20], wrong in 1u8..) {
            let mut bytes = [0; UDP_HEADERS];
            header[6..8].copy_from_slice(&[0x40, 0]);
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

    /// With every checksum that a header can have, also where the addresses add up to the same.
    #[test]
    fn both_paths_agree_about_zero() {
        for outside in [0x0001_0a00, 0x0a00_0000, 0xc633_6401] {
            let mut session = Session::new(UDP, (0x0a00_0001, 1234), (0xc000_0235, 53), (outside, 1234));
            session.state = State::UdpStream;
            session.settle();
            let mut frame = dns();
            for ident in 0..=u16::MAX {
                put_u16(&mut frame, 18, ident);
                right(&mut frame);
                let (mut fast, mut careful) = (frame.clone(), frame.clone());
                assert!(translate::<true>(&mut fast, &session));
                let packet = Packet::read(&careful).unwrap();
                Rewrite::of(&session, true).apply(&mut careful, &packet);
                decrement_ttl(&mut careful);
                assert_eq!(fast, careful, "identification {ident}, outside {outside:x}");
                let mut back = fast;
                let (src, dst) = back[26..34].split_at_mut(4);
                src.swap_with_slice(dst);
                let (src, dst) = back[34..38].split_at_mut(2);
                src.swap_with_slice(dst);
                let mut careful = back.clone();
                assert!(translate::<false>(&mut back, &session));
                let packet = Packet::read(&careful).unwrap();
                Rewrite::of(&session, false).apply(&mut careful, &packet);
                decrement_ttl(&mut careful);
                assert_eq!(back, careful, "identification {ident}, back from {outside:x}");
            }
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
