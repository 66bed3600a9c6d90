//! `docs/toggle.schema.json` against the types. After a change that is meant: `UPDATE_SCHEMA=1 cargo test -p natrig-cutover --test schema`.

use std::path::Path;

use natrig_bench::test::RecordOf;
use natrig_cutover::Toggle;

#[test]
fn the_committed_schema_is_that_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/toggle.schema.json");
    let wanted = serde_json::to_string_pretty(schemars::schema_for!(RecordOf<Toggle>).as_value()).unwrap() + "\n";
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), wanted, "UPDATE_SCHEMA=1 writes it anew");
}
