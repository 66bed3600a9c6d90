//! The steps of each experiment, over all setups of a scenario.

use std::time::Duration;

use natrig_bench::result::{KernelSettings, Place, Status};
use natrig_bench::scenario::{Engine, Lineup};
use natrig_bench::test::{Session, TestError};
use natrig_lab::nft;

use super::Exhaustion;
use super::fills::fills;
use crate::experiment::{StepError, blast, both_layers, churn, replacement, skew};
use crate::observe::Layer;
use crate::result::Skipped;
use crate::rig::{Bed, Rig, RigError};
use crate::scenario::{
    BlastRadius, BothLayers, Churn, Experiment, Over, ReplacementSettings, Setup, Standing, TimeoutSkew,
};
use crate::talk::{Faults, Talker};

pub(super) type Run<'s, 'a> = &'s mut Session<'a, Exhaustion>;

/// How a step of an experiment ended.
pub(super) enum Ended {
    Done,
    Early(Status),
}

/// All of it.
pub(super) fn run(session: Run<'_, '_>) -> Result<Status, TestError> {
    let ended = match session.record.scenario.experiment.clone() {
        Experiment::Fill(settings) => fills(session, &settings),
        Experiment::Churn(settings) => churns(session, &settings),
        Experiment::BlastRadius(settings) => blasts(session, &settings),
        Experiment::TimeoutSkew(settings) => skews(session, &settings),
        Experiment::BothLayers(settings) => surface(session, &settings),
        Experiment::Replacement(settings) => replacements(session, &settings),
    }?;
    session.save();
    if session.record.measured.skipped.len() == session.record.scenario.nats.len() {
        let reasons: Vec<&str> = session.record.measured.skipped.iter().map(|one| one.reason.as_str()).collect();
        let reason = reasons.first().copied().unwrap_or_default();
        return Err(TestError::Environment(format!("nothing could be measured here: {reason}")));
    }
    Ok(match ended {
        Ended::Done => Status::Complete,
        Ended::Early(status) => status,
    })
}

/// Whether to begin another step.
pub(super) fn next(session: &Session<'_, Exhaustion>) -> Option<Ended> {
    if session.cancelled() {
        return Some(Ended::Early(Status::Interrupted));
    }
    let limit = Duration::from_secs(u64::from(session.record.scenario.time_limit_s));
    (session.started.elapsed() > limit).then_some(Ended::Early(Status::TimeLimit))
}

/// A step's result, or that it was stopped.
pub(super) fn finished<T>(step: Result<T, StepError>) -> Result<Option<T>, TestError> {
    match step {
        Ok(result) => Ok(Some(result)),
        Err(StepError::Cancelled) => Ok(None),
        Err(StepError::Rig(error)) => Err(failed(&error)),
    }
}

pub(super) fn failed(error: &RigError) -> TestError {
    if error.is_environment() {
        TestError::Environment(format!("failed to {error}"))
    } else {
        TestError::Failed(error.to_string())
    }
}

pub(super) const STOPPED: Ended = Ended::Early(Status::Interrupted);

/// Builds a setup; none if that is not possible here, which is noted.
pub(super) fn open(session: Run<'_, '_>, bed: Bed) -> Result<Option<Talker>, TestError> {
    let setup = bed.setup.clone();
    let why_not = match setup.over {
        Over::Memory => None,
        Over::Veth if setup.has_kernel() && nft::find().is_none() => Some(nft::NftError::Missing.to_string()),
        Over::Veth => session.privilege.why_memory(),
    };
    if let Some(reason) = why_not {
        if !session.record.measured.skipped.iter().any(|skipped| skipped.setup == setup) {
            session.record.measured.skipped.push(Skipped { setup, reason });
        }
        return Ok(None);
    }
    let seed = session.record.scenario.seed;
    let rig = Rig::open(bed, seed).map_err(|error| failed(&error))?;
    note(session, &setup, &rig)?;
    Ok(Some(Talker::new(rig)))
}

