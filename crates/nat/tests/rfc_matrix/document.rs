//! The table as a document.

use std::fmt::Write as _;
use std::path::Path;

use natrig_nat::Profile;

use crate::lab::Verdict;
use crate::{Document, Level, Verdicts};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/rfc-compliance.md");

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Must => "MUST",
            Self::MustNot => "MUST NOT",
            Self::Should => "SHOULD",
            Self::ShouldNot => "SHOULD NOT",
            Self::Recommended => "RECOMMENDED",
            Self::May => "MAY",
        }
    }
}

fn render(documents: &[Document], verdicts: &Verdicts) -> String {
    let mut text = String::from(
        "# What the RFCs ask for, and what each profile does\n\n\
         Written by the tests: every verdict is what a probe found that sent packets through a translator of the profile.\n\
         `UPDATE_DOCS=1 cargo test -p natrig-nat --test rfc_matrix` writes this file anew; the test fails where it differs.\n\n\
         ● holds · ○ does not · – does not apply, or is left to choice. Requirements are abridged. The probes are functions in\n\
         `crates/nat/tests/rfc_matrix/`. A profile stands for a NAT as its vendor or its source documents it; where that is not known, its\n\
         values say so (`natrig profiles NAME`).\n\n",
    );
    let names: Vec<&str> = Profile::names().to_vec();
    for document in documents {
        let _ = writeln!(text, "## RFC {}: {}\n", document.number, document.title);
        let _ = writeln!(text, "| requirement | | what it asks for | {} | probe |", names.join(" | "));
        let _ = writeln!(text, "|---|---|---|{}---|", ":-:|".repeat(names.len()));
        for row in &document.rows {
            let of_row = &verdicts[&(document.number, row.number)];
            let signs: Vec<&str> = of_row.iter().map(|(_, verdict)| sign(verdict)).collect();
            let (number, level) = (row.number, row.level.as_str());
            let test = row.test.trim_start_matches("rfc_matrix::");
            let _ = writeln!(text, "| {number} | {level} | {} | {} | `{test}` |", row.text, signs.join(" | "));
        }
        text.push('\n');
        render_reasons(&mut text, document, verdicts);
    }
    text
}

const fn sign(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Holds => "●",
        Verdict::Violates(_) => "○",
        Verdict::NotApplicable(_) => "–",
    }
}

/// What was found where a requirement does not hold or does not apply, by requirement.
fn render_reasons(text: &mut String, document: &Document, verdicts: &Verdicts) {
    let _ = writeln!(text, "What was found:\n");
    for row in &document.rows {
        let mut reasons: Vec<(String, Vec<&str>)> = Vec::new();
        for (name, verdict) in &verdicts[&(document.number, row.number)] {
            let reason = match verdict {
                Verdict::Holds => continue,
                Verdict::Violates(reason) => reason.clone(),
                Verdict::NotApplicable(reason) => (*reason).to_owned(),
            };
            match reasons.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, names)) => names.push(name),
                None => reasons.push((reason, vec![name])),
            }
        }
        let told: Vec<String> = reasons
            .into_iter()
            .map(|(reason, names)| match &names[..] {
                names if names == Profile::names() => reason,
                names if names == &Profile::names()[1..] => format!("all but {}: {reason}", Profile::names()[0]),
                names => format!("{}: {reason}", names.join(", ")),
            })
            .collect();
        if !told.is_empty() {
            let _ = writeln!(text, "- {}: {}", row.number, told.join("; "));
        }
    }
    text.push('\n');
}

pub(crate) fn compare_or_write(documents: &[Document], verdicts: &Verdicts) {
    let text = render(documents, verdicts);
    let path = Path::new(PATH);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &text).expect("docs/ can be written");
        return;
    }
    let known = std::fs::read_to_string(path).unwrap_or_default();
    if known != text {
        let differing = known.lines().zip(text.lines()).find(|(old, new)| old != new);
        panic!(
            "docs/rfc-compliance.md is not what was found; UPDATE_DOCS=1 writes it anew. First difference: {differing:#?}"
        );
    }
}
