//! The file format: which sections and keys there are, and what each sets. Only the section of the experiment that is done is known.

use std::path::Path;

use natrig_bench::scenario::bounds::SEED;
use natrig_bench::settings::kinds::{number, one_or_more, parsed, quoted, string, text, whole, word};
use natrig_bench::settings::{Fault, Section, Spots, Value, Word, Wrong, nearest, walk};

use super::{
    BlastRadius, BothLayers, Changes, Churn, Experiment, Fill, Ports, Protocol, ReplacementSettings, Scenario, Setup,
    Standing, TimeoutSkew, bounds,
};

natrig_bench::words! {
    /// Experiments by name.
    Kind {
        /// Fill.
        Fill = "fill",
        /// Churn.
        Churn = "churn",
        /// Blast radius.
        BlastRadius = "blast-radius",
        /// Timeout skew.
        TimeoutSkew = "timeout-skew",
        /// Both layers.
        BothLayers = "both-layers",
        /// Replacement.
        Replacement = "replacement",
    }
}

/// Reads `input`; relative paths in it start at the folder of `file`.
pub(crate) fn read(input: &str, file: &Path, known_profiles: &[&str]) -> Result<Scenario, Fault> {
    let mut scenario = Scenario::default();
    if let Some(stem) = file.file_stem() {
        scenario.title = stem.to_string_lossy().into_owned();
    }
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    let Scenario { title, question, seed, rounds, time_limit_s, nats, world, traffic, node, gateway, experiment } =
        &mut scenario;
    let spots = walk(input, |top| {
        top.set("title", title, text);
        top.set("question", question, text);
        top.set("seed", seed, whole(SEED));
        top.set("rounds", rounds, whole(bounds::ROUNDS));
        top.set("time_limit_s", time_limit_s, whole(bounds::TIME_LIMIT_S));
        top.set_list("nats", nats, one_or_more(bounds::LIST_MAX, setup(folder, known_profiles)));
        top.section("world", |section| {
            section.set("nodes", &mut world.nodes, whole(bounds::HOSTS));
            section.set("pods", &mut world.pods, whole(bounds::HOSTS));
            section.set("node_addresses", &mut world.node_addresses, whole(bounds::ADDRESSES));
            section.set("gateway_addresses", &mut world.gateway_addresses, whole(bounds::ADDRESSES));
            section.set("servers", &mut world.servers, whole(bounds::SERVERS));
        });
        top.section("traffic", |section| {
            section.set("protocol", &mut traffic.protocol, word);
            section.set("src_ports", &mut traffic.src_ports, ports);
            section.set("dst_port", &mut traffic.dst_port, whole(1..=u16::MAX));
            section.set("skew", &mut traffic.skew, number(bounds::SKEW));
        });
        top.section("node", |section| read_changes(section, node));
        top.section("gateway", |section| read_changes(section, gateway));
        let mut kind = Kind::Fill;
        top.set("experiment", &mut kind, word);
        *experiment = read_experiment(top, kind);
    })?;
    check(&scenario, &spots)?;
    Ok(scenario)
}

fn ports(value: &Value<'_>) -> Result<Ports, Wrong> {
    parsed("a range of ports", "1024-65535")(value)
}

fn setup(folder: &Path, known: &[&str]) -> impl Fn(&Value<'_>) -> Result<Setup, Wrong> {
    move |value| {
        const HELP: &str = "write what stands at node and gateway in quotes, for example \"node netfilter, gateway aws-natgw, over veth\"";
        let text = string(value, "a setup", HELP)?;
        let mut setup = Setup::parse(text).map_err(|wrong| Wrong::new(wrong, HELP))?;
        for standing in [&mut setup.node, &mut setup.gateway] {
            let Standing::Profile(name) = standing else { continue };
            if name.contains('/') || name.ends_with(".toml") {
                *name = folder.join(&name).display().to_string();
            } else if !known.contains(&name.as_str()) {
                let all = || known.iter().copied().chain(Standing::kernel_names());
                let help = match nearest(name, all()) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => format!("known are {}", all().collect::<Vec<_>>().join(", ")),
                };
                return Err(Wrong::new(format!("names no profile: {}", quoted(name)), help));
            }
        }
        Ok(setup)
    }
}

fn read_changes(section: &mut Section<'_, '_>, changes: &mut Changes) {
    section.set("ports", &mut changes.ports, |value| ports(value).map(Some));
    section.set("ports_per_source", &mut changes.ports_per_source, some(bounds::CONNECTIONS));
    section.set("table", &mut changes.table, some(bounds::CONNECTIONS));
    section.set("established_s", &mut changes.established_s, some(bounds::TIMEOUT_S));
    section.set("closing_s", &mut changes.closing_s, some(bounds::TIMEOUT_S));
    section.set("udp_s", &mut changes.udp_s, some(bounds::TIMEOUT_S));
    section.set("hold_s", &mut changes.hold_s, some(bounds::HOLD_S));
    section.set("collect_s", &mut changes.collect_s, some(bounds::TIMEOUT_S));
}

