//! Path limits: what cannot be measured here is said, and the rest is.

use crate::support::harness::Outcome;
use crate::support::place::{Place, listing};

pub(crate) fn path_limits(place: &Place<'_>) -> Outcome {
    // A few targets of each kind: worlds take longer to build than to measure in.
    let short = "test = \"path-limits\"\nflows = 100\ntargets = [\"run to completion / nftables inline\", \"memory, both \
                 layers, one core, Mpps\", \"gateway, 1514-byte frames, Gbit/s\", \"generator's rate / with 1 flow\"]\n\
                 [measure]\nrounds = 1\ntrial_ms = 20\n";
    place.file("limits.toml", short);
    let ended = place.run(["run", "limits.toml", "--out", "out"]);
    // Rings in memory are to be had everywhere, so there is at least one figure.
    assert_eq!(ended.code, Some(0), "{ended}");
    assert!(listing(&place.join("out")).iter().any(|file| file == "summary.md"), "{ended}");
    let told = place.natrig(["report", "out"]).succeed();
    for text in [&ended.stdout, &told] {
        let row = |claim: &str| text.lines().find(|line| line.starts_with(claim)).unwrap().to_owned();
        assert!(["met", "MISSED"].iter().any(|verdict| row("memory, both layers").contains(verdict)), "{text}");
        assert!(row("run to completion / nftables").contains("≥ 4×"), "{text}");
        assert!(!text.contains("AF_XDP"), "nobody asked for it: {text}");
    }
    Ok(())
}
