//! A node: its pods, its interfaces with a routing table each, its rules, its masquerading.

use std::net::Ipv4Addr;

use natrig_lab::net::Ipv4Net;
use natrig_lab::plan::{At, Mark, RoutingRule, Step, TABLE_MAIN};
use natrig_nat::{Cidr, EgressRule, IP_MASQ_AGENT_DEFAULTS, InterfaceSelector, Policy};
use natrig_wire::MacAddr;

use super::rules::{self, chain, names, set, table};
use super::{MTU_OVERLAY, Site, place, vpc};
use crate::boxes::BoxKind;
use crate::model::{Cilium, Cluster, Plugin, Pod, PodNetwork, RandomizeSnat, ReversePath, VpcCni};
use crate::tag::{Action, Book, Tag};

/// The interface between nodes where pods have addresses of their own.
pub(crate) const TUNNEL: &str = "cilium_vxlan";
const TUNNEL_ID: u32 = 1;
const TUNNEL_PORT: u16 = 8472;
/// What pods send to; it exists on the link to the node only.
const POD_ROUTER: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// Tables: the node's interface of number n has 10 + n; the way to the egress gateway, and from it back to pods.
const TABLE_INTERFACE: u32 = 10;
const TABLE_TO_EGRESS: u32 = 30;
const TABLE_FROM_EGRESS: u32 = 31;

/// The VPC CNI's mark for connections that leave by the primary interface.
const MARK_PRIMARY: Mark = Mark { value: 0x80, mask: 0x80 };
/// The mark of packets for the egress gateway.
const MARK_EGRESS: Mark = Mark { value: 0x1000, mask: 0x1000 };
/// Marks for connections that came in by an interface: its number, in these bits.
const ARRIVAL_BITS: u32 = 0x0f00;

const fn interface_table(number: usize) -> u32 {
    TABLE_INTERFACE + number as u32
}

pub(super) fn build(site: &mut Site, cluster: &Cluster, number: u8) {
    let name = place::node(number);
    site.namespace(&name, true);
    for (nth, interface) in cluster.node.interfaces.iter().enumerate() {
        interface_up(site, cluster, number, nth, interface);
    }
    if cluster.has_tunnel() {
        tunnel(site, cluster, number);
    }
    for pod in cluster.pod_list().filter(|pod| pod.node == number) {
        pod_up(site, cluster, pod);
    }
    for rule in cluster.routing_rules(number) {
        site.rule(&name, rule);
    }
    site.ruleset(&name, ruleset(cluster, number));
}

fn interface_up(site: &mut Site, cluster: &Cluster, node: u8, nth: usize, interface: &str) {
    let name = place::node(node);
    let (inside, outside) = (At::new(&name, interface), At::new(place::VPC, format!("{name}-{interface}")));
    let kind = BoxKind::Node { node, interface: nth };
    let between = cluster.node_is_natrigs().then(|| (place::at_interface(node, interface), kind));
    let (router_mac, mac) = site.uplink(&inside, &outside, between);
    let own = cluster.node_address(node, nth);
    let router = cluster.router(nth);
    site.address(&inside, own, 1);
    if nth == 0 && cluster.egress_node() == Some(node) {
        site.address(&inside, cluster.egress_address(), 1);
    }
    site.neighbour(&inside, router, router_mac);
    site.way_out(&inside, if nth == 0 { TABLE_MAIN } else { interface_table(nth) }, router);
    let filter = match cluster.node.reverse_path {
        ReversePath::Off => "0",
        ReversePath::Strict => "1",
        ReversePath::Loose => "2",
    };
    site.sysctl(&name, &format!("net.ipv4.conf.{interface}.rp_filter"), filter, false);
    vpc::check_source(site, cluster, &outside.interface);
    // What the VPC delivers here.
    for address in cluster.addresses_of(node, nth) {
        site.reach(&outside, address, mac);
    }
}

