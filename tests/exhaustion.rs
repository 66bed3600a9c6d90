//! `natrig run` on short files of port exhaustion, one for each experiment, and what they must find.

use std::path::Path;

use natrig_bench::result::Status;
use natrig_bench::test::RecordOf;
use natrig_exhaustion::{Exhaustion, Layer, Measured, RefusedBy, Replacement};

use crate::support::harness::Users::{Anybody, Each};
use crate::support::harness::{Case, Outcome, Skipped, case, in_namespaces};
use crate::support::place::{Place, listing};
use crate::support::schema;

pub(crate) const CASES: [Case; 10] = [
    case("exhaustion::where_ports_run_out", Anybody, fill),
    in_namespaces("exhaustion::the_kernels_curve_is_its_profiles", Each, kernel),
    case("exhaustion::skewed_destinations", Anybody, skewed),
    case("exhaustion::connections_that_come_and_go", Anybody, churn),
    case("exhaustion::a_pod_without_end", Anybody, blast_radius),
    in_namespaces("exhaustion::a_pod_without_end_on_three_nodes", Each, blast_over_veth),
    case("exhaustion::layers_out_of_step", Anybody, timeout_skew),
    case("exhaustion::both_layers", Anybody, both_layers),
    case("exhaustion::what_a_full_table_gives_up", Anybody, replacement),
    case("exhaustion::every_file_in_a_smaller_world", Anybody, files),
];

/// What a run of the file finds, which is complete, kept and told.
fn ran(place: &Place<'_>, file: &str) -> Measured {
    place.file("short.toml", &format!("test = \"exhaustion\"\n{file}"));
    let ended = place.run(["run", "short.toml", "--json", "--out", "out"]);
    assert_eq!(ended.code, Some(0), "{ended}");
    schema::holds("exhaustion.schema.json", &serde_json::from_str(&ended.stdout).unwrap());
    let record: RecordOf<Exhaustion> = serde_json::from_str(&ended.stdout).unwrap();
    let kept = std::fs::read_to_string(place.join("out").join("result.json")).unwrap();
    assert_eq!(record, serde_json::from_str(&kept).unwrap());
    assert_eq!(record.status, Status::Complete);
    assert!(listing(&place.join("out")).contains(&"summary.md".to_owned()));
    // As Markdown, where no table breaks a name.
    let told = place.natrig(["report", "--format", "markdown", "out/result.json"]).succeed();
    for setup in &record.scenario.nats {
        assert!(told.contains(&setup.to_string()), "no {setup} in:\n{told}");
    }
    record.measured
}

fn fill(place: &Place<'_>) -> Outcome {
    let measured = ran(
        place,
        "rounds = 2\nnats = [\"node netfilter\", \"gateway aws-natgw\", \"node netfilter, gateway aws-natgw\"]\n\
         [world]\npods = 500\n[node]\nports = \"64512-65535\"\n[gateway]\nports = \"65024-65535\"\n",
    );
    let [node, gateway, both] = &measured.fills[..] else { panic!("{measured:#?}") };
    assert_eq!([node.nominal_ports, gateway.nominal_ports, both.nominal_ports], [1024, 512, 512]);
    // Linux gives up before its ports have run out; a gateway that looks at all of them does not.
    let first = node.first_refusal_flows.unwrap().median;
    assert!((512.0..1000.0).contains(&first), "{first}");
    assert_eq!(gateway.first_refusal_flows.unwrap().low, 512.0);
    let one = |fill: &natrig_exhaustion::FillResult| {
        let [refused] = &fill.refused[..] else { panic!("{:?}", fill.refused) };
        (refused.layer, refused.counter.clone().unwrap())
    };
    assert_eq!(one(node), (Layer::Node, "insert_failed".to_owned()));
    assert_eq!(one(gateway), (Layer::Gateway, "ErrorPortAllocation".to_owned()));
    // The gateway has fewer ports; what it refuses has taken one at the node already, until these run out as well.
    let first = both.first_refusal_flows.unwrap();
    assert_eq!((first.high, both.refused[0].layer, both.refused.len()), (512.0, Layer::Gateway, 2), "{both:#?}");
    let occupancies: Vec<f64> = node.levels.iter().filter_map(|level| level.occupancy).collect();
    assert!(occupancies.len() == 4 && occupancies.is_sorted(), "{occupancies:?}");
    assert!(node.levels[1].tries > Some(1.0), "{:?}", node.levels);
    Ok(())
}

