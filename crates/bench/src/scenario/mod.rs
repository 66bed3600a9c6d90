//! Scenarios: what an experiment is, as people write it and as the bench understands it.
//!
//! A scenario file is TOML. What was typed (a tree of values that know where they stood) and what it means ([`Scenario`]) are two
//! things: between them every setting is checked, every default filled in, and every mistake answered with its line and the mend.
//!
//! The tree is walked by hand rather than by serde's derive: the derive knows neither bounds nor what a setting is for, names Rust's
//! types in its messages, and reports the first mistake it visits rather than the first in the file.

pub mod bounds;
mod check;
mod error;
mod format;
mod idle;
mod kinds;
mod model;
mod plan;
mod quick;
mod read;
mod suggest;
mod syntax;
mod words;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

pub use check::Violation;
pub use error::{Diagnostic, ScenarioError};
pub use model::{
    FrameMix, FrameSize, Layer, Limits, Lineup, Link, Measure, Placement, PortRange, Rate, Scenario, Search, Traffic,
};
pub use words::{Design, Engine, KernelAddress, KernelWork, LinkKind, TrafficDirection, Word};

use read::{Fault, Spots};

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
        let text = without_mark(text);
        resolve(text, filename, known_profiles)
            .map(|(scenario, _)| scenario)
            .map_err(|fault| ScenarioError::rejected(text, filename, fault))
    }

    /// Reads the scenario file at `path`; see [`Self::parse`]. Profiles named by path must exist.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is too large, or has a mistake: the first one.
    pub fn load(path: &Path, known_profiles: &[&str]) -> Result<Self, ScenarioError> {
        let filename = path.display().to_string();
        let bytes = read_bounded(path, &filename)?;
        let text = match std::str::from_utf8(&bytes) {
            Ok(text) => without_mark(text),
            Err(error) => return Err(ScenarioError::not_text(&bytes, &filename, error)),
        };
        resolve(text, &filename, known_profiles)
            .and_then(|(scenario, spots)| profiles_exist(&scenario, &spots).map(|()| scenario))
            .map_err(|fault| ScenarioError::rejected(text, &filename, fault))
    }
}

fn read_bounded(path: &Path, filename: &str) -> Result<Vec<u8>, ScenarioError> {
    let unreadable = |source| ScenarioError::Unreadable { file: filename.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(bounds::FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > bounds::FILE_BYTES_MAX {
        return Err(ScenarioError::TooLarge { file: filename.to_owned() });
    }
    Ok(bytes)
}

/// Some editors begin UTF-8 text with a byte order mark; it is not part of the first line.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

fn resolve(text: &str, filename: &str, known_profiles: &[&str]) -> Result<(Scenario, Spots), Fault> {
    let (scenario, spots) = format::read(text, Path::new(filename), known_profiles)?;
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
