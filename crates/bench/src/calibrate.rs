//! `placement = "auto"`: which processors generator and layers run on, found out by measuring each choice for a moment.
//!
//! Processors are not alike: two may share a core or a cache, one may serve the interrupts. What a choice delivers says so, and nothing
//! else that can be asked does.

use std::sync::Arc;

use natrig_link::affinity;
use natrig_traffic::FlowSet;

use crate::bed::{Bench, Subject};
use crate::experiment::{Experiment, Offer};
use crate::result::{Environment, Purpose};
use crate::run::RunError;
use crate::scenario::Placement;

/// How long each choice is measured, in nanoseconds.
const TRIAL_NS: u64 = 20_000_000;
/// Pairs of so many processors are tried, at most.
const PROCESSORS_MAX: usize = 4;
/// Few enough to be loaded at once.
const FLOWS_MAX: usize = 64;
/// More than any generator sends.
const FLAT_OUT_PPS: f64 = 50e6;

/// Places the threads of `bench` where `auto` carries most, and says so in `environment`. Leaves everything as it is where the scenario
/// names the processors, where there is one only, and where threads of the kernel's are pinned already.
///
/// # Errors
/// What a trial can fail with.
pub(crate) fn settle(bench: &mut Bench<'_>, flows: &FlowSet, environment: &mut Environment) -> Result<(), RunError> {
    let scenario = bench.scenario;
    let cores: Vec<u16> = affinity::allowed_cores()
        .unwrap_or_default()
        .into_iter()
        .filter_map(|core| u16::try_from(core).ok())
        .take(PROCESSORS_MAX)
        .collect();
    let threads = bench.worlds.iter().any(|world| !world.napi.pids().is_empty());
    if scenario.link.placement != Placement::Auto || cores.len() < 2 || threads {
        return Ok(());
    }
    let few = Arc::new(FlowSet::from_tuples(flows.iter().take(FLOWS_MAX).copied().collect())?);
    let (mut best, mut found) = ((0.0, Placement::Auto), Vec::new());
    for (tester, dut) in cores.iter().flat_map(|tester| cores.iter().map(move |dut| (*tester, *dut))) {
        // All on one loses nothing and is told for comparison: once.
        if tester == dut && tester != cores[0] {
            continue;
        }
        let placement = Placement::Cpus { tester, dut };
        bench.place(placement);
        let rate_pps = carried(bench, &few)?;
        if tester == dut {
            found.push(format!("all on {tester} {:.3} Mpps", rate_pps / 1e6));
            continue;
        }
        found.push(format!("{tester} and {dut} {:.3} Mpps", rate_pps / 1e6));
        if rate_pps > best.0 {
            best = (rate_pps, placement);
        }
    }
    bench.place(best.1);
    environment.placement = bench.placed.threads(&scenario.lineups(), scenario.link.kernel);
    let ms = TRIAL_NS / 1_000_000;
    environment.link.notes.push(format!(
        "placement auto, by {ms} ms flat out for each choice of cores for generator and layers: {}",
        found.join(", ")
    ));
    Ok(())
}

/// Frames a second that arrive of as many as can be sent.
fn carried(bench: &mut Bench<'_>, flows: &Arc<FlowSet>) -> Result<f64, RunError> {
    let scenario = bench.scenario;
    let subject = Subject::new(bench, 0, scenario.designs[0], scenario.seed)?;
    let mut experiment = Experiment::new(bench, subject, flows, scenario.traffic.frame_sizes[0])?;
    let offer = Offer {
        purpose: Purpose::Search,
        rate_pps: FLAT_OUT_PPS,
        duration_ns: TRIAL_NS,
        seed: scenario.seed,
        stamps: false,
    };
    let trial = experiment.trial(bench, offer)?.trial;
    Ok(trial.rate_pps_achieved * trial.received as f64 / trial.sent.max(1) as f64)
}
