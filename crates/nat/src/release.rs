//! Held frames presented again, and packets cut into pieces.

use crate::answer::Error;
use crate::held::{RELEASE_BURST, Wait};
use crate::packet::{L3, Packet, put_u16, u16_at};
use crate::time::tick_of;
use crate::{Direction, DropReason, Nat, Verdict};
use arrayvec::ArrayVec;
use natrig_wire::{Frame, checksum, icmpv4};

/// The bit of an IPv4 option's type that asks for a copy in every fragment (RFC 791 §3.1).
const OPTION_COPIED: u8 = 0x80;
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const MORE_FRAGMENTS: u16 = 0x2000;

impl Nat {
    /// True if frames are held; `release` then has something to present now or later.
    pub fn holds_frames(&self) -> bool {
        !self.held.is_empty()
    }

    /// Presents held frames that came by direction `dir` and whose waiting is over, at most 64 at a time, each with its verdict (`Forward`,
    /// `Back`, or `Drop` if it waited in vain), and forgets them. Returns how many. To be called after a burst and, as long as
    /// [`Nat::holds_frames`] says so, from time to time: fragments follow the burst in which their first fragment was, and connection
    /// attempts from outside are answered after 6 s.
    pub fn release(
        &mut self,
        dir: Direction,
        now_ns: u64,
        on_burst: &mut dyn FnMut(&mut [Frame<'_>], &[Verdict]),
    ) -> usize {
        if self.held.is_empty() {
            return 0;
        }
        self.now_ns = now_ns;
        self.now = tick_of(now_ns);
        self.held.run_out(self.now);
        if !self.held.has_ready() {
            return 0;
        }
        let mut picked = [(0, Wait::Over); RELEASE_BURST];
        let count = self.held.ready(dir, &mut picked);
        let picked = &picked[..count];
        if picked.is_empty() {
            return 0;
        }
        let verdicts: ArrayVec<Verdict, RELEASE_BURST> =
            picked.iter().map(|(index, wait)| self.settle_held(dir, *index, *wait)).collect();
        let mut bytes = self.held.take_bytes();
        on_burst(&mut self.held.frames(&mut bytes, picked), &verdicts);
        self.held.return_bytes(bytes);
        for ((index, _), verdict) in picked.iter().zip(&verdicts) {
            self.held.free(*index);
            let counter = match verdict {
                Verdict::Drop(_) => &mut self.counters.held_dropped,
                Verdict::Forward | Verdict::Back | Verdict::Hold | Verdict::Skip => &mut self.counters.released,
            };
            *counter += 1;
        }
        picked.len()
    }

    /// Looks at a held frame again.
    fn settle_held(&mut self, dir: Direction, index: u32, wait: Wait) -> Verdict {
        if let Wait::Decided(verdict) = wait {
            if let Verdict::Drop(reason) = verdict {
                self.drop(reason);
            }
            return verdict;
        }
        let mut scratch = core::mem::take(&mut self.scratch);
        let len = self.held.copy_out(index, &mut scratch);
        let mut frame = Frame::new(&mut scratch, len);
        self.releasing = true;
        let verdict = match Packet::read(frame.bytes()) {
            // RFC 5382 REQ-4: nobody inside has called; the caller learns it now.
            Ok(packet) if wait == Wait::SynOver => {
                let error = Error::unreachable(icmpv4::unreachable::PORT);
                self.answer_error(dir, &mut frame, &packet, error, DropReason::UnsolicitedSyn)
            }
            Ok(_) => self.careful(dir, &mut frame),
            Err(reason) => self.drop(reason),
        };
        self.releasing = false;
        self.held.put_back(index, frame.bytes(), verdict);
        self.scratch = scratch;
        verdict
    }

    /// True if there is room for the pieces of a packet that is too long for the next link. One between inside hosts does not go there.
    pub(crate) fn may_split(&self, dir: Direction, packet: &Packet, mtu: usize) -> bool {
        let turns_round = dir == Direction::Outbound && self.address_number(packet.dst).is_some();
        turns_round || self.held.has_room(pieces_of(packet, mtu).1 as u32 - 1)
    }

    /// Cuts a translated packet that is too long for the next link (RFC 791 §3.2, RFC 4787 REQ-13A). The first piece stays in the frame,
    /// the others follow by `release`.
    pub(crate) fn split(&mut self, dir: Direction, frame: &mut Frame<'_>, mtu: usize) -> Verdict {
        let Ok(packet) = Packet::read(frame.bytes()) else { return self.drop(DropReason::Malformed) };
        let header_len = packet.l4 - L3;
        let (piece_len, pieces) = pieces_of(&packet, mtu);
        let mut header: ArrayVec<u8, { L3 + 60 }> = frame.bytes()[..packet.l4].iter().copied().collect();
        keep_copied_options(&mut header[L3..]);
        let payload = &frame.bytes()[packet.l4..packet.end()];
        for (number, piece) in payload.chunks(piece_len).enumerate().skip(1) {
            let more = number + 1 < pieces || packet.more_fragments;
            let offset = usize::from(packet.fragment_offset) + number * piece_len;
            let len = header.len() + piece.len();
            self.held.push(dir, Wait::Decided(Verdict::Forward), self.now, len, |slot| {
                slot[..header.len()].copy_from_slice(&header);
                slot[header.len()..].copy_from_slice(piece);
                write_piece(&mut slot[L3..], header.len() - L3, offset, more);
            });
            self.counters.fragments_made += 1;
        }
        frame.resize(packet.l4 + piece_len);
        write_piece(&mut frame.bytes_mut()[L3..], header_len, usize::from(packet.fragment_offset), true);
        Verdict::Forward
    }
}

/// Payload of a piece of a packet that is cut for this MTU, and how many pieces there are.
const fn pieces_of(packet: &Packet, mtu: usize) -> (usize, usize) {
    let piece_len = (mtu - (packet.l4 - L3)) & !7;
    (piece_len, packet.l4_len().div_ceil(piece_len))
}

/// Total length, offset and checksum of a piece.
fn write_piece(ip: &mut [u8], header_len: usize, offset: usize, more: bool) {
    put_u16(ip, 2, ip.len() as u16);
    let more = if more { MORE_FRAGMENTS } else { 0 };
    put_u16(ip, 6, more | (offset >> 3) as u16);
    put_u16(ip, 10, 0);
    let sum = checksum::finish(checksum::sum(0, &ip[..header_len]));
    put_u16(ip, 10, sum);
    debug_assert_eq!(usize::from(u16_at(ip, 2)), ip.len());
}

/// Later fragments carry only the options that ask for it; the others become no-operations.
fn keep_copied_options(header: &mut [u8]) {
    let mut at = 20;
    while let Some(kind) = header.get(at).copied() {
        let len = match kind {
            OPTION_END => break,
            OPTION_NOP => 1,
            _ => header.get(at + 1).map_or(1, |len| usize::from(*len).max(2)),
        };
        let end = (at + len).min(header.len());
        if kind & OPTION_COPIED == 0 {
            header[at..end].fill(OPTION_NOP);
        }
        at = end;
    }
}
