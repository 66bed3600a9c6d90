//! A cluster as its settings describe it: what is chosen, in the words of those who make the choices.

use std::net::Ipv4Addr;

use natrig_bench::settings::Word;
use natrig_bench::words;
use natrig_lab::net::Ipv4Net;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

words! {
    /// Where pods get their addresses from.
    PodNetwork {
        /// A network of their own that only the nodes know; between nodes their packets travel in VXLAN.
        Overlay = "overlay",
        /// The VPC: each address belongs to one network interface of the node.
        Eni = "eni",
    }
}

words! {
    /// The way out of the VPC, as its route tables say.
    Exit {
        /// None.
        None = "none",
        /// The internet gateway, which translates one to one between private and public addresses.
        InternetGateway = "internet-gateway",
        /// NAT gateways, which translate ports.
        NatGateway = "nat-gateway",
    }
}

words! {
    /// Whether nodes drop packets whose answers would leave by another interface (`net.ipv4.conf.*.rp_filter`).
    ReversePath {
        /// They do not look.
        Off = "off",
        /// They do.
        Strict = "strict",
        /// They drop packets only if there is no way at all for an answer.
        Loose = "loose",
    }
}

words! {
    /// What translates, and drops what has to be dropped.
    TranslatedBy {
        /// nftables if `nft` is there, else natrig.
        Auto = "auto",
        /// The kernel's own rules for packets.
        Nftables = "nftables",
        /// natrig's NATs, and nothing that needs `nft`.
        Natrig = "natrig",
    }
}

words! {
    /// How the VPC CNI has the kernel choose ports (`AWS_VPC_K8S_CNI_RANDOMIZESNAT`).
    RandomizeSnat {
        /// The source port stays if it is free.
        None = "none",
        /// By a hash (`--random`).
        HashRandom = "hashrandom",
        /// At random (`--random-fully`).
        Prng = "prng",
    }
}

/// A cluster, every default filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Where pods get their addresses from.
    pub pods: PodNetwork,
    /// How many nodes: 2 to 4.
    pub nodes: u8,
    /// How many pods on each: 1 to 4.
    pub pods_per_node: u8,
    /// Addresses of the overlay; of no meaning otherwise.
    pub overlay_cidr: Ipv4Net,
    /// Each node.
    pub node: Node,
    /// What routes and masquerades on each node.
    pub plugin: Plugin,
    /// The network around the nodes.
    pub vpc: Vpc,
    /// The NAT gateways, if that is the way out.
    pub nat_gateway: NatGateway,
    /// What translates.
    #[serde(default)]
    pub translation: Translation,
}

/// What translates, and drops what has to be dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Translation {
    /// What does it unless a profile says otherwise.
    pub by: TranslatedBy,
    /// natrig's own NAT masquerades at nodes in Cilium's place, by this profile.
    pub node_profile: Option<String>,
    /// natrig's own NATs are the NAT gateways, by this profile.
    pub gateway_profile: Option<String>,
}

impl Default for Translation {
    fn default() -> Self {
        Self { by: TranslatedBy::Auto, node_profile: None, gateway_profile: None }
    }
}

/// What is the same on each node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Names of its network interfaces, the primary one first. Pods' addresses belong to the others.
    pub interfaces: Vec<String>,
    /// Whether the node has a public address.
    pub public_address: bool,
    /// Whether the first pod of the first node has a public address, on the interface that its private one belongs to.
    pub pod_public_address: bool,
    /// `rp_filter` of its interfaces.
    pub reverse_path: ReversePath,
    /// Answers of pods leave by the interface that the request came in by.
    pub answers_leave_where_requests_came: bool,
}

/// What routes and masquerades on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Plugin {
    /// Cilium.
    Cilium(Cilium),
    /// The VPC CNI of AWS.
    VpcCni(VpcCni),
}

