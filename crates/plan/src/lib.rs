//! Capacity: how many ports and addresses a fleet needs, and what breaks first when it grows.
#![forbid(unsafe_code)]

pub mod analysis;
pub mod census;
pub mod curve;
pub mod demand;
pub mod fleet;
pub mod formula;
pub mod inputs;
mod layer;
pub mod loss;
pub mod report;
pub mod sim;
pub mod timing;
pub mod view;
