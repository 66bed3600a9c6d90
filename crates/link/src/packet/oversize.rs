//! Frames longer than any on a wire, cut into those they stand for.
//!
//! Between two namespaces, or between a card's driver and us, the kernel passes on what it has not cut yet (generic segmentation
//! offload) or has merged already (generic receive offload): packets of up to 64 KiB with the length of their pieces beside them. A
//! packet socket gets them as they are. Such a frame does not fit a slot of the ring; the kernel then queues a copy of the whole on the
//! socket and marks the slot with TP_STATUS_COPY (kernel: `tpacket_rcv` in `net/packet/af_packet.c`), so that order is kept. What it
//! knows about the pieces stands in a `struct virtio_net_hdr` in front of the frame (linux/virtio_net.h).

use super::{checksum, socket};
use crate::error::OpenError;
use crate::sys;
use arrayvec::ArrayVec;
use natrig_wire::Frame;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Bytes of `struct virtio_net_hdr`: flags, type, header length, piece length, checksum start and offset.
pub(super) const META_LEN: usize = 10;
const META_TYPE: usize = 1;
const META_PIECE_LEN: usize = 4;

const TYPE_NONE: u8 = 0;
pub(super) const TYPE_TCP4: u8 = 1;
const TYPE_UDP: u8 = 5;
/// Beside a type: the first piece alone carries CWR.
const TYPE_ECN: u8 = 0x80;

/// The longest frame that is cut: an IPv4 packet cannot be longer.
const LEN_MAX: usize = 14 + 65_535;
/// Pieces presented at once.
const PIECES: usize = 64;
/// Room for copies on the socket: some hundred frames. Without the privilege to exceed the administrator's limit there is less.
const QUEUE_BYTES: i32 = 16 << 20;

pub(super) const ETHERNET: usize = 14;
pub(super) const TCP: u8 = 6;
const UDP: u8 = 17;
pub(super) const FLAG_FIN: u8 = 0x01;
pub(super) const FLAG_PSH: u8 = 0x08;
const FLAG_CWR: u8 = 0x80;

/// A frame that is being cut, and room for its pieces.
#[derive(Debug)]
pub(super) struct Oversize {
    /// What the kernel knows about the frame, and the frame.
    bytes: Box<[u8]>,
    cut: Option<Cut>,
    pieces: Box<[u8]>,
    slot_bytes: usize,
}

/// How the frame is cut, and how far.
#[derive(Debug, Clone, Copy)]
struct Cut {
    /// Bytes of all headers.
    headers: usize,
    len: usize,
    piece_len: usize,
    protocol: u8,
    next: usize,
}

/// Whether the kernel says that a frame stands for several.
pub(super) fn is_merged(meta: &[u8]) -> bool {
    meta.get(META_TYPE).is_some_and(|kind| *kind != TYPE_NONE)
}

