//! The ordinary path eight packets at a time, where the processor has 512-bit registers (AVX-512 F, BW, DQ and VL).
//!
//! Each of a batch's three passes does, bit for bit, what [`ordinary`](crate::ordinary) and [`index`](crate::index) do for one packet; what
//! it cannot do is left to them. Which of both did it cannot be told from the outside, but by the time it takes.

#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(not(target_arch = "x86_64"))]
mod none;

use crate::engine::BATCH;
use crate::index::NONE;
use crate::{Nat, Verdict};
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Lanes;
use natrig_wire::Frame;
#[cfg(not(target_arch = "x86_64"))]
pub(crate) use none::Lanes;

/// Packets that are worked on at once: a group.
pub(crate) const LANES: usize = 8;
const GROUPS: usize = BATCH / LANES;
/// Groups that are looked up between two looks beyond.
const GROUPS_LOOKED_UP: usize = u32::BITS as usize / LANES;

/// What the passes over a batch tell each other, by group.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Batch {
    /// Zero: not an ordinary packet. One whose hash is zero is none either.
    hashes: [[u64; LANES]; GROUPS],
    /// The buckets where look-ups begin.
    homes: [[u32; LANES]; GROUPS],
    /// The numbers of the sessions that they probably belong to.
    found: [[u32; LANES]; GROUPS],
    /// A bit for each ordinary UDP packet.
    udp: [u8; GROUPS],
}

impl Batch {
    const fn new() -> Self {
        Self {
            hashes: [[0; LANES]; GROUPS],
            homes: [[0; LANES]; GROUPS],
            found: [[NONE; LANES]; GROUPS],
            udp: [0; GROUPS],
        }
    }
}

