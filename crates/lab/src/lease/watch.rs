//! What passes in a namespace: each packet at each interface, and each rule that says so.

use std::collections::HashMap;
use std::fs;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::OnceLock;
use std::time::Duration;

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg, setsockopt,
    socket, sockopt,
};
use nix::sys::time::TimeSpec;
use thiserror::Error;

use super::netlink::{Ask, Netlink, attributes, put};
use super::{EnterError, Lease};

/// Rules that are to be seen log to this group: `log prefix "…" group 1` (nft(8)).
pub const RULE_LOG_GROUP: u16 = 1;

/// Numbers from `linux/if_packet.h` and `linux/netfilter/nfnetlink_log.h`.
mod number {
    pub(super) const PACKET_OUTGOING: u8 = 4;

    const NFNL_SUBSYS_ULOG: u16 = 4 << 8;
    pub(super) const NFULNL_MSG_PACKET: u16 = NFNL_SUBSYS_ULOG;
    pub(super) const NFULNL_MSG_CONFIG: u16 = NFNL_SUBSYS_ULOG | 1;

    pub(super) const NFULA_CFG_CMD: u16 = 1;
    pub(super) const NFULNL_CFG_CMD_BIND: u8 = 1;
    pub(super) const NFULA_CFG_MODE: u16 = 2;
    pub(super) const NFULNL_COPY_PACKET: u8 = 2;
    pub(super) const NFULA_CFG_QTHRESH: u16 = 5;

    pub(super) const NFULA_PAYLOAD: u16 = 9;
    pub(super) const NFULA_PREFIX: u16 = 10;
}

/// Longest packet that is kept whole.
const PACKET_MAX: usize = 2048;

/// Eyes on every interface of a namespace.
#[derive(Debug)]
pub struct Watch {
    packets: OwnedFd,
    rules: Netlink,
    interfaces: HashMap<usize, String>,
}

/// What was seen, in the order of its namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Packets at interfaces, loopback left out.
    pub sightings: Vec<Sighting>,
    /// Rules that packets matched.
    pub rules: Vec<RuleHit>,
}

/// A packet at an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// When, in nanoseconds of the real-time clock: comparable between namespaces of one machine.
    pub at_ns: u64,
    /// The interface's name.
    pub interface: String,
    /// Which way.
    pub heading: Heading,
    /// From the IPv4 header on.
    pub packet: Vec<u8>,
}

/// Into a namespace or out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heading {
    /// Received.
    In,
    /// Sent.
    Out,
}

/// A rule with `log … group` [`RULE_LOG_GROUP`] that a packet matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleHit {
    /// The rule's `log prefix`.
    pub prefix: String,
    /// The packet as it was at the rule, from the IPv4 header on.
    pub packet: Vec<u8>,
}

/// Why there is nothing to be seen.
#[derive(Debug, Error)]
pub enum WatchError {
    /// The namespace cannot be entered.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// A socket refuses.
    #[error("watch namespace `{namespace}`: {source}")]
    Socket {
        /// The namespace.
        namespace: String,
        /// Why.
        source: io::Error,
    },
}

impl Lease {
    /// Starts to watch a namespace.
    ///
    /// # Errors
    /// The namespace cannot be entered, or a socket refuses.
    pub fn watch(&self, namespace: &str) -> Result<Watch, WatchError> {
        keep_stamping();
        self.run_in(namespace, Watch::open)?
            .map_err(|source| WatchError::Socket { namespace: namespace.to_owned(), source })
    }
}

/// The kernel stamps packets while somebody wants stamps, begins a moment after the first one does (`net_enable_timestamp` in
/// `net/core/dev.c`), and until then gives the time at which a packet is read. So one socket, in no world's namespace, wants stamps for as
/// long as this process lives, and the first watch waits for them.
fn keep_stamping() {
    static STAMPING: OnceLock<Option<OwnedFd>> = OnceLock::new();
    const MOMENT: Duration = Duration::from_millis(50);
    STAMPING.get_or_init(|| {
        let fd = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).ok()?;
        setsockopt(&fd, sockopt::ReceiveTimestampns, &true).ok()?;
        std::thread::sleep(MOMENT);
        Some(fd)
    });
}

