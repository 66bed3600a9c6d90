//! Curves, and what the kernel's have in common with the profiles'.

use natrig_report::document::{Align, Block, Document, Table};

use super::words::{figure, percent, percent_or_dash, whole, whole_or_dash};
use crate::observe::RefusedBy;
use crate::result::{Agreement, FillResult, Measured};
use crate::scenario::Setup;

/// The curves in numbers, and who refused.
pub(super) fn fills(document: &mut Document, measured: &Measured) {
    if measured.fills.is_empty() {
        return;
    }
    document.heading("Where ports run out");
    document.text(usable(&measured.fills));
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
        row.push(
            one_percent.map_or_else(super::words::dash, |level| give_or_take(level.occupancy, level.occupancy_error)),
        );
        row.push(figure(one_percent.and_then(|level| level.tries)));
        table.row(row);
    }
    table.note = "Concurrent flows at which so many attempts are refused, all rounds pooled; first refusal: median and range over rounds. \
                  Nominal: ports for one destination at the layer that has fewer. Usable: flows to the destination that has most, of \
                  the nominal ports, with the 95 % interval over rounds where there are four or more."
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
    let by = |fill: &FillResult| format!("{}: {}", fill.setup, refusals(&fill.refused));
    document.push(Block::Bullets(measured.fills.iter().map(by).collect()));
}

/// How much of their ports the setups can use, in a sentence.
fn usable(fills: &[FillResult]) -> String {
    let at_one_percent = |fill: &FillResult| fill.levels.get(1).and_then(|level| level.occupancy);
    let mut usable: Vec<(f64, &Setup)> =
        fills.iter().filter_map(|fill| Some((at_one_percent(fill)?, &fill.setup))).collect();
    usable.sort_by(|one, other| one.0.total_cmp(&other.0));
    let first = |setup: &Setup, share: f64| format!("{} of its nominal ports are in use ({setup})", percent(share));
    match &usable[..] {
        [] => "One attempt in a hundred was refused nowhere.".to_owned(),
        [(share, setup)] => format!("When one attempt in a hundred is refused, {}.", first(setup, *share)),
        [(least, fewest), .., (most, setup)] => format!(
            "When one attempt in a hundred is refused, between {} of the nominal ports ({fewest}) and {} ({setup}) are in use.",
            percent(*least),
            percent(*most)
        ),
    }
}

/// A share, and half the width of its interval in percentage points.
fn give_or_take(share: Option<f64>, error: Option<f64>) -> String {
    match (share, error) {
        (Some(share), Some(error)) => format!("{:.1} % ± {:.1}", share * 100.0, error * 100.0),
        (share, _) => percent_or_dash(share),
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
    if measured.agreements.is_empty() {
        return;
    }
    document.heading("Profiles and the kernel that they describe");
    for agreement in &measured.agreements {
        let said = verdict(agreement);
        if agreement.within_two_points || agreement.surely_within.is_none() {
            document.text(said);
        } else {
            document.push(Block::Alarm("DISAGREEMENT".to_owned(), said));
        }
        document.push(Block::Figure(super::figures::pair(measured, agreement)));
        document.push(Block::Table(levels(measured, agreement)));
    }
}

fn verdict(agreement: &Agreement) -> String {
    let how = match (agreement.within_two_points, agreement.surely_within) {
        (true, Some(true)) => {
            "agree within two percentage points of occupancy at every level of refusals, intervals included"
        }
        (true, Some(false)) => {
            "agree within two percentage points of occupancy at every level of refusals; an interval reaches further: more rounds \
             would tell"
        }
        (true, None) => "agree within two percentage points of occupancy at every level of refusals",
        (false, None) => {
            "are more than two percentage points of occupancy apart at some level of refusals; so few rounds do not tell whether \
             that is chance"
        }
        (false, Some(_)) => "do not agree within two percentage points of occupancy at every level of refusals",
    };
    format!("{} and {} {how}.", agreement.profile, agreement.kernel)
}

fn levels(measured: &Measured, agreement: &Agreement) -> Table {
    let right = Align::Right;
    let mut table =
        Table::new([("refused", right), ("profile", right), ("kernel", right), ("kernel − profile, pp", right)]);
    let error = |setup: &Setup, refused: f64| {
        let fill = measured.fills.iter().find(|fill| fill.setup == *setup)?;
        fill.levels.iter().find(|level| level.refused == refused)?.occupancy_error
    };
    for level in &agreement.levels {
        let difference = match (level.difference_pp, level.difference_error_pp) {
            (Some(pp), Some(error)) => format!("{pp:+.2} ± {error:.2}"),
            (Some(pp), None) => format!("{pp:+.2}"),
            (None, _) => super::words::dash(),
        };
        table.row([
            percent(level.refused),
            give_or_take(level.profile, error(&agreement.profile, level.refused)),
            give_or_take(level.kernel, error(&agreement.kernel, level.refused)),
            difference,
        ]);
    }
    let rounds = measured.fills.iter().find(|fill| fill.setup == agreement.kernel).map_or(0, |fill| fill.rounds);
    table.note = format!(
        "Occupancy of the nominal ports at which so many attempts are refused; the same connections were tried of both. ±: 95 % interval \
         (jackknife over rounds, of which there are {rounds}; the difference's over pairs of rounds)."
    );
    table
}
