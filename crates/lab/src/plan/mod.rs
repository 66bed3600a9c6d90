//! A world as a list of steps: to print (`--dry-run`), to store, and to build into a [`Lease`](crate::lease::Lease).

mod draft;
mod four_box;
pub(crate) mod kernel_nat;
mod routing;

use std::fmt;
use std::net::Ipv4Addr;

use natrig_wire::MacAddr;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::draft::Draft;
pub use self::four_box::TIME_WAIT_S;
pub use self::kernel_nat::{KernelNat, PortChoice, Translate};
pub use self::routing::{Mark, RoutingRule, TABLE_MAIN};
use crate::net::{Ipv4Net, mac_text};

/// What is done, in order. Nothing of it outlives the process that builds it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// The steps, first to last.
    pub steps: Vec<Step>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Step {
    /// Makes an anonymous network namespace, under a name that only this plan knows.
    Namespace {
        /// The name.
        name: String,
    },
    /// Writes a setting below `/proc/sys`, as seen inside the namespace.
    Sysctl {
        /// Where.
        namespace: String,
        /// With dots: `net.ipv4.ip_forward`.
        key: String,
        /// What is written.
        value: String,
        /// Fine if this kernel has no such setting.
        optional: bool,
    },
    /// Makes a veth pair, both ends down.
    Veth {
        /// One end.
        a: VethEnd,
        /// The other end.
        b: VethEnd,
        /// Largest IP packet, bytes.
        mtu: u16,
        /// Receive and transmit queues of each end.
        queues: u16,
    },
    /// Switches offloads off, and checks that they are.
    OffloadsOff {
        /// The interface.
        at: At,
        /// Which.
        offloads: Vec<Offload>,
    },
    /// Has the interface take what an XDP program sends there, and hand it over in bunches as a network card does: a veth does so with
    /// generic receive offload on.
    Napi {
        /// The interface.
        at: At,
    },
    /// Has NAPI of the interface run in threads of its own rather than on the processor of whoever sends there.
    NapiThreads {
        /// The interface.
        at: At,
    },
    /// Makes the kernel neither ask nor answer for addresses on the link.
    ArpOff {
        /// The interface.
        at: At,
    },
    /// Gives the interface consecutive addresses, each with a prefix of 32 bits.
    Addresses {
        /// The interface.
        at: At,
        /// The first address.
        first: Ipv4Addr,
        /// How many.
        count: u32,
    },
    /// Switches the interface on.
    Up {
        /// The interface.
        at: At,
    },
    /// Waits until the interface sends what the kernel's own stack gives it. Before the kernel's link watch has seen that the other
    /// end is up as well, which takes up to a second, it throws that away.
    AwaitCarrier {
        /// The interface.
        at: At,
    },
    /// Tells where a neighbour is, for good.
    Neighbour {
        /// The interface that leads to it.
        at: At,
        /// The neighbour.
        address: Ipv4Addr,
        /// Its MAC address.
        #[serde(with = "mac_text")]
        #[schemars(with = "String")]
        mac: MacAddr,
    },
    /// Adds a route through a neighbour that need not be in a network of the interface.
    Route {
        /// The interface.
        at: At,
        /// What is reached by it.
        destination: Ipv4Net,
        /// The neighbour.
        via: Ipv4Addr,
        /// The address that connections leave from.
        source: Ipv4Addr,
    },
    /// Adds a route to a table by its number, [`TABLE_MAIN`] or one that a rule leads to.
    TableRoute {
        /// The interface.
        at: At,
        /// The table.
        table: u32,
        /// What is reached by it.
        destination: Ipv4Net,
        /// The neighbour, which need not be in a network of the interface; none: the destination is a neighbour itself.
        via: Option<Ipv4Addr>,
    },
    /// Adds a rule that says which table is asked for a route.
    Rule {
        /// Where.
        namespace: String,
        /// The rule.
        rule: RoutingRule,
    },
    /// Makes an interface that wraps frames in UDP (VXLAN, RFC 7348) and learns nothing by itself.
    Vxlan {
        /// The interface.
        at: At,
        /// The network's number.
        id: u32,
        /// UDP port at both ends.
        port: u16,
        /// The address that wrapped frames are sent from.
        local: Ipv4Addr,
        /// The interface's MAC address.
        #[serde(with = "mac_text")]
        #[schemars(with = "String")]
        mac: MacAddr,
        /// Largest IP packet inside, bytes.
        mtu: u16,
    },
    /// Tells a VXLAN interface which host a MAC address is behind.
    TunnelPeer {
        /// The interface.
        at: At,
        /// The MAC address of the other host's interface.
        #[serde(with = "mac_text")]
        #[schemars(with = "String")]
        mac: MacAddr,
        /// The other host.
        remote: Ipv4Addr,
    },
    /// Loads rules for packets, in the language of nft(8). Needs that program.
    Ruleset {
        /// Where.
        namespace: String,
        /// What `nft -f -` reads.
        text: String,
    },
    /// Has the kernel translate, in place of how it did before. Needs the program `nft`.
    Nat {
        /// The interface that frames are translated at as they leave.
        at: At,
        /// How.
        nat: KernelNat,
    },
    /// Has the kernel translate nothing, and track no connections.
    NoNat {
        /// Where.
        namespace: String,
    },
    /// Sees to it that the kernel tracks as many connections as that.
    ConntrackRoom {
        /// Where.
        namespace: String,
        /// At least.
        connections: u32,
    },
    /// Has the kernel forget every connection that it tracks.
    ForgetConnections {
        /// Where.
        namespace: String,
    },
}

