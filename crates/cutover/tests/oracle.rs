//! What a toggle does to whom, against what is known of each gateway's way with connections that it has not seen begin.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use natrig_bench::environment;
use natrig_bench::result::{Program, Status};
use natrig_bench::test::{Record, RecordOf, Session, Test};
use natrig_cutover::{ClassOutcome, ClientClass, GatewayOutcome, Toggle};
use natrig_lab::privilege::{Mode, Privilege};
use natrig_nat::Profile;

/// Runs a small world; `settings` stand in its file as they are.
fn run(settings: &str) -> RecordOf<Toggle> {
    let text = format!("{settings}\n");
    let scenario =
        Toggle::read(&text, Path::new("toggle.toml"), Profile::names()).map_err(|fault| fault.message).unwrap();
    let program = Program { version: String::new(), commit: None, profile: String::new() };
    let environment = environment("memory", None, Vec::new());
    let record = Record::begun(Toggle::NAME, program, String::new(), scenario, environment);
    let privilege = Privilege { mode: Mode::Memory, refusals: Vec::new() };
    let cancel = AtomicBool::new(false);
    let mut session =
        Session { record, privilege: &privilege, watcher: &mut (), cancel: &cancel, started: Instant::now() };
    session.record.status = Toggle::run(&mut session).unwrap();
    assert_eq!(session.record.status, Status::Complete);
    assert!(Toggle::counts(&session.record), "{:?}", session.record.measured);
    session.record
}

fn behind(gateway: &str, toggle: &str, node: &str) -> GatewayOutcome {
    let record =
        run(&format!("[toggle]\n{toggle}\n[node]\ncount = 2\npods = 3\n{node}\n[gateway]\nprofiles = [\"{gateway}\"]"));
    let outcome = record.measured.gateways[0].clone();
    // The control, whatever happens.
    let within = class(&outcome, ClientClass::WithinVpc);
    assert_eq!((within.connections, within.broken), (6, 0), "{within:?}");
    outcome
}

fn class(outcome: &GatewayOutcome, class: ClientClass) -> &ClassOutcome {
    outcome.classes.iter().find(|outcome| outcome.class == class).unwrap()
}

fn outside(outcome: &GatewayOutcome) -> impl Iterator<Item = &ClassOutcome> {
    outcome.classes.iter().filter(|class| class.class != ClientClass::WithinVpc)
}

const OFF: &str = "change = \"masquerade-off\"";
const BPF: &str = "engine = \"bpf\"";

#[test]
fn gateways_that_answer_with_resets_break_everything_at_once() {
    for gateway in ["aws-natgw", "azure-natgw"] {
        let outcome = behind(gateway, OFF, BPF);
        for class in outside(&outcome) {
            assert_eq!((class.connections, class.broken, class.recovered), (6, 6, 6), "{gateway}: {class:?}");
            assert_eq!(class.noticed.get("reset"), Some(&6), "{gateway}: {class:?}");
        }
        assert!(class(&outcome, ClientClass::ActiveWriter).notice_s_max.unwrap() < 3.0);
    }
}

#[test]
fn a_gateway_that_drops_leaves_clients_to_their_timeouts() {
    let outcome = behind("gcp-cloudnat-dynamic", OFF, BPF);
    for class in outside(&outcome) {
        assert_eq!((class.connections, class.broken), (6, 6), "{class:?}");
        assert_eq!(class.noticed.get("reset"), None, "{class:?}");
    }
    let writer = class(&outcome, ClientClass::ActiveWriter);
    assert_eq!(writer.noticed.get("timeout"), Some(&6));
    let notice_s = writer.notice_s_p50.unwrap();
    assert!((924.0..930.0).contains(&notice_s), "{notice_s}");
    assert_eq!(class(&outcome, ClientClass::Keepalive).noticed.get("keepalive-timeout"), Some(&6));
    assert_eq!(class(&outcome, ClientClass::RequestResponse).noticed.get("application-timeout"), Some(&6));
    // Nothing tells a program that only reads.
    let reader = class(&outcome, ClientClass::IdleReader);
    assert_eq!((reader.never_noticed, reader.recovered), (6, 0), "{reader:?}");
}

#[test]
fn a_gateway_that_picks_up_has_the_server_reset_what_comes_from_a_new_port() {
    let outcome = behind("netfilter", OFF, BPF);
    let writer = class(&outcome, ClientClass::ActiveWriter);
    assert_eq!((writer.broken, writer.noticed.get("reset")), (6, Some(&6)), "{writer:?}");
}

