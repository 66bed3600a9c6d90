//! The kernel's connection tracking in one namespace, over ctnetlink (`linux/netfilter/nfnetlink_conntrack.h`).

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::SockProtocol;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::netlink::{Ask, Netlink, attributes, find};

/// Numbers from `linux/netfilter/nfnetlink.h` and `linux/netfilter/nfnetlink_conntrack.h`.
mod number {
    const NFNL_SUBSYS_CTNETLINK: u16 = 1 << 8;
    pub(super) const IPCTNL_MSG_CT_GET: u16 = NFNL_SUBSYS_CTNETLINK | 1;
    pub(super) const IPCTNL_MSG_CT_DELETE: u16 = NFNL_SUBSYS_CTNETLINK | 2;
    pub(super) const IPCTNL_MSG_CT_GET_STATS_CPU: u16 = NFNL_SUBSYS_CTNETLINK | 4;
    pub(super) const IPCTNL_MSG_CT_GET_STATS: u16 = NFNL_SUBSYS_CTNETLINK | 5;

    pub(super) const CTA_STATS_INVALID: u16 = 4;
    pub(super) const CTA_STATS_INSERT_FAILED: u16 = 9;
    pub(super) const CTA_STATS_DROP: u16 = 10;
    pub(super) const CTA_STATS_EARLY_DROP: u16 = 11;
    pub(super) const CTA_STATS_ERROR: u16 = 12;
    pub(super) const CTA_STATS_SEARCH_RESTART: u16 = 13;
    pub(super) const CTA_STATS_CLASH_RESOLVE: u16 = 14;
    pub(super) const CTA_STATS_CHAIN_TOOLONG: u16 = 15;

    pub(super) const CTA_STATS_GLOBAL_ENTRIES: u16 = 1;
}

/// `struct nfgenmsg`: any address family, version 0, resource 0.
const HEADER: [u8; 4] = [0; 4];

/// How long connections that were deleted may take to go: frames on their way hold them.
const DELETION: Duration = Duration::from_secs(1);

/// What connection tracking has counted, over all processors, since the namespace exists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConntrackCounters {
    /// Frames that belong to no connection and cannot open one; they pass untranslated.
    pub invalid: u64,
    /// New connections that could not be entered, because their translated tuple was taken or a hash chain was full. Their frame is
    /// dropped.
    pub insert_failed: u64,
    /// Frames dropped: those of `insert_failed` but for full chains, and those for which the table had no room.
    pub drop: u64,
    /// Connections thrown out early, to make room for new ones. No frame is dropped by that.
    pub early_drop: u64,
    /// Frames too broken to be looked at.
    pub error: u64,
    /// Searches that had to start over because the table changed meanwhile.
    pub search_restart: u64,
    /// Connections that two processors opened at once, and that could be made one.
    pub clash_resolve: u64,
    /// Connections that could not be entered because a hash chain was full; part of `insert_failed`.
    pub chain_too_long: u64,
}

impl ConntrackCounters {
    /// What has been counted since `earlier`.
    #[must_use]
    pub const fn since(&self, earlier: &Self) -> Self {
        Self {
            invalid: self.invalid.saturating_sub(earlier.invalid),
            insert_failed: self.insert_failed.saturating_sub(earlier.insert_failed),
            drop: self.drop.saturating_sub(earlier.drop),
            early_drop: self.early_drop.saturating_sub(earlier.early_drop),
            error: self.error.saturating_sub(earlier.error),
            search_restart: self.search_restart.saturating_sub(earlier.search_restart),
            clash_resolve: self.clash_resolve.saturating_sub(earlier.clash_resolve),
            chain_too_long: self.chain_too_long.saturating_sub(earlier.chain_too_long),
        }
    }

    /// Frames dropped because the table had no room, or no memory was left for an entry.
    ///
    /// A clash that cannot be resolved counts as `drop` and as `insert_failed` (`nf_ct_resolve_clash`), a full chain as
    /// `insert_failed` only (`__nf_conntrack_confirm`, both in `net/netfilter/nf_conntrack_core.c`).
    pub const fn table_full(&self) -> u64 {
        self.drop.saturating_sub(self.insert_failed.saturating_sub(self.chain_too_long))
    }

