//! What was measured: trials, and the figures that come of them.

use natrig_bench::devices::Table;
use natrig_bench::result::{Dropped, Quantiles};
use natrig_bench::scenario::{Design, Lineup, Word};
use natrig_bench::stats;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::segment::Kind;

/// All that was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Measured {
    /// Quantities over the rounds.
    pub figures: Vec<Figure>,
    /// Every session of connections that come and go.
    pub trials: Vec<Trial>,
    /// What churn did to the connections that were to live through it.
    pub churns: Vec<ChurnOutcome>,
    /// Every transfer.
    pub transfers: Vec<TransferOutcome>,
}

/// A quantity of one design, over the rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Figure {
    /// What stands at the layers.
    pub engines: Lineup,
    /// Where is translated.
    pub design: Design,
    /// What was measured.
    pub quantity: Quantity,
    /// One value for each round that gave one.
    pub values: Vec<f64>,
    /// Their median.
    pub median: f64,
    /// Smallest and largest.
    pub range: (f64, f64),
    /// Rounds in which the tester was the limit: the value is then a lower bound.
    pub generator_bound: u32,
    /// Rounds that gave no value.
    pub without: u32,
}

natrig_bench::words! {
    /// What a figure is about.
    Quantity {
        /// Highest rate at which every connection is made and unmade, per second.
        ConnectionRate = "opened and closed",
        /// Median time from when a SYN was due to its SYN-ACK, at half of that rate under churn, in nanoseconds.
        HandshakeP50 = "handshake under churn, p50",
        /// 99th percentile.
        HandshakeP99 = "handshake under churn, p99",
        /// Median time of a keepalive and its answer over a live connection under churn, in nanoseconds.
        KeepaliveP50 = "keepalive under churn, p50",
        /// 99th percentile.
        KeepaliveP99 = "keepalive under churn, p99",
        /// Payload that arrived in order, in bits per second.
        Goodput = "goodput",
        /// Longest handshake of a transfer's flows, in nanoseconds.
        TransferHandshake = "longest handshake of a transfer",
        /// Transfers in which a timer ran out.
        TimedOut = "transfers that met a time-out",
        /// Segments that the stacks sent again, of all of a transfer.
        Retransmissions = "retransmissions of a transfer",
    }
}

impl Quantity {
    /// True if it takes a large enough sample.
    pub(crate) const fn is_percentile(self) -> bool {
        matches!(self, Self::HandshakeP50 | Self::HandshakeP99 | Self::KeepaliveP50 | Self::KeepaliveP99)
    }
}

/// A session of connections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Trial {
    /// Position in the test, from 1.
    pub number: u32,
    /// The round, from 1.
    pub round: u32,
    /// What it is for.
    pub purpose: Purpose,
    /// What stands at the layers.
    pub engines: Lineup,
    /// Where is translated.
    pub design: Design,
    /// Connections per second that were to be tried, or keepalives where none is.
    pub rate_per_s_offered: f64,
    /// Connections tried.
    pub tried: u64,
    /// Connections that stood at the client.
    pub made: u64,
    /// Connections whose last acknowledgement reached the server.
    pub unmade: u64,
    /// Keepalives sent over connections that stood before.
    pub asked: u64,
    /// Their answers.
    pub alive: u64,
    /// Segments that were lost, by kind; kinds that lost none are left out.
    pub lost: Vec<LostSegments>,
    /// Resets that arrived at either end.
    pub resets: u64,
    /// Segments that arrived damaged, or with a tuple or TTL that they should not have.
    pub wrong: u64,
    /// What was wrong with the first of them.
    pub first_wrong: Option<String>,
    /// Frames that ended on the way, by place and reason.
    pub drops: Vec<Dropped>,
    /// Segments that were lost and that no place owns up to.
    pub unaccounted: i64,
    /// From when a SYN was due to the SYN-ACK at the client.
    pub handshake: Quantiles,
    /// From when a SYN was due to the last acknowledgement at the server.
    pub whole: Quantiles,
    /// From when a keepalive was due to its answer.
    pub keepalive: Quantiles,
    /// By how much later than due things were begun.
    pub send_lag: Quantiles,
    /// The tester could not keep its schedule.
    pub generator_late: bool,
}

natrig_bench::words! {
    /// What a session is for.
    Purpose {
        /// The search for the highest rate.
        Rate = "connection rate",
        /// The background is made.
        Background = "background made",
        /// Connections come and go while the background is asked.
        Churn = "churn",
        /// The background is asked once more, each connection once.
        Check = "background asked",
        /// The background is unmade.
        Close = "background unmade",
    }
}

