//! The reporting table of section 6: for every quantity its median, 1st and 99th percentile, with the number of connections and of
//! repetitions, and beside them every setting that bears on them.

use natrig_bench::scenario::Word;
use natrig_bench::test::RecordOf;
use natrig_report::document::{Align, Block, Document, Table, Tell};

use crate::Rfc9693;
use crate::result::{Diagnosis, Figure, Quantity, Trial};
use crate::scenario::{Kind, Scenario};

impl Tell for Rfc9693 {
    fn tell(record: &RecordOf<Self>) -> Document {
        let mut document = Document::default();
        let (scenario, measured) = (&record.scenario, &record.measured);
        for kind in Kind::ALL {
            let figures: Vec<&Figure> = measured.figures.iter().filter(|figure| figure.test == *kind).collect();
            if !figures.is_empty() {
                document.heading(heading(*kind));
                document.push(Block::Table(table(*kind, scenario, &figures)));
            }
            if *kind == Kind::FrameLoss && !measured.losses.is_empty() {
                document.heading(heading(*kind));
                document.push(Block::Table(losses(record)));
            }
        }
        let bound: u32 = measured.figures.iter().map(|figure| figure.generator_bound).sum();
        if bound > 0 {
            let what =
                "values marked ≥ are lower bounds: the Tester, or the largest table tried, was the limit".to_owned();
            document.push(Block::Alarm("BOUND".to_owned(), what));
        }
        document.heading("Trials");
        document.push(Block::Bullets(trials(&measured.trials)));
        document.heading("Settings");
        document.push(Block::Bullets(settings(record)));
        document
    }
}

fn heading(kind: Kind) -> &'static str {
    match kind {
        Kind::Establishment => "Maximum connection establishment rate, validated (RFC 9693 §4.5, §4.6)",
        Kind::Throughput => "Throughput over established connections (§4.7, RFC 8219 §7.1)",
        Kind::FrameLoss => "Frame loss rate over established connections (§4.7, RFC 2544 §26.3)",
        Kind::Latency => "Latency and packet delay variation (§4.7, RFC 8219 §7.2, §7.3)",
        Kind::TearDown => "Connection tear-down rate (§4.8)",
        Kind::Capacity => "Connection tracking table capacity (§4.9)",
        Kind::Scaling => "Scaling over the number of connections (§5.1)",
        Kind::Processors => "Scaling over processors (§5.2)",
    }
}

fn table(kind: Kind, scenario: &Scenario, figures: &[&Figure]) -> Table {
    let columns = [
        ("quantity", Align::Left),
        ("NAT at", Align::Left),
        ("engine", Align::Left),
        if kind == Kind::Processors { ("processors", Align::Right) } else { ("connections", Align::Right) },
        ("median", Align::Right),
        ("1st perc.", Align::Right),
        ("99th perc.", Align::Right),
        ("unit", Align::Left),
        (if kind == Kind::Processors { "runs" } else { "repetitions" }, Align::Right),
    ];
    let of_one = (kind == Kind::Processors).then_some(("of n × one", Align::Right));
    let mut table = Table::new(columns.into_iter().chain(of_one));
    let mut figures = figures.to_vec();
    figures
        .sort_by_key(|figure| (figure.quantity, figure.connections, figure.engines, figure.design, figure.processors));
    let mut before = None;
    for figure in figures {
        let quantity = if before == Some(figure.quantity) { String::new() } else { figure.quantity.to_string() };
        before = Some(figure.quantity);
        let (unit, scale) = unit(figure.quantity);
        let values = [figure.median, figure.percentile_1, figure.percentile_99];
        let [median, low, high] =
            if figure.values.is_empty() { values.map(|_| "–".to_owned()) } else { values.map(|v| number(v * scale)) };
        let mark = if figure.generator_bound > 0 { "≥ " } else { "" };
        let repetitions = figure.values.len() as u32;
        let of = if figure.without > 0 { format!(" of {}", repetitions + figure.without) } else { String::new() };
        let cells = [
            quantity,
            figure.design.to_string(),
            figure.engines.to_string(),
            number(f64::from(if kind == Kind::Processors { figure.processors } else { figure.connections })),
            format!("{mark}{median}"),
            low,
            high,
            unit.to_owned(),
            format!("{repetitions}{of}"),
        ];
        let share = figure.efficiency.map_or_else(|| "–".to_owned(), |share| format!("{:.0} %", share * 100.0));
        table.row(cells.into_iter().chain(of_one.map(|_| share)));
    }
    table.note = note(kind, scenario);
    table
}

