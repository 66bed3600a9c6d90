//! RFC 6888.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use natrig_nat::Cidr;
use natrig_nat::behaviour::{PortBlocks, PortRange};

use crate::lab::{Got, OUTSIDE, POD, POD2, PORT, REMOTE, REMOTE2, Subject, Verdict, end, holds_if, may};
use crate::mapping::{self, Transport};
use crate::packet::{self, ACK};
use crate::{Document, Level, icmp, row};

pub(crate) fn document() -> Document {
    let rows = vec![
        row!(
            "REQ-1",
            Must,
            "what each transport protocol's RFC asks for (every MUST of the tables above)",
            keeps_the_other_rfcs
        ),
        row!("REQ-2", Must, "paired IP address pooling by default", pairs_addresses),
        row!("REQ-3", ShouldNot, "the pool's size or contiguity is limited", takes_any_pool),
        row!("REQ-4", Must, "ports per subscriber can be limited", limits_ports),
        row!("REQ-4a", Must, "by a limit that the administrator sets", limit_is_configurable),
        row!("REQ-4b", May, "for each transport protocol apart", limits_protocols_apart),
        row!("REQ-4c", Recommended, "the rate of new mappings can be limited", limits_rate),
        row!("REQ-5", Should, "state per subscriber can be limited", limits_sessions),
        row!("REQ-6", Must, "translation can be turned off by destination", excludes_destinations),
        row!("REQ-7", Recommended, "endpoint-independent filtering", filters_endpoint_independently),
        row!(
            "REQ-8",
            ShouldNot,
            "a port is given out again within 120 s (TCP state, static ports and port-dependent filters excepted)",
            holds_ports
        ),
        row!("REQ-9", Must, "subscribers control their mappings (PCP)", has_no_control_protocol),
        row!("REQ-10", Should, "management by standards (MIB)", has_no_mib),
        row!("REQ-11a", Must, "no mapping to be had: the packet is dropped", drops_when_exhausted),
        row!("REQ-11b", Should, "and answered by “host unreachable” (3/1)", reports_exhaustion),
        row!("REQ-11c", Should, "and a notification is sent to management", has_no_notifications),
        row!("REQ-11d", MustNot, "existing mappings are deleted to make room", deletes_nobody),
        row!("REQ-12", ShouldNot, "destinations are logged", logs_nothing),
        row!("REQ-13", Should, "all ports can be used", uses_all_ports),
        row!("REQ-14", Should, "little is logged", logs_little),
        row!("REQ-15", Should, "ports are hard to guess", ports_are_hard_to_guess),
    ];
    Document { number: 6888, title: "carrier-grade NAT", rows }
}

fn keeps_the_other_rfcs(subject: &Subject) -> Verdict {
    let mut broken = Vec::new();
    for document in [crate::udp::document(), crate::tcp::document(), icmp::document()] {
        let musts = document.rows.iter().filter(|row| matches!(row.level, Level::Must | Level::MustNot));
        let count = musts.filter(|row| matches!((row.probe)(subject), Verdict::Violates(_))).count();
        if count > 0 {
            broken.push(format!("{count} of RFC {}", document.number));
        }
    }
    holds_if(broken.is_empty(), format!("it breaks {}", broken.join(", ")))
}

fn pairs_addresses(subject: &Subject) -> Verdict {
    mapping::pairs_addresses(subject)
}

fn takes_any_pool(subject: &Subject) -> Verdict {
    let pool: Vec<Ipv4Addr> = (0..300u32).map(|n| Ipv4Addr::from_bits(0xc000_0201 + n * 7919)).collect();
    let mut lab = subject.lab_with(|config| config.outside = pool.clone());
    let pods = (1..=100).map(|n| end(Ipv4Addr::new(10, 0, 3, n), PORT));
    let outside = pods.filter_map(|pod| lab.udp_out(pod, end(REMOTE, 53)));
    holds_if(outside.filter(|outside| pool.contains(outside.ip())).count() == 100, "scattered addresses are not used")
}

