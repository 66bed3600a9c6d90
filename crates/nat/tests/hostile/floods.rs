//! Floods: whoever talks already goes on talking, as far as the profile's own policy lets him, and memory stays as it is.

use std::net::{Ipv4Addr, SocketAddrV4};

use natrig_nat::behaviour::{Dependence, FragmentRule, FullPolicy, PortBlocks, UnsolicitedSyn};
use natrig_nat::{Config, Counters, Direction, DropReason, Profile, Verdict};

use crate::dice::Dice;
use crate::foreign::{self, Content};
use crate::packet::{self, ACK, RST, SYN, TCP, UDP};
use crate::rig::Rig;

const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 1), 443);
const ATTACKER: Ipv4Addr = Ipv4Addr::new(10, 0, 9, 9);
const CAPACITY: u32 = 1000;

/// Connections and UDP conversations of honest pods, and what the world knows them by.
struct Honest {
    flows: Vec<(u8, SocketAddrV4, SocketAddrV4)>,
}

impl Honest {
    /// Twenty pods, a connection and a conversation each.
    fn settle(rig: &mut Rig) -> Self {
        let mut flows = Vec::new();
        for pod in 1..=20 {
            for protocol in [TCP, UDP] {
                let inside = SocketAddrV4::new(Ipv4Addr::new(10, 0, 1, pod), 40_000 + u16::from(pod));
                let first = if protocol == TCP { SYN } else { 0 };
                let outside = send(rig, protocol, inside, first).expect("an honest flow");
                assert!(answer(rig, protocol, outside, SYN | ACK, inside), "pod {pod}");
                send(rig, protocol, inside, ACK);
                flows.push((protocol, inside, outside));
            }
        }
        Self { flows }
    }

    /// How many still work, both ways, by the same outside end.
    fn alive(&self, rig: &mut Rig) -> usize {
        let works = |rig: &mut Rig, (protocol, inside, outside): (u8, SocketAddrV4, SocketAddrV4)| {
            send(rig, protocol, inside, ACK) == Some(outside) && answer(rig, protocol, outside, ACK, inside)
        };
        self.flows.iter().filter(|flow| works(rig, **flow)).count()
    }
}

/// A packet from a pod to the server; the outside end that it left by.
fn send(rig: &mut Rig, protocol: u8, inside: SocketAddrV4, flags: u8) -> Option<SocketAddrV4> {
    let packet = match protocol {
        TCP => packet::tcp(inside, SERVER, flags, 1000, b"up"),
        _ => packet::udp(inside, SERVER, b"up"),
    };
    let outcome = rig.pass(Direction::Outbound, &packet.frame());
    let seen = (outcome.verdict == Verdict::Forward).then(|| foreign::read(&outcome.frame).unwrap())?;
    let (Content::Tcp { ports, .. } | Content::Udp { ports, .. }) = seen.content else { return None };
    Some(SocketAddrV4::new(seen.src, ports[0]))
}

/// A packet from the server; true if it came to this pod.
fn answer(rig: &mut Rig, protocol: u8, outside: SocketAddrV4, flags: u8, inside: SocketAddrV4) -> bool {
    let packet = match protocol {
        TCP => packet::tcp(SERVER, outside, flags, 2000, b"down"),
        _ => packet::udp(SERVER, outside, b"down"),
    };
    let outcome = rig.pass(Direction::Inbound, &packet.frame());
    outcome.verdict == Verdict::Forward && foreign::read(&outcome.frame).unwrap().dst == *inside.ip()
}

fn rig(name: &str, change: impl FnOnce(&mut Config)) -> Rig {
    let profile = Profile::builtin(name).expect("a profile that comes with the library");
    let mut config = profile.config(vec![OUTSIDE]);
    config.behaviour.table.capacity = CAPACITY;
    change(&mut config);
    Rig::new(config, 1)
}

/// Before and after a flood: everybody honest is still there, and no memory has been taken.
fn withstands(name: &str, rig: &mut Rig, flood: impl FnOnce(&mut Rig, &Honest)) -> Counters {
    let honest = Honest::settle(rig);
    let memory = rig.nat.memory();
    flood(rig, &honest);
    assert_eq!(honest.alive(rig), honest.flows.len(), "{name}");
    assert_eq!(rig.nat.memory(), memory, "{name}");
    rig.nat.counters().clone()
}

