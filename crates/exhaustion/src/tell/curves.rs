//! Curves, and what the kernel's have in common with the profiles'.

use natrig_report::document::{Align, Block, Document, Table};

use super::words::{figure, percent, percent_or_dash, whole, whole_or_dash};
use crate::observe::RefusedBy;
use crate::result::{Agreement, Measured};

/// The curves in numbers, and who refused.
pub(super) fn fills(document: &mut Document, measured: &Measured) {
    if measured.fills.is_empty() {
        return;
    }
    document.heading("Where ports run out");
    for fill in &measured.fills {
        let level = |share: f64| fill.levels.iter().find(|level| level.refused == share);
        let Some(one_percent) = level(0.01) else { continue };
        let said = match (fill.first_refusal_flows, one_percent.flows.zip(one_percent.occupancy)) {
            (None, _) => format!("{}: no connection was refused of {}", fill.setup, whole(fill.attempts as f64)),
            (Some(first), None) => format!("{}: the first is refused at {} flows", fill.setup, whole(first.median)),
            (Some(first), Some((flows, occupancy))) => format!(
                "{}: of {} nominal ports the first is refused at {} flows, and one in a hundred at {} ({})",
                fill.setup,
                whole(fill.nominal_ports as f64),
                whole(first.median),
                whole(flows),
                percent(occupancy)
            ),
        };
        document.text(said);
    }
    document.push(Block::Figure(super::figures::curves(measured)));
    let (left, right) = (Align::Left, Align::Right);
    let mut table = Table::new([
        ("setup", left),
        ("nominal", right),
        ("first refusal", right),
        ("0.1 %", right),
        ("1 %", right),
        ("5 %", right),
        ("50 %", right),
        ("usable at 1 %", right),
        ("tries at 1 %", right),
    ]);
    for fill in &measured.fills {
        let first = fill.first_refusal_flows;
        let mut row = vec![
            fill.setup.to_string(),
            whole(fill.nominal_ports as f64),
            first.map_or_else(super::words::dash, |first| {
                if first.low < first.high {
                    format!("{} ({}–{})", whole(first.median), whole(first.low), whole(first.high))
                } else {
                    whole(first.median)
                }
            }),
        ];
        row.extend(fill.levels.iter().map(|level| whole_or_dash(level.flows)));
        let one_percent = fill.levels.get(1);
        row.push(percent_or_dash(one_percent.and_then(|level| level.occupancy)));
        row.push(figure(one_percent.and_then(|level| level.tries)));
        table.row(row);
    }
    table.note = "Concurrent flows at which so many attempts are refused, all rounds pooled; first refusal: median and range over rounds. \
                  Nominal: ports for one destination at the layer that has fewer. Usable: flows to the destination that has most, of \
                  the nominal ports."
        .to_owned();
    document.push(Block::Table(table));
    let hottest: Vec<String> = measured
        .fills
        .iter()
        .filter_map(|fill| {
            let level = fill.levels.get(1)?;
            let (flows, hottest) = level.flows.zip(level.hottest_flows)?;
            (hottest < flows * 0.99).then(|| {
                let (all, there) = (whole(flows), whole(hottest));
                format!("{}: of these {all} flows {there} go to the destination that has most", fill.setup)
            })
        })
        .collect();
    if !hottest.is_empty() {
        document.text("At 1 % refused:");
        document.push(Block::Bullets(hottest));
    }
    document.heading("Who refused");
    for fill in &measured.fills {
        document.push(Block::Bullets(vec![format!("{}: {}", fill.setup, refusals(&fill.refused))]));
    }
}

/// Who refused, in words.
pub(super) fn refusals(refused: &[RefusedBy]) -> String {
    if refused.is_empty() {
        return "nobody".to_owned();
    }
    let words = |one: &RefusedBy| {
        let counter = one.counter.as_ref().map_or_else(String::new, |counter| format!(", counted as {counter}"));
        format!("{} {} times for {}{counter}", one.layer, whole(one.attempts as f64), one.reason.replace('_', " "))
    };
    refused.iter().map(words).collect::<Vec<String>>().join("; ")
}

/// Profiles against the kernel.
pub(super) fn agreements(document: &mut Document, measured: &Measured) {
    for agreement in &measured.agreements {
        document.heading("The profile and the kernel that it describes");
        let verdict = if agreement.within_two_points {
            "agree within two percentage points of occupancy at every level of refusals"
        } else {
            "do not agree within two percentage points of occupancy at every level of refusals"
        };
        let said = format!("{} and {} {verdict}.", agreement.profile, agreement.kernel);
        if agreement.within_two_points {
            document.text(said);
        } else {
            document.push(Block::Alarm("DISAGREEMENT".to_owned(), said));
        }
        document.push(Block::Figure(super::figures::pair(measured, agreement)));
        document.push(Block::Table(levels(agreement)));
    }
}

fn levels(agreement: &Agreement) -> Table {
    let right = Align::Right;
    let mut table =
        Table::new([("refused", right), ("profile", right), ("kernel", right), ("kernel − profile, pp", right)]);
    for level in &agreement.levels {
        table.row([
            percent(level.refused),
            percent_or_dash(level.profile),
            percent_or_dash(level.kernel),
            level.difference_pp.map_or_else(super::words::dash, |pp| format!("{pp:+.2}")),
        ]);
    }
    table.note = "Occupancy of the nominal ports at which so many attempts are refused; the same connections were tried of both."
        .to_owned();
    table
}
