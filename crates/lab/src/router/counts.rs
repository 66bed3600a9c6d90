//! What a router counts.

use natrig_nat::DropReason;

use super::outbox::Kind;

/// What a router did with frames since it was made. Each frame that came in is in exactly one of them; frames that it made itself are
/// those of ARP, the pieces of packets that were too long, and errors about neighbours who do not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterCounts {
    /// Frames that came in, by side: inside, outside.
    pub received: [u64; 2],
    /// Sent out of the other side.
    pub forwarded: u64,
    /// Sent back as an answer: ICMP errors, resets, echo replies; or as hairpins.
    pub returned: u64,
    /// Dropped by the translator, by reason; index with `DropReason as usize`.
    pub drops: [u64; DropReason::COUNT],
    /// Dropped because there is no route to where they should go.
    pub no_route: u64,
    /// Dropped because their neighbour does not answer ARP, or because too many waited for it.
    pub unresolved: u64,
    /// Dropped because they would leave by the side they came from: hosts there reach each other without us.
    pub same_side: u64,
    /// Dropped because the link on the way out took no more.
    pub link_full: u64,
    /// Of those returned, lost for the same reason.
    pub answers_lost: u64,
    /// Neither addressed to this router nor of a protocol that it speaks: other hosts' frames, IPv6, multicast.
    pub not_for_us: u64,
    /// ARP packets that came in.
    pub arp_received: u64,
    /// ARP packets sent: requests, answers, announcements.
    pub arp_sent: u64,
    /// Times that somebody else claimed one of our addresses.
    pub conflicts: u64,
    /// ICMP errors made because a packet could not be delivered.
    pub undeliverable_told: u64,
    /// Held by the translator, and lost when it was replaced.
    pub lost_by_reload: u64,
    /// Gauge: held by the translator now.
    pub held: u64,
    /// Gauge: waiting for a neighbour's answer now.
    pub waiting: u64,
}

impl Default for RouterCounts {
    fn default() -> Self {
        Self {
            received: [0; 2],
            forwarded: 0,
            returned: 0,
            drops: [0; DropReason::COUNT],
            no_route: 0,
            unresolved: 0,
            same_side: 0,
            link_full: 0,
            answers_lost: 0,
            not_for_us: 0,
            arp_received: 0,
            arp_sent: 0,
            conflicts: 0,
            undeliverable_told: 0,
            lost_by_reload: 0,
            held: 0,
            waiting: 0,
        }
    }
}

impl RouterCounts {
    /// Frames that ended here, by reason; reasons with none left out.
    pub fn dropped(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let translator = DropReason::ALL.iter().map(|reason| (reason.as_str(), self.drops[*reason as usize]));
        let own = [
            ("no_route", self.no_route),
            ("unresolved", self.unresolved),
            ("same_side", self.same_side),
            ("link_full", self.link_full),
            ("lost_by_reload", self.lost_by_reload),
        ];
        translator.chain(own).filter(|(_, frames)| *frames > 0)
    }

    /// A frame has left, or should have.
    pub(super) const fn left(&mut self, kind: Kind, taken: bool) {
        match (kind, taken) {
            (Kind::Forwarded, true) => self.forwarded += 1,
            (Kind::Forwarded, false) => self.link_full += 1,
            (Kind::Returned, true) => self.returned += 1,
            (Kind::Returned, false) => {
                self.returned += 1;
                self.answers_lost += 1;
            }
            (Kind::Arp, taken) => self.arp_sent += taken as u64,
        }
    }
}
