//! What full tables give up.

use natrig_report::document::{Align, Block, Document, Table};

use super::words::{dash, whole};
use crate::observe::{Replacement, ReplacementEstimate};
use crate::result::{Measured, ReplacementResult};

/// Policies with their parameters.
pub(super) fn replacements(document: &mut Document, measured: &Measured) {
    if measured.replacements.is_empty() {
        return;
    }
    document.heading("What a full table gives up");
    let said = |one: &ReplacementResult| format!("{}, {}: {}", one.setup, one.connections, sentence(&one.estimate));
    document.push(Block::Bullets(measured.replacements.iter().map(said).collect()));
    let (left, right) = (Align::Left, Align::Right);
    let mut table = Table::new([
        ("setup", left),
        ("connections", left),
        ("policy", left),
        ("capacity", right),
        ("batch", right),
        ("sample", right),
        ("offered → survived", left),
    ]);
    for one in &measured.replacements {
        let number = |value: Option<u32>| value.map_or_else(dash, |value| whole(f64::from(value)));
        let ends = [one.fills.first(), one.fills.last()].into_iter().flatten();
        let fills: Vec<String> = ends
            .map(|(offers, survivors)| format!("{} → {}", whole(f64::from(*offers)), whole(f64::from(*survivors))))
            .collect();
        table.row([
            one.setup.to_string(),
            one.connections.to_string(),
            one.estimate.policy.to_string(),
            number(one.estimate.capacity),
            number(one.estimate.batch),
            number(one.estimate.sample),
            fills.join(", "),
        ]);
    }
    table.note = "Told from outside: which connections still get answers after more were offered than the table holds; shortest and \
                  longest fill."
        .to_owned();
    document.push(Block::Table(table));
}

fn sentence(estimate: &ReplacementEstimate) -> String {
    let capacity = estimate.capacity.map_or_else(String::new, |capacity| format!(" of {}", whole(f64::from(capacity))));
    match (estimate.policy, estimate.batch, estimate.sample) {
        (Replacement::NotFull, ..) => "was not filled".to_owned(),
        (Replacement::KeepOld, ..) => format!("a table{capacity} keeps what it has and refuses what is new"),
        (Replacement::Lru, ..) => format!("a table{capacity} gives up the least recently used connection"),
        (Replacement::SampledLru, _, Some(sample)) => {
            format!("a table{capacity} gives up the least recently used of some {sample} connections that it looks at")
        }
        (Replacement::BatchGc, Some(batch), _) => {
            format!("a table{capacity} gives up some {batch} of its oldest connections at once")
        }
        (Replacement::Random, ..) => format!("a table{capacity} gives up any connection, old or new alike"),
        (Replacement::Unknown | Replacement::SampledLru | Replacement::BatchGc, ..) => {
            format!("a table{capacity} gives up connections in a way that is none of those known here")
        }
    }
}
