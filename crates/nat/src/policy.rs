//! What is translated at all: the decisions a node takes before its NAT.
//!
//! The order is Cilium's (bpf/lib/nat.h, `snat_v4_needs_masquerade`); iptables masquerading and the VPC CNI's chains are special cases of
//! it with fewer rules filled in. Policy is asked once per new flow: packets of a known flow are translated as it was.

use crate::cidr::Cidr;
use crate::routing::NodeRouting;
use core::net::Ipv4Addr;
use serde::{Deserialize, Serialize};

/// Selects interfaces by name: `eth0`, or with a trailing `+` by prefix: `eth+` (iptables' notation).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InterfaceSelector(pub String);

impl InterfaceSelector {
    /// True if an interface of this name is selected.
    pub fn matches(&self, name: &str) -> bool {
        match self.0.strip_suffix('+') {
            Some(prefix) => name.starts_with(prefix),
            None => name == self.0,
        }
    }
}

/// An egress gateway rule: it wins over every exclusion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgressRule {
    /// Inside sources it is for.
    pub sources: Vec<Cidr>,
    /// Destinations it is for.
    pub destinations: Vec<Cidr>,
    /// Destinations it is not for.
    #[serde(default)]
    pub excluded: Vec<Cidr>,
    /// Outside address to use, one of the pool; none: such packets are dropped (Cilium: DROP_NO_EGRESS_IP).
    pub address: Option<Ipv4Addr>,
}

/// The site's rules. The default translates whatever comes from inside.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Interfaces on which packets are translated; empty: all.
    pub interfaces: Vec<InterfaceSelector>,
    /// Name of the interface that outbound packets leave by, where `routing` does not say.
    pub egress_interface: String,
    /// The node's interfaces, if packets leave by different ones.
    pub routing: Option<NodeRouting>,
    /// Sources that the network lets in, if it checks them (a gateway's view of the VPC's source check); empty: all.
    pub allowed_sources: Vec<Cidr>,
    /// Egress gateway rules, the first that matches wins.
    pub egress_gateway: Vec<EgressRule>,
    /// Destinations that are routed natively, such as the VPC's CIDRs.
    pub native_routing: Vec<Cidr>,
    /// Inside sources that are the host's own endpoints, never translated.
    pub host_endpoints: Vec<Cidr>,
    /// Further destinations that are not translated (ip-masq-agent's nonMasqueradeCIDRs, EXCLUDE_SNAT_CIDRS).
    pub non_masquerade: Vec<Cidr>,
    /// Addresses of other nodes.
    pub remote_nodes: Vec<Cidr>,
    /// Packets to other nodes are translated all the same (tunnel mode, enable-remote-node-masquerade).
    pub masquerade_remote_nodes: bool,
    /// Inside sources that are translated; empty: all.
    pub endpoints: Vec<Cidr>,
}

/// Which rule decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The network knows no such source.
    SourceCheck,
    /// The egress interface is not selected.
    Interface,
    /// Source is an outside address: traffic of the host itself.
    HostTraffic,
    /// An egress gateway rule.
    EgressGateway,
    /// Destination is routed natively.
    NativeRouting,
    /// Source is an endpoint of the host.
    HostEndpoint,
    /// Destination is link-local.
    LinkLocal,
    /// Destination is excluded.
    NonMasquerade,
    /// Destination is another node.
    RemoteNode,
    /// Source is one that is translated.
    Endpoint,
    /// Source is none that is translated.
    NoEndpoint,
}

impl Rule {
    /// The rule's name, in snake case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SourceCheck => "source_check",
            Self::Interface => "interface",
            Self::HostTraffic => "host_traffic",
            Self::EgressGateway => "egress_gateway",
            Self::NativeRouting => "native_routing",
            Self::HostEndpoint => "host_endpoint",
            Self::LinkLocal => "link_local",
            Self::NonMasquerade => "non_masquerade",
            Self::RemoteNode => "remote_node",
            Self::Endpoint => "endpoint",
            Self::NoEndpoint => "no_endpoint",
        }
    }
}

