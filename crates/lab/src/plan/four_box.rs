//! The standard world: pods, node, gateway, internet, and a veth pair between each two neighbours.

use std::net::Ipv4Addr;

use super::{At, KernelNat, Offload, Plan, Step, VethEnd};
use crate::net::Ipv4Net;
use crate::topology::{Boxes, Port, Topology, TopologyError, WorldUse};
use crate::world::WorldMark;

const NAMESPACES: [&str; 4] = ["pods", "node", "gateway", "internet"];
const LINKS: [(Port, Port); 3] =
    [(Port::Pods, Port::NodeInside), (Port::NodeOutside, Port::GatewayInside), (Port::GatewayOutside, Port::Internet)];

impl Plan {
    /// A world to measure in. Generator and reflector own the addresses at the two ends, by packet sockets; a box that a stage
    /// forwards at has no address either, one that the kernel forwards at has its own, with routes and permanent neighbours.
    ///
    /// # Errors
    /// The address plan is impossible.
    pub fn measurement(topology: &Topology, boxes: Boxes) -> Result<Self, TopologyError> {
        topology.validate()?;
        let mut plan = Self::default();
        let world = WorldUse::Measurement(boxes);
        plan.four_boxes(topology, boxes);
        plan.ports(world);
        plan.kernel_boxes(topology, world);
        Ok(plan)
    }

    /// What makes the kernel translate at its boxes in a world that stands: for each new set of translations, with all connections
    /// forgotten. Without a NAT it only forwards. `connections` is how many it must be able to track.
    pub fn translation(boxes: Boxes, node: Option<&KernelNat>, gateway: Option<&KernelNat>, connections: u32) -> Self {
        let mut plan = Self::default();
        for (outside, nat) in [(Port::NodeOutside, node), (Port::GatewayOutside, gateway)] {
            if !boxes.is_kernel(outside) {
                continue;
            }
            let namespace = || outside.namespace().to_owned();
            let Some(nat) = nat else {
                plan.steps.push(Step::NoNat { namespace: namespace() });
                continue;
            };
            // First of all: where connection tracking is a module, this loads it, and the settings come into being.
            plan.steps.push(Step::Nat { at: outside.at(), nat: nat.clone() });
            plan.steps.extend(CONNTRACK_SETTINGS.map(|(key, value)| sysctl(outside.namespace(), key, value, true)));
            plan.steps.push(time_wait(outside, TIME_WAIT_S));
            plan.steps.push(Step::ConntrackRoom { namespace: namespace(), connections });
            plan.steps.push(Step::ForgetConnections { namespace: namespace() });
        }
        plan
    }

    /// Has the kernel at its boxes forget a TCP connection so many seconds after both ends have closed it; see [`TIME_WAIT_S`].
    pub fn time_wait(boxes: Boxes, seconds: u32) -> Self {
        let at_box = [Port::NodeOutside, Port::GatewayOutside].into_iter().filter(|port| boxes.is_kernel(*port));
        Self { steps: at_box.map(|outside| time_wait(outside, seconds)).collect() }
    }

    /// A world for programs: the kernel's own stack at the two ends, all pods in one namespace, all servers in another. Every
    /// namespace carries `mark` on its loopback interface, if there is one, so that what still runs in it can be recognised later.
    ///
    /// # Errors
    /// The address plan is impossible.
    pub fn clients(topology: &Topology, boxes: Boxes, mark: Option<WorldMark>) -> Result<Self, TopologyError> {
        topology.validate()?;
        let mut plan = Self::default();
        let world = WorldUse::Clients(boxes);
        plan.four_boxes(topology, boxes);
        for name in NAMESPACES {
            let at = At::new(name, "lo");
            plan.steps.push(Step::Up { at: at.clone() });
            if let Some(mark) = mark {
                plan.addresses(at, mark.address(), 1);
            }
        }
        plan.ports(world);
        let (pods, internet) = (&topology.pods, &topology.internet);
        plan.addresses(Port::Pods.at(), pods.first, pods.count);
        plan.addresses(Port::Internet.at(), internet.server_first, internet.server_count);
        plan.addresses(Port::Internet.at(), internet.router, 1);
        plan.way_out(Port::Pods, world, pods.router, pods.first);
        // One route back serves all designs: whatever address a connection comes from, a pod's, the node's or one of the gateway's,
        // it is beyond the gateway.
        if let Some(&gateway) = topology.gateway.addresses.first() {
            plan.way_out(Port::Internet, world, gateway, internet.server_first);
        }
        plan.kernel_boxes(topology, world);
        Ok(plan)
    }

