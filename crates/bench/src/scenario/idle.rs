//! Settings that were typed and would change nothing: whoever typed them believes that they do.

use super::model::Scenario;
use super::words::Engine;
use crate::settings::{Fault, Spots};

/// The first setting in the file that has no effect.
pub(super) fn check(scenario: &Scenario, spots: &Spots) -> Result<(), Fault> {
    let mut faults = Vec::new();
    let mut idle = |setting: &str, message: String, help: String| {
        if spots.typed(setting) {
            faults.push(Fault { at: spots.of(setting), message, help });
        }
    };
    let lineups = scenario.lineups();
    for layer in ["node", "gateway"] {
        let stands = |engine: Engine| {
            lineups.iter().any(|lineup| if layer == "node" { lineup.node } else { lineup.gateway } == engine)
        };
        if !scenario.engines.is_empty() {
            let setting = format!("{layer}.engine");
            let message = format!("`{setting}` has no effect beside `engines`, which is about both layers");
            idle(&setting, message, "remove one of the two".to_owned());
        }
        for (key, engine) in [
            ("profile", Engine::Userspace),
            ("nat", Engine::Nftables),
            ("ports", Engine::Nftables),
            ("port_range", Engine::Nftables),
        ] {
            if !stands(engine) {
                let setting = format!("{layer}.{key}");
                let message = format!("`{setting}` is a setting of the engine {engine}, which does not stand there");
                let help = format!("add `engine = \"{engine}\"` below [{layer}], or remove `{key}`");
                idle(&setting, message, help);
            }
        }
    }
    if !lineups.iter().any(|lineup| lineup.has(Engine::Nftables) || lineup.has(Engine::Redirect)) {
        let message =
            "`link.kernel` is about the engines nftables and redirect, which do not stand anywhere".to_owned();
        idle("link.kernel", message, "add `engines = [\"nftables\"]`, or remove `kernel`".to_owned());
    }
    faults.into_iter().min_by_key(|fault| fault.at.start).map_or(Ok(()), Err)
}
