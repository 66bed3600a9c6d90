//! RFC 5508.

use std::net::{Ipv4Addr, SocketAddrV4};

use natrig_nat::behaviour::{Exhaustion, PortRange};
use natrig_nat::{Cidr, EgressRule};

use crate::foreign::{self, Content, Seen};
use crate::lab::{Got, Lab, OUTSIDE, POD, POD2, PORT, REMOTE, REMOTE2, Subject, Verdict, end, holds_if, may};
use crate::packet::{self, Ip};
use crate::{Document, row};

pub(crate) fn document() -> Document {
    let rows = vec![
        row!("REQ-1", Must, "ICMP queries from inside pass, with their answers", passes_queries),
        row!("REQ-1a", Should, "identifiers are mapped independently of the remote host", maps_endpoint_independently),
        row!("REQ-2", MustNot, "a query session lasts less than 60 s", lasts_a_minute),
        row!("REQ-2a", Recommended, "that timer can be configured", timer_is_configurable),
        row!("REQ-3", Should, "errors with a wrong checksum are dropped", drops_wrong_checksums),
        row!("REQ-3a", Should, "errors that quote a wrong IP checksum are dropped", drops_wrong_quotes),
        row!("REQ-3b", Must, "IP options in the quote are skipped", skips_options),
        row!("REQ-3c", ShouldNot, "the quote's transport checksum is checked", ignores_quoted_checksum),
        row!("REQ-3d", Must, "ICMP extensions are left out of account", ignores_extensions),
        row!("REQ-4", Should, "errors from outside about no mapping are dropped", drops_unmapped_inbound),
        row!("REQ-4a", Must, "else the quote gets its original ends", restores_quote),
        row!("REQ-4b", Must, "type and code stay", keeps_type_inbound),
        row!("REQ-4c", Must, "the destination is the quote's source", addresses_sender),
        row!("REQ-5", Should, "errors from inside about no mapping are dropped", drops_unmapped_outbound),
        row!("REQ-5a", Must, "else the quote gets its original ends", restores_quote_outbound),
        row!("REQ-5b", Must, "type and code stay", keeps_type_outbound),
        row!("REQ-5c", Must, "the source is an outside address", hides_sender),
        row!("REQ-6", MustNot, "an error refreshes or deletes the session of a query", errors_change_no_timer),
        row!("REQ-7", Must, "errors about hairpinned packets pass", hairpins_errors),
        row!("REQ-7a", Must, "their destination is the quote's source", addresses_hairpinned_sender),
        row!("REQ-8", Should, "a flow refused by an administrator is answered by 3/13", reports_prohibition),
        row!("REQ-8 shortage", Should, "one refused for shortage as well (RFC 6888 REQ-11b: by 3/1)", reports_shortage),
        row!("REQ-9", May, "policy may prevent ICMP messages", can_be_silent),
        row!("REQ-10a", Must, "unreachable, time exceeded and echo are supported", supports_the_usual),
        row!("REQ-10b", May, "redirect, timestamp, address mask, parameter problem", supports_others),
        row!("REQ-10c", ShouldNot, "source quench is supported", ignores_source_quench),
        row!("REQ-10d", Should, "own errors have the precedence of network control", marks_own_errors),
        row!("REQ-10e", MustNot, "own errors are sent about errors or later fragments", knows_when_not_to_send),
        row!("REQ-10f", Must, "the rate of own errors can be limited", limits_own_errors),
        row!("REQ-11", May, "other messages are handled or dropped", drops_others),
    ];
    Document { number: 5508, title: "ICMP", rows }
}

const NO_ICMP: Verdict = Verdict::NotApplicable("ICMP is not translated");

const fn translates_nothing(subject: &Subject) -> bool {
    !subject.behaviour().icmp.translate && subject.behaviour().icmp_rules.errors.is_empty()
}

fn passes_queries(subject: &Subject) -> Verdict {
    let mut lab = subject.lab();
    let pod = end(POD, PORT);
    let reached = lab.query_out(pod, REMOTE, 8).and_then(|outside| lab.query_in(REMOTE, outside, 0));
    holds_if(reached == Some(pod), "echo requests are dropped")
}

fn maps_endpoint_independently(subject: &Subject) -> Verdict {
    if !subject.behaviour().icmp.translate {
        return NO_ICMP;
    }
    let mut lab = subject.lab();
    // Somebody else has the identifier already.
    for remote in [REMOTE, REMOTE2] {
        lab.query_out(end(POD2, PORT), remote, 8);
    }
    let first = lab.query_out(end(POD, PORT), REMOTE, 8);
    if let Some(first) = first {
        lab.query_out(end(Ipv4Addr::new(10, 0, 1, 9), first.port()), REMOTE2, 8);
    }
    let second = lab.query_out(end(POD, PORT), REMOTE2, 8);
    holds_if(first.is_some() && first == second, "they depend on it")
}

