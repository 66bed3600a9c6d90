//! Mapping, filtering, pooling, ports, quotas, holds, hairpinning: one parameter after the other.

mod kit;

use kit::*;
use natrig_nat::behaviour::{AddressChoice, Dependence, Exhaustion, FullPolicy, Hairpin, Overload, PortRange, Refresh};
use natrig_nat::{Cidr, Direction, DropReason, EgressRule, Verdict};
use std::collections::HashSet;

const POD: &str = "10.0.0.1:1234";
const SERVER: &str = "203.0.113.5:80";

/// RFC 4787 §4.1: the same outside end towards remote ends that differ in nothing the mapping depends on.
#[test]
fn mappings_depend_on_what_they_should() {
    use Dependence::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
    for (mapping, same_address, other_address) in
        [(EndpointIndependent, true, true), (AddressDependent, true, false), (AddressAndPortDependent, false, false)]
    {
        let mut rig = Rig::new("rfc4787", |config| {
            config.behaviour.udp.mapping = mapping;
            config.behaviour.udp.filtering = AddressAndPortDependent;
        });
        let first = rig.map_udp(POD, SERVER);
        assert_eq!(rig.map_udp(POD, "203.0.113.5:81") == first, same_address, "{mapping:?}");
        assert_eq!(rig.map_udp(POD, "203.0.113.6:80") == first, other_address, "{mapping:?}");
        assert_ne!(rig.map_udp("10.0.0.1:1235", SERVER), first);
    }
}

/// RFC 4787 §5.
#[test]
fn filters_let_in_whom_they_should() {
    use Dependence::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
    for (filtering, same_address, other_address) in
        [(EndpointIndependent, true, true), (AddressDependent, true, false), (AddressAndPortDependent, false, false)]
    {
        let mut rig = Rig::new("rfc4787", |config| config.behaviour.udp.filtering = filtering);
        let outside = rig.map_udp(POD, SERVER);
        let mut enters = |sender: &str| {
            let (verdict, frame) = rig.inb(&udp(at(sender), outside, b"x"));
            if verdict == Verdict::Forward {
                assert_eq!(ends(&frame), (at(sender), at(POD)));
            } else {
                assert_eq!(verdict, Verdict::Drop(DropReason::Filtered));
            }
            verdict == Verdict::Forward
        };
        assert!(enters(SERVER));
        assert_eq!(enters("203.0.113.5:81"), same_address, "{filtering:?}");
        assert_eq!(enters("203.0.113.6:80"), other_address, "{filtering:?}");
        assert_eq!(rig.nat.counters().live, 1, "strangers make no state");
    }
}

/// The filter forgets a remote address when the last session with it ends, and not before.
#[test]
fn an_address_filter_lives_as_long_as_a_session_with_that_address() {
    let mut rig = Rig::new("rfc4787", |config| config.behaviour.udp.filtering = Dependence::AddressDependent);
    let outside = rig.map_udp(POD, "203.0.113.5:80");
    rig.map_udp(POD, "203.0.113.6:80");
    rig.wait(200);
    rig.map_udp(POD, "203.0.113.5:81");
    rig.wait(150);
    // 80 has ended, 81 lives: its address is let in. 203.0.113.6 has ended.
    rig.in_ok(&udp(at("203.0.113.5:82"), outside, b"x"));
    rig.in_drop(&udp(at("203.0.113.6:80"), outside, b"x"), DropReason::Filtered);
    rig.wait(151);
    rig.in_drop(&udp(at("203.0.113.5:81"), outside, b"x"), DropReason::NoMapping);
}

