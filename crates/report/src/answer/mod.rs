//! The answer in words: sentences that a run's own figures bear out, and what the run leaves open.
//!
//! No sentence without a figure, none about a design that was not measured, and none that takes a difference for real when its interval
//! contains 0.

mod findings;
mod limits;

use natrig_bench::result::RunResult;

use crate::numbers::plain;

/// What a result says and what it does not. Lines may be broken at ordinary spaces only.
#[derive(Debug)]
pub(crate) struct Answer {
    /// What the layers cost, in sentences.
    pub findings: Vec<String>,
    /// What cannot be told from this run: each goes on after "this run cannot tell".
    pub limits: Vec<String>,
}

impl Answer {
    pub(crate) fn of(result: &RunResult) -> Self {
        Self { findings: findings::of(result), limits: limits::of(result) }
    }

    /// The limits as items of a list that is headed "what this run cannot tell".
    pub(crate) fn limit_items(&self) -> Vec<String> {
        self.limits.iter().map(|limit| capitalised(limit)).collect()
    }
}

/// What `result` says about the cost of the layers, and then what it cannot tell: whole sentences, the most important first.
pub fn sentences(result: &RunResult) -> Vec<String> {
    let Answer { findings, limits } = Answer::of(result);
    let limits = limits.into_iter().map(|limit| format!("This run cannot tell {limit}"));
    findings.into_iter().chain(limits).map(|sentence| plain(&sentence)).collect()
}

pub(crate) fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
