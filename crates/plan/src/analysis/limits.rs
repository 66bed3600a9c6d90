//! What the load can outgrow, each limit as the share of connections that it refuses at a growth of the load.

use crate::analysis::Ground;
use crate::demand::{Demand, Span};
use crate::formula::{self, Formula};
use crate::layer::Layer;
use crate::loss::{blocking, largest_factor};
use crate::sim::EPHEMERAL;
use crate::timing::{Afterlife, Protocol};

/// Linux's TIME_WAIT at the pod.
const POD_TIME_WAIT_S: Span = [0.0, 60.0, 60.0];

/// Share of connections refused, by which of three cases and growth.
type Refused<'g> = Box<dyn Fn(usize, f64) -> f64 + 'g>;

/// A limit.
pub(crate) struct Bound<'g> {
    pub(crate) what: String,
    pub(crate) layer: &'static str,
    /// Number of the demand, if it is about one.
    pub(crate) demand: Option<usize>,
    pub(crate) load: Span,
    pub(crate) refused: Refused<'g>,
    /// It refuses connections; else it drops packets, or is a limit of what can be bought.
    pub(crate) refuses: bool,
    pub(crate) from: Vec<String>,
}

impl Bound<'_> {
    /// Growth at which refusals exceed the target: favourable, as a rule, unfavourable. 10⁶ stands for never.
    pub(crate) fn breaks_at(&self, target: f64) -> Span {
        std::array::from_fn(|case| largest_factor(target, |growth| (self.refused)(case, growth)).unwrap_or(1e6))
    }
}

/// Keys of formulas and of parameters of a layer's profile.
fn from(formulas: &[Formula], layer: Option<&Layer<'_>>, paths: &[&str]) -> Vec<String> {
    let formulas = formulas.iter().map(|formula| formula.name.to_owned());
    let paths = layer.iter().flat_map(|layer| paths.iter().map(|path| format!("{} {path}", layer.profile.name)));
    formulas.chain(paths).collect()
}

/// The limits of a design.
pub(crate) fn of<'g>(ground: &'g Ground<'_>, node: bool, gateway: bool) -> Vec<Bound<'g>> {
    let mut bounds = Vec::new();
    for number in 0..ground.demands.len() {
        bounds.push(pod_ports(ground, number));
        if node {
            bounds.push(node_ports(ground, number));
        }
        if gateway {
            bounds.push(gateway_ports(ground, number, ground.gateway.addresses, true));
            let most = ground.gateway.profile.behaviour.capacity.max_addresses;
            if most > ground.gateway.addresses {
                bounds.push(gateway_ports(ground, number, most, false));
            }
            if let Some((ports, _)) = ground.gateway.block() {
                bounds.push(node_block(ground, number, ports));
            }
        }
    }
    if node {
        bounds.extend(table(ground, &ground.node, "node", ground.node_share()));
    }
    if gateway {
        bounds.extend(table(ground, &ground.gateway, "gateway", 1.0));
        bounds.extend(blocks(ground));
        bounds.extend(throughput(ground));
    }
    bounds
}

fn pod_ports<'g>(ground: &'g Ground<'_>, number: usize) -> Bound<'g> {
    let demand = &ground.demands[number];
    let kept = if demand.protocol == Protocol::Tcp { POD_TIME_WAIT_S } else { [0.0; 3] };
    let spread = f64::from(demand.pods.max(1)) * f64::from(demand.remotes.max(1));
    let load: Span = std::array::from_fn(|case| (demand.open[case] + demand.rate_per_s[case] * kept[case]) / spread);
    let ports = u32::from(EPHEMERAL.end() - EPHEMERAL.start()) + 1;
    Bound {
        what: "source ports of a pod".to_owned(),
        layer: "pod",
        demand: Some(number),
        load,
        refused: Box::new(move |case, growth| blocking(load[case] * growth, ports, |_| 0.0)),
        refuses: true,
        from: from(&[formula::EPHEMERAL, formula::LOSS], None, &[]),
    }
}

fn node_ports<'g>(ground: &'g Ground<'_>, number: usize) -> Bound<'g> {
    let load = ground.node_load(number);
    let demand = &ground.demands[number];
    Bound {
        what: "ports of the busiest node to one address and port".to_owned(),
        layer: "node",
        demand: Some(number),
        load,
        refused: Box::new(move |case, growth| ground.node.refused(load[case] * growth, 1)),
        refuses: true,
        from: port_reasons(&ground.node, demand),
    }
}

