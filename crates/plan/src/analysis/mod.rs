//! From demand and layers to a plan.
//!
//! Everything is computed three times: with what is not known for sure taken in the most favourable way, as a rule, and in the least
//! favourable way. These are the intervals of the plan.

mod limits;
mod needs;
mod settings;

use std::collections::BTreeSet;

use natrig_bench::scenario::Design;
use natrig_nat::{CAPACITY_MAX, Profile};

use crate::curve::Curve;
use crate::demand::{Demand, Span};
use crate::fleet::{Fleet, Profiles};
use crate::formula;
use crate::layer::Layer;
use crate::report::{
    DesignPlan, DestinationPlan, Figure, Growth, Input, LayerUse, Limit, Plan, Reason, Refusals, SCHEMA_VERSION,
    Simulated,
};
use crate::sim::{Class, Setup, Simulation};
use limits::Bound;

/// Destinations that limits are worked out for: those that need most ports.
const DESTINATIONS_MAX: usize = 20;
/// Limits that are listed for a design.
const LIMITS_MAX: usize = 8;
/// Ports in use at a time in a simulation: more take too much memory.
const SIMULATED_PORTS_MAX: f64 = 3e7;
/// Longest time that a fleet is simulated for, seconds: ten days.
const SIMULATED_TIME_MAX_S: f64 = 864_000.0;

/// What the numbers stand on.
pub(crate) struct Ground<'f> {
    pub(crate) fleet: &'f Fleet,
    pub(crate) node: Layer<'f>,
    pub(crate) gateway: Layer<'f>,
    pub(crate) demands: Vec<Demand>,
}

impl Ground<'_> {
    /// The part of the load that the busiest node has.
    fn node_share(&self) -> f64 {
        (self.fleet.busiest_node / f64::from(self.fleet.nodes)).min(1.0)
    }

    /// Ports in use of the stock that a demand is served from.
    fn stock(&self, layer: &Layer<'_>, number: usize) -> Span {
        let demand = &self.demands[number];
        if layer.is_per_destination(demand.protocol) {
            return layer.in_use(demand).map(|ports| ports / f64::from(demand.remotes.max(1)));
        }
        let same = self.demands.iter().filter(|other| other.protocol == demand.protocol);
        same.map(|other| layer.in_use(other))
            .fold([0.0; 3], |sum, one| std::array::from_fn(|case| sum[case] + one[case]))
    }

    fn node_load(&self, number: usize) -> Span {
        self.stock(&self.node, number).map(|ports| ports * self.node_share())
    }

    fn gateway_load(&self, number: usize) -> Span {
        self.stock(&self.gateway, number)
    }

    /// Entries of a table that has this share of the load.
    fn entries(&self, layer: &Layer<'_>, share: f64) -> Span {
        let each = self.demands.iter().map(|demand| layer.in_use(demand));
        each.fold([0.0; 3], |sum, one| std::array::from_fn(|case| sum[case] + one[case] * share))
    }
}

/// Makes the plan. `demands` are what the fleet describes, or what was read from logs.
#[must_use]
pub fn plan(fleet: &Fleet, profiles: &Profiles, mut demands: Vec<Demand>, inputs: Vec<Input>) -> Plan {
    let curve = |profile: &Profile| Curve::of(&profile.behaviour, fleet.seed);
    let (node_curve, gateway_curve) = (curve(&profiles.node), curve(&profiles.gateway));
    let layer = |profile, curve, addresses| Layer { profile, curve, addresses };
    let node = layer(&profiles.node, &node_curve, 1);
    let gateway = layer(&profiles.gateway, &gateway_curve, fleet.gateway_addresses);
    let hottest = |demand: &Demand| gateway.in_use(demand)[1] / f64::from(demand.remotes.max(1));
    demands.sort_by(|a, b| hottest(b).total_cmp(&hottest(a)));
    let mut warnings = Vec::new();
    if demands.len() > DESTINATIONS_MAX {
        warnings.push(format!(
            "limits are worked out for the {DESTINATIONS_MAX} destinations that need most ports, of {}",
            demands.len()
        ));
        demands.truncate(DESTINATIONS_MAX);
    }
    let ground = Ground { fleet, node, gateway, demands };
    let designs = fleet.designs.iter().map(|design| plan_design(&ground, *design, &mut warnings)).collect::<Vec<_>>();
    let destinations = (0..ground.demands.len()).map(|number| plan_destination(&ground, number)).collect::<Vec<_>>();
    let settings = settings::fitting(&ground);
    let mut plan = Plan {
        schema_version: SCHEMA_VERSION,
        natrig: env!("CARGO_PKG_VERSION").to_owned(),
        fleet: fleet.clone(),
        inputs,
        destinations,
        designs,
        settings,
        switch: settings::switch(&ground),
        reasons: Vec::new(),
        warnings,
    };
    plan.reasons = reasons(&ground, &plan);
    plan
}

