//! RFC 7857, by section.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use natrig_nat::Direction;
use natrig_nat::behaviour::{PortRange, Refresh};

use crate::foreign;
use crate::lab::{Lab, POD, POD2, PORT, REMOTE, REMOTE2, Subject, Verdict, end, holds_if, may};
use crate::mapping::{self, Transport};
use crate::packet::{self, ACK, FIN, RST, SYN};
use crate::{Document, cgn, row};

pub(crate) fn document() -> Document {
    let rows = vec![
        row!("§2.1", Should, "connections are followed by the state machine of figure 1", follows_connections),
        row!("§2.2", Should, "opening and closing have timers of their own", has_separate_timers),
        row!("§2.2 length", Recommended, "which are 4 min by default", transitory_timers_are_long),
        row!("§2.3", Must, "a reset is translated", translates_resets),
        row!("§2.3 wait", Should, "after a reset the session stays for 4 min", waits_after_resets),
        row!("§3", May, "ports overlap where remote ends differ", overlaps_ports),
        row!("§4", Should, "a host whose paired address is used up gets no other one", stays_paired),
        row!("§5", Should, "mappings of UDP and TCP are apart", maps_protocols_apart),
        row!("§6", Should, "filters of UDP and TCP are apart", filters_protocols_apart),
        row!("§7", Should, "refresh by inbound packets can be configured", inbound_refresh_is_configurable),
        row!(
            "§7.1",
            ShouldNot,
            "ICMP errors and resets in answer to inbound packets refresh a mapping",
            answers_refresh_nothing
        ),
        row!("§8", May, "parity may be given up", parity_is_configurable),
        row!("§9", Should, "ports are random (RFC 6056)", ports_are_random),
        row!("§10", Should, "identification of fragments is unique (RFC 6864 §5.3.1)", identifications_are_unique),
        row!("§11", May, "a query's mapping may go with its last session", query_mappings_go),
        row!("§12", Must, "errors about hairpinned packets pass", hairpins_errors),
    ];
    Document { number: 7857, title: "updates to the above", rows }
}

impl Lab {
    fn remote_speaks(&mut self, outside: std::net::SocketAddrV4, flags: u8) -> bool {
        self.tcp_in(end(REMOTE, 80), outside, flags) == Some(end(POD, PORT))
    }

    fn pod_speaks(&mut self, flags: u8) -> bool {
        self.tcp_out(end(POD, PORT), end(REMOTE, 80), flags).is_some()
    }
}

/// Half closed is still open; closed on both sides is not; a reset that was not believed changes nothing in the end.
fn follows_connections(subject: &Subject) -> Verdict {
    let timers = &subject.behaviour().timers;
    let nearly_established_s = f64::from(timers.tcp_established_s) - 0.1;
    let half_closed = subject.dies_within(
        nearly_established_s,
        |lab| {
            let outside = lab.connect(end(POD, PORT), end(REMOTE, 80))?;
            lab.pod_speaks(FIN | ACK).then_some(outside)
        },
        |lab, outside| lab.remote_speaks(*outside, ACK),
    );
    let mut lab = subject.lab();
    let outside = lab.connect(end(POD, PORT), end(REMOTE, 80));
    let spoke = outside.is_some_and(|outside| {
        lab.pod_speaks(FIN | ACK) && lab.remote_speaks(outside, FIN | ACK) && lab.pod_speaks(ACK)
    });
    let before_ns = lab.rig.nat.mappings().next().map_or(0, |view| view.expires_in_ns);
    let closes = spoke && before_ns < u64::from(timers.tcp_established_s) * 1_000_000_000;
    let revives = !subject.dies_within(
        nearly_established_s,
        |lab| {
            let outside = lab.connect(end(POD, PORT), end(REMOTE, 80))?;
            let reset = lab.remote_speaks(outside, RST);
            (reset && lab.remote_speaks(outside, ACK)).then_some(outside)
        },
        |lab, outside| lab.remote_speaks(*outside, ACK),
    );
    match (half_closed, closes, revives) {
        (false, true, true) => Verdict::Holds,
        (true, _, _) => Verdict::Violates("a half-closed connection goes earlier than an open one".into()),
        (_, false, _) => Verdict::Violates("a closed connection stays as long as an open one".into()),
        (_, _, false) => Verdict::Violates("data after a reset does not revive a connection".into()),
    }
}

