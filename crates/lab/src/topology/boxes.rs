//! Who forwards at the two boxes in the middle.

use super::Port;

/// What moves frames from one side of a box to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ForwardedBy {
    /// A stage in userspace, under MAC addresses of its own; the kernel stays out of it.
    #[default]
    Stage,
    /// The kernel of the box's namespace: with addresses, routes and neighbours, under the MAC addresses of the veth ends.
    Kernel,
}

/// Who forwards at node and gateway, whether they translate or not: so the hops are the same in all designs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Boxes {
    /// At the node.
    pub node: ForwardedBy,
    /// At the gateway.
    pub gateway: ForwardedBy,
}

impl Boxes {
    /// Both boxes by stages.
    pub const STAGES: Self = Self { node: ForwardedBy::Stage, gateway: ForwardedBy::Stage };

    /// Who forwards what arrives at `port`; none at the two ends of the world.
    pub const fn at(self, port: Port) -> Option<ForwardedBy> {
        match port {
            Port::NodeInside | Port::NodeOutside => Some(self.node),
            Port::GatewayInside | Port::GatewayOutside => Some(self.gateway),
            Port::Pods | Port::Internet => None,
        }
    }

    /// Whether the kernel forwards what arrives at `port`.
    pub const fn is_kernel(self, port: Port) -> bool {
        matches!(self.at(port), Some(ForwardedBy::Kernel))
    }

    /// Whether the kernel forwards anywhere.
    pub const fn any_kernel(self) -> bool {
        matches!(self.node, ForwardedBy::Kernel) || matches!(self.gateway, ForwardedBy::Kernel)
    }
}
