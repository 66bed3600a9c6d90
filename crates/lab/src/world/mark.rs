//! How a world's namespaces are told from everybody else's.

use std::fs;
use std::io;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// A loopback address that every namespace of one world carries, drawn at random.
///
/// The kernel uses the inode numbers of namespaces again as soon as they are free, so a number alone does not tell that a process
/// found in such a namespace belongs to a world whose holder is dead. The addresses of any process's namespace can be read without
/// entering it and without privileges, in `/proc/PID/net/fib_trie`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorldMark(Ipv4Addr);

impl WorldMark {
    /// One that no other world is likely to have.
    ///
    /// # Errors
    /// `/proc` is not there.
    pub fn fresh() -> io::Result<Self> {
        let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
        // The first eight digits of a version 4 UUID are random.
        let bits =
            uuid.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self::from_bits(bits))
    }

    /// The mark for these 24 bits; any higher ones are ignored.
    pub const fn from_bits(bits: u32) -> Self {
        // 127.0.0.x and the broadcast address have meanings of their own.
        let host = match bits & 0x00ff_ffff {
            low @ 0..0x100 => low | 0x100,
            0x00ff_ffff => 0x00ff_fffe,
            host => host,
        };
        Self(Ipv4Addr::from_bits(0x7f00_0000 | host))
    }

    /// The address.
    pub const fn address(self) -> Ipv4Addr {
        self.0
    }

    /// Whether the process's network namespace carries the mark.
    pub(super) fn is_on(self, pid: u32) -> bool {
        fs::read_to_string(format!("/proc/{pid}/net/fib_trie")).is_ok_and(|trie| self.is_in(&trie))
    }

    fn is_in(self, trie: &str) -> bool {
        let leaf = format!("|-- {}", self.0);
        trie.lines().any(|line| line.trim_start() == leaf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_a_loopback_address_apart() {
        for bits in [0, 1, 0xff, 0x100, 0x0053_0cc9, 0x00ff_ffff, u32::MAX] {
            let address = WorldMark::from_bits(bits).address();
            assert!(address.is_loopback());
            assert_ne!(address.octets()[..3], [127, 0, 0], "{address}");
            assert_ne!(address, Ipv4Addr::new(127, 255, 255, 255));
        }
    }

    #[test]
    fn two_fresh_marks_differ() {
        assert_ne!(WorldMark::fresh().unwrap(), WorldMark::fresh().unwrap());
    }

    #[test]
    fn the_mark_is_found_as_a_whole_leaf_only() {
        let trie = "Main:\n  +-- 127.0.0.0/8 2 0 2\n     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 127.83.12.201\n        /32 host LOCAL\n";
        assert!(WorldMark::from_bits(0x0053_0cc9).is_in(trie));
        assert!(!WorldMark::from_bits(0x0053_0c14).is_in(trie), "127.83.12.20");
    }

    #[test]
    fn nobody_here_carries_a_fresh_mark() {
        assert!(!WorldMark::fresh().unwrap().is_on(std::process::id()));
    }
}