/// An interface in a namespace. Written `node:inside`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct At {
    /// The namespace's name in the plan.
    pub namespace: String,
    /// The interface's name.
    pub interface: String,
}

/// One end of a veth pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VethEnd {
    /// Where it lies and what it is called.
    pub at: At,
    /// The kernel's MAC address of it.
    #[serde(with = "mac_text")]
    #[schemars(with = "String")]
    pub mac: MacAddr,
}

/// Work that a network stack leaves to the interface, and that a veth passes on undone: checksums never computed, packets far larger
/// than the MTU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Offload {
    /// Checksums of sent packets.
    TxChecksum,
    /// Segmentation of TCP.
    Tso,
    /// Segmentation of anything else.
    Gso,
    /// Merging of received packets.
    Gro,
}

/// How many connections the kernel tracks at most.
pub(crate) const CONNTRACK_MAX: &str = "net.netfilter.nf_conntrack_max";

impl Offload {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::TxChecksum, Self::Tso, Self::Gso, Self::Gro];

    /// Its name as `ethtool -K` knows it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TxChecksum => "tx-checksum",
            Self::Tso => "tso",
            Self::Gso => "gso",
            Self::Gro => "gro",
        }
    }

    /// Whether the kernel's feature of that name is part of it (names: `net/ethtool/common.c`, `netdev_features_strings`).
    pub fn covers(self, feature: &str) -> bool {
        let prefixes: &[&str] = match self {
            Self::TxChecksum => &["tx-checksum-"],
            Self::Tso => &["tx-tcp"],
            Self::Gso => &["tx-generic-segmentation", "tx-udp-segmentation", "tx-sctp-segmentation", "tx-gso-list"],
            Self::Gro => &["rx-gro"],
        };
        prefixes.iter().any(|prefix| feature.starts_with(prefix))
    }
}

impl At {
    /// The interface of that name in the namespace of that name.
    pub fn new(namespace: impl Into<String>, interface: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), interface: interface.into() }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.namespace, self.interface)
    }
}

