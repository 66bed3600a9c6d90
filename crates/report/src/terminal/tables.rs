//! The tables: what each design does, what each layer costs, and how engines compare.

use natrig_bench::result::RunResult;

use super::page::{Page, Span, Style, raw, span};
use super::table::{Align, Table};
use crate::digest;
use crate::view::{CostCell, CostTable, DesignRow, DesignTable, EngineTable, Mark};

pub(super) fn write(page: &mut Page, result: &RunResult) {
    let costs = CostTable::all(result);
    for designs in DesignTable::all(result).iter().filter(|table| table.is_measured()) {
        write_designs(page, result, designs);
        let place = (designs.lineup, designs.frame_size);
        if let Some(costs) = costs.iter().find(|costs| (costs.lineup, costs.frame_size) == place) {
            write_costs(page, costs);
        }
    }
    for engines in EngineTable::all(result) {
        write_engines(page, &engines);
    }
}

fn write_designs(page: &mut Page, result: &RunResult, designs: &DesignTable) {
    page.heading(&format!("What each design does{}", designs.part), &designs.source);
    let mut aligns = [Align::Right; 10];
    (aligns[0], aligns[2]) = (Align::Left, Align::Left);
    let mut table = Table::new(&aligns);
    let dim = |text: &str| span(Style::Dim, text);
    let [rate, condition] = &designs.rate_is;
    table.groups(vec![
        (1..3, dim(rate)),
        (3..5, dim("ns per packet,")),
        (5..8, dim(&format!("latency in {} at", designs.latency_unit))),
        (8..10, dim("frames")),
    ]);
    table.groups(vec![
        (1..3, dim(&format!("{condition}, {}", designs.rate_unit))),
        (3..5, dim(designs.times_on)),
        (5..8, dim(&digest::latency_load(result))),
    ]);
    table.row(["NAT at", "", "", "total", "rewrite", "p50", "p99", "p99.9", "lost", "wrong"].map(dim).to_vec());
    table.rule();
    for row in &designs.rows {
        table.row(design(row));
    }
    table.write(page);
    for (mark, words) in &designs.remarks {
        page.paragraph(&[span(Style::Warning, *mark), raw("  ")], raw(words.as_str()));
    }
}

fn design(row: &DesignRow) -> Vec<Span> {
    let alarm = |text: &str, is: bool, style| span(if is { style } else { Style::Plain }, text);
    let [p50, p99, p999] = &row.latency;
    vec![
        span(Style::Bold, row.design.to_string()),
        span(if row.bound { Style::Warning } else { Style::Bold }, row.rate.as_str()),
        span(Style::Dim, row.rate_range.as_str()),
        raw(row.ns_per_packet.as_str()),
        span(Style::Dim, row.ns_per_packet_process.as_str()),
        raw(p50.as_str()),
        raw(p99.as_str()),
        raw(p999.as_str()),
        alarm(&row.lost, row.any_lost, Style::Warning),
        alarm(&row.wrong, row.any_wrong, Style::Bad),
    ]
}

fn write_costs(page: &mut Page, costs: &CostTable) {
    page.heading(&format!("What each layer costs{}", costs.part), &format!("differences {}", costs.source));
    let mut table = Table::new(&[Align::Left, Align::Center, Align::Center, Align::Center, Align::Center]);
    let dim = |text: &str| span(Style::Dim, text);
    table.row(["", "node", "gateway", "node on top", "interaction"].map(|text| span(Style::Bold, text)).to_vec());
    table.row(["", "node − none", "gateway − none", "both − gateway", "beyond the sum"].map(dim).to_vec());
    table.rule();
    for row in &costs.rows {
        if row.has_ranges() {
            table.row([raw(row.what)].into_iter().chain(row.cells.iter().map(figure)).collect());
            let unit = row.unit.map(|unit| format!("  in {unit}")).unwrap_or_default();
            table.row([dim(&unit)].into_iter().chain(row.cells.iter().map(|cell| dim(&cell.range))).collect());
        } else {
            table.row([raw(row.label())].into_iter().chain(row.cells.iter().map(figure)).collect());
        }
    }
    table.write(page);
    // No line is broken within an entry of the legend.
    let entry = |mark: Mark| format!("{} {}", mark.sign(), mark.meaning()).replace(' ', "\u{a0}");
    let legend: Vec<String> = costs.marks().map(entry).collect();
    if !legend.is_empty() {
        page.paragraph(&[], span(Style::Dim, legend.join(" · ")));
    }
}

fn write_engines(page: &mut Page, engines: &EngineTable) {
    let EngineTable { engines: ours, against, part, .. } = engines;
    page.heading(&format!("{ours} against {against}{part}"), &format!("quotients {}", engines.source));
    let mut aligns = [Align::Right; 7];
    for column in [0, 2, 4, 6] {
        aligns[column] = Align::Left;
    }
    let mut table = Table::new(&aligns);
    let dim = |text: &str| span(Style::Dim, text);
    let columns = engines.columns.iter().enumerate();
    table.groups(columns.map(|(index, column)| (2 * index + 1..2 * index + 3, dim(column))).collect());
    table.row(["NAT at", "", "", "", "", "", ""].map(dim).to_vec());
    table.rule();
    for (design, quotients) in &engines.rows {
        let cells = quotients.iter().flat_map(|quotient| {
            let style = if quotient.bound { Style::Warning } else { Style::Bold };
            [span(style, quotient.value.as_str()), dim(&quotient.range)]
        });
        table.row([span(Style::Bold, design.to_string())].into_iter().chain(cells).collect());
    }
    table.write(page);
    if engines.is_bound() {
        page.paragraph(&[], span(Style::Dim, EngineTable::BOUND));
    }
}

fn figure(cell: &CostCell) -> Span {
    match cell.mark {
        None => span(Style::Bold, cell.value.as_str()),
        Some(mark) => {
            let style = match mark {
                Mark::NotTold | Mark::BelowPrecision => Style::Dim,
                Mark::Hinted => Style::Plain,
                Mark::GeneratorBound => Style::Warning,
            };
            span(style, format!("{} {}", mark.sign(), cell.value))
        }
    }
}
