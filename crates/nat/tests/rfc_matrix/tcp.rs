//! RFC 5382.

use natrig_nat::behaviour::{Dependence, FullPolicy, Overload, UnsolicitedSyn};
use natrig_nat::{Config, Direction};

use crate::foreign::Content;
use crate::lab::{Got, Lab, POD, POD2, PORT, REMOTE, REMOTE2, Subject, Verdict, end, holds_if, may};
use crate::mapping::{self, Transport};
use crate::packet::{self, ACK, FIN, Ip, RST, SYN};
use crate::{Document, row};

pub(crate) fn document() -> Document {
    let rows = vec![
        row!("REQ-1", Must, "endpoint-independent mapping", maps_endpoint_independently),
        row!("REQ-2", Must, "all valid sequences of segments pass", passes_valid_sequences),
        row!("REQ-2a", Must, "simultaneous open", opens_simultaneously),
        row!("REQ-3", Recommended, "endpoint-independent or address-dependent filtering", filters_at_most_by_address),
        row!("REQ-3a", May, "filtering can be configured", filtering_is_configurable),
        row!("REQ-3b", May, "independently of UDP's", filtering_is_its_own),
        row!("REQ-4", MustNot, "an unsolicited SYN is answered within 6 s", waits_six_seconds),
        row!("REQ-4 crossed", Must, "it is dropped in silence if a SYN from inside crosses it", drops_crossed_syn),
        row!("REQ-4 answer", Should, "else it is answered by “port unreachable”", reports_unsolicited_syn),
        row!("REQ-4a", Must, "it is dropped in silence if policy forbids an answer", is_silent_if_told),
        row!("REQ-5 established", Must, "an established connection lasts 2 h 4 min idle", lasts_two_hours),
        row!("REQ-5 transitory", Must, "one that opens or closes lasts 4 min idle", lasts_four_minutes_in_transit),
        row!("REQ-5a", May, "the timers can be configured", timers_are_configurable),
        row!("REQ-6", Recommended, "application level gateways are off", leaves_payload_alone),
        row!("REQ-7", MustNot, "port overloading", does_not_overload),
        row!("REQ-8", Must, "hairpinning", hairpins),
        row!("REQ-8a", Must, "hairpinned packets have an external source address and port", hairpins_externally),
        row!("REQ-9", Should, "destination unreachable is translated", takes_unreachable),
        row!("REQ-10", MustNot, "ICMP messages terminate a mapping or connection", survives_icmp),
    ];
    Document { number: 5382, title: "TCP", rows }
}

fn maps_endpoint_independently(subject: &Subject) -> Verdict {
    mapping::is_endpoint_independent(subject, Transport::Tcp)
}

/// Who sends which flags.
type Script = &'static [(Direction, u8)];

const OUT: Direction = Direction::Outbound;
const IN: Direction = Direction::Inbound;

impl Lab {
    /// Plays a conversation between `POD:PORT` and `REMOTE:80`; the number of the first segment that did not pass.
    fn play(&mut self, script: Script) -> Option<usize> {
        let (pod, remote) = (end(POD, PORT), end(REMOTE, 80));
        let mut outside = None;
        script.iter().position(|(dir, flags)| match (dir, outside) {
            (Direction::Outbound, _) => {
                let sent = self.tcp_out(pod, remote, *flags);
                let same = sent.is_some() && outside.is_none_or(|outside| sent == Some(outside));
                outside = sent;
                !same
            }
            (Direction::Inbound, Some(outside)) => self.tcp_in(remote, outside, *flags) != Some(pod),
            (Direction::Inbound, None) => true,
        })
    }
}

