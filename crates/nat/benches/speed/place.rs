//! Where the program runs: on one processor, with huge pages.
//!
//! Both are asked for from outside, by starting the program once more: `taskset` pins it, and `GLIBC_TUNABLES=glibc.malloc.hugetlb=1` has
//! the allocator ask the kernel for huge pages, so that no crate here needs unsafe code for that. A table of a million mappings is thirty
//! huge pages, or sixteen thousand small ones, each with a miss of the translation buffer.

use std::os::unix::process::CommandExt;
use std::process::Command;

const TUNABLES: &str = "GLIBC_TUNABLES";
const HUGE_PAGES: &str = "glibc.malloc.hugetlb=1";
/// Set for the program that has been started once more: the processor, if it is pinned.
const PLACED: &str = "NATRIG_BENCH_PLACED";

/// Starts the program once more where it is to run, unless that has been done, or it is only tried out. Says where it runs.
pub(crate) fn settle() -> String {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Ok(place) = std::env::var(PLACED) {
        let huge = std::env::var(TUNABLES).unwrap_or_default();
        let offered = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
        return format!("{place}; {huge}, kernel offers huge pages: {}", offered.trim());
    }
    let Ok(program) = std::env::current_exe() else { return "where it was started".into() };
    if !args.iter().any(|arg| arg == "--bench") {
        return "only tried out".into();
    }
    let tunables = std::env::var(TUNABLES).unwrap_or_else(|_| HUGE_PAGES.into());
    let processor = std::thread::available_parallelism().map_or(0, |count| count.get() - 1).to_string();
    let again =
        |command: &mut Command, place: String| command.args(&args).env(TUNABLES, &tunables).env(PLACED, place).exec();
    // `exec` only returns if it fails.
    let place = format!("on processor {processor}");
    let unpinned = again(Command::new("taskset").args(["-c", &processor]).arg(&program), place);
    let unplaced = again(&mut Command::new(&program), format!("on any processor ({unpinned})"));
    format!("where it was started ({unplaced})")
}
