//! Tables of text.

use std::ops::Range;

use super::page::{Page, Span, Style, raw, span};

/// On which side of its column a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
    Center,
}

/// Columns side by side, two spaces apart.
#[derive(Debug)]
pub(crate) struct Table {
    aligns: Vec<Align>,
    lines: Vec<Line>,
}

#[derive(Debug)]
enum Line {
    Cells(Vec<Span>),
    /// Texts over several columns.
    Groups(Vec<(Range<usize>, Span)>),
    Rule,
}

/// Between columns.
pub(crate) const GAP: usize = 2;

impl Table {
    pub(crate) fn new(aligns: &[Align]) -> Self {
        Self { aligns: aligns.to_vec(), lines: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: Vec<Span>) {
        self.lines.push(Line::Cells(cells));
    }

    pub(crate) fn groups(&mut self, groups: Vec<(Range<usize>, Span)>) {
        self.lines.push(Line::Groups(groups));
    }

    pub(crate) fn rule(&mut self) {
        self.lines.push(Line::Rule);
    }

    pub(crate) fn write(&self, page: &mut Page) {
        let widths = self.widths();
        for line in &self.lines {
            match line {
                Line::Cells(cells) => {
                    let groups = cells.iter().enumerate().map(|(column, cell)| (column..column + 1, cell));
                    page.line(&self.placed(&widths, groups));
                }
                Line::Groups(groups) => {
                    page.line(&self.placed(&widths, groups.iter().map(|(columns, text)| (columns.clone(), text))));
                }
                Line::Rule => page.line(&[span(Style::Dim, "─".repeat(covered(&widths, &(0..widths.len()))))]),
            }
        }
    }

    fn placed<'a>(&self, widths: &[usize], groups: impl Iterator<Item = (Range<usize>, &'a Span)>) -> Vec<Span> {
        let mut spans = Vec::new();
        let mut next = 0;
        for (columns, text) in groups {
            if columns.start > next {
                spans.push(raw(" ".repeat(covered(widths, &(next..columns.start)) + GAP)));
            }
            let free = covered(widths, &columns).saturating_sub(text.width());
            let before = match self.aligns[columns.start] {
                _ if columns.len() > 1 => free / 2,
                Align::Left => 0,
                Align::Right => free,
                Align::Center => free / 2,
            };
            spans.push(raw(" ".repeat(before)));
            spans.push(text.clone());
            let gap = if columns.end < widths.len() { GAP } else { 0 };
            spans.push(raw(" ".repeat(free - before + gap)));
            next = columns.end;
        }
        spans
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = vec![0; self.aligns.len()];
        for line in &self.lines {
            if let Line::Cells(cells) = line {
                for (width, cell) in widths.iter_mut().zip(cells) {
                    *width = (*width).max(cell.width());
                }
            }
        }
        for line in &self.lines {
            if let Line::Groups(groups) = line {
                for (columns, text) in groups {
                    let lacking = text.width().saturating_sub(covered(&widths, columns));
                    widths[columns.end - 1] += lacking;
                }
            }
        }
        widths
    }
}

/// Width of some columns with the gaps between them.
fn covered(widths: &[usize], columns: &Range<usize>) -> usize {
    widths[columns.clone()].iter().sum::<usize>() + GAP * columns.len().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_text() {
        let mut table = Table::new(&[Align::Left, Align::Right, Align::Right]);
        table.groups(vec![(1..3, raw("two columns"))]);
        table.row(["name", "a", "b"].map(raw).to_vec());
        table.rule();
        table.row(["x", "1", "200"].map(raw).to_vec());
        let mut page = Page::new(false, 80);
        table.write(&mut page);
        assert_eq!(page.finish(), "      two columns\nname  a         b\n─────────────────\nx     1       200\n");
    }
}
