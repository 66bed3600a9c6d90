//! The experiments: each drives a [`Talker`](crate::talk::Talker) and tells what it found. None knows of files or reports.

pub(crate) mod blast;
pub(crate) mod both_layers;
pub(crate) mod churn;
pub(crate) mod fill;
pub(crate) mod replacement;
mod schedule;
pub(crate) mod skew;

use std::sync::atomic::{AtomicBool, Ordering};

use crate::rig::RigError;

/// Why an experiment ended before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    /// The rig.
    #[error(transparent)]
    Rig(#[from] RigError),
    /// Somebody asked for it.
    #[error("go on: stopped")]
    Cancelled,
}

/// Whether to go on.
pub(crate) fn go_on(cancel: &AtomicBool) -> Result<(), StepError> {
    if cancel.load(Ordering::Relaxed) { Err(StepError::Cancelled) } else { Ok(()) }
}
