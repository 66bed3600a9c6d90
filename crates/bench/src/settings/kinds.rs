//! Kinds of values: what a setting accepts, and what is said when it gets something else.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;

use natrig_lab::net::{Ipv4Net, Ipv4NetError};
use toml::de::{DeInteger, DeValue};

use super::read::{Spot, Value, Wrong};
use super::suggest::nearest;
use super::word::Word;

/// Characters of a title, a question, a path.
const TEXT_CHARS_MAX: usize = 1000;

/// What kind of thing `value` is, for people.
pub fn noun(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text in quotes",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A whole number within `range`.
pub fn whole<T>(range: RangeInclusive<T>) -> impl Fn(&Value<'_>) -> Result<T, Wrong>
where
    T: Copy + Into<i128> + TryFrom<i128>,
{
    move |value| {
        let (least, most) = ((*range.start()).into(), (*range.end()).into());
        let help = || format!("write a whole number from {} to {}", grouped(least), grouped(most));
        let Some(digits) = value.get_ref().as_integer() else {
            let meant = unquoted(value.get_ref()).filter(|number| (least..=most).contains(number));
            let help = meant.map_or_else(help, |number| format!("write it as {number}"));
            return Err(Wrong::new(format!("must be a whole number, not {}", noun(value.get_ref())), help));
        };
        match integer(digits) {
            Some(number) if (least..=most).contains(&number) => {
                T::try_from(number).map_err(|_| Wrong::new("does not fit its type", help()))
            }
            number => {
                let below = number.map_or_else(|| digits.as_str().starts_with('-'), |number| number < least);
                let bound =
                    if below { format!("at least {}", grouped(least)) } else { format!("at most {}", grouped(most)) };
                Err(Wrong::new(format!("is {}, but must be {bound}", shortened(&decimal(digits))), help()))
            }
        }
    }
}

/// A number within `range`, with or without a point.
pub fn number(range: RangeInclusive<f64>) -> impl Fn(&Value<'_>) -> Result<f64, Wrong> {
    move |value| {
        let help = format!("write a number from {} to {}", range.start(), range.end());
        let Some(text) = digits(value.get_ref()) else {
            return Err(Wrong::new(format!("must be a number, not {}", noun(value.get_ref())), help));
        };
        match text.parse::<f64>() {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => {
                let what =
                    format!("is {}, but must lie between {} and {}", shortened(&text), range.start(), range.end());
                Err(Wrong::new(what, help))
            }
        }
    }
}

/// A text of one line.
pub fn text(value: &Value<'_>) -> Result<String, Wrong> {
    let text = string(value, "a text", "write it in quotes: \"…\"")?;
    if text.chars().count() > TEXT_CHARS_MAX {
        return Err(Wrong::new(format!("is longer than {} characters", TEXT_CHARS_MAX), "say it in a sentence or two"));
    }
    if text.chars().any(char::is_control) {
        return Err(Wrong::new("holds a line break or a control character", "write it on one line, without escapes"));
    }
    Ok(text.to_owned())
}

/// The name of a built-in profile, or the path of a file; a relative one starts at `folder`.
pub fn profile(folder: &Path, known: &[&str]) -> impl Fn(&Value<'_>) -> Result<String, Wrong> {
    move |value| {
        let text = text(value)?;
        if text.contains('/') || text.ends_with(".toml") {
            return Ok(folder.join(&text).display().to_string());
        }
        if known.contains(&text.as_str()) {
            return Ok(text);
        }
        let list = known.join(", ");
        let help = match nearest(&text, known.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"? built in are {list}"),
            None => format!("built in are {list}; or write the path of your own file, such as \"./mine.toml\""),
        };
        Err(Wrong::new(format!("names no profile: {}", quoted(&text)), help))
    }
}

/// One word of a closed list.
pub fn word<W: Word>(value: &Value<'_>) -> Result<W, Wrong> {
    let words: Vec<&str> = W::ALL.iter().map(|word| word.word()).collect();
    let accepted = match words[..] {
        [only] => format!("the only choice is \"{only}\""),
        _ => format!("choose one of \"{}\"", words.join("\", \"")),
    };
    let text = string(value, "a word", &accepted)?;
    W::from_word(text).ok_or_else(|| {
        let help = match nearest(text, words.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"? {accepted}"),
            None => accepted,
        };
        Wrong::new(format!("does not know {}", quoted(text)), help)
    })
}

/// Something that is written as text and has an example of how.
pub fn parsed<T: std::str::FromStr>(
    kind: &'static str,
    example: &'static str,
) -> impl Fn(&Value<'_>) -> Result<T, Wrong> {
    move |value| {
        let help = format!("write {kind} in quotes, for example \"{example}\"");
        let text = string(value, kind, &help)?;
        text.parse().map_err(|_| Wrong::new(format!("must be {kind}, not {}", quoted(text)), help))
    }
}

