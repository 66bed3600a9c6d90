//! Every mistake in a scenario file is answered once, at its place, with the mend.
//!
//! The files beside this one hold scenarios, each with one mistake between « and », and what is said about it.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use natrig_bench::scenario::{Diagnostic, Scenario};

const PROFILES: [&str; 4] = ["cilium-bpf", "netfilter", "aws-natgw", "vpc-cni"];

#[test]
fn text_that_is_not_toml() {
    check(include_str!("scenario_mistakes/syntax.txt"), 25);
}

#[test]
fn keys_that_nobody_knows() {
    check(include_str!("scenario_mistakes/keys.txt"), 11);
}

#[test]
fn values_of_the_wrong_type() {
    check(include_str!("scenario_mistakes/types.txt"), 17);
}

#[test]
fn words_and_names_that_do_not_exist() {
    check(include_str!("scenario_mistakes/words.txt"), 13);
}

#[test]
fn numbers_out_of_bounds() {
    check(include_str!("scenario_mistakes/bounds.txt"), 25);
}

#[test]
fn address_plans_that_cannot_be() {
    check(include_str!("scenario_mistakes/plans.txt"), 21);
}

#[test]
fn settings_that_do_not_go_together() {
    check(include_str!("scenario_mistakes/together.txt"), 23);
}

/// Of several mistakes the first in the file is told, whichever is found first.
#[test]
fn one_error_per_file() {
    let rejected = reject("[traffic]\nflow = 1\nflows = 0\n\n[topology]\nmtu = 0\n");
    assert_eq!((rejected.line, rejected.column), (2, 1));
    let rejected = reject("[measure]\nrounds = 0\n[topology]\nmtu = \"x\"\n[colour]\n");
    assert_eq!((rejected.line, rejected.column), (2, 10));
    let rejected = reject("designs = []\nb = [\n");
    assert_eq!(rejected.message, "a list lacks its closing bracket", "what is no TOML has no other mistakes");
}

#[test]
fn the_whole_message() {
    let error = Scenario::parse("# none\n[traffic]\n\tflows = 0 # zero\n", "mine/zero.toml", &PROFILES).unwrap_err();
    let expected = "\
error: `traffic.flows` is 0, but must be at least 1
 --> mine/zero.toml:3:10
  |
3 |     flows = 0 # zero
  |             ^
help: write a whole number from 1 to 1_048_576";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn line_endings_and_byte_order_marks_do_not_move_the_place() {
    for text in ["seed = 1\n\n[traffic]\nflows = 0\n", "\u{feff}seed = 1\r\n\r\n[traffic]\r\nflows = 0\r\n"] {
        let rejected = reject(text);
        assert_eq!((rejected.line, rejected.column, rejected.source_line.as_str()), (4, 9, "flows = 0"));
    }
    assert_eq!(reject("\u{feff}seed = -1").column, 8);
}

/// Runs every case of a table; `count` keeps the table from shrinking unnoticed.
fn check(table: &str, count: usize) {
    let cases: Vec<&str> = table.split("\n----\n").collect();
    assert_eq!(cases.len(), count);
    for case in cases {
        let (text, said) = case.trim_end().split_once("\nerror: ").unwrap();
        let (message, help) = said.split_once("\nhelp: ").unwrap();
        let (before, marked) = text.split_once('«').unwrap();
        let (mistake, after) = marked.split_once('»').unwrap();
        let rejected = reject(&format!("{before}{mistake}{after}"));
        let line_before = before.rsplit('\n').next().unwrap();
        assert_eq!(rejected.message, message, "{text}");
        assert_eq!(rejected.help, help, "{text}");
        assert_eq!(rejected.line, before.matches('\n').count() + 1, "{text}");
        assert_eq!(rejected.column, line_before.chars().count() + 1, "{text}");
        assert_eq!(rejected.width, mistake.chars().count().max(1), "{text}");
    }
}

fn reject(text: &str) -> Diagnostic {
    match Scenario::parse(text, "mistake.toml", &PROFILES) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(error) => error.diagnostic().unwrap().clone(),
    }
}
