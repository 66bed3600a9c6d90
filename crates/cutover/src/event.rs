//! When what happens.

use std::collections::VecDeque;

use crate::pace::ns;
use crate::scenario::{Procedure, Scenario};

/// Something that happens to a node's pods, or to the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The node's pods close what they can.
    Drain { node: usize },
    /// The change.
    Change { node: usize },
    /// The node's pods start again.
    Restart { node: usize },
    /// What was down is up again.
    Revive { node: usize },
}

/// Everything that happens, each with its time from the beginning, in order.
pub(crate) fn events(scenario: &Scenario) -> VecDeque<(u64, Event)> {
    let settle_ns = ns(scenario.pace.settle_ms);
    let gap_ns = ns(1000 * scenario.interval_s);
    let grace_ns = ns(1000 * scenario.grace_s);
    let mut events = Vec::new();
    for node in 0..scenario.nodes as usize {
        let start_ns = match scenario.procedure {
            Procedure::AtOnce => settle_ns,
            Procedure::Rolling | Procedure::DrainFirst => settle_ns + node as u64 * gap_ns,
        };
        if scenario.procedure == Procedure::DrainFirst {
            events.push((start_ns, Event::Drain { node }));
            events.push((start_ns + grace_ns, Event::Change { node }));
            events.push((start_ns + grace_ns, Event::Restart { node }));
        } else {
            events.push((start_ns, Event::Change { node }));
        }
        if scenario.change.ends() {
            events.push((start_ns + gap_ns, Event::Revive { node }));
        }
    }
    // Stable: a node's pods start again after its change.
    events.sort_by_key(|(at_ns, _)| *at_ns);
    events.into()
}
