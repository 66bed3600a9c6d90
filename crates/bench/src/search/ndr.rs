//! The quick search for the highest rate without loss.
//!
//! Binary search on a relative scale (RFC 2544 §26.1), with loss verification (ETSI GS NFV-TST 009 §12.3.3): a lossy trial is repeated
//! before its rate counts as an upper bound, because a stalled hypervisor loses frames too. What a trial forwarded, and the answer of
//! an earlier round, say where to look first. One goal, one order of trials, so bounds never contradict each other.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Irregular;

/// Above this share of lost frames a trial is overload, not a stall: it is not repeated.
pub(crate) const PLAIN_LOSS_RATIO: f64 = 0.05;

/// What to search for, and how carefully.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NdrConfig {
    /// Lowest rate to try, frames/s.
    pub min_pps: f64,
    /// Highest rate to try, frames/s.
    pub max_pps: f64,
    /// The answer of an earlier round, frames/s: tried first.
    pub hint_pps: Option<f64>,
    /// (upper − lower) / upper at which the search ends, 0..1.
    pub relative_precision: f64,
    /// Duration of each trial, nanoseconds.
    pub trial_duration_ns: u64,
    /// How many trials at one rate must all lose frames before the rate counts as an upper bound; TST 009's max(r).
    pub attempts: u32,
    /// A trial that lost more than this share is not repeated: no stall explains it. One repeats every lossy trial.
    pub plain_loss_ratio: f64,
    /// The search ends after this many trials, whatever it knows.
    pub max_trials: u32,
}

/// What the search wants next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    /// Run this trial and report its outcome.
    Trial {
        /// Rate to offer, frames/s.
        rate_pps: f64,
        /// Nanoseconds.
        duration_ns: u64,
    },
    /// The search is over.
    Done(Bounds),
}

/// The answer, in MLRsearch's words.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Bounds {
    /// Highest rate that passed without loss, frames/s: the throughput of RFC 2544.
    pub relevant_lower_pps: Option<f64>,
    /// Lowest rate that failed, frames/s.
    pub relevant_upper_pps: Option<f64>,
    /// Why the bounds do not have the precision asked for.
    pub irregular: Option<Irregular>,
    /// No rate failed that the generator could surely hold: the system may be faster than the lower bound.
    pub generator_limited: bool,
    /// Trials run, repeated and disturbed ones included.
    pub trials: u32,
}

/// What happened in a trial.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// Rate asked for, frames/s, as in [`Step::Trial`].
    pub offered_pps: f64,
    /// Rate at which frames really left, frames/s.
    pub achieved_pps: f64,
    /// Frames that left.
    pub sent: u64,
    /// Frames that left and did not arrive.
    pub lost: u64,
    /// Whether the trial may be judged by its loss.
    pub validity: Validity,
}

/// Whether a trial may be judged by its loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// Offered as intended, nothing odd seen.
    Valid,
    /// The generator could not hold the rate.
    GeneratorLimited,
    /// Something outside disturbed the trial (steal time, foreign load): it is repeated and says nothing.
    Disturbed,
}

/// Why a search cannot start.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum NdrConfigError {
    /// The rates are not `0 < min < max`, both finite.
    #[error("rate limits {min_pps}..{max_pps} pps must be finite, positive and increasing")]
    Limits {
        /// Lowest rate as given, frames/s.
        min_pps: f64,
        /// Highest rate as given, frames/s.
        max_pps: f64,
    },
    /// The precision is not above zero and below one.
    #[error("relative precision {0} is not above 0 and below 1")]
    Precision(f64),
    /// A trial of no duration, no attempts, or no trials at all.
    #[error("trial duration, attempts and trials must be at least 1")]
    Nothing,
}

/// Why an outcome was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// The search has ended.
    #[error("the search has ended")]
    Ended,
    /// The outcome is of a rate that was not asked for.
    #[error("the outcome is of another rate than the one asked for")]
    OtherRate,
}

