//! Two layers out of step, and their ports against each other.

use natrig_bench::scenario::Design;
use natrig_bench::test::RecordOf;
use natrig_report::document::{Align, Block, Document, Table};

use super::words::{figure, percent, whole, whole_or_dash};
use crate::Exhaustion;
use crate::observe::Layer;
use crate::result::{LayersCell, Measured, Outcomes, SkewResult};
use crate::scenario::Experiment;

/// Timeouts against each other.
pub(super) fn skews(document: &mut Document, measured: &Measured) {
    if measured.skews.is_empty() {
        return;
    }
    document.heading("Connections that are idle between two layers");
    let (left, right) = (Align::Left, Align::Right);
    let mut table = Table::new([
        ("setup", left),
        ("node, s", right),
        ("gateway, s", right),
        ("alive", right),
        ("reset", right),
        ("remapped, then reset", right),
        ("black-holed", right),
        ("black hole after, s", left),
        ("outlived at node/gateway", right),
    ]);
    for skew in &measured.skews {
        let both = |of: fn(&Outcomes) -> u64| format!("{} + {}", of(&skew.pod_speaks), of(&skew.server_speaks));
        table.row([
            skew.setup.to_string(),
            skew.node_s.to_string(),
            skew.gateway_s.to_string(),
            both(|outcomes| outcomes.alive),
            both(|outcomes| outcomes.reset),
            both(|outcomes| outcomes.remapped),
            both(|outcomes| outcomes.black_holed),
            skew.black_hole_s.map_or_else(super::words::dash, |(from, to)| {
                format!("{} to {}", figure(Some(from)), figure(Some(to)))
            }),
            format!("{} / {}", skew.outlived_at_node, skew.outlived_at_gateway),
        ]);
    }
    table.note = "Pod speaks first + server speaks first. Outlived: most mappings at one layer whose other half was gone. Idle times run \
                  to a quarter beyond the longer timeout."
        .to_owned();
    document.push(Block::Table(table));
    let strayed: u64 =
        measured.skews.iter().map(|skew| skew.pod_speaks.misdelivered + skew.server_speaks.misdelivered).sum();
    if strayed > 0 {
        document.push(Block::Alarm("MISDELIVERED".to_owned(), format!("{strayed} times another pod was reached")));
    }
    let worst = measured.skews.iter().max_by_key(|skew| skew.pod_speaks.black_holed + skew.server_speaks.black_holed);
    if let Some(skew) = worst {
        document.text(format!(
            "One of the worst, with {} s at the node and {} s at the gateway ({}):",
            skew.node_s, skew.gateway_s, skew.setup
        ));
        document.push(Block::Verbatim(timeline(skew)));
    }
}

fn timeline(skew: &SkewResult) -> String {
    skew.timeline.iter().map(|event| format!("{:>9.1} s  {}\n", event.at_s, event.what)).collect()
}

/// Ports that come back.
pub(super) fn reuses(document: &mut Document, measured: &Measured) {
    if measured.reuses.is_empty() {
        return;
    }
    document.heading("Ports that come back before the far end forgot them");
    let (left, right) = (Align::Left, Align::Right);
    let mut table = Table::new([
        ("setup", left),
        ("connections", right),
        ("reused a tuple", right),
        ("within 120 s", right),
        ("in TIME_WAIT", right),
        ("still open", right),
        ("shortest, s", right),
        ("refused", right),
    ]);
    for reuse in &measured.reuses {
        let far = &reuse.far_end;
        table.row([
            reuse.setup.to_string(),
            whole(far.connections as f64),
            whole(far.reused as f64),
            whole(far.within_120_s as f64),
            whole(far.in_time_wait as f64),
            whole(far.while_open as f64),
            figure(far.shortest_s),
            whole(reuse.refused as f64),
        ]);
    }
    table.note = "RFC 6888 REQ-8 asks that a port is not given again for 120 s, with exceptions; a server that still has the tuple in \
                  TIME_WAIT may answer a new connection on it with a challenge or a reset."
        .to_owned();
    document.push(Block::Table(table));
}

