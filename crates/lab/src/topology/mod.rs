//! The address plan of the four-box world: who is called what on which of the three links.
//!
//! ```text
//! pods eth0 ═══ inside node outside ═══ inside gateway outside ═══ eth0 internet
//!   pods.cidr            node.cidr · gateway.private_cidr      gateway.public_cidr   servers.cidr
//! ```
//!
//! As in a cloud, a pod's next hop is its subnet's router, and node and gateway lie in subnets of their own that an implicit router
//! joins: what stands at a box answers for the box's own address, and next hops are fixed by MAC address, not looked up.

mod boxes;
mod check;

use std::net::Ipv4Addr;

use natrig_wire::MacAddr;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::boxes::{Boxes, ForwardedBy};
pub use self::check::{MAX_NAT_ADDRESSES, MAX_POD_ADDRESSES, MAX_QUEUES, MAX_SERVER_ADDRESSES, MIN_MTU, TopologyError};
use crate::net::Ipv4Net;

/// The address plan. [`Topology::validate`] tells whether it can be built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Topology {
    /// Who opens the connections.
    pub pods: Pods,
    /// The box that carries the pods.
    pub node: Node,
    /// The box that leads out.
    pub gateway: Gateway,
    /// Who is talked to.
    pub internet: Internet,
    /// Largest IP packet on every link, bytes.
    pub mtu: u16,
    /// Receive and transmit queues of every veth end.
    pub queues: u16,
}

/// Pods: consecutive addresses out of one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pods {
    /// The subnet of the pods' interface.
    pub cidr: Ipv4Net,
    /// The pods' next hop: the address that the node answers for on its inside.
    pub router: Ipv4Addr,
    /// The first pod's address.
    pub first: Ipv4Addr,
    /// How many pods.
    pub count: u32,
}

/// The node's outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Node {
    /// The subnet of the node's primary interface.
    pub cidr: Ipv4Net,
    /// What a NAT at the node translates to; the first is the node's own address.
    pub addresses: Vec<Ipv4Addr>,
}

/// The gateway's two sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Gateway {
    /// The subnet on the gateway's inside.
    pub private_cidr: Ipv4Net,
    /// The gateway's own address there.
    pub private_address: Ipv4Addr,
    /// The subnet on the gateway's outside.
    pub public_cidr: Ipv4Net,
    /// What a NAT at the gateway translates to; the first is the gateway's own address.
    pub addresses: Vec<Ipv4Addr>,
}

/// The far end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Internet {
    /// The gateway's next hop on its outside.
    pub router: Ipv4Addr,
    /// The network that the servers are taken from.
    pub server_cidr: Ipv4Net,
    /// The first server's address.
    pub server_first: Ipv4Addr,
    /// How many servers.
    pub server_count: u32,
}

impl Topology {
    /// The pods' addresses, in order.
    pub fn pod_addresses(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        consecutive(self.pods.first, self.pods.count)
    }

    /// The servers' addresses, in order.
    pub fn server_addresses(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        consecutive(self.internet.server_first, self.internet.server_count)
    }
}

fn consecutive(first: Ipv4Addr, count: u32) -> impl Iterator<Item = Ipv4Addr> + use<> {
    (0..count).map(move |i| Ipv4Addr::from_bits(first.to_bits().wrapping_add(i)))
}

impl Default for Topology {
    /// A pod subnet, a node and a gateway inside 10.0.0.0/16; outside, the documentation networks of RFC 5737.
    fn default() -> Self {
        Self {
            pods: Pods::default(),
            node: Node::default(),
            gateway: Gateway::default(),
            internet: Internet::default(),
            mtu: 1500,
            queues: 1,
        }
    }
}

impl Default for Pods {
    fn default() -> Self {
        Self {
            cidr: Ipv4Net::around(Ipv4Addr::new(10, 0, 1, 0), 24),
            router: Ipv4Addr::new(10, 0, 1, 1),
            first: Ipv4Addr::new(10, 0, 1, 50),
            count: 8,
        }
    }
}

impl Default for Node {
    fn default() -> Self {
        Self { cidr: Ipv4Net::around(Ipv4Addr::new(10, 0, 0, 0), 24), addresses: vec![Ipv4Addr::new(10, 0, 0, 10)] }
    }
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            private_cidr: Ipv4Net::around(Ipv4Addr::new(10, 0, 8, 0), 24),
            private_address: Ipv4Addr::new(10, 0, 8, 8),
            public_cidr: Ipv4Net::around(Ipv4Addr::new(198, 51, 100, 0), 24),
            addresses: vec![Ipv4Addr::new(198, 51, 100, 8)],
        }
    }
}

impl Default for Internet {
    fn default() -> Self {
        Self {
            router: Ipv4Addr::new(198, 51, 100, 1),
            server_cidr: Ipv4Net::around(Ipv4Addr::new(203, 0, 113, 0), 24),
            server_first: Ipv4Addr::new(203, 0, 113, 10),
            server_count: 4,
        }
    }
}

/// One end of one of the three links: a box and the side of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Port {
    /// The pods' only interface.
    Pods,
    /// The node, towards the pods.
    NodeInside,
    /// The node, towards the gateway.
    NodeOutside,
    /// The gateway, towards the node.
    GatewayInside,
    /// The gateway, towards the internet.
    GatewayOutside,
    /// The internet's only interface.
    Internet,
}

