//! What is asked of the NATs: which connections, to which destination, when and for how long. Nothing here knows a clock or a link;
//! randomness is a seed, so that every setup of a round is asked for the same.

mod arrivals;
mod origins;
mod zipf;

pub(crate) use arrivals::Arrivals;
pub(crate) use origins::{Origin, Origins};
pub(crate) use zipf::Zipf;
