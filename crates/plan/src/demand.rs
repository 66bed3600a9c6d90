//! What a fleet asks of its translators, wherever that is known from.

use crate::fleet::{Fleet, Spread};
use crate::formula;
use crate::sim::{Class, Lives};
use crate::timing::{Close, Protocol};

/// A value between two others: favourable, as a rule, unfavourable.
pub type Span = [f64; 3];

/// Connections to remote ends that are used alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Demand {
    /// What they are called, or where they go.
    pub name: String,
    /// Protocol.
    pub protocol: Protocol,
    /// How many addresses and ports they are spread over evenly.
    pub remotes: u16,
    /// New connections a second, all together.
    pub rate_per_s: Span,
    /// Connections open at once, all together.
    pub open: Span,
    /// How they end.
    pub close: Close,
    /// Longest silence within one, seconds; 0: not known.
    pub silence_s: u32,
    /// Pods that make them.
    pub pods: u32,
    /// Packets a second, both directions; 0: not known.
    pub packets_per_s: f64,
    /// Bits a second, both directions; 0: not known.
    pub bits_per_s: f64,
    /// How their lives are spread.
    pub lives: Lives,
    /// Where rate and number are from.
    pub basis: Vec<String>,
}

impl Demand {
    /// Connections of the simulation.
    pub(crate) fn class(&self, growth: f64) -> Class {
        let rate = self.rate_per_s[1];
        Class {
            protocol: self.protocol,
            remotes: self.remotes,
            rate_per_s: rate * growth,
            life_s: if rate > 0.0 { self.open[1] / rate } else { 0.0 },
            lives: self.lives,
            close: self.close,
            pods: self.pods,
        }
    }
}

/// What a described fleet asks for.
#[must_use]
pub fn of_fleet(fleet: &Fleet) -> Vec<Demand> {
    let demands = fleet.destinations.iter().map(|destination| {
        let pods = (f64::from(fleet.pods) * destination.pods).round().max(1.0);
        let rate = pods * destination.rate_per_pod;
        Demand {
            name: destination.name.clone(),
            protocol: destination.protocol,
            remotes: destination.remotes,
            rate_per_s: [rate; 3],
            open: [rate * destination.lifetime_s; 3],
            close: destination.close,
            silence_s: destination.silence_s,
            pods: pods as u32,
            packets_per_s: rate * destination.packets,
            bits_per_s: rate * destination.bytes * 8.0,
            lives: match destination.lifetimes {
                Spread::Fixed => Lives::Fixed,
                Spread::Exponential => Lives::Exponential,
            },
            basis: vec!["given".to_owned(), formula::LITTLE.name.to_owned()],
        }
    });
    demands.collect()
}
