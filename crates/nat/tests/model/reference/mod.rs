//! A translator that is slow and obvious: a list of sessions, searched from one end to the other.
//!
//! It is told what packet came and what the translator under test did with it, says whether that was allowed, and where the rules leave a
//! choice (which port, which victim) follows the choice that was made. The rules are those of the RFCs and of the documented behaviour of
//! the NATs that profiles stand for; see the comments at each.

mod create;
mod entries;
mod icmp;
mod inbound;
mod outbound;
mod policy;
mod search;
mod tcp;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use natrig_nat::behaviour::{Behaviour, Collection, Dependence, ProtocolRules, Refresh};
use natrig_nat::{Config, Direction, DropReason, MappingView, TICK_NS};

use crate::foreign::{Content, Seen};
use crate::packet::{Ip, TCP, UDP};
use crate::rig::Outcome;
pub(crate) use tcp::{Side, Tcp};

/// A session's state as far as its protocol has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Udp { answered: bool },
    Icmp,
    Tcp(Tcp),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) protocol: u8,
    pub(crate) inside: SocketAddrV4,
    pub(crate) remote: SocketAddrV4,
    pub(crate) outside: SocketAddrV4,
    pub(crate) phase: Phase,
    /// The tick at which it is dead.
    pub(crate) expires: u64,
    /// Its first packet came from outside.
    pub(crate) from_outside: bool,
    /// The side that did not begin has surely sent something.
    pub(crate) replied: bool,
    /// Routed as it is, and remembered only so that its answers are too.
    pub(crate) direct: bool,
    /// Policy has chosen its outside address.
    pub(crate) directed: bool,
    /// Ended: only its port is not free yet.
    pub(crate) held: bool,
    /// TCP: behind the last byte sent outbound.
    pub(crate) seq_end: u32,
    /// The same, but data in the middle of a connection counts only perhaps.
    pub(crate) seq_end_least: u32,
    pub(crate) packets: [u32; 2],
    /// Which of its entries are in the table, outbound and inbound: found by packets of these directions.
    pub(crate) entries: [bool; 2],
}

impl Session {
    const fn new(protocol: u8, [inside, remote, outside]: [SocketAddrV4; 3], phase: Phase, expires: u64) -> Self {
        let (from_outside, replied, direct, directed) = (false, false, false, false);
        let (held, packets) = (false, [0, 0]);
        let (seq_end, seq_end_least) = (0, 0);
        Self {
            protocol,
            inside,
            remote,
            outside,
            phase,
            expires,
            from_outside,
            replied,
            direct,
            directed,
            held,
            seq_end,
            seq_end_least,
            packets,
            entries: [true, true],
        }
    }
}

/// A session as both sides can list it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) protocol: u8,
    pub(crate) held: bool,
    pub(crate) inside: SocketAddrV4,
    pub(crate) remote: SocketAddrV4,
    pub(crate) outside: SocketAddrV4,
    pub(crate) expires: u64,
    pub(crate) packets: [u32; 2],
    pub(crate) entries: [bool; 2],
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, held, inside, remote, outside, expires, packets: [out, back], entries } = self;
        let held = if *held { " held" } else { "" };
        let lost = match entries {
            [true, true] => "",
            [false, _] => ", no way out",
            [true, false] => ", no way in",
        };
        write!(f, "{protocol} {inside} {outside} {remote}{held} until {expires}, {out} out, {back} in{lost}")
    }
}

impl Row {
    pub(crate) fn of_view(view: &MappingView, now: u64) -> Self {
        let packets = [view.packets_out, view.packets_in];
        let expires = now + view.expires_in_ns / TICK_NS;
        let entries = [Direction::Outbound, Direction::Inbound].map(|dir| view.lost != Some(dir));
        let MappingView { protocol, inside, remote, outside, .. } = *view;
        Self { protocol, held: view.state == "held", inside, remote, outside, expires, packets, entries }
    }

    /// What is overdue but not collected yet has no time left.
    fn of_session(session: &Session, now: u64) -> Self {
        let Session { protocol, held, inside, remote, outside, expires, packets, entries, .. } = *session;
        Self { protocol, held, inside, remote, outside, expires: expires.max(now), packets, entries }
    }

    /// What identifies it among all.
    fn same_session(&self, session: &Session) -> bool {
        (self.protocol, self.held, self.inside, self.remote, self.outside)
            == (session.protocol, session.held, session.inside, session.remote, session.outside)
    }
}

