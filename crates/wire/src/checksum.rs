//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

/// Sums `data` as big-endian 16-bit words, an odd last byte padded with zero, onto `acc`.
///
/// The result is not folded; [`fold`] folds it. Neither the order nor the size of words makes a difference to a one's complement sum,
/// and bytes may be swapped in the sum as well as in each word (RFC 1071 §2), so the loop adds words of eight bytes as they lie in memory.
#[inline]
pub fn sum(acc: u32, data: &[u8]) -> u32 {
    let (words, rest) = data.as_chunks::<8>();
    let mut wide = 0u128;
    for word in words {
        wide += u128::from(u64::from_ne_bytes(*word));
    }
    let (words, rest) = rest.as_chunks::<4>();
    for word in words {
        wide += u128::from(u32::from_ne_bytes(*word));
    }
    let (words, last) = rest.as_chunks::<2>();
    for word in words {
        wide += u128::from(u16::from_ne_bytes(*word));
    }
    if let [byte] = last {
        wide += u128::from(u16::from_ne_bytes([*byte, 0]));
    }
    let (sum, carry) = (wide as u64).overflowing_add((wide >> 64) as u64);
    u32::from(u16::from_be(fold64(sum, carry))) + acc
}

#[inline]
const fn fold64(wide: u64, carry: bool) -> u16 {
    let wide = (wide >> 32) + (wide & 0xffff_ffff) + carry as u64;
    // At most 2³³ − 1, then 0x2fffe, then 0x10001, then 16 bits.
    let wide = (wide >> 16) + (wide & 0xffff);
    let wide = (wide >> 16) + (wide & 0xffff);
    ((wide >> 16) + (wide & 0xffff)) as u16
}

/// Folds a sum to 16 bits with end-around carry.
#[inline]
pub const fn fold(sum: u32) -> u16 {
    // Two steps do for 32 bits: the first leaves at most 0x1fffe.
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}

/// The checksum field's value for a sum: its one's complement.
#[inline]
pub const fn finish(sum: u32) -> u16 {
    !fold(sum)
}

/// The sum of the IPv4 pseudo-header of UDP and TCP: addresses, protocol, upper-layer length.
#[inline]
pub const fn pseudo_header(src: u32, dst: u32, protocol: u8, len: u16) -> u32 {
    (src >> 16) + (src & 0xffff) + (dst >> 16) + (dst & 0xffff) + protocol as u32 + len as u32
}

/// The one's complement sum of two words: end-around carry.
#[inline]
const fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + carry as u16
}

/// What a rewrite changes in a checksum: RFC 1624 equation 3, HC' = ~(~HC + ~m + m'), for any number of fields.
///
/// One `Delta` gathered for the addresses serves both the IP header checksum and the pseudo-header of the upper layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delta(u16);

impl Delta {
    /// No change.
    #[inline]
    pub const fn new() -> Self {
        Self(0)
    }

    /// A 16-bit field goes from `old` to `new`.
    #[inline]
    #[must_use]
    pub const fn u16(self, old: u16, new: u16) -> Self {
        Self(add(self.0, add(!old, new)))
    }

    /// A 32-bit field goes from `old` to `new`.
    #[inline]
    #[must_use]
    pub const fn u32(self, old: u32, new: u32) -> Self {
        let old = !old;
        Self(fold(self.0 as u32 + (old >> 16) + (old & 0xffff) + (new >> 16) + (new & 0xffff)))
    }

