//! States of sessions, and the machines that TCP's go through.

use crate::Direction;
use crate::behaviour::{TcpMachine, Timers};
use crate::time::ticks;

/// TCP's header flags (RFC 9293 §3.1).
pub(crate) mod bits {
    pub(crate) const FIN: u8 = 0x01;
    pub(crate) const SYN: u8 = 0x02;
    pub(crate) const RST: u8 = 0x04;
    pub(crate) const ACK: u8 = 0x10;
}

/// What a session is in. UDP and ICMP have states too, so that one table gives every timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    Free,
    UdpNew,
    /// The same, begun from outside.
    UdpNewIn,
    UdpStream,
    Icmp,
    /// A SYN from the one who began.
    SynSent,
    /// SYNs from both sides (RFC 9293 §3.5, simultaneous open).
    SynSent2,
    SynReceived,
    Established,
    /// Taken up in midstream.
    Midstream,
    /// A FIN from the one who began.
    FinOriginal,
    /// A FIN from the other side.
    FinReply,
    /// netfilter: a FIN from either.
    FinWait,
    CloseWait,
    /// FINs from both.
    LastAck,
    TimeWait,
    /// Reset.
    Close,
}

impl State {
    pub(crate) const ALL: [Self; 17] = [
        Self::Free,
        Self::UdpNew,
        Self::UdpNewIn,
        Self::UdpStream,
        Self::Icmp,
        Self::SynSent,
        Self::SynSent2,
        Self::SynReceived,
        Self::Established,
        Self::Midstream,
        Self::FinOriginal,
        Self::FinReply,
        Self::FinWait,
        Self::CloseWait,
        Self::LastAck,
        Self::TimeWait,
        Self::Close,
    ];

    pub(crate) const COUNT: usize = Self::ALL.len();

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::UdpNew | Self::UdpNewIn => "udp-new",
            Self::UdpStream => "udp-stream",
            Self::Icmp => "icmp",
            Self::SynSent => "syn-sent",
            Self::SynSent2 => "syn-sent-both",
            Self::SynReceived => "syn-received",
            Self::Established => "established",
            Self::Midstream => "midstream",
            Self::FinOriginal | Self::FinReply => "half-closed",
            Self::FinWait => "fin-wait",
            Self::CloseWait => "close-wait",
            Self::LastAck => "last-ack",
            Self::TimeWait => "time-wait",
            Self::Close => "close",
        }
    }

    /// Closed for good as far as the translator can tell: what Linux may evict for a new connection.
    pub(crate) const fn is_closed(self) -> bool {
        matches!(self, Self::TimeWait | Self::Close)
    }

    /// States in which an ordinary packet of this direction changes nothing but the deadline.
    pub(crate) const fn is_steady(self, outbound: bool) -> bool {
        let one_way = if outbound { Self::UdpNew } else { Self::UdpNewIn };
        matches!(self, Self::Established | Self::UdpStream) || self as u8 == one_way as u8
    }
}

/// Timeouts in ticks, by state.
pub(crate) fn timeouts(timers: &Timers, machine: TcpMachine) -> [u32; State::COUNT] {
    let mut table = [0; State::COUNT];
    // RFC 7857 §2.1: a half-closed connection keeps the established timer.
    let half_closed = if machine == TcpMachine::Netfilter { timers.tcp_fin_wait_s } else { timers.tcp_established_s };
    for (state, timeout_s) in [
        (State::UdpNew, timers.udp_new_s),
        (State::UdpNewIn, timers.udp_new_s),
        (State::UdpStream, timers.udp_stream_s),
        (State::Icmp, timers.icmp_s),
        (State::SynSent, timers.tcp_syn_sent_s),
        (State::SynSent2, timers.tcp_syn_sent_s),
        (State::SynReceived, timers.tcp_syn_received_s),
        (State::Established, timers.tcp_established_s),
        (State::Midstream, timers.tcp_midstream_s),
        (State::FinOriginal, half_closed),
        (State::FinReply, half_closed),
        (State::FinWait, timers.tcp_fin_wait_s),
        (State::CloseWait, timers.tcp_close_wait_s),
        (State::LastAck, timers.tcp_last_ack_s),
        (State::TimeWait, timers.tcp_time_wait_s),
        (State::Close, timers.tcp_close_s),
    ] {
        table[state as usize] = ticks(timeout_s);
    }
    table
}

/// The state of a new connection that begins with these flags.
pub(crate) const fn first(flags: u8) -> State {
    if flags & bits::RST != 0 {
        State::Close
    } else if flags & (bits::SYN | bits::ACK) == bits::SYN {
        State::SynSent
    } else if flags & bits::SYN != 0 {
        State::SynReceived
    } else {
        State::Midstream
    }
}