/// Writes down what carries frames, and how the kernel is set.
fn note(session: Run<'_, '_>, setup: &Setup, rig: &Rig) -> Result<(), TestError> {
    let environment = &mut session.record.environment;
    if environment.link.kind.is_empty() || setup.over == Over::Veth {
        environment.link = rig.link();
    }
    let engine = |standing: &Standing| if standing.is_kernel() { Engine::Nftables } else { Engine::Userspace };
    let engines = Lineup { node: engine(&setup.node), gateway: engine(&setup.gateway) };
    for (layer, settings) in rig.kernel_settings().map_err(|error| failed(&error))? {
        let place = if layer == Layer::Node { Place::Node } else { Place::Gateway };
        let settings = KernelSettings { engines, place, settings: settings.into_iter().collect() };
        if !environment.kernel.contains(&settings) {
            environment.kernel.push(settings);
        }
    }
    Ok(())
}

pub(super) fn take_faults(session: Run<'_, '_>, faults: &mut Faults) {
    let Faults { vanished, corrupt, shared } = std::mem::take(faults);
    let counts = &mut session.record.measured.faults;
    counts.vanished += vanished;
    counts.corrupt += corrupt;
    counts.shared_tuples += shared;
}

fn churns(session: Run<'_, '_>, settings: &Churn) -> Result<Ended, TestError> {
    let scenario = session.record.scenario.clone();
    for (nth, setup) in scenario.nats.iter().enumerate() {
        if let Some(ended) = next(session) {
            return Ok(ended);
        }
        session.phase(&format!("churn: {setup}"), nth as f64 / scenario.nats.len() as f64);
        let bed = Bed::new(&scenario, setup, ENTRIES_OF_CHURN);
        let nominal = bed.nominal().map_err(|error| failed(&error))?;
        let formula_per_s = bed.formula_per_s(settings.lifetime_s).map_err(|error| failed(&error))?;
        let Some(mut talker) = open(session, bed)? else { continue };
        let step = churn::run(&mut talker, settings, nominal, formula_per_s, scenario.seed, session.cancel);
        let Some(result) = finished(step)? else { return Ok(STOPPED) };
        take_faults(session, &mut talker.faults);
        session.record.measured.churns.push(result);
        session.save();
    }
    Ok(Ended::Done)
}

/// Entries of tables where connections come and go: more than there are ports for one destination, and fewer than any kernel tracks.
const ENTRIES_OF_CHURN: u32 = 1 << 17;

fn blasts(session: Run<'_, '_>, settings: &BlastRadius) -> Result<Ended, TestError> {
    let scenario = session.record.scenario.clone();
    let steps = scenario.nats.len() * settings.quotas.len();
    for (nth, setup) in scenario.nats.iter().enumerate() {
        for (which, quota) in settings.quotas.iter().enumerate() {
            if *quota > 0 && setup.has_kernel() {
                // The kernel's NAT has no quotas.
                continue;
            }
            if let Some(ended) = next(session) {
                return Ok(ended);
            }
            let done = (nth * settings.quotas.len() + which) as f64 / steps as f64;
            session.phase(&format!("blast radius, quota {quota}: {setup}"), done);
            let mut bed = Bed::new(&scenario, setup, ENTRIES_OF_CHURN);
            if *quota > 0 {
                // Behind a node that translates, all its pods are one source to the gateway: the quota belongs at the first layer.
                let changes = if setup.node.translates() { &mut bed.node } else { &mut bed.gateway };
                changes.ports_per_source = Some(*quota);
            }
            let Some(mut talker) = open(session, bed)? else { continue };
            let step = blast::run(&mut talker, settings, *quota, scenario.seed, session.cancel);
            let Some(result) = finished(step)? else { return Ok(STOPPED) };
            take_faults(session, &mut talker.faults);
            session.record.measured.blasts.push(result);
            session.save();
        }
    }
    Ok(Ended::Done)
}

