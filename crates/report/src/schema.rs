//! The shape of `result.json`.

use natrig_bench::result::RunResult;
use serde_json::Value;

/// The JSON schema (draft 2020-12) of [`RunResult`]: what `docs/result.schema.json` holds and `docs/results.md` explains.
pub fn result_schema() -> Value {
    schemars::schema_for!(RunResult).to_value()
}