/// The state after a segment with these flags; `original`: from the side that began.
pub(crate) fn step(machine: TcpMachine, state: State, original: bool, flags: u8) -> State {
    match machine {
        TcpMachine::Rfc7857 => step_rfc7857(state, original, flags),
        TcpMachine::Netfilter => step_netfilter(state, original, flags),
        TcpMachine::Cilium => step_cilium(state, original, flags),
    }
}

/// A segment's direction relative to the one who began.
pub(crate) const fn is_original(from_outside: bool, dir: Direction) -> bool {
    matches!(dir, Direction::Inbound) == from_outside
}

/// Handshake (RFC 7857 §2.1, figure 1; RFC 5382 §4).
fn step_opening(state: State, original: bool, flags: u8) -> State {
    let syn = flags & bits::SYN != 0;
    let ack = flags & bits::ACK != 0;
    match (state, original) {
        // A SYN that crosses the first one: simultaneous open. A SYN+ACK: the ordinary answer.
        (State::SynSent, false) if syn && ack => State::SynReceived,
        (State::SynSent, false) if syn => State::SynSent2,
        // Both SYNs seen and one of them acknowledged: each side is connected as soon as it has the other's.
        (State::SynSent2, _) if ack => State::Established,
        // Only the side that began can complete the handshake: a stranger's segment does not.
        (State::SynReceived, true) if ack && !syn => State::Established,
        (State::Midstream, false) if !syn => State::Established,
        (same, _) => same,
    }
}

/// A FIN from one side.
const fn half_closed(original: bool) -> State {
    if original { State::FinOriginal } else { State::FinReply }
}

/// RFC 7857 §2.1, figure 1.
fn step_rfc7857(state: State, original: bool, flags: u8) -> State {
    if flags & bits::RST != 0 {
        return State::Close;
    }
    let fresh_syn = flags & (bits::SYN | bits::ACK) == bits::SYN;
    let fin = flags & bits::FIN != 0;
    match state {
        // The same ends begin anew.
        State::Close | State::LastAck | State::TimeWait if fresh_syn => {
            if original {
                State::SynSent
            } else {
                State::SynSent2
            }
        }
        // Data after a reset shows that the reset was not believed (RFC 6146 §3.5.2.2, TRANS).
        State::Close => State::Established,
        State::FinOriginal if fin && !original => State::LastAck,
        State::FinReply if fin && original => State::LastAck,
        State::SynReceived | State::Established | State::Midstream if fin => half_closed(original),
        State::SynSent | State::SynSent2 | State::SynReceived | State::Midstream => {
            step_opening(state, original, flags)
        }
        State::Established | State::FinOriginal | State::FinReply | State::LastAck | State::TimeWait => state,
        State::FinWait
        | State::CloseWait
        | State::Free
        | State::UdpNew
        | State::UdpNewIn
        | State::UdpStream
        | State::Icmp => state,
    }
}

/// bpf/lib/conntrack.h: rx_closing and tx_closing; a SYN on a closed entry opens it anew.
fn step_cilium(state: State, original: bool, flags: u8) -> State {
    if flags & bits::RST != 0 {
        return State::Close;
    }
    let syn = flags & bits::SYN != 0;
    let fin = flags & bits::FIN != 0;
    match state {
        State::Close | State::LastAck | State::TimeWait if syn && flags & bits::ACK == 0 => State::SynSent,
        State::Close | State::LastAck | State::TimeWait => state,
        State::FinOriginal if fin && !original => State::LastAck,
        State::FinReply if fin && original => State::LastAck,
        State::FinOriginal | State::FinReply => state,
        State::SynSent | State::SynSent2 | State::SynReceived | State::Midstream | State::Established if fin => {
            half_closed(original)
        }
        // seen_non_syn: the first segment without SYN ends the SYN timeout, whichever way it goes.
        State::SynSent | State::SynSent2 | State::SynReceived | State::Midstream if !syn => State::Established,
        State::SynSent if !original => State::SynReceived,
        State::SynSent | State::SynSent2 | State::SynReceived | State::Midstream | State::Established => state,
        State::FinWait
        | State::CloseWait
        | State::Free
        | State::UdpNew
        | State::UdpNewIn
        | State::UdpStream
        | State::Icmp => state,
    }
}

