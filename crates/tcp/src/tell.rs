//! What there is to tell: rates and latencies side by side, whether churn cost anybody a connection, and how flows got through loss.

use natrig_bench::devices::Table as Entries;
use natrig_bench::scenario::{Design, Lineup};
use natrig_bench::test::RecordOf;
use natrig_report::document::{Align, Block, Document, Table, Tell};

use crate::Tcp;
use crate::result::{ChurnOutcome, Figure, Measured, Quantity, SegmentCounts, TransferOutcome, Trial};

impl Tell for Tcp {
    fn tell(record: &RecordOf<Self>) -> Document {
        let mut document = Document::default();
        let Measured { figures, trials, churns, transfers } = &record.measured;
        if !figures.is_empty() {
            document.heading("What TCP gets of each design");
            document.push(Block::Table(quantities(record, figures)));
        }
        if !churns.is_empty() {
            document.heading("Connections that were to live through churn");
            document.push(Block::Table(churned(record, churns)));
        }
        for outcome in churns.iter().filter(|outcome| !outcome.holds()) {
            let dropped: Vec<String> = outcome
                .drops
                .iter()
                .map(|drop| format!("{} × {} at {}", drop.frames, drop.reason, drop.place))
                .collect();
            let why = if dropped.is_empty() { "no frame was lost".to_owned() } else { dropped.join(", ") };
            let words = format!("design {} of {}, round {}: {why}", outcome.design, outcome.engines, outcome.round);
            document.push(Block::Alarm("LOST OR LEFT".to_owned(), words));
        }
        if !transfers.is_empty() {
            document.heading("Flows between real stacks");
            document.push(Block::Table(transferred(record, transfers)));
        }
        let wrong: Vec<&Trial> = trials.iter().filter(|trial| trial.wrong > 0).collect();
        if let Some(first) = wrong.first() {
            let what = first.first_wrong.clone().unwrap_or_default();
            document.push(Block::Alarm(
                "WRONG".to_owned(),
                format!("{} trials; trial {}: {what}", wrong.len(), first.number),
            ));
        }
        document.heading("Trials");
        document.push(Block::Bullets(summed(trials)));
        document
    }
}

fn quantities(record: &RecordOf<Tcp>, figures: &[Figure]) -> Table {
    let mut table = Table::new([
        ("quantity", Align::Left),
        ("NAT at", Align::Left),
        ("engine", Align::Left),
        ("median", Align::Right),
        ("smallest", Align::Right),
        ("largest", Align::Right),
        ("unit", Align::Left),
        ("rounds", Align::Right),
    ]);
    let mut figures = figures.to_vec();
    figures.sort_by_key(|figure| (figure.quantity, figure.engines, figure.design));
    let mut before = None;
    for figure in figures {
        let (unit, scale, digits) = unit(figure.quantity);
        let number = |value: f64| grouped(value * scale, digits);
        let values = [figure.median, figure.range.0, figure.range.1];
        let [median, least, most] =
            values.map(|value| if figure.values.is_empty() { "–".to_owned() } else { number(value) });
        let mark = if figure.generator_bound > 0 { "≥ " } else { "" };
        let rounds = figure.values.len() as u32;
        let of = if figure.without > 0 { format!(" of {}", rounds + figure.without) } else { String::new() };
        let quantity = if before == Some(figure.quantity) { String::new() } else { figure.quantity.to_string() };
        before = Some(figure.quantity);
        table.row([
            quantity,
            figure.design.to_string(),
            figure.engines.to_string(),
            format!("{mark}{median}"),
            least,
            most,
            unit.to_owned(),
            format!("{rounds}{of}"),
        ]);
    }
    let scenario = &record.scenario;
    table.note = format!(
        "A connection is seven segments: three to make it, four to unmake it. Rates: {} connections a trial through empty tables, all of them \
         unmade; search error {} %; ≥: the tester was the limit. Latencies count from when a segment was due. Under churn: {} % of the rate; before a ring that could overflow the \
         tester waits, and is late instead.",
        scenario.rate.connections,
        scenario.rate.error * 100.0,
        scenario.churn.rate_fraction * 100.0
    );
    table
}

fn unit(quantity: Quantity) -> (&'static str, f64, usize) {
    match quantity {
        Quantity::ConnectionRate => ("connections/s", 1.0, 0),
        Quantity::HandshakeP50
        | Quantity::HandshakeP99
        | Quantity::KeepaliveP50
        | Quantity::KeepaliveP99
        | Quantity::TransferHandshake => ("µs", 1e-3, 1),
        Quantity::Goodput => ("Mbit/s", 1e-6, 0),
        Quantity::TimedOut => ("transfers", 1.0, 0),
        Quantity::Retransmissions => ("segments", 1.0, 0),
    }
}