fn tunnel(site: &mut Site, cluster: &Cluster, node: u8) {
    let mac = |node: u8| MacAddr([0x02, 0x6e, 0x61, 0x11, 0, node]);
    let at = At::new(place::node(node), TUNNEL);
    let local = cluster.node_address(node, 0);
    let (id, port, mtu) = (TUNNEL_ID, TUNNEL_PORT, MTU_OVERLAY);
    site.plan.steps.push(Step::Vxlan { at: at.clone(), id, port, local, mac: mac(node), mtu });
    site.plan.steps.push(Step::Up { at: at.clone() });
    site.address(&at, cluster.tunnel_address(node), 1);
    for other in (1..=cluster.nodes).filter(|other| *other != node) {
        let remote = cluster.node_address(other, 0);
        site.plan.steps.push(Step::TunnelPeer { at: at.clone(), mac: mac(other), remote });
        let peer = cluster.tunnel_address(other);
        site.neighbour(&at, peer, mac(other));
        if cluster.pods == PodNetwork::Overlay {
            site.route(&at, TABLE_MAIN, cluster.overlay_of(other), Some(peer));
        }
    }
    let Some(gateway) = cluster.egress_node() else { return };
    if gateway == node {
        // Overlay or not, what comes back for a pod elsewhere goes where it came from.
        for pod in cluster.pod_list().filter(|pod| pod.node != node) {
            let destination = Ipv4Net::around(cluster.pod_address(pod), 32);
            site.route(&at, TABLE_FROM_EGRESS, destination, Some(cluster.tunnel_address(pod.node)));
        }
    } else {
        site.way_out(&at, TABLE_TO_EGRESS, cluster.tunnel_address(gateway));
    }
}

fn pod_up(site: &mut Site, cluster: &Cluster, pod: Pod) {
    let (name, address) = (pod.name(), cluster.pod_address(pod));
    site.namespace(&name, false);
    let (inside, outside) = (At::new(&name, "eth0"), At::new(place::node(pod.node), cluster.pod_interface(pod)));
    let (mac, node_mac) = site.link(&inside, &outside, cluster.pod_mtu());
    site.address(&inside, address, 1);
    site.neighbour(&inside, POD_ROUTER, node_mac);
    site.way_out(&inside, TABLE_MAIN, POD_ROUTER);
    site.reach(&outside, address, mac);
}

impl Cluster {
    fn has_tunnel(&self) -> bool {
        self.pods == PodNetwork::Overlay || self.egress_node().is_some()
    }

    /// The node that is the egress gateway, if there is one.
    pub(crate) const fn egress_node(&self) -> Option<u8> {
        match &self.plugin {
            Plugin::Cilium(Cilium { egress_gateway: Some(gateway), .. }) => Some(gateway.node),
            Plugin::Cilium(_) | Plugin::VpcCni(_) => None,
        }
    }

    /// Prefix of the names of a node's interfaces that lead to pods.
    pub(crate) const fn pod_prefix(&self) -> &'static str {
        match self.plugin {
            Plugin::Cilium(_) => "lxc",
            Plugin::VpcCni(_) => "eni",
        }
    }

    /// The node's interface that leads to a pod.
    pub(crate) fn pod_interface(&self, pod: Pod) -> String {
        format!("{}-p{}", self.pod_prefix(), pod.number)
    }

    /// The addresses that belong to a node's interface.
    pub(crate) fn addresses_of(&self, node: u8, interface: usize) -> Vec<Ipv4Addr> {
        let mut addresses = vec![self.node_address(node, interface)];
        if interface == 0 && self.egress_node() == Some(node) {
            addresses.push(self.egress_address());
        }
        if self.pods == PodNetwork::Eni {
            let pods = self.pod_list().filter(|pod| pod.node == node && self.owner(*pod) == interface);
            addresses.extend(pods.map(|pod| self.pod_address(pod)));
        }
        addresses
    }

    /// Which table is asked for what, on a node: as Cilium (pkg/datapath/linux/routing) and the VPC CNI (pkg/networkutils) have it.
    pub fn routing_rules(&self, node: u8) -> Vec<RoutingRule> {
        let mut rules = Vec::new();
        let pods: Vec<Pod> = self.pod_list().filter(|pod| pod.node == node).collect();
        let only = |address| Some(Ipv4Net::around(address, 32));
        if self.pods == PodNetwork::Eni {
            let (to_pod, from_pod) = match self.plugin {
                Plugin::Cilium(_) => (20, 111),
                Plugin::VpcCni(_) => (512, 1536),
            };
            for pod in &pods {
                let address = only(self.pod_address(*pod));
                rules.push(RoutingRule { to: address, ..RoutingRule::new(to_pod, TABLE_MAIN) });
                let table = match self.owner(*pod) {
                    0 => TABLE_MAIN,
                    secondary => interface_table(secondary),
                };
                // With masquerading only what stays in the VPC leaves by the pod's own interface; the VPC CNI says it with a mark.
                let stays = match &self.plugin {
                    Plugin::Cilium(cilium) if cilium.masquerade => Some(self.vpc.cidr),
                    Plugin::Cilium(_) | Plugin::VpcCni(_) => None,
                };
                rules.push(RoutingRule { from: address, to: stays, ..RoutingRule::new(from_pod, table) });
            }
        }
        match &self.plugin {
            Plugin::VpcCni(cni) if !cni.external_snat => {
                rules.push(RoutingRule { mark: Some(MARK_PRIMARY), ..RoutingRule::new(1024, TABLE_MAIN) });
            }
            Plugin::VpcCni(_) | Plugin::Cilium(_) => {}
        }
        if self.marks_arrivals() {
            for nth in 1..self.node.interfaces.len() {
                let mark = Some(arrival(nth));
                rules.push(RoutingRule { mark, ..RoutingRule::new(105, interface_table(nth)) });
            }
        }
        rules.extend(self.egress_rules(node));
        rules
    }

    fn egress_rules(&self, node: u8) -> Vec<RoutingRule> {
        let Some(gateway) = self.egress_node() else { return Vec::new() };
        if gateway != node {
            // What the tunnel wraps them in carries the mark as well, but comes from no pod.
            let to = |pod: Pod| RoutingRule {
                mark: Some(MARK_EGRESS),
                incoming: Some(self.pod_interface(pod)),
                ..RoutingRule::new(100, TABLE_TO_EGRESS)
            };
            return self.pod_list().filter(|pod| pod.node == node).map(to).collect();
        }
        let back = |pod: Pod| RoutingRule {
            to: Some(Ipv4Net::around(self.pod_address(pod), 32)),
            incoming: Some(self.primary().to_owned()),
            ..RoutingRule::new(98, TABLE_FROM_EGRESS)
        };
        self.pod_list().filter(|pod| pod.node != node).map(back).collect()
    }

    const fn marks_arrivals(&self) -> bool {
        matches!(self.plugin, Plugin::Cilium(_)) && self.node.answers_leave_where_requests_came
    }
}

