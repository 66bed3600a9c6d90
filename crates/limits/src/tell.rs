//! What there is to tell: the targets, the cells behind them, and what each frame costs whom.

use natrig_bench::result::{Interval, Role};
use natrig_bench::test::RecordOf;
use natrig_report::document::{Align, Block, Document, Table, Tell};

use crate::PathLimits;
use crate::record::{CellRecord, Round, Target};

impl Tell for PathLimits {
    fn tell(record: &RecordOf<Self>) -> Document {
        let mut document = Document::default();
        let measured = &record.measured;
        if measured.wrong > 0 {
            document.push(Block::Alarm("WRONG".to_owned(), format!("{} frames came out wrong", measured.wrong)));
        }
        document.heading("Targets");
        document.push(Block::Table(targets(&measured.targets)));
        let remarks: Vec<String> = measured
            .targets
            .iter()
            .filter_map(|target| Some(format!("{}, {}: {}", target.claim, target.flows, target.remark.as_ref()?)))
            .collect();
        document.push(Block::Bullets(remarks));
        document.push(Block::Text(how_far_apart(&measured.line_ns)));
        document.heading("What was measured");
        document.push(Block::Table(cells(&measured.cells)));
        document.heading("Processor time per delivered frame, ns");
        document.push(Block::Table(costs(&measured.cells)));
        document
    }
}

/// Whatever is pipelined hands its frames from one processor's caches to the other's.
fn how_far_apart(line_ns: &[f64]) -> String {
    let Some(median) = natrig_bench::stats::median(line_ns) else {
        return "There is one processor only.".to_owned();
    };
    let [least, most] = [f64::min, f64::max].map(|of| line_ns.iter().copied().fold(median, of));
    format!(
        "From one processor to the other and back a line of the cache took {median:.0} ns (before each round: {least:.0} to {most:.0}). \
         The further apart they are, the slower is all that is pipelined; a host moves virtual processors as it likes."
    )
}

fn targets(targets: &[Target]) -> Table {
    let mut table = Table::new([
        ("target", Align::Left),
        ("", Align::Left),
        ("wanted", Align::Right),
        ("measured", Align::Right),
        ("interval", Align::Right),
        ("", Align::Left),
    ]);
    for target in targets {
        let (value, range) =
            target.measured.map_or_else(|| (absent(), String::new()), |interval| written(&interval, 1.0));
        let verdict = match target.met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "not measured",
        };
        table.row([target.claim.as_str(), &target.flows, &target.wanted, &value, &range, verdict]);
    }
    table.note = "Medians over rounds; a quotient is taken within each round. Met or missed by the median.".to_owned();
    table
}

fn cells(cells: &[CellRecord]) -> Table {
    let mut table = Table::new([
        ("", Align::Left),
        ("offered", Align::Left),
        ("Mpps", Align::Right),
        ("interval", Align::Right),
        ("p50 µs", Align::Right),
        ("p99 µs", Align::Right),
        ("lost", Align::Right),
    ]);
    for cell in cells {
        let Some(rate) = &cell.rate_pps else {
            let reason = cell.refused.as_deref().unwrap_or("no figure");
            table.row([cell.name.as_str(), &cell.offer, &absent(), reason, "", "", ""]);
            continue;
        };
        let (rate, range) = written(rate, 1e-6);
        let bound = cell.rounds.iter().flatten().any(|round| round.generator_bound);
        let rate = if bound { format!("≥ {rate}") } else { rate };
        let lost: i64 = cell.rounds.iter().flatten().map(|round| round.lost).sum();
        let [p50, p99] =
            [|round: &Round| round.latency_ns_p50, |round: &Round| round.latency_ns_p99.or(round.send_lag_ns_p999)]
                .map(|of| median(cell, of).map_or_else(String::new, |ns| digits(ns / 1e3)));
        table.row([cell.name.as_str(), &cell.offer, &rate, &range, &p50, &p99, &lost.to_string()]);
    }
    table.note =
        "Pipelined: generator and sink on one core, the NAT on another. ≥: GENERATOR-BOUND in some round, what forwards may carry more. Lost: in the trials that the figures are of. Latencies of generators alone are the send lag's p99.9; memory on two cores: flows dealt out by their hash."
            .to_owned();
    table
}

const ROLES: [(Role, &str); 6] = [
    (Role::Generator, "generat."),
    (Role::Node, "node"),
    (Role::Gateway, "gateway"),
    (Role::Reflector, "sink"),
    (Role::Napi, "NAPI"),
    (Role::Softirq, "softirq"),
];

fn costs(cells: &[CellRecord]) -> Table {
    let columns = [("", Align::Left), ("offered", Align::Left), ("all", Align::Right)];
    let mut table = Table::new(columns.into_iter().chain(ROLES.map(|(_, name)| (name, Align::Right))));
    for cell in cells.iter().filter(|cell| cell.cpu_ns_per_packet.is_some_and(|ns| ns.median > 0.0)) {
        let all = cell.cpu_ns_per_packet.map_or_else(absent, |ns| digits(ns.median));
        let roles = ROLES.map(|(role, _)| {
            let of_role = |round: &Round| {
                let costs = round.roles.iter().filter(|cost| cost.role == role);
                Some(costs.map(|cost| cost.ns_per_packet).sum::<f64>()).filter(|ns| *ns > 0.0)
            };
            median(cell, of_role).map_or_else(String::new, digits)
        });
        table.row([cell.name.clone(), cell.offer.clone(), all].into_iter().chain(roles));
    }
    table.note = "User and system time and that in interrupts, medians; pipelined, generator and sink share a core, the others have the second. What the kernel does within a call counts for the caller: for \
                  nftables inline that is the generator."
        .to_owned();
    table
}

fn median(cell: &CellRecord, of: impl Fn(&Round) -> Option<f64>) -> Option<f64> {
    natrig_bench::stats::median(&cell.rounds.iter().flatten().filter_map(of).collect::<Vec<f64>>())
}

fn absent() -> String {
    "–".to_owned()
}

/// A median and its interval, in units of `1 / scale`.
fn written(interval: &Interval, scale: f64) -> (String, String) {
    let range = if interval.rounds > 1 {
        format!("{} to {}", digits(interval.low * scale), digits(interval.high * scale))
    } else {
        String::new()
    };
    (digits(interval.median * scale), range)
}

/// Three significant digits, none of them cut from whole numbers.
fn digits(value: f64) -> String {
    let whole = value.abs().max(1e-3).log10().floor() as i32;
    let decimals = usize::try_from(2 - whole).unwrap_or(0).min(3);
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_tell_enough() {
        assert_eq!([8.412, 0.5678, 12.34, 1234.5, 0.0].map(digits), ["8.41", "0.568", "12.3", "1234", "0.000"]);
    }
}
