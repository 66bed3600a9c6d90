//! Which interface a pod's packets leave a node by, and what the network behind it lets pass.
//!
//! Where pods have addresses of the VPC, each belongs to one interface of the node, and the network drops what leaves by another. Whether a
//! node masquerades decides about that too: with it, only what stays in the VPC leaves by the pod's own interface.

use crate::cidr::Cidr;
use core::net::Ipv4Addr;
use serde::{Deserialize, Serialize};

/// Where packets go that leave the VPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BeyondVpc {
    /// By the primary interface, to be masqueraded there (Cilium with masquerading, pkg/datapath/linux/routing; the VPC CNI's connmark 0x80).
    Primary,
    /// By the interface that owns the pod's address (masquerading off; AWS_VPC_K8S_CNI_EXTERNALSNAT=true).
    Owner,
}

/// An interface and the addresses that belong to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeInterface {
    /// Name.
    pub name: String,
    /// Addresses assigned to it: the node's own, and those of pods.
    pub addresses: Vec<Cidr>,
}

/// A node's interfaces and its rules for choosing among them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeRouting {
    /// Interfaces; the first is the primary one.
    pub interfaces: Vec<NodeInterface>,
    /// The VPC's blocks.
    pub vpc: Vec<Cidr>,
    /// Rule for all other destinations.
    pub beyond_vpc: BeyondVpc,
}

impl NodeRouting {
    /// The interface that owns an address.
    pub fn owner(&self, addr: Ipv4Addr) -> Option<&NodeInterface> {
        self.interfaces.iter().find(|interface| interface.addresses.iter().any(|block| block.contains(addr)))
    }

    /// Name of the interface that a packet leaves by: that of its source's owner, where the rules say so and there is one.
    pub fn egress(&self, src: Ipv4Addr, dst: Ipv4Addr) -> &str {
        let stays = self.vpc.iter().any(|block| block.contains(dst));
        let owner = if stays || self.beyond_vpc == BeyondVpc::Owner { self.owner(src) } else { None };
        owner.or_else(|| self.interfaces.first()).map_or("", |interface| &interface.name)
    }

    /// The network's source check: true if a packet with this source may leave by the interface of this name (EC2, source/destination
    /// checking: an instance must be the source of what it sends).
    pub fn admits(&self, interface: &str, src: Ipv4Addr) -> bool {
        self.owner(src).is_some_and(|owner| owner.name == interface)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Decision, InterfaceSelector, Policy, Rule};

    const POD: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 50);
    const OVERLAY_POD: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 5);
    const NODE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);
    const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 9, 9);
    const WEB: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

    fn node(beyond_vpc: BeyondVpc) -> NodeRouting {
        let interface =
            |name: &str, block: &str| NodeInterface { name: name.into(), addresses: vec![block.parse().unwrap()] };
        NodeRouting {
            interfaces: vec![interface("eth0", "10.0.0.10"), interface("eth1", "10.0.1.0/24")],
            vpc: vec!["10.0.0.0/16".parse().unwrap()],
            beyond_vpc,
        }
    }

    /// What the internet sees of a pod: its source after the node, or nothing if the network drops it.
    fn seen(routing: &NodeRouting, selector: Option<&str>, src: Ipv4Addr, dst: Ipv4Addr) -> Option<Ipv4Addr> {
        let policy = Policy {
            interfaces: vec![InterfaceSelector(selector.unwrap_or("none").into())],
            routing: Some(routing.clone()),
            native_routing: routing.vpc.clone(),
            ..Policy::default()
        };
        let source = match policy.decide(src, dst, false, true) {
            Decision::Translate(_) | Decision::TranslateTo(..) => NODE,
            Decision::Pass(_) => src,
            Decision::Drop(_) => return None,
        };
        routing.admits(routing.egress(src, dst), source).then_some(source)
    }

    #[test]
    fn with_masquerading_only_what_stays_leaves_by_the_pods_own_interface() {
        let routing = node(BeyondVpc::Primary);
        assert_eq!((routing.egress(POD, PEER), routing.egress(POD, WEB)), ("eth1", "eth0"));
        assert_eq!(seen(&routing, Some("eth0"), POD, WEB), Some(NODE));
        assert_eq!(seen(&routing, Some("eth+"), POD, PEER), Some(POD), "the VPC is not masqueraded");
    }

    #[test]
    fn without_masquerading_everything_leaves_by_the_pods_own_interface() {
        let routing = node(BeyondVpc::Owner);
        assert_eq!(routing.egress(POD, WEB), "eth1");
        assert_eq!(seen(&routing, None, POD, WEB), Some(POD));
    }

    /// A selector that does not match means no masquerade, and the network drops what leaves by the wrong interface.
    #[test]
    fn a_selector_that_does_not_match_makes_pods_unreachable() {
        assert_eq!(seen(&node(BeyondVpc::Primary), Some("ens5"), POD, WEB), None);
        assert_eq!(seen(&node(BeyondVpc::Primary), Some("ens5"), POD, PEER), Some(POD));
    }

    #[test]
    fn overlay_addresses_pass_only_masqueraded() {
        assert_eq!(seen(&node(BeyondVpc::Primary), Some("eth0"), OVERLAY_POD, WEB), Some(NODE));
        assert_eq!(seen(&node(BeyondVpc::Owner), None, OVERLAY_POD, WEB), None);
        let policy = Policy { routing: Some(node(BeyondVpc::Owner)), ..Policy::default() };
        assert_eq!(policy.decide(OVERLAY_POD, WEB, false, true), Decision::Translate(Rule::Endpoint));
    }
}
