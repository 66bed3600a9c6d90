//! Whether a trial counts. The trial is written either way; an invalid one is shown with its reasons and enters no headline.

use crate::result::{Invalid, Trial};
use crate::scenario::Limits;

/// Writes into `trial` why it does not count, if it does not. `sent_after_ns` is when the last frame left, from the trial's epoch.
pub(crate) fn judge(trial: &mut Trial, limits: &Limits, sent_after_ns: u64, flows: u32) {
    let mut invalid = Vec::new();
    let limit_ns = u64::from(limits.send_lag_p99_us) * 1000;
    // A sample too small for its 99th percentile is judged by its largest value.
    let lag = &trial.latency.send_lag;
    if let Some(ns_p99) = lag.ns_p99.or(lag.ns_max).filter(|ns| *ns > limit_ns) {
        invalid.push(Invalid::SendLag { ns_p99, limit_ns });
    }
    let overrun = sent_after_ns.saturating_sub(trial.duration_ns) as f64 / trial.duration_ns.max(1) as f64;
    if overrun > limits.overrun {
        invalid.push(Invalid::Overrun { share: overrun, limit: limits.overrun });
    }
    let answers_wrong = trial.answers.as_ref().map_or(0, |answers| answers.corrupted + answers.mistranslated);
    let wrong = trial.corrupted + trial.mistranslated + answers_wrong;
    if wrong > 0 {
        invalid.push(Invalid::Mistranslated { frames: wrong });
    }
    if trial.unaccounted != 0 {
        invalid.push(Invalid::Unaccounted { frames: trial.unaccounted });
    }
    if let Some(preload) = trial.preload
        && preload.received < u64::from(flows)
    {
        invalid.push(Invalid::Preload { missing: u64::from(flows) - preload.received });
    }
    trial.invalid = invalid;
}

impl Invalid {
    /// True if the generator, or the machine under it, was at fault: repeating the trial may help.
    pub fn is_disturbance(&self) -> bool {
        match self {
            Self::SendLag { .. } | Self::Overrun { .. } | Self::Preload { .. } => true,
            Self::Mistranslated { .. } | Self::Unaccounted { .. } => false,
        }
    }

    /// True if the generator could not keep its schedule: more than that rate it may not be able to offer.
    pub fn is_of_generator(&self) -> bool {
        matches!(self, Self::SendLag { .. } | Self::Overrun { .. })
    }
}
