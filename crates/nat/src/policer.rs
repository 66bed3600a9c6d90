//! Enforcement of a stated capacity: what exceeds it is dropped.

use crate::behaviour::CapacityRules;
use crate::{DropReason, Nat, Verdict};
use natrig_wire::Frame;

/// Nanoseconds' worth of capacity that may pass at once.
const BURST_NS: u64 = 10_000_000;
/// What an Ethernet frame takes on a wire beyond its bytes: frame check sequence. Vendors state layer-2 rates without preamble and gap.
const FCS_BITS: u64 = 32;

/// Two token buckets. Tokens are counted in packets (bits) times 10⁹, so that a nanosecond brings whole tokens.
#[derive(Debug)]
pub(crate) struct Policer {
    packets: Bucket,
    bits: Bucket,
    last_ns: Option<u64>,
}

#[derive(Debug)]
struct Bucket {
    /// Per second; zero: no limit.
    rate: u64,
    tokens: u128,
}

const SCALE: u128 = 1_000_000_000;

impl Bucket {
    fn most(&self) -> u128 {
        // At least one packet of any size.
        (u128::from(self.rate) * u128::from(BURST_NS)).max(SCALE * 65536 * 8)
    }

    fn fill(&mut self, passed_ns: u64) {
        self.tokens = (self.tokens + u128::from(self.rate) * u128::from(passed_ns)).min(self.most());
    }

    const fn has(&self, amount: u64) -> bool {
        self.rate == 0 || self.tokens >= amount as u128 * SCALE
    }

    const fn take(&mut self, amount: u64) {
        if self.rate > 0 {
            self.tokens -= amount as u128 * SCALE;
        }
    }
}

impl Policer {
    pub(crate) fn new(rules: &CapacityRules) -> Option<Self> {
        let bucket = |rate| Bucket { rate, tokens: 0 };
        (rules.enforce && rules.pps + rules.bits_per_second > 0).then(|| Self {
            packets: bucket(rules.pps),
            bits: bucket(rules.bits_per_second),
            last_ns: None,
        })
    }

    fn admit(&mut self, bits: u64) -> bool {
        let admitted = self.packets.has(1) && self.bits.has(bits);
        if admitted {
            self.packets.take(1);
            self.bits.take(bits);
        }
        admitted
    }

    fn advance(&mut self, now_ns: u64) {
        // The first burst finds the buckets full.
        let passed_ns = self.last_ns.map_or(u64::MAX, |last_ns| now_ns.saturating_sub(last_ns));
        self.last_ns = Some(now_ns);
        self.packets.fill(passed_ns);
        self.bits.fill(passed_ns);
    }
}

impl Nat {
    /// Drops what exceeds the capacity.
    pub(crate) fn police(&mut self, frames: &[Frame<'_>], verdicts: &mut [Verdict]) {
        let Some(policer) = &mut self.policer else { return };
        policer.advance(self.now_ns);
        for (frame, verdict) in frames.iter().zip(verdicts) {
            if *verdict == Verdict::Forward && !policer.admit(frame.len() as u64 * 8 + FCS_BITS) {
                self.counters.drops[DropReason::Capacity as usize] += 1;
                *verdict = Verdict::Drop(DropReason::Capacity);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admits_the_rate_and_no_more() {
        let rules = CapacityRules { enforce: true, pps: 1_000_000, bits_per_second: 0, max_addresses: 0 };
        let mut policer = Policer::new(&rules).unwrap();
        let mut admitted = 0;
        for step in 0..1000 {
            policer.advance(step * 1000);
            admitted += (0..700).filter(|_| policer.admit(1000)).count();
        }
        // A bucket's fill, and one packet a microsecond.
        let burst = usize::try_from(policer.packets.most() / SCALE).unwrap();
        assert_eq!(admitted, burst.min(700_000) + 999);
        assert!(Policer::new(&CapacityRules { enforce: false, ..rules }).is_none());
    }
}
