//! How long a port stays in use after the connection that needed it is over.

use natrig_bench::settings::Word as _;
use natrig_bench::words;
use natrig_nat::behaviour::{Behaviour, Collection, TcpMachine};

words! {
    /// A protocol with ports.
    Protocol {
        /// TCP.
        Tcp = "tcp",
        /// UDP.
        Udp = "udp",
        /// ICMP echo; the identifier is the port.
        Icmp = "icmp",
    }
}

impl Protocol {
    /// Its number (RFC 5237 registry).
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Icmp => 1,
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// The protocol of a number.
    #[must_use]
    pub const fn of_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Icmp),
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            _ => None,
        }
    }
}

words! {
    /// How a connection ends.
    Close {
        /// Both sides have sent a FIN. For protocols without connections: the last packet.
        Fin = "fin",
        /// One side has sent a reset.
        Rst = "rst",
        /// Nobody says anything any more: translators find out by their idle timers.
        Idle = "idle",
    }
}

/// How long a port is kept when its connection is over, and which parameters of the profile say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Afterlife {
    /// The timer of the state that the connection ends in, seconds.
    pub timer_s: u32,
    /// The parameter's path.
    pub timer: &'static str,
    /// The time for which the port is held after that, seconds.
    pub hold_s: u32,
    /// The parameter's path.
    pub hold: &'static str,
    /// Where entries are collected at intervals: the shortest, the first and the longest interval, seconds. An entry waits for the end of
    /// the interval in which its timer runs out.
    pub collected_s: Option<[u32; 3]>,
}

impl Afterlife {
    /// Of connections of `protocol` that end like `close`.
    #[must_use]
    pub fn of(behaviour: &Behaviour, protocol: Protocol, close: Close) -> Self {
        let (timers, hold) = (&behaviour.timers, &behaviour.hold);
        let (timer_s, timer) = match (protocol, close, behaviour.tcp_rules.machine) {
            (Protocol::Udp, ..) => (timers.udp_stream_s, "timers.udp_stream_s"),
            (Protocol::Icmp, ..) => (timers.icmp_s, "timers.icmp_s"),
            (Protocol::Tcp, Close::Idle, _) => (timers.tcp_established_s, "timers.tcp_established_s"),
            (Protocol::Tcp, Close::Rst, _) => (timers.tcp_close_s, "timers.tcp_close_s"),
            (Protocol::Tcp, Close::Fin, TcpMachine::Netfilter) => (timers.tcp_time_wait_s, "timers.tcp_time_wait_s"),
            // The other machines know no TIME_WAIT: both FINs are the end.
            (Protocol::Tcp, Close::Fin, _) => (timers.tcp_last_ack_s, "timers.tcp_last_ack_s"),
        };
        let (hold_s, hold) = match (protocol, close) {
            (Protocol::Udp, _) => (hold.udp_s, "hold.udp_s"),
            (Protocol::Icmp, _) => (hold.icmp_s, "hold.icmp_s"),
            (Protocol::Tcp, Close::Rst) => (hold.tcp_rst_s, "hold.tcp_rst_s"),
            (Protocol::Tcp, _) => (hold.tcp_fin_s, "hold.tcp_fin_s"),
        };
        let collection = &behaviour.collection;
        let collected_s = (collection.mode == Collection::Periodic).then_some([
            collection.min_s,
            collection.start_s,
            collection.max_s,
        ]);
        Self { timer_s, timer, hold_s, hold, collected_s }
    }

    /// Seconds until the port is free: at best, as a rule, at worst. They differ only where entries are collected at intervals: then an
    /// entry waits half an interval on average, and a whole one at worst.
    #[must_use]
    pub fn seconds(&self) -> [f64; 3] {
        let exact = f64::from(self.timer_s) + f64::from(self.hold_s);
        match self.collected_s {
            None => [exact; 3],
            Some([shortest, first, longest]) => {
                [exact, exact + f64::from(first) / 2.0, exact + f64::from(longest).max(f64::from(shortest))]
            }
        }
    }
}

/// Seconds for which a connection attempt that nobody answers keeps its port.
#[must_use]
pub fn unanswered_s(behaviour: &Behaviour, protocol: Protocol) -> u32 {
    match protocol {
        Protocol::Tcp => behaviour.timers.tcp_syn_sent_s,
        Protocol::Udp => behaviour.timers.udp_new_s,
        Protocol::Icmp => behaviour.timers.icmp_s,
    }
}
