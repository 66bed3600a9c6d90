//! Real-time priority: threads that no ordinary thread takes the processor from.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::{clock, sys};

/// What a kernel leaves to real-time threads of each second, unless it is told otherwise (`kernel.sched_rt_runtime_us`); newer ones give the
/// rest to ordinary threads that had to wait for so long, whatever they are told (`fair_server` in the kernel's `Documentation/scheduler`).
const RUNTIME_NS: u64 = 950_000_000;

/// Puts a thread before all ordinary ones (`SCHED_FIFO`, the lowest priority of those), or back among them; 0 is the calling one. The
/// threads that it starts from then on are ordinary.
///
/// # Errors
/// Refused by the kernel without CAP_SYS_NICE in the initial user namespace, unless `RLIMIT_RTPRIO` allows it.
pub fn set(thread: u32, before_others: bool) -> io::Result<()> {
    let (policy, priority) = if before_others { (libc::SCHED_FIFO, 1) } else { (libc::SCHED_OTHER, 0) };
    sys::set_scheduler(thread, policy | libc::SCHED_RESET_ON_FORK, priority)
}

/// Whether the calling thread may be put before others: tries it.
///
/// # Errors
/// As for [`set`].
pub fn allowed() -> io::Result<()> {
    set(0, true)?;
    set(0, false)
}

/// The calling thread before all others, until it is over.
#[derive(Debug)]
pub struct Urgent {
    is_set: bool,
}

impl Urgent {
    /// Begins, if it is wanted and allowed.
    pub fn begin(wanted: bool) -> Self {
        Self { is_set: wanted && set(0, true).is_ok() }
    }

    /// The calling thread, which must be the one that began, is as others again. Costs nothing the second time.
    pub fn end(&mut self) {
        if std::mem::take(&mut self.is_set) {
            // Whoever may go up may come down; if not, the thread ends soon.
            let _ = set(0, false);
        }
    }
}

/// How long threads can be before all others without the kernel stopping them: it takes the processor away for 50 ms from those that had
/// it for most of a second.
#[derive(Debug)]
pub struct UrgentTime {
    /// The longest stretch, in nanoseconds.
    longest_ns: u64,
}

/// From when on there may be another: what the kernel grants, it grants to all threads of a processor together.
static RESTED_NS: AtomicU64 = AtomicU64::new(0);

impl UrgentTime {
    /// None where it is not allowed at all. Tries it, with the calling thread.
    pub fn available() -> Option<Self> {
        allowed().ok()?;
        let runtime = fs::read_to_string("/proc/sys/kernel/sched_rt_runtime_us").ok();
        Some(Self { longest_ns: longest_ns(runtime.and_then(|text| text.trim().parse().ok())) })
    }

    /// Whether threads may be urgent for so long, in nanoseconds. If so, waits until they have rested from the time before.
    pub fn take(&self, takes_ns: u64) -> bool {
        if takes_ns > self.longest_ns {
            return false;
        }
        let wait_ns = RESTED_NS.load(Ordering::Relaxed).saturating_sub(clock::now_ns());
        std::thread::sleep(Duration::from_nanos(wait_ns));
        // Four parts of work and one of rest: of no second more than 85 %.
        RESTED_NS.store(clock::now_ns() + takes_ns + takes_ns / 4, Ordering::Relaxed);
        true
    }
}

/// Three quarters of what one period leaves, or a second if that is less, so that there is room for what a session takes beside its
/// trial. -1 leaves all.
fn longest_ns(runtime_us: Option<i64>) -> u64 {
    let runtime_ns = runtime_us.and_then(|us| u64::try_from(us).ok()).map_or(RUNTIME_NS, |us| us * 1000);
    runtime_ns.min(RUNTIME_NS) / 4 * 3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> i32 {
        let stat = fs::read_to_string("/proc/thread-self/stat").unwrap();
        // proc_pid_stat(5): field 41, and the name in field 2 may hold spaces.
        stat.rsplit(')').next().unwrap().split_ascii_whitespace().nth(38).unwrap().parse().unwrap()
    }

    #[test]
    fn a_thread_that_may_is_urgent_until_its_end_and_its_children_are_not() {
        std::thread::spawn(|| {
            let mut urgent = Urgent::begin(true);
            if !urgent.is_set {
                println!("SKIP: no real-time priority for this user");
                assert_eq!(policy() & !libc::SCHED_RESET_ON_FORK, libc::SCHED_OTHER);
                return;
            }
            assert_eq!(policy() & !libc::SCHED_RESET_ON_FORK, libc::SCHED_FIFO);
            let child = std::thread::spawn(policy).join().unwrap();
            assert_eq!(child & !libc::SCHED_RESET_ON_FORK, libc::SCHED_OTHER);
            urgent.end();
            assert_eq!(policy() & !libc::SCHED_RESET_ON_FORK, libc::SCHED_OTHER);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn what_is_not_wanted_is_not_set() {
        assert!(!Urgent::begin(false).is_set);
    }

    #[test]
    fn a_stretch_leaves_room_in_what_the_kernel_grants() {
        assert_eq!(longest_ns(Some(950_000)), 712_500_000);
        assert_eq!(longest_ns(None), 712_500_000);
        assert_eq!(longest_ns(Some(-1)), 712_500_000);
        assert_eq!(longest_ns(Some(50_000)), 37_500_000);
        assert_eq!(longest_ns(Some(9_500_000)), 712_500_000);
        assert_eq!(longest_ns(Some(0)), 0);
    }

    #[test]
    fn what_is_longer_is_not_urgent_and_what_follows_has_rested() {
        let time = UrgentTime { longest_ns: 1_000_000 };
        assert!(!time.take(1_000_001));
        let began_ns = clock::now_ns();
        assert!(time.take(800_000) && UrgentTime { longest_ns: 1_000_000 }.take(800_000));
        assert!(clock::now_ns() - began_ns >= 1_000_000);
    }
}
