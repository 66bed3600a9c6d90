//! The one clock of a measurement.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of CLOCK_MONOTONIC: the same for all threads, cores and network namespaces of a machine.
#[inline]
pub fn now_ns() -> u64 {
    // CLOCK_MONOTONIC exists on every Linux and is never negative; an error can only mean a clock id that the kernel does not know.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |at| at.tv_sec() as u64 * 1_000_000_000 + at.tv_nsec() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_forward_at_the_pace_of_std() {
        let (std_start, start_ns) = (std::time::Instant::now(), now_ns());
        std::thread::sleep(std::time::Duration::from_millis(2));
        let elapsed_ns = now_ns() - start_ns;
        assert!(elapsed_ns >= 2_000_000, "{elapsed_ns}");
        assert!(elapsed_ns <= std_start.elapsed().as_nanos() as u64 + 1_000);
    }
}
