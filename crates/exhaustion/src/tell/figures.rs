//! Curves and surfaces to look at.

use natrig_bench::scenario::Design;
use natrig_report::figure::{Axis, Figure, HeatMap, LineChart, Scale, Series};

use crate::result::{Agreement, FillResult, LayersCell, Measured};

/// Refusal curves in one picture.
fn chart<'a>(title: &str, fills: impl Iterator<Item = &'a FillResult>, note: &str) -> Figure {
    let series = fills.map(|fill| {
        let points = fill.points.iter().map(|point| (point.occupancy * 100.0, point.refused * 100.0));
        Series::new(fill.setup.to_string(), points)
    });
    Figure::Lines(LineChart {
        title: title.to_owned(),
        x: Axis::new("concurrent flows, of the nominal ports for one destination", "%", Scale::Linear),
        y: Axis::new("attempts refused", "%", Scale::Linear),
        series: series.collect(),
        note: note.to_owned(),
    })
}

/// All curves.
pub(super) fn curves(measured: &Measured) -> Figure {
    chart("Refused connections", measured.fills.iter(), "")
}

/// A profile's curve and the kernel's.
pub(super) fn pair(measured: &Measured, agreement: &Agreement) -> Figure {
    let both = |fill: &&FillResult| fill.setup == agreement.profile || fill.setup == agreement.kernel;
    let fills = measured.fills.iter().filter(both);
    chart("The profile and the kernel", fills, "Filled by the same connections, in the same run.")
}

/// What double NAT leaves of the gateway's ports: a map for each setup, skew, and number of a node's ports.
pub(super) fn surfaces(cells: &[LayersCell]) -> Vec<Figure> {
    let mut maps: Vec<&LayersCell> = Vec::new();
    for cell in cells.iter().filter(|cell| cell.design == Design::Both) {
        if !maps.iter().any(|map| same_map(map, cell)) {
            maps.push(cell);
        }
    }
    maps.into_iter().map(|map| surface(map, cells)).collect()
}

fn same_map(a: &LayersCell, b: &LayersCell) -> bool {
    a.setup == b.setup && a.node_ports == b.node_ports && a.skew.to_bits() == b.skew.to_bits()
}

fn surface(map: &LayersCell, cells: &[LayersCell]) -> Figure {
    let here: Vec<&LayersCell> = cells.iter().filter(|cell| same_map(map, cell)).collect();
    let distinct = |of: fn(&LayersCell) -> u32| {
        let mut values: Vec<u32> = here.iter().map(|cell| of(cell)).collect();
        values.sort_unstable();
        values.dedup();
        values
    };
    let (nodes, addresses) = (distinct(|cell| cell.nodes), distinct(|cell| cell.gateway_addresses));
    let flows = |nodes, addresses, design| {
        let found = here
            .iter()
            .find(|cell| cell.design == design && cell.nodes == nodes && cell.gateway_addresses == addresses);
        found.and_then(|cell| cell.flows)
    };
    let share = |nodes, addresses| {
        let alone = flows(nodes, addresses, Design::Gateway).filter(|flows| *flows > 0.0)?;
        Some(flows(nodes, addresses, Design::Both)? / alone * 100.0)
    };
    let words = |values: &[u32]| values.iter().map(u32::to_string).collect();
    Figure::Heat(HeatMap {
        title: format!("{}: {} ports a node, skew {:.1}", map.setup, map.node_ports, map.skew),
        columns: ("gateway addresses".to_owned(), words(&addresses)),
        rows: ("nodes".to_owned(), words(&nodes)),
        value: Axis::new("flows with both layers, of those with the gateway alone", "%", Scale::Linear),
        cells: nodes
            .iter()
            .map(|nodes| addresses.iter().map(|addresses| share(*nodes, *addresses)).collect())
            .collect(),
        note: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Layer;
    use crate::scenario::Setup;

    fn cell(design: Design, nodes: u32, gateway_addresses: u32, flows: f64) -> LayersCell {
        LayersCell {
            setup: Setup::parse("node netfilter, gateway aws-natgw").unwrap(),
            design,
            nodes,
            node_ports: 512,
            gateway_addresses,
            skew: 0.0,
            flows: Some(flows),
            nominal_ports: 512,
            refused: [1, 0],
            binds: Some(Layer::Node),
        }
    }

    #[test]
    fn a_map_has_a_row_for_each_number_of_nodes() {
        let cells = [
            cell(Design::Both, 2, 1, 50.0),
            cell(Design::Gateway, 2, 1, 100.0),
            cell(Design::Both, 1, 4, 30.0),
            cell(Design::Gateway, 1, 4, 120.0),
        ];
        let maps = surfaces(&cells);
        let [Figure::Heat(map)] = &maps[..] else { panic!("{maps:?}") };
        assert_eq!(map.rows.1, ["1", "2"]);
        assert_eq!(map.cells, [[None, Some(25.0)], [Some(50.0), None]]);
    }
}
