//! Cases that once went wrong, through every profile.

use std::path::Path;

use natrig_nat::Profile;

use crate::case;
use crate::random_input;

#[test]
fn cases_that_were_found_stay_mended() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut cases = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "hex") {
            continue;
        }
        let steps = case::from_text(&std::fs::read_to_string(&path).unwrap());
        assert!(!steps.is_empty(), "{} is empty", path.display());
        for name in Profile::names() {
            for seed in 0..4 {
                if let Err((at, what)) = case::run(&random_input::config(name, seed), seed, &steps) {
                    panic!("{}, {name}, seed {seed}, step {at}: {what}", path.display());
                }
            }
        }
        cases += 1;
    }
    assert!(cases > 0, "there are no cases in {}", folder.display());
}
