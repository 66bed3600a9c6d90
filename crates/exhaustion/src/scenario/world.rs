//! Who talks to whom, as addresses.

use std::net::{Ipv4Addr, SocketAddrV4};

use natrig_lab::net::Ipv4Net;
use natrig_lab::topology::{Internet, Node, Pods, Topology};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Traffic;
use crate::workload::Origin;

/// Pods on nodes behind one gateway, and servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct World {
    /// Nodes.
    pub nodes: u32,
    /// Pods on each node.
    pub pods: u32,
    /// Outside addresses of each node.
    pub node_addresses: u32,
    /// Outside addresses of the gateway.
    pub gateway_addresses: u32,
    /// Servers.
    pub servers: u32,
}

impl Default for World {
    fn default() -> Self {
        Self { nodes: 1, pods: 200, node_addresses: 1, gateway_addresses: 1, servers: 1 }
    }
}

const FIRST_POD: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 50);

fn nth(first: Ipv4Addr, n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(first.to_bits() + n)
}

impl World {
    /// The address plan.
    pub(crate) fn topology(&self) -> Topology {
        let mut topology = Topology {
            pods: Pods {
                cidr: Ipv4Net::around(Ipv4Addr::new(10, 1, 0, 0), 16),
                router: Ipv4Addr::new(10, 1, 0, 1),
                first: FIRST_POD,
                count: self.nodes * self.pods,
            },
            node: Node {
                cidr: Ipv4Net::around(Ipv4Addr::new(10, 0, 0, 0), 16),
                addresses: (0..self.nodes).flat_map(|node| self.addresses_of(node)).collect(),
            },
            internet: Internet { server_count: self.servers, ..Internet::default() },
            ..Topology::default()
        };
        let gateway = &mut topology.gateway;
        // Far from the nodes' addresses, which may be many.
        gateway.private_cidr = Ipv4Net::around(Ipv4Addr::new(10, 2, 8, 0), 24);
        gateway.private_address = Ipv4Addr::new(10, 2, 8, 8);
        gateway.addresses = (0..self.gateway_addresses).map(|n| nth(Ipv4Addr::new(198, 51, 100, 8), n)).collect();
        topology
    }

    /// The address plan as one node sees it: its own pods and addresses, and the gateway that all share.
    pub(crate) fn topology_of(&self, node: u32) -> Topology {
        let mut topology = self.topology();
        topology.pods.first = nth(FIRST_POD, node * self.pods);
        topology.pods.count = self.pods;
        topology.node.addresses = self.addresses_of(node).collect();
        topology
    }

    /// Outside addresses of a node.
    pub(crate) fn addresses_of(&self, node: u32) -> impl Iterator<Item = Ipv4Addr> + use<> {
        let count = self.node_addresses;
        (0..count).map(move |n| nth(Ipv4Addr::new(10, 0, 0, 10), node * count + n))
    }

    /// Addresses of the pods on a node.
    pub(crate) fn pods_of(&self, node: u32) -> impl Iterator<Item = Ipv4Addr> + use<> {
        let count = self.pods;
        (0..count).map(move |n| nth(FIRST_POD, node * count + n))
    }

    /// The node that a pod runs on.
    pub(crate) fn node_of(&self, pod: u32) -> u32 {
        pod / self.pods
    }

    /// The two ends of a connection.
    pub(crate) fn ends(&self, origin: &Origin, traffic: &Traffic) -> (SocketAddrV4, SocketAddrV4) {
        let server = nth(Internet::default().server_first, origin.server);
        (SocketAddrV4::new(nth(FIRST_POD, origin.pod), origin.port), SocketAddrV4::new(server, traffic.dst_port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_world_has_an_address_plan() {
        for world in
            [World::default(), World { nodes: 64, pods: 900, node_addresses: 8, gateway_addresses: 64, servers: 200 }]
        {
            world.topology().validate().unwrap();
            let pods: Vec<Ipv4Addr> = (0..world.nodes).flat_map(|node| world.pods_of(node)).collect();
            assert_eq!(pods, world.topology().pod_addresses().collect::<Vec<_>>());
            let last = world.topology_of(world.nodes - 1);
            last.validate().unwrap();
            assert!(last.pod_addresses().eq(world.pods_of(world.nodes - 1)));
        }
    }
}
