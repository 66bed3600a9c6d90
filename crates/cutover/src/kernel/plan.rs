//! The world as namespaces: pods behind each node, the VPC, the gateway, servers on the internet and within the VPC.
//!
//! ```text
//! pods-1 ═ n1 ═╗                        ╔ host
//! pods-2 ═ n2 ═╬═ vpc (routes only) ════╬ gateway ═ internet
//! ```
//! A node or gateway is natrig's (links to both its interfaces, under MAC addresses of its own), or the kernel's with nftables.

use std::net::Ipv4Addr;

use natrig_lab::bridge::{Face, Span};
use natrig_lab::net::Ipv4Net;
use natrig_lab::plan::{At, Draft, Plan, RoutingRule, Step, TABLE_MAIN};
use natrig_wire::MacAddr;

use crate::path::NodeEngine;
use crate::place;
use crate::scenario::{Change, NFTABLES, Scenario, TranslatedBy};

const MTU: u16 = 1500;
/// Routers as their neighbours call them; no packet carries these addresses.
const ROUTER: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The table of a node's second interface, which pods' addresses belong to (`pkg/datapath/linux/routing` of Cilium), and the rule that
/// leads there. The change comes before it.
const TABLE_SECOND: u32 = 11;
const RULE: u32 = 111;
const RULE_CHANGED: u32 = 100;

pub(super) const VPC: &str = "vpc";
pub(super) const GATEWAY: &str = "gateway";
pub(super) const INTERNET: &str = "internet";
pub(super) const HOST: &str = "host";

pub(super) fn pods(node: usize) -> String {
    format!("pods-{}", node + 1)
}

pub(super) fn node(number: usize) -> String {
    format!("n{}", number + 1)
}

/// What is built, and where natrig stands in it.
pub(super) struct World {
    pub(super) plan: Plan,
    /// The gateway's, or that of a node.
    pub(super) spans: Vec<(Option<usize>, Span)>,
}

/// Who translates at nodes: nftables where that can do it.
pub(super) fn nodes_by(scenario: &Scenario) -> TranslatedBy {
    let can = scenario.node_engine != NodeEngine::Bpf && scenario.change != Change::NodeDown;
    match scenario.node_by {
        TranslatedBy::Auto if can && natrig_lab::nft::find().is_some() => TranslatedBy::Nftables,
        TranslatedBy::Auto => TranslatedBy::Natrig,
        chosen @ (TranslatedBy::Nftables | TranslatedBy::Natrig) => chosen,
    }
}

/// The world with that gateway.
pub(super) fn world(scenario: &Scenario, gateway: &str) -> World {
    let mut builder = Builder { scenario, draft: Draft::default(), spans: Vec::new() };
    let all = scenario.nodes * scenario.pods_per_node;
    builder.draft.namespace(VPC, true);
    builder.host(INTERNET);
    builder.host(HOST);
    let (inside, outside) = (At::new(HOST, "eth0"), At::new(VPC, HOST));
    let (mac, router) = builder.draft.link(&inside, &outside, MTU);
    builder.addresses(&inside, place::near(0), all, router);
    (0..all).for_each(|pod| builder.draft.reach(&outside, place::near(pod), mac));
    builder.gateway(gateway == NFTABLES, all);
    for number in 0..scenario.nodes as usize {
        builder.node(number);
    }
    World { plan: builder.draft.finish(), spans: builder.spans }
}

struct Builder<'s> {
    scenario: &'s Scenario,
    draft: Draft,
    spans: Vec<(Option<usize>, Span)>,
}

