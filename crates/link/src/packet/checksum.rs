//! Completing checksums that the sender left to a network card.
//!
//! A veth has no card: with transmit checksum offload on, frames of the kernel's stack arrive with only the pseudo-header summed
//! (CHECKSUM_PARTIAL), marked TP_STATUS_CSUMNOTREADY in a packet ring.

use natrig_wire::checksum;

const ETHERNET_LEN: usize = 14;
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;

/// An IPv4 frame's transport header and payload, whole.
struct Transport {
    /// Where the segment is in the frame.
    start: usize,
    end: usize,
    /// Where its checksum is in the segment.
    field: usize,
    protocol: u8,
    /// The pseudo-header's sum, not folded.
    pseudo_header: u32,
}

impl Transport {
    /// None where there is no TCP or UDP checksum over what is in the frame.
    #[inline]
    fn of(frame: &[u8]) -> Option<Self> {
        let (ethernet, packet) = frame.split_at_checked(ETHERNET_LEN)?;
        if ethernet[12..] != ETHERTYPE_IPV4 || packet.len() < 20 || packet[0] >> 4 != 4 {
            return None;
        }
        let header_len = usize::from(packet[0] & 0x0f) * 4;
        let total_len = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
        let is_fragment = u16::from_be_bytes([packet[6], packet[7]]) & 0x3fff != 0;
        let protocol = packet[9];
        let field = match protocol {
            PROTOCOL_TCP => 16,
            PROTOCOL_UDP => 6,
            _ => return None,
        };
        if is_fragment || header_len < 20 || total_len > packet.len() || total_len < header_len + field + 2 {
            return None;
        }
        let address = |at: usize| u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
        let len = (total_len - header_len) as u16;
        Some(Self {
            start: ETHERNET_LEN + header_len,
            end: ETHERNET_LEN + total_len,
            field,
            protocol,
            pseudo_header: checksum::pseudo_header(address(12), address(16), protocol, len),
        })
    }
}

/// Whether the checksum of an unfragmented IPv4 frame is only that of its pseudo-header (kernel: CHECKSUM_PARTIAL, as
/// `__tcp_v4_send_check` and `udp_v4_check` leave it).
#[inline]
pub(crate) fn is_partial(frame: &[u8]) -> bool {
    Transport::of(frame).is_some_and(|transport| {
        let at = transport.start + transport.field;
        frame[at..at + 2] == checksum::fold(transport.pseudo_header).to_be_bytes()
    })
}

/// Writes the whole TCP or UDP checksum of an unfragmented IPv4 frame; leaves other frames as they are. False if left.
pub(crate) fn complete(frame: &mut [u8]) -> bool {
    let Some(Transport { start, end, field, protocol, pseudo_header }) = Transport::of(frame) else { return false };
    let segment = &mut frame[start..end];
    segment[field..field + 2].fill(0);
    let value = match checksum::finish(checksum::sum(pseudo_header, segment)) {
        // RFC 768: a sum of zero is sent as all ones; zero would mean "no checksum".
        0 if protocol == PROTOCOL_UDP => 0xffff,
        value => value,
    };
    segment[field..field + 2].copy_from_slice(&value.to_be_bytes());
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// UDP 10.0.0.1:1024 -> 10.0.0.2:53 with the payload "abc", padded to 60 bytes; the checksum field holds garbage.
    fn udp_frame() -> [u8; 60] {
        let mut frame = [0u8; 60];
        frame[12..14].copy_from_slice(&ETHERTYPE_IPV4);
        frame[14..34].copy_from_slice(&[0x45, 0, 0, 31, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame[34..45].copy_from_slice(&[4, 0, 0, 53, 0, 11, 0xde, 0xad, b'a', b'b', b'c']);
        frame
    }

    #[test]
    fn the_udp_checksum_is_the_one_of_rfc_768() {
        let mut frame = udp_frame();
        assert!(complete(&mut frame));
        // Words: 0a00 0001 0a00 0002 0011 000b | 0400 0035 000b 6162 6300, summed by hand to e2bb -> 1d44.
        let words = [0x0a00u32, 1, 0x0a00, 2, 0x11, 0x0b, 0x0400, 0x35, 0x0b, 0x6162, 0x6300];
        let sum: u32 = words.iter().sum();
        let expected = !(((sum >> 16) + (sum & 0xffff)) as u16);
        assert_eq!(u16::from_be_bytes([frame[40], frame[41]]), expected);
        assert_eq!(frame[45..], [0; 15], "padding is not touched");
    }

    #[test]
    fn frames_without_a_checksum_to_complete_are_left_alone() {
        let icmp = {
            let mut frame = udp_frame();
            frame[23] = 1;
            frame
        };
        let fragment = {
            let mut frame = udp_frame();
            frame[21] = 1;
            frame
        };
        let cut = udp_frame()[..40].to_vec();
        let arp = {
            let mut frame = udp_frame();
            frame[13] = 6;
            frame
        };
        let bad_length = {
            let mut frame = udp_frame();
            frame[16] = 0xff;
            frame
        };
        for mut frame in [icmp.to_vec(), fragment.to_vec(), cut, arp.to_vec(), bad_length.to_vec(), vec![0; 5]] {
            let before = frame.clone();
            assert!(!complete(&mut frame));
            assert_eq!(frame, before);
        }
    }
}
