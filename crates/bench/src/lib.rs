//! How we measure: scenarios, trials, searches, statistics, validity gates, and the result they leave.
#![forbid(unsafe_code)]

mod aa;
mod bed;
mod calibrate;
mod carrier;
pub mod compare;
#[cfg(test)]
mod defects;
pub mod devices;
mod engine;
mod experiment;
pub mod history;
mod hops;
mod judge;
pub mod judged;
pub mod profile;
pub mod result;
mod rig;
mod run;
pub mod scenario;
pub mod search;
mod serve;
pub mod settings;
pub mod stats;
mod summary;
mod tcp_check;
pub mod test;
mod world;

pub use bed::{Account, Bench, Outlet, Subject, TrialError};
pub use carrier::{Carrier, NoCarrier};
pub use engine::{EngineError, Engines};
pub use experiment::{Experiment, Measured, Offer, SetupError, sources_expected};
pub use rig::{Ends, LinkError, OpenLink, PhaseEnd, Polled, RigError, Talk};
pub use run::{CONNECTIONS_PRECISION, Observer, RunError, environment, flow_set, outcome, run, run_aa};
pub use serve::{ServeError, Served};
pub use world::{KernelError, WorldError, plan};