impl Oversize {
    /// Prepares a socket that has no ring yet. From then on it does not send without a header of the same kind.
    pub(super) fn new(fd: BorrowedFd<'_>, frame_len_max: usize) -> Result<Self, OpenError> {
        socket::option(fd, libc::PACKET_VNET_HDR, &1i32, "ask for what is known about merged frames")?;
        socket::option(fd, libc::PACKET_COPY_THRESH, &1i32, "ask for copies of frames that do not fit a slot")?;
        sys::set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &QUEUE_BYTES)
            .or_else(|_| sys::set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &QUEUE_BYTES))
            .map_err(|source| OpenError::System { what: "size the receive buffer", source })?;
        Ok(Self::with_room_for(frame_len_max))
    }

    /// Has the socket that is sent through ask in front of each frame what that stands for.
    pub(super) fn sending(fd: BorrowedFd<'_>) -> Result<(), OpenError> {
        socket::option(fd, libc::PACKET_VNET_HDR, &1i32, "tell about merged frames")
    }

    fn with_room_for(frame_len_max: usize) -> Self {
        let slot_bytes = frame_len_max.next_power_of_two();
        Self {
            bytes: vec![0; META_LEN + LEN_MAX].into(),
            cut: None,
            pieces: vec![0; PIECES * slot_bytes].into(),
            slot_bytes,
        }
    }

    /// Whether there are pieces to present.
    pub(super) fn is_pending(&self) -> bool {
        self.cut.is_some()
    }

    /// Takes a merged frame that did fit its slot; false if it cannot be cut.
    pub(super) fn take(&mut self, meta: &[u8], frame: &[u8]) -> bool {
        let len = frame.len().min(LEN_MAX);
        self.bytes[..META_LEN].copy_from_slice(meta);
        self.bytes[META_LEN..META_LEN + len].copy_from_slice(&frame[..len]);
        self.begin(META_LEN + len)
    }

    /// Takes the copy that belongs to the slot just seen; false if it cannot be cut, or is of no use.
    pub(super) fn fetch(&mut self, fd: BorrowedFd<'_>, useless: bool) -> bool {
        // SAFETY: the pointer and length describe `bytes`, which the kernel fills; with MSG_TRUNC it answers how long the whole is.
        let read = unsafe {
            libc::recv(
                fd.as_raw_fd(),
                self.bytes.as_mut_ptr().cast(),
                self.bytes.len(),
                libc::MSG_DONTWAIT | libc::MSG_TRUNC,
            )
        };
        let whole = usize::try_from(read).ok().filter(|read| *read <= self.bytes.len() && !useless);
        whole.is_some_and(|len| self.begin(len))
    }

    fn begin(&mut self, len: usize) -> bool {
        self.cut = self.bytes[..len].split_at_checked(META_LEN).and_then(|(meta, frame)| Cut::of(meta, frame));
        // A piece that has no room is longer than what may leave anywhere.
        self.cut = self.cut.filter(|cut| cut.headers + cut.piece_len <= self.slot_bytes);
        self.cut.is_some()
    }

    /// Presents the next pieces; how many, and their bytes.
    pub(super) fn present(&mut self, max: usize, on_burst: &mut dyn FnMut(&mut [Frame<'_>])) -> (usize, u64) {
        let Some(cut) = &mut self.cut else { return (0, 0) };
        let frame = &self.bytes[META_LEN..META_LEN + cut.len];
        let mut burst = ArrayVec::<Frame<'_>, PIECES>::new();
        let mut bytes = 0;
        let mut over = false;
        for slot in self.pieces.chunks_exact_mut(self.slot_bytes).take(max.clamp(1, PIECES)) {
            let len = cut.write(frame, slot);
            bytes += len as u64;
            burst.push(Frame::new(slot, len));
            over = cut.headers + cut.next * cut.piece_len >= cut.len;
            if over {
                break;
            }
        }
        on_burst(&mut burst);
        let count = burst.len();
        drop(burst);
        if over {
            self.cut = None;
        }
        (count, bytes)
    }
}

impl Cut {
    /// None: not a frame that can be cut, so that it counts as one that did not fit.
    fn of(meta: &[u8], frame: &[u8]) -> Option<Self> {
        let piece_len = usize::from(u16::from_ne_bytes([meta[META_PIECE_LEN], meta[META_PIECE_LEN + 1]]));
        let ip = frame.get(ETHERNET..)?;
        let ip_header = usize::from(ip.first()? & 0x0f) * 4;
        let protocol = *ip.get(9)?;
        let transport = match (meta[META_TYPE] & !TYPE_ECN, protocol) {
            (TYPE_TCP4, TCP) => usize::from(ip.get(ip_header + 12)? >> 4) * 4,
            (TYPE_UDP, UDP) => 8,
            _ => return None,
        };
        let headers = ETHERNET + ip_header + transport;
        let is_ipv4 = frame[12..14] == [8, 0] && ip[0] >> 4 == 4 && ip_header >= 20;
        let is_tcp = protocol == UDP || transport >= 20;
        (is_ipv4 && is_tcp && piece_len > 0 && headers < frame.len()).then_some(Self {
            headers,
            len: frame.len(),
            piece_len,
            protocol,
            next: 0,
        })
    }

    /// Writes the next piece (kernel: `inet_gso_segment`, `tcp_gso_segment`, `__udp_gso_segment`); its length.
    fn write(&mut self, frame: &[u8], slot: &mut [u8]) -> usize {
        let from = self.headers + self.next * self.piece_len;
        let payload = &frame[from..self.len.min(from + self.piece_len)];
        let len = self.headers + payload.len();
        let piece = &mut slot[..len];
        piece[..self.headers].copy_from_slice(&frame[..self.headers]);
        piece[self.headers..].copy_from_slice(payload);
        let is_last = from + payload.len() == self.len;
        let ip = &mut piece[ETHERNET..];
        let ip_header = usize::from(ip[0] & 0x0f) * 4;
        let total_len = ip.len() as u16;
        ip[2..4].copy_from_slice(&total_len.to_be_bytes());
        let ident = u16::from_be_bytes([ip[4], ip[5]]).wrapping_add(self.next as u16);
        ip[4..6].copy_from_slice(&ident.to_be_bytes());
        ip[10..12].fill(0);
        let sum = natrig_wire::checksum::finish(natrig_wire::checksum::sum(0, &ip[..ip_header]));
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        let transport = &mut ip[ip_header..];
        if self.protocol == TCP {
            let sequence = u32::from_be_bytes([transport[4], transport[5], transport[6], transport[7]]);
            let sequence = sequence.wrapping_add((self.next * self.piece_len) as u32);
            transport[4..8].copy_from_slice(&sequence.to_be_bytes());
            if !is_last {
                transport[13] &= !(FLAG_FIN | FLAG_PSH);
            }
            if self.next > 0 {
                transport[13] &= !FLAG_CWR;
            }
        } else {
            let udp_len = transport.len() as u16;
            transport[4..6].copy_from_slice(&udp_len.to_be_bytes());
        }
        checksum::complete(piece);
        self.next += 1;
        len
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use natrig_wire::{ipv4, tcp, udp};
    use std::net::Ipv4Addr;

    const SRC: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const DST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    fn meta(kind: u8, piece_len: u16) -> [u8; META_LEN] {
        let mut meta = [0; META_LEN];
        meta[META_TYPE] = kind;
        meta[META_PIECE_LEN..META_PIECE_LEN + 2].copy_from_slice(&piece_len.to_ne_bytes());
        meta
    }

    /// A packet of `payload` bytes, numbered so that no two places look alike, with its checksums left undone.
    pub(in crate::packet) fn merged(protocol: u8, payload: usize) -> Vec<u8> {
        let header = if protocol == TCP { 20 } else { 8 };
        let mut frame = vec![0; 34 + header];
        frame.extend((0..payload).map(|at| (at / 7) as u8));
        frame[12] = 8;
        let repr = ipv4::Repr {
            src: SRC,
            dst: DST,
            protocol,
            ttl: 64,
            ident: 0xffff,
            dont_fragment: true,
            payload_len: header + payload,
        };
        repr.emit(&mut frame[14..]).unwrap();
        if protocol == TCP {
            let flags = FLAG_FIN | FLAG_PSH | FLAG_CWR | 0x10;
            let repr = tcp::Repr { src_port: 1, dst_port: 2, seq: u32::MAX - 1000, ack: 5, flags, window: 9 };
            repr.emit(&mut frame[34..]).unwrap();
        } else {
            udp::Repr { src_port: 1, dst_port: 2, payload_len: payload }.emit(&mut frame[34..]).unwrap();
        }
        frame
    }

    pub(in crate::packet) fn cut(kind: u8, piece_len: u16, frame: &[u8]) -> Option<Vec<Vec<u8>>> {
        let mut oversize = Oversize::with_room_for(1514);
        if !oversize.take(&meta(kind, piece_len), frame) {
            return None;
        }
        let mut pieces = Vec::new();
        while oversize.is_pending() {
            let before = pieces.len();
            let (count, bytes) = oversize.present(50, &mut |burst| {
                pieces.extend(burst.iter().map(|frame| frame.bytes().to_vec()));
            });
            assert_eq!(pieces.len() - before, count);
            assert_eq!(pieces[before..].iter().map(|piece| piece.len() as u64).sum::<u64>(), bytes);
        }
        Some(pieces)
    }

    #[test]
    fn tcp_is_cut_as_a_card_would_cut_it() {
        let frame = merged(TCP, 60_000);
        let pieces = cut(TYPE_TCP4 | TYPE_ECN, 1448, &frame).unwrap();
        assert_eq!(pieces.len(), 60_000usize.div_ceil(1448));
        let mut payload = Vec::new();
        for (number, piece) in pieces.iter().enumerate() {
            let ip = ipv4::Packet::new_checked(&piece[14..]).unwrap();
            assert!(ip.verify_checksum() && ip.dont_fragment() && ip.total_len() + 14 == piece.len());
            assert_eq!(ip.ident(), 0xffffu16.wrapping_add(number as u16));
            let segment = tcp::Packet::new_checked(ip.payload()).unwrap();
            assert!(segment.verify_checksum(SRC, DST));
            assert_eq!(segment.seq(), (u32::MAX - 1000).wrapping_add(1448 * number as u32));
            let last = number + 1 == pieces.len();
            let flags = segment.flags();
            assert_eq!(flags & (FLAG_FIN | FLAG_PSH) != 0, last);
            assert_eq!(flags & FLAG_CWR != 0, number == 0);
            payload.extend_from_slice(&piece[54..]);
        }
        assert_eq!(payload, frame[54..]);
    }

    #[test]
    fn datagrams_are_parted() {
        let pieces = cut(TYPE_UDP, 1000, &merged(UDP, 2500)).unwrap();
        let lens: Vec<_> = pieces.iter().map(|piece| piece.len() - 42).collect();
        assert_eq!(lens, [1000, 1000, 500]);
        for piece in &pieces {
            let ip = ipv4::Packet::new_checked(&piece[14..]).unwrap();
            let datagram = udp::Packet::new_checked(ip.payload()).unwrap();
            assert!(datagram.verify_checksum(SRC, DST) && ip.verify_checksum());
        }
    }

    #[test]
    fn what_cannot_be_cut_is_refused() {
        let tcp = merged(TCP, 3000);
        assert!(cut(TYPE_TCP4, 1448, &tcp).is_some());
        assert!(cut(TYPE_NONE, 1448, &tcp).is_none(), "merely too long");
        assert!(cut(TYPE_TCP4, 0, &tcp).is_none());
        assert!(cut(TYPE_TCP4, 9000, &tcp).is_none(), "pieces that have no room");
        assert!(cut(TYPE_UDP, 1448, &tcp).is_none());
        assert!(cut(3, 1448, &merged(UDP, 3000)).is_none(), "fragments, which no kernel makes any more");
        for len in [0, 13, 14, 33, 40, 54] {
            assert!(cut(TYPE_TCP4, 1448, &tcp[..len]).is_none(), "{len} bytes");
        }
    }
}
