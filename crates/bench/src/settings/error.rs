//! A mistake in a scenario file, as it is shown: what is wrong, where, and the mend.

use std::fmt;
use std::io;
use std::str::Utf8Error;

use thiserror::Error;

use super::FILE_BYTES_MAX;
use super::read::Fault;

/// Why there is no scenario. Shown as it is: several lines that begin with `error:`.
#[derive(Debug, Error)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("error: failed to read {file}: {source}\nhelp: the scenarios that come with natrig are in bench-configs/")]
    Unreadable {
        /// The file as it was named.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// The file is larger than any scenario.
    #[error(
        "error: {file} is larger than a scenario can be, which is {} bytes\nhelp: is this the right file?",
        FILE_BYTES_MAX
    )]
    TooLarge {
        /// The file as it was named.
        file: String,
    },
    /// The file holds a mistake.
    #[error(transparent)]
    Rejected(Box<Diagnostic>),
}

impl ScenarioError {
    pub(super) fn rejected(text: &str, file: &str, fault: Fault) -> Self {
        Self::Rejected(Box::new(Diagnostic::new(text, file, fault)))
    }

    pub(super) fn not_text(bytes: &[u8], file: &str, error: Utf8Error) -> Self {
        let sound = error.valid_up_to();
        let fault = Fault {
            at: sound..sound + 1,
            message: "the file is not UTF-8 text".to_owned(),
            help: "save it as UTF-8, or give the scenario file rather than another one".to_owned(),
        };
        Self::rejected(&String::from_utf8_lossy(bytes), file, fault)
    }

    /// Where in the file the mistake is and what it is, if the file could be read.
    #[must_use]
    pub fn diagnostic(&self) -> Option<&Diagnostic> {
        match self {
            Self::Rejected(diagnostic) => Some(diagnostic),
            Self::Unreadable { .. } | Self::TooLarge { .. } => None,
        }
    }
}

/// A mistake in a file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct Diagnostic {
    /// The file as it was named.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// How many characters are at fault, at least 1; those of further lines are not counted.
    pub width: usize,
    /// What is wrong.
    pub message: String,
    /// The mend.
    pub help: String,
    /// The line as it is in the file.
    pub source_line: String,
}

impl Diagnostic {
    fn new(text: &str, file: &str, fault: Fault) -> Self {
        let start = within(text, fault.at.start);
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let source_line = text[line_start..].lines().next().unwrap_or("");
        let end = text.floor_char_boundary(fault.at.end).clamp(start, (line_start + source_line.len()).max(start));
        Self {
            file: file.to_owned(),
            line: text[..line_start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            width: text[start..end].chars().count().max(1),
            message: fault.message,
            help: fault.help,
            source_line: source_line.to_owned(),
        }
    }
}

/// A place within the text; what is missing at the end of a file is missing behind its last word, not on the empty line below.
fn within(text: &str, at: usize) -> usize {
    let at = text.floor_char_boundary(at);
    if text[at..].trim().is_empty() { at.min(text.trim_end().len()) } else { at }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        let Shown { before, marked, after } = Shown::new(&self.source_line, self.column - 1, self.width);
        let underline = "^".repeat(marked.chars().count().max(1));
        writeln!(f, "error: {}", self.message)?;
        writeln!(f, "{margin}--> {}:{}:{}", printable(&self.file), self.line, self.column)?;
        writeln!(f, "{margin} |")?;
        writeln!(f, "{}", format!("{number} | {before}{marked}{after}").trim_end())?;
        writeln!(f, "{margin} | {}{underline}", " ".repeat(before.chars().count()))?;
        write!(f, "help: {}", self.help)
    }
}

/// The part of a line that is shown, fit for a terminal.
struct Shown {
    before: String,
    marked: String,
    after: String,
}

impl Shown {
    /// Characters of a line that are shown on either side of where the mistake begins.
    const REACH: usize = 80;

    fn new(line: &str, start: usize, width: usize) -> Self {
        let chars: Vec<char> = line.chars().collect();
        let start = start.min(chars.len());
        let left = start.saturating_sub(Self::REACH);
        let right = (start + Self::REACH).min(chars.len());
        let end = start.saturating_add(width).min(right);
        let show = |range: &[char]| printable(&range.iter().collect::<String>());
        let dots = |cut: bool| if cut { "…" } else { "" };
        Self {
            before: format!("{}{}", dots(left > 0), show(&chars[left..start])),
            marked: show(&chars[start..end]),
            after: format!("{}{}", show(&chars[end..right]), dots(right < chars.len())),
        }
    }
}

/// Tabs as spaces, and nothing that moves the cursor or turns the direction of writing.
fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => printable.push_str("    "),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => printable.push('\u{fffd}'),
            c if c.is_control() => printable.push('\u{fffd}'),
            c => printable.push(c),
        }
    }
    printable
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnostic(text: &str, at: std::ops::Range<usize>) -> Diagnostic {
        Diagnostic::new(text, "x.toml", Fault { at, message: "m".to_owned(), help: "h".to_owned() })
    }

    #[test]
    fn the_rendering_points_at_the_mistake() {
        let shown = diagnostic("a = 1\n\n\tflows = 0 # none\n", 16..17).to_string();
        assert_eq!(shown, "error: m\n --> x.toml:3:10\n  |\n3 |     flows = 0 # none\n  |             ^\nhelp: h");
    }

    #[test]
    fn a_span_over_several_lines_is_marked_on_its_first() {
        let list = diagnostic("a = [\n1,\n2]\n", 4..12);
        assert_eq!((list.line, list.column, list.width), (1, 5, 1));
    }

    #[test]
    fn the_end_of_the_file_is_behind_its_last_word() {
        let end = diagnostic("a = [1\n\n", 8..8);
        assert_eq!((end.line, end.column, end.source_line.as_str()), (1, 7, "a = [1"));
        let empty = diagnostic("", 0..0);
        assert_eq!((empty.line, empty.column, empty.width), (1, 1, 1));
        assert!(empty.to_string().ends_with("\n1 |\n  | ^\nhelp: h"), "{empty}");
    }

    #[test]
    fn columns_count_characters() {
        let wide = diagnostic("é = \"ü\" # x\n", 12..13);
        assert_eq!((wide.line, wide.column, wide.width), (1, 11, 1));
        let within_a_character = diagnostic("é", 1..2);
        assert_eq!((within_a_character.column, within_a_character.width), (1, 1));
    }

    #[test]
    fn a_long_line_is_cut_around_the_mistake_and_escapes_do_not_reach_the_terminal() {
        let text = format!("a = \"{}\u{1b}[2J{}\"", "x".repeat(500), "y".repeat(500));
        let at = text.find('\u{1b}').unwrap();
        let shown = diagnostic(&text, at..at + 1).to_string();
        assert!(shown.lines().all(|line| line.chars().count() < 200), "{shown}");
        assert!(shown.contains("…xxx") && shown.contains("yyy…") && !shown.contains('\u{1b}'), "{shown}");
    }
}
