//! Whatever lies between the VPC and the internet, and the internet.

use std::net::Ipv4Addr;

use natrig_lab::net::Ipv4Net;
use natrig_lab::plan::{At, TABLE_MAIN};
use natrig_wire::MacAddr;

use super::rules::{chain, set, table};
use super::{MTU, Site, place, vpc};
use crate::boxes::BoxKind;
use crate::model::{Cluster, EGRESS_PUBLIC, INTERNET, POD_PUBLIC, Pod, UPSTREAM, gateway_public, node_public};
use crate::tag::{Action, Book, Tag};

/// The next router towards the internet; no packet carries this address.
const BEYOND: Ipv4Addr = Ipv4Addr::new(100, 65, 1, 1);

pub(super) fn build(site: &mut Site, cluster: &Cluster) {
    vpc::peering(site, cluster);
    site.namespace(place::INTERNET, false);
    site.address(&At::new(place::INTERNET, "lo"), INTERNET, 1);
    if cluster.has_internet_gateway() {
        internet_gateway(site, cluster);
    }
    if cluster.has_nat_gateway() {
        nat_gateways(site, cluster);
    }
}

impl Cluster {
    /// Public addresses, each with the private one that it stands for.
    pub fn public_addresses(&self) -> Vec<(Ipv4Addr, Ipv4Addr)> {
        if !self.has_internet_gateway() {
            return Vec::new();
        }
        let mut pairs = Vec::new();
        if self.node.public_address {
            pairs.extend((1..=self.nodes).map(|node| (node_public(node), self.node_address(node, 0))));
        }
        if self.node.pod_public_address {
            pairs.push((POD_PUBLIC, self.pod_address(Pod { node: 1, number: 1 })));
        }
        if self.egress_node().is_some() {
            pairs.push((EGRESS_PUBLIC, self.egress_address()));
        }
        pairs
    }
}

/// A box with one side towards the VPC and one away from it.
struct Between {
    inside: At,
    outside: At,
    /// Of the outside.
    mac: MacAddr,
    /// The VPC's end, and the MAC address behind it.
    vpc: (At, MacAddr),
}

/// Makes a box whose way out leads to `beyond`, and all private addresses lead back to the VPC; with a kind it is one of natrig's.
fn between(site: &mut Site, cluster: &Cluster, name: &str, beyond: &str, natrigs: Option<BoxKind>) -> Between {
    site.namespace(name, natrigs.is_none());
    let (inside, outside) = (At::new(name, "inside"), At::new(name, "outside"));
    let (vpc, next) = (At::new(place::VPC, name), At::new(beyond, name));
    let (inside_mac, vpc_mac) = site.link(&inside, &vpc, MTU);
    let (mac, next_mac) = site.link(&outside, &next, MTU);
    if let Some(kind) = natrigs {
        let (inside_mac, mac) = site.stand(name, kind, (vpc_mac, next_mac));
        return Between { inside, outside, mac, vpc: (vpc, inside_mac) };
    }
    let router = cluster.router(8);
    site.neighbour(&inside, router, vpc_mac);
    for block in [cluster.vpc.cidr, cluster.overlay_cidr] {
        site.route(&inside, TABLE_MAIN, block, Some(router));
    }
    site.neighbour(&outside, BEYOND, next_mac);
    site.way_out(&outside, TABLE_MAIN, BEYOND);
    Between { inside, outside, mac, vpc: (vpc, inside_mac) }
}