fn kernel(place: &Place<'_>) -> Outcome {
    let measured = ran(
        place,
        "rounds = 4\nnats = [\"node netfilter\", \"node nftables, over veth\", \"node netfilter-fully-random\", \
         \"node nftables-fully-random, over veth\"]\n[world]\npods = 500\n[node]\nports = \"57344-65535\"\n",
    );
    if let Some(skipped) = measured.skipped.first() {
        return Err(Skipped(skipped.reason.clone()));
    }
    let [kept, random] = &measured.agreements[..] else { panic!("{measured:#?}") };
    for agreement in [kept, random] {
        for level in &agreement.levels {
            // An eighth of the ports and few rounds: there are some ten refusals to know the lower levels by.
            let most = if level.refused < 0.05 { 5.0 } else { 2.0 };
            assert!(level.difference_pp.unwrap().abs() < most, "{agreement:#?}");
            assert!(level.difference_error_pp.is_some(), "{agreement:#?}");
        }
    }
    let refused = &measured.fills[1].refused[..];
    assert!(refused.iter().all(|one| one.counter.as_deref() == Some("insert_failed")), "{refused:?}");
    Ok(())
}

fn skewed(place: &Place<'_>) -> Outcome {
    let measured = ran(
        place,
        "rounds = 1\nnats = [\"gateway rfc4787\", \"gateway aws-natgw\"]\n[world]\npods = 100\nservers = 10\n\
         [traffic]\nskew = 1.0\n[gateway]\nports = \"65024-65535\"\n[fill]\nattempts_per_port = 8.0\n",
    );
    let first = |nth: usize| measured.fills[nth].levels[0].flows.unwrap();
    // One port serves one connection, or one to each destination.
    assert_eq!(first(0), 512.0);
    assert!((1200.0..3000.0).contains(&first(1)), "{}", first(1));
    assert_eq!(measured.fills[1].levels[0].hottest_flows, Some(512.0));
    Ok(())
}

fn churn(place: &Place<'_>) -> Outcome {
    let measured = ran(
        place,
        "experiment = \"churn\"\nnats = [\"gateway azure-natgw\"]\n[gateway]\nports = \"65280-65535\"\nclosing_s = 1\nhold_s = 9\n\
         [churn]\nlifetime_s = 2.0\nwarm_up_s = 40\nmeasure_s = 60\nprecision = 0.1\n",
    );
    let [churn] = &measured.churns[..] else { panic!("{measured:#?}") };
    let formula = churn.formula_per_s.unwrap();
    assert!((formula - 256.0 / 12.0).abs() < 0.01, "{formula}");
    // Chance needs some room below the mean.
    let sustained = churn.sustained_per_s.unwrap();
    assert!((0.6..1.05).contains(&(sustained / formula)), "{sustained} against {formula}");
    let overload = churn.overload.unwrap();
    assert!(overload.refused > 0 && churn.recovery_s.is_some_and(|seconds| seconds <= 30.0), "{churn:#?}");
    Ok(())
}

