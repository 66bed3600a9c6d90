//! Text that is not TOML: the parser's findings in plain words, with a mend.

use super::kinds::shortened;
use super::read::{Fault, Spot};

/// What the parser's message begins with, how natrig says it, and the mend.
///
/// What is not listed is shown in the parser's words; so a newer parser can only make messages less kind, never wrong.
const PLAIN: &[(&str, &str, &str)] = &[
    ("invalid basic string, expected `\"`", "a text lacks its closing quote", "end it with \" on the same line"),
    ("invalid literal string, expected `'`", "a text lacks its closing quote", "end it with ' on the same line"),
    ("invalid multi-line basic string, expected `\"`", "a text lacks its closing quotes", "end it with \"\"\""),
    ("invalid multi-line literal string, expected `'`", "a text lacks its closing quotes", "end it with '''"),
    (
        "missing escaped value",
        "the backslash begins an escape that does not exist",
        "write \\\\ for a backslash, or put the text in single quotes",
    ),
    ("key with no value", "a key stands without a value", "write `key = value`, or remove the line"),
    (
        "invalid unquoted key",
        "this cannot be part of a key",
        "write `key = value`; keys are made of letters, digits, _ and -",
    ),
    ("unclosed table", "the name of a section lacks its closing bracket", "write `[section]` on a line of its own"),
    ("unclosed array", "a list lacks its closing bracket", "end it with ]"),
    ("unclosed inline table", "a table lacks its closing brace", "end it with }"),
    (
        "missing comma between array elements",
        "there is no comma between two elements of a list",
        "put a comma before this",
    ),
    (
        "missing comma between key-value pairs",
        "there is no comma between two keys of a table",
        "put a comma before this",
    ),
    ("extra comma", "there is a comma too many", "remove it"),
    (
        "unexpected key or value",
        "something follows that does not belong here",
        "end the line before it; digits may be grouped as in 1_000_000",
    ),
    ("unexpected leading zero", "a number begins with 0", "write the number without leading zeros"),
    ("`_` may only go between digits", "a number may have _ only between its digits", "write it as in 1_000_000"),
    ("extra `=`", "there is an = too many", "write `key = value`"),
];

/// What the parser says of a value that is neither quoted nor of any other form begins with one of these.
const NOT_A_VALUE: &[&str] = &[
    "string values must be quoted",
    "invalid float",
    "invalid integer",
    "invalid date",
    "invalid time",
    "invalid boolean",
    "invalid value",
];

pub(super) fn fault(text: &str, error: &toml::de::Error) -> Fault {
    let at = error.span().unwrap_or(text.len()..text.len());
    let at = text.floor_char_boundary(at.start)..text.floor_char_boundary(at.end);
    let message = error.message();
    if message == "duplicate key" {
        return Fault {
            message: format!("`{}` stands here for the second time", shortened(&text[at.clone()])),
            help: "keep one of the two".to_owned(),
            at,
        };
    }
    if NOT_A_VALUE.iter().any(|begin| message.starts_with(begin)) {
        return not_a_value(text, at);
    }
    let (message, help) = PLAIN.iter().find(|(begin, ..)| message.starts_with(begin)).map_or(
        (message, "a scenario file is made of `[section]` lines, and of `key = value` lines below them"),
        |&(_, plain, help)| (plain, help),
    );
    Fault { at, message: message.to_owned(), help: help.to_owned() }
}

fn not_a_value(text: &str, at: Spot) -> Fault {
    let line_start = text[..at.start].rfind('\n').map_or(0, |newline| newline + 1);
    let ends_word = |c: char| c.is_whitespace() || "=,[]{}#".contains(c);
    // The parser points at the first character that it cannot use; people see the whole word.
    let start = text[line_start..at.start].rfind(ends_word).map_or(line_start, |before| {
        line_start + before + text[line_start + before..].chars().next().map_or(0, char::len_utf8)
    });
    let end = text[start..].find(ends_word).map_or(text.len(), |after| start + after);
    let word = &text[start..end];
    if word.is_empty() {
        return Fault {
            at,
            message: "there is no value".to_owned(),
            help: "write one behind the =, or remove the line".to_owned(),
        };
    }
    let bare: String = word.chars().filter(|c| !matches!(c, '"' | '\'' | '\\')).collect();
    Fault {
        at: start..end,
        message: format!("{} is neither a number nor a text in quotes", shortened(word)),
        help: format!("if it is a text, write \"{}\"", shortened(&bare)),
    }
}
