//! The file format. What a file leaves out is as in [`Scenario::default`].

use std::path::Path;

use natrig_bench::scenario::values::ports;
use natrig_bench::scenario::{
    Design, Engine, KernelAddress, Word, bounds, read_layer, read_limits, read_link, read_topology,
};
use natrig_bench::settings::kinds::{number, one_or_more, text, whole, word};
use natrig_bench::settings::{Fault, Section, Spots, walk};

use crate::scenario::{Churn, ConnectionRate, Part, Scenario, Transfer};

/// Flows of a transfer: each has a socket with buffers at either end.
const FLOWS_MAX: u16 = 256;

/// Bytes of a flow.
const BYTES_MAX: u64 = 1 << 32;

/// Reads `input`; relative paths in it start at the folder of `file`.
pub(crate) fn read(input: &str, file: &Path, known_profiles: &[&str]) -> Result<Scenario, Fault> {
    let title = file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let mut scenario = Scenario { title, ..Scenario::default() };
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    let spots = walk(input, |top| {
        let scenario = &mut scenario;
        top.set("title", &mut scenario.title, text);
        top.set("question", &mut scenario.question, text);
        top.set_list("designs", &mut scenario.designs, one_or_more(Design::ALL.len(), word));
        top.set_list("engines", &mut scenario.engines, one_or_more(Engine::ALL.len(), word));
        top.set("seed", &mut scenario.seed, whole(bounds::SEED));
        top.set_list("parts", &mut scenario.parts, one_or_more(Part::ALL.len(), word));
        top.set("rounds", &mut scenario.rounds, whole(bounds::ROUNDS));
        top.set("src_ports", &mut scenario.src_ports, ports);
        top.set("dst_port", &mut scenario.dst_port, whole(bounds::PORT));
        top.section("topology", |section| read_topology(section, &mut scenario.topology));
        top.section("node", |section| read_layer(section, &mut scenario.node, folder, known_profiles));
        top.section("gateway", |section| read_layer(section, &mut scenario.gateway, folder, known_profiles));
        top.section("rate", |section| read_rate(section, &mut scenario.rate));
        top.section("churn", |section| read_churn(section, &mut scenario.churn));
        top.section("transfer", |section| read_transfer(section, &mut scenario.transfer));
        top.section("limits", |section| read_limits(section, &mut scenario.limits));
        top.section("link", |section| read_link(section, &mut scenario.link));
    })?;
    scenario.designs.sort_unstable();
    scenario.parts.sort_unstable();
    for (setting, layer, addresses) in [
        ("node.nat", &mut scenario.node, &scenario.topology.node.addresses),
        ("gateway.nat", &mut scenario.gateway, &scenario.topology.gateway.addresses),
    ] {
        if !spots.typed(setting) && addresses.len() > 1 {
            layer.nat = KernelAddress::Snat;
        }
    }
    check(&scenario, &spots)?;
    Ok(scenario)
}

fn read_rate(section: &mut Section<'_, '_>, rate: &mut ConnectionRate) {
    section.set("connections", &mut rate.connections, whole(bounds::FLOWS));
    section.set("min_cps", &mut rate.min_cps, whole(bounds::RATE_PPS));
    section.set("max_cps", &mut rate.max_cps, whole(bounds::RATE_PPS));
    section.set("error", &mut rate.error, number(bounds::PRECISION));
}

fn read_churn(section: &mut Section<'_, '_>, churn: &mut Churn) {
    section.set("background", &mut churn.background, whole(bounds::FLOWS));
    section.set("connections", &mut churn.connections, whole(bounds::FLOWS));
    section.set("rate_fraction", &mut churn.rate_fraction, number(0.01..=1.0));
    section.set("keepalives_per_s", &mut churn.keepalives_per_s, whole(bounds::RATE_PPS));
    section.set("empty_after_s", &mut churn.empty_after_s, whole(1..=1_000_000));
}

fn read_transfer(section: &mut Section<'_, '_>, transfer: &mut Transfer) {
    section.set("flows", &mut transfer.flows, whole(1..=FLOWS_MAX));
    section.set("bytes", &mut transfer.bytes, whole(1..=BYTES_MAX));
    section.set("loss_ppm", &mut transfer.loss_ppm, whole(0..=500_000));
    section.set("patience_s", &mut transfer.patience_s, whole(1..=600));
}

/// What must hold between settings.
pub(crate) fn check(scenario: &Scenario, spots: &Spots) -> Result<(), Fault> {
    let (connections, tuples) = (scenario.connections_max(), scenario.tuples_max());
    let fault = |setting: &str, message: String, help: &str| {
        Err(Fault { at: spots.of(setting), message, help: help.to_owned() })
    };
    if u64::from(connections) > tuples {
        return fault(
            "rate.connections",
            format!("{connections} connections are asked for, but pods × servers × ports make only {tuples} tuples"),
            "lower it, or `churn`, or add pods, servers or source ports",
        );
    }
    let ConnectionRate { min_cps, max_cps, error, .. } = scenario.rate;
    if f64::from(max_cps) <= f64::from(min_cps) * (1.0 + error) {
        return fault(
            "rate.max_cps",
            format!("there is nothing to search between min_cps = {min_cps} and max_cps = {max_cps}"),
            "raise `max_cps`, or lower `min_cps`",
        );
    }
    scenario.world().check().map_err(|violation| violation.into_fault(spots))
}
