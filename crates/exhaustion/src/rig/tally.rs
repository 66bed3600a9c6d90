//! What layers have counted since they were last asked.

use natrig_lab::lease::{KernelBox, KernelBoxError, KernelCounters, Lease};
use natrig_lab::stage::{Engine, Stage};
use natrig_lab::topology::{Boxes, Port};
use natrig_nat::DropReason;

use super::{BoxAndLinks, Crossing, RigError};
use crate::observe::refusal::{REFUSALS, add, vendor_counter};
use crate::observe::{Layer, RefusedBy};

/// What is called what at node and gateway.
pub(super) type Names = [String; 2];

/// Counters of the stages, as they were.
pub(super) struct Tally {
    names: Names,
    nodes: Vec<Seen>,
    gateway: Seen,
}

/// One stage's.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    ended: u64,
    refused: [u64; REFUSALS.len()],
    tries: (u64, u64),
    /// Mappings made, to see whether the tries are worth adding up again.
    created: u64,
}

impl Seen {
    fn of(stage: &Stage, before: &Self) -> Self {
        let counts = stage.counts();
        let ended = counts.drops.iter().sum::<u64>() + counts.link_full + counts.returned;
        let Engine::Nat(nat) = stage.engine() else { return Self { ended, ..Self::default() } };
        let counters = nat.counters();
        let refused = REFUSALS.map(|reason: DropReason| counters.dropped(reason) + counters.answered(reason));
        let created = counters.created;
        let sum = |(tries, allocations), (tried, times): (u64, &u64)| (tries + tried * times, allocations + times);
        let tries = if created == before.created { before.tries } else { (0..).zip(&counters.tries).fold((0, 0), sum) };
        Self { ended, refused, tries, created }
    }

    fn of_box(stage: &BoxAndLinks) -> Self {
        stage.as_ref().map_or_else(Self::default, |(stage, ..)| Self::of(stage, &Self::default()))
    }
}

impl Tally {
    pub(super) fn new(nodes: &[BoxAndLinks], gateway: &BoxAndLinks, names: Names) -> Self {
        Self { names, nodes: nodes.iter().map(Seen::of_box).collect(), gateway: Seen::of_box(gateway) }
    }

    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    /// Adds what has been counted since the last time.
    pub(super) fn read(&mut self, nodes: &[BoxAndLinks], gateway: &BoxAndLinks, into: &mut Crossing) {
        let [node_name, gateway_name] = &self.names;
        for (stage, seen) in nodes.iter().zip(&mut self.nodes) {
            seen.advance(Self::now(stage, seen), Layer::Node, node_name, into);
        }
        self.gateway.advance(Self::now(gateway, &self.gateway), Layer::Gateway, gateway_name, into);
    }

    fn now(stage: &BoxAndLinks, seen: &Seen) -> Seen {
        stage.as_ref().map_or(*seen, |(stage, ..)| Seen::of(stage, seen))
    }
}

impl Seen {
    fn advance(&mut self, now: Self, layer: Layer, name: &str, into: &mut Crossing) {
        into.ended += now.ended - self.ended;
        into.tries.0 += now.tries.0 - self.tries.0;
        into.tries.1 += now.tries.1 - self.tries.1;
        for (reason, (is, was)) in REFUSALS.iter().zip(now.refused.iter().zip(&self.refused)) {
            refuse(into, layer, name, reason.as_str(), is - was);
        }
        *self = now;
    }
}

fn refuse(into: &mut Crossing, layer: Layer, name: &str, reason: &str, attempts: u64) {
    if attempts > 0 {
        let counter = vendor_counter(name, reason).map(str::to_owned);
        add(&mut into.refused, &RefusedBy { layer, reason: reason.to_owned(), counter, attempts });
    }
}

/// Settings by their names below `/proc/sys`.
pub(crate) type Settings = Vec<(String, String)>;

/// The kernel at a box, and its world.
struct KernelAt {
    world: usize,
    layer: Layer,
    kernel: KernelBox,
    counters: KernelCounters,
}

/// Worlds of namespaces, one for each node, and the kernels at their boxes.
pub(super) struct KernelSide {
    leases: Vec<Lease>,
    boxes: Vec<KernelAt>,
    names: Names,
}

impl KernelSide {
    /// Opens lines to the kernels of the boxes that they forward at.
    pub(super) fn open(worlds: Vec<(Lease, Boxes)>, names: Names) -> Result<Self, RigError> {
        let mut at_boxes = Vec::new();
        for (world, (lease, boxes)) in worlds.iter().enumerate() {
            for (layer, port) in [(Layer::Node, Port::NodeInside), (Layer::Gateway, Port::GatewayInside)] {
                if boxes.is_kernel(port) {
                    let mut kernel = lease.kernel_box(port.namespace())?;
                    let counters = kernel.counters(lease)?;
                    at_boxes.push(KernelAt { world, layer, kernel, counters });
                }
            }
        }
        let leases = worlds.into_iter().map(|(lease, _)| lease).collect();
        Ok(Self { leases, boxes: at_boxes, names })
    }

    pub(super) fn forget(&mut self) -> Result<(), RigError> {
        for KernelAt { world, kernel, counters, .. } in &mut self.boxes {
            kernel.forget_connections()?;
            *counters = kernel.counters(&self.leases[*world])?;
        }
        Ok(())
    }

    /// Connections that the kernel at a layer remembers; none if it does not stand there.
    pub(super) fn connections(&mut self, layer: Layer) -> Result<Option<u64>, KernelBoxError> {
        let mut sum = None;
        for at in self.boxes.iter_mut().filter(|at| at.layer == layer) {
            sum = Some(sum.unwrap_or(0) + u64::from(at.kernel.connections()?));
        }
        Ok(sum)
    }

    /// Adds what the kernels have dropped since the last time.
    pub(super) fn read(&mut self, into: &mut Crossing) -> Result<(), RigError> {
        for KernelAt { world, layer, kernel, counters } in &mut self.boxes {
            let now = kernel.counters(&self.leases[*world])?;
            let name = &self.names[usize::from(*layer == Layer::Gateway)];
            for (reason, frames) in now.since(counters).dropped() {
                into.ended += frames;
                if reason.starts_with("conntrack") {
                    refuse(into, *layer, name, reason, frames);
                }
            }
            *counters = now;
        }
        Ok(())
    }

    /// Settings that bear on what the kernels do.
    pub(super) fn settings(&self) -> Result<Vec<(Layer, Settings)>, RigError> {
        let of_box = |at: &KernelAt| Ok((at.layer, at.kernel.settings(&self.leases[at.world])?));
        self.boxes.iter().map(of_box).collect()
    }
}