fn unit(quantity: Quantity) -> (&'static str, f64) {
    match quantity {
        Quantity::EstablishmentRate | Quantity::TearDownRate => ("connections/s", 1.0),
        Quantity::Throughput => ("frames/s a way", 1.0),
        Quantity::Capacity => ("connections", 1.0),
        Quantity::TypicalOut
        | Quantity::WorstOut
        | Quantity::PdvOut
        | Quantity::TypicalIn
        | Quantity::WorstIn
        | Quantity::PdvIn => ("µs", 1e-3),
        Quantity::TearDownTime | Quantity::TearDownControl => ("ms", 1e-6),
    }
}

fn note(kind: Kind, scenario: &Scenario) -> String {
    let percent = |share: f64| format!("{} %", share * 100.0);
    match kind {
        Kind::Establishment | Kind::Scaling => format!(
            "Binary search, error {}. A rate passes if all N frames of test phase 1 arrive and all N connections are validated in reverse \
             at α = {} of it.",
            percent(scenario.establishment.error),
            scenario.establishment.alpha
        ),
        Kind::Throughput | Kind::FrameLoss => format!(
            "Trials of {} s, each after an empty table, test phase 1 at {} of the establishment rate and validation; direction {}; error \
             of the search {}.",
            f64::from(scenario.phase2.trial_ms) / 1000.0,
            percent(scenario.phase2.load_fraction),
            scenario.phase2.ways,
            percent(scenario.phase2.error)
        ),
        Kind::Latency => format!(
            "One-way delay of every frame of a stream of {} s at the throughput rate, from its intended send time to its reception, whole \
             frames: without a medium that sends bit by bit RFC 1242 §3.8 has but one definition. TL: median. WCL: 99.9th percentile. PDV: D(99.9 %) − D(min).",
            f64::from(scenario.phase2.latency_ms) / 1000.0
        ),
        Kind::Processors => format!(
            "{} connections, dealt out to the processors by a hash of their four tuples; on each a whole chain, Tester and device, with \
             addresses and a table of its own. A rate, of all together, passes if every connection is established and validated and \
             nobody is late (throughput: if no frame is lost either). Error of the searches {} and {}. The Tester takes part of each \
             processor: only ratios are the device's.",
            number(f64::from(scenario.tuples.connections)),
            percent(scenario.establishment.error),
            percent(scenario.phase2.error)
        ),
        Kind::TearDown => "The whole table is deleted out of band: natrig's own NAT ends every session, the kernel's connections are deleted over \
                           ctnetlink. The rate is N over that time less the time that an empty table takes (the control, the median of five). Deleting entries \
                           one by one may differ."
            .to_owned(),
        Kind::Capacity => format!(
            "Exponential search from {} to at most {} connections until the rate falls below β = {} of the one before, then binary with γ \
             = {} to within {} connections. The column `connections` is C₀.",
            scenario.capacity.initial,
            scenario.capacity.maximum,
            scenario.capacity.beta,
            scenario.capacity.gamma,
            scenario.capacity.error
        ),
    }
}

fn losses(record: &RecordOf<Rfc9693>) -> Table {
    let mut table = Table::new([
        ("NAT at", Align::Left),
        ("engine", Align::Left),
        ("repetition", Align::Right),
        ("input, %", Align::Right),
        ("× throughput", Align::Right),
        ("offered, frames/s", Align::Right),
        ("sent", Align::Right),
        ("received", Align::Right),
        ("loss, %", Align::Right),
    ]);
    for point in &record.measured.losses {
        let late = if point.generator_bound { " (not held)" } else { "" };
        table.row([
            point.design.to_string(),
            point.engines.to_string(),
            point.repetition.to_string(),
            format!("{:.0}", point.input_percent),
            format!("{:.2}", point.load),
            format!("{}{late}", number(point.rate_pps_offered)),
            number(point.sent as f64),
            number(point.received as f64),
            format!("{:.4}", point.loss_percent),
        ]);
    }
    table.note = format!(
        "{} Input: in percent of {} times the throughput, as neither a veth nor memory has a rate of its own.",
        note(Kind::FrameLoss, &record.scenario),
        record.scenario.phase2.loss_from
    );
    table
}

