//! The toggle as a test.

use std::path::Path;

use natrig_bench::profile;
use natrig_bench::result::Status;
use natrig_bench::settings::Fault;
use natrig_bench::test::{Options, RecordOf, Session, Test, TestError};
use natrig_nat::Profile;

use crate::kernel::{self, RealError};
use crate::measured::{GatewayOutcome, Measured};
use crate::scenario::{NFTABLES, Scenario, Stack};
use crate::world::World;

/// What breaks when address translation changes under live connections.
#[derive(Debug)]
pub struct Toggle;

impl Test for Toggle {
    const NAME: &'static str = "toggle";
    type Scenario = Scenario;
    type Measured = Measured;

    fn read(text: &str, file: &Path, known_profiles: &[&str]) -> Result<Scenario, Fault> {
        Scenario::read(text, file, known_profiles)
    }

    fn heading(scenario: &Scenario) -> (String, String) {
        (scenario.title.clone(), scenario.question.clone())
    }

    fn change(scenario: &mut Scenario, options: &Options) -> Result<Vec<String>, String> {
        options.refuse(&["--design", "--link", "--rounds", "--effort"])?;
        scenario.seed = options.seed.unwrap_or(scenario.seed);
        Ok(Vec::new())
    }

    fn plan(scenario: &Scenario) -> Result<Vec<String>, String> {
        let Scenario { nodes, pods_per_node, change, procedure, node_engine, node_profile, .. } = scenario;
        let who = format!("{nodes} nodes ({node_engine}, {node_profile}) of {pods_per_node} pods, six clients each.");
        let mut lines = match scenario.stack {
            Stack::Virtual => vec![format!("On a virtual clock: {who}")],
            Stack::Kernel => vec![format!("With the kernel's TCP, in real time: {who}")],
        };
        lines.push(format!("Then {change}, {procedure}, and {} s of watching.", scenario.observe_s));
        lines.push(format!("Once with each gateway: {}.", scenario.gateways.join(", ")));
        if scenario.stack == Stack::Kernel {
            let by = kernel::nodes_by(scenario);
            lines.push(format!("{} s altogether; nodes translate by {by}. The world of each:", scenario.lasts_s()));
            lines.extend(scenario.gateways.first().map(|first| kernel::planned(scenario, first)).unwrap_or_default());
        }
        Ok(lines)
    }

    fn run(session: &mut Session<'_, Self>) -> Result<Status, TestError> {
        match session.record.scenario.stack {
            Stack::Virtual => run_virtual(session),
            Stack::Kernel => run_real(session),
        }
    }

    fn counts(record: &RecordOf<Self>) -> bool {
        let gateways = &record.measured.gateways;
        !gateways.is_empty() && gateways.iter().all(|gateway| gateway.balances() && !gateway.stalled())
    }
}

fn run_virtual(session: &mut Session<'_, Toggle>) -> Result<Status, TestError> {
    let scenario = session.record.scenario.clone();
    let failed = TestError::Failed;
    session.record.environment.mode = "memory".to_owned();
    session.record.environment.mode_reason = Some("on a virtual clock there is no kernel".to_owned());
    let node = profile(&scenario.node_profile).map_err(failed)?;
    for (number, name) in scenario.gateways.iter().enumerate() {
        session.phase(name, number as f64 / scenario.gateways.len() as f64);
        let gateway = profile(name).map_err(failed)?;
        let mut world = World::new(&scenario, &node, &gateway, scenario.seed).map_err(failed)?;
        let cancel = session.cancel;
        let cancelled = || cancel.load(std::sync::atomic::Ordering::Relaxed);
        let Some(lives) = world.run(&cancelled).map_err(failed)? else { return Ok(Status::Interrupted) };
        session.record.measured.gateways.push(GatewayOutcome::of(name, &lives));
        session.save();
    }
    Ok(Status::Complete)
}

/// All gateways at once, each in a world of its own: most of the time everybody waits.
fn run_real(session: &mut Session<'_, Toggle>) -> Result<Status, TestError> {
    if let Some(reason) = session.privilege.why_memory() {
        let message = format!("the kernel's stack needs namespaces, which this environment refuses: {reason}");
        return Err(TestError::Environment(format!("{message}\nhelp: remove `stack`, or see natrig doctor")));
    }
    let scenario = session.record.scenario.clone();
    let node = profile(&scenario.node_profile).map_err(TestError::Failed)?;
    let gateways = scenario.gateways.iter().map(|name| match name.as_str() {
        NFTABLES => Ok((name, None)),
        _ => profile(name).map(|profile| (name, Some(profile))),
    });
    let gateways = gateways.collect::<Result<Vec<_>, _>>().map_err(TestError::Failed)?;
    session.record.measured.nodes_by = Some(kernel::nodes_by(&scenario));
    session.phase(&format!("{} gateways, {} s", gateways.len(), scenario.lasts_s()), 0.1);
    let cancel = session.cancel;
    let (scenario, node) = (&scenario, &node);
    std::thread::scope(|scope| {
        let worlds = gateways.iter().map(|(name, gateway)| {
            scope.spawn(move || kernel::run(scenario, node, (name.as_str(), gateway.as_ref()), cancel))
        });
        let worlds: Vec<_> = worlds.collect();
        let mut status = Status::Complete;
        for ((name, _), world) in gateways.iter().zip(worlds) {
            match world.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
                Ok(Some(lives)) => session.record.measured.gateways.push(GatewayOutcome::of(name, &lives)),
                Ok(None) => status = Status::Interrupted,
                Err(RealError::Environment(message)) => return Err(TestError::Environment(message)),
                Err(RealError::Failed(message)) => {
                    return Err(TestError::Failed(format!("toggle behind {name}: {message}")));
                }
            }
            session.save();
        }
        Ok(status)
    })
}

fn profile(name: &str) -> Result<Profile, String> {
    profile::load(name).map_err(|error| error.to_string())
}
