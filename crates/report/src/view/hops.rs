//! Where frames spend their time on the way, where the slowest lost theirs, and what knowing that costs.

use natrig_bench::result::{Hops, Independent, Leg, NO_TAP, Quantiles, RunResult, StampCost, Tap};
use natrig_bench::scenario::{Engine, Lineup};
use natrig_bench::stats::Verdict;

use crate::compare;
use crate::digest::{cells, frames, full_name};
use crate::document::{Align, Block, Document, Table};
use crate::numbers::{ABSENT, Quantity, count, figure, percent};

/// Nothing where no frame was stamped.
pub(crate) fn document(result: &RunResult) -> Document {
    let mut document = Document::default();
    let cells = cells(result);
    let stamped = cells.iter().filter_map(|cell| Some((full_name(result, cell), cell.summary.hops.as_ref()?)));
    let stamped: Vec<(String, &Hops)> = stamped.collect();
    if !stamped.is_empty() {
        document.heading("Where the time goes");
        document.push(Block::Table(legs(&stamped)));
        let tails = stamped.iter().filter_map(|(name, hops)| tail(name, hops));
        let lineups = cells.iter().filter(|cell| cell.summary.hops.is_some()).map(|cell| cell.summary.engines);
        let untapped = untapped(lineups.zip(&stamped), &result.environment.link.notes);
        document.bullets(tails.chain(untapped).collect());
    }
    document.blocks.extend(compare::engines(result).blocks);
    document.blocks.extend(compare::sequential(result).blocks);
    document.blocks.extend(compare::aa(result).blocks);
    document.blocks.extend(result.stamp_costs.iter().map(|cost| Block::Text(stamps(cost))));
    let together: Vec<(String, &Independent)> = result
        .costs
        .iter()
        .filter_map(|costs| {
            Some((format!("{}, {}", costs.engines, frames(costs.frame_size)), costs.independent.as_ref()?))
        })
        .collect();
    if !together.is_empty() {
        document.heading("Both layers, and what they would be if they knew nothing of each other");
        document.push(Block::Table(convolved(&together)));
    }
    document
}

fn legs(stamped: &[(String, &Hops)]) -> Table {
    let mut table = Table::new([
        ("design", Align::Left),
        ("from", Align::Left),
        ("to", Align::Left),
        ("p50", Align::Right),
        ("p99", Align::Right),
        ("p99.9", Align::Right),
        ("share of the tail", Align::Right),
    ]);
    for (name, hops) in stamped {
        for (index, leg) in hops.legs.iter().enumerate() {
            let Leg { from, to, time, tail_share } = leg;
            table.row([
                if index == 0 { name.clone() } else { String::new() },
                tap(*from).to_owned(),
                tap(*to).to_owned(),
                time_or_absent(time.ns_p50),
                time_or_absent(time.ns_p99),
                time_or_absent(time.ns_p999),
                tail_share.map_or_else(|| ABSENT.to_owned(), |share| percent((share * 1e3).round() / 1e3)),
            ]);
        }
    }
    let one_in = stamped.iter().map(|(_, hops)| hops.one_in).max().unwrap_or(1);
    let which = if one_in == 1 { "every frame".to_owned() } else { format!("at least one frame in {one_in}") };
    table.note = format!(
        "One way, one clock; of {which} in the latency trials. A stamp is that of the burst a frame came in, where the kernel forwards that \
         of the frame; waiting in a receive ring belongs to the leg that ends there."
    );
    table
}

fn tail(name: &str, hops: &Hops) -> Option<String> {
    let tail = hops.tail?;
    let worst = hops.legs.iter().max_by(|a, b| a.tail_share.unwrap_or(0.0).total_cmp(&b.tail_share.unwrap_or(0.0)))?;
    let share = worst.tail_share?;
    Some(format!(
        "{name}: the {} frames at or above p{} ({}) lost {} of their time above the ordinary between “{}” and “{}”",
        count(tail.frames),
        tail.quantile * 100.0,
        figure(Quantity::Time, tail.from_ns as f64),
        percent((share * 100.0).round() / 100.0),
        tap(worst.from),
        tap(worst.to)
    ))
}

