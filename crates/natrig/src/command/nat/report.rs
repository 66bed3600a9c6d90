//! What a NAT that runs tells about itself: the same over its socket, on SIGUSR1 and at its end.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddrV4};

use natrig_lab::router::{Router, RouterCounts};
use natrig_lab::stage::Side;
use natrig_link::{Link, LinkKind, LinkStats};
use natrig_nat::{Counters, MappingView};
use serde::{Deserialize, Serialize};

/// Counters since the start, and who is known.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Report {
    /// Seconds since the start.
    pub(super) up_s: f64,
    pub(super) profile: String,
    pub(super) addresses: Vec<Ipv4Addr>,
    pub(super) inside: LinkReport,
    pub(super) outside: LinkReport,
    pub(super) frames: BTreeMap<String, u64>,
    /// Frames that ended here, by reason.
    pub(super) dropped: BTreeMap<String, u64>,
    pub(super) mappings: BTreeMap<String, u64>,
    pub(super) neighbours: Vec<Neighbour>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LinkReport {
    pub(super) interface: String,
    pub(super) mac: String,
    pub(super) link: LinkKind,
    pub(super) stats: LinkStats,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Neighbour {
    pub(super) side: String,
    pub(super) address: Ipv4Addr,
    pub(super) mac: String,
    pub(super) confirmed_ago_s: f64,
}

/// One mapping, or session.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Mapping {
    pub(super) protocol: String,
    pub(super) inside: SocketAddrV4,
    pub(super) outside: SocketAddrV4,
    pub(super) remote: SocketAddrV4,
    pub(super) state: String,
    pub(super) expires_in_s: u64,
    pub(super) packets_out: u32,
    pub(super) packets_in: u32,
}

/// What became of a reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reloaded {
    pub(super) kept: u64,
    pub(super) revoked: u64,
}

/// What does not change while it runs.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) interfaces: [String; 2],
    pub(super) macs: [String; 2],
    pub(super) kind: LinkKind,
}

impl Report {
    pub(super) fn of(
        router: &Router,
        identity: &Identity,
        profile: &str,
        links: [&mut dyn Link; 2],
        now_ns: u64,
        up_ns: u64,
    ) -> Self {
        let [inside, outside] = links.map(Link::stats);
        let link = |side: Side, stats| LinkReport {
            interface: identity.interfaces[side as usize].clone(),
            mac: identity.macs[side as usize].clone(),
            link: identity.kind,
            stats,
        };
        let counts = router.counts();
        let neighbours = router.neighbours(now_ns).map(|neighbour| Neighbour {
            side: match neighbour.side {
                Side::Inside => "inside".to_owned(),
                Side::Outside => "outside".to_owned(),
            },
            address: neighbour.address,
            mac: neighbour.mac.to_string(),
            confirmed_ago_s: seconds(neighbour.confirmed_ago_ns),
        });
        Self {
            up_s: seconds(up_ns),
            profile: profile.to_owned(),
            addresses: router.nat().config().outside.clone(),
            inside: link(Side::Inside, inside),
            outside: link(Side::Outside, outside),
            frames: frames(&counts, router.nat().counters()),
            dropped: counts.dropped().map(|(reason, frames)| (reason.to_owned(), frames)).collect(),
            mappings: mappings(router.nat().counters()),
            neighbours: neighbours.collect(),
        }
    }

    /// For people.
    pub(super) fn to_text(&self) -> String {
        let mut text = String::new();
        let count = self.addresses.len();
        let first = self.addresses.first().map(ToString::to_string).unwrap_or_default();
        let addresses = if count == 1 { first } else { format!("{count} addresses, {first} the first") };
        let _ = writeln!(text, "up {:.0} s, profile {}, translating to {addresses}", self.up_s, self.profile);
        for (side, link) in [("inside", &self.inside), ("outside", &self.outside)] {
            let LinkStats { rx_frames, rx_overflow, rx_truncated, tx_frames, tx_refused, .. } = link.stats;
            let _ = writeln!(
                text,
                "{side:<9}{} ({}, {}): received {rx_frames}, lost {}; sent {tx_frames}, not sendable {tx_refused}",
                link.interface,
                link.mac,
                link.link,
                rx_overflow + rx_truncated,
            );
        }
        let mut line = |name: &str, values: &BTreeMap<String, u64>| {
            let some: Vec<_> = values.iter().filter(|(_, value)| **value > 0).collect();
            let list: Vec<_> = some.iter().map(|(what, value)| format!("{} {value}", what.replace('_', " "))).collect();
            let _ = writeln!(text, "{name:<9}{}", if list.is_empty() { "none".to_owned() } else { list.join(", ") });
        };
        line("frames", &self.frames);
        line("dropped", &self.dropped);
        line("mappings", &self.mappings);
        for neighbour in &self.neighbours {
            let Neighbour { side, address, mac, confirmed_ago_s } = neighbour;
            let _ = writeln!(text, "neighbour {address} is {mac}, {side}, {confirmed_ago_s:.0} s ago");
        }
        text
    }
}