impl fmt::Display for Plan {
    /// One line per step.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace { name } => write!(f, "namespace {name}"),
            Self::Sysctl { namespace, key, value, optional } => {
                let if_any = if *optional { " (if there is one)" } else { "" };
                write!(f, "sysctl    {namespace}: {key} = {value}{if_any}")
            }
            Self::Veth { a, b, mtu, queues } => {
                let plural = if *queues == 1 { "" } else { "s" };
                write!(
                    f,
                    "veth      {} ({}) = {} ({}), mtu {mtu}, {queues} queue{plural}",
                    a.at,
                    mac_text::format(a.mac),
                    b.at,
                    mac_text::format(b.mac)
                )
            }
            Self::OffloadsOff { at, offloads } => {
                let names: Vec<_> = offloads.iter().map(|offload| offload.name()).collect();
                write!(f, "offloads  {at}: {} off", names.join(", "))
            }
            Self::Napi { at } => write!(f, "napi      {at}: on (by gro)"),
            Self::NapiThreads { at } => write!(f, "napi      {at}: in threads of its own"),
            Self::ArpOff { at } => write!(f, "arp       {at}: off"),
            Self::Addresses { at, first, count } => match count {
                1 => write!(f, "address   {at}: {first}/32"),
                _ => write!(f, "addresses {at}: {first}/32 and the next {}", count - 1),
            },
            Self::Up { at } => write!(f, "up        {at}"),
            Self::AwaitCarrier { at } => write!(f, "wait      {at}: carrier"),
            Self::Neighbour { at, address, mac } => {
                let mac = mac_text::format(*mac);
                write!(f, "neighbour {at}: {address} is {mac}, permanent")
            }
            Self::Route { at, destination, via, source } => {
                write!(f, "route     {at}: {destination} via {via}, on link, from {source}")
            }
            Self::TableRoute { at, table, destination, via } => {
                write!(f, "route     {at}: {destination}")?;
                if let Some(via) = via {
                    write!(f, " via {via}, on link")?;
                }
                if *table == TABLE_MAIN { Ok(()) } else { write!(f, ", table {table}") }
            }
            Self::Rule { namespace, rule } => write!(f, "rule      {namespace}: {rule}"),
            Self::Vxlan { at, id, port, local, mac, mtu } => {
                let mac = mac_text::format(*mac);
                write!(f, "vxlan     {at} ({mac}): id {id}, port {port}, from {local}, mtu {mtu}")
            }
            Self::TunnelPeer { at, mac, remote } => {
                write!(f, "tunnel    {at}: {} is behind {remote}", mac_text::format(*mac))
            }
            Self::Ruleset { namespace, text } => {
                write!(f, "ruleset   {namespace}:")?;
                text.lines().try_for_each(|line| write!(f, "\n            {line}"))
            }
            Self::Nat { at, nat } => write!(f, "nat       {at}: {nat}"),
            Self::NoNat { namespace } => write!(f, "nat       {namespace}: none"),
            Self::ConntrackRoom { namespace, connections } => {
                write!(f, "room      {namespace}: {CONNTRACK_MAX} at least {connections}")
            }
            Self::ForgetConnections { namespace } => write!(f, "forget    {namespace}: all connections"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Boxes, ForwardedBy, Topology};

    #[test]
    fn offloads_cover_the_kernel_features_of_their_kind() {
        let kind = |feature| Offload::ALL.into_iter().find(|o| o.covers(feature));
        assert_eq!(kind("tx-checksum-ip-generic"), Some(Offload::TxChecksum));
        assert_eq!(kind("tx-tcp6-segmentation"), Some(Offload::Tso));
        assert_eq!(kind("tx-udp-segmentation"), Some(Offload::Gso));
        assert_eq!(kind("rx-gro"), Some(Offload::Gro));
        assert_eq!(kind("rx-checksum"), None);
        assert_eq!(kind("tx-scatter-gather"), None);
    }

    #[test]
    fn a_plan_survives_serialisation() {
        let boxes = Boxes { node: ForwardedBy::Kernel, gateway: ForwardedBy::Kernel };
        let mut plan = Plan::clients(&Topology::default(), boxes, None).unwrap();
        let nat = KernelNat { translate: Translate::Masquerade, ports: PortChoice::Random, port_range: Some((1, 9)) };
        plan.steps.extend(Plan::translation(boxes, None, Some(&nat), 9).steps);
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
    }
}