/// How many of ten UDP flows of a pod get through, and then how many of ten of another pod.
fn admitted(subject: &Subject, ports_per_source: u32) -> [usize; 2] {
    let mut lab = subject.lab_with(|config| config.behaviour.quota.ports_per_source = ports_per_source);
    let mut count = |pod| (0..10).filter(|n| lab.udp_out(end(pod, PORT + n), end(REMOTE, 53)).is_some()).count();
    [count(POD), count(POD2)]
}

fn limits_ports(subject: &Subject) -> Verdict {
    holds_if(admitted(subject, 4) == [4, 4], "they cannot")
}

fn limit_is_configurable(subject: &Subject) -> Verdict {
    holds_if(admitted(subject, 2) == [2, 2] && admitted(subject, 7) == [7, 7], "it cannot be set")
}

fn limits_protocols_apart(_: &Subject) -> Verdict {
    may(false)
}

fn limits_rate(subject: &Subject) -> Verdict {
    let mut lab = subject.lab_with(|config| config.behaviour.quota.new_per_second = 5);
    let mut port = PORT;
    let mut second = |lab: &mut crate::lab::Lab| {
        let made = (0..10).filter(|n| lab.udp_out(end(POD, port + n), end(REMOTE, 53)).is_some()).count();
        port += 10;
        lab.wait(1.0);
        made
    };
    let made = [second(&mut lab), second(&mut lab)];
    holds_if(made == [5, 5], "it cannot")
}

fn limits_sessions(subject: &Subject) -> Verdict {
    let mut lab = subject.lab_with(|config| config.behaviour.quota.sessions_per_source = 4);
    let remote = |n: u32| end(Ipv4Addr::from_bits(0xc633_6400 + n), 53);
    let made = (0..10).filter(|n| lab.udp_out(end(POD, PORT), remote(*n)).is_some()).count();
    holds_if(made == 4, "it cannot")
}

fn excludes_destinations(subject: &Subject) -> Verdict {
    let mut lab = subject.lab_with(|config| config.policy.non_masquerade = vec![Cidr::new(REMOTE2, 32)]);
    let excluded = lab.udp_out(end(POD, PORT), end(REMOTE2, 53)) == Some(end(POD, PORT));
    let back = lab.udp_in(end(REMOTE2, 53), end(POD, PORT)) == Some(end(POD, PORT));
    let others = lab.udp_out(end(POD, PORT), end(REMOTE, 53)).is_some_and(|outside| *outside.ip() == OUTSIDE);
    holds_if(excluded && back && others, "it cannot")
}

fn filters_endpoint_independently(subject: &Subject) -> Verdict {
    let found = mapping::filtering(&mut subject.lab(), Transport::Udp);
    holds_if(found == Some(mapping::Dependence::None), "filtering depends on the remote end")
}

fn holds_ports(subject: &Subject) -> Verdict {
    if mapping::filtering(&mut subject.lab(), Transport::Udp) == Some(mapping::Dependence::AddressAndPort) {
        return Verdict::NotApplicable("filtering depends on the remote end: exception c");
    }
    let again_after = |wait_s: f64| {
        let mut lab = subject.lab_with(|config| {
            let low = config.behaviour.ports.range.low;
            config.behaviour.ports.range = PortRange::new(low, low);
            config.behaviour.ports.parity = false;
        });
        lab.udp_out(end(POD, PORT), end(REMOTE, 53));
        lab.wait(f64::from(subject.behaviour().timers.udp_new_s));
        lab.wait(wait_s);
        lab.udp_out(end(POD2, PORT), end(REMOTE, 53)).is_some()
    };
    holds_if(!again_after(119.9) && again_after(120.1), "it is given out earlier")
}

fn has_no_control_protocol(_: &Subject) -> Verdict {
    Verdict::NotApplicable("a translator without a control protocol")
}

fn has_no_mib(_: &Subject) -> Verdict {
    Verdict::NotApplicable("counters and the list of mappings are for the program around it to show")
}

