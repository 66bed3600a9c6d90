//! What each kind of state tracking makes of a connection, as rows of rules.
//!
//! Every machine is a list of rules, the first that fits decides, and where none fits the state stays. `Opener` is the side whose segment
//! made the session, `Other` the one it talks to.

use natrig_nat::behaviour::{TcpMachine, Timers};

use crate::packet::{ACK, FIN, RST, SYN};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tcp {
    /// A SYN, no answer.
    Opening,
    /// SYNs from both sides, neither acknowledged.
    Crossed,
    /// The SYN was answered.
    Answered,
    /// Neither a SYN nor an answer has been seen.
    Midstream,
    Established,
    /// The opener has sent a FIN.
    OpenerDone,
    /// The other side has sent a FIN.
    OtherDone,
    /// netfilter: one FIN, from whichever side.
    OneFin,
    /// netfilter: that FIN acknowledged.
    OneFinAcked,
    BothDone,
    /// netfilter: the second FIN acknowledged.
    BothDoneAcked,
    Reset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Opener,
    Other,
}

/// Kinds of segment as conntrack tells them apart: RST before SYN before FIN before ACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rst,
    SynAck,
    Syn,
    /// With or without ACK.
    Fin,
    Ack,
    /// None of these flags.
    Bare,
}

const fn kind_of(flags: u8) -> Kind {
    if flags & RST != 0 {
        Kind::Rst
    } else if flags & SYN != 0 {
        if flags & ACK != 0 { Kind::SynAck } else { Kind::Syn }
    } else if flags & FIN != 0 {
        Kind::Fin
    } else if flags & ACK != 0 {
        Kind::Ack
    } else {
        Kind::Bare
    }
}

/// The state that a session begins in, before its first segment is followed.
pub(crate) const fn first(flags: u8) -> Tcp {
    match kind_of(flags) {
        Kind::Syn => Tcp::Opening,
        Kind::SynAck => Tcp::Answered,
        Kind::Rst => Tcp::Reset,
        Kind::Fin | Kind::Ack | Kind::Bare => Tcp::Midstream,
    }
}

pub(crate) fn next(machine: TcpMachine, state: Tcp, side: Side, flags: u8) -> Tcp {
    let kind = kind_of(flags);
    match machine {
        TcpMachine::Rfc7857 => rfc7857(state, side, kind, flags),
        TcpMachine::Netfilter => netfilter(state, side, kind),
        TcpMachine::Cilium => cilium(state, side, kind),
    }
}

/// RFC 7857 §2.1 with the handshake's states kept apart (RFC 5382 REQ-5 times them as transitory).
fn rfc7857(state: Tcp, side: Side, kind: Kind, flags: u8) -> Tcp {
    use Side::{Opener, Other};
    use Tcp::{Answered, BothDone, Crossed, Established, Midstream, OpenerDone, Opening, OtherDone, Reset};
    match (state, side, kind) {
        (_, _, Kind::Rst) => Reset,
        // A connection that is over begins anew with a SYN.
        (Reset | BothDone, Opener, Kind::Syn) => Opening,
        (Reset | BothDone, Other, Kind::Syn) => Crossed,
        // TRANS: a packet shows that the reset was not believed.
        (Reset, _, _) => Established,
        (BothDone, _, _) => BothDone,
        (OpenerDone, Other, _) | (OtherDone, Opener, _) if flags & FIN != 0 => BothDone,
        (OpenerDone | OtherDone, _, _) => state,
        (Answered | Established | Midstream, Opener, _) if flags & FIN != 0 => OpenerDone,
        (Answered | Established | Midstream, Other, _) if flags & FIN != 0 => OtherDone,
        (Opening, Other, Kind::Syn) => Crossed,
        (Opening, Other, Kind::SynAck) => Answered,
        // Both have begun, and one has the other's SYN.
        (Crossed, _, _) if flags & ACK != 0 => Established,
        (Answered, Opener, Kind::Ack) => Established,
        (Midstream, Other, Kind::Ack | Kind::Bare) => Established,
        _ => state,
    }
}

/// nf_conntrack_proto_tcp.c: the table of states by direction and kind of segment. What it calls ignored or invalid changes nothing here.
fn netfilter(state: Tcp, side: Side, kind: Kind) -> Tcp {
    use Side::{Opener, Other};
    use Tcp::{
        Answered, BothDone, BothDoneAcked, Crossed, Established, Midstream, OneFin, OneFinAcked, Opening, Reset,
    };
    match (kind, side, state) {
        (Kind::Rst, _, _) => Reset,
        (Kind::Syn, Opener, BothDoneAcked | Reset) | (Kind::Syn, Other, BothDoneAcked) => Opening,
        (Kind::Syn, Other, Opening) => Crossed,
        (Kind::SynAck, Other, Opening | Crossed) | (Kind::SynAck, Opener, Crossed) => Answered,
        (Kind::Fin, _, Answered | Established | Midstream) => OneFin,
        (Kind::Fin, _, OneFin | OneFinAcked) => BothDone,
        (Kind::Ack, Opener, Answered) => Established,
        // A connection taken up in its middle has the established timer only once both sides were heard.
        (Kind::Ack, Other, Midstream) => Established,
        (Kind::Ack, _, OneFin) => OneFinAcked,
        (Kind::Ack, _, BothDone) => BothDoneAcked,
        _ => state,
    }
}

/// bpf/lib/conntrack.h: one bit per direction for closing, and whether anything but a SYN has been seen.
fn cilium(state: Tcp, side: Side, kind: Kind) -> Tcp {
    use Side::{Opener, Other};
    use Tcp::{Answered, BothDone, Crossed, Established, Midstream, OpenerDone, Opening, OtherDone, Reset};
    match (state, side, kind) {
        (_, _, Kind::Rst) => Reset,
        (Reset | BothDone, _, Kind::Syn) => Opening,
        (OpenerDone, Other, Kind::Fin) | (OtherDone, Opener, Kind::Fin) => BothDone,
        (Opening | Crossed | Answered | Midstream | Established, Opener, Kind::Fin) => OpenerDone,
        (Opening | Crossed | Answered | Midstream | Established, Other, Kind::Fin) => OtherDone,
        (Opening | Crossed | Answered | Midstream, _, Kind::Ack | Kind::Bare) => Established,
        (Opening, Other, Kind::Syn | Kind::SynAck) => Answered,
        _ => state,
    }
}

/// A connection that Linux may evict for a new one.
pub(crate) const fn is_over(state: Tcp) -> bool {
    matches!(state, Tcp::BothDoneAcked | Tcp::Reset)
}

/// Idle timeout in seconds.
pub(crate) const fn timeout_s(timers: &Timers, state: Tcp) -> u32 {
    match state {
        Tcp::Opening | Tcp::Crossed => timers.tcp_syn_sent_s,
        Tcp::Answered => timers.tcp_syn_received_s,
        Tcp::Midstream => timers.tcp_midstream_s,
        // RFC 7857 §2.1 and Cilium: half closed is still open.
        Tcp::Established | Tcp::OpenerDone | Tcp::OtherDone => timers.tcp_established_s,
        Tcp::OneFin => timers.tcp_fin_wait_s,
        Tcp::OneFinAcked => timers.tcp_close_wait_s,
        Tcp::BothDone => timers.tcp_last_ack_s,
        Tcp::BothDoneAcked => timers.tcp_time_wait_s,
        Tcp::Reset => timers.tcp_close_s,
    }
}
