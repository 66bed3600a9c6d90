//! A result as a page of GitHub flavoured Markdown: the answer first, then what it rests on.

use std::fmt::Write as _;

use natrig_bench::result::RunResult;

use crate::answer::Answer;
use crate::digest::{self, Accounting};
use crate::numbers::plain;
use crate::view::{CostCell, CostTable, DesignRow, DesignTable, EngineTable, Quotient};
use crate::view::{bounds, by_size, hops, loads};

/// Writes `result` as Markdown that ends with a line feed. Texts from the result are escaped.
pub fn render(result: &RunResult) -> String {
    let mut page = String::new();
    let scenario = &result.scenario;
    let _ = writeln!(page, "# {}\n\n{}", escaped(&scenario.title), escaped(&scenario.question));
    for (word, rest, _) in digest::alarms(result) {
        let _ = writeln!(page, "\n> **{word}**: {}", escaped(&rest));
    }
    let answer = Answer::of(result);
    bullets(&mut page, "The answer", &answer.findings);
    tables(&mut page, result);
    page.push_str(&by_size::document(result).markdown());
    page.push_str(&bounds::document(result).markdown());
    page.push_str(&loads::document(result).markdown());
    page.push_str(&hops::document(result).markdown());
    bullets(&mut page, "What this run cannot tell", &answer.limit_items());
    accounts(&mut page, result);
    bullets(&mut page, "Warnings", &digest::warnings(result));
    let facts: Vec<String> =
        digest::facts(result).into_iter().map(|(label, fact)| format!("{label}: {fact}")).collect();
    bullets(&mut page, "How it was measured", &facts);
    plain(&page)
}

fn tables(page: &mut String, result: &RunResult) {
    let costs = CostTable::all(result);
    for designs in DesignTable::all(result).iter().filter(|table| table.is_measured()) {
        let _ = writeln!(page, "\n## What each design does{}\n", designs.part);
        design_table(page, result, designs);
        let place = (designs.lineup, designs.frame_size);
        if let Some(costs) = costs.iter().find(|costs| (costs.lineup, costs.frame_size) == place) {
            let _ = writeln!(page, "\n## What each layer costs{}\n", costs.part);
            cost_table(page, costs);
        }
    }
    for engines in EngineTable::all(result) {
        let _ = writeln!(page, "\n## {} against {}{}\n", engines.engines, engines.against, engines.part);
        engine_table(page, &engines);
    }
}

fn design_table(page: &mut String, result: &RunResult, designs: &DesignTable) {
    let DesignTable { rate_unit, latency_unit, .. } = designs;
    let load = digest::latency_load(result);
    let rate = designs.rate_is.join(" ");
    row(
        page,
        [
            "NAT at".to_owned(),
            format!("{rate}, {rate_unit}"),
            format!("ns per packet, {}", designs.times_on),
            "of it rewriting".to_owned(),
            format!("latency p50, {latency_unit}"),
            "p99".to_owned(),
            "p99.9".to_owned(),
            "frames lost".to_owned(),
            "wrong".to_owned(),
        ],
    );
    let _ = writeln!(page, "|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    for design in &designs.rows {
        row(page, cells(design));
    }
    let _ = writeln!(page, "\nFigures: {}; latency at {}.", designs.source, escaped(&load));
    for (mark, words) in &designs.remarks {
        let _ = writeln!(page, "\n**{mark}** {}", escaped(words));
    }
}

fn cells(design: &DesignRow) -> [String; 9] {
    let range = if design.rate_range.is_empty() { String::new() } else { format!(" ({})", design.rate_range) };
    let [p50, p99, p999] = design.latency.clone();
    [
        format!("**{}**", design.design),
        format!("{}{range}", escaped(&design.rate)),
        design.ns_per_packet.clone(),
        design.ns_per_packet_process.clone(),
        p50,
        p99,
        p999,
        design.lost.clone(),
        design.wrong.clone(),
    ]
}

