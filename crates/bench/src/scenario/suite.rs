//! Suite names in the grammar of FD.io CSIT: `nat44-h1024-p63-s64512-udir-ndrpdr`.
//!
//! H inside hosts with P ports each make S = H·P sessions. `udir` carries frames out only, `tput` has them answered, and `cps` opens
//! connections through empty tables; `ndr`, `pdr` and `ndrpdr` say which rates are searched for.

use std::fmt;
use std::str::FromStr;

use natrig_lab::topology::MAX_POD_ADDRESSES;

use super::bounds;
use super::model::{MlrSearch, PortRange, Rate, Scenario};
use super::words::TrafficDirection;
use crate::settings::Word;

/// A suite of CSIT's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suite {
    /// Inside addresses.
    pub hosts: u32,
    /// Ports of each.
    pub ports: u32,
    /// What is measured.
    pub kind: SuiteKind,
    /// Which rates are searched for.
    pub search: SuiteSearch,
}

crate::words! {
    /// What a suite measures.
    SuiteKind {
        /// Connections per second: each frame opens one, through empty tables.
        Cps = "cps",
        /// Throughput over connections that stand, both ways.
        Tput = "tput",
        /// Throughput over connections that stand, outwards.
        Udir = "udir",
    }
}

crate::words! {
    /// Which rates a suite searches for.
    SuiteSearch {
        /// Without loss.
        Ndr = "ndr",
        /// With at most half a percent of loss.
        Pdr = "pdr",
        /// Both.
        NdrPdr = "ndrpdr",
    }
}

/// Why a text is not the name of a suite that can be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SuiteError {
    /// It does not follow the grammar.
    #[error("is no suite's name: those read nat44-h1024-p63-s64512-udir-ndrpdr")]
    Grammar,
    /// H·P is not S.
    #[error("says {hosts} hosts × {ports} ports = {sessions} sessions, but that is {}", u64::from(*hosts) * u64::from(*ports))]
    Product {
        /// H.
        hosts: u32,
        /// P.
        ports: u32,
        /// S.
        sessions: u32,
    },
    /// A connection rate at which some may fail.
    #[error("asks for a rate of connections with loss: cps-ndr can be run, each connection must get through")]
    LossyConnections,
    /// More than fits.
    #[error("asks for {what}: at most {limit} are possible")]
    TooMany {
        /// Hosts, ports or sessions.
        what: String,
        /// How many there can be.
        limit: u32,
    },
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hosts, ports, kind, search } = self;
        write!(f, "nat44-h{hosts}-p{ports}-s{}-{kind}-{search}", u64::from(*hosts) * u64::from(*ports))
    }
}

impl FromStr for Suite {
    type Err = SuiteError;

    fn from_str(name: &str) -> Result<Self, SuiteError> {
        let mut parts = name.split('-');
        let mut part = || parts.next().ok_or(SuiteError::Grammar);
        let number = |part: &str, letter| {
            part.strip_prefix(letter).and_then(|digits| digits.parse().ok()).ok_or(SuiteError::Grammar)
        };
        if part()? != "nat44" {
            return Err(SuiteError::Grammar);
        }
        let (hosts, ports, sessions) = (number(part()?, 'h')?, number(part()?, 'p')?, number(part()?, 's')?);
        let kind = SuiteKind::from_word(part()?).ok_or(SuiteError::Grammar)?;
        let search = SuiteSearch::from_word(part()?).ok_or(SuiteError::Grammar)?;
        if parts.next().is_some() || hosts == 0 || ports == 0 {
            return Err(SuiteError::Grammar);
        }
        if kind == SuiteKind::Cps && search != SuiteSearch::Ndr {
            return Err(SuiteError::LossyConnections);
        }
        if u64::from(hosts) * u64::from(ports) != u64::from(sessions) {
            return Err(SuiteError::Product { hosts, ports, sessions });
        }
        let too_many = |what: String, limit| Err(SuiteError::TooMany { what, limit });
        match () {
            () if hosts > MAX_POD_ADDRESSES => too_many(format!("{hosts} hosts"), MAX_POD_ADDRESSES),
            () if ports > SRC_PORTS_MAX => too_many(format!("{ports} ports of a host"), SRC_PORTS_MAX),
            () if sessions > *bounds::FLOWS.end() => too_many(format!("{sessions} sessions"), *bounds::FLOWS.end()),
            () => Ok(Self { hosts, ports, kind, search }),
        }
    }
}

/// Frames over standing connections beside a search for the rate of new ones: less than any link here carries.
const CPS_FRAMES_PPS: u32 = 50_000;

/// Source ports from 1024 up.
const SRC_PORTS_MAX: u32 = 64_512;

/// Sessions towards a server: few of the ports that any profile has for it, so that no allocator that gives up early refuses one. Only
/// where there would be more than [`SERVERS_MAX`] servers there are more.
const SESSIONS_PER_SERVER: u32 = 4032;
const SERVERS_MAX: u32 = 64;

