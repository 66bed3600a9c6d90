//! Who is on the link, and what waits to be sent to somebody who has not answered yet (RFC 826, RFC 1122 §2.3.2).

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

use natrig_wire::MacAddr;

use super::outbox::Kind;

/// Neighbours remembered at once; beyond that the one that was used least recently goes.
pub(super) const NEIGHBOURS_MAX: usize = 4096;
/// Frames that wait for one neighbour. RFC 1122 §2.3.2.2 asks for one at least; a burst of a new flow shall survive.
pub(super) const WAITING_PER_NEIGHBOUR: usize = 64;
/// Frames that wait for all of them together.
pub(super) const WAITING_MAX: usize = 1024;

/// How often somebody is asked before they are given up, once a second (RFC 1122 §2.3.2.1).
pub(super) const TRIES: u32 = 3;
const RETRY_NS: u64 = 1_000_000_000;
/// How long an answer is relied on before a neighbour in use is asked again (RFC 4861 §10, REACHABLE_TIME).
pub(super) const REACHABLE_NS: u64 = 30_000_000_000;
/// How long a neighbour is remembered whom nobody sends to.
pub(super) const FORGOTTEN_NS: u64 = 300_000_000_000;

/// A frame that waits for its neighbour's MAC address.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) kind: Kind,
    pub(super) bytes: Box<[u8]>,
}

#[derive(Debug)]
enum Neighbour {
    /// Has not answered yet.
    Asked { tries: u32, again_ns: u64, waiting: VecDeque<Waiting> },
    Known {
        mac: MacAddr,
        confirmed_ns: u64,
        used_ns: u64,
        /// How often they were asked again since they were to be confirmed.
        probes: u32,
        again_ns: u64,
    },
}

/// What is to be done about a neighbour.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Ask: everybody, or the one who has answered before.
    Ask(Ipv4Addr, Option<MacAddr>),
    /// They do not answer, and these frames have waited for them.
    GiveUp(Vec<Waiting>),
}

/// What became of a frame for a neighbour who is not known.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// Nobody has asked for this neighbour yet.
    pub(super) ask: bool,
    /// Frames that had to make room, or that had none.
    pub(super) dropped: u64,
}

/// The neighbours of one link. Ordered by address, so that the same events always have the same effects.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    entries: BTreeMap<Ipv4Addr, Neighbour>,
    waiting: usize,
}

impl Neighbours {
    /// The MAC address of a neighbour who is to be sent to.
    pub(super) fn use_mac(&mut self, address: Ipv4Addr, now_ns: u64) -> Option<MacAddr> {
        match self.entries.get_mut(&address)? {
            Neighbour::Known { mac, used_ns, .. } => {
                *used_ns = now_ns;
                Some(*mac)
            }
            Neighbour::Asked { .. } => None,
        }
    }

    /// Keeps a copy of a frame for a neighbour who is not known.
    pub(super) fn hold(&mut self, address: Ipv4Addr, kind: Kind, frame: &[u8], now_ns: u64) -> Held {
        let is_new = !self.entries.contains_key(&address);
        if is_new {
            if !self.make_room() {
                return Held { ask: false, dropped: 1 };
            }
            let asked = Neighbour::Asked { tries: 1, again_ns: now_ns + RETRY_NS, waiting: VecDeque::new() };
            self.entries.insert(address, asked);
        }
        let Some(Neighbour::Asked { waiting, .. }) = self.entries.get_mut(&address) else {
            return Held { ask: false, dropped: 1 };
        };
        let mut dropped = 0;
        if waiting.len() >= WAITING_PER_NEIGHBOUR {
            // The oldest: what is still wanted comes again.
            waiting.pop_front();
            self.waiting -= 1;
            dropped += 1;
        }
        if self.waiting < WAITING_MAX {
            waiting.push_back(Waiting { kind, bytes: frame.into() });
            self.waiting += 1;
        } else {
            dropped += 1;
        }
        Held { ask: is_new, dropped }
    }

