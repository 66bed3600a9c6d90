//! IPv4 networks, and MAC addresses as text.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// An IPv4 network: an address whose host bits are zero, and a prefix length. Written `10.0.1.0/24`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Ipv4Net {
    network: u32,
    prefix_len: u8,
}

/// Why something is not an IPv4 network.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Ipv4NetError {
    /// Not of the form `a.b.c.d/len`.
    #[error("`{0}` is not a network, write it as address/prefix, for example 10.0.1.0/24")]
    Syntax(String),
    /// The prefix is longer than an address.
    #[error("prefix length {0} is longer than 32 bits")]
    PrefixLength(u8),
    /// The address has bits set behind the prefix.
    #[error("{address}/{prefix_len} has host bits set, the network is {network}/{prefix_len}")]
    HostBits {
        /// The address as given.
        address: Ipv4Addr,
        /// The prefix length as given.
        prefix_len: u8,
        /// The address with its host bits cleared.
        network: Ipv4Addr,
    },
}

impl Ipv4Net {
    /// Everything: `0.0.0.0/0`.
    pub const ANY: Self = Self { network: 0, prefix_len: 0 };

    /// The network of `address` with `prefix_len` leading bits; host bits must be zero.
    ///
    /// # Errors
    /// The prefix is longer than 32 bits, or a host bit is set.
    pub const fn new(address: Ipv4Addr, prefix_len: u8) -> Result<Self, Ipv4NetError> {
        if prefix_len > 32 {
            return Err(Ipv4NetError::PrefixLength(prefix_len));
        }
        let network = address.to_bits() & mask(prefix_len);
        if network != address.to_bits() {
            return Err(Ipv4NetError::HostBits { address, prefix_len, network: Ipv4Addr::from_bits(network) });
        }
        Ok(Self { network, prefix_len })
    }

    /// The network of that length around `address`, host bits cleared. Lengths above 32 count as 32.
    pub const fn around(address: Ipv4Addr, prefix_len: u8) -> Self {
        let prefix_len = if prefix_len > 32 { 32 } else { prefix_len };
        Self { network: address.to_bits() & mask(prefix_len), prefix_len }
    }

    /// The first address, all host bits zero.
    pub const fn network(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network)
    }

    /// The last address, all host bits one.
    pub const fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network | !mask(self.prefix_len))
    }

    /// Leading bits that all addresses share, 0 to 32.
    pub const fn prefix_len(self) -> u8 {
        self.prefix_len
    }

    /// Whether `address` lies in the network.
    pub const fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.prefix_len) == self.network
    }

    /// Whether the two have an address in common.
    pub const fn overlaps(self, other: Self) -> bool {
        self.contains(other.network()) || other.contains(self.network())
    }

    /// Whether `address` may be given to a host: inside, and neither the network's own address nor its broadcast address (networks of
    /// 31 and 32 bits have neither, RFC 3021).
    pub const fn is_host(self, address: Ipv4Addr) -> bool {
        let bits = address.to_bits();
        self.contains(address)
            && (self.prefix_len >= 31 || (bits != self.network && bits != self.broadcast().to_bits()))
    }
}

const fn mask(prefix_len: u8) -> u32 {
    if prefix_len == 0 { 0 } else { u32::MAX << (32 - prefix_len) }
}

impl fmt::Display for Ipv4Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network(), self.prefix_len)
    }
}

impl fmt::Debug for Ipv4Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Ipv4Net {
    type Err = Ipv4NetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let syntax = || Ipv4NetError::Syntax(text.to_owned());
        let (address, prefix_len) = text.split_once('/').ok_or_else(syntax)?;
        Self::new(address.parse().map_err(|_| syntax())?, prefix_len.parse().map_err(|_| syntax())?)
    }
}

impl TryFrom<String> for Ipv4Net {
    type Error = Ipv4NetError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Ipv4Net> for String {
    fn from(net: Ipv4Net) -> Self {
        net.to_string()
    }
}

/// A MAC address as `02:6e:61:00:00:01`, for `#[serde(with = …)]` and for people.
pub(crate) mod mac_text {
    use natrig_wire::MacAddr;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn format(mac: MacAddr) -> String {
        mac.0.map(|byte| format!("{byte:02x}")).join(":")
    }

    pub(crate) fn parse(text: &str) -> Option<MacAddr> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
        }
        parts.next().is_none().then_some(MacAddr(bytes))
    }

    pub(crate) fn serialize<S: Serializer>(mac: &MacAddr, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format(*mac))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<MacAddr, D::Error> {
        let text = String::deserialize(from)?;
        parse(&text).ok_or_else(|| D::Error::custom(format!("`{text}` is not a MAC address")))
    }
}

#[cfg(test)]
mod tests {
    use natrig_wire::MacAddr;

    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn text_round_trips() {
        for text in ["0.0.0.0/0", "10.0.1.0/24", "198.51.100.8/32"] {
            assert_eq!(net(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_not_a_network_is_refused_with_the_reason() {
        assert_eq!(
            "10.0.1.5/24".parse::<Ipv4Net>().unwrap_err().to_string(),
            "10.0.1.5/24 has host bits set, the network is 10.0.1.0/24"
        );
        assert_eq!("10.0.1.0/33".parse::<Ipv4Net>(), Err(Ipv4NetError::PrefixLength(33)));
        for text in ["10.0.1.0", "10.0.1/24", "x/24", "10.0.1.0/", "10.0.1.0/-1"] {
            assert_eq!(text.parse::<Ipv4Net>(), Err(Ipv4NetError::Syntax(text.to_owned())));
        }
    }

    #[test]
    fn containment_and_overlap() {
        assert!(net("10.0.0.0/16").overlaps(net("10.0.1.0/24")));
        assert!(net("10.0.1.0/24").overlaps(net("10.0.0.0/16")));
        assert!(!net("10.0.0.0/24").overlaps(net("10.0.1.0/24")));
        assert!(Ipv4Net::ANY.contains(Ipv4Addr::BROADCAST));
        assert_eq!(net("10.0.1.0/24").broadcast(), Ipv4Addr::new(10, 0, 1, 255));
    }

    #[test]
    fn hosts_exclude_network_and_broadcast_only_where_they_exist() {
        let last = Ipv4Addr::new(10, 0, 1, 255);
        assert!(!net("10.0.1.0/24").is_host(last));
        assert!(!net("10.0.1.0/24").is_host(Ipv4Addr::new(10, 0, 1, 0)));
        assert!(net("10.0.1.254/31").is_host(last));
        assert!(net("10.0.1.255/32").is_host(last));
        assert!(!net("10.0.1.0/24").is_host(Ipv4Addr::new(10, 0, 2, 1)));
    }

    #[test]
    fn macs_as_text() {
        let mac = MacAddr([2, 0x6e, 0x61, 0, 1, 0xff]);
        assert_eq!(mac_text::format(mac), "02:6e:61:00:01:ff");
        assert_eq!(mac_text::parse("02:6e:61:00:01:ff"), Some(mac));
        for text in ["", "02:6e:61:00:01", "02:6e:61:00:01:ff:00", "02:6e:61:00:01:xx"] {
            assert_eq!(mac_text::parse(text), None);
        }
    }
}
