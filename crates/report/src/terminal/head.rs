//! The first lines: the question, how far the run came, and under which circumstances.

use natrig_bench::result::RunResult;

use super::page::{Page, Style, raw, span};
use crate::digest;

pub(super) fn write(page: &mut Page, result: &RunResult) {
    page.paragraph(&[], span(Style::Bold, result.scenario.title.as_str()));
    page.paragraph(&[], raw(result.scenario.question.as_str()));
    let alarms = digest::alarms(result);
    if !alarms.is_empty() {
        page.blank();
    }
    for (word, rest, grave) in alarms {
        let style = if grave { Style::Bad } else { Style::Warning };
        page.paragraph(&[span(style, word), raw("  ")], raw(rest));
    }
    page.blank();
    for (label, fact) in digest::facts(result) {
        page.paragraph(&[span(Style::Dim, format!("  {label:<6}"))], raw(fact));
    }
}