/// One pod opens connections to everybody and never answers.
#[test]
fn half_open_connections_push_nobody_out() {
    for name in Profile::names() {
        let mut rig = rig(name, |_| ());
        let full = rig.nat.config().behaviour.table.full;
        let lru = full == FullPolicy::EvictOldest || full.by_entry();
        let counters = withstands(name, &mut rig, |rig, honest| {
            for number in 0..20 * CAPACITY {
                let to =
                    SocketAddrV4::new(Ipv4Addr::from_bits(0xcb00_7100 + number / 50_000), 1 + (number % 50_000) as u16);
                let from = SocketAddrV4::new(ATTACKER, 1024 + (number % 60_000) as u16);
                rig.pass(Direction::Outbound, &packet::tcp(from, to, SYN, number, b"").frame());
                rig.now_ns += 100_000;
                // Where the table forgets who was silent longest, those who talk are never among them.
                if lru && number % 50 == 0 {
                    honest.alive(rig);
                }
            }
        });
        let refused = counters.dropped_total() + counters.answered.iter().sum::<u64>();
        assert!(counters.evicted + refused >= u64::from(18 * CAPACITY), "{name}: the flood was none");
    }
}

/// With a quota even newcomers find room.
#[test]
fn a_quota_leaves_room_for_newcomers() {
    for name in Profile::names() {
        let mut rig = rig(name, |config| config.behaviour.quota.sessions_per_source = 50);
        let counters = withstands(name, &mut rig, |rig, _| {
            for number in 0..5000 {
                let to = SocketAddrV4::new(*SERVER.ip(), 1 + number);
                rig.pass(Direction::Outbound, &packet::tcp(SocketAddrV4::new(ATTACKER, 5000), to, SYN, 1, b"").frame());
            }
        });
        assert_eq!(counters.evicted, 0, "{name}");
        let newcomer = SocketAddrV4::new(Ipv4Addr::new(10, 0, 1, 99), 41_000);
        assert!(send(&mut rig, UDP, newcomer, 0).is_some(), "{name}");
    }
}

/// Somebody invents inside addresses.
#[test]
fn invented_sources_do_not_crowd_out_those_that_are_known() {
    for name in Profile::names() {
        let mut rig = rig(name, |config| {
            config.behaviour.quota.max_sources = 100;
            config.behaviour.quota.ports_per_source = 5;
        });
        withstands(name, &mut rig, |rig, _| {
            for number in 0..5000 {
                let from = SocketAddrV4::new(Ipv4Addr::from_bits(0x0a10_0000 + number), 5000);
                rig.pass(Direction::Outbound, &packet::udp(from, SERVER, b"").frame());
            }
        });
    }
}

/// The world knocks at every port.
#[test]
fn strangers_from_outside_leave_no_state() {
    for name in Profile::names() {
        let mut rig = rig(name, |_| ());
        let waits = rig.nat.config().behaviour.tcp_rules.unsolicited_syn == UnsolicitedSyn::Wait;
        let known = {
            let mut dice = Dice::new(3);
            let counters = withstands(name, &mut rig, |rig, _| {
                for number in 0..50_000u32 {
                    let stranger = SocketAddrV4::new(
                        Ipv4Addr::from_bits(dice.below(0x4000_0000) + 0x1000_0000),
                        1 + number as u16 % 60_000,
                    );
                    let to = SocketAddrV4::new(OUTSIDE, dice.below(65_536) as u16);
                    let packet = match number % 3 {
                        0 => packet::tcp(stranger, to, SYN, number, b""),
                        1 => packet::tcp(stranger, to, ACK, number, b""),
                        _ => packet::udp(stranger, to, b"knock"),
                    };
                    rig.pass(Direction::Inbound, &packet.frame());
                }
            });
            counters.live
        };
        assert_eq!(known, 40, "{name}");
        assert!(!waits || rig.nat.counters().held > 0, "{name}");
        // Those that wait are answered in the end, and the room is free again.
        rig.now_ns += 7_000_000_000;
        while rig.release_one(Direction::Inbound).is_some() {}
        assert!(!rig.nat.holds_frames(), "{name}");
    }
}

/// Pieces of datagrams that never get whole, more than can be followed or kept.
#[test]
fn fragments_without_end_leave_whole_packets_alone() {
    for name in Profile::names() {
        let mut rig = rig(name, |_| ());
        let follows = rig.nat.config().behaviour.udp.fragments != FragmentRule::Drop;
        withstands(name, &mut rig, |rig, honest| {
            for number in 0..30_000u32 {
                let from = SocketAddrV4::new(Ipv4Addr::from_bits(0x0a09_0000 + number % 64), 5000);
                let mut piece = packet::udp(from, SERVER, &[0; 100]).fragments(32).remove((number % 4) as usize);
                piece.ident = (number / 4) as u16;
                rig.pass(Direction::Outbound, &piece.frame());
                if number % 3000 == 0 {
                    assert_eq!(honest.alive(rig), 40, "{name}");
                }
            }
            // One that comes in order passes even so.
            let inside = honest.flows[1].1;
            let passed = packet::udp(inside, SERVER, &[7; 100]).fragments(32);
            let passed =
                passed.iter().filter(|piece| rig.pass(Direction::Outbound, &piece.frame()).verdict == Verdict::Forward);
            assert_eq!(passed.count(), if follows { 4 } else { 0 }, "{name}");
        });
    }
}