/// The search: call [`next`](Self::next), run the trial, [`report`](Self::report) its outcome, until [`Step::Done`].
#[derive(Debug, Clone)]
pub struct NdrSearch {
    config: NdrConfig,
    /// ln(upper / lower) at which the bounds are close enough.
    log_width: f64,
    lower_pps: Option<f64>,
    upper_pps: Option<f64>,
    /// What the generator could hold at most, if that is less than the maximum.
    ceiling_pps: Option<f64>,
    /// What got through at the upper bound.
    forwarded_pps: f64,
    /// Rates that passed, or failed, in a row.
    run: Run,
    trials: u32,
    attempt: Attempt,
}

#[derive(Debug, Clone, Copy)]
enum Run {
    Passed(i32),
    Failed(i32),
}

/// The rate being judged.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    rate_pps: f64,
    lossy: u32,
    limited: u32,
    /// The smallest share lost in any of those.
    limited_loss_ratio: f64,
    forwarded_pps: f64,
    achieved_pps: f64,
}

impl Attempt {
    const fn new(rate_pps: f64) -> Self {
        Self { rate_pps, lossy: 0, limited: 0, limited_loss_ratio: 1.0, forwarded_pps: 0.0, achieved_pps: 0.0 }
    }
}

impl NdrSearch {
    /// A search that has seen nothing yet.
    ///
    /// # Errors
    /// [`NdrConfigError`] if the configuration is out of range.
    pub fn new(config: NdrConfig) -> Result<Self, NdrConfigError> {
        let NdrConfig { min_pps, max_pps, relative_precision, .. } = config;
        if !(min_pps > 0.0 && min_pps < max_pps && max_pps.is_finite()) {
            return Err(NdrConfigError::Limits { min_pps, max_pps });
        }
        if !(relative_precision > 0.0 && relative_precision < 1.0) {
            return Err(NdrConfigError::Precision(relative_precision));
        }
        if config.trial_duration_ns == 0 || config.attempts == 0 || config.max_trials == 0 {
            return Err(NdrConfigError::Nothing);
        }
        let first_pps =
            config.hint_pps.filter(|hint| hint.is_finite()).map_or(max_pps, |hint| hint.clamp(min_pps, max_pps));
        Ok(Self {
            config,
            log_width: -(-relative_precision).ln_1p(),
            lower_pps: None,
            upper_pps: None,
            ceiling_pps: None,
            forwarded_pps: 0.0,
            run: Run::Passed(0),
            trials: 0,
            attempt: Attempt::new(first_pps),
        })
    }

    /// The next trial, or the answer.
    pub fn next(&self) -> Step {
        match self.ending() {
            None => Step::Trial { rate_pps: self.attempt.rate_pps, duration_ns: self.config.trial_duration_ns },
            Some(irregular) => Step::Done(Bounds {
                relevant_lower_pps: self.lower_pps,
                relevant_upper_pps: self.upper_pps,
                irregular,
                generator_limited: self.ceiling_pps.is_some_and(|top| self.upper_pps.is_none_or(|upper| top < upper)),
                trials: self.trials,
            }),
        }
    }

    /// Takes the outcome of the trial that [`next`](Self::next) asked for.
    ///
    /// # Errors
    /// [`ReportError`] if no trial, or another one, was asked for; the search is then unchanged.
    pub fn report(&mut self, outcome: &Outcome) -> Result<(), ReportError> {
        if self.ending().is_some() {
            return Err(ReportError::Ended);
        }
        if (outcome.offered_pps / self.attempt.rate_pps - 1.0).abs() > 1e-6 {
            return Err(ReportError::OtherRate);
        }
        self.trials += 1;
        let loss_ratio = outcome.lost as f64 / outcome.sent.max(1) as f64;
        let attempt = &mut self.attempt;
        attempt.achieved_pps = attempt.achieved_pps.max(outcome.achieved_pps);
        match outcome.validity {
            Validity::Valid if outcome.sent > 0 => {
                if outcome.lost == 0 {
                    self.passed();
                } else {
                    attempt.lossy += 1;
                    attempt.forwarded_pps = attempt.forwarded_pps.max(outcome.achieved_pps * (1.0 - loss_ratio));
                    if attempt.lossy >= self.config.attempts || loss_ratio > self.config.plain_loss_ratio {
                        self.failed();
                    }
                }
            }
            Validity::GeneratorLimited => {
                // A stall makes the generator late too: it gets as many chances as the system.
                attempt.limited += 1;
                attempt.limited_loss_ratio = attempt.limited_loss_ratio.min(loss_ratio);
                attempt.forwarded_pps = attempt.forwarded_pps.max(outcome.achieved_pps * (1.0 - loss_ratio));
                if attempt.limited >= self.config.attempts {
                    self.out_of_reach();
                }
            }
            Validity::Valid | Validity::Disturbed => {}
        }
        Ok(())
    }

