//! Benchmarking stateful NATs as RFC 9693 has it: the Tester with its Initiator, Responder and state table, every test, and the table that
//! the RFC wants reported.
//!
//! ```text
//! empty table ─▶ test phase 1: each four tuple once ─▶ validation: each entry of the state table once, in reverse ─▶ test phase 2
//! ```
//!
//! `docs/methodology.md` says section by section what is where, and where it differs from the text.
#![forbid(unsafe_code)]

mod connections;
mod phase2;
mod processors;
mod read;
pub mod result;
mod run;
pub mod scenario;
mod talk;
mod tell;
mod trial;
mod tuples;

use std::path::Path;

use natrig_bench::devices::planned;
use natrig_bench::result::Status;
use natrig_bench::scenario::Word;
use natrig_bench::settings::{Fault, Spots};
use natrig_bench::test::{Options, RecordOf, Session, Test, TestError};

use crate::result::Measured;
use crate::scenario::{Kind, Scenario};

/// `test = "rfc9693"`.
#[derive(Debug)]
pub struct Rfc9693;

impl Test for Rfc9693 {
    const NAME: &'static str = "rfc9693";
    type Scenario = Scenario;
    type Measured = Measured;

    fn read(text: &str, file: &Path, known_profiles: &[&str]) -> Result<Scenario, Fault> {
        read::read(text, file, known_profiles)
    }

    fn heading(scenario: &Scenario) -> (String, String) {
        (scenario.devices.title.clone(), scenario.devices.question.clone())
    }

    fn change(scenario: &mut Scenario, options: &Options) -> Result<Vec<String>, String> {
        let notes = scenario.devices.change(options, &mut scenario.repetitions)?;
        read::check(scenario, &Spots::default()).map_err(Fault::in_words)?;
        Ok(notes)
    }

    fn plan(scenario: &Scenario) -> Result<Vec<String>, String> {
        let tests = scenario.tests.iter().copied().map(Kind::word);
        planned(&scenario.world(), scenario.repetitions, tests)
    }

    fn run(session: &mut Session<'_, Self>) -> Result<Status, TestError> {
        run::run(session)
    }

    fn counts(record: &RecordOf<Self>) -> bool {
        let measured = &record.measured;
        let right = measured.trials.iter().all(|trial| trial.wrong() == 0);
        right && !measured.figures.is_empty() && measured.figures.iter().all(|figure| !figure.values.is_empty())
    }
}