    fn four_boxes(&mut self, topology: &Topology, boxes: Boxes) {
        for name in NAMESPACES {
            self.steps.push(Step::Namespace { name: name.to_owned() });
        }
        for name in NAMESPACES {
            let kernel = Port::ALL.iter().any(|port| port.namespace() == name && boxes.is_kernel(*port));
            let forward = ("net.ipv4.ip_forward", if kernel { "1" } else { "0" }, false);
            let settings = [forward].into_iter().chain(SETTINGS);
            self.steps.extend(settings.map(|(key, value, optional)| sysctl(name, key, value, optional)));
        }
        for (a, b) in LINKS {
            let end = |port: Port| VethEnd { at: port.at(), mac: port.kernel_mac() };
            self.steps.push(Step::Veth { a: end(a), b: end(b), mtu: topology.mtu, queues: topology.queues });
        }
    }

    /// How interfaces treat frames, and all of them up.
    fn ports(&mut self, world: WorldUse) {
        for port in Port::ALL {
            let at = port.at();
            let off = |offloads: &[Offload]| Step::OffloadsOff { at: port.at(), offloads: offloads.to_vec() };
            if !world.is_kernel(port) {
                if world.boxes().has_threads(port.peer()) {
                    // Only what needs no segmentation on the way out goes in by NAPI, and so to its threads.
                    self.steps.push(off(&[Offload::Tso]));
                }
                self.steps.push(Step::ArpOff { at: port.at() });
                if world.boxes().has_threads(port) {
                    self.steps.push(Step::Napi { at });
                }
            } else if !world.boxes().is_kernel(port) {
                self.steps.push(off(&Offload::ALL));
            } else if !world.is_kernel(port.peer()) {
                // Frames leave as they came: with their checksums, and no larger than the MTU however the kernel merged them. The way
                // in takes live frames by NAPI; all others do without, as the other end keeps its offloads (`veth_xmit` in
                // `drivers/net/veth.c`), which for frames one by one is the quicker way.
                self.steps.extend([off(&[Offload::TxChecksum, Offload::Tso, Offload::Gso]), Step::Napi { at }]);
            }
        }
        for port in Port::ALL {
            self.steps.push(Step::Up { at: port.at() });
        }
        let threaded = Port::ALL.into_iter().filter(|port| world.boxes().has_threads(*port));
        self.steps.extend(threaded.map(|port| Step::NapiThreads { at: port.at() }));
        let kernel_ports = Port::ALL.into_iter().filter(|port| world.is_kernel(*port));
        self.steps.extend(kernel_ports.map(|port| Step::AwaitCarrier { at: port.at() }));
    }

    fn addresses(&mut self, at: At, first: Ipv4Addr, count: u32) {
        self.steps.push(Step::Addresses { at, first, count });
    }

    /// Addresses and ways of the boxes that the kernel forwards at.
    fn kernel_boxes(&mut self, topology: &Topology, world: WorldUse) {
        let boxes = world.boxes();
        let (pods, node, gateway) = (&topology.pods, &topology.node, &topology.gateway);
        // A box is asked for only with a topology that passed its checks: no pool is empty.
        let first = |pool: &[Ipv4Addr]| pool.first().copied().unwrap_or(Ipv4Addr::UNSPECIFIED);
        let (node_address, gateway_address) = (first(&node.addresses), first(&gateway.addresses));
        if boxes.is_kernel(Port::NodeInside) {
            self.addresses(Port::NodeInside.at(), pods.router, 1);
            self.pool(Port::NodeOutside, &node.addresses);
            // All pods are behind one MAC address: one next hop leads to them.
            self.way(Port::NodeInside, world, &[pods.cidr], pods.first, pods.router);
            self.way_out(Port::NodeOutside, world, gateway.private_address, node_address);
        }
        if boxes.is_kernel(Port::GatewayInside) {
            self.addresses(Port::GatewayInside.at(), gateway.private_address, 1);
            self.pool(Port::GatewayOutside, &gateway.addresses);
            self.way(Port::GatewayInside, world, &[pods.cidr, node.cidr], node_address, gateway.private_address);
            self.way_out(Port::GatewayOutside, world, topology.internet.router, gateway_address);
        }
    }

