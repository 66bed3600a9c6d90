//! Results against the schemas in `docs/`.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// Holds what a program has written against a schema of `docs/`.
pub(crate) fn holds(name: &str, written: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    let schema: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(written).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "it is not as {name} says: {errors:#?}");
}
