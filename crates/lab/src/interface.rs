//! What the kernel knows about the interfaces of this network namespace, for whoever speaks on them beside it.

use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use natrig_wire::MacAddr;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use nix::sched::{CloneFlags, setns};
use thiserror::Error;

/// An Ethernet interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its number: another interface of the same name has another.
    pub index: u32,
    /// The kernel's MAC address of it.
    pub mac: MacAddr,
    /// Longest IP packet, bytes.
    pub mtu: u32,
    /// Whether it was up when it was looked at.
    pub is_up: bool,
    /// Whether the kernel speaks there too: it has an address there that others may know, IPv4 or IPv6.
    pub kernel_speaks: bool,
}

/// Why nothing is known about an interface.
#[derive(Debug, Error)]
pub enum InterfaceError {
    /// There is none of that name.
    #[error("find interface `{0}` in this network namespace")]
    Missing(String),
    /// It has no MAC address.
    #[error("use interface `{0}`: it is no Ethernet")]
    NotEthernet(String),
    /// The kernel does not tell.
    #[error("ask about interface `{name}`: {source}")]
    Refused {
        /// Its name.
        name: String,
        /// Why.
        source: io::Error,
    },
}

/// `ARPHRD_ETHER` (linux/if_arp.h).
const ETHERNET: u16 = 1;

impl Interface {
    /// The interface of that name in the network namespace of the calling thread.
    ///
    /// # Errors
    /// [`InterfaceError`].
    pub fn find(name: &str) -> Result<Self, InterfaceError> {
        let index = if_nametoindex(name).map_err(|_| InterfaceError::Missing(name.to_owned()))?;
        let refused = |source| InterfaceError::Refused { name: name.to_owned(), source };
        let all = getifaddrs().map_err(|errno| refused(errno.into()))?;
        let of_it: Vec<_> = all.filter(|one| one.interface_name == name).collect();
        let link = of_it.iter().find_map(|one| one.address?.as_link_addr().copied());
        let mac = link.filter(|link| link.hatype() == ETHERNET).and_then(|link| link.addr());
        let mac = mac.ok_or_else(|| InterfaceError::NotEthernet(name.to_owned()))?;
        let mtu = natrig_link::mtu(name).map_err(|error| refused(io::Error::other(error)))?;
        let is_up = of_it.iter().any(|one| one.flags.contains(InterfaceFlags::IFF_UP));
        let kernel_speaks = of_it.iter().any(|one| {
            one.address.is_some_and(|address| {
                address.as_sockaddr_in().is_some()
                    || address.as_sockaddr_in6().is_some_and(|address| !address.ip().is_unicast_link_local())
            })
        });
        Ok(Self { name: name.to_owned(), index, mac: MacAddr(mac), mtu, is_up, kernel_speaks })
    }

    /// Whether it is still there: this very interface, up or down.
    pub fn exists(&self) -> bool {
        if_nametoindex(self.name.as_str()).is_ok_and(|index| index == self.index)
    }

    /// A MAC address beside its own, always the same: of the locally administered ones (IEEE 802, second bit of the first byte), and
    /// different from the interface's in two more bytes.
    #[must_use]
    pub fn second_mac(&self) -> MacAddr {
        let [a, b, c, d, e, f] = self.mac.0;
        MacAddr([(a & 0xfc) | 0x02, b ^ 0x6e, c ^ 0x61, d, e, f])
    }

    /// Whether the kernel forwards IPv4 packets that arrive there.
    pub fn kernel_forwards(&self) -> bool {
        let path = format!("/proc/sys/net/ipv4/conf/{}/forwarding", self.name);
        fs::read_to_string(path).is_ok_and(|text| text.trim() != "0")
    }
}

/// The IPv4 addresses that the kernel has in the network namespace of the calling thread, with their interfaces. It answers for each of
/// them on every interface.
///
/// # Errors
/// The kernel does not tell.
pub fn kernel_addresses() -> io::Result<Vec<(String, Ipv4Addr)>> {
    let all = getifaddrs()?;
    Ok(all.filter_map(|one| Some((one.interface_name, one.address?.as_sockaddr_in()?.ip()))).collect())
}

/// Moves the calling thread, and with it all threads that it starts, into another network namespace: a name that `ip netns` knows, or the
/// path of a namespace such as `/proc/1234/ns/net`.
///
/// # Errors
/// There is none, or the kernel refuses.
pub fn enter_namespace(name_or_path: &str) -> io::Result<()> {
    let path = if name_or_path.contains('/') {
        PathBuf::from(name_or_path)
    } else {
        Path::new("/run/netns").join(name_or_path)
    };
    Ok(setns(File::open(path)?, CloneFlags::CLONE_NEWNET)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_no_ethernet_and_others_may_be_missing() {
        assert!(matches!(Interface::find("lo"), Err(InterfaceError::NotEthernet(_))));
        assert!(matches!(Interface::find("no-such-if"), Err(InterfaceError::Missing(_))));
        assert!(enter_namespace("there is none").is_err());
    }

    #[test]
    fn the_second_mac_is_another_of_a_host_and_administered_locally() {
        for mac in [[0x00, 0x16, 0x3e, 1, 2, 3], [0x02, 0x6e, 0x61, 0, 0, 1], [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff]] {
            let interface = Interface {
                name: String::new(),
                index: 1,
                mac: MacAddr(mac),
                mtu: 1500,
                is_up: true,
                kernel_speaks: false,
            };
            let second = interface.second_mac();
            assert!(!second.is_group() && second.0[0] & 2 != 0 && second != interface.mac, "{second}");
            assert_eq!(second.0[3..], mac[3..]);
        }
    }
}