/// What becomes of a new flow from inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Translated, to any address of the pool.
    Translate(Rule),
    /// Translated to this address.
    TranslateTo(Ipv4Addr, Rule),
    /// Routed as it is.
    Pass(Rule),
    /// Dropped.
    Drop(Rule),
}

/// The destinations that ip-masq-agent excludes when its configuration is empty.
pub const IP_MASQ_AGENT_DEFAULTS: [Cidr; 11] = [
    Cidr::literal([10, 0, 0, 0], 8),
    Cidr::literal([172, 16, 0, 0], 12),
    Cidr::literal([192, 168, 0, 0], 16),
    Cidr::literal([100, 64, 0, 0], 10),
    Cidr::literal([192, 0, 0, 0], 24),
    Cidr::literal([192, 0, 2, 0], 24),
    Cidr::literal([192, 88, 99, 0], 24),
    Cidr::literal([198, 18, 0, 0], 15),
    Cidr::literal([198, 51, 100, 0], 24),
    Cidr::literal([203, 0, 113, 0], 24),
    Cidr::literal([240, 0, 0, 0], 4),
];

fn any(blocks: &[Cidr], addr: Ipv4Addr) -> bool {
    blocks.iter().any(|block| block.contains(addr))
}

impl Policy {
    /// Decides about a new flow from inside. `from_host`: its source is an outside address. `link_local`: the profile translates to
    /// link-local destinations.
    pub fn decide(&self, src: Ipv4Addr, dst: Ipv4Addr, from_host: bool, link_local: bool) -> Decision {
        if !self.allowed_sources.is_empty() && !any(&self.allowed_sources, src) {
            return Decision::Drop(Rule::SourceCheck);
        }
        let egress = self.routing.as_ref().map_or(self.egress_interface.as_str(), |routing| routing.egress(src, dst));
        if !self.interfaces.is_empty() && !self.interfaces.iter().any(|selector| selector.matches(egress)) {
            return Decision::Pass(Rule::Interface);
        }
        if from_host {
            return Decision::TranslateTo(src, Rule::HostTraffic);
        }
        let gateway = self
            .egress_gateway
            .iter()
            .find(|rule| any(&rule.sources, src) && any(&rule.destinations, dst) && !any(&rule.excluded, dst));
        if let Some(rule) = gateway {
            return rule
                .address
                .map_or(Decision::Drop(Rule::EgressGateway), |addr| Decision::TranslateTo(addr, Rule::EgressGateway));
        }
        if any(&self.native_routing, dst) {
            return Decision::Pass(Rule::NativeRouting);
        }
        if any(&self.host_endpoints, src) {
            return Decision::Pass(Rule::HostEndpoint);
        }
        if !link_local && Cidr::LINK_LOCAL.contains(dst) {
            return Decision::Pass(Rule::LinkLocal);
        }
        if any(&self.non_masquerade, dst) {
            return Decision::Pass(Rule::NonMasquerade);
        }
        if !self.masquerade_remote_nodes && any(&self.remote_nodes, dst) {
            return Decision::Pass(Rule::RemoteNode);
        }
        if self.endpoints.is_empty() || any(&self.endpoints, src) {
            Decision::Translate(Rule::Endpoint)
        } else {
            Decision::Pass(Rule::NoEndpoint)
        }
    }

