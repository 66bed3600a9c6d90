//! Whether an address plan can be built.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use thiserror::Error;

use super::Topology;
use crate::net::Ipv4Net;

/// Most pod addresses in one world; each is an address on an interface and a source that the generator cycles through.
pub const MAX_POD_ADDRESSES: u32 = 65_536;
/// Most server addresses in one world.
pub const MAX_SERVER_ADDRESSES: u32 = 4_096;
/// Most addresses in one NAT pool.
pub const MAX_NAT_ADDRESSES: u32 = 1_024;
/// Smallest MTU: what every IPv4 host must accept (RFC 791, section 3.1).
pub const MIN_MTU: u16 = 576;
/// Most queues on one veth end.
pub const MAX_QUEUES: u16 = 64;

/// Why an address plan is impossible. Each names the field at fault, as written in a scenario.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TopologyError {
    /// A count of zero, or an empty list.
    #[error("{field} is empty, at least one is needed")]
    Empty {
        /// The field at fault.
        field: &'static str,
    },
    /// More than the rig supports.
    #[error("{field} asks for {count}, at most {limit} are possible")]
    TooMany {
        /// The field at fault.
        field: &'static str,
        /// What was asked for.
        count: u32,
        /// The most that is possible.
        limit: u32,
    },
    /// More consecutive addresses than the network has behind the first one.
    #[error("{field} asks for {count} addresses, {cidr} has room for {room} from {first} on")]
    DoesNotFit {
        /// The field at fault.
        field: &'static str,
        /// What was asked for.
        count: u32,
        /// Where they should lie.
        cidr: Ipv4Net,
        /// The first address.
        first: Ipv4Addr,
        /// Host addresses from the first one to the end of the network.
        room: u32,
    },
    /// An address outside its network.
    #[error("{field}: {address} is not in {cidr}")]
    Outside {
        /// The field at fault.
        field: &'static str,
        /// The address.
        address: Ipv4Addr,
        /// Where it should lie.
        cidr: Ipv4Net,
    },
    /// The network's own address, or its broadcast address.
    #[error("{field}: {address} is the network or broadcast address of {cidr}, not a host's")]
    NotAHost {
        /// The field at fault.
        field: &'static str,
        /// The address.
        address: Ipv4Addr,
        /// Its network.
        cidr: Ipv4Net,
    },
    /// A network out of a block that no host may use as an ordinary address (RFC 6890).
    #[error("{field}: {cidr} touches {block}, which is not for ordinary hosts")]
    Reserved {
        /// The field at fault.
        field: &'static str,
        /// The network.
        cidr: Ipv4Net,
        /// The block that it touches.
        block: Ipv4Net,
    },
    /// Two networks with an address in common.
    #[error("{field}: {cidr} overlaps {other_field}, {other}")]
    Overlap {
        /// The field at fault.
        field: &'static str,
        /// Its network.
        cidr: Ipv4Net,
        /// The field it collides with.
        other_field: &'static str,
        /// That one's network.
        other: Ipv4Net,
    },
    /// One address given twice.
    #[error("{field}: {address} is already taken by {other_field}")]
    Taken {
        /// The field at fault.
        field: &'static str,
        /// The address.
        address: Ipv4Addr,
        /// Who has it.
        other_field: &'static str,
    },
    /// A number outside its bounds.
    #[error("{field} is {value}, it must lie between {min} and {max}")]
    OutOfBounds {
        /// The field at fault.
        field: &'static str,
        /// The value.
        value: u32,
        /// The smallest possible.
        min: u32,
        /// The largest possible.
        max: u32,
    },
}

impl TopologyError {
    /// The field at fault, as a dotted path: `pods.count`.
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Empty { field }
            | Self::TooMany { field, .. }
            | Self::DoesNotFit { field, .. }
            | Self::Outside { field, .. }
            | Self::NotAHost { field, .. }
            | Self::Reserved { field, .. }
            | Self::Overlap { field, .. }
            | Self::Taken { field, .. }
            | Self::OutOfBounds { field, .. } => field,
        }
    }
}

/// Blocks without ordinary hosts: "this network", loopback, link-local, multicast and reserved (RFC 6890).
const RESERVED: [Ipv4Net; 5] = [
    Ipv4Net::around(Ipv4Addr::new(0, 0, 0, 0), 8),
    Ipv4Net::around(Ipv4Addr::new(127, 0, 0, 0), 8),
    Ipv4Net::around(Ipv4Addr::new(169, 254, 0, 0), 16),
    Ipv4Net::around(Ipv4Addr::new(224, 0, 0, 0), 4),
    Ipv4Net::around(Ipv4Addr::new(240, 0, 0, 0), 4),
];

