//! `docs/result.schema.json` and the reference in `docs/results.md` against the types. After a change that is meant:
//! `UPDATE_SCHEMA=1 cargo test -p natrig-report --test schema`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod reference;

use std::fs;
use std::path::{Path, PathBuf};

use natrig_report::schema;

/// What stands before the generated part of `docs/results.md`.
const MARK: &str =
    "<!-- From here on generated from the types: UPDATE_SCHEMA=1 cargo test -p natrig-report --test schema -->\n";

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
}

/// Compares, or writes where that is asked for.
fn committed_is(path: &Path, wanted: &str) {
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        fs::write(path, wanted).unwrap();
    }
    let committed = fs::read_to_string(path).unwrap();
    let line = committed.lines().zip(wanted.lines()).position(|(a, b)| a != b).map_or(0, |line| line + 1);
    assert!(
        committed == wanted,
        "{} is not what the types say (from line {line} on): run UPDATE_SCHEMA=1 cargo test -p natrig-report --test schema",
        path.display()
    );
}

#[test]
fn the_committed_schema_is_that_of_the_types() {
    let schema = serde_json::to_string_pretty(&schema::result_schema()).unwrap();
    committed_is(&docs("result.schema.json"), &(schema + "\n"));
}

#[test]
fn the_reference_is_that_of_the_types_and_explains_every_field() {
    let schema = schema::result_schema();
    let path = docs("results.md");
    let text = fs::read_to_string(&path).unwrap();
    let (by_hand, _) = text.split_once(MARK).expect("docs/results.md has lost its mark");
    committed_is(&path, &format!("{by_hand}{MARK}\n{}", reference::sections(&schema)));

    let text = fs::read_to_string(&path).unwrap();
    let names = reference::property_names(&schema);
    assert!(names.len() > 100, "{names:?}");
    let missing: Vec<&String> = names.iter().filter(|name| !text.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/results.md does not mention {missing:?}");
    let unexplained: Vec<&str> =
        text.lines().filter(|line| line.starts_with("| `") && line.ends_with("|  |")).collect();
    assert!(unexplained.is_empty(), "without a meaning: {unexplained:?}");
}