fn cost_table(page: &mut String, costs: &CostTable) {
    row(
        page,
        [
            "",
            "node: node − none",
            "gateway: gateway − none",
            "node on top: both − gateway",
            "interaction: beyond the sum",
        ],
    );
    let _ = writeln!(page, "|---|---:|---:|---:|---:|");
    for cost in &costs.rows {
        let [node, gateway, on_top, interaction] = cost.cells.each_ref().map(change);
        row(page, [cost.label(), node, gateway, on_top, interaction]);
    }
    let _ = writeln!(page, "\nDifferences {}.", costs.source);
    let legend: Vec<String> = costs.marks().map(|mark| format!("{} {}", mark.sign(), mark.meaning())).collect();
    if !legend.is_empty() {
        let _ = writeln!(page, "\n{}", escaped(&legend.join(" · ")));
    }
}

fn change(cell: &CostCell) -> String {
    let range = if cell.range.is_empty() { String::new() } else { format!(" ({})", cell.range) };
    match cell.mark {
        None => format!("**{}**{range}", cell.value),
        Some(mark) => format!("{} {}{range}", escaped(mark.sign()), cell.value),
    }
}

fn engine_table(page: &mut String, engines: &EngineTable) {
    row(page, ["NAT at"].into_iter().chain(engines.columns));
    let _ = writeln!(page, "|---|---:|---:|---:|");
    for (design, quotients) in &engines.rows {
        let cells = quotients.iter().map(|Quotient { value, range, .. }| {
            if range.is_empty() { format!("**{value}**") } else { format!("**{value}** ({range})") }
        });
        row(page, [format!("**{design}**")].into_iter().chain(cells));
    }
    let _ = writeln!(page, "\nQuotients {}.", engines.source);
    if engines.is_bound() {
        let _ = writeln!(page, "\n{}", EngineTable::BOUND);
    }
}

fn accounts(page: &mut String, result: &RunResult) {
    if result.trials.is_empty() {
        return;
    }
    let all = Accounting::of(result);
    let _ = writeln!(page, "\n## Where every frame went\n\nAll trials, invalid ones included: {}.\n", all.equation());
    let mut lines = all.details();
    if let Some((trials, reasons)) = digest::invalid_trials(result) {
        lines.push(format!("{trials} {}", reasons.join("; ")));
    }
    lines.extend(digest::tcp_checks(result).map(|(_, checks)| checks));
    list(page, &lines);
    if let Some((trial, frame)) = digest::first_wrong_frame(result) {
        let wrong = digest::fault(trial, frame);
        let _ = writeln!(
            page,
            "\nThe first frame that came out wrong, trial {}, design {}: {}.\n\n```text",
            trial.number,
            trial.design,
            escaped(&wrong)
        );
        let frames = frame.sent_hex.as_deref().map(|hex| ("as it was sent:", hex)).into_iter();
        for (what, hex) in frames.chain([("as it arrived:", frame.bytes_hex.as_str())]) {
            let _ = writeln!(page, "{what}");
            for line in digest::dump(hex) {
                let _ = writeln!(page, "{line}");
            }
        }
        let _ = writeln!(page, "```");
    }
}

fn bullets(page: &mut String, heading: &str, items: &[String]) {
    if !items.is_empty() {
        let _ = writeln!(page, "\n## {heading}\n");
        list(page, items);
    }
}

fn list(page: &mut String, items: &[String]) {
    for item in items {
        let _ = writeln!(page, "- {}", escaped(item));
    }
}

fn row<T: AsRef<str>>(page: &mut String, cells: impl IntoIterator<Item = T>) {
    for cell in cells {
        let cell = cell.as_ref();
        let _ = write!(page, "|{}{cell} ", if cell.is_empty() { "" } else { " " });
    }
    page.push_str("|\n");
}

/// `text` as it is meant, whatever Markdown would make of its characters: CommonMark §2.4, and GFM's tables and strikethrough.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        // An underscore within a word emphasises nothing (GFM §6.4).
        let within = before.is_alphanumeric() && rest.peek().is_some_and(|next| next.is_alphanumeric());
        match character {
            '_' if within => escaped.push('_'),
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '~' | '&' => escaped.extend(['\\', character]),
            '\n' | '\r' => escaped.push(' '),
            _ => escaped.push(character),
        }
        before = character;
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_mean_themselves() {
        assert_eq!(escaped("a|b <i> *c*\n~d~ AF_X _e_"), r"a\|b \<i\> \*c\* \~d\~ AF_X \_e\_");
    }

    #[test]
    fn rows_have_bars_around_every_cell() {
        let mut page = String::new();
        row(&mut page, ["", "a", "b c"]);
        assert_eq!(page, "| | a | b c |\n");
    }
}
