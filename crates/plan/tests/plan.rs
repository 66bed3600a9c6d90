//! The plan against the closed forms that everybody can work out by hand: a test for each of twelve questions about capacity,
//! `question_01` to `question_12`, and what holds for all plans.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::path::Path;

use natrig_bench::scenario::Design;
use natrig_bench::settings::Source;
use natrig_plan::analysis::plan;
use natrig_plan::fleet::Fleet;
use natrig_plan::report::{Figure, Plan};
use natrig_plan::{demand, formula};

fn planned(text: &str) -> Plan {
    let fleet = Fleet::read(&Source::new(&format!("test = \"plan\"\n{text}"), "fleet.toml")).unwrap();
    let profiles = fleet.profiles().unwrap();
    plan(&fleet, &profiles, demand::of_fleet(&fleet), Vec::new())
}

/// A fleet of 1,000 nodes with one destination.
fn one(gateway: &str, addresses: u32, rate_per_pod: f64, lifetime_s: f64, more: &str) -> Plan {
    planned(&format!(
        "simulated_connections = 0\nrefusal_probability = 0.01\n[fleet]\nnodes = 1000\npods = 10_000\n[node]\nprofile = \"rfc4787\"\n\
         [gateway]\nprofile = \"{gateway}\"\naddresses = {addresses}\n[[destination]]\nname = \"d\"\n\
         rate_per_pod = {rate_per_pod}\nlifetime_s = {lifetime_s}\n{more}"
    ))
}

fn close_to(figure: f64, expected: f64, share: f64) {
    assert!((figure / expected - 1.0).abs() <= share, "{figure} instead of {expected}");
}

fn at_gateway(plan: &Plan) -> &Figure {
    &plan.destinations[0].gateway.headroom
}

/// AWS with 8 addresses bears 440,000 connections to one destination, Azure with 16 bears 800,000.
#[test]
fn question_01_how_many_connections_to_one_destination() {
    assert_eq!(formula::connections_max(8, 64_512, 55_000, 1.0), 440_000.0);
    assert_eq!(formula::connections_max(16, 64_512, 50_000, 1.0), 800_000.0);
    for (gateway, addresses, bears) in [("aws-natgw", 8, 440_000.0), ("azure-natgw", 16, 800_000.0)] {
        let plan = one(gateway, addresses, 1.0, 100_000.0, "");
        let used = &plan.destinations[0].gateway;
        // One in a hundred may be refused: so many more may ask.
        close_to(used.in_use.value * used.headroom.value, bears / 0.99, 0.005);
    }
}

/// ports over the time that each is taken: Azure after a FIN 65 s and its last second, Google 64 ports a node for 120 s.
#[test]
fn question_02_how_many_new_connections_a_second() {
    close_to(formula::rate_max_per_s(64_512.0, 0.0, 120.0), 537.6, 0.001);
    close_to(formula::rate_max_per_s(64_512.0, 0.0, 65.0), 992.5, 0.001);
    close_to(formula::rate_max_per_s(64.0, 0.0, 120.0), 0.533, 0.001);
    close_to(formula::rate_max_per_s(2048.0, 0.0, 120.0), 17.07, 0.001);
    close_to(formula::rate_max_per_s(32_768.0, 0.0, 20.0), 1638.4, 0.001);
    close_to(formula::rate_max_per_s(32_768.0, 0.0, 310.0), 105.7, 0.001);
    let plan = one("azure-natgw", 1, 0.01, 1.0, "");
    close_to(plan.destinations[0].rate_per_s.value * at_gateway(&plan).value, 50_000.0 / 67.0 / 0.99, 0.005);
}

/// whichever layer bears less binds; a node layer that is not near its end costs nothing.
#[test]
fn question_03_does_double_nat_cost_capacity() {
    assert_eq!(formula::layers_max(2, 20_000.0, 55_000.0), (40_000.0, true));
    assert_eq!(formula::layers_max(1000, 20_000.0, 55_000.0), (55_000.0, false));
    let plan = one("aws-natgw", 1, 0.1, 1.0, "");
    let breaks = |design: Design| {
        let design = plan.designs.iter().find(|one| one.design == design).unwrap();
        design.limits.iter().filter(|limit| limit.layer != "pod").map(|limit| limit.breaks_at.value).fold(1e9, f64::min)
    };
    close_to(breaks(Design::Both), breaks(Design::Gateway).min(breaks(Design::Node)), 0.001);
}