fn blast_radius(place: &Place<'_>) -> Outcome {
    let measured = ran(
        place,
        "experiment = \"blast-radius\"\nnats = [\"node netfilter\", \"gateway aws-natgw\"]\n[world]\nnodes = 3\npods = 4\n\
         [node]\nports = \"65024-65535\"\n[gateway]\nports = \"65024-65535\"\n\
         [blast_radius]\naggressor_per_s = 100.0\nvictim_per_s = 2.0\nvictim_lifetime_s = 0.5\nduration_s = 15\nquotas = [0, 64]\n",
    );
    let [node, node_quota, gateway, gateway_quota] = &measured.blasts[..] else { panic!("{measured:#?}") };
    assert_eq!((node.same_node.pods_hurt, node.other_nodes.pods_hurt), (3, 0), "a node's ports are its own");
    assert_eq!((gateway.same_node.pods_hurt, gateway.other_nodes.pods_hurt), (3, 8), "a gateway's are everybody's");
    assert!(node.first_victim_s.is_some_and(|seconds| (3.0..15.0).contains(&seconds)), "{node:#?}");
    for quota in [node_quota, gateway_quota] {
        assert_eq!(quota.same_node.refused + quota.other_nodes.refused, 0, "{quota:#?}");
        assert!(quota.aggressor_refused > 1000, "{quota:#?}");
    }
    assert!(gateway.jain_open < gateway_quota.jain_open);
    Ok(())
}

/// Each node a world of its own, one gateway for all: natrig's, or the kernel's.
fn blast_over_veth(place: &Place<'_>) -> Outcome {
    let measured = ran(
        place,
        "experiment = \"blast-radius\"\nnats = [\"node netfilter, over veth\", \"gateway aws-natgw, over veth\", \
         \"node nftables, gateway nftables, over veth\"]\n\
         [world]\nnodes = 3\npods = 4\n[node]\nports = \"65408-65535\"\n[gateway]\nports = \"65408-65535\"\n\
         [blast_radius]\naggressor_per_s = 600.0\nvictim_per_s = 20.0\nvictim_lifetime_s = 0.2\nduration_s = 1\nquotas = [0]\n",
    );
    let [node, gateway, others @ ..] = &measured.blasts[..] else { panic!("{measured:#?}") };
    assert_eq!((node.same_node.pods_hurt, node.other_nodes.pods_hurt), (3, 0), "a node's ports are its own");
    assert_eq!((gateway.same_node.pods_hurt, gateway.other_nodes.pods_hurt), (3, 8), "a gateway's are everybody's");
    assert!(node.refused.iter().all(|one| one.layer == Layer::Node), "{node:#?}");
    assert!(gateway.refused.iter().all(|one| one.counter.as_deref() == Some("ErrorPortAllocation")), "{gateway:#?}");
    if let Some(skipped) = measured.skipped.first() {
        return Err(Skipped(skipped.reason.clone()));
    }
    for kernel in others {
        assert!(kernel.other_nodes.pods_hurt > 4, "a gateway's are everybody's: {kernel:#?}");
        let by_gateway =
            |one: &&RefusedBy| one.layer == Layer::Gateway && one.counter.as_deref() == Some("insert_failed");
        assert!(kernel.refused.iter().any(|one| by_gateway(&one)), "{kernel:#?}");
    }
    Ok(())
}

fn timeout_skew(place: &Place<'_>) -> Outcome {
    let measured = ran(
        place,
        "experiment = \"timeout-skew\"\nnats = [\"node netfilter, gateway aws-natgw\"]\n[node]\nports = \"65024-65535\"\n\
         [gateway]\nports = \"65472-65535\"\nclosing_s = 5\n\
         [timeout_skew]\nnode_s = [100]\ngateway_s = [100, 300]\nconnections = 60\nreuse_connections = 500\nreuse_per_s = 5.0\n",
    );
    let [even, skewed] = &measured.skews[..] else { panic!("{measured:#?}") };
    // Both forget at once: four in five wake before. The gateway resets pods that come later, and tells servers nothing.
    assert_eq!((even.pod_speaks.alive, even.pod_speaks.reset, even.server_speaks.black_holed), (23, 7, 7), "{even:#?}");
    assert!(even.outlived_at_node <= 4 && even.outlived_at_gateway <= 4, "{even:#?}");
    // The node forgets first: what the gateway still remembers reaches nobody.
    assert!(skewed.outlived_at_gateway > 40 && skewed.outlived_at_node == 0, "{skewed:#?}");
    assert!(skewed.black_hole_s.is_some_and(|(from, _)| (100.0..115.0).contains(&from)), "{skewed:#?}");
    assert!(skewed.timeline.len() >= 3, "{skewed:#?}");
    let [reuse] = &measured.reuses[..] else { panic!("{measured:#?}") };
    assert!(reuse.far_end.in_time_wait > 100 && reuse.far_end.within_120_s >= reuse.far_end.in_time_wait, "{reuse:#?}");
    Ok(())
}

