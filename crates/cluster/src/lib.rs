//! A cluster's questions: which interface a packet leaves by, which destinations it reaches, who sees which address.
//!
//! ```text
//! settings ─▶ Cluster ─▶ build::plan ─▶ Lease ─▶ probe (real packets, watched everywhere) ─▶ matrix, trace
//! ```
#![forbid(unsafe_code)]

pub mod answer;
mod boxes;
pub mod build;
pub mod death;
pub mod import;
pub mod matrix;
pub mod model;
pub mod probe;
pub mod settings;
pub mod tag;
mod tell;
pub mod test;
pub mod trace;
