//! Ending a run when its comparisons are decided: planned looks, and the chance of error shared among them.

use crate::judged;
use crate::result::{Figure, RunResult, Sequential, SequentialComparison};
use crate::scenario::{Design, Rate, Scenario};
use crate::stats::Looks;
use crate::summary::{Key, Summaries};

/// The looks of a run, and those that there have been.
pub(super) struct Stopping {
    looks: Looks,
    looked: Vec<u32>,
    figure: Figure,
    /// What is compared with what.
    pairs: Vec<(Key, Key)>,
}

impl Stopping {
    /// `None` if the scenario has nothing to decide, or wants all rounds.
    pub(super) fn new(scenario: &Scenario, summaries: &Summaries) -> Option<Self> {
        let figure = match scenario.measure.rate {
            Rate::Search(_) | Rate::Mlrsearch(_) => Figure::RatePps,
            // A rate that is fixed is what everybody delivers.
            Rate::FixedPps(_) => Figure::CpuNsPerPacket,
        };
        let keys: Vec<Key> = summaries.keys().collect();
        let pairs: Vec<(Key, Key)> = keys.iter().filter_map(|key| Some((*key, against(key, &keys)?))).collect();
        let looks = scenario.measure.looks().filter(|_| !pairs.is_empty())?;
        Some(Self { looks, looked: Vec::new(), figure, pairs })
    }

    /// Looks, if it is time after so many rounds, or at any time if this is the `last`. True if every comparison is over.
    pub(super) fn look(&mut self, rounds: u32, last: bool, summaries: &Summaries, result: &mut RunResult) -> bool {
        let new = self.looked.last() != Some(&rounds);
        if !new || rounds == 0 || !(last || self.looks.is_look(rounds)) {
            return false;
        }
        self.looked.push(rounds);
        let judge = |(key, against): &(Key, Key)| {
            let (of, base) = (summaries.rounds_of(key)?, summaries.rounds_of(against)?);
            Some(SequentialComparison {
                design: key.design,
                engines: key.lineup,
                frame_size: key.frame_size,
                against_design: against.design,
                against: against.lineup,
                judged: judged::at_look(self.figure, base, of, &self.looks, rounds)?,
            })
        };
        let comparisons: Vec<SequentialComparison> = self.pairs.iter().filter_map(judge).collect();
        let over = |compared: &SequentialComparison| self.looks.is_over(rounds, &compared.judged.comparison);
        let all_over = comparisons.len() == self.pairs.len() && comparisons.iter().all(over);
        result.sequential = Some(Sequential {
            planned: self.looks.blocks().to_vec(),
            looks: self.looked.clone(),
            decided: all_over && rounds < self.looks.cap(),
            alpha: judged::ALPHA,
            comparisons,
        });
        all_over
    }
}

/// Another lineup is compared with the first one in the same design, and a design of the first lineup with the one that translates nowhere.
fn against(key: &Key, keys: &[Key]) -> Option<Key> {
    let first = keys.first()?.lineup;
    let wanted = if key.lineup == first { Key { design: Design::None, ..*key } } else { Key { lineup: first, ..*key } };
    (wanted != *key && keys.contains(&wanted)).then_some(wanted)
}
