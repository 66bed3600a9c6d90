//! The targets: figures of cells, or quotients of them, and what they should at least be.

use crate::cells::{Cell, Flows, Offer, Way, What};
use crate::record::Figure;

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// What is claimed.
    pub(crate) claim: &'static str,
    /// How much it should be at least, or at most.
    pub(crate) bound: Bound,
    /// Of what.
    pub(crate) figure: Figure,
    /// In which cell.
    pub(crate) of: Cell,
    /// Over the same figure of this cell; none: the figure itself.
    pub(crate) over: Option<Cell>,
}

/// Which side of a number is good.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// All rows.
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let cell = |what, way, flows, offer| Cell { what, way, flows, offer };
    for flows in [Flows::One, Flows::Many] {
        let mut ratio = |claim, bound, what, against, way, offer| {
            let (of, over) = (cell(what, way, flows, offer), Some(cell(against, way, flows, offer)));
            rows.push(Row { claim, bound: Bound::AtLeast(bound), figure: Figure::Rate, of, over });
        };
        ratio("userspace gateway / nftables", 8.0, What::Ring, What::Kernel, Way::Pipelined, Offer::LossFree);
        ratio("run to completion / nftables inline", 4.0, What::Ring, What::Kernel, Way::OneCore, Offer::FlatOut);
        ratio("the same on two cores", 4.0, What::Ring, What::Kernel, Way::TwoCores, Offer::FlatOut);
        let (ours, kernel) = (What::BothRing, What::BothKernel);
        ratio("both layers / nftables at both", 6.0, ours, kernel, Way::Pipelined, Offer::LossFree);
        ratio("AF_XDP / nftables", 1.2, What::Xdp, What::Kernel, Way::Pipelined, Offer::LossFree);
        let (ours, kernel) = (What::Packet, What::KernelByPacket);
        ratio("rootless (AF_PACKET) / nftables", 1.0, ours, kernel, Way::Pipelined, Offer::LossFree);
    }
    let against = |claim, bound, figure, what, against, way, flows, offer| Row {
        claim,
        bound,
        figure,
        of: cell(what, way, flows, offer),
        over: Some(cell(against, way, flows, offer)),
    };
    let (pipelined, one_core) = (Way::Pipelined, Way::OneCore);
    let (ring, kernel) = (What::Ring, What::Kernel);
    rows.push(against(
        "userspace gateway / XDP redirect, flat out",
        Bound::AtLeast(0.6),
        Figure::Rate,
        ring,
        What::Redirect,
        pipelined,
        Flows::One,
        Offer::FlatOut,
    ));
    let new_flows = "new flows a second / nftables";
    let many = Flows::Many;
    rows.push(against(new_flows, Bound::AtLeast(5.0), Figure::Rate, ring, kernel, one_core, many, Offer::NewFlows));
    for (claim, figure) in [
        ("latency p50 / nftables, at half its rate", Figure::LatencyP50),
        ("latency p99 / nftables, at half its rate", Figure::LatencyP99),
    ] {
        rows.push(against(claim, Bound::AtMost(1.0), figure, ring, kernel, pipelined, Flows::One, Offer::Latency));
    }
    rows.push(Row {
        claim: "memory, both layers, one core, Mpps",
        bound: Bound::AtLeast(10.0),
        figure: Figure::RateMpps,
        of: cell(What::BothMemory, one_core, many, Offer::FlatOut),
        over: None,
    });
    rows.push(Row {
        claim: "gateway, 1514-byte frames, Gbit/s",
        bound: Bound::AtLeast(40.0),
        figure: Figure::RateGbps,
        of: cell(What::RingLarge, pipelined, Flows::One, Offer::FlatOut),
        over: None,
    });
    rows
}

/// What has to be measured for them, each once; what others build on comes first.
pub(crate) fn cells() -> Vec<Cell> {
    let mut cells: Vec<Cell> = Vec::new();
    for cell in rows().iter().flat_map(|row| [Some(row.of), row.over]).flatten() {
        if !cells.contains(&cell) {
            cells.push(cell);
        }
    }
    cells.sort_by_key(|cell| cell.offer == Offer::Latency);
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_has_a_rate_to_be_measured_at() {
        let cells = cells();
        let without_loss = |cell: &Cell| {
            let rate = Cell { what: What::Kernel, offer: Offer::LossFree, ..*cell };
            cells.iter().position(|other| *other == rate)
        };
        for (at, cell) in cells.iter().enumerate().filter(|(_, cell)| cell.offer == Offer::Latency) {
            assert!(without_loss(cell).is_some_and(|rate| rate < at), "{cell:?}");
        }
    }

    #[test]
    fn quotients_are_of_like_and_like() {
        for row in rows() {
            if let Some(over) = row.over {
                assert_eq!((row.of.way, row.of.flows, row.of.offer), (over.way, over.flows, over.offer), "{row:?}");
                assert_ne!(row.of.what, over.what);
            }
        }
    }
}
