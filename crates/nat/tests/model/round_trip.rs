//! What holds of every translated packet, profile by profile, in their true sizes.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use natrig_nat::behaviour::{Overload, ProtocolRules};
use natrig_nat::{Direction, Profile, Verdict};

use crate::dice::Dice;
use crate::foreign::{self, Content, Seen};
use crate::packet::{self, ICMP, Ip, SYN, TCP, UDP};
use crate::rig::Rig;

const PODS: u32 = 50;
const OUTSIDE: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)];

struct Flow {
    protocol: u8,
    inside: SocketAddrV4,
    remote: SocketAddrV4,
}

impl Flow {
    fn any(dice: &mut Dice) -> Self {
        let pod = Ipv4Addr::from_bits(0x0a00_0100 + dice.below(PODS));
        let remote = Ipv4Addr::from_bits(0xc633_6400 + dice.below(5));
        let protocol = dice.pick(&[UDP, TCP, ICMP]);
        let remote_port = if protocol == ICMP { 0 } else { dice.pick(&[53, 80, 443]) };
        let inside = SocketAddrV4::new(pod, 1 + dice.below(65_535) as u16);
        Self { protocol, inside, remote: SocketAddrV4::new(remote, remote_port) }
    }

    fn packet(&self, from: SocketAddrV4, to: SocketAddrV4, dir: Direction, dice: &mut Dice) -> Ip {
        let data: Vec<u8> = (0..dice.below(40)).map(|_| dice.below(256) as u8).collect();
        let mut packet = match (self.protocol, dir) {
            (UDP, _) => packet::udp(from, to, &data),
            (TCP, Direction::Outbound) => packet::tcp(from, to, SYN, dice.below(u32::MAX), &data),
            (TCP, Direction::Inbound) => packet::tcp(from, to, SYN | packet::ACK, dice.below(u32::MAX), &data),
            (_, Direction::Outbound) => packet::query(*from.ip(), *to.ip(), 8, from.port(), &data),
            (_, Direction::Inbound) => packet::query(*from.ip(), *to.ip(), 0, to.port(), &data),
        };
        packet.ttl = 2 + dice.below(254) as u8;
        packet.dont_fragment = dice.one_in(2);
        packet.ident = dice.below(65_536) as u16;
        packet
    }
}

/// Source and destination of a packet of UDP, TCP or a query.
fn ends(seen: &Seen, dir: Direction) -> (SocketAddrV4, SocketAddrV4) {
    let ports = match (&seen.content, dir) {
        (Content::Udp { ports, .. } | Content::Tcp { ports, .. }, _) => *ports,
        (Content::Query { ident, .. }, Direction::Outbound) => [*ident, 0],
        (Content::Query { ident, .. }, Direction::Inbound) => [0, *ident],
        (Content::Error { .. } | Content::Opaque(_), _) => panic!("not a packet of a flow: {seen:?}"),
    };
    (SocketAddrV4::new(seen.src, ports[0]), SocketAddrV4::new(seen.dst, ports[1]))
}

/// What of a packet no translation may touch.
fn kept(seen: &Seen) -> (u8, bool, u8, Vec<u8>, Vec<u32>) {
    let (data, numbers) = match &seen.content {
        Content::Udp { data, .. } => (data.clone(), Vec::new()),
        Content::Tcp { data, seq, ack, flags, .. } => (data.clone(), vec![*seq, *ack, u32::from(*flags)]),
        Content::Query { kind, data, .. } => (data.clone(), vec![u32::from(*kind)]),
        Content::Error { .. } | Content::Opaque(_) => panic!("not a packet of a flow: {seen:?}"),
    };
    (seen.protocol, seen.dont_fragment, seen.ttl, data, numbers)
}

fn passed(rig: &mut Rig, dir: Direction, packet: &Ip) -> Option<(Seen, Seen)> {
    let frame = packet.frame();
    let before = foreign::read(&frame).unwrap();
    let outcome = rig.pass(dir, &frame);
    (outcome.verdict == Verdict::Forward).then(|| {
        let after = foreign::read(&outcome.frame).unwrap();
        assert_eq!(after.checksum_error, 0, "{after:?}");
        let one_hop_older = Seen { ttl: before.ttl - 1, ..before.clone() };
        assert_eq!(kept(&after), kept(&one_hop_older));
        (before, after)
    })
}

