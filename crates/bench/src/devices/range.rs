//! Which rates such a test searches, and that there is something to search.

use super::Stop;
use crate::search::ndr::{NdrConfig, NdrSearch, PLAIN_LOSS_RATIO};
use crate::settings::{Fault, Spots};

/// Which rates to search.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// The lowest, per second.
    pub min_per_s: f64,
    /// The highest.
    pub max_per_s: f64,
    /// Where to begin: what an earlier round found.
    pub hint_per_s: Option<f64>,
    /// The share that bounds may be apart.
    pub error: f64,
    /// How often a trial that lost little is repeated before its rate has failed.
    pub confirm: u32,
}

/// A search that ends without an answer has gone wrong.
const TRIALS_MAX: u32 = 60;

impl Range {
    /// The binary search that RFC 9693 recommends: a rate passes or fails at its first trial, unless that is to be confirmed.
    ///
    /// # Errors
    /// There is nothing to search.
    pub fn search(self) -> Result<NdrSearch, Stop> {
        NdrSearch::new(NdrConfig {
            min_pps: self.min_per_s,
            max_pps: self.max_per_s,
            hint_pps: self.hint_per_s,
            relative_precision: self.error,
            trial_duration_ns: 1,
            attempts: 1 + self.confirm,
            plain_loss_ratio: PLAIN_LOSS_RATIO,
            max_trials: TRIALS_MAX,
        })
        .map_err(|e| Stop::failed("start a search")(&e))
    }
}

/// The load of a test, as far as settings can contradict each other.
#[derive(Debug, Clone, Copy)]
pub struct Loads<'a> {
    /// Settings that ask for connections, and for how many.
    pub connections: &'a [(&'a str, u32)],
    /// How many different tuples there are.
    pub tuples: u64,
    /// The settings of the lowest and the highest rate.
    pub rates: [(&'a str, u32); 2],
    /// The share that the bounds of a search may be apart.
    pub error: f64,
}

impl Loads<'_> {
    /// What must hold between them.
    ///
    /// # Errors
    /// There are more connections than tuples, or there is nothing to search.
    pub fn check(&self, spots: &Spots) -> Result<(), Fault> {
        let Self { tuples, rates: [(min, min_per_s), (max, max_per_s)], error, .. } = *self;
        if let Some((setting, connections)) = self.connections.iter().find(|(_, count)| u64::from(*count) > tuples) {
            return Err(Fault {
                at: spots.of(setting),
                message: format!(
                    "{connections} connections are asked for, but pods × servers × ports make only {tuples} tuples"
                ),
                help: "lower it, or add pods, servers or ports".to_owned(),
            });
        }
        if f64::from(max_per_s) <= f64::from(min_per_s) * (1.0 + error) {
            let key = |setting: &str| setting.rsplit('.').next().unwrap_or_default().to_owned();
            let (low, high) = (key(min), key(max));
            return Err(Fault {
                at: spots.of(max),
                message: format!("there is nothing to search between {low} = {min_per_s} and {high} = {max_per_s}"),
                help: format!("raise `{high}`, or lower `{low}`"),
            });
        }
        Ok(())
    }
}
