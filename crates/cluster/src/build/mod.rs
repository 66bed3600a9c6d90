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
//! All of it is forwarded, masqueraded and dropped by kernels, unless boxes of natrig's stand in for their rules. Neighbours are known for good: there is no ARP to be seen, and a packet's
//! way depends on addresses and rules alone.

mod node;
mod outside;
mod rules;
mod vpc;

use std::ops::{Deref, DerefMut};

use natrig_lab::bridge::{Face, Span};
use natrig_lab::plan::{At, Draft, Plan};
use natrig_wire::MacAddr;

pub use self::node::policy;
use crate::boxes::{BoxKind, BoxPlan};
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

    /// The box at a node's interface, between it and the VPC.
    pub fn at_interface(node: u8, interface: &str) -> String {
        format!("n{node}~{interface}")
    }

    /// The place that a namespace belongs to: a node's, if it is a box at its interface.
    pub fn of(namespace: &str) -> &str {
        namespace.split_once('~').map_or(namespace, |(node, _)| node)
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
    layout(cluster).0
}

/// The same, and the boxes of natrig's in it.
pub(crate) fn layout(cluster: &Cluster) -> (Plan, Vec<BoxPlan>) {
    let mut site = Site::default();
    vpc::build(&mut site, cluster);
    for number in 1..=cluster.nodes {
        node::build(&mut site, cluster, number);
    }
    outside::build(&mut site, cluster);
    (site.draft.finish(), site.boxes)
}

/// A plan while it is made.
#[derive(Default)]
struct Site {
    draft: Draft,
    boxes: Vec<BoxPlan>,
}

impl Site {
    /// A box of natrig's between the interfaces `inside` and `outside` of its namespace, whose neighbours have those MAC addresses; what
    /// the neighbours send to.
    fn stand(&mut self, namespace: &str, kind: BoxKind, peers: (MacAddr, MacAddr)) -> (MacAddr, MacAddr) {
        let own = (self.mac(), self.mac());
        let face = |interface: &str, own, peer| Face { interface: interface.to_owned(), own, peer };
        let faces = [face("inside", own.0, peers.0), face("outside", own.1, peers.1)];
        self.boxes.push(BoxPlan { span: Span { namespace: namespace.to_owned(), faces }, kind });
        own
    }

    /// A link from a node's interface to the VPC, with a box of natrig's in between if that is wished for; what each end sends to.
    fn uplink(&mut self, inside: &At, vpc: &At, between: Option<(String, BoxKind)>) -> (MacAddr, MacAddr) {
        let Some((name, kind)) = between else {
            let (mac, router) = self.link(inside, vpc, MTU);
            return (router, mac);
        };
        self.namespace(&name, false);
        let (mac, _) = self.link(inside, &At::new(&name, "inside"), MTU);
        let (router, _) = self.link(vpc, &At::new(&name, "outside"), MTU);
        self.stand(&name, kind, (mac, router))
    }
}

impl Deref for Site {
    type Target = Draft;

    fn deref(&self) -> &Draft {
        &self.draft
    }
}

impl DerefMut for Site {
    fn deref_mut(&mut self) -> &mut Draft {
        &mut self.draft
    }
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