fn both_layers(place: &Place<'_>) -> Outcome {
    let measured = ran(
        place,
        "experiment = \"both-layers\"\nrounds = 1\nnats = [\"node rfc4787, gateway aws-natgw\"]\n[world]\npods = 20\n\
         [gateway]\nports = \"65024-65535\"\n\
         [both_layers]\nnodes = [1, 4]\nnode_ports = [256]\ngateway_addresses = [1, 4]\nskews = [0.0]\n",
    );
    let both: Vec<_> = measured.cells.iter().filter(|cell| cell.refused[0] + cell.refused[1] > 0).collect();
    let found: Vec<_> = both
        .iter()
        .filter(|cell| cell.design.translates_at_node() && cell.design.translates_at_gateway())
        .map(|cell| (cell.nodes, cell.gateway_addresses, cell.flows.unwrap(), cell.binds.unwrap()))
        .collect();
    // min(nodes × 256, addresses × 512): both search all of their ports.
    let expected = [(1, 1, 256.0, Layer::Node), (1, 4, 256.0, Layer::Node), (4, 1, 512.0, Layer::Gateway)];
    assert_eq!(found[..3], expected);
    // Pods spread over the nodes by chance: the first node is full before the last.
    let (_, _, flows, binds) = found[3];
    assert!((850.0..=1024.0).contains(&flows) && binds == Layer::Node, "{flows}");
    Ok(())
}

fn replacement(place: &Place<'_>) -> Outcome {
    let measured = ran(
        place,
        "experiment = \"replacement\"\nnats = [\"node cilium-bpf\", \"gateway rfc4787\"]\n[world]\nservers = 4\n\
         [traffic]\nprotocol = \"udp\"\n[node]\ntable = 500\n[gateway]\ntable = 500\n\
         [replacement]\noffers_max = 3000\nfills = 3\n",
    );
    let [lru, keep] = &measured.replacements[..] else { panic!("{measured:#?}") };
    // A flow has two entries, and is lost with either.
    assert_eq!(lru.estimate.policy, Replacement::SampledLru);
    assert!(lru.estimate.capacity.is_some_and(|capacity| (400..=500).contains(&capacity)), "{lru:#?}");
    assert!(lru.estimate.sample.is_some_and(|sample| (3..=16).contains(&sample)), "{lru:#?}");
    assert_eq!((keep.estimate.policy, keep.estimate.capacity), (Replacement::KeepOld, Some(500)));
    Ok(())
}

/// Every file that asks for no real time, as a user has it; what needs namespaces is skipped in it where there are none.
fn files(place: &Place<'_>) -> Outcome {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench-configs");
    let mut ran = 0;
    for file in listing(&folder) {
        if !file.starts_with("exhaustion-") || file.ends_with("-veth.toml") {
            continue;
        }
        let path = folder.join(&file).display().to_string();
        let ended = place.run(["run", path.as_str(), "--effort", "quick", "--json", "--out", file.as_str()]);
        assert_eq!(ended.code, Some(0), "{file}: {ended}");
        let record: RecordOf<Exhaustion> = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(record.status, Status::Complete, "{file}");
        ran += 1;
    }
    assert!(ran >= 8, "{ran} files");
    Ok(())
}