/// Cilium's settings, by its own names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cilium {
    /// `enable-ipv4-masquerade`.
    pub masquerade: bool,
    /// `egress-masquerade-interfaces`: exact names or prefixes (`eth+`); empty: every interface of the node.
    pub interfaces: Vec<String>,
    /// `ipv4-native-routing-cidr`; none: the VPC's CIDR where pods have addresses of the VPC, else the overlay's.
    pub native_routing: Option<Ipv4Net>,
    /// ip-masq-agent's settings, if it is enabled.
    pub ip_masq_agent: Option<IpMasqAgent>,
    /// `enable-remote-node-masquerade`.
    pub remote_node_masquerade: bool,
    /// An egress gateway policy for all pods.
    pub egress_gateway: Option<EgressGateway>,
}

/// ip-masq-agent's settings, by its own names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IpMasqAgent {
    /// `nonMasqueradeCIDRs`; absent: the agent's own list of private and reserved blocks.
    pub non_masquerade: Option<Vec<Ipv4Net>>,
    /// `masqLinkLocal`.
    pub link_local: bool,
}

/// An egress gateway policy (CiliumEgressGatewayPolicy) that selects all pods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EgressGateway {
    /// `destinationCIDRs`.
    pub destinations: Vec<Ipv4Net>,
    /// `excludedCIDRs`.
    pub excluded: Vec<Ipv4Net>,
    /// Which node is the gateway, from 1.
    pub node: u8,
}

/// The VPC CNI's settings, by its own names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VpcCni {
    /// `AWS_VPC_K8S_CNI_EXTERNALSNAT`.
    pub external_snat: bool,
    /// `AWS_VPC_K8S_CNI_RANDOMIZESNAT`.
    pub randomize: RandomizeSnat,
    /// `AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS`.
    pub exclude: Vec<Ipv4Net>,
}

/// The network around the nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Vpc {
    /// Its block; the first 16 bits of each address in it are those of the block.
    pub cidr: Ipv4Net,
    /// Whether a packet is dropped whose source does not belong to the interface it comes from.
    pub source_dest_check: bool,
    /// The way out.
    pub exit: Exit,
    /// Whom the VPC is peered with.
    pub peered: Ipv4Net,
    /// Time to live of what the metadata endpoint answers (`HttpPutResponseHopLimit`).
    pub metadata_hop_limit: u8,
}

/// The NAT gateways.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NatGateway {
    /// How many there are, one for each availability zone: 1 or 2. Nodes take turns in the zones.
    pub zones: u8,
    /// Public addresses of each: 1 to 8.
    pub addresses: u8,
    /// Whether the provider translates once more behind them.
    pub upstream: bool,
}

impl Default for Cluster {
    /// Two nodes in ENI mode that masquerade, behind an internet gateway.
    fn default() -> Self {
        let block = |a, b, prefix_len| Ipv4Net::around(Ipv4Addr::new(a, b, 0, 0), prefix_len);
        Self {
            pods: PodNetwork::Eni,
            nodes: 2,
            pods_per_node: 2,
            overlay_cidr: block(10, 244, 16),
            node: Node {
                interfaces: vec!["eth0".to_owned(), "eth1".to_owned()],
                public_address: true,
                pod_public_address: false,
                reverse_path: ReversePath::Loose,
                answers_leave_where_requests_came: false,
            },
            plugin: Plugin::Cilium(Cilium::default()),
            vpc: Vpc {
                cidr: block(10, 0, 16),
                source_dest_check: true,
                exit: Exit::InternetGateway,
                peered: block(10, 50, 16),
                metadata_hop_limit: 2,
            },
            nat_gateway: NatGateway { zones: 1, addresses: 1, upstream: false },
            translation: Translation::default(),
        }
    }
}

impl Default for Cilium {
    fn default() -> Self {
        Self {
            masquerade: true,
            interfaces: Vec::new(),
            native_routing: None,
            ip_masq_agent: None,
            remote_node_masquerade: false,
            egress_gateway: None,
        }
    }
}