fn passes_valid_sequences(subject: &Subject) -> Verdict {
    const CLOSED_BY_CLIENT: Script = &[
        (OUT, SYN),
        (IN, SYN | ACK),
        (OUT, ACK),
        (OUT, ACK),
        (IN, ACK),
        (OUT, FIN | ACK),
        (IN, ACK),
        (IN, FIN | ACK),
        (OUT, ACK),
    ];
    const CLOSED_BY_SERVER: Script = &[
        (OUT, SYN),
        (IN, SYN | ACK),
        (OUT, ACK),
        (IN, FIN | ACK),
        (OUT, ACK),
        (OUT, ACK),
        (OUT, FIN | ACK),
        (IN, ACK),
    ];
    const HALF_CLOSED: Script = &[
        (OUT, SYN),
        (IN, SYN | ACK),
        (OUT, ACK),
        (OUT, FIN | ACK),
        (IN, ACK),
        (IN, ACK),
        (OUT, ACK),
        (IN, ACK),
        (OUT, ACK),
    ];
    const CLOSED_AT_ONCE: Script =
        &[(OUT, SYN), (IN, SYN | ACK), (OUT, ACK), (OUT, FIN | ACK), (IN, FIN | ACK), (OUT, ACK), (IN, ACK)];
    const REFUSED: Script = &[(OUT, SYN), (IN, RST | ACK)];
    const SENT_AGAIN: Script = &[(OUT, SYN), (OUT, SYN), (IN, SYN | ACK), (IN, SYN | ACK), (OUT, ACK), (OUT, ACK)];
    const RESET: Script = &[(OUT, SYN), (IN, SYN | ACK), (OUT, ACK), (OUT, RST)];
    let scripts = [
        ("closed by the client", CLOSED_BY_CLIENT),
        ("closed by the server", CLOSED_BY_SERVER),
        ("half closed", HALF_CLOSED),
        ("closed by both at once", CLOSED_AT_ONCE),
        ("refused", REFUSED),
        ("with segments sent again", SENT_AGAIN),
        ("reset", RESET),
    ];
    for (name, script) in scripts {
        if let Some(at) = subject.lab().play(script) {
            return Verdict::Violates(format!("segment {at} of a connection {name} is lost"));
        }
    }
    Verdict::Holds
}

fn opens_simultaneously(subject: &Subject) -> Verdict {
    const SCRIPT: Script =
        &[(OUT, SYN), (IN, SYN), (OUT, SYN | ACK), (IN, SYN | ACK), (OUT, ACK), (IN, ACK), (OUT, ACK)];
    match subject.lab().play(SCRIPT) {
        None => Verdict::Holds,
        Some(at) => Verdict::Violates(format!("segment {at} is lost")),
    }
}

fn filters_at_most_by_address(subject: &Subject) -> Verdict {
    mapping::filters_at_most_by_address(subject, Transport::Tcp)
}

/// A copy of the profile in which each outside port has one owner, so that any filter will do.
fn with_filters(config: &mut Config, tcp: Dependence, udp: Dependence) {
    let behaviour = &mut config.behaviour;
    for (rules, filtering) in [(&mut behaviour.tcp, tcp), (&mut behaviour.udp, udp)] {
        (rules.overload, rules.filtering) = (Overload::Never, filtering);
    }
    behaviour.ports.reuse_source_mapping = false;
    behaviour.ports.evict_closing_within = 0;
    behaviour.table.full = FullPolicy::Refuse;
    behaviour.tcp_rules.unsolicited_syn = UnsolicitedSyn::Drop;
}

fn filtering_is_configurable(subject: &Subject) -> Verdict {
    use mapping::Dependence as Seen;
    let found = |filtering| {
        let mut lab = subject.lab_with(|config| with_filters(config, filtering, filtering));
        mapping::filtering(&mut lab, Transport::Tcp)
    };
    may(found(Dependence::EndpointIndependent) == Some(Seen::None)
        && found(Dependence::AddressDependent) == Some(Seen::Address)
        && found(Dependence::AddressAndPortDependent) == Some(Seen::AddressAndPort))
}

fn filtering_is_its_own(subject: &Subject) -> Verdict {
    use mapping::Dependence as Seen;
    let change = |config: &mut Config| {
        with_filters(config, Dependence::AddressAndPortDependent, Dependence::EndpointIndependent);
    };
    let tcp = mapping::filtering(&mut subject.lab_with(change), Transport::Tcp);
    let udp = mapping::filtering(&mut subject.lab_with(change), Transport::Udp);
    may((tcp, udp) == (Some(Seen::AddressAndPort), Some(Seen::None)))
}

/// An unsolicited SYN, to where a SYN from `POD:PORT` would leave from. None if that cannot be known beforehand.
fn unsolicited(lab: &mut Lab) -> Option<Ip> {
    let outside = lab.tcp_out(end(POD, PORT), end(REMOTE2, 80), SYN)?;
    Some(packet::tcp(end(REMOTE, 80), outside, SYN, 9, b""))
}

