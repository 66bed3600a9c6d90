//! What a run leaves open.

use natrig_bench::result::{Purpose, RunResult, Trial};
use natrig_bench::scenario::{Design, Engine, Placement, TrafficDirection, Word};

use crate::digest::{Cell, Rounds, cell_names, cells, costs, distinct, names, rate_is_searched};
use crate::numbers::{Quantity, count, counted, figure, list, percent};

/// Rounds from which on a median has an interval of more than 90 %.
const ROUNDS_ENOUGH: u32 = 5;

/// From this share of invalid trials on, the machine was too busy to be trusted with the rest.
const INVALID_SHARE: f64 = 0.1;

/// From this share of a latency on, the generator's own lag in it is worth a word.
const LAG_SHARE: f64 = 0.25;

/// From this share of stolen time on, a virtual machine's neighbours are worth a word, percent.
const STEAL_PERCENT: f64 = 1.0;

pub(super) fn of(result: &RunResult) -> Vec<String> {
    let cells = cells(result);
    let measured: Vec<&Cell<'_>> = cells.iter().filter(|cell| cell.is_measured()).collect();
    if measured.is_empty() {
        return Vec::new();
    }
    let all = [
        products(result, &measured),
        memory(result),
        one_core(result),
        few_rounds(result, &measured),
        all_four(result, &measured),
        generator(&measured),
        tails(&measured),
        lag(&measured),
        disturbed(result),
        neighbours(result),
        equal_strain(result, &measured),
        out_of_scope(result, &measured),
    ];
    all.into_iter().flatten().collect()
}

