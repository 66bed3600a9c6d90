//! Exit codes: one meaning each. `docs/exit-codes.md` lists them for users.

use std::fmt;
use std::process::ExitCode;

/// An exit code with a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code(u8);

/// All went well.
pub(crate) const OK: Code = Code(0);
/// The run failed.
pub(crate) const FAILED: Code = Code(1);
/// The command line or a scenario is wrong; nothing was created.
pub(crate) const USAGE: Code = Code(2);
/// Something is worse by more than the margin, and that was to be a failure.
pub(crate) const REGRESSION: Code = Code(3);
/// A result is there and does not count: no design has a valid figure, or frames came out wrong.
pub(crate) const INVALID: Code = Code(4);
/// This environment cannot do it; what is missing is named.
pub(crate) const ENVIRONMENT: Code = Code(5);
/// Stopped by a signal; what was measured is kept.
pub(crate) const INTERRUPTED: Code = Code(130);

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code.0)
    }
}

/// A message for stderr and the code to end with.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What `natrig` ends with.
    pub(crate) code: Code,
    message: String,
}

impl Failure {
    /// `message` is shown as it is.
    pub(crate) fn new(code: Code, message: impl fmt::Display) -> Self {
        Self { code, message: message.to_string() }
    }

    /// For errors that read after "failed to".
    pub(crate) fn failed(code: Code, error: impl fmt::Display) -> Self {
        Self::new(code, format_args!("error: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// What a command ends with.
pub(crate) type Outcome = Result<Code, Failure>;