fn figure(span: Span, from: &[String]) -> Figure {
    let (low, high) = (span.iter().copied().fold(f64::INFINITY, f64::min), span.iter().copied().fold(0.0, f64::max));
    Figure { value: span[1], low, high, from: from.to_vec() }
}

fn plan_destination(ground: &Ground<'_>, number: usize) -> DestinationPlan {
    let demand = &ground.demands[number];
    let target = ground.fleet.refusal_probability;
    let of_layer = |layer: &Layer<'_>, load: Span, addresses: u32| {
        let from = limits::port_reasons(layer, demand);
        let needed = load.map(|load| needs::ports(layer, load, target));
        let headroom = std::array::from_fn(|case| {
            crate::loss::largest_factor(target, |growth| layer.refused(load[case] * growth, addresses)).unwrap_or(1e6)
        });
        LayerUse { in_use: figure(load, &from), ports_needed: figure(needed, &from), headroom: figure(headroom, &from) }
    };
    let mut from = limits::port_reasons(&ground.gateway, demand);
    from.push(formula::ADDRESSES.name.to_owned());
    DestinationPlan {
        name: demand.name.clone(),
        protocol: demand.protocol,
        remotes: demand.remotes,
        rate_per_s: figure(demand.rate_per_s, &demand.basis),
        open: figure(demand.open, &demand.basis),
        node: of_layer(&ground.node, ground.node_load(number), 1),
        gateway: of_layer(&ground.gateway, ground.gateway_load(number), ground.gateway.addresses),
        addresses_needed: figure(
            ground.gateway_load(number).map(|load| needs::addresses(&ground.gateway, load, target)),
            &from,
        ),
    }
}

fn plan_design(ground: &Ground<'_>, design: Design, warnings: &mut Vec<String>) -> DesignPlan {
    let (node, gateway) = (design.translates_at_node(), design.translates_at_gateway());
    let target = ground.fleet.refusal_probability;
    let bounds = limits::of(ground, node, gateway);
    let mut broken_at: Vec<(Span, &Bound<'_>)> = bounds.iter().map(|bound| (bound.breaks_at(target), bound)).collect();
    broken_at.sort_by(|a, b| a.0[1].total_cmp(&b.0[1]));
    let named = |bound: &Bound<'_>| match bound.demand {
        Some(number) => format!("{} ({})", bound.what, ground.demands[number].name),
        None => bound.what.clone(),
    };
    let growth = std::iter::once(1.0).chain(ground.fleet.growth.iter().copied()).map(|factor| Growth {
        factor,
        refused: refused(ground, &bounds, factor),
        broken: broken_at
            .iter()
            .filter(|(at, _)| at[1] < factor)
            .map(|(_, bound)| named(bound))
            .take(LIMITS_MAX)
            .collect(),
        addresses_needed: gateway.then(|| needs::addresses_of_all(ground, factor)),
    });
    let limits = broken_at.iter().take(LIMITS_MAX).map(|(breaks_at, bound)| Limit {
        what: bound.what.clone(),
        layer: bound.layer.to_owned(),
        destination: bound.demand.map(|number| ground.demands[number].name.clone()),
        load: figure(bound.load, &bound.from),
        bears: figure(std::array::from_fn(|case| bound.load[case] * breaks_at[case]), &bound.from),
        breaks_at: figure(*breaks_at, &bound.from),
    });
    DesignPlan {
        design,
        seen_as: formula::seen_as(node, gateway),
        limits: limits.collect(),
        growth: growth.collect(),
        simulated: (node || gateway).then(|| simulate(ground, node, gateway, warnings)).flatten(),
    }
}