impl Topology {
    /// Tells whether the plan can be built.
    ///
    /// # Errors
    /// The first thing that makes it impossible, naming its field.
    pub fn validate(&self) -> Result<(), TopologyError> {
        bounds("mtu", self.mtu, MIN_MTU, u16::MAX)?;
        bounds("queues", self.queues, 1, MAX_QUEUES)?;
        self.validate_networks()?;
        self.validate_ranges()?;
        self.validate_addresses()
    }

    fn validate_networks(&self) -> Result<(), TopologyError> {
        let networks = [
            ("pods.cidr", self.pods.cidr),
            ("node.cidr", self.node.cidr),
            ("gateway.private_cidr", self.gateway.private_cidr),
            ("gateway.public_cidr", self.gateway.public_cidr),
            ("internet.server_cidr", self.internet.server_cidr),
        ];
        for (i, &(field, cidr)) in networks.iter().enumerate() {
            if let Some(&block) = RESERVED.iter().find(|block| block.overlaps(cidr)) {
                return Err(TopologyError::Reserved { field, cidr, block });
            }
            if let Some(&(other_field, other)) = networks[..i].iter().find(|(_, other)| other.overlaps(cidr)) {
                return Err(TopologyError::Overlap { field, cidr, other_field, other });
            }
        }
        Ok(())
    }

    fn validate_ranges(&self) -> Result<(), TopologyError> {
        host("pods.first", self.pods.first, self.pods.cidr)?;
        range("pods.count", self.pods.count, MAX_POD_ADDRESSES, self.pods.first, self.pods.cidr)?;
        let internet = &self.internet;
        host("internet.server_first", internet.server_first, internet.server_cidr)?;
        range(
            "internet.server_count",
            internet.server_count,
            MAX_SERVER_ADDRESSES,
            internet.server_first,
            internet.server_cidr,
        )
    }

    /// Single addresses: each in its network, none given twice. Networks are known to be disjoint and ranges to fit.
    fn validate_addresses(&self) -> Result<(), TopologyError> {
        pool("node.addresses", &self.node.addresses)?;
        pool("gateway.addresses", &self.gateway.addresses)?;
        let (pods, node, gateway) = (&self.pods, &self.node, &self.gateway);
        let single = [
            ("pods.router", pods.router, pods.cidr),
            ("gateway.private_address", gateway.private_address, gateway.private_cidr),
            ("internet.router", self.internet.router, gateway.public_cidr),
        ];
        let pools = node
            .addresses
            .iter()
            .map(|&address| ("node.addresses", address, node.cidr))
            .chain(gateway.addresses.iter().map(|&address| ("gateway.addresses", address, gateway.public_cidr)));
        let mut taken = HashMap::new();
        for (field, address, cidr) in single.into_iter().chain(pools) {
            host(field, address, cidr)?;
            if let Some(other_field) = taken.insert(address, field) {
                return Err(TopologyError::Taken { field, address, other_field });
            }
        }
        let offset = pods.router.to_bits().wrapping_sub(pods.first.to_bits());
        if offset < pods.count {
            return Err(TopologyError::Taken { field: "pods.router", address: pods.router, other_field: "pods.count" });
        }
        Ok(())
    }
}

fn bounds(field: &'static str, value: u16, min: u16, max: u16) -> Result<(), TopologyError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(TopologyError::OutOfBounds { field, value: value.into(), min: min.into(), max: max.into() })
}

fn pool(field: &'static str, addresses: &[Ipv4Addr]) -> Result<(), TopologyError> {
    let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    match count {
        0 => Err(TopologyError::Empty { field }),
        1..=MAX_NAT_ADDRESSES => Ok(()),
        _ => Err(TopologyError::TooMany { field, count, limit: MAX_NAT_ADDRESSES }),
    }
}

fn host(field: &'static str, address: Ipv4Addr, cidr: Ipv4Net) -> Result<(), TopologyError> {
    if !cidr.contains(address) {
        return Err(TopologyError::Outside { field, address, cidr });
    }
    if !cidr.is_host(address) {
        return Err(TopologyError::NotAHost { field, address, cidr });
    }
    Ok(())
}

