//! The ordinary path: bursts of packets of known flows.
//!
//! A burst is worked through in batches small enough for the first-level cache. Each batch goes through three passes, so that the cache
//! misses of its packets overlap: read headers, hash, and fetch lines of the index; look into the index and fetch sessions; translate.

use crate::hash::KeyKind;
use crate::index::NONE;
use crate::lanes::LANES;
use crate::ordinary::{Clocks, Head, established};
use crate::outbound::Flow;
use crate::packet::{Packet, is_bad_destination, is_bad_source};
use crate::prefetch::prefetch;
use crate::{Direction, DropReason, Nat, Verdict};
use natrig_wire::Frame;

/// Packets per batch. Each needs three lines of the first-level cache: header, index, session. With half as many lines have less time to
/// arrive (a tenth slower at a million mappings), twice as many do not fit. Steps that overlap like the stages of a pipeline lose: a
/// processor looks a few hundred instructions ahead, so that requests which are farther apart wait for each other's page walks.
pub(crate) const BATCH: usize = 128;
/// Packets per batch where there are few: less to clear beforehand.
const SMALL_BATCH: usize = 16;

impl Nat {
    /// Translates frames in place. Frames are Ethernet; only those whose verdict is `Forward` on entry are looked at, and on exit each of
    /// these has its verdict. Time must not go backwards. `frames` and `verdicts` are as long as each other; what one has more is left
    /// alone.
    pub fn translate_burst(&mut self, dir: Direction, frames: &mut [Frame<'_>], verdicts: &mut [Verdict], now_ns: u64) {
        self.begin_burst(now_ns);
        self.police(frames, verdicts);
        match dir {
            Direction::Outbound => self.batches::<true>(frames, verdicts),
            Direction::Inbound => self.batches::<false>(frames, verdicts),
        }
    }

    fn batches<const OUT: bool>(&mut self, frames: &mut [Frame<'_>], verdicts: &mut [Verdict]) {
        for (frames, verdicts) in frames.chunks_mut(BATCH).zip(verdicts.chunks_mut(BATCH)) {
            let count = frames.len().min(verdicts.len());
            if count <= SMALL_BATCH {
                self.batch::<OUT, SMALL_BATCH>(frames, verdicts);
            } else if let Some(lanes) = self.lanes {
                let (groups, rest) = frames.split_at_mut(count / LANES * LANES);
                let (group_verdicts, rest_verdicts) = verdicts.split_at_mut(groups.len());
                self.wide_batch::<OUT>(lanes, groups, group_verdicts);
                self.batch::<OUT, SMALL_BATCH>(rest, rest_verdicts);
            } else {
                self.batch::<OUT, BATCH>(frames, verdicts);
            }
        }
    }

    #[inline(never)]
    fn batch<const OUT: bool, const MOST: usize>(&mut self, frames: &mut [Frame<'_>], verdicts: &mut [Verdict]) {
        let count = frames.len().min(verdicts.len()).min(MOST);
        let (frames, verdicts) = (&mut frames[..count], &mut verdicts[..count]);
        // Zero: not an ordinary packet. One whose hash is zero is none either.
        let mut hashes = [0; MOST];
        let mut homes = [0u32; MOST];
        let mut found = [NONE; MOST];
        let frame_max = self.frame_max[usize::from(!OUT)];
        let index = self.table.index::<OUT>();
        let kind = if OUT { KeyKind::Outbound } else { KeyKind::Inbound };
        // Frames may have come from another core, or from a device.
        for frame in &*frames {
            prefetch(frame.buffer(), 0);
        }
        for (((frame, verdict), hash), home) in frames.iter().zip(&*verdicts).zip(&mut hashes).zip(&mut homes) {
            if !matches!(verdict, Verdict::Forward) || frame.len() > frame_max {
                continue;
            }
            let Some(head) = Head::read(frame.buffer(), frame.len()) else { continue };
            *hash = self.table.hash.hash(kind, head.protocol, head.addrs.bits(), head.ports.bits());
            *home = index.home(*hash);
            index.prefetch(*home);
        }
        let sessions = &*self.table.slab.entries;
        for (at, ((hash, home), found)) in hashes[..count].iter().zip(&homes).zip(&mut found).enumerate() {
            if *hash == 0 {
                continue;
            }
            if let Some(number) = index.candidate(*home, *hash) {
                *found = number;
                prefetch(sessions, number as usize);
            } else {
                *found = self.fetch_beyond::<OUT>(*home, *hash, &frames[at]);
            }
        }
        let clocks = self.clocks::<OUT>();
        let others = self.one_by_one::<OUT>(frames, verdicts, &hashes, &found, &clocks);
        self.end_batch::<OUT>(count - others);
    }

    /// Translates packets whose sessions have been looked for. Returns how many were not of live sessions in a steady state.
    #[inline(always)]
    pub(crate) fn one_by_one<const OUT: bool>(
        &mut self,
        frames: &mut [Frame<'_>],
        verdicts: &mut [Verdict],
        hashes: &[u64],
        found: &[u32],
        clocks: &Clocks,
    ) -> usize {
        let renews = OUT && self.idents.is_some();
        let mut others = 0;
        for (((frame, verdict), hash), found) in frames.iter_mut().zip(verdicts).zip(hashes).zip(found) {
            if let Some(session) = self.table.slab.entries.get_mut(*found as usize)
                && established::<OUT>(session, frame.buffer_mut(), clocks)
            {
                if renews {
                    self.renew_ident_of(frame.buffer_mut());
                }
                continue;
            }
            others += 1;
            if matches!(verdict, Verdict::Forward) {
                *verdict = self.unsettled::<OUT>(*hash, *found, frame, clocks);
            }
        }
        others
    }

    /// The packets of a batch are done; so many of them belonged to live sessions in a steady state.
    pub(crate) fn end_batch<const OUT: bool>(&mut self, established: usize) {
        self.table.flush();
        *self.translated::<OUT>() += established as u64;
    }

    const fn translated<const OUT: bool>(&mut self) -> &mut u64 {
        if OUT { &mut self.counters.translated_out } else { &mut self.counters.translated_in }
    }

    pub(crate) const fn clocks<const OUT: bool>(&self) -> Clocks {
        Clocks { now: self.now, clock: self.clock, refresh: self.refresh[!OUT as usize] }
    }

    /// The candidate was none: another entry with the same tag, or one that the home bucket had no room for, may still be the session;
    /// or the flow is new.
    #[inline(never)]
    pub(crate) fn unsettled<const OUT: bool>(
        &mut self,
        hash: u64,
        tried: u32,
        frame: &mut Frame<'_>,
        clocks: &Clocks,
    ) -> Verdict {
        let Some(Head { addrs, ports, protocol }) = Head::again(frame.bytes()).filter(|_| hash != 0) else {
            return self.careful(if OUT { Direction::Outbound } else { Direction::Inbound }, frame);
        };
        let found = if OUT {
            self.table.find_outbound(hash, protocol, addrs, ports)
        } else {
            self.table.find_inbound(hash, protocol, addrs, ports)
        };
        let other = found.filter(|found| *found != tried);
        if let Some(session) = other.and_then(|found| self.table.slab.entries.get_mut(found as usize))
            && established::<OUT>(session, frame.bytes_mut(), clocks)
        {
            *self.translated::<OUT>() += 1;
            if OUT {
                self.renew_ident_of(frame.bytes_mut());
            }
            return Verdict::Forward;
        }
        if OUT && found.is_none() {
            return self.newcomer(frame, hash);
        }
        self.careful(if OUT { Direction::Outbound } else { Direction::Inbound }, frame)
    }

    /// An ordinary packet from inside whose flow has no session.
    fn newcomer(&mut self, frame: &mut Frame<'_>, hash: u64) -> Verdict {
        let packet = Packet::of_ordinary(frame.bytes());
        if !self.rules_of(packet.protocol).translate {
            return self.careful(Direction::Outbound, frame);
        }
        if is_bad_source(packet.src) || is_bad_destination(packet.dst) {
            return self.drop(DropReason::Martian);
        }
        let result =
            Flow::of_transport(frame.bytes(), &packet).and_then(|flow| self.outbound_new(frame, &packet, &flow, hash));
        result.unwrap_or_else(|reason| self.refuse(Direction::Outbound, frame, &packet, reason))
    }

    /// Looks where the home bucket does not say, and fetches the session, or what a new flow needs.
    #[inline(never)]
    pub(crate) fn fetch_beyond<const OUT: bool>(&self, home: u32, hash: u64, frame: &Frame<'_>) -> u32 {
        let index = self.table.index::<OUT>();
        let found = index.candidate_beyond(home, hash);
        if found != NONE {
            prefetch(&self.table.slab.entries, found as usize);
        } else if OUT {
            self.prefetch_newcomer(frame.bytes());
        }
        found
    }

    /// Fetches what a new flow's mapping may be found by.
    #[inline(never)]
    fn prefetch_newcomer(&self, frame: &[u8]) {
        if let Some(Head { addrs, ports, protocol }) = Head::again(frame) {
            self.table.prefetch_inside(protocol, (addrs.first(), ports.first()), addrs.second());
        }
    }
}
