//! A box that the kernel forwards at: what it has counted, and what it remembers.

use std::fs;
use std::io;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::conntrack::{Conntrack, ConntrackCounters};
use super::{EnterError, Lease};

/// Settings that bear on what the kernel does at a box.
const SETTINGS: [&str; 12] = [
    "net.ipv4.ip_forward",
    "net.ipv4.ip_early_demux",
    "net.ipv4.conf.all.rp_filter",
    "net.netfilter.nf_conntrack_max",
    "net.netfilter.nf_conntrack_buckets",
    "net.netfilter.nf_conntrack_acct",
    "net.netfilter.nf_conntrack_checksum",
    "net.netfilter.nf_conntrack_tcp_timeout_established",
    "net.netfilter.nf_conntrack_tcp_timeout_time_wait",
    "net.netfilter.nf_conntrack_udp_timeout",
    "net.netfilter.nf_conntrack_udp_timeout_stream",
    "net.netfilter.nf_conntrack_icmp_timeout",
];

/// What the kernel has counted at a box since it exists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KernelCounters {
    /// By connection tracking.
    pub conntrack: ConntrackCounters,
    /// By the IP layer.
    pub ip: IpCounters,
}

/// Packets that the IP layer has thrown away (RFC 4293, and `enum` in `linux/snmp.h`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IpCounters {
    /// Broken headers, and those whose TTL has run out.
    pub header_errors: u64,
    /// Addresses that nothing can be sent to or from.
    pub address_errors: u64,
    /// No route.
    pub no_routes: u64,
    /// For want of room.
    pub discards: u64,
    /// Longer than the MTU, and not to be fragmented.
    pub too_big: u64,
}

/// Why something cannot be learnt of a box, or done there.
#[derive(Debug, Error)]
pub enum KernelBoxError {
    /// Its namespace cannot be entered.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// Connection tracking does not answer.
    #[error("ask connection tracking in namespace {namespace}: {source}")]
    Conntrack {
        /// The namespace.
        namespace: String,
        /// Why.
        source: io::Error,
    },
    /// The IP layer's counters cannot be read.
    #[error("read the IP counters of namespace {namespace}: {source}")]
    Ip {
        /// The namespace.
        namespace: String,
        /// Why.
        source: io::Error,
    },
}

/// A line to the kernel of one namespace of a [`Lease`]. It may outlive the lease, and keeps the namespace then.
#[derive(Debug)]
pub struct KernelBox {
    namespace: String,
    conntrack: Conntrack,
}

impl Lease {
    /// Opens a line to the kernel of a namespace.
    ///
    /// # Errors
    /// [`KernelBoxError`].
    pub fn kernel_box(&self, namespace: &str) -> Result<KernelBox, KernelBoxError> {
        let conntrack = self
            .run_in(namespace, Conntrack::open)?
            .map_err(|source| KernelBoxError::Conntrack { namespace: namespace.to_owned(), source })?;
        Ok(KernelBox { namespace: namespace.to_owned(), conntrack })
    }
}

impl KernelBox {
    /// The namespace's name in the plan.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Has the kernel forget every connection, and waits until it has.
    ///
    /// # Errors
    /// [`KernelBoxError::Conntrack`].
    pub fn forget_connections(&mut self) -> Result<(), KernelBoxError> {
        let outcome = self.conntrack.forget();
        outcome.map_err(|source| self.conntrack_error(source))
    }

    /// How many connections the kernel remembers.
    ///
    /// # Errors
    /// [`KernelBoxError::Conntrack`].
    pub fn connections(&mut self) -> Result<u32, KernelBoxError> {
        let outcome = self.conntrack.entries();
        outcome.map_err(|source| self.conntrack_error(source))
    }

    /// Of these, connections whose time is not over yet; the kernel removes the others when it comes across them.
    ///
    /// # Errors
    /// [`KernelBoxError::Conntrack`].
    pub fn live_connections(&mut self) -> Result<u32, KernelBoxError> {
        let outcome = self.conntrack.live();
        outcome.map_err(|source| self.conntrack_error(source))
    }

    /// What the kernel has counted.
    ///
    /// # Errors
    /// [`KernelBoxError`].
    pub fn counters(&mut self, lease: &Lease) -> Result<KernelCounters, KernelBoxError> {
        let outcome = self.conntrack.counters();
        let conntrack = outcome.map_err(|source| self.conntrack_error(source))?;
        let ip = lease
            .run_in(&self.namespace, IpCounters::read)?
            .map_err(|source| KernelBoxError::Ip { namespace: self.namespace.clone(), source })?;
        Ok(KernelCounters { conntrack, ip })
    }

