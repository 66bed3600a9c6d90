//! How much effort a run takes: the same question, answered within a minute or over a night.

use super::model::{Measure, MlrSearch, Rate, Scenario};
use crate::settings::Word;

crate::words! {
    /// How much effort a run takes.
    Effort {
        /// Less than a minute for four designs: the search by halving, trials of 100 ms.
        Quick = "quick",
        /// Less than three minutes: MLRsearch with trials of 100 ms, eight rounds to compare designs within.
        Ci = "ci",
        /// Less than twenty minutes for four designs: NDR and PDR from trials of 200 ms over 64,512 flows, latency at
        /// six loads, new connections, usable ports; as many rounds as it takes to decide, twelve at most.
        Nightly = "nightly",
        /// RFC 2544 to the letter: trials of 60 s, twenty rounds.
        Rfc = "rfc",
    }
}

impl Effort {
    /// What a run of so much effort is headed with, where its file is headed with `title`: what was measured is not what that file
    /// measures by itself.
    #[must_use]
    pub fn heading(self, title: &str) -> String {
        let bare = Self::ALL.iter().find_map(|effort| title.strip_prefix(effort.run()));
        format!("{}{}", self.run(), bare.unwrap_or(title))
    }

    /// What a run of so much effort is called; the built-in scenario is a quick look.
    const fn run(self) -> &'static str {
        match self {
            Self::Quick => "Quick look: ",
            Self::Ci => "CI run: ",
            Self::Nightly => "Nightly run: ",
            Self::Rfc => "RFC 2544 run: ",
        }
    }
}

impl Scenario {
    /// Measures with so much effort instead of what [`Self::measure`] says; a rate that is fixed stays fixed.
    pub fn set_effort(&mut self, effort: Effort) {
        self.title = effort.heading(&self.title);
        let quick = Self::quick().measure;
        let short =
            MlrSearch { width: 0.02, initial_trial_ms: 100, duration_sum_ms: 700, budget_s: 8, ..MlrSearch::CSIT };
        let longer =
            MlrSearch { width: 0.01, initial_trial_ms: 100, duration_sum_ms: 1500, budget_s: 15, ..MlrSearch::CSIT };
        let (rounds, trial_ms, latency_ms, rate) = match effort {
            Effort::Quick => (quick.rounds, quick.trial_ms, quick.latency_ms, quick.rate),
            Effort::Ci => (8, 100, 400, Rate::Mlrsearch(short)),
            Effort::Nightly => (NIGHTLY_ROUNDS, 200, NIGHTLY_LATENCY_MS, Rate::Mlrsearch(longer)),
            Effort::Rfc => (20, 60_000, 60_000, Rate::Mlrsearch(MlrSearch::RFC2544)),
        };
        let rate = if let Rate::FixedPps(_) = self.measure.rate { self.measure.rate } else { rate };
        if matches!(effort, Effort::Nightly | Effort::Rfc) && self.measure.latency_loads.is_empty() {
            self.measure.latency_loads = LOADS.to_vec();
            self.measure.new_flows = NEW_FLOWS;
        }
        if matches!(effort, Effort::Nightly | Effort::Rfc) && self.measure.connections == 0 {
            let servers = self.topology.internet.server_count.max(1);
            self.measure.connections =
                CONNECTIONS.min(self.tuples_max()).min(servers.saturating_mul(CONNECTIONS_PER_SERVER));
        }
        if effort == Effort::Nightly {
            self.traffic.flows = self.traffic.flows.max(FLOWS.min(self.tuples_max()));
            (self.measure.first_look, self.measure.look_every) = (FIRST_LOOK, LOOK_EVERY);
        }
        self.measure =
            Measure { rounds, trial_ms, latency_ms, rate, time_limit_s: quick.time_limit_s, ..self.measure.clone() };
        self.measure.time_limit_s = match effort {
            Effort::Quick => quick.time_limit_s,
            Effort::Ci => CI_LIMIT_S,
            Effort::Nightly => NIGHTLY_CELL_S.saturating_mul(u32::try_from(self.cells_per_round()).unwrap_or(u32::MAX)),
            Effort::Rfc => self.sufficient_time_limit_s(),
        };
    }
}

/// At which loads latency is measured where there is time for it.
const LOADS: [f64; 6] = [0.0, 0.1, 0.5, 0.9, 1.0, 1.1];

/// With how many connections the rate of new ones is measured: more than all rings together would hold back.
const CONNECTIONS: u32 = 200_000;

/// Fewer than any profile has ports for one destination, so that ports are not what is measured.
const CONNECTIONS_PER_SERVER: u32 = 20_000;

/// Enough for the 99.9th percentile of new flows.
const NEW_FLOWS: u32 = 6000;

/// When `ci` starts no further round; with building the world, the TCP checks and the report it stays below three minutes.
const CI_LIMIT_S: u32 = 160;

/// As many flows as CSIT's smallest NAT44 suite.
const FLOWS: u32 = 64_512;

/// The most rounds of `nightly`, and after which it is looked whether everything is decided: from the first on with which an exact test
/// can say anything at the share of 5 % that it is given.
const NIGHTLY_ROUNDS: u32 = 12;
const FIRST_LOOK: u32 = 7;
const LOOK_EVERY: u32 = 2;

/// At the lowest load that is just enough for the 99th percentile.
const NIGHTLY_LATENCY_MS: u32 = 600;

/// No further round of `nightly` is started that would end after so many seconds for each design, engine and frame size: nineteen
/// minutes for four designs.
const NIGHTLY_CELL_S: u32 = 285;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_effort_makes_a_sound_scenario() {
        for &effort in Effort::ALL {
            let mut scenario = Scenario::quick();
            scenario.set_effort(effort);
            assert_eq!(scenario.check(), Ok(()), "{effort}");
        }
        let mut scenario = Scenario::quick();
        scenario.set_effort(Effort::Quick);
        assert_eq!(scenario, Scenario::quick());
        scenario.set_effort(Effort::Nightly);
        assert_eq!(scenario.title, "Nightly run: what does each NAT layer cost?");
        assert!(scenario.measure.time_limit_s <= 1200, "{}", scenario.measure.time_limit_s);
        assert_eq!((scenario.traffic.flows, scenario.measure.latency_loads.len()), (64_512, 6));
        assert!(scenario.measure.connections > 0);
        let looks = scenario.measure.looks().unwrap();
        assert!(looks.is_look(FIRST_LOOK) && looks.cap() == NIGHTLY_ROUNDS);
        let mut scenario = Scenario::quick();
        scenario.set_effort(Effort::Rfc);
        assert_eq!((scenario.measure.rounds, scenario.measure.trial_ms), (20, 60_000));
        scenario.measure.rate = Rate::FixedPps(1000);
        scenario.title = "Two by two".to_owned();
        scenario.set_effort(Effort::Ci);
        assert_eq!(scenario.measure.rate, Rate::FixedPps(1000));
        assert_eq!(scenario.title, "CI run: Two by two");
    }
}
