//! The four tuples of the connections, and the order in which the Initiator uses them: each exactly once in test phase 1.

use std::sync::Arc;

use natrig_traffic::{FlowError, FlowSet};
use natrig_wire::template::FourTuple;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::scenario::{Order, Scenario};

/// The first `connections` tuples, in the scenario's order.
pub(crate) fn connections(scenario: &Scenario, connections: u32) -> Result<Arc<FlowSet>, FlowError> {
    let pods: Vec<_> = scenario.devices.topology.pod_addresses().collect();
    let servers: Vec<_> = scenario.devices.topology.server_addresses().collect();
    let (src_ports, dst_ports) = (scenario.tuples.src_ports, scenario.tuples.dst_ports);
    // Addresses vary first: however few connections there are, they come from all pods and go to all servers (section 3.2), and only then
    // do ports, the source's before the destination's (section 4.1).
    let tuple = |index: u32| {
        let (index, pod) = split(index, pods.len() as u32);
        let (index, server) = split(index, servers.len() as u32);
        let (dst_port, src_port) = split(index, src_ports.count());
        FourTuple {
            src: pods[pod as usize],
            src_port: src_ports.first + src_port as u16,
            dst: servers[server as usize],
            dst_port: dst_ports.first + dst_port as u16,
        }
    };
    let mut tuples: Vec<FourTuple> = (0..connections).map(tuple).collect();
    match scenario.tuples.order {
        Order::Increasing => {}
        Order::Decreasing => tuples.reverse(),
        Order::Pseudorandom => shuffle(&mut tuples, scenario.devices.seed),
    }
    FlowSet::from_tuples(tuples).map(Arc::new)
}

/// Quotient and remainder.
fn split(index: u32, by: u32) -> (u32, u32) {
    (index / by, index % by)
}

/// Durstenfeld's shuffle (Communications of the ACM 7(7), 1964, algorithm 235), as section 4.4 has it.
pub(crate) fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    for last in (1..items.len()).rev() {
        items.swap(last, rng.random_range(0..=last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn tuples(order: Order, count: u32) -> Vec<FourTuple> {
        let mut scenario = Scenario::default();
        scenario.tuples.order = order;
        connections(&scenario, count).unwrap().iter().copied().collect()
    }

    #[test]
    fn every_order_uses_each_tuple_once_and_the_same_ones() {
        let of = |order| tuples(order, 20_000).into_iter().collect::<HashSet<FourTuple>>();
        let all = of(Order::Increasing);
        assert_eq!(all.len(), 20_000);
        assert_eq!(of(Order::Decreasing), all);
        assert_eq!(of(Order::Pseudorandom), all);
        assert_eq!(tuples(Order::Pseudorandom, 20_000), tuples(Order::Pseudorandom, 20_000));
    }

    #[test]
    fn few_connections_still_come_from_all_pods_and_go_to_all_servers() {
        let few = tuples(Order::Increasing, 64);
        let different = |of: fn(&FourTuple) -> std::net::Ipv4Addr| few.iter().map(of).collect::<HashSet<_>>().len();
        assert_eq!((different(|t| t.src), different(|t| t.dst)), (16, 4));
    }

    /// A permutation leaves about one item in its place: far from sorted, neighbours not kept.
    #[test]
    fn the_permutation_is_random() {
        let mut items: Vec<u32> = (0..10_000).collect();
        shuffle(&mut items, 7);
        let in_place = items.iter().enumerate().filter(|(at, item)| *at as u32 == **item).count();
        let neighbours = items.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) == 1).count();
        assert!(in_place < 10 && neighbours < 15, "{in_place} in place, {neighbours} neighbours");
    }
}