impl Builder<'_> {
    /// A namespace of programs.
    fn host(&mut self, name: &str) {
        self.draft.namespace(name, false);
        let retries = self.scenario.pace.tcp_retries2.to_string();
        self.draft.sysctl(name, "net.ipv4.tcp_retries2", &retries, false);
    }

    fn addresses(&mut self, at: &At, first: Ipv4Addr, count: u32, router: MacAddr) {
        self.draft.address(at, first, count);
        self.draft.neighbour(at, ROUTER, router);
        self.draft.way_out(at, TABLE_MAIN, ROUTER);
    }

    /// A link between a box and its neighbour: the MAC address that the neighbour sends to, and the neighbour's. A box of natrig's has one
    /// beside the kernel's.
    fn link(&mut self, of_box: &At, neighbour: &At, by_kernel: bool) -> (MacAddr, MacAddr) {
        let (mac, peer) = self.draft.link(of_box, neighbour, MTU);
        (if by_kernel { mac } else { self.draft.mac() }, peer)
    }

    fn gateway(&mut self, by_kernel: bool, all: u32) {
        let public = place::public(self.scenario.gateway_addresses);
        self.draft.namespace(GATEWAY, by_kernel);
        let (inside, outside) = (At::new(GATEWAY, "inside"), At::new(GATEWAY, "outside"));
        let (in_vpc, beyond) = (At::new(VPC, GATEWAY), At::new(INTERNET, "eth0"));
        let (mac_inside, vpc) = self.link(&inside, &in_vpc, by_kernel);
        let (mac_outside, internet) = self.link(&outside, &beyond, by_kernel);
        self.draft.neighbour(&in_vpc, ROUTER, mac_inside);
        self.draft.way_out(&in_vpc, TABLE_MAIN, ROUTER);
        self.draft.address(&beyond, place::far(0), all);
        public.iter().for_each(|address| self.draft.reach(&beyond, *address, mac_outside));
        if by_kernel {
            self.draft.neighbour(&inside, ROUTER, vpc);
            self.draft.route(&inside, TABLE_MAIN, private(), Some(ROUTER));
            self.draft.neighbour(&outside, ROUTER, internet);
            self.draft.way_out(&outside, TABLE_MAIN, ROUTER);
            public.iter().for_each(|address| self.draft.address(&outside, *address, 1));
            self.draft.ruleset(GATEWAY, gateway_ruleset(&public));
        } else {
            let inside = Face { interface: "inside".to_owned(), own: mac_inside, peer: vpc };
            let outside = Face { interface: "outside".to_owned(), own: mac_outside, peer: internet };
            self.spans.push((None, Span { namespace: GATEWAY.to_owned(), faces: [inside, outside] }));
        }
    }

    fn node(&mut self, number: usize) {
        let by_kernel = nodes_by(self.scenario) == TranslatedBy::Nftables;
        let (name, pods) = (node(number), pods(number));
        self.draft.namespace(&name, by_kernel);
        self.host(&pods);
        let count = self.scenario.pods_per_node;
        let first = number as u32 * count;
        let (inside, in_pods) = (At::new(&name, "pods"), At::new(&pods, "eth0"));
        let (mac_inside, pods_mac) = self.link(&inside, &in_pods, by_kernel);
        self.addresses(&in_pods, place::pod(first), count, mac_inside);
        let (outside, in_vpc) = (At::new(&name, "eth0"), At::new(VPC, format!("{name}-eth0")));
        let (mac_outside, vpc) = self.link(&outside, &in_vpc, by_kernel);
        self.draft.reach(&in_vpc, place::node(number as u32), mac_outside);
        let own = (first..first + count).map(place::pod);
        if !by_kernel {
            own.for_each(|pod| self.draft.reach(&in_vpc, pod, mac_outside));
            let inside = Face { interface: "pods".to_owned(), own: mac_inside, peer: pods_mac };
            let outside = Face { interface: "eth0".to_owned(), own: mac_outside, peer: vpc };
            self.spans.push((Some(number), Span { namespace: name, faces: [inside, outside] }));
            return;
        }
        self.draft.address(&outside, place::node(number as u32), 1);
        self.draft.neighbour(&outside, ROUTER, vpc);
        self.draft.way_out(&outside, TABLE_MAIN, ROUTER);
        own.clone().for_each(|pod| self.draft.reach(&inside, pod, pods_mac));
        if self.scenario.node_engine == NodeEngine::ConntrackOtherInterface {
            let (second, in_vpc) = (At::new(&name, "eth1"), At::new(VPC, format!("{name}-eth1")));
            let (mac, vpc) = self.draft.link(&second, &in_vpc, MTU);
            self.draft.neighbour(&second, ROUTER, vpc);
            self.draft.way_out(&second, TABLE_SECOND, ROUTER);
            own.for_each(|pod| self.draft.reach(&in_vpc, pod, mac));
            // With masquerading only what stays in the VPC leaves by the pod's own interface.
            let to = self.scenario.masquerade_before.then(private);
            self.draft.rule(&name, RoutingRule { from: Some(pod_block()), to, ..RoutingRule::new(RULE, TABLE_SECOND) });
        } else {
            own.for_each(|pod| self.draft.reach(&in_vpc, pod, mac_outside));
        }
        let rule = if self.scenario.masquerade_before { MASQUERADE } else { "" };
        self.draft.ruleset(&name, node_ruleset(rule));
    }
}

