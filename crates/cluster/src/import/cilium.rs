//! Cilium's settings: the agent's names for them, and Helm's.

use natrig_lab::net::Ipv4Net;

use super::yaml::{self, Node, Value, YamlError};
use super::{Concern, Entries, Imported};
use crate::model::{Cilium, Cluster, EgressGateway, IpMasqAgent, Plugin, PodNetwork};

/// Helm's path of a value, and the agent's name for it (install/kubernetes/cilium/templates/cilium-configmap.yaml).
const HELM: [(&str, &str); 17] = [
    ("enableIPv4Masquerade", "enable-ipv4-masquerade"),
    ("bpf.masquerade", "enable-bpf-masquerade"),
    ("egressMasqueradeInterfaces", "egress-masquerade-interfaces"),
    ("ipv4NativeRoutingCIDR", "ipv4-native-routing-cidr"),
    ("enableRemoteNodeMasquerade", "enable-remote-node-masquerade"),
    ("ipMasqAgent.enabled", "enable-ip-masq-agent"),
    ("ipMasqAgent.config.nonMasqueradeCIDRs", NON_MASQUERADE),
    ("ipMasqAgent.config.masqLinkLocal", LINK_LOCAL),
    ("ipMasqAgent.config.masqLinkLocalIPv6", "masqLinkLocalIPv6"),
    ("egressGateway.enabled", "enable-egress-gateway"),
    ("ipam.mode", "ipam"),
    ("ipam.operator.clusterPoolIPv4PodCIDRList", "cluster-pool-ipv4-cidr"),
    ("ipam.operator.clusterPoolIPv4MaskSize", "cluster-pool-ipv4-mask-size"),
    ("routingMode", "routing-mode"),
    ("tunnelProtocol", "tunnel-protocol"),
    ("tunnel", "tunnel"),
    ("devices", "devices"),
];

const NON_MASQUERADE: &str = "nonMasqueradeCIDRs";
const LINK_LOCAL: &str = "masqLinkLocal";

/// Keys that are read.
const READ: [&str; 15] = [
    "enable-ipv4-masquerade",
    "enable-bpf-masquerade",
    "egress-masquerade-interfaces",
    "ipv4-native-routing-cidr",
    "enable-remote-node-masquerade",
    "enable-ip-masq-agent",
    NON_MASQUERADE,
    LINK_LOCAL,
    "enable-egress-gateway",
    "enable-ipv4-egress-gateway",
    "ipam",
    "cluster-pool-ipv4-cidr",
    "routing-mode",
    "tunnel",
    "devices",
];

