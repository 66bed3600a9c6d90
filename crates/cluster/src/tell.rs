//! What there is to tell of clusters.

use natrig_bench::settings::Word;
use natrig_bench::test::RecordOf;
use natrig_report::document::{Align, Block, Document, Table, Tell};
use natrig_report::figure::{Figure, Grid, GridCell};

use crate::answer::{Answer, Cost, Ports};
use crate::death::{Cause, Death, Layer};
use crate::matrix::{Cell, Destination, Measured, Row};
use crate::test::{ClusterTest, MeasuredDesign};

impl Tell for ClusterTest {
    fn tell(record: &RecordOf<Self>) -> Document {
        let mut document = Document::default();
        let designs = &record.measured.designs;
        if designs.is_empty() {
            return document;
        }
        document.heading("Who reaches whom");
        document.push(Block::Figure(Figure::Grid(overview(record))));
        for design in designs {
            let title = record.scenario.designs.iter().find(|known| known.name == design.name);
            for row in &design.matrix.rows {
                let title = title.map_or(design.name.as_str(), |known| known.title.as_str());
                document.heading(format!("{title}: {} ({})", row.pod, row.pod_address));
                if (&*design.node_by, &*design.gateway_by) != ("nftables", "nftables") {
                    let (node, gateway) = (&design.node_by, &design.gateway_by);
                    document.text(format!("At nodes stands {node}, at NAT gateways {gateway}."));
                }
                document.push(Block::Table(outward(row)));
                document.push(Block::Table(inward(row)));
            }
            deaths(&mut document, design);
        }
        if let (Some(answer), Some(design)) = (&record.measured.answer, designs.first()) {
            document.heading("The answer");
            document.push(Block::Bullets(answered(answer, design)));
        }
        document
    }
}

/// A row for each design and pod, a column for each destination.
fn overview(record: &RecordOf<ClusterTest>) -> Grid {
    let (mut names, mut cells) = (Vec::new(), Vec::new());
    for design in &record.measured.designs {
        let name = design.name.strip_prefix("cluster-").unwrap_or(&design.name);
        for row in &design.matrix.rows {
            let only = design.matrix.rows.len() == 1;
            names.push(if only { name.to_owned() } else { format!("{name}: {}", row.pod) });
            cells.push(row.cells.iter().map(overview_cell).collect());
        }
    }
    let kinds = ["no answer", "reached as itself", "translated once", "translated twice", "three times"];
    let most = cells.iter().flatten().map(|cell: &GridCell| cell.kind).max().unwrap_or(0);
    Grid {
        title: "The source address that each destination sees of a pod".to_owned(),
        columns: Destination::ALL.iter().map(ToString::to_string).collect(),
        rows: names,
        cells,
        kinds: kinds.iter().take(most.max(1) + 1).map(|kind| (*kind).to_owned()).collect(),
        note: "If an answer came back to the pod; × where none did.".to_owned(),
    }
}

fn overview_cell(cell: &Cell) -> GridCell {
    let translated = cell.outward.iter().map(|measured| measured.translations.len()).max().unwrap_or(0);
    let reached = reached(cell);
    let detail = each(&cell.outward, |measured| match &measured.death {
        Some(death) => format!("{}: {}", death.place, death.cause),
        None if measured.translations.is_empty() => String::new(),
        None => measured.translations.iter().map(|at| at.place.as_str()).collect::<Vec<_>>().join(", "),
    });
    GridCell { word: seen(&cell.outward), detail, kind: if reached { 1 + translated.min(3) } else { 0 } }
}

/// What the destination saw, if all protocols agree.
fn seen(measured: &[Measured]) -> String {
    each(measured, |measured| match (measured.reachable, measured.source_seen) {
        (true, Some(source)) => source.to_string(),
        (true, None) => "reached".to_owned(),
        (false, _) => "×".to_owned(),
    })
}

/// What is the same for all protocols, once; otherwise each.
fn each(measured: &[Measured], text: impl Fn(&Measured) -> String) -> String {
    let texts: Vec<String> = measured.iter().map(&text).collect();
    match texts.first() {
        None => "–".to_owned(),
        Some(first) if texts.iter().all(|text| text == first) => first.clone(),
        Some(_) => {
            let named = measured.iter().zip(&texts).map(|(measured, text)| format!("{} {text}", measured.protocol));
            named.collect::<Vec<_>>().join(", ")
        }
    }
}

fn outward(row: &Row) -> Table {
    let mut table = Table::new([
        ("pod asks", Align::Left),
        ("it sees", Align::Left),
        ("gateway sees", Align::Left),
        ("pod sees answer from", Align::Left),
        ("translations", Align::Right),
        ("at", Align::Left),
        ("dropped", Align::Left),
    ]);
    for cell in &row.cells {
        table.row([
            cell.destination.to_string(),
            seen(&cell.outward),
            each(&cell.outward, |measured| {
                let gateway = measured.seen_by.iter().find(|seen| Layer::of(&seen.place) == Layer::NatGateway);
                gateway.map_or_else(|| "–".to_owned(), |seen| seen.source.to_string())
            }),
            each(&cell.outward, |measured| {
                measured.answer_from.map_or_else(|| "–".to_owned(), |source| source.to_string())
            }),
            each(&cell.outward, |measured| measured.translations.len().to_string()),
            each(&cell.outward, |measured| {
                let places: Vec<&str> = measured.translations.iter().map(|at| at.place.as_str()).collect();
                if places.is_empty() { "–".to_owned() } else { places.join(", ") }
            }),
            dropped(&cell.outward),
        ]);
    }
    table
}

