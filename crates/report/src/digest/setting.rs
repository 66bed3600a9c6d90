//! Under which circumstances a run measured, in words.

use natrig_bench::result::RunResult;
use natrig_bench::scenario::{Design, FrameMix, FrameSize, Rate, TrafficDirection, Word};

use super::cell::names;
use super::progress::Rounds;
use crate::numbers::{Quantity, count, counted, elapsed, list, percent, setting};

/// Labels, and what there is to say: as many lines as a reader bears before the first table.
pub(crate) fn facts(result: &RunResult) -> Vec<(&'static str, String)> {
    let facts = [
        ("path", path(result)),
        ("sent", traffic(result)),
        (
            "how",
            [mode(result), carrier(result)]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<String>>()
                .join(" · "),
        ),
        ("where", host(result)),
        ("cores", places(result)),
        ("done", done(result)),
        ("by", program(result)),
    ];
    facts.into_iter().filter(|(_, fact)| !fact.is_empty()).collect()
}

fn done(result: &RunResult) -> String {
    let valid = result.valid_trials().count();
    let invalid = result.trials.len() - valid;
    let trials = match (valid, invalid) {
        (0, 0) => "no trials".to_owned(),
        (_, 0) => format!("{} trials, all valid", count(valid as u64)),
        _ => format!("{} trials valid, {} invalid", count(valid as u64), count(invalid as u64)),
    };
    format!("{} in {} · {trials}", Rounds::of(result), elapsed(result.elapsed_ns))
}

/// What the processes were allowed to do, and why not more.
fn mode(result: &RunResult) -> String {
    let environment = &result.environment;
    let mode = match environment.mode.as_str() {
        "root" => "as root",
        "rootless" => "rootless in a user namespace",
        "memory" => "in memory, without namespaces",
        other => other,
    };
    match &environment.mode_reason {
        Some(reason) => format!("{mode} ({reason})"),
        None => mode.to_owned(),
    }
}

/// What carried frames.
fn carrier(result: &RunResult) -> String {
    match result.environment.link.kind.as_str() {
        "memory" => "links: rings in memory".to_owned(),
        "ring" => "links: veth, rings in BPF arrays".to_owned(),
        "xdp" => "links: veth, AF_XDP".to_owned(),
        "packet" => "links: veth, AF_PACKET".to_owned(),
        "pnet" => "links: veth, pnet".to_owned(),
        // Nothing was opened.
        "" => String::new(),
        other => format!("links: {other}"),
    }
}

/// The machine.
fn host(result: &RunResult) -> String {
    let host = &result.host;
    let mut parts = vec![format!("Linux {}", host.kernel_release)];
    if let Some(model) = &host.cpu_model {
        parts.push(model.split_whitespace().collect::<Vec<&str>>().join(" "));
    }
    let virtual_machine = if host.hypervisor { " (virtual)" } else { "" };
    parts.push(format!("{}{virtual_machine}", counted(host.cores as u64, "core")));
    parts.join(" · ")
}

/// Which roles ran where.
fn places(result: &RunResult) -> String {
    let threads = result.environment.placement.iter().map(|thread| {
        let cpu = thread.cpu.map_or_else(|| "on any core".to_owned(), |cpu| format!("on core\u{a0}{cpu}"));
        format!("{} {cpu}", thread.roles.join(" + "))
    });
    threads.collect::<Vec<String>>().join(" · ")
}

/// What measured, and when.
fn program(result: &RunResult) -> String {
    let program = &result.natrig;
    let commit = program.commit.as_deref().map(|commit| format!(" {commit}")).unwrap_or_default();
    format!("natrig {}{commit}, {} build · {}", program.version, program.profile, result.started_at)
}

/// The boxes on the way, with what translates in them where it does.
fn path(result: &RunResult) -> String {
    let scenario = &result.scenario;
    let layer = |name: &str, profile: &str, translates: fn(Design) -> bool| {
        if scenario.designs.iter().copied().any(translates) { format!("{name} ({profile})") } else { name.to_owned() }
    };
    format!(
        "pods ══ {} ══ {} ══ internet",
        layer("node", &scenario.node.profile, Design::translates_at_node),
        layer("gateway", &scenario.gateway.profile, Design::translates_at_gateway)
    )
}

/// What was sent.
fn traffic(result: &RunResult) -> String {
    let scenario = &result.scenario;
    let answered = match scenario.traffic.direction {
        TrafficDirection::Out => "way out only",
        TrafficDirection::Both => "every frame answered",
    };
    let sizes: Vec<String> = scenario.traffic.frame_sizes.iter().map(|size| frames(*size)).collect();
    format!(
        "{}, {} UDP flows, {} → {}, {} schedule, {answered}",
        list(&sizes),
        count(scenario.traffic.flows),
        counted(scenario.topology.pods.count, "pod"),
        counted(scenario.topology.internet.server_count, "server"),
        scenario.traffic.schedule.word(),
    )
}

/// Frames of a size.
pub(crate) fn frames(size: FrameSize) -> String {
    match size {
        FrameSize::Bytes(bytes) => format!("{bytes}-byte frames"),
        FrameSize::Mix(FrameMix::Imix) => "IMIX frames".to_owned(),
    }
}

/// True if the highest rate was searched for, false if a fixed one was offered.
pub(crate) fn rate_is_searched(result: &RunResult) -> bool {
    matches!(result.scenario.measure.rate, Rate::Search(_))
}

/// At which load latency was measured: `50 % of each design's own rate`.
pub(crate) fn latency_load(result: &RunResult) -> String {
    let fraction = result.scenario.measure.latency_fraction;
    match result.scenario.measure.rate {
        Rate::Search(_) => format!("{} of that rate", percent(fraction)),
        Rate::FixedPps(pps) => format!("{} offered", setting(Quantity::Rate, f64::from(pps) * fraction)),
    }
}

/// Whether the TCP connections passed, and what they showed; nothing if there were none.
pub(crate) fn tcp_checks(result: &RunResult) -> Option<(bool, String)> {
    let passed: Vec<Design> = result.tcp_checks.iter().filter(|check| check.passed).map(|check| check.design).collect();
    let failed: Vec<String> = result
        .tcp_checks
        .iter()
        .filter(|check| !check.passed)
        .map(|check| format!("{} ({})", check.design, check.failure.as_deref().unwrap_or("no reason given")))
        .collect();
    match (passed.is_empty(), failed.is_empty()) {
        (true, true) => None,
        (false, true) => {
            let bytes = result.tcp_checks.iter().map(|check| check.bytes).min().unwrap_or(0);
            let bytes = counted(bytes, "byte");
            let through = names(passed);
            Some((
                true,
                format!(
                    "TCP through {through}: connected, {bytes} each way unchanged, closed, client address as it should be"
                ),
            ))
        }
        (_, false) => Some((false, format!("TCP does not get through {}", list(&failed)))),
    }
}

/// What a reader should know before trusting a figure: what the run noted, and what follows from the program that measured.
pub(crate) fn warnings(result: &RunResult) -> Vec<String> {
    let mut warnings = Vec::new();
    if result.natrig.profile != "release" {
        warnings.push(format!(
            "these are figures of a {} build: they say nothing of a release build",
            result.natrig.profile
        ));
    }
    if result.natrig.commit.as_deref().is_some_and(|commit| commit.ends_with("-dirty")) {
        warnings.push("measured by sources that are in no commit".to_owned());
    }
    warnings.extend(result.warnings.iter().cloned());
    warnings
}
