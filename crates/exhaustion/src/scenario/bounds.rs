//! The limit on everything.

use std::ops::RangeInclusive;

/// Pods on a node, or nodes.
pub(super) const HOSTS: RangeInclusive<u32> = 1..=4096;
/// Pods on all nodes.
pub(super) const PODS_MAX: u32 = 60_000;
/// Servers.
pub(super) const SERVERS: RangeInclusive<u32> = 1..=200;
/// Outside addresses of a layer; AWS's gateways have 8 at most, Azure's 16.
pub(super) const ADDRESSES: RangeInclusive<u32> = 1..=64;
/// Exponents of Zipf's law: beyond 3 nine of ten connections go to one destination.
pub(super) const SKEW: RangeInclusive<f64> = 0.0..=3.0;
/// Seconds of a timeout: up to Linux's five days.
pub(super) const TIMEOUT_S: RangeInclusive<u32> = 1..=432_000;
/// Seconds of a hold, or none.
pub(super) const HOLD_S: RangeInclusive<u32> = 0..=432_000;
/// Connections a second.
pub(super) const RATE: RangeInclusive<f64> = 0.01..=100_000.0;
/// Seconds of a lifetime.
pub(super) const LIFETIME_S: RangeInclusive<f64> = 0.001..=86_400.0;
/// Seconds of an experiment, on whatever clock.
pub(super) const DURATION_S: RangeInclusive<u32> = 1..=86_400;
/// Connections, ports or entries.
pub(super) const CONNECTIONS: RangeInclusive<u32> = 1..=1 << 20;
/// Shares.
pub(super) const SHARE: RangeInclusive<f64> = 0.001..=1.0;
/// Elements of a list.
pub(super) const LIST_MAX: usize = 16;
/// Repetitions.
pub(super) const ROUNDS: RangeInclusive<u32> = 1..=100;
/// Up to a day.
pub(super) const TIME_LIMIT_S: RangeInclusive<u32> = 1..=86_400;
