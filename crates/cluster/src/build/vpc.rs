//! The VPC's network: it knows which interface each address belongs to, and lets nothing else in.

use natrig_lab::net::Ipv4Net;
use natrig_lab::plan::{At, RoutingRule, TABLE_MAIN};

use super::rules::{chain, set, table};
use super::{MTU, Site, place};
use crate::model::{Cluster, METADATA};
use crate::tag::{Action, Book, Tag};

/// After the main table, which holds the VPC's own addresses and no way out.
const AFTER_MAIN: u32 = 32_800;
/// Route tables of subnets: by the internet gateway, or by the NAT gateway of a zone.
const TABLE_INTERNET_GATEWAY: u32 = 100;
const TABLE_NAT_GATEWAY: u32 = 101;

/// How the VPC's ways out are called inside; no packet carries these addresses.
const INTERNET_GATEWAY: std::net::Ipv4Addr = std::net::Ipv4Addr::new(100, 65, 0, 1);

pub(super) fn build(site: &mut Site, cluster: &Cluster) {
    site.namespace(place::VPC, true);
    site.address(&At::new(place::VPC, "lo"), cluster.router(0), 1);
    for (name, address) in [(place::HOST, cluster.host()), (place::METADATA, METADATA)] {
        site.namespace(name, false);
        let (inside, outside) = (At::new(name, "eth0"), At::new(place::VPC, name));
        let (mac, router_mac) = site.link(&inside, &outside, MTU);
        site.address(&inside, address, 1);
        site.neighbour(&inside, cluster.router(9), router_mac);
        site.way_out(&inside, TABLE_MAIN, cluster.router(9));
        site.reach(&outside, address, mac);
        if name == place::HOST {
            check_source(site, cluster, name);
        }
    }
    if cluster.uses_nft() {
        site.ruleset(place::VPC, ruleset(cluster));
        return;
    }
    // One hop is the VPC.
    let ttl = cluster.vpc.metadata_hop_limit.saturating_add(1).to_string();
    site.sysctl(place::METADATA, "net.ipv4.ip_default_ttl", &ttl, false);
}

/// Without rules for packets the kernel's own check does it: there is one interface for each address (`__fib_validate_source` in
/// `net/ipv4/fib_frontend.c`).
pub(super) fn check_source(site: &mut Site, cluster: &Cluster, interface: &str) {
    if !cluster.uses_nft() && cluster.vpc.source_dest_check {
        site.sysctl(place::VPC, &format!("net.ipv4.conf.{interface}.rp_filter"), "1", false);
    }
}

/// The way out that the subnets of the nodes have, once what it leads to is there: `outside` are the VPC's ends of the links to the
/// gateways, with the MAC addresses behind them.
pub(super) fn ways_out(site: &mut Site, cluster: &Cluster, zones: &[(At, natrig_wire::MacAddr)], internet: bool) {
    for (zone, (at, mac)) in (0..).zip(zones) {
        let table = TABLE_NAT_GATEWAY + u32::from(zone);
        if internet {
            site.neighbour(at, INTERNET_GATEWAY, *mac);
            site.way_out(at, TABLE_INTERNET_GATEWAY, INTERNET_GATEWAY);
        } else {
            site.way_out(at, table, cluster.nat_gateway(zone));
        }
    }
    for node in 1..=cluster.nodes {
        let table = if internet { TABLE_INTERNET_GATEWAY } else { TABLE_NAT_GATEWAY + u32::from(cluster.zone(node)) };
        for interface in &cluster.node.interfaces {
            let incoming = Some(format!("{}-{interface}", place::node(node)));
            site.rule(place::VPC, RoutingRule { incoming, ..RoutingRule::new(AFTER_MAIN, table) });
        }
    }
}

fn ruleset(cluster: &Cluster) -> String {
    let mut checks = Vec::new();
    if cluster.vpc.source_dest_check {
        let tag = Tag::new(Book::Vpc, 1, "source_check", Action::Drop);
        let mut check = |interface: String, addresses: &[std::net::Ipv4Addr]| {
            checks.push(tag.on(&format!("iifname \"{interface}\" ip saddr != {}", set(addresses)), "drop"));
        };
        for node in 1..=cluster.nodes {
            for (nth, interface) in cluster.node.interfaces.iter().enumerate() {
                check(format!("{}-{interface}", place::node(node)), &cluster.addresses_of(node, nth));
            }
        }
        check(place::HOST.to_owned(), &[cluster.host()]);
    }
    let hops = format!("ip saddr {METADATA} ip ttl set {}", cluster.vpc.metadata_hop_limit);
    // The VPC drops in silence; what a router would say, it does not.
    let silence = "icmp type { destination-unreachable, time-exceeded } drop".to_owned();
    table(&[
        chain("check", "filter hook prerouting priority raw", &checks),
        chain("hops", "filter hook postrouting priority mangle", &[hops]),
        chain("silence", "filter hook output priority filter", &[silence]),
    ])
}

/// The peered network as a route of the VPC's.
pub(super) fn peering(site: &mut Site, cluster: &Cluster) {
    site.namespace(place::PEERED, false);
    let (inside, outside) = (At::new(place::PEERED, "eth0"), At::new(place::VPC, place::PEERED));
    let (mac, router_mac) = site.link(&inside, &outside, MTU);
    let host = cluster.peered_host();
    site.address(&inside, host, 1);
    // It has a route for the VPC's block and for nothing else.
    let router = cluster.router(0);
    site.neighbour(&inside, router, router_mac);
    site.route(&inside, TABLE_MAIN, cluster.vpc.cidr, Some(router));
    site.neighbour(&outside, host, mac);
    let around: Ipv4Net = cluster.vpc.peered;
    site.route(&outside, TABLE_MAIN, around, Some(host));
}
