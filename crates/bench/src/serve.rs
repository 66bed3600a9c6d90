//! A design that stands for as long as wanted, for programs of the user's own at its two ends.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use natrig_lab::lease::Lease;
use natrig_lab::plan::Plan;
use natrig_lab::stage::StageCounts;
use natrig_lab::topology::{Port, WorldUse};
use natrig_link::Link;
use natrig_link::packet::{PacketLink, PacketOptions};
use natrig_link::wait::Rest;

use crate::bed;
use crate::engine::{EngineError, Engines};
use crate::result::Place;
use crate::rig::{BoxLinks, LayerLinks, Layers, LinkError, RigError};
use crate::scenario::{Design, Scenario};
use crate::world::KernelError;

/// Why a design does not stand, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A translator cannot be made.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A link cannot be opened.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The kernel cannot be told to translate.
    #[error(transparent)]
    Kernel(#[from] KernelError),
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

/// Connections that the kernel must be able to track, where it translates: less than its default on any machine.
const CONNECTIONS: u32 = 16_384;

impl Served {
    /// Sets up `design` in a world that [`Plan::clients`] made for the boxes of [`Scenario::lineup`].
    ///
    /// # Errors
    /// [`ServeError`].
    pub fn new(lease: &Lease, scenario: &Scenario, design: Design) -> Result<Self, ServeError> {
        let engines = Engines::new(scenario)?;
        let lineup = scenario.lineup();
        let world = WorldUse::Clients(lineup.boxes());
        let layers = bed::layers(&engines, &scenario.topology, lineup, design, world, scenario.seed)?;
        let [node, gateway] = engines.kernel_nats(lineup, design);
        lease.apply(&Plan::translation(lineup.boxes(), node, gateway, CONNECTIONS)).map_err(KernelError::from)?;
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
        let both = |inside, outside| -> Result<Option<BoxLinks>, LinkError> {
            if lineup.boxes().is_kernel(inside) {
                return Ok(None);
            }
            Ok(Some(BoxLinks { inside: open(inside)?, outside: open(outside)? }))
        };
        let links = LayerLinks {
            node: both(Port::NodeInside, Port::NodeOutside)?,
            gateway: both(Port::GatewayInside, Port::GatewayOutside)?,
        };
        Ok(Self { layers, links })
    }

    /// Forwards and translates until `stop` is set.
    ///
    /// # Errors
    /// [`ServeError`].
    pub fn run(&mut self, stop: &AtomicBool) -> Result<(), ServeError> {
        let mut rest = Rest::default();
        while !stop.load(Ordering::Acquire) {
            if self.layers.poll(&mut self.links).map_err(RigError::from)? > 0 {
                rest.work();
                continue;
            }
            let boxes = [&self.links.node, &self.links.gateway].into_iter().flatten();
            let ends: Vec<&dyn Link> = boxes.flat_map(|links| [&*links.inside, &*links.outside]).collect();
            rest.rest(&ends, NAP)?;
        }
        Ok(())
    }

    /// What node and gateway did, where they are not the kernel's.
    pub fn counts(&self) -> impl Iterator<Item = (Place, &StageCounts)> {
        self.layers.stages().map(|(place, stage)| (place, stage.counts()))
    }
}
