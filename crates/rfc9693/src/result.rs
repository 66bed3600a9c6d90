//! What was measured: every trial, and the figures that come of them.

use natrig_bench::devices::{Table, Turn};
use natrig_bench::result::{Dropped, Quantiles};
use natrig_bench::scenario::{Design, Lineup, Word};
use natrig_bench::stats;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::Kind;

/// All that was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Measured {
    /// What the trials say: the reporting table of section 6.
    pub figures: Vec<Figure>,
    /// Frame loss rates, in the order in which they were measured.
    pub losses: Vec<LossPoint>,
    /// Every trial.
    pub trials: Vec<Trial>,
}

/// A quantity of one design, over all repetitions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Figure {
    /// What stands at the layers.
    pub engines: Lineup,
    /// Where is translated.
    pub design: Design,
    /// The test.
    pub test: Kind,
    /// What was measured, in the RFC's words.
    pub quantity: Quantity,
    /// N, the number of connections.
    pub connections: u32,
    /// On how many processors the Device Under Test was; 0: it was not asked about processors.
    #[serde(default)]
    pub processors: u32,
    /// How much of so many times one processor's median this is; of figures about processors.
    #[serde(default)]
    pub efficiency: Option<f64>,
    /// One value for each repetition that gave one.
    pub values: Vec<f64>,
    /// Their median.
    pub median: f64,
    /// Their 1st percentile: the smallest of fewer than a hundred.
    pub percentile_1: f64,
    /// Their 99th percentile: the largest of fewer than a hundred.
    pub percentile_99: f64,
    /// Repetitions in which the Tester was the limit: the value is then a lower bound.
    pub generator_bound: u32,
    /// Repetitions that gave no value.
    pub without: u32,
}

natrig_bench::words! {
    /// What a figure is about.
    Quantity {
        /// Connections per second; every one of them validated.
        EstablishmentRate = "maximum connection establishment rate",
        /// Frames per second in each active direction without loss.
        Throughput = "throughput",
        /// Typical latency: the median one-way delay, out, in nanoseconds.
        TypicalOut = "latency TL, out",
        /// Worst case latency: the 99.9th percentile of one-way delay, out, in nanoseconds.
        WorstOut = "latency WCL, out",
        /// D(99.9 %) − D(min), out, in nanoseconds.
        PdvOut = "packet delay variation, out",
        /// Typical latency in reverse.
        TypicalIn = "latency TL, in reverse",
        /// Worst case latency in reverse.
        WorstIn = "latency WCL, in reverse",
        /// Packet delay variation in reverse.
        PdvIn = "packet delay variation, in reverse",
        /// Connections per second, the time that an empty table takes subtracted.
        TearDownRate = "connection tear-down rate",
        /// Deleting the whole table, in nanoseconds.
        TearDownTime = "time to delete the table",
        /// The same of an empty table: the control.
        TearDownControl = "time to delete an empty table",
        /// Connections.
        Capacity = "connection tracking table capacity",
    }
}

/// A frame loss rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LossPoint {
    /// What stands at the layers.
    pub engines: Lineup,
    /// Where is translated.
    pub design: Design,
    /// Which repetition, from 1.
    pub repetition: u32,
    /// Load, as a multiple of the throughput.
    pub load: f64,
    /// The same in percent of the highest rate of the test, which stands for that of the medium.
    #[serde(default)]
    pub input_percent: f64,
    /// Frames per second in each active direction, as asked for.
    pub rate_pps_offered: f64,
    /// Frames sent, both ways.
    pub sent: u64,
    /// Of these, frames that arrived.
    pub received: u64,
    /// (sent − received) · 100 / sent.
    pub loss_percent: f64,
    /// The Tester could not keep its schedule: the load is less than it says.
    pub generator_bound: bool,
}

