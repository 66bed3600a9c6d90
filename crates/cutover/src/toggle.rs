//! The toggle as a test.

use std::path::Path;

use natrig_bench::result::Status;
use natrig_bench::settings::Fault;
use natrig_bench::test::{Options, RecordOf, Session, Test, TestError};
use natrig_nat::Profile;

use crate::measured::{GatewayOutcome, Measured};
use crate::scenario::Scenario;
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

    fn change(scenario: &mut Scenario, options: &Options) -> Result<(), String> {
        options.refuse(&["--design", "--link", "--rounds"])?;
        scenario.seed = options.seed.unwrap_or(scenario.seed);
        Ok(())
    }

    fn plan(scenario: &Scenario) -> Result<Vec<String>, String> {
        let Scenario { nodes, pods_per_node, change, procedure, node_engine, node_profile, .. } = scenario;
        Ok(vec![
            format!(
                "On a virtual clock: {nodes} nodes ({node_engine}, {node_profile}) of {pods_per_node} pods, six clients each."
            ),
            format!("Then {change}, {procedure}, and {} s of watching.", scenario.observe_s),
            format!("Once with each gateway: {}.", scenario.gateways.join(", ")),
        ])
    }

    fn run(session: &mut Session<'_, Self>) -> Result<Status, TestError> {
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
            let Some(clients) = world.run(&cancelled).map_err(failed)? else { return Ok(Status::Interrupted) };
            session.record.measured.gateways.push(GatewayOutcome::of(name, &world, &clients));
            session.save();
        }
        Ok(Status::Complete)
    }

    fn counts(record: &RecordOf<Self>) -> bool {
        let gateways = &record.measured.gateways;
        !gateways.is_empty() && gateways.iter().all(GatewayOutcome::balances)
    }
}

/// A profile by its name, or from a file.
fn profile(name: &str) -> Result<Profile, String> {
    if let Some(profile) = Profile::builtin(name) {
        return Ok(profile);
    }
    let text = std::fs::read_to_string(name).map_err(|error| format!("read the profile {name}: {error}"))?;
    Profile::parse(&text).map_err(|error| format!("read the profile {name}: {error}"))
}