/// How trials ended, and where frames did.
fn trials(trials: &[Trial]) -> Vec<String> {
    let mut lines = vec![format!("{} trials", trials.len())];
    for diagnosis in Diagnosis::ALL {
        let count = trials.iter().filter(|trial| trial.diagnosis == *diagnosis).count();
        if count > 0 {
            lines.push(format!("{count} × {diagnosis}"));
        }
    }
    let late = trials.iter().filter(|trial| trial.phases().any(|phase| phase.generator_late)).count();
    if late > 0 {
        lines.push(format!("{late} in which the Tester could not keep its schedule"));
    }
    lines.push(format!("{} frames came out wrong", trials.iter().map(Trial::wrong).sum::<u64>()));
    let replaced: u64 = trials.iter().map(Trial::replaced).sum();
    if replaced > 0 {
        lines.push(format!(
            "{replaced} more, right but for an address and port that another connection had before: more connections were tried than a \
             table holds, and it had thrown out at least as many for new ones"
        ));
    }
    let mut drops: Vec<(String, u64)> = Vec::new();
    for drop in trials.iter().flat_map(Trial::phases).flat_map(|phase| &phase.drops) {
        let what = format!("{} at {}", drop.reason, drop.place);
        match drops.iter_mut().find(|(known, _)| *known == what) {
            Some((_, frames)) => *frames += drop.frames,
            None => drops.push((what, drop.frames)),
        }
    }
    lines.extend(drops.into_iter().map(|(what, frames)| format!("{frames} frames: {what}")));
    lines
}

/// Every setting that bears on performance.
fn settings(record: &RecordOf<Rfc9693>) -> Vec<String> {
    let scenario = &record.scenario;
    let tuples = &scenario.tuples;
    let layer = |name: &str, layer: &natrig_bench::scenario::Layer| {
        format!("{name}: {}, profile {}, nftables {} {}", layer.engine, layer.profile, layer.nat, layer.ports.word())
    };
    let mut lines = vec![
        format!(
            "four tuples: {} source addresses, {} source ports ({}–{}), {} destination addresses, {} destination ports ({}–{}); {} enumeration",
            scenario.devices.topology.pods.count,
            tuples.src_ports.count(),
            tuples.src_ports.first,
            tuples.src_ports.last,
            scenario.devices.topology.internet.server_count,
            tuples.dst_ports.count(),
            tuples.dst_ports.first,
            tuples.dst_ports.last,
            tuples.order
        ),
        format!("frames of {} bytes, UDP over IPv4, constant rate", tuples.frame_size),
        format!(
            "public addresses: node {}, gateway {}",
            scenario.devices.topology.node.addresses.len(),
            scenario.devices.topology.gateway.addresses.len()
        ),
        layer("node", &scenario.devices.node),
        layer("gateway", &scenario.devices.gateway),
        format!(
            "state table: one entry for each connection, written in test phase 1, read in pseudorandom order; {} repetitions; seed {}",
            scenario.repetitions, scenario.devices.seed
        ),
        match scenario.confirm {
            0 => "a rate fails with its first trial that loses a frame".to_owned(),
            again => format!(
                "a trial that loses at most 5 % is repeated up to {again} times before its rate fails (ETSI GS NFV-TST 009 §12.3.3)"
            ),
        },
    ];
    lines.extend(record.environment.nats.iter().map(|nat| {
        format!(
            "table of the {} at the {}: {} entries, of which {} connections take {:.3}",
            nat.profile,
            nat.place,
            number(nat.table_capacity as f64),
            number(f64::from(tuples.connections)),
            f64::from(tuples.connections) / nat.table_capacity as f64
        )
    }));
    let placement = record.environment.placement.iter().map(|thread| {
        let cpu = thread.cpu.map_or_else(|| "any core".to_owned(), |cpu| format!("core {cpu}"));
        format!("{} on {cpu}", thread.roles.join(" + "))
    });
    lines.extend(placement);
    for kernel in &record.environment.kernel {
        if let Some(buckets) =
            kernel.settings.get("net.netfilter.nf_conntrack_buckets").and_then(|n| n.parse::<f64>().ok())
        {
            let ratio = f64::from(tuples.connections) / buckets;
            lines.push(format!("connections / hashsize of the kernel at {}: {ratio:.3}", kernel.place));
        }
        let settings: Vec<String> = kernel.settings.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        lines.push(format!("kernel at {} ({}): {}", kernel.place, kernel.engines, settings.join(", ")));
    }
    lines
}

/// Whole numbers in groups of three, small ones with two digits behind the point.
fn number(value: f64) -> String {
    if value.abs() < 1000.0 && value.fract() != 0.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push('\u{a0}');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(number(1_234_567.8), "1\u{a0}234\u{a0}568");
        assert_eq!(number(12.345), "12.35");
        assert_eq!(number(64_512.0), "64\u{a0}512");
        assert_eq!(number(999.0), "999");
    }
}
