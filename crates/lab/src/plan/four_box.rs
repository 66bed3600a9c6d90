//! The standard world: pods, node, gateway, internet, and a veth pair between each two neighbours.

use std::net::Ipv4Addr;

use super::{At, Offload, Plan, Step, VethEnd};
use crate::net::Ipv4Net;
use crate::topology::{Port, Topology, TopologyError, WorldUse};
use crate::world::WorldMark;

const NAMESPACES: [&str; 4] = ["pods", "node", "gateway", "internet"];
const LINKS: [(Port, Port); 3] =
    [(Port::Pods, Port::NodeInside), (Port::NodeOutside, Port::GatewayInside), (Port::GatewayOutside, Port::Internet)];

impl Plan {
    /// A world to measure in: generator, stages and reflector own every address, by packet sockets. No kernel has one anywhere.
    ///
    /// # Errors
    /// The address plan is impossible.
    pub fn measurement(topology: &Topology) -> Result<Self, TopologyError> {
        topology.validate()?;
        let mut plan = Self::default();
        plan.four_boxes(topology);
        for port in Port::ALL {
            plan.steps.push(Step::ArpOff { at: port.at() });
        }
        for port in Port::ALL {
            plan.steps.push(Step::Up { at: port.at() });
        }
        Ok(plan)
    }

    /// A world for programs: the kernel's own stack at the two ends, all pods in one namespace, all servers in another. Every
    /// namespace carries `mark` on its loopback interface, if there is one, so that what still runs in it can be recognised later.
    ///
    /// # Errors
    /// The address plan is impossible.
    pub fn clients(topology: &Topology, mark: Option<WorldMark>) -> Result<Self, TopologyError> {
        topology.validate()?;
        let mut plan = Self::default();
        plan.four_boxes(topology);
        for name in NAMESPACES {
            let at = At::new(name, "lo");
            plan.steps.push(Step::Up { at: at.clone() });
            if let Some(mark) = mark {
                plan.addresses(at, mark.address(), 1);
            }
        }
        for port in Port::ALL {
            plan.steps.push(match port {
                Port::Pods | Port::Internet => Step::OffloadsOff { at: port.at(), offloads: Offload::ALL.to_vec() },
                Port::NodeInside | Port::NodeOutside | Port::GatewayInside | Port::GatewayOutside => {
                    Step::ArpOff { at: port.at() }
                }
            });
        }
        for port in Port::ALL {
            plan.steps.push(Step::Up { at: port.at() });
        }
        let (pods, internet) = (&topology.pods, &topology.internet);
        plan.addresses(Port::Pods.at(), pods.first, pods.count);
        plan.addresses(Port::Internet.at(), internet.server_first, internet.server_count);
        plan.addresses(Port::Internet.at(), internet.router, 1);
        plan.way_out(Port::Pods, pods.router, pods.first);
        // One route back serves all designs: whatever address a connection comes from, a pod's, the node's or one of the gateway's,
        // it is beyond the gateway.
        if let Some(&gateway) = topology.gateway.addresses.first() {
            plan.way_out(Port::Internet, gateway, internet.server_first);
        }
        Ok(plan)
    }

    fn four_boxes(&mut self, topology: &Topology) {
        for name in NAMESPACES {
            self.steps.push(Step::Namespace { name: name.to_owned() });
        }
        for name in NAMESPACES {
            for (key, value, optional) in SETTINGS {
                self.steps.push(Step::Sysctl {
                    namespace: name.to_owned(),
                    key: key.to_owned(),
                    value: value.to_owned(),
                    optional,
                });
            }
        }
        for (a, b) in LINKS {
            let end = |port: Port| VethEnd { at: port.at(), mac: port.kernel_mac() };
            self.steps.push(Step::Veth { a: end(a), b: end(b), mtu: topology.mtu, queues: topology.queues });
        }
    }

    fn addresses(&mut self, at: At, first: Ipv4Addr, count: u32) {
        self.steps.push(Step::Addresses { at, first, count });
    }

    /// The default route, through the stage on the other end of the link.
    fn way_out(&mut self, port: Port, via: Ipv4Addr, source: Ipv4Addr) {
        self.steps.push(Step::Neighbour {
            at: port.at(),
            address: via,
            mac: port.peer().speaking_mac(WorldUse::Clients),
        });
        self.steps.push(Step::Route { at: port.at(), destination: Ipv4Net::ANY, via, source });
    }
}

/// Written before the links exist, so that these inherit what is per interface. A new namespace starts with a copy of the host's IPv4
/// settings (`net.core.devconf_inherit_init_net`), so nothing is taken for granted:
/// the kernel must not forward the frames that a stage forwards, must not judge sources, and must not chatter in IPv6.
const SETTINGS: [(&str, &str, bool); 5] = [
    ("net.ipv4.ip_forward", "0", false),
    ("net.ipv4.conf.all.rp_filter", "0", false),
    ("net.ipv4.conf.default.rp_filter", "0", false),
    ("net.ipv6.conf.all.disable_ipv6", "1", true),
    ("net.ipv6.conf.default.disable_ipv6", "1", true),
];

impl Port {
    /// Where the interface lies.
    pub fn at(self) -> At {
        At::new(self.namespace(), self.interface())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_measurement_world_in_words() {
        let text = Plan::measurement(&Topology::default()).unwrap().to_string();
        for line in [
            "namespace gateway",
            "sysctl    node: net.ipv4.ip_forward = 0",
            "sysctl    pods: net.ipv6.conf.all.disable_ipv6 = 1 (if there is one)",
            "veth      node:outside (02:6e:61:00:00:03) = gateway:inside (02:6e:61:00:00:04), mtu 1500, 1 queue",
            "arp       internet:eth0: off",
            "up        gateway:outside",
        ] {
            assert!(text.lines().any(|l| l == line), "no `{line}` in\n{text}");
        }
        assert!(!text.contains("address"), "a kernel has an address:\n{text}");
    }

    #[test]
    fn the_client_world_in_words() {
        let mark = WorldMark::from_bits(0x0053_0cc9);
        let plan = Plan::clients(&Topology::default(), Some(mark)).unwrap();
        let text = plan.to_string();
        for line in [
            "up        pods:lo",
            "address   node:lo: 127.83.12.201/32",
            "addresses pods:eth0: 10.0.1.50/32 and the next 7",
            "address   internet:eth0: 198.51.100.1/32",
            "offloads  internet:eth0: tx-checksum, tso, gso, gro off",
            "arp       node:inside: off",
            "neighbour pods:eth0: 10.0.1.1 is 02:6e:61:00:01:02, permanent",
            "route     pods:eth0: 0.0.0.0/0 via 10.0.1.1, on link, from 10.0.1.50",
            "neighbour internet:eth0: 198.51.100.8 is 02:6e:61:00:01:05, permanent",
            "route     internet:eth0: 0.0.0.0/0 via 198.51.100.8, on link, from 203.0.113.10",
        ] {
            assert!(text.lines().any(|l| l == line), "no `{line}` in\n{text}");
        }
    }

    #[test]
    fn an_impossible_topology_gives_no_plan() {
        let mut topology = Topology::default();
        topology.node.addresses.clear();
        assert_eq!(Plan::measurement(&topology).unwrap_err().field(), "node.addresses");
        assert_eq!(Plan::clients(&topology, None).unwrap_err().field(), "node.addresses");
    }
}