/// A packet and what became of it.
#[derive(Clone, Copy)]
pub(crate) struct Event<'a> {
    pub(crate) dir: Direction,
    pub(crate) packet: &'a Ip,
    pub(crate) seen: &'a Seen,
    pub(crate) outcome: &'a Outcome,
    /// The frame that came out, if one did.
    pub(crate) out: Option<&'a Seen>,
    /// The table of the translator under test afterwards.
    pub(crate) rows: &'a [Row],
}

/// One side's view of a flow: from where, to where. Queries have their identifier where it belongs and port 0 at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) protocol: u8,
    pub(crate) from: SocketAddrV4,
    pub(crate) to: SocketAddrV4,
    pub(crate) flags: u8,
    pub(crate) seq: u32,
    pub(crate) seq_end: u32,
}

pub(crate) struct Reference {
    config: Config,
    sessions: Vec<Session>,
    pub(crate) now: u64,
    /// ICMP errors built in the current second, and which second that is.
    built: (u64, u32),
    /// Outside address by inside address (and remote address), where a hash decides.
    hashed: BTreeMap<(Ipv4Addr, Option<Ipv4Addr>), Ipv4Addr>,
    /// The port given last by outside address and protocol.
    last_port: BTreeMap<(Ipv4Addr, u8), u16>,
    /// Port blocks by source: outside address, and first port and length of each.
    blocks: BTreeMap<Ipv4Addr, (Ipv4Addr, Vec<(u16, u32)>)>,
    /// New mappings that a source may still make.
    tokens: BTreeMap<Ipv4Addr, Tokens>,
    /// Connection attempts from outside that wait.
    waiting: Vec<Waiting>,
    /// That it is not old entries that are evicted.
    suspicion: f64,
}

/// New mappings that a source may still make: bounds, as of a tick.
#[derive(Debug, Clone, Copy)]
struct Tokens {
    most: f64,
    least: f64,
    since: u64,
}

/// A SYN from outside that nobody inside has asked for, not answered yet (RFC 5382 REQ-4).
struct Waiting {
    packet: Ip,
    remote: SocketAddrV4,
    outside: SocketAddrV4,
    deadline: u64,
    /// A SYN from inside has come its way.
    crossed: bool,
}

pub(crate) type Judgement = Result<(), String>;

impl Reference {
    pub(crate) fn new(config: Config) -> Self {
        let maps = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self {
            config,
            sessions: Vec::new(),
            now: 0,
            built: (0, 0),
            hashed: maps.0,
            last_port: maps.1,
            blocks: maps.2,
            tokens: maps.3,
            waiting: Vec::new(),
            suspicion: 1.0,
        }
    }

    fn behaviour(&self) -> &Behaviour {
        &self.config.behaviour
    }

    fn rules(&self, protocol: u8) -> &ProtocolRules {
        match protocol {
            UDP => &self.behaviour().udp,
            TCP => &self.behaviour().tcp,
            _ => &self.behaviour().icmp,
        }
    }

    fn is_outside(&self, addr: Ipv4Addr) -> bool {
        self.config.outside.contains(&addr)
    }

    fn is_router(&self, addr: Ipv4Addr) -> bool {
        addr == self.config.inside_router || addr == self.config.outside_router
    }

    /// Time has come to `now`; `rows` is what the translator under test has left.
    pub(crate) fn advance(&mut self, now: u64, rows: &[Row]) -> Judgement {
        self.now = now;
        let overdue = |session: &Session| session.expires <= now;
        match self.behaviour().collection.mode {
            Collection::Exact => {}
            // All that is overdue goes, or nothing: the collector has run or it has not.
            Collection::Periodic => {
                let is_left = |session: &Session| rows.iter().any(|row| row.same_session(session));
                let left = self.sessions.iter().filter(|session| overdue(session) && is_left(session)).count();
                let due = self.sessions.iter().filter(|session| overdue(session)).count();
                if left == due {
                    return Ok(());
                }
                if left > 0 {
                    return Err(format!("the collector left {left} of {due} sessions that were due"));
                }
            }
        }
        let (ended, alive) = core::mem::take(&mut self.sessions).into_iter().partition(overdue);
        self.sessions = alive;
        self.hold_ports(ended, rows)
    }