/// A profile is a behaviour, not a speed.
fn products(result: &RunResult, cells: &[&Cell<'_>]) -> Option<String> {
    let ours = |engine: Engine| engine == Engine::Userspace;
    let node = cells.iter().any(|cell| cell.design().translates_at_node() && ours(cell.summary.engines.node));
    let gateway = cells.iter().any(|cell| cell.design().translates_at_gateway() && ours(cell.summary.engines.gateway));
    let layers =
        [(node, "node", &result.scenario.node.profile), (gateway, "gateway", &result.scenario.gateway.profile)];
    let behaviours: Vec<String> = layers
        .into_iter()
        .filter(|(translates, _, _)| *translates)
        .map(|(_, place, profile)| format!("{profile} at the {place}"))
        .collect();
    (!behaviours.is_empty()).then(|| {
        format!(
            "how fast other products are: it is natrig's own NAT that translates here, behaving like {}. The times are \
             its own.",
            list(&behaviours)
        )
    })
}

fn memory(result: &RunResult) -> Option<String> {
    (result.environment.link.kind == "memory").then(|| {
        format!(
            "what the kernel adds: links are rings of {} frames in memory, so no network device is in the figures.",
            count(result.environment.link.slots)
        )
    })
}

/// Which layers share a processor decides what rates mean.
fn one_core(result: &RunResult) -> Option<String> {
    let placement = &result.environment.placement;
    let testers = placement.iter().find(|thread| thread.roles.iter().any(|role| role == "generator"))?;
    let layers = placement.iter().find(|thread| thread.roles.iter().any(|role| role == "gateway"))?;
    let pinned_together = testers.cpu.is_some() && testers.cpu == layers.cpu;
    let only_one = result.host.cores == 1;
    if pinned_together || only_one {
        let of = counted(result.host.cores as u64, "core");
        return Some(format!(
            "what the layers do undisturbed: generator and layers take turns on 1 of {of}, so rates and latencies include \
             both."
        ));
    }
    let asked = matches!(result.scenario.link.placement, Placement::Cpus { .. });
    match layers.cpu {
        Some(cpu) => Some(format!(
            "what two machines do: node and gateway share core\u{a0}{cpu}{}, so their times add up; apart, the slower one \
             sets the rate.",
            if asked { " as asked" } else { "" }
        )),
        None => Some(format!(
            "what pinned threads do: the layers ran on whichever of {} the scheduler chose.",
            counted(result.host.cores as u64, "core")
        )),
    }
}

fn few_rounds(result: &RunResult, cells: &[&Cell<'_>]) -> Option<String> {
    let rates = cells.iter().filter_map(|cell| cell.summary.rate_pps.map(|rate| rate.rounds));
    let fewest = rates.min().unwrap_or(0).min(Rounds::of(result).done);
    let asked = counted(result.scenario.measure.rounds, "round");
    (fewest < ROUNDS_ENOUGH).then(|| {
        format!(
            "small differences: some figures come from only {fewest} of {asked}; intervals of over 90\u{a0}% take \
             {ROUNDS_ENOUGH}."
        )
    })
}

/// Costs are differences within rounds in which all four designs have a figure.
fn all_four(result: &RunResult, cells: &[&Cell<'_>]) -> Option<String> {
    if !costs(result).is_empty() {
        return None;
    }
    let designs = distinct(cells.iter().map(|cell| cell.design()));
    Some(if designs.len() < Design::ALL.len() {
        format!("what each layer costs: that takes all 4 designs, and measured are figures of {}.", names(designs))
    } else {
        "what each layer costs: in no round all 4 designs have a figure.".to_owned()
    })
}

fn generator(cells: &[&Cell<'_>]) -> Option<String> {
    let bound = cells.iter().copied().filter(|cell| cell.generator_bound().is_some());
    let worst = cells.iter().filter_map(|cell| cell.generator_bound()).max_by_key(|(rounds, _)| *rounds)?;
    Some(format!(
        "how fast {} can be: in up to {} of {} the generator, not the design, was the limit.",
        cell_names(bound),
        worst.0,
        counted(worst.1, "round")
    ))
}

fn tails(cells: &[&Cell<'_>]) -> Option<String> {
    let lacking = |cell: &&&Cell<'_>| cell.summary.latency_ns_p50.is_some() && cell.summary.latency_ns_p999.is_none();
    let short: Vec<&&Cell<'_>> = cells.iter().filter(lacking).collect();
    let least = short.iter().filter_map(|cell| cell.latency_samples_least()).min()?;
    Some(format!(
        "the tails of {}: a latency trial of {} is too short for p99.9, which takes 5,700.",
        cell_names(short.iter().map(|cell| **cell)),
        counted(least, "frame")
    ))
}

/// Latency counts from the intended send time, and so contains the generator's own lag.
fn lag(cells: &[&Cell<'_>]) -> Option<String> {
    let late = |cell: &&&Cell<'_>| {
        let latency = cell.summary.latency?;
        let (lag, all) = (latency.send_lag.ns_p99?, latency.intended_to_received.ns_p99?);
        (all > 0 && lag as f64 >= all as f64 * LAG_SHARE).then_some((lag, cell.name.clone()))
    };
    let (lag, design) = cells.iter().filter_map(|cell| late(&cell)).max_by_key(|(lag, _)| *lag)?;
    Some(format!(
        "how much of the tail is the design's: the generator itself sent up to {} late at p99 (in {design}), and latency counts \
         from the intended time.",
        figure(Quantity::Time, lag as f64)
    ))
}

/// Trials of a search may well be invalid: where the generator is the limit, some must be. These need not.
fn disturbed(result: &RunResult) -> Option<String> {
    let all: Vec<&Trial> = result.trials.iter().filter(|trial| trial.purpose != Purpose::Search).collect();
    let invalid = all.iter().filter(|trial| !trial.is_valid()).count();
    (invalid > 0 && invalid as f64 >= all.len() as f64 * INVALID_SHARE).then(|| {
        let trials = counted(all.len() as u64, "trial");
        format!(
            "what a quieter machine would show: {} of {trials} at rates that should be easy were invalid.",
            count(invalid as u64)
        )
    })
}

fn neighbours(result: &RunResult) -> Option<String> {
    let steal = result.host.steal_percent_since_boot.filter(|steal| *steal >= STEAL_PERCENT)?;
    Some(format!(
        "what dedicated processors would show: the hypervisor gave {} of this machine's time to others since boot.",
        percent(steal / 100.0)
    ))
}

fn equal_strain(result: &RunResult, cells: &[&Cell<'_>]) -> Option<String> {
    let compared = cells.iter().filter(|cell| cell.summary.latency_ns_p50.is_some()).count() > 1;
    (rate_is_searched(result) && compared).then(|| {
        format!(
            "how latencies compare at equal load: each design was measured at {} of its own rate.",
            percent(result.scenario.measure.latency_fraction)
        )
    })
}

fn out_of_scope(result: &RunResult, cells: &[&Cell<'_>]) -> Option<String> {
    if cells.iter().all(|cell| cell.design() == Design::None) {
        return None;
    }
    let inbound = match result.scenario.traffic.direction {
        TrafficDirection::Out => " The way back was not measured.",
        TrafficDirection::Both => "",
    };
    let untold = if result.scenario.measure.connections == 0 {
        "whether ports run out, or what a new connection costs"
    } else {
        "what new connections add to the time per packet and to latency"
    };
    Some(format!(
        "{untold}: all {} had their mappings before the first measured frame.{inbound}",
        counted(result.scenario.traffic.flows, "flow")
    ))
}