fn has_separate_timers(subject: &Subject) -> Verdict {
    let outlasts = |opening_s: u32, closing_s: u32, closes: bool| {
        let mut lab = subject.lab_with(|config| {
            let timers = &mut config.behaviour.timers;
            (timers.tcp_syn_sent_s, timers.tcp_syn_received_s) = (opening_s, opening_s);
            (timers.tcp_last_ack_s, timers.tcp_time_wait_s) = (closing_s, closing_s);
        });
        let outside = lab.tcp_out(end(POD, PORT), end(REMOTE, 80), SYN);
        let Some(outside) = outside else { return false };
        if closes {
            lab.remote_speaks(outside, SYN | ACK);
            lab.pod_speaks(ACK);
            lab.pod_speaks(FIN | ACK);
            lab.remote_speaks(outside, FIN | ACK);
            lab.pod_speaks(ACK);
        }
        lab.wait(900.0);
        lab.remote_speaks(outside, if closes { ACK } else { SYN | ACK })
    };
    let opening = outlasts(1000, 10, false) && !outlasts(10, 1000, false);
    let closing = outlasts(10, 1000, true) && !outlasts(1000, 10, true);
    holds_if(opening && closing, "they do not")
}

fn transitory_timers_are_long(subject: &Subject) -> Verdict {
    crate::tcp::lasts_four_minutes_in_transit(subject)
}

fn translates_resets(subject: &Subject) -> Verdict {
    let mut lab = subject.lab();
    let Some(outside) = lab.connect(end(POD, PORT), end(REMOTE, 80)) else {
        return Verdict::Violates("no connection is made".into());
    };
    let inbound = lab.remote_speaks(outside, RST);
    let outbound = lab.tcp_out(end(POD, PORT), end(REMOTE, 80), RST) == Some(outside);
    holds_if(inbound && outbound, "it is dropped")
}

fn waits_after_resets(subject: &Subject) -> Verdict {
    let gone = subject.dies_within(
        239.9,
        |lab| {
            let outside = lab.connect(end(POD, PORT), end(REMOTE, 80))?;
            lab.remote_speaks(outside, RST).then_some(outside)
        },
        |lab, outside| lab.remote_speaks(*outside, ACK),
    );
    holds_if(!gone, "it goes earlier")
}

fn overlaps_ports(subject: &Subject) -> Verdict {
    may(matches!(mapping::does_not_overload(subject, Transport::Udp), Verdict::Violates(_)))
}

fn stays_paired(subject: &Subject) -> Verdict {
    if !subject.behaviour().pool.paired {
        return Verdict::NotApplicable("addresses are not paired");
    }
    let pool: Vec<Ipv4Addr> = (1..=2).map(|host| Ipv4Addr::new(192, 0, 2, host)).collect();
    let mut lab = subject.lab_with(|config| {
        config.outside.clone_from(&pool);
        let behaviour = &mut config.behaviour;
        behaviour.ports.range = PortRange::new(behaviour.ports.range.low, behaviour.ports.range.low + 7);
        (behaviour.quota.block_min, behaviour.quota.block_max) = (2, 8);
    });
    let used: BTreeSet<Ipv4Addr> =
        (0..40).filter_map(|n| lab.udp_out(end(POD, PORT + n), end(REMOTE, 53))).map(|outside| *outside.ip()).collect();
    holds_if(used.len() == 1, "it spills over to another one")
}

fn maps_protocols_apart(subject: &Subject) -> Verdict {
    let mut lab = subject.lab();
    let Some(outside) = lab.udp_out(end(POD, PORT), end(REMOTE, 80)) else {
        return Verdict::Violates("no mapping is made".into());
    };
    let mappings = lab.rig.nat.mappings().count();
    let tcp = lab.tcp_in(end(REMOTE, 80), outside, SYN);
    holds_if(mappings == 1 && tcp.is_none(), "a UDP mapping lets TCP in")
}