fn frames(counts: &RouterCounts, counters: &Counters) -> BTreeMap<String, u64> {
    let [received_inside, received_outside] = counts.received;
    named(&[
        ("received_inside", received_inside),
        ("received_outside", received_outside),
        ("forwarded", counts.forwarded),
        ("answered", counts.returned),
        ("answers_lost", counts.answers_lost),
        ("not_for_us", counts.not_for_us),
        ("arp_received", counts.arp_received),
        ("arp_sent", counts.arp_sent),
        ("address_conflicts", counts.conflicts),
        ("undeliverable_told", counts.undeliverable_told),
        ("held", counts.held),
        ("waiting_for_neighbours", counts.waiting),
        ("translated_out", counters.translated_out),
        ("translated_in", counters.translated_in),
        ("untranslated", counters.passed),
        ("hairpinned", counters.hairpinned),
        ("icmp_errors_translated", counters.icmp_errors),
        ("fragments_made", counters.fragments_made),
    ])
}

fn mappings(counters: &Counters) -> BTreeMap<String, u64> {
    named(&[
        ("live", counters.live),
        ("created", counters.created),
        ("expired", counters.expired),
        ("evicted", counters.evicted),
        ("entries_evicted", counters.entries_evicted),
        ("entries_restored", counters.entries_restored),
        ("revoked", counters.revoked),
        ("allocation_failures", counters.allocation_failures),
    ])
}

fn named(values: &[(&str, u64)]) -> BTreeMap<String, u64> {
    values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

impl Mapping {
    pub(super) fn of(view: &MappingView) -> Self {
        Self {
            protocol: match view.protocol {
                1 => "icmp".to_owned(),
                6 => "tcp".to_owned(),
                17 => "udp".to_owned(),
                other => other.to_string(),
            },
            inside: view.inside,
            outside: view.outside,
            remote: view.remote,
            state: view.state.to_owned(),
            expires_in_s: view.expires_in_ns / 1_000_000_000,
            packets_out: view.packets_out,
            packets_in: view.packets_in,
        }
    }
}

/// For people, in the order of protocols and inside ends.
pub(super) fn list_text(mappings: &[Mapping]) -> String {
    let mut text = format!(
        "{:<5}{:<22}{:<22}{:<22}{:<14}{:>8}{:>12}{:>12}\n",
        "", "inside", "outside", "remote", "state", "expires", "out", "in"
    );
    for mapping in mappings {
        let Mapping { protocol, inside, outside, remote, state, expires_in_s, packets_out, packets_in } = mapping;
        let [inside, outside, remote] = [inside, outside, remote].map(ToString::to_string);
        let _ = writeln!(
            text,
            "{protocol:<5}{inside:<22}{outside:<22}{remote:<22}{state:<14}{expires_in_s:>6} s{packets_out:>12}{packets_in:>12}"
        );
    }
    let _ = writeln!(text, "{} mappings", mappings.len());
    text
}

fn seconds(ns: u64) -> f64 {
    (ns / 1_000_000) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_reads_in_columns() {
        let mapping = Mapping {
            protocol: "udp".into(),
            inside: "10.0.1.50:4000".parse().unwrap(),
            outside: "198.51.100.8:61234".parse().unwrap(),
            remote: "203.0.113.10:53".parse().unwrap(),
            state: "udp-stream".into(),
            expires_in_s: 299,
            packets_out: 2,
            packets_in: 1,
        };
        let text = list_text(&[mapping]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0].find("outside"), lines[1].find("198.51.100.8"));
        assert_eq!(lines[0].len(), lines[1].len());
        assert_eq!(lines[2], "1 mappings");
    }
}