    /// Both changes.
    #[inline]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(add(self.0, other.0))
    }

    /// The change back.
    #[inline]
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self(!self.0)
    }

    /// The change as a word, to be stored.
    #[inline]
    pub const fn to_bits(self) -> u16 {
        self.0
    }

    /// A change that was stored by [`Delta::to_bits`].
    #[inline]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// The checksum field after the change.
    #[inline]
    #[must_use]
    pub const fn apply(self, checksum: u16) -> u16 {
        !add(!checksum, self.0)
    }

    /// As [`Delta::apply`] for UDP over IPv4: a field of zero means "no checksum" and stays so, and a result of zero is sent as
    /// all ones (RFC 768).
    #[inline]
    #[must_use]
    pub const fn apply_udp(self, checksum: u16) -> u16 {
        if checksum == 0 { 0 } else { self.apply_nonzero(checksum) }
    }

    /// As [`Delta::apply`], but all ones where that gives zero: HC + m + ~m' (RFC 1624 §3).
    #[inline]
    #[must_use]
    pub const fn apply_nonzero(self, checksum: u16) -> u16 {
        add(checksum, !self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 §3: the example bytes sum to ddf2.
    #[test]
    fn sums_the_example_of_rfc_1071() {
        assert_eq!(fold(sum(0, &[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])), 0xddf2);
    }

    /// RFC 1624 §4: HC = 0xDD2F, m = 0x5555, m' = 0x3285 give HC' = 0x0000.
    #[test]
    fn updates_the_example_of_rfc_1624() {
        assert_eq!(Delta::new().u16(0x5555, 0x3285).apply(0xdd2f), 0x0000);
    }

    #[test]
    fn udp_without_checksum_stays_without() {
        assert_eq!(Delta::new().u16(1, 2).apply_udp(0), 0);
        assert_eq!(Delta::new().u16(0x5555, 0x3285).apply_udp(0xdd2f), 0xffff);
    }

    #[test]
    fn a_stored_change_can_be_made_and_undone() {
        let delta = Delta::from_bits(Delta::new().u32(0x0a00_0001, 0xc633_6401).to_bits());
        let there = delta.apply(0x1234);
        assert_eq!(there, Delta::new().u32(0x0a00_0001, 0xc633_6401).apply(0x1234));
        assert_eq!(delta.reversed().apply(there), 0x1234);
    }

    /// Which of the two zeros there is between two changes does not show behind the second.
    #[test]
    fn a_change_on_its_way_need_not_follow_equation_3() {
        let ttl = Delta::new().u16(0x0100, 0);
        for checksum in 0..=u16::MAX {
            for delta in [0u16, 1, 2, 0xff, 0x100, 0x8000, 0xfeff, 0xff00, 0xfffe, 0xffff] {
                let delta = Delta::from_bits(delta);
                assert_eq!(ttl.apply(delta.apply_nonzero(checksum)), ttl.apply(delta.apply(checksum)));
            }
        }
    }

    #[test]
    fn udp_follows_equation_3_but_for_its_zero() {
        for checksum in (0..=u16::MAX).step_by(7).chain([0xdd2f, 0xffff]) {
            for delta in [0u16, 1, 0x22d0, 0x8000, 0xfffe, 0xffff] {
                let delta = Delta::from_bits(delta);
                let expected = match (checksum, delta.apply(checksum)) {
                    (0, _) => 0,
                    (_, 0) => 0xffff,
                    (_, value) => value,
                };
                assert_eq!(delta.apply_udp(checksum), expected, "{checksum:#x} {delta:?}");
            }
        }
    }

    fn slow_sum(data: &[u8]) -> u16 {
        let mut acc: u32 = 0;
        for pair in data.chunks(2) {
            acc += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
            acc = (acc & 0xffff) + (acc >> 16);
        }
        acc as u16
    }

    proptest! {
        #[test]
        fn fast_sum_is_the_slow_sum(data in proptest::collection::vec(any::<u8>(), 0..1600), acc in 0u32..0xffff) {
            let slow = fold(u32::from(slow_sum(&data)) + acc);
            let fast = fold(sum(acc, &data));
            // 0x0000 and 0xffff are the two zeros of one's complement.
            prop_assert_eq!(fast % 0xffff, slow % 0xffff);
        }

        #[test]
        fn incremental_update_is_the_recomputed_checksum(mut data in proptest::collection::vec(any::<u8>(), 12..64), at in 0usize..4, new in any::<u32>()) {
            let at = at * 2;
            data[11] |= 1; // RFC 1624 §3: a header is never all zero
            let before = finish(sum(0, &data));
            let old = u32::from_be_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]]);
            data[at..at + 4].copy_from_slice(&new.to_be_bytes());
            prop_assume!(data.iter().any(|b| *b != 0));
            prop_assert_eq!(Delta::new().u32(old, new).apply(before) % 0xffff, finish(sum(0, &data)) % 0xffff);
        }
    }
}
