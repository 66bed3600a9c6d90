//! The scenarios that come with natrig, and the way from a file to a scenario.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use natrig_bench::scenario::{
    Design, Engine, FrameMix, FrameSize, KernelAddress, Lineup, MlrSearch, Placement, PortRange, Rate, Scenario,
    ScenarioError, Search,
};
use natrig_lab::plan::PortChoice;

const PROFILES: [&str; 2] = ["cilium-bpf", "aws-natgw"];

fn shipped() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench-configs");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    files
}

/// Files of other tests are read by theirs: the command line's tests show each plan.
fn shipped_rates() -> Vec<PathBuf> {
    let of_rates = |file: &PathBuf| !fs::read_to_string(file).unwrap().lines().any(|line| line.starts_with("test = "));
    shipped().into_iter().filter(of_rates).collect()
}

fn parse(text: &str) -> Scenario {
    Scenario::parse(text, "mine/test.toml", &PROFILES).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn quick_toml_spells_out_the_built_in_scenario() {
    let quick = shipped().into_iter().find(|file| file.ends_with("quick.toml")).unwrap();
    assert_eq!(Scenario::load(&quick, &PROFILES).unwrap(), Scenario::quick());
}

#[test]
fn the_built_in_scenario_ends_within_its_limit() {
    let quick = Scenario::quick();
    assert_eq!(quick.check(), Ok(()));
    assert!(quick.duration_ms_max() <= u64::from(quick.measure.time_limit_s) * 1000);
    assert!(quick.measure.time_limit_s <= 50);
}

#[test]
fn every_shipped_file_is_sound_and_begins_with_its_question() {
    let files = shipped_rates();
    assert!(files.len() >= 8, "{files:?}");
    let mut titles = Vec::new();
    for file in &files {
        let scenario = Scenario::load(file, &PROFILES).unwrap_or_else(|error| panic!("{error}"));
        let text = fs::read_to_string(file).unwrap();
        let first = text.lines().next().unwrap();
        assert!(first.starts_with("# ") && first.ends_with('?'), "{}: {first}", file.display());
        assert!(scenario.question.ends_with('?'), "{}", file.display());
        titles.push(scenario.title);
    }
    titles.dedup();
    assert_eq!(titles.len(), files.len());
}

#[test]
fn an_empty_file_is_the_built_in_scenario_under_its_own_name() {
    let expected = Scenario { title: "test".to_owned(), question: String::new(), ..Scenario::quick() };
    assert_eq!(parse(""), expected);
}

#[test]
fn what_is_set_is_what_comes_out() {
    let scenario = parse(
        r#"
        designs = ["both", "none"]
        seed = 9_007_199_254_740_991
        traffic = { flows = 0x10, frame_size = [64, "imix"], src_ports = 5000 }
        link.placement = { tester = 3, dut = 3 }
        [measure]
        fixed_rate_pps = 250_000
        latency_fraction = 1
        "#,
    );
    assert_eq!(scenario.designs, [Design::None, Design::Both]);
    assert_eq!(scenario.seed, (1 << 53) - 1);
    assert_eq!(scenario.traffic.flows, 16);
    assert_eq!(scenario.traffic.frame_sizes, [FrameSize::Bytes(64), FrameSize::Mix(FrameMix::Imix)]);
    assert_eq!((scenario.traffic.src_ports.first, scenario.traffic.src_ports.count()), (5000, 1));
    assert_eq!(scenario.link.placement, Placement::Cpus { tester: 3, dut: 3 });
    let one = parse("[link]\nplacement = \"run-to-completion\"");
    assert_eq!(one.link.placement, Placement::RunToCompletion);
    assert_eq!(scenario.measure.rate, Rate::FixedPps(250_000));
    assert_eq!(scenario.topology, Scenario::quick().topology);
    let search = parse("measure = { search = { confirm = 3 } }").measure.rate;
    assert_eq!(search, Rate::Search(Search { confirm: 3, ..Search::DEFAULT }));
}

#[test]
fn a_search_method_brings_its_own_settings() {
    let csit = parse("[measure.search]\nmethod = \"mlrsearch\"\nwidth = 0.01");
    assert_eq!(csit.measure.rate, Rate::Mlrsearch(MlrSearch { width: 0.01, ..MlrSearch::CSIT }));
    assert_eq!(csit.measure.trial_ms, 1000);
    let rfc = parse("[measure.search]\nmethod = \"rfc2544\"");
    assert_eq!((rfc.measure.rate, rfc.measure.trial_ms), (Rate::Mlrsearch(MlrSearch::RFC2544), 60_000));
    let [goal] = MlrSearch::RFC2544.goals(60_000)[..] else { panic!("one goal") };
    assert_eq!(goal, natrig_bench::search::mlr::Goal::rfc2544(0.01));
    assert_eq!(MlrSearch::CSIT.goals(1000), natrig_bench::search::mlr::Config::csit(1.0, 2.0).goals);
    let short = parse("measure = { trial_ms = 200, search = { method = \"mlrsearch\", initial_trial_ms = 100 } }");
    assert_eq!(short.measure.trial_ms, 200);
    let mistake = |text: &str| Scenario::parse(text, "x.toml", &PROFILES).unwrap_err().to_string();
    let confirm = mistake("[measure.search]\nmethod = \"mlrsearch\"\nconfirm = 1");
    assert!(confirm.contains("unknown key `confirm` in [measure.search]"), "{confirm}");
    let sum = mistake("[measure.search]\nmethod = \"mlrsearch\"\nduration_sum_ms = 500");
    assert!(sum.contains("shorter than one trial"), "{sum}");
}

#[test]
fn engines_stand_where_they_are_named() {
    let userspace = parse("");
    assert_eq!(userspace.lineups(), [Lineup::USERSPACE]);
    assert!(!userspace.needs_nft());

    let both = parse("engines = [\"userspace\", \"nftables\"]\n[node]\nports = \"fully-random\"");
    assert_eq!(both.lineups(), [Lineup::USERSPACE, Lineup::both(Engine::Nftables)]);
    assert_eq!(both.node.ports, PortChoice::FullyRandom);
    assert_eq!(both.duration_ms_max(), 2 * userspace.duration_ms_max());

    let mixed = parse("gateway = { engine = \"nftables\", port_range = \"1024-65535\" }");
    let lineup = Lineup { node: Engine::Userspace, gateway: Engine::Nftables };
    assert_eq!(mixed.lineups(), [lineup]);
    assert_eq!(lineup.to_string(), "userspace + nftables");
    assert_eq!(mixed.gateway.port_range, Some(PortRange { first: 1024, last: 65_535 }));
    assert!(mixed.needs_nft());
    let forwarding_only = parse("designs = [\"none\", \"node\"]\ngateway = { engine = \"nftables\" }");
    assert!(!forwarding_only.needs_nft());
}

#[test]
fn several_addresses_ask_the_kernel_for_snat() {
    let several = parse("topology.gateway.addresses = [\"198.51.100.8\", \"198.51.100.10\"]");
    assert_eq!((several.node.nat, several.gateway.nat), (KernelAddress::Masquerade, KernelAddress::Snat));
}

#[test]
fn addresses_that_are_left_out_follow_their_network() {
    let topology = parse(
        r#"
        [topology]
        pods = { cidr = "10.9.0.0/16", count = 60_000 }
        node = { cidr = "10.8.0.0/28" }
        gateway = { private_cidr = "10.7.0.0/30", public_cidr = "192.0.2.0/29" }
        internet = { server_cidr = "203.0.113.64/27" }
        "#,
    )
    .topology;
    let address = |a, b, c, d| Ipv4Addr::new(a, b, c, d);
    assert_eq!((topology.pods.router, topology.pods.first), (address(10, 9, 0, 1), address(10, 9, 0, 2)));
    assert_eq!(topology.node.addresses, [address(10, 8, 0, 1)]);
    assert_eq!(topology.gateway.private_address, address(10, 7, 0, 1));
    assert_eq!(topology.internet.router, address(192, 0, 2, 1));
    assert_eq!(topology.gateway.addresses, [address(192, 0, 2, 2)]);
    assert_eq!(topology.internet.server_first, address(203, 0, 113, 65));
}

#[test]
fn a_router_that_is_left_out_makes_way() {
    let topology = parse(
        r#"
        topology.pods.first = "10.0.1.1"
        topology.gateway.addresses = ["198.51.100.1", "198.51.100.2"]
        "#,
    )
    .topology;
    assert_eq!(topology.pods.router, Ipv4Addr::new(10, 0, 1, 17));
    assert_eq!(topology.internet.router, Ipv4Addr::new(198, 51, 100, 3));
}

#[test]
fn the_time_limit_follows_the_work_unless_it_is_set() {
    let long = parse("measure.rounds = 20");
    assert!(u64::from(long.measure.time_limit_s) * 1000 >= long.duration_ms_max());
    assert!(long.measure.time_limit_s > 50);
    assert_eq!(parse("measure = { rounds = 20, time_limit_s = 30 }").measure.time_limit_s, 30);
}

#[test]
fn a_scenario_survives_json_and_its_schema_names_every_setting() {
    for file in shipped_rates() {
        let scenario = Scenario::load(&file, &PROFILES).unwrap();
        let json = serde_json::to_string(&scenario).unwrap();
        assert_eq!(serde_json::from_str::<Scenario>(&json).unwrap(), scenario);
    }
    let schema = serde_json::to_value(schemars::schema_for!(Scenario)).unwrap();
    let json = serde_json::to_value(Scenario::quick()).unwrap();
    let named = schema["properties"].as_object().unwrap();
    assert_eq!(json.as_object().unwrap().keys().collect::<Vec<_>>(), named.keys().collect::<Vec<_>>());
    assert!(named.values().all(|property| property.get("description").is_some() || property.get("$ref").is_some()));
}

#[test]
fn changed_settings_can_be_checked_again() {
    let mut scenario = Scenario::quick();
    scenario.topology.pods.count = 300;
    let violation = scenario.check().unwrap_err();
    assert_eq!(violation.settings[0], "topology.pods.count");
    assert_eq!(
        violation.to_string(),
        "`topology.pods.count` asks for 300 addresses, 10.0.1.0/24 has room for 205 from 10.0.1.50 on \
         (lower it to 205, or take a larger network)"
    );
}

#[test]
fn profiles_by_path_start_at_the_folder_of_the_file_and_must_exist() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("test.toml");
    fs::write(&file, "[node]\nprofile = \"./mine.toml\"\n").unwrap();
    let missing = Scenario::load(&file, &PROFILES).unwrap_err();
    let missing = missing.diagnostic().unwrap();
    assert_eq!((missing.line, missing.column, missing.width), (2, 11, 13));
    assert!(missing.message.starts_with("`node.profile` names a file that is not there"), "{}", missing.message);

    fs::write(folder.path().join("mine.toml"), "").unwrap();
    let scenario = Scenario::load(&file, &PROFILES).unwrap();
    assert!(scenario.node.profile_is_file() && Path::new(&scenario.node.profile).is_file());
    assert!(!scenario.gateway.profile_is_file());
}

#[test]
fn files_that_cannot_be_scenarios() {
    let folder = tempfile::tempdir().unwrap();
    let missing = Scenario::load(&folder.path().join("none.toml"), &PROFILES).unwrap_err();
    assert!(matches!(missing, ScenarioError::Unreadable { .. }));
    assert!(missing.to_string().starts_with("error: failed to read ") && missing.to_string().contains("\nhelp: "));
    assert!(matches!(Scenario::load(folder.path(), &PROFILES), Err(ScenarioError::Unreadable { .. })));

    let large = folder.path().join("large.toml");
    fs::write(&large, " ".repeat(2 << 20)).unwrap();
    assert!(matches!(Scenario::load(&large, &PROFILES), Err(ScenarioError::TooLarge { .. })));

    let binary = folder.path().join("binary.toml");
    fs::write(&binary, b"seed = 1\ntitle = \"\xff\xfe\"\n").unwrap();
    let error = Scenario::load(&binary, &PROFILES).unwrap_err();
    let rejected = error.diagnostic().unwrap();
    assert_eq!((rejected.line, rejected.column), (2, 10));
    assert_eq!(rejected.message, "the file is not UTF-8 text");
}