#[test]
fn stale_entries_of_a_bpf_node_leave_connections_half_dead() {
    for gateway in ["gcp-cloudnat-dynamic", "aws-natgw"] {
        let outcome = behind(gateway, OFF, BPF);
        assert_eq!(class(&outcome, ClientClass::Download).half_dead, 6, "{gateway}");
    }
}

#[test]
fn conntrack_lets_living_connections_be_unless_packets_leave_by_another_interface() {
    let netfilter = "engine = \"conntrack\"\nprofile = \"netfilter\"";
    for (change, gateway) in [(OFF, "aws-natgw"), (OFF, "netfilter"), ("change = \"masquerade-on\"", "aws-natgw")] {
        let outcome = behind(gateway, change, netfilter);
        for class in outside(&outcome) {
            assert_eq!((class.connections, class.broken), (6, 0), "{change}: {class:?}");
        }
        assert_eq!(outcome.most_blocked, 0);
    }
    let outcome = behind("aws-natgw", OFF, "engine = \"conntrack-other-interface\"\nprofile = \"netfilter\"");
    for class in outside(&outcome) {
        assert_eq!((class.connections, class.broken), (6, 6), "{class:?}");
    }
    let swallowed = outcome.frames_lost.iter().find(|lost| lost.reason == "interface-changed").unwrap();
    // One packet of each connection on which the pod still has something to say: those that only read hear nothing to acknowledge.
    assert_eq!((swallowed.place.as_str(), swallowed.frames), ("node", 18));
}

#[test]
fn a_gateway_that_forgets_does_as_one_that_never_knew() {
    let outcome = behind("aws-natgw", "change = \"gateway-restart\"", BPF);
    for class in outside(&outcome) {
        assert_eq!(
            (class.connections, class.broken, class.half_dead),
            (6, 6, 0),
            "the gateway knows no way in: {class:?}"
        );
        // Who says nothing is told nothing.
        let silent = matches!(class.class, ClientClass::IdleReader | ClientClass::Download);
        let (reset, never) = if silent { (None, 6) } else { (Some(&6), 0) };
        assert_eq!((class.noticed.get("reset"), class.never_noticed), (reset, never), "{class:?}");
    }
}

#[test]
fn a_short_interruption_is_survived_by_tcp_and_not_by_impatient_programs() {
    let outcome = behind("aws-natgw", "change = \"gateway-down\"\ninterval_s = 20", BPF);
    for class in outside(&outcome) {
        let broken = if class.class == ClientClass::RequestResponse { 6 } else { 0 };
        assert_eq!((class.connections, class.broken), (6, broken), "{class:?}");
    }
    assert!(outcome.frames_lost.iter().any(|lost| lost.reason == "interface-down"));
}

/// Who says something makes the node's entry anew, with the same port; who only waits for the other end waits for ever.
#[test]
fn a_node_that_forgets_finds_again_whoever_speaks() {
    for node in [BPF, "engine = \"conntrack\"\nprofile = \"netfilter\""] {
        for gateway in ["aws-natgw", "netfilter"] {
            let outcome = behind(gateway, "change = \"node-flush\"", node);
            for class in outside(&outcome) {
                let silent = matches!(class.class, ClientClass::IdleReader | ClientClass::Download);
                let broken = if silent { 6 } else { 0 };
                assert_eq!((class.connections, class.broken, class.never_noticed), (6, broken, broken), "{class:?}");
            }
        }
    }
}

#[test]
fn an_interface_that_goes_down_takes_conntracks_masquerading_with_it_and_bpfs_not() {
    let down = "change = \"node-down\"\ninterval_s = 20";
    for (engine, silent_break) in [(BPF, 0), ("engine = \"conntrack\"\nprofile = \"netfilter\"", 6)] {
        let outcome = behind("aws-natgw", down, engine);
        for class in outside(&outcome) {
            let broken = match class.class {
                ClientClass::RequestResponse => 6,
                ClientClass::IdleReader | ClientClass::Download => silent_break,
                ClientClass::ActiveWriter | ClientClass::Keepalive | ClientClass::WithinVpc => 0,
            };
            assert_eq!((class.connections, class.broken), (6, broken), "{engine}: {class:?}");
        }
        assert!(outcome.frames_lost.iter().any(|lost| (&*lost.place, &*lost.reason) == ("node", "interface-down")));
    }
}

