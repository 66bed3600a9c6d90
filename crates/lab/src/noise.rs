//! What else the measuring processors did: what the hypervisor took, what other programs took, interrupts, and how long our own threads
//! waited for their turn.

use std::fs;

use nix::time::{ClockId, clock_gettime};

/// Clock ticks of `/proc/stat` a second (`USER_HZ`): the same on every Linux that is not alpha.
const TICKS_PER_S: u64 = 100;

/// Counters of some processors, at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct CoreReading {
    busy_ticks: u64,
    steal_ticks: u64,
    interrupts: Option<u64>,
    own_ns: u64,
}

/// What happened on these processors between two readings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CoreActivity {
    /// Given to other machines by the hypervisor, in nanoseconds, to a tick of 10 ms.
    pub steal_ns: u64,
    /// Busy, but not with this process: other programs, and the kernel on its own account, in nanoseconds, to a tick of 10 ms for each
    /// processor.
    pub foreign_ns: u64,
    /// Interrupts that they took; absent where the kernel does not tell.
    pub interrupts: Option<u64>,
}

impl CoreReading {
    /// Reads the counters of `cpus`; none where `/proc/stat` does not tell, or no processor is named.
    pub fn read(cpus: &[usize]) -> Option<Self> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let (busy_ticks, steal_ticks) = cpus.iter().map(|cpu| ticks(&stat, *cpu)).reduce(|all, of| {
            let ((busy, steal), (more_busy, more_steal)) = (all?, of?);
            Some((busy + more_busy, steal + more_steal))
        })??;
        let interrupts = fs::read_to_string("/proc/interrupts").ok().and_then(|text| interrupts(&text, cpus));
        let own = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).ok()?;
        let own_ns = own.tv_sec().cast_unsigned() * 1_000_000_000 + own.tv_nsec().cast_unsigned();
        Some(Self { busy_ticks, steal_ticks, interrupts, own_ns })
    }

    /// What happened since `before`.
    pub fn since(&self, before: &Self) -> CoreActivity {
        let ns = |is: u64, was: u64| is.saturating_sub(was) * (1_000_000_000 / TICKS_PER_S);
        let own_ns = self.own_ns.saturating_sub(before.own_ns);
        CoreActivity {
            steal_ns: ns(self.steal_ticks, before.steal_ticks),
            foreign_ns: ns(self.busy_ticks, before.busy_ticks).saturating_sub(own_ns),
            interrupts: self.interrupts.zip(before.interrupts).map(|(is, was)| is.saturating_sub(was)),
        }
    }
}

/// How long the calling thread has been ready to run and did not, since it began, in nanoseconds; none where the kernel does not count.
pub fn thread_waited_ns() -> Option<u64> {
    // Time on the processor, time waiting for it, time slices (`Documentation/scheduler/sched-stats.rst`).
    fs::read_to_string("/proc/thread-self/schedstat").ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The frequency of a processor in MHz, as the kernel sees it just now.
pub fn core_mhz(cpu: usize) -> Option<f64> {
    let scaling = format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq");
    if let Some(khz) = crate::host::line(&scaling).and_then(|line| line.parse::<f64>().ok()) {
        return Some(khz / 1e3);
    }
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().filter(|line| line.starts_with("cpu MHz")).nth(cpu)?;
    line.split_once(':')?.1.trim().parse().ok()
}

/// Busy and stolen ticks of a processor.
fn ticks(stat: &str, cpu: usize) -> Option<(u64, u64)> {
    let name = format!("cpu{cpu} ");
    let fields = stat.lines().find_map(|line| line.strip_prefix(name.as_str()))?;
    // user nice system idle iowait irq softirq steal (proc_stat(5)).
    let ticks: Vec<u64> = fields.split_ascii_whitespace().take(8).map_while(|field| field.parse().ok()).collect();
    let [user, nice, system, _, _, irq, softirq, steal] = ticks[..] else { return None };
    Some((user + nice + system + irq + softirq, steal))
}

/// All interrupts that some processors took, from the table that has a column for each processor that is online.
fn interrupts(table: &str, cpus: &[usize]) -> Option<u64> {
    let mut lines = table.lines();
    let columns: Vec<usize> =
        lines.next()?.split_ascii_whitespace().map_while(|name| name.strip_prefix("CPU")?.parse().ok()).collect();
    let ours: Vec<usize> =
        cpus.iter().map(|cpu| columns.iter().position(|column| column == cpu)).collect::<Option<_>>()?;
    let of_line = |line: &str| {
        let counts: Vec<u64> =
            line.split_ascii_whitespace().skip(1).take(columns.len()).map_while(|count| count.parse().ok()).collect();
        ours.iter().filter_map(|column| counts.get(*column)).sum::<u64>()
    };
    Some(lines.map(of_line).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 10 1 20 500 7 2 3 4 0 0\ncpu1 1 1 1 500 0 1 1 2 0 0\ncpu10 1 0 0 0 0 0 0 0 0 0\n";
    const INTERRUPTS: &str = "           CPU0       CPU2\n 24:          1         30  IO-APIC   5-edge  ACPI:Ged\nLOC:        100        200  Local timer interrupts\nERR:          0\n";

    #[test]
    fn busy_is_neither_idle_nor_stolen() {
        assert_eq!([0, 1, 10].map(|cpu| ticks(STAT, cpu)), [Some((36, 4)), Some((5, 2)), Some((1, 0))]);
        assert_eq!(ticks(STAT, 2), None);
    }

    #[test]
    fn interrupts_are_those_of_the_column() {
        assert_eq!(interrupts(INTERRUPTS, &[2]), Some(230));
        assert_eq!(interrupts(INTERRUPTS, &[0, 2]), Some(331));
        assert_eq!(interrupts(INTERRUPTS, &[1]), None);
    }

    #[test]
    fn what_this_process_used_is_not_foreign() {
        let before = CoreReading { busy_ticks: 100, steal_ticks: 3, interrupts: Some(10), own_ns: 0 };
        let after = CoreReading { busy_ticks: 130, steal_ticks: 4, interrupts: Some(25), own_ns: 180_000_000 };
        let activity = after.since(&before);
        assert_eq!(activity, CoreActivity { steal_ns: 10_000_000, foreign_ns: 120_000_000, interrupts: Some(15) });
        assert_eq!(after.since(&after).foreign_ns, 0);
    }

    #[test]
    fn this_machine_tells() {
        assert!(CoreReading::read(&[]).is_none());
        if let Some(reading) = CoreReading::read(&[0]) {
            assert!(CoreReading::read(&[0]).unwrap().since(&reading).steal_ns < 1_000_000_000);
        }
    }
}
