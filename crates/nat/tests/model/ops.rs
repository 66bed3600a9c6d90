//! What may happen to a translator: operations that mean something whatever happened before them, so that a sequence of them can lose any
//! of its members and still be one.

use std::net::{Ipv4Addr, SocketAddrV4};

use natrig_nat::behaviour::Behaviour;
use natrig_nat::{Config, Direction};

use crate::dice::Dice;
use crate::packet::{self, ACK, FIN, ICMP, Ip, RST, SYN, TCP, UDP};
use crate::reference::Row;

/// Pods; the last one is of another block.
pub(crate) const PODS: [Ipv4Addr; 4] =
    [Ipv4Addr::new(10, 0, 1, 1), Ipv4Addr::new(10, 0, 1, 2), Ipv4Addr::new(10, 0, 1, 3), Ipv4Addr::new(10, 0, 2, 1)];
/// The others: two ordinary hosts, one that policy may exclude, one that is link-local.
pub(crate) const REMOTES: [Ipv4Addr; 4] = [
    Ipv4Addr::new(198, 51, 100, 1),
    Ipv4Addr::new(198, 51, 100, 2),
    Ipv4Addr::new(203, 0, 113, 9),
    Ipv4Addr::new(169, 254, 169, 254),
];
const REMOTE_PORTS: [u16; 2] = [80, 53];
const FLAGS: [u8; 8] = [SYN, SYN | ACK, ACK, ACK, FIN | ACK, RST, RST | ACK, 0];
const SEQUENCES: [u32; 6] = [0, 1000, 2000, 0x7fff_0000, 0x8000_1000, 0xffff_ff00];

/// Numbers are choices: they are brought into the range of what there is to choose from when the time comes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Op {
    /// Time passes.
    Wait { ticks: u64 },
    /// From a pod to a remote end.
    Out { pod: u8, port: u8, to: u8, carry: Carry },
    /// From inside, of a session there is.
    OutAgain { session: u8, carry: Carry },
    /// The answer to a session there is.
    In { session: u8, carry: Carry },
    /// To a session's outside end, from somebody else.
    InFrom { session: u8, to: u8, carry: Carry },
    /// To any port of an outside address.
    InTo { outside: u8, port: u8, to: u8, carry: Carry },
    /// An ICMP error about a packet of a session; `wrong` says in what it is not right.
    Error { session: u8, dir: Dir, kind: u8, wrong: u8, short: bool },
    /// From a pod to the outside end of a session.
    Hairpin { pod: u8, port: u8, session: u8, carry: Carry },
    /// An echo request to the translator itself.
    Ping { dir: Dir, outside: u8 },
    /// From an outside address, as the host's own traffic has it.
    Host { outside: u8, port: u8, to: u8, carry: Carry },
    /// From a remote end straight to a pod.
    Direct { pod: u8, to: u8, carry: Carry },
    /// A protocol or an ICMP type that is not translated.
    Strange { dir: Dir, pod: u8, to: u8, what: u8 },
}

/// What a packet carries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Carry {
    pub(crate) protocol: u8,
    pub(crate) flags: u8,
    pub(crate) seq: u32,
    pub(crate) len: u8,
    pub(crate) last_hop: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dir {
    Out,
    In,
}

impl Dir {
    const fn direction(self) -> Direction {
        match self {
            Self::Out => Direction::Outbound,
            Self::In => Direction::Inbound,
        }
    }
}

pub(crate) fn any_op(dice: &mut Dice, behaviour: &Behaviour) -> Op {
    let (pod, port, to, session, outside) = (byte(dice), byte(dice), byte(dice), byte(dice), byte(dice));
    let carry = any_carry(dice);
    let dir = if dice.one_in(2) { Dir::Out } else { Dir::In };
    match dice.below(100) {
        0..12 => Op::Wait { ticks: any_wait(dice, behaviour) },
        12..46 => Op::Out { pod, port, to, carry },
        46..56 => Op::OutAgain { session, carry },
        56..74 => Op::In { session, carry },
        74..80 => Op::InFrom { session, to, carry },
        80..84 => Op::InTo { outside, port, to, carry },
        84..91 => {
            let wrong = if dice.one_in(2) { 0 } else { byte(dice) % 8 };
            Op::Error { session, dir, kind: dice.pick(&[3, 3, 11, 4, 5, 12]), wrong, short: dice.one_in(2) }
        }
        91..95 => Op::Hairpin { pod, port, session, carry },
        95 => Op::Ping { dir, outside },
        96..98 => Op::Host { outside, port, to, carry },
        98 => Op::Direct { pod, to, carry },
        _ => Op::Strange { dir, pod, to, what: byte(dice) },
    }
}

fn byte(dice: &mut Dice) -> u8 {
    dice.below(256) as u8
}