    /// `None` while the search goes on, else how it ended.
    fn ending(&self) -> Option<Option<Irregular>> {
        match (self.lower_pps, self.upper_pps) {
            (Some(lower), Some(upper)) if self.close(lower, upper) => return Some(None),
            (Some(lower), _) if self.at_top(lower) => return Some(Some(Irregular::MaxLoadIsLower)),
            (None, Some(upper)) if upper <= self.config.min_pps => return Some(Some(Irregular::MinLoadIsUpper)),
            (None, _) if self.top_pps() < self.config.min_pps => return Some(Some(Irregular::MaxLoadIsLower)),
            _ => {}
        }
        (self.trials >= self.config.max_trials).then_some(Some(Irregular::BudgetSpent))
    }

    fn passed(&mut self) {
        self.lower_pps = Some(self.attempt.rate_pps);
        self.run = Run::Passed(if let Run::Passed(times) = self.run { times + 1 } else { 1 });
        self.attempt = Attempt::new(self.choose());
    }

    fn failed(&mut self) {
        self.upper_pps = Some(self.attempt.rate_pps);
        self.forwarded_pps = self.attempt.forwarded_pps;
        self.run = Run::Failed(if let Run::Failed(times) = self.run { times + 1 } else { 1 });
        self.attempt = Attempt::new(self.choose());
    }

    fn out_of_reach(&mut self) {
        // Whatever the generator claims, the rate it was just asked for was too high.
        let just_below = self.attempt.rate_pps * (-self.log_width).exp();
        let held_pps = self.attempt.achieved_pps.min(just_below);
        let overloaded = self.attempt.limited_loss_ratio > self.config.plain_loss_ratio;
        if overloaded && self.lower_pps.is_none_or(|lower| held_pps > lower) {
            // Too fast for the generator, and what it did send was too fast for the system: an upper bound all the same.
            self.attempt.rate_pps = held_pps;
            return self.failed();
        }
        self.ceiling_pps = Some(held_pps);
        self.attempt = Attempt::new(self.choose());
    }

    /// The next rate: a step from the one bound there is, doubled each time; between two bounds what the upper one forwarded, or the
    /// middle.
    fn choose(&self) -> f64 {
        let (min, top) = (self.config.min_pps, self.top_pps());
        // A little less than the width, so that two neighbours are close enough in spite of rounding.
        let step = |doublings: i32| (self.log_width * 0.999 * f64::from(1 << doublings.clamp(0, 20))).exp();
        let (up, down) = match self.run {
            Run::Passed(times) => (step(times - 1), step(0)),
            Run::Failed(times) => (step(0), step(times - 1)),
        };
        let rate = match (self.lower_pps, self.upper_pps) {
            (None, None) => top,
            (Some(lower), None) => lower * up,
            (None, Some(upper)) => self.forwarded_pps.min(upper / down),
            (Some(lower), Some(upper)) => {
                let middle = (lower * upper).sqrt();
                if self.forwarded_pps <= lower {
                    middle.min(lower * up)
                } else if self.forwarded_pps < upper / down {
                    self.forwarded_pps.max(lower * step(0))
                } else {
                    middle
                }
            }
        };
        if self.close(rate, top) && self.upper_pps.is_none() { top } else { rate.clamp(min, top.max(min)) }
    }

    fn top_pps(&self) -> f64 {
        self.ceiling_pps.unwrap_or(self.config.max_pps)
    }

    /// Max Load itself must have passed; of what the generator can just hold, a load close to it.
    fn at_top(&self, lower: f64) -> bool {
        self.ceiling_pps.map_or(lower >= self.config.max_pps, |ceiling| self.close(lower, ceiling))
    }

    fn close(&self, lower: f64, upper: f64) -> bool {
        upper - lower <= self.config.relative_precision * upper
    }
}
