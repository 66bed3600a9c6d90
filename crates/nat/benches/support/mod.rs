//! Flows, frames and translators to measure.
#![expect(dead_code, reason = "each benchmark uses a part of it")]

use natrig_nat::{Direction, Nat, Profile, Verdict};
use natrig_wire::{Frame, checksum};
use std::net::Ipv4Addr;

/// Frames of 64 bytes with frame check sequence.
pub(crate) const FRAME_LEN: usize = 60;
/// Frames of ICMP errors that quote a header and eight bytes.
pub(crate) const ICMP_ERROR_LEN: usize = 14 + 20 + 8 + 28;
/// Bytes from one slot of the ring to the next.
pub(crate) const SLOT_LEN: usize = 256;
/// Frames per burst.
pub(crate) const BURST: usize = 256;
/// Bursts in the ring: 16384 slots, 4 MiB, as a ring between two cores has them. What is processed was written a ring's length before, so
/// that its lines come from the cache that the cores share.
pub(crate) const BURSTS: usize = 64;
/// Ports that one outside address gives to one protocol.
pub(crate) const PORTS_PER_ADDRESS: usize = 64_512;

/// SplitMix64: a cheap stream of numbers that touches no memory.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }
}

/// Frames in slots, as a ring has them.
pub(crate) struct Ring {
    bytes: Vec<u8>,
    template: [u8; FRAME_LEN],
}

impl Ring {
    pub(crate) fn new() -> Self {
        let mut template = [0x5a; FRAME_LEN];
        template[12..14].copy_from_slice(&[8, 0]);
        template[14..34].copy_from_slice(&[0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 17, 0, 0, 0, 0, 0, 0, 203, 0, 113, 5]);
        template[36..38].copy_from_slice(&53u16.to_be_bytes());
        template[38..40].copy_from_slice(&26u16.to_be_bytes());
        template[40..42].copy_from_slice(&[0xbe, 0xef]);
        Self { bytes: vec![0; BURSTS * BURST * SLOT_LEN], template }
    }

    /// Writes the outbound packet of a flow into a slot.
    pub(crate) fn write(&mut self, burst: usize, slot: usize, flow: usize) {
        let (addr, port) = inside_of(flow);
        let frame = &mut self.bytes[(burst * BURST + slot) * SLOT_LEN..][..FRAME_LEN];
        frame.copy_from_slice(&self.template);
        frame[26..30].copy_from_slice(&addr.to_be_bytes());
        frame[34..36].copy_from_slice(&port.to_be_bytes());
        let sum = checksum::finish(checksum::sum(0, &frame[14..34]));
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
    }

    /// Writes packets of random flows into all slots.
    pub(crate) fn write_random(&mut self, numbers: &mut Numbers, flows: usize) {
        for slot in 0..BURSTS * BURST {
            self.write(0, slot, numbers.below(flows));
        }
    }

    /// The bytes of a slot.
    pub(crate) fn slot_mut(&mut self, slot: usize) -> &mut [u8] {
        &mut self.bytes[slot * SLOT_LEN..][..SLOT_LEN]
    }

    /// Gives the packet in a slot other addresses.
    pub(crate) fn redirect(&mut self, slot: usize, src: u32, dst: u32) {
        let frame = self.slot_mut(slot);
        frame[26..30].copy_from_slice(&src.to_be_bytes());
        frame[30..34].copy_from_slice(&dst.to_be_bytes());
        right_header(&mut frame[14..34]);
    }

    /// Makes a TCP segment of the UDP packet in a slot.
    pub(crate) fn make_tcp(&mut self, slot: usize, flags: u8) {
        let frame = self.slot_mut(slot);
        frame[23] = 6;
        frame[46] = 5 << 4;
        frame[47] = flags;
        right_header(&mut frame[14..34]);
    }

    /// Sets the flags of a TCP segment. Its checksum was made up anyway.
    pub(crate) fn set_tcp_flags(&mut self, slot: usize, flags: u8) {
        self.slot_mut(slot)[47] = flags;
    }