    fn add(&mut self, reply: &[u8]) {
        for (kind, value) in attributes(reply) {
            let slot = match kind {
                number::CTA_STATS_INVALID => &mut self.invalid,
                number::CTA_STATS_INSERT_FAILED => &mut self.insert_failed,
                number::CTA_STATS_DROP => &mut self.drop,
                number::CTA_STATS_EARLY_DROP => &mut self.early_drop,
                number::CTA_STATS_ERROR => &mut self.error,
                number::CTA_STATS_SEARCH_RESTART => &mut self.search_restart,
                number::CTA_STATS_CLASH_RESOLVE => &mut self.clash_resolve,
                number::CTA_STATS_CHAIN_TOOLONG => &mut self.chain_too_long,
                _ => continue,
            };
            *slot += be32(value).map_or(0, u64::from);
        }
    }
}

/// A line to the connection tracking of the namespace in which it was opened.
#[derive(Debug)]
pub(super) struct Conntrack {
    netlink: Netlink,
}

impl Conntrack {
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self { netlink: Netlink::open(SockProtocol::NetlinkNetFilter)? })
    }

    pub(super) fn counters(&mut self) -> io::Result<ConntrackCounters> {
        let mut counters = ConntrackCounters::default();
        for reply in self.netlink.ask(number::IPCTNL_MSG_CT_GET_STATS_CPU, Ask::All, HEADER, &[])? {
            counters.add(&reply);
        }
        Ok(counters)
    }

    /// Connections that the table holds.
    pub(super) fn entries(&mut self) -> io::Result<u32> {
        let replies = self.netlink.ask(number::IPCTNL_MSG_CT_GET_STATS, Ask::One, HEADER, &[])?;
        replies
            .iter()
            .find_map(|reply| be32(find(reply, number::CTA_STATS_GLOBAL_ENTRIES)?))
            .ok_or_else(|| io::Error::other("the kernel does not say how many connections there are"))
    }

    /// Connections whose time is not over yet. Others stay in the table, and among [`Self::entries`], until somebody comes across them; a
    /// dump does (`ctnetlink_dump_table`).
    pub(super) fn live(&mut self) -> io::Result<u32> {
        let connections = self.netlink.ask(number::IPCTNL_MSG_CT_GET, Ask::All, HEADER, &[])?;
        Ok(u32::try_from(connections.len()).unwrap_or(u32::MAX))
    }

    /// Deletes all connections, and waits until they have gone.
    pub(super) fn forget(&mut self) -> io::Result<()> {
        let since = Instant::now();
        loop {
            // A request that names no connection means all of them (`ctnetlink_del_conntrack`).
            self.netlink.ask(number::IPCTNL_MSG_CT_DELETE, Ask::One, HEADER, &[])?;
            let left = self.entries()?;
            if left == 0 {
                return Ok(());
            }
            if since.elapsed() > DELETION {
                return Err(io::Error::other(format!("{left} connections do not go")));
            }
            thread::sleep(DELETION / 1000);
        }
    }
}

fn be32(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::super::netlink::put;
    use super::*;

    #[test]
    fn counters_of_all_processors_are_added() {
        let mut reply = Vec::new();
        put(&mut reply, number::CTA_STATS_DROP, &7_u32.to_be_bytes());
        put(&mut reply, number::CTA_STATS_INSERT_FAILED, &5_u32.to_be_bytes());
        put(&mut reply, 99, &1_u32.to_be_bytes());
        let mut counters = ConntrackCounters::default();
        counters.add(&reply);
        counters.add(&reply);
        assert_eq!(counters, ConntrackCounters { drop: 14, insert_failed: 10, ..ConntrackCounters::default() });
        let earlier = ConntrackCounters { drop: 4, ..ConntrackCounters::default() };
        assert_eq!(counters.since(&earlier).drop, 10);
    }

    #[test]
    fn a_frame_that_is_counted_twice_was_dropped_once() {
        let clashes = ConntrackCounters { drop: 3, insert_failed: 3, ..ConntrackCounters::default() };
        assert_eq!(clashes.table_full(), 0);
        let chains = ConntrackCounters { drop: 0, insert_failed: 2, chain_too_long: 2, ..ConntrackCounters::default() };
        assert_eq!(chains.table_full(), 0);
        let all = ConntrackCounters { drop: 9, insert_failed: 5, chain_too_long: 2, ..ConntrackCounters::default() };
        assert_eq!(all.table_full(), 6);
    }
}
