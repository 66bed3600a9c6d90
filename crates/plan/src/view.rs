//! The plan as a document.

use natrig_report::document::{Align, Block, Document, Table};

use crate::formula::{SeenAs, Switched};
use crate::report::{DesignPlan, Figure, Plan};

/// From here on a growth is "never".
const NEVER: f64 = 1e6;

/// The document, headed by the fleet's title and question.
#[must_use]
pub fn document(plan: &Plan) -> Document {
    let mut document = Document::default();
    document.heading(plan.fleet.title.clone());
    if !plan.fleet.question.is_empty() {
        document.text(plan.fleet.question.clone());
    }
    document.blocks.extend(body(plan).blocks);
    document
}

/// As a page of HTML that needs nothing but itself.
#[must_use]
pub fn html(plan: &Plan) -> String {
    body(plan).html(&plan.fleet.title, &plan.fleet.question)
}

fn body(plan: &Plan) -> Document {
    let mut document = Document::default();
    for warning in &plan.warnings {
        document.push(Block::Alarm("NOTE".to_owned(), warning.clone()));
    }
    inputs(plan, &mut document);
    document.heading("What breaks first");
    document.push(Block::Bullets(plan.designs.iter().map(first).collect()));
    destinations(plan, &mut document);
    for design in &plan.designs {
        limits(design, &mut document);
    }
    growth(plan, &mut document);
    settings(plan, &mut document);
    reasons(plan, &mut document);
    document
}

fn inputs(plan: &Plan, document: &mut Document) {
    if plan.inputs.is_empty() {
        return;
    }
    document.heading("What was read");
    for input in &plan.inputs {
        let skipped: u64 = input.skipped.iter().map(|skipped| skipped.count).sum();
        document.text(format!(
            "{} ({}): {} lines, {} records counted, {} left out",
            input.file,
            input.kind,
            count(input.lines as f64),
            count(input.counted as f64),
            count(skipped as f64)
        ));
        let reasons = input.skipped.iter().map(|skipped| {
            format!("{}: {} (first in line {})", skipped.reason, count(skipped.count as f64), skipped.first_line)
        });
        document.push(Block::Bullets(reasons.collect()));
    }
}

fn first(design: &DesignPlan) -> String {
    let seen = match design.seen_as.0 {
        SeenAs::Pod => "pods are seen with their own addresses",
        SeenAs::Node => "the internet sees node addresses",
        SeenAs::Gateway => "the internet sees gateway addresses",
    };
    match design.limits.first() {
        Some(limit) if limit.breaks_at.value < NEVER => {
            let to = limit.destination.as_ref().map_or_else(String::new, |name| format!(" ({name})"));
            let verb = if limit.breaks_at.value < 1.0 { "broken today" } else { "breaks first" };
            format!(
                "{}: {verb}: {}{to}, at {} today's load; {seen}",
                design.design,
                limit.what,
                times(&limit.breaks_at)
            )
        }
        Some(_) | None => format!(
            "{}: nothing that is known breaks before {} times today's load; {seen}",
            design.design,
            count(NEVER)
        ),
    }
}

fn destinations(plan: &Plan, document: &mut Document) {
    document.heading("Destinations at the peak");
    let mut table = Table::new([
        ("destination", Align::Left),
        ("protocol", Align::Left),
        ("connections/s", Align::Right),
        ("open at once", Align::Right),
        ("ports, busiest node", Align::Right),
        ("node bears", Align::Right),
        ("ports, gateway", Align::Right),
        ("gateway bears", Align::Right),
        ("addresses needed", Align::Right),
    ]);
    for one in &plan.destinations {
        table.row([
            if one.remotes > 1 { format!("{} (each of {})", one.name, one.remotes) } else { one.name.clone() },
            one.protocol.to_string(),
            number(&one.rate_per_s),
            number(&one.open),
            number(&one.node.in_use),
            times(&one.node.headroom),
            number(&one.gateway.in_use),
            times(&one.gateway.headroom),
            number(&one.addresses_needed),
        ]);
    }
    table.note = format!(
        "Ports are those in use towards one address and port, those of ended connections included. “Bears” is how many times today's load goes through with at most {} refused; so do the addresses needed. In brackets what comes out if all that is not known for sure is favourable, or unfavourable.",
        percent(plan.fleet.refusal_probability)
    );
    document.push(Block::Table(table));
}

