//! Interface features over ethtool's netlink interface (`Documentation/networking/ethtool-netlink.rst`), in the calling thread's
//! namespace. The older ioctl would need unsafe code.

use std::io;

use nix::sys::socket::SockProtocol;

use super::netlink::{Ask, Netlink, attributes, find, put, put_nested};

/// Numbers from `linux/genetlink.h` and `linux/ethtool_netlink.h`.
mod number {
    pub(super) const GENL_ID_CTRL: u16 = 16;
    pub(super) const CTRL_CMD_GETFAMILY: u8 = 3;
    pub(super) const CTRL_ATTR_FAMILY_ID: u16 = 1;
    pub(super) const CTRL_ATTR_FAMILY_NAME: u16 = 2;

    pub(super) const ETHTOOL_MSG_FEATURES_GET: u8 = 11;
    pub(super) const ETHTOOL_MSG_FEATURES_SET: u8 = 12;
    pub(super) const ETHTOOL_A_FEATURES_HEADER: u16 = 1;
    pub(super) const ETHTOOL_A_FEATURES_WANTED: u16 = 3;
    pub(super) const ETHTOOL_A_FEATURES_ACTIVE: u16 = 4;
    pub(super) const ETHTOOL_A_HEADER_DEV_NAME: u16 = 2;
    pub(super) const ETHTOOL_A_BITSET_BITS: u16 = 3;
    pub(super) const ETHTOOL_A_BITSET_BITS_BIT: u16 = 1;
    pub(super) const ETHTOOL_A_BITSET_BIT_NAME: u16 = 2;
    pub(super) const ETHTOOL_A_BITSET_BIT_VALUE: u16 = 3;
}

/// A socket to the kernel's ethtool family.
pub(super) struct Ethtool {
    netlink: Netlink,
    family: u16,
}

impl Ethtool {
    pub(super) fn open() -> io::Result<Self> {
        let mut ethtool = Self { netlink: Netlink::open(SockProtocol::NetlinkGeneric)?, family: number::GENL_ID_CTRL };
        let mut name = Vec::new();
        put(&mut name, number::CTRL_ATTR_FAMILY_NAME, b"ethtool\0");
        let reply = ethtool.ask(number::CTRL_CMD_GETFAMILY, &name)?;
        let id = find(&reply, number::CTRL_ATTR_FAMILY_ID)
            .and_then(|id| id.try_into().ok())
            .ok_or_else(|| io::Error::other("the kernel has no ethtool family"))?;
        ethtool.family = u16::from_ne_bytes(id);
        Ok(ethtool)
    }

    /// The kernel's names of the features that are on.
    pub(super) fn active(&mut self, interface: &str) -> io::Result<Vec<String>> {
        let reply = self.ask(number::ETHTOOL_MSG_FEATURES_GET, &device(interface))?;
        let bits = find(&reply, number::ETHTOOL_A_FEATURES_ACTIVE)
            .and_then(|active| find(active, number::ETHTOOL_A_BITSET_BITS))
            .ok_or_else(|| io::Error::other("a reply without a list of features"))?;
        Ok(attributes(bits)
            .filter_map(|(_, bit)| find(bit, number::ETHTOOL_A_BITSET_BIT_NAME))
            .map(|name| String::from_utf8_lossy(without_nul(name)).into_owned())
            .collect())
    }

    /// Asks for these features to be on or off. What the kernel leaves as it was nevertheless is no error here.
    pub(super) fn switch(&mut self, interface: &str, features: &[String], on: bool) -> io::Result<()> {
        let mut bits = Vec::new();
        for feature in features {
            let mut bit = Vec::new();
            put(&mut bit, number::ETHTOOL_A_BITSET_BIT_NAME, &[feature.as_bytes(), b"\0"].concat());
            if on {
                // A flag: without it the bit is in the mask and not in the value.
                put(&mut bit, number::ETHTOOL_A_BITSET_BIT_VALUE, &[]);
            }
            put_nested(&mut bits, number::ETHTOOL_A_BITSET_BITS_BIT, &bit);
        }
        let mut set = Vec::new();
        put_nested(&mut set, number::ETHTOOL_A_BITSET_BITS, &bits);
        let mut request = device(interface);
        put_nested(&mut request, number::ETHTOOL_A_FEATURES_WANTED, &set);
        self.ask(number::ETHTOOL_MSG_FEATURES_SET, &request).map(drop)
    }

    /// Sends a request and returns the attributes of the reply, empty if there was only an acknowledgement.
    fn ask(&mut self, command: u8, attributes: &[u8]) -> io::Result<Vec<u8>> {
        let replies = self.netlink.ask(self.family, Ask::One, [command, 1, 0, 0], attributes)?;
        Ok(replies.into_iter().next_back().unwrap_or_default())
    }
}

fn device(interface: &str) -> Vec<u8> {
    let mut header = Vec::new();
    put(&mut header, number::ETHTOOL_A_HEADER_DEV_NAME, &[interface.as_bytes(), b"\0"].concat());
    let mut request = Vec::new();
    put_nested(&mut request, number::ETHTOOL_A_FEATURES_HEADER, &header);
    request
}

fn without_nul(text: &[u8]) -> &[u8] {
    text.strip_suffix(b"\0").unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_lists_the_features_of_the_loopback() {
        let active = Ethtool::open().unwrap().active("lo").unwrap();
        assert!(active.iter().any(|feature| feature == "tx-checksum-ip-generic"), "{active:?}");
        let missing = Ethtool::open().unwrap().active("no-such-thing").unwrap_err();
        assert_eq!(missing.raw_os_error(), Some(nix::errno::Errno::ENODEV as i32));
    }
}
