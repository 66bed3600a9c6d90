//! The environment of the VPC CNI's daemon set, aws-node.

use super::yaml::Node;
use super::{Concern, Entries, Imported};
use crate::model::{Cluster, Plugin, PodNetwork, RandomizeSnat, VpcCni};
use natrig_bench::settings::Word;

const EXTERNAL: &str = "AWS_VPC_K8S_CNI_EXTERNALSNAT";
const RANDOMIZE: &str = "AWS_VPC_K8S_CNI_RANDOMIZESNAT";
const EXCLUDE: &str = "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS";

/// Variables of the plugin's README that do not bear on who sees which IPv4 address.
const WITHOUT_EFFECT: &[&str] = &[
    "ADDITIONAL_ENI_TAGS",
    "ANNOTATE_POD_IP",
    "AWS_EC2_ENDPOINT",
    "AWS_REGION",
    "AWS_VPC_CNI_NODE_PORT_SUPPORT",
    "AWS_VPC_ENI_MTU",
    "AWS_VPC_K8S_CNI_CONFIGURE_RPFILTER",
    "AWS_VPC_K8S_CNI_LOGLEVEL",
    "AWS_VPC_K8S_CNI_LOG_FILE",
    "AWS_VPC_K8S_CNI_VETHPREFIX",
    "AWS_VPC_K8S_PLUGIN_LOG_FILE",
    "AWS_VPC_K8S_PLUGIN_LOG_LEVEL",
    "CLUSTER_ENDPOINT",
    "CLUSTER_NAME",
    "DISABLE_INTROSPECTION",
    "DISABLE_LEAKED_ENI_CLEANUP",
    "DISABLE_METRICS",
    "DISABLE_NETWORK_RESOURCE_PROVISIONING",
    "DISABLE_POD_V6",
    "DISABLE_TCP_EARLY_DEMUX",
    "ENABLE_BANDWIDTH_PLUGIN",
    "ENABLE_IMDS_ONLY_MODE",
    "ENABLE_IPv4",
    "ENABLE_IPv6",
    "ENABLE_MULTI_NIC",
    "ENABLE_NFTABLES",
    "ENABLE_PREFIX_DELEGATION",
    "ENABLE_SUBNET_DISCOVERY",
    "INTROSPECTION_BIND_ADDRESS",
    "IP_COOLDOWN_PERIOD",
    "MAX_ENI",
    "MINIMUM_IP_TARGET",
    "MY_NODE_NAME",
    "MY_POD_NAME",
    "NETWORK_POLICY_ENFORCING_MODE",
    "POD_MTU",
    "POD_SECURITY_GROUP_ENFORCING_MODE",
    "VPC_CNI_VERSION",
    "VPC_ID",
    "WARM_ENI_TARGET",
    "WARM_IP_TARGET",
    "WARM_PREFIX_TARGET",
];

/// Whether a document is an environment on its own: a list of names and values, or a map of them.
pub(super) fn is_environment(document: &Node) -> bool {
    let ours = |name: &str| name.starts_with("AWS_VPC_");
    let named = |element: &Node| element.get("name").and_then(Node::text).is_some_and(ours);
    let around = document.get("env").unwrap_or(document);
    around.list().iter().any(named) || around.map().iter().any(|(key, _)| ours(&key.text))
}

impl Entries {
    pub(super) fn daemon_set(&mut self, document: &Node) {
        let containers = document.at(&["spec", "template", "spec", "containers"]).map_or(&[][..], Node::list);
        // Beside it stands the agent of network policies, whose variables are its own.
        let aws_node =
            containers.iter().find(|container| container.get("name").and_then(Node::text) == Some("aws-node"));
        if let Some(environment) = aws_node.and_then(|container| container.get("env")) {
            self.environment(environment);
        }
    }

    pub(super) fn environment(&mut self, document: &Node) {
        let environment = document.get("env").unwrap_or(document);
        for element in environment.list() {
            let Some(name) = element.get("name").and_then(Node::text) else { continue };
            match element.get("value") {
                Some(value) => self.take(name, name, element.line, value),
                // `valueFrom`: the downward API, which nothing that we read comes from.
                None if is_known(name) => {}
                None => self.say(element.line, name, Concern::Unknown, "natrig does not know this variable"),
            }
        }
        for (key, value) in environment.map() {
            self.take(&key.text, &key.text, key.line, value);
        }
    }

    pub(super) fn into_vpc_cni(mut self) -> Imported {
        let unknown: Vec<(usize, String)> = self
            .entries
            .iter()
            .filter(|entry| !is_known(&entry.key) && entry.key != CUSTOM_NETWORK)
            .map(|entry| (entry.line, entry.key.clone()))
            .collect();
        for (line, key) in unknown {
            self.say(line, &key, Concern::Unknown, "natrig does not know this variable");
        }
        if self.flag(CUSTOM_NETWORK) == Some(true) {
            let message = "pods have subnets of their own; natrig keeps one subnet for each interface";
            self.say(self.line(CUSTOM_NETWORK), CUSTOM_NETWORK, Concern::Assumed, message);
        }
        let external_snat = self.flag(EXTERNAL) == Some(true);
        let randomize = self.text(RANDOMIZE).map(str::to_owned);
        let defaults = VpcCni::default();
        let randomize = match randomize.as_deref().map(RandomizeSnat::from_word) {
            None => defaults.randomize,
            Some(Some(word)) => word,
            Some(None) => {
                let message = "must be prng, hashrandom or none";
                self.say(self.line(RANDOMIZE), RANDOMIZE, Concern::Invalid, message);
                defaults.randomize
            }
        };
        let exclude = self.networks(EXCLUDE);
        if external_snat {
            for key in [RANDOMIZE, EXCLUDE] {
                if self.text(key).is_some() {
                    let message = format!("has no effect: {EXTERNAL} in line {} is true", self.line(EXTERNAL));
                    self.say(self.line(key), key, Concern::Contradictory, message);
                }
            }
        }
        let mut cluster = Cluster { pods: PodNetwork::Eni, ..Cluster::default() };
        let outside = exclude.iter().find(|block| !block.overlaps(cluster.vpc.cidr) && block.prefix_len() <= 24);
        if let Some(peered) = outside {
            // What is excluded is what is reached privately.
            cluster.vpc.peered = *peered;
        }
        cluster.plugin = Plugin::VpcCni(VpcCni { external_snat, randomize, exclude });
        Imported { cluster, findings: self.findings }
    }
}

const CUSTOM_NETWORK: &str = "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG";

fn is_known(name: &str) -> bool {
    [EXTERNAL, RANDOMIZE, EXCLUDE].contains(&name) || WITHOUT_EFFECT.contains(&name)
}