fn some(range: std::ops::RangeInclusive<u32>) -> impl Fn(&Value<'_>) -> Result<Option<u32>, Wrong> {
    move |value| whole(range.clone())(value).map(Some)
}

fn read_experiment(top: &mut Section<'_, '_>, kind: Kind) -> Experiment {
    let numbers = |range| one_or_more(bounds::LIST_MAX, whole(range));
    match kind {
        Kind::Fill => {
            let mut fill = Fill::default();
            top.section("fill", |section| {
                section.set("until_refused", &mut fill.until_refused, number(bounds::SHARE));
                section.set("attempts_per_port", &mut fill.attempts_per_port, number(0.01..=100.0));
            });
            Experiment::Fill(fill)
        }
        Kind::Churn => {
            let mut churn = Churn::default();
            top.section("churn", |section| {
                section.set("lifetime_s", &mut churn.lifetime_s, number(bounds::LIFETIME_S));
                section.set("warm_up_s", &mut churn.warm_up_s, whole(bounds::DURATION_S));
                section.set("measure_s", &mut churn.measure_s, whole(bounds::DURATION_S));
                section.set("precision", &mut churn.precision, number(bounds::SHARE));
            });
            Experiment::Churn(churn)
        }
        Kind::BlastRadius => {
            let mut blast = BlastRadius::default();
            top.section("blast_radius", |section| {
                section.set("aggressor_per_s", &mut blast.aggressor_per_s, number(bounds::RATE));
                section.set("victim_per_s", &mut blast.victim_per_s, number(bounds::RATE));
                section.set("victim_lifetime_s", &mut blast.victim_lifetime_s, number(bounds::LIFETIME_S));
                section.set("duration_s", &mut blast.duration_s, whole(bounds::DURATION_S));
                section.set_list("quotas", &mut blast.quotas, numbers(0..=*bounds::CONNECTIONS.end()));
            });
            Experiment::BlastRadius(blast)
        }
        Kind::TimeoutSkew => {
            let mut skew = TimeoutSkew::default();
            top.section("timeout_skew", |section| {
                section.set_list("node_s", &mut skew.node_s, numbers(bounds::TIMEOUT_S));
                section.set_list("gateway_s", &mut skew.gateway_s, numbers(bounds::TIMEOUT_S));
                section.set("connections", &mut skew.connections, whole(2..=20_000u32));
                section.set("server_time_wait_s", &mut skew.server_time_wait_s, whole(bounds::TIMEOUT_S));
                section.set("reuse_connections", &mut skew.reuse_connections, whole(0..=1_000_000u32));
                section.set("reuse_per_s", &mut skew.reuse_per_s, number(bounds::RATE));
            });
            Experiment::TimeoutSkew(skew)
        }
        Kind::BothLayers => {
            let mut both = BothLayers::default();
            top.section("both_layers", |section| {
                section.set_list("nodes", &mut both.nodes, numbers(1..=64));
                section.set_list("node_ports", &mut both.node_ports, numbers(8..=64_512));
                section.set_list("gateway_addresses", &mut both.gateway_addresses, numbers(bounds::ADDRESSES));
                section.set_list("skews", &mut both.skews, one_or_more(bounds::LIST_MAX, number(bounds::SKEW)));
                section.set("at_refused", &mut both.at_refused, number(bounds::SHARE));
            });
            Experiment::BothLayers(both)
        }
        Kind::Replacement => {
            const OFFERS: std::ops::RangeInclusive<u32> = 100..=1_000_000;
            let mut replacement = ReplacementSettings::default();
            top.section("replacement", |section| {
                section.set("offers_max", &mut replacement.offers_max, whole(OFFERS));
                section.set("offers_min", &mut replacement.offers_min, some(OFFERS));
                section.set_list("connections", &mut replacement.connections, one_or_more(2, word));
                section.set("fills", &mut replacement.fills, whole(2..=64u32));
            });
            Experiment::Replacement(replacement)
        }
    }
}

