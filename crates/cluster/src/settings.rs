//! Settings files of clusters: `test = "cluster"`.
//!
//! What belongs to Cilium or to the VPC CNI is written below `[cilium]` or `[vpc-cni]`, under the names that those give it.

use std::path::Path;

use natrig_bench::settings::kinds::{network, noun, one_or_more, parsed, profile, string, text, whole, word};
use natrig_bench::settings::{Fault, Section, Source, Spot, Spots, Value, Wrong, walk};
use natrig_lab::net::Ipv4Net;
use natrig_nat::Profile;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{Cilium, Cluster, EgressGateway, Exit, IpMasqAgent, Plugin, Pod, PodNetwork, TranslatedBy, VpcCni};

/// Clusters to be compared, and the pods that ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// A name for people.
    pub title: String,
    /// The question that the scenario answers.
    pub question: String,
    /// Each cluster.
    pub designs: Vec<Design>,
    /// Whether masquerading at the node of the first one is to be judged: what it is needed for, costs and breaks.
    pub answer: bool,
}

/// A cluster under a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Design {
    /// The name of its file, without `.toml`.
    pub name: String,
    /// What its file is headed with.
    pub title: String,
    /// The pods that ask.
    pub from: Vec<Pod>,
    /// The cluster.
    pub cluster: Cluster,
}

/// Most elements of a list in a file.
const LIST_MAX: usize = 64;
/// An interface's name, and the node's before it, must be one for Linux.
const INTERFACE_NAME_MAX: usize = 8;
const INTERFACES_MAX: usize = 4;

/// What is asked for while a file is read.
struct Draft {
    title: String,
    question: String,
    answer: bool,
    designs: Vec<String>,
    from: Vec<Pod>,
    cluster: Cluster,
    public_address: Option<bool>,
    cilium: Option<Cilium>,
    vpc_cni: Option<VpcCni>,
}

/// Reads a file; those that it names as `designs` lie beside it.
///
/// # Errors
/// The first mistake in it.
pub fn read(text: &str, file: &Path) -> Result<Scenario, Fault> {
    let stem = file.file_stem().map_or_else(|| "cluster".to_owned(), |stem| stem.to_string_lossy().into_owned());
    let mut draft = Draft {
        title: stem.clone(),
        question: String::new(),
        answer: false,
        designs: Vec::new(),
        from: vec![Pod { node: 1, number: 1 }],
        cluster: Cluster::default(),
        public_address: None,
        cilium: None,
        vpc_cni: None,
    };
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    let spots = walk(text, |top| draft.read(top, folder))?;
    if draft.designs.is_empty() {
        let cluster = draft.finish(&spots)?;
        let design = Design { name: stem, title: draft.title.clone(), from: draft.from, cluster };
        let (question, answer) = (draft.question, draft.answer);
        return Ok(Scenario { title: draft.title, question, designs: vec![design], answer });
    }
    let mut designs = Vec::new();
    for (nth, name) in draft.designs.iter().enumerate() {
        let fault = |message: String, help: &str| Fault {
            at: spots.of(&format!("designs[{nth}]")),
            message,
            help: help.to_owned(),
        };
        let path = file.parent().unwrap_or_else(|| Path::new("")).join(name);
        let source = Source::load(&path).map_err(|error| {
            let first = error.to_string().lines().next().unwrap_or_default().replace("error: ", "");
            fault(first, "name a file beside this one")
        })?;
        let scenario =
            source.read(read).map_err(|error| fault(format!("{name} is wrong:\n{error}"), "mend that file"))?;
        designs.extend(scenario.designs);
    }
    Ok(Scenario { title: draft.title, question: draft.question, designs, answer: draft.answer })
}

