//! A cluster as a plan for namespaces.
//!
//! ```text
//!            ┌ lxc ─ n1-p1                                     ┌ igw ───────────┐
//!  n1 ───────┤ eth0 ──┐                ┌ host, metadata        │                │
//!            └ eth1 ──┤                │                       │                │
//!                     ├───── vpc ──────┼ peered ───────────────┤                ├─ internet
//!            ┌ eth0 ──┤                │                       │                │
//!  n2 ───────┤ eth1 ──┘                └───────────────────────┴ natgw-a ─(cgn)─┘
//!            └ lxc ─ n2-p1
//! ```
//! All of it is forwarded, masqueraded and dropped by kernels. Neighbours are known for good: there is no ARP to be seen, and a packet's
//! way depends on addresses and rules alone.

mod node;
mod outside;
mod rules;
mod vpc;

use natrig_lab::plan::{Draft as Site, Plan};

pub use self::node::policy;
use crate::model::{Cluster, Exit, PodNetwork};

/// Names of namespaces.
pub mod place {
    /// The VPC's network.
    pub const VPC: &str = "vpc";
    /// The internet gateway.
    pub const INTERNET_GATEWAY: &str = "igw";
    /// The provider's NAT behind the NAT gateways.
    pub const UPSTREAM: &str = "upstream";
    /// The internet.
    pub const INTERNET: &str = "internet";
    /// A host in the VPC.
    pub const HOST: &str = "host";
    /// The instance metadata endpoint.
    pub const METADATA: &str = "metadata";
    /// A host in the peered network.
    pub const PEERED: &str = "peered";

    /// A node.
    pub fn node(number: u8) -> String {
        format!("n{number}")
    }

    /// A NAT gateway; zones count from 0.
    pub fn nat_gateway(zone: u8) -> String {
        format!("natgw-{}", char::from(b'a' + zone))
    }
}

/// Largest packet, bytes; in an overlay, pods have to leave room for VXLAN.
const MTU: u16 = 1500;
const MTU_OVERLAY: u16 = 1450;

/// The namespaces, links, addresses, routes and rules of a cluster.
pub fn plan(cluster: &Cluster) -> Plan {
    let mut site = Site::default();
    vpc::build(&mut site, cluster);
    for number in 1..=cluster.nodes {
        node::build(&mut site, cluster, number);
    }
    outside::build(&mut site, cluster);
    site.finish()
}

impl Cluster {
    /// The zone, from 0, that a node is in.
    pub(crate) const fn zone(&self, node: u8) -> u8 {
        (node - 1) % self.nat_gateway.zones
    }

    /// Largest packet of a pod, bytes.
    const fn pod_mtu(&self) -> u16 {
        match self.pods {
            PodNetwork::Overlay => MTU_OVERLAY,
            PodNetwork::Eni => MTU,
        }
    }

    pub(crate) const fn has_nat_gateway(&self) -> bool {
        matches!(self.vpc.exit, Exit::NatGateway)
    }

    pub(crate) const fn has_internet_gateway(&self) -> bool {
        matches!(self.vpc.exit, Exit::InternetGateway)
    }
}