    /// Where the last session of a mapping has ended, its port stays out of use for a while (RFC 6888 REQ-8). From when on that counts is
    /// left open between the deadline and the moment it was noticed; which of several sessions that ended together stands for it, too.
    fn hold_ports(&mut self, ended: Vec<Session>, rows: &[Row]) -> Judgement {
        let mut mappings: Vec<Vec<Session>> = Vec::new();
        for session in ended.into_iter().filter(|session| !session.held && !session.direct) {
            let shares = |other: &Session| self.same_mapping(other, &session);
            if self.sessions.iter().any(|other| !other.held && shares(other)) {
                continue;
            }
            match mappings.iter_mut().find(|mapping| shares(&mapping[0])) {
                Some(mapping) => mapping.push(session),
                None => mappings.push(vec![session]),
            }
        }
        for mapping in mappings {
            let found = rows.iter().filter(|row| row.held).find_map(|row| {
                let as_held = |session: &&Session| row.same_session(&Session { held: true, ..(*session).clone() });
                Some((row, mapping.iter().find(as_held)?))
            });
            let Some((row, session)) = found else {
                if mapping.iter().all(|session| session.expires + self.hold_ticks(session) > self.now) {
                    return Err(format!("the port of {:?} is not held", mapping[0]));
                }
                continue;
            };
            let hold = self.hold_ticks(session);
            let (least, most) = (session.expires + hold, self.now + hold);
            if row.expires < least || row.expires > most {
                return Err(format!("{row:?} should be until {least} to {most}"));
            }
            self.sessions.push(Session { held: true, expires: row.expires, packets: row.packets, ..session.clone() });
        }
        Ok(())
    }

    fn hold_ticks(&self, session: &Session) -> u64 {
        let hold = &self.behaviour().hold;
        ticks(match session.phase {
            Phase::Udp { .. } => hold.udp_s,
            Phase::Icmp => hold.icmp_s,
            Phase::Tcp(Tcp::Reset) => hold.tcp_rst_s,
            Phase::Tcp(_) => hold.tcp_fin_s,
        })
    }

    /// RFC 4787 §4.1: which sessions go by one mapping.
    fn same_mapping(&self, one: &Session, other: &Session) -> bool {
        let ends = (one.protocol, one.inside, one.outside) == (other.protocol, other.inside, other.outside);
        ends && match self.rules(one.protocol).mapping {
            Dependence::EndpointIndependent => true,
            Dependence::AddressDependent => one.remote.ip() == other.remote.ip(),
            Dependence::AddressAndPortDependent => one.remote == other.remote,
        }
    }

    /// Judges what became of a packet, and follows it.
    pub(crate) fn judge(&mut self, event: &Event<'_>) -> Judgement {
        match event.dir {
            Direction::Outbound => self.outbound(event),
            Direction::Inbound => self.inbound(event),
        }
    }

    /// Compares the tables.
    pub(crate) fn compare(&self, rows: &[Row]) -> Judgement {
        let mut ours: Vec<Row> = self.sessions.iter().map(|session| Row::of_session(session, self.now)).collect();
        ours.sort_unstable();
        if ours == rows {
            return Ok(());
        }
        let only = |these: &[Row], those: &[Row]| -> Vec<Row> {
            let those: BTreeSet<&Row> = those.iter().collect();
            these.iter().filter(|row| !those.contains(row)).cloned().collect()
        };
        Err(format!(
            "tables differ at tick {}: expected {:?}, found {:?}",
            self.now,
            only(&ours, rows),
            only(rows, &ours)
        ))
    }

    fn find(&self, protocol: u8, inside: SocketAddrV4, remote: SocketAddrV4) -> Option<usize> {
        let is_it = |session: &Session| {
            let same = session.protocol == protocol && session.inside == inside && session.remote == remote;
            same && !session.held && session.has_entry(Direction::Outbound)
        };
        self.sessions.iter().position(is_it)
    }

    fn find_inbound(&self, protocol: u8, remote: SocketAddrV4, outside: SocketAddrV4) -> Option<usize> {
        let is_it = |session: &Session| {
            let same = session.protocol == protocol && session.outside == outside && session.remote == remote;
            same && !session.held && session.has_entry(Direction::Inbound)
        };
        self.sessions.iter().position(is_it)
    }

    fn timeout(&self, phase: Phase) -> u64 {
        let timers = &self.behaviour().timers;
        ticks(match phase {
            Phase::Udp { answered: false } => timers.udp_new_s,
            Phase::Udp { answered: true } => timers.udp_stream_s,
            Phase::Icmp => timers.icmp_s,
            Phase::Tcp(state) => tcp::timeout_s(timers, state),
        })
    }

