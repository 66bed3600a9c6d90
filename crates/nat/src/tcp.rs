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
    pub(crate) const COUNT: usize = Self::Close as usize + 1;

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::UdpNew => "udp-new",
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

    /// States in which an ordinary packet changes nothing but the deadline.
    #[inline(always)]
    pub(crate) const fn is_steady(self) -> bool {
        matches!(self, Self::Established | Self::UdpStream)
    }
}

/// Timeouts in ticks, by state.
pub(crate) fn timeouts(timers: &Timers, machine: TcpMachine) -> [u32; State::COUNT] {
    let mut table = [0; State::COUNT];
    // RFC 7857 §2.1: a half-closed connection keeps the established timer.
    let half_closed = if machine == TcpMachine::Netfilter { timers.tcp_fin_wait_s } else { timers.tcp_established_s };
    for (state, timeout_s) in [
        (State::UdpNew, timers.udp_new_s),
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

/// Handshake, alike in all machines that do not follow netfilter's table.
fn step_opening(state: State, original: bool, flags: u8) -> State {
    let syn = flags & bits::SYN != 0;
    let ack = flags & bits::ACK != 0;
    match (state, original) {
        // A SYN that crosses the first one: simultaneous open; a SYN+ACK: the ordinary answer.
        (State::SynSent, false) if syn => {
            if ack {
                State::SynReceived
            } else {
                State::SynSent2
            }
        }
        (State::SynSent2, _) if syn && ack => State::SynReceived,
        (State::SynSent | State::SynSent2, _) if syn => state,
        (State::SynSent2, _) if ack => State::Established,
        // Anything but SYN from the side that has been answered completes it.
        (State::SynReceived, true) if !syn && ack => State::Established,
        (State::Midstream, false) if !syn => State::Established,
        _ => state,
    }
}

/// RFC 7857 §2.1, figure 1.
fn step_rfc7857(state: State, original: bool, flags: u8) -> State {
    if flags & bits::RST != 0 {
        return State::Close;
    }
    let fresh_syn = flags & (bits::SYN | bits::ACK) == bits::SYN;
    let fin = flags & bits::FIN != 0;
    match state {
        // Data after a reset shows that the reset was not believed (RFC 6146 §3.5.2.2, TRANS).
        State::Close if fresh_syn => {
            if original {
                State::SynSent
            } else {
                State::SynSent2
            }
        }
        State::Close => State::Established,
        State::LastAck | State::TimeWait if fresh_syn => {
            if original {
                State::SynSent
            } else {
                State::SynSent2
            }
        }
        State::LastAck | State::TimeWait => state,
        State::FinOriginal if fin && !original => State::LastAck,
        State::FinReply if fin && original => State::LastAck,
        State::FinOriginal | State::FinReply => state,
        State::SynReceived | State::Established | State::Midstream if fin => {
            if original {
                State::FinOriginal
            } else {
                State::FinReply
            }
        }
        State::Established => state,
        _ => step_opening(state, original, flags),
    }
}

/// bpf/lib/conntrack.h: rx_closing and tx_closing; a SYN on a closed entry opens it anew.
fn step_cilium(state: State, original: bool, flags: u8) -> State {
    let fresh_syn = flags & (bits::SYN | bits::ACK) == bits::SYN;
    let fin = flags & bits::FIN != 0;
    if flags & bits::RST != 0 {
        return State::Close;
    }
    match state {
        State::Close | State::LastAck | State::TimeWait if fresh_syn => State::SynSent,
        State::Close | State::LastAck | State::TimeWait => state,
        State::FinOriginal if fin && !original => State::LastAck,
        State::FinReply if fin && original => State::LastAck,
        State::FinOriginal | State::FinReply => state,
        _ if fin => {
            if original {
                State::FinOriginal
            } else {
                State::FinReply
            }
        }
        // seen_non_syn: the first segment without SYN ends the SYN timeout, whichever way it goes.
        State::SynSent | State::SynSent2 | State::SynReceived | State::Midstream if flags & bits::SYN == 0 => {
            State::Established
        }
        _ => state,
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
            _ => state,
        };
    }
    if flags & bits::FIN != 0 {
        return match state {
            SynReceived | Established | Midstream => FinWait,
            FinWait | CloseWait | LastAck => LastAck,
            _ => state,
        };
    }
    if !ack {
        return state;
    }
    match (state, original) {
        (SynReceived, true) | (Midstream, false) => Established,
        (FinWait, _) => CloseWait,
        (LastAck, _) => TimeWait,
        _ => state,
    }
}