fn filters_protocols_apart(subject: &Subject) -> Verdict {
    let mut lab = subject.lab();
    lab.tcp_out(end(POD, PORT), end(REMOTE2, 80), SYN);
    let Some(outside) = lab.udp_out(end(POD, PORT), end(REMOTE, 80)) else {
        return Verdict::Violates("no mapping is made".into());
    };
    // What TCP has opened lets no UDP in: to the port that TCP has, if UDP has not got the same.
    let tcp = lab.rig.nat.mappings().find(|view| view.protocol == packet::TCP).map(|view| view.outside);
    let in_by_tcp = tcp.filter(|tcp| *tcp != outside).and_then(|tcp| lab.udp_in(end(REMOTE2, 80), tcp));
    holds_if(in_by_tcp.is_none(), "a TCP mapping lets UDP in")
}

fn inbound_refresh_is_configurable(subject: &Subject) -> Verdict {
    let kept_alive = |refresh: Refresh| {
        let mut lab = subject.lab_with(|config| {
            config.behaviour.udp.refresh = refresh;
            config.behaviour.timers.udp_new_s = 100;
            config.behaviour.timers.udp_stream_s = 100;
        });
        let Some(outside) = lab.udp_out(end(POD, PORT), end(REMOTE, 53)) else { return false };
        (0..40).all(|_| {
            lab.wait(20.0);
            lab.udp_in(end(REMOTE, 53), outside).is_some()
        })
    };
    holds_if(kept_alive(Refresh::Both) && !kept_alive(Refresh::Outbound), "it cannot")
}

/// A pod refuses what comes in, again and again: that must not keep its mapping alive.
fn answers_refresh_nothing(subject: &Subject) -> Verdict {
    // Inbound packets themselves do not refresh here, so that only the answers could.
    let mut lab = subject.lab_with(|config| config.behaviour.udp.refresh = Refresh::Outbound);
    let Some(outside) = lab.udp_out(end(POD, PORT), end(REMOTE, 53)) else {
        return Verdict::Violates("no mapping is made".into());
    };
    lab.udp_in(end(REMOTE, 53), outside);
    let deadline_ns = |lab: &Lab| lab.rig.nat.mappings().map(|view| view.expires_in_ns + lab.rig.now_ns).max();
    let before = deadline_ns(&lab);
    for _ in 0..4 {
        lab.wait(5.0);
        let received = packet::udp(end(REMOTE, 53), end(POD, PORT), b"in");
        lab.outbound(&packet::error(POD, REMOTE, [3, 3], 0, &received.bytes()));
    }
    let by_error = deadline_ns(&lab) != before;
    let mut lab = subject.lab();
    lab.connect(end(POD, PORT), end(REMOTE, 80));
    let before = deadline_ns(&lab);
    lab.wait(5.0);
    lab.pod_speaks(RST);
    let by_reset = deadline_ns(&lab) > before;
    holds_if(!by_error && !by_reset, "they do")
}

fn parity_is_configurable(subject: &Subject) -> Verdict {
    let mut lab = subject.lab_with(|config| config.behaviour.ports.parity = false);
    may(lab.udp_out(end(POD, PORT), end(REMOTE, 53)).is_some())
}

fn ports_are_random(subject: &Subject) -> Verdict {
    cgn::ports_are_hard_to_guess(subject)
}

/// Two pods number their datagrams alike; what leaves for one remote host must not be numbered alike.
fn identifications_are_unique(subject: &Subject) -> Verdict {
    let mut lab = subject.lab();
    let mut seen = BTreeSet::new();
    for ident in 0..100 {
        for pod in [POD, POD2] {
            let mut packet = packet::udp(end(pod, PORT), end(REMOTE, 53), b"");
            packet.ident = ident;
            let outcome = lab.rig.pass(Direction::Outbound, &packet.frame());
            let out = foreign::read(&outcome.frame).ok().filter(|out| out.src != pod);
            if !out.is_some_and(|out| seen.insert(out.ident)) {
                return Verdict::Violates("two hosts' datagrams leave with one identification".into());
            }
        }
    }
    Verdict::Holds
}

fn query_mappings_go(subject: &Subject) -> Verdict {
    let mut lab = subject.lab();
    if lab.query_out(end(POD, PORT), REMOTE, 8).is_none() {
        return Verdict::NotApplicable("ICMP is not translated");
    }
    lab.wait(1000.0);
    let alive = lab.rig.nat.mappings().filter(|view| view.state != "held").count();
    may(alive == 0)
}

fn hairpins_errors(subject: &Subject) -> Verdict {
    crate::icmp::hairpins_errors(subject)
}