impl Default for VpcCni {
    /// As the plugin's README has it.
    fn default() -> Self {
        Self { external_snat: false, randomize: RandomizeSnat::Prng, exclude: Vec::new() }
    }
}

impl Cluster {
    /// The overlay's or the VPC's block: where packets go that Cilium never masquerades.
    pub fn native_routing(&self, cilium: &Cilium) -> Ipv4Net {
        cilium.native_routing.unwrap_or(match self.pods {
            PodNetwork::Overlay => self.overlay_cidr,
            PodNetwork::Eni => self.vpc.cidr,
        })
    }

    /// Whether nodes translate at all.
    pub fn masquerades(&self) -> bool {
        match &self.plugin {
            Plugin::Cilium(cilium) => cilium.masquerade,
            Plugin::VpcCni(cni) => !cni.external_snat,
        }
    }

    /// Whether the kernel's rules for packets are used at all.
    pub fn uses_nft(&self) -> bool {
        match self.translation.by {
            TranslatedBy::Auto => natrig_lab::nft::find().is_some(),
            TranslatedBy::Nftables => true,
            TranslatedBy::Natrig => false,
        }
    }

    /// What cannot be done without them, if anything.
    pub const fn needs_nft(&self) -> Option<&'static str> {
        match &self.plugin {
            Plugin::VpcCni(_) => Some("the VPC CNI marks connections"),
            Plugin::Cilium(Cilium { egress_gateway: Some(_), .. }) => Some("egress gateway policies mark packets"),
            Plugin::Cilium(_) if self.node.answers_leave_where_requests_came => Some("arrivals are marked"),
            Plugin::Cilium(_) => None,
        }
    }

    /// Whether natrig's own NAT stands at the interfaces of nodes.
    pub fn node_is_natrigs(&self) -> bool {
        matches!(self.plugin, Plugin::Cilium(_)) && (self.translation.node_profile.is_some() || !self.uses_nft())
    }

    /// Whether the NAT gateways are natrig's own.
    pub fn gateway_is_natrigs(&self) -> bool {
        self.translation.gateway_profile.is_some() || !self.uses_nft()
    }

    /// By which profile it masquerades.
    pub fn node_profile(&self) -> String {
        self.translation.node_profile.clone().unwrap_or_else(|| "cilium-bpf".to_owned())
    }

    /// By which profile they translate.
    pub fn gateway_profile(&self) -> String {
        self.translation.gateway_profile.clone().unwrap_or_else(|| "aws-natgw".to_owned())
    }

    /// What translates at nodes and at NAT gateways: `nftables`, or a profile.
    pub fn translators(&self) -> (String, String) {
        let nftables = || "nftables".to_owned();
        (
            if self.node_is_natrigs() { self.node_profile() } else { nftables() },
            if self.gateway_is_natrigs() { self.gateway_profile() } else { nftables() },
        )
    }

    /// The pods, node by node, as (node from 1, pod of the node from 1).
    pub fn pod_list(&self) -> impl Iterator<Item = Pod> {
        let pods = self.pods_per_node;
        (1..=self.nodes).flat_map(move |node| (1..=pods).map(move |number| Pod { node, number }))
    }

    /// The primary interface's name.
    pub fn primary(&self) -> &str {
        &self.node.interfaces[0]
    }

    /// Which interface of its node, from 0, a pod's address belongs to; in an overlay none does.
    pub fn owner(&self, pod: Pod) -> usize {
        let secondary = self.node.interfaces.len().saturating_sub(1);
        match self.pods {
            PodNetwork::Overlay => 0,
            PodNetwork::Eni if secondary == 0 => 0,
            PodNetwork::Eni => 1 + usize::from(pod.number - 1) % secondary,
        }
    }
}

/// A pod, by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Pod {
    /// Its node, from 1.
    pub node: u8,
    /// Which of the node's pods, from 1.
    pub number: u8,
}

impl Pod {
    /// The name of its namespace: `n1-p1`.
    pub fn name(self) -> String {
        format!("n{}-p{}", self.node, self.number)
    }
}

