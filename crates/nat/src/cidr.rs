//! Address blocks.

use core::fmt;
use core::net::Ipv4Addr;
use core::str::FromStr;
use serde::{Deserialize, Serialize};

/// A block of IPv4 addresses in CIDR notation (RFC 4632).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    network: u32,
    mask: u32,
}

/// Why text is not a block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an address block such as 10.0.0.0/8: {what}")]
pub struct CidrError {
    text: String,
    what: &'static str,
}

impl Cidr {
    /// All addresses.
    pub const ANY: Self = Self { network: 0, mask: 0 };
    /// RFC 3927.
    pub const LINK_LOCAL: Self = Self::literal([169, 254, 0, 0], 16);

    /// The block of `prefix_len` (at most 32) around `addr`.
    pub const fn new(addr: Ipv4Addr, prefix_len: u8) -> Self {
        let mask = match prefix_len {
            0 => 0,
            1..=31 => u32::MAX << (32 - prefix_len),
            _ => u32::MAX,
        };
        Self { network: addr.to_bits() & mask, mask }
    }

    pub(crate) const fn literal(octets: [u8; 4], prefix_len: u8) -> Self {
        Self::new(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]), prefix_len)
    }

    /// First address.
    pub const fn network(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network)
    }

    /// Length of the prefix.
    pub const fn prefix_len(self) -> u8 {
        self.mask.count_ones() as u8
    }

    /// True if `addr` is in the block.
    pub const fn contains(self, addr: Ipv4Addr) -> bool {
        self.contains_bits(addr.to_bits())
    }

    #[inline]
    pub(crate) const fn contains_bits(self, addr: u32) -> bool {
        addr & self.mask == self.network
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network(), self.prefix_len())
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let error = |what| CidrError { text: text.to_owned(), what };
        let (addr, len) = text.split_once('/').unwrap_or((text, "32"));
        let addr: Ipv4Addr = addr.parse().map_err(|_| error("the address has four decimal bytes"))?;
        let len: u8 = len.parse().ok().filter(|len| *len <= 32).ok_or_else(|| error("the prefix length is 0 to 32"))?;
        let cidr = Self::new(addr, len);
        if cidr.network() != addr {
            return Err(error("bits behind the prefix are set"));
        }
        Ok(cidr)
    }
}

impl TryFrom<String> for Cidr {
    type Error = CidrError;

    fn try_from(text: String) -> Result<Self, CidrError> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        cidr.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "192.0.2.1/32"] {
            assert_eq!(text.parse::<Cidr>().unwrap().to_string(), text);
        }
        assert_eq!("192.0.2.1".parse::<Cidr>().unwrap().prefix_len(), 32);
        for text in ["10.0.0.0/33", "10.0.0/8", "10.0.0.1/8", "x", "10.0.0.0/"] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }

    #[test]
    fn contains_its_first_and_last_address_and_no_neighbour() {
        let cidr: Cidr = "100.64.0.0/10".parse().unwrap();
        assert!(cidr.contains(Ipv4Addr::new(100, 64, 0, 0)) && cidr.contains(Ipv4Addr::new(100, 127, 255, 255)));
        assert!(!cidr.contains(Ipv4Addr::new(100, 128, 0, 0)) && !cidr.contains(Ipv4Addr::new(100, 63, 255, 255)));
    }
}
