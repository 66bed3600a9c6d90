//! From a scenario's words for a layer to what stands there.

use natrig_lab::stage::Engine;
use natrig_nat::Forwarder;

use crate::scenario::Scenario;

/// Why a translator cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// stub
    #[error("stub")]
    Stub,
}

/// Makes engines.
#[derive(Debug)]
pub struct Engines;

impl Engines {
    /// stub
    pub fn new(_: &Scenario) -> Result<Self, EngineError> { Ok(Self) }
    /// stub
    pub fn node(&self, _: &Scenario, _: u64) -> Result<Engine, EngineError> { Ok(self.forward()) }
    /// stub
    pub fn gateway(&self, _: &Scenario, _: u64) -> Result<Engine, EngineError> { Ok(self.forward()) }
    /// stub
    pub fn forward(&self) -> Engine { Engine::Forward(Box::new(Forwarder::default())) }
}
