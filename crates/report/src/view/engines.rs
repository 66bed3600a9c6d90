//! Engines side by side: by what factor one's figures differ from another's.

use natrig_bench::result::{EngineComparison, Interval, RunResult};
use natrig_bench::scenario::{Design, FrameSize, Lineup};

use crate::digest::{Cell, cells, frames, intervals, rate_is_searched};
use crate::numbers::{ABSENT, Quotients};

/// One lineup against another at a frame size.
#[derive(Debug)]
pub(crate) struct EngineTable {
    pub engines: Lineup,
    pub against: Lineup,
    /// Goes on after a heading.
    pub part: String,
    /// What is compared in each column.
    pub columns: [&'static str; 3],
    pub rows: Vec<(Design, [Quotient; 3])>,
    /// What kind of quotients: `within rounds, 94 % intervals from 5 rounds`.
    pub source: String,
}

/// A quotient and its interval, as text.
#[derive(Debug)]
pub(crate) struct Quotient {
    pub value: String,
    /// Empty where there is none.
    pub range: String,
    /// True if the generator was the limit of a rate in it.
    pub bound: bool,
}

impl EngineTable {
    /// What it means that a rate is [`Quotient::bound`].
    pub(crate) const BOUND: &'static str = "quotients of rates that the generator limits say nothing of the engines";

    pub(crate) fn is_bound(&self) -> bool {
        self.rows.iter().flat_map(|(_, quotients)| quotients).any(|quotient| quotient.bound)
    }

    /// A table for each pair of lineups and each frame size for which anything can be compared.
    pub(crate) fn all(result: &RunResult) -> Vec<Self> {
        let place = |row: &EngineComparison| (row.frame_size, row.engines, row.against);
        let known: Vec<&EngineComparison> = result.comparisons.iter().filter(|row| figures(row).any()).collect();
        let mut places: Vec<(FrameSize, Lineup, Lineup)> = known.iter().map(|row| place(row)).collect();
        places.dedup();
        let cells = cells(result);
        let table = |at: &(FrameSize, Lineup, Lineup)| {
            let here: Vec<&EngineComparison> = known.iter().copied().filter(|row| place(row) == *at).collect();
            let (frame_size, engines, against) = *at;
            let several = result.scenario.traffic.frame_sizes.len() > 1;
            let all = here.iter().flat_map(|row| figures(row).0).flatten();
            Self {
                engines,
                against,
                part: if several { format!(": {}", frames(frame_size)) } else { String::new() },
                columns: [
                    if rate_is_searched(result) { "highest rate" } else { "rate delivered" },
                    "time, all cores",
                    "latency p50",
                ],
                rows: here.iter().map(|row| (row.design, quotients(row, &cells))).collect(),
                source: match intervals(all) {
                    Some(kind) => format!("within rounds, {kind}"),
                    None => "within one round, so no intervals".to_owned(),
                },
            }
        };
        places.iter().map(table).collect()
    }
}

/// The quotients that are shown.
struct Figures<'a>([Option<&'a Interval>; 3]);

impl Figures<'_> {
    fn any(&self) -> bool {
        self.0.iter().any(Option::is_some)
    }
}

fn figures(row: &EngineComparison) -> Figures<'_> {
    Figures([row.rate.as_ref(), row.cpu_ns_per_packet.as_ref(), row.latency_ns_p50.as_ref()])
}

fn quotients(row: &EngineComparison, cells: &[Cell<'_>]) -> [Quotient; 3] {
    let bound = cells.iter().any(|cell| {
        let summary = cell.summary;
        (summary.design, summary.frame_size) == (row.design, row.frame_size)
            && [row.engines, row.against].contains(&summary.engines)
            && cell.generator_bound().is_some()
    });
    let [rate, time, latency] = figures(row).0;
    [of(rate, bound), of(time, false), of(latency, false)]
}

fn of(interval: Option<&Interval>, bound: bool) -> Quotient {
    let Some(interval @ Interval { median, low, high, rounds, .. }) = interval else {
        return Quotient { value: ABSENT.to_owned(), range: String::new(), bound: false };
    };
    let times = Quotients::of(interval);
    let range = if *rounds > 1 { format!("{} to {}", times.number(*low), times.number(*high)) } else { String::new() };
    Quotient { value: times.with_sign(*median), range, bound }
}