/// `first` is known to be a host of `cidr`.
fn range(field: &'static str, count: u32, limit: u32, first: Ipv4Addr, cidr: Ipv4Net) -> Result<(), TopologyError> {
    if count == 0 {
        return Err(TopologyError::Empty { field });
    }
    if count > limit {
        return Err(TopologyError::TooMany { field, count, limit });
    }
    let last_host = cidr.broadcast().to_bits() - u32::from(cidr.prefix_len() < 31);
    let room = (last_host - first.to_bits()).saturating_add(1);
    if count > room {
        return Err(TopologyError::DoesNotFit { field, count, cidr, first, room });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fault(change: impl FnOnce(&mut Topology)) -> TopologyError {
        let mut topology = Topology::default();
        change(&mut topology);
        topology.validate().unwrap_err()
    }

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    #[test]
    fn the_default_is_possible() {
        assert_eq!(Topology::default().validate(), Ok(()));
    }

    #[test]
    fn overlapping_networks() {
        let error = fault(|t| t.node.cidr = net("10.0.0.0/16"));
        assert_eq!(error.to_string(), "node.cidr: 10.0.0.0/16 overlaps pods.cidr, 10.0.1.0/24");
        assert_eq!(fault(|t| t.internet.server_cidr = net("198.51.0.0/16")).field(), "internet.server_cidr");
    }

    #[test]
    fn counts() {
        assert_eq!(fault(|t| t.pods.count = 0), TopologyError::Empty { field: "pods.count" });
        assert_eq!(
            fault(|t| t.pods.count = 300).to_string(),
            "pods.count asks for 300 addresses, 10.0.1.0/24 has room for 205 from 10.0.1.50 on"
        );
        assert_eq!(
            fault(|t| t.pods.count = 1_000_000).to_string(),
            "pods.count asks for 1000000, at most 65536 are possible"
        );
        assert_eq!(fault(|t| t.internet.server_count = 0).field(), "internet.server_count");
    }

    #[test]
    fn nat_pools() {
        assert_eq!(fault(|t| t.node.addresses.clear()).to_string(), "node.addresses is empty, at least one is needed");
        assert_eq!(fault(|t| t.gateway.addresses = vec![ip("198.51.101.8")]).field(), "gateway.addresses");
        assert!(matches!(
            fault(|t| t.gateway.addresses = vec![ip("198.51.100.8"); 2]),
            TopologyError::Taken { field: "gateway.addresses", .. }
        ));
        assert!(matches!(
            fault(|t| t.gateway.addresses = vec![ip("198.51.100.8"); 2000]),
            TopologyError::TooMany { count: 2000, .. }
        ));
    }

    #[test]
    fn single_addresses() {
        assert!(matches!(
            fault(|t| t.pods.router = ip("10.0.2.1")),
            TopologyError::Outside { field: "pods.router", .. }
        ));
        assert!(matches!(
            fault(|t| t.pods.first = ip("10.0.1.0")),
            TopologyError::NotAHost { field: "pods.first", .. }
        ));
        assert!(matches!(
            fault(|t| t.pods.router = ip("10.0.1.57")),
            TopologyError::Taken { field: "pods.router", .. }
        ));
        assert!(matches!(
            fault(|t| t.internet.router = ip("198.51.100.8")),
            TopologyError::Taken { other_field: "internet.router", .. }
        ));
    }

    #[test]
    fn blocks_without_hosts() {
        for block in ["127.0.0.0/16", "0.0.0.0/0", "224.0.0.0/24", "169.254.0.0/24"] {
            assert!(matches!(fault(|t| t.pods.cidr = net(block)), TopologyError::Reserved { field: "pods.cidr", .. }));
        }
    }

    #[test]
    fn bounds_of_mtu_and_queues() {
        assert_eq!(fault(|t| t.mtu = 500).to_string(), "mtu is 500, it must lie between 576 and 65535");
        assert_eq!(fault(|t| t.queues = 0).field(), "queues");
        assert_eq!(fault(|t| t.queues = 65).field(), "queues");
    }

    proptest! {
        /// Whatever passes has every pod and server address inside its network and none taken twice.
        #[test]
        fn what_passes_is_consistent(first in 0u32..300, count in 0u32..300, prefix_len in 20u8..=32) {
            let mut topology = Topology::default();
            topology.pods.cidr = Ipv4Net::around(topology.pods.cidr.network(), prefix_len);
            topology.pods.first =
                Ipv4Addr::from_bits(topology.pods.cidr.network().to_bits().wrapping_add(first));
            topology.pods.count = count;
            if topology.validate().is_ok() {
                let pods: Vec<_> = topology.pod_addresses().collect();
                prop_assert_eq!(pods.len(), count as usize);
                prop_assert!(pods.iter().all(|&pod| topology.pods.cidr.is_host(pod)));
                prop_assert!(!pods.contains(&topology.pods.router));
                prop_assert!(!topology.pods.cidr.overlaps(topology.node.cidr));
            }
        }
    }
}
