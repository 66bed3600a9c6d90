//! What can be done.

pub(crate) mod compare;
pub(crate) mod doctor;
pub(crate) mod import;
pub(crate) mod nat;
pub(crate) mod plan;
pub(crate) mod profiles;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod trace;
pub(crate) mod world;

use std::io::{self, Write};
use std::path::Path;

use natrig_bench::scenario::Scenario;
use natrig_lab::nft;
use natrig_nat::Profile;
use natrig_report::terminal;

use crate::exit::{self, Failure};

/// The scenario in `path`, or the quick one.
fn scenario(path: Option<&Path>) -> Result<Scenario, Failure> {
    path.map_or_else(
        || Ok(Scenario::quick()),
        |path| Scenario::load(path, Profile::names()).map_err(|error| Failure::new(exit::USAGE, error)),
    )
}

/// The kernel translates only where there is a program to tell it how.
fn need_nft(scenario: &Scenario) -> Result<(), Failure> {
    if scenario.needs_nft() && nft::find().is_none() {
        let hint = "help: all else works without it; natrig doctor says what more is missing";
        return Err(Failure::failed(exit::ENVIRONMENT, format_args!("{}\n{hint}", nft::NftError::Missing)));
    }
    Ok(())
}

/// As wide as the terminal is, and in colour where there is one that wants it (`NO_COLOR` and `CLICOLOR` are heeded).
fn terminal_options() -> terminal::Options {
    let width = console::Term::stdout().size_checked().map_or(100, |(_, columns)| usize::from(columns));
    terminal::Options { color: console::colors_enabled(), width }
}

/// Writes to stdout. A reader that has seen enough (`natrig … | head`) is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::failed(exit::FAILED, format_args!("failed to write to stdout: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
