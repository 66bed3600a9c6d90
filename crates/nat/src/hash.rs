//! The keyed hash of the look-up tables.
//!
//! NH (Black et al., "UMAC", 1999) over four 32-bit words, then one folded multiplication. NH is 2⁻³²-almost-universal: two different
//! keys chosen without knowledge of the seed collide with a probability of at most 2⁻³², whoever chose them. That, not speed alone, is
//! why it is here: the keys are addresses and ports that strangers pick.

use rand::{Rng, RngExt};

/// What a key identifies; part of the hash, so that one function serves every table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum KeyKind {
    Outbound = 0,
    Inbound = 1,
    /// Inside end of a mapping (and the remote address, if the mapping depends on it).
    Inside = 2,
    /// Outside end of a mapping.
    Outside = 3,
    /// Outside end of a mapping and a remote address.
    Peer = 4,
    Source = 5,
    Destination = 6,
    Fragment = 7,
}

/// The hash function, keyed by a seed.
#[derive(Debug, Clone)]
pub(crate) struct KeyedHash {
    pub(crate) words: [u32; 4],
    pub(crate) mix: u64,
}

impl KeyedHash {
    pub(crate) fn new<R: Rng>(rng: &mut R) -> Self {
        Self { words: rng.random(), mix: rng.random::<u64>() | 1 }
    }

    /// Hashes a pair of addresses, a pair of ports (or other 32 bits), a protocol and a kind.
    #[inline(always)]
    pub(crate) fn hash(&self, kind: KeyKind, protocol: u8, addrs: u64, ports: u32) -> u64 {
        let [k0, k1, k2, k3] = self.words;
        let tail = u32::from(kind as u8) << 8 | u32::from(protocol);
        let a = u64::from(((addrs >> 32) as u32).wrapping_add(k0)) * u64::from((addrs as u32).wrapping_add(k1));
        let b = u64::from(ports.wrapping_add(k2)) * u64::from(tail.wrapping_add(k3));
        let wide = u128::from(a.wrapping_add(b)) * u128::from(self.mix);
        (wide >> 64) as u64 ^ wide as u64
    }

    /// Spreads addresses over the counters of identifications.
    #[inline(always)]
    pub(crate) const fn spread(&self, addr: u32) -> usize {
        (self.mix.wrapping_mul(addr as u64) >> 54) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    #[test]
    fn depends_on_the_seed_and_on_every_input() {
        let one = KeyedHash::new(&mut Pcg64Mcg::seed_from_u64(1));
        let two = KeyedHash::new(&mut Pcg64Mcg::seed_from_u64(2));
        let base = one.hash(KeyKind::Outbound, 17, 1, 2);
        assert_ne!(base, two.hash(KeyKind::Outbound, 17, 1, 2));
        assert_ne!(base, one.hash(KeyKind::Inbound, 17, 1, 2));
        assert_ne!(base, one.hash(KeyKind::Outbound, 6, 1, 2));
        assert_ne!(base, one.hash(KeyKind::Outbound, 17, 1 << 32, 2));
        assert_ne!(base, one.hash(KeyKind::Outbound, 17, 1, 3));
    }

    /// Keys that differ in few bits, as flows of one pod do, spread evenly over the high and the low bits.
    #[test]
    fn spreads_neighbouring_flows_evenly() {
        let hash = KeyedHash::new(&mut Pcg64Mcg::seed_from_u64(3));
        let (mut high, mut low) = ([0u32; 256], [0u32; 256]);
        for port in 0..65536u32 {
            let h = hash.hash(KeyKind::Outbound, 17, 0x0a00_0001_0a00_0002, port << 16 | 80);
            high[(h >> 56) as usize] += 1;
            low[(h & 0xff) as usize] += 1;
        }
        for count in high.iter().chain(&low) {
            assert!((128..=512).contains(count), "{count} of 256 expected");
        }
    }
}