/// nodes per address where ports are set aside.
#[test]
fn question_04_how_many_nodes_per_address() {
    assert_eq!([64, 2048, 7168].map(|ports| formula::nodes_per_address(64_512, ports)), [1008, 31, 9]);
    let plan = one("gcp-cloudnat-static", 1, 0.0001, 1.0, "");
    let gateway = plan.designs.iter().find(|design| design.design == Design::Gateway).unwrap();
    let blocks = gateway.limits.iter().find(|limit| limit.what.starts_with("nodes that")).unwrap();
    // 1,000 nodes of 1,008, and one in a hundred may be left out.
    close_to(blocks.breaks_at.value, 1.008 / 0.99, 0.002);
}

/// addresses are connections over what one bears, rounded up.
#[test]
fn question_05_how_many_addresses() {
    assert_eq!(formula::addresses_min(110_001.0, 55_000.0), 3);
    // 200,000 connections open, and 1 % of refusals allowed.
    let plan = one("aws-natgw", 1, 20.0 / 1e6, 1e6, "");
    assert_eq!(plan.destinations[0].addresses_needed.value, 4.0);
    assert_eq!(formula::addresses_min(200_000.0, 55_000.0), 4);
}

/// below the shortest idle timer; Linux's default of two hours is too long for each of the three.
#[test]
fn question_06_which_keepalive_interval() {
    assert_eq!(formula::keepalive_max_s(&[8000, 350]), Some(349));
    for (gateway, most) in [("aws-natgw", 349.0), ("azure-natgw", 239.0), ("gcp-cloudnat-static", 1199.0)] {
        let plan = one(gateway, 1, 0.01, 1.0, "silence_s = 3600\n");
        let keepalive = &plan.settings[0];
        assert_eq!((keepalive.what.as_str(), keepalive.value.high), ("TCP keepalive interval", most));
        assert!(keepalive.note.contains("7200 s is too long") && keepalive.note.contains("silent for longer: d"));
    }
}

/// what is in the table, over 0.8; Cilium has two entries a flow.
#[test]
fn question_07_how_large_a_table() {
    assert_eq!(formula::table_entries(80_000.0, 2.0), 200_000);
    // 10 nodes, 100 a second, each for a second and 120 s of TIME_WAIT.
    let plan = planned(
        "simulated_connections = 0\n[fleet]\nnodes = 1000\npods = 10_000\n[node]\nprofile = \"netfilter\"\n[[destination]]\nname = \"d\"\n\
         rate_per_pod = 0.01\nlifetime_s = 1\n",
    );
    let table = plan.settings.iter().find(|setting| setting.what == "nf_conntrack_max of the node").unwrap();
    close_to(table.value.value, (0.1_f64 * 121.0 / 0.8).ceil(), 0.001);
}

/// 1,250 bytes, for AWS and for Azure.
#[test]
fn question_08_do_packets_bind_or_bits() {
    assert_eq!(formula::crossover_bytes(100_000_000_000, 10_000_000), Some(1250.0));
    assert_eq!(formula::crossover_bytes(0, 1), None);
    let plan = one("aws-natgw", 1, 0.01, 1.0, "packets = 100_000\nbytes = 6_400_000\n");
    let bits = plan.settings.iter().find(|setting| setting.unit == "bytes").unwrap();
    assert_eq!(bits.value.value, 1250.0);
    let gateway = plan.designs.iter().find(|design| design.design == Design::Gateway).unwrap();
    // Ten million packets a second at once: 64 bytes each are packets' limit, not bits'.
    assert_eq!(gateway.limits[0].what, "packets a second of the gateway");
    close_to(gateway.limits[0].breaks_at.value, 1.0 / 0.99, 0.003);
}