    /// A packet of a session has passed.
    fn follow(&mut self, at: usize, dir: Direction, flow: &Flow) {
        let session = &self.sessions[at];
        let is_opener = (dir == Direction::Inbound) == session.from_outside;
        let side = if is_opener { Side::Opener } else { Side::Other };
        let phase = match session.phase {
            Phase::Udp { answered } => Phase::Udp { answered: answered || !is_opener },
            Phase::Icmp => Phase::Icmp,
            Phase::Tcp(state) => Phase::Tcp(tcp::next(self.behaviour().tcp_rules.machine, state, side, flow.flags)),
        };
        let refreshes = match self.rules(session.protocol).refresh {
            Refresh::Both => true,
            Refresh::Outbound => dir == Direction::Outbound,
            Refresh::Inbound => dir == Direction::Inbound,
        };
        let deadline = self.now + self.timeout(phase);
        let plain = flow.flags & (crate::packet::SYN | crate::packet::FIN | crate::packet::RST) == 0;
        let session = &mut self.sessions[at];
        // RFC 7857 §7: a reset keeps nothing alive.
        let lengthens = flow.flags & crate::packet::RST == 0;
        // A connection's new state has its own timer; UDP lives by refreshing alone (RFC 4787 REQ-6).
        let new_state = phase != session.phase && session.protocol == TCP;
        if (refreshes || new_state) && (lengthens || deadline < session.expires) {
            session.expires = deadline;
        }
        if dir == Direction::Outbound && session.protocol == TCP {
            let begins =
                flow.flags & (crate::packet::SYN | crate::packet::ACK | crate::packet::RST) == crate::packet::SYN;
            let later = |old: u32| begins || flow.seq_end.wrapping_sub(old).cast_signed() > 0;
            if later(session.seq_end) {
                session.seq_end = flow.seq_end;
            }
            if later(session.seq_end_least) && !(plain && session.phase == Phase::Tcp(Tcp::Established)) {
                session.seq_end_least = flow.seq_end;
            }
        }
        let old = core::mem::replace(&mut session.phase, phase);
        // The ordinary path of an established connection does not look who speaks.
        session.replied |= !(is_opener || plain && old == Phase::Tcp(Tcp::Established));
        session.packets[usize::from(dir == Direction::Inbound)] += 1;
    }

    /// The key under which a source's quota is kept.
    fn source_of(&self, inside: Ipv4Addr) -> Ipv4Addr {
        let len = u32::from(self.behaviour().quota.source_prefix_len);
        Ipv4Addr::from_bits(inside.to_bits() & u32::MAX.checked_shl(32 - len).unwrap_or(0))
    }
}

impl Flow {
    /// The flow of a packet of UDP or TCP, or of a query.
    pub(crate) fn of(seen: &Seen, dir: Direction) -> Option<Self> {
        let flow = |ports: [u16; 2]| Self {
            protocol: seen.protocol,
            from: SocketAddrV4::new(seen.src, ports[0]),
            to: SocketAddrV4::new(seen.dst, ports[1]),
            flags: 0,
            seq: 0,
            seq_end: 0,
        };
        match &seen.content {
            Content::Udp { ports, .. } => Some(flow(*ports)),
            Content::Tcp { ports, seq, flags, data, .. } => {
                let counted = u32::from(flags & crate::packet::SYN != 0) + u32::from(flags & crate::packet::FIN != 0);
                let seq_end = seq.wrapping_add(data.len() as u32).wrapping_add(counted);
                Some(Self { flags: *flags, seq: *seq, seq_end, ..flow(*ports) })
            }
            Content::Query { ident, .. } if dir == Direction::Outbound => Some(flow([*ident, 0])),
            Content::Query { ident, .. } => Some(flow([0, *ident])),
            Content::Error { .. } | Content::Opaque(_) => None,
        }
    }
}

pub(crate) const fn ticks(seconds: u32) -> u64 {
    seconds as u64 * (1_000_000_000 / TICK_NS)
}

/// The reason must be one of `allowed`.
pub(crate) fn must_drop(event: &Event<'_>, allowed: &[DropReason]) -> Judgement {
    match event.outcome.verdict {
        natrig_nat::Verdict::Drop(reason) if allowed.contains(&reason) => Ok(()),
        verdict => Err(format!("expected a drop for {allowed:?}, was {verdict:?}")),
    }
}
