//! The toggle: what breaks, for whom and for how long, when address translation changes under live connections.
//!
//! ```text
//! Scenario ─▶ events ─▶ client, server (programs; Connection: whose TCP)
//!                         ├─ world:  smoltcp on a virtual clock ─┐
//!                         └─ kernel: sockets in namespaces ──────┴─▶ path (node, gateway: NATs that change) ─▶ Lives ─▶ GatewayOutcome
//! ```
//! On a virtual clock real TCP stacks (smoltcp) exchange real frames through natrig's own NATs, so that twenty minutes of retransmission and
//! keepalive pass in a second, the same for the same seed. With the kernel's stack the same programs speak through the same NATs, or the
//! kernel's, over veth pairs, in real time.
#![forbid(unsafe_code)]

mod client;
mod connection;
mod event;
mod host;
mod kernel;
mod measured;
mod pace;
mod path;
mod place;
mod scenario;
mod server;
mod tell;
mod toggle;
mod world;

pub use client::{ClientClass, Notice};
pub use measured::{ClassOutcome, GatewayOutcome, Lost, Measured};
pub use pace::Pace;
pub use path::NodeEngine;
pub use scenario::{Change, Procedure, Scenario, Stack, TranslatedBy};
pub use toggle::Toggle;