/// Share of all connections that some layer refuses.
fn refused(ground: &Ground<'_>, bounds: &[Bound<'_>], growth: f64) -> Figure {
    let mut from = BTreeSet::new();
    let shares = std::array::from_fn(|case| {
        let total: f64 = ground.demands.iter().map(|demand| demand.rate_per_s[case]).sum();
        let of_demand = |number: usize| {
            let on_the_way =
                bounds.iter().filter(|bound| bound.refuses && bound.demand.is_none_or(|demand| demand == number));
            let passed: f64 = on_the_way.map(|bound| 1.0 - (bound.refused)(case, growth)).product();
            (1.0 - passed) * ground.demands[number].rate_per_s[case]
        };
        let refused: f64 = (0..ground.demands.len()).map(of_demand).sum();
        if total > 0.0 { refused / total } else { 0.0 }
    });
    from.extend(bounds.iter().flat_map(|bound| bound.from.iter().cloned()));
    figure(shares, &from.into_iter().collect::<Vec<_>>())
}

/// The allocators themselves, with today's load.
fn simulate(ground: &Ground<'_>, node: bool, gateway: bool, warnings: &mut Vec<String>) -> Option<Simulated> {
    let connections = ground.fleet.simulated_connections;
    if connections == 0 || ground.demands.is_empty() {
        return None;
    }
    let in_use = [(node, &ground.node), (gateway, &ground.gateway)]
        .iter()
        .filter(|(stands, _)| *stands)
        .map(|(_, layer)| ground.entries(layer, 1.0)[1])
        .fold(0.0, f64::max);
    if in_use > SIMULATED_PORTS_MAX {
        warnings.push(format!("not simulated: {in_use:.0} ports would be in use at once"));
        return None;
    }
    let behaviour = |layer: &Layer<'_>| {
        let mut behaviour = layer.profile.behaviour.clone();
        behaviour.table.capacity = layer.table().unwrap_or(CAPACITY_MAX);
        behaviour
    };
    let (at_node, at_gateway) = (behaviour(&ground.node), behaviour(&ground.gateway));
    let classes: Vec<Class> = ground.demands.iter().map(|demand| demand.class(1.0)).collect();
    let setup = Setup {
        nodes: ground.fleet.nodes,
        pods: ground.fleet.pods,
        classes: &classes,
        node: node.then_some(&at_node),
        gateway: gateway.then_some((&at_gateway, ground.gateway.addresses as usize)),
        empty: false,
        seed: ground.fleet.seed,
    };
    let mut simulation = match Simulation::new(&setup) {
        Ok(simulation) => simulation,
        Err(error) => {
            warnings.push(format!("not simulated: {error}"));
            return None;
        }
    };
    // A list of a few connections says of hardly any that they come: the clock need not run for years to see so many.
    let rate_per_s: f64 = classes.iter().map(|class| class.rate_per_s).sum();
    if connections as f64 <= rate_per_s * SIMULATED_TIME_MAX_S {
        simulation.run(connections);
    } else {
        simulation.run_for(SIMULATED_TIME_MAX_S);
    }
    let outcome = simulation.outcome();
    if outcome.asked == 0 {
        warnings.push("not simulated: hardly any connection comes".to_owned());
        return None;
    }
    let refused = outcome.asked - outcome.opened;
    let (low, high) = wilson(refused, outcome.asked);
    Some(Simulated {
        connections: outcome.asked,
        time_s: outcome.time_s,
        refused: Figure {
            value: refused as f64 / outcome.asked as f64,
            low,
            high,
            from: vec!["simulation".to_owned()],
        },
        reasons: outcome
            .reasons()
            .into_iter()
            .map(|(reason, node, gateway)| Refusals { reason: reason.as_str().to_owned(), node, gateway })
            .collect(),
        node_entries_max: outcome.node.map(|counts| counts.entries_max),
        gateway_entries_max: outcome.gateway.map(|counts| counts.entries_max),
    })
}