    /// The settings that bear on what the kernel does here, as they are; those that this kernel does not have are left out.
    ///
    /// # Errors
    /// [`KernelBoxError::Enter`].
    pub fn settings(&self, lease: &Lease) -> Result<Vec<(String, String)>, KernelBoxError> {
        let read = |key: &str| {
            let value = fs::read_to_string(format!("/proc/sys/{}", key.replace('.', "/"))).ok()?;
            Some((key.to_owned(), value.trim().to_owned()))
        };
        Ok(lease.run_in(&self.namespace, || SETTINGS.into_iter().filter_map(read).collect())?)
    }

    fn conntrack_error(&self, source: io::Error) -> KernelBoxError {
        KernelBoxError::Conntrack { namespace: self.namespace.clone(), source }
    }
}

impl KernelCounters {
    /// What has been counted since `earlier`.
    #[must_use]
    pub const fn since(&self, earlier: &Self) -> Self {
        Self { conntrack: self.conntrack.since(&earlier.conntrack), ip: self.ip.since(&earlier.ip) }
    }

    /// Frames that ended here, by reason; reasons with none left out.
    pub fn dropped(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        let Self { conntrack, ip } = *self;
        [
            ("conntrack_table_full", conntrack.table_full()),
            ("conntrack_insert_failed", conntrack.insert_failed),
            ("ip_header_error", ip.header_errors),
            ("ip_address_error", ip.address_errors),
            ("ip_no_route", ip.no_routes),
            ("ip_discard", ip.discards),
            ("ip_too_big", ip.too_big),
        ]
        .into_iter()
        .filter(|(_, frames)| *frames > 0)
    }
}

impl IpCounters {
    const fn since(&self, earlier: &Self) -> Self {
        Self {
            header_errors: self.header_errors.saturating_sub(earlier.header_errors),
            address_errors: self.address_errors.saturating_sub(earlier.address_errors),
            no_routes: self.no_routes.saturating_sub(earlier.no_routes),
            discards: self.discards.saturating_sub(earlier.discards),
            too_big: self.too_big.saturating_sub(earlier.too_big),
        }
    }

    /// Those of the calling thread's namespace.
    fn read() -> io::Result<Self> {
        let read = |name: &str| fs::read_to_string(format!("/proc/thread-self/net/{name}"));
        Ok(Self::parse(&read("snmp")?, &read("netstat")?))
    }

    fn parse(snmp: &str, netstat: &str) -> Self {
        let ip = |name| counter(snmp, "Ip:", name);
        let extended = |name| counter(netstat, "IpExt:", name);
        Self {
            header_errors: ip("InHdrErrors"),
            address_errors: ip("InAddrErrors"),
            no_routes: ip("OutNoRoutes") + extended("InNoRoutes"),
            discards: ip("InDiscards") + ip("OutDiscards"),
            too_big: ip("FragFails"),
        }
    }
}

/// Each group is a line of names and below it one of values, both behind the group's name. A counter that is not there counts nothing.
fn counter(text: &str, group: &str, name: &str) -> u64 {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(group)).map(str::split_ascii_whitespace);
    let (Some(mut names), Some(mut values)) = (lines.next(), lines.next()) else { return 0 };
    names.position(|known| known == name).and_then(|at| values.nth(at)?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SNMP: &str = "\
Ip: Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams InDiscards OutDiscards OutNoRoutes FragFails
Ip: 1 64 100 3 0 90 1 2 4 6
Icmp: InMsgs InErrors
Icmp: 7 8
";
    const NETSTAT: &str = "TcpExt: SyncookiesSent\nTcpExt: 9\nIpExt: InNoRoutes InTruncatedPkts\nIpExt: 5 0\n";

    #[test]
    fn counters_are_found_by_name() {
        let counters = IpCounters::parse(SNMP, NETSTAT);
        let expected = IpCounters { header_errors: 3, address_errors: 0, no_routes: 9, discards: 3, too_big: 6 };
        assert_eq!(counters, expected);
        assert_eq!(IpCounters::parse("", "IpExt: InNoRoutes\n"), IpCounters::default());
    }

    #[test]
    fn each_frame_has_one_reason() {
        let conntrack = ConntrackCounters { drop: 5, insert_failed: 3, early_drop: 8, ..ConntrackCounters::default() };
        let counters = KernelCounters { conntrack, ip: IpCounters { discards: 1, ..IpCounters::default() } };
        let dropped: Vec<_> = counters.dropped().collect();
        assert_eq!(dropped, [("conntrack_table_full", 2), ("conntrack_insert_failed", 3), ("ip_discard", 1)]);
        assert_eq!(counters.since(&counters).dropped().count(), 0);
    }
}
