//! Lines of coloured text, wrapped.

use crate::numbers::plain;

/// How a piece of text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Bold,
    /// Of less weight.
    Dim,
    Heading,
    Good,
    Warning,
    Bad,
}

/// A piece of text in one style.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    pub style: Style,
    pub text: String,
}

/// Text so far.
#[derive(Debug)]
pub(crate) struct Page {
    color: bool,
    pub(crate) width: usize,
    text: String,
}

impl Style {
    /// The parameters of SGR (ECMA-48 §8.3.117): basic colours only, so that every theme can make them readable.
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Heading => "1;36",
            Self::Good => "32",
            Self::Warning => "1;33",
            Self::Bad => "1;31",
        }
    }
}

pub(crate) fn span(style: Style, text: impl Into<String>) -> Span {
    Span { style, text: text.into() }
}

pub(crate) fn raw(text: impl Into<String>) -> Span {
    span(Style::Plain, text)
}

impl Span {
    /// Columns that it takes.
    pub(crate) fn width(&self) -> usize {
        self.text.chars().count()
    }
}

impl Page {
    pub(crate) fn new(color: bool, width: usize) -> Self {
        Self { color, width, text: String::new() }
    }

    pub(crate) fn finish(self) -> String {
        self.text
    }

    pub(crate) fn blank(&mut self) {
        self.text.push('\n');
    }

    pub(crate) fn line(&mut self, spans: &[Span]) {
        let last = spans.iter().rposition(|span| !span.text.trim_end().is_empty());
        for (index, span) in spans.iter().enumerate().take(last.map_or(0, |last| last + 1)) {
            let text = plain(&span.text);
            let text = if Some(index) == last { text.trim_end() } else { &text };
            if self.color && span.style != Style::Plain && !text.trim().is_empty() {
                self.text.push_str(&format!("\x1b[{}m{text}\x1b[0m", span.style.code()));
            } else {
                self.text.push_str(text);
            }
        }
        self.text.push('\n');
    }

    /// A heading, with a remark in the same line where that fits, else in the next.
    pub(crate) fn heading(&mut self, text: &str, remark: &str) {
        self.blank();
        let heading = span(Style::Heading, text);
        if heading.width() + 2 + remark.chars().count() <= self.width {
            self.line(&[heading, raw("  "), span(Style::Dim, remark)]);
        } else {
            self.line(&[heading]);
            self.paragraph(&[], span(Style::Dim, remark));
        }
    }

    /// Text wrapped into lines, hanging behind `lead`.
    pub(crate) fn paragraph(&mut self, lead: &[Span], text: Span) {
        let indent: usize = lead.iter().map(Span::width).sum();
        let mut lines = wrap(&text.text, self.width.saturating_sub(indent)).into_iter();
        let mut first = lead.to_vec();
        first.push(span(text.style, lines.next().unwrap_or_default()));
        self.line(&first);
        for line in lines {
            self.line(&[raw(" ".repeat(indent)), span(text.style, line)]);
        }
    }
}

/// Breaks at spaces; a word longer than a line is broken anywhere.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    let mut taken = 0;
    for word in text.split([' ', '\n']).filter(|word| !word.is_empty()) {
        let mut rest: Vec<char> = word.chars().collect();
        if taken > 0 && taken + 1 + rest.len() > width {
            lines.push(std::mem::take(&mut line));
            taken = 0;
        }
        if taken > 0 {
            line.push(' ');
            taken += 1;
        }
        while rest.len() > width {
            let tail = rest.split_off(width);
            lines.push(rest.into_iter().collect());
            rest = tail;
        }
        taken += rest.len();
        line.extend(rest);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_and_never_before_a_unit() {
        assert_eq!(wrap("it takes 401\u{a0}ns more", 14), ["it takes", "401\u{a0}ns more"]);
        assert_eq!(wrap("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrap("", 10), Vec::<String>::new());
    }

    #[test]
    fn colour_is_around_text_only_and_trailing_space_goes() {
        let spans = [raw("a "), span(Style::Bold, "b"), raw("  "), span(Style::Dim, " ")];
        let text = |color| {
            let mut page = Page::new(color, 80);
            page.line(&spans);
            page.finish()
        };
        assert_eq!(text(false), "a b\n");
        assert_eq!(text(true), "a \x1b[1mb\x1b[0m\n");
    }

    #[test]
    fn paragraphs_hang_behind_their_lead() {
        let mut page = Page::new(false, 12);
        page.paragraph(&[raw("- ")], raw("one two three"));
        assert_eq!(page.finish(), "- one two\n  three\n");
    }
}