fn skews(session: Run<'_, '_>, settings: &TimeoutSkew) -> Result<Ended, TestError> {
    let scenario = session.record.scenario.clone();
    let combinations: Vec<[u32; 2]> =
        settings.node_s.iter().flat_map(|node| settings.gateway_s.iter().map(|gateway| [*node, *gateway])).collect();
    let steps = scenario.nats.len() * (combinations.len() + 1);
    for (nth, setup) in scenario.nats.iter().enumerate() {
        for (which, [node_s, gateway_s]) in combinations.iter().copied().enumerate() {
            if let Some(ended) = next(session) {
                return Ok(ended);
            }
            let done = (nth * (combinations.len() + 1) + which) as f64 / steps as f64;
            session.phase(&format!("timeouts of {node_s} s and {gateway_s} s: {setup}"), done);
            let mut bed = Bed::new(&scenario, setup, settings.connections);
            bed.node.established_s = Some(node_s);
            bed.gateway.established_s = Some(gateway_s);
            let Some(mut talker) = open(session, bed)? else { continue };
            let step = skew::run(&mut talker, settings, [node_s, gateway_s], scenario.seed, session.cancel);
            let Some(result) = finished(step)? else { return Ok(STOPPED) };
            take_faults(session, &mut talker.faults);
            session.record.measured.skews.push(result);
            session.save();
        }
        if settings.reuse_connections == 0 {
            continue;
        }
        if let Some(ended) = next(session) {
            return Ok(ended);
        }
        let Some(mut talker) = open(session, Bed::new(&scenario, setup, ENTRIES_OF_CHURN))? else { continue };
        let step = skew::reuse(&mut talker, settings, scenario.seed, session.cancel);
        let Some(result) = finished(step)? else { return Ok(STOPPED) };
        take_faults(session, &mut talker.faults);
        session.record.measured.reuses.push(result);
        session.save();
    }
    Ok(Ended::Done)
}

fn surface(session: Run<'_, '_>, settings: &BothLayers) -> Result<Ended, TestError> {
    let scenario = session.record.scenario.clone();
    let points = both_layers::points(settings);
    let steps = scenario.nats.len() * points.len();
    for (nth, setup) in scenario.nats.iter().enumerate() {
        // Where there is no room for so many nodes, fewer are measured.
        let possible = |point: &&both_layers::Point| point.nodes <= setup.nodes_max();
        for (which, point) in points.iter().filter(possible).enumerate() {
            if let Some(ended) = next(session) {
                return Ok(ended);
            }
            let done = (nth * points.len() + which) as f64 / steps as f64;
            session
                .phase(&format!("{} nodes, {} gateway addresses: {setup}", point.nodes, point.gateway_addresses), done);
            if setup.over == Over::Veth && open(session, Bed::new(&scenario, setup, 1))?.is_none() {
                break;
            }
            let mut faults = Faults::default();
            let step = both_layers::run(&scenario, setup, settings, *point, &mut faults, session.cancel);
            let Some(cells) = finished(step)? else { return Ok(STOPPED) };
            take_faults(session, &mut faults);
            session.record.measured.cells.extend(cells);
            session.save();
        }
    }
    Ok(Ended::Done)
}

fn replacements(session: Run<'_, '_>, settings: &ReplacementSettings) -> Result<Ended, TestError> {
    let scenario = session.record.scenario.clone();
    let steps = scenario.nats.len() * settings.connections.len();
    for (nth, setup) in scenario.nats.iter().enumerate() {
        let mut bed = Bed::new(&scenario, setup, settings.offers_max);
        bed.overflows = true;
        let Some(mut talker) = open(session, bed)? else { continue };
        let table = talker.rig.kernel_table().map_err(|error| failed(&error))?;
        if let Some(table) = table.filter(|table| *table >= settings.offers_max) {
            let offers = settings.offers_max;
            let reason = format!(
                "the kernel tracks {table} connections here (nf_conntrack_max): {offers} would not fill its table"
            );
            session.record.measured.skipped.push(Skipped { setup: setup.clone(), reason });
            continue;
        }
        for (which, connections) in settings.connections.iter().copied().enumerate() {
            if let Some(ended) = next(session) {
                return Ok(ended);
            }
            let done = (nth * settings.connections.len() + which) as f64 / steps as f64;
            session.phase(&format!("replacement, {connections} connections: {setup}"), done);
            let step = replacement::run(&mut talker, settings, connections, scenario.seed, session.cancel);
            let Some(result) = finished(step)? else { return Ok(STOPPED) };
            // Ports of connections that were given up are given again, as they must be.
            talker.faults.shared = 0;
            take_faults(session, &mut talker.faults);
            session.record.measured.replacements.push(result);
            session.save();
        }
    }
    Ok(Ended::Done)
}
