//! What is made of the answers: curves, fairness, ports that come back too early, and which entries a full table gives up. No clocks,
//! no links, no NATs: all of it is fed with what was seen from outside.

pub(crate) mod curve;
pub(crate) mod fairness;
mod level;
pub(crate) mod policy;
pub(crate) mod refusal;
pub(crate) mod reuse;

pub(crate) use curve::Curve;
pub use curve::{CurvePoint, LevelReached};
pub(crate) use fairness::jain_index;
pub(crate) use level::uncertainty;
pub(crate) use policy::{Fill, estimate};
pub use policy::{Replacement, ReplacementEstimate};
pub use refusal::{Layer, RefusedBy};
pub(crate) use reuse::FarEnd;
pub use reuse::ReuseCounts;