/// Keys of a ConfigMap, and first keys of Helm values, that do not bear on who sees which IPv4 address. An asterisk stands for any end.
const WITHOUT_EFFECT: &[&str] = &[
    "agent-*",
    "annotate-k8s-node",
    "arping-*",
    "auto-create-cilium-node-resource",
    "auto-direct-node-routes",
    "bgp*",
    "bpf-*",
    "cgroup*",
    "cilium-endpoint-gc-interval",
    "cluster-id",
    "cluster-name",
    "cluster-pool-ipv4-mask-size",
    "cluster-pool-ipv6-*",
    "clustermesh-*",
    "cni-*",
    "controller-group-metrics",
    "custom-cni-conf",
    "datapath-mode",
    "debug",
    "debug-verbose",
    "direct-routing-*",
    "disable-*",
    "dnsproxy-*",
    "ec2-api-endpoint",
    "egress-gateway-reconciliation-trigger-interval",
    "enable-auto-protect-node-port-range",
    "enable-bandwidth-manager",
    "enable-bbr",
    "enable-bgp-control-plane",
    "enable-bpf-clock-probe",
    "enable-endpoint-health-checking",
    "enable-endpoint-routes",
    "enable-external-ips",
    "enable-gateway-api*",
    "enable-health-*",
    "enable-host-*",
    "enable-hubble*",
    "enable-identity-mark",
    "enable-ingress-controller",
    "enable-internal-traffic-policy",
    "enable-ipip-termination",
    "enable-ipsec*",
    "enable-ipv4",
    "enable-ipv4-big-tcp",
    "enable-ipv6*",
    "enable-k8s-*",
    "enable-l2-*",
    "enable-l7-proxy",
    "enable-lb-ipam",
    "enable-local-*",
    "enable-metrics",
    "enable-monitor-aggregation",
    "enable-node-port",
    "enable-non-default-deny-policies",
    "enable-policy*",
    "enable-runtime-device-detection",
    "enable-sctp",
    "enable-session-affinity",
    "enable-source-ip-verification",
    "enable-svc-source-range-check",
    "enable-tcx",
    "enable-vtep",
    "enable-well-known-identities",
    "enable-wireguard*",
    "enable-xdp-prefilter",
    "enable-xt-socket-fallback",
    "eni-*",
    "envoy-*",
    "external-envoy-proxy",
    "hubble-*",
    "identity-*",
    "install-no-conntrack-iptables-rules",
    "instance-tags-filter",
    "k8s-*",
    "kube-proxy-replacement*",
    "limit-ipam-api-*",
    "masqLinkLocalIPv6",
    "max-connected-clusters",
    "mesh-auth-*",
    "metrics*",
    "monitor-*",
    "nat-map-stats-*",
    "node-port-*",
    "nodeport-addresses",
    "nodes-gc-interval",
    "operator-*",
    "parallel-alloc-workers",
    "policy-*",
    "preallocate-bpf-maps",
    "procfs",
    "prometheus-serve-addr",
    "proxy-*",
    "remove-cilium-node-taints",
    "set-cilium-*",
    "sidecar-istio-proxy-image",
    "skip-cnp-status-startup-clean",
    "subnet-*",
    "synchronize-k8s-nodes",
    "tofqdns-*",
    "tunnel-port",
    "tunnel-protocol",
    "tunnel-source-port-range",
    "unmanaged-pod-watcher-interval",
    "update-ec2-adapter-limit-via-api",
    "vtep-*",
    "wait-bpf-mount",
    "write-cni-conf-when-ready",
    "aws-*",
    "ces-*",
    "cluster-health-port",
    "clean-*",
    "default-lb-service-ipam",
    "iptables-*",
    "mtu",
    "read-cni-conf",
    "restored-proxy-ports-age-limit",
    "enable-ipv4-fragment-tracking",
    "enable-cilium-*",
    "enable-service-topology",
    // Helm's.
    "image",
    "operator",
    "hubble",
    "prometheus",
    "resources",
    "tolerations",
    "nodeinit",
    "cni",
    "eni",
    "kubeProxyReplacement",
    "k8sServiceHost",
    "k8sServicePort",
    "cluster",
    "encryption",
    "envoy",
    "l7Proxy",
    "loadBalancer",
    "nodePort",
    "rollOutCiliumPods",
    "autoDirectNodeRoutes",
    "endpointRoutes",
    "ipv4",
    "ipv6",
    "affinity",
    "priorityClassName",
    "updateStrategy",
    "serviceAccounts",
    "securityContext",
    "upgradeCompatibility",
    "bandwidthManager",
    "gatewayAPI",
    "ingressController",
    "socketLB",
    "hostFirewall",
    "policyEnforcementMode",
    "bpf",
    "egressGateway",
    "ipMasqAgent",
    "ipam",
    "extraArgs",
    "extraConfig",
    "podAnnotations",
    "podLabels",
    "MTU",
    "enableIPv6Masquerade",
];

/// Whether a document that says nothing of itself looks like Helm values of Cilium.
pub(super) fn is_helm(document: &Node) -> bool {
    HELM.iter().any(|(path, _)| document.at(&path.split('.').collect::<Vec<_>>()).is_some())
}

impl Entries {
    pub(super) fn config_map(&mut self, document: &Node) {
        for (key, value) in document.get("data").map_or(&[][..], Node::map) {
            self.take(&key.text, &key.text, key.line, value);
        }
    }

    /// ip-masq-agent's own ConfigMap: YAML within YAML.
    pub(super) fn agent(&mut self, document: &Node) -> Result<(), YamlError> {
        for (key, value) in document.get("data").map_or(&[][..], Node::map) {
            let Some(text) = value.text().filter(|_| key.text == "config") else {
                self.say(key.line, &key.text, Concern::Unknown, "ip-masq-agent reads `config` only");
                continue;
            };
            // The text of a block begins on the line behind its key.
            let shift = key.line;
            let inner = yaml::read(text).map_err(|error| YamlError { line: error.line + shift, ..error })?;
            for (key, value) in inner.first().map_or(&[][..], Node::map) {
                self.take(&key.text, &key.text, key.line + shift, value);
            }
        }
        Ok(())
    }