const fn arrival(interface: usize) -> Mark {
    Mark { value: (interface as u32) << 8, mask: ARRIVAL_BITS }
}

fn ruleset(cluster: &Cluster, node: u8) -> String {
    match &cluster.plugin {
        Plugin::Cilium(cilium) => cilium_ruleset(cluster, cilium, node),
        Plugin::VpcCni(cni) => vpc_cni_ruleset(cluster, cni, node),
    }
}

/// Cilium's policy of a node, as our NAT knows it; and whether packets to link-local addresses are translated.
pub fn policy(cluster: &Cluster, cilium: &Cilium, node: u8) -> (Policy, bool) {
    let cidr = |net: &Ipv4Net| Cidr::new(net.network(), net.prefix_len());
    let pods: Vec<Cidr> = cluster
        .pod_list()
        .filter(|pod| pod.node == node || cluster.egress_node() == Some(node))
        .map(|pod| Cidr::new(cluster.pod_address(pod), 32))
        .collect();
    let agent = cilium.ip_masq_agent.as_ref();
    let excluded = agent.map_or_else(Vec::new, |agent| {
        agent
            .non_masquerade
            .as_ref()
            .map_or_else(|| IP_MASQ_AGENT_DEFAULTS.to_vec(), |own| own.iter().map(cidr).collect())
    });
    let others = (1..=cluster.nodes).filter(|other| *other != node);
    let policy = Policy {
        interfaces: if cilium.interfaces.is_empty() {
            cluster.node.interfaces.iter().cloned().map(InterfaceSelector).collect()
        } else {
            cilium.interfaces.iter().cloned().map(InterfaceSelector).collect()
        },
        egress_gateway: cilium
            .egress_gateway
            .iter()
            .filter(|gateway| gateway.node == node)
            .map(|gateway| EgressRule {
                sources: pods.clone(),
                destinations: gateway.destinations.iter().map(cidr).collect(),
                excluded: gateway.excluded.iter().map(cidr).collect(),
                address: Some(cluster.egress_address()),
            })
            .collect(),
        native_routing: vec![cidr(&cluster.native_routing(cilium))],
        non_masquerade: excluded,
        remote_nodes: others.map(|other| Cidr::new(cluster.node_address(other, 0), 32)).collect(),
        // From an overlay a node that is not in it would not know where to send an answer.
        masquerade_remote_nodes: cluster.pods == PodNetwork::Overlay || cilium.remote_node_masquerade,
        endpoints: pods,
        ..Policy::default()
    };
    (policy, agent.is_none_or(|agent| agent.link_local))
}