/// nf_conntrack_proto_tcp.c, `tcp_conntracks`; "ignore" and "invalid" both leave the state as it is.
fn step_netfilter(state: State, original: bool, flags: u8) -> State {
    use State::{Close, CloseWait, Established, FinWait, LastAck, Midstream, SynReceived, SynSent, SynSent2, TimeWait};
    if flags & bits::RST != 0 {
        return Close;
    }
    let ack = flags & bits::ACK != 0;
    if flags & bits::SYN != 0 {
        return match (state, original, ack) {
            (TimeWait | Close, true, false) | (TimeWait, false, false) => SynSent,
            (SynSent, false, false) => SynSent2,
            (SynSent | SynSent2, false, true) | (SynSent2, true, true) => SynReceived,
            (same, _, _) => same,
        };
    }
    match (state, original) {
        (SynReceived | Established | Midstream, _) if flags & bits::FIN != 0 => FinWait,
        (FinWait | CloseWait | LastAck, _) if flags & bits::FIN != 0 => LastAck,
        (SynReceived, true) | (Midstream, false) if ack => Established,
        (FinWait, _) if ack => CloseWait,
        (LastAck, _) if ack => TimeWait,
        (same, _) => same,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TcpMachine::{Cilium, Netfilter, Rfc7857};

    const ORIGINAL: bool = true;
    const REPLY: bool = false;

    fn run(machine: TcpMachine, segments: &[(bool, u8)]) -> Vec<State> {
        let mut state = first(segments[0].1);
        let mut states = vec![state];
        for (original, flags) in &segments[1..] {
            state = step(machine, state, *original, *flags);
            states.push(state);
        }
        states
    }

    const OPEN: [(bool, u8); 3] = [(ORIGINAL, bits::SYN), (REPLY, bits::SYN | bits::ACK), (ORIGINAL, bits::ACK)];

    #[test]
    fn a_connection_opens_in_three_segments() {
        for machine in [Rfc7857, Netfilter, Cilium] {
            assert_eq!(run(machine, &OPEN), [State::SynSent, State::SynReceived, State::Established]);
        }
    }

    /// RFC 9293 figure 8, as RFC 5382 REQ-2A wants it.
    #[test]
    fn a_simultaneous_open_is_established() {
        let segments = [(ORIGINAL, bits::SYN), (REPLY, bits::SYN), (ORIGINAL, bits::SYN | bits::ACK)];
        assert_eq!(run(Rfc7857, &segments), [State::SynSent, State::SynSent2, State::Established]);
        let segments = [&segments[..], &[(REPLY, bits::SYN | bits::ACK), (ORIGINAL, bits::ACK)]].concat();
        assert_eq!(run(Netfilter, &segments)[2..], [State::SynReceived, State::SynReceived, State::Established]);
    }

    #[test]
    fn both_fins_close_and_one_fin_repeated_does_not() {
        let fin = bits::FIN | bits::ACK;
        let segments = [&OPEN[..], &[(ORIGINAL, fin), (ORIGINAL, fin), (REPLY, bits::ACK), (REPLY, fin)]].concat();
        for machine in [Rfc7857, Cilium] {
            assert_eq!(
                run(machine, &segments)[3..],
                [State::FinOriginal, State::FinOriginal, State::FinOriginal, State::LastAck]
            );
        }
        let segments =
            [&OPEN[..], &[(REPLY, fin), (ORIGINAL, bits::ACK), (ORIGINAL, fin), (REPLY, bits::ACK)]].concat();
        assert_eq!(run(Netfilter, &segments)[3..], [State::FinWait, State::CloseWait, State::LastAck, State::TimeWait]);
    }

    #[test]
    fn a_reset_closes_and_only_the_rfcs_machine_lets_data_revive() {
        let segments = [&OPEN[..], &[(REPLY, bits::RST), (ORIGINAL, bits::ACK)]].concat();
        assert_eq!(run(Rfc7857, &segments)[3..], [State::Close, State::Established]);
        assert_eq!(run(Netfilter, &segments)[3..], [State::Close, State::Close]);
        assert_eq!(run(Cilium, &segments)[3..], [State::Close, State::Close]);
    }

    #[test]
    fn the_same_ends_may_begin_anew() {
        for machine in [Rfc7857, Netfilter, Cilium] {
            let segments = [&OPEN[..], &[(ORIGINAL, bits::RST), (ORIGINAL, bits::SYN)]].concat();
            assert_eq!(run(machine, &segments)[4], State::SynSent, "{machine:?}");
        }
    }

    #[test]
    fn a_stranger_cannot_complete_a_handshake() {
        let segments = [OPEN[0], OPEN[1], (REPLY, bits::ACK)];
        assert_eq!(run(Rfc7857, &segments)[2], State::SynReceived);
    }

    #[test]
    fn every_state_has_a_timeout_and_none_is_lost() {
        let behaviour = crate::Profile::builtin("netfilter").unwrap().behaviour;
        let table = timeouts(&behaviour.timers, Netfilter);
        assert!(table[1..].iter().all(|ticks| *ticks > 0));
        assert_eq!(table[State::TimeWait as usize], 12_000);
    }
}
