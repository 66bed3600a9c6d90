//! A result for somebody at a terminal: what was asked, two small tables, where the frames went, and the answer last, where the eye is
//! when a command ends.

mod accounts;
mod head;
pub(crate) mod page;
pub(crate) mod table;
mod tables;

use natrig_bench::result::RunResult;

use self::page::{Page, Style, raw, span};
use crate::answer;
use crate::view::{bounds, by_size, hops, loads};

/// How to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether the terminal shows colours: then with SGR sequences, else without any.
    pub color: bool,
    /// Columns of the terminal. Lines are between 80 and 100 wide whatever it has.
    pub width: usize,
}

/// The tables need so many columns.
pub(crate) const WIDTH_MIN: usize = 80;

/// Longer lines are hard to read.
pub(crate) const WIDTH_MAX: usize = 100;

impl Default for Options {
    fn default() -> Self {
        Self { color: false, width: WIDTH_MAX }
    }
}

/// Writes `result` as text that ends with a line feed.
pub fn render(result: &RunResult, options: Options) -> String {
    let mut page = Page::new(options.color, options.width.clamp(WIDTH_MIN, WIDTH_MAX));
    head::write(&mut page, result);
    tables::write(&mut page, result);
    by_size::document(result).write(&mut page);
    bounds::document(result).write(&mut page);
    loads::document(result).write(&mut page);
    hops::document(result).write(&mut page);
    accounts::write(&mut page, result);
    let answer = answer::Answer::of(result);
    bullets(&mut page, "The answer", &answer.findings, Style::Plain);
    bullets(&mut page, "What this run cannot tell", &answer.limit_items(), Style::Dim);
    page.finish()
}

fn bullets(page: &mut Page, heading: &str, items: &[String], style: Style) {
    if items.is_empty() {
        return;
    }
    page.heading(heading, "");
    for item in items {
        page.paragraph(&[raw("  "), span(Style::Dim, "•"), raw(" ")], span(style, item.as_str()));
    }
}
