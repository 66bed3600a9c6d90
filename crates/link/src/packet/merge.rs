//! Segments of a TCP connection that leave one behind the other, told to the kernel as the one frame that they make up (generic
//! segmentation offload): whatever has to be cut on its way is cut there, and where nobody needs that, the receiver's stack is run once for
//! all of them.
//!
//! What is merged is what the kernel itself would merge on reception (`tcp_gro_receive` in `net/ipv4/tcp_offload.c`,
//! `inet_gro_receive`), and checksums are verified before: a damaged segment stays one.

use super::oversize::{ETHERNET, FLAG_FIN, FLAG_PSH, META_LEN, TCP, TYPE_TCP4};
use natrig_wire::{Frame, checksum};
use std::ops::Range;

/// An Ethernet, an IPv4 header without options, and a TCP header.
const HEADERS_MAX: usize = ETHERNET + IP + 60;
const IP: usize = 20;
const SEGMENT: usize = ETHERNET + IP;
const FLAG_ACK: u8 = 0x10;
/// What an IPv4 packet can be long.
const PACKET_LEN_MAX: usize = 65_535;
/// In `struct virtio_net_hdr`: the checksum is left to do.
const NEEDS_CHECKSUM: u8 = 1;
const CHECKSUM_AT: usize = 16;

/// What stands in front of the payload of a message: what the kernel is told about it, and the headers of all of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    bytes: [u8; META_LEN + HEADERS_MAX],
    len: usize,
}

/// Nothing is left to do: for a frame as it is.
pub(super) const AS_IT_IS: Head = Head { bytes: [0; META_LEN + HEADERS_MAX], len: META_LEN };

/// A frame that may be one of several.
struct Segment<'a> {
    bytes: &'a [u8],
    headers: usize,
}

impl Head {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// How many bytes at the beginning of each frame are replaced by it; none of a frame as it is.
    pub(super) fn replaces(&self) -> usize {
        self.len - META_LEN
    }

    /// For the first frames of `pick` that can leave as one, none longer than `frame_len_max`; and how many they are. One: as it is.
    pub(super) fn of(frames: &[Frame<'_>], pick: &[u16], frame_len_max: usize) -> (Self, usize) {
        let bytes = |index: &u16| frames[usize::from(*index)].bytes();
        let alone = (AS_IT_IS, 1);
        let Some(first) = pick.first().map(bytes).filter(|bytes| bytes.len() <= frame_len_max).and_then(Segment::of)
        else {
            return alone;
        };
        let piece_len = first.payload_len();
        let (mut count, mut last, mut payload_len) = (1, first.flags(), piece_len);
        // Only the last may be shorter, or bear a flag of its own. Whether its checksum is right is looked at last: that takes longest.
        for (nth, index) in (1u16..).zip(&pick[1..]) {
            if last & (FLAG_PSH | FLAG_FIN) != 0 || payload_len != usize::from(nth) * piece_len {
                break;
            }
            let Some(next) = Segment::of(bytes(index)).filter(|next| next.follows(&first, nth)) else { break };
            let len = payload_len + next.payload_len();
            if first.headers - ETHERNET + len > PACKET_LEN_MAX || !next.is_sound() {
                break;
            }
            (count, last, payload_len) = (count + 1, next.flags(), len);
        }
        if count == 1 || !first.is_sound() {
            return alone;
        }
        (first.head(last, piece_len, payload_len), count)
    }
}

impl<'a> Segment<'a> {
    /// None of what is merged with nothing.
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let ip = bytes.get(ETHERNET..).filter(|ip| ip.len() > IP + 20)?;
        let is_plain = bytes[12..14] == [8, 0] && ip[0] == 0x45 && ip[6] & 0x3f == 0 && ip[7] == 0 && ip[9] == TCP;
        let is_whole = usize::from(u16::from_be_bytes([ip[2], ip[3]])) == ip.len();
        let headers = SEGMENT + usize::from(ip[IP + 12] >> 4) * 4;
        let segment = Self { bytes, headers };
        let flags = ip[IP + 13] & !(FLAG_PSH | FLAG_FIN);
        (is_plain && is_whole && headers >= SEGMENT + 20 && headers < bytes.len() && flags == FLAG_ACK)
            .then_some(segment)
    }

    fn payload_len(&self) -> usize {
        self.bytes.len() - self.headers
    }

