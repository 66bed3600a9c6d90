//! The world that is measured in: from an address plan to namespaces and back to nothing.
//!
//! ```text
//! Topology ─▶ Plan (printable) ─▶ Lease (stands while this process lives) ─▶ apply, run_in, spawn_in, link_stats, close
//! ```
//!
//! [`privilege`] finds out first what this process may do; [`world`] keeps worlds for programs of the user's own; [`doctor`] and
//! [`host`] tell about the machine.
#![forbid(unsafe_code)]

pub mod bridge;
pub mod doctor;
pub mod host;
pub mod interface;
pub mod kernel_threads;
pub mod lease;
pub mod net;
pub mod nft;
pub mod noise;
pub mod plan;
pub mod privilege;
mod procfs;
mod programs;
pub mod router;
pub mod stage;
pub mod topology;
pub mod world;