fn any_carry(dice: &mut Dice) -> Carry {
    let protocol = dice.pick(&[UDP, UDP, TCP, TCP, TCP, ICMP]);
    // Most segments from nowhere are SYNs.
    let flags = if dice.one_in(3) { SYN } else { dice.pick(&FLAGS) };
    let seq = dice.pick(&SEQUENCES).wrapping_add(dice.below(3));
    Carry { protocol, flags, seq, len: (dice.below(20)) as u8, last_hop: dice.one_in(50) }
}

/// From nothing to hours, and often about as long as a timer.
fn any_wait(dice: &mut Dice, behaviour: &Behaviour) -> u64 {
    let timers = &behaviour.timers;
    let hold = &behaviour.hold;
    let seconds = [
        timers.tcp_syn_sent_s,
        timers.tcp_established_s,
        timers.tcp_last_ack_s,
        timers.tcp_time_wait_s,
        timers.tcp_close_s,
        timers.udp_new_s,
        timers.udp_stream_s,
        timers.icmp_s,
        hold.udp_s,
        hold.tcp_fin_s,
        hold.icmp_s,
        behaviour.collection.start_s,
        1,
        6,
    ];
    match dice.below(8) {
        0..3 => u64::from(dice.below(5)),
        3..5 => u64::from(dice.below(300)),
        5..7 => (u64::from(dice.pick(&seconds)) * 100 + u64::from(dice.below(3))).saturating_sub(1),
        _ => u64::from(dice.below(400_000)),
    }
}

/// The frame that an operation means now; none if there is nothing for it to mean.
pub(crate) fn packet_of(op: &Op, config: &Config, rows: &[Row]) -> Option<(Direction, Ip)> {
    let sessions: Vec<&Row> = rows.iter().filter(|row| !row.held).collect();
    let session_of = |choice: u8| sessions.get(usize::from(choice) % sessions.len().max(1)).copied();
    let outside = |choice: u8| config.outside[usize::from(choice) % config.outside.len()];
    match *op {
        Op::Wait { .. } => None,
        Op::Out { pod, port, to, carry } => {
            let from = SocketAddrV4::new(pick(&PODS, pod), source_port(config, port));
            Some((Direction::Outbound, build(from, remote(to), &carry, Dir::Out)))
        }
        Op::OutAgain { session, carry } => {
            let session = session_of(session)?;
            let carry = Carry { protocol: session.protocol, ..carry };
            Some((Direction::Outbound, build(session.inside, session.remote, &carry, Dir::Out)))
        }
        Op::In { session, carry } => {
            let session = session_of(session)?;
            let carry = Carry { protocol: session.protocol, ..carry };
            Some((Direction::Inbound, build(session.remote, session.outside, &carry, Dir::In)))
        }
        Op::InFrom { session, to, carry } => {
            let session = session_of(session)?;
            let carry = Carry { protocol: session.protocol, ..carry };
            Some((Direction::Inbound, build(remote(to), session.outside, &carry, Dir::In)))
        }
        Op::InTo { outside: at, port, to, carry } => {
            let to_end = SocketAddrV4::new(outside(at), source_port(config, port));
            Some((Direction::Inbound, build(remote(to), to_end, &carry, Dir::In)))
        }
        Op::Error { session, dir, kind, wrong, short } => {
            let session = session_of(session)?;
            Some((dir.direction(), error(session, dir, kind, wrong, short, outside(wrong))))
        }
        Op::Hairpin { pod, port, session, carry } => {
            let session = session_of(session).filter(|session| session.protocol != ICMP)?;
            let from = SocketAddrV4::new(pick(&PODS, pod), source_port(config, port));
            let carry = Carry { protocol: session.protocol, ..carry };
            Some((Direction::Outbound, build(from, session.outside, &carry, Dir::Out)))
        }
        Op::Ping { dir: Dir::Out, outside: at } => {
            Some((Direction::Outbound, packet::query(PODS[0], outside(at), 8, 5, b"ping")))
        }
        Op::Ping { dir: Dir::In, outside: at } => {
            Some((Direction::Inbound, packet::query(REMOTES[0], outside(at), 8, 5, b"ping")))
        }
        Op::Host { outside: at, port, to, carry } => {
            let from = SocketAddrV4::new(outside(at), source_port(config, port));
            Some((Direction::Outbound, build(from, remote(to), &carry, Dir::Out)))
        }
        Op::Direct { pod, to, carry } => {
            let pod = SocketAddrV4::new(pick(&PODS, pod), 8080);
            Some((Direction::Inbound, build(remote(to), pod, &carry, Dir::In)))
        }
        Op::Strange { dir, pod, to, what } => Some((dir.direction(), strange(config, dir, pod, to, what))),
    }
}

