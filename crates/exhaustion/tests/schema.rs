//! `docs/exhaustion.schema.json` against the types. After a change that is meant: `UPDATE_SCHEMA=1 cargo test -p natrig-exhaustion --test schema`.

use std::path::Path;

use natrig_bench::test::RecordOf;
use natrig_exhaustion::Exhaustion;

#[test]
fn the_committed_schema_is_that_of_the_types() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/exhaustion.schema.json");
    let schema = serde_json::to_string_pretty(&schemars::schema_for!(RecordOf<Exhaustion>)).unwrap() + "\n";
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&file, &schema).unwrap();
    }
    assert!(std::fs::read_to_string(&file).unwrap() == schema, "{} is not what the types say", file.display());
}