/// All addresses within.
const fn private() -> Ipv4Net {
    Ipv4Net::around(Ipv4Addr::new(10, 0, 0, 0), 8)
}

const fn pod_block() -> Ipv4Net {
    Ipv4Net::around(place::pod(0), 18)
}

const MASQUERADE: &str = "oifname \"eth*\" ip daddr != 10.0.0.0/8 masquerade";

/// Connections are tracked whether they are masqueraded or not: a rule that asks for their state keeps it so (`nft_ct_get_init` holds
/// tracking, an empty chain does not).
fn node_ruleset(masquerade: &str) -> String {
    format!(
        "table ip natrig {{
  chain tracked {{
    type filter hook forward priority filter;
    ct state established accept
  }}
  chain leaving {{
    type nat hook postrouting priority srcnat;
    {masquerade}
  }}
}}
"
    )
}

/// As a NAT gateway: what comes unasked is dropped in silence, and with a rule in `down` everything is.
fn gateway_ruleset(public: &[Ipv4Addr]) -> String {
    let pool = match public {
        [first, .., last] => format!("{first}-{last}"),
        _ => public.first().map(Ipv4Addr::to_string).unwrap_or_default(),
    };
    format!(
        "table ip natrig {{
  chain down {{
    type filter hook prerouting priority raw;
  }}
  chain unasked {{
    type filter hook input priority filter;
    iifname \"outside\" drop
  }}
  chain translate {{
    type nat hook postrouting priority srcnat;
    oifname \"outside\" snat to {pool}
  }}
}}
"
    )
}

/// What the change is for boxes of the kernel's; nothing if it is natrig's own business.
pub(super) fn change(scenario: &Scenario, gateway: &str, number: usize) -> Plan {
    let name = node(number);
    let by_kernel = nodes_by(scenario) == TranslatedBy::Nftables;
    let gateway = gateway == NFTABLES && number == 0;
    let rule = |namespace: &str, text: &str| Step::Ruleset { namespace: namespace.to_owned(), text: text.to_owned() };
    let forget = |namespace: &str| Step::ForgetConnections { namespace: namespace.to_owned() };
    let leave_by = |table| Step::Rule {
        namespace: name.clone(),
        rule: RoutingRule { from: Some(pod_block()), ..RoutingRule::new(RULE_CHANGED, table) },
    };
    let other = scenario.node_engine == NodeEngine::ConntrackOtherInterface;
    let steps = match scenario.change {
        Change::MasqueradeOff if by_kernel => {
            let off = rule(&name, "flush chain ip natrig leaving\n");
            [off].into_iter().chain(other.then(|| leave_by(TABLE_SECOND))).collect()
        }
        Change::MasqueradeOn if by_kernel => {
            let on = rule(&name, &format!("add rule ip natrig leaving {MASQUERADE}\n"));
            [on].into_iter().chain(other.then(|| leave_by(TABLE_MAIN))).collect()
        }
        Change::NodeFlush if by_kernel => vec![forget(&name)],
        Change::GatewayRestart if gateway => vec![forget(GATEWAY)],
        Change::GatewayDown if gateway => vec![rule(GATEWAY, "add rule ip natrig down drop\n")],
        Change::MasqueradeOff
        | Change::MasqueradeOn
        | Change::NodeFlush
        | Change::NodeDown
        | Change::GatewayRestart
        | Change::GatewayDown
        | Change::AddressRemoved => Vec::new(),
    };
    Plan { steps }
}

/// The end of a change that does not last.
pub(super) fn revive(scenario: &Scenario, gateway: &str, number: usize) -> Plan {
    let up = scenario.change == Change::GatewayDown && gateway == NFTABLES && number == 0;
    let text = "flush chain ip natrig down\n".to_owned();
    Plan { steps: if up { vec![Step::Ruleset { namespace: GATEWAY.to_owned(), text }] } else { Vec::new() } }
}
