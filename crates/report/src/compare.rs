//! Comparisons, histories and A/A runs, told.

use natrig_bench::compare::{Compared, ComparedCell};
use natrig_bench::history::{Change, Line, longest_series};
use natrig_bench::result::{
    AaFigure, AaResult, EngineComparison, Figure, Judged, RunResult, Sequential, SequentialComparison,
};
use natrig_bench::stats::{Better, CHANGE_RUNS_MIN, Verdict};

use crate::answer::capitalised;
use crate::digest::frames;
use crate::document::{Align, Block, Document, Table};
use crate::numbers::{counted, percent};

/// Two sides of results.
pub fn compared(compared: &Compared) -> Document {
    let mut document = Document::default();
    document.heading("What changed");
    let [base, new] = &compared.sides;
    document.bullets(vec![format!("base: {base}"), format!("new: {new}")]);
    document.text(format!("{}.", capitalised(&compared.how)));
    document.bullets(compared.cautions.clone());
    if !compared.differences.is_empty() {
        let differences = compared.differences.iter().map(|(name, base, new)| format!("{name}: {base} against {new}"));
        document.push(Block::Alarm(
            "NOT THE SAME SETTINGS".to_owned(),
            "these differ (first run of the base, other runs), and so may the figures for it:".to_owned(),
        ));
        document.push(Block::Bullets(differences.collect()));
    }
    let rows = compared.cells.iter().flat_map(|cell| cell.judged.iter().map(move |judged| (place(cell), judged)));
    document.push(Block::Table(table("NAT at", rows)));
    let regressions = compared.regressions();
    if !regressions.is_empty() {
        let names = regressions.iter().map(|(cell, judged)| format!("{} of {}", judged.figure.name(), place(cell)));
        document.push(Block::Alarm("REGRESSION".to_owned(), names.collect::<Vec<String>>().join("; ")));
    }
    document
}

/// The engines of one run, each against the first; nothing where there is only one.
pub(crate) fn engines(result: &RunResult) -> Document {
    let mut document = Document::default();
    let judged = |comparison: &EngineComparison| {
        let EngineComparison { design, frame_size, engines, against, .. } = comparison;
        format!("{engines} against {against}: {design}, {}", frames(*frame_size))
    };
    let rows: Vec<(String, &Judged)> = result
        .comparisons
        .iter()
        .flat_map(|comparison| comparison.judged.iter().map(move |row| (judged(comparison), row)))
        .collect();
    if !rows.is_empty() {
        document.heading("Verdicts, compared within rounds");
        document.push(Block::Table(table("engines", rows)));
    }
    document
}

/// The comparisons of a run that may end when they are decided; nothing of any other.
pub(crate) fn sequential(result: &RunResult) -> Document {
    let mut document = Document::default();
    let Some(Sequential { planned, looks, decided, alpha, comparisons }) = &result.sequential else { return document };
    document.heading("Verdicts at planned looks");
    let name = |of: &SequentialComparison| {
        let SequentialComparison { design, engines, frame_size, against_design, against, .. } = of;
        let other = if engines == against { against_design.to_string() } else { against.to_string() };
        let who = if engines == against { design.to_string() } else { format!("{design}, {engines}") };
        format!("{who} against {other}, {}", frames(*frame_size))
    };
    let rows: Vec<(String, &Judged)> = comparisons.iter().map(|of| (name(of), &of.judged)).collect();
    document.push(Block::Table(table("NAT at", rows)));
    let rounds = |of: &[u32]| of.iter().map(u32::to_string).collect::<Vec<String>>().join(", ");
    let ended = if *decided { "it ended early, all being decided" } else { "it went on to its last round" };
    document.text(format!(
        "{} after rounds {} (planned: {}); {ended}. Each look has a share of the {} by which equal things may be called different, in \
         proportion to the rounds since the look before.",
        counted(looks.len() as u64, "look"),
        rounds(looks),
        rounds(planned),
        percent(*alpha)
    ));
    document
}

fn place(cell: &ComparedCell) -> String {
    format!("{} ({}, {})", cell.design, cell.engines, frames(cell.frame_size))
}

fn table<'a>(what: &str, rows: impl IntoIterator<Item = (String, &'a Judged)>) -> Table {
    let mut table = Table::new([
        (what, Align::Left),
        ("figure", Align::Left),
        ("change", Align::Right),
        ("interval", Align::Right),
        ("verdict", Align::Left),
    ]);
    let mut before = String::new();
    let mut notes: Vec<String> = Vec::new();
    for (name, judged) in rows {
        let comparison = &judged.comparison;
        let shown = if name == before { String::new() } else { name.clone() };
        let interval = &comparison.interval;
        table.row([
            shown,
            words(judged.figure).to_owned(),
            change(comparison.ratio),
            format!("{} to {}", change(interval.low), change(interval.high)),
            verdict(comparison.verdict, judged.figure.better()),
        ]);
        let blocks = counted(comparison.blocks, "block");
        let note = format!("{} of confidence from {blocks}", percent((interval.confidence * 1e3).round() / 1e3));
        if !notes.contains(&note) {
            notes.push(note);
        }
        before = name;
    }
    table.note = format!("Hodges–Lehmann estimates of new over base; intervals: {}.", notes.join("; "));
    table
}

