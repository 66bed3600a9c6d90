//! Where every frame went, and which trials do not count.

use natrig_bench::result::{Invalid, Place, Purpose, RunResult, Trial, WrongFrame};

use crate::numbers::{Quantity, count, counted, figure, percent, setting};

/// Frames of all trials, both directions. Those that only made mappings, before a trial, are not among them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Accounting {
    pub sent: i128,
    pub received: i128,
    /// Arrived damaged or mistranslated.
    pub wrong: i128,
    pub dropped: i128,
    /// Trials that could not account for all frames.
    pub trials_unaccounted: usize,
    /// Drops by place and reason, most frames first within a place.
    pub drops: Vec<(Place, String, u64)>,
    /// True if frames were dropped, and only in trials of the search, which goes above the highest rate on purpose.
    pub dropped_by_search_only: bool,
}

impl Accounting {
    pub(crate) fn of(result: &RunResult) -> Self {
        let mut all = Self { dropped_by_search_only: true, ..Self::default() };
        for trial in &result.trials {
            all.add(trial);
        }
        all.drops.sort_by(|a, b| a.0.cmp(&b.0).then(b.2.cmp(&a.2)).then_with(|| a.1.cmp(&b.1)));
        all.dropped_by_search_only &= all.dropped > 0;
        all
    }

    /// Sent minus all that is known to have become of it, added up here again.
    pub(crate) fn missing(&self) -> i128 {
        self.sent - self.received - self.wrong - self.dropped
    }

    /// True if every frame of every trial is accounted for, by the trials' word and by this sum.
    pub(crate) fn adds_up(&self) -> bool {
        self.trials_unaccounted == 0 && self.missing() == 0
    }

    /// The sum as a line.
    pub(crate) fn equation(&self) -> String {
        format!(
            "{} sent = {} received + {} dropped + {} wrong + {} missing",
            count(self.sent),
            count(self.received),
            count(self.dropped),
            count(self.wrong),
            count(self.missing())
        )
    }

    /// What else is to be said of it: where frames were dropped and why, and what does not add up.
    pub(crate) fn details(&self) -> Vec<String> {
        let drop = |(at, reason, frames): &(Place, String, u64)| {
            format!("{} dropped at the {}: {}", count(*frames), place(*at), words(reason))
        };
        let mut lines: Vec<String> = self.drops.iter().map(drop).collect();
        if self.dropped_by_search_only {
            lines.push("(all while searching for the highest rate, which means going above it)".to_owned());
        }
        if self.trials_unaccounted > 0 {
            let trials = counted(self.trials_unaccounted as u64, "trial");
            lines.push(format!("{trials} cannot account for all frames"));
        }
        lines
    }

    fn add(&mut self, trial: &Trial) {
        self.sent += i128::from(trial.sent);
        self.received += i128::from(trial.received);
        self.wrong += i128::from(trial.corrupted + trial.mistranslated);
        if let Some(answers) = &trial.answers {
            self.sent += i128::from(answers.sent);
            self.received += i128::from(answers.received);
            self.wrong += i128::from(answers.corrupted + answers.mistranslated);
        }
        self.trials_unaccounted += usize::from(trial.unaccounted != 0);
        for drop in &trial.drops {
            self.dropped += i128::from(drop.frames);
            self.dropped_by_search_only &= matches!(trial.purpose, Purpose::Search | Purpose::StampCost);
            match self.drops.iter_mut().find(|(place, reason, _)| *place == drop.place && *reason == drop.reason) {
                Some((_, _, frames)) => *frames += drop.frames,
                None => self.drops.push((drop.place, drop.reason.clone(), drop.frames)),
            }
        }
    }
}

/// The trials that do not count, and by reason how many, and by how much at worst. A trial may have several reasons.
pub(crate) fn invalid_trials(result: &RunResult) -> Option<(String, Vec<String>)> {
    let invalid = result.trials.len() - result.valid_trials().count();
    if invalid == 0 {
        return None;
    }
    let all: Vec<Miss> = result.trials.iter().flat_map(|trial| &trial.invalid).map(Miss::of).collect();
    let of = |gate: Gate| {
        let misses: Vec<&Miss> = all.iter().filter(|miss| miss.gate == gate).collect();
        let worst = misses.iter().copied().max_by(|a, b| a.by.total_cmp(&b.by))?;
        Some(format!("{} × {}", misses.len(), worst.words()))
    };
    let trials = counted(invalid as u64, "trial");
    Some((format!("{trials} invalid, in none of the figures above:"), Gate::ALL.into_iter().filter_map(of).collect()))
}