/// RFC 4787 §4.2.1: overloading by remote address, by remote end, not at all.
#[test]
fn one_port_serves_several_where_that_is_allowed() {
    for (overload, same_address, other_address) in
        [(Overload::Never, false, false), (Overload::PerAddress, false, true), (Overload::PerEndpoint, true, true)]
    {
        let mut rig = Rig::new("netfilter", |config| {
            config.behaviour.udp.overload = overload;
            config.behaviour.ports.reuse_source_mapping = false;
            config.behaviour.ports.evict_closing_within = 0;
            config.behaviour.tcp.overload = Overload::PerEndpoint;
            config.behaviour.ports.range = PortRange::new(5000, 5000);
        });
        let outside = rig.map_udp(POD, "203.0.113.5:80");
        rig.out_drop(&udp(at("10.0.0.2:2001"), at("203.0.113.5:80"), b""), DropReason::PortsExhausted);
        let mut gets = |pod: &str, remote: &str| {
            let (verdict, frame) = rig.out(&udp(at(pod), at(remote), b""));
            verdict == Verdict::Forward && source(&frame) == outside
        };
        assert_eq!(gets("10.0.0.2:2001", "203.0.113.5:81"), same_address, "{overload:?}");
        assert_eq!(gets("10.0.0.3:2001", "203.0.113.6:80"), other_address, "{overload:?}");
        rig.in_ok(&udp(at("203.0.113.5:80"), outside, b""));
        if other_address {
            assert_eq!(destination(&rig.in_ok(&udp(at("203.0.113.6:80"), outside, b""))), at("10.0.0.3:2001"));
        }
    }
}

/// RFC 4787 REQ-2.
#[test]
fn paired_pooling_keeps_a_source_on_one_address() {
    let pool = ["198.51.100.1", "198.51.100.2", "198.51.100.3", "198.51.100.4"];
    let addresses = |paired: bool, choice: AddressChoice| {
        let mut rig = Rig::with_pool("rfc4787", &pool, |config| {
            config.behaviour.pool.paired = paired;
            config.behaviour.pool.choice = choice;
        });
        let used: HashSet<_> = (1..40).map(|port| *rig.map_udp(&format!("10.0.0.1:{port}"), SERVER).ip()).collect();
        let sources: HashSet<_> = (1..40).map(|host| *rig.map_udp(&format!("10.0.1.{host}:1"), SERVER).ip()).collect();
        (used.len(), sources.len())
    };
    assert_eq!(addresses(true, AddressChoice::RoundRobin), (1, 4));
    assert_eq!(addresses(false, AddressChoice::RoundRobin), (4, 4));
    assert_eq!(addresses(false, AddressChoice::FirstFit), (1, 1));
    assert_eq!(addresses(false, AddressChoice::HashSource).0, 1);
    assert_eq!(addresses(false, AddressChoice::Random), (4, 4));
}

/// RFC 4787 REQ-3A and REQ-4.
#[test]
fn ports_keep_their_class_and_their_parity() {
    let mut rig = Rig::new("rfc4787", |_| ());
    for port in [1u16, 53, 500, 1023, 1024, 5001, 40_000, 65_535] {
        let outside = rig.map_udp(&format!("10.0.0.1:{port}"), SERVER).port();
        assert_eq!((outside < 1024, outside % 2), (port < 1024, port % 2), "{port} became {outside}");
    }
}

#[test]
fn source_ports_are_kept_where_the_profile_keeps_them() {
    for (profile, kept, moved) in [("netfilter", 1024, 0), ("cilium-bpf", 40_000, 20_000)] {
        let mut rig = Rig::new(profile, |_| ());
        assert_eq!(rig.map_udp(&format!("10.0.0.1:{kept}"), SERVER).port(), kept);
        assert_ne!(rig.map_udp(&format!("10.0.0.2:{kept}"), SERVER).port(), kept);
        assert_eq!(rig.map_udp(&format!("10.0.0.3:{kept}"), "192.0.2.1:1").port(), kept);
        if moved != 0 {
            assert!(rig.map_udp(&format!("10.0.0.1:{moved}"), SERVER).port() >= 32_768);
        }
    }
    let mut rig = Rig::new("netfilter", |_| ());
    assert!((600..1024).contains(&rig.map_udp("10.0.0.1:600", SERVER).port()));
    // A second flow of one inside end gets the first one's outside end, even where its source port was taken.
    rig.map_udp("10.0.0.2:2000", SERVER);
    let moved = rig.map_udp("10.0.0.3:2000", SERVER);
    assert_ne!(moved.port(), 2000);
    assert_eq!(rig.map_udp("10.0.0.3:2000", "192.0.2.1:9"), moved);
}

