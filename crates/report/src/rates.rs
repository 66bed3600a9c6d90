//! A run of rates as a page of HTML: the same answer, tables and accounts as elsewhere, and the charts.

use natrig_bench::result::{CostSummary, DesignSummary, Interval, RunResult, WrongFrame};
use natrig_bench::scenario::{FrameSize, Lineup};

use crate::answer::Answer;
use crate::digest::{self, Accounting, full_name};
use crate::document::{Align, Block, Document, Table};
use crate::figure::{Axis, Bar, BarChart, Figure, LineChart, Scale, Series};
use crate::html;
use crate::view::{CostCell, CostTable, DesignTable, EngineTable, bounds, by_size, hops, loads};

/// Writes `result` as a page that needs nothing but itself.
pub fn html(result: &RunResult) -> String {
    html::page(&result.scenario.title, &result.scenario.question, &document(result))
}

fn document(result: &RunResult) -> Document {
    let mut page = Document::default();
    for (word, rest, _) in digest::alarms(result) {
        page.push(Block::Alarm(word.to_owned(), rest));
    }
    let answer = Answer::of(result);
    bullets(&mut page, "The answer", answer.findings.clone());
    figures(&mut page, result);
    tables(&mut page, result);
    page.blocks.extend(by_size::document(result).blocks);
    page.blocks.extend(bounds::document(result).blocks);
    page.blocks.extend(loads::document(result).blocks);
    page.blocks.extend(hops::document(result).blocks);
    bullets(&mut page, "What this run cannot tell", answer.limit_items());
    accounts(&mut page, result);
    bullets(&mut page, "Warnings", digest::warnings(result));
    let facts = digest::facts(result).into_iter().map(|(label, fact)| format!("{label}: {fact}"));
    bullets(&mut page, "How it was measured", facts.collect());
    page
}

fn bullets(page: &mut Document, heading: &str, items: Vec<String>) {
    if !items.is_empty() {
        page.heading(heading);
        page.push(Block::Bullets(items));
    }
}

fn figures(page: &mut Document, result: &RunResult) {
    let cells = digest::cells(result);
    let named: Vec<(&DesignSummary, String)> =
        cells.iter().map(|cell| (cell.summary, full_name(result, cell))).collect();
    let bars: Vec<Bar> =
        named.iter().filter_map(|(summary, name)| Some(bar(name, summary.rate_pps.as_ref()?))).collect();
    if !bars.is_empty() {
        page.heading("In pictures");
        let what = if digest::rate_is_searched(result) { "Highest rate" } else { "Delivered rate" };
        page.push(Block::Figure(Figure::Bars(BarChart {
            title: what.to_owned(),
            axis: Axis::new("frames per second", "pps", Scale::Linear),
            bars,
            note: "Medians over the rounds, with their intervals.".to_owned(),
        })));
    }
    page.blocks.extend(by_size::figure(result).map(Block::Figure));
    for costs in &result.costs {
        page.blocks.extend(two_by_two(costs).map(Block::Figure));
    }
    let curve = |(summary, name): &(&DesignSummary, String)| {
        let points = summary.latency_curve.iter().map(|point| (point.quantile, point.ns as f64));
        Series::new(name, points)
    };
    let series: Vec<Series> =
        named.iter().filter(|(summary, _)| !summary.latency_curve.is_empty()).map(curve).collect();
    if !series.is_empty() {
        page.push(Block::Figure(Figure::Lines(LineChart {
            title: "Latency, by percentile".to_owned(),
            x: Axis::new("share of the frames", "", Scale::Nines),
            y: Axis::new("latency from the intended send time", "ns", Scale::Log),
            series,
            note: format!("All latency trials together, at {}.", digest::latency_load(result)),
        })));
    }
}

/// What each layer adds in processor time.
fn two_by_two(costs: &CostSummary) -> Option<Figure> {
    let (effects, whose) = match (&costs.cpu_ns_per_packet, &costs.ns_per_packet) {
        (Some(effects), _) => (effects, "all measuring processors"),
        (None, Some(effects)) => (effects, "the layers' processor"),
        (None, None) => return None,
    };
    let bars = [
        ("node − none", &effects.node),
        ("gateway − none", &effects.gateway),
        ("both − gateway", &effects.node_on_top),
        ("interaction", &effects.interaction),
    ];
    Some(Figure::Bars(BarChart {
        title: format!("What each layer costs{}", place(costs.engines, costs.frame_size)),
        axis: Axis::new("processor time per frame", "ns", Scale::Linear),
        bars: bars.map(|(name, interval)| bar(name, interval)).to_vec(),
        note: format!("Differences within rounds, on {whose}. Interaction: both − node − gateway + none."),
    }))
}

fn place(lineup: Lineup, size: FrameSize) -> String {
    format!(": {lineup}, {}", digest::frames(size))
}