/// One trial: an empty table, test phase 1, and what came after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Trial {
    /// Position in the test, from 1.
    pub number: u32,
    /// Which repetition, from 1.
    pub repetition: u32,
    /// What it is for.
    pub test: Kind,
    /// What stands at the layers.
    pub engines: Lineup,
    /// Where is translated.
    pub design: Design,
    /// N; of one chain, where a Device Under Test is one on each of several processors.
    pub connections: u32,
    /// On how many processors the Device Under Test was at the time, a chain and a trial on each; 0: it was not asked about processors.
    #[serde(default)]
    pub processors: u32,
    /// Test phase 1: the Initiator sends one frame for each connection through an empty table.
    pub phase1: Phase,
    /// Entries of the Responder's state table after it.
    pub state_table: u64,
    /// Entries in the tables of the Device Under Test after it. A tester of the RFC's cannot see them; this one can.
    pub tables: Vec<Table>,
    /// Validation: the Responder sends one frame for each entry of its state table. Absent where test phase 1 lost frames.
    pub validation: Option<Phase>,
    /// Test phase 2; absent where the trial is about connections alone.
    pub phase2: Option<Phase>,
    /// What the outcome means (section 4.9).
    pub diagnosis: Diagnosis,
}

/// Frames sent in one go, and what became of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Phase {
    /// Frames per second in each active direction, as asked for.
    pub rate_pps_offered: f64,
    /// As sent, in the direction that was slower.
    pub rate_pps_achieved: f64,
    /// Initiator to Responder.
    pub out: Way,
    /// Responder to Initiator.
    pub back: Way,
    /// Frames that ended on the way, by place and reason.
    pub drops: Vec<Dropped>,
    /// The 99th percentile of how much later than meant frames left, in nanoseconds; the largest of few.
    pub send_lag_ns: Option<u64>,
    /// The Tester could not keep its schedule.
    pub generator_late: bool,
}

/// Frames of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Way {
    /// Frames sent.
    pub sent: u64,
    /// Frames that arrived as they should.
    pub received: u64,
    /// Frames that arrived damaged, or with another tuple than the connection's.
    pub wrong: u64,
    /// Of these, frames with nothing wrong but the four tuple, which another connection had shown before.
    #[serde(default)]
    pub shared: u64,
    /// One-way delays from the intended send time.
    pub delay: Quantiles,
}

impl Phase {
    /// Frames that did not arrive.
    pub fn lost(&self) -> u64 {
        (self.out.sent + self.back.sent).saturating_sub(self.out.received + self.back.received)
    }

    /// Frames that arrived wrong.
    pub fn wrong(&self) -> u64 {
        self.out.wrong + self.back.wrong
    }
}

natrig_bench::words! {
    /// What a trial says of rate and table (section 4.9).
    Diagnosis {
        /// Frames were lost in test phase 1: the rate was too high, or the table is full.
        PhaseOneLoss = "loss in test phase 1: rate too high, or table full",
        /// Every connection was used in reverse.
        AllValidated = "all connections validated",
        /// Frames were lost in validation: the table is full, the rate of test phase 1 was too high (forwarded but not stored), or that of
        /// validation was.
        ValidationLoss = "loss in validation: table full, or a rate too high",
    }
}

impl Trial {
    /// All frames of test phase 1 arrived.
    pub fn is_established(&self) -> bool {
        self.phase1.out.received == u64::from(self.connections)
    }

    /// Every connection was established, and validated.
    pub fn is_validated(&self) -> bool {
        self.diagnosis == Diagnosis::AllValidated
    }

    /// Frames that arrived wrong, and by no policy of replacement.
    pub fn wrong(&self) -> u64 {
        self.phases().map(Phase::wrong).sum::<u64>() - self.replaced()
    }

    /// Connections of test phase 1 that came out with the four tuple of an earlier one because that had been thrown out for them: where
    /// more connections than a table holds were tried on purpose, and a table had thrown out at least as many entries as there were such
    /// frames. A tuple that is given away while its entry lives leaves a table with more entries than tuples were seen.
    pub fn replaced(&self) -> u64 {
        let out = &self.phase1.out;
        let thrown_out = |table: &Table| {
            // What got through the table is what arrived, however it looked, and what was lost behind it.
            let behind = self.phase1.drops.iter().filter(|drop| drop.place > table.place);
            let passed = out.received + out.wrong + behind.map(|drop| drop.frames).sum::<u64>();
            passed.saturating_sub(table.entries)
        };
        let thrown_out = self.tables.iter().map(thrown_out).max().unwrap_or(0);
        if self.test == Kind::Capacity && out.shared <= thrown_out { out.shared } else { 0 }
    }