#[test]
fn a_second_range_is_used_too_and_the_gap_never() {
    let mut rig = Rig::new("cilium-bpf", |config| {
        config.behaviour.ports.extra_range = Some(PortRange::new(1024, 29_999));
        config.behaviour.ports.reserved = vec![PortRange::new(32_768, 50_000)];
    });
    let ports: Vec<u16> = (1..200).map(|host| rig.map_udp(&format!("10.0.0.{host}:30500"), SERVER).port()).collect();
    assert!(ports.iter().any(|port| *port < 30_000) && ports.iter().any(|port| *port > 50_000));
    assert!(ports.iter().all(|port| (1024..30_000).contains(port) || *port > 50_000));
    // Outside the ranges it is for the host; inside, nobody's.
    rig.in_drop(&udp(at(SERVER), at("198.51.100.1:30500"), b""), DropReason::ForHost);
    rig.in_drop(&udp(at("192.0.2.1:5"), at("198.51.100.1:40000"), b""), DropReason::NoMapping);
}

/// RFC 6888 REQ-8.
#[test]
fn ports_are_held_after_their_mapping_ended() {
    let mut rig = Rig::new("rfc4787", |config| config.behaviour.ports.range = PortRange::new(5000, 5000));
    let outside = rig.map_udp(POD, SERVER);
    rig.wait(301);
    rig.nat.expire(rig.now_ns);
    assert_eq!(rig.nat.mappings().map(|view| view.state).collect::<Vec<_>>(), ["held"]);
    rig.in_drop(&udp(at(SERVER), outside, b""), DropReason::NoMapping);
    assert_eq!(rig.out(&udp(at("10.0.0.2:2002"), at(SERVER), b"")).0, Verdict::Back);
    rig.wait(121);
    assert_eq!(rig.map_udp("10.0.0.2:2002", SERVER), outside);
    // Azure holds a port towards the one remote end only, after a reset for 16 s.
    let mut rig = Rig::new("azure-natgw", |config| config.behaviour.ports.range = PortRange::new(5000, 5000));
    let from = source(&rig.out_ok(&tcp(at(POD), at(SERVER), SYN)));
    rig.in_ok(&tcp(at(SERVER), from, RST));
    rig.wait(10);
    rig.out_drop(&tcp(at("10.0.0.2:2002"), at(SERVER), SYN), DropReason::PortsExhausted);
    rig.out_ok(&tcp(at("10.0.0.2:2002"), at("192.0.2.1:1"), SYN));
    rig.wait(8);
    rig.out_ok(&tcp(at("10.0.0.2:2002"), at(SERVER), SYN));
}

/// RFC 4787 REQ-6.
#[test]
fn only_the_right_direction_keeps_a_mapping_alive() {
    for (refresh, outbound, inbound) in
        [(Refresh::Outbound, true, false), (Refresh::Inbound, false, true), (Refresh::Both, true, true)]
    {
        for (send_out, lives) in [(true, outbound), (false, inbound)] {
            let mut rig = Rig::new("rfc4787", |config| config.behaviour.udp.refresh = refresh);
            let outside = rig.map_udp(POD, SERVER);
            rig.in_ok(&udp(at(SERVER), outside, b"x"));
            rig.wait(299);
            if send_out {
                rig.out_ok(&udp(at(POD), at(SERVER), b"x"));
            } else {
                rig.in_ok(&udp(at(SERVER), outside, b"x"));
            }
            rig.wait(10);
            assert_eq!(rig.inb(&udp(at(SERVER), outside, b"x")).0 == Verdict::Forward, lives, "{refresh:?} {send_out}");
        }
    }
}

/// RFC 5508 REQ-6, RFC 4787 REQ-12: errors neither refresh nor end a mapping.
#[test]
fn icmp_errors_leave_timers_alone() {
    let mut rig = Rig::new("rfc4787", |_| ());
    let sent = rig.out_ok(&udp(at(POD), at(SERVER), b"x"));
    rig.wait(299);
    rig.in_ok(&icmp_error("192.0.2.1", 3, 3, &sent, 28));
    rig.in_ok(&udp(at(SERVER), source(&sent), b"still there"));
    rig.wait(2);
    rig.in_drop(&icmp_error("192.0.2.1", 3, 3, &sent, 28), DropReason::IcmpNoMapping);
}

