//! What one layer bears.

use natrig_nat::behaviour::{AddressChoice, Overload, PortBlocks};
use natrig_nat::{CAPACITY_MAX, Confidence, Profile};

use crate::curve::Curve;
use crate::demand::{Demand, Span};
use crate::loss::blocking;
use crate::timing::{Afterlife, Protocol};

/// A profile at a place, and what was found out about it.
#[derive(Debug, Clone)]
pub(crate) struct Layer<'p> {
    pub(crate) profile: &'p Profile,
    pub(crate) curve: &'p Curve,
    /// Addresses of one device.
    pub(crate) addresses: u32,
}

/// Low confidence is a factor of two either way.
const DOUBT: f64 = 2.0;

impl Layer<'_> {
    /// How sure a parameter is.
    pub(crate) fn confidence(&self, path: &str) -> Option<Confidence> {
        self.profile.parameters.iter().find(|parameter| parameter.path == path)?.confidence
    }

    /// Seconds for which a port is kept when its connection is over. What nobody documents may be half or double.
    pub(crate) fn kept_s(&self, protocol: Protocol, close: crate::timing::Close) -> Span {
        let after = Afterlife::of(&self.profile.behaviour, protocol, close);
        let mut kept = after.seconds();
        for (seconds, path) in [(after.timer_s, after.timer), (after.hold_s, after.hold)] {
            if self.confidence(path) == Some(Confidence::Low) {
                kept[0] -= f64::from(seconds) * (1.0 - 1.0 / DOUBT);
                kept[2] += f64::from(seconds) * (DOUBT - 1.0);
            }
        }
        if protocol == Protocol::Tcp && self.profile.behaviour.ports.evict_closing_within > 0 {
            // A closed connection gives its port to a new one that finds no other.
            kept[0] = 0.0;
        }
        kept
    }

    /// Ports in use for a demand, all remote ends together.
    pub(crate) fn in_use(&self, demand: &Demand) -> Span {
        let kept = self.kept_s(demand.protocol, demand.close);
        std::array::from_fn(|at| demand.open[at] + demand.rate_per_s[at] * kept[at])
    }

    /// Ports of one address towards one remote end.
    pub(crate) fn ports(&self) -> u32 {
        self.curve.ports
    }

    /// Ports belong to the remote end, or are one stock for all.
    pub(crate) fn is_per_destination(&self, protocol: Protocol) -> bool {
        let behaviour = &self.profile.behaviour;
        let rules = match protocol {
            Protocol::Tcp => &behaviour.tcp,
            Protocol::Udp => &behaviour.udp,
            Protocol::Icmp => &behaviour.icmp,
        };
        rules.overload != Overload::Never
    }

    /// Share of connections refused when `load` ports would be in use of one stock, with so many addresses.
    pub(crate) fn refused(&self, load: f64, addresses: u32) -> f64 {
        let one_only = matches!(
            self.profile.behaviour.pool.choice,
            AddressChoice::HashSource | AddressChoice::HashSourceDestination
        );
        let count = f64::from(addresses);
        if one_only || self.profile.behaviour.pool.paired {
            return blocking(load / count, self.ports(), |used| self.curve.refusal(used));
        }
        let total = self.ports().saturating_mul(addresses);
        // Whoever finds no port at one address tries the others.
        blocking(load, total, |used| self.curve.refusal(used / count).powf(count))
    }

    /// Ports set aside for a node, if they are, and how many nodes an address serves then.
    pub(crate) fn block(&self) -> Option<(u32, u32)> {
        let quota = &self.profile.behaviour.quota;
        let ports = match quota.blocks {
            PortBlocks::Shared => return None,
            PortBlocks::Static => quota.block_min,
            PortBlocks::Dynamic => quota.block_max.min(self.profile.behaviour.ports.range.len()),
        };
        Some((ports, self.profile.behaviour.ports.range.len() / quota.block_min))
    }

    /// Entries of the table, if anybody says how many there are: natrig's own sizes are no limits of vendors'.
    pub(crate) fn table(&self) -> Option<u32> {
        let capacity = self.profile.behaviour.table.capacity;
        (self.confidence("table.capacity") != Some(Confidence::Low) && capacity < CAPACITY_MAX).then_some(capacity)
    }
}
