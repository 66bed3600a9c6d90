//! The limit on everything.

use std::ops::RangeInclusive;

/// 2⁵³ − 1 is the largest integer that JSON readers agree on (RFC 8259 section 6).
pub const SEED: RangeInclusive<u64> = 0..=(1 << 53) - 1;
/// Ethernet's largest payload: frames have no more than [`FRAME_BYTES`].
pub const MTU_MAX: u16 = 1500;
/// Every flow costs the tester a template and a counter.
pub const FLOWS: RangeInclusive<u32> = 1..=1 << 20;
/// RFC 2544 section 9.1, in bytes with FCS.
pub const FRAME_BYTES: RangeInclusive<u16> = 64..=1518;
/// Ethernet header and FCS: what a frame has on top of its IP packet.
pub const FRAME_OVERHEAD_BYTES: u16 = 18;
/// Frame sizes in one scenario.
pub const FRAME_SIZES_MAX: usize = 16;
/// Port 0 is reserved (RFC 6335 section 6).
pub const PORT: RangeInclusive<u16> = 1..=u16::MAX;
/// Rounds of a scenario.
pub const ROUNDS: RangeInclusive<u32> = 1..=100;
/// Below 10 ms a single stall of the machine decides the outcome; the stamp in a frame holds 2⁴⁰ ns, 18 minutes.
pub const TRIAL_MS: RangeInclusive<u32> = 10..=600_000;
/// At the rate found itself, half of the trials would lose frames: latency is measured at or below it.
pub const LATENCY_FRACTION: RangeInclusive<f64> = 0.01..=1.0;
/// Shares of the rate at which latency is measured: beyond twice the rate nothing but the queue is seen.
pub const LOAD: RangeInclusive<f64> = 0.0..=2.0;
/// Such shares in one scenario.
pub const LOADS_MAX: usize = 12;
/// Flows opened in a trial.
pub const NEW_FLOWS: RangeInclusive<u32> = 1..=1 << 18;
/// Frames per second; memory links end near 20 million a core.
pub const RATE_PPS: RangeInclusive<u32> = 1..=50_000_000;
/// Finer than a thousandth is noise on any machine, coarser than half is no search.
pub const PRECISION: RangeInclusive<f64> = 0.001..=0.5;
/// Further trials to confirm a rate.
pub const CONFIRM: RangeInclusive<u32> = 0..=20;
/// Trials of one search.
pub const SEARCH_TRIALS: RangeInclusive<u32> = 2..=200;
/// Goal Loss Ratio of a second goal: above a tenth is overload.
pub const LOSS_RATIO: RangeInclusive<f64> = 0.0..=0.1;
/// Goal Exceed Ratio; the draft recommends 0.5.
pub const EXCEED_RATIO: RangeInclusive<f64> = 0.0..=0.9;
/// Goal Duration Sum: up to an hour a load.
pub const DURATION_SUM_MS: RangeInclusive<u32> = 10..=3_600_000;
/// Up to a day.
pub const TIME_LIMIT_S: RangeInclusive<u32> = 1..=86_400;
/// The receiver keeps a bit per frame to tell duplicates from losses: 128 MiB.
pub const FRAMES_PER_TRIAL_MAX: u64 = 1 << 30;
/// Send lag, 99th percentile: up to the 4.29 s that the stamp can hold.
pub const SEND_LAG_US: RangeInclusive<u32> = 1..=4_000_000;
/// Share of a trial's duration.
pub const OVERRUN: RangeInclusive<f64> = 0.0..=0.5;
/// Share of a trial's time that others may take; 1 forgives everything, threads that wait for each other may exceed it.
pub const DISTURBED: RangeInclusive<f64> = 0.0..=10.0;
/// Repetitions of a trial that does not count.
pub const RETRIES: RangeInclusive<u32> = 0..=10;
/// Frames in a ring; a burst is up to 256, and 65,536 slots of 2 KiB are 128 MiB.
pub const SLOTS: RangeInclusive<u32> = 512..=65_536;
/// As many processors as Linux can be built for.
pub const CPU: RangeInclusive<u16> = 0..=8191;
/// Ports that any translator can give per address and destination: 1024 to 65535.
pub const NAT_PORTS_PER_ADDRESS: u64 = 64_512;
/// What a trial costs beyond sending, in milliseconds: to settle before, and to let the last frames arrive.
pub const TRIAL_OVERHEAD_MS: u64 = 40;