/// RFC 4787 REQ-9, RFC 5382 REQ-8: the receiver sees an outside end.
#[test]
fn packets_between_inside_hosts_turn_round() {
    let mut rig = Rig::new("rfc4787", |_| ());
    let other = rig.map_udp("10.0.0.2:2222", SERVER);
    let own = rig.map_udp(POD, SERVER);
    for _ in 0..2 {
        let (verdict, frame) = rig.out(&udp(at(POD), other, b"hello"));
        assert_eq!((verdict, ends(&frame), ttl(&frame)), (Verdict::Back, (own, at("10.0.0.2:2222")), 63));
        let (verdict, frame) = rig.out(&udp(at("10.0.0.2:2222"), own, b"hello"));
        assert_eq!((verdict, ends(&frame)), (Verdict::Back, (other, at(POD))));
    }
    assert_eq!(rig.nat.counters().hairpinned, 4);
    let (_, hairpinned) = rig.out(&udp(at(POD), other, b"hello"));
    // RFC 5508 REQ-7: errors about hairpinned packets turn round as well.
    let (verdict, error) = rig.out(&icmp_error("10.0.0.2", 3, 3, &hairpinned, 28));
    assert_eq!((verdict, icmp_message(&error)), (Verdict::Back, (3, 3, at(POD), other)));
    assert_eq!(error[ETHERNET + 12..][..8], [198, 51, 100, 1, 10, 0, 0, 1]);
    rig.out_drop(&udp(at(POD), at("198.51.100.1:9"), b"nobody"), DropReason::NoMapping);
    let mut rig = Rig::new("rfc4787", |config| config.behaviour.hairpin = Hairpin::Drop);
    let other = rig.map_udp("10.0.0.2:2222", SERVER);
    rig.out_drop(&udp(at(POD), other, b"hello"), DropReason::Hairpin);
}

#[test]
fn tcp_between_inside_hosts_connects() {
    let mut rig = Rig::new("rfc4787", |_| ());
    let server = source(&rig.out_ok(&tcp(at("10.0.0.2:2222"), at(SERVER), SYN)));
    let (verdict, syn) = rig.out(&tcp(at(POD), server, SYN));
    assert_eq!((verdict, destination(&syn)), (Verdict::Back, at("10.0.0.2:2222")));
    let client = source(&syn);
    let (verdict, answer) = rig.out(&tcp(at("10.0.0.2:2222"), client, SYN | ACK));
    assert_eq!((verdict, ends(&answer)), (Verdict::Back, (server, at(POD))));
    assert_eq!(rig.out(&tcp(at(POD), server, ACK)).0, Verdict::Back);
    let states: Vec<_> = rig
        .nat
        .mappings()
        .filter(|view| view.remote == client || view.remote == server)
        .map(|view| view.state)
        .collect();
    assert_eq!(states, ["established", "established"]);
}

/// RFC 6888 REQ-4, REQ-5; RFC 5508 REQ-8.
#[test]
fn quotas_bound_a_source_and_nobody_else() {
    let mut rig = Rig::new("rfc4787", |config| {
        config.behaviour.quota.ports_per_source = 3;
        config.behaviour.quota.sessions_per_source = 5;
    });
    for port in 1..=3 {
        rig.map_udp(&format!("10.0.0.1:{port}"), SERVER);
    }
    let (verdict, answer) = rig.out(&udp(at("10.0.0.1:4"), at(SERVER), b"x"));
    assert_eq!((verdict, icmp_message(&answer).1), (Verdict::Back, 13));
    assert_eq!(rig.nat.counters().answered(DropReason::SourceLimit), 1);
    rig.map_udp("10.0.0.1:1", "192.0.2.1:1");
    rig.map_udp("10.0.0.1:1", "192.0.2.1:2");
    assert_eq!(rig.out(&udp(at("10.0.0.1:1"), at("192.0.2.1:3"), b"x")).0, Verdict::Back);
    rig.map_udp("10.0.0.2:2001", SERVER);
    // Per protocol: TCP has ports of its own, though sessions count together.
    let mut rig = Rig::new("rfc4787", |config| config.behaviour.quota.new_per_second = 2);
    rig.map_udp("10.0.0.1:1", SERVER);
    rig.map_udp("10.0.0.1:2", SERVER);
    assert_eq!(rig.out(&udp(at("10.0.0.1:3"), at(SERVER), b"x")).0, Verdict::Back);
    rig.wait(1);
    rig.map_udp("10.0.0.1:3", SERVER);
    assert_eq!(rig.nat.counters().answered(DropReason::SourceRate), 1);
}