fn has_no_notifications(_: &Subject) -> Verdict {
    Verdict::NotApplicable("there is a counter for each reason; whom to tell is for the program around it")
}

fn logs_nothing(_: &Subject) -> Verdict {
    Verdict::NotApplicable("nothing is logged")
}

fn logs_little(_: &Subject) -> Verdict {
    Verdict::NotApplicable("nothing is logged")
}

fn drops_when_exhausted(subject: &Subject) -> Verdict {
    let mut lab = icmp::exhausted(subject);
    let got = lab.outbound(&packet::udp(end(POD2, 41_000), end(REMOTE, 53), b"one more"));
    holds_if(matches!(got, Got::Drop(_) | Got::Back(_)), "it is forwarded")
}

fn reports_exhaustion(subject: &Subject) -> Verdict {
    let mut lab = icmp::exhausted(subject);
    let got = lab.outbound(&packet::udp(end(POD2, 41_000), end(REMOTE, 53), b"one more"));
    holds_if(got.error() == Some([3, 1]), "it is dropped in silence")
}

/// A table full of flows, answered and not, and more of them to come.
fn deletes_nobody(subject: &Subject) -> Verdict {
    let mut lab = subject.lab_with(|config| config.behaviour.table.capacity = 20);
    let mut known = Vec::new();
    for n in 0..10 {
        known.extend(lab.connect(end(POD, PORT + n), end(REMOTE, 80)).map(|outside| (n, outside)));
        lab.udp_out(end(POD, PORT + n), end(REMOTE, 53));
    }
    for n in 0..200 {
        lab.udp_out(end(POD2, 20_000 + n), end(REMOTE2, 53));
    }
    let evicted = lab.rig.nat.counters().evicted;
    let alive =
        known.iter().filter(|(n, outside)| lab.tcp_in(end(REMOTE, 80), *outside, ACK) == Some(end(POD, PORT + n)));
    let lost = known.len() - alive.count();
    if lost > 0 {
        return Verdict::Violates("established connections go when the table is full".into());
    }
    holds_if(evicted == 0, "flows that nobody answered go when the table is full")
}

/// As many pods as there are ports, one flow each to the same remote end.
fn uses_all_ports(subject: &Subject) -> Verdict {
    const PORTS: u16 = 4096;
    let mut lab = subject.lab_with(|config| {
        let low = config.behaviour.ports.range.low;
        config.behaviour.ports.range = PortRange::new(low, low + PORTS - 1);
    });
    let mut used = BTreeSet::new();
    // Parity and luck: some more attempts than ports.
    for n in 0..u32::from(PORTS) * 5 / 4 {
        let pod = end(Ipv4Addr::from_bits(0x0a01_0000 + n), 33_000 + (n % 20_000) as u16);
        used.extend(lab.udp_out(pod, end(REMOTE, 53)));
    }
    let share = used.len() as f64 / f64::from(PORTS);
    if subject.behaviour().quota.blocks != PortBlocks::Shared && share < 0.99 {
        return Verdict::Violates("ports set aside for one subscriber are idle while others need them".into());
    }
    holds_if(share >= 0.99, "flows are refused while ports are free")
}

/// One pod's flows, one source port after the other: neither the ports themselves nor their distances give the next one away.
pub(crate) fn ports_are_hard_to_guess(subject: &Subject) -> Verdict {
    let mut lab = subject.lab();
    let ports: Vec<u16> = (0..48u16)
        .filter_map(|n| lab.udp_out(end(POD, PORT + n), end(REMOTE, 53)))
        .map(|outside| outside.port())
        .collect();
    let kept = ports.iter().enumerate().filter(|(n, port)| **port == PORT + *n as u16).count();
    let steps: BTreeSet<u16> = ports.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    if kept > 4 {
        return Verdict::Violates("the source port is kept".into());
    }
    holds_if(steps.len() > 20, "they follow each other")
}