/// Who speaks at the two ends of the world, and who forwards in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorldUse {
    /// A generator and a reflector, by frames: no kernel has an address at either end.
    Measurement(Boxes),
    /// Programs with the kernel's own network stack.
    Clients(Boxes),
}

impl WorldUse {
    /// Who forwards.
    pub const fn boxes(self) -> Boxes {
        match self {
            Self::Measurement(boxes) | Self::Clients(boxes) => boxes,
        }
    }

    /// Whether the kernel's own stack takes and sends frames at `port`, rather than a stage, a generator or a reflector.
    pub const fn is_kernel(self, port: Port) -> bool {
        match (port, self) {
            (Port::Pods | Port::Internet, Self::Clients(_)) => true,
            (_, Self::Measurement(boxes) | Self::Clients(boxes)) => boxes.is_kernel(port),
        }
    }
}

impl Port {
    /// All six, from the pods outwards.
    pub const ALL: [Self; 6] =
        [Self::Pods, Self::NodeInside, Self::NodeOutside, Self::GatewayInside, Self::GatewayOutside, Self::Internet];

    /// The namespace that the interface lies in.
    pub const fn namespace(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::NodeInside | Self::NodeOutside => "node",
            Self::GatewayInside | Self::GatewayOutside => "gateway",
            Self::Internet => "internet",
        }
    }

    /// The interface's name in its namespace.
    pub const fn interface(self) -> &'static str {
        match self {
            Self::Pods | Self::Internet => "eth0",
            Self::NodeInside | Self::GatewayInside => "inside",
            Self::NodeOutside | Self::GatewayOutside => "outside",
        }
    }

    /// The other end of the link.
    pub const fn peer(self) -> Self {
        match self {
            Self::Pods => Self::NodeInside,
            Self::NodeInside => Self::Pods,
            Self::NodeOutside => Self::GatewayInside,
            Self::GatewayInside => Self::NodeOutside,
            Self::GatewayOutside => Self::Internet,
            Self::Internet => Self::GatewayOutside,
        }
    }

    /// The veth end's MAC address, the one that the kernel takes as its own. Locally administered.
    pub const fn kernel_mac(self) -> MacAddr {
        MacAddr([0x02, 0x6e, 0x61, 0x00, 0x00, self.number()])
    }

    /// The MAC address under which a userspace stage, generator or reflector speaks here. The kernel drops what is sent to it right
    /// after the packet taps, as another host's.
    pub const fn virtual_mac(self) -> MacAddr {
        MacAddr([0x02, 0x6e, 0x61, 0x00, 0x01, self.number()])
    }

    /// The MAC address that the peer sends to.
    pub const fn speaking_mac(self, world: WorldUse) -> MacAddr {
        if world.is_kernel(self) { self.kernel_mac() } else { self.virtual_mac() }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Pods => 1,
            Self::NodeInside => 2,
            Self::NodeOutside => 3,
            Self::GatewayInside => 4,
            Self::GatewayOutside => 5,
            Self::Internet => 6,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_mac_is_unique_local_and_unicast() {
        let macs: HashSet<_> = Port::ALL.iter().flat_map(|port| [port.kernel_mac(), port.virtual_mac()]).collect();
        assert_eq!(macs.len(), 12);
        assert!(macs.iter().all(|mac| mac.0[0] & 0b11 == 0b10));
    }

    #[test]
    fn peers_are_mutual_and_in_different_namespaces() {
        for port in Port::ALL {
            assert_eq!(port.peer().peer(), port);
            assert_ne!(port.peer().namespace(), port.namespace());
        }
    }

    #[test]
    fn kernels_speak_at_the_ends_for_clients_and_where_they_forward() {
        let kernel_speaks = |world| -> Vec<Port> {
            Port::ALL.into_iter().filter(|port| port.speaking_mac(world) == port.kernel_mac()).collect()
        };
        assert_eq!(kernel_speaks(WorldUse::Measurement(Boxes::STAGES)), []);
        let gateway = Boxes { gateway: ForwardedBy::Kernel, ..Boxes::STAGES };
        assert_eq!(kernel_speaks(WorldUse::Measurement(gateway)), [Port::GatewayInside, Port::GatewayOutside]);
        assert_eq!(kernel_speaks(WorldUse::Clients(Boxes::STAGES)), [Port::Pods, Port::Internet]);
        assert_eq!(kernel_speaks(WorldUse::Clients(gateway)).len(), 4);
    }

    #[test]
    fn a_partial_topology_keeps_the_defaults_of_the_rest() {
        let topology: Topology = serde_json::from_str(r#"{"pods": {"count": 3}, "mtu": 9000}"#).unwrap();
        assert_eq!(topology.pods.count, 3);
        assert_eq!(topology.pods.cidr, Pods::default().cidr);
        assert_eq!(topology.pod_addresses().last(), Some(Ipv4Addr::new(10, 0, 1, 52)));
        assert!(serde_json::from_str::<Topology>(r#"{"pod": {}}"#).is_err());
    }
}
