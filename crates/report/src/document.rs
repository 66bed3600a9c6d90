//! A report as a list of blocks, for everything that is not a run of rates: each test says what there is to tell, and it is written
//! for a terminal and in Markdown alike.

use std::fmt::Write as _;

use natrig_bench::test::{RecordOf, Test};

use crate::figure::{Figure, grid_table};
use crate::markdown::escaped;
use crate::numbers::plain;
use crate::terminal::page::{Page, Style, raw, span, wrap};
use crate::terminal::table::{Align as Side, GAP, Table as Grid};
use crate::terminal::{Options, WIDTH_MAX, WIDTH_MIN};

/// A test that can be told.
pub trait Tell: Test {
    /// What there is to tell of a record, an unfinished one included. Title, question, status, warnings and the circumstances of the run are
    /// written around it.
    fn tell(record: &RecordOf<Self>) -> Document;
}

/// What there is to tell, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Document {
    /// The parts.
    pub blocks: Vec<Block>,
}

/// A part of a document. Texts are plain: whoever writes them escapes what needs to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    /// The head of a section.
    Heading(String),
    /// A paragraph.
    Text(String),
    /// A list.
    Bullets(Vec<String>),
    /// A table.
    Table(Table),
    /// Lines to be shown as they are, such as a hex dump.
    Verbatim(String),
    /// Something that must not be overlooked: a word in capitals, and the rest.
    Alarm(String, String),
    /// A picture: drawn in HTML, told in text elsewhere.
    Figure(Figure),
}

/// Rows under named columns.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// The columns.
    pub columns: Vec<Column>,
    /// The rows, each as long as there are columns.
    pub rows: Vec<Vec<String>>,
    /// What a reader needs to know to read it; may be empty.
    pub note: String,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// What stands above it.
    pub title: String,
    /// How its texts stand.
    pub align: Align,
}

/// On which side of its column a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

impl Table {
    /// An empty table; words stand left, numbers right.
    pub fn new<'t>(columns: impl IntoIterator<Item = (&'t str, Align)>) -> Self {
        let columns = columns.into_iter().map(|(title, align)| Column { title: title.to_owned(), align }).collect();
        Self { columns, ..Self::default() }
    }

    /// A further row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }
}

impl Document {
    /// A further part.
    pub fn push(&mut self, block: Block) {
        self.blocks.push(block);
    }

    /// A further section.
    pub fn heading(&mut self, text: impl Into<String>) {
        self.push(Block::Heading(text.into()));
    }

    /// A further paragraph.
    pub fn text(&mut self, text: impl Into<String>) {
        self.push(Block::Text(text.into()));
    }

    /// Further bullets, if there are any.
    pub fn bullets(&mut self, items: Vec<String>) {
        if !items.is_empty() {
            self.push(Block::Bullets(items));
        }
    }

    /// For a terminal.
    pub fn terminal(&self, options: Options) -> String {
        let mut page = Page::new(options.color, options.width.clamp(WIDTH_MIN, WIDTH_MAX));
        self.write(&mut page);
        page.finish()
    }

    /// As part of a page.
    pub(crate) fn write(&self, page: &mut Page) {
        for block in &self.blocks {
            match block {
                Block::Heading(text) => page.heading(text, ""),
                Block::Text(text) => page.paragraph(&[], raw(text.as_str())),
                Block::Bullets(items) => {
                    for item in items {
                        page.paragraph(&[raw("  "), span(Style::Dim, "•"), raw(" ")], raw(item.as_str()));
                    }
                }
                Block::Table(table) => table.terminal(page),
                Block::Verbatim(text) => {
                    for line in text.lines() {
                        page.line(&[raw("    "), raw(line)]);
                    }
                }
                Block::Figure(figure) => {
                    page.blank();
                    page.line(&[span(Style::Bold, figure.title())]);
                    if let Figure::Grid(grid) = figure {
                        grid_table(grid).terminal(page);
                    }
                    for line in figure.text() {
                        page.line(&[raw("  "), raw(line)]);
                    }
                    if !figure.note().is_empty() {
                        page.paragraph(&[], span(Style::Dim, figure.note()));
                    }
                }
                Block::Alarm(word, rest) => {
                    page.paragraph(&[span(Style::Bad, word.as_str()), raw("  ")], raw(rest.as_str()));
                }
            }
        }
    }

