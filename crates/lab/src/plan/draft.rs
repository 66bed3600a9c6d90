//! A plan while it is made, of namespaces that know each other: neighbours are permanent, so that a world in which nobody talks is silent.

use std::net::Ipv4Addr;

use natrig_wire::MacAddr;

use super::{At, Offload, Plan, RoutingRule, Step, TABLE_MAIN, VethEnd};
use crate::net::Ipv4Net;

/// A plan while it is made: links are up before anything is routed over them.
#[derive(Debug, Default)]
pub struct Draft {
    /// What there is so far.
    pub plan: Plan,
    macs: u16,
    ends: Vec<At>,
}

impl Draft {
    /// A namespace that forwards packets or, if not, has programs in it only.
    pub fn namespace(&mut self, name: &str, forwards: bool) {
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

    /// A setting below `/proc/sys`; `optional`: fine if this kernel has no such thing.
    pub fn sysctl(&mut self, namespace: &str, key: &str, value: &str, optional: bool) {
        let (namespace, key, value) = (namespace.to_owned(), key.to_owned(), value.to_owned());
        self.plan.steps.push(Step::Sysctl { namespace, key, value, optional });
    }

    /// A veth pair; returns the MAC addresses of both ends.
    pub fn link(&mut self, a: &At, b: &At, mtu: u16) -> (MacAddr, MacAddr) {
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

    /// A MAC address that nobody else in this plan has.
    pub fn mac(&mut self) -> MacAddr {
        self.macs += 1;
        let [high, low] = self.macs.to_be_bytes();
        MacAddr([0x02, 0x6e, 0x61, 0x10, high, low])
    }

    /// Consecutive addresses of an interface.
    pub fn address(&mut self, at: &At, first: Ipv4Addr, count: u32) {
        self.plan.steps.push(Step::Addresses { at: at.clone(), first, count });
    }

    /// Where a neighbour is.
    pub fn neighbour(&mut self, at: &At, address: Ipv4Addr, mac: MacAddr) {
        self.plan.steps.push(Step::Neighbour { at: at.clone(), address, mac });
    }

    /// A single address behind an interface, at that MAC address.
    pub fn reach(&mut self, at: &At, address: Ipv4Addr, mac: MacAddr) {
        self.neighbour(at, address, mac);
        self.route(at, TABLE_MAIN, Ipv4Net::around(address, 32), None);
    }

    /// Everything else by a router on the link.
    pub fn way_out(&mut self, at: &At, table: u32, router: Ipv4Addr) {
        self.route(at, table, Ipv4Net::ANY, Some(router));
    }

    /// A route of a table.
    pub fn route(&mut self, at: &At, table: u32, destination: Ipv4Net, via: Option<Ipv4Addr>) {
        self.plan.steps.push(Step::TableRoute { at: at.clone(), table, destination, via });
    }

    /// A rule about tables.
    pub fn rule(&mut self, namespace: &str, rule: RoutingRule) {
        self.plan.steps.push(Step::Rule { namespace: namespace.to_owned(), rule });
    }

    /// Rules for packets, if there are any.
    pub fn ruleset(&mut self, namespace: &str, text: String) {
        if !text.is_empty() {
            self.plan.steps.push(Step::Ruleset { namespace: namespace.to_owned(), text });
        }
    }

    /// Nothing is sent before all links are up: so the kernel's link watch is waited for once, not for each.
    #[must_use]
    pub fn finish(mut self) -> Plan {
        self.plan.steps.extend(self.ends.into_iter().map(|at| Step::AwaitCarrier { at }));
        self.plan
    }
}
