//! The three passes. Of a packet only the 32 bytes up to the end of UDP's header matter, of a session only the first 32. Those of eight
//! packets are turned over into four columns of eight words, so that one instruction checks or changes all eight.

#![expect(unsafe_code, reason = "loads and stores of whole registers, and calls of what not every processor can do")]

use super::{Batch, GROUPS, GROUPS_LOOKED_UP, LANES};
use crate::Verdict;
use crate::hash::{KeyKind, KeyedHash};
use crate::index::{Bucket, Index};
use crate::ordinary::{Clocks, Head, TTL_DELTA};
use crate::packet::L3;
use crate::prefetch::prefetch;
use crate::session::{QUICK_UDP, Session, TCP, UDP};
use crate::table::Table;
use crate::tcp::State;
use core::arch::x86_64::*;
use core::mem::offset_of;
use core::ops::Range;
use natrig_wire::Frame;

/// Says that the processor has such registers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lanes(());

impl Lanes {
    /// None if it has not.
    pub(crate) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        has.then_some(Self(()))
    }

    /// Reads headers, hashes, and fetches lines of the index.
    #[inline(always)]
    pub(crate) fn read<const OUT: bool>(
        self,
        groups: &[[Frame<'_>; LANES]],
        verdicts: &[Verdict],
        frame_max: usize,
        table: &Table,
        batch: &mut Batch,
    ) {
        // SAFETY: `Lanes` are made only where the processor has what the function is compiled for.
        unsafe { read::<OUT>(groups, verdicts, frame_max, table, batch) }
    }

    /// Finds the probable sessions of some groups' packets and fetches them. Returns a bit for each packet whose session is not in its home
    /// bucket, if anywhere; the next bucket is fetched.
    #[inline(always)]
    pub(crate) fn look_up(self, index: &Index, sessions: &[Session], groups: Range<usize>, batch: &mut Batch) -> u32 {
        debug_assert!(groups.len() <= GROUPS_LOOKED_UP);
        // SAFETY: as in `read`.
        unsafe { look_up(index, sessions, groups, batch) }
    }

    /// Translates groups of UDP packets of live sessions in a steady state, until there is another packet among a group. Returns how many
    /// groups.
    #[inline(always)]
    pub(crate) fn translate<const OUT: bool>(
        self,
        groups: &mut [[Frame<'_>; LANES]],
        found: &[[u32; LANES]],
        udp: &[u8],
        sessions: &mut [Session],
        clocks: &Clocks,
    ) -> usize {
        // SAFETY: as in `read`.
        unsafe { translate::<OUT>(groups, found, udp, sessions, clocks) }
    }
}

/// Where the window begins: the last bytes of a MAC address and the type, so that addresses and ports fall into words of their own.
const WINDOW: usize = L3 - 4;
const WINDOW_LEN: usize = 32;

type Window = [u8; WINDOW_LEN];

/// The columns of a window. Bytes of words are counted from the lowest one, which is the first in memory.
struct Columns {
    /// Type in bytes 2 and 3, version 4, total length 6 and 7.
    start: __m512i,
    /// Identification, fragment 2 and 3, TTL 4, protocol 5, checksum 6 and 7.
    middle: __m512i,
    addrs: __m512i,
    /// Ports, then UDP's length in bytes 4 and 5 and its checksum in 6 and 7.
    transport: __m512i,
}

/// The checksums' place in [`Columns::middle`] and [`Columns::transport`]: the last of each four 16-bit lanes.
const LAST: __mmask32 = 0x8888_8888;

/// The bytes of a packet that matter, if its slot has as many.
#[inline(always)]
fn window_of<'a>(frame: &'a Frame<'_>) -> Option<&'a Window> {
    frame.buffer().get(WINDOW..)?.first_chunk()
}

/// A value from a byte of a word on.
const fn bytes(value: u64, at: u32) -> i64 {
    (value << (8 * at)).cast_signed()
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn read<const OUT: bool>(
    groups: &[[Frame<'_>; LANES]],
    verdicts: &[Verdict],
    frame_max: usize,
    table: &Table,
    batch: &mut Batch,
) {
    // A packet is at most 64 KiB long.
    let frame_max = frame_max.min(u32::MAX as usize);
    let mut lens = [[0u32; LANES]; GROUPS];
    // Frames may have come from another core, or from a device.
    for ((frame, verdict), len) in groups.as_flattened().iter().zip(verdicts).zip(lens.as_flattened_mut()) {
        prefetch(frame.buffer(), 0);
        let looked_at = matches!(verdict, Verdict::Forward) && frame.len() <= frame_max;
        *len = if looked_at { frame.len() as u32 } else { 0 };
    }
    let index = table.index::<OUT>();
    let keys = Keys::new::<OUT>(&table.hash, index);
    let Batch { hashes, homes, udp, .. } = batch;
    for ((((frames, lens), hashes), homes), udp) in groups.iter().zip(&lens).zip(hashes).zip(homes).zip(udp) {
        const NOTHING: &Window = &[0; WINDOW_LEN];
        let window = |frame| window_of(frame).unwrap_or(NOTHING);
        let columns = Columns::load(frames.each_ref().map(window));
        // SAFETY: eight numbers of four bytes.
        let lens = _mm512_cvtepu32_epi64(unsafe { _mm256_loadu_si256(lens.as_ptr().cast()) });
        let (is_udp, mut is_tcp) = columns.ordinary(lens);
        if is_tcp != 0 {
            is_tcp &= one_by_one(frames);
        }
        *udp = is_udp;
        let hash = _mm512_maskz_mov_epi64(is_udp | is_tcp, keys.hash(&columns, is_tcp));
        let home = _mm512_cvtepi64_epi32(keys.home(hash));
        // SAFETY: eight numbers of eight bytes, and of four.
        unsafe {
            _mm512_storeu_si512(hashes.as_mut_ptr().cast(), hash);
            _mm256_storeu_si256(homes.as_mut_ptr().cast(), home);
        }
        for home in homes {
            index.prefetch(*home);
        }
    }
}

/// The lanes whose packets are ordinary, one by one: what says so of TCP lies beyond the window.
#[inline(never)]
fn one_by_one(frames: &[Frame<'_>; LANES]) -> __mmask8 {
    let is_ordinary = |frame: &Frame<'_>| Head::read(frame.buffer(), frame.len()).is_some();
    frames.iter().zip(0..).fold(0, |lanes, (frame, lane)| lanes | u8::from(is_ordinary(frame)) << lane)
}

/// What hashing needs, in every lane.
struct Keys {
    addrs: __m512i,
    ports: __m512i,
    udp: __m512i,
    tcp: __m512i,
    mix: __m512i,
    mix_high: __m512i,
    buckets: __m512i,
}

impl Keys {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn new<const OUT: bool>(hash: &KeyedHash, index: &Index) -> Self {
        let kind = if OUT { KeyKind::Outbound } else { KeyKind::Inbound };
        let [k0, k1, k2, k3] = hash.words;
        let word = |word: u64| _mm512_set1_epi64(word.cast_signed());
        let tail = |protocol| word(u64::from((u32::from(kind as u8) << 8 | u32::from(protocol)).wrapping_add(k3)));
        Self {
            addrs: word(u64::from(k0) << 32 | u64::from(k1)),
            ports: word(u64::from(k2)),
            udp: tail(UDP),
            tcp: tail(TCP),
            mix: word(hash.mix),
            mix_high: word(hash.mix >> 32),
            buckets: word(index.buckets.len() as u64),
        }
    }

    /// [`KeyedHash::hash`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn hash(&self, columns: &Columns, is_tcp: __mmask8) -> __m512i {
        let addrs = _mm512_add_epi32(columns.addrs, self.addrs);
        let a = _mm512_mul_epu32(_mm512_srli_epi64::<32>(addrs), addrs);
        let tail = _mm512_mask_mov_epi64(self.udp, is_tcp, self.tcp);
        let b = _mm512_mul_epu32(_mm512_add_epi32(columns.transport, self.ports), tail);
        self.fold(_mm512_add_epi64(a, b))
    }

    /// The halves of the product with `mix`, added without carry.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn fold(&self, value: __m512i) -> __m512i {
        let low_half = _mm512_set1_epi64(0xffff_ffff);
        let high = _mm512_srli_epi64::<32>(value);
        let lowest = _mm512_mul_epu32(value, self.mix);
        let cross = _mm512_add_epi64(_mm512_mul_epu32(high, self.mix), _mm512_srli_epi64::<32>(lowest));
        let other = _mm512_add_epi64(_mm512_mul_epu32(value, self.mix_high), _mm512_and_si512(cross, low_half));
        let upper = _mm512_add_epi64(
            _mm512_mul_epu32(high, self.mix_high),
            _mm512_add_epi64(_mm512_srli_epi64::<32>(cross), _mm512_srli_epi64::<32>(other)),
        );
        let lower = _mm512_mask_mov_epi32(_mm512_slli_epi64::<32>(other), 0x5555, lowest);
        _mm512_xor_si512(upper, lower)
    }

    /// [`Index::home`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn home(&self, hash: __m512i) -> __m512i {
        _mm512_srli_epi64::<32>(_mm512_mul_epu32(_mm512_srli_epi64::<32>(hash), self.buckets))
    }
}

impl Columns {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn load(windows: [&Window; LANES]) -> Self {
        let [start, middle, addrs, transport] = turn_over(windows);
        Self { start, middle, addrs, transport }
    }

    /// The lanes whose packets are ordinary UDP, and those that are TCP and ordinary up to their ports:
    /// [`Head::read`](crate::ordinary::Head::read).
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn ordinary(&self, lens: __m512i) -> (__mmask8, __mmask8) {
        let word = |word| _mm512_set1_epi64(word);
        let plain = word(bytes(0x45_0008, 2));
        let lanes = _mm512_testn_epi64_mask(_mm512_xor_si512(self.start, plain), word(bytes(0xff_ffff, 2)));
        let lanes = _mm512_mask_testn_epi64_mask(lanes, self.middle, word(bytes(0xff3f, 2)));
        // TTL above one.
        let lanes = _mm512_mask_test_epi64_mask(lanes, self.middle, word(bytes(0xfe, 4)));
        let total_len = big_endian::<6>(self.start);
        let lanes = _mm512_mask_cmpge_epu64_mask(lanes, total_len, word(28));
        let lanes = _mm512_mask_cmple_epu64_mask(lanes, _mm512_add_epi64(total_len, word(L3 as i64)), lens);
        let lanes = _mm512_mask_cmpeq_epu64_mask(lanes, self.folded_sum(), word(0xffff));
        let is = |protocol: u8| {
            let other = _mm512_xor_si512(self.middle, word(bytes(u64::from(protocol), 5)));
            _mm512_mask_testn_epi64_mask(lanes, other, word(bytes(0xff, 5)))
        };
        let datagram_len = _mm512_add_epi64(big_endian::<4>(self.transport), word(20));
        (_mm512_mask_cmpeq_epu64_mask(is(UDP), datagram_len, total_len), is(TCP))
    }

    /// The IPv4 header's words of four bytes, added up and folded twice (RFC 1071): all ones if the checksum is right. After two folds at
    /// most 65,543 is left, so that no other multiple of 65,535 is, and not zero, because the version is not.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn folded_sum(&self) -> __m512i {
        let low_half = _mm512_set1_epi64(0xffff_ffff);
        let high = |column| _mm512_srli_epi64::<32>(column);
        let low = |column| _mm512_and_si512(column, low_half);
        let sum = _mm512_add_epi64(
            _mm512_add_epi64(high(self.start), _mm512_add_epi64(low(self.middle), high(self.middle))),
            _mm512_add_epi64(low(self.addrs), high(self.addrs)),
        );
        let fold =
            |sum| _mm512_add_epi64(_mm512_srli_epi64::<16>(sum), _mm512_and_si512(sum, _mm512_set1_epi64(0xffff)));
        fold(fold(sum))
    }
}

/// The 16 bits of each word that are in network order from this byte on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn big_endian<const AT: u64>(column: __m512i) -> __m512i {
    // A set highest bit gives zero.
    let first = 0x8080_8080_8080_0000 | AT << 8 | (AT + 1);
    let second = first + 0x0808;
    _mm512_shuffle_epi8(column, _mm512_broadcast_i32x4(_mm_set_epi64x(second.cast_signed(), first.cast_signed())))
}

/// Loads 32 bytes for each lane, and makes columns of them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn turn_over(rows: [&Window; LANES]) -> [__m512i; 4] {
    let pair = |first: &Window, second: &Window| {
        // SAFETY: 32 bytes each.
        let [first, second] = [first, second].map(|row| unsafe { _mm256_loadu_si256(row.as_ptr().cast()) });
        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(first), second)
    };
    let [a, b, c, d, e, f, g, h] = rows;
    let (ab, cd, ef, gh) = (pair(a, b), pair(c, d), pair(e, f), pair(g, h));
    let even = _mm512_set_epi64(13, 9, 5, 1, 12, 8, 4, 0);
    let odd = _mm512_set_epi64(15, 11, 7, 3, 14, 10, 6, 2);
    let (ad01, ad23) = (_mm512_permutex2var_epi64(ab, even, cd), _mm512_permutex2var_epi64(ab, odd, cd));
    let (eh01, eh23) = (_mm512_permutex2var_epi64(ef, even, gh), _mm512_permutex2var_epi64(ef, odd, gh));
    [
        _mm512_shuffle_i64x2::<0x44>(ad01, eh01),
        _mm512_shuffle_i64x2::<0xee>(ad01, eh01),
        _mm512_shuffle_i64x2::<0x44>(ad23, eh23),
        _mm512_shuffle_i64x2::<0xee>(ad23, eh23),
    ]
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn look_up(index: &Index, sessions: &[Session], groups: Range<usize>, batch: &mut Batch) -> u32 {
    let hash_mask = _mm512_set1_epi32(index.hash_mask.cast_signed());
    let Batch { hashes, homes, found, .. } = batch;
    let places = hashes[groups.clone()].as_flattened().iter().zip(homes[groups.clone()].as_flattened());
    let mut missed = 0;
    for (at, ((hash, home), found)) in places.zip(found[groups].as_flattened_mut()).enumerate() {
        if *hash == 0 {
            continue;
        }
        let Some(bucket) = index.buckets.get(*home as usize) else { continue };
        // SAFETY: a bucket is 64 bytes, none of them padding.
        let line = unsafe { _mm512_loadu_si512(core::ptr::from_ref(bucket).cast()) };
        let tags = _mm_cmpeq_epi8_mask(_mm512_castsi512_si128(line), _mm_set1_epi8((*hash as u8).cast_signed()));
        // With the right bits of the hash taken away, only numbers are left.
        let numbers = _mm512_xor_si512(line, _mm512_set1_epi32(index.hash_bits(*hash).cast_signed()));
        let fits = u32::from(_mm512_testn_epi32_mask(numbers, hash_mask) >> TAG_WORDS & tags);
        if let Some(packed) = bucket.slots.get(fits.trailing_zeros() as usize) {
            *found = packed ^ index.hash_bits(*hash);
            prefetch(sessions, *found as usize);
        } else {
            missed |= 1 << at;
            index.prefetch_next(*home);
        }
    }
    missed
}

/// Words of a bucket before its slots.
const TAG_WORDS: usize = offset_of!(Bucket, slots) / 4;

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn translate<const OUT: bool>(
    groups: &mut [[Frame<'_>; LANES]],
    found: &[[u32; LANES]],
    udp: &[u8],
    sessions: &mut [Session],
    clocks: &Clocks,
) -> usize {
    let timers = Timers::new(clocks);
    let mut done = 0;
    for ((frames, found), udp) in groups.iter_mut().zip(found).zip(udp) {
        if *udp != u8::MAX {
            break;
        }
        let Some(mut windows) = windows_of(frames) else { break };
        let Some(heads) = heads_of(sessions, found) else { break };
        let mut columns = Columns::load(windows.each_ref().map(|window| &**window));
        let kept = Kept::load(heads);
        if kept.are_steady::<OUT>(&columns, &timers) != u8::MAX {
            break;
        }
        columns.rewrite::<OUT>(&kept);
        columns.store(&mut windows);
        for (number, expires) in found.iter().zip(kept.refreshed(&timers)) {
            let Some(session) = sessions.get_mut(*number as usize) else { break };
            session.expires = expires;
            let counter = if OUT { &mut session.packets_out } else { &mut session.packets_in };
            *counter = counter.wrapping_add(1);
        }
        done += 1;
    }
    done
}

#[inline(always)]
fn windows_of<'a>([a, b, c, d, e, f, g, h]: &'a mut [Frame<'_>; LANES]) -> Option<[&'a mut Window; LANES]> {
    let window = |frame: &'a mut Frame<'_>| frame.buffer_mut().get_mut(WINDOW..)?.first_chunk_mut();
    Some([window(a)?, window(b)?, window(c)?, window(d)?, window(e)?, window(f)?, window(g)?, window(h)?])
}

/// What of sessions is in [`Kept`].
#[inline(always)]
fn heads_of<'a>(sessions: &'a [Session], [a, b, c, d, e, f, g, h]: &[u32; LANES]) -> Option<[&'a Window; LANES]> {
    let head = |number: &u32| {
        let session = core::ptr::from_ref(sessions.get(*number as usize)?);
        // SAFETY: the first fields take 32 bytes and leave no gap; that is checked below.
        Some(unsafe { &*session.cast() })
    };
    Some([head(a)?, head(b)?, head(c)?, head(d)?, head(e)?, head(f)?, head(g)?, head(h)?])
}

/// The columns of sessions.
struct Kept {
    /// Inside address, remote address.
    ends: __m512i,
    /// Outside address, deadline.
    outside: __m512i,
    /// Ports outbound, ports inbound.
    ports: __m512i,
    /// Changes of checksums, then state in byte 4 and `quick` in byte 7.
    state: __m512i,
}

const _: () = {
    assert!(offset_of!(Session, addrs) == 0 && offset_of!(Session, expires) == 12);
    assert!(offset_of!(Session, out_ports) == 16 && offset_of!(Session, in_ports) == 20);
    assert!(offset_of!(Session, addr_delta) == 24 && offset_of!(Session, l4_delta) == 26);
    assert!(offset_of!(Session, state) == 28 && offset_of!(Session, quick) == 31 && size_of::<State>() == 1);
    assert!(offset_of!(Session, protocol) == 29 && offset_of!(Session, flags) == 30);
    assert!(size_of::<Bucket>() == 64 && offset_of!(Bucket, slots) == 16);
};

/// The time, in every lane.
struct Timers {
    now: __m256i,
    clock: __m512i,
    /// Timeouts by state.
    refresh: [__m512i; 2],
}

impl Timers {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn new(clocks: &Clocks) -> Self {
        let mut table = [0u32; 32];
        table[..State::COUNT].copy_from_slice(&clocks.refresh);
        // SAFETY: sixteen numbers of four bytes each time.
        let refresh = [0, 16].map(|from| unsafe { _mm512_loadu_si512(table[from..from + 16].as_ptr().cast()) });
        let now = _mm256_set1_epi32(clocks.now.cast_signed());
        Self { now, clock: _mm512_set1_epi32(clocks.clock.cast_signed()), refresh }
    }
}

impl Kept {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn load(heads: [&Window; LANES]) -> Self {
        let [ends, outside, ports, state] = turn_over(heads);
        Self { ends, outside, ports, state }
    }

    /// The lanes whose packets are of these sessions, which live and are in a steady state.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn are_steady<const OUT: bool>(&self, packets: &Columns, timers: &Timers) -> __mmask8 {
        let word = |word| _mm512_set1_epi64(word);
        let (addrs, ports) = if OUT {
            (self.ends, self.ports)
        } else {
            let remote = _mm512_srli_epi64::<32>(self.ends);
            (_mm512_or_si512(remote, _mm512_slli_epi64::<32>(self.outside)), _mm512_srli_epi64::<32>(self.ports))
        };
        let lanes = _mm512_cmpeq_epu64_mask(packets.addrs, addrs);
        let other_ports = _mm512_xor_si512(packets.transport, ports);
        let lanes = _mm512_mask_testn_epi64_mask(lanes, other_ports, word(0xffff_ffff));
        let quick = if OUT { QUICK_UDP } else { QUICK_UDP << 4 };
        let lanes = _mm512_mask_test_epi64_mask(lanes, self.state, word(bytes(u64::from(quick), 7)));
        // [`before`](crate::wheel::before): the highest bit says it.
        let left = _mm512_sub_epi32(timers.clock, self.outside);
        _mm512_mask_test_epi64_mask(lanes, left, word(i64::MIN))
    }

    /// The deadlines after a packet.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn refreshed(&self, timers: &Timers) -> [u32; LANES] {
        let [low, high] = timers.refresh;
        // Of the index the lowest five bits count: a state is below 32.
        let timeout = _mm512_permutex2var_epi32(low, _mm512_srli_epi64::<32>(self.state), high);
        let timeout = _mm512_cvtepi64_epi32(timeout);
        let expires = _mm512_cvtepi64_epi32(_mm512_srli_epi64::<32>(self.outside));
        let refreshes = _mm256_test_epi32_mask(timeout, timeout);
        let expires = _mm256_mask_add_epi32(expires, refreshes, timeout, timers.now);
        let mut numbers = [0; LANES];
        // SAFETY: eight numbers of four bytes.
        unsafe { _mm256_storeu_si256(numbers.as_mut_ptr().cast(), expires) };
        numbers
    }
}

