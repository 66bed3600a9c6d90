//! The few things that we read about processes in `/proc` (proc(5)).

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

/// All process numbers that are visible to us.
pub(crate) fn processes() -> Vec<u32> {
    numbers_in("/proc")
}

/// This process's thread numbers.
pub(crate) fn threads_of_this_process() -> Vec<u32> {
    numbers_in("/proc/self/task")
}

fn numbers_in(directory: &str) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// The inode number of the network namespace of the process or thread at `directory`; none if it has gone, or is none of our business.
pub(crate) fn net_namespace(directory: &str) -> Option<u64> {
    Some(fs::metadata(format!("{directory}/ns/net")).ok()?.ino())
}

/// The name that `ps` shows.
pub(crate) fn command_name(directory: &str) -> String {
    fs::read_to_string(format!("{directory}/comm")).map_or_else(|_| "?".to_owned(), |comm| comm.trim_end().to_owned())
}

/// A process, told from any later one of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Incarnation {
    /// Since boot, in clock ticks.
    pub(crate) start_ticks: u64,
    /// Dead, and not yet collected by its parent.
    pub(crate) zombie: bool,
}

/// Which process has this number now.
pub(crate) fn incarnation(pid: u32) -> io::Result<Incarnation> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_stat(&stat).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The state of a process or thread, as a letter of proc_pid_stat(5); none if it has gone.
pub(crate) fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// The command's name, in parentheses, may itself hold blanks and parentheses: fields count from the last one.
fn parse_stat(stat: &str) -> Option<Incarnation> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    // state is field 3, starttime field 22.
    let start_ticks = fields.nth(18)?.parse().ok()?;
    Some(Incarnation { start_ticks, zombie: matches!(state, "Z" | "X") })
}

/// A text that differs from boot to boot.
pub(crate) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// A field of `/proc/self/status`, of `/proc/meminfo` and the like: `Name:  value`.
pub(crate) fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_of_a_process_with_a_nasty_name() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2";
        assert_eq!(parse_stat(stat), Some(Incarnation { start_ticks: 987_654, zombie: false }));
        assert_eq!(parse_stat("42 (x) Z 1"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn this_process_is_alive_and_the_same_twice() {
        let first = incarnation(std::process::id()).unwrap();
        assert!(!first.zombie);
        assert_eq!(incarnation(std::process::id()).unwrap(), first);
    }

    #[test]
    fn states_are_letters() {
        assert!(state(std::process::id()).is_some_and(|letter| "RSD".contains(letter)));
        assert_eq!(state(u32::MAX), None);
    }

    #[test]
    fn fields_of_status_files() {
        let text = "model\t: x\nmodel name\t: A CPU @ 2: GHz\nMemTotal:   12 kB\n";
        assert_eq!(field(text, "model name"), Some("A CPU @ 2: GHz"));
        assert_eq!(field(text, "MemTotal"), Some("12 kB"));
        assert_eq!(field(text, "model"), Some("x"));
        assert_eq!(field(text, "Mem"), None);
    }
}
