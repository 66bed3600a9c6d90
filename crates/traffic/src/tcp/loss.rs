//! Frames that are lost on purpose: which ones does not depend on when they are sent, so that whatever stands between two hosts is asked the
//! same.

use std::collections::HashMap;

use super::segments::parse;

/// So many bytes of a stream share a draw: those of a full segment on Ethernet.
const BLOCK: u32 = 1460;

/// Of each block of a stream one byte is marked, or none. A segment with a marked byte is lost the first time; when it is sent again, it is
/// drawn for again. A segment without data is drawn for by what it acknowledges, and how often that has been said.
#[derive(Debug)]
pub(super) struct Loss {
    ppm: u32,
    seed: u64,
    /// How often something has been sent.
    said: HashMap<What, u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum What {
    Block(u32),
    Acknowledgement(u32),
}

impl Loss {
    pub(super) fn new(ppm: u32, seed: u64) -> Self {
        Self { ppm, seed, said: HashMap::new() }
    }

    /// Whether this packet is lost.
    pub(super) fn takes(&mut self, packet: &[u8]) -> bool {
        let Some((_, segment)) = parse(packet) else { return false };
        let (seq, len) = (segment.seq(), segment.payload().len() as u32);
        if len == 0 {
            return self.draw(What::Acknowledgement(segment.ack()));
        }
        let last = seq.wrapping_add(len - 1);
        let mut blocks =
            [Some(seq / BLOCK), Some(last / BLOCK).filter(|block| *block != seq / BLOCK)].into_iter().flatten();
        let marked =
            |seed: u64, block: u32| block.wrapping_mul(BLOCK).wrapping_add(mix(seed, block, u32::MAX) as u32 % BLOCK);
        // Not `any`: each block is drawn for.
        blocks.by_ref().fold(false, |lost, block| {
            let covers = marked(self.seed, block).wrapping_sub(seq) < len;
            (covers && self.draw(What::Block(block))) || lost
        })
    }

    fn draw(&mut self, what: What) -> bool {
        let times = self.said.entry(what).or_default();
        let (kind, number) = match what {
            What::Block(block) => (0, block),
            What::Acknowledgement(number) => (1, number),
        };
        let drawn = mix(self.seed.wrapping_add(kind), number, *times) % 1_000_000;
        *times += 1;
        drawn < u64::from(self.ppm)
    }
}

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014) of all three.
fn mix(seed: u64, number: u32, times: u32) -> u64 {
    let mut z = seed.wrapping_add((u64::from(number) << 32 | u64::from(times)).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use natrig_wire::{ipv4, tcp};

    use super::*;

    fn packet(seq: u32, ack: u32, data: usize) -> Vec<u8> {
        let mut bytes = vec![0; ipv4::HEADER_LEN + tcp::HEADER_LEN + data];
        let address = std::net::Ipv4Addr::new(10, 0, 0, 1);
        let ip = ipv4::Repr {
            src: address,
            dst: address,
            protocol: ipv4::protocol::TCP,
            ttl: 64,
            ident: 0,
            dont_fragment: true,
            payload_len: tcp::HEADER_LEN + data,
        };
        ip.emit(&mut bytes).unwrap();
        let flags = tcp::flag::ACK;
        tcp::Repr { src_port: 1, dst_port: 2, seq, ack, flags, window: 1 }
            .emit(&mut bytes[ipv4::HEADER_LEN..])
            .unwrap();
        bytes
    }

    /// The first bytes of lost segments, of a stream cut into segments of `len` that begins at `first`.
    fn lost(len: u32, first: u32, ppm: u32) -> Vec<u32> {
        let mut loss = Loss::new(ppm, 7);
        let segments = (0..3_000_000 / len).map(|nth| first.wrapping_add(nth * len));
        segments.filter(|seq| loss.takes(&packet(*seq, 1, len as usize))).collect()
    }

    #[test]
    fn the_same_bytes_are_lost_however_they_are_cut() {
        for first in [1000, u32::MAX - 1_000_000] {
            let (long, short) = (lost(1460, first, 20_000), lost(730, first, 20_000));
            assert!((25..=60).contains(&long.len()), "{}", long.len());
            assert_eq!(long.len(), short.len());
            for (long, short) in long.iter().zip(&short) {
                assert!(short.wrapping_sub(*long) < 1460, "{short} is not in the segment at {long}");
            }
        }
    }

    #[test]
    fn what_is_sent_again_is_drawn_for_again() {
        let mut loss = Loss::new(500_000, 3);
        let draws: Vec<bool> = (0..2000).map(|_| loss.takes(&packet(1460, 1, 1460))).collect();
        let lost = draws.iter().filter(|lost| **lost).count();
        assert!((900..=1100).contains(&lost), "{lost}");
        let acknowledged = (0..2000).filter(|_| loss.takes(&packet(1, 77, 0))).count();
        assert!((900..=1100).contains(&acknowledged), "{acknowledged}");
        assert!(!Loss::new(1_000_000, 3).takes(&[0; 8]), "no TCP");
    }
}