fn inward(row: &Row) -> Table {
    let mut table = Table::new([
        ("asks the pod", Align::Left),
        ("pod sees", Align::Left),
        ("it sees answer from", Align::Left),
        ("dropped", Align::Left),
    ]);
    let asks = |cell: &&Cell| !cell.inward.is_empty();
    for cell in row.cells.iter().filter(asks) {
        table.row([
            cell.destination.to_string(),
            seen(&cell.inward),
            each(&cell.inward, |measured| {
                measured.answer_from.map_or_else(|| "–".to_owned(), |source| source.to_string())
            }),
            dropped(&cell.inward),
        ]);
    }
    table
}

fn dropped(measured: &[Measured]) -> String {
    each(measured, |measured| measured.death.as_ref().map_or_else(|| "–".to_owned(), Death::to_string))
}

/// What nobody can explain is said aloud.
fn deaths(document: &mut Document, design: &MeasuredDesign) {
    let unexplained = design
        .matrix
        .measured()
        .filter_map(|measured| measured.death.as_ref())
        .filter(|death| death.cause == Cause::Unexplained)
        .count();
    if unexplained > 0 {
        let rest = format!("{unexplained} packets disappeared in {}, and nothing says why", design.name);
        document.push(Block::Alarm("UNEXPLAINED".to_owned(), rest));
    }
}

/// Is masquerading at the node needed here, what does it cost, and what would break if it were switched?
fn answered(answer: &Answer, design: &MeasuredDesign) -> Vec<String> {
    let mut sentences = Vec::new();
    let (with, without) =
        if answer.masquerades { (&design.matrix, &answer.twin) } else { (&answer.twin, &design.matrix) };
    for (row, bare) in with.rows.iter().zip(&without.rows) {
        sentences.push(needed(row, bare));
        sentences.extend(seen_otherwise(row, bare));
    }
    sentences.extend(answer.cost.as_ref().map(cost));
    sentences.extend(answer.ports.iter().map(ports));
    if let Some(outcome) = &answer.toggle {
        let outside = outcome.classes.iter().filter(|class| class.class != natrig_cutover::ClientClass::WithinVpc);
        let (mut broken, mut all, mut deaf) = (0, 0, 0);
        for class in outside {
            broken += class.broken;
            all += class.connections;
            deaf += class.never_noticed;
        }
        let switch = if answer.masquerades { "off" } else { "on" };
        sentences.push(format!(
            "Switching it {switch} under live connections, behind {}: {broken} of {all} connections to the internet break, and {deaf} of \
             their programs had not noticed after 20 minutes (on a virtual clock; `test = \"toggle\"` tells more).",
            outcome.gateway
        ));
    }
    sentences.extend(answer.missing.iter().map(|missing| format!("Not measured: {missing}.")));
    sentences
}

fn reached(cell: &Cell) -> bool {
    cell.outward.iter().all(|measured| measured.reachable)
}

fn needed(with: &Row, without: &Row) -> String {
    let pairs = || with.cells.iter().zip(&without.cells);
    let names = |only: &dyn Fn(&Cell, &Cell) -> bool| -> Vec<String> {
        pairs().filter(|(with, bare)| only(with, bare)).map(|(with, _)| with.destination.to_string()).collect()
    };
    let lost = names(&|with, bare| reached(with) && !reached(bare));
    let won = names(&|with, bare| !reached(with) && reached(bare));
    let all = with.cells.len();
    let count = |row: &Row| row.cells.iter().filter(|cell| reached(cell)).count();
    let figures = format!(
        "{} reaches {} of {all} kinds of destinations with it, {} without",
        with.pod,
        count(with),
        count(without)
    );
    match (lost.is_empty(), won.is_empty()) {
        (true, true) => format!("Masquerading at the node is not needed for reachability here: {figures}."),
        (false, _) => format!("Masquerading at the node is needed for {}: {figures}.", lost.join(", ")),
        (true, false) => format!("Masquerading at the node is in the way of {}: {figures}.", won.join(", ")),
    }
}

fn seen_otherwise(with: &Row, without: &Row) -> Option<String> {
    let pairs = with.cells.iter().zip(&without.cells);
    let changed: Vec<String> = pairs
        .filter(|(with, bare)| reached(with) && reached(bare) && seen(&with.outward) != seen(&bare.outward))
        .map(|(with, bare)| {
            format!("{} sees {} with it, {} without", with.destination, seen(&with.outward), seen(&bare.outward))
        })
        .collect();
    (!changed.is_empty()).then(|| format!("Whoever allows addresses must know: {}.", changed.join("; ")))
}

fn cost(cost: &Cost) -> String {
    let rate = |pps: Option<f64>| pps.map_or_else(|| "unknown".to_owned(), |pps| format!("{:.2} Mpps", pps / 1e6));
    let time = |ns: Option<f64>| ns.map_or_else(|| "unknown".to_owned(), |ns| format!("{:.1} µs", ns / 1e3));
    let bound = cost.with.rounds_generator_bound.max(cost.without.rounds_generator_bound);
    let floor = if bound > 0 { " (the generator was the limit: at least that)" } else { "" };
    format!(
        "Its cost with natrig's own NAT on this machine, in a short run: {} without it and {} with it{floor}; latency p50 {} and {}, p99 {} \
         and {}.",
        rate(cost.without.rate_pps),
        rate(cost.with.rate_pps),
        time(cost.without.latency_ns_p50),
        time(cost.with.latency_ns_p50),
        time(cost.without.latency_ns_p99),
        time(cost.with.latency_ns_p99),
    )
}

fn ports(ports: &Ports) -> String {
    format!(
        "Ports at the {} ({}, addresses: {}): the first flow to one destination is refused after {} open ones, one in a hundred after {}.",
        ports.layer, ports.profile, ports.addresses, ports.flows_at_first_refusal, ports.flows_at_one_percent
    )
}
