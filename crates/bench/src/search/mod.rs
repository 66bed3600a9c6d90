//! Searches for the highest load a system forwards well enough: state without input, output or clock.
//!
//! A search says which trial to run next; the caller runs it and hands back what happened. Two are here:
//!
//! * [`ndr::NdrSearch`]: one zero-loss goal, binary search with loss verification (RFC 2544 §26.1, ETSI GS NFV-TST 009
//!   §12.3.3), quick because a previous answer brackets it;
//! * [`mlr`]: MLRsearch (draft-ietf-bmwg-mlrsearch-15), several goals at once, each load judged from several trials.
//!
//! Loads are frames per second per interface and direction; durations are nanoseconds.

mod loss;
pub mod mlr;
pub mod ndr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use loss::{UNSENT_TOLERANCE_NS, trial_loss_ratio};

/// Why a search ended without a regular result (draft-ietf-bmwg-mlrsearch-15, "Irregular Goal Result").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Irregular {
    /// Nothing failed up to the highest load there was: the true bound is above it. Often the generator is the bottleneck.
    MaxLoadIsLower,
    /// The lowest load allowed failed.
    MinLoadIsUpper,
    /// The limit on trials or time ended the search: bounds may be missing or too far apart.
    BudgetSpent,
}
