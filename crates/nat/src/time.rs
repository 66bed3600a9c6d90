//! Ticks: what timers count in.

/// Nanoseconds per tick. Timers run in whole ticks: a mapping whose timeout is T, refreshed at t, is dead at
/// floor(t / TICK_NS) + T / TICK_NS ticks.
pub const TICK_NS: u64 = 10_000_000;

/// The tick in which `now_ns` lies, modulo 2³² (497 days).
#[inline(always)]
pub(crate) const fn tick_of(now_ns: u64) -> u32 {
    (now_ns / TICK_NS) as u32
}

/// Seconds in ticks.
pub(crate) const fn ticks(seconds: u32) -> u32 {
    (seconds as u64 * 1_000_000_000 / TICK_NS) as u32
}
