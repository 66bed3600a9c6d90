//! Who refused, why, and what the vendor's own instruments call it.

use natrig_bench::settings::Word;
use natrig_nat::DropReason;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

natrig_bench::words! {
    /// Where a connection was refused.
    Layer {
        /// The node.
        Node = "node",
        /// The gateway.
        Gateway = "gateway",
    }
}

/// Attempts that a layer refused for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefusedBy {
    /// The layer.
    pub layer: Layer,
    /// natrig's or the kernel's name of the reason.
    pub reason: String,
    /// What the NAT's own instruments count it as; absent where its vendor documents nothing.
    pub counter: Option<String>,
    /// Attempts.
    pub attempts: u64,
}

/// Reasons for which a new connection is refused, rather than a frame of an old one.
pub(crate) const REFUSALS: [DropReason; 6] = [
    DropReason::PortsExhausted,
    DropReason::DestinationLimit,
    DropReason::SourceLimit,
    DropReason::SourceRate,
    DropReason::TableFull,
    DropReason::SourcesFull,
];

/// What the instruments of the NAT that `profile` follows show for a refusal.
pub(crate) fn vendor_counter(profile: &str, reason: &str) -> Option<&'static str> {
    let ports = matches!(reason, "ports_exhausted" | "destination_limit" | "source_limit");
    Some(match profile {
        // bpf/lib/drop_reasons.h; a full LRU map evicts and refuses nothing.
        name if name.starts_with("cilium") && ports => "DROP_NAT_NO_MAPPING (167)",
        // nf_conntrack's per-CPU statistics, `conntrack -S`.
        name if name.starts_with("netfilter") || name.starts_with("nftables") || name == "vpc-cni" => match reason {
            "table_full" | "conntrack_table_full" => "drop, \"nf_conntrack: table full, dropping packet\"",
            _ => "insert_failed",
        },
        // CloudWatch, namespace AWS/NATGateway.
        "aws-natgw" if ports => "ErrorPortAllocation",
        // Azure Monitor, Microsoft.Network/natGateways: SNAT connection count, dimension ConnectionState.
        "azure-natgw" if ports => "SNATConnectionCount, ConnectionState = Failed",
        // Cloud Monitoring, nat_allocation_failed and the reason label of dropped_sent_packets_count.
        name if name.starts_with("gcp") && ports => "OUT_OF_RESOURCES",
        _ => return None,
    })
}

/// Adds `attempts` to the entry for the layer and reason.
pub(crate) fn add(into: &mut Vec<RefusedBy>, refused: &RefusedBy) {
    match into.iter_mut().find(|known| known.layer == refused.layer && known.reason == refused.reason) {
        Some(known) => known.attempts += refused.attempts,
        None => into.push(refused.clone()),
    }
}

/// How many attempts a layer refused.
pub(crate) fn at(refused: &[RefusedBy], layer: Layer) -> u64 {
    refused.iter().filter(|one| one.layer == layer).map(|one| one.attempts).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use natrig_nat::Profile;

    #[test]
    fn every_profile_of_a_real_nat_has_a_counter_for_exhausted_ports() {
        for name in Profile::names().iter().filter(|name| **name != "rfc4787") {
            assert!(vendor_counter(name, DropReason::PortsExhausted.as_str()).is_some(), "{name}");
        }
        assert_eq!(vendor_counter("rfc4787", "ports_exhausted"), None);
        assert_eq!(vendor_counter("nftables-fully-random", "conntrack_insert_failed"), Some("insert_failed"));
        assert_eq!(vendor_counter("aws-natgw", "table_full"), None);
    }
}
