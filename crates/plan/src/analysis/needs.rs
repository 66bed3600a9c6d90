//! What would be enough.

use super::{Ground, figure, limits};
use crate::demand::Span;
use crate::formula;
use crate::layer::Layer;
use crate::loss::blocking;
use crate::report::Figure;
use crate::sim::ADDRESSES_MAX;

/// Fewest addresses that keep refusals below the target; one more than can be had if none do.
pub(super) fn addresses(layer: &Layer<'_>, load: f64, target: f64) -> f64 {
    smallest(ADDRESSES_MAX as u32, |addresses| layer.refused(load, addresses) <= target)
}

/// Fewest ports that do, if the search of the profile fails as it does at the same share of ports in use.
pub(super) fn ports(layer: &Layer<'_>, load: f64, target: f64) -> f64 {
    smallest(1 << 30, |ports| {
        let scale = f64::from(layer.ports()) / f64::from(ports);
        blocking(load, ports, |used| layer.curve.refusal(used * scale)) <= target
    })
}

/// Fewest gateway addresses for all destinations at a growth of the load.
pub(super) fn addresses_of_all(ground: &Ground<'_>, growth: f64) -> Figure {
    let target = ground.fleet.refusal_probability;
    let most = |case: usize| {
        let each = (0..ground.demands.len())
            .map(|number| addresses(&ground.gateway, ground.gateway_load(number)[case] * growth, target));
        let by_load = each.fold(1.0, f64::max);
        match ground.gateway.block() {
            None => by_load,
            Some((_, nodes_each)) => {
                by_load.max((f64::from(ground.fleet.nodes) * growth / f64::from(nodes_each)).ceil())
            }
        }
    };
    let span: Span = std::array::from_fn(most);
    let mut from = ground.demands.first().map_or_else(Vec::new, |demand| limits::port_reasons(&ground.gateway, demand));
    from.push(formula::ADDRESSES.name.to_owned());
    figure(span, &from)
}

/// The smallest number from 1 to `most` that is enough; `most` + 1 if none is. What is enough stays enough.
fn smallest(most: u32, is_enough: impl Fn(u32) -> bool) -> f64 {
    let (mut low, mut high) = (0, 1);
    while !is_enough(high) {
        if high >= most {
            return f64::from(most) + 1.0;
        }
        (low, high) = (high, (high * 2).min(most));
    }
    while high - low > 1 {
        let middle = low.midpoint(high);
        if is_enough(middle) { high = middle } else { low = middle }
    }
    f64::from(high)
}
