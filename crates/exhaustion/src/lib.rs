//! Where the ports run out, who refuses, and who gets hurt: experiments on the port pools and tables of one NAT layer or two.
//!
//! ```text
//! scenario ─▶ workload ─▶ connections ─▶ rig (memory, veth; our NATs, the kernel's) ─▶ observers ─▶ measured ─▶ document
//! ```
//!
//! A connection counts as open when its first packet has come out at the servers' end, and as refused when it has not: the far end
//! decides, as it would for a user. Which layer refused is told by the layers' own counters.
#![forbid(unsafe_code)]

mod experiment;
mod observe;
mod result;
mod rig;
mod scenario;
mod talk;
mod tell;
mod test;
mod workload;

pub use observe::{CurvePoint, Layer, LevelReached, RefusedBy, Replacement, ReplacementEstimate, ReuseCounts};
pub use result::*;
pub use scenario::*;
pub use test::Exhaustion;
