//! Both layers' ports against each other: where does the node bind, where the gateway, and does the second layer cost ports or save any?

use std::sync::atomic::AtomicBool;

use natrig_bench::scenario::Design;

use super::StepError;
use super::fill::{self, Until};
use crate::observe::{Layer, refusal};
use crate::result::LayersCell;
use crate::rig::{Bed, Rig};
use crate::scenario::{BothLayers, Ports, Scenario, Setup, Standing};
use crate::talk::{Faults, Talker};

/// A point that is to be measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    /// Nodes.
    pub nodes: u32,
    /// Ports of each.
    pub node_ports: u32,
    /// Addresses of the gateway.
    pub gateway_addresses: u32,
    /// Exponent of Zipf's law.
    pub skew: f64,
}

/// All points.
pub(crate) fn points(settings: &BothLayers) -> Vec<Point> {
    let mut points = Vec::new();
    for skew in &settings.skews {
        for node_ports in &settings.node_ports {
            for nodes in &settings.nodes {
                points.extend(settings.gateway_addresses.iter().map(|addresses| Point {
                    nodes: *nodes,
                    node_ports: *node_ports,
                    gateway_addresses: *addresses,
                    skew: *skew,
                }));
            }
        }
    }
    points
}

/// Refusals are read at a level; a fill goes on until there are so many times as many.
const BEYOND: f64 = 4.0;
/// A table row would read the level from too few attempts below this.
const SHARE_LEAST: f64 = 0.05;

/// One point in the designs node, gateway and both.
///
/// # Errors
/// [`StepError`].
pub(crate) fn run(
    scenario: &Scenario,
    setup: &Setup,
    settings: &BothLayers,
    point: Point,
    faults: &mut Faults,
    cancel: &AtomicBool,
) -> Result<Vec<LayersCell>, StepError> {
    let mut cells = Vec::new();
    for design in [Design::Node, Design::Gateway, Design::Both] {
        let mut bed = Bed::new(scenario, setup, u32::MAX);
        bed.world.nodes = point.nodes;
        bed.world.gateway_addresses = point.gateway_addresses;
        bed.traffic.skew = point.skew;
        bed.node.ports = Some(ports(point.node_ports));
        if !design.translates_at_node() {
            bed.setup.node = Standing::Forward;
        }
        if !design.translates_at_gateway() {
            bed.setup.gateway = Standing::Forward;
        }
        let nominal = bed.nominal()?;
        let refused = (settings.at_refused * BEYOND).clamp(SHARE_LEAST, 1.0);
        let until = Until { refused, attempts: nominal * 2 * u64::from(bed.world.servers) + 2000 };
        bed.attempts_max = u32::try_from(until.attempts).unwrap_or(u32::MAX).saturating_add(1000);
        let mut talker = Talker::new(Rig::open(bed, scenario.seed)?);
        let mut pooled: Option<fill::Filled> = None;
        for round in 0..scenario.rounds {
            let filled = fill::round(&mut talker, nominal, until, scenario.seed + u64::from(round), cancel)?;
            match &mut pooled {
                None => pooled = Some(filled),
                Some(pooled) => {
                    pooled.curve.add(&filled.curve);
                    filled.refused.iter().for_each(|one| refusal::add(&mut pooled.refused, one));
                }
            }
        }
        faults.vanished += talker.faults.vanished;
        faults.corrupt += talker.faults.corrupt;
        faults.shared += talker.faults.shared;
        let Some(filled) = pooled else { continue };
        let by = [Layer::Node, Layer::Gateway].map(|layer| refusal::at(&filled.refused, layer));
        cells.push(LayersCell {
            setup: setup.clone(),
            design,
            nodes: point.nodes,
            node_ports: point.node_ports,
            gateway_addresses: point.gateway_addresses,
            skew: point.skew,
            flows: filled.curve.reaches(settings.at_refused),
            nominal_ports: nominal,
            refused: by,
            binds: match by {
                [0, 0] => None,
                [node, gateway] if node > gateway => Some(Layer::Node),
                _ => Some(Layer::Gateway),
            },
        });
    }
    Ok(cells)
}

/// So many ports, at the end of the range, where Cilium's are.
fn ports(count: u32) -> Ports {
    Ports { first: (65_536 - count.clamp(1, 64_512)) as u16, last: u16::MAX }
}
