//! Who forwards at the two boxes in the middle.

use super::Port;

/// What moves frames from one side of a box to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ForwardedBy {
    /// A stage in userspace, under MAC addresses of its own; the kernel stays out of it.
    #[default]
    Stage,
    /// The kernel of the box's namespace: with addresses, routes and neighbours, under the MAC addresses of the veth ends. It works
    /// inside the calls that send frames to it.
    Kernel,
    /// The same, but what arrives from elsewhere than another kernel is taken over by kernel threads, and forwarded on their processor.
    KernelThreads,
    /// Nobody: a program in the interfaces' drivers sends frames on as they are, inside the calls that send to it.
    Redirect,
    /// The same in kernel threads.
    RedirectThreads,
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
        matches!(self.at(port), Some(ForwardedBy::Kernel | ForwardedBy::KernelThreads))
    }

    /// Whether the kernel forwards anywhere.
    pub const fn any_kernel(self) -> bool {
        self.is_kernel(Port::NodeInside) || self.is_kernel(Port::GatewayInside)
    }

    /// Whether kernel threads take over what arrives at `port`.
    pub const fn has_threads(self, port: Port) -> bool {
        matches!(self.at(port), Some(ForwardedBy::KernelThreads | ForwardedBy::RedirectThreads))
            && !self.is_kernel(port.peer())
    }
}
