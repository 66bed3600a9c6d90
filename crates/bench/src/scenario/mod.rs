//! Scenarios: what an experiment is, as people write it and as the bench understands it.
//!
//! A scenario file is TOML. What was typed (a tree of values that know where they stood) and what it means ([`Scenario`]) are two
//! things: between them every setting is checked, every default filled in, and every mistake answered with its line and the mend.

pub mod bounds;
mod check;
mod effort;
mod format;
mod idle;
mod model;
mod plan;
mod quick;
mod suite;
pub mod values;
mod words;

use std::path::Path;

pub use natrig_lab::plan::PortChoice;

pub use check::Violation;
pub use effort::Effort;
pub(crate) use format::Slots;
pub use model::{
    FrameMix, FrameSize, Layer, Limits, Lineup, Link, Measure, MlrSearch, Placement, PortRange, Rate, Scenario, Search,
    Traffic,
};
pub use suite::{Suite, SuiteError, SuiteKind, SuiteSearch};
pub use words::{Design, Engine, KernelAddress, KernelWork, LinkKind, SearchMethod, TrafficDirection};

pub use crate::settings::{Diagnostic, ScenarioError, Word};
use crate::settings::{Fault, RATES, Source, Spots};

impl Scenario {
    /// Reads a scenario from the text of a file.
    ///
    /// `filename` is for messages, for the title if the text has none, and its folder is where relative paths of profiles start.
    /// Whether such a profile exists is not looked at. `known_profiles` are the names of the built-in profiles.
    ///
    /// # Errors
    ///
    /// The first mistake in the text.
    pub fn parse(text: &str, filename: &str, known_profiles: &[&str]) -> Result<Self, ScenarioError> {
        Source::new(text, filename).read(|text, file| resolve(text, file, known_profiles)).map(|(scenario, _)| scenario)
    }

    /// Reads the scenario file at `path`; see [`Self::parse`]. Profiles named by path must exist.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is too large, or has a mistake: the first one.
    pub fn load(path: &Path, known_profiles: &[&str]) -> Result<Self, ScenarioError> {
        Self::from_source(&Source::load(path)?, known_profiles)
    }

    /// Reads the scenario from a file that has been loaded; see [`Self::load`].
    ///
    /// # Errors
    ///
    /// The first mistake in the text.
    pub fn from_source(source: &Source, known_profiles: &[&str]) -> Result<Self, ScenarioError> {
        source.test(&[RATES])?;
        source.read(|text, file| {
            let (scenario, spots) = resolve(text, file, known_profiles)?;
            profiles_exist(&scenario, &spots).map(|()| scenario)
        })
    }
}

fn resolve(text: &str, file: &Path, known_profiles: &[&str]) -> Result<(Scenario, Spots), Fault> {
    let (scenario, spots) = format::read(text, file, known_profiles)?;
    idle::check(&scenario, &spots)?;
    match scenario.check() {
        Ok(()) => Ok((scenario, spots)),
        Err(violation) => Err(violation.into_fault(&spots)),
    }
}

fn profiles_exist(scenario: &Scenario, spots: &Spots) -> Result<(), Fault> {
    for (key, layer) in [("node.profile", &scenario.node), ("gateway.profile", &scenario.gateway)] {
        if layer.profile_is_file() && !Path::new(&layer.profile).is_file() {
            return Err(Fault {
                at: spots.of(key),
                message: format!("`{key}` names a file that is not there: {:?}", layer.profile),
                help: "a relative path starts at the folder of the scenario file".to_owned(),
            });
        }
    }
    Ok(())
}
