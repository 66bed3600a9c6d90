//! What each design does: rate, time per packet, latency, frames lost.

use natrig_bench::result::{DesignSummary, Interval, RunResult};
use natrig_bench::scenario::{Design, FrameSize, Lineup, Rate};

use crate::digest::{Cell, Loss, cells, intervals, part};
use crate::numbers::{ABSENT, Quantity, Scale, Unit, count, figure, percent, setting};

/// All designs at a frame size.
#[derive(Debug)]
pub(crate) struct DesignTable {
    pub lineup: Lineup,
    pub frame_size: FrameSize,
    /// Which of several tables it is.
    pub part: String,
    /// On which processors the time per packet was spent.
    pub times_on: &'static str,
    /// What the rate is, in two halves: `highest rate` `without loss`, `rate delivered` `of 100 kpps`.
    pub rate_is: [String; 2],
    pub rate_unit: &'static str,
    pub latency_unit: &'static str,
    pub rows: Vec<DesignRow>,
    /// Marks that rows need: a word, and what it means for which design.
    pub remarks: Vec<(&'static str, String)>,
    /// What kind of figures: `medians, 94 % intervals from 5 rounds`.
    pub source: String,
    measured: bool,
}

/// A design.
#[derive(Debug)]
pub(crate) struct DesignRow {
    pub design: Design,
    /// With `≥` before it where the generator was the limit.
    pub rate: String,
    /// Its interval.
    pub rate_range: String,
    pub bound: bool,
    pub ns_per_packet: String,
    /// Of that, deciding and rewriting.
    pub ns_per_packet_process: String,
    pub latency: [String; 3],
    pub lost: String,
    pub wrong: String,
    pub any_lost: bool,
    pub any_wrong: bool,
}

impl DesignTable {
    /// A table for each frame size, in the order of the result.
    pub(crate) fn all(result: &RunResult) -> Vec<Self> {
        let cells = cells(result);
        let place = |cell: &Cell<'_>| (cell.summary.engines, cell.summary.frame_size);
        let mut places: Vec<(Lineup, FrameSize)> = cells.iter().map(place).collect();
        places.dedup();
        let of = |at: &(Lineup, FrameSize)| {
            let here: Vec<&Cell<'_>> = cells.iter().filter(|cell| place(cell) == *at).collect();
            Self::of(result, *at, &here)
        };
        places.iter().map(of).collect()
    }

    /// True if any row has a figure.
    pub(crate) fn is_measured(&self) -> bool {
        self.measured
    }

