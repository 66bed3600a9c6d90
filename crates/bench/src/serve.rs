//! A design that stands for as long as wanted, for programs of the user's own at its two ends.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use natrig_lab::lease::Lease;
use natrig_lab::stage::StageCounts;
use natrig_lab::topology::{Boxes, Port, WorldUse};
use natrig_link::packet::{PacketLink, PacketOptions};
use natrig_link::{Link, wait};

use crate::engine::{EngineError, Engines};
use crate::experiment;
use crate::rig::{LayerLinks, Layers, LinkError, RigError};
use crate::scenario::{Design, Scenario};

/// Why a design does not stand, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A translator cannot be made.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A link cannot be opened.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Frames cannot be moved.
    #[error(transparent)]
    Rig(#[from] RigError),
    /// Waiting for frames failed.
    #[error("failed to wait for frames: {0}")]
    Wait(#[from] io::Error),
}

/// The two boxes of a design, in a world of programs.
pub struct Served {
    layers: Layers,
    links: LayerLinks,
}

/// How long to sleep at most while nothing arrives: a signal to stop is heeded as late as that.
const NAP: Duration = Duration::from_millis(50);

/// Polls without a frame before sleeping: answers often come within microseconds.
const POLLS_BEFORE_NAP: u32 = 200;

impl Served {
    /// Sets up `design` in a world that [`Plan::clients`](natrig_lab::plan::Plan::clients) made.
    ///
    /// # Errors
    /// [`ServeError`].
    pub fn new(lease: &Lease, scenario: &Scenario, design: Design) -> Result<Self, ServeError> {
        let engines = Engines::new(scenario)?;
        let layers = experiment::layers(&engines, scenario, design, WorldUse::Clients(Boxes::STAGES), scenario.seed)?;
        let open = |port: Port| -> Result<Box<dyn Link>, LinkError> {
            let (namespace, interface) = (port.namespace(), port.interface());
            let options = PacketOptions {
                rx_slots: scenario.link.slots.map_or_else(|| PacketOptions::default().rx_slots, |slots| slots as usize),
                complete_checksums: true,
                ..PacketOptions::default()
            };
            lease
                .run_in(namespace, || PacketLink::open(interface, &options))
                .map_err(|source| LinkError::Enter { namespace, source })?
                .map(|link| Box::new(link) as Box<dyn Link>)
                .map_err(|source| LinkError::Open { namespace, interfaces: interface.to_owned(), source })
        };
        let links = LayerLinks {
            node_inside: open(Port::NodeInside)?,
            node_outside: open(Port::NodeOutside)?,
            gateway_inside: open(Port::GatewayInside)?,
            gateway_outside: open(Port::GatewayOutside)?,
        };
        Ok(Self { layers, links })
    }

    /// Forwards and translates until `stop` is set.
    ///
    /// # Errors
    /// [`ServeError`].
    pub fn run(&mut self, stop: &AtomicBool) -> Result<(), ServeError> {
        let mut idle_polls = 0;
        while !stop.load(Ordering::Acquire) {
            if self.layers.poll(&mut self.links).map_err(RigError::from)? > 0 {
                idle_polls = 0;
                continue;
            }
            idle_polls += 1;
            if idle_polls > POLLS_BEFORE_NAP {
                let LayerLinks { node_inside, node_outside, gateway_inside, gateway_outside } = &self.links;
                wait::until_readable(&[&**node_inside, &**node_outside, &**gateway_inside, &**gateway_outside], NAP)?;
                idle_polls = 0;
            }
        }
        Ok(())
    }

    /// What node and gateway did.
    pub fn counts(&self) -> [&StageCounts; 2] {
        [self.layers.node.counts(), self.layers.gateway.counts()]
    }
}