    /// Somebody has said where they are. A neighbour of whom nothing is known is entered only if `welcome`. Returns what has waited for
    /// them, and whether anything is different now.
    pub(super) fn learn(
        &mut self,
        address: Ipv4Addr,
        mac: MacAddr,
        welcome: bool,
        now_ns: u64,
    ) -> (VecDeque<Waiting>, bool) {
        let fresh = Neighbour::Known { mac, confirmed_ns: now_ns, used_ns: 0, probes: 0, again_ns: 0 };
        match self.entries.get_mut(&address) {
            Some(Neighbour::Known { mac: known, confirmed_ns, probes, .. }) => {
                let changed = *known != mac;
                (*known, *confirmed_ns, *probes) = (mac, now_ns, 0);
                (VecDeque::new(), changed)
            }
            Some(entry) => {
                let Neighbour::Asked { waiting, .. } = std::mem::replace(entry, fresh) else {
                    return (VecDeque::new(), true);
                };
                self.waiting -= waiting.len();
                (waiting, true)
            }
            None => {
                if welcome && self.make_room() {
                    self.entries.insert(address, fresh);
                }
                (VecDeque::new(), false)
            }
        }
    }

    /// Asks those who are due, gives up those who do not answer, forgets those whom nobody needs.
    pub(super) fn tick(&mut self, now_ns: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut given_up = 0;
        self.entries.retain(|address, neighbour| match neighbour {
            Neighbour::Asked { again_ns, .. } if now_ns < *again_ns => true,
            Neighbour::Asked { tries, again_ns, .. } if *tries < TRIES => {
                *tries += 1;
                *again_ns = now_ns + RETRY_NS;
                actions.push(Action::Ask(*address, None));
                true
            }
            Neighbour::Asked { waiting, .. } => {
                given_up += waiting.len();
                actions.push(Action::GiveUp(std::mem::take(waiting).into()));
                false
            }
            Neighbour::Known { mac, confirmed_ns, used_ns, probes, again_ns } => {
                let in_use = *used_ns > *confirmed_ns;
                let is_old = now_ns.saturating_sub(*confirmed_ns) >= REACHABLE_NS;
                if !in_use {
                    return now_ns.saturating_sub(*confirmed_ns) < FORGOTTEN_NS;
                }
                if !is_old || (*probes > 0 && now_ns < *again_ns) {
                    return true;
                }
                *probes += 1;
                *again_ns = now_ns + RETRY_NS;
                if *probes <= TRIES {
                    actions.push(Action::Ask(*address, Some(*mac)));
                }
                // Whoever needs them next asks everybody: they may have moved.
                *probes <= TRIES
            }
        });
        self.waiting -= given_up;
        actions
    }

