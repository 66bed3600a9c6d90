//! What there is to tell of clusters.

use natrig_bench::settings::Word;
use natrig_bench::test::RecordOf;
use natrig_report::document::{Align, Block, Document, Table, Tell};

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
        document.heading("Who sees which address of a pod");
        document.push(Block::Table(overview(record)));
        for design in designs {
            let title = record.scenario.designs.iter().find(|known| known.name == design.name);
            for row in &design.matrix.rows {
                let title = title.map_or(design.name.as_str(), |known| known.title.as_str());
                document.heading(format!("{title}: {} ({})", row.pod, row.pod_address));
                document.push(Block::Table(outward(row)));
                document.push(Block::Table(inward(row)));
            }
            deaths(&mut document, design);
        }
        document
    }
}

/// A row for each design and pod, a column for each destination.
fn overview(record: &RecordOf<ClusterTest>) -> Table {
    let columns = Destination::ALL.iter().map(|destination| (destination.word(), Align::Left));
    let mut table = Table::new([("design", Align::Left), ("pod", Align::Left)].into_iter().chain(columns));
    for design in &record.measured.designs {
        for row in &design.matrix.rows {
            let cells = row.cells.iter().map(|cell| seen(&cell.outward));
            table.row([design.name.clone(), row.pod.clone()].into_iter().chain(cells));
        }
    }
    table.note =
        "The source address that the destination saw of the pod, if an answer came back to it; × where none did."
            .to_owned();
    table
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
