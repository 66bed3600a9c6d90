//! Whatever is done to a scenario file: it is read, or answered with one error at a place in it; never a panic.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use natrig_bench::scenario::Scenario;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

const QUICK: &str = include_str!("../../../bench-configs/quick.toml");
const PROFILES: [&str; 2] = ["cilium-bpf", "aws-natgw"];

/// Pieces that scenario files are made of, and some that they are not.
const PIECES: [&str; 24] = [
    "0",
    "-1",
    "1e9",
    "nan",
    "9999999999999999999999",
    "\"",
    "'",
    "\"\"\"",
    "[",
    "]",
    "[[",
    "{",
    "}",
    "=",
    ",",
    ".",
    "#",
    "\n",
    "\\",
    "\"10.0.1.0/0\"",
    "\"255.255.255.255\"",
    "count = 65536",
    "\u{0}",
    "é\u{202e}",
];

/// The error lies in the text and can be shown in a few lines.
fn check(text: &str) -> Result<(), TestCaseError> {
    let Err(error) = Scenario::parse(text, "mutated.toml", &PROFILES) else {
        return Ok(());
    };
    let rejected = error.diagnostic().ok_or_else(|| TestCaseError::fail("an error without a place"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let line = text.split('\n').nth(rejected.line - 1).unwrap_or("");
    prop_assert!(rejected.line >= 1 && rejected.line <= text.split('\n').count());
    prop_assert!(rejected.column >= 1 && rejected.column <= line.chars().count() + 1, "{}", error);
    prop_assert!(rejected.column + rejected.width <= line.chars().count() + 2, "{}", error);
    prop_assert!(!rejected.message.is_empty() && !rejected.help.is_empty(), "{}", error);
    prop_assert!(!rejected.message.contains('\n') && !rejected.help.contains('\n'), "{}", error);
    prop_assert_eq!(error.to_string().lines().count(), 6, "{}", error);
    Ok(())
}

/// The same cases at every run.
fn run<S: Strategy>(cases: u32, strategy: S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let rng = prop::test_runner::TestRng::deterministic_rng(config.rng_algorithm);
    TestRunner::new_with_rng(config, rng).run(&strategy, test).unwrap();
}

#[test]
fn every_truncation() {
    for (end, _) in QUICK.char_indices() {
        check(&QUICK[..end]).unwrap_or_else(|error| panic!("cut at {end}: {error}"));
    }
}

#[test]
fn pieces_in_the_wrong_places() {
    let places = prop::collection::vec((any::<Index>(), 0..6usize, 0..PIECES.len()), 1..4);
    run(2000, places, |places| {
        let mut text = QUICK.to_owned();
        for (place, cut, piece) in places {
            let start = text.floor_char_boundary(place.index(text.len() + 1));
            let end = text.floor_char_boundary(text.len().min(start + cut)).max(start);
            text.replace_range(start..end, PIECES[piece]);
        }
        check(&text)
    });
}

#[test]
fn lines_dropped_doubled_and_swapped() {
    let lines: Vec<&str> = QUICK.lines().collect();
    run(1000, prop::collection::vec(0..lines.len(), 0..2 * lines.len()), |order| {
        let text: Vec<&str> = order.into_iter().map(|line| lines[line]).collect();
        check(&text.join("\n"))
    });
}

/// Values of one setting at another.
#[test]
fn values_exchanged() {
    let settings: Vec<(usize, usize)> = QUICK
        .match_indices(" = ")
        .map(|(at, _)| (at + 3, QUICK[at..].find(['\n', '#', ',', '}']).map_or(QUICK.len(), |length| at + length)))
        .filter(|(start, end)| start < end)
        .collect();
    let pairs = (0..settings.len(), 0..settings.len());
    run(1000, pairs, |(to, from)| {
        let ((start, end), (from_start, from_end)) = (settings[to], settings[from]);
        check(&format!("{}{}{}", &QUICK[..start], &QUICK[from_start..from_end], &QUICK[end..]))
    });
}

#[test]
fn any_text() {
    run(1000, "\\PC{0,200}", |text| check(&text));
    run(1000, "[a-z\\[\\]{}=.,\"'#\\n 0-9_-]{0,120}", |text| check(&text));
}

#[test]
fn deep_and_wide_texts() {
    for text in
        ["[".repeat(100_000), "a.".repeat(100_000), format!("a = {}", "[".repeat(100_000)), "a = 1\n".repeat(50_000)]
    {
        check(&text).unwrap();
    }
    let keys: String = (0..50_000).map(|key| format!("key_{key} = 1\n")).collect();
    check(&keys).unwrap();
}
