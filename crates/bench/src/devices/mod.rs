//! What tests share that put traffic of their own through the devices of a scenario: the settings that say what stands where, the course
//! of rounds with the devices in random order, and how a test stops.

mod rounds;
mod settings;

use std::fmt::Display;

pub use rounds::{Turn, in_rounds};
pub use settings::Settings;

use crate::bed::TrialError;
use crate::engine::EngineError;
use crate::result::Status;
use crate::test::TestError;

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