/// What a layer adds to a new connection is looks for a port, one over the share that is free where each look is at any port; what it adds
/// in time is measured (`natrig run`), each layer as a difference within rounds.
#[test]
fn question_09_what_does_a_layer_cost_a_new_connection() {
    use natrig_nat::Profile;
    use natrig_plan::curve::Curve;
    close_to(formula::tries(0.75), 4.0, 1e-9);
    let searches = Curve::of(&Profile::builtin("netfilter-fully-random").unwrap().behaviour, 1);
    for share in [0.0, 0.125, 0.25] {
        // Its looks are at neighbours from a random port on: a little more where those in use are in rows.
        let looks = searches.tries(share * f64::from(searches.ports)).unwrap();
        let free_of_rows = formula::tries(share);
        assert!((free_of_rows * 0.98..free_of_rows * 1.1).contains(&looks), "{looks} at {share}");
    }
    // 600 connections a second for 20 s, and 120 s of TIME_WAIT: more is in use than at a gateway that keeps nothing.
    let text = "simulated_connections = 0\n[fleet]\nnodes = 1\npods = 1000\n[node]\nprofile = \"netfilter-fully-random\"\n\
                [gateway]\nprofile = \"rfc4787\"\n[[destination]]\nname = \"d\"\nrate_per_pod = 0.1\nlifetime_s = 20\n";
    let plan = planned(text);
    let looks = |place: &str| {
        let what = format!("ports looked at for a new connection at {place}");
        plan.settings.iter().find(|setting| setting.what == what).unwrap().value.clone()
    };
    let used = 0.1 * 1000.0 * 140.0 / 64_512.0;
    close_to(looks("the busiest node").value, formula::tries(used), 0.1);
    assert_eq!(looks("the busiest node").from, ["tries", "search of netfilter-fully-random"]);
    assert!(looks("the gateway").value >= 1.0);
}

/// The birthday problem.
#[test]
fn question_10_how_often_do_kept_source_ports_collide() {
    close_to(formula::collision_probability(198.0, 28_232.0), 0.5, 0.01);
    let text = "simulated_connections = 0\n[fleet]\nnodes = 1\npods = 198\n[node]\nprofile = \"netfilter\"\n[[destination]]\nname = \"d\"\nprotocol = \"udp\"\nrate_per_pod = 0.001\nlifetime_s = 880\n";
    let plan = planned(text);
    let collision = plan.settings.iter().find(|setting| setting.unit == "%").unwrap();
    close_to(collision.value.value, 50.0, 0.02);
}

/// Every connection that is open, and who finds out how.
#[test]
fn question_11_what_breaks_when_a_layer_is_switched() {
    use formula::Switched;
    let plan = one("aws-natgw", 1, 0.1, 7.0, "");
    let switch = plan.switch.as_ref().unwrap();
    close_to(switch.broken.value, 7000.0, 1e-9);
    assert_eq!(switch.found_out, Switched::ResetOnNextSegment);
    assert_eq!(one("gcp-cloudnat-static", 1, 0.1, 7.0, "").switch.unwrap().found_out, Switched::Silence);
    assert_eq!(one("netfilter", 1, 0.1, 7.0, "").switch.unwrap().found_out, Switched::ResetByFarEnd);
}

/// The internet, and hosts before the gateway.
#[test]
fn question_12_whose_address_is_seen_where() {
    use formula::SeenAs;
    let plan = one("aws-natgw", 1, 0.1, 7.0, "");
    let seen: Vec<(SeenAs, SeenAs)> = plan.designs.iter().map(|design| design.seen_as).collect();
    assert_eq!(
        seen,
        [
            (SeenAs::Pod, SeenAs::Pod),
            (SeenAs::Node, SeenAs::Node),
            (SeenAs::Gateway, SeenAs::Pod),
            (SeenAs::Gateway, SeenAs::Node)
        ]
    );
}