fn bar(label: impl Into<String>, interval: &Interval) -> Bar {
    let range = (interval.rounds > 1).then_some((interval.low, interval.high));
    Bar { label: label.into(), value: interval.median, range }
}

fn tables(page: &mut Document, result: &RunResult) {
    let costs = CostTable::all(result);
    for designs in DesignTable::all(result).iter().filter(|table| table.is_measured()) {
        page.heading(format!("What each design does{}", designs.part));
        page.push(Block::Table(design_table(result, designs)));
        page.blocks.extend(designs.remarks.iter().map(|(mark, words)| Block::Alarm((*mark).to_owned(), words.clone())));
        let place = (designs.lineup, designs.frame_size);
        if let Some(costs) = costs.iter().find(|costs| (costs.lineup, costs.frame_size) == place) {
            page.heading(format!("What each layer costs{}", costs.part));
            page.push(Block::Table(cost_table(costs)));
        }
    }
    for engines in EngineTable::all(result) {
        page.heading(format!("{} against {}{}", engines.engines, engines.against, engines.part));
        let columns = engines.columns.into_iter().map(|column| (column, Align::Right));
        let mut table = Table::new([("NAT at", Align::Left)].into_iter().chain(columns));
        for (design, quotients) in &engines.rows {
            let cells = quotients.iter().map(|quotient| ranged(&quotient.value, &quotient.range));
            table.row([design.to_string()].into_iter().chain(cells));
        }
        let bound = if engines.is_bound() { format!(" {}.", EngineTable::BOUND) } else { String::new() };
        table.note = format!("Quotients {}.{bound}", engines.source);
        page.push(Block::Table(table));
    }
}

fn design_table(result: &RunResult, designs: &DesignTable) -> Table {
    let rate = format!("{}, {}", designs.rate_is.join(" "), designs.rate_unit);
    let time = format!("ns per packet, {}", designs.times_on);
    let p50 = format!("latency p50, {}", designs.latency_unit);
    let columns = [&rate, &time, "of it rewriting", &p50, "p99", "p99.9", "frames lost", "wrong"];
    let columns = columns.into_iter().map(|column| (column, Align::Right));
    let mut table = Table::new([("NAT at", Align::Left)].into_iter().chain(columns));
    for row in &designs.rows {
        let [p50, p99, p999] = row.latency.clone();
        table.row([
            row.design.to_string(),
            ranged(&row.rate, &row.rate_range),
            row.ns_per_packet.clone(),
            row.ns_per_packet_process.clone(),
            p50,
            p99,
            p999,
            row.lost.clone(),
            row.wrong.clone(),
        ]);
    }
    table.note = format!("Figures: {}; latency at {}.", designs.source, digest::latency_load(result));
    table
}

fn cost_table(costs: &CostTable) -> Table {
    let mut table = Table::new([
        ("", Align::Left),
        ("node − none", Align::Right),
        ("gateway − none", Align::Right),
        ("both − gateway", Align::Right),
        ("interaction", Align::Right),
    ]);
    let change = |cell: &CostCell| {
        let sign = cell.mark.map_or_else(String::new, |mark| format!("{} ", mark.sign()));
        format!("{sign}{}", ranged(&cell.value, &cell.range))
    };
    for cost in &costs.rows {
        table.row([cost.label()].into_iter().chain(cost.cells.iter().map(change)));
    }
    let legend: Vec<String> = costs.marks().map(|mark| format!("{} {}", mark.sign(), mark.meaning())).collect();
    table.note = format!("Differences {}. {}", costs.source, legend.join(" · "));
    table
}

fn ranged(value: &str, range: &str) -> String {
    if range.is_empty() { value.to_owned() } else { format!("{value} ({range})") }
}

fn accounts(page: &mut Document, result: &RunResult) {
    if result.trials.is_empty() {
        return;
    }
    let all = Accounting::of(result);
    page.heading("Where every frame went");
    page.text(format!("All trials, invalid ones included: {}.", all.equation()));
    let mut lines = all.details();
    if let Some((trials, reasons)) = digest::invalid_trials(result) {
        lines.push(format!("{trials} {}", reasons.join("; ")));
    }
    lines.extend(digest::tcp_checks(result).map(|(_, checks)| checks));
    page.push(Block::Bullets(lines));
    if let Some((trial, frame)) = digest::first_wrong_frame(result) {
        page.push(Block::Alarm("WRONG FRAME".to_owned(), digest::fault(trial, frame)));
        page.push(Block::Verbatim(wrong(frame)));
    }
}

fn wrong(frame: &WrongFrame) -> String {
    let sent = frame.sent_hex.as_deref().map(|hex| ("as it was sent:", hex)).into_iter();
    let frames = sent.chain([("as it arrived:", frame.bytes_hex.as_str())]);
    frames.map(|(what, hex)| format!("{what}\n{}\n", digest::dump(hex).join("\n"))).collect()
}