    fn pool(&mut self, port: Port, addresses: &[Ipv4Addr]) {
        for address in addresses {
            self.addresses(port.at(), *address, 1);
        }
    }

    /// The default route.
    fn way_out(&mut self, port: Port, world: WorldUse, via: Ipv4Addr, source: Ipv4Addr) {
        self.way(port, world, &[Ipv4Net::ANY], via, source);
    }

    /// Routes through whoever speaks on the other end of the link.
    fn way(&mut self, port: Port, world: WorldUse, to: &[Ipv4Net], via: Ipv4Addr, source: Ipv4Addr) {
        self.steps.push(Step::Neighbour { at: port.at(), address: via, mac: port.peer().speaking_mac(world) });
        for destination in to {
            self.steps.push(Step::Route { at: port.at(), destination: *destination, via, source });
        }
    }
}

/// Written before the links exist, so that these inherit what is per interface. A new namespace starts with a copy of the host's IPv4
/// settings (`net.core.devconf_inherit_init_net`), so nothing is taken for granted:
/// the kernel must not forward the frames that a stage forwards (`ip_forward`, before these, as it resets others), must not judge
/// sources, and must not chatter in IPv6.
const SETTINGS: [(&str, &str, bool); 4] = [
    ("net.ipv4.conf.all.rp_filter", "0", false),
    ("net.ipv4.conf.default.rp_filter", "0", false),
    ("net.ipv6.conf.all.disable_ipv6", "1", true),
    ("net.ipv6.conf.default.disable_ipv6", "1", true),
];

/// How the kernel tracks connections (`Documentation/networking/nf_conntrack-sysctl.rst`). Mappings must outlive every trial: what
/// expires in between is for tests of timers. A veth has no hardware that has looked at checksums already, as network cards have; so
/// the kernel is told that it need not.
const CONNTRACK_SETTINGS: [(&str, &str); 4] = [
    ("net.netfilter.nf_conntrack_udp_timeout", "3600"),
    ("net.netfilter.nf_conntrack_udp_timeout_stream", "3600"),
    ("net.netfilter.nf_conntrack_tcp_timeout_established", "432000"),
    ("net.netfilter.nf_conntrack_checksum", "0"),
];

fn sysctl(namespace: &str, key: &str, value: &str, optional: bool) -> Step {
    Step::Sysctl { namespace: namespace.to_owned(), key: key.to_owned(), value: value.to_owned(), optional }
}

fn time_wait(outside: Port, seconds: u32) -> Step {
    sysctl(outside.namespace(), TIME_WAIT, &seconds.to_string(), true)
}

const TIME_WAIT: &str = "net.netfilter.nf_conntrack_tcp_timeout_time_wait";

/// How long the kernel remembers a TCP connection that both ends have closed, in seconds, unless told otherwise: its own default.
pub const TIME_WAIT_S: u32 = 120;

