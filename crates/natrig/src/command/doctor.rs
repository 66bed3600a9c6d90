//! `natrig doctor`.

use natrig_lab::doctor::{Check, Health, examine};
use natrig_lab::privilege;

use super::print;
use crate::args::Doctor;
use crate::exit::{self, Failure, Outcome};

/// Looks at the machine. Nothing it finds is a failure: natrig does without what is missing.
pub(crate) fn doctor(args: &Doctor) -> Outcome {
    let checks = examine(&privilege::enter());
    let text = if args.json {
        serde_json::to_string_pretty(&checks)
            .map_err(|error| Failure::failed(exit::FAILED, format_args!("failed to write JSON: {error}")))?
            + "\n"
    } else {
        render(&checks)
    };
    print(&text)?;
    Ok(exit::OK)
}

fn render(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for Check { name, health, detail, mend } in checks {
        let mark = match health {
            Health::Ok => "ok     ",
            Health::Warn => "warn   ",
            Health::Missing => "missing",
        };
        text.push_str(&format!("{mark}  {name:width$}  {detail}\n"));
        if let Some(mend) = mend {
            text.push_str(&format!("{:9}{:width$}  → {mend}\n", "", ""));
        }
    }
    text
}
