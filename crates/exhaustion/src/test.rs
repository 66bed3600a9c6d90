//! The test as `natrig run` knows it: from a scenario to what was measured, saved after every step.

mod fills;
mod steps;

use std::path::Path;

use natrig_bench::result::Status;
use natrig_bench::scenario::{Effort, LinkKind, bounds};
use natrig_bench::settings::Fault;
use natrig_bench::test::{Options, RecordOf, Session, Test, TestError};

use crate::result::Measured;
use crate::rig::Bed;
use crate::scenario::{self, Experiment, Over, Scenario};

/// Port exhaustion.
#[derive(Debug)]
pub enum Exhaustion {}

impl Test for Exhaustion {
    const NAME: &'static str = "exhaustion";
    type Scenario = Scenario;
    type Measured = Measured;

    fn read(text: &str, file: &Path, known_profiles: &[&str]) -> Result<Scenario, Fault> {
        scenario::read(text, file, known_profiles)
    }

    fn heading(scenario: &Scenario) -> (String, String) {
        (scenario.title.clone(), scenario.question.clone())
    }

    fn change(scenario: &mut Scenario, options: &Options) -> Result<Vec<String>, String> {
        match options.effort {
            None => {}
            Some(Effort::Quick) => {
                scenario.title = Effort::Quick.heading(&scenario.title);
                scenario.quicken();
            }
            Some(other) => {
                return Err(format!(
                    "--effort {other} does not go with this test\nhelp: it knows quick, and what the file says"
                ));
            }
        }
        if !options.designs.is_empty() {
            scenario.nats.retain(|setup| options.designs.contains(&setup.design()));
            if scenario.nats.is_empty() {
                return Err("no setup of the scenario has the design of --design".to_owned());
            }
        }
        let over = match options.link {
            None | Some(LinkKind::Auto) => None,
            Some(LinkKind::Memory) => Some(Over::Memory),
            Some(LinkKind::Packet) => Some(Over::Veth),
            Some(other) => {
                return Err(format!("--link {other} does not go with this test\nhelp: it knows memory and packet"));
            }
        };
        if let Some(over) = over {
            if over == Over::Memory && scenario.nats.iter().any(scenario::Setup::has_kernel) {
                let help = "help: leave it out, or remove these setups from the file";
                return Err(format!("--link memory does not go with the kernel's NAT\n{help}"));
            }
            scenario.nats.iter_mut().for_each(|setup| setup.over = over);
            let most = scenario.nats.iter().map(scenario::Setup::nodes_max).min().unwrap_or(1);
            if scenario.world.nodes > most {
                return Err(format!("--link packet has room for {most} nodes, not for {}", scenario.world.nodes));
            }
        }
        scenario.rounds = options.rounds.unwrap_or(scenario.rounds);
        scenario.seed = options.seed.unwrap_or(scenario.seed);
        if !bounds::ROUNDS.contains(&scenario.rounds) || !bounds::SEED.contains(&scenario.seed) {
            return Err("--rounds or --seed is out of bounds".to_owned());
        }
        Ok(Vec::new())
    }

    fn plan(scenario: &Scenario) -> Result<Vec<String>, String> {
        let mut lines = Vec::new();
        for setup in &scenario.nats {
            let words = Bed::new(scenario, setup, 1).plan().map_err(|error| format!("failed to {error}"))?;
            lines.extend(words);
        }
        let (what, rounds, limit_s) = (scenario.experiment.word(), scenario.rounds, scenario.time_limit_s);
        lines.push(format!("then {what}, {rounds} rounds, no further step after {limit_s} s"));
        Ok(lines)
    }

    fn run(session: &mut Session<'_, Self>) -> Result<Status, TestError> {
        steps::run(session)
    }

    fn counts(record: &RecordOf<Self>) -> bool {
        let measured = &record.measured;
        let figures = match &record.scenario.experiment {
            Experiment::Fill(_) => measured.fills.len(),
            Experiment::Churn(_) => measured.churns.len(),
            Experiment::BlastRadius(_) => measured.blasts.len(),
            Experiment::TimeoutSkew(_) => measured.skews.len(),
            Experiment::BothLayers(_) => measured.cells.len(),
            Experiment::Replacement(_) => measured.replacements.len(),
        };
        figures > 0 && measured.faults.corrupt == 0 && measured.faults.vanished == 0
    }
}