    /// True if packets from `src` to inside addresses are routed untranslated, whatever the profile does with others: those are the
    /// answers to packets that [`Policy::decide`] passes.
    pub fn passes_from(&self, src: Ipv4Addr, link_local: bool) -> bool {
        any(&self.native_routing, src)
            || any(&self.non_masquerade, src)
            || (!self.masquerade_remote_nodes && any(&self.remote_nodes, src))
            || (!link_local && Cidr::LINK_LOCAL.contains(src))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 50);
    const NODE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);
    const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 9, 9);
    const WEB: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
    const IMDS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

    fn cidrs(text: &[&str]) -> Vec<Cidr> {
        text.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// The order of bpf/lib/nat.h, one rule after the other taken away.
    #[test]
    fn rules_decide_in_ciliums_order() {
        let mut policy = Policy {
            interfaces: vec![InterfaceSelector("ens5".into())],
            egress_interface: "eth0".into(),
            routing: None,
            allowed_sources: cidrs(&["10.0.9.0/24"]),
            egress_gateway: vec![EgressRule {
                sources: cidrs(&["10.0.1.0/24"]),
                destinations: cidrs(&["10.0.0.0/8"]),
                excluded: vec![],
                address: Some(NODE),
            }],
            native_routing: cidrs(&["10.0.0.0/16"]),
            host_endpoints: cidrs(&["10.0.1.50"]),
            non_masquerade: cidrs(&["10.0.0.0/8"]),
            remote_nodes: cidrs(&["10.0.9.9"]),
            masquerade_remote_nodes: false,
            endpoints: cidrs(&["10.0.2.0/24"]),
        };
        let decide = |policy: &Policy| policy.decide(POD, PEER, false, true);
        assert_eq!(decide(&policy), Decision::Drop(Rule::SourceCheck));
        policy.allowed_sources = cidrs(&["10.0.0.0/8"]);
        assert_eq!(decide(&policy), Decision::Pass(Rule::Interface));
        policy.egress_interface = "ens5".into();
        assert_eq!(policy.decide(NODE, PEER, true, true), Decision::TranslateTo(NODE, Rule::HostTraffic));
        assert_eq!(decide(&policy), Decision::TranslateTo(NODE, Rule::EgressGateway));
        policy.egress_gateway[0].address = None;
        assert_eq!(decide(&policy), Decision::Drop(Rule::EgressGateway));
        policy.egress_gateway[0].excluded = cidrs(&["10.0.9.0/24"]);
        assert_eq!(decide(&policy), Decision::Pass(Rule::NativeRouting));
        policy.native_routing.clear();
        assert_eq!(decide(&policy), Decision::Pass(Rule::HostEndpoint));
        policy.host_endpoints.clear();
        assert_eq!(decide(&policy), Decision::Pass(Rule::NonMasquerade));
        policy.non_masquerade.clear();
        assert_eq!(decide(&policy), Decision::Pass(Rule::RemoteNode));
        policy.masquerade_remote_nodes = true;
        assert_eq!(decide(&policy), Decision::Pass(Rule::NoEndpoint));
        policy.endpoints = cidrs(&["10.0.1.0/24"]);
        assert_eq!(decide(&policy), Decision::Translate(Rule::Endpoint));
    }

    #[test]
    fn selectors_match_by_name_or_prefix_and_a_mismatch_means_no_masquerade() {
        let exact = InterfaceSelector("eth0".into());
        let prefix = InterfaceSelector("eth+".into());
        assert!(exact.matches("eth0") && !exact.matches("eth01") && !exact.matches("ens5"));
        assert!(prefix.matches("eth0") && prefix.matches("eth12") && !prefix.matches("ens5"));
        let policy = Policy { interfaces: vec![exact], egress_interface: "ens5".into(), ..Policy::default() };
        assert_eq!(policy.decide(POD, WEB, false, true), Decision::Pass(Rule::Interface));
    }

    #[test]
    fn link_local_is_translated_only_where_the_profile_says_so() {
        let policy = Policy { non_masquerade: IP_MASQ_AGENT_DEFAULTS.to_vec(), ..Policy::default() };
        assert_eq!(policy.decide(POD, IMDS, false, false), Decision::Pass(Rule::LinkLocal));
        assert_eq!(policy.decide(POD, IMDS, false, true), Decision::Translate(Rule::Endpoint));
        assert_eq!(policy.decide(POD, Ipv4Addr::new(9, 9, 9, 9), false, false), Decision::Translate(Rule::Endpoint));
        assert!(policy.passes_from(PEER, true) && !policy.passes_from(IMDS, true) && policy.passes_from(IMDS, false));
    }
}
