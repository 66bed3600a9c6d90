//! Which core a thread runs on, and how deep idle cores may sleep.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{self, Write};

/// Keeps the calling thread on `core`, an index as in `/proc/cpuinfo`.
///
/// # Errors
/// If the core does not exist, is offline, or the process is not allowed on it (cpusets).
pub fn pin_current_thread(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// The cores that the calling thread may run on, ascending.
///
/// # Errors
/// What the kernel answers; never seen for the own thread.
pub fn allowed_cores() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|core| set.is_set(*core).unwrap_or(false)).collect())
}

/// While this lives, idle cores stay in their shallowest sleep, so that waking a thread on another core takes a few microseconds
/// instead of tens.
#[derive(Debug)]
pub struct DmaLatencyGuard {
    _file: File,
}

/// Asks the kernel for a wake-up latency of zero by way of `/dev/cpu_dma_latency` (kernel: `Documentation/power/pm_qos_interface`).
/// `None` where the file is missing or not writable, as for ordinary users.
pub fn hold_dma_latency_at_zero() -> Option<DmaLatencyGuard> {
    let mut file = File::options().write(true).open("/dev/cpu_dma_latency").ok()?;
    file.write_all(&0i32.to_ne_bytes()).ok()?;
    Some(DmaLatencyGuard { _file: file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_is_allowed_on_one_core_only() {
        let cores = allowed_cores().unwrap();
        assert!(!cores.is_empty());
        let last = cores[cores.len() - 1];
        let seen = std::thread::spawn(move || {
            pin_current_thread(last).unwrap();
            allowed_cores().unwrap()
        });
        assert_eq!(seen.join().unwrap(), [last]);
        assert_eq!(allowed_cores().unwrap(), cores, "other threads stay where they were");
    }

    #[test]
    fn a_core_that_is_not_there_is_an_error() {
        assert!(pin_current_thread(100_000).is_err());
    }
}
