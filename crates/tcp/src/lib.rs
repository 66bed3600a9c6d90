//! TCP through the layers, as clients and servers use it: connections made and unmade per second with every handshake and close on the
//! wire; flows between real stacks that recover from loss; churn over connections that must live through it.
#![forbid(unsafe_code)]

mod connections;
mod read;
pub mod result;
mod run;
pub mod scenario;
mod segment;
mod tell;
mod transfers;
mod trial;

use std::path::Path;

use natrig_bench::devices::planned;
use natrig_bench::result::Status;
use natrig_bench::scenario::Word;
use natrig_bench::settings::{Fault, Spots};
use natrig_bench::test::{Options, RecordOf, Session, Test, TestError};

use crate::result::Measured;
use crate::scenario::{Part, Scenario};

/// `test = "tcp"`.
#[derive(Debug)]
pub struct Tcp;

impl Test for Tcp {
    const NAME: &'static str = "tcp";
    type Scenario = Scenario;
    type Measured = Measured;

    fn read(text: &str, file: &Path, known_profiles: &[&str]) -> Result<Scenario, Fault> {
        read::read(text, file, known_profiles)
    }

    fn heading(scenario: &Scenario) -> (String, String) {
        (scenario.devices.title.clone(), scenario.devices.question.clone())
    }

    fn change(scenario: &mut Scenario, options: &Options) -> Result<Vec<String>, String> {
        let notes = scenario.devices.change(options, &mut scenario.rounds)?;
        read::check(scenario, &Spots::default()).map_err(Fault::in_words)?;
        Ok(notes)
    }

    fn plan(scenario: &Scenario) -> Result<Vec<String>, String> {
        let parts = scenario.parts.iter().copied().map(Part::word);
        planned(&scenario.world(), scenario.rounds, parts)
    }

    fn run(session: &mut Session<'_, Self>) -> Result<Status, TestError> {
        run::run(session)
    }

    fn counts(record: &RecordOf<Self>) -> bool {
        let Measured { figures, trials, transfers, .. } = &record.measured;
        trials.iter().all(|trial| trial.wrong == 0 && trial.unaccounted == 0)
            && transfers.iter().all(|transfer| transfer.wrong_bytes == 0)
            && !figures.is_empty()
            // A percentile may lack the sample that it needs.
            && figures.iter().filter(|figure| !figure.quantity.is_percentile()).all(|figure| !figure.values.is_empty())
    }
}
