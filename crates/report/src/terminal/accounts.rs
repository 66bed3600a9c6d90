//! Where the frames went, which trials do not count, what came out wrong, and what to be warned of.

use natrig_bench::result::RunResult;

use super::page::{Page, Style, raw, span};
use crate::digest::{self, Accounting};

pub(super) fn write(page: &mut Page, result: &RunResult) {
    if !result.trials.is_empty() {
        page.heading("Where every frame went", "all trials, invalid ones included");
        write_sum(page, result);
    }
    if let Some((passed, checks)) = digest::tcp_checks(result) {
        page.paragraph(&[raw("  ")], span(if passed { Style::Plain } else { Style::Bad }, checks));
    }
    write_wrong_frame(page, result);
    let warnings = digest::warnings(result);
    if !warnings.is_empty() {
        page.heading("Warnings", "");
        for warning in warnings {
            page.paragraph(&[raw("  "), span(Style::Warning, "!"), raw(" ")], raw(warning));
        }
    }
}

fn write_sum(page: &mut Page, result: &RunResult) {
    let all = Accounting::of(result);
    let style = if all.adds_up() && all.wrong == 0 { Style::Good } else { Style::Bad };
    page.paragraph(&[raw("  ")], span(style, all.equation()));
    for line in all.details() {
        page.paragraph(&[raw("    ")], raw(line));
    }
    if let Some((trials, reasons)) = digest::invalid_trials(result) {
        page.paragraph(&[raw("  ")], raw(trials));
        for reason in reasons {
            page.paragraph(&[raw("    ")], raw(reason));
        }
    }
}

fn write_wrong_frame(page: &mut Page, result: &RunResult) {
    let Some((trial, frame)) = digest::first_wrong_frame(result) else { return };
    page.heading("The first frame that came out wrong", &format!("trial {}, design {}", trial.number, trial.design));
    page.paragraph(&[raw("  ")], span(Style::Bad, digest::fault(trial, frame)));
    let frames = frame.sent_hex.as_deref().map(|hex| ("as it was sent:", hex)).into_iter();
    for (what, hex) in frames.chain([("as it arrived:", frame.bytes_hex.as_str())]) {
        page.line(&[raw("  "), raw(what)]);
        for line in digest::dump(hex) {
            page.line(&[raw("  "), span(Style::Dim, line)]);
        }
    }
}
