//! The toggle, from the file to the page.

use std::fs;
use std::thread;

use natrig_bench::test::RecordOf;
use natrig_cutover::{GatewayOutcome, Toggle};
use serde_json::Value;

use super::sound;
use crate::support::harness::Outcome;
use crate::support::place::Place;

const SMALL: &str = "\
test = \"toggle\"
[toggle]
observe_s = 60
[node]
count = 1
pods = 2
[gateway]
profiles = [\"aws-natgw\", \"netfilter\"]
";

pub(crate) fn toggle(place: &Place<'_>) -> Outcome {
    place.file("toggle.toml", SMALL);
    let told = place.natrig(["run", "toggle.toml", "--out", "out"]).succeed();
    for words in ["Behind aws-natgw", "Behind netfilter", "The answer", "breaks 100 % of the connections"] {
        assert!(told.contains(words), "no {words} in:\n{told}");
    }
    let result: Value = serde_json::from_str(&fs::read_to_string(place.join("out/result.json")).unwrap()).unwrap();
    assert_eq!(result["test"], "toggle");
    assert_eq!(result["status"]["state"], "complete");
    assert_eq!(result["measured"]["gateways"].as_array().unwrap().len(), 2);
    assert_eq!(place.natrig(["report", "out"]).succeed(), told, "a report says what the run said");
    assert!(fs::read_to_string(place.join("out/summary.md")).unwrap().starts_with("# toggle\n"));

    place.file("wrong.toml", &SMALL.replace("pods = 2", "pods = 2\nengine = \"ebpf\""));
    let ended = place.run(["run", "wrong.toml"]);
    assert_eq!(ended.code, Some(2), "{ended}");
    assert!(ended.stderr.contains("wrong.toml:7:10") && ended.stderr.contains("did you mean \"bpf\"?"), "{ended}");
    Ok(())
}

/// Linux' own TCP breaks where the virtual clock says that it does, and learns of it in the same way: behind each kind of gateway, at nodes
/// that decide for each packet, and at the kernel's own masquerading.
pub(crate) fn kernel(place: &Place<'_>) -> Outcome {
    let all = ["aws-natgw", "azure-natgw", "gcp-cloudnat-dynamic", "netfilter", "rfc4787", "nftables"];
    let worlds: [(&str, &str, &[&str]); 4] = [
        ("change = \"masquerade-off\"", "engine = \"bpf\"", &all),
        ("change = \"masquerade-off\"", "engine = \"conntrack\"\nprofile = \"netfilter\"", &["aws-natgw", "nftables"]),
        ("change = \"masquerade-on\"", "engine = \"conntrack\"\nprofile = \"netfilter\"", &["aws-natgw"]),
        (
            "change = \"masquerade-off\"",
            "engine = \"conntrack-other-interface\"\nprofile = \"netfilter\"",
            &["aws-natgw", "gcp-cloudnat-dynamic"],
        ),
    ];
    // Real time: all at once, as nobody has much to do.
    thread::scope(|scope| {
        let worlds = worlds.iter().enumerate().map(|(nth, (change, node, gateways))| {
            scope.spawn(move || agrees(place, &format!("{nth}"), change, node, gateways))
        });
        worlds.collect::<Vec<_>>().into_iter().for_each(|world| world.join().unwrap());
    });
    Ok(())
}

fn agrees(place: &Place<'_>, name: &str, change: &str, node: &str, gateways: &[&str]) {
    let settings = |stack: &str, gateways: &[&str], clients: &str| {
        format!(
            "test = \"toggle\"\n[toggle]\nstack = \"{stack}\"\n{change}\n{}[node]\ncount = 2\npods = 2\n{node}\n\
             [gateway]\nprofiles = {gateways:?}\n{clients}",
            if stack == "kernel" { "observe_s = 12\n" } else { "" },
        )
    };
    let run = |stack: &str, text: String| -> RecordOf<Toggle> {
        let (file, out) = (format!("{stack}-{name}.toml"), format!("{stack}-{name}"));
        place.file(&file, &text);
        let mut ended = place.run(["run", &file, "--json", "--out", &out]);
        // Programs did not get the processor: the machine's others have it.
        for _ in 0..3 {
            if ended.code == Some(4) {
                ended = place.run(["run", &file, "--json", "--out", &out]);
            }
        }
        assert_eq!(ended.code, Some(0), "{ended}");
        sound::record(&ended.stdout, "toggle.schema.json")
    };
    let kernel = run("kernel", settings("kernel", gateways, "[clients]\ntcp_retries2 = 3\n"));
    let oracle_of = |name: &str| if name == "nftables" { "netfilter".to_owned() } else { name.to_owned() };
    let mut oracles: Vec<String> = gateways.iter().map(|name| oracle_of(name)).collect();
    oracles.sort();
    oracles.dedup();
    let oracles: Vec<&str> = oracles.iter().map(String::as_str).collect();
    let told = run("virtual", settings("virtual", &oracles, ""));
    assert_eq!(kernel.measured.gateways.len(), gateways.len());
    for real in &kernel.measured.gateways {
        let oracle = told.measured.gateways.iter().find(|told| told.gateway == oracle_of(&real.gateway)).unwrap();
        assert!(real.balances(), "{real:?}");
        compare(&format!("{node} behind {}", real.gateway), real, oracle);
    }
}

fn compare(what: &str, real: &GatewayOutcome, oracle: &GatewayOutcome) {
    for (real, oracle) in real.classes.iter().zip(&oracle.classes) {
        let of = (&real.class, real.connections, real.broken, real.never_noticed, &real.noticed, real.recovered);
        let told =
            (&oracle.class, oracle.connections, oracle.broken, oracle.never_noticed, &oracle.noticed, oracle.recovered);
        assert_eq!(of, told, "{what}: {real:?}");
    }
}
