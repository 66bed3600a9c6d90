//! What MLRsearch found: for each goal its bounds, as the draft wants them shown.

use natrig_bench::result::{GoalFound, RunResult, SearchResult};
use natrig_bench::search::Irregular;
use natrig_bench::stats;

use crate::document::{Align, Block, Document, Table};
use crate::numbers::{ABSENT, Quantity, count, figure, percent};

/// The bounds of all searches; nothing where rates were searched for otherwise.
pub(crate) fn document(result: &RunResult) -> Document {
    let mut document = Document::default();
    let Some(first) = result.searches.first() else { return document };
    document.heading("NDR and PDR: bounds and conditional throughput");
    let mut table = Table::new([
        ("NAT at", Align::Left),
        ("engines", Align::Left),
        ("frames", Align::Right),
        ("goal", Align::Left),
        ("relevant lower", Align::Right),
        ("relevant upper", Align::Right),
        ("conditional", Align::Right),
        ("rounds", Align::Right),
        ("irregular", Align::Left),
    ]);
    let mut seen = Vec::new();
    for search in &result.searches {
        let cell = (search.engines, search.design, search.frame_size);
        if seen.contains(&cell) {
            continue;
        }
        seen.push(cell);
        let rounds: Vec<&SearchResult> =
            result.searches.iter().filter(|other| (other.engines, other.design, other.frame_size) == cell).collect();
        for (index, found) in search.goals.iter().enumerate() {
            let all: Vec<&GoalFound> = rounds.iter().filter_map(|round| round.goals.get(index)).collect();
            let median = |of: fn(&GoalFound) -> Option<f64>| {
                let values: Vec<f64> = all.iter().filter_map(|found| of(found)).collect();
                stats::median(&values).map_or_else(|| ABSENT.to_owned(), |pps| figure(Quantity::Rate, pps))
            };
            table.row([
                search.design.to_string(),
                search.engines.to_string(),
                search.frame_size.to_string(),
                goal_name(found),
                median(|found| found.relevant_lower_pps),
                median(|found| found.relevant_upper_pps),
                median(|found| found.conditional_throughput_pps),
                count(all.len() as u64),
                irregular(&all),
            ]);
        }
    }
    let goal = first.goals.first().map(|found| found.goal);
    table.note = goal.map_or_else(String::new, |goal| {
        let seconds = |ns: u64| ns as f64 / 1e9;
        format!(
            "Medians over rounds. MLRsearch: trials of {} s, duration sum {} s, exceed ratio {}, width {}. A relevant lower bound is the \
             largest load that meets the goal below the smallest that fails it.",
            seconds(goal.final_trial_duration_ns),
            seconds(goal.duration_sum_ns),
            percent(goal.exceed_ratio),
            percent(goal.relative_width)
        )
    });
    document.push(Block::Table(table));
    document
}

fn goal_name(found: &GoalFound) -> String {
    let share = found.goal.loss_ratio;
    if share == 0.0 { "NDR".to_owned() } else { format!("PDR {}", percent(share)) }
}

/// In how many rounds a result does not satisfy its goal, and why.
fn irregular(all: &[&GoalFound]) -> String {
    let rounds = |of: &dyn Fn(&GoalFound) -> bool| all.iter().filter(|found| of(found)).count();
    let kinds = [
        (rounds(&|found| found.irregular == Some(Irregular::MaxLoadIsLower)), "highest load met it"),
        (rounds(&|found| found.irregular == Some(Irregular::MinLoadIsUpper)), "lowest load failed it"),
        (rounds(&|found| found.irregular == Some(Irregular::BudgetSpent)), "time ran out"),
        (rounds(&|found| found.generator_bound), "GENERATOR-BOUND"),
    ];
    let said: Vec<String> =
        kinds.iter().filter(|(rounds, _)| *rounds > 0).map(|(rounds, why)| format!("{rounds}× {why}")).collect();
    said.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use natrig_bench::search::mlr::Goal;

    fn found(irregular: Option<Irregular>, generator_bound: bool) -> GoalFound {
        GoalFound {
            goal: Goal::csit_pdr(),
            relevant_lower_pps: Some(1e6),
            relevant_upper_pps: None,
            conditional_throughput_pps: Some(1e6),
            irregular,
            generator_bound,
        }
    }

    #[test]
    fn irregular_results_are_said_beside_the_figures() {
        let all = [found(None, false), found(Some(Irregular::MaxLoadIsLower), true), found(None, true)];
        let all: Vec<&GoalFound> = all.iter().collect();
        assert_eq!(irregular(&all), "1× highest load met it, 2× GENERATOR-BOUND");
        assert_eq!(goal_name(all[0]), "PDR 0.5\u{a0}%");
    }
}