/// The key under which an outside end may have one owner only.
fn key(rules: &ProtocolRules, outside: SocketAddrV4, remote: SocketAddrV4) -> (SocketAddrV4, Option<SocketAddrV4>) {
    match rules.overload {
        Overload::Never => (outside, None),
        Overload::PerAddress => (outside, Some(SocketAddrV4::new(*remote.ip(), 0))),
        Overload::PerEndpoint => (outside, Some(remote)),
    }
}

/// Sends many flows out and their answers back, and checks each packet on both ways. Returns how many made it.
pub(crate) fn check(name: &str, flows: u32) -> u32 {
    let profile = Profile::builtin(name).expect("a profile that comes with the library");
    let mut config = profile.config(OUTSIDE.to_vec());
    // Fewer than there are flows, so that some must do without or make others go.
    config.behaviour.table.capacity = flows / 2;
    let behaviour = config.behaviour.clone();
    let mut rig = Rig::new(config, 11);
    let memory = rig.nat.memory();
    let mut dice = Dice::new(5);
    let mut owners: BTreeMap<_, SocketAddrV4> = BTreeMap::new();
    let mut made = 0;
    for _ in 0..flows {
        let flow = Flow::any(&mut dice);
        rig.now_ns += u64::from(dice.below(1_000_000));
        let out = flow.packet(flow.inside, flow.remote, Direction::Outbound, &mut dice);
        let Some((_, after)) = passed(&mut rig, Direction::Outbound, &out) else { continue };
        let (outside, remote) = ends(&after, Direction::Outbound);
        assert!(OUTSIDE.contains(outside.ip()) && remote == flow.remote, "{name}: {after:?}");
        let rules = match flow.protocol {
            UDP => &behaviour.udp,
            TCP => &behaviour.tcp,
            _ => &behaviour.icmp,
        };
        // What was evicted since has no owner any more.
        let alive = rig.nat.counters().evicted == 0;
        let owner = *owners.entry((flow.protocol, key(rules, outside, remote))).or_insert(flow.inside);
        assert!(owner == flow.inside || !alive, "{name}: {outside} to {remote} serves {owner} and {}", flow.inside);
        let back = flow.packet(remote, outside, Direction::Inbound, &mut dice);
        let (_, after) = passed(&mut rig, Direction::Inbound, &back).expect("the answer comes in");
        assert_eq!(ends(&after, Direction::Inbound), (flow.remote, flow.inside), "{name}");
        made += 1;
        assert_eq!(rig.nat.memory(), memory, "{name}");
    }
    made
}

/// No inside address leaves, neither in the header nor in the packet that an ICMP error quotes.
pub(crate) fn check_leaks(name: &str) {
    let profile = Profile::builtin(name).expect("a profile that comes with the library");
    let mut rig = Rig::new(profile.config(OUTSIDE[..1].to_vec()), 3);
    let mut dice = Dice::new(9);
    for _ in 0..200 {
        let flow = Flow::any(&mut dice);
        let out = flow.packet(flow.inside, flow.remote, Direction::Outbound, &mut dice);
        let Some((_, after)) = passed(&mut rig, Direction::Outbound, &out) else { continue };
        let (outside, remote) = ends(&after, Direction::Outbound);
        let back = flow.packet(remote, outside, Direction::Inbound, &mut dice);
        let (_, arrived) = passed(&mut rig, Direction::Inbound, &back).expect("the answer comes in");
        // The pod says that nobody listens: the server must not learn the pod's address.
        let (from, to) = ends(&arrived, Direction::Inbound);
        let received = flow.packet(from, to, Direction::Inbound, &mut dice);
        let error = packet::error(*to.ip(), *from.ip(), [3, 3], 0, &received.bytes());
        let outcome = rig.pass(Direction::Outbound, &error.frame());
        if outcome.verdict != Verdict::Forward {
            continue;
        }
        let seen = foreign::read(&outcome.frame).unwrap();
        let Content::Error { quote, .. } = &seen.content else { panic!("{name}: {seen:?}") };
        let (quoted, _, ports) = foreign::quoted_ends(quote).unwrap();
        assert_eq!((seen.src, quoted), (*outside.ip(), [*remote.ip(), *outside.ip()]), "{name}");
        let port = if flow.protocol == ICMP { ports[0] } else { ports[1] };
        assert_eq!(port, outside.port(), "{name}");
        let inside = flow.inside.ip().octets();
        assert!(!outcome.frame.windows(4).any(|bytes| bytes == inside), "{name}: {inside:?} leaves in {seen:?}");
    }
}