/// Connections on the address that is gone are as unknown to the gateway as any that it has not seen begin; all others go on.
#[test]
fn a_gateway_that_gives_up_an_address_breaks_what_was_on_it() {
    let notices =
        [("aws-natgw", "reset"), ("azure-natgw", "reset"), ("gcp-cloudnat-dynamic", "timeout"), ("netfilter", "reset")];
    for (gateway, notice) in notices {
        let settings =
            "[toggle]\nchange = \"address-removed\"\n[node]\ncount = 8\npods = 2\n[gateway]\naddresses = 2\n";
        let record = run(&format!("{settings}profiles = [\"{gateway}\"]"));
        let outcome = &record.measured.gateways[0];
        let broken: u32 = outside(outcome).map(|class| class.broken).sum();
        // Cloud NAT gives out all blocks of an address before it takes the next one.
        let most = if gateway.starts_with("gcp") { 80 } else { 79 };
        assert!((1..=most).contains(&broken), "{gateway}: {broken} of 80");
        assert_eq!(class(outcome, ClientClass::WithinVpc).broken, 0);
        let writer = class(outcome, ClientClass::ActiveWriter);
        assert_eq!(writer.noticed.get(notice).copied().unwrap_or(0), writer.broken, "{gateway}: {writer:?}");
        assert_eq!(writer.recovered, writer.broken, "{gateway}: {writer:?}");
    }
}

#[test]
fn a_node_that_was_emptied_first_breaks_nothing_but_what_does_not_end_in_time() {
    let outcome =
        behind("aws-natgw", &format!("{OFF}\nprocedure = \"drain-first\"\ngrace_s = 10\ninterval_s = 30"), BPF);
    for class in outside(&outcome) {
        let cut = if class.class == ClientClass::Download { 6 } else { 0 };
        assert_eq!((class.broken, class.closed), (cut, 6 - cut), "{class:?}");
        assert_eq!(class.recovered, 6, "{class:?}");
    }
}

#[test]
fn node_after_node_fewer_are_blocked_at_once() {
    let at_once = behind("aws-natgw", OFF, BPF);
    let rolling = behind("aws-natgw", &format!("{OFF}\nprocedure = \"rolling\"\ninterval_s = 120"), BPF);
    let broken = |outcome: &GatewayOutcome| outside(outcome).map(|class| class.broken).sum::<u32>();
    assert_eq!(broken(&at_once), broken(&rolling));
    assert!(rolling.most_blocked < at_once.most_blocked, "{} {}", rolling.most_blocked, at_once.most_blocked);
}

#[test]
fn the_same_seed_gives_the_same_result() {
    let settings = "[toggle]\nobserve_s = 60\n[node]\ncount = 2\npods = 2\n[gateway]\nprofiles = [\"netfilter\"]";
    assert_eq!(run(settings).measured, run(settings).measured);
    assert_ne!(run(&format!("seed = 2\n{settings}")).measured, run(settings).measured);
}

#[test]
fn changes_that_would_change_nothing_are_refused() {
    let message = |text: &str| {
        Toggle::read(text, Path::new("x.toml"), Profile::names()).map_err(|fault| fault.message).unwrap_err()
    };
    assert!(message("[toggle]\nmasquerade_before = \"off\"").contains("begin that way"));
    assert!(message("[toggle]\nchange = \"gateway-down\"\nprocedure = \"rolling\"").contains("happens to the gateway"));
    assert!(message("[node]\ncount = 20\npods = 100").contains("more than 240 pods"));
    assert!(message("[toggle]\nchange = \"address-removed\"").contains("one address"));
    assert!(message("[node]\nby = \"nftables\"").contains("without namespaces"));
    assert!(message("[gateway]\nprofiles = [\"nftables\"]").contains("without namespaces"));
    let kernel = |rest: &str| message(&format!("[toggle]\nstack = \"kernel\"\n{rest}"));
    assert!(kernel("observe_s = 600").contains("real time"));
    assert!(kernel("[node]\nby = \"nftables\"").contains("each packet"));
    assert!(
        kernel("change = \"address-removed\"\n[gateway]\naddresses = 2\nprofiles = [\"nftables\"]")
            .contains("to nftables")
    );
}