impl Watch {
    fn open() -> io::Result<Self> {
        let packets =
            socket(AddressFamily::Packet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, Some(SockProtocol::EthAll))?;
        setsockopt(&packets, sockopt::ReceiveTimestampns, &true)?;
        let mut interfaces = HashMap::new();
        // Not /sys/class/net: that is of the namespace that mounted it.
        for line in fs::read_to_string("/proc/thread-self/net/dev")?.lines() {
            let Some((name, _)) = line.split_once(':') else { continue };
            let name = name.trim();
            if name != "lo" {
                interfaces.insert(if_nametoindex(name)? as usize, name.to_owned());
            }
        }
        let mut rules = Netlink::open(SockProtocol::NetlinkNetFilter)?;
        for (kind, value) in [
            (number::NFULA_CFG_CMD, &[number::NFULNL_CFG_CMD_BIND][..]),
            // `struct nfulnl_msg_config_mode`: as many bytes as fit, of each packet.
            (number::NFULA_CFG_MODE, &[0, 0, 0xff, 0xff, number::NFULNL_COPY_PACKET, 0]),
            // Each at once rather than a hundred at a time.
            (number::NFULA_CFG_QTHRESH, &1_u32.to_be_bytes()),
        ] {
            let mut attribute = Vec::new();
            put(&mut attribute, kind, value);
            let [high, low] = RULE_LOG_GROUP.to_be_bytes();
            rules.ask(number::NFULNL_MSG_CONFIG, Ask::One, [0, 0, high, low], &attribute)?;
        }
        Ok(Self { packets, rules, interfaces })
    }

    /// What has been seen since the last time. Never waits.
    ///
    /// # Errors
    /// A socket refuses.
    pub fn seen(&mut self) -> io::Result<Seen> {
        let mut seen = Seen { sightings: Vec::new(), rules: Vec::new() };
        while let Some(sighting) = self.packet()? {
            seen.sightings.extend(sighting);
        }
        while let Some(messages) = self.rules.unasked()? {
            let packets = messages.iter().filter(|(kind, _)| *kind == number::NFULNL_MSG_PACKET);
            seen.rules.extend(packets.filter_map(|(_, message)| rule_hit(message)));
        }
        Ok(seen)
    }

    /// The next packet; some none: one that does not count.
    fn packet(&self) -> io::Result<Option<Option<Sighting>>> {
        let mut packet = [0; PACKET_MAX];
        let mut control = nix::cmsg_space!(TimeSpec);
        let mut buffers = [IoSliceMut::new(&mut packet)];
        let received =
            recvmsg::<LinkAddr>(self.packets.as_raw_fd(), &mut buffers, Some(&mut control), MsgFlags::MSG_DONTWAIT);
        let received = match received {
            Err(Errno::EAGAIN) => return Ok(None),
            other => other?,
        };
        let at_ns = received.cmsgs()?.find_map(|message| {
            let ControlMessageOwned::ScmTimestampns(at) = message else { return None };
            Some(at.tv_sec().cast_unsigned() * 1_000_000_000 + at.tv_nsec().cast_unsigned())
        });
        let (Some(at_ns), Some(from), len) = (at_ns, received.address, received.bytes) else { return Ok(Some(None)) };
        let Some(interface) = self.interfaces.get(&from.ifindex()) else { return Ok(Some(None)) };
        let heading = if from.pkttype() == number::PACKET_OUTGOING { Heading::Out } else { Heading::In };
        // IPv4 only: whoever watches has no ARP to see, its neighbours being known for good.
        let is_ipv4 = packet[0] >> 4 == 4;
        let sighting = Sighting { at_ns, interface: interface.clone(), heading, packet: packet[..len].to_vec() };
        Ok(Some(is_ipv4.then_some(sighting)))
    }
}

fn rule_hit(message: &[u8]) -> Option<RuleHit> {
    let mut hit = RuleHit { prefix: String::new(), packet: Vec::new() };
    for (kind, value) in attributes(message) {
        if kind == number::NFULA_PREFIX {
            hit.prefix = String::from_utf8_lossy(value).trim_end_matches('\0').to_owned();
        } else if kind == number::NFULA_PAYLOAD {
            hit.packet = value.to_vec();
        }
    }
    (!hit.prefix.is_empty()).then_some(hit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_hit_has_its_prefix_and_the_packet() {
        let mut message = Vec::new();
        put(&mut message, 1, &[8, 0, 0, 0]);
        put(&mut message, number::NFULA_PREFIX, b"6 native_routing\0");
        put(&mut message, number::NFULA_PAYLOAD, &[0x45, 0, 0, 1]);
        let hit = rule_hit(&message).unwrap();
        assert_eq!(hit, RuleHit { prefix: "6 native_routing".to_owned(), packet: vec![0x45, 0, 0, 1] });
        assert_eq!(rule_hit(&[]), None);
    }
}
