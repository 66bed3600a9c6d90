//! The same questions in a smaller world: `--effort quick`.

use super::{Changes, Experiment, Ports, Scenario};

/// Ports of a layer, at most.
const PORTS: u16 = 1024;

impl Scenario {
    /// Less of everything that takes time: rounds, ports, points, connections. Figures are rough, and those of `cilium-bpf`, whose search
    /// does not scale with its ports, are others.
    pub(crate) fn quicken(&mut self) {
        self.rounds = self.rounds.min(2);
        self.world.pods = self.world.pods.min(200);
        if !matches!(self.experiment, Experiment::BothLayers(_)) {
            [&mut self.node, &mut self.gateway].into_iter().for_each(fewer_ports);
        }
        match &mut self.experiment {
            Experiment::Fill(_) => {}
            Experiment::Churn(churn) => {
                churn.warm_up_s = churn.warm_up_s.min(150);
                churn.measure_s = churn.measure_s.min(60);
                churn.precision = churn.precision.max(0.25);
            }
            Experiment::BlastRadius(blast) => blast.duration_s = blast.duration_s.min(3),
            Experiment::TimeoutSkew(skew) => {
                ends(&mut skew.node_s);
                ends(&mut skew.gateway_s);
                skew.connections = skew.connections.min(40);
                skew.reuse_connections = skew.reuse_connections.min(200);
            }
            Experiment::BothLayers(both) => {
                ends(&mut both.nodes);
                ends(&mut both.node_ports);
                ends(&mut both.gateway_addresses);
                both.skews.truncate(1);
            }
            Experiment::Replacement(replacement) => {
                let most = replacement.offers_max;
                replacement.offers_max = most.min(4000);
                replacement.offers_min = None;
                replacement.fills = replacement.fills.min(4);
                for changes in [&mut self.node, &mut self.gateway] {
                    // As many times as many offers as there were entries.
                    let share = f64::from(replacement.offers_max) / f64::from(most);
                    changes.table = changes.table.map(|table| ((f64::from(table) * share) as u32).max(1));
                }
            }
        }
    }
}

/// The last ones.
fn fewer_ports(changes: &mut Changes) {
    let Ports { first, last } = changes.ports.unwrap_or(Ports { first: 1024, last: u16::MAX });
    changes.ports = Some(Ports { first: first.max(last.saturating_sub(PORTS - 1)), last });
}

/// The first and the last of a list.
fn ends<T>(list: &mut Vec<T>) {
    if list.len() > 2 {
        list.drain(1..list.len() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_time_becomes_less() {
        let mut scenario = Scenario { rounds: 40, ..Scenario::default() };
        scenario.gateway.ports = Some(Ports { first: 65_024, last: 65_535 });
        scenario.quicken();
        assert_eq!((scenario.rounds, scenario.node.ports.map(Ports::count)), (2, Some(1024)));
        assert_eq!(scenario.gateway.ports.map(Ports::count), Some(512));
        let mut list = vec![1, 2, 3, 4];
        ends(&mut list);
        assert_eq!(list, [1, 4]);
    }
}