fn limits(design: &DesignPlan, document: &mut Document) {
    document.heading(format!("Design “{}”: limits, the nearest first", design.design));
    let mut table = Table::new([
        ("limit", Align::Left),
        ("destination", Align::Left),
        ("load today", Align::Right),
        ("bears", Align::Right),
        ("breaks at", Align::Right),
        ("from", Align::Left),
    ]);
    for limit in &design.limits {
        table.row([
            limit.what.clone(),
            limit.destination.clone().unwrap_or_else(|| "–".to_owned()),
            number(&limit.load),
            if limit.breaks_at.value < NEVER { number(&limit.bears) } else { "–".to_owned() },
            times(&limit.breaks_at),
            limit.breaks_at.from.first().cloned().unwrap_or_default(),
        ]);
    }
    document.push(Block::Table(table));
    if let Some(simulated) = &design.simulated {
        let reasons: Vec<String> = simulated
            .reasons
            .iter()
            .map(|one| format!("{}: {} by nodes, {} by the gateway", one.reason, one.node, one.gateway))
            .collect();
        let why = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join("; ")) };
        document.text(format!(
            "Simulated with the allocators themselves: {} connections in {:.0} s, {} refused{why}.",
            count(simulated.connections as f64),
            simulated.time_s,
            share(&simulated.refused)
        ));
    }
}

fn growth(plan: &Plan, document: &mut Document) {
    document.heading("When the load grows");
    let mut table = Table::new([
        ("design", Align::Left),
        ("load", Align::Right),
        ("refused", Align::Right),
        ("gateway addresses", Align::Right),
        ("broken", Align::Left),
    ]);
    for design in &plan.designs {
        for growth in &design.growth {
            table.row([
                design.design.to_string(),
                format!("{}×", plain(growth.factor)),
                share(&growth.refused),
                growth.addresses_needed.as_ref().map_or_else(|| "–".to_owned(), number),
                match growth.broken.as_slice() {
                    [] => "–".to_owned(),
                    [first] => first.clone(),
                    [first, more @ ..] => format!("{first}, and {} more", more.len()),
                },
            ]);
        }
    }
    document.push(Block::Table(table));
}

fn settings(plan: &Plan, document: &mut Document) {
    document.heading("Settings that fit");
    let mut table =
        Table::new([("setting", Align::Left), ("value", Align::Right), ("unit", Align::Left), ("note", Align::Left)]);
    for setting in &plan.settings {
        table.row([setting.what.clone(), number(&setting.value), setting.unit.clone(), setting.note.clone()]);
    }
    document.push(Block::Table(table));
    if let Some(switch) = &plan.switch {
        let how = match switch.found_out {
            Switched::ResetOnNextSegment => "the gateway answers their next segment with a reset",
            Switched::Silence => {
                "the gateway is silent: senders give up after about 924 s (tcp_retries2), readers wait for keepalive"
            }
            Switched::ResetByFarEnd => "they go on with another port, and the far end answers with a reset",
        };
        document.text(format!(
            "Switching the nodes' translation on or off ends {} open connections: {how}.",
            number(&switch.broken)
        ));
    }
}

fn reasons(plan: &Plan, document: &mut Document) {
    document.heading("Where the numbers are from");
    let mut table = Table::new([
        ("name", Align::Left),
        ("kind", Align::Left),
        ("says", Align::Left),
        ("source", Align::Left),
        ("sure", Align::Left),
    ]);
    for reason in &plan.reasons {
        let sure = reason.confidence.clone().unwrap_or_default();
        table.row([reason.key.clone(), reason.kind.clone(), reason.text.clone(), reason.source.clone(), sure]);
    }
    table.note = "H: read in source or official text. M: one step of inference, or an old copy. L: not documented; such times are taken as half and as double, too.".to_owned();
    document.push(Block::Table(table));
}

/// A number with its interval, if it has one.
fn number(figure: &Figure) -> String {
    spread(figure, count)
}

fn times(figure: &Figure) -> String {
    spread(figure, |value| if value >= NEVER { "never".to_owned() } else { format!("{}×", plain(value)) })
}

fn share(figure: &Figure) -> String {
    spread(figure, percent)
}

fn spread(figure: &Figure, write: impl Fn(f64) -> String) -> String {
    let [low, value, high] = [figure.low, figure.value, figure.high].map(write);
    if low == high { value } else { format!("{value} [{low}, {high}]") }
}

/// Three digits.
fn plain(value: f64) -> String {
    match value {
        value if value >= 100.0 || value == value.trunc() => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value if value >= 0.1 || value == 0.0 => format!("{value:.2}"),
        value => format!("{value:.2e}"),
    }
}

fn percent(share: f64) -> String {
    if share > 0.0 && share < 1e-6 { "< 0.0001 %".to_owned() } else { format!("{} %", plain(share * 100.0)) }
}

/// Thousands set apart.
fn count(value: f64) -> String {
    if value < 1000.0 {
        return plain(value);
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
