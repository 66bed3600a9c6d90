//! Settings that are one word from a closed list.

use natrig_lab::plan::PortChoice;
use natrig_traffic::Arrivals;

use crate::settings::Word;
use crate::words;

words! {
    /// Where addresses are translated: the 2×2 that every report is built on.
    Design {
        /// Nowhere: what the hops alone cost.
        None = "none",
        /// At the node only, as with masquerading and a public node address.
        Node = "node",
        /// At the gateway only, as with routable pod addresses and masquerading off.
        Gateway = "gateway",
        /// At both: masquerading on, and a NAT gateway behind it.
        Both = "both",
    }
}

impl Design {
    /// Whether the node translates in this design.
    #[must_use]
    pub fn translates_at_node(self) -> bool {
        matches!(self, Self::Node | Self::Both)
    }

    /// Whether the gateway translates in this design.
    #[must_use]
    pub fn translates_at_gateway(self) -> bool {
        matches!(self, Self::Gateway | Self::Both)
    }
}

words! {
    /// What stands at a layer: what does the translating there, or what stands there where nothing can translate.
    Engine {
        /// natrig's own NAT, with a profile that says how it behaves. Without a NAT the layer forwards in userspace, too.
        Userspace = "userspace",
        /// The kernel's NAT, set up with nftables. Without a NAT the layer is forwarded by the kernel, too.
        Nftables = "nftables",
        /// An XDP program that sends each frame on as it is, without routing: the bound of the hops.
        Redirect = "redirect",
        /// Nothing: the generator stands in the place of the node.
        Absent = "absent",
    }
}

impl Engine {
    /// Whether it can translate.
    #[must_use]
    pub const fn translates(self) -> bool {
        matches!(self, Self::Userspace | Self::Nftables)
    }
}

words! {
    /// Which address the kernel's NAT translates to.
    KernelAddress {
        /// The only one of the layer, looked up on its interface for each new connection.
        Masquerade = "masquerade",
        /// One of the layer's addresses, by a hash of source and destination.
        Snat = "snat",
    }
}

impl Word for PortChoice {
    const ALL: &'static [Self] = &Self::ALL;

    fn word(self) -> &'static str {
        self.word()
    }
}

impl Word for Arrivals {
    const ALL: &'static [Self] = &[Self::Constant, Self::Poisson];

    fn word(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Poisson => "poisson",
        }
    }
}

words! {
    /// Which ways carry measured frames.
    TrafficDirection {
        /// From the pods to the servers.
        Out = "out",
        /// Out, and each frame is answered.
        Both = "both",
    }
}

words! {
    /// How the highest rate is searched for.
    SearchMethod {
        /// The highest rate without loss, by halving, each rate that failed tried again.
        Binary = "binary",
        /// MLRsearch with the goals of FD.io CSIT: NDR and PDR at once, each load judged from several trials.
        Mlrsearch = "mlrsearch",
        /// MLRsearch with the goal that RFC 2544 has: one trial of 60 s without loss.
        Rfc2544 = "rfc2544",
    }
}

words! {
    /// How frames travel between the stages.
    LinkKind {
        /// Of ring, xdp and packet the one that carried most over one hop before the run, or memory where there are no namespaces. A run that
        /// asks for no latency also tries AF_PACKET in blocks.
        Auto = "auto",
        /// Rings in memory: no kernel, no privilege.
        Memory = "memory",
        /// Rings in mapped BPF arrays on veths, sent as live frames.
        Ring = "ring",
        /// AF_XDP sockets on veths.
        Xdp = "xdp",
        /// AF_PACKET on veths, in batches.
        Packet = "packet",
        /// The pnet library on veths, a frame at a time: the portable baseline.
        Pnet = "pnet",
    }
}

words! {
    /// Where the kernel works, at the layers where it forwards.
    KernelWork {
        /// Inside the calls that hand it frames, and so on the generator's processor.
        Inline = "inline",
        /// In threads of its own (threaded NAPI), on the processor of the system under test.
        Threads = "threads",
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;

    #[test]
    fn the_word_in_json_is_the_word_in_files() {
        fn check<W: Word + Serialize>() {
            for &value in W::ALL {
                assert_eq!(serde_json::to_value(value).unwrap(), value.word());
                assert!(W::from_word(value.word()) == Some(value));
            }
        }
        check::<Design>();
        check::<Engine>();
        check::<KernelAddress>();
        check::<PortChoice>();
        check::<Arrivals>();
        check::<TrafficDirection>();
        check::<SearchMethod>();
        check::<LinkKind>();
        check::<KernelWork>();
        assert!(Design::from_word("neither").is_none());
    }

    #[test]
    fn designs_translate_where_they_say() {
        let layers: Vec<(bool, bool)> =
            Design::ALL.iter().map(|design| (design.translates_at_node(), design.translates_at_gateway())).collect();
        assert_eq!(layers, [(false, false), (true, false), (false, true), (true, true)]);
    }
}