fn pick<T: Copy>(among: &[T], choice: u8) -> T {
    among[usize::from(choice) % among.len()]
}

fn remote(choice: u8) -> SocketAddrV4 {
    // The link-local one is rare.
    let addr = if choice >= 244 { REMOTES[3] } else { REMOTES[usize::from(choice / 2) % 3] };
    SocketAddrV4::new(addr, REMOTE_PORTS[usize::from(choice % 2)])
}

/// Within the range, for the most part; else a privileged one or one behind the range.
fn source_port(config: &Config, choice: u8) -> u16 {
    let ports = &config.behaviour.ports;
    match choice {
        0..8 => [1, 80, 511, 512, 599, 700, 1023, 0][usize::from(choice)],
        8..16 => ports.range.high.wrapping_add(u16::from(choice) - 7),
        16..20 => ports.icmp_range.low.wrapping_add(u16::from(choice) - 16),
        _ => ports.range.low.saturating_add(u16::from(choice) % (ports.range.len() as u16 + 2).min(64)),
    }
}

fn build(from: SocketAddrV4, to: SocketAddrV4, carry: &Carry, dir: Dir) -> Ip {
    let data: Vec<u8> = (0..carry.len).map(|at| at.wrapping_mul(37)).collect();
    let mut packet = match carry.protocol {
        UDP => packet::udp(from, to, &data),
        TCP => packet::tcp(from, to, carry.flags, carry.seq, &data),
        _ => {
            let (kind, ident) = match dir {
                Dir::Out => (8, from.port()),
                Dir::In => (0, to.port()),
            };
            packet::query(*from.ip(), *to.ip(), kind, ident, &data)
        }
    };
    if carry.last_hop {
        packet.ttl = 1;
    }
    packet.dont_fragment = carry.seq.is_multiple_of(2);
    // What has no checksum stays without.
    if carry.protocol == UDP && carry.seq.is_multiple_of(3) {
        packet.payload[6..8].fill(0);
    }
    packet
}

/// An ICMP error about the last packet of a session that went the other way, as it was when it got there.
fn error(session: &Row, dir: Dir, kind: u8, wrong: u8, short: bool, other: Ipv4Addr) -> Ip {
    let carry = Carry { protocol: session.protocol, flags: ACK, seq: 77, len: 11, last_hop: false };
    let (from, to) = match dir {
        Dir::In => (session.outside, session.remote),
        Dir::Out => (session.remote, session.inside),
    };
    let from_port = if wrong == 1 { from.port().wrapping_add(1) } else { from.port() };
    let to_port = if wrong == 2 { to.port().wrapping_add(1) } else { to.port() };
    let to_addr = if wrong == 3 { REMOTES[1] } else { *to.ip() };
    let (from, to) = (SocketAddrV4::new(*from.ip(), from_port), SocketAddrV4::new(to_addr, to_port));
    let quoted_dir = if dir == Dir::In { Dir::Out } else { Dir::In };
    let mut quoted = build(from, to, &carry, quoted_dir);
    if wrong == 4 {
        // RFC 5508 REQ-3b.
        quoted.options = vec![7, 7, 4, 0, 0, 0, 0, 0];
    }
    let mut quote = quoted.bytes();
    if short {
        quote.truncate(20 + quoted.options.len() + 8);
    } else if wrong == 5 {
        // RFC 4884: padded, and an extension behind it.
        quote.resize(128, 0);
        quote.extend([0x20, 0, 0xdf, 0xff, 0, 8, 1, 1, 0, 0, 0, 1]);
    }
    let to = if wrong == 6 { other } else { *from.ip() };
    // REQ-12a of RFC 4787: whoever it is from.
    let router = Ipv4Addr::new(198, 18, 0, 1);
    let sender = if dir == Dir::In { router } else { session.inside.ip().to_owned() };
    let code = if kind == 3 { 4 } else { 0 };
    packet::error(sender, to, [kind, code], if kind == 3 { 1400 } else { 0 }, &quote)
}

fn strange(config: &Config, dir: Dir, pod: u8, to: u8, what: u8) -> Ip {
    let (inner, outer) = (pick(&PODS, pod), *remote(to).ip());
    let (from, to) = if dir == Dir::Out { (inner, outer) } else { (outer, config.outside[0]) };
    match what % 4 {
        0 => Ip::new(from, to, 47, vec![0; 8]),
        1 => Ip::new(from, to, 132, vec![0; 12]),
        2 => packet::query(from, to, 13 + u8::from(dir == Dir::In), u16::from(what), &[0; 12]),
        _ => packet::query(from, to, 17 + u8::from(dir == Dir::In), u16::from(what), &[0; 4]),
    }
}
