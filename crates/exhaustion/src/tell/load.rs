//! Churn and blast radius.

use natrig_report::document::{Align, Block, Document, Table};

use super::curves::refusals;
use super::words::{dash, figure, part, percent_or_dash, whole};
use crate::result::{BlastResult, Measured, VictimGroup};

/// Rates.
pub(super) fn churns(document: &mut Document, measured: &Measured) {
    if measured.churns.is_empty() {
        return;
    }
    document.heading("Connections that come and go");
    let (left, right) = (Align::Left, Align::Right);
    let mut table = Table::new([
        ("setup", left),
        ("nominal", right),
        ("sustained, 1/s", right),
        ("refused from, 1/s", right),
        ("formula, 1/s", right),
        ("refused at twice that", right),
        ("recovery, s", right),
    ]);
    for churn in &measured.churns {
        let overload = churn.overload.and_then(|trial| part(trial.refused, trial.attempts));
        let recovery = match (churn.overload, churn.recovery_s) {
            (Some(trial), None) if trial.refused > 0 => "never".to_owned(),
            (_, seconds) => figure(seconds),
        };
        table.row([
            churn.setup.to_string(),
            whole(churn.nominal_ports as f64),
            figure(churn.sustained_per_s),
            figure(churn.refused_from_per_s),
            figure(churn.formula_per_s),
            percent_or_dash(overload),
            recovery,
        ]);
    }
    table.note = "Sustained: the highest rate without any refusal. Formula: nominal ports over mean lifetime and the time for which a \
                  port is taken after the last packet; a layer that gives up closing connections for new ones, as Linux does since 6.5, \
                  sustains more. Recovery: from the end of twice the sustained rate until connections for a tenth \
                  of the nominal ports are opened at once without a refusal."
        .to_owned();
    document.push(Block::Table(table));
    let by = |churn: &crate::result::ChurnResult| format!("{}: {}", churn.setup, refusals(&churn.refused));
    document.push(Block::Bullets(measured.churns.iter().map(by).collect()));
}

/// Victims.
pub(super) fn blasts(document: &mut Document, measured: &Measured) {
    if measured.blasts.is_empty() {
        return;
    }
    document.heading("Who is hurt by one pod that opens connections without end");
    let (left, right) = (Align::Left, Align::Right);
    let mut table = Table::new([
        ("setup", left),
        ("quota", right),
        ("hurt, same node", right),
        ("hurt, other nodes", right),
        ("refused, same node", right),
        ("refused, other nodes", right),
        ("first victim, s", right),
        ("Jain index", right),
    ]);
    for blast in &measured.blasts {
        let hurt = |group: VictimGroup| {
            if group.pods == 0 { dash() } else { format!("{} of {}", group.pods_hurt, group.pods) }
        };
        let refused = |group: VictimGroup| percent_or_dash(part(group.refused, group.attempts));
        table.row([
            blast.setup.to_string(),
            if blast.quota == 0 { "none".to_owned() } else { whole(f64::from(blast.quota)) },
            hurt(blast.same_node),
            hurt(blast.other_nodes),
            refused(blast.same_node),
            refused(blast.other_nodes),
            figure(blast.first_victim_s),
            format!("{:.3}", blast.jain_success),
        ]);
    }
    table.note = "Hurt: pods that were refused at least once. Refused: share of their attempts. Jain index of the share of attempts that \
                  succeed, over all pods: 1 is fair."
        .to_owned();
    document.push(Block::Table(table));
    document.push(Block::Bullets(measured.blasts.iter().map(sentence).collect()));
}

fn sentence(blast: &BlastResult) -> String {
    let quota =
        if blast.quota == 0 { "without quotas".to_owned() } else { format!("with {} ports a pod", blast.quota) };
    let hurt = blast.same_node.pods_hurt + blast.other_nodes.pods_hurt;
    let aggressor = percent_or_dash(part(blast.aggressor_refused, blast.aggressor_attempts));
    let victims = match hurt {
        0 => "nobody else is".to_owned(),
        _ => format!(
            "so are {hurt} of {} other pods, by {}",
            blast.same_node.pods + blast.other_nodes.pods,
            refusals(&blast.refused)
        ),
    };
    format!("{}, {quota}: {aggressor} of the aggressor's connections are refused, and {victims}", blast.setup)
}
