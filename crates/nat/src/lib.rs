//! A NAT44 translator without sockets, clocks or threads: (frame, direction, time) in, verdict out.
//!
//! [`Nat`] translates UDP, TCP and ICMP (queries, and errors that quote translated packets) between an inside and a pool of outside
//! addresses. How it behaves is data: a [`Behaviour`](behaviour::Behaviour) has every parameter in which one NAT differs from another, in
//! the terms of RFC 4787, 5382, 5508, 6888 and 7857. [`Forwarder`] is its twin that only routes.
//!
//! The established path parses from fixed offsets, looks up whole bursts in flat tables (hash all, touch all, then process), and rewrites
//! addresses, ports, TTL and both checksums in one pass. All memory is taken when the translator is made.
#![deny(unsafe_code)]

mod adopt;
mod allocate;
mod allocator;
mod answer;
pub mod behaviour;
mod bitmap;
mod cidr;
mod collect;
mod config;
mod counters;
mod create;
mod destinations;
mod engine;
mod entries;
mod forwarder;
mod fragments;
mod hash;
mod held;
mod icmp;
mod inbound;
mod index;
mod lanes;
mod nat;
mod ordinary;
mod outbound;
mod packet;
mod pair;
mod policer;
mod policy;
mod ports;
mod prefetch;
mod profile;
mod release;
mod route;
mod routing;
mod session;
mod sources;
mod table;
mod tcp;
mod time;
mod verdict;
mod wheel;

pub use adopt::Adopted;
pub use allocator::{Allocation, Allocator, PortsInUse, Wish};
pub use cidr::{Cidr, CidrError};
pub use collect::next_collection_interval;
pub use config::{Config, ConfigError};
pub use counters::{Counters, TRIES_MAX};
pub use forwarder::Forwarder;
pub use nat::Nat;
pub use policy::{Decision, EgressRule, IP_MASQ_AGENT_DEFAULTS, InterfaceSelector, Policy, Rule};
pub use profile::{Confidence, Layer, Parameter, Profile, ProfileError};
pub use routing::{BeyondVpc, NodeInterface, NodeRouting};
pub use session::MappingView;
pub use time::TICK_NS;
pub use verdict::{Direction, DropReason, Verdict};

/// Most mappings that one table can hold.
pub const CAPACITY_MAX: u32 = 1 << 28;