fn lasts_a_minute(subject: &Subject) -> Verdict {
    if !subject.behaviour().icmp.translate {
        return Verdict::Violates("there are none".into());
    }
    let open = |lab: &mut Lab| lab.query_out(end(POD, PORT), REMOTE, 8);
    let gone = subject.dies_within(59.9, open, |lab, outside| lab.query_in(REMOTE, *outside, 0).is_some());
    holds_if(!gone, format!("it goes after {} s", subject.behaviour().timers.icmp_s))
}

fn timer_is_configurable(subject: &Subject) -> Verdict {
    if !subject.behaviour().icmp.translate {
        return NO_ICMP;
    }
    let outlasts = |timer_s: u32| {
        let mut lab = subject.lab_with(|config| config.behaviour.timers.icmp_s = timer_s);
        let outside = lab.query_out(end(POD, PORT), REMOTE, 8);
        lab.wait(800.0);
        outside.is_some_and(|outside| lab.query_in(REMOTE, outside, 0).is_some())
    };
    holds_if(outlasts(1000) && !outlasts(30), "it cannot")
}

/// A UDP flow, and the packet of it as it travels outside.
fn sent(lab: &mut Lab) -> Ip {
    let outside = lab.udp_out(end(POD, PORT), end(REMOTE, 53)).unwrap_or(end(OUTSIDE, PORT));
    packet::udp(outside, end(REMOTE, 53), b"some data")
}

/// An error about it from a router outside, with a change; true if it came in.
fn comes_in(subject: &Subject, change_quote: impl Fn(&mut Vec<u8>), change: impl Fn(&mut Ip)) -> Option<Seen> {
    let mut lab = subject.lab();
    let mut quote = sent(&mut lab).bytes();
    change_quote(&mut quote);
    let mut error = packet::error(crate::lab::ROUTER, OUTSIDE, [3, 1], 0, &quote);
    change(&mut error);
    lab.inbound(&error).forwarded()
}

fn drops_wrong_checksums(subject: &Subject) -> Verdict {
    let got = comes_in(subject, |_| (), |error| error.payload[3] ^= 0x10);
    holds_if(got.is_none(), "they are forwarded")
}

fn drops_wrong_quotes(subject: &Subject) -> Verdict {
    let got = comes_in(subject, |quote| quote[10] ^= 0x10, |_| ());
    holds_if(got.is_none(), "they are forwarded")
}

/// The quote of an error that came in has the pod as its source.
fn quotes_pod(got: Option<Seen>) -> bool {
    let Some(Seen { dst: POD, content: Content::Error { quote, .. }, checksum_error: 0, .. }) = got else {
        return false;
    };
    foreign::quoted_ends(&quote) == Some(([POD, REMOTE], packet::UDP, [PORT, 53]))
}