    fn of(result: &RunResult, (lineup, frame_size): (Lineup, FrameSize), cells: &[&Cell<'_>]) -> Self {
        // Where the kernel forwards at both layers, no core is the layers' alone.
        let on_all = cells.iter().all(|cell| cell.summary.ns_per_packet.is_none());
        let time = |cell: &'_ DesignSummary| if on_all { cell.cpu_ns_per_packet } else { cell.ns_per_packet };
        let all_times: Vec<Interval> = cells.iter().filter_map(|cell| time(cell.summary)).collect();
        let rates = Column::new(Quantity::Rate, cells.iter().filter_map(|cell| cell.summary.rate_pps.as_ref()));
        let times = Column::in_nanoseconds(all_times.iter());
        let process =
            Column::in_nanoseconds(cells.iter().filter_map(|cell| cell.summary.process_ns_per_packet.as_ref()));
        let latencies = |cell: &Cell<'_>| {
            let summary = cell.summary;
            [summary.latency_ns_p50, summary.latency_ns_p99, summary.latency_ns_p999]
        };
        let all: Vec<[Option<Interval>; 3]> = cells.iter().map(|cell| latencies(cell)).collect();
        let latency_unit = Quantity::Time.unit(all.iter().flatten().flatten().map(|interval| interval.median));
        let latency = [0, 1, 2].map(|column| Column {
            scale: Scale::of_column(latency_unit, all.iter().filter_map(|row| row[column].as_ref())),
        });
        let row = |cell: &&Cell<'_>| {
            let summary = cell.summary;
            let bound = cell.generator_bound().is_some();
            let loss = cell.loss();
            DesignRow {
                design: cell.design(),
                rate: format!("{}{}", if bound { "≥ " } else { "" }, rates.median(summary.rate_pps.as_ref())),
                rate_range: rates.range(summary.rate_pps.as_ref()),
                bound,
                ns_per_packet: times.median(time(summary).as_ref()),
                ns_per_packet_process: process.median(summary.process_ns_per_packet.as_ref()),
                latency: {
                    let own = latencies(cell);
                    [0, 1, 2].map(|column| latency[column].median(own[column].as_ref()))
                },
                lost: loss.map_or_else(|| ABSENT.to_owned(), lost),
                wrong: count(cell.wrong()),
                any_lost: loss.is_some_and(|loss| loss.lost != 0),
                any_wrong: cell.wrong() > 0,
            }
        };
        Self {
            lineup,
            frame_size,
            part: part(result, lineup, frame_size),
            times_on: if on_all && !all_times.is_empty() { "all cores" } else { "layers' core" },
            rate_is: match result.scenario.measure.rate {
                Rate::Search(_) | Rate::Mlrsearch(_) => ["highest rate", "without loss"].map(str::to_owned),
                Rate::FixedPps(pps) => {
                    ["rate delivered".to_owned(), format!("of {}", setting(Quantity::Rate, f64::from(pps)))]
                }
            },
            rate_unit: rates.scale.unit.name,
            latency_unit: latency_unit.name,
            rows: cells.iter().map(row).collect(),
            remarks: remarks(cells),
            source: match intervals(cells.iter().filter_map(|cell| cell.summary.rate_pps.as_ref())) {
                Some(kind) => format!("medians, {kind}"),
                None => "one round, so no intervals".to_owned(),
            },
            measured: cells.iter().any(|cell| cell.is_measured()),
        }
    }
}

/// Figures of one kind, written alike.
#[derive(Debug, Clone, Copy)]
struct Column {
    scale: Scale,
}

impl Column {
    fn new<'a>(quantity: Quantity, intervals: impl Iterator<Item = &'a Interval> + Clone) -> Self {
        let unit = quantity.unit(intervals.clone().map(|interval| interval.median));
        Self { scale: Scale::of_column(unit, intervals) }
    }

    fn in_nanoseconds<'a>(intervals: impl Iterator<Item = &'a Interval> + Clone) -> Self {
        Self { scale: Scale::of_column(Unit::NANOSECOND, intervals) }
    }

    fn median(&self, interval: Option<&Interval>) -> String {
        interval.map_or_else(|| ABSENT.to_owned(), |interval| self.scale.number(interval.median))
    }

    /// Empty for a single round, which has no interval.
    fn range(&self, interval: Option<&Interval>) -> String {
        match interval {
            Some(interval) if interval.rounds > 1 => {
                format!("{} to {}", self.scale.number(interval.low), self.scale.number(interval.high))
            }
            _ => String::new(),
        }
    }
}

fn remarks(cells: &[&Cell<'_>]) -> Vec<(&'static str, String)> {
    let mut remarks = Vec::new();
    for cell in cells {
        if let Some(words) = cell.generator_words() {
            remarks.push(("GENERATOR-BOUND", words));
        }
        if let Some(saturated) = cell.saturated() {
            remarks.push((
                "SATURATED",
                format!(
                    "{}: offered {}, achieved {}, delivered {}",
                    cell.name,
                    figure(Quantity::Rate, saturated.offered_pps),
                    figure(Quantity::Rate, saturated.achieved_pps),
                    figure(Quantity::Rate, saturated.delivered_pps)
                ),
            ));
        }
        if let Some(Loss { lost, sent }) = cell.latency_loss().filter(|loss| loss.lost > 0) {
            let (lost, sent) = (count(lost), count(sent));
            let words = format!(
                "{}: latency trials lost {lost} of {sent} frames; latencies are those of the others",
                cell.name
            );
            remarks.push(("LOSSY", words));
        }
    }
    remarks
}

fn lost(loss: Loss) -> String {
    // As a number where it is short, as a share where it is not: the remark below the table has both.
    if loss.lost < 10_000 || loss.sent == 0 { count(loss.lost) } else { percent(loss.lost as f64 / loss.sent as f64) }
}