/// Filters so that strangers' SYNs are unsolicited.
fn strict(config: &mut Config) {
    for rules in [&mut config.behaviour.tcp, &mut config.behaviour.udp] {
        rules.filtering = Dependence::AddressAndPortDependent;
    }
}

fn waits_six_seconds(subject: &Subject) -> Verdict {
    let mut lab = subject.lab_with(strict);
    let Some(syn) = unsolicited(&mut lab) else { return Verdict::Violates("no mapping is made".into()) };
    let got = lab.inbound(&syn);
    lab.wait(5.9);
    let early = lab.released(IN);
    holds_if(matches!(got, Got::Drop(_) | Got::Hold) && early.is_empty(), "it is answered at once")
}

fn drops_crossed_syn(subject: &Subject) -> Verdict {
    let mut lab = subject.lab_with(strict);
    let Some(syn) = unsolicited(&mut lab) else { return Verdict::Violates("no mapping is made".into()) };
    let got = lab.inbound(&syn);
    lab.wait(3.0);
    lab.tcp_out(end(POD, PORT), end(REMOTE, 80), SYN);
    lab.wait(10.0);
    let answers = lab.released(IN).into_iter().filter(|got| !matches!(got, Got::Drop(_))).count();
    holds_if(matches!(got, Got::Drop(_) | Got::Hold) && answers == 0, "it is answered")
}

fn reports_unsolicited_syn(subject: &Subject) -> Verdict {
    let mut lab = subject.lab_with(strict);
    let Some(syn) = unsolicited(&mut lab) else { return Verdict::Violates("no mapping is made".into()) };
    if subject.behaviour().tcp_rules.unsolicited_syn == UnsolicitedSyn::Drop {
        let silent = matches!(lab.inbound(&syn), Got::Drop(_));
        return if silent {
            Verdict::NotApplicable("drops it in silence, as REQ-4a has it")
        } else {
            Verdict::Violates("it is answered".into())
        };
    }
    lab.inbound(&syn);
    lab.wait(6.1);
    let answers = lab.released(IN);
    let [Got::Back(seen)] = &answers[..] else { return Verdict::Violates("it is not answered".into()) };
    let right = matches!(&seen.content, Content::Error { kind: 3, code: 3, quote, .. } if *quote == syn.bytes());
    holds_if(right && seen.dst == REMOTE, "the answer is no “port unreachable” about it")
}

fn is_silent_if_told(subject: &Subject) -> Verdict {
    let mut lab = subject.lab_with(|config| {
        strict(config);
        config.behaviour.tcp_rules.unsolicited_syn = UnsolicitedSyn::Drop;
    });
    let Some(syn) = unsolicited(&mut lab) else { return Verdict::Violates("no mapping is made".into()) };
    let got = lab.inbound(&syn);
    lab.wait(10.0);
    holds_if(matches!(got, Got::Drop(_)) && lab.released(IN).is_empty(), "it is answered")
}

/// True if a connection is gone when it has been idle for so long after this script.
fn is_gone_after(subject: &Subject, idle_s: f64, script: Script) -> bool {
    let open = |lab: &mut Lab| {
        let outside = lab.tcp_out(end(POD, PORT), end(REMOTE, 80), script[0].1)?;
        for (dir, flags) in &script[1..] {
            match dir {
                Direction::Outbound => lab.tcp_out(end(POD, PORT), end(REMOTE, 80), *flags)?,
                Direction::Inbound => lab.tcp_in(end(REMOTE, 80), outside, *flags)?,
            };
        }
        Some(outside)
    };
    subject.dies_within(idle_s, open, |lab, outside| lab.tcp_in(end(REMOTE, 80), *outside, ACK) == Some(end(POD, PORT)))
}

fn lasts_two_hours(subject: &Subject) -> Verdict {
    const OPEN: Script = &[(OUT, SYN), (IN, SYN | ACK), (OUT, ACK), (IN, ACK)];
    let gone = is_gone_after(subject, 7439.9, OPEN);
    holds_if(!gone, format!("it goes after {} s", subject.behaviour().timers.tcp_established_s))
}

