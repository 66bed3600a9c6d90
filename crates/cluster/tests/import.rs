//! Settings of real clusters, and what becomes of them.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::path::Path;

use natrig_cluster::import::{Concern, ImportError, Imported, Surroundings, import};
use natrig_cluster::model::{Cilium, Exit, IpMasqAgent, Plugin, PodNetwork, RandomizeSnat, VpcCni};
use natrig_cluster::settings;
use natrig_lab::net::Ipv4Net;

const NOTHING_KNOWN: Surroundings = Surroundings { exit: None, interfaces: Vec::new() };

fn imported(name: &str) -> Imported {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import").join(name);
    let imported = import(&fs::read_to_string(path).unwrap(), &NOTHING_KNOWN).unwrap();
    // What is written reads as what was imported.
    let toml = imported.toml();
    let scenario =
        settings::read(&toml, Path::new("imported.toml")).unwrap_or_else(|fault| panic!("{fault:?} in\n{toml}"));
    assert_eq!(scenario.designs[0].cluster, imported.cluster, "{toml}");
    imported
}

/// Line, concern and key of what there is to say, assumptions left out.
fn said(imported: &Imported) -> Vec<(usize, Concern, &str)> {
    let all = imported.findings.iter().map(|finding| (finding.line, finding.concern, finding.key.as_str()));
    all.filter(|(_, concern, _)| *concern != Concern::Assumed).collect()
}

fn net(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

#[test]
fn eni_with_masquerade() {
    let imported = imported("cilium-eni-masquerade.yaml");
    let cluster = &imported.cluster;
    assert_eq!(
        (cluster.pods, cluster.vpc.cidr, cluster.vpc.exit),
        (PodNetwork::Eni, net("10.40.0.0/16"), Exit::NatGateway)
    );
    let cilium =
        Cilium { interfaces: vec!["eth0".to_owned()], native_routing: Some(net("10.40.0.0/16")), ..Cilium::default() };
    assert_eq!(cluster.plugin, Plugin::Cilium(cilium));
    // A key that Cilium has dropped, and one whose name is not Cilium's.
    assert_eq!(
        said(&imported),
        [(38, Concern::Unknown, "enable-remote-node-identity"), (41, Concern::Unknown, "ipam-cilium-node-update-rate")]
    );
}

#[test]
fn eni_without_masquerade() {
    let imported = imported("cilium-eni-no-masquerade.yaml");
    assert_eq!(imported.cluster.pods, PodNetwork::Eni);
    let Plugin::Cilium(cilium) = &imported.cluster.plugin else { panic!("Cilium") };
    assert!(!cilium.masquerade && cilium.ip_masq_agent.is_none());
    assert_eq!(
        said(&imported),
        [
            (12, Concern::Contradictory, "egress-masquerade-interfaces"),
            (13, Concern::Contradictory, "enable-bpf-masquerade"),
            (22, Concern::Unknown, "tunel-protocol"),
        ]
    );
}

#[test]
fn overlay_with_ip_masq_agent() {
    let imported = imported("cilium-overlay-ip-masq-agent.yaml");
    let cluster = &imported.cluster;
    assert_eq!((cluster.pods, cluster.overlay_cidr), (PodNetwork::Overlay, net("10.0.0.0/8")));
    assert!(!cluster.vpc.cidr.overlaps(cluster.overlay_cidr) && !cluster.vpc.peered.overlaps(cluster.overlay_cidr));
    let cilium = Cilium {
        interfaces: vec!["ens5".to_owned()],
        ip_masq_agent: Some(IpMasqAgent {
            non_masquerade: Some(vec![net("10.0.0.0/8"), net("192.168.0.0/16")]),
            link_local: true,
        }),
        ..Cilium::default()
    };
    assert_eq!(cluster.plugin, Plugin::Cilium(cilium));
    // The line of a key within a text within the file.
    assert_eq!(said(&imported), [(35, Concern::Unknown, "resyncInterval")]);
}

#[test]
fn helm_values_that_contradict_themselves() {
    let imported = imported("cilium-helm-values.yaml");
    assert_eq!(imported.cluster.pods, PodNetwork::Eni);
    assert_eq!(
        said(&imported),
        [
            (7, Concern::Contradictory, "routing-mode"),
            (11, Concern::Contradictory, "enable-ip-masq-agent"),
            (15, Concern::Unknown, "ipMasqAgent.config.masqLinklocal"),
            (16, Concern::Unknown, "egressMasqueradeInterface"),
        ]
    );
    let shown = imported.findings.iter().find(|finding| finding.line == 7).unwrap().to_string();
    assert_eq!(
        shown,
        "line 7: contradictory routing-mode: a tunnel, while ipam in line 6 is eni, which routes natively; taken as ENI mode"
    );
}

#[test]
fn aws_node_as_a_daemon_set() {
    let imported = imported("aws-node-daemonset.yaml");
    let exclude = vec![net("10.50.0.0/16"), net("172.20.0.0/16")];
    assert_eq!(
        imported.cluster.plugin,
        Plugin::VpcCni(VpcCni { external_snat: false, randomize: RandomizeSnat::HashRandom, exclude })
    );
    assert_eq!(imported.cluster.vpc.peered, net("10.50.0.0/16"));
    assert_eq!(said(&imported), []);
}

#[test]
fn aws_node_as_an_environment_with_contradictions() {
    let imported = imported("aws-node-environment.yaml");
    let Plugin::VpcCni(cni) = &imported.cluster.plugin else { panic!("the VPC CNI") };
    assert!(cni.external_snat);
    assert_eq!(
        said(&imported),
        [
            (3, Concern::Contradictory, "AWS_VPC_K8S_CNI_RANDOMIZESNAT"),
            (4, Concern::Contradictory, "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS"),
            (5, Concern::Unknown, "AWS_VPC_K8S_CNI_EXTERNAL_SNAT"),
        ]
    );
}

#[test]
fn values_that_make_no_sense_and_keys_that_come_twice() {
    let text = "kind: ConfigMap\ndata:\n  ipam: eni\n  enable-ipv4-masquerade: \"yes\"\n  ipam: eni\n  ipv4-native-routing-cidr: 10.0.0.1/16\n";
    let imported = import(text, &NOTHING_KNOWN).unwrap();
    assert_eq!(
        said(&imported),
        [
            (4, Concern::Invalid, "enable-ipv4-masquerade"),
            (5, Concern::Duplicate, "ipam"),
            (6, Concern::Invalid, "ipv4-native-routing-cidr"),
        ]
    );
}

#[test]
fn what_is_not_for_us_is_refused() {
    assert_eq!(import("kind: Service\n", &NOTHING_KNOWN), Err(ImportError::Nothing));
    assert_eq!(import("", &NOTHING_KNOWN), Err(ImportError::Nothing));
    let both = "kind: ConfigMap\ndata: {}\n---\nenv:\n  AWS_VPC_K8S_CNI_EXTERNALSNAT: \"true\"\n";
    assert_eq!(import(both, &NOTHING_KNOWN), Err(ImportError::Both));
    assert!(matches!(import("a: [", &NOTHING_KNOWN), Err(ImportError::Yaml(_))));
}

#[test]
fn surroundings_are_taken_as_given() {
    let known =
        Surroundings { exit: Some(Exit::InternetGateway), interfaces: vec!["ens5".to_owned(), "ens6".to_owned()] };
    let imported = import("ipam:\n  mode: eni\n", &known).unwrap();
    assert_eq!(imported.cluster.node.interfaces, known.interfaces);
    assert!(imported.cluster.node.public_address);
    assert_eq!(imported.findings, []);
}