/// What no single value shows.
fn check(scenario: &Scenario, spots: &Spots) -> Result<(), Fault> {
    let fault =
        |name: &str, message: String, help: &str| Err(Fault { at: spots.of(name), message, help: help.to_owned() });
    if scenario.nats.is_empty() {
        let help = "add for example `nats = [\"node cilium-bpf\", \"node nftables, over veth\"]`";
        return fault("", "nothing is said about what connections go through".to_owned(), help);
    }
    let pods = scenario.world.nodes * scenario.world.pods;
    if pods > bounds::PODS_MAX {
        let message = format!("{} nodes with {} pods each are {pods} pods", scenario.world.nodes, scenario.world.pods);
        return fault("world", message, "at most 60_000 are possible");
    }
    let nodes = scenario.world.nodes;
    if let Some(nth) = scenario.nats.iter().position(|setup| setup.nodes_max() < nodes) {
        let most = scenario.nats[nth].nodes_max();
        let message = format!("{nodes} nodes do not fit, there is room for {most}");
        let help = "over veth there are at most 8: measure over memory, or with fewer nodes";
        return fault(&format!("nats[{nth}]"), message, help);
    }
    for (layer, changes) in [("node", &scenario.node), ("gateway", &scenario.gateway)] {
        let kernel = scenario.nats.iter().all(|setup| {
            let standing = if layer == "node" { &setup.node } else { &setup.gateway };
            standing.is_kernel() || !standing.translates()
        });
        let ours = [
            ("ports_per_source", changes.ports_per_source),
            ("table", changes.table),
            ("hold_s", changes.hold_s),
            ("collect_s", changes.collect_s),
        ];
        if let Some((key, _)) = ours.iter().find(|(_, value)| kernel && value.is_some()) {
            let name = format!("{layer}.{key}");
            let message = format!("`{name}` is a setting of natrig's own NAT, which does not stand there");
            return fault(&name, message, "remove it, or let a profile stand there");
        }
    }
    if let Experiment::Replacement(settings) = &scenario.experiment {
        if settings.offers_min.is_some_and(|least| least > settings.offers_max) {
            let message = "the shortest fill has more connections than the longest".to_owned();
            return fault("replacement.offers_min", message, "offer at most `offers_max`");
        }
        // What a server says to a port that is no longer mapped goes to the kernel's own stack: UDP makes an entry there, a SYN that is
        // answered without having been asked does not (`tcp_new` in net/netfilter/nf_conntrack_proto_tcp.c).
        let kernel = scenario.nats.iter().position(Setup::has_kernel);
        if let Some(nth) = kernel.filter(|_| scenario.traffic.protocol == Protocol::Udp) {
            let message = "with UDP, looking at the kernel's table changes it".to_owned();
            return fault(&format!("nats[{nth}]"), message, "use `protocol = \"tcp\"` in [traffic]");
        }
    }
    if matches!(scenario.experiment, Experiment::TimeoutSkew(_) | Experiment::BothLayers(_)) {
        let single = scenario.nats.iter().position(|setup| !setup.node.translates() || !setup.gateway.translates());
        if let Some(nth) = single {
            let message = "this experiment is about two layers, and here translates only one".to_owned();
            return fault(&format!("nats[{nth}]"), message, "name what stands at node and gateway");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use natrig_nat::Profile;

    fn read_text(text: &str) -> Result<Scenario, Fault> {
        read(text, Path::new("exhaustion-x.toml"), Profile::names())
    }

    #[test]
    fn a_file_says_what_differs() {
        let scenario = read_text(
            "test = \"exhaustion\"\nexperiment = \"churn\"\nnats = [\"node netfilter\", \"gateway aws-natgw\"]\n\
             [node]\nports = \"1024-2047\"\nclosing_s = 1\n[churn]\nlifetime_s = 0.2\n",
        )
        .unwrap();
        assert_eq!(scenario.title, "exhaustion-x");
        assert_eq!(scenario.node.ports.map(Ports::count), Some(1024));
        assert_eq!(scenario.experiment, Experiment::Churn(Churn { lifetime_s: 0.2, ..Churn::default() }));
    }

    #[test]
    fn mistakes_are_shown_with_the_mend() {
        for (text, message, help) in [
            ("", "what connections go through", "nats = "),
            ("nats = [\"node netfliter\"]", "names no profile: \"netfliter\"", "did you mean \"netfilter\"?"),
            ("nats = [\"node nftables\"]", "no kernel stands", "over veth"),
            ("nats = [\"node netfilter\"]\n[churn]\nlifetime_s = 1", "unknown section [churn]", "known here"),
            ("nats = [\"node netfilter, over veth\"]\n[world]\nnodes = 9", "room for 8", "fewer nodes"),
            ("nats = [\"node nftables, over veth\"]\n[node]\ntable = 9", "natrig's own NAT", "remove it"),
            (
                "experiment = \"replacement\"\nnats = [\"node nftables, over veth\"]\n[traffic]\nprotocol = \"udp\"",
                "looking at",
                "tcp",
            ),
            (
                "experiment = \"replacement\"\nnats = [\"node netfilter\"]\n[replacement]\noffers_min = 9000",
                "shortest fill",
                "offers_max",
            ),
            ("experiment = \"both-layers\"\nnats = [\"node netfilter\"]", "about two layers", "node and gateway"),
            ("nats = [\"node netfilter\"]\n[node]\nports = \"9-1\"", "must be a range of ports", "1024-65535"),
        ] {
            let fault = read_text(text).unwrap_err();
            assert!(fault.message.contains(message) && fault.help.contains(help), "{text}: {fault:?}");
        }
    }
}