    /// As a page of HTML that needs nothing but itself.
    pub fn html(&self, title: &str, question: &str) -> String {
        crate::html::page(title, question, self)
    }

    /// As GitHub flavoured Markdown; the texts are escaped.
    pub fn markdown(&self) -> String {
        let mut page = String::new();
        for block in &self.blocks {
            let _ = match block {
                Block::Heading(text) => writeln!(page, "\n## {}\n", escaped(text)),
                Block::Text(text) => writeln!(page, "{}\n", escaped(text)),
                Block::Bullets(items) => {
                    items.iter().for_each(|item| {
                        let _ = writeln!(page, "- {}", escaped(item));
                    });
                    writeln!(page)
                }
                Block::Table(table) => {
                    table.markdown(&mut page);
                    Ok(())
                }
                // A fence longer than any in the text cannot be ended by it.
                Block::Verbatim(text) => {
                    let fence = "`".repeat(longest_run(text, '`').max(2) + 1);
                    writeln!(page, "{fence}text\n{}\n{fence}\n", text.trim_end())
                }
                Block::Figure(Figure::Grid(grid)) => {
                    let _ = writeln!(page, "**{}** {}\n", escaped(&grid.title), escaped(&grid.note));
                    grid_table(grid).markdown(&mut page);
                    Ok(())
                }
                Block::Figure(figure) => {
                    let note =
                        if figure.note().is_empty() { String::new() } else { format!(" {}", escaped(figure.note())) };
                    let text = figure.text().join("\n");
                    let fence = "`".repeat(longest_run(&text, '`').max(2) + 1);
                    writeln!(page, "**{}**{note}\n\n{fence}text\n{text}\n{fence}\n", escaped(figure.title()))
                }
                Block::Alarm(word, rest) => writeln!(page, "> **{}**: {}\n", escaped(word), escaped(rest)),
            };
        }
        plain(&page)
    }
}

impl Table {
    fn terminal(&self, page: &mut Page) {
        let aligns = self.columns.iter().map(|column| match column.align {
            Align::Left => Side::Left,
            Align::Right => Side::Right,
        });
        let mut grid = Grid::new(&aligns.collect::<Vec<Side>>());
        let widths = self.widths(page.width);
        let broken = |texts: &mut dyn Iterator<Item = &String>| -> Vec<Vec<String>> {
            texts.zip(&widths).map(|(text, width)| wrap(text, *width)).collect()
        };
        let titles = broken(&mut self.columns.iter().map(|column| &column.title));
        let lines = titles.iter().map(Vec::len).max().unwrap_or(0);
        for line in 0..lines {
            // Titles stand on the rule, however many lines they have.
            let part =
                |title: &Vec<String>| (line + title.len()).checked_sub(lines).and_then(|line| title.get(line).cloned());
            grid.row(titles.iter().map(|title| span(Style::Bold, part(title).unwrap_or_default())).collect());
        }
        grid.rule();
        for row in &self.rows {
            let cells = broken(&mut row.iter());
            for line in 0..cells.iter().map(Vec::len).max().unwrap_or(0) {
                grid.row(cells.iter().map(|cell| raw(cell.get(line).cloned().unwrap_or_default())).collect());
            }
        }
        grid.write(page);
        if !self.note.is_empty() {
            page.paragraph(&[], span(Style::Dim, self.note.as_str()));
        }
    }

