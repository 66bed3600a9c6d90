//! The kernel's threads for network work that does not get done in the interrupt, or in the call, that it came from.

use std::fs;

use crate::procfs;

/// The `ksoftirqd` threads of some processors.
#[derive(Debug, Clone, Default)]
pub struct SoftirqThreads {
    pids: Vec<u32>,
}

impl SoftirqThreads {
    /// Those of `cpus`. In a container they may not be seen; then there are none.
    pub fn of(cpus: &[usize]) -> Self {
        let names: Vec<String> = cpus.iter().map(|cpu| format!("ksoftirqd/{cpu}")).collect();
        let ours = |pid: &u32| names.contains(&procfs::command_name(&format!("/proc/{pid}")));
        Self { pids: procfs::processes().into_iter().filter(ours).collect() }
    }

    /// How long they have run since boot, in nanoseconds; none if that cannot be seen.
    pub fn busy_ns(&self) -> Option<u64> {
        if self.pids.is_empty() {
            return None;
        }
        // Time on the processor, time waiting for it, time slices (`Documentation/scheduler/sched-stats.rst`).
        let ran = |pid: &u32| {
            fs::read_to_string(format!("/proc/{pid}/schedstat"))
                .ok()?
                .split_ascii_whitespace()
                .next()?
                .parse::<u64>()
                .ok()
        };
        self.pids.iter().map(ran).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_that_is_not_there_has_no_thread() {
        assert_eq!(SoftirqThreads::of(&[100_000]).busy_ns(), None);
        assert_eq!(SoftirqThreads::default().busy_ns(), None);
    }

    #[test]
    fn what_has_run_stays_run() {
        let threads = SoftirqThreads::of(&[0]);
        if let Some(before) = threads.busy_ns() {
            assert!(threads.busy_ns().is_some_and(|after| after >= before));
        }
    }
}