fn cilium_ruleset(cluster: &Cluster, cilium: &Cilium, node: u8) -> String {
    let outside = &cluster.node.interfaces;
    let mut chains = Vec::new();
    if let Some(gateway) = cilium.egress_gateway.as_ref().filter(|gateway| gateway.node != node) {
        // Answers are none of the gateway's business (the order of `snat_v4_needs_masquerade`).
        let mut to = format!("ip daddr {}", set(&gateway.destinations));
        if !gateway.excluded.is_empty() {
            to = format!("{to} ip daddr != {}", set(&gateway.excluded));
        }
        let from = format!("iifname \"{}*\" ct direction original", cluster.pod_prefix());
        let mark = format!("{from} {to} meta mark set {:#x}", MARK_EGRESS.value);
        chains.push(chain("egress", "filter hook prerouting priority mangle", &[mark]));
    }
    if cluster.marks_arrivals() {
        let mut marks: Vec<String> = outside
            .iter()
            .enumerate()
            .skip(1)
            .map(|(nth, name)| format!("iifname \"{name}\" ct state new ct mark set {:#x}", arrival(nth).value))
            .collect();
        marks.push(format!("iifname \"{}*\" ct direction reply meta mark set ct mark", cluster.pod_prefix()));
        chains.push(chain("arrivals", "filter hook prerouting priority mangle", &marks));
    }
    let (policy, link_local) = policy(cluster, cilium, node);
    let rules = if cilium.masquerade {
        let host: Vec<String> = (0..outside.len()).map(|nth| cluster.node_address(node, nth).to_string()).collect();
        rules::cilium(&policy, outside, &host, link_local)
    } else {
        let off = Tag::new(Book::Cilium, 0, "masquerade_off", Action::Pass);
        let gateway = rules::cilium(&policy, outside, &["0.0.0.0/32".to_owned()], link_local);
        // An egress gateway policy works without masquerading, too.
        let gateway = gateway.into_iter().filter(|rule| rule.contains("|egress_gateway|"));
        gateway.chain([off.on(&format!("oifname {}", names(outside)), "accept")]).collect()
    };
    if !cluster.node_is_natrigs() {
        chains.push(chain("masquerade", "nat hook postrouting priority srcnat", &rules));
    }
    table(&chains)
}

/// The chains of pkg/networkutils/network.go: `AWS-SNAT-CHAIN-0` and `AWS-CONNMARK-CHAIN-0`.
fn vpc_cni_ruleset(cluster: &Cluster, cni: &VpcCni, node: u8) -> String {
    let outside = names(&cluster.node.interfaces);
    let tag = |number, rule, action| Tag::new(Book::VpcCni, number, rule, action);
    if cni.external_snat {
        let off = tag(0, "external_snat", Action::Pass).on(&format!("oifname {outside}"), "accept");
        return table(&[chain("snat", "nat hook postrouting priority srcnat", &[off])]);
    }
    let exempt: Vec<Ipv4Net> = [cluster.vpc.cidr].into_iter().chain(cni.exclude.iter().copied()).collect();
    let Mark { value, mask } = MARK_PRIMARY;
    let pods = cluster.pod_prefix();
    let marks = [
        format!("iifname \"{pods}*\" ct state new ip daddr != {} ct mark set {value:#x}", set(&exempt)),
        format!("iifname \"{pods}*\" meta mark set ct mark and {mask:#x}"),
    ];
    let mut snat = vec![format!("oifname != {outside} accept")];
    let to = |block: &Ipv4Net| format!("ip daddr {block}");
    snat.push(tag(1, "vpc_cidr", Action::Pass).on(&to(&cluster.vpc.cidr), "accept"));
    for excluded in &cni.exclude {
        snat.push(tag(2, "exclude_snat_cidrs", Action::Pass).on(&to(excluded), "accept"));
    }
    let flag = match cni.randomize {
        RandomizeSnat::None => "",
        RandomizeSnat::HashRandom => " random",
        RandomizeSnat::Prng => " fully-random",
    };
    let translate = format!("snat to {}{flag}", cluster.node_address(node, 0));
    snat.push(tag(3, "snat", Action::Translate).on("fib daddr type != local", &translate));
    table(&[
        chain("connmark", "filter hook prerouting priority mangle", &marks),
        chain("snat", "nat hook postrouting priority srcnat", &snat),
    ])
}
