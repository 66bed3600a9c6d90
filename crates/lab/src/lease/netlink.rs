//! Requests over netlink, and their replies as attributes: what ethtool's and conntrack's interfaces have in common.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// Numbers from `linux/netlink.h`.
mod number {
    pub(super) const NLMSG_ERROR: u16 = 2;
    pub(super) const NLMSG_DONE: u16 = 3;
    pub(super) const NLM_F_REQUEST: u16 = 1;
    pub(super) const NLM_F_ACK: u16 = 4;
    pub(super) const NLM_F_DUMP: u16 = 0x300;
    pub(super) const NLA_F_NESTED: u16 = 0x8000;
    pub(super) const NLA_TYPE_MASK: u16 = 0x3fff;
}

const HEADER_LEN: usize = 16;
/// The protocol's own header, between netlink's and the attributes: `struct genlmsghdr`, `struct nfgenmsg`.
const PROTOCOL_HEADER_LEN: usize = 4;
const ATTRIBUTE_HEADER_LEN: usize = 4;
const REPLY_MAX: usize = 64 * 1024;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// One thing, to be looked up or done.
    One,
    /// Everything of a kind.
    All,
}

/// A message: its kind, and its attributes.
pub(super) type Message = (u16, Vec<u8>);

/// A netlink socket. It speaks for the namespace that it was opened in, wherever it is used.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    pub(super) fn open(protocol: SockProtocol) -> io::Result<Self> {
        let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// What has come unasked: kind and attributes of each message of one datagram; none if nothing waits.
    pub(super) fn unasked(&self) -> io::Result<Option<Vec<Message>>> {
        let mut buffer = vec![0; REPLY_MAX];
        let len = match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Err(Errno::EAGAIN) => return Ok(None),
            other => other?,
        };
        let message = |(kind, payload): (u16, &[u8])| Some((kind, payload.get(PROTOCOL_HEADER_LEN..)?.to_vec()));
        Ok(Some(messages(&buffer[..len]).filter_map(message).collect()))
    }

    /// Sends a request; returns the attributes of each message of the reply, none if there was only an acknowledgement.
    pub(super) fn ask(
        &mut self,
        kind: u16,
        ask: Ask,
        header: [u8; PROTOCOL_HEADER_LEN],
        attributes: &[u8],
    ) -> io::Result<Vec<Vec<u8>>> {
        self.sequence += 1;
        let message = request(kind, ask, self.sequence, header, attributes)?;
        send(self.socket.as_raw_fd(), &message, MsgFlags::empty())?;

        let mut replies = Vec::new();
        let mut buffer = vec![0; REPLY_MAX];
        loop {
            let len = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            for (kind, payload) in messages(&buffer[..len]) {
                if kind == number::NLMSG_ERROR || kind == number::NLMSG_DONE {
                    return match payload.first_chunk().map(|code| i32::from_ne_bytes(*code)) {
                        Some(0) => Ok(replies),
                        Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
                        None => Err(io::ErrorKind::UnexpectedEof.into()),
                    };
                }
                if let Some(attributes) = payload.get(PROTOCOL_HEADER_LEN..) {
                    replies.push(attributes.to_vec());
                }
            }
        }
    }
}

fn request(
    kind: u16,
    ask: Ask,
    sequence: u32,
    header: [u8; PROTOCOL_HEADER_LEN],
    attributes: &[u8],
) -> io::Result<Vec<u8>> {
    let len =
        u32::try_from(HEADER_LEN + PROTOCOL_HEADER_LEN + attributes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // What is looked up or done is acknowledged; a dump has an end of its own.
    let flags = match ask {
        Ask::One => number::NLM_F_REQUEST | number::NLM_F_ACK,
        Ask::All => number::NLM_F_REQUEST | number::NLM_F_DUMP,
    };
    let mut message = Vec::with_capacity(len as usize);
    message.extend(len.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    message.extend(header);
    message.extend(attributes);
    Ok(message)
}

pub(super) fn put(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    // Requests hold an interface name and at most a few dozen feature names: far below 64 KiB.
    let len = u16::try_from(ATTRIBUTE_HEADER_LEN + value.len()).unwrap_or(u16::MAX);
    to.extend(len.to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(value);
    to.resize(to.len().next_multiple_of(4), 0);
}

pub(super) fn put_nested(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
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
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let kind = u16::from_ne_bytes([*bytes.get(2)?, *bytes.get(3)?]) & number::NLA_TYPE_MASK;
        let value = bytes.get(ATTRIBUTE_HEADER_LEN..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

pub(super) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(k, _)| *k == kind).map(|(_, v)| v)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_on_the_wire() {
        let mut name = Vec::new();
        put(&mut name, 2, b"lo\0");
        let mut attributes = Vec::new();
        put_nested(&mut attributes, 1, &name);
        let message = request(20, Ask::One, 7, [11, 1, 0, 0], &attributes).unwrap();
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
        let dump = request(20, Ask::All, 7, [0; 4], &[]).unwrap();
        assert_eq!(dump[6..8], 0x301_u16.to_ne_bytes());
    }

    #[test]
    fn nested_attributes_are_found_again() {
        let mut inner = Vec::new();
        put(&mut inner, 2, b"tx-checksum-ip-generic\0");
        let mut outer = Vec::new();
        put(&mut outer, 9, &[1]);
        put_nested(&mut outer, 3, &inner);
        let name = find(&outer, 3).and_then(|inner| find(inner, 2)).unwrap();
        assert_eq!(name, b"tx-checksum-ip-generic\0");
        assert_eq!(find(&outer, 4), None);
    }

    #[test]
    fn mangled_replies_end_quietly() {
        for bytes in [&[][..], &[1], &[0; 4], &[200, 0, 3, 0, 1], &[3, 0, 3, 0]] {
            assert_eq!(attributes(bytes).count(), 0, "{bytes:?}");
            assert_eq!(messages(bytes).count(), 0, "{bytes:?}");
        }
    }
}
