//! Which load to try next: the part the draft leaves to implementations.
//!
//! A goal is approached through phases, quick ones first. Each phase sees the same trials through its own duration sum, so a single
//! trial decides a load in CSIT's first phase and eleven agreeing ones in the last. The bounds of a later phase are facts for
//! every earlier one, so brackets are nested: when long measuring overturns a quick guess, the guess is made anew, with quick trials,
//! in what is left. Every phase narrows to the goal's own width, so that a later one only has to confirm two loads.
//!
//! FD.io CSIT's Python library shares the phases, but lets the early ones stop at twice and four times the width and, when a guess was
//! wrong, widens step by step with long measurements. On simulated systems that costs more trials (`tests/search_mlr.rs`).

use super::classify::{Bracket, Evidence};
use super::grid::Grid;
use super::{Goal, LoadClass};

/// The phases of one goal, quickest first.
#[derive(Debug)]
pub(super) struct Ladder {
    phases: Vec<Goal>,
    /// Grid steps between bounds that are close enough.
    width_steps: i64,
}

/// A trial one goal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) load: i64,
    pub(super) duration_ns: u64,
}

/// Why nothing is left to measure for a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    Width,
    MaxLoad,
    MinLoad,
}

impl Ladder {
    pub(super) fn new(goal: &Goal, grid: &Grid) -> Self {
        Self { phases: goal.phases(), width_steps: grid.steps_within(goal.relative_width) }
    }

    /// The relevant bounds of the goal itself.
    pub(super) fn final_bracket(&self, evidence: &Evidence) -> Bracket {
        let unknown = Bracket::default();
        self.phases.last().map_or(unknown, |goal| evidence.bracket_within(goal, unknown))
    }

    /// Why nothing is left to measure between these bounds, if so.
    pub(super) fn limit(&self, bracket: Bracket, grid: &Grid) -> Option<Limit> {
        match (bracket.lower, bracket.upper) {
            (Some(lower), Some(upper)) if upper - lower <= self.width_steps => Some(Limit::Width),
            (Some(lower), None) if lower == grid.max_step() => Some(Limit::MaxLoad),
            (None, Some(0)) => Some(Limit::MinLoad),
            _ => None,
        }
    }

    /// The next trial for this goal, or `None` when it is reached.
    pub(super) fn nominate(&self, evidence: &Evidence, grid: &Grid) -> Option<Wanted> {
        let trusted = &self.phases[self.first_trusted(evidence)..];
        let mut brackets = Vec::with_capacity(trusted.len());
        let mut outer = Bracket::default();
        for phase in trusted.iter().rev() {
            outer = evidence.bracket_within(phase, outer);
            brackets.push(outer);
        }
        brackets.reverse();
        let open = brackets.iter().position(|&bracket| self.limit(bracket, grid).is_none())?;
        let phase = &trusted[open];
        let load = match open.checked_sub(1) {
            Some(quicker) => confirm(brackets[open], brackets[quicker]),
            None => Explorer { phase, width_steps: self.width_steps, evidence, grid }.explore(brackets[open]),
        };
        Some(Wanted { load, duration_ns: phase.final_trial_duration_ns })
    }

    /// The quickest phase whose short trials still say something. Where loss takes longer to appear than they last (a table that
    /// fills, a rare stall), they pass loads that full-length trials fail, again and again.
    fn first_trusted(&self, evidence: &Evidence) -> usize {
        let misled = |phase: &Goal| evidence.overturned(phase).nth(1).is_some();
        self.phases.iter().rposition(misled).unwrap_or(0)
    }
}

/// Turns the guess of the quicker phase into bounds of this one: first its lower end, then its upper end. A guess with one end only
/// stands at Max Load or Min Load.
fn confirm(own: Bracket, guess: Bracket) -> i64 {
    let ends = [guess.lower.filter(|_| guess.lower != own.lower), guess.upper];
    ends.into_iter().flatten().next().unwrap_or_default()
}

/// The first phase: from nothing, or from what a later phase left of the range, to a bracket.
struct Explorer<'a> {
    phase: &'a Goal,
    width_steps: i64,
    evidence: &'a Evidence,
    grid: &'a Grid,
}

impl Explorer<'_> {
    /// Starts at Max Load. A load that failed tells how much got through, a good hint where the bound is (FRMOL, RFC 2285 §3.6.2).
    /// When hints prove wrong, the distance to the next load doubles; never beyond the middle of what is known.
    fn explore(&self, bracket: Bracket) -> i64 {
        let max = self.grid.max_step();
        match (bracket.lower, bracket.upper) {
            (None, None) => max,
            (Some(lower), None) => {
                let load = lower + self.step_up_blind(lower);
                if load > max - self.width_steps { max } else { load }
            }
            (None, Some(upper)) => {
                let load = self.hint(upper).min(upper - self.step_down(upper));
                if load < self.width_steps { 0 } else { load }
            }
            (Some(lower), Some(upper)) => {
                let middle = lower + (upper - lower) / 2;
                let hint = self.hint(upper);
                let down = upper - self.step_down(upper);
                if hint <= lower {
                    middle.min(lower + self.step_up(lower, hint))
                } else if hint < down {
                    hint.max(lower + self.width_steps)
                } else {
                    middle.max(down)
                }
            }
        }
    }

    /// The load at which the goal's loss ratio would be met if the system forwarded as much as it did, at best, at `failed`.
    fn hint(&self, failed: i64) -> i64 {
        let goal = self.phase;
        let losses = self.evidence.at(failed).iter().map(|trial| trial.loss_ratio);
        let least = losses.filter(|&loss| loss > goal.loss_ratio).fold(1.0, f64::min);
        self.grid.at_or_below(self.grid.load_pps(failed) * (1.0 - least) / (1.0 - goal.loss_ratio))
    }

    /// How far below a failed load to go: one width, doubled for every failed load but one whose hint was too high.
    fn step_down(&self, upper: i64) -> i64 {
        let failed = self.loads(LoadClass::Upper).filter(|&load| load > upper);
        let wrong = failed.filter(|&load| self.hint(load) >= upper).count();
        self.doubled(wrong.saturating_sub(1))
    }

    /// How far above a passed load to go: one width, doubled for every load that passed although the hint called it too high.
    fn step_up(&self, lower: i64, hint: i64) -> i64 {
        self.doubled(self.loads(LoadClass::Lower).filter(|&load| load > hint && load <= lower).count())
    }

    /// How far to go where no load has failed above: twice the distance to the load that passed before.
    fn step_up_blind(&self, lower: i64) -> i64 {
        let before = self.loads(LoadClass::Lower).filter(|&load| load < lower).last();
        before.map_or(self.width_steps, |before| 2 * (lower - before)).max(self.width_steps)
    }

    fn loads(&self, wanted: LoadClass) -> impl Iterator<Item = i64> {
        self.evidence.classes(self.phase).filter(move |&(_, class)| class == wanted).map(|(load, _)| load)
    }

    fn doubled(&self, times: usize) -> i64 {
        self.width_steps.saturating_mul(1 << times.min(30))
    }
}