    /// Makes a fragment of the UDP packet in a slot: the first one, or one at an offset in bytes.
    pub(crate) fn make_fragment(&mut self, slot: usize, offset: u8) {
        let frame = self.slot_mut(slot);
        frame[18..20].copy_from_slice(&(slot as u16).to_be_bytes());
        frame[20..22].copy_from_slice(&[0x20, offset / 8]);
        // Eight bytes of header and sixteen of data.
        frame[16..18].copy_from_slice(&44u16.to_be_bytes());
        right_header(&mut frame[14..34]);
    }

    /// Makes an ICMP error about the packet in a slot, from where it was going to.
    pub(crate) fn make_icmp_error(&mut self, slot: usize) {
        let frame = self.slot_mut(slot);
        frame.copy_within(14..42, 42);
        let (src, dst) = frame[26..34].split_at_mut(4);
        src.swap_with_slice(dst);
        frame[16..18].copy_from_slice(&56u16.to_be_bytes());
        frame[23] = 1;
        right_header(&mut frame[14..34]);
        frame[34..42].copy_from_slice(&[3, 3, 0, 0, 0, 0, 0, 0]);
        let sum = checksum::finish(checksum::sum(0, &frame[34..ICMP_ERROR_LEN]));
        frame[36..38].copy_from_slice(&sum.to_be_bytes());
    }

    /// Turns the translated packets in the first slots into their answers.
    pub(crate) fn turn_round(&mut self, slots: usize) {
        for slot in self.bytes.chunks_exact_mut(SLOT_LEN).take(slots) {
            let (src, dst) = slot[26..34].split_at_mut(4);
            src.swap_with_slice(dst);
            let (src, dst) = slot[34..38].split_at_mut(2);
            src.swap_with_slice(dst);
        }
    }

    /// Runs `f` on the frames of a burst.
    pub(crate) fn with_frames<T>(&mut self, burst: usize, f: impl FnOnce(&mut [Frame<'_>]) -> T) -> T {
        let mut slots = self.bytes[burst * BURST * SLOT_LEN..].chunks_exact_mut(SLOT_LEN);
        let mut frames: [Frame<'_>; BURST] =
            std::array::from_fn(|_| Frame::new(slots.next().unwrap_or_default(), FRAME_LEN));
        f(&mut frames)
    }
}

/// Makes a header's checksum right.
fn right_header(header: &mut [u8]) {
    header[10..12].fill(0);
    let sum = checksum::finish(checksum::sum(0, header));
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// Inside end of a flow: each flow is an end of its own, so that it needs a mapping of its own.
pub(crate) const fn inside_of(flow: usize) -> (u32, u16) {
    (0x0a00_0000 + (flow / 60_000) as u32, 1024 + (flow % 60_000) as u16)
}

/// A translator with room for `capacity` mappings, and outside addresses enough for all of them to be used at `fill`.
pub(crate) fn translator(profile: &str, capacity: usize, addresses: usize) -> Nat {
    let outside = (0..addresses as u32).map(|n| Ipv4Addr::from_bits(0xc612_0000 + n)).collect();
    let Some(profile) = Profile::builtin(profile) else { panic!("no profile {profile}") };
    let mut config = profile.config(outside);
    config.behaviour.table.capacity = capacity as u32;
    // No benchmark lasts so long that this matters, but setting up ten million mappings does.
    config.behaviour.timers.udp_new_s = 3600;
    config.behaviour.pool.paired = false;
    match Nat::new(config, 1) {
        Ok(nat) => nat,
        Err(error) => panic!("{error}"),
    }
}

/// Outside addresses that give `mappings` mappings of one protocol a port.
pub(crate) const fn addresses_for(mappings: usize) -> usize {
    mappings.div_ceil(PORTS_PER_ADDRESS)
}

/// Makes mappings for flows `from..to`.
pub(crate) fn fill(nat: &mut Nat, ring: &mut Ring, from: usize, to: usize, now_ns: u64) {
    let mut flow = from;
    while flow < to {
        for slot in 0..BURST {
            ring.write(0, slot, (flow + slot).min(to - 1));
        }
        flow += BURST;
        ring.with_frames(0, |frames| {
            let mut verdicts = [Verdict::Forward; BURST];
            nat.translate_burst(Direction::Outbound, frames, &mut verdicts, now_ns);
            assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Forward), "{verdicts:?}");
        });
    }
}