fn skips_options(subject: &Subject) -> Verdict {
    if translates_nothing(subject) {
        return NO_ICMP;
    }
    let mut lab = subject.lab();
    let mut with_options = sent(&mut lab);
    with_options.options = vec![7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    holds_if(quotes_pod(lab.error_in(&with_options, [3, 1]).forwarded()), "such errors are not translated")
}

fn ignores_quoted_checksum(subject: &Subject) -> Verdict {
    if translates_nothing(subject) {
        return NO_ICMP;
    }
    let got = comes_in(subject, |quote| quote[27] ^= 0x55, |_| ());
    holds_if(quotes_pod(got), "errors that quote a wrong one are dropped")
}

fn ignores_extensions(subject: &Subject) -> Verdict {
    if translates_nothing(subject) {
        return NO_ICMP;
    }
    // RFC 4884: the quote padded to 128 bytes, its length in words in the sixth byte of the message, and an extension behind it.
    let extension = [0x20, 0, 0xdf, 0xff, 0, 8, 1, 1, 0, 0, 0, 1];
    let extend = |quote: &mut Vec<u8>| {
        quote.resize(128, 0);
        quote.extend(extension);
    };
    let got = comes_in(subject, extend, |error| {
        error.payload[5] = 32;
        error.payload[2..4].fill(0);
        let sum = packet::checksum(&error.payload);
        error.payload[2..4].copy_from_slice(&sum.to_be_bytes());
    });
    let kept = matches!(&got, Some(Seen { content: Content::Error { quote, .. }, .. }) if quote[128..] == extension);
    holds_if(kept && quotes_pod(got), "such errors are not translated")
}

fn drops_unmapped_inbound(subject: &Subject) -> Verdict {
    let mut lab = subject.lab();
    let unknown = packet::udp(end(OUTSIDE, 50_001), end(REMOTE, 53), b"who");
    holds_if(matches!(lab.error_in(&unknown, [3, 1]), Got::Drop(_)), "they are not dropped in silence")
}

/// Errors about a UDP packet, a TCP segment and a query of the pod's, as they arrive.
fn arrivals(subject: &Subject) -> Option<Vec<(SocketAddrV4, u8, Seen)>> {
    let mut lab = subject.lab();
    let mut arrivals = Vec::new();
    let remote = end(REMOTE, 80);
    let udp = lab.udp_out(end(POD, PORT), remote)?;
    let tcp = lab.tcp_out(end(POD, PORT), remote, packet::SYN)?;
    let query = lab.query_out(end(POD, PORT), REMOTE, 8)?;
    for (sent, protocol) in [
        (packet::udp(udp, remote, b"1"), packet::UDP),
        (packet::tcp(tcp, remote, packet::SYN, 5, b""), packet::TCP),
        (packet::query(*query.ip(), REMOTE, 8, query.port(), b"1"), packet::ICMP),
    ] {
        arrivals.push((end(POD, PORT), protocol, lab.error_in(&sent, [11, 0]).forwarded()?));
    }
    Some(arrivals)
}

fn all_arrivals(subject: &Subject, good: impl Fn(SocketAddrV4, u8, &Seen) -> bool, otherwise: &str) -> Verdict {
    if translates_nothing(subject) {
        return NO_ICMP;
    }
    let Some(arrivals) = arrivals(subject) else { return Verdict::Violates("errors do not come in".into()) };
    holds_if(arrivals.iter().all(|(inside, protocol, seen)| good(*inside, *protocol, seen)), otherwise)
}

fn restores_quote(subject: &Subject) -> Verdict {
    let good = |inside: SocketAddrV4, protocol, seen: &Seen| {
        let Content::Error { quote, .. } = &seen.content else { return false };
        let ports = if protocol == packet::ICMP { [inside.port(); 2] } else { [inside.port(), 80] };
        foreign::quoted_ends(quote) == Some(([*inside.ip(), REMOTE], protocol, ports)) && seen.checksum_error == 0
    };
    all_arrivals(subject, good, "the quote has other ends")
}

fn keeps_type_inbound(subject: &Subject) -> Verdict {
    let good = |_, _, seen: &Seen| matches!(seen.content, Content::Error { kind: 11, code: 0, .. });
    all_arrivals(subject, good, "type or code are changed")
}

fn addresses_sender(subject: &Subject) -> Verdict {
    all_arrivals(subject, |inside, _, seen: &Seen| seen.dst == *inside.ip(), "it goes elsewhere")
}

fn drops_unmapped_outbound(subject: &Subject) -> Verdict {
    let mut lab = subject.lab();
    let unknown = packet::udp(end(REMOTE, 53), end(POD, 50_001), b"who");
    let got = lab.outbound(&packet::error(POD, REMOTE, [3, 3], 0, &unknown.bytes()));
    holds_if(matches!(got, Got::Drop(_)), "they are not dropped in silence")
}

/// The pod's error about the answer to its own question, as it leaves; and the outside end of the flow.
fn departure(subject: &Subject) -> Option<(SocketAddrV4, Seen)> {
    let mut lab = subject.lab();
    let outside = lab.udp_out(end(POD, PORT), end(REMOTE, 53))?;
    let received = packet::udp(end(REMOTE, 53), end(POD, PORT), b"answer");
    let error = packet::error(POD, REMOTE, [3, 3], 0, &received.bytes());
    Some((outside, lab.outbound(&error).forwarded()?))
}

fn departs(subject: &Subject, good: impl Fn(SocketAddrV4, &Seen) -> bool, otherwise: &str) -> Verdict {
    if translates_nothing(subject) {
        return NO_ICMP;
    }
    let Some((outside, seen)) = departure(subject) else { return Verdict::Violates("errors do not go out".into()) };
    holds_if(good(outside, &seen), otherwise)
}

fn restores_quote_outbound(subject: &Subject) -> Verdict {
    let good = |outside: SocketAddrV4, seen: &Seen| {
        let Content::Error { quote, .. } = &seen.content else { return false };
        foreign::quoted_ends(quote) == Some(([REMOTE, OUTSIDE], packet::UDP, [53, outside.port()]))
            && seen.checksum_error == 0
    };
    departs(subject, good, "the quote has other ends")
}

fn keeps_type_outbound(subject: &Subject) -> Verdict {
    departs(
        subject,
        |_, seen| matches!(seen.content, Content::Error { kind: 3, code: 3, .. }),
        "type or code are changed",
    )
}

fn hides_sender(subject: &Subject) -> Verdict {
    departs(subject, |outside, seen| seen.src == *outside.ip(), "the source is an inside address")
}

/// A query's session is refreshed by nothing but queries and answers, and ended by neither.
fn errors_change_no_timer(subject: &Subject) -> Verdict {
    if translates_nothing(subject) {
        return NO_ICMP;
    }
    let left_ns = |errors: u32| {
        let mut lab = subject.lab();
        let query = lab.query_out(end(POD, PORT), REMOTE, 8)?;
        let sent = packet::query(*query.ip(), REMOTE, 8, query.port(), b"1");
        for _ in 0..errors {
            lab.wait(2.0);
            lab.error_in(&sent, [3, 1]);
        }
        let now_ns = lab.rig.now_ns;
        lab.rig.nat.mappings().next().map(|view| view.expires_in_ns + now_ns)
    };
    let (without, with) = (left_ns(0), left_ns(5));
    holds_if(without.is_some() && without == with, "an error changes the time that the session has left")
}

/// The caller's error about a packet that came to it by way of the outside address, as the other pod gets it.
fn hairpinned_error(subject: &Subject) -> Result<Seen, Verdict> {
    if translates_nothing(subject) {
        return Err(NO_ICMP);
    }
    let mut lab = subject.lab();
    let refused = || Verdict::Violates("there is no hairpinning".into());
    let listener = lab.udp_out(end(POD, PORT), end(REMOTE, 53)).ok_or_else(refused)?;
    let hello = packet::udp(end(POD2, 41_000), listener, b"hello");
    let Got::Back(arrived) = lab.outbound(&hello) else { return Err(refused()) };
    let caller = crate::lab::source(&arrived);
    let received = packet::udp(caller, end(POD, PORT), b"hello");
    match lab.outbound(&packet::error(POD, *caller.ip(), [3, 3], 0, &received.bytes())) {
        Got::Back(seen) => Ok(seen),
        _ => Err(Verdict::Violates("errors about hairpinned packets are dropped".into())),
    }
}

pub(crate) fn hairpins_errors(subject: &Subject) -> Verdict {
    match hairpinned_error(subject) {
        Err(verdict) => verdict,
        Ok(seen) => {
            let Content::Error { quote, .. } = &seen.content else {
                return Verdict::Violates("it is no error any more".into());
            };
            let ends = foreign::quoted_ends(quote);
            let right = ends.is_some_and(|([src, dst], _, ports)| (src, dst, ports[0]) == (POD2, OUTSIDE, 41_000));
            holds_if(right && seen.src == OUTSIDE && seen.checksum_error == 0, "the quote has other ends")
        }
    }
}

fn addresses_hairpinned_sender(subject: &Subject) -> Verdict {
    match hairpinned_error(subject) {
        Err(Verdict::Violates(_)) => Verdict::NotApplicable("errors about hairpinned packets do not pass"),
        Err(verdict) => verdict,
        Ok(seen) => holds_if(seen.dst == POD2, "it goes elsewhere"),
    }
}

/// What a flow gets that policy forbids, and one that goes beyond a quota.
fn reports_prohibition(subject: &Subject) -> Verdict {
    let mut forbidden = subject.lab_with(|config| {
        let all = || vec![Cidr::ANY];
        config.policy.egress_gateway =
            vec![EgressRule { sources: all(), destinations: all(), excluded: Vec::new(), address: None }];
    });
    let mut limited = subject.lab_with(|config| config.behaviour.quota.sessions_per_source = 1);
    limited.udp_out(end(POD, PORT), end(REMOTE, 53));
    let flow = packet::udp(end(POD, PORT + 1), end(REMOTE, 53), b"one more");
    let answers = [forbidden.outbound(&flow), limited.outbound(&flow)].map(|got| got.error());
    holds_if(answers == [Some([3, 13]); 2], "it is dropped in silence")
}

fn reports_shortage(subject: &Subject) -> Verdict {
    let mut lab = exhausted(subject);
    let flow = packet::udp(end(POD2, 41_000), end(REMOTE, 53), b"one more");
    holds_if(matches!(lab.outbound(&flow).error(), Some([3, 1 | 13])), "it is dropped in silence")
}

/// All ports towards `REMOTE:53` are taken.
pub(crate) fn exhausted(subject: &Subject) -> Lab {
    let mut lab = subject.lab_with(|config| {
        let behaviour = &mut config.behaviour;
        behaviour.ports.range = PortRange::new(behaviour.ports.range.low, behaviour.ports.range.low + 3);
        (behaviour.quota.block_min, behaviour.quota.block_max) = (2, 4);
    });
    for pod in 1..100 {
        lab.udp_out(end(Ipv4Addr::new(10, 0, 3, pod), PORT), end(REMOTE, 53));
    }
    lab
}

fn can_be_silent(subject: &Subject) -> Verdict {
    let mut lab = subject.lab_with(|config| {
        config.behaviour.exhaustion = Exhaustion::Drop;
        config.behaviour.quota.sessions_per_source = 1;
    });
    lab.udp_out(end(POD, PORT), end(REMOTE, 53));
    may(matches!(lab.outbound(&packet::udp(end(POD, PORT + 1), end(REMOTE, 53), b"one more")), Got::Drop(_)))
}

fn supports_the_usual(subject: &Subject) -> Verdict {
    let mut lab = subject.lab();
    let sent = sent(&mut lab);
    let mut missing = Vec::new();
    for (name, kind) in [("unreachable", 3), ("time exceeded", 11)] {
        if lab.error_in(&sent, [kind, 0]).forwarded().is_none() {
            missing.push(name);
        }
    }
    if lab.query_out(end(POD, PORT), REMOTE, 8).is_none() {
        missing.push("echo");
    }
    // And its own: a packet whose time is up.
    let mut last_hop = packet::udp(end(POD, PORT), end(REMOTE, 53), b"");
    last_hop.ttl = 1;
    if lab.outbound(&last_hop).error() != Some([11, 0]) {
        missing.push("time exceeded of its own");
    }
    holds_if(missing.is_empty(), format!("not translated: {}", missing.join(", ")))
}

fn supports_others(subject: &Subject) -> Verdict {
    let mut lab = subject.lab();
    let sent = sent(&mut lab);
    let parameter_problem = lab.error_in(&sent, [12, 0]).forwarded().is_some();
    let timestamp = lab.query_out(end(POD, PORT), REMOTE, 13).is_some();
    may(parameter_problem && timestamp)
}

fn ignores_source_quench(subject: &Subject) -> Verdict {
    let mut lab = subject.lab();
    let sent = sent(&mut lab);
    holds_if(lab.error_in(&sent, [4, 0]).forwarded().is_none(), "it is translated")
}

/// RFC 1812 §4.3.2.5: precedence 6 or 7.
fn marks_own_errors(subject: &Subject) -> Verdict {
    let mut lab = subject.lab();
    let mut last_hop = packet::udp(end(POD, PORT), end(REMOTE, 53), b"");
    last_hop.ttl = 1;
    let outcome = lab.rig.pass(natrig_nat::Direction::Outbound, &last_hop.frame());
    holds_if(outcome.frame[15] >> 5 >= 6, "they have that of routine traffic")
}

/// RFC 1812 §4.3.2.7.
fn knows_when_not_to_send(subject: &Subject) -> Verdict {
    let mut lab = subject.lab();
    let about = packet::udp(end(REMOTE, 53), end(POD, PORT), b"").bytes();
    let mut error = packet::error(POD, REMOTE, [3, 3], 0, &about);
    error.ttl = 1;
    let mut fragment = packet::udp(end(POD, PORT), end(REMOTE, 53), &[0; 64]).fragments(32).remove(1);
    fragment.ttl = 1;
    let answered = [error, fragment].iter().any(|packet| matches!(lab.outbound(packet), Got::Back(_)));
    holds_if(!answered, "they are")
}

/// RFC 1812 §4.3.2.8.
fn limits_own_errors(subject: &Subject) -> Verdict {
    let mut lab = subject.lab_with(|config| config.behaviour.icmp_rules.built_per_second = 10);
    let mut last_hop = packet::udp(end(POD, PORT), end(REMOTE, 53), b"");
    last_hop.ttl = 1;
    let count = |lab: &mut Lab| (0..100).filter(|_| lab.outbound(&last_hop).error().is_some()).count();
    let first = count(&mut lab);
    lab.wait(1.0);
    holds_if((first, count(&mut lab)) == (10, 10), "it cannot")
}

fn drops_others(subject: &Subject) -> Verdict {
    let mut lab = subject.lab();
    // Router solicitation.
    let got = lab.outbound(&packet::query(POD, REMOTE, 10, 0, b""));
    may(matches!(got, Got::Drop(_)))
}
