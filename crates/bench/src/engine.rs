//! From a scenario's words for a layer to what stands there.

use std::net::Ipv4Addr;

use natrig_lab::plan::{KernelNat, Translate};
use natrig_lab::stage::Engine;
use natrig_lab::topology::{Boxes, ForwardedBy, Port, Topology};
use natrig_nat::{ConfigError, Forwarder, Nat, Profile};

use crate::profile::{self, LoadProfileError};
use crate::result::{NatFacts, Place};
use crate::scenario::{Design, Engine as ScenarioEngine, KernelAddress, Layer, Lineup, Scenario};

/// Why a translator cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A profile cannot be had.
    #[error("failed to {0}")]
    Profile(#[from] LoadProfileError),
    /// The profile does not go with the addresses of the layer.
    #[error("failed to set up the translator at the {place}: {source}")]
    Config {
        /// `node` or `gateway`.
        place: &'static str,
        /// Why.
        source: ConfigError,
    },
}

/// Makes what stands at the two layers of a scenario.
#[derive(Debug)]
pub struct Engines {
    topology: Topology,
    node: LayerEngines,
    gateway: LayerEngines,
}

/// What can stand at a layer.
#[derive(Debug)]
struct LayerEngines {
    /// Where natrig's own NAT stands in some lineup.
    profile: Option<Profile>,
    kernel: KernelNat,
}

impl Engines {
    /// Reads the profiles, and tries them with the addresses that they will have.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn new(scenario: &Scenario) -> Result<Self, EngineError> {
        let lineups = scenario.lineups();
        let layer = |layer: &Layer, addresses: &[Ipv4Addr], engine: fn(&Lineup) -> ScenarioEngine| {
            let userspace = lineups.iter().any(|lineup| engine(lineup) == ScenarioEngine::Userspace);
            let profile = userspace.then(|| profile::load(&layer.profile)).transpose()?;
            Ok::<_, EngineError>(LayerEngines { profile, kernel: kernel_nat(layer, addresses) })
        };
        let topology = &scenario.topology;
        let engines = Self {
            node: layer(&scenario.node, &topology.node.addresses, |lineup| lineup.node)?,
            gateway: layer(&scenario.gateway, &topology.gateway.addresses, |lineup| lineup.gateway)?,
            topology: topology.clone(),
        };
        for lineup in lineups {
            engines.stages(lineup, Design::Both, scenario.seed)?;
        }
        Ok(engines)
    }

    /// What stands at the node and at the gateway in `design`, with empty tables; none where the kernel forwards.
    ///
    /// # Errors
    /// [`EngineError::Config`].
    pub fn stages(&self, lineup: Lineup, design: Design, seed: u64) -> Result<[Option<Engine>; 2], EngineError> {
        let topology = &self.topology;
        let node = Site { place: "node", inside: topology.pods.router, outside: &topology.node.addresses };
        let gateway =
            Site { place: "gateway", inside: topology.gateway.private_address, outside: &topology.gateway.addresses };
        let stage = |site: Site<'_>, engines: &LayerEngines, engine, translates: bool, seed| match engine {
            ScenarioEngine::Nftables | ScenarioEngine::Redirect | ScenarioEngine::Absent => Ok(None),
            ScenarioEngine::Userspace => site.engine(engines.profile.as_ref().filter(|_| translates), seed).map(Some),
        };
        Ok([
            stage(node, &self.node, lineup.node, design.translates_at_node(), seed)?,
            // Another seed: two layers that hash alike would pick alike.
            stage(gateway, &self.gateway, lineup.gateway, design.translates_at_gateway(), seed ^ 0x6761_7465)?,
        ])
    }

    /// natrig's own NATs, where they stand in some lineup.
    pub(crate) fn facts(&self) -> Vec<NatFacts> {
        let facts = |(place, engines): (Place, &LayerEngines)| {
            let profile = engines.profile.as_ref()?;
            let table_capacity = u64::from(profile.behaviour.table.capacity);
            Some(NatFacts { place, profile: profile.name.clone(), table_capacity })
        };
        [(Place::Node, &self.node), (Place::Gateway, &self.gateway)].into_iter().filter_map(facts).collect()
    }

    /// How the kernel translates at the node and at the gateway in `design`; none where it only forwards, or does nothing.
    pub fn kernel_nats(&self, lineup: Lineup, design: Design) -> [Option<&KernelNat>; 2] {
        let stands = |engine, translates: bool| engine == ScenarioEngine::Nftables && translates;
        [
            stands(lineup.node, design.translates_at_node()).then_some(&self.node.kernel),
            stands(lineup.gateway, design.translates_at_gateway()).then_some(&self.gateway.kernel),
        ]
    }
}