    fn flags(&self) -> u8 {
        self.bytes[SEGMENT + 13]
    }

    fn ident(&self) -> u16 {
        u16::from_be_bytes([self.bytes[ETHERNET + 4], self.bytes[ETHERNET + 5]])
    }

    fn sequence(&self) -> u32 {
        self.long(SEGMENT + 4)
    }

    fn long(&self, at: usize) -> u32 {
        u32::from_be_bytes([self.bytes[at], self.bytes[at + 1], self.bytes[at + 2], self.bytes[at + 3]])
    }

    /// Whether this is the `nth` after `first`, which all between have the length of: the same but for length, number, flags of the last
    /// and checksums.
    fn follows(&self, first: &Self, nth: u16) -> bool {
        let same = |range: Range<usize>| self.bytes[range.clone()] == first.bytes[range];
        self.headers == first.headers
            && self.payload_len() <= first.payload_len()
            && self.ident() == first.ident().wrapping_add(nth)
            && self.sequence() == first.sequence().wrapping_add(u32::from(nth) * first.payload_len() as u32)
            && same(0..ETHERNET + 2)
            && same(ETHERNET + 6..ETHERNET + 10)
            && same(ETHERNET + 12..SEGMENT + 4)
            && same(SEGMENT + 8..SEGMENT + 13)
            && same(SEGMENT + 14..SEGMENT + CHECKSUM_AT)
            && same(SEGMENT + 18..self.headers)
    }

    fn is_sound(&self) -> bool {
        let segment = &self.bytes[SEGMENT..];
        checksum::finish(checksum::sum(0, &self.bytes[ETHERNET..SEGMENT])) == 0
            && checksum::finish(checksum::sum(self.pseudo_header(segment.len()), segment)) == 0
    }

    fn pseudo_header(&self, len: usize) -> u32 {
        checksum::pseudo_header(self.long(ETHERNET + 12), self.long(ETHERNET + 16), TCP, len as u16)
    }

    /// The headers of all that begins with this one.
    fn head(&self, last_flags: u8, piece_len: usize, payload_len: usize) -> Head {
        let mut bytes = [0; META_LEN + HEADERS_MAX];
        let (meta, headers) = bytes.split_at_mut(META_LEN);
        (meta[0], meta[1]) = (NEEDS_CHECKSUM, TYPE_TCP4);
        for (at, value) in [(2, self.headers), (4, piece_len), (6, SEGMENT), (8, CHECKSUM_AT)] {
            meta[at..at + 2].copy_from_slice(&(value as u16).to_ne_bytes());
        }
        let headers = &mut headers[..self.headers];
        headers.copy_from_slice(&self.bytes[..self.headers]);
        let segment_len = self.headers - SEGMENT + payload_len;
        headers[ETHERNET + 2..ETHERNET + 4].copy_from_slice(&((IP + segment_len) as u16).to_be_bytes());
        headers[ETHERNET + 10..ETHERNET + 12].fill(0);
        let sum = checksum::finish(checksum::sum(0, &headers[ETHERNET..SEGMENT]));
        headers[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&sum.to_be_bytes());
        headers[SEGMENT + 13] |= last_flags;
        // Of the pseudo-header alone: whoever cuts it, or sends it, sums the rest.
        let partial = checksum::fold(self.pseudo_header(segment_len));
        headers[SEGMENT + CHECKSUM_AT..SEGMENT + CHECKSUM_AT + 2].copy_from_slice(&partial.to_be_bytes());
        Head { bytes, len: META_LEN + self.headers }
    }
}

#[cfg(test)]
mod tests {
    use super::super::oversize::TYPE_TCP4;
    use super::super::oversize::tests::{cut, merged};
    use super::*;

    /// Plain segments of 1448 bytes, and whatever is left over.
    fn pieces(payload: usize) -> Vec<Vec<u8>> {
        let mut whole = merged(TCP, payload);
        // Without what is told in the first piece alone.
        whole[SEGMENT + 13] &= !0x80;
        cut(TYPE_TCP4, 1448, &whole).unwrap()
    }