/// Google Cloud NAT: a VM has its ports to itself, each of them once per destination.
#[test]
fn sources_have_blocks_of_ports() {
    let mut rig = Rig::new("gcp-cloudnat-static", |_| ());
    let ports: HashSet<u16> = (0..64).map(|n| rig.map_udp(&format!("10.0.0.1:{}", 1000 + n), SERVER).port()).collect();
    let low = *ports.iter().min().unwrap();
    assert!(ports.len() == 64 && *ports.iter().max().unwrap() == low + 63 && (low - 1024).is_multiple_of(64));
    rig.out_drop(&udp(at("10.0.0.1:2000"), at(SERVER), b""), DropReason::PortsExhausted);
    assert!(ports.contains(&rig.map_udp("10.0.0.1:2000", "192.0.2.1:1").port()));
    assert!(!ports.contains(&rig.map_udp("10.0.0.2:1000", SERVER).port()));
    let mut rig = Rig::new("gcp-cloudnat-dynamic", |config| config.behaviour.quota.block_max = 256);
    let count = (0..300)
        .filter(|n| rig.out(&udp(at(&format!("10.0.0.1:{}", 1000 + n)), at(SERVER), b"")).0 == Verdict::Forward)
        .count();
    assert_eq!(count, 256, "32 doubled three times");
    // Nodes per address: 64512 ports in blocks of 64.
    let mut rig = Rig::new("gcp-cloudnat-static", |_| ());
    let nodes = (0..1100u32).filter(|n| {
        rig.out(&udp(at(&format!("10.0.{}.{}:1000", n / 250, n % 250 + 1)), at(SERVER), b"")).0 == Verdict::Forward
    });
    assert_eq!(nodes.count(), 1008);
}

#[test]
fn exhaustion_is_silent_or_answered_and_evicts_nobody() {
    for (rule, expected) in [
        (Exhaustion::Drop, None),
        (Exhaustion::HostUnreachable, Some(1)),
        (Exhaustion::AdministrativelyProhibited, Some(13)),
    ] {
        let mut rig = Rig::new("rfc4787", |config| {
            config.behaviour.exhaustion = rule;
            config.behaviour.table.capacity = 1;
        });
        let outside = rig.map_udp(POD, SERVER);
        let (verdict, answer) = rig.out(&udp(at("10.0.0.2:2002"), at(SERVER), b"x"));
        match expected {
            None => assert_eq!(verdict, Verdict::Drop(DropReason::TableFull)),
            Some(code) => assert_eq!((verdict, icmp_message(&answer).1), (Verdict::Back, code)),
        }
        rig.in_ok(&udp(at(SERVER), outside, b"x"));
    }
}

/// One forgets who has been silent longest (by entry: see eviction.rs); Linux drops only what was never answered.
#[test]
fn full_tables_evict_as_their_profile_does() {
    let mut rig = Rig::new("cilium-bpf", |config| {
        config.behaviour.table.capacity = 64;
        config.behaviour.table.full = FullPolicy::EvictOldest;
    });
    for host in 1..=32 {
        rig.map_udp(&format!("10.0.0.{host}:40000"), SERVER);
    }
    rig.wait(30);
    for host in 33..=64 {
        rig.map_udp(&format!("10.0.0.{host}:40000"), SERVER);
    }
    for host in 1..=8 {
        rig.map_udp(&format!("10.0.1.{host}:40000"), SERVER);
    }
    let old = rig.nat.mappings().filter(|view| view.expires_in_ns <= 30 * SECOND).count();
    let counters = rig.nat.counters();
    assert_eq!((counters.evicted, counters.live, counters.dropped_total()), (8, 64, 0));
    assert!(old <= 25, "{old} of the 32 old ones are left; 8 were evicted, the oldest of eight each");
    let mut rig = Rig::new("netfilter", |config| config.behaviour.table.capacity = 8);
    for host in 1..=8 {
        let outside = rig.map_udp(&format!("10.0.0.{host}:40000"), SERVER);
        rig.in_ok(&udp(at(SERVER), outside, b"answer"));
    }
    rig.out_drop(&udp(at("10.0.1.1:40000"), at(SERVER), b""), DropReason::TableFull);
    rig.wait(121);
    rig.map_udp("10.0.1.1:40000", SERVER);
    for host in 2..=8 {
        rig.map_udp(&format!("10.0.1.{host}:40000"), SERVER);
    }
    assert_eq!(rig.nat.counters().evicted, 0);
    let evicted = (1..=20)
        .filter(|host| rig.out(&udp(at(&format!("10.0.2.{host}:40000")), at(SERVER), b"")).0 == Verdict::Forward);
    assert_eq!(evicted.count() as u64, rig.nat.counters().evicted);
    assert!(rig.nat.counters().evicted > 0);
}

