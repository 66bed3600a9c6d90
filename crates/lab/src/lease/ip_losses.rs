//! What the kernel's IPv4 has thrown away in a namespace, by reason (`/proc/net/snmp`, `/proc/net/netstat`).

use std::fs;
use std::io;

use super::{EnterError, Lease};

/// Packets thrown away since the namespace exists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IpLosses {
    /// An answer to their source would not leave by the interface they came in by (`rp_filter`).
    pub reverse_path: u64,
    /// There was no route for them, as they were to be forwarded.
    pub no_route_in: u64,
    /// There was no route for them, as they were to be sent.
    pub no_route_out: u64,
    /// Their addresses were impossible, or not for this host while it forwards nothing.
    pub address: u64,
    /// Their header was wrong, or their time to live was over.
    pub header: u64,
}

impl IpLosses {
    /// What has been counted since `earlier`.
    #[must_use]
    pub const fn since(&self, earlier: &Self) -> Self {
        Self {
            reverse_path: self.reverse_path.saturating_sub(earlier.reverse_path),
            no_route_in: self.no_route_in.saturating_sub(earlier.no_route_in),
            no_route_out: self.no_route_out.saturating_sub(earlier.no_route_out),
            address: self.address.saturating_sub(earlier.address),
            header: self.header.saturating_sub(earlier.header),
        }
    }

    fn read() -> io::Result<Self> {
        // Not /proc/net: that is the first thread's.
        let snmp = fs::read_to_string("/proc/thread-self/net/snmp")?;
        let netstat = fs::read_to_string("/proc/thread-self/net/netstat")?;
        Ok(Self {
            reverse_path: value(&netstat, "TcpExt", "IPReversePathFilter"),
            no_route_in: value(&netstat, "IpExt", "InNoRoutes"),
            no_route_out: value(&snmp, "Ip", "OutNoRoutes"),
            address: value(&snmp, "Ip", "InAddrErrors"),
            header: value(&snmp, "Ip", "InHdrErrors"),
        })
    }
}

impl Lease {
    /// What the kernel's IPv4 has thrown away in a namespace.
    ///
    /// # Errors
    /// The namespace cannot be entered.
    pub fn ip_losses(&self, namespace: &str) -> Result<IpLosses, EnterError> {
        self.run_in(namespace, IpLosses::read)?
            .map_err(|source| EnterError::Refused { namespace: namespace.to_owned(), source })
    }
}

/// The tables come as two lines each that begin with the table's name: first the columns' names, then their values. A counter that
/// this kernel does not have counts nothing.
fn value(text: &str, table: &str, column: &str) -> u64 {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(table)?.strip_prefix(':'));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return 0 };
    let position = names.split_whitespace().position(|name| name == column);
    position.and_then(|nth| values.split_whitespace().nth(nth)?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name_in_their_own_table() {
        let text = "TcpExt: A IPReversePathFilter B\nTcpExt: 1 2 3\nIpExt: InNoRoutes A\nIpExt: 7 8\n";
        assert_eq!(value(text, "TcpExt", "IPReversePathFilter"), 2);
        assert_eq!(value(text, "IpExt", "InNoRoutes"), 7);
        assert_eq!(value(text, "IpExt", "A"), 8);
        assert_eq!(value(text, "Ip", "A"), 0);
        assert_eq!(value(text, "TcpExt", "C"), 0);
    }

    #[test]
    fn this_kernel_has_them_all() {
        let snmp = fs::read_to_string("/proc/net/snmp").unwrap();
        let netstat = fs::read_to_string("/proc/net/netstat").unwrap();
        for column in ["IPReversePathFilter", "InNoRoutes", "OutNoRoutes", "InAddrErrors", "InHdrErrors"] {
            assert!(snmp.contains(column) || netstat.contains(column), "{column}");
        }
    }
}