/// A network.
pub fn network(value: &Value<'_>) -> Result<Ipv4Net, Wrong> {
    const HELP: &str = "write address and prefix length in quotes, for example \"10.0.1.0/24\"";
    let text = string(value, "a network", HELP)?;
    text.parse().map_err(|error| match error {
        Ipv4NetError::Syntax(_) => Wrong::new(format!("must be a network, not {}", quoted(text)), HELP),
        Ipv4NetError::PrefixLength(_) => Wrong::new(
            format!("has a prefix longer than 32 bits: {}", quoted(text)),
            "write a prefix length from 8 to 30",
        ),
        Ipv4NetError::HostBits { network, prefix_len, .. } => Wrong::new(
            format!("is an address within a network, not the network: {}", quoted(text)),
            format!("write \"{network}/{prefix_len}\""),
        ),
    })
}

/// One or several values, none twice, with the places where they stand.
pub fn one_or_more<T: PartialEq + Display>(
    most: usize,
    element: impl Fn(&Value<'_>) -> Result<T, Wrong>,
) -> impl Fn(&Value<'_>) -> Result<Vec<(Spot, T)>, Wrong> {
    move |value| {
        let elements = value.get_ref().as_array().map_or_else(|| vec![value], |elements| elements.iter().collect());
        if elements.is_empty() {
            return Err(Wrong::new("is an empty list", "name at least one"));
        }
        if elements.len() > most {
            return Err(Wrong::new(
                format!("has {} elements, but may have {most}", elements.len()),
                format!("name at most {most}"),
            ));
        }
        let mut read: Vec<(Spot, T)> = Vec::with_capacity(elements.len());
        for value in elements {
            let spot = value.span();
            let element =
                element(value).map_err(|wrong| Wrong { at: wrong.at.or_else(|| Some(spot.clone())), ..wrong })?;
            if read.iter().any(|(_, other)| *other == element) {
                let what = format!("names {element} twice");
                return Err(Wrong { at: Some(spot), what, help: "name each once".to_owned() });
            }
            read.push((spot, element));
        }
        Ok(read)
    }
}

/// `text` in quotes, [`shortened`].
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", shortened(text))
}

/// `text` harmless on a terminal, and not too long.
pub fn shortened(text: &str) -> String {
    const SHOWN: usize = 60;
    let head: String = text.chars().take(SHOWN).collect();
    let more = if head.len() < text.len() { "…" } else { "" };
    format!("{}{more}", head.escape_debug())
}

/// What stands in quotes; `kind` and `help` are for when nothing does.
pub fn string<'v>(value: &'v Value<'_>, kind: &str, help: &str) -> Result<&'v str, Wrong> {
    let value = value.get_ref();
    value.as_str().ok_or_else(|| Wrong::new(format!("must be {kind}, not {}", noun(value)), help))
}

/// `None`: beyond all bounds.
fn integer(digits: &DeInteger<'_>) -> Option<i128> {
    i128::from_str_radix(digits.as_str(), digits.radix()).ok()
}

/// The number that a text or a number with a point stands for.
fn unquoted(value: &DeValue<'_>) -> Option<i128> {
    if let Some(text) = value.as_str() {
        return text.trim().parse().ok();
    }
    let number: f64 = value.as_float()?.as_str().parse().ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "casts of floats saturate, and bounds are checked after")]
    (number.fract() == 0.0).then_some(number as i128)
}

/// A number as text that Rust parses.
fn digits(value: &DeValue<'_>) -> Option<String> {
    value.as_integer().map(decimal).or_else(|| value.as_float().map(|float| float.as_str().to_owned()))
}

/// Decimal digits, unless there are more than any number needs.
fn decimal(digits: &DeInteger<'_>) -> String {
    integer(digits).map_or_else(|| digits.to_string(), |number| number.to_string())
}

/// 1000000 as 1_000_000: readable, and TOML.
fn grouped(number: i128) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && digits.len() > 4 && (digits.len() - index).is_multiple_of(3) {
            grouped.push('_');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_as_toml_allows() {
        assert_eq!(
            [0, 1000, 10_000, 1_048_576, 50_000_000].map(grouped),
            ["0", "1000", "10_000", "1_048_576", "50_000_000"]
        );
    }

    #[test]
    fn texts_from_files_are_shown_short_and_without_control_characters() {
        assert_eq!(quoted("a\u{1b}[2Jb"), "\"a\\u{1b}[2Jb\"");
        assert_eq!(quoted(&"x".repeat(1000)).chars().count(), 63);
    }
}
