//! Capacity: how many ports and addresses a fleet needs, and what breaks first when it grows.
#![forbid(unsafe_code)]

pub mod curve;
pub mod formula;
pub mod loss;
pub mod sim;
pub mod timing;
