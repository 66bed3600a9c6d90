//! Whether a trial counts. The trial is written either way; an invalid one is shown with its reasons and enters no headline.

use crate::result::{Invalid, Noise, Place, Trial};
use crate::scenario::Limits;

/// What a trial is judged by, besides what it says itself.
pub(crate) struct Context<'a> {
    /// What it may do.
    pub(crate) limits: &'a Limits,
    /// When the last frame left, from the trial's epoch.
    pub(crate) sent_after_ns: u64,
    /// How many flows had a mapping before it began.
    pub(crate) established: u32,
    /// How many flows there are, with those that it opens itself.
    pub(crate) flows: u32,
    /// Whether each measuring thread has a processor that nobody else of ours uses.
    pub(crate) own_processors: bool,
    /// Layers whose clock is not the tester's, and by how much at least.
    pub(crate) clocks_off: Vec<(Place, u64)>,
    /// Sampled frames whose stamps are not in order.
    pub(crate) disordered: u64,
}

/// By which share of its duration a trial may be late before it sends no more, unless the scenario lets it be later and still count.
const GIVE_UP_SHARE: f64 = 0.1;

/// On top of that: what a short trial may be late by, in nanoseconds.
const GIVE_UP_SLACK_NS: u64 = 5_000_000;

/// On top of the share that a scenario allows: what a short phase may be late by and still count, in nanoseconds. A processor that this
/// machine shares takes as much away in one go.
const LATE_SLACK_NS: u64 = 100_000;

impl Limits {
    /// When whoever should be done after `takes_ns` sends no more.
    #[must_use]
    pub fn give_up_after_ns(&self, takes_ns: u64) -> u64 {
        let late_ns = (takes_ns as f64 * self.overrun.max(GIVE_UP_SHARE)) as u64;
        takes_ns.saturating_add(late_ns).saturating_add(GIVE_UP_SLACK_NS)
    }

    /// Whether a phase that should have taken `takes_ns` was sent too late: the last frame, or the frames of which `send_lag_ns` is the
    /// 99th percentile of their lag (the largest of few).
    #[must_use]
    pub fn is_late(&self, takes_ns: u64, sent_after_ns: u64, send_lag_ns: Option<u64>) -> bool {
        let overrun_ns = (takes_ns as f64 * self.overrun) as u64;
        let on_time_ns = takes_ns.saturating_add(overrun_ns).saturating_add(LATE_SLACK_NS);
        // What was given up was not sent at all: late, whatever the scenario tolerates.
        sent_after_ns > on_time_ns.min(self.give_up_after_ns(takes_ns))
            || send_lag_ns.is_some_and(|lag| lag > u64::from(self.send_lag_p99_us) * 1000)
    }
}

/// Steal is counted in ticks of 10 ms: fewer than so many are no share of anything.
const STEAL_NS_MIN: u64 = 30_000_000;

/// Writes into `trial` why it does not count, if it does not.
pub(crate) fn judge(trial: &mut Trial, context: Context<'_>) {
    let Context { limits, sent_after_ns, established, flows, own_processors, clocks_off, disordered } = context;
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
    let flows = u64::from(flows);
    invalid.extend(
        trial
            .tables
            .iter()
            .filter(|table| table.connections > flows)
            .map(|table| Invalid::Leaked { place: table.place, connections: table.connections - flows }),
    );
    invalid.extend(clocks_off.into_iter().map(|(place, off_ns)| Invalid::TapClock { place, off_ns }));
    if disordered > 0 {
        invalid.push(Invalid::TapOrder { frames: disordered });
    }
    if let Some(noise) = trial.noise.filter(|_| own_processors) {
        let share = disturbed_share(&noise);
        if share > limits.disturbed {
            invalid.push(Invalid::Disturbed { share, limit: limits.disturbed });
        }
    }
    if let Some(preload) = trial.preload
        && preload.received < u64::from(established)
    {
        invalid.push(Invalid::Preload { missing: u64::from(established) - preload.received });
    }
    trial.invalid = invalid;
}

/// Which share of the time somebody else had a measuring processor.
fn disturbed_share(noise: &Noise) -> f64 {
    let steal_ns = if noise.steal_ns >= STEAL_NS_MIN { noise.steal_ns } else { 0 };
    (noise.waited_ns + steal_ns) as f64 / noise.elapsed_ns.max(1) as f64
}

impl Invalid {
    /// True if the generator, or the machine under it, was at fault: repeating the trial may help.
    pub fn is_disturbance(&self) -> bool {
        match self {
            Self::SendLag { .. } | Self::Overrun { .. } | Self::Preload { .. } | Self::Disturbed { .. } => true,
            Self::Mistranslated { .. }
            | Self::Unaccounted { .. }
            | Self::Leaked { .. }
            | Self::TapClock { .. }
            | Self::TapOrder { .. } => false,
        }
    }

    /// True if the generator could not keep its schedule: more than that rate it may not be able to offer.
    pub fn is_of_generator(&self) -> bool {
        matches!(self, Self::SendLag { .. } | Self::Overrun { .. })
    }
}