    pub(super) fn helm(&mut self, document: &Node) {
        self.helm_below(document, "");
    }

    fn helm_below(&mut self, node: &Node, prefix: &str) {
        for (key, value) in node.map() {
            let path = format!("{prefix}{}", key.text);
            if let Some((_, agent)) = HELM.iter().find(|(known, _)| *known == path) {
                self.take(agent, &path, key.line, value);
            } else if matches!(value.value, Value::Map(_))
                && HELM.iter().any(|(known, _)| known.starts_with(&format!("{path}.")))
            {
                self.helm_below(value, &format!("{path}."));
            } else if prefix.is_empty() && !is_without_effect(&path) {
                self.say(key.line, &path, Concern::Unknown, "natrig does not know this value");
            } else if prefix.starts_with("ipMasqAgent.config.") {
                self.say(key.line, &path, Concern::Unknown, "ip-masq-agent does not know this key");
            }
        }
    }

    pub(super) fn into_cilium(mut self) -> Imported {
        let unknown: Vec<(usize, String)> = self
            .entries
            .iter()
            .filter(|entry| !READ.contains(&entry.key.as_str()) && !is_without_effect(&entry.key))
            .map(|entry| (entry.line, entry.key.clone()))
            .collect();
        for (line, key) in unknown {
            self.say(line, &key, Concern::Unknown, "natrig does not know this key");
        }
        let pods = self.pod_network();
        let mut cluster = Cluster { pods, ..Cluster::default() };
        let masquerade = self.flag("enable-ipv4-masquerade");
        let bpf = self.flag("enable-bpf-masquerade") == Some(true);
        let agent = self.flag("enable-ip-masq-agent") == Some(true);
        let gateway =
            self.flag("enable-egress-gateway").or_else(|| self.flag("enable-ipv4-egress-gateway")) == Some(true);
        // The agent's own default; new installations in ENI mode have Helm write false there since Cilium 1.18.
        let masquerade = masquerade.unwrap_or(true);
        self.contradictions(masquerade, bpf, agent);
        // Masquerading in eBPF happens on the devices that Cilium attaches to; iptables has a list of its own.
        let interfaces = self.words(if bpf { "devices" } else { "egress-masquerade-interfaces" });
        let native = self.networks("ipv4-native-routing-cidr").first().copied();
        self.place(&mut cluster, native);
        let non_masquerade = self.networks(NON_MASQUERADE);
        let listed = self.entries.iter().any(|entry| entry.key == NON_MASQUERADE);
        cluster.plugin = Plugin::Cilium(Cilium {
            masquerade,
            interfaces,
            native_routing: native,
            ip_masq_agent: agent.then(|| IpMasqAgent {
                non_masquerade: listed.then_some(non_masquerade),
                link_local: self.flag(LINK_LOCAL) == Some(true),
            }),
            remote_node_masquerade: self.flag("enable-remote-node-masquerade") == Some(true),
            egress_gateway: gateway.then(|| EgressGateway {
                destinations: vec![Ipv4Net::ANY],
                excluded: vec![cluster.vpc.cidr],
                node: 2,
            }),
        });
        if gateway {
            let line = self.line("enable-egress-gateway").max(self.line("enable-ipv4-egress-gateway"));
            let message = "policies are objects of their own; all destinations but the VPC's, by n2";
            self.say(line, "enable-egress-gateway", Concern::Assumed, message);
        }
        Imported { cluster, findings: self.findings }
    }