/// A point in its three designs.
struct Triple<'a> {
    node: &'a LayersCell,
    gateway: &'a LayersCell,
    both: &'a LayersCell,
}

impl Triple<'_> {
    /// Flows with both layers over flows with the gateway alone.
    fn cost(&self) -> Option<f64> {
        Some(self.both.flows? / self.gateway.flows.filter(|flows| *flows > 0.0)?)
    }
}

fn triples(cells: &[LayersCell]) -> Vec<Triple<'_>> {
    let same = |a: &LayersCell, b: &LayersCell| {
        let point = |cell: &LayersCell| (cell.nodes, cell.node_ports, cell.gateway_addresses, cell.skew.to_bits());
        a.setup == b.setup && point(a) == point(b)
    };
    let both = cells.iter().filter(|cell| cell.design == Design::Both);
    both.filter_map(|both| {
        let of = |design| cells.iter().find(|cell| cell.design == design && same(cell, both));
        Some(Triple { node: of(Design::Node)?, gateway: of(Design::Gateway)?, both })
    })
    .collect()
}

/// The surface, and the sentence that it comes to.
pub(super) fn surface(document: &mut Document, record: &RecordOf<Exhaustion>) {
    let Experiment::BothLayers(settings) = &record.scenario.experiment else { return };
    let triples = triples(&record.measured.cells);
    if triples.is_empty() {
        return;
    }
    document.heading("Which layer's ports run out");
    document.text(sentence(&triples));
    document.text("The maps show the flows with both layers as a share of those with the gateway alone.");
    for map in super::figures::surfaces(&record.measured.cells) {
        document.push(Block::Figure(map));
    }
    let (left, right) = (Align::Left, Align::Right);
    let mut table = Table::new([
        ("setup", left),
        ("skew", right),
        ("nodes", right),
        ("ports a node", right),
        ("gateway addresses", right),
        ("node alone", right),
        ("gateway alone", right),
        ("both", right),
        ("both/gateway", right),
        ("binds", left),
        ("refused by the node", right),
    ]);
    for Triple { node, gateway, both } in &triples {
        let [by_node, by_gateway] = both.refused;
        table.row([
            both.setup.to_string(),
            format!("{:.1}", both.skew),
            both.nodes.to_string(),
            whole(f64::from(both.node_ports)),
            both.gateway_addresses.to_string(),
            whole_or_dash(node.flows),
            whole_or_dash(gateway.flows),
            whole_or_dash(both.flows),
            Triple { node, gateway, both }.cost().map_or_else(super::words::dash, percent),
            both.binds.map_or_else(super::words::dash, |layer| layer.to_string()),
            super::words::percent_or_dash(super::words::part(by_node, by_node + by_gateway)),
        ]);
    }
    table.note = format!("Concurrent flows at which {} of attempts are refused.", percent(settings.at_refused));
    document.push(Block::Table(table));
}

fn sentence(triples: &[Triple<'_>]) -> String {
    let binds = |layer| triples.iter().filter(|triple| triple.both.binds == Some(layer)).count();
    let mut costs: Vec<f64> = triples.iter().filter_map(Triple::cost).map(|cost| cost - 1.0).collect();
    costs.sort_by(f64::total_cmp);
    let count = |of: fn(&f64) -> bool| costs.iter().filter(|cost| of(cost)).count();
    // Less is the noise of which ports happen to collide.
    let (cost, save) = (count(|cost| *cost < -0.02), count(|cost| *cost > 0.02));
    let range = match (costs.first(), costs.last()) {
        (Some(least), Some(most)) => format!(" (from {:+.0} % to {:+.0} %)", least * 100.0, most * 100.0),
        _ => String::new(),
    };
    format!(
        "Of {} points the node's ports bind in {} and the gateway's in {}. Against the gateway alone, double NAT costs usable ports in \
         {cost}, saves some in {save}, and makes no difference in the other {}{range}.",
        triples.len(),
        binds(Layer::Node),
        binds(Layer::Gateway),
        costs.len() - cost - save
    )
}
