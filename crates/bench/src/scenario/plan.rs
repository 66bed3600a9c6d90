//! Impossible address plans: the lab knows them, here they get a place in the file and a mend.

use std::net::Ipv4Addr;

use natrig_lab::topology::{Topology, TopologyError};

use super::check::Violation;

/// What `error` of `topology` means in a scenario.
pub(super) fn violation(topology: &Topology, error: &TopologyError) -> Violation {
    let field = error.field();
    let setting = format!("topology.{field}");
    // The lab's sentence begins with the name of the field, which in a scenario is one of the section `topology`.
    let sentence = error.to_string();
    let message = format!("`{setting}`{}", sentence.strip_prefix(field).unwrap_or(&sentence));
    let mut settings = vec![setting];
    let help = match error {
        TopologyError::Empty { .. } => "give it at least one".to_owned(),
        TopologyError::TooMany { limit, .. } => format!("ask for at most {limit}"),
        TopologyError::DoesNotFit { room, .. } => {
            settings.extend(around(field));
            format!("lower it to {room}, or take a larger network")
        }
        TopologyError::Outside { address, cidr, .. } | TopologyError::NotAHost { address, cidr, .. } => {
            settings.splice(0..0, list_element(topology, field, *address));
            settings.extend(around(field));
            format!("take a host address of {cidr}")
        }
        TopologyError::Reserved { .. } => {
            "take a private network (RFC 1918), such as 10.0.1.0/24, or a public one".to_owned()
        }
        TopologyError::Overlap { other_field, .. } => {
            settings.push(format!("topology.{other_field}"));
            "move one of them, so that they have no address in common".to_owned()
        }
        TopologyError::Taken { address, other_field, .. } => {
            settings.splice(0..0, list_element(topology, field, *address));
            settings.push(format!("topology.{other_field}"));
            "take another address: each has one owner".to_owned()
        }
        TopologyError::OutOfBounds { min, max, .. } => format!("write a number from {min} to {max}"),
    };
    Violation { settings, message, help }
}

/// The element of a list of addresses that is `address`.
fn list_element(topology: &Topology, field: &str, address: Ipv4Addr) -> Option<String> {
    let list = match field {
        "node.addresses" => &topology.node.addresses,
        "gateway.addresses" => &topology.gateway.addresses,
        _ => return None,
    };
    let index = list.iter().rposition(|&element| element == address)?;
    Some(format!("topology.{field}[{index}]"))
}

/// The settings that give the network which `field` lies in, and where in it: to be blamed if `field` was not typed.
fn around(field: &str) -> Vec<String> {
    let settings: &[&str] = match field {
        "pods.router" | "pods.first" | "pods.count" => &["pods.first", "pods.cidr"],
        "node.addresses" => &["node.cidr"],
        "gateway.private_address" => &["gateway.private_cidr"],
        "gateway.addresses" | "internet.router" => &["gateway.public_cidr"],
        "internet.server_first" | "internet.server_count" => &["internet.server_first", "internet.server_cidr"],
        _ => &[],
    };
    settings.iter().map(|setting| format!("topology.{setting}")).collect()
}