pub(crate) fn lasts_four_minutes_in_transit(subject: &Subject) -> Verdict {
    const SCRIPTS: [(&str, Script); 4] = [
        ("a SYN", &[(OUT, SYN)]),
        ("an answered SYN", &[(OUT, SYN), (IN, SYN | ACK)]),
        ("both FINs", &[(OUT, SYN), (IN, SYN | ACK), (OUT, ACK), (OUT, FIN | ACK), (IN, FIN | ACK), (OUT, ACK)]),
        ("a reset", &[(OUT, SYN), (IN, SYN | ACK), (OUT, ACK), (OUT, RST)]),
    ];
    let early: Vec<&str> =
        SCRIPTS.iter().filter(|(_, script)| is_gone_after(subject, 239.9, script)).map(|(name, _)| *name).collect();
    holds_if(early.is_empty(), format!("it goes earlier after {}", early.join(", ")))
}

fn timers_are_configurable(subject: &Subject) -> Verdict {
    let outlasts = |timer_s: u32| {
        let mut lab = subject.lab_with(|config| config.behaviour.timers.tcp_established_s = timer_s);
        let outside = lab.connect(end(POD, PORT), end(REMOTE, 80));
        lab.wait(800.0);
        outside.is_some_and(|outside| lab.tcp_in(end(REMOTE, 80), outside, ACK).is_some())
    };
    may(outlasts(1000) && !outlasts(30))
}

fn leaves_payload_alone(subject: &Subject) -> Verdict {
    let mut lab = subject.lab();
    for (port, text) in
        [(21, &b"PORT 10,0,1,1,156,64\r\n"[..]), (1723, b"10.0.1.1:40000"), (554, b"SETUP client_port=40000")]
    {
        lab.connect(end(POD, PORT), end(REMOTE, port));
        let sent = lab.outbound(&packet::tcp(end(POD, PORT), end(REMOTE, port), ACK, 2, text)).forwarded();
        if !sent.is_some_and(|seen| matches!(seen.content, Content::Tcp { data, .. } if data == text)) {
            return Verdict::Violates(format!("the payload to port {port} is changed"));
        }
    }
    Verdict::Holds
}

fn does_not_overload(subject: &Subject) -> Verdict {
    mapping::does_not_overload(subject, Transport::Tcp)
}

fn hairpins(subject: &Subject) -> Verdict {
    mapping::hairpins(subject, Transport::Tcp)
}

fn hairpins_externally(subject: &Subject) -> Verdict {
    match mapping::hairpins(subject, Transport::Tcp) {
        Verdict::Violates(_) => Verdict::NotApplicable("no hairpinning"),
        verdict => verdict,
    }
}

fn takes_unreachable(subject: &Subject) -> Verdict {
    let mut lab = subject.lab();
    let Some(outside) = lab.connect(end(POD, PORT), end(REMOTE, 80)) else {
        return Verdict::Violates("no connection is made".into());
    };
    let sent = packet::tcp(outside, end(REMOTE, 80), ACK, 5, b"data");
    let got = lab.error_in(&sent, [3, 1]).forwarded();
    holds_if(got.is_some_and(|seen| seen.dst == POD), "no ICMP error comes in")
}

fn survives_icmp(subject: &Subject) -> Verdict {
    let mut lab = subject.lab();
    let Some(outside) = lab.connect(end(POD, PORT), end(REMOTE, 80)) else {
        return Verdict::Violates("no connection is made".into());
    };
    let sent = packet::tcp(outside, end(REMOTE, 80), ACK, 5, b"data");
    for kind_code in (0..16).map(|code| [3, code]).chain([[4, 0], [5, 1], [11, 0], [12, 0]]) {
        lab.error_in(&sent, kind_code);
    }
    // From inside, too, and about somebody else's packet.
    let received = packet::tcp(end(REMOTE, 80), end(POD, PORT), ACK, 5, b"data");
    lab.outbound(&packet::error(POD2, REMOTE, [3, 3], 0, &received.bytes()));
    let both = lab.tcp_in(end(REMOTE, 80), outside, ACK) == Some(end(POD, PORT))
        && lab.tcp_out(end(POD, PORT), end(REMOTE, 80), ACK) == Some(outside);
    holds_if(both, "the connection is gone")
}
