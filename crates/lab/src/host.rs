//! Facts about the machine that belong into every result.

use std::fs;
use std::thread;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::procfs;

/// What the figures of a result were measured on. What the machine does not tell is absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HostFacts {
    /// As `uname -r`.
    pub kernel_release: String,
    /// The processor's name.
    pub cpu_model: Option<String>,
    /// Processors that this process may run on.
    pub cores: usize,
    /// All memory, bytes.
    pub memory_bytes: Option<u64>,
    /// What the kernel reads the time from.
    pub clocksource: Option<String>,
    /// Whether the time stamp counter runs at one rate in all sleep states.
    pub tsc_invariant: bool,
    /// Whether this is a virtual machine.
    pub hypervisor: bool,
    /// Share of processor time that the hypervisor gave to others since boot, percent.
    pub steal_percent_since_boot: Option<f64>,
    /// How the first processor's frequency is governed.
    pub governor: Option<String>,
    /// Whether the kernel uses huge pages by itself: `always`, `madvise` or `never`.
    pub transparent_huge_pages: Option<String>,
}

impl HostFacts {
    /// Reads them.
    pub fn read() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let flag = |name: &str| {
            procfs::field(&cpuinfo, "flags")
                .is_some_and(|flags| flags.split_ascii_whitespace().any(|flag| flag == name))
        };
        Self {
            kernel_release: line("/proc/sys/kernel/osrelease").unwrap_or_default(),
            cpu_model: procfs::field(&cpuinfo, "model name").map(str::to_owned),
            cores: thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: procfs::field(&meminfo, "MemTotal").and_then(kibibytes),
            clocksource: line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            tsc_invariant: flag("constant_tsc") && flag("nonstop_tsc"),
            hypervisor: flag("hypervisor"),
            steal_percent_since_boot: CpuTimes::read().and_then(|now| now.steal_percent_since(CpuTimes::default())),
            governor: line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            transparent_huge_pages: line("/sys/kernel/mm/transparent_hugepage/enabled")
                .and_then(|modes| chosen(&modes).map(str::to_owned)),
        }
    }
}

/// Processor time of all processors together, in clock ticks since boot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// All of it.
    pub total_ticks: u64,
    /// What was given to other machines by the hypervisor.
    pub steal_ticks: u64,
}

impl CpuTimes {
    /// Reads them; none where `/proc/stat` is not there.
    pub fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/stat").ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        let all = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        // user nice system idle iowait irq softirq steal; guest times, after these, are part of user and nice (proc_stat(5)).
        let ticks: Vec<u64> = all.split_ascii_whitespace().take(8).map_while(|field| field.parse().ok()).collect();
        Some(Self { total_ticks: ticks.iter().sum(), steal_ticks: *ticks.get(7)? })
    }

    /// Share of the time since `earlier` that was stolen, percent; none if no time has passed.
    pub fn steal_percent_since(self, earlier: Self) -> Option<f64> {
        let total = self.total_ticks.checked_sub(earlier.total_ticks)?;
        let steal = self.steal_ticks.checked_sub(earlier.steal_ticks)?;
        (total > 0).then(|| steal as f64 / total as f64 * 100.0)
    }
}

/// Share of processor time stolen right now, percent: watches for as long as `window`.
pub fn steal_percent(window: Duration) -> Option<f64> {
    let before = CpuTimes::read()?;
    thread::sleep(window);
    CpuTimes::read()?.steal_percent_since(before)
}

/// The first line of a small file.
pub(crate) fn line(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().next().map(|line| line.trim().to_owned())
}

fn kibibytes(text: &str) -> Option<u64> {
    text.strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The word in brackets: `always [madvise] never`.
fn chosen(modes: &str) -> Option<&str> {
    modes.split_once('[')?.1.split_once(']').map(|(word, _)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steal_out_of_proc_stat() {
        let before = CpuTimes::parse("cpu  10 0 10 70 0 0 5 5 0 0\ncpu0 1 1 1 1\n").unwrap();
        let after = CpuTimes::parse("cpu  60 0 60 70 0 0 5 5 9 9\n").unwrap();
        assert_eq!(before.total_ticks, 100);
        assert_eq!(after.steal_percent_since(before), Some(0.0));
        assert_eq!(before.steal_percent_since(CpuTimes::default()), Some(5.0));
        assert_eq!(after.steal_percent_since(after), None);
        assert_eq!(CpuTimes::parse("cpu  1 2 3\n"), None);
    }

    #[test]
    fn small_syntaxes() {
        assert_eq!(chosen("always [madvise] never"), Some("madvise"));
        assert_eq!(chosen("always"), None);
        assert_eq!(kibibytes("16 kB"), Some(16_384));
        assert_eq!(kibibytes("16 MB"), None);
    }

    #[test]
    fn this_machine_has_a_kernel_and_memory() {
        let facts = HostFacts::read();
        assert!(facts.kernel_release.starts_with(|c: char| c.is_ascii_digit()));
        assert!(facts.cores >= 1);
        assert!(facts.memory_bytes.is_some_and(|bytes| bytes > 1 << 20));
    }
}