/// Segments of a kind that were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LostSegments {
    /// Which.
    pub kind: Kind,
    /// How many.
    pub segments: u64,
}

/// What churn did to the connections that were to live through it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChurnOutcome {
    /// The round, from 1.
    pub round: u32,
    /// What stands at the layers.
    pub engines: Lineup,
    /// Where is translated.
    pub design: Design,
    /// Connections that stood before.
    pub background: u64,
    /// Of these, connections that answered afterwards.
    pub alive_after: u64,
    /// Connections that were to come and go, and those that did.
    pub churned: (u64, u64),
    /// How many came in a second.
    pub rate_per_s: f64,
    /// Keepalives meanwhile, and answers.
    pub keepalives: (u64, u64),
    /// Table entries when all was over and all connections were closed.
    pub entries_at_end: Vec<Table>,
    /// Frames that ended on the way in all of this, by place and reason.
    pub drops: Vec<Dropped>,
    /// Those left when every timer of a closed connection had run out.
    pub entries_later: Vec<Table>,
}

impl ChurnOutcome {
    /// Nothing was lost, and nothing is left.
    pub fn holds(&self) -> bool {
        self.alive_after == self.background
            && self.churned.0 == self.churned.1
            && self.keepalives.0 == self.keepalives.1
            && self.entries_later.iter().all(|table| table.entries == 0)
    }
}

/// What became of a transfer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TransferOutcome {
    /// The round, from 1.
    pub round: u32,
    /// Which of the round's, from 1.
    #[serde(default)]
    pub nth: u32,
    /// What stands at the layers.
    pub engines: Lineup,
    /// Where is translated.
    pub design: Design,
    /// Flows, and those that ended with all their bytes there and both ends closed.
    pub flows: (u64, u64),
    /// Bytes that arrived.
    pub bytes: u64,
    /// Of these, bytes that were not those sent.
    pub wrong_bytes: u64,
    /// From the first SYN to the last byte, in nanoseconds; absent if it did not come.
    pub took_ns: Option<u64>,
    /// Handshakes, by the clients' clock.
    pub handshake: Quantiles,
    /// At the clients.
    pub client: SegmentCounts,
    /// At the server.
    pub server: SegmentCounts,
    /// Frames that ended on the way, by place and reason; those lost on purpose are not among them.
    pub drops: Vec<Dropped>,
}

impl TransferOutcome {
    /// A timer ran out at either end: what it took says more about that timer than about the design.
    pub fn timed_out(&self) -> bool {
        [self.client, self.server].iter().any(|end| end.again_timeout + end.again_syn > 0)
    }
}

/// Segments at one end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SegmentCounts {
    /// Made by the stack.
    pub sent: u64,
    /// Of these, lost on purpose.
    pub lost_on_purpose: u64,
    /// Arrived.
    pub received: u64,
    /// SYN or SYN-ACK sent again.
    pub again_syn: u64,
    /// Data sent again after three duplicate acknowledgements.
    pub again_fast: u64,
    /// Data sent again when a timer had run out.
    pub again_timeout: u64,
    /// FIN sent again.
    pub again_fin: u64,
}

impl SegmentCounts {
    /// All that was sent again.
    pub fn again(&self) -> u64 {
        self.again_syn + self.again_fast + self.again_timeout + self.again_fin
    }
}

impl Measured {
    /// Adds one round's value, or that there is none.
    pub(crate) fn add(
        &mut self,
        (engines, design): (Lineup, Design),
        quantity: Quantity,
        value: Option<f64>,
        generator_bound: bool,
    ) {
        let like = |figure: &Figure| (figure.engines, figure.design, figure.quantity) == (engines, design, quantity);
        let at = self.figures.iter().position(like).unwrap_or_else(|| {
            let (values, range) = (Vec::new(), (0.0, 0.0));
            self.figures.push(Figure {
                engines,
                design,
                quantity,
                values,
                median: 0.0,
                range,
                generator_bound: 0,
                without: 0,
            });
            self.figures.len() - 1
        });
        let figure = &mut self.figures[at];
        match value {
            Some(value) => figure.values.push(value),
            None => figure.without += 1,
        }
        figure.generator_bound += u32::from(generator_bound);
        figure.median = stats::median(&figure.values).unwrap_or(0.0);
        if !figure.values.is_empty() {
            let ends = |pick: fn(f64, f64) -> f64, from| figure.values.iter().copied().fold(from, pick);
            figure.range = (ends(f64::min, f64::INFINITY), ends(f64::max, f64::NEG_INFINITY));
        }
    }
}
