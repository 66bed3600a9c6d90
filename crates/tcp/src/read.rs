//! The file format. What a file leaves out is as in [`Scenario::default`].

use std::path::Path;

use natrig_bench::devices::{Loads, Settings};
use natrig_bench::scenario::values::ports;
use natrig_bench::scenario::{Word, bounds};
use natrig_bench::settings::kinds::{number, one_or_more, whole, word};
use natrig_bench::settings::{Fault, Section, Spots, walk};

use crate::scenario::{Churn, ConnectionRate, Part, Scenario, Transfer};

/// Flows of a transfer: each has a socket with buffers at either end.
const FLOWS_MAX: u16 = 256;

/// Bytes of a flow.
const BYTES_MAX: u64 = 1 << 32;

/// Reads `input`; relative paths in it start at the folder of `file`.
pub(crate) fn read(input: &str, file: &Path, known_profiles: &[&str]) -> Result<Scenario, Fault> {
    let mut scenario = Scenario { devices: Settings::of_file(file), ..Scenario::default() };
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    let spots = walk(input, |top| {
        let scenario = &mut scenario;
        scenario.devices.read(top, folder, known_profiles);
        top.set_list("parts", &mut scenario.parts, one_or_more(Part::ALL.len(), word));
        top.set("rounds", &mut scenario.rounds, whole(bounds::ROUNDS));
        top.set("src_ports", &mut scenario.src_ports, ports);
        top.set("dst_port", &mut scenario.dst_port, whole(bounds::PORT));
        top.section("rate", |section| read_rate(section, &mut scenario.rate));
        top.section("churn", |section| read_churn(section, &mut scenario.churn));
        top.section("transfer", |section| read_transfer(section, &mut scenario.transfer));
    })?;
    scenario.devices.settle(&spots);
    scenario.parts.sort_unstable();
    check(&scenario, &spots)?;
    Ok(scenario)
}

fn read_rate(section: &mut Section<'_, '_>, rate: &mut ConnectionRate) {
    section.set("connections", &mut rate.connections, whole(bounds::FLOWS));
    section.set("min_cps", &mut rate.min_cps, whole(bounds::RATE_PPS));
    section.set("max_cps", &mut rate.max_cps, whole(bounds::RATE_PPS));
    section.set("error", &mut rate.error, number(bounds::PRECISION));
    section.set("confirm", &mut rate.confirm, whole(bounds::CONFIRM));
}

fn read_churn(section: &mut Section<'_, '_>, churn: &mut Churn) {
    section.set("background", &mut churn.background, whole(bounds::FLOWS));
    section.set("connections", &mut churn.connections, whole(bounds::FLOWS));
    section.set("rate_fraction", &mut churn.rate_fraction, number(0.01..=1.0));
    section.set("keepalives_per_s", &mut churn.keepalives_per_s, whole(bounds::RATE_PPS));
    section.set("empty_after_s", &mut churn.empty_after_s, whole(1..=1_000_000));
    section.set("kernel_time_wait_s", &mut churn.kernel_time_wait_s, whole(1..=600));
}

fn read_transfer(section: &mut Section<'_, '_>, transfer: &mut Transfer) {
    section.set("flows", &mut transfer.flows, whole(1..=FLOWS_MAX));
    section.set("bytes", &mut transfer.bytes, whole(1..=BYTES_MAX));
    section.set("loss_ppm", &mut transfer.loss_ppm, whole(0..=500_000));
    section.set("repeats", &mut transfer.repeats, whole(1..=100));
    section.set("rto_min_ms", &mut transfer.rto_min_ms, whole(1..=1000));
    section.set("patience_s", &mut transfer.patience_s, whole(1..=600));
}

/// What must hold between settings.
pub(crate) fn check(scenario: &Scenario, spots: &Spots) -> Result<(), Fault> {
    let ConnectionRate { min_cps, max_cps, error, .. } = scenario.rate;
    let loads = Loads {
        connections: &[("rate.connections", scenario.connections_max())],
        tuples: scenario.tuples_max(),
        rates: [("rate.min_cps", min_cps), ("rate.max_cps", max_cps)],
        error,
    };
    loads.check(spots)?;
    scenario.world().check().map_err(|violation| violation.into_fault(spots))
}
