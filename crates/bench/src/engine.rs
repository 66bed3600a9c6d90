//! From a scenario's words for a layer to what stands there.

use std::io;
use std::net::Ipv4Addr;

use natrig_lab::stage::Engine;
use natrig_lab::topology::Topology;
use natrig_nat::{ConfigError, Forwarder, Nat, Profile, ProfileError};

use crate::scenario::{Design, Layer, Scenario};

/// Why a translator cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Not a built-in profile, and no file either.
    #[error("failed to find a profile called `{0}`: `natrig profiles` lists them")]
    Unknown(String),
    /// A profile's file cannot be read.
    #[error("failed to read profile {path}: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A profile's file is not a profile.
    #[error("failed to understand profile {path}: {source}")]
    Profile {
        /// The file.
        path: String,
        /// Why.
        source: Box<ProfileError>,
    },
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
    node: Profile,
    gateway: Profile,
}

impl Engines {
    /// Reads the profiles, and tries them with the addresses that they will have.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn new(scenario: &Scenario) -> Result<Self, EngineError> {
        let engines = Self { node: profile(&scenario.node)?, gateway: profile(&scenario.gateway)? };
        engines.pair(&scenario.topology, Design::Both, scenario.seed)?;
        Ok(engines)
    }

    /// What stands at the node and at the gateway in `design`, with empty tables.
    ///
    /// # Errors
    /// [`EngineError::Config`].
    pub fn pair(&self, topology: &Topology, design: Design, seed: u64) -> Result<[Engine; 2], EngineError> {
        let node = Site { place: "node", inside: topology.pods.router, outside: &topology.node.addresses };
        let gateway =
            Site { place: "gateway", inside: topology.gateway.private_address, outside: &topology.gateway.addresses };
        Ok([
            node.engine(design.translates_at_node().then_some(&self.node), seed)?,
            // Another seed: two layers that hash alike would pick alike.
            gateway.engine(design.translates_at_gateway().then_some(&self.gateway), seed ^ 0x6761_7465)?,
        ])
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

fn profile(layer: &Layer) -> Result<Profile, EngineError> {
    let name = &layer.profile;
    if !layer.profile_is_file() {
        return Profile::builtin(name).ok_or_else(|| EngineError::Unknown(name.clone()));
    }
    let text =
        std::fs::read_to_string(name).map_err(|source| EngineError::Unreadable { path: name.clone(), source })?;
    Profile::parse(&text).map_err(|source| EngineError::Profile { path: name.clone(), source: Box::new(source) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quick_scenario_has_its_engines() {
        let scenario = Scenario::quick();
        let engines = Engines::new(&scenario).unwrap();
        let translates = |design| {
            engines.pair(&scenario.topology, design, 1).unwrap().map(|engine| matches!(engine, Engine::Nat(_)))
        };
        assert_eq!(translates(Design::None), [false, false]);
        assert_eq!(translates(Design::Node), [true, false]);
        assert_eq!(translates(Design::Gateway), [false, true]);
        assert_eq!(translates(Design::Both), [true, true]);
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
