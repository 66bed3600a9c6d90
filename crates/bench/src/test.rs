//! Tests besides the rates. Each says what it reads, what it does and whether what it found counts; everything around that, from the
//! file to the exit code, is the same for all.

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use natrig_lab::host::HostFacts;
use natrig_lab::privilege::Privilege;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::result::{Environment, Program, SCHEMA_VERSION, Status, write_json};
use crate::scenario::{Design, Effort, LinkKind};
use crate::settings::Fault;

/// A kind of test.
pub trait Test: Sized + 'static {
    /// What `test` says in its files.
    const NAME: &'static str;
    /// What its files say, every default filled in.
    type Scenario: Clone + Debug + PartialEq + Serialize + DeserializeOwned + JsonSchema + Send;
    /// What it measures; grows while it runs.
    type Measured: Clone + Debug + Default + PartialEq + Serialize + DeserializeOwned + JsonSchema + Send;

    /// Reads a file, most easily with [`crate::settings::walk`]; relative paths in it start at the folder of `file`.
    ///
    /// # Errors
    /// The first mistake in the text.
    fn read(text: &str, file: &Path, known_profiles: &[&str]) -> Result<Self::Scenario, Fault>;

    /// What a report is headed with, and the question that the scenario answers.
    fn heading(scenario: &Self::Scenario) -> (String, String);

    /// Does what the command line asks for instead of what the file says. Returns what a reader should know of that, in words.
    ///
    /// # Errors
    /// An option that this test has no use for, or that does not go with the file, in words.
    fn change(scenario: &mut Self::Scenario, options: &Options) -> Result<Vec<String>, String>;

    /// What would be built and done, a line each.
    ///
    /// # Errors
    /// What makes it impossible, in words.
    fn plan(scenario: &Self::Scenario) -> Result<Vec<String>, String>;

    /// Does it. What has been measured by then stays in the session's record also if this fails.
    ///
    /// # Errors
    /// [`TestError`].
    fn run(session: &mut Session<'_, Self>) -> Result<Status, TestError>;

    /// Whether what was found counts: no frame came out wrong, none is unaccounted for, there is a figure.
    fn counts(record: &RecordOf<Self>) -> bool;
}

/// Options of the command line that change a scenario.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// The designs to measure; empty: those of the file.
    pub designs: Vec<Design>,
    /// What carries frames.
    pub link: Option<LinkKind>,
    /// How often to measure.
    pub rounds: Option<u32>,
    /// What all randomness comes from.
    pub seed: Option<u64>,
    /// How much effort to take.
    pub effort: Option<Effort>,
}

impl Options {
    /// The first option that was given, of those that a test has no use for.
    ///
    /// # Errors
    /// Its name, in a sentence.
    pub fn refuse(&self, unused: &[&str]) -> Result<(), String> {
        let given = [
            ("--design", !self.designs.is_empty()),
            ("--link", self.link.is_some()),
            ("--rounds", self.rounds.is_some()),
            ("--seed", self.seed.is_some()),
            ("--effort", self.effort.is_some()),
        ];
        match given.iter().find(|(option, given)| *given && unused.contains(option)) {
            Some((option, _)) => {
                Err(format!("{option} does not go with this test\nhelp: change the scenario file instead"))
            }
            None => Ok(()),
        }
    }
}

/// Why a test ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    /// Something is missing here that could be there; the message names it and the mend.
    #[error("{0}")]
    Environment(String),
    /// Something else went wrong; reads after "failed to".
    #[error("failed to {0}")]
    Failed(String),
}

/// Everything that is known of a test that ran: what `result.json` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Record<S, M> {
    /// Version of the format.
    pub schema_version: u32,
    /// Which test it is: the `test` of its file.
    pub test: String,
    /// The program that measured.
    pub natrig: Program,
    /// How far it came.
    pub status: Status,
    /// When it began, RFC 3339, UTC.
    pub started_at: String,
    /// How long it has taken so far.
    pub elapsed_ns: u64,
    /// The command line.
    pub command: Vec<String>,
    /// The scenario with every default filled in.
    pub scenario: S,
    /// The machine.
    pub host: HostFacts,
    /// How the world was built.
    pub environment: Environment,
    /// What was measured.
    pub measured: M,
    /// Things that a reader should know before trusting a number, in words.
    pub warnings: Vec<String>,
}

/// The record of a test.
pub type RecordOf<T> = Record<<T as Test>::Scenario, <T as Test>::Measured>;

impl<S, M: Default> Record<S, M> {
    /// The record of a test that is about to begin.
    pub fn begun(test: &str, natrig: Program, started_at: String, scenario: S, environment: Environment) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            test: test.to_owned(),
            natrig,
            status: Status::Running,
            started_at,
            elapsed_ns: 0,
            command: Vec::new(),
            scenario,
            host: HostFacts::read(),
            environment,
            measured: M::default(),
            warnings: Vec::new(),
        }
    }
}

impl<S: Serialize, M: Serialize> Record<S, M> {
    /// Writes the record next to `path` and renames it into place: whoever reads `path` sees the old file or the new one, whole.
    ///
    /// # Errors
    /// Whatever the file system returns.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        write_json(path, self)
    }
}

/// What a test is told.
pub trait Watcher<T: Test> {
    /// Something begins that takes a while; `done` of the test is behind, 0 to 1.
    fn phase(&mut self, what: &str, done: f64);
    /// The record has grown: the moment to write it.
    fn record(&mut self, record: &RecordOf<T>);
}

/// Nobody.
impl<T: Test> Watcher<T> for () {
    fn phase(&mut self, _: &str, _: f64) {}
    fn record(&mut self, _: &RecordOf<T>) {}
}

/// A test at work.
pub struct Session<'a, T: Test> {
    /// What it fills.
    pub record: RecordOf<T>,
    /// What this process may do.
    pub privilege: &'a Privilege,
    /// Who wants to know.
    pub watcher: &'a mut dyn Watcher<T>,
    /// Set when it shall stop.
    pub cancel: &'a AtomicBool,
    /// When it began.
    pub started: Instant,
}

impl<T: Test> Session<'_, T> {
    /// Tells what begins, and how much is behind, 0 to 1.
    pub fn phase(&mut self, what: &str, done: f64) {
        self.watcher.phase(what, done);
    }

    /// Writes what has been measured so far: to be called after every step.
    pub fn save(&mut self) {
        self.record.elapsed_ns = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.watcher.record(&self.record);
    }

    /// Whether to stop, with [`Status::Interrupted`].
    pub fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }
}