/// The 95 % interval of a share (E. B. Wilson, 1927).
fn wilson(hits: u64, of: u64) -> (f64, f64) {
    const Z: f64 = 1.959_964;
    let (n, share) = (of as f64, hits as f64 / of as f64);
    let middle = share + Z * Z / (2.0 * n);
    let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    (((middle - half) / scale).max(0.0), (middle + half) / scale)
}

/// An entry for every key that a figure refers to.
fn reasons(ground: &Ground<'_>, plan: &Plan) -> Vec<Reason> {
    let mut keys = BTreeSet::new();
    let mut add = |figure: &Figure| keys.extend(figure.from.iter().cloned());
    for destination in &plan.destinations {
        let uses = [&destination.node, &destination.gateway];
        uses.iter().for_each(|used| [&used.in_use, &used.ports_needed, &used.headroom].into_iter().for_each(&mut add));
        [&destination.rate_per_s, &destination.open, &destination.addresses_needed].into_iter().for_each(&mut add);
    }
    for design in &plan.designs {
        design
            .limits
            .iter()
            .for_each(|limit| [&limit.load, &limit.bears, &limit.breaks_at].into_iter().for_each(&mut add));
        design.growth.iter().for_each(|growth| {
            add(&growth.refused);
            growth.addresses_needed.iter().for_each(&mut add);
        });
        design.simulated.iter().for_each(|simulated| add(&simulated.refused));
    }
    plan.settings.iter().for_each(|setting| add(&setting.value));
    plan.switch.iter().for_each(|switch| add(&switch.broken));
    keys.into_iter().map(|key| reason(ground, key)).collect()
}

fn reason(ground: &Ground<'_>, key: String) -> Reason {
    let of = |kind: &str, text: String, source: &str, confidence: Option<&str>| Reason {
        key: key.clone(),
        kind: kind.to_owned(),
        text,
        source: source.to_owned(),
        confidence: confidence.map(str::to_owned),
    };
    if let Some(formula) = formula::ALL.iter().find(|formula| formula.name == key) {
        return of("formula", formula.text.to_owned(), formula.source, None);
    }
    if let Some((name, path)) = key.split_once(' ') {
        let profiles = [ground.node.profile, ground.gateway.profile];
        let parameters = profiles.iter().filter(|profile| profile.name == name).flat_map(|profile| &profile.parameters);
        if let Some(parameter) = parameters.into_iter().find(|parameter| parameter.path == path) {
            let confidence = parameter.confidence.map(natrig_nat::Confidence::as_str);
            return of("vendor", format!("{path} = {}", parameter.value), &parameter.source, confidence);
        }
    }
    if key.starts_with("search of ") {
        let text = "share of refusals by ports in use, asked of the profile's allocator while connections come and go";
        return of(
            "measured",
            text.to_owned(),
            "natrig's allocator, 2,000 pods, 4,000 requests at each of 32 points",
            None,
        );
    }
    match key.as_str() {
        "simulation" => {
            of("simulated", "the allocators of both layers on a virtual clock".to_owned(), "natrig's simulation", None)
        }
        "given" => of("given", "the description of the fleet".to_owned(), &ground.fleet.title, None),
        _ => of(
            "measured",
            "counted in the logs that were read; the interval is explained in the notes".to_owned(),
            "the logs named above",
            None,
        ),
    }
}