/// What a trial is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    SendLag,
    Overrun,
    Preload,
    Mistranslated,
    Unaccounted,
    Leaked,
    TapClock,
    TapOrder,
    Disturbed,
}

/// A trial that did not pass a gate: by how much, and what would have been allowed, in the gate's own unit.
#[derive(Debug, Clone, Copy)]
struct Miss {
    gate: Gate,
    by: f64,
    allowed: f64,
}

impl Gate {
    const ALL: [Self; 9] = [
        Self::SendLag,
        Self::Overrun,
        Self::Disturbed,
        Self::Preload,
        Self::Mistranslated,
        Self::Unaccounted,
        Self::Leaked,
        Self::TapClock,
        Self::TapOrder,
    ];
}

impl Miss {
    fn of(why: &Invalid) -> Self {
        let (gate, by, allowed) = match why {
            Invalid::SendLag { ns_p99, limit_ns } => (Gate::SendLag, *ns_p99 as f64, *limit_ns as f64),
            Invalid::Overrun { share, limit } => (Gate::Overrun, *share, *limit),
            Invalid::Preload { missing } => (Gate::Preload, *missing as f64, 0.0),
            Invalid::Mistranslated { frames } => (Gate::Mistranslated, *frames as f64, 0.0),
            Invalid::Unaccounted { frames } => (Gate::Unaccounted, frames.unsigned_abs() as f64, 0.0),
            Invalid::Leaked { connections, .. } => (Gate::Leaked, *connections as f64, 0.0),
            Invalid::TapClock { off_ns, .. } => (Gate::TapClock, *off_ns as f64, 0.0),
            Invalid::TapOrder { frames } => (Gate::TapOrder, *frames as f64, 0.0),
            Invalid::Disturbed { share, limit } => (Gate::Disturbed, *share, *limit),
        };
        Self { gate, by, allowed }
    }

    fn words(&self) -> String {
        let Self { gate, by, allowed } = *self;
        match gate {
            Gate::SendLag => format!(
                "frames left late: p99 of the send lag up to {}, allowed {}",
                figure(Quantity::Time, by),
                setting(Quantity::Time, allowed)
            ),
            Gate::Overrun => {
                format!("sending took up to {} longer than planned, allowed {}", percent(by), percent(allowed))
            }
            Gate::Preload => format!("up to {} without a mapping at the start", counted(by as u64, "flow")),
            Gate::Mistranslated => format!("frames came out wrong, up to {} in a trial", count(by as u64)),
            Gate::Leaked => {
                format!("a layer knew up to {} more than there are flows", counted(by as u64, "connection"))
            }
            Gate::TapClock => {
                format!("the clock of a layer's taps was off by {} or more", figure(Quantity::Time, by))
            }
            Gate::TapOrder => format!("stamps not in the order of the way, of up to {}", counted(by as u64, "frame")),
            Gate::Disturbed => format!(
                "others had the measuring processors for up to {} of the time, allowed {}",
                percent(by),
                percent(allowed)
            ),
            Gate::Unaccounted => format!("frames unaccounted for, up to {} in a trial", count(by as u64)),
        }
    }
}

/// The first trial with a frame that came out wrong.
pub(crate) fn first_wrong_frame(result: &RunResult) -> Option<(&Trial, &WrongFrame)> {
    result.trials.iter().find_map(|trial| trial.wrong_frame.as_ref().map(|frame| (trial, frame)))
}

/// What is wrong with a frame, in words.
pub(crate) fn fault(trial: &Trial, frame: &WrongFrame) -> String {
    let name = serde_json::to_value(frame.fault).ok();
    let name = name.as_ref().and_then(serde_json::Value::as_str).map_or_else(|| format!("{:?}", frame.fault), words);
    let sent = frame.sent_tuple.as_deref().map(|tuple| format!("; the pod sent {tuple}")).unwrap_or_default();
    format!("{name} in round {}{sent}", trial.round)
}

/// A place as people call it.
fn place(place: Place) -> &'static str {
    match place {
        Place::Pods => "pods",
        Place::Node => "node",
        Place::Gateway => "gateway",
        Place::Internet => "internet",
    }
}

/// A name in snake case as words.
fn words(name: &str) -> String {
    name.replace('_', " ")
}