    /// Its phases.
    pub fn phases(&self) -> impl Iterator<Item = &Phase> {
        [Some(&self.phase1), self.validation.as_ref(), self.phase2.as_ref()].into_iter().flatten()
    }
}

impl Figure {
    /// One without values yet.
    pub(crate) fn about(turn: &Turn, test: Kind, quantity: Quantity, connections: u32, processors: u32) -> Self {
        Self {
            engines: turn.lineup,
            design: turn.design,
            test,
            quantity,
            connections,
            processors,
            efficiency: None,
            values: Vec::new(),
            median: 0.0,
            percentile_1: 0.0,
            percentile_99: 0.0,
            generator_bound: 0,
            without: 0,
        }
    }

    /// True if it is about the same.
    fn is_like(&self, other: &Self) -> bool {
        let of = |figure: &Self| {
            let about = (figure.engines, figure.design, figure.test, figure.quantity);
            (about, figure.connections, figure.processors)
        };
        of(self) == of(other)
    }

    fn summarise(&mut self) {
        self.median = stats::median(&self.values).unwrap_or(0.0);
        self.percentile_1 = stats::nearest_rank(&self.values, 0.01).unwrap_or(0.0);
        self.percentile_99 = stats::nearest_rank(&self.values, 0.99).unwrap_or(0.0);
    }
}

impl Measured {
    /// The median of earlier repetitions: only where a search begins, never where it ends.
    pub(crate) fn found_before(&self, about: &Figure) -> Option<f64> {
        let known = self.figures.iter().find(|figure| figure.is_like(about))?;
        Some(known.median).filter(|pps| *pps > 0.0)
    }

    /// Adds one repetition's value, or that there is none.
    pub(crate) fn add(&mut self, about: Figure, value: Option<f64>, generator_bound: bool) {
        let at = self.figures.iter().position(|figure| figure.is_like(&about)).unwrap_or_else(|| {
            self.figures.push(about);
            self.figures.len() - 1
        });
        let figure = &mut self.figures[at];
        match value {
            Some(value) => figure.values.push(value),
            None => figure.without += 1,
        }
        figure.generator_bound += u32::from(generator_bound);
        figure.summarise();
        let (own, processors) = (figure.median, f64::from(figure.processors));
        let alone = Figure { processors: 1, ..figure.clone() };
        let alone = self.figures.iter().find(|other| other.is_like(&alone)).map(|figure| figure.median);
        let efficiency = |alone: f64| (processors > 0.0 && alone > 0.0).then(|| own / (processors * alone));
        self.figures[at].efficiency = alone.and_then(efficiency);
    }
}

#[cfg(test)]
mod tests {
    use natrig_bench::result::Place;
    use natrig_bench::scenario::Engine;

    use super::*;

    #[test]
    fn a_tuple_given_away_is_excused_where_its_entry_was_thrown_out_and_nowhere_else() {
        let phase1 = Phase {
            rate_pps_offered: 1000.0,
            rate_pps_achieved: 1000.0,
            out: Way { sent: 1000, received: 880, wrong: 100, shared: 100, delay: Quantiles::default() },
            back: Way::default(),
            drops: vec![Dropped { place: Place::Internet, reason: "receive_ring_full".to_owned(), frames: 20 }],
            send_lag_ns: None,
            generator_late: false,
        };
        let trial = Trial {
            number: 1,
            repetition: 1,
            test: Kind::Capacity,
            engines: Lineup::both(Engine::Userspace),
            design: Design::Gateway,
            connections: 1000,
            processors: 0,
            phase1,
            state_table: 880,
            tables: vec![Table { place: Place::Gateway, entries: 900 }],
            validation: None,
            phase2: None,
            diagnosis: Diagnosis::PhaseOneLoss,
        };
        // A thousand connections got through the table and a hundred are no longer in it: one for each tuple that was given away.
        assert_eq!((trial.replaced(), trial.wrong()), (100, 0));
        let mut kept = trial.clone();
        kept.tables[0].entries = 901;
        assert_eq!((kept.replaced(), kept.wrong()), (0, 100));
        let mut damaged = trial.clone();
        damaged.phase1.out.wrong += 1;
        assert_eq!(damaged.wrong(), 1);
        let elsewhere = Trial { test: Kind::Establishment, ..trial };
        assert_eq!(elsewhere.wrong(), 100);
    }
}