impl Columns {
    /// TTL, both checksums, address and port.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn rewrite<const OUT: bool>(&mut self, kept: &Kept) {
        // Outbound the complements of the changes, inbound the complements of those.
        let flip = _mm512_set1_epi64(if OUT { -1 } else { 0 });
        let changes = _mm512_xor_si512(kept.state, flip);
        // Neither sum is zero: it stays so only if both its parts are.
        let middle = add_ones(self.middle, LAST, _mm512_slli_epi64::<48>(changes));
        let ttl_delta = u64::from(TTL_DELTA.to_bits());
        let borrows = _mm512_mask_cmplt_epu16_mask(LAST, middle, _mm512_set1_epi64(bytes(ttl_delta, 6)));
        let middle = _mm512_sub_epi16(middle, _mm512_set1_epi64(bytes(ttl_delta, 6) | bytes(1, 4)));
        self.middle = _mm512_mask_sub_epi16(middle, borrows, middle, _mm512_set1_epi16(1));
        // A checksum of zero is none.
        let summed = _mm512_mask_test_epi16_mask(LAST, self.transport, self.transport);
        let transport = add_ones(self.transport, summed, _mm512_slli_epi64::<32>(changes));
        if OUT {
            self.addrs = _mm512_mask_mov_epi32(self.addrs, 0x5555, kept.outside);
            self.transport = _mm512_mask_mov_epi16(transport, 0x1111_1111, _mm512_srli_epi64::<48>(kept.ports));
        } else {
            self.addrs = _mm512_mask_mov_epi32(self.addrs, 0xaaaa, _mm512_slli_epi64::<32>(kept.ends));
            self.transport = _mm512_mask_mov_epi16(transport, 0x2222_2222, _mm512_slli_epi64::<16>(kept.ports));
        }
    }

    /// Turns the columns back into rows.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn store(&self, windows: &mut [&mut Window; LANES]) {
        let even = _mm512_set_epi64(13, 9, 5, 1, 12, 8, 4, 0);
        let odd = _mm512_set_epi64(15, 11, 7, 3, 14, 10, 6, 2);
        let [a, b, c, d, e, f, g, h] = windows;
        let pair = |first: &mut Window, second: &mut Window, rows| {
            // SAFETY: 32 bytes each.
            unsafe {
                _mm256_storeu_si256(first.as_mut_ptr().cast(), _mm512_castsi512_si256(rows));
                _mm256_storeu_si256(second.as_mut_ptr().cast(), _mm512_extracti64x4_epi64::<1>(rows));
            }
        };
        let ad01 = _mm512_shuffle_i64x2::<0x44>(self.start, self.middle);
        let ad23 = _mm512_shuffle_i64x2::<0x44>(self.addrs, self.transport);
        let eh01 = _mm512_shuffle_i64x2::<0xee>(self.start, self.middle);
        let eh23 = _mm512_shuffle_i64x2::<0xee>(self.addrs, self.transport);
        pair(a, b, _mm512_permutex2var_epi64(ad01, even, ad23));
        pair(c, d, _mm512_permutex2var_epi64(ad01, odd, ad23));
        pair(e, f, _mm512_permutex2var_epi64(eh01, even, eh23));
        pair(g, h, _mm512_permutex2var_epi64(eh01, odd, eh23));
    }
}

/// One's complement sum of 16-bit lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn add_ones(value: __m512i, lanes: __mmask32, other: __m512i) -> __m512i {
    let sum = _mm512_mask_add_epi16(value, lanes, value, other);
    let carries = _mm512_mask_cmplt_epu16_mask(lanes, sum, other);
    _mm512_mask_add_epi16(sum, carries, sum, _mm512_set1_epi16(1))
}
