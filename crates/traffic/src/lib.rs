//! Who talks, and the accounting of every frame.
//!
//! The [`Generator`] sends on an open-loop [`Schedule`]; the [`Receiver`] decides what was delivered, with an oracle that knows what
//! each design must do to a frame. [`Reflector`] is the far end: it learns the translated tuples and may answer. Neither owns a thread,
//! a clock or a link: all three are arguments.
#![forbid(unsafe_code)]

mod flows;
mod generator;
mod receiver;
mod reflector;
mod schedule;
mod sizes;
mod stamp;
mod tally;
pub mod tcp;
mod window;

pub use flows::{FlowError, FlowSet, FlowSpec};
pub use generator::{Endpoint, Generator, GeneratorConfig, GeneratorCounts, NewFlows, Refused, SendProgress};
pub use receiver::{Arrival, Expectation, Fault, FaultSample, Latency, ReceiveCounts, Receiver};
pub use reflector::{ReflectError, Reflector};
pub use schedule::{Arrivals, Schedule};
pub use sizes::{FrameSizes, SizeError};
pub use stamp::{STAMP_AT, STAMP_LEN, Stamp, TRIAL_ID_MAX};
pub use tally::histogram;

/// The shortest frame that carries a stamp, in bytes without FCS: 64 bytes as RFC 2544 counts.
pub const FRAME_LEN_MIN: usize = natrig_wire::template::HEADERS_LEN + STAMP_LEN;

/// TTL that generator and reflector send with.
pub const TTL: u8 = 64;