impl Lineup {
    /// Who forwards at the two boxes.
    pub fn boxes(self) -> Boxes {
        let forwarded_by = |engine| match engine {
            // Where there is no box, the generator speaks as a stage would.
            ScenarioEngine::Userspace | ScenarioEngine::Absent => ForwardedBy::Stage,
            ScenarioEngine::Redirect => ForwardedBy::Redirect,
            ScenarioEngine::Nftables => ForwardedBy::Kernel,
        };
        Boxes { node: forwarded_by(self.node), gateway: forwarded_by(self.gateway) }
    }

    /// Where the generator stands.
    pub fn start(self) -> Port {
        if self.node == ScenarioEngine::Absent { Port::NodeOutside } else { Port::Pods }
    }

    /// How many boxes on the way route, and so take from a frame's TTL.
    pub fn routers(self) -> u8 {
        u8::from(self.node.translates()) + u8::from(self.gateway.translates())
    }
}

/// A layer's name and addresses.
struct Site<'a> {
    place: &'static str,
    inside: Ipv4Addr,
    outside: &'a [Ipv4Addr],
}

impl Site<'_> {
    fn engine(&self, profile: Option<&Profile>, seed: u64) -> Result<Engine, EngineError> {
        let Some(profile) = profile else {
            let outside = self.outside.first().copied().unwrap_or(Ipv4Addr::UNSPECIFIED);
            return Ok(Engine::Forward(Box::new(Forwarder::new(self.inside, outside))));
        };
        let mut config = profile.config(self.outside.to_vec());
        config.inside_router = self.inside;
        let nat = Nat::new(config, seed).map_err(|source| EngineError::Config { place: self.place, source })?;
        Ok(Engine::Nat(Box::new(nat)))
    }
}

fn kernel_nat(layer: &Layer, addresses: &[Ipv4Addr]) -> KernelNat {
    KernelNat {
        translate: match layer.nat {
            KernelAddress::Masquerade => Translate::Masquerade,
            KernelAddress::Snat => Translate::Snat(addresses.to_vec()),
        },
        ports: layer.ports,
        port_range: layer.port_range.map(|range| (range.first, range.last)),
    }
}

#[cfg(test)]
mod tests {
    use natrig_lab::plan::PortChoice;

    use super::*;

    #[test]
    fn the_quick_scenario_has_its_engines() {
        let scenario = Scenario::quick();
        let engines = Engines::new(&scenario).unwrap();
        let translates = |design| {
            let stages = engines.stages(Lineup::USERSPACE, design, 1).unwrap();
            stages.map(|engine| matches!(engine, Some(Engine::Nat(_))))
        };
        assert_eq!(translates(Design::None), [false, false]);
        assert_eq!(translates(Design::Node), [true, false]);
        assert_eq!(translates(Design::Gateway), [false, true]);
        assert_eq!(translates(Design::Both), [true, true]);
        assert_eq!(engines.kernel_nats(Lineup::USERSPACE, Design::Both), [None, None]);
    }

    #[test]
    fn the_kernel_stands_where_the_lineup_says() {
        let mut scenario = Scenario::quick();
        scenario.gateway.engine = ScenarioEngine::Nftables;
        scenario.gateway.nat = KernelAddress::Snat;
        // Nobody needs the profile.
        scenario.gateway.profile = "/nowhere/mine.toml".to_owned();
        let [lineup] = scenario.lineups()[..] else { panic!("one lineup") };
        let engines = Engines::new(&scenario).unwrap();
        let stages = engines.stages(lineup, Design::Both, 1).unwrap();
        assert!(matches!(stages, [Some(Engine::Nat(_)), None]));
        let nat = KernelNat {
            translate: Translate::Snat(scenario.topology.gateway.addresses),
            ports: PortChoice::Default,
            port_range: None,
        };
        assert_eq!(engines.kernel_nats(lineup, Design::Both), [None, Some(&nat)]);
        assert_eq!(engines.kernel_nats(lineup, Design::Node), [None, None]);
        assert_eq!(lineup.boxes(), Boxes { node: ForwardedBy::Stage, gateway: ForwardedBy::Kernel });
    }

    #[test]
    fn a_profile_that_is_not_there_is_named() {
        let mut scenario = Scenario::quick();
        scenario.node.profile = "cilium-bfp".to_owned();
        assert!(Engines::new(&scenario).unwrap_err().to_string().contains("`cilium-bfp`"));
        scenario.node.profile = "/nowhere/mine.toml".to_owned();
        assert!(Engines::new(&scenario).unwrap_err().to_string().contains("/nowhere/mine.toml"));
    }
}
