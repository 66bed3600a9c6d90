//! The far end's memory of tuples: a server keeps a closed connection in TIME_WAIT (RFC 9293 §3.6.1), and RFC 6888 REQ-8 asks a NAT not
//! to give a port again for 120 s. Whoever comes with a tuple that is still remembered has got its port too early.

use std::collections::HashMap;
use std::net::SocketAddrV4;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// RFC 6888, REQ-8.
pub(crate) const HOLD_ASKED_NS: u64 = 120_000_000_000;

/// A connection as the far end knows it: the client's outside end, and its own.
pub(crate) type FarTuple = (SocketAddrV4, SocketAddrV4);

/// What new connections met at the far end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReuseCounts {
    /// Connections that arrived.
    pub connections: u64,
    /// Those whose tuple had been used before.
    pub reused: u64,
    /// Of these, while the far end still had the connection open.
    pub while_open: u64,
    /// Of these, while the far end had it in TIME_WAIT.
    pub in_time_wait: u64,
    /// Of these, within the 120 s of RFC 6888 REQ-8 after it ended.
    pub within_120_s: u64,
    /// The shortest time between an end and the next use, seconds.
    pub shortest_s: Option<f64>,
}

/// The servers' side.
#[derive(Debug, Clone)]
pub(crate) struct FarEnd {
    time_wait_ns: u64,
    /// When each tuple ended; none while it is open.
    tuples: HashMap<FarTuple, Option<u64>>,
    counts: ReuseCounts,
}

impl FarEnd {
    /// A far end that keeps what has closed for so long.
    pub(crate) fn new(time_wait_ns: u64) -> Self {
        Self { time_wait_ns, tuples: HashMap::new(), counts: ReuseCounts::default() }
    }

    /// A connection begins.
    pub(crate) fn opened(&mut self, tuple: FarTuple, now_ns: u64) {
        let counts = &mut self.counts;
        counts.connections += 1;
        let Some(before) = self.tuples.insert(tuple, None) else { return };
        counts.reused += 1;
        let Some(ended_ns) = before else {
            counts.while_open += 1;
            return;
        };
        let gap_ns = now_ns.saturating_sub(ended_ns);
        counts.in_time_wait += u64::from(gap_ns < self.time_wait_ns);
        counts.within_120_s += u64::from(gap_ns < HOLD_ASKED_NS);
        let gap_s = gap_ns as f64 / 1e9;
        counts.shortest_s = Some(counts.shortest_s.map_or(gap_s, |shortest| shortest.min(gap_s)));
    }

    /// A connection ends.
    pub(crate) fn closed(&mut self, tuple: FarTuple, now_ns: u64) {
        self.tuples.insert(tuple, Some(now_ns));
    }

    /// What has been counted.
    pub(crate) fn counts(&self) -> ReuseCounts {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn each_way_of_coming_too_early_is_counted() {
        let tuple = |port| (SocketAddrV4::new([198, 51, 100, 8].into(), port), "203.0.113.10:443".parse().unwrap());
        let mut far = FarEnd::new(60 * SECOND);
        for port in 1..=4 {
            far.opened(tuple(port), 0);
        }
        for port in 1..=3 {
            far.closed(tuple(port), SECOND);
        }
        far.opened(tuple(1), 31 * SECOND);
        far.opened(tuple(2), 91 * SECOND);
        far.opened(tuple(3), 200 * SECOND);
        far.opened(tuple(4), 200 * SECOND);
        let expected = ReuseCounts {
            connections: 8,
            reused: 4,
            while_open: 1,
            in_time_wait: 1,
            within_120_s: 2,
            shortest_s: Some(30.0),
        };
        assert_eq!(far.counts(), expected);
    }
}