fn internet_gateway(site: &mut Site, cluster: &Cluster) {
    let natrigs = (!cluster.uses_nft()).then_some(BoxKind::InternetGateway);
    let gateway = between(site, cluster, place::INTERNET_GATEWAY, place::INTERNET, natrigs);
    let pairs = cluster.public_addresses();
    for (public, _) in &pairs {
        site.reach(&At::new(place::INTERNET, place::INTERNET_GATEWAY), *public, gateway.mac);
    }
    vpc::ways_out(site, cluster, &[gateway.vpc], true);
    if natrigs.is_some() {
        return;
    }
    let tag = |number, rule, action| Tag::new(Book::InternetGateway, number, rule, action);
    let known = if pairs.is_empty() {
        String::new()
    } else {
        format!("ip saddr != {}", set(pairs.iter().map(|(_, private)| private)))
    };
    let stranger = tag(1, "no_public_address", Action::Drop).on(&format!("oifname \"outside\" {known}"), "drop");
    let map = |pairs: Vec<(Ipv4Addr, Ipv4Addr)>| set(pairs.iter().map(|(from, to)| format!("{from} : {to}")));
    let (mut inbound, mut outbound) = (Vec::new(), Vec::new());
    if !pairs.is_empty() {
        let private = format!("dnat to ip daddr map {}", map(pairs.clone()));
        inbound.push(tag(2, "one_to_one", Action::Translate).on("iifname \"outside\"", &private));
        let public = map(pairs.iter().map(|(public, private)| (*private, *public)).collect());
        let public = format!("snat to ip saddr map {public}");
        outbound.push(tag(2, "one_to_one", Action::Translate).on("oifname \"outside\"", &public));
    }
    site.ruleset(
        place::INTERNET_GATEWAY,
        table(&[
            chain("strangers", "filter hook forward priority filter", &[stranger]),
            chain("inbound", "nat hook prerouting priority dstnat", &inbound),
            chain("outbound", "nat hook postrouting priority srcnat", &outbound),
        ]),
    );
}

fn nat_gateways(site: &mut Site, cluster: &Cluster) {
    let settings = &cluster.nat_gateway;
    let beyond = if settings.upstream { place::UPSTREAM } else { place::INTERNET };
    if settings.upstream {
        upstream(site, cluster);
    }
    let mut ends = Vec::new();
    for zone in 0..settings.zones {
        let name = place::nat_gateway(zone);
        let natrigs = cluster.gateway_is_natrigs().then_some(BoxKind::NatGateway { zone });
        let gateway = between(site, cluster, &name, beyond, natrigs);
        if natrigs.is_none() {
            site.address(&gateway.inside, cluster.nat_gateway(zone), 1);
        }
        let public = gateway_public(zone, settings.addresses);
        for address in &public {
            if natrigs.is_none() {
                site.address(&gateway.outside, *address, 1);
            }
            site.reach(&At::new(beyond, &name), *address, gateway.mac);
        }
        let (vpc, inside_mac) = gateway.vpc;
        site.reach(&vpc, cluster.nat_gateway(zone), inside_mac);
        if natrigs.is_none() {
            site.ruleset(&name, translating(Book::NatGateway, &public));
        }
        ends.push((vpc, inside_mac));
    }
    vpc::ways_out(site, cluster, &ends, false);
}

fn upstream(site: &mut Site, cluster: &Cluster) {
    site.namespace(place::UPSTREAM, true);
    let (outside, next) = (At::new(place::UPSTREAM, "outside"), At::new(place::INTERNET, place::UPSTREAM));
    let natrigs = cluster.gateway_is_natrigs();
    let between = natrigs.then(|| (format!("{}~outside", place::UPSTREAM), BoxKind::Upstream));
    let (next_mac, mac) = site.uplink(&outside, &next, between);
    site.neighbour(&outside, BEYOND, next_mac);
    site.route(&outside, TABLE_MAIN, Ipv4Net::ANY, Some(BEYOND));
    site.reach(&next, UPSTREAM, mac);
    if !natrigs {
        site.address(&outside, UPSTREAM, 1);
        site.ruleset(place::UPSTREAM, translating(Book::Upstream, &[UPSTREAM]));
    }
}

/// Ports are translated on the way out; what comes unasked from outside is dropped in silence.
fn translating(book: Book, public: &[Ipv4Addr]) -> String {
    let pool = match public {
        [only] => only.to_string(),
        // Consecutive, all of them: see `gateway_public`.
        [first, .., last] => format!("{first}-{last}"),
        [] => return String::new(),
    };
    let translate = Tag::new(book, 1, "port_translation", Action::Translate);
    let unasked = Tag::new(book, 2, "unsolicited", Action::Drop).on("iifname \"outside\" ct state new", "drop");
    table(&[
        chain("unasked", "filter hook input priority filter", std::slice::from_ref(&unasked)),
        chain("strangers", "filter hook forward priority filter", &[unasked]),
        chain(
            "translate",
            "nat hook postrouting priority srcnat",
            &[translate.on("oifname \"outside\"", &format!("snat to {pool}"))],
        ),
    ])
}
