//! Latency under load: established flows and new ones apart, the machine's own noise beside them.

use natrig_bench::result::{LoadLatency, Quantiles, RunResult};
use natrig_bench::scenario::{Design, FrameSize, Lineup};
use natrig_bench::stats;

use crate::digest::{design_name, part};
use crate::document::{Align, Block, Document, Table};
use crate::numbers::{ABSENT, Quantity, count, counted, figure, list, percent};

/// All loads, medians over rounds; nothing where none were asked for.
pub(crate) fn document(result: &RunResult) -> Document {
    let mut document = Document::default();
    let mut worlds: Vec<(Lineup, FrameSize)> =
        result.loads.iter().map(|load| (load.engines, load.frame_size)).collect();
    worlds.sort_by_key(|world| result.designs.iter().position(|cell| (cell.engines, cell.frame_size) == *world));
    worlds.dedup();
    for (lineup, size) in worlds {
        let here: Vec<&LoadLatency> =
            result.loads.iter().filter(|load| (load.engines, load.frame_size) == (lineup, size)).collect();
        document.heading(format!("Latency under load{}", part(result, lineup, size)));
        let cells = cells(result, &here);
        document.push(Block::Table(table(&cells)));
        if let Some(floor) = cells.iter().find(|cell| cell.design == Design::None && cell.load == 0.0) {
            let [p50, p99, p999] = floor.percentiles(|load| &load.established.intended_to_received);
            document.text(format!(
                "Noise floor, no NAT and idle: p50 {p50}, p99 {p99}, p99.9 {p999}. No tail below it can be told."
            ));
        }
        saturated(result, &cells, &mut document);
        let missing: Vec<String> = cells
            .iter()
            .filter(|cell| cell.rounds.is_empty())
            .map(|cell| format!("{} at {}", design_name(result, lineup, cell.design), load_name(cell.load)))
            .collect();
        if !missing.is_empty() {
            document.text(format!("No trial counted: {}.", list(&missing)));
        }
    }
    document
}

/// A design at a load, in all rounds that have it.
struct Cell<'a> {
    design: Design,
    load: f64,
    rounds: Vec<&'a LoadLatency>,
}

impl Cell<'_> {
    fn median(&self, of: impl Fn(&LoadLatency) -> Option<f64>) -> Option<f64> {
        stats::median(&self.rounds.iter().filter_map(|load| of(load)).collect::<Vec<f64>>())
    }

    fn percentiles(&self, of: fn(&LoadLatency) -> &Quantiles) -> [String; 3] {
        let one = |value: fn(&Quantiles) -> Option<u64>| time(self.median(|load| value(of(load)).map(|ns| ns as f64)));
        [one(|quantiles| quantiles.ns_p50), one(|quantiles| quantiles.ns_p99), one(|quantiles| quantiles.ns_p999)]
    }
}

fn cells<'a>(result: &RunResult, here: &[&'a LoadLatency]) -> Vec<Cell<'a>> {
    let loads = &result.scenario.measure.latency_loads;
    let cell = |design: Design, load: f64| Cell {
        design,
        load,
        rounds: here.iter().copied().filter(|other| other.design == design && other.load == load).collect(),
    };
    result.scenario.designs.iter().flat_map(|design| loads.iter().map(move |load| cell(*design, *load))).collect()
}

fn table(cells: &[Cell<'_>]) -> Table {
    let mut table = Table::new([
        ("NAT at", Align::Left),
        ("load", Align::Right),
        ("established p50", Align::Right),
        ("p99", Align::Right),
        ("p99.9", Align::Right),
        ("new flows p50", Align::Right),
        ("p99", Align::Right),
        ("p99.9", Align::Right),
        ("send lag p99", Align::Right),
    ]);
    for cell in cells {
        let established = cell.percentiles(|load| &load.established.intended_to_received);
        let new = cell.percentiles(|load| &load.new.intended_to_received);
        let lag = time(cell.median(|load| load.established.send_lag.ns_p99.map(|ns| ns as f64)));
        let row = established.into_iter().chain(new).chain([lag]);
        table.row([cell.design.to_string(), load_name(cell.load)].into_iter().chain(row));
    }
    let rounds = cells.iter().map(|cell| cell.rounds.len()).max().unwrap_or(0);
    let new = cells.iter().flat_map(|cell| &cell.rounds).map(|load| load.new.intended_to_received.samples).max();
    table.note = format!(
        "Medians of {}, from intended send times; {ABSENT} where the sample is too small for the percentile. Every load begins with fresh \
         tables; a new flow is one whose first frame comes while the others run (at most {} in a trial). Send lag is the tester's own \
         part.",
        counted(rounds as u64, "round"),
        count(new.unwrap_or(0))
    );
    table
}

fn saturated(result: &RunResult, cells: &[Cell<'_>], document: &mut Document) {
    for cell in cells {
        let full = cell.rounds.iter().filter(|load| load.saturated).count();
        let Some(first) = cell.rounds.first().filter(|_| full > 0) else { continue };
        let rate = |of: fn(&LoadLatency) -> f64| {
            cell.median(|load| Some(of(load))).map_or_else(|| ABSENT.to_owned(), |pps| figure(Quantity::Rate, pps))
        };
        let words = format!(
            "{} at {} ({full} of {}): offered {}, achieved {}, delivered {}",
            design_name(result, first.engines, cell.design),
            percent(cell.load),
            counted(cell.rounds.len() as u64, "round"),
            rate(|load| load.rate_pps_offered),
            rate(|load| load.rate_pps_achieved),
            rate(|load| load.rate_pps_delivered)
        );
        document.push(Block::Alarm("SATURATED".to_owned(), words));
    }
}

fn load_name(load: f64) -> String {
    if load > 0.0 { percent(load) } else { "idle".to_owned() }
}

fn time(ns: Option<f64>) -> String {
    ns.map_or_else(|| ABSENT.to_owned(), |ns| figure(Quantity::Time, ns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use natrig_bench::result::Latencies;

    fn load(round: u32, p50: u64, saturated: bool) -> LoadLatency {
        let few = Quantiles { samples: 600, ns_p50: Some(p50), ns_p99: Some(20_000), ..Quantiles::default() };
        let latencies = Latencies { intended_to_received: few, ..Latencies::default() };
        LoadLatency {
            round,
            engines: Lineup::USERSPACE,
            design: Design::None,
            frame_size: FrameSize::Bytes(64),
            trial: round,
            load: 1.1,
            rate_pps_offered: 1e6,
            rate_pps_achieved: 1e6,
            rate_pps_delivered: 9e5,
            saturated,
            established: latencies,
            new: latencies,
        }
    }

    #[test]
    fn a_cell_is_the_median_of_its_rounds_and_says_only_what_the_sample_supports() {
        let loads = [load(1, 1000, false), load(2, 3000, true), load(3, 2000, true)];
        let cell = Cell { design: Design::None, load: 1.1, rounds: loads.iter().collect() };
        let [p50, p99, p999] = cell.percentiles(|load| &load.established.intended_to_received);
        assert_eq!(p50, figure(Quantity::Time, 2000.0));
        assert!(p99 != ABSENT && p999 == ABSENT);
    }
}
