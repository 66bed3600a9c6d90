//! The toggle: what breaks, for whom and for how long, when address translation changes under live connections.
//!
//! Pods, servers, nodes and a gateway live on a virtual clock: real TCP stacks (smoltcp) exchange real frames through natrig's own NATs, so
//! that twenty minutes of retransmission and keepalive pass in a second, the same for the same seed.
#![forbid(unsafe_code)]

mod client;
mod host;
mod measured;
mod path;
mod scenario;
mod server;
mod tell;
mod toggle;
mod world;

pub use client::{ClientClass, Notice};
pub use measured::{ClassOutcome, GatewayOutcome, Lost, Measured};
pub use path::NodeEngine;
pub use scenario::{Change, Procedure, Scenario};
pub use toggle::Toggle;
