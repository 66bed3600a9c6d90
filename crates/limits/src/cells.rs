//! What is measured: something that forwards, in a placement, under so many flows, offered in a certain way.

use natrig_bench::scenario::Design;

use crate::Settings;

/// One thing that is measured once in each round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    /// What forwards.
    pub(crate) what: What,
    /// On which processors.
    pub(crate) way: Way,
    /// Under how many flows.
    pub(crate) flows: Flows,
    /// What is offered, and what is the figure.
    pub(crate) offer: Offer,
}

/// What stands between generator and sink, and what carries frames to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// One NAT of ours between BPF rings.
    Ring,
    /// The same with frames of 1514 bytes.
    RingLarge,
    /// One NAT of ours between AF_XDP sockets.
    Xdp,
    /// One NAT of ours between AF_PACKET sockets.
    Packet,
    /// The same, received in blocks (TPACKET_V3).
    PacketBlocks,
    /// The kernel's masquerade.
    Kernel,
    /// The same, fed by AF_PACKET.
    KernelByPacket,
    /// An XDP program that redirects.
    Redirect,
    /// A NAT of ours at node and gateway, between BPF rings.
    BothRing,
    /// The kernel's at both.
    BothKernel,
    /// A NAT of ours at both, between rings in memory.
    BothMemory,
    /// One NAT of ours between BPF rings, and servers that answer.
    RingAnswered,
    /// The generator before an end that only drops, by live frames.
    FeedRing,
    /// The same with frames of 1514 bytes.
    FeedRingLarge,
    /// By AF_XDP.
    FeedXdp,
    /// By sendmmsg.
    FeedPacket,
}

/// On which processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Generator and sink on one, what forwards on another.
    Pipelined,
    /// Everything on one.
    OneCore,
    /// Everything on each of two: two worlds side by side.
    TwoCores,
}

/// How many flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flows {
    /// One.
    One,
    /// As many as the settings say.
    Many,
    /// More than any cache holds.
    Million,
}

/// What is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// The highest rate without loss, by a search.
    LossFree,
    /// As much as the generator can send; what is delivered counts.
    FlatOut,
    /// Each flow one frame, through empty tables, as fast as it goes.
    NewFlows,
    /// Half of what the kernel's masquerade carries without loss in the same round; latency counts.
    Latency,
    /// As much as the generator can send, into an end that only drops.
    Alone,
    /// Half of that, in equal gaps; how late frames leave counts.
    LagConstant,
    /// The same with exponential gaps.
    LagPoisson,
    /// As in equal gaps, but frames are made and handed to nobody: the machine's own share of the lag.
    LagFloor,
    /// A frame now and then, and its answer; the round trip counts.
    RoundTrip,
}

impl What {
    pub(crate) const fn design(self) -> Design {
        match self {
            Self::Ring
            | Self::RingLarge
            | Self::RingAnswered
            | Self::Xdp
            | Self::Packet
            | Self::PacketBlocks
            | Self::Kernel
            | Self::KernelByPacket => Design::Gateway,
            Self::Redirect | Self::FeedRing | Self::FeedRingLarge | Self::FeedXdp | Self::FeedPacket => Design::None,
            Self::BothRing | Self::BothKernel | Self::BothMemory => Design::Both,
        }
    }

    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Ring => "ours, rings",
            Self::RingLarge => "ours, rings, 1514 bytes",
            Self::Xdp => "ours, AF_XDP",
            Self::Packet => "ours, AF_PACKET",
            Self::PacketBlocks => "ours, AF_PACKET in blocks",
            Self::Kernel => "nftables",
            Self::KernelByPacket => "nftables by AF_PACKET",
            Self::Redirect => "XDP redirect",
            Self::BothRing => "ours twice, rings",
            Self::BothKernel => "nftables twice",
            Self::BothMemory => "ours twice, memory",
            Self::RingAnswered => "ours, rings, answered",
            Self::FeedRing => "generator, live frames",
            Self::FeedRingLarge => "generator, live frames, 1514 bytes",
            Self::FeedXdp => "generator, AF_XDP",
            Self::FeedPacket => "generator, sendmmsg",
        }
    }

    /// The generator that frames come from, alone.
    pub(crate) const fn feed(self) -> Option<Self> {
        match self {
            Self::Ring | Self::RingAnswered | Self::Redirect | Self::BothRing => Some(Self::FeedRing),
            Self::RingLarge => Some(Self::FeedRingLarge),
            Self::Xdp => Some(Self::FeedXdp),
            // Threads of the kernel's are fed by sendmmsg, whatever the kind of link.
            Self::Packet | Self::PacketBlocks | Self::KernelByPacket | Self::Kernel | Self::BothKernel => {
                Some(Self::FeedPacket)
            }
            Self::BothMemory | Self::FeedRing | Self::FeedRingLarge | Self::FeedXdp | Self::FeedPacket => None,
        }
    }

    /// Whether the kernel, or a program in it, forwards: in threads of its own where something else generates.
    pub(crate) const fn is_kernel(self) -> bool {
        matches!(self, Self::Kernel | Self::KernelByPacket | Self::BothKernel | Self::Redirect)
    }
}

impl Way {
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Pipelined => "pipelined",
            Self::OneCore => "one core",
            Self::TwoCores => "a chain on each core",
        }
    }

    pub(crate) const fn cores(self) -> u32 {
        match self {
            Self::OneCore => 1,
            Self::Pipelined | Self::TwoCores => 2,
        }
    }
}

impl Flows {
    pub(crate) fn words(self, settings: &Settings) -> String {
        match self {
            Self::One => "1 flow".to_owned(),
            Self::Many => format!("{} flows", settings.flows),
            Self::Million => format!("{MILLION} flows"),
        }
    }
}

impl Offer {
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::LossFree => "without loss",
            Self::FlatOut => "flat out",
            Self::NewFlows => "new flows",
            Self::Latency => "latency",
            Self::Alone => "into a drop",
            Self::LagConstant => "half, constant",
            Self::LagPoisson => "half, Poisson",
            Self::LagFloor => "half, to nobody",
            Self::RoundTrip => "idle round trip",
        }
    }
}

/// How many flows [`Flows::Million`] is.
pub(crate) const MILLION: u32 = 1_000_000;

impl Cell {
    /// The cell whose rate in the same round says at which rate this one is measured.
    pub(crate) fn paced_by(&self) -> Option<Self> {
        match self.offer {
            Offer::Latency => Some(Self { what: What::Kernel, offer: Offer::LossFree, ..*self }),
            Offer::LagConstant | Offer::LagPoisson | Offer::LagFloor => Some(Self { offer: Offer::Alone, ..*self }),
            Offer::LossFree | Offer::FlatOut | Offer::NewFlows | Offer::Alone | Offer::RoundTrip => None,
        }
    }

    /// Where lag is measured: the cell that tells the machine's own share of it.
    pub(crate) fn lag_floor(&self) -> Option<Self> {
        let lag = matches!(self.offer, Offer::LagConstant | Offer::LagPoisson);
        lag.then_some(Self { offer: Offer::LagFloor, ..*self })
    }

    /// What its generator does alone.
    pub(crate) fn feed(&self) -> Option<Self> {
        let what = self.what.feed().filter(|_| self.way == Way::Pipelined)?;
        Some(Self { what, way: Way::OneCore, flows: self.flows, offer: Offer::Alone })
    }

    pub(crate) fn name(&self, settings: &Settings) -> String {
        format!("{}, {}, {}", self.what.words(), self.way.words(), self.flows.words(settings))
    }
}
