//! How often programs do something, and how long programs and stacks wait for an answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::client::ClientClass;
use crate::scenario::Stack;

/// Nanoseconds of a millisecond.
const MS_NS: u64 = 1_000_000;
/// Bounds of the time after which Linux retransmits (`TCP_RTO_MIN`, `TCP_RTO_MAX` in `include/net/tcp.h`).
const RTO_MIN_MS: u64 = 200;
const RTO_MAX_MS: u64 = 120_000;

/// The rhythm of programs and their stacks. Real time is short: with the kernel's stack everything goes faster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pace {
    /// Everybody connects and settles for so long before the change.
    pub settle_ms: u32,
    /// An active writer sends so often.
    pub write_ms: u32,
    /// An idle reader is sent something so often.
    pub push_ms: u32,
    /// A download is sent 4 KiB so often.
    pub download_ms: u32,
    /// A client of a pool asks so often.
    pub ask_ms: u32,
    /// How long it waits for an answer.
    pub answer_ms: u32,
    /// How long a program waits before it connects again.
    pub reconnect_ms: u32,
    /// How long TCP tries to connect.
    pub connect_ms: u32,
    /// Linux' `net.ipv4.tcp_retries2`: how often TCP retransmits before it gives up.
    pub tcp_retries2: u32,
    /// Silence after which keepalive asks.
    pub keepalive_s: u32,
    /// How often it asks again.
    pub keepalive_interval_s: u32,
    /// Unanswered questions after which it gives up.
    pub keepalive_probes: u32,
}

impl Pace {
    /// Of programs on a stack.
    pub(crate) const fn of(stack: Stack) -> Self {
        match stack {
            // As Linux is set up, and programs are written.
            Stack::Virtual => Self {
                settle_ms: 40_000,
                write_ms: 1000,
                push_ms: 10_000,
                download_ms: 1000,
                ask_ms: 1000,
                answer_ms: 5000,
                reconnect_ms: 1000,
                connect_ms: 127_000,
                tcp_retries2: 15,
                keepalive_s: 60,
                keepalive_interval_s: 75,
                keepalive_probes: 9,
            },
            Stack::Kernel => Self {
                settle_ms: 4000,
                write_ms: 200,
                push_ms: 1000,
                download_ms: 100,
                ask_ms: 200,
                answer_ms: 3000,
                reconnect_ms: 200,
                connect_ms: 10_000,
                tcp_retries2: 5,
                keepalive_s: 2,
                keepalive_interval_s: 1,
                keepalive_probes: 3,
            },
        }
    }

    /// How long TCP retransmits: until the first time that it is due after this (`tcp_model_timeout` in `net/ipv4/tcp_timer.c`).
    pub(crate) fn retransmit_ns(&self) -> u64 {
        let retries = u64::from(self.tcp_retries2);
        let doublings = u64::from((RTO_MAX_MS / RTO_MIN_MS).ilog2());
        let doubled_ms = ((2 << retries.min(doublings)) - 1) * RTO_MIN_MS;
        (doubled_ms + retries.saturating_sub(doublings) * RTO_MAX_MS) * MS_NS
    }

    /// How long keepalive waits until it gives up.
    pub(crate) const fn keepalive_timeout_ns(&self) -> u64 {
        (self.keepalive_s + self.keepalive_probes * self.keepalive_interval_s) as u64 * 1000 * MS_NS
    }

    /// A connection without progress for so long is dead.
    pub(crate) const fn patience_ns(&self, class: ClientClass) -> u64 {
        let ms = match class {
            ClientClass::ActiveWriter => 3 * self.write_ms + 2000,
            ClientClass::Download => 3 * self.download_ms + 2000,
            ClientClass::IdleReader => 2 * self.push_ms + 5000,
            ClientClass::Keepalive => 2000 * self.keepalive_s + 10_000,
            ClientClass::RequestResponse | ClientClass::WithinVpc => 2 * self.answer_ms,
        };
        ms as u64 * MS_NS
    }
}

/// Milliseconds as nanoseconds.
pub(crate) const fn ns(ms: u32) -> u64 {
    ms as u64 * MS_NS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel's documentation says of its default (`Documentation/networking/ip-sysctl.rst`): 924.6 s.
    #[test]
    fn fifteen_retries_are_a_quarter_of_an_hour() {
        assert_eq!(Pace::of(Stack::Virtual).retransmit_ns(), ns(924_600));
        assert_eq!(Pace::of(Stack::Kernel).retransmit_ns(), ns(12_600));
        assert_eq!(Pace::of(Stack::Virtual).keepalive_timeout_ns(), ns(735_000));
    }
}
