//! Rulesets in the language of nft(8), and the pieces they are made of.

use std::fmt::Display;

use natrig_nat::{EgressRule, Policy, Rule};

use crate::tag::{Action, Book, Tag};

/// A chain that hooks into the kernel, in the table that all our rules are in; nothing if it has no rule.
pub(super) fn chain(name: &str, hook: &str, rules: &[String]) -> String {
    if rules.is_empty() {
        return String::new();
    }
    let rules: String = rules.iter().map(|rule| format!("    {rule}\n")).collect();
    format!("  chain {name}_rules {{\n    type {hook};\n{rules}  }}\n")
}

/// The table with these chains; nothing if there is none.
pub(super) fn table(chains: &[String]) -> String {
    let chains = chains.concat();
    if chains.is_empty() { chains } else { format!("table ip natrig {{\n{chains}}}\n") }
}

/// `{ a, b }`.
pub(super) fn set<T: Display>(elements: impl IntoIterator<Item = T>) -> String {
    let elements: Vec<String> = elements.into_iter().map(|element| element.to_string()).collect();
    format!("{{ {} }}", elements.join(", "))
}

/// Each element in quotes, as names of interfaces are written.
pub(super) fn names<'a>(elements: impl IntoIterator<Item = &'a String>) -> String {
    set(elements.into_iter().map(|name| format!("\"{name}\"")))
}

/// The number of a rule in Cilium's order (`snat_v4_needs_masquerade` in `bpf/lib/nat.h`). Its first question is whether the program is
/// attached to the interface at all: number 0.
pub(super) const fn cilium_number(rule: Rule) -> u8 {
    match rule {
        Rule::SourceCheck | Rule::Interface => 0,
        Rule::HostTraffic => 3,
        Rule::EgressGateway => 5,
        Rule::NativeRouting => 6,
        Rule::HostEndpoint => 7,
        Rule::LinkLocal | Rule::NonMasquerade => 8,
        Rule::RemoteNode => 9,
        Rule::Endpoint | Rule::NoEndpoint => 10,
    }
}

/// The policy of a node as rules for packets that leave, in the order in which [`Policy::decide`] asks. `outside`: the node's interfaces;
/// `host`: its own addresses; `link_local`: whether packets to link-local addresses are translated.
pub(super) fn cilium(policy: &Policy, outside: &[String], host: &[String], link_local: bool) -> Vec<String> {
    let tag = |rule: Rule, action| Tag::new(Book::Cilium, cilium_number(rule), rule.as_str(), action);
    let pass = |rule: Rule, condition: String| tag(rule, Action::Pass).on(&condition, "accept");
    let mut rules = vec![format!("oifname != {} accept", names(outside))];
    let selected: Vec<&String> =
        outside.iter().filter(|name| policy.interfaces.iter().any(|selector| selector.matches(name))).collect();
    if !policy.interfaces.is_empty() {
        let condition =
            if selected.is_empty() { String::new() } else { format!("oifname != {}", names(selected.iter().copied())) };
        rules.push(pass(Rule::Interface, condition));
    }
    rules.push(pass(Rule::HostTraffic, format!("ip saddr {}", set(host))));
    for EgressRule { sources, destinations, excluded, address } in &policy.egress_gateway {
        let mut condition = format!("ip saddr {} ip daddr {}", set(sources), set(destinations));
        if !excluded.is_empty() {
            condition = format!("{condition} ip daddr != {}", set(excluded));
        }
        rules.push(match address {
            Some(address) => tag(Rule::EgressGateway, Action::Translate).on(&condition, &format!("snat to {address}")),
            None => tag(Rule::EgressGateway, Action::Drop).on(&condition, "drop"),
        });
    }
    let mut to = |rule, blocks: &[natrig_nat::Cidr]| {
        if !blocks.is_empty() {
            rules.push(pass(rule, format!("ip daddr {}", set(blocks))));
        }
    };
    to(Rule::NativeRouting, &policy.native_routing);
    if !link_local {
        to(Rule::LinkLocal, &[natrig_nat::Cidr::LINK_LOCAL]);
    }
    to(Rule::NonMasquerade, &policy.non_masquerade);
    if !policy.masquerade_remote_nodes {
        to(Rule::RemoteNode, &policy.remote_nodes);
    }
    let endpoints = format!("ip saddr {}", set(&policy.endpoints));
    rules.push(tag(Rule::Endpoint, Action::Translate).on(&endpoints, "masquerade"));
    rules.push(pass(Rule::NoEndpoint, String::new()));
    rules
}