    /// The messages that are sent: what is told of each, the frame, and how many there were.
    fn messages(pieces: &mut [Vec<u8>], frame_len_max: usize) -> Vec<(Head, Vec<u8>, usize)> {
        let frames: Vec<Frame<'_>> = pieces.iter_mut().map(|bytes| Frame::whole(bytes)).collect();
        let pick: Vec<u16> = (0..frames.len() as u16).collect();
        let (mut messages, mut at) = (Vec::new(), 0);
        while at < pick.len() {
            let (head, count) = Head::of(&frames, &pick[at..], frame_len_max);
            let mut bytes = head.bytes()[META_LEN..].to_vec();
            for frame in &frames[at..at + count] {
                bytes.extend_from_slice(&frame.bytes()[head.replaces()..]);
            }
            messages.push((head, bytes, count));
            at += count;
        }
        messages
    }

    fn counts(pieces: &mut [Vec<u8>]) -> Vec<usize> {
        messages(pieces, 1514).into_iter().map(|(_, _, count)| count).collect()
    }

    #[test]
    fn what_is_cut_again_is_what_was_sent() {
        for payload in [1449, 2896, 2897, 20_000, 60_000] {
            let mut sent = pieces(payload);
            let count = sent.len();
            let [(head, bytes, merged)] = &messages(&mut sent, 1514)[..] else { panic!("one message") };
            assert_eq!((*merged, bytes.len()), (count, SEGMENT + 20 + payload));
            let piece_len = u16::from_ne_bytes([head.bytes()[4], head.bytes()[5]]);
            assert_eq!((head.bytes()[0], head.bytes()[1], piece_len), (NEEDS_CHECKSUM, TYPE_TCP4, 1448));
            assert_eq!(cut(TYPE_TCP4, piece_len, bytes).unwrap(), sent);
            assert!(super::super::checksum::is_partial(bytes));
        }
    }

    #[test]
    fn what_is_not_alike_stays_apart() {
        assert_eq!(counts(&mut pieces(1448 * 4)), [4]);
        let differ = |at: usize, value: u8| {
            let mut pieces = pieces(1448 * 4);
            pieces[2][at] ^= value;
            // Its checksums are right all the same.
            pieces[2][ETHERNET + 10..ETHERNET + 12].fill(0);
            let sum = checksum::finish(checksum::sum(0, &pieces[2][ETHERNET..SEGMENT]));
            pieces[2][ETHERNET + 10..ETHERNET + 12].copy_from_slice(&sum.to_be_bytes());
            super::super::checksum::complete(&mut pieces[2]);
            counts(&mut pieces)
        };
        // MAC address, traffic class, identification, TTL, address, ports, sequence, acknowledgement, window, urgent pointer.
        for at in [3, 15, 19, 22, 29, 33, 35, 37, 40, 45, 48, 53] {
            assert_eq!(differ(at, 1), [2, 1, 1], "byte {at}");
        }
        assert_eq!(differ(SEGMENT + 13, FLAG_PSH), [3, 1], "what is pushed is the last of its frame");
        for flag in [0x02, 0x04, 0x20, 0x40, 0x80, FLAG_ACK] {
            assert_eq!(differ(SEGMENT + 13, flag), [2, 1, 1], "flag {flag:#x}");
        }
        assert_eq!(differ(SEGMENT + 1000, 1), [4], "payload may be anything");
    }

    #[test]
    fn what_is_damaged_stays_so() {
        for at in [SEGMENT + 1000, SEGMENT + CHECKSUM_AT, ETHERNET + 10] {
            for nth in 0..4 {
                let mut pieces = pieces(1448 * 4);
                pieces[nth][at] ^= 1;
                let apart =
                    messages(&mut pieces, 1514).into_iter().any(|(_, bytes, count)| count == 1 && bytes == pieces[nth]);
                assert!(apart, "piece {nth}, byte {at}");
            }
        }
    }

    #[test]
    fn what_the_link_does_not_carry_is_not_merged() {
        let mut sent = pieces(1448 * 3);
        assert!(messages(&mut sent, 1500).iter().all(|(head, _, count)| *count == 1 && head.replaces() == 0));
        assert_eq!(counts(&mut [vec![0; 14], vec![1; 60], Vec::new()]), [1, 1, 1]);
        let mut many: Vec<Vec<u8>> = pieces(1448 * 40);
        let more = pieces(1448 * 40);
        many.extend(more);
        assert_eq!(counts(&mut many), [40, 40], "the second begins anew");
    }
}