/// ICMP errors about flows of which the sender is no part end none and keep none alive.
#[test]
fn errors_about_other_peoples_flows_change_nothing() {
    for name in Profile::names() {
        let mut rig = rig(name, |_| ());
        let known = |rig: &Rig| {
            let mut known: Vec<_> =
                rig.nat.mappings().map(|view| (view.protocol, view.outside, view.state, view.expires_in_ns)).collect();
            known.sort_unstable();
            known
        };
        let honest = Honest::settle(&mut rig);
        rig.nat.expire(rig.now_ns);
        let before = known(&rig);
        for (protocol, inside, outside) in &honest.flows {
            let (sent, received) = match *protocol {
                TCP => (packet::tcp(*outside, SERVER, ACK, 1, b"x"), packet::tcp(SERVER, *inside, ACK, 1, b"x")),
                _ => (packet::udp(*outside, SERVER, b"x"), packet::udp(SERVER, *inside, b"x")),
            };
            for code in 0..16 {
                let forged = packet::error(Ipv4Addr::new(203, 0, 113, 6), OUTSIDE, [3, code], 68, &sent.bytes());
                rig.pass(Direction::Inbound, &forged.frame());
                let by_neighbour = packet::error(ATTACKER, *SERVER.ip(), [3, code], 68, &received.bytes());
                rig.pass(Direction::Outbound, &by_neighbour.frame());
            }
        }
        assert_eq!(known(&rig), before, "{name}");
    }
}

/// One pod opens, closes and resets without pause: the ports that it leaves behind are its own loss, not its neighbours'.
#[test]
fn churn_leaves_nothing_behind() {
    for name in Profile::names() {
        let mut rig = rig(name, |_| ());
        withstands(name, &mut rig, |rig, honest| {
            for number in 0..10_000u32 {
                let from = SocketAddrV4::new(ATTACKER, 1024 + (number % 50_000) as u16);
                for flags in [SYN, RST] {
                    rig.pass(Direction::Outbound, &packet::tcp(from, SERVER, flags, number, b"").frame());
                }
                if number % 20 == 0 {
                    rig.now_ns += 1_000_000_000;
                    honest.alive(rig);
                }
            }
        });
        rig.now_ns += 500_000_000_000_000;
        rig.nat.expire(rig.now_ns);
        let hold = &rig.nat.config().behaviour.hold;
        rig.now_ns += u64::from(hold.tcp_fin_s.max(hold.tcp_rst_s).max(hold.udp_s)) * 1_000_000_000 + 20_000_000;
        rig.nat.expire(rig.now_ns);
        assert_eq!((rig.nat.mappings().count(), rig.nat.counters().live), (0, 0), "{name}");
    }
}

/// A stranger who is let in by an endpoint-independent filter still makes no state, and cannot keep a mapping alive where only its owner
/// may.
#[test]
fn an_open_filter_is_no_way_to_fill_the_table() {
    let mut rig = rig("rfc4787", |_| ());
    assert_eq!(rig.nat.config().behaviour.udp.filtering, Dependence::EndpointIndependent);
    let inside = SocketAddrV4::new(Ipv4Addr::new(10, 0, 1, 1), 40_000);
    let outside = send(&mut rig, UDP, inside, 0).unwrap();
    for number in 0..300u32 {
        rig.now_ns += 1_000_000_000;
        let stranger = SocketAddrV4::new(Ipv4Addr::from_bits(0x0808_0000 + number), 53);
        let outcome = rig.pass(Direction::Inbound, &packet::udp(stranger, outside, b"hello").frame());
        let due = if number < 299 { Verdict::Forward } else { Verdict::Drop(DropReason::NoMapping) };
        assert_eq!(outcome.verdict, due, "second {number}");
        assert!(rig.nat.counters().live <= 1);
    }
}

/// Port blocks: a source that asks for ever more ports gets no more than its blocks, and takes nobody else's.
#[test]
fn blocks_of_ports_bound_a_greedy_source() {
    for name in ["gcp-cloudnat-static", "gcp-cloudnat-dynamic"] {
        let mut rig = rig(name, |config| {
            config.behaviour.table.capacity = 100_000;
            config.behaviour.quota.block_max = config.behaviour.quota.block_max.min(1024);
        });
        assert_ne!(rig.nat.config().behaviour.quota.blocks, PortBlocks::Shared);
        let most = match rig.nat.config().behaviour.quota.blocks {
            PortBlocks::Static => rig.nat.config().behaviour.quota.block_min,
            PortBlocks::Dynamic | PortBlocks::Shared => rig.nat.config().behaviour.quota.block_max,
        };
        let counters = withstands(name, &mut rig, |rig, _| {
            for number in 0..5000 {
                send(rig, UDP, SocketAddrV4::new(ATTACKER, 1024 + number), 0);
            }
        });
        assert_eq!(counters.live, 40 + u64::from(most), "{name}");
    }
}