    /// How wide each column is if all shall be at most `width` wide: where titles and texts are too long for that, first titles give way,
    /// then words.
    fn widths(&self, width: usize) -> Vec<usize> {
        let columns = || self.columns.iter().enumerate();
        let longest =
            |column: usize, of: fn(&str) -> usize| self.rows.iter().map(|row| of(&row[column])).max().unwrap_or(0);
        let texts: Vec<usize> = columns().map(|(nth, _)| longest(nth, chars)).collect();
        let mut widths: Vec<usize> = columns().map(|(nth, column)| texts[nth].max(chars(&column.title))).collect();
        let titles_broken = columns().map(|(nth, column)| texts[nth].max(longest_word(&column.title)));
        let texts_broken = columns().map(|(nth, column)| match column.align {
            Align::Left => longest(nth, longest_word).max(longest_word(&column.title)),
            Align::Right => texts[nth].max(longest_word(&column.title)),
        });
        for least in [titles_broken.collect::<Vec<usize>>(), texts_broken.collect()] {
            while widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1) > width {
                let widest = (0..widths.len()).filter(|nth| widths[*nth] > least[*nth]).max_by_key(|nth| widths[*nth]);
                let Some(widest) = widest else { break };
                widths[widest] -= 1;
            }
        }
        widths
    }

    fn markdown(&self, page: &mut String) {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        page.push_str(&line(self.columns.iter().map(|column| escaped(&column.title)).collect()));
        let rules = self.columns.iter().map(|column| match column.align {
            Align::Left => "---",
            Align::Right => "---:",
        });
        page.push_str(&line(rules.map(str::to_owned).collect()));
        for row in &self.rows {
            page.push_str(&line(row.iter().map(|cell| escaped(cell)).collect()));
        }
        page.push('\n');
        if !self.note.is_empty() {
            page.push_str(&escaped(&self.note));
            page.push_str("\n\n");
        }
    }
}

fn longest_word(text: &str) -> usize {
    text.split(' ').map(chars).max().unwrap_or(0)
}

fn chars(text: &str) -> usize {
    text.chars().count()
}

fn longest_run(text: &str, of: char) -> usize {
    text.split(|character| character != of).map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Document {
        let mut document = Document::default();
        document.heading("What was found");
        let mut table = Table::new([("design", Align::Left), ("ports", Align::Right)]);
        table.row(["none", "–"]);
        table.row(["a|b", "64512"]);
        table.note = "Per address.".to_owned();
        document.push(Block::Table(table));
        document.push(Block::Bullets(vec!["one".to_owned()]));
        document.push(Block::Verbatim("```\n45 00".to_owned()));
        document
    }

    #[test]
    fn on_a_terminal_columns_stand_below_each_other() {
        let text = document().terminal(Options::default());
        assert_eq!(
            text,
            "\nWhat was found\ndesign  ports\n─────────────\nnone        –\na|b     64512\nPer address.\n  • one\n    ```\n    45 00\n"
        );
    }

    #[test]
    fn a_table_that_is_too_wide_breaks_its_titles_and_then_its_words() {
        let mut table = Table::new([("what it is", Align::Left), ("how many there are", Align::Right)]);
        table.row(["x".repeat(30).as_str(), "1"]);
        table.row(["many short words that can go on in the next line as well", "12 345"]);
        let mut page = Page::new(false, 40);
        table.terminal(&mut page);
        let text = page.finish();
        assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].trim() == "how" && lines[3].starts_with("what it is"), "{text}");
        assert!(text.contains("12 345") && text.contains("next line as well"), "{text}");
    }

    #[test]
    fn markdown_is_escaped_and_fences_hold() {
        let text = document().markdown();
        assert_eq!(
            text,
            "\n## What was found\n\n| design | ports |\n| --- | ---: |\n| none | – |\n| a\\|b | 64512 |\n\nPer address.\n\n- one\n\n\
             ````text\n```\n45 00\n````\n\n"
        );
    }
}
