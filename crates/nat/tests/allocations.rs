//! Once made, a translator allocates nothing: not for new flows, not for their end, not for errors, fragments or exhaustion.

mod kit;

use kit::*;
use natrig_nat::{Direction, Nat, Profile, Verdict};
use natrig_wire::Frame;

/// A frame in its slot.
struct Slot {
    bytes: Vec<u8>,
    len: usize,
}

impl Slot {
    fn new(frame: &[u8]) -> Self {
        let mut bytes = frame.to_vec();
        bytes.resize(2048, 0);
        Self { bytes, len: frame.len() }
    }
}

fn run(nat: &mut Nat, dir: Direction, slots: &mut [Slot], now_ns: u64) {
    for burst in slots.chunks_mut(64) {
        let mut iter = burst.iter_mut();
        let mut frames: [Frame<'_>; 64] = std::array::from_fn(|_| match iter.next() {
            Some(slot) => Frame::new(&mut slot.bytes, slot.len),
            None => Frame::new(&mut [], 0),
        });
        let mut verdicts = [Verdict::Forward; 64];
        nat.translate_burst(dir, &mut frames, &mut verdicts, now_ns);
        for dir in [Direction::Outbound, Direction::Inbound] {
            nat.release(dir, now_ns, &mut |_, _| ());
        }
    }
}

/// New flows of three protocols, packets of known ones, fragments out of order, packets that are too long, and nonsense.
fn traffic() -> Vec<Slot> {
    let mut slots = Vec::new();
    for n in 0..300u16 {
        let pod = at(&format!("10.0.0.{}:{}", 1 + n % 40, 2000 + n));
        let server = at("203.0.113.5:80");
        slots.push(Slot::new(&udp(pod, server, b"x")));
        slots.push(Slot::new(&tcp(pod, server, SYN)));
        slots.push(Slot::new(&tcp(pod, server, ACK)));
        slots.push(Slot::new(&ping(&pod.ip().to_string(), "203.0.113.5", n)));
        slots.push(Slot::new(&with_ttl(udp(pod, server, b"x"), 1)));
        slots.extend(fragments(&udp(pod, server, &[0; 200]), &[48, 96]).iter().rev().map(|piece| Slot::new(piece)));
        slots.push(Slot::new(&udp(pod, server, &[0; 1000])));
        slots.push(Slot::new(&icmp_error("10.0.0.1", 3, 3, &udp(server, pod, b"x"), 28)));
        slots.push(Slot::new(&udp(pod, at("198.51.100.1:5000"), b"hairpin")));
    }
    slots
}

fn strangers() -> Vec<Slot> {
    let outside = |port: u16| at(&format!("198.51.100.1:{port}"));
    (0..300u16)
        .flat_map(|n| {
            let server = at("203.0.113.5:80");
            [udp(server, outside(n), b"x"), tcp(server, outside(n), SYN), ping("203.0.113.5", OUTSIDE, n)]
        })
        .map(|frame| Slot::new(&frame))
        .collect()
}

#[test]
fn nothing_is_allocated_once_a_translator_is_made() {
    for profile in Profile::names() {
        let mut config = Profile::builtin(profile).unwrap().config(vec![ip(OUTSIDE)]);
        config.outside_mtu = Some(576);
        // Smaller than what comes, so that refusal and eviction are in it.
        config.behaviour.table.capacity = 500;
        config.behaviour.quota.max_sources = 30;
        let mut nat = Nat::new(config, 1).unwrap();
        let (mut out, mut inb) = (traffic(), strangers());
        let mut now_ns = SECOND;
        let info = allocation_counter::measure(|| {
            for _ in 0..3 {
                run(&mut nat, Direction::Outbound, &mut out, now_ns);
                run(&mut nat, Direction::Inbound, &mut inb, now_ns);
                now_ns += 9000 * SECOND;
                nat.expire(now_ns);
            }
        });
        assert!(nat.counters().created > 100, "{profile}");
        assert_eq!((info.count_total, info.bytes_total), (0, 0), "{profile}");
    }
}