impl Draft {
    fn read(&mut self, top: &mut Section<'_, '_>, folder: &Path) {
        let known = || profile(folder, Profile::names());
        top.set("title", &mut self.title, text);
        top.set("question", &mut self.question, text);
        top.set("answer", &mut self.answer, boolean);
        top.set_list("designs", &mut self.designs, one_or_more(LIST_MAX, text));
        let cluster = &mut self.cluster;
        top.section("cluster", |s| {
            s.set("pods", &mut cluster.pods, word);
            s.set("nodes", &mut cluster.nodes, whole(2..=4));
            s.set("pods_per_node", &mut cluster.pods_per_node, whole(1..=4));
            s.set("overlay_cidr", &mut cluster.overlay_cidr, wide_network);
            s.set("translated_by", &mut cluster.translation.by, word);
            s.set_list("from", &mut self.from, one_or_more(LIST_MAX, parsed("a pod", "n1-p1")));
        });
        top.section("node", |s| {
            s.set_list("interfaces", &mut cluster.node.interfaces, one_or_more(INTERFACES_MAX, interface));
            s.set("public_address", &mut self.public_address, |value| boolean(value).map(Some));
            s.set("pod_public_address", &mut cluster.node.pod_public_address, boolean);
            s.set("reverse_path", &mut cluster.node.reverse_path, word);
            let arrival = &mut cluster.node.answers_leave_where_requests_came;
            s.set("answers_leave_where_requests_came", arrival, boolean);
            s.set("profile", &mut cluster.translation.node_profile, |value| known()(value).map(Some));
        });
        top.section("vpc", |s| {
            s.set("cidr", &mut cluster.vpc.cidr, wide_network);
            s.set("source_dest_check", &mut cluster.vpc.source_dest_check, boolean);
            s.set("exit", &mut cluster.vpc.exit, word);
            s.set("peered_cidr", &mut cluster.vpc.peered, network);
            s.set("metadata_hop_limit", &mut cluster.vpc.metadata_hop_limit, whole(1..=64));
        });
        top.section("nat_gateway", |s| {
            s.set("zones", &mut cluster.nat_gateway.zones, whole(1..=2));
            s.set("addresses", &mut cluster.nat_gateway.addresses, whole(1..=8));
            s.set("upstream", &mut cluster.nat_gateway.upstream, boolean);
            s.set("profile", &mut cluster.translation.gateway_profile, |value| known()(value).map(Some));
        });
        if top.has("cilium") {
            let cilium = self.cilium.insert(Cilium::default());
            top.section("cilium", |s| read_cilium(s, cilium));
        }
        if top.has("vpc-cni") {
            let cni = self.vpc_cni.insert(VpcCni::default());
            top.section("vpc-cni", |s| {
                s.set("AWS_VPC_K8S_CNI_EXTERNALSNAT", &mut cni.external_snat, boolean);
                s.set("AWS_VPC_K8S_CNI_RANDOMIZESNAT", &mut cni.randomize, word);
                s.set_list("AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS", &mut cni.exclude, networks);
            });
        }
    }

    /// What no key alone can be wrong about.
    fn finish(&mut self, spots: &Spots) -> Result<Cluster, Fault> {
        let fault = |name: &str, message: &str, help: &str| {
            Err(Fault { at: spots.of(name), message: message.to_owned(), help: help.to_owned() })
        };
        let mut cluster = self.cluster.clone();
        let has_gateway = cluster.vpc.exit == Exit::InternetGateway;
        cluster.node.public_address = self.public_address.unwrap_or(has_gateway);
        cluster.plugin = match (self.cilium.take(), self.vpc_cni.take()) {
            (Some(_), Some(_)) => {
                return fault("vpc-cni", "there are two plugins", "keep [cilium] or [vpc-cni], not both");
            }
            (None, Some(cni)) => Plugin::VpcCni(cni),
            (cilium, None) => Plugin::Cilium(cilium.unwrap_or_default()),
        };
        if matches!(cluster.plugin, Plugin::VpcCni(_)) && cluster.pods == PodNetwork::Overlay {
            return fault("cluster.pods", "the VPC CNI has no overlay", "write pods = \"eni\"");
        }
        if cluster.egress_node().is_some_and(|node| node > cluster.nodes) {
            let name = "cilium.egress-gateway.node";
            return fault(name, "there is no node of that number", "name one of the cluster's nodes, from 1");
        }
        if cluster.node.public_address && !has_gateway {
            let message = "public addresses of nodes need an internet gateway";
            return fault("node.public_address", message, "write exit = \"internet-gateway\" below [vpc]");
        }
        if cluster.node.pod_public_address && !(has_gateway && cluster.pods == PodNetwork::Eni) {
            let message = "a pod's public address needs an internet gateway, and a private address of the VPC";
            return fault("node.pod_public_address", message, "write exit = \"internet-gateway\" and pods = \"eni\"");
        }
        if let Some(why) = cluster.needs_nft() {
            if cluster.translation.by == TranslatedBy::Natrig {
                return fault("cluster.translated_by", &format!("{why}, which needs nftables"), "remove translated_by");
            }
            let policy = !cluster.node.answers_leave_where_requests_came;
            if policy && cluster.translation.node_profile.is_some() {
                return fault("node.profile", &format!("{why}, which no profile does"), "remove profile below [node]");
            }
        }
        let overlay = (cluster.pods == PodNetwork::Overlay).then_some(("cluster.overlay_cidr", cluster.overlay_cidr));
        for (name, block) in overlay.into_iter().chain([("vpc.peered_cidr", cluster.vpc.peered)]) {
            if block.overlaps(cluster.vpc.cidr) {
                return fault(name, "overlaps the VPC's block", "choose a block outside of vpc.cidr");
            }
        }
        for (nth, pod) in self.from.iter().enumerate() {
            if !cluster.pod_list().any(|known| known == *pod) {
                let name = format!("cluster.from[{nth}]");
                return fault(
                    &name,
                    &format!("there is no pod {pod}"),
                    "raise nodes or pods_per_node, or name another",
                );
            }
        }
        Ok(cluster)
    }
}