impl Nat {
    /// Works through at most [`BATCH`] packets, a multiple of [`LANES`].
    #[inline(never)]
    pub(crate) fn wide_batch<const OUT: bool>(
        &mut self,
        lanes: Lanes,
        frames: &mut [Frame<'_>],
        verdicts: &mut [Verdict],
    ) {
        let (groups, _) = frames.as_chunks_mut::<LANES>();
        let mut batch = Batch::new();
        lanes.read::<OUT>(groups, verdicts, self.frame_max[usize::from(!OUT)], &self.table, &mut batch);
        self.look_up::<OUT>(lanes, groups, &mut batch);
        let clocks = self.clocks::<OUT>();
        let mut others = 0;
        let mut at = 0;
        while at < groups.len() {
            let done = lanes.translate::<OUT>(
                &mut groups[at..],
                &batch.found[at..],
                &batch.udp[at..],
                &mut self.table.slab.entries,
                &clocks,
            );
            if OUT && self.idents.is_some() {
                groups[at..at + done]
                    .as_flattened_mut()
                    .iter_mut()
                    .for_each(|frame| self.renew_ident_of(frame.buffer_mut()));
            }
            at += done;
            // A group that has something else in it: packet by packet.
            if let Some(frames) = groups.get_mut(at) {
                let verdicts = &mut verdicts[at * LANES..][..LANES];
                others += self.one_by_one::<OUT>(frames, verdicts, &batch.hashes[at], &batch.found[at], &clocks);
                at += 1;
            }
        }
        self.end_batch::<OUT>(groups.len() * LANES - others);
    }

    /// Looks into the index and fetches sessions. What is not in its home bucket is looked for some packets later, when the next bucket is
    /// likely to have come.
    #[inline(always)]
    fn look_up<const OUT: bool>(&self, lanes: Lanes, groups: &[[Frame<'_>; LANES]], batch: &mut Batch) {
        let (index, sessions) = (self.table.index::<OUT>(), &*self.table.slab.entries);
        let mut missed_before = 0;
        for from in (0..groups.len()).step_by(GROUPS_LOOKED_UP) {
            let to = groups.len().min(from + GROUPS_LOOKED_UP);
            let missed = lanes.look_up(index, sessions, from..to, batch);
            self.look_beyond::<OUT>(groups, from.saturating_sub(GROUPS_LOOKED_UP), missed_before, batch);
            missed_before = missed;
        }
        let last = groups.len().saturating_sub(1) / GROUPS_LOOKED_UP * GROUPS_LOOKED_UP;
        self.look_beyond::<OUT>(groups, last, missed_before, batch);
    }

    /// Looks beyond the home buckets of the packets whose bits are set, counted from a group on.
    #[inline(always)]
    fn look_beyond<const OUT: bool>(
        &self,
        groups: &[[Frame<'_>; LANES]],
        from: usize,
        mut missed: u32,
        batch: &mut Batch,
    ) {
        while missed != 0 {
            let at = from * LANES + missed.trailing_zeros() as usize;
            let (group, lane) = (at / LANES, at % LANES);
            let (home, hash) = (batch.homes[group][lane], batch.hashes[group][lane]);
            batch.found[group][lane] = self.fetch_beyond::<OUT>(home, hash, &groups[group][lane]);
            missed &= missed - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::behaviour::Dependence;
    use crate::hash::{KeyKind, KeyedHash};
    use crate::ordinary::{Clocks, Head, established};
    use crate::session::{Session, TCP, UDP};
    use crate::table::{Keys, Table};
    use crate::tcp::State;
    use crate::{Verdict, packet};
    use natrig_wire::{Frame, checksum};
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    const INSIDE: (u32, u16) = (0x0a00_0001, 1234);
    const REMOTE: (u32, u16) = (0xc000_0235, 53);
    const SLOT_LEN: usize = 64;

    type Slot = [u8; SLOT_LEN];

    /// A datagram or segment of 46 bytes with IPv4 header, ports in order of the direction.
    fn slot(protocol: u8, from: (u32, u16), to: (u32, u16)) -> Slot {
        let mut slot = [0; SLOT_LEN];
        slot[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, 46, 0x12, 0x34, 0x40, 0, 64, protocol]);
        slot[26..30].copy_from_slice(&from.0.to_be_bytes());
        slot[30..34].copy_from_slice(&to.0.to_be_bytes());
        packet::put_u16(&mut slot, 34, from.1);
        packet::put_u16(&mut slot, 36, to.1);
        slot[38..42].copy_from_slice(&[0, 26, 0xbe, 0xef]);
        slot[46] = 5 << 4;
        right(&mut slot);
        slot
    }

    fn right(slot: &mut Slot) {
        packet::put_u16(slot, 24, 0);
        let sum = checksum::finish(checksum::sum(0, &slot[14..34]));
        packet::put_u16(slot, 24, sum);
    }

    fn table(seed: u64) -> Table {
        let keys = Keys { mapping: Dependence::AddressAndPortDependent, inside: false, outside: false, peer: false };
        Table::new(1000, false, [keys; 3], KeyedHash::new(&mut Pcg64Mcg::seed_from_u64(seed)), 0)
    }

    /// Hash, home, and whether it is UDP, as the other path has them.
    fn expected<const OUT: bool>(table: &Table, slot: &[u8], len: usize) -> (u64, u32, bool) {
        let Some(head) = Head::read(slot, len) else { return (0, 0, false) };
        let kind = if OUT { KeyKind::Outbound } else { KeyKind::Inbound };
        let hash = table.hash.hash(kind, head.protocol, head.addrs.bits(), head.ports.bits());
        (hash, table.index::<OUT>().home(hash), head.protocol == UDP)
    }

    fn compare_reading<const OUT: bool>(lanes: Lanes, seed: u64, slots: &mut [(Slot, usize, usize)]) {
        const LONGEST: usize = 62;
        let table = table(seed);
        let expected: Vec<_> =
            slots.iter().map(|(slot, room, len)| expected::<OUT>(&table, &slot[..*room], (*len).min(*room))).collect();
        let lens: Vec<usize> = slots.iter().map(|(_, room, len)| *len.min(room)).collect();
        let frames: Vec<Frame<'_>> =
            slots.iter_mut().map(|(slot, room, len)| Frame::new(&mut slot[..*room], *len)).collect();
        let verdicts: Vec<Verdict> =
            (0..frames.len()).map(|at| if at % 7 == 6 { Verdict::Skip } else { Verdict::Forward }).collect();
        let mut batch = Batch::new();
        lanes.read::<OUT>(frames.as_chunks().0, &verdicts, LONGEST, &table, &mut batch);
        for (at, expected) in expected.into_iter().enumerate().take(frames.len() / LANES * LANES) {
            let looked_at = verdicts[at] == Verdict::Forward && lens[at] <= LONGEST;
            let (group, lane) = (at / LANES, at % LANES);
            let got = (batch.hashes[group][lane], batch.homes[group][lane], batch.udp[group] >> lane & 1 == 1);
            assert_eq!(got, if looked_at { expected } else { (0, 0, false) }, "packet {at}");
        }
    }

    /// A packet, perhaps with something wrong, and how long its slot and its frame are.
    fn any_slot() -> impl Strategy<Value = (Slot, usize, usize)> {
        let damage = proptest::option::of((10usize..50, any::<u8>(), any::<bool>()));
        let total_len = proptest::option::weighted(0.2, 20u16..50);
        let ends = (any::<(u32, u16)>(), any::<(u32, u16)>());
        let lens = (0usize..10, 0usize..=SLOT_LEN, 0usize..10, 0usize..=SLOT_LEN);
        (any::<bool>(), ends, (total_len, damage), lens).prop_map(
            |(tcp, (from, to), (total_len, damage), (cut, room, short, len))| {
                let mut slot = slot(if tcp { TCP } else { UDP }, from, to);
                if let Some(total_len) = total_len {
                    packet::put_u16(&mut slot, 16, total_len);
                    packet::put_u16(&mut slot, 38, total_len - 20);
                    right(&mut slot);
                }
                if let Some((at, value, rights)) = damage {
                    slot[at] = value;
                    if rights {
                        right(&mut slot);
                    }
                }
                (slot, if cut == 0 { room } else { SLOT_LEN }, if short == 0 { len } else { 60 })
            },
        )
    }

    proptest! {
        #[test]
        fn reads_what_the_other_path_reads(seed: u64, slots in proptest::collection::vec(any_slot(), 8..32)) {
            let Some(lanes) = Lanes::detect() else { return Ok(()) };
            let mut slots = slots;
            compare_reading::<true>(lanes, seed, &mut slots);
            compare_reading::<false>(lanes, seed, &mut slots);
        }
    }

    fn compare_translation<const OUT: bool>(
        lanes: Lanes,
        slots: &[Slot; LANES],
        sessions: &[Session],
        clocks: &Clocks,
    ) -> usize {
        let found: [u32; LANES] = std::array::from_fn(|lane| (lane % sessions.len()) as u32);
        let (mut one, mut all) = (*slots, *slots);
        let (mut one_sessions, mut all_sessions) = (sessions.to_vec(), sessions.to_vec());
        let done = {
            let frames = all.each_mut().map(|slot| Frame::new(slot, 60));
            lanes.translate::<OUT>(&mut [frames], &[found], &[u8::MAX], &mut all_sessions, clocks)
        };
        let mut fit = 0;
        for (slot, found) in one.iter_mut().zip(found) {
            fit += usize::from(established::<OUT>(&mut one_sessions[found as usize], slot, clocks));
        }
        if fit == LANES {
            assert_eq!(done, 1);
            assert_eq!(one, all);
            for (one, all) in one_sessions.iter().zip(&all_sessions) {
                assert_eq!(format!("{one:?}"), format!("{all:?}"));
            }
        } else {
            assert_eq!((done, all), (0, *slots), "all or nothing");
        }
        done
    }

    fn session(outside: (u32, u16), state: State, expires: u32) -> Session {
        let mut session = Session::new(UDP, INSIDE, REMOTE, outside);
        session.state = state;
        session.expires = expires;
        session.settle();
        session
    }

    /// With every checksum that a header can have, also where the addresses add up to the same.
    #[test]
    fn translates_as_the_other_path_does_whatever_the_checksums() {
        let Some(lanes) = Lanes::detect() else { return };
        let mut clocks = Clocks { now: 1000, clock: 999, refresh: [0; State::COUNT] };
        clocks.refresh[State::UdpStream as usize] = 300;
        for outside in [0x0001_0a00, 0x0a00_0000, 0xc633_6401] {
            let outside = (outside, 1234);
            let sessions = [session(outside, State::UdpStream, 1200), session(outside, State::UdpNew, 1000)];
            for first in (0..=u16::MAX).step_by(LANES) {
                let numbered = |from, to| {
                    std::array::from_fn(|lane| {
                        let mut slot = slot(UDP, from, to);
                        let number = first + lane as u16;
                        packet::put_u16(&mut slot, 18, number);
                        packet::put_u16(&mut slot, 40, number);
                        right(&mut slot);
                        slot
                    })
                };
                let answers = [sessions[0]];
                let done = [
                    compare_translation::<true>(lanes, &numbered(INSIDE, REMOTE), &sessions, &clocks),
                    compare_translation::<false>(lanes, &numbered(REMOTE, outside), &answers, &clocks),
                ];
                assert_eq!(done, [1; 2], "from {first} on, outside {outside:x?}");
            }
        }
    }

    proptest! {
        /// Of other sessions, dead or in no steady state: then of eight packets none is translated.
        #[test]
        fn translates_what_the_other_path_translates(
            states in proptest::collection::vec((0..State::COUNT, any::<u8>(), prop_oneof![990u32..1010, any::<u32>()], 0usize..40), 1..=LANES),
            refresh in 0u32..1 << 30,
        ) {
            let Some(lanes) = Lanes::detect() else { return Ok(()) };
            let clocks = Clocks { now: 1000, clock: 999, refresh: [refresh; State::COUNT] };
            let outside = (0xc633_6401, 40_000);
            let (mut out, mut inb) = ([slot(UDP, INSIDE, REMOTE); LANES], [slot(UDP, REMOTE, outside); LANES]);
            let mut sessions = Vec::new();
            for (lane, (state, flags, expires, wrong)) in states.into_iter().enumerate() {
                let usual = wrong % 3 == 0;
                let mut session = session(outside, if usual { State::UdpStream } else { State::ALL[state] }, if usual { 1010 } else { expires });
                session.flags = if usual { 0 } else { flags };
                session.settle();
                sessions.push(session);
                if let at @ 26..38 = wrong {
                    out[lane][at] ^= 1;
                    inb[lane][at] ^= 1;
                }
            }
            compare_translation::<true>(lanes, &out, &sessions, &clocks);
            compare_translation::<false>(lanes, &inb, &sessions, &clocks);
        }
    }
}