/// Legs that lead across boxes without taps, and why these have none: that is among the notes on links.
fn untapped<'a>(stamped: impl Iterator<Item = (Lineup, &'a (String, &'a Hops))>, notes: &[String]) -> Vec<String> {
    let mut legs: Vec<(String, Vec<&str>)> = Vec::new();
    for (lineup, (name, hops)) in stamped {
        for Leg { from, to, .. } in &hops.legs {
            let across = match (from, to) {
                (Tap::Sent, Tap::Received) if lineup.node == Engine::Absent => "the gateway",
                (Tap::Sent, Tap::Received) => "node and gateway",
                (Tap::Sent, Tap::GatewayIn) if lineup.node != Engine::Absent => "the node",
                (Tap::NodeOut, Tap::Received) => "the gateway",
                _ => continue,
            };
            let leg =
                format!("no tap at {across}: the time there is in the leg from “{}” to “{}”", tap(*from), tap(*to));
            match legs.iter_mut().find(|(known, _)| *known == leg) {
                Some((_, names)) => names.push(name),
                None => legs.push((leg, vec![name])),
            }
        }
    }
    let said = |(leg, names): (String, Vec<&str>)| {
        format!("{}: {leg}; the kernel forwards there, and no program of natrig's stamps its frames", names.join(", "))
    };
    let why = notes.iter().filter(|note| !legs.is_empty() && note.starts_with(NO_TAP)).cloned();
    let why: Vec<String> = why.collect();
    legs.into_iter().map(said).chain(why).collect()
}

fn tap(tap: Tap) -> &'static str {
    match tap {
        Tap::Intended => "intended",
        Tap::Sent => "sent",
        Tap::NodeIn => "into the node",
        Tap::NodeOut => "out of the node",
        Tap::GatewayIn => "into the gateway",
        Tap::GatewayOut => "out of the gateway",
        Tap::Received => "received",
    }
}

fn stamps(cost: &StampCost) -> String {
    let ratio = &cost.ratio;
    let change = |ratio: f64| format!("{:+.1} %", (ratio - 1.0) * 100.0).replace('-', "−");
    let verdict = match ratio.verdict {
        Verdict::Equal { within } => format!("less than {}", percent(within)),
        Verdict::Worse { .. } => "more than nothing".to_owned(),
        Verdict::Better { .. } => "less than nothing: noise".to_owned(),
        Verdict::Inconclusive { detectable: Some(change) } => {
            format!("not told from nothing; {} would have been seen", percent((change * 1e3).round() / 1e3))
        }
        Verdict::Inconclusive { detectable: None } => "too few pairs to tell".to_owned(),
    };
    format!(
        "What the stamps cost ({}, design {}, {}): {} of processor time per frame ({} to {}), from {} pairs of trials with and without: {verdict}.",
        cost.engines,
        cost.design,
        frames(cost.frame_size),
        change(ratio.ratio),
        change(ratio.interval.low),
        change(ratio.interval.high),
        ratio.blocks
    )
}

fn convolved(together: &[(String, &Independent)]) -> Table {
    let mut table = Table::new([
        ("latency of both", Align::Left),
        ("p50", Align::Right),
        ("p99", Align::Right),
        ("p99.9", Align::Right),
    ]);
    let row = |what: String, quantiles: &Quantiles| {
        [what, time_or_absent(quantiles.ns_p50), time_or_absent(quantiles.ns_p99), time_or_absent(quantiles.ns_p999)]
    };
    for (name, independent) in together {
        table.row(row(format!("{name}: measured"), &independent.measured));
        table.row(row("convolution of node and gateway".to_owned(), &independent.predicted));
    }
    table.note = "Percentiles do not add; distributions do, by convolution. What is measured beyond it is dependence: the two layers \
                  slow down together. The median of design none, which both contain, is taken off once."
        .to_owned();
    table
}

fn time_or_absent(ns: Option<u64>) -> String {
    ns.map_or_else(|| ABSENT.to_owned(), |ns| figure(Quantity::Time, ns as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hops(way: &[Tap]) -> Hops {
        let leg = |pair: &[Tap]| Leg { from: pair[0], to: pair[1], time: Quantiles::default(), tail_share: None };
        Hops { one_in: 1, samples: 1, legs: way.windows(2).map(leg).collect(), tail: None }
    }

    #[test]
    fn boxes_without_taps_are_told_with_the_reason() {
        use Tap::{GatewayIn, GatewayOut, Intended, NodeIn, NodeOut, Received, Sent};
        let lineup = Lineup { node: Engine::Userspace, gateway: Engine::Nftables };
        let notes = ["processors may sleep".to_owned(), format!("{NO_TAP} gateway: not permitted")];
        let told = |way: &[Tap]| {
            let hops = hops(way);
            let stamped = [("none".to_owned(), &hops), ("both".to_owned(), &hops)];
            untapped(stamped.iter().map(|stamped| (lineup, stamped)), &notes)
        };
        let [leg, why] = &told(&[Intended, Sent, NodeIn, NodeOut, Received])[..] else { panic!("two lines") };
        assert!(
            leg.starts_with("none, both: no tap at the gateway") && leg.contains("“out of the node” to “received”")
        );
        assert_eq!(*why, notes[1]);
        assert!(told(&[Intended, Sent, NodeIn, NodeOut, GatewayIn, GatewayOut, Received]).is_empty());
    }
}