fn read_cilium(s: &mut Section<'_, '_>, cilium: &mut Cilium) {
    s.set("enable-ipv4-masquerade", &mut cilium.masquerade, boolean);
    s.set_list("egress-masquerade-interfaces", &mut cilium.interfaces, one_or_more(INTERFACES_MAX, selector));
    s.set("ipv4-native-routing-cidr", &mut cilium.native_routing, |value| network(value).map(Some));
    s.set("enable-remote-node-masquerade", &mut cilium.remote_node_masquerade, boolean);
    if s.has("ip-masq-agent") {
        let agent = cilium.ip_masq_agent.insert(IpMasqAgent { non_masquerade: None, link_local: false });
        s.section("ip-masq-agent", |s| {
            s.set("nonMasqueradeCIDRs", &mut agent.non_masquerade, |value| {
                Ok(Some(networks(value)?.into_iter().map(|(_, block)| block).collect()))
            });
            s.set("masqLinkLocal", &mut agent.link_local, boolean);
        });
    }
    if s.has("egress-gateway") {
        let gateway = cilium.egress_gateway.insert(EgressGateway {
            destinations: vec![Ipv4Net::ANY],
            excluded: Vec::new(),
            node: 2,
        });
        s.section("egress-gateway", |s| {
            s.set_list("destinationCIDRs", &mut gateway.destinations, networks);
            s.set_list("excludedCIDRs", &mut gateway.excluded, networks);
            s.set("node", &mut gateway.node, whole(1..=4));
        });
    }
}

fn networks(value: &Value<'_>) -> Result<Vec<(Spot, Ipv4Net)>, Wrong> {
    one_or_more(LIST_MAX, network)(value)
}

/// Addresses are given by their last 16 bits.
fn wide_network(value: &Value<'_>) -> Result<Ipv4Net, Wrong> {
    let block = network(value)?;
    if block.prefix_len() <= 16 {
        return Ok(block);
    }
    Err(Wrong::new("is too small: natrig numbers hosts by the last 16 bits", "write a prefix length of at most 16"))
}

fn boolean(value: &Value<'_>) -> Result<bool, Wrong> {
    let wrong = || Wrong::new(format!("must be true or false, not {}", noun(value.get_ref())), "write true or false");
    value.get_ref().as_bool().ok_or_else(wrong)
}

fn interface(value: &Value<'_>) -> Result<String, Wrong> {
    const HELP: &str = "write the name of an interface in quotes, for example \"eth0\"";
    let name = string(value, "the name of an interface", HELP)?;
    let fits = !name.is_empty()
        && name.len() <= INTERFACE_NAME_MAX
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if fits {
        return Ok(name.to_owned());
    }
    Err(Wrong::new("must be 1 to 8 lower-case letters and digits", HELP))
}

/// `eth0`, or `eth+` for all names that begin so.
fn selector(value: &Value<'_>) -> Result<String, Wrong> {
    const HELP: &str = "write the name of an interface, or the beginning of several with a `+`, such as \"eth+\"";
    let name = string(value, "a selector of interfaces", HELP)?;
    let stem = name.strip_suffix('+').unwrap_or(name);
    if !stem.is_empty() && stem.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
        return Ok(name.to_owned());
    }
    Err(Wrong::new("names no interface", HELP))
}
