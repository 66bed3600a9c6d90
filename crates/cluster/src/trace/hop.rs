//! What a box did with a packet.

use std::net::Ipv4Addr;

use natrig_lab::lease::{Heading, Lease, Lookup, LookupError};
use natrig_lab::net::Ipv4Net;
use natrig_lab::plan::{Mark, Plan, RoutingRule, Step, TABLE_MAIN};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::death::Layer;
use crate::probe::{Header, Leg, Observation, Passage};
use crate::tag::{Action, Book};

/// A box on the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hop {
    /// The namespace.
    pub place: String,
    /// What stands there.
    pub layer: Layer,
    /// How the packet came; none: it began here.
    pub came: Option<Port>,
    /// How the kernel decided where it should go; none: here it ended.
    pub route: Option<Route>,
    /// Rules that it matched, in order.
    pub rules: Vec<RuleMatch>,
    /// How it went: twice if it was wrapped.
    pub went: Vec<Port>,
}

/// A packet at an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Port {
    /// The interface.
    pub interface: String,
    /// The headers there.
    pub header: Header,
}

/// How the kernel decided where a packet should go, as it says itself when asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Route {
    /// The rule that led to the table, as `ip rule` shows it.
    pub rule: String,
    /// The route, as `ip route` shows it; or why there is none.
    pub way: String,
}

/// A rule that a packet matched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RuleMatch {
    /// Whose.
    pub book: Book,
    /// Its number there.
    pub number: u8,
    /// Its name.
    pub rule: String,
    /// What it does.
    pub action: Action,
}

/// The hops of one packet.
pub(super) fn hops(lease: &Lease, plan: &Plan, leg: Leg, observation: &Observation) -> Vec<Hop> {
    let way = if leg == Leg::Request { &observation.request } else { &observation.answer };
    way.chunk_by(|a, b| a.namespace == b.namespace)
        .map(|passages| {
            let place = &passages[0].namespace;
            let port =
                |passage: &Passage| Port { interface: passage.interface.clone(), header: passage.header.clone() };
            let came = passages.iter().rfind(|passage| passage.heading == Heading::In);
            let went: Vec<&Passage> = passages.iter().filter(|passage| passage.heading == Heading::Out).collect();
            let rulings = observation.rulings.iter().filter(|ruling| ruling.leg == leg && ruling.namespace == *place);
            let layer = Layer::of(place);
            let rulings: Vec<_> = rulings.collect();
            // Rules that drop packets come before routing.
            let dropped = rulings.iter().any(|ruling| ruling.tag.action == Action::Drop);
            let ends_here = went.is_empty() && (dropped || matches!(layer, Layer::Pod | Layer::Host));
            Hop {
                place: place.clone(),
                layer,
                came: came.map(port),
                route: (!ends_here).then(|| route(lease, plan, place, came, went.first().copied())).flatten(),
                rules: rulings
                    .into_iter()
                    .map(|ruling| RuleMatch {
                        book: ruling.tag.book,
                        number: ruling.tag.number,
                        rule: ruling.tag.rule.clone(),
                        action: ruling.tag.action,
                    })
                    .collect(),
                went: went.into_iter().map(port).collect(),
            }
        })
        .collect()
}

/// What the kernel says about a packet that came and went so. Sources are translated after routing and destinations before: it is routed
/// with the source that it came with and the destination that it goes with.
fn route(lease: &Lease, plan: &Plan, place: &str, came: Option<&Passage>, went: Option<&Passage>) -> Option<Route> {
    let source = came.or(went)?.header.source;
    let destination = went.or(came)?.header.destination;
    let incoming = came.map(|came| came.interface.clone());
    let rules = rules_of(plan, place);
    // A mark is on the packet and nowhere to be seen: it is the one by which the kernel would do what it did.
    let marks = std::iter::once(0).chain(rules.iter().filter_map(|rule| rule.mark.map(|mark| mark.value)));
    let mut first = None;
    for mark in marks {
        let lookup = Lookup { source, destination, incoming: incoming.clone(), mark };
        let answer = lease.look_up(place, &lookup);
        let agrees = matches!((&answer, went), (Ok(way), Some(went)) if way.interface == went.interface);
        let route = match &answer {
            Ok(way) => {
                let via = way.via.map_or_else(String::new, |via| format!(" via {via}"));
                let table = table_name(way.table);
                Route {
                    rule: rule_for(&rules, &lookup, way.table),
                    way: format!("{}{via} dev {}, table {table}", way.destination, way.interface),
                }
            }
            Err(LookupError::Refused(error)) => Route { rule: String::new(), way: format!("none: {error}") },
            Err(LookupError::Enter(_) | LookupError::Netlink(_)) => return None,
        };
        if agrees {
            return Some(route);
        }
        first.get_or_insert(route);
    }
    first
}

fn table_name(table: u32) -> String {
    match table {
        TABLE_MAIN => "main".to_owned(),
        255 => "local".to_owned(),
        table => table.to_string(),
    }
}

/// A namespace's rules, in the order in which the kernel tries them, its own two among them.
fn rules_of(plan: &Plan, place: &str) -> Vec<RoutingRule> {
    let mut rules = vec![RoutingRule::new(0, 255), RoutingRule::new(32_766, TABLE_MAIN)];
    for step in &plan.steps {
        if let Step::Rule { namespace, rule } = step
            && namespace == place
        {
            rules.push(rule.clone());
        }
    }
    rules.sort_by_key(|rule| rule.priority);
    rules
}

/// The first rule for such a packet that leads to that table.
fn rule_for(rules: &[RoutingRule], packet: &Lookup, table: u32) -> String {
    let within = |block: &Option<Ipv4Net>, address: Ipv4Addr| block.is_none_or(|block| block.contains(address));
    let rule = rules.iter().find(|rule| {
        rule.table == table
            && within(&rule.from, packet.source)
            && within(&rule.to, packet.destination)
            && rule.mark.is_none_or(|Mark { value, mask }| packet.mark & mask == value)
            && rule.incoming.as_ref().is_none_or(|name| packet.incoming.as_ref() == Some(name))
    });
    rule.map_or_else(String::new, ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build;
    use crate::model::Cluster;

    #[test]
    fn the_rule_of_a_packet_is_the_first_that_leads_to_its_table() {
        let rules = rules_of(&build::plan(&Cluster::default()), "n1");
        let packet = |destination| Lookup {
            source: Ipv4Addr::new(10, 0, 1, 50),
            destination,
            incoming: Some("lxc-p1".to_owned()),
            mark: 0,
        };
        let inside = rule_for(&rules, &packet(Ipv4Addr::new(10, 0, 9, 9)), 11);
        assert_eq!(inside, "111: from 10.0.1.50/32 to 10.0.0.0/16 lookup 11");
        let outside = rule_for(&rules, &packet(Ipv4Addr::new(9, 9, 9, 9)), TABLE_MAIN);
        assert_eq!(outside, "32766: from all lookup main");
        assert_eq!(rule_for(&rules, &packet(Ipv4Addr::new(9, 9, 9, 9)), 11), "");
    }
}