fn gateway_ports<'g>(ground: &'g Ground<'_>, number: usize, addresses: u32, today: bool) -> Bound<'g> {
    let load = ground.gateway_load(number);
    let demand = &ground.demands[number];
    let mut reasons = port_reasons(&ground.gateway, demand);
    let what = if today {
        format!("ports of {} to one address and port", counted(addresses, "gateway address"))
    } else {
        reasons.push(format!("{} capacity.max_addresses", ground.gateway.profile.name));
        format!("ports of all {addresses} addresses that a gateway may have")
    };
    Bound {
        what,
        layer: "gateway",
        demand: Some(number),
        load,
        refused: Box::new(move |case, growth| ground.gateway.refused(load[case] * growth, addresses)),
        refuses: today,
        from: reasons,
    }
}

/// Why a layer's ports are as many, and in use as long, as they are.
pub(crate) fn port_reasons(layer: &Layer<'_>, demand: &Demand) -> Vec<String> {
    let after = Afterlife::of(&layer.profile.behaviour, demand.protocol, demand.close);
    let mut paths = vec!["ports.range", after.timer, after.hold];
    if layer.profile.behaviour.ports.max_per_destination > 0 {
        paths.push("ports.max_per_destination");
    }
    if after.collected_s.is_some() {
        paths.extend(["collection.mode", "collection.start_s", "collection.max_s"]);
    }
    let mut reasons = from(&[formula::IN_USE, formula::LOSS], Some(layer), &paths);
    if layer.curve.searched {
        reasons.push(format!("search of {}", layer.profile.name));
    }
    reasons.extend(demand.basis.iter().cloned());
    reasons
}

fn node_block<'g>(ground: &'g Ground<'_>, number: usize, ports: u32) -> Bound<'g> {
    let demand = &ground.demands[number];
    let in_use = ground.gateway.in_use(demand);
    let share = ground.node_share() / f64::from(demand.remotes.max(1));
    let load = in_use.map(|ports| ports * share);
    Bound {
        what: format!("{ports} ports set aside for a node at the gateway"),
        layer: "gateway",
        demand: Some(number),
        load,
        refused: Box::new(move |case, growth| blocking(load[case] * growth, ports, |_| 0.0)),
        refuses: true,
        from: from(
            &[formula::IN_USE, formula::LOSS],
            Some(&ground.gateway),
            &["quota.blocks", "quota.block_min", "quota.block_max"],
        ),
    }
}

/// Blocks are as many as nodes, however much the load grows.
fn blocks<'g>(ground: &'g Ground<'_>) -> Option<Bound<'g>> {
    let (_, nodes_each) = ground.gateway.block()?;
    let (nodes, have) = (f64::from(ground.fleet.nodes), f64::from(nodes_each) * f64::from(ground.gateway.addresses));
    Some(Bound {
        what: "nodes that the gateway has a block of ports for".to_owned(),
        layer: "gateway",
        demand: None,
        load: [nodes; 3],
        // The fleet's nodes grow with its load.
        refused: Box::new(move |_, growth| (1.0 - have / (nodes * growth)).max(0.0)),
        refuses: true,
        from: from(&[formula::BLOCKS], Some(&ground.gateway), &["ports.range", "quota.block_min"]),
    })
}

fn table<'g>(ground: &'g Ground<'_>, layer: &'g Layer<'_>, name: &'static str, share: f64) -> Option<Bound<'g>> {
    let capacity = layer.table()?;
    let load = ground.entries(layer, share);
    let of = if name == "node" { "the busiest node" } else { "the gateway" };
    Some(Bound {
        what: format!("table of {of}"),
        layer: name,
        demand: None,
        load,
        refused: Box::new(move |case, growth| blocking(load[case] * growth, capacity, |_| 0.0)),
        refuses: true,
        from: from(&[formula::IN_USE, formula::LOSS], Some(layer), &["table.capacity"]),
    })
}

/// Packets and bits, where both load and limit are known.
fn throughput<'g>(ground: &'g Ground<'_>) -> Vec<Bound<'g>> {
    let capacity = &ground.gateway.profile.behaviour.capacity;
    let total = |of: fn(&Demand) -> f64| ground.demands.iter().map(of).sum::<f64>();
    [
        ("packets a second", total(|demand| demand.packets_per_s), capacity.pps, "capacity.pps"),
        ("bits a second", total(|demand| demand.bits_per_s), capacity.bits_per_second, "capacity.bits_per_second"),
    ]
    .into_iter()
    .filter(|(_, load, bears, _)| *load > 0.0 && *bears > 0)
    .map(|(what, load, bears, path)| Bound {
        what: format!("{what} of the gateway"),
        layer: "gateway",
        demand: None,
        load: [load; 3],
        refused: Box::new(move |_, growth| (1.0 - bears as f64 / (load * growth)).max(0.0)),
        refuses: false,
        from: from(&[formula::CROSSOVER], Some(&ground.gateway), &[path]),
    })
    .collect()
}

fn counted(number: u32, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}es") }
}