fn words(figure: Figure) -> &'static str {
    match figure {
        Figure::RatePps => "rate",
        Figure::NsPerPacket => "time, layers' core",
        Figure::CpuNsPerPacket => "time, all cores",
        Figure::LatencyNsP50 => "latency p50",
        Figure::LatencyNsP99 => "latency p99",
        Figure::LatencyNsP999 => "latency p99.9",
        Figure::ConnectionsPerS => "new connections",
    }
}

fn change(ratio: f64) -> String {
    format!("{:+.1} %", (ratio - 1.0) * 100.0).replace('-', "−")
}

fn verdict(verdict: Verdict, better: Better) -> String {
    let direction = |good: bool| if good == (better == Better::Higher) { "higher" } else { "lower" };
    let surely = |beyond: bool| if beyond { "" } else { ", perhaps by too little to matter" };
    match verdict {
        Verdict::Better { beyond_margin } => format!("better ({}){}", direction(true), surely(beyond_margin)),
        Verdict::Worse { beyond_margin } => format!("worse ({}){}", direction(false), surely(beyond_margin)),
        Verdict::Equal { within } => format!("equal within {}", percent(within)),
        Verdict::Inconclusive { detectable: Some(change) } => {
            format!("inconclusive, could have detected {}", percent((change * 1e3).round() / 1e3))
        }
        Verdict::Inconclusive { detectable: None } => "inconclusive: too few blocks to show anything".to_owned(),
    }
}

/// Where levels changed in a history.
pub fn history(lines: &[Line], changes: &[Change]) -> Document {
    let mut document = Document::default();
    document.heading("Changes of level");
    let runs = lines.len();
    if changes.is_empty() {
        document.text(format!("None in {}.", counted(runs as i128, "run")));
        let longest = longest_series(lines);
        if longest < CHANGE_RUNS_MIN {
            document.text(format!(
                "No change can be told yet: that takes at least {CHANGE_RUNS_MIN} runs of the same thing in the same circumstances; the most \
                 there are is {longest}."
            ));
        }
        return document;
    }
    let mut table = Table::new([
        ("since", Align::Left),
        ("commit", Align::Left),
        ("scenario", Align::Left),
        ("figure", Align::Left),
        ("change", Align::Right),
        ("p", Align::Right),
    ]);
    for found in changes {
        table.row([
            found.started_at.clone(),
            found.commit.clone().unwrap_or_default(),
            found.title.clone(),
            found.figure.clone(),
            change(1.0 + found.change.relative_change()),
            format!("{:.1e}", found.change.p),
        ]);
    }
    table.note = format!(
        "E-divisive means with a t-test, in {}; runs with other settings are series of their own.",
        counted(runs as i128, "run")
    );
    document.push(Block::Table(table));
    document
}

/// An A/A run; nothing of any other.
pub(crate) fn aa(result: &RunResult) -> Document {
    let mut document = Document::default();
    let Some(aa) = &result.aa else { return document };
    let AaResult { comparisons, blocks, trial_ns, rate_pps, nominal, trials, trials_repeated, figures, rate, interval } =
        aa;
    document.heading("The same against itself");
    let mut table = Table::new([
        ("figure", Align::Left),
        ("comparisons", Align::Right),
        ("false alarms", Align::Right),
        ("share", Align::Right),
        ("interval", Align::Right),
        ("equal", Align::Right),
        ("inconclusive", Align::Right),
    ]);
    let share = |share: f64| percent((share * 1e3).round() / 1e3);
    for figure in figures {
        table.row([
            words(figure.figure).to_owned(),
            figure.comparisons.to_string(),
            figure.false_alarms.to_string(),
            share(figure.rate),
            format!("{} to {}", share(figure.interval.low), share(figure.interval.high)),
            figure.equal.to_string(),
            figure.inconclusive.to_string(),
        ]);
    }
    let sum = |of: fn(&AaFigure) -> u32| figures.iter().map(of).sum::<u32>().to_string();
    table.row([
        "all".to_owned(),
        sum(|figure| figure.comparisons),
        sum(|figure| figure.false_alarms),
        share(*rate),
        format!("{} to {}", share(interval.low), share(interval.high)),
        sum(|figure| figure.equal),
        sum(|figure| figure.inconclusive),
    ]);
    table.note = format!(
        "{comparisons} comparisons of a design with itself, each of {blocks} blocks of two trials of {} ms at {} kpps in random order; \
         promised: at most {} false alarms. {trials_repeated} of {trials} trials were disturbed and repeated.",
        trial_ns / 1_000_000,
        rate_pps / 1e3,
        share(*nominal)
    );
    document.push(Block::Table(table));
    if aa.exceeds() {
        document.push(Block::Alarm(
            "FALSE ALARMS".to_owned(),
            "more than the statistics promise: trust no verdict here".to_owned(),
        ));
    }
    document
}
