//! Who has which address.

use std::net::Ipv4Addr;

/// Of a node, from 0.
pub(crate) const fn node(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 10).to_bits() + number)
}

/// Of a pod, from 0.
pub(crate) const fn pod(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 64, 1).to_bits() + number)
}

/// Of a pod's server on the internet.
pub(crate) const fn far(pod: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(203, 0, 113, 1).to_bits() + pod)
}

/// Of a pod's server within the VPC.
pub(crate) const fn near(pod: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 9, 0, 1).to_bits() + pod)
}

/// A gateway's public addresses.
pub(crate) fn public(count: u32) -> Vec<Ipv4Addr> {
    (1..=count).map(|number| Ipv4Addr::new(198, 51, 100, number as u8)).collect()
}

/// Whether it is a pod's.
pub(crate) const fn is_pod(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    a == 10 && b == 0 && c >= 64
}

/// Whether it is a server's within the VPC.
pub(crate) const fn is_within_vpc(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    a == 10 && b == 9
}