impl std::str::FromStr for Pod {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        let (node, number) = name.strip_prefix('n').and_then(|rest| rest.split_once("-p")).ok_or(())?;
        Ok(Self { node: node.parse().map_err(|_| ())?, number: number.parse().map_err(|_| ())? })
    }
}

impl std::fmt::Display for Pod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.name())
    }
}

/// Every address of a cluster. They follow from places, not from settings, so that answers can be compared between designs.
impl Cluster {
    fn vpc_address(&self, third: u8, fourth: u8) -> Ipv4Addr {
        let [a, b, ..] = self.vpc.cidr.network().octets();
        Ipv4Addr::new(a, b, third, fourth)
    }

    /// The VPC's router in the subnet of the nodes' interface of that number.
    pub fn router(&self, interface: usize) -> Ipv4Addr {
        self.vpc_address(subnet(interface), 1)
    }

    /// A node's own address on its interface of that number.
    pub fn node_address(&self, node: u8, interface: usize) -> Ipv4Addr {
        self.vpc_address(subnet(interface), 9 + node)
    }

    /// A pod's address.
    pub fn pod_address(&self, pod: Pod) -> Ipv4Addr {
        match self.pods {
            PodNetwork::Overlay => {
                let [a, b, ..] = self.overlay_cidr.network().octets();
                Ipv4Addr::new(a, b, pod.node, 4 + pod.number)
            }
            PodNetwork::Eni => self.vpc_address(subnet(self.owner(pod)), 39 + 10 * pod.node + pod.number),
        }
    }

    /// The pods of a node in the overlay.
    pub fn overlay_of(&self, node: u8) -> Ipv4Net {
        let [a, b, ..] = self.overlay_cidr.network().octets();
        Ipv4Net::around(Ipv4Addr::new(a, b, node, 0), 24)
    }

    /// A node's own address in the tunnel between nodes; in an overlay one of its pods' block, as `cilium_host` has it.
    pub fn tunnel_address(&self, node: u8) -> Ipv4Addr {
        match self.pods {
            PodNetwork::Overlay => Ipv4Addr::from_bits(self.overlay_of(node).network().to_bits() | 1),
            PodNetwork::Eni => Ipv4Addr::new(100, 64, 0, node),
        }
    }

    /// An ordinary host in the VPC.
    pub fn host(&self) -> Ipv4Addr {
        self.vpc_address(9, 9)
    }

    /// A NAT gateway's private address; zones count from 0.
    pub fn nat_gateway(&self, zone: u8) -> Ipv4Addr {
        self.vpc_address(8, 8 + zone)
    }

    /// The address that the egress gateway translates to, a second one of its node's primary interface.
    pub fn egress_address(&self) -> Ipv4Addr {
        self.vpc_address(0, 90)
    }

    /// A host of the peered network.
    pub fn peered_host(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.vpc.peered.network().to_bits() | 9)
    }
}

const fn subnet(interface: usize) -> u8 {
    interface as u8
}

/// The instance metadata endpoint.
pub const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// A server on the internet; outside of the blocks that ip-masq-agent excludes by default, documentation blocks among them. No packet
/// to it ever leaves the cluster's namespaces.
pub const INTERNET: Ipv4Addr = Ipv4Addr::new(9, 9, 9, 9);
/// What the provider translates to behind the NAT gateways.
pub const UPSTREAM: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 200);
/// The egress gateway's public address.
pub const EGRESS_PUBLIC: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 90);
/// The public address of a pod that has one.
pub const POD_PUBLIC: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 50);

/// A node's public address.
pub const fn node_public(node: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, 9 + node)
}

/// A NAT gateway's public addresses; zones count from 0.
pub fn gateway_public(zone: u8, addresses: u8) -> Vec<Ipv4Addr> {
    (0..addresses).map(|nth| Ipv4Addr::new(203, 0, 113, 8 + 16 * zone + nth)).collect()
}
