//! Interface features over ethtool's netlink interface (`Documentation/networking/ethtool-netlink.rst`), in the calling thread's
//! namespace. The older ioctl would need unsafe code.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// Numbers from `linux/netlink.h`, `linux/genetlink.h` and `linux/ethtool_netlink.h`.
mod number {
    pub(super) const NLMSG_ERROR: u16 = 2;
    pub(super) const NLM_F_REQUEST: u16 = 1;
    pub(super) const NLM_F_ACK: u16 = 4;
    pub(super) const NLA_F_NESTED: u16 = 0x8000;
    pub(super) const NLA_TYPE_MASK: u16 = 0x3fff;

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
}

const HEADER_LEN: usize = 16;
const GENERIC_HEADER_LEN: usize = 4;
const ATTRIBUTE_HEADER_LEN: usize = 4;
const REPLY_MAX: usize = 64 * 1024;

/// A socket to the kernel's ethtool family.
pub(super) struct Ethtool {
    socket: OwnedFd,
    family: u16,
    sequence: u32,
}

impl Ethtool {
    pub(super) fn open() -> io::Result<Self> {
        let socket =
            socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkGeneric)?;
        let mut ethtool = Self { socket, family: number::GENL_ID_CTRL, sequence: 0 };
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

    /// Asks for these features to be off. What the kernel keeps on nevertheless is no error here.
    pub(super) fn switch_off(&mut self, interface: &str, features: &[String]) -> io::Result<()> {
        let mut bits = Vec::new();
        for feature in features {
            let mut bit = Vec::new();
            // No ETHTOOL_A_BITSET_BIT_VALUE: the bit is in the mask and not in the value.
            put(&mut bit, number::ETHTOOL_A_BITSET_BIT_NAME, &[feature.as_bytes(), b"\0"].concat());
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
        self.sequence += 1;
        let message = request(self.family, self.sequence, command, attributes)?;
        send(self.socket.as_raw_fd(), &message, MsgFlags::empty())?;

        let mut reply = Vec::new();
        let mut buffer = vec![0; REPLY_MAX];
        loop {
            let len = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            for (kind, payload) in messages(&buffer[..len]) {
                if kind == number::NLMSG_ERROR {
                    return match payload.first_chunk().map(|code| i32::from_ne_bytes(*code)) {
                        Some(0) => Ok(reply),
                        Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
                        None => Err(io::ErrorKind::UnexpectedEof.into()),
                    };
                }
                if let Some(attributes) = payload.get(GENERIC_HEADER_LEN..) {
                    reply = attributes.to_vec();
                }
            }
        }
    }
}

fn device(interface: &str) -> Vec<u8> {
    let mut header = Vec::new();
    put(&mut header, number::ETHTOOL_A_HEADER_DEV_NAME, &[interface.as_bytes(), b"\0"].concat());
    let mut request = Vec::new();
    put_nested(&mut request, number::ETHTOOL_A_FEATURES_HEADER, &header);
    request
}

fn request(family: u16, sequence: u32, command: u8, attributes: &[u8]) -> io::Result<Vec<u8>> {
    let len =
        u32::try_from(HEADER_LEN + GENERIC_HEADER_LEN + attributes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut message = Vec::with_capacity(len as usize);
    message.extend(len.to_ne_bytes());
    message.extend(family.to_ne_bytes());
    message.extend((number::NLM_F_REQUEST | number::NLM_F_ACK).to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    message.extend([command, 1, 0, 0]);
    message.extend(attributes);
    Ok(message)
}

fn put(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    // Requests hold an interface name and at most a few dozen feature names: far below 64 KiB.
    let len = u16::try_from(ATTRIBUTE_HEADER_LEN + value.len()).unwrap_or(u16::MAX);
    to.extend(len.to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(value);
    to.resize(to.len().next_multiple_of(4), 0);
}

fn put_nested(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    put(to, kind | number::NLA_F_NESTED, value);
}

/// The messages of one datagram: type and payload.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
        let kind = u16::from_ne_bytes([*bytes.get(4)?, *bytes.get(5)?]);
        let payload = bytes.get(HEADER_LEN..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, payload))
    })
}

/// The attributes of one level: type and value.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let kind = u16::from_ne_bytes([*bytes.get(2)?, *bytes.get(3)?]) & number::NLA_TYPE_MASK;
        let value = bytes.get(ATTRIBUTE_HEADER_LEN..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(k, _)| *k == kind).map(|(_, v)| v)
}

fn without_nul(text: &[u8]) -> &[u8] {
    text.strip_suffix(b"\0").unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_on_the_wire() {
        let message = request(20, 7, number::ETHTOOL_MSG_FEATURES_GET, &device("lo")).unwrap();
        let expected: Vec<u8> = [
            &32_u32.to_ne_bytes()[..],
            &20_u16.to_ne_bytes(),
            &5_u16.to_ne_bytes(),
            &7_u32.to_ne_bytes(),
            &[0; 4],
            &[11, 1, 0, 0],
            &12_u16.to_ne_bytes(),
            &0x8001_u16.to_ne_bytes(),
            &7_u16.to_ne_bytes(),
            &2_u16.to_ne_bytes(),
            b"lo\0\0",
        ]
        .concat();
        assert_eq!(message, expected);
    }

    #[test]
    fn nested_attributes_are_found_again() {
        let mut inner = Vec::new();
        put(&mut inner, 2, b"tx-checksum-ip-generic\0");
        let mut outer = Vec::new();
        put(&mut outer, 9, &[1]);
        put_nested(&mut outer, 3, &inner);
        let name = find(&outer, 3).and_then(|inner| find(inner, 2)).unwrap();
        assert_eq!(without_nul(name), b"tx-checksum-ip-generic");
        assert_eq!(find(&outer, 4), None);
    }

    #[test]
    fn the_kernel_lists_the_features_of_the_loopback() {
        let active = Ethtool::open().unwrap().active("lo").unwrap();
        assert!(active.iter().any(|feature| feature == "tx-checksum-ip-generic"), "{active:?}");
        let missing = Ethtool::open().unwrap().active("no-such-thing").unwrap_err();
        assert_eq!(missing.raw_os_error(), Some(nix::errno::Errno::ENODEV as i32));
    }

    #[test]
    fn mangled_replies_end_quietly() {
        for bytes in [&[][..], &[1], &[0; 4], &[200, 0, 3, 0, 1], &[3, 0, 3, 0]] {
            assert_eq!(attributes(bytes).count(), 0, "{bytes:?}");
            assert_eq!(messages(bytes).count(), 0, "{bytes:?}");
        }
    }
}
