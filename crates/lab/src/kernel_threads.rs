//! The kernel's threads that do network work: what is left over by the interrupt, or the call, that it came from, and NAPI where it runs
//! in threads.

use std::fs;

use crate::procfs;

/// Some of the kernel's threads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelThreads {
    pids: Vec<u32>,
}

impl KernelThreads {
    /// These.
    pub const fn new(pids: Vec<u32>) -> Self {
        Self { pids }
    }

    /// The `ksoftirqd` threads of some processors. In a container they may not be seen; then there are none.
    pub fn softirq(cpus: &[usize]) -> Self {
        let names: Vec<String> = cpus.iter().map(|cpu| format!("ksoftirqd/{cpu}")).collect();
        let ours = |pid: &u32| names.contains(&procfs::command_name(&format!("/proc/{pid}")));
        Self { pids: procfs::processes().into_iter().filter(ours).collect() }
    }

    /// Their process numbers.
    pub fn pids(&self) -> &[u32] {
        &self.pids
    }

    /// How long they have run since they were started, in nanoseconds; none if that cannot be seen, or there are none.
    pub fn busy_ns(&self) -> Option<u64> {
        if self.pids.is_empty() {
            return None;
        }
        // Time on the processor, time waiting for it, time slices (`Documentation/scheduler/sched-stats.rst`).
        let ran = |pid: &u32| {
            let schedstat = fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
            schedstat.split_ascii_whitespace().next()?.parse::<u64>().ok()
        };
        self.pids.iter().map(ran).sum()
    }

    /// Whether one of them has work to do, or is at it.
    pub fn any_at_work(&self) -> bool {
        let runnable = |pid: &u32| procfs::state(*pid) == Some('R');
        self.pids.iter().any(runnable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_that_is_not_there_has_no_thread() {
        assert_eq!(KernelThreads::softirq(&[100_000]).busy_ns(), None);
        assert_eq!(KernelThreads::default().busy_ns(), None);
        assert_eq!(KernelThreads::new(vec![u32::MAX]).busy_ns(), None);
    }

    #[test]
    fn a_thread_that_spins_is_at_work() {
        // The first thread of a process answers to the process's number; in a test it waits for the others.
        let spinning = std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn();
        let mut spinning = spinning.unwrap();
        let threads = KernelThreads::new(vec![spinning.id()]);
        let seen = (0..1000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(1));
            threads.any_at_work()
        });
        spinning.kill().unwrap();
        spinning.wait().unwrap();
        assert!(seen);
        assert!(!threads.any_at_work());
    }

    #[test]
    fn what_has_run_stays_run() {
        let threads = KernelThreads::softirq(&[0]);
        if let Some(before) = threads.busy_ns() {
            assert!(threads.busy_ns().is_some_and(|after| after >= before));
        }
    }
}
