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

use std::net::Ipv4Addr;

use natrig_lab::net::Ipv4Net;
use natrig_lab::plan::{At, Offload, Plan, RoutingRule, Step, TABLE_MAIN, VethEnd};
use natrig_wire::MacAddr;

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
    let mut site = Site { plan: Plan::default(), macs: 0, ends: Vec::new() };
    vpc::build(&mut site, cluster);
    for number in 1..=cluster.nodes {
        node::build(&mut site, cluster, number);
    }
    outside::build(&mut site, cluster);
    site.finish()
}

/// A plan while it is made: links are up before anything is routed over them.
struct Site {
    plan: Plan,
    macs: u16,
    ends: Vec<At>,
}

impl Site {
    /// A namespace that forwards packets or, if not, has programs in it only.
    fn namespace(&mut self, name: &str, forwards: bool) {
        self.plan.steps.push(Step::Namespace { name: name.to_owned() });
        for (key, value) in [
            ("net.ipv4.ip_forward", if forwards { "1" } else { "0" }),
            ("net.ipv4.conf.all.rp_filter", "0"),
            ("net.ipv4.conf.default.rp_filter", "0"),
            ("net.ipv4.conf.all.send_redirects", "0"),
            ("net.ipv4.conf.default.send_redirects", "0"),
            // Each error counts here, and each is sent.
            ("net.ipv4.icmp_ratelimit", "0"),
        ] {
            self.sysctl(name, key, value, false);
        }
        self.sysctl(name, "net.ipv6.conf.all.disable_ipv6", "1", true);
        self.sysctl(name, "net.ipv6.conf.default.disable_ipv6", "1", true);
        self.plan.steps.push(Step::Up { at: At::new(name, "lo") });
    }

    fn sysctl(&mut self, namespace: &str, key: &str, value: &str, optional: bool) {
        let (namespace, key, value) = (namespace.to_owned(), key.to_owned(), value.to_owned());
        self.plan.steps.push(Step::Sysctl { namespace, key, value, optional });
    }

    /// A veth pair; returns the MAC addresses of both ends.
    fn link(&mut self, a: &At, b: &At, mtu: u16) -> (MacAddr, MacAddr) {
        let (mac_a, mac_b) = (self.mac(), self.mac());
        let end = |at: &At, mac| VethEnd { at: at.clone(), mac };
        self.plan.steps.push(Step::Veth { a: end(a, mac_a), b: end(b, mac_b), mtu, queues: 1 });
        for at in [a, b] {
            // Some box on the way may be a program that reads packets as they are.
            self.plan.steps.push(Step::OffloadsOff { at: at.clone(), offloads: Offload::ALL.to_vec() });
            self.plan.steps.push(Step::Up { at: at.clone() });
            self.ends.push(at.clone());
        }
        (mac_a, mac_b)
    }

    fn mac(&mut self) -> MacAddr {
        self.macs += 1;
        let [high, low] = self.macs.to_be_bytes();
        MacAddr([0x02, 0x6e, 0x61, 0x10, high, low])
    }

    fn address(&mut self, at: &At, first: Ipv4Addr, count: u32) {
        self.plan.steps.push(Step::Addresses { at: at.clone(), first, count });
    }

    fn neighbour(&mut self, at: &At, address: Ipv4Addr, mac: MacAddr) {
        self.plan.steps.push(Step::Neighbour { at: at.clone(), address, mac });
    }

    /// A single address behind an interface, at that MAC address.
    fn reach(&mut self, at: &At, address: Ipv4Addr, mac: MacAddr) {
        self.neighbour(at, address, mac);
        self.route(at, TABLE_MAIN, Ipv4Net::around(address, 32), None);
    }

    /// Everything else by a router on the link.
    fn way_out(&mut self, at: &At, table: u32, router: Ipv4Addr) {
        self.route(at, table, Ipv4Net::ANY, Some(router));
    }

    fn route(&mut self, at: &At, table: u32, destination: Ipv4Net, via: Option<Ipv4Addr>) {
        self.plan.steps.push(Step::TableRoute { at: at.clone(), table, destination, via });
    }

    fn rule(&mut self, namespace: &str, rule: RoutingRule) {
        self.plan.steps.push(Step::Rule { namespace: namespace.to_owned(), rule });
    }

    fn ruleset(&mut self, namespace: &str, text: String) {
        if !text.is_empty() {
            self.plan.steps.push(Step::Ruleset { namespace: namespace.to_owned(), text });
        }
    }

    /// Nothing is sent before all links are up: so the kernel's link watch is waited for once, not for each.
    fn finish(mut self) -> Plan {
        self.plan.steps.extend(self.ends.into_iter().map(|at| Step::AwaitCarrier { at }));
        self.plan
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
