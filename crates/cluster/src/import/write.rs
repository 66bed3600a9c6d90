//! A cluster as a scenario file.

use std::fmt::{Display, Write as _};

use natrig_lab::net::Ipv4Net;

use crate::model::{Cilium, Cluster, EgressGateway, Plugin, VpcCni};

/// What `natrig run` and `natrig trace` read; defaults are left out where nobody chose them.
pub(super) fn toml(cluster: &Cluster) -> String {
    let mut file = File::default();
    let plain = Cluster::default();
    file.line("# Who reaches whom in this cluster, and who sees which address?\n".to_owned());
    file.line("test = \"cluster\"".to_owned());
    file.line("title = \"Imported cluster\"".to_owned());
    file.line("question = \"Who reaches whom in this cluster, and who sees which address?\"".to_owned());
    file.section("cluster");
    file.word("pods", cluster.pods);
    if cluster.overlay_cidr != plain.overlay_cidr {
        file.word("overlay_cidr", cluster.overlay_cidr);
    }
    file.section("node");
    file.words("interfaces", &cluster.node.interfaces);
    file.section("vpc");
    file.word("cidr", cluster.vpc.cidr);
    file.word("exit", cluster.vpc.exit);
    if cluster.vpc.peered != plain.vpc.peered {
        file.word("peered_cidr", cluster.vpc.peered);
    }
    match &cluster.plugin {
        Plugin::Cilium(cilium) => file.cilium(cilium),
        Plugin::VpcCni(cni) => file.vpc_cni(cni),
    }
    file.text
}

#[derive(Default)]
struct File {
    text: String,
}

impl File {
    fn line(&mut self, line: String) {
        self.text.push_str(&line);
        self.text.push('\n');
    }

    fn section(&mut self, name: &str) {
        self.line(format!("\n[{name}]"));
    }

    fn word(&mut self, key: &str, word: impl Display) {
        self.line(format!("{key} = \"{word}\""));
    }

    fn flag(&mut self, key: &str, flag: bool) {
        self.line(format!("{key} = {flag}"));
    }

    fn words<T: Display>(&mut self, key: &str, words: &[T]) {
        let mut list = String::new();
        for (nth, word) in words.iter().enumerate() {
            let _ = write!(list, "{}\"{word}\"", if nth == 0 { "" } else { ", " });
        }
        self.line(format!("{key} = [{list}]"));
    }

    /// A list that may not be empty in a file is left out instead.
    fn some_words<T: Display>(&mut self, key: &str, words: &[T]) {
        if !words.is_empty() {
            self.words(key, words);
        }
    }

    fn cilium(&mut self, cilium: &Cilium) {
        self.section("cilium");
        self.flag("enable-ipv4-masquerade", cilium.masquerade);
        self.some_words("egress-masquerade-interfaces", &cilium.interfaces);
        if let Some(native) = cilium.native_routing {
            self.word("ipv4-native-routing-cidr", native);
        }
        if cilium.remote_node_masquerade {
            self.flag("enable-remote-node-masquerade", true);
        }
        if let Some(agent) = &cilium.ip_masq_agent {
            self.section("cilium.ip-masq-agent");
            let listed: &[Ipv4Net] = agent.non_masquerade.as_deref().unwrap_or_default();
            self.some_words("nonMasqueradeCIDRs", listed);
            self.flag("masqLinkLocal", agent.link_local);
        }
        if let Some(EgressGateway { destinations, excluded, node }) = &cilium.egress_gateway {
            self.section("cilium.egress-gateway");
            self.some_words("destinationCIDRs", destinations);
            self.some_words("excludedCIDRs", excluded);
            self.line(format!("node = {node}"));
        }
    }

    fn vpc_cni(&mut self, cni: &VpcCni) {
        self.section("vpc-cni");
        self.flag("AWS_VPC_K8S_CNI_EXTERNALSNAT", cni.external_snat);
        self.word("AWS_VPC_K8S_CNI_RANDOMIZESNAT", cni.randomize);
        self.some_words("AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS", &cni.exclude);
    }
}
