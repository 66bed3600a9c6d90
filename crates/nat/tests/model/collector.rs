//! Periodic collection, by the clock: what is dead stays until the collector comes, and when it comes next depends on what it found
//! (Cilium, pkg/maps/ctmap, calculateInterval).

use std::net::{Ipv4Addr, SocketAddrV4};

use natrig_nat::{Direction, Profile};

use crate::packet::{self, ACK};
use crate::rig::Rig;

const SECOND: u64 = 1_000_000_000;
const REMOTE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 1), 53);

fn pod(number: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(10, 0, 1, 1), 33_000 + number)
}

/// A table of `lasting` connections; rounds of `brief` UDP flows each, dead before the next run of the collector. Returns after how many
/// seconds each round was collected, counted from the collection before.
fn intervals(lasting: u16, rounds: &[u16]) -> Vec<u64> {
    let config = Profile::builtin("cilium-bpf").unwrap().config(vec![Ipv4Addr::new(192, 0, 2, 1)]);
    let mut rig = Rig::new(config, 1);
    rig.nat.expire(rig.now_ns);
    let mut last_run_ns = rig.now_ns;
    let mut intervals = Vec::new();
    for (round, brief) in rounds.iter().enumerate() {
        for number in 0..lasting {
            // Refreshed in every round.
            rig.pass(Direction::Outbound, &packet::tcp(pod(number), REMOTE, ACK, 1, b"").frame());
        }
        for number in 0..*brief {
            rig.pass(Direction::Outbound, &packet::udp(pod(number), REMOTE, b"").frame());
        }
        let before = rig.nat.counters().expired;
        while rig.nat.counters().expired == before && rig.now_ns < last_run_ns + 100_000 * SECOND {
            rig.now_ns += SECOND;
            rig.nat.expire(rig.now_ns);
        }
        assert_eq!(rig.nat.counters().expired - before, u64::from(*brief), "round {round}");
        intervals.push((rig.now_ns - last_run_ns) / SECOND);
        last_run_ns = rig.now_ns;
    }
    intervals
}

#[test]
fn the_first_run_is_after_five_minutes_and_a_tenth_found_changes_nothing() {
    assert_eq!(intervals(90, &[10, 10, 10]), [300, 300, 300]);
}

#[test]
fn much_found_shortens_the_interval_by_as_much() {
    assert_eq!(intervals(50, &[50, 50]), [300, 150]);
    assert_eq!(intervals(60, &[40, 40, 40]), [300, 180, 108]);
}

#[test]
fn little_found_lengthens_it_by_half() {
    assert_eq!(intervals(990, &[10, 10, 10]), [300, 450, 675]);
}

#[test]
fn nothing_found_leaves_it_as_it_is() {
    let config = Profile::builtin("cilium-bpf").unwrap().config(vec![Ipv4Addr::new(192, 0, 2, 1)]);
    let mut rig = Rig::new(config, 1);
    rig.nat.expire(rig.now_ns);
    // Runs at 300 s and 600 s find nothing; a flow of second 610 is dead at 670 and goes with the run at 900.
    for (second, gone) in [(300, 0), (600, 0), (610, 0), (899, 0), (900, 1)] {
        rig.now_ns = (1 + second) * SECOND;
        if second == 610 {
            rig.pass(Direction::Outbound, &packet::udp(pod(1), REMOTE, b"").frame());
        }
        rig.nat.expire(rig.now_ns);
        assert_eq!(rig.nat.counters().expired, gone, "second {second}");
    }
}
