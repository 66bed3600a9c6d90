//! The record of a test as a whole: what was asked, what its document tells, and under which circumstances.

use natrig_bench::result::Status;
use natrig_bench::test::RecordOf;

use crate::digest;
use crate::document::{Block, Document, Tell};
use crate::html;
use crate::numbers::elapsed;
use crate::terminal::Options;

/// For a terminal.
pub fn terminal<T: Tell>(record: &RecordOf<T>, options: Options) -> String {
    let (title, question) = T::heading(&record.scenario);
    let mut head = Document::default();
    head.heading(title);
    if !question.is_empty() {
        head.text(question);
    }
    whole::<T>(record, head).terminal(options)
}

/// As a page of GitHub flavoured Markdown.
pub fn markdown<T: Tell>(record: &RecordOf<T>) -> String {
    let (title, question) = T::heading(&record.scenario);
    let mut head = Document::default();
    if !question.is_empty() {
        head.text(question);
    }
    format!("# {}\n\n{}", crate::markdown::escaped(&title), whole::<T>(record, head).markdown())
}

/// As a page of HTML that needs nothing but itself.
pub fn html<T: Tell>(record: &RecordOf<T>) -> String {
    let (title, question) = T::heading(&record.scenario);
    html::page(&title, &question, &whole::<T>(record, Document::default()))
}

fn whole<T: Tell>(record: &RecordOf<T>, mut document: Document) -> Document {
    if let Some((word, rest)) = unfinished(&record.status) {
        document.push(Block::Alarm(word.to_owned(), rest));
    }
    document.blocks.extend(T::tell(record).blocks);
    if !record.warnings.is_empty() {
        document.heading("Warnings");
        document.push(Block::Bullets(record.warnings.clone()));
    }
    document.heading("How it was measured");
    document.push(Block::Bullets(circumstances::<T>(record)));
    document
}

fn unfinished(status: &Status) -> Option<(&'static str, String)> {
    match status {
        Status::Complete => None,
        Status::Running => {
            Some(("UNFINISHED", "this is what a run that has not ended, or was killed, had measured".to_owned()))
        }
        Status::TimeLimit => Some(("TIME LIMIT", "less was measured than the scenario asks for".to_owned())),
        Status::Interrupted => Some(("INTERRUPTED", "this is what had been measured by then".to_owned())),
        Status::Failed(reason) => Some(("FAILED", reason.clone())),
    }
}

fn circumstances<T: Tell>(record: &RecordOf<T>) -> Vec<String> {
    let facts = [
        ("how", digest::how(&record.environment)),
        ("where", digest::host(&record.host)),
        ("cores", digest::places(&record.environment)),
        ("took", elapsed(record.elapsed_ns)),
        ("by", digest::program(&record.natrig, &record.started_at)),
    ];
    facts.into_iter().filter(|(_, fact)| !fact.is_empty()).map(|(label, fact)| format!("{label}: {fact}")).collect()
}
