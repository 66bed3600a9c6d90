//! The file format. What a file leaves out is as in [`Scenario::default`].

use std::path::Path;

use natrig_bench::devices::Settings;
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
