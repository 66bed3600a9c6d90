//! The file format. What a file leaves out is as in [`Scenario::default`].

use std::path::Path;

use natrig_bench::devices::{Loads, Settings};
use natrig_bench::scenario::values::ports;
use natrig_bench::scenario::{KernelWork, Word, bounds};
use natrig_bench::settings::kinds::{number, one_or_more, whole, word};
use natrig_bench::settings::{Fault, Section, Spots, walk};

use crate::scenario::{Capacity, Establishment, Kind, Phase2, Scenario, Tuples};

/// Chains side by side: each has a world of its own.
const PROCESSORS_MAX: u32 = 16;

/// Entries of a list of connection numbers.
const LIST_MAX: usize = 16;

/// Reads `input`; relative paths in it start at the folder of `file`.
pub(crate) fn read(input: &str, file: &Path, known_profiles: &[&str]) -> Result<Scenario, Fault> {
    let mut scenario = Scenario { devices: Settings::of_file(file), ..Scenario::default() };
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    let spots = walk(input, |top| {
        let scenario = &mut scenario;
        scenario.devices.read(top, folder, known_profiles);
        top.set_list("tests", &mut scenario.tests, one_or_more(Kind::ALL.len(), word));
        top.set("repetitions", &mut scenario.repetitions, whole(bounds::ROUNDS));
        top.set("confirm", &mut scenario.confirm, whole(bounds::CONFIRM));
        top.section("tuples", |section| read_tuples(section, &mut scenario.tuples));
        top.section("establishment", |section| read_establishment(section, &mut scenario.establishment));
        top.section("phase2", |section| read_phase2(section, &mut scenario.phase2));
        let connections = || one_or_more(LIST_MAX, whole(bounds::FLOWS));
        top.section("tear_down", |section| {
            section.set_list("connections", &mut scenario.tear_down.connections, connections());
        });
        top.section("capacity", |section| read_capacity(section, &mut scenario.capacity));
        top.section("scaling", |section| {
            section.set_list("connections", &mut scenario.scaling.connections, connections());
        });
        top.section("processors", |section| {
            section.set_list(
                "counts",
                &mut scenario.processors.counts,
                one_or_more(LIST_MAX, whole(1..=PROCESSORS_MAX)),
            );
        });
    })?;
    scenario.devices.settle(&spots);
    scenario.tests.sort_unstable();
    check(&scenario, &spots)?;
    Ok(scenario)
}

fn read_tuples(section: &mut Section<'_, '_>, tuples: &mut Tuples) {
    section.set("connections", &mut tuples.connections, whole(bounds::FLOWS));
    section.set("src_ports", &mut tuples.src_ports, ports);
    section.set("dst_ports", &mut tuples.dst_ports, ports);
    section.set("order", &mut tuples.order, word);
    section.set("frame_size", &mut tuples.frame_size, whole(bounds::FRAME_BYTES));
}

fn read_establishment(section: &mut Section<'_, '_>, establishment: &mut Establishment) {
    section.set("min_pps", &mut establishment.min_pps, whole(bounds::RATE_PPS));
    section.set("max_pps", &mut establishment.max_pps, whole(bounds::RATE_PPS));
    section.set("error", &mut establishment.error, number(bounds::PRECISION));
    section.set("alpha", &mut establishment.alpha, number(0.01..=1.0));
}

fn read_phase2(section: &mut Section<'_, '_>, phase2: &mut Phase2) {
    section.set("load_fraction", &mut phase2.load_fraction, number(0.01..=1.0));
    section.set("ways", &mut phase2.ways, word);
    section.set("trial_ms", &mut phase2.trial_ms, whole(bounds::TRIAL_MS));
    section.set("error", &mut phase2.error, number(bounds::PRECISION));
    section.set("loss_from", &mut phase2.loss_from, number(1.0..=10.0));
    section.set("loss_step", &mut phase2.loss_step, number(0.01..=0.1));
    section.set("latency_ms", &mut phase2.latency_ms, whole(bounds::TRIAL_MS));
}

fn read_capacity(section: &mut Section<'_, '_>, capacity: &mut Capacity) {
    section.set("initial", &mut capacity.initial, whole(bounds::FLOWS));
    section.set("maximum", &mut capacity.maximum, whole(bounds::FLOWS));
    section.set("beta", &mut capacity.beta, number(0.01..=0.9));
    section.set("gamma", &mut capacity.gamma, number(0.01..=0.9));
    section.set("error", &mut capacity.error, whole(1..=1_000_000));
}

/// What must hold between settings.
pub(crate) fn check(scenario: &Scenario, spots: &Spots) -> Result<(), Fault> {
    let Establishment { min_pps, max_pps, error, .. } = scenario.establishment;
    let Capacity { initial, maximum, error: within, .. } = scenario.capacity;
    let loads = Loads {
        connections: &[
            ("tuples.connections", scenario.connections_max()),
            ("capacity.maximum", if scenario.does(Kind::Capacity) { maximum } else { 0 }),
        ],
        tuples: scenario.tuples_max(),
        rates: [("establishment.min_pps", min_pps), ("establishment.max_pps", max_pps)],
        error,
    };
    loads.check(spots)?;
    if scenario.does(Kind::Capacity) && (maximum <= initial || within >= maximum) {
        return Err(Fault {
            at: spots.of("capacity.maximum"),
            message: format!(
                "`capacity` has nothing to search from {initial} to {maximum} connections within {within}"
            ),
            help: "raise `maximum`, or lower `initial` and `error`".to_owned(),
        });
    }
    if scenario.does(Kind::Processors) && scenario.devices.link.kernel == KernelWork::Threads {
        return Err(Fault {
            at: spots.of("link.kernel"),
            message: "the test `processors` has a whole chain on each of them, so that `link.kernel` = threads has no processor".to_owned(),
            help: "write \"inline\", or leave the test to a file of its own".to_owned(),
        });
    }
    scenario.world().check().map_err(|violation| violation.into_fault(spots))
}