    fn pod_network(&mut self) -> PodNetwork {
        let text = |key: &str| self.text(key).map(str::to_owned);
        let (ipam, mode, old) = (text("ipam"), text("routing-mode"), text("tunnel"));
        let eni = ipam.as_deref() == Some("eni");
        let tunnels = match (mode.as_deref(), old.as_deref()) {
            (Some(mode), old) => {
                let tunnels = mode == "tunnel";
                if old.is_some_and(|old| (old != "disabled") != tunnels) {
                    let line = self.line("tunnel");
                    let message = format!("says the opposite of routing-mode in line {}", self.line("routing-mode"));
                    self.say(line, "tunnel", Concern::Contradictory, message);
                }
                tunnels
            }
            (None, Some(old)) => old != "disabled",
            // The agent tunnels unless it is told otherwise.
            (None, None) => !eni,
        };
        if eni && tunnels {
            let (line, ipam) = (self.line("routing-mode").max(self.line("tunnel")), self.line("ipam"));
            let message =
                format!("a tunnel, while ipam in line {ipam} is eni, which routes natively; taken as ENI mode");
            self.say(line, "routing-mode", Concern::Contradictory, message);
        }
        match ipam.as_deref() {
            Some("eni") => PodNetwork::Eni,
            Some("cluster-pool" | "cluster-pool-v2beta" | "kubernetes" | "multi-pool") | None => {
                if !tunnels {
                    let line = self.line("routing-mode").max(self.line("tunnel"));
                    let message =
                        "routes pods' own block natively; the VPC of natrig knows no such routes: taken as an overlay";
                    self.say(line, "routing-mode", Concern::Assumed, message);
                }
                PodNetwork::Overlay
            }
            Some(other) => {
                let line = self.line("ipam");
                let message = format!("{other:?} is not a mode that natrig builds; taken as an overlay");
                self.say(line, "ipam", Concern::Assumed, message);
                PodNetwork::Overlay
            }
        }
    }

    fn contradictions(&mut self, masquerade: bool, bpf: bool, agent: bool) {
        let mut against = |key: &str, message: &str| {
            let line = self.line(key);
            if line > 0 {
                self.say(line, key, Concern::Contradictory, message);
            }
        };
        if !masquerade {
            let off = "has no effect: enable-ipv4-masquerade is false";
            against("egress-masquerade-interfaces", off);
            if bpf {
                against("enable-bpf-masquerade", off);
            }
            if agent {
                against("enable-ip-masq-agent", off);
            }
        } else if bpf {
            against(
                "egress-masquerade-interfaces",
                "is for iptables; with enable-bpf-masquerade it is `devices` that count",
            );
        } else if agent {
            against("enable-ip-masq-agent", "needs enable-bpf-masquerade, which is off: the agent refuses to start");
        }
        if !agent {
            for key in [NON_MASQUERADE, LINK_LOCAL] {
                against(key, "has no effect: enable-ip-masq-agent is off");
            }
        }
    }

    /// Blocks of the file, and others that do not overlap them.
    fn place(&mut self, cluster: &mut Cluster, native: Option<Ipv4Net>) {
        let wide = |block: Ipv4Net| Ipv4Net::around(block.network(), block.prefix_len().min(16));
        match cluster.pods {
            PodNetwork::Eni => {
                let Some(native) = native else { return };
                cluster.vpc.cidr = wide(native);
                if cluster.vpc.cidr != native {
                    let line = self.line("ipv4-native-routing-cidr");
                    let message =
                        format!("taken as part of a VPC of {}: natrig numbers hosts by 16 bits", cluster.vpc.cidr);
                    self.say(line, "ipv4-native-routing-cidr", Concern::Assumed, message);
                }
            }
            PodNetwork::Overlay => {
                let pool = self.networks("cluster-pool-ipv4-cidr").first().copied();
                if let Some(pool) = pool {
                    cluster.overlay_cidr = wide(pool);
                }
            }
        }
        let block = |a, b| Ipv4Net::around(std::net::Ipv4Addr::new(a, b, 0, 0), 16);
        if cluster.pods == PodNetwork::Overlay && cluster.overlay_cidr.overlaps(cluster.vpc.cidr) {
            cluster.vpc.cidr = block(172, 31);
        }
        let taken = [cluster.vpc.cidr, cluster.overlay_cidr];
        if taken.iter().any(|taken| taken.overlaps(cluster.vpc.peered)) {
            cluster.vpc.peered = block(192, 168);
        }
    }
}

fn is_without_effect(key: &str) -> bool {
    WITHOUT_EFFECT.iter().any(|known| match known.strip_suffix('*') {
        Some(stem) => key.starts_with(stem),
        None => key == *known,
    })
}