fn churned(record: &RecordOf<Tcp>, churns: &[ChurnOutcome]) -> Table {
    let mut table = Table::new([
        ("NAT at", Align::Left),
        ("engine", Align::Left),
        ("round", Align::Right),
        ("live before", Align::Right),
        ("live after", Align::Right),
        ("came", Align::Right),
        ("went", Align::Right),
        ("keepalives", Align::Right),
        ("answered", Align::Right),
        ("entries at end", Align::Right),
        ("later", Align::Right),
    ]);
    let entries = |tables: &[Entries]| {
        if tables.is_empty() {
            return "–".to_owned();
        }
        tables.iter().map(|table| table.entries.to_string()).collect::<Vec<String>>().join(" + ")
    };
    for outcome in churns {
        table.row([
            outcome.design.to_string(),
            outcome.engines.to_string(),
            outcome.round.to_string(),
            outcome.background.to_string(),
            outcome.alive_after.to_string(),
            outcome.churned.0.to_string(),
            outcome.churned.1.to_string(),
            outcome.keepalives.0.to_string(),
            outcome.keepalives.1.to_string(),
            entries(&outcome.entries_at_end),
            entries(&outcome.entries_later),
        ]);
    }
    table.note = format!(
        "Entries: of node and gateway when all connections are closed, and later, when every timer must have run out: {} s for natrig's own \
         NATs, whose time is moved on; for the kernel, which is told to remember a closed connection for {} s, as long as that takes and \
         some seconds more.",
        record.scenario.churn.empty_after_s, record.scenario.churn.kernel_time_wait_s
    );
    table
}

fn transferred(record: &RecordOf<Tcp>, transfers: &[TransferOutcome]) -> Table {
    let mut table = Table::new([
        ("NAT at", Align::Left),
        ("engine", Align::Left),
        ("with a time-out", Align::Right),
        ("flows done", Align::Right),
        ("segments", Align::Right),
        ("lost on purpose", Align::Right),
        ("lost on the way", Align::Right),
        ("SYN again", Align::Right),
        ("data again, fast", Align::Right),
        ("on time-out", Align::Right),
        ("FIN again", Align::Right),
    ]);
    let mut devices: Vec<(Lineup, Design)> =
        transfers.iter().map(|outcome| (outcome.engines, outcome.design)).collect();
    devices.sort_unstable();
    devices.dedup();
    for (engines, design) in devices {
        let own: Vec<&TransferOutcome> =
            transfers.iter().filter(|outcome| (outcome.engines, outcome.design) == (engines, design)).collect();
        let sum = |of: fn(&TransferOutcome) -> u64| own.iter().map(|outcome| of(outcome)).sum::<u64>();
        let both = |of: fn(&SegmentCounts) -> u64| {
            own.iter().map(|outcome| of(&outcome.client) + of(&outcome.server)).sum::<u64>().to_string()
        };
        table.row([
            design.to_string(),
            engines.to_string(),
            format!("{} of {}", sum(|outcome| u64::from(outcome.timed_out())), own.len()),
            format!("{} of {}", sum(|outcome| outcome.flows.1), sum(|outcome| outcome.flows.0)),
            both(|end| end.sent),
            both(|end| end.lost_on_purpose),
            sum(|outcome| outcome.drops.iter().map(|drop| drop.frames).sum()).to_string(),
            both(|end| end.again_syn),
            both(|end| end.again_fast),
            both(|end| end.again_timeout),
            both(|end| end.again_fin),
        ]);
    }
    let transfer = record.scenario.transfer;
    table.note = format!(
        "smoltcp at both ends, Reno, windows of 64 KiB, nothing sent again on time-out before {} ms; {} flows of {} bytes from one pod to one \
         server; each end loses {} frames in a million on purpose, the same bytes in every design. Goodput, handshake and retransmissions: \
         median of {} transfers a round.",
        transfer.rto_min_ms, transfer.flows, transfer.bytes, transfer.loss_ppm, transfer.repeats
    );
    table
}

/// Where segments went, over all trials.
fn summed(trials: &[Trial]) -> Vec<String> {
    let mut lines = vec![format!("{} trials", trials.len())];
    let late = trials.iter().filter(|trial| trial.generator_late).count();
    if late > 0 {
        lines.push(format!("{late} in which the tester could not keep its schedule"));
    }
    let mut lost: Vec<(String, u64)> = Vec::new();
    let mut add = |what: String, count: u64| match lost.iter_mut().find(|(known, _)| *known == what) {
        Some((_, all)) => *all += count,
        None => lost.push((what, count)),
    };
    for trial in trials {
        trial.lost.iter().for_each(|lost| add(format!("× {} lost", lost.kind), lost.segments));
        trial.drops.iter().for_each(|drop| add(format!("frames: {} at {}", drop.reason, drop.place), drop.frames));
    }
    lines.extend(lost.into_iter().map(|(what, count)| format!("{count} {what}")));
    let wrong: u64 = trials.iter().map(|trial| trial.wrong).sum();
    let unaccounted: i64 = trials.iter().map(|trial| trial.unaccounted).sum();
    lines.push(format!("{wrong} segments came out wrong, {unaccounted} are unaccounted for"));
    lines
}

/// In groups of three.
fn grouped(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push('\u{a0}');
        }
        grouped.push(digit);
    }
    grouped + rest
}
