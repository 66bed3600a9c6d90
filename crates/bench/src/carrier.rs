//! What carries frames: the fastest that there is a way to, unless the scenario names one.

use natrig_lab::privilege::{Ability, Mode, Privilege};

use crate::rig::OpenLink;
use crate::scenario::{Engine, LinkKind, Scenario};

/// What carries frames in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carrier {
    /// Rings in this process.
    Memory,
    /// veth pairs between namespaces, and the first of these kinds of link to their ends that can be had.
    Veth(Vec<OpenLink>),
    /// The same, and the kind of these that turns out to be the fastest.
    Fastest(Vec<OpenLink>),
}

/// Why there is nothing to carry frames: what is refused here, and the mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoCarrier(String);

impl Carrier {
    /// What `scenario` is carried by in this environment.
    ///
    /// # Errors
    /// The kind that the scenario names needs more than the environment allows.
    pub fn choose(scenario: &Scenario, privilege: &Privilege) -> Result<Self, NoCarrier> {
        let kind = scenario.link.kind;
        let kernel =
            scenario.lineups().iter().any(|lineup| lineup.has(Engine::Nftables) || lineup.has(Engine::Redirect));
        let refused = |what: &str, reason: &str, instead| {
            NoCarrier(format!(
                "links of kind {kind} need {what}, which this environment refuses: {reason}\n\
                 help: --link {instead} measures without; natrig doctor says what is missing"
            ))
        };
        let veth = |how| match privilege.why_memory() {
            None => Ok(Self::Veth(vec![how])),
            Some(reason) => Err(refused("namespaces", reason.as_str(), LinkKind::Memory)),
        };
        let xdp = |how| match privilege.refused(Ability::Xdp) {
            Some(reason) if privilege.mode != Mode::Memory => Err(refused("XDP", reason, LinkKind::Packet)),
            Some(_) | None => veth(how),
        };
        match kind {
            LinkKind::Memory => Ok(Self::Memory),
            LinkKind::Ring => xdp(OpenLink::Ring),
            LinkKind::Xdp => xdp(OpenLink::Xdp),
            LinkKind::Packet => veth(OpenLink::Packet),
            LinkKind::Pnet => veth(OpenLink::Pnet),
            LinkKind::Auto if privilege.mode == Mode::Memory && kernel => {
                let reason = privilege.why_memory().unwrap_or_default();
                Err(NoCarrier(format!(
                    "the engine {} needs namespaces, which this environment refuses: {reason}\n\
                     help: natrig doctor says what is missing; the engine {} measures without",
                    Engine::Nftables,
                    Engine::Userspace
                )))
            }
            LinkKind::Auto if privilege.mode == Mode::Memory => Ok(Self::Memory),
            LinkKind::Auto => {
                let mut kinds = vec![OpenLink::Ring, OpenLink::Xdp, OpenLink::Packet];
                if !scenario.measure.asks_for_latency() {
                    // The kernel hands a block over when it is full, or up to a millisecond late.
                    kinds.push(OpenLink::PacketBlocks);
                }
                Ok(Self::Fastest(kinds))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_for_those_who_ask_for_rates_only() {
        let privilege = Privilege { mode: Mode::Root, refusals: Vec::new() };
        let mut scenario = Scenario::quick();
        let kinds = [OpenLink::Ring, OpenLink::Xdp, OpenLink::Packet];
        assert_eq!(Carrier::choose(&scenario, &privilege), Ok(Carrier::Fastest(kinds.to_vec())));
        scenario.measure.latency_ms = 0;
        let kinds = [kinds.as_slice(), &[OpenLink::PacketBlocks]].concat();
        assert_eq!(Carrier::choose(&scenario, &privilege), Ok(Carrier::Fastest(kinds)));
        scenario.link.kind = LinkKind::Packet;
        assert_eq!(Carrier::choose(&scenario, &privilege), Ok(Carrier::Veth(vec![OpenLink::Packet])));
    }
}
