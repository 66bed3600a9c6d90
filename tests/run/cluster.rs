//! Clusters: what is measured of each design equals what is known of it, and each mistake is called by its name.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use natrig_bench::settings::Word;
use natrig_bench::test::RecordOf;
use natrig_cluster::death::{Cause, Layer};
use natrig_cluster::matrix::{Cell, Destination, Matrix, Measured};
use natrig_cluster::test::ClusterTest;
use natrig_cluster::trace::{Misconfiguration, Trace};

use super::sound;
use crate::support::harness::Outcome;
use crate::support::place::Place;

/// What a destination sees of a pod.
#[derive(Debug, Clone, Copy)]
enum Sees {
    /// This address.
    A(&'static str),
    /// One of so many from this one on.
    OneOf(&'static str, u32),
    /// Nothing: there is no answer.
    Nothing,
}

use Sees::{A, Nothing, OneOf};

const OVERLAY_POD: Sees = A("10.244.1.5");
const POD: Sees = A("10.0.1.50");
const POD_OF_N2: Sees = A("10.0.1.60");
const NODE: Sees = A("10.0.0.10");
const NODE_PUBLIC: Sees = A("198.51.100.10");
const GATEWAY_PUBLIC: Sees = A("203.0.113.8");
const EGRESS: Sees = A("10.0.0.90");
const EGRESS_PUBLIC: Sees = A("198.51.100.90");
const PROVIDER: Sees = A("203.0.113.200");

/// What is known of a design: what each destination sees of a pod, in the order of [`Destination::ALL`], and at which layers the way to
/// the internet is translated.
struct Known {
    design: &'static str,
    pod: &'static str,
    sees: [Sees; 6],
    translated_at: &'static [&'static str],
}

const fn known(design: &'static str, sees: [Sees; 6], translated_at: &'static [&'static str]) -> Known {
    Known { design, pod: "n1-p1", sees, translated_at }
}

/// Internet, host in the VPC, pod on another node, another node, metadata endpoint, peered network.
const TABLE: [Known; 18] = [
    known("t00-overlay", [Nothing, Nothing, OVERLAY_POD, Nothing, Nothing, Nothing], &[]),
    known("t01-overlay-masquerade", [NODE_PUBLIC, NODE, OVERLAY_POD, NODE, NODE, NODE], &["n1", "igw"]),
    known("t02-overlay-double", [GATEWAY_PUBLIC, NODE, OVERLAY_POD, NODE, NODE, NODE], &["n1", "natgw-a"]),
    known("t03-eni-masquerade", [NODE_PUBLIC, POD, POD, POD, NODE, NODE], &["n1", "igw"]),
    known("t03-ip-masq-agent", [NODE_PUBLIC, POD, POD, POD, Nothing, NODE], &["n1", "igw"]),
    known("t04-eni-double", [GATEWAY_PUBLIC, POD, POD, POD, NODE, NODE], &["n1", "natgw-a"]),
    known("t05-eni-gateway", [GATEWAY_PUBLIC, POD, POD, POD, POD, POD], &["natgw-a"]),
    known("t06-eni-public", [Nothing, POD, POD, POD, POD, POD], &[]),
    known("t07-pod-address", [NODE_PUBLIC, POD, POD, POD, NODE, NODE], &["n1", "igw"]),
    known("t07-answers-by-eth0", [NODE_PUBLIC, POD, POD, POD, NODE, NODE], &["n1", "igw"]),
    known("t08-selector", [Nothing, POD, POD, POD, Nothing, Nothing], &[]),
    known("t09-vpc-cni", [NODE_PUBLIC, POD, POD, POD, NODE, POD], &["n1", "igw"]),
    known("t09-vpc-cni-gateway", [GATEWAY_PUBLIC, POD, POD, POD, NODE, POD], &["n1", "natgw-a"]),
    known("t10-egress-gateway", [EGRESS_PUBLIC, EGRESS, OVERLAY_POD, NODE, NODE, NODE], &["n2", "igw"]),
    known("t10-egress-gateway-nat", [GATEWAY_PUBLIC, EGRESS, POD, POD, NODE, NODE], &["n2", "natgw-a"]),
    known("t11-zones", [OneOf("203.0.113.8", 4), POD, POD, POD, POD, POD], &["natgw-a"]),
    Known {
        design: "t11-zones",
        pod: "n2-p1",
        sees: [OneOf("203.0.113.24", 4), POD_OF_N2, POD_OF_N2, POD_OF_N2, POD_OF_N2, POD_OF_N2],
        translated_at: &["natgw-b"],
    },
    known("t12-nat444", [PROVIDER, POD, POD, POD, NODE, NODE], &["n1", "natgw-a", "upstream"]),
];

/// Asking the pod: designs in which the internet, a host in the VPC, a pod and another node, and a peered host get an answer.
const ASKING_IN: [(&str, [bool; 5]); 17] = [
    ("t00-overlay", [false, false, true, true, false]),
    ("t01-overlay-masquerade", [false, false, true, true, false]),
    ("t02-overlay-double", [false, false, true, true, false]),
    // The peered host's question comes by eth1, and the answer, which is beyond the VPC, leaves by eth0.
    ("t03-eni-masquerade", [false, true, true, true, false]),
    ("t03-ip-masq-agent", [false, true, true, true, false]),
    ("t04-eni-double", [false, true, true, true, false]),
    ("t05-eni-gateway", [false, true, true, true, true]),
    ("t06-eni-public", [false, true, true, true, true]),
    ("t07-pod-address", [true, true, true, true, true]),
    ("t07-answers-by-eth0", [false, true, true, true, false]),
    ("t08-selector", [false, true, true, true, false]),
    ("t09-vpc-cni", [false, true, true, true, true]),
    ("t09-vpc-cni-gateway", [false, true, true, true, true]),
    ("t10-egress-gateway", [false, false, true, true, false]),
    ("t10-egress-gateway-nat", [false, true, true, true, false]),
    ("t11-zones", [false, true, true, true, true]),
    ("t12-nat444", [false, true, true, true, false]),
];

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench-configs").join(format!("cluster-{name}.toml"))
}

/// Every design of the table, by real packets of all three protocols.
pub(crate) fn matrix(place: &Place<'_>) -> Outcome {
    let record = measured(place, &|_, text| text);
    let mut wrong = differences(&record);
    for (design, answers) in ASKING_IN {
        let asking = Destination::ALL.iter().filter(|destination| **destination != Destination::Metadata);
        for (&destination, answered) in asking.zip(answers) {
            let cell = of(&record, design).cell("n1-p1", destination).unwrap();
            if !cell.inward.iter().all(|measured| measured.reachable == answered) {
                wrong.push(format!("{design}: {destination} asks n1-p1: {:?}", cell.inward));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // What the gateway saw tells double from single translation.
    for (design, saw) in [("t02-overlay-double", NODE), ("t04-eni-double", NODE), ("t05-eni-gateway", POD)] {
        gateway_saw(of(&record, design).cell("n1-p1", Destination::Internet).unwrap(), saw);
    }
    gateway_saw(of(&record, "t10-egress-gateway-nat").cell("n1-p1", Destination::Internet).unwrap(), EGRESS);
    // Each side sees the other as it should: the answer comes from the address that was asked.
    let inward = &of(&record, "t07-pod-address").cell("n1-p1", Destination::Internet).unwrap().inward;
    for measured in inward {
        assert_eq!(measured.source_seen, Some(Ipv4Addr::new(9, 9, 9, 9)));
        assert_eq!(measured.answer_from, Some(Ipv4Addr::new(198, 51, 100, 50)));
    }
    let page = std::fs::read_to_string(place.join("out").join("report.html")).unwrap();
    let drawn = page.matches("class=\"refused\"").count();
    assert!(drawn > 10 && page.contains("<svg"), "{drawn} cells that nothing reaches");
    Ok(())
}

/// The same table with natrig's own NATs: without any rule of the kernel's where a design can do without, else at its NAT gateways.
pub(crate) fn profiles(place: &Place<'_>) -> Outcome {
    let needs_rules = |design: &str| ["t07-pod", "t09", "t10"].iter().any(|name| design.starts_with(name));
    let record = measured(place, &|design, text| match design {
        "t09-vpc-cni-gateway" | "t10-egress-gateway-nat" => {
            with(text, "nat_gateway", "profile = \"gcp-cloudnat-dynamic\"")
        }
        design if needs_rules(design) => text,
        _ => with(text, "cluster", "translated_by = \"natrig\""),
    });
    let wrong = differences(&record);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for measured in &record.measured.designs {
        let design = measured.name.strip_prefix("cluster-").unwrap();
        let node = if needs_rules(design) { "nftables" } else { "cilium-bpf" };
        assert_eq!(measured.node_by, node, "{design}");
    }
    for (design, gateway) in [("t04-eni-double", "aws-natgw"), ("t09-vpc-cni-gateway", "gcp-cloudnat-dynamic")] {
        assert_eq!(record.measured.designs.iter().find(|at| at.name.ends_with(design)).unwrap().gateway_by, gateway);
    }
    Ok(())
}

/// A file with a further line in a section.
fn with(text: String, section: &str, line: &str) -> String {
    let head = format!("[{section}]\n");
    if text.contains(&head) {
        text.replace(&head, &format!("{head}{line}\n"))
    } else {
        format!("{text}\n{head}{line}\n")
    }
}

/// Files that an ordinary user can read, wherever the repository lies, and what is measured of them.
fn measured(place: &Place<'_>, change: &dyn Fn(&str, String) -> String) -> RecordOf<ClusterTest> {
    for (design, _) in &ASKING_IN {
        let text = std::fs::read_to_string(shipped(design)).unwrap();
        place.file(&format!("cluster-{design}.toml"), &change(design, text));
    }
    place.file("cluster-matrix.toml", &std::fs::read_to_string(shipped("matrix")).unwrap());
    let ended = place.run(["run", "cluster-matrix.toml", "--json", "--out", "out"]);
    assert_eq!(ended.code, Some(0), "{ended}");
    let record: RecordOf<ClusterTest> = sound::record(&ended.stdout, "cluster.schema.json");
    assert_eq!(record.measured.designs.len(), ASKING_IN.len());
    record
}

fn of<'r>(record: &'r RecordOf<ClusterTest>, design: &str) -> &'r Matrix {
    let name = format!("cluster-{design}");
    &record.measured.designs.iter().find(|measured| measured.name == name).unwrap().matrix
}

/// Where what was measured is not what is known.
fn differences(record: &RecordOf<ClusterTest>) -> Vec<String> {
    let mut wrong = Vec::new();
    for Known { design, pod, sees, translated_at } in &TABLE {
        for (&destination, sees) in Destination::ALL.iter().zip(sees) {
            let cell = of(record, design).cell(pod, destination).unwrap();
            wrong.extend(cell.outward.iter().filter_map(|measured| {
                let told = differs(measured, *sees)?;
                Some(format!("{design}: {pod} to {destination} by {}: {told}", measured.protocol))
            }));
        }
        let internet = of(record, design).cell(pod, Destination::Internet).unwrap();
        for measured in &internet.outward {
            let at: Vec<&str> = measured.translations.iter().map(|translation| translation.place.as_str()).collect();
            if at != *translated_at {
                wrong.push(format!("{design}: translated at {at:?} rather than {translated_at:?}"));
            }
        }
    }
    wrong
}

/// None: it is as is known.
fn differs(measured: &Measured, sees: Sees) -> Option<String> {
    let first = |text: &str| text.parse::<Ipv4Addr>().unwrap().to_bits();
    let fits = match (sees, measured.source_seen) {
        (Nothing, _) => !measured.reachable && measured.death.as_ref().is_some_and(explained),
        (_, None) => false,
        (A(address), Some(seen)) => measured.reachable && seen.to_bits() == first(address),
        (OneOf(address, count), Some(seen)) => {
            measured.reachable && (first(address)..first(address) + count).contains(&seen.to_bits())
        }
    };
    (!fits).then(|| format!("{measured:?} rather than {sees:?}"))
}

fn explained(death: &natrig_cluster::death::Death) -> bool {
    matches!(
        (death.cause, death.layer),
        (Cause::SourceCheck, Layer::Vpc) | (Cause::NoPublicAddress, Layer::InternetGateway)
    )
}

fn gateway_saw(cell: &Cell, expected: Sees) {
    let A(expected) = expected else { panic!("one address") };
    for measured in &cell.outward {
        let gateway = measured.seen_by.iter().find(|seen| seen.place == "natgw-a").unwrap();
        assert_eq!(gateway.source.to_string(), expected);
    }
}

/// The mistakes that have a name, each found in a design that makes it; and what a trace shows of a packet that fares well.
pub(crate) fn traces(place: &Place<'_>) -> Outcome {
    let mistakes = [
        ("t03-ip-masq-agent", "n1-p1", "metadata", Misconfiguration::SecondaryByPrimary, "masqLinkLocal"),
        ("t08-selector", "n1-p1", "internet", Misconfiguration::SelectorMatchesNothing, "\"ens5\""),
        ("t00-overlay", "n1-p1", "vpc-host", Misconfiguration::OverlayAtSourceCheck, "enable-ipv4-masquerade"),
        ("t07-answers-by-eth0", "internet", "n1-p1", Misconfiguration::AnswerByPrimary, "answers_leave_where"),
        ("t06-eni-public", "n1-p1", "internet", Misconfiguration::NoPublicAddress, "NAT gateway"),
    ];
    for (design, from, to, name, mend) in mistakes {
        let trace = traced(place, design, from, to);
        let diagnosis = trace.diagnosis.unwrap_or_else(|| panic!("{design}: no diagnosis"));
        assert_eq!(diagnosis.name, name, "{design}");
        assert!(diagnosis.mend.contains(mend), "{design}: {}", diagnosis.mend);
        assert!(!trace.answered && trace.death.is_some());
    }
    let trace = traced(place, "t04-eni-double", "n1-p1", "internet");
    assert!(trace.answered && trace.death.is_none() && trace.diagnosis.is_none());
    let places =
        |hops: &[natrig_cluster::trace::Hop]| -> Vec<String> { hops.iter().map(|hop| hop.place.clone()).collect() };
    assert_eq!(places(&trace.request), ["n1-p1", "n1", "vpc", "natgw-a", "internet"]);
    assert_eq!(places(&trace.answer), ["internet", "natgw-a", "vpc", "n1", "n1-p1"]);
    let node = &trace.request[1];
    let route = node.route.as_ref().unwrap();
    assert_eq!(route.rule, "32766: from all lookup main");
    assert!(route.way.contains("dev eth0, table main"), "{}", route.way);
    let rule = &node.rules[0];
    assert_eq!((rule.number, rule.rule.as_str(), rule.action.word()), (10, "endpoint", "translate"));
    assert_eq!(node.came.as_ref().unwrap().header.source.to_string(), "10.0.1.50");
    assert_eq!(node.went[0].header.source.to_string(), "10.0.0.10");
    let trace = traced(place, "t04-eni-double", "n1-p1", "vpc-host");
    let node = &trace.request[1];
    assert_eq!(node.route.as_ref().unwrap().rule, "111: from 10.0.1.50/32 to 10.0.0.0/16 lookup 11");
    // Only eth0 is masqueraded on, and it leaves by eth1.
    assert_eq!((node.rules[0].number, node.rules[0].rule.as_str()), (0, "interface"));
    Ok(())
}

fn traced(place: &Place<'_>, design: &str, from: &str, to: &str) -> Trace {
    let file = format!("{design}.toml");
    place.file(&file, &std::fs::read_to_string(shipped(design)).unwrap());
    let ended = place.run(["trace", &file, "--from", from, "--to", to, "--json"]);
    assert_eq!(ended.code, Some(0), "{ended}");
    serde_json::from_str(&ended.stdout).unwrap()
}

/// What a trace is asked wrongly.
pub(crate) fn mistakes(place: &Place<'_>) -> Outcome {
    place.file("one.toml", &std::fs::read_to_string(shipped("t03-eni-masquerade")).unwrap());
    place.file("two.toml", "test = \"cluster\"\n[cilium]\n[vpc-cni]\n");
    place.file("three.toml", "test = \"cluster\"\n[vpc]\nexit = \"nat-gateway\"\n[node]\npublic_address = true\n");
    for (arguments, word) in [
        (&["trace", "one.toml", "--to", "moon"][..], "peer-pod"),
        (&["trace", "one.toml", "--from", "n9-p1", "--to", "internet"], "n1-p1"),
        (&["trace", "one.toml", "--from", "metadata", "--to", "internet"], "must be a pod"),
        (&["trace", "two.toml", "--to", "internet"], "two plugins"),
        (&["run", "three.toml", "--dry-run"], "internet gateway"),
    ] {
        let ended = place.run(arguments);
        assert_eq!(ended.code, Some(2), "{ended}");
        assert!(ended.stderr.contains(word), "no {word} in: {ended}");
    }
    Ok(())
}

/// From a cluster's own settings to a scenario that runs, and what is said of keys that make no sense.
pub(crate) fn imports(place: &Place<'_>) -> Outcome {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cluster/tests/import");
    place.file("config.yaml", &std::fs::read_to_string(folder.join("cilium-eni-masquerade.yaml")).unwrap());
    let ended = place.run(["import", "config.yaml", "--interfaces", "ens5,ens6", "--out", "mine.toml"]);
    assert_eq!(ended.code, Some(0), "{ended}");
    let said = "config.yaml: line 41: unknown ipam-cilium-node-update-rate";
    assert!(ended.stderr.contains(said), "{ended}");
    assert!(ended.stderr.contains("assumed vpc.exit") && ended.stdout.is_empty(), "{ended}");
    let plan = place.natrig(["run", "mine.toml", "--dry-run"]).succeed();
    assert!(plan.contains("to 10.40.0.0/16 lookup 11") && plan.contains("namespace natgw-a"), "{plan}");
    place.file("wrong.yaml", "ipam:\n  mode: eni\nenableIPv4Masquerade: perhaps\n");
    let ended = place.run(["import", "wrong.yaml"]);
    assert_eq!(ended.code, Some(2), "{ended}");
    assert!(ended.stderr.contains("line 3: invalid") && ended.stdout.contains("[cilium]"), "{ended}");
    place.file("service.yaml", "kind: Service\n");
    let ended = place.run(["import", "service.yaml"]);
    assert_eq!(ended.code, Some(2), "{ended}");
    assert!(ended.stderr.contains("help: kubectl"), "{ended}");
    Ok(())
}

/// The question that everybody asks, answered in sentences with figures.
pub(crate) fn answers(place: &Place<'_>) -> Outcome {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench-configs/eks-eni.toml");
    place.file("eks-eni.toml", &std::fs::read_to_string(shipped).unwrap());
    let ended = place.run(["run", "eks-eni.toml", "--json", "--out", "out"]);
    assert_eq!(ended.code, Some(0), "{ended}");
    let record: RecordOf<ClusterTest> = sound::record(&ended.stdout, "cluster.schema.json");
    let answer = record.measured.answer.unwrap();
    // Rates need a machine that keeps a schedule, and are said to be missing where it does not.
    assert!(answer.masquerades && answer.cost.is_some() == answer.missing.is_empty(), "{:?}", answer.missing);
    let gateway = answer.ports.iter().find(|ports| ports.layer == "gateway").unwrap();
    assert_eq!(gateway.flows_at_first_refusal, 55_000);
    let broken: u32 = answer.toggle.unwrap().classes.iter().map(|class| class.broken).sum();
    assert!(broken > 0);
    let summary = std::fs::read_to_string(place.join("out").join("summary.md")).unwrap();
    let (_, told) = summary.split_once("## The answer").unwrap();
    for words in [
        "not needed for reachability here: n1-p1 reaches 6 of 6 kinds of destinations with it, 6 without",
        "metadata sees 10.0.0.10 with it, 10.0.1.50 without",
        if answer.cost.is_some() { "Its cost" } else { "Not measured: the cost" },
        "after 55000 open ones",
        "connections to the internet break",
    ] {
        assert!(told.contains(words), "no `{words}` in\n{told}");
    }
    Ok(())
}