impl Port {
    /// Where the interface lies.
    pub fn at(self) -> At {
        At::new(self.namespace(), self.interface())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{PortChoice, Translate};
    use crate::topology::ForwardedBy;

    #[test]
    fn the_measurement_world_in_words() {
        let text = Plan::measurement(&Topology::default(), Boxes::STAGES).unwrap().to_string();
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
    fn a_world_that_the_kernel_forwards_in() {
        let boxes = Boxes { node: ForwardedBy::Stage, gateway: ForwardedBy::Kernel };
        let mut topology = Topology::default();
        topology.gateway.addresses.push(Ipv4Addr::new(198, 51, 100, 9));
        let text = Plan::measurement(&topology, boxes).unwrap().to_string();
        for line in [
            "sysctl    node: net.ipv4.ip_forward = 0",
            "sysctl    gateway: net.ipv4.ip_forward = 1",
            "offloads  gateway:inside: tx-checksum, tso, gso off",
            "napi      gateway:inside: on (by gro)",
            "arp       node:outside: off",
            "wait      gateway:outside: carrier",
            "address   gateway:inside: 10.0.8.8/32",
            "address   gateway:outside: 198.51.100.9/32",
            // A stage under its virtual address on one side, the reflector on the other.
            "neighbour gateway:inside: 10.0.0.10 is 02:6e:61:00:01:03, permanent",
            "route     gateway:inside: 10.0.1.0/24 via 10.0.0.10, on link, from 10.0.8.8",
            "route     gateway:inside: 10.0.0.0/24 via 10.0.0.10, on link, from 10.0.8.8",
            "neighbour gateway:outside: 198.51.100.1 is 02:6e:61:00:01:06, permanent",
            "route     gateway:outside: 0.0.0.0/0 via 198.51.100.1, on link, from 198.51.100.8",
        ] {
            assert!(text.lines().any(|l| l == line), "no `{line}` in\n{text}");
        }
        assert!(!text.contains("address   node") && !text.contains("napi      node"), "{text}");
        let both = Plan::measurement(&topology, Boxes { node: ForwardedBy::Kernel, ..boxes }).unwrap().to_string();
        // Between the two there is nothing to be seen to.
        assert!(both.contains("napi      node:inside") && both.contains("napi      gateway:outside"), "{both}");
        assert!(!both.contains("napi      node:outside") && !both.contains("offloads  gateway:inside"), "{both}");
        // Two kernels speak to each other under their own addresses.
        assert!(both.contains("neighbour node:outside: 10.0.8.8 is 02:6e:61:00:00:04, permanent"), "{both}");
        assert!(both.contains("neighbour gateway:inside: 10.0.0.10 is 02:6e:61:00:00:03, permanent"), "{both}");
        assert!(both.contains("route     node:inside: 10.0.1.0/24 via 10.0.1.50, on link, from 10.0.1.1"), "{both}");
    }

    #[test]
    fn threads_take_over_what_comes_from_the_ends() {
        let boxes = Boxes { node: ForwardedBy::KernelThreads, gateway: ForwardedBy::KernelThreads };
        let text = Plan::measurement(&Topology::default(), boxes).unwrap().to_string();
        for line in [
            "napi      node:inside: in threads of its own",
            "napi      gateway:outside: in threads of its own",
            "offloads  pods:eth0: tso off",
            "neighbour node:outside: 10.0.8.8 is 02:6e:61:00:00:04, permanent",
        ] {
            assert!(text.lines().any(|l| l == line), "no `{line}` in\n{text}");
        }
        assert!(!text.contains("napi      gateway:inside") && !text.contains("tso, gso off\nnapi      node:outside"));
    }

    #[test]
    fn a_translation_in_words() {
        let boxes = Boxes { node: ForwardedBy::Kernel, gateway: ForwardedBy::Kernel };
        let masquerade =
            KernelNat { translate: Translate::Masquerade, ports: PortChoice::FullyRandom, port_range: None };
        let text = Plan::translation(boxes, None, Some(&masquerade), 2000).to_string();
        let expected = "\
nat       node: none
nat       gateway:outside: masquerade, fully-random
sysctl    gateway: net.netfilter.nf_conntrack_udp_timeout = 3600 (if there is one)
sysctl    gateway: net.netfilter.nf_conntrack_udp_timeout_stream = 3600 (if there is one)
sysctl    gateway: net.netfilter.nf_conntrack_tcp_timeout_established = 432000 (if there is one)
sysctl    gateway: net.netfilter.nf_conntrack_checksum = 0 (if there is one)
sysctl    gateway: net.netfilter.nf_conntrack_tcp_timeout_time_wait = 120 (if there is one)
room      gateway: net.netfilter.nf_conntrack_max at least 2000
forget    gateway: all connections
";
        assert_eq!(text, expected);
        assert!(Plan::translation(Boxes::STAGES, None, None, 2000).steps.is_empty());
    }

    #[test]
    fn the_client_world_in_words() {
        let mark = WorldMark::from_bits(0x0053_0cc9);
        let plan = Plan::clients(&Topology::default(), Boxes::STAGES, Some(mark)).unwrap();
        let text = plan.to_string();
        for line in [
            "up        pods:lo",
            "address   node:lo: 127.83.12.201/32",
            "addresses pods:eth0: 10.0.1.50/32 and the next 7",
            "address   internet:eth0: 198.51.100.1/32",
            "offloads  internet:eth0: tx-checksum, tso, gso, gro off",
            "arp       node:inside: off",
            "wait      pods:eth0: carrier",
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
        assert_eq!(Plan::measurement(&topology, Boxes::STAGES).unwrap_err().field(), "node.addresses");
        assert_eq!(Plan::clients(&topology, Boxes::STAGES, None).unwrap_err().field(), "node.addresses");
    }
}
