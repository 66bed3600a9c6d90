//! The targets: figures of cells, or quotients of them, and what they should at least be.

use natrig_bench::settings::kinds::{quoted, string};
use natrig_bench::settings::{Value, Wrong, nearest};

use crate::Settings;
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
    for flows in [Flows::One, Flows::Many] {
        for (claim, figure) in [
            ("latency p50 / nftables, at half its rate", Figure::LatencyP50),
            ("latency p99 / nftables, at half its rate", Figure::LatencyP99),
        ] {
            rows.push(against(claim, Bound::AtMost(1.0), figure, ring, kernel, pipelined, flows, Offer::Latency));
        }
    }
    rows.push(Row {
        claim: "memory, both layers, one core, Mpps",
        bound: Bound::AtLeast(10.0),
        figure: Figure::RateMpps,
        of: cell(What::BothMemory, one_core, many, Offer::FlatOut),
        over: None,
    });
    for (claim, way) in
        [("gateway, 1514-byte frames, Gbit/s", pipelined), ("the same, a chain on each core, Gbit/s", Way::TwoCores)]
    {
        let of = cell(What::RingLarge, way, Flows::One, Offer::FlatOut);
        rows.push(Row { claim, bound: Bound::AtLeast(40.0), figure: Figure::RateGbps, of, over: None });
    }
    let alone = |flows, offer| cell(What::FeedRing, one_core, flows, offer);
    rows.push(Row {
        claim: "generator's rate / with 1 flow",
        bound: Bound::AtLeast(0.8),
        figure: Figure::Rate,
        of: alone(Flows::Million, Offer::Alone),
        over: Some(alone(Flows::One, Offer::Alone)),
    });
    for (claim, what, offer) in [
        ("send lag p99.9 at half the generator's rate, µs", What::FeedRing, Offer::LagConstant),
        ("the same with Poisson arrivals, µs", What::FeedRing, Offer::LagPoisson),
        ("the same by AF_XDP, µs", What::FeedXdp, Offer::LagConstant),
        ("by AF_XDP with Poisson arrivals, µs", What::FeedXdp, Offer::LagPoisson),
        ("the same by sendmmsg, µs", What::FeedPacket, Offer::LagConstant),
        ("by sendmmsg with Poisson arrivals, µs", What::FeedPacket, Offer::LagPoisson),
    ] {
        let (bound, figure) = (Bound::AtMost(50.0), Figure::SendLagP999Us);
        rows.push(Row { claim, bound, figure, of: cell(what, one_core, many, offer), over: None });
    }
    rows
}

/// Those that the settings name, or all.
pub(crate) fn wanted(settings: &Settings) -> Vec<Row> {
    let named = |row: &Row| settings.targets.is_empty() || settings.targets.iter().any(|claim| claim == row.claim);
    rows().into_iter().filter(named).collect()
}

/// A setting that names rows by their claim.
pub(crate) fn claim(value: &Value<'_>) -> Result<String, Wrong> {
    const HELP: &str = "write a claim of the table of targets in quotes";
    let text = string(value, "a claim", HELP)?;
    let rows = rows();
    let claims = || rows.iter().map(|row| row.claim);
    if claims().any(|claim| claim == text) {
        return Ok(text.to_owned());
    }
    let help = nearest(text, claims()).map_or_else(|| HELP.to_owned(), |near| format!("did you mean \"{near}\"?"));
    Err(Wrong::new(format!("names no target: {}", quoted(text)), help))
}

/// What is measured without a target: what there is to compare with, and what is told beside.
fn beside() -> Vec<Cell> {
    let cell = |what, way, flows, offer| Cell { what, way, flows, offer };
    let mut cells = vec![
        cell(What::PacketBlocks, Way::Pipelined, Flows::Many, Offer::LossFree),
        cell(What::BothMemory, Way::TwoCores, Flows::Many, Offer::FlatOut),
    ];
    cells.extend([Way::OneCore, Way::Pipelined].map(|way| cell(What::RingAnswered, way, Flows::One, Offer::RoundTrip)));
    cells
}

/// What has to be measured for them, each once; what others build on comes first.
pub(crate) fn cells(settings: &Settings) -> Vec<Cell> {
    let mut cells: Vec<Cell> = Vec::new();
    let mut measured: Vec<Cell> = wanted(settings).iter().flat_map(|row| [Some(row.of), row.over]).flatten().collect();
    if settings.targets.is_empty() {
        measured.extend(beside());
    }
    let others: Vec<Cell> = measured.iter().flat_map(|cell| [cell.paced_by(), cell.lag_floor()]).flatten().collect();
    measured.extend(others);
    let feeds = measured.iter().filter_map(Cell::feed);
    for cell in measured.iter().copied().chain(feeds) {
        if !cells.contains(&cell) {
            cells.push(cell);
        }
    }
    cells.sort_by_key(|cell| cell.paced_by().is_some());
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_by_a_rate_comes_after_it() {
        let cells = cells(&Settings::new());
        for (at, cell) in cells.iter().enumerate() {
            if let Some(paced_by) = cell.paced_by() {
                let rate = cells.iter().position(|other| *other == paced_by);
                assert!(rate.is_some_and(|rate| rate < at), "{cell:?}");
            }
        }
    }

    #[test]
    fn quotients_are_of_like_and_like() {
        for row in rows() {
            if let Some(over) = row.over {
                assert_eq!((row.of.way, row.of.offer), (over.way, over.offer), "{row:?}");
                assert_ne!(row.of.what == over.what, row.of.flows == over.flows, "{row:?}");
            }
        }
    }
}