/// The formula and the allocators themselves, where the gateway is short of ports and where Cilium's search is.
#[test]
fn formula_and_simulation_refuse_alike() {
    let both = |plan: &Plan, design: Design| {
        let design = plan.designs.iter().find(|one| one.design == design).unwrap();
        let simulated = design.simulated.as_ref().unwrap();
        println!("{:?}: {:?} by formula, {:?} simulated", design.design, design.growth[0].refused, simulated.refused);
        (design.growth[0].refused.value, simulated.refused.value)
    };
    let text = |nodes: u32, profile: &str, gateway: &str, rate: f64| {
        format!(
            "simulated_connections = 300_000\n[fleet]\nnodes = {nodes}\npods = 4000\n[node]\nprofile = \"{profile}\"\n[gateway]\nprofile = \"{gateway}\"\n\
             [[destination]]\nname = \"d\"\nrate_per_pod = {rate}\nlifetime_s = 20\nclose = \"rst\"\n"
        )
    };
    // 1,500 a second for 20 + 1 + 16 s: 55,500 on 50,000 ports.
    let (formula, simulated) =
        both(&planned(&text(400, "netfilter-fully-random", "azure-natgw", 0.375)), Design::Gateway);
    close_to(formula, simulated, 0.03);
    // 2,100 a second for 20 + 10 s on one node: 63,000 of 64,512 ports are too many for a search of 248, but Linux takes ports from
    // closed connections. The formula gives both ends.
    let plan = planned(&text(1, "netfilter-fully-random", "azure-natgw", 0.525));
    let (formula, simulated) = both(&plan, Design::Node);
    let design = plan.designs.iter().find(|one| one.design == Design::Node).unwrap();
    assert!(design.growth[0].refused.low <= simulated && simulated <= formula, "{formula} and {simulated}");
}

/// Every figure's reasons are in the list, and every value of a profile says how sure it is.
#[test]
fn every_figure_can_be_traced() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench-configs/plan-fleet.toml");
    let mut fleet = Fleet::load(&file).unwrap();
    assert!(fleet.question.ends_with('?'));
    fleet.simulated_connections = 100_000;
    let plan = plan(&fleet, &fleet.profiles().unwrap(), demand::of_fleet(&fleet), Vec::new());
    let json = serde_json::to_value(&plan).unwrap();
    let (mut figures, mut keys) = (0, std::collections::BTreeSet::new());
    let mut open = vec![&json];
    while let Some(value) = open.pop() {
        if let Some(from) = value.get("from").and_then(|from| from.as_array()) {
            figures += 1;
            assert!(!from.is_empty(), "{value}");
            keys.extend(from.iter().map(|key| key.as_str().unwrap().to_owned()));
            let number = |name: &str| value[name].as_f64().unwrap();
            assert!(number("low") <= number("value") && number("value") <= number("high"), "{value}");
        }
        open.extend(value.as_array().into_iter().flatten());
        open.extend(value.as_object().into_iter().flat_map(|object| object.values()));
    }
    assert!(figures > 100, "{figures}");
    for key in &keys {
        let reason = plan.reasons.iter().find(|reason| reason.key == *key).unwrap_or_else(|| panic!("{key}"));
        assert!(!reason.source.is_empty());
        assert_eq!(reason.kind == "vendor", reason.confidence.is_some(), "{reason:?}");
    }
    let doubtful = plan.reasons.iter().any(|reason| reason.confidence.as_deref() == Some("L"));
    assert!(doubtful, "how long AWS keeps a port is not documented");
    let gateway = &plan.destinations[0].gateway.in_use;
    assert!(gateway.low < gateway.value && gateway.value < gateway.high, "what is not documented makes an interval");
    let again: Plan = serde_json::from_value(json).unwrap();
    assert_eq!(again, plan);
}

/// `NATRIG_WRITE_SCHEMA=1` writes it anew.
#[test]
fn the_schema_is_the_one_that_is_documented() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/plan.schema.json");
    let schema = serde_json::to_string_pretty(&natrig_plan::report::schema()).unwrap() + "\n";
    if std::env::var_os("NATRIG_WRITE_SCHEMA").is_some() {
        std::fs::write(&file, &schema).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), schema);
}
