//! What a result says between its lines: how far the run came, what the trials behind each figure add up to, what to make of an
//! interval. Terminal, Markdown and answer all read it from here, so that they cannot contradict each other.

mod accounting;
mod cell;
mod costs;
mod dump;
mod progress;
mod setting;

pub(crate) use accounting::{Accounting, fault, first_wrong_frame, invalid_trials};
pub(crate) use cell::{Cell, Loss, cell_names, cells, distinct, full_name, names};
pub(crate) use costs::{Costs, Effect, Metric, Verdict, costs};
pub(crate) use dump::dump;
pub(crate) use progress::{Rounds, alarms, intervals};
pub(crate) use setting::{
    design_name, facts, frames, host, how, latency_load, part, places, program, rate_is_searched, tcp_checks, warnings,
};
