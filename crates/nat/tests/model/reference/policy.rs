//! What is translated: the order of decisions of bpf/lib/nat.h, `snat_v4_needs_masquerade`.

use std::net::Ipv4Addr;

use natrig_nat::Cidr;

use super::Reference;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Translate,
    /// To this outside address and no other.
    TranslateTo(Ipv4Addr),
    Pass,
    Drop,
    /// The network knows no such source.
    Unknown,
}

impl Reference {
    pub(super) fn fate(&self, src: Ipv4Addr, dst: Ipv4Addr) -> Fate {
        let policy = &self.config.policy;
        let within = |blocks: &[Cidr], addr: Ipv4Addr| blocks.iter().any(|block| block.contains(addr));
        if !policy.allowed_sources.is_empty() && !within(&policy.allowed_sources, src) {
            return Fate::Unknown;
        }
        let selected = |name: &String| match name.strip_suffix('+') {
            Some(prefix) => policy.egress_interface.starts_with(prefix),
            None => policy.egress_interface == *name,
        };
        if !policy.interfaces.is_empty() && !policy.interfaces.iter().any(|selector| selected(&selector.0)) {
            return Fate::Pass;
        }
        if self.is_outside(src) {
            return Fate::TranslateTo(src);
        }
        for rule in &policy.egress_gateway {
            if within(&rule.sources, src) && within(&rule.destinations, dst) && !within(&rule.excluded, dst) {
                return rule.address.map_or(Fate::Drop, Fate::TranslateTo);
            }
        }
        let link_local = dst.octets()[..2] == [169, 254] && !self.behaviour().policy.translate_link_local;
        let other_node = within(&policy.remote_nodes, dst) && !policy.masquerade_remote_nodes;
        let excluded =
            link_local || other_node || within(&policy.native_routing, dst) || within(&policy.non_masquerade, dst);
        let no_pod = !policy.endpoints.is_empty() && !within(&policy.endpoints, src);
        if excluded || no_pod || within(&policy.host_endpoints, src) { Fate::Pass } else { Fate::Translate }
    }

    /// Packets from outside to inside addresses: answers to what policy passes come back untranslated.
    pub(super) fn passes_from(&self, src: Ipv4Addr) -> bool {
        let policy = &self.config.policy;
        let within = |blocks: &[Cidr]| blocks.iter().any(|block| block.contains(src));
        let link_local = src.octets()[..2] == [169, 254] && !self.behaviour().policy.translate_link_local;
        let other_node = within(&policy.remote_nodes) && !policy.masquerade_remote_nodes;
        link_local || other_node || within(&policy.native_routing) || within(&policy.non_masquerade)
    }
}
