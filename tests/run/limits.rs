//! Path limits: what cannot be measured here is said, and the rest is.

use crate::support::harness::Outcome;
use crate::support::place::{Place, listing};

pub(crate) fn path_limits(place: &Place<'_>) -> Outcome {
    let short = "test = \"path-limits\"\nflows = 100\n[measure]\nrounds = 1\ntrial_ms = 20\n";
    place.file("limits.toml", short);
    let ended = place.run(["run", "limits.toml", "--out", "out"]);
    // Rings in memory are to be had everywhere, so there is at least one figure.
    assert_eq!(ended.code, Some(0), "{ended}");
    assert!(listing(&place.join("out")).iter().any(|file| file == "summary.md"), "{ended}");
    let told = place.natrig(["report", "out"]).succeed();
    for text in [&ended.stdout, &told] {
        let row = |claim: &str| text.lines().find(|line| line.starts_with(claim)).unwrap().to_owned();
        assert!(["met", "MISSED"].iter().any(|verdict| row("memory, both layers").contains(verdict)), "{text}");
        assert!(row("userspace gateway / nftables").contains("≥ 8×"), "{text}");
    }
    Ok(())
}