impl Suite {
    /// What a scenario measures in CSIT's words, unless its flows are not the same number for each pod, or its rate is fixed and it does
    /// not measure that of new connections either.
    #[must_use]
    pub fn of(scenario: &Scenario) -> Option<Self> {
        let (hosts, flows) = (scenario.topology.pods.count, scenario.traffic.flows);
        let kind = match (scenario.measure.rate, scenario.traffic.direction) {
            (Rate::FixedPps(_), _) if scenario.measure.connections == flows => SuiteKind::Cps,
            (Rate::FixedPps(_), _) => return None,
            (_, TrafficDirection::Out) => SuiteKind::Udir,
            (_, TrafficDirection::Both) => SuiteKind::Tput,
        };
        let search = match scenario.measure.rate {
            Rate::Mlrsearch(search) if search.pdr_loss_ratio > 0.0 => SuiteSearch::NdrPdr,
            Rate::Mlrsearch(_) | Rate::Search(_) | Rate::FixedPps(_) => SuiteSearch::Ndr,
        };
        (flows % hosts == 0).then_some(Self { hosts, ports: flows / hosts, kind, search })
    }

    /// The scenario that the name stands for: the quick one with these flows, and with MLRsearch where the name asks for more than NDR;
    /// `cps` searches for the rate of new connections, and sends frames over those that stand at a fixed rate.
    #[must_use]
    pub fn scenario(&self) -> Scenario {
        let mut scenario = Scenario::quick();
        scenario.title = self.to_string();
        let sessions = self.hosts * self.ports;
        scenario.question = match self.kind {
            SuiteKind::Cps => format!("How fast can {sessions} connections be opened through empty tables?"),
            SuiteKind::Tput | SuiteKind::Udir => {
                format!("How many frames per second pass over {sessions} connections that stand?")
            }
        };
        self.set_flows(&mut scenario);
        match self.kind {
            SuiteKind::Cps => {
                scenario.measure.connections = sessions;
                scenario.measure.rate = Rate::FixedPps(CPS_FRAMES_PPS);
            }
            SuiteKind::Tput => scenario.traffic.direction = TrafficDirection::Both,
            SuiteKind::Udir => {}
        }
        if self.search != SuiteSearch::Ndr {
            scenario.measure.rate = Rate::Mlrsearch(MlrSearch::CSIT);
            scenario.measure.trial_ms = 1000;
            scenario.measure.time_limit_s = scenario.sufficient_time_limit_s();
        }
        scenario
    }

    /// As many pods, ports and servers as the suite needs.
    pub fn set_flows(&self, scenario: &mut Scenario) {
        let sessions = self.hosts * self.ports;
        let topology = &mut scenario.topology;
        if self.hosts > POD_ROOM {
            // The largest private network that the others are not in.
            topology.pods.cidr = natrig_lab::net::Ipv4Net::new([10, 64, 0, 0].into(), 14).unwrap_or(topology.pods.cidr);
            topology.pods.router = [10, 64, 0, 1].into();
            topology.pods.first = [10, 64, 1, 0].into();
        }
        topology.pods.count = self.hosts;
        topology.internet.server_count =
            sessions.div_ceil(SESSIONS_PER_SERVER).min(SERVERS_MAX).max(topology.internet.server_count);
        let traffic = &mut scenario.traffic;
        traffic.flows = sessions;
        let first = (u16::MAX - u16::try_from(self.ports - 1).unwrap_or(u16::MAX)).min(traffic.src_ports.first);
        traffic.src_ports = PortRange { first, last: first + (self.ports - 1) as u16 };
    }
}

/// Pods that the quick scenario's network has room for.
const POD_ROOM: u32 = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in
            ["nat44-h1024-p63-s64512-cps-ndr", "nat44-h16-p63-s1008-udir-ndrpdr", "nat44-h1-p64512-s64512-tput-pdr"]
        {
            assert_eq!(name.parse::<Suite>().map(|suite| suite.to_string()), Ok(name.to_owned()));
        }
        let refused = |name: &str| name.parse::<Suite>().unwrap_err().to_string();
        assert!(refused("nat44-h2-p3-s7-cps-ndr").ends_with("but that is 6"));
        assert!(refused("nat44-h2-p3-s6-cps-mrr").contains("no suite's name"));
        assert!(refused("nat44-h2-p3-s6-cps-ndr-2").contains("no suite's name"));
        assert!(refused("nat44-h2-p3-s6-cps-pdr").contains("cps-ndr can be run"));
        assert!(refused("nat44-h99999-p1-s99999-cps-ndr").contains("99999 hosts"));
        assert!(refused("nat44-h65536-p63-s4128768-cps-ndr").contains("4128768 sessions"));
    }

    #[test]
    fn the_ladder_of_csit_makes_sound_scenarios_that_bear_their_names() {
        for hosts in [16, 1024, 4096, 16_384] {
            for kind in ["udir-ndr", "tput-ndrpdr", "cps-ndr"] {
                let name = format!("nat44-h{hosts}-p63-s{}-{kind}", hosts * 63);
                let scenario = name.parse::<Suite>().unwrap().scenario();
                assert_eq!(scenario.check(), Ok(()), "{name}");
                assert_eq!(Suite::of(&scenario).unwrap().to_string(), name);
            }
        }
        assert!(Suite::of(&Scenario::quick()).is_none(), "1000 flows are not the same number for each of 16 pods");
    }
}