    /// Frames that wait now.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Neighbours whose MAC address is known, with the nanoseconds since they confirmed it.
    pub(super) fn known(&self, now_ns: u64) -> impl Iterator<Item = (Ipv4Addr, MacAddr, u64)> + '_ {
        self.entries.iter().filter_map(move |(address, neighbour)| match neighbour {
            Neighbour::Known { mac, confirmed_ns, .. } => Some((*address, *mac, now_ns.saturating_sub(*confirmed_ns))),
            Neighbour::Asked { .. } => None,
        })
    }

    /// Room for one more: the known one that was used least recently goes if need be.
    fn make_room(&mut self) -> bool {
        if self.entries.len() < NEIGHBOURS_MAX {
            return true;
        }
        let last_use = |neighbour: &Neighbour| match neighbour {
            Neighbour::Known { confirmed_ns, used_ns, .. } => Some((*used_ns).max(*confirmed_ns)),
            Neighbour::Asked { .. } => None,
        };
        let known = self.entries.iter().filter_map(|(address, neighbour)| Some((last_use(neighbour)?, *address)));
        let Some((_, oldest)) = known.min() else { return false };
        self.entries.remove(&oldest);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const MOVED: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
    const S: u64 = 1_000_000_000;

    fn hold(neighbours: &mut Neighbours, address: Ipv4Addr, number: u8) -> Held {
        neighbours.hold(address, Kind::Forwarded, &[number], 0)
    }

    #[test]
    fn frames_wait_in_order_until_the_neighbour_answers() {
        let mut neighbours = Neighbours::default();
        assert_eq!(neighbours.use_mac(A, 0), None);
        assert_eq!(hold(&mut neighbours, A, 1), Held { ask: true, dropped: 0 });
        assert_eq!(hold(&mut neighbours, A, 2), Held { ask: false, dropped: 0 });
        let (waiting, changed) = neighbours.learn(A, MAC, false, 5);
        assert_eq!((waiting.iter().map(|one| one.bytes[0]).collect::<Vec<_>>(), changed), (vec![1, 2], true));
        assert_eq!((neighbours.waiting(), neighbours.use_mac(A, 6)), (0, Some(MAC)));
    }

    #[test]
    fn one_who_does_not_answer_is_asked_once_a_second_and_given_up() {
        let mut neighbours = Neighbours::default();
        hold(&mut neighbours, A, 1);
        assert_eq!(neighbours.tick(S - 1), []);
        assert_eq!(neighbours.tick(S), [Action::Ask(A, None)]);
        assert_eq!(neighbours.tick(2 * S), [Action::Ask(A, None)]);
        let given_up = Action::GiveUp(vec![Waiting { kind: Kind::Forwarded, bytes: Box::new([1]) }]);
        assert_eq!(neighbours.tick(3 * S), [given_up]);
        assert_eq!(neighbours.waiting(), 0);
        assert!(hold(&mut neighbours, A, 1).ask, "and may be asked for anew");
    }

    #[test]
    fn what_waits_is_bounded_and_the_oldest_goes_first() {
        let mut neighbours = Neighbours::default();
        let many = WAITING_PER_NEIGHBOUR as u8;
        for number in 0..=many {
            assert_eq!(hold(&mut neighbours, A, number).dropped, u64::from(number == many));
        }
        assert_eq!(neighbours.learn(A, MAC, false, 1).0[0].bytes[0], 1);
        let hosts = WAITING_MAX / WAITING_PER_NEIGHBOUR;
        for number in 0..(WAITING_MAX as u32) {
            let address = Ipv4Addr::from_bits(0x0b00_0000 + number % hosts as u32);
            assert_eq!(hold(&mut neighbours, address, 0).dropped, 0);
        }
        assert_eq!(hold(&mut neighbours, Ipv4Addr::new(12, 0, 0, 1), 0), Held { ask: true, dropped: 1 });
        assert_eq!(neighbours.waiting(), WAITING_MAX);
    }

    #[test]
    fn one_in_use_is_asked_again_and_one_who_has_gone_is_forgotten() {
        let mut neighbours = Neighbours::default();
        neighbours.learn(A, MAC, true, 0);
        neighbours.use_mac(A, 10);
        assert_eq!(neighbours.tick(REACHABLE_NS - 1), []);
        assert_eq!(neighbours.tick(REACHABLE_NS), [Action::Ask(A, Some(MAC))]);
        neighbours.learn(A, MAC, false, REACHABLE_NS + 1);
        assert_eq!(neighbours.tick(REACHABLE_NS + S), [], "nobody has used it since");
        neighbours.use_mac(A, REACHABLE_NS + S);
        for probe in 0..u64::from(TRIES) {
            let actions = neighbours.tick(3 * REACHABLE_NS + probe * S);
            assert_eq!(actions, [Action::Ask(A, Some(MAC))]);
        }
        assert_eq!(neighbours.tick(3 * REACHABLE_NS + u64::from(TRIES) * S), []);
        assert_eq!(neighbours.use_mac(A, 4 * REACHABLE_NS), None);
    }

    #[test]
    fn one_whom_nobody_needs_is_forgotten() {
        let mut neighbours = Neighbours::default();
        neighbours.learn(A, MAC, true, 0);
        assert_eq!(neighbours.tick(FORGOTTEN_NS - 1), []);
        assert_eq!(neighbours.known(0).count(), 1);
        assert_eq!(neighbours.tick(FORGOTTEN_NS), []);
        assert_eq!(neighbours.known(0).count(), 0);
    }

    #[test]
    fn strangers_are_not_entered_and_those_who_move_are_followed() {
        let mut neighbours = Neighbours::default();
        neighbours.learn(A, MAC, false, 0);
        assert_eq!(neighbours.use_mac(A, 0), None);
        neighbours.learn(A, MAC, true, 0);
        assert!(neighbours.learn(A, MOVED, false, 1).1);
        assert_eq!(neighbours.use_mac(A, 2), Some(MOVED));
    }

    #[test]
    fn when_there_are_too_many_the_least_used_goes() {
        let mut neighbours = Neighbours::default();
        for number in 0..NEIGHBOURS_MAX as u32 {
            neighbours.learn(Ipv4Addr::from_bits(number), MAC, true, u64::from(number) + 1);
        }
        neighbours.use_mac(Ipv4Addr::from_bits(0), 1 << 20);
        neighbours.learn(A, MAC, true, 1 << 20);
        assert_eq!(neighbours.use_mac(A, 1 << 20), Some(MAC));
        assert_eq!(neighbours.use_mac(Ipv4Addr::from_bits(0), 1 << 20), Some(MAC));
        assert_eq!(neighbours.use_mac(Ipv4Addr::from_bits(1), 1 << 20), None);
    }
}
