//! Under which circumstances a run measured, in words.

use natrig_bench::result::{Environment, LinkCandidate, LinkFacts, Program, RunResult, TcpCheck};
use natrig_bench::scenario::{
    Design, Engine, FrameMix, FrameSize, Layer, Lineup, PortChoice, Rate, Suite, TrafficDirection, Word,
};
use natrig_lab::host::HostFacts;

use super::progress::Rounds;
use crate::numbers::{Quantity, count, counted, elapsed, figure, list, percent, setting};

/// Labels, and what there is to say: as many lines as a reader bears before the first table.
pub(crate) fn facts(result: &RunResult) -> Vec<(&'static str, String)> {
    let facts = [
        ("path", path(result)),
        ("sent", traffic(result)),
        ("suite", Suite::of(&result.scenario).map_or_else(String::new, |suite| suite.to_string())),
        ("how", how(&result.environment)),
        ("where", host(&result.host)),
        ("cores", places(&result.environment)),
        ("done", done(result)),
        ("by", program(&result.natrig, &result.started_at)),
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

/// What the processes were allowed to do, and what carried frames.
pub(crate) fn how(environment: &Environment) -> String {
    let parts = [mode(environment), carrier(environment)];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<String>>().join(" · ")
}

/// What the processes were allowed to do, and why not more.
fn mode(environment: &Environment) -> String {
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

/// What carried frames, and what else was measured before it was chosen.
fn carrier(environment: &Environment) -> String {
    let LinkFacts { kind, candidates, .. } = &environment.link;
    // Nothing was opened.
    if kind.is_empty() {
        return String::new();
    }
    let taken = candidates.iter().find(|candidate| candidate.taken);
    let veth = if kind == "memory" { "" } else { "veth, " };
    let links = format!("links: {veth}{}", way(taken.map_or(kind, |taken| &taken.kind)));
    let Some(rate_pps) = taken.and_then(|taken| taken.rate_pps) else { return links };
    let other = |other: &LinkCandidate| {
        let rate = other.rate_pps.map_or_else(|| "refused".to_owned(), |rate_pps| figure(Quantity::Rate, rate_pps));
        format!("{} {rate}", way(&other.kind))
    };
    let others: Vec<String> = candidates.iter().filter(|candidate| !candidate.taken).map(other).collect();
    format!("{links} ({} over one hop; {})", figure(Quantity::Rate, rate_pps), others.join(", "))
}

/// A kind of link in words.
fn way(kind: &str) -> &str {
    match kind {
        "memory" => "rings in memory",
        "ring" => "rings in BPF arrays",
        "xdp" => "AF_XDP",
        "packet" => "AF_PACKET",
        "packet-blocks" => "AF_PACKET in blocks",
        other => other,
    }
}

/// The machine.
pub(crate) fn host(host: &HostFacts) -> String {
    let mut parts = vec![format!("Linux {}", host.kernel_release)];
    if let Some(model) = &host.cpu_model {
        parts.push(model.split_whitespace().collect::<Vec<&str>>().join(" "));
    }
    let virtual_machine = if host.hypervisor { " (virtual)" } else { "" };
    parts.push(format!("{}{virtual_machine}", counted(host.cores as u64, "core")));
    parts.join(" · ")
}

/// Which roles ran where.
pub(crate) fn places(environment: &Environment) -> String {
    let threads = environment.placement.iter().map(|thread| {
        let cpu = thread.cpu.map_or_else(|| "on any core".to_owned(), |cpu| format!("on core\u{a0}{cpu}"));
        format!("{} {cpu}", thread.roles.join(" + "))
    });
    threads.collect::<Vec<String>>().join(" · ")
}

/// What measured, and when.
pub(crate) fn program(program: &Program, started_at: &str) -> String {
    let commit = program.commit.as_deref().map(|commit| format!(" {commit}")).unwrap_or_default();
    format!("natrig {}{commit}, {} build · {started_at}", program.version, program.profile)
}

/// The boxes on the way, with what translates in them where it does.
fn path(result: &RunResult) -> String {
    let scenario = &result.scenario;
    let engines = |engine: fn(&Lineup) -> Engine| scenario.lineups().iter().map(engine).collect::<Vec<Engine>>();
    let layer = |name: &str, layer: &Layer, engines: Vec<Engine>, translates: fn(Design) -> bool| {
        if !scenario.designs.iter().copied().any(translates) {
            return name.to_owned();
        }
        let what: Vec<String> = engines.into_iter().map(|engine| translator(layer, engine)).collect();
        format!("{name} ({})", what.join(" or "))
    };
    format!(
        "pods ══ {} ══ {} ══ internet",
        layer("node", &scenario.node, engines(|lineup| lineup.node), Design::translates_at_node),
        layer("gateway", &scenario.gateway, engines(|lineup| lineup.gateway), Design::translates_at_gateway)
    )
}

/// What translates at a layer: a profile of natrig's own NAT, or the kernel's with its options.
fn translator(layer: &Layer, engine: Engine) -> String {
    match engine {
        Engine::Userspace => layer.profile.clone(),
        Engine::Redirect | Engine::Absent => engine.to_string(),
        Engine::Nftables => {
            let mut what = engine.to_string();
            if layer.ports != PortChoice::Default {
                what += &format!(" {}", layer.ports.word());
            }
            if let Some(range) = layer.port_range {
                what += &format!(", ports {}-{}", range.first, range.last);
            }
            what
        }
    }
}

/// Which of several tables this is, to go on after a heading: `: nftables, 64-byte frames`; nothing where there is only one.
pub(crate) fn part(result: &RunResult, lineup: Lineup, size: FrameSize) -> String {
    let mut parts = Vec::new();
    if result.scenario.lineups().len() > 1 {
        parts.push(lineup.to_string());
    }
    if result.scenario.traffic.frame_sizes.len() > 1 {
        parts.push(frames(size));
    }
    if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) }
}

/// A design by its name, and by what stands in it where that may be one of several.
pub(crate) fn design_name(result: &RunResult, lineup: Lineup, design: Design) -> String {
    if result.scenario.lineups().len() > 1 { format!("{design} by {lineup}") } else { design.to_string() }
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
    matches!(result.scenario.measure.rate, Rate::Search(_) | Rate::Mlrsearch(_))
}

/// At which load latency was measured: `50 % of each design's own rate`.
pub(crate) fn latency_load(result: &RunResult) -> String {
    if !result.scenario.measure.asks_for_latency() {
        return "no load (not asked for)".to_owned();
    }
    let fraction = result.scenario.measure.latency_fraction;
    match result.scenario.measure.rate {
        Rate::Search(_) | Rate::Mlrsearch(_) => format!("{} of that rate", percent(fraction)),
        Rate::FixedPps(pps) => format!("{} offered", setting(Quantity::Rate, f64::from(pps) * fraction)),
    }
}

/// Whether the TCP connections passed, and what they showed; nothing if there were none.
pub(crate) fn tcp_checks(result: &RunResult) -> Option<(bool, String)> {
    let name = |check: &TcpCheck| design_name(result, check.engines, check.design);
    let passed: Vec<String> = result.tcp_checks.iter().filter(|check| check.passed).map(name).collect();
    let failed: Vec<String> = result
        .tcp_checks
        .iter()
        .filter(|check| !check.passed)
        .map(|check| format!("{} ({})", name(check), check.failure.as_deref().unwrap_or("no reason given")))
        .collect();
    match (passed.is_empty(), failed.is_empty()) {
        (true, true) => None,
        (false, true) => {
            let bytes = result.tcp_checks.iter().map(|check| check.bytes).min().unwrap_or(0);
            let bytes = counted(bytes, "byte");
            // Each of eight by its name would be no news.
            let through = if passed.len() > Design::ALL.len() {
                format!("all {}, with each engine", counted(scenario_designs(result), "design"))
            } else {
                list(&passed)
            };
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

fn scenario_designs(result: &RunResult) -> u64 {
    result.scenario.designs.len() as u64
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