#[test]
fn policy_decides_once_per_flow_and_replies_are_never_translated() {
    let mut rig = Rig::new("cilium-bpf", |config| {
        config.policy.native_routing =
            ["10.0.0.0/16", "198.51.100.0/24"].map(|net| net.parse::<Cidr>().unwrap()).into();
        config.policy.egress_gateway = vec![EgressRule {
            sources: vec!["10.0.7.0/24".parse().unwrap()],
            destinations: vec![Cidr::ANY],
            excluded: vec![],
            address: None,
        }];
    });
    let passed = udp(at(POD), at("10.0.9.9:53"), b"x");
    assert_eq!(rig.out_ok(&passed), with_ttl(passed.clone(), 63));
    rig.in_ok(&udp(at("10.0.9.9:53"), at(POD), b"x"));
    assert_eq!((rig.nat.counters().passed, rig.nat.counters().live), (2, 0));
    rig.out_drop(&udp(at("10.0.7.1:1"), at(SERVER), b""), DropReason::Policy);
    // What passes untranslated to the node's own address is for the node, and does not leave it.
    rig.out_drop(&udp(at(POD), at("198.51.100.1:4240"), b""), DropReason::ForHost);
    // A flow that begins outside and reaches the pod directly: its replies leave as they are.
    rig.in_ok(&tcp(at(SERVER), at(POD), SYN));
    assert_eq!(ends(&rig.out_ok(&tcp(at(POD), at(SERVER), SYN | ACK))), (at(POD), at(SERVER)));
    // One that begins inside is translated.
    assert_eq!(*rig.map_udp(POD, SERVER).ip(), ip(OUTSIDE));
    // Host traffic shares the ports: a pod that wants the same port gets another.
    assert_eq!(source(&rig.out_ok(&udp(at("198.51.100.1:40000"), at(SERVER), b""))), at("198.51.100.1:40000"));
    assert_ne!(rig.map_udp("10.0.0.3:40000", SERVER).port(), 40_000);
}

/// EC2's source check, as a gateway sees it: what does not belong to the network never arrives.
#[test]
fn sources_that_the_network_does_not_know_are_dropped() {
    let mut rig = Rig::new("aws-natgw", |config| config.policy.allowed_sources = vec!["10.0.0.0/16".parse().unwrap()]);
    rig.map_udp(POD, SERVER);
    rig.out_drop(&udp(at("10.244.1.5:1"), at(SERVER), b""), DropReason::SourceCheck);
    rig.out_drop(&ping("10.244.1.5", "203.0.113.5", 1), DropReason::SourceCheck);
}

#[test]
fn identifiers_of_queries_are_mapped_independently_of_the_host_asked() {
    let mut rig = Rig::new("rfc4787", |_| ());
    let first = source(&rig.out_ok(&ping("10.0.0.1", "203.0.113.5", 7))).port();
    let second = source(&rig.out_ok(&ping("10.0.0.1", "203.0.113.6", 7))).port();
    let third = source(&rig.out_ok(&ping("10.0.0.2", "203.0.113.5", 7))).port();
    assert!(first == second && first != third);
    rig.wait(59);
    rig.in_ok(&pong("203.0.113.5", OUTSIDE, first));
    rig.wait(2);
    rig.in_drop(&pong("203.0.113.5", OUTSIDE, first), DropReason::NoMapping);
    assert_eq!(rig.inb(&ping("203.0.113.5", OUTSIDE, 5)).0, Verdict::Back, "answers pings to itself");
}

#[test]
fn capacity_is_enforced_when_asked() {
    let mut rig = Rig::new("aws-natgw", |config| {
        config.behaviour.capacity.enforce = true;
        config.behaviour.capacity.pps = 100;
        config.behaviour.capacity.bits_per_second = 0;
    });
    let sent = (0..600_000)
        .filter(|_| rig.send(Direction::Outbound, &udp(at(POD), at(SERVER), b"")).0 == Verdict::Forward)
        .count();
    assert!(sent < 600_000);
    assert_eq!(rig.nat.counters().dropped(DropReason::Capacity), 600_000 - sent as u64);
}
