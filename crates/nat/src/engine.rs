//! The ordinary path: bursts of packets of known flows.
//!
//! A burst is worked through in batches small enough for the first-level cache. Each batch goes through three passes, so that the cache
//! misses of its packets overlap: read headers and hash and touch the index; look into the index and touch the session; translate.

use crate::index::NONE;
use crate::packet::{Head, read_head, rewrite_head};
use crate::session::{TCP, UDP, flag};
use crate::tcp::bits;
use crate::wheel::before;
use crate::{Direction, Nat, Verdict};
use natrig_wire::Frame;

/// Packets per batch. Each keeps three lines in flight: header, index, session.
const BATCH: usize = 32;

impl Nat {
    /// Translates frames in place. Frames are Ethernet; only those whose verdict is `Forward` on entry are looked at, and on exit each of
    /// these has its verdict. Time must not go backwards. `frames` and `verdicts` are as long as each other; what one has more is left
    /// alone.
    pub fn translate_burst(&mut self, dir: Direction, frames: &mut [Frame<'_>], verdicts: &mut [Verdict], now_ns: u64) {
        self.begin_burst(now_ns);
        self.police(frames, verdicts);
        for (frames, verdicts) in frames.chunks_mut(BATCH).zip(verdicts.chunks_mut(BATCH)) {
            match dir {
                Direction::Outbound => self.batch::<true>(frames, verdicts),
                Direction::Inbound => self.batch::<false>(frames, verdicts),
            }
        }
    }

    #[inline(never)]
    fn batch<const OUT: bool>(&mut self, frames: &mut [Frame<'_>], verdicts: &mut [Verdict]) {
        let mut heads = [Head::default(); BATCH];
        let mut found = [NONE; BATCH];
        let mut touched = 0;
        let frame_max = self.frame_max[usize::from(!OUT)];
        for ((frame, verdict), head) in frames.iter().zip(verdicts.iter()).zip(&mut heads) {
            if *verdict != Verdict::Forward || frame.len() > frame_max {
                continue;
            }
            let Some(read) = read_head(frame.bytes()) else { continue };
            *head = read;
            if OUT {
                head.hash = self.table.outbound_hash(read.protocol, read.addrs, read.ports);
                touched ^= self.table.outbound.touch(head.hash);
            } else {
                head.hash = self.table.inbound_hash(read.protocol, read.addrs, read.ports);
                touched ^= self.table.inbound.touch(head.hash);
            }
        }
        for (head, found) in heads.iter().zip(&mut found).take(frames.len()) {
            if head.protocol != 0 {
                *found = if OUT {
                    self.table.outbound.candidate(head.hash)
                } else {
                    self.table.inbound.candidate(head.hash)
                };
                if let Some(session) = self.table.slab.entries.get(*found as usize) {
                    touched ^= u64::from(session.expires);
                }
            }
        }
        self.touched ^= touched;
        for (((frame, verdict), head), found) in frames.iter_mut().zip(verdicts.iter_mut()).zip(&heads).zip(&found) {
            if *verdict != Verdict::Forward || self.established::<OUT>(head, *found, frame) {
                continue;
            }
            *verdict = self.careful(if OUT { Direction::Outbound } else { Direction::Inbound }, frame);
        }
    }

    /// Translates a packet of a live session in a steady state; false if it is not that.
    #[inline(always)]
    fn established<const OUT: bool>(&mut self, head: &Head, found: u32, frame: &mut Frame<'_>) -> bool {
        let Some(session) = self.table.slab.entries.get_mut(found as usize) else { return false };
        let (addrs, ports) =
            if OUT { (session.out_addrs, session.out_ports) } else { (session.in_addrs, session.in_ports) };
        if addrs != head.addrs || ports != head.ports || session.protocol != head.protocol {
            return false;
        }
        let special = head.tcp_flags & (bits::SYN | bits::FIN | bits::RST) != 0
            || session.flags & (flag::HELD | flag::HAIRPIN) != 0;
        if special || !session.state.is_steady() || !before(self.clock, session.expires) {
            return false;
        }
        let timeout = self.refresh[usize::from(!OUT)][session.state as usize];
        if timeout != 0 {
            session.expires = self.now.wrapping_add(timeout);
        }
        let counter = if OUT { &mut session.packets_out } else { &mut session.packets_in };
        *counter = counter.wrapping_add(1);
        let session = *session;
        let bytes = frame.bytes_mut();
        let rewritten = if session.protocol == UDP {
            rewrite_head::<OUT>(bytes, &session, UDP)
        } else {
            rewrite_head::<OUT>(bytes, &session, TCP)
        };
        debug_assert!(rewritten);
        if OUT && self.idents.is_some() {
            self.renew_ident_of(bytes, head);
        }
        if OUT {
            self.counters.translated_out += 1;
        } else {
            self.counters.translated_in += 1;
        }
        true
    }
}
