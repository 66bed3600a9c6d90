//! Settings that fit: keepalive, tables, and what can be said of the way.

use super::{Ground, figure};
use crate::demand::Span;
use crate::formula;
use crate::layer::Layer;
use crate::report::{Setting, Switch};
use crate::sim::EPHEMERAL;
use crate::timing::Protocol;

/// Linux's net.ipv4.tcp_keepalive_time.
const KEEPALIVE_DEFAULT_S: u32 = 7200;

/// All of them.
pub(super) fn fitting(ground: &Ground<'_>) -> Vec<Setting> {
    let mut settings = Vec::new();
    for (protocol, what, timer) in [
        (Protocol::Tcp, "TCP keepalive interval", "timers.tcp_established_s"),
        (Protocol::Udp, "UDP keepalive interval", "timers.udp_stream_s"),
    ] {
        if ground.demands.iter().any(|demand| demand.protocol == protocol) {
            settings.extend(keepalive(ground, protocol, what, timer));
        }
    }
    settings.push(table(ground, &ground.node, "node", ground.node_share()));
    settings.push(table(ground, &ground.gateway, "gateway", 1.0));
    settings.extend(crossover(ground));
    settings.extend(collision(ground));
    settings.extend(tries(ground, &ground.node, "the busiest node", |number| ground.node_load(number)));
    settings.extend(tries(ground, &ground.gateway, "the gateway", |number| ground.gateway_load(number)));
    settings
}

fn keepalive(ground: &Ground<'_>, protocol: Protocol, what: &str, timer: &str) -> Option<Setting> {
    let timers = [&ground.node, &ground.gateway].map(|layer| {
        let timers = &layer.profile.behaviour.timers;
        let idle_s = if protocol == Protocol::Tcp { timers.tcp_established_s } else { timers.udp_stream_s };
        (idle_s, layer.profile.name.as_str())
    });
    let most = formula::keepalive_max_s(&timers.map(|(idle_s, _)| idle_s))?;
    let (shortest, name) = *timers.iter().min()?;
    let from: Vec<String> = std::iter::once(formula::KEEPALIVE.name.to_owned())
        .chain(timers.iter().map(|(_, name)| format!("{name} {timer}")))
        .collect();
    let silent = ground
        .demands
        .iter()
        .filter(|demand| demand.protocol == protocol && demand.silence_s >= shortest)
        .map(|demand| demand.name.as_str())
        .collect::<Vec<_>>();
    let mut note = format!("at most {most} s: {name} forgets what was idle for {shortest} s");
    if protocol == Protocol::Tcp && most < KEEPALIVE_DEFAULT_S {
        note.push_str(&format!("; Linux's default of {KEEPALIVE_DEFAULT_S} s is too long"));
    }
    if !silent.is_empty() {
        note.push_str(&format!("; silent for longer: {}", silent.join(", ")));
    }
    let half = f64::from(shortest / 2);
    Some(Setting {
        what: what.to_owned(),
        value: figure([1.0, half, f64::from(most)], &from),
        unit: "s".to_owned(),
        note,
    })
}

fn table(ground: &Ground<'_>, layer: &Layer<'_>, place: &str, share: f64) -> Setting {
    // Cilium has an entry for each direction.
    let (name, each) = if layer.profile.name.starts_with("cilium") {
        ("bpf-nat-global-max", 2.0)
    } else if layer.profile.name.starts_with("netfilter") || layer.profile.name == "vpc-cni" {
        ("nf_conntrack_max", 1.0)
    } else {
        ("entries", 1.0)
    };
    let entries = ground.entries(layer, share).map(|flows| formula::table_entries(flows, each) as f64);
    let from = vec![
        formula::TABLE.name.to_owned(),
        formula::IN_USE.name.to_owned(),
        format!("{} table.capacity", layer.profile.name),
    ];
    let has = layer.table().map_or_else(
        || "no size is documented".to_owned(),
        |capacity| format!("the profile has room for {} entries", f64::from(capacity) * each),
    );
    let note =
        if each > 1.0 { format!("2 entries a flow; at most two thirds of the connection table; {has}") } else { has };
    Setting { what: format!("{name} of the {place}"), value: figure(entries, &from), unit: "entries".to_owned(), note }
}

fn crossover(ground: &Ground<'_>) -> Option<Setting> {
    let capacity = &ground.gateway.profile.behaviour.capacity;
    let bytes = formula::crossover_bytes(capacity.bits_per_second, capacity.pps)?;
    let name = &ground.gateway.profile.name;
    let from = vec![
        formula::CROSSOVER.name.to_owned(),
        format!("{name} capacity.pps"),
        format!("{name} capacity.bits_per_second"),
    ];
    Some(Setting {
        what: "packet length at which bits bind instead of packets".to_owned(),
        value: figure([bytes; 3], &from),
        unit: "bytes".to_owned(),
        note: format!("{name}: {} packets and {} bits a second", capacity.pps, capacity.bits_per_second),
    })
}

/// How often a kept source port is taken, at the busiest node.
fn collision(ground: &Ground<'_>) -> Option<Setting> {
    if !ground.node.profile.behaviour.ports.preserve || ground.demands.is_empty() {
        return None;
    }
    let hottest =
        (0..ground.demands.len()).max_by(|a, b| ground.node_load(*a)[1].total_cmp(&ground.node_load(*b)[1]))?;
    let ports = f64::from(EPHEMERAL.end() - EPHEMERAL.start()) + 1.0;
    let chance = ground.node_load(hottest).map(|in_use| formula::collision_probability(in_use, ports) * 100.0);
    Some(Setting {
        what: "chance that two source ports collide at the busiest node".to_owned(),
        value: figure(chance, &[formula::BIRTHDAY.name.to_owned(), formula::IN_USE.name.to_owned()]),
        unit: "%".to_owned(),
        note: format!("towards {}; then another port is searched", ground.demands[hottest].name),
    })
}

/// What a new connection costs more than an established one at a layer: looks for a port, of which each is one at the table.
fn tries(ground: &Ground<'_>, layer: &Layer<'_>, place: &str, load: impl Fn(usize) -> Span) -> Option<Setting> {
    let hottest = (0..ground.demands.len()).max_by(|a, b| load(*a)[1].total_cmp(&load(*b)[1]))?;
    let in_use = load(hottest).map(|ports| ports / f64::from(layer.addresses));
    // Of those whose search nobody documents every look is taken to be at any port.
    let looks = |used: f64| {
        let share = (used / f64::from(layer.ports())).min(0.99);
        layer.curve.tries(used).unwrap_or_else(|| formula::tries(share))
    };
    let from = [formula::TRIES.name.to_owned(), format!("search of {}", layer.profile.name)];
    Some(Setting {
        what: format!("ports looked at for a new connection at {place}"),
        value: figure(in_use.map(looks), &from[..if layer.curve.searched { 2 } else { 1 }]),
        unit: "looks".to_owned(),
        note: format!(
            "towards {}; what the layer costs in time is for `natrig run` to measure",
            ground.demands[hottest].name
        ),
    })
}

/// What happens when the nodes' translation is switched under what is open.
pub(super) fn switch(ground: &Ground<'_>) -> Option<Switch> {
    let open = ground.demands.iter().map(|demand| demand.open);
    let all = open.reduce(|sum, one| std::array::from_fn(|case| sum[case] + one[case]))?;
    let gateway = ground.gateway.profile;
    let from = [formula::SWITCH.name.to_owned(), format!("{} tcp_rules.midstream", gateway.name)];
    Some(Switch { broken: figure(all, &from), found_out: formula::switched(&gateway.behaviour) })
}
