//! Every requirement of RFC 4787, 5382, 5508 and 6888 and every update of RFC 7857, put to every profile.
//!
//! A probe sends packets through a translator of the profile and comes to a verdict. The table of verdicts is `docs/rfc-compliance.md`:
//! `UPDATE_DOCS=1 cargo test -p natrig-nat --test rfc_matrix` writes it, and the test fails where the file differs from what was found.

#![expect(clippy::wildcard_enum_match_arm, reason = "what was not expected is wrong, whatever it is")]

mod cgn;
mod document;
#[path = "../support/foreign.rs"]
mod foreign;
mod icmp;
mod lab;
mod mapping;
#[path = "../support/packet.rs"]
mod packet;
#[path = "../support/rig.rs"]
mod rig;
mod tcp;
mod udp;
mod updates;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use lab::{Subject, Verdict};
use natrig_nat::Profile;

/// How binding a requirement is (RFC 2119).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Must,
    MustNot,
    Should,
    ShouldNot,
    Recommended,
    May,
}

pub(crate) struct Row {
    /// `REQ-3a`, or the section where requirements have no numbers.
    number: &'static str,
    level: Level,
    text: &'static str,
    /// The probe's path.
    test: &'static str,
    probe: fn(&Subject) -> Verdict,
}

pub(crate) struct Document {
    number: u16,
    title: &'static str,
    rows: Vec<Row>,
}

/// `row!("REQ-1", Must, "what it asks for", probe)`.
#[macro_export]
macro_rules! row {
    ($number:literal, $level:ident, $text:literal, $probe:ident) => {
        $crate::Row {
            number: $number,
            level: $crate::Level::$level,
            text: $text,
            test: concat!(module_path!(), "::", stringify!($probe)),
            probe: $probe,
        }
    };
}

fn documents() -> Vec<Document> {
    vec![udp::document(), tcp::document(), icmp::document(), cgn::document(), updates::document()]
}

/// Verdicts by document, requirement and profile.
type Verdicts = BTreeMap<(u16, &'static str), Vec<(&'static str, Verdict)>>;

/// Every probe run against every profile, once.
fn verdicts() -> &'static Verdicts {
    static VERDICTS: OnceLock<Verdicts> = OnceLock::new();
    VERDICTS.get_or_init(|| {
        let profile = |name: &&'static str| Profile::builtin(name).expect("a profile that comes with the library");
        let subjects: Vec<_> =
            Profile::names().iter().map(|name| (*name, Subject { profile: profile(name) })).collect();
        let mut verdicts = Verdicts::new();
        for document in documents() {
            for row in document.rows {
                let of_row = subjects.iter().map(|(name, subject)| (*name, (row.probe)(subject))).collect();
                let known = verdicts.insert((document.number, row.number), of_row);
                assert!(known.is_none(), "RFC {} {} is in the table twice", document.number, row.number);
            }
        }
        verdicts
    })
}

fn verdict(document: u16, number: &str, profile: &str) -> &'static Verdict {
    let row = verdicts().iter().find(|((rfc, req), _)| (*rfc, *req) == (document, number));
    let (_, of_row) = row.unwrap_or_else(|| panic!("RFC {document} {number} is not in the table"));
    &of_row.iter().find(|(name, _)| *name == profile).expect("a profile that comes with the library").1
}

/// What the profile that follows the RFCs need not do, and why is for the table to say.
const NOT_FOR_A_TRANSLATOR: &[(u16, &str)] =
    &[(4787, "REQ-10a"), (6888, "REQ-9"), (6888, "REQ-10"), (6888, "REQ-11c"), (6888, "REQ-12"), (6888, "REQ-14")];

#[test]
fn the_profile_named_for_the_rfcs_keeps_every_must_and_should() {
    let mut broken = Vec::new();
    for document in documents() {
        for row in document.rows.iter().filter(|row| row.level != Level::May) {
            let excused = NOT_FOR_A_TRANSLATOR.contains(&(document.number, row.number));
            let verdict = verdict(document.number, row.number, "rfc4787");
            let good = if excused { matches!(verdict, Verdict::NotApplicable(_)) } else { *verdict == Verdict::Holds };
            if !good {
                broken.push(format!("RFC {} {}: {verdict:?}", document.number, row.number));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// What is known of the real ones, and must be so of their likenesses: true where the requirement holds.
#[test]
fn the_others_fail_where_the_real_ones_do() {
    let cilium = ["cilium-bpf", "cilium-bpf-old128", "cilium-bpf-old32"];
    let netfilter = ["netfilter", "netfilter-fully-random", "vpc-cni"];
    let (aws, azure, gcp) = (["aws-natgw"], ["azure-natgw"], ["gcp-cloudnat-static", "gcp-cloudnat-dynamic"]);
    let families: [&[&str]; 5] = [&cilium, &netfilter, &aws, &azure, &gcp];
    let known: [(u16, &str, [Option<bool>; 5]); 13] = [
        // Endpoint-independent mapping.
        (4787, "REQ-1", [Some(false); 5]),
        (5382, "REQ-1", [Some(false); 5]),
        // A port serves several inside ends towards different remote ends.
        (4787, "REQ-3", [Some(false); 5]),
        (5382, "REQ-7", [Some(false); 5]),
        // Timers.
        (5382, "REQ-5 established", [Some(true), Some(true), Some(false), Some(false), Some(false)]),
        (5382, "REQ-5 transitory", [Some(false), Some(false), None, Some(false), Some(false)]),
        (4787, "REQ-5", [Some(false), Some(false), Some(true), Some(true), Some(false)]),
        (5508, "REQ-2", [Some(true), Some(false), Some(true), Some(false), Some(false)]),
        // Fragments in any order, of UDP, TCP and ICMP.
        (4787, "REQ-14", [Some(false), Some(true), Some(false), Some(false), None]),
        // Existing mappings go for new ones.
        (6888, "REQ-11d", [Some(false), Some(false), None, None, Some(true)]),
        // Nobody is told.
        (6888, "REQ-11b", [Some(false); 5]),
        (4787, "REQ-9", [Some(false); 5]),
        (5382, "REQ-8", [Some(false); 5]),
    ];
    for (document, number, expected) in known {
        for (profiles, expected) in families.iter().zip(expected) {
            let Some(expected) = expected else { continue };
            for profile in *profiles {
                let verdict = verdict(document, number, profile);
                let holds = *verdict == Verdict::Holds;
                assert!(holds == expected, "RFC {document} {number}, {profile}: {verdict:?}");
            }
        }
    }
}

#[test]
fn the_table_in_the_docs_is_what_was_found() {
    document::compare_or_write(&documents(), verdicts());
}
