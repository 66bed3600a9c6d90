//! What tests share that put traffic of their own through the devices of a scenario: the settings that say what stands where, the course
//! of rounds with the devices in random order, and how a test stops.

mod range;
mod rounds;
mod settings;

use std::fmt::Display;

pub use range::{Loads, Range};
pub use rounds::{Turn, in_rounds, in_rounds_beside};
pub use settings::Settings;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bed::TrialError;
use crate::engine::{EngineError, Engines};
use crate::result::{Place, Status};
use crate::scenario::Scenario;
use crate::test::TestError;
use crate::world;

/// What would be built, and that each of `parts` would then be done so many times.
///
/// # Errors
/// What makes it impossible, in words.
pub fn planned<'a>(world: &Scenario, times: u32, parts: impl Iterator<Item = &'a str>) -> Result<Vec<String>, String> {
    let engines = Engines::new(world).map_err(|error| error.to_string())?;
    let mut lines = world::plan(world, &engines).map_err(|error| error.to_string())?;
    let parts: Vec<&str> = parts.collect();
    lines.push(format!("then {times} × {}", parts.join(", ")));
    Ok(lines)
}

/// Entries of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Table {
    /// Where.
    pub place: Place,
    /// How many.
    pub entries: u64,
}

impl From<(Place, u64)> for Table {
    fn from((place, entries): (Place, u64)) -> Self {
        Self { place, entries }
    }
}

/// Why a test does not go on.
#[derive(Debug)]
pub enum Stop {
    /// Somebody wanted that.
    Cancelled,
    /// It cannot.
    Failed(TestError),
}

impl Stop {
    /// The end of a test that could not do something; `doing` reads after "failed to".
    pub fn failed(doing: &str) -> impl Fn(&dyn Display) -> Self {
        move |error| Self::Failed(TestError::Failed(format!("{doing}: {error}")))
    }

    /// How the test ended.
    ///
    /// # Errors
    /// What it failed of.
    pub fn outcome(self) -> Result<Status, TestError> {
        match self {
            Self::Cancelled => Ok(Status::Interrupted),
            Self::Failed(error) => Err(error),
        }
    }
}

impl From<TrialError> for Stop {
    fn from(error: TrialError) -> Self {
        Self::failed("run a trial")(&error)
    }
}

impl From<EngineError> for Stop {
    fn from(error: EngineError) -> Self {
        Self::failed("set up a design")(&error)
    }
}
