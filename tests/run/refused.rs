//! Machines that refuse namespaces.

use super::{scenarios, sound};
use crate::support::harness::{Outcome, Skipped};
use crate::support::limits;
use crate::support::place::{Place, listing};
use crate::support::process::Ended;

/// The two switches by which administrators forbid them.
const SETTINGS: [&str; 2] = ["max_user_namespaces", "max_net_namespaces"];

fn natrig(place: &Place<'_>, setting: &str, arguments: &[&str]) -> Result<Ended, Skipped> {
    let (limit, natrig) = (format!("{setting}=0"), place.natrig_path());
    let ended = place.role([&["limits", &limit, natrig.to_str().unwrap()], arguments].concat()).finish();
    limits::skipped(&ended).map_or(Ok(ended), Err)
}

pub(crate) fn measures_in_memory(place: &Place<'_>) -> Outcome {
    place.file("tiny.toml", &scenarios::fixed(1));
    for setting in SETTINGS {
        let ended = natrig(place, setting, &["run", "tiny.toml", "--json", "--out", setting])?;
        assert_eq!(ended.code, Some(0), "{ended}");
        let result = sound::result(&ended.stdout);
        sound::complete(&result, &place.join(setting));
        assert_eq!(result.environment.mode, "memory");
        assert!(result.environment.mode_reason.as_ref().unwrap().contains(&format!("user.{setting} is 0")), "{ended}");
        // Who reads the report learns it too.
        let report = place.run(["report", setting]);
        assert!(report.stdout.contains("memory") && report.stdout.contains(setting), "{report}");
        let doctor = natrig(place, setting, &["doctor"])?;
        assert!(doctor.code == Some(0) && doctor.stdout.contains(setting), "{doctor}");
    }
    Ok(())
}

pub(crate) fn packet_links(place: &Place<'_>) -> Outcome {
    place.file("tiny.toml", &scenarios::fixed(1));
    for (setting, link) in SETTINGS.into_iter().zip(["packet", "pnet"]) {
        let ended = natrig(place, setting, &["run", "tiny.toml", "--link", link, "--out", "out"])?;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(5), ""), "{ended}");
        assert!(ended.stderr.contains(&format!("user.{setting} is 0")), "{ended}");
        assert!(ended.stderr.contains("help: ") && ended.stderr.contains("natrig doctor"), "{ended}");
        assert_eq!(place.listing(), ["tiny.toml"], "something was created");
    }
    Ok(())
}

pub(crate) fn world(place: &Place<'_>) -> Outcome {
    for setting in SETTINGS {
        let ended = natrig(place, setting, &["up", "--design", "both"])?;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(5), ""), "{ended}");
        assert!(ended.stderr.contains(&format!("user.{setting} is 0")), "{ended}");
        assert!(listing(&place.state()).is_empty(), "{:?}", listing(&place.state()));
    }
    Ok(())
}
