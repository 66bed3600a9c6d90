//! Where the program runs: on one processor, with huge pages.
//!
//! Both are asked for from outside, by starting the program once more: `taskset` pins it, and `GLIBC_TUNABLES=glibc.malloc.hugetlb=1` has
//! the allocator ask the kernel for huge pages, so that no crate here needs unsafe code for that. A table of a million mappings is thirty
//! huge pages, or sixteen thousand small ones, each with a miss of the translation buffer.

use std::hint::black_box;
use std::os::unix::process::CommandExt;
use std::process::Command;

const TUNABLES: &str = "GLIBC_TUNABLES";
const HUGE_PAGES: &str = "glibc.malloc.hugetlb=1";
/// Set for the program that has been started once more: the processor, if it is pinned.
const PLACED: &str = "NATRIG_BENCH_PLACED";
/// How often it has been started for the sake of huge pages.
const TRIES: &str = "NATRIG_BENCH_TRIES";
const TRIES_MAX: u32 = 30;

/// Starts the program once more where it is to run, unless that has been done, or it is only tried out. Says where it runs.
pub(crate) fn settle() -> String {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Ok(program) = std::env::current_exe() else { return "where it was started".into() };
    let again = |command: &mut Command| command.args(&args).exec();
    if let Ok(place) = std::env::var(PLACED) {
        let tunables = std::env::var(TUNABLES).unwrap_or_default();
        let offered = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
        let tries = std::env::var(TRIES).ok().and_then(|tries| tries.parse().ok()).unwrap_or(0);
        let asked = huge_pages_are_asked_for();
        let could_be = tunables.contains(HUGE_PAGES) && offered.contains("[madvise]");
        if !asked && could_be && tries < TRIES_MAX {
            // Only returns if it fails.
            again(Command::new(&program).env(TRIES, (tries + 1).to_string()));
        }
        let pages = if asked || offered.contains("[always]") { "huge pages" } else { "NO HUGE PAGES" };
        return format!("{place}, {pages} ({tunables}; offered by the kernel: {})", offered.trim());
    }
    if !args.iter().any(|arg| arg == "--bench") {
        return "only tried out".into();
    }
    let tunables = std::env::var(TUNABLES).unwrap_or_else(|_| HUGE_PAGES.into());
    let processor = std::thread::available_parallelism().map_or(0, |count| count.get() - 1).to_string();
    let placed = |command: &mut Command, place: String| again(command.env(TUNABLES, &tunables).env(PLACED, place));
    // `exec` only returns if it fails.
    let place = format!("on processor {processor}");
    let unpinned = placed(Command::new("taskset").args(["-c", &processor]).arg(&program), place);
    let unplaced = placed(&mut Command::new(&program), format!("on any processor ({unpinned})"));
    format!("where it was started ({unplaced})")
}

/// True if the allocator asks for huge pages for what is large. glibc 2.36 seems to compare what it has read from the kernel with one byte
/// more than that, which is whatever lay on the stack: of several processes started alike, some ask and some do not.
fn huge_pages_are_asked_for() -> bool {
    let large = black_box(vec![1u8; 8 << 20]);
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    drop(large);
    maps.lines().any(|line| line.starts_with("VmFlags:") && line.contains(" hg"))
}
