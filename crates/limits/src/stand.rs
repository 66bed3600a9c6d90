//! The worlds that cells are measured in.

use std::net::Ipv4Addr;
use std::sync::atomic::AtomicBool;

use natrig_bench::result::Environment;
use natrig_bench::scenario::{Engine, FrameSize, KernelWork, Layer, Placement, Scenario, TrafficDirection};
use natrig_bench::{Bench, Carrier, Engines, OpenLink};

use crate::cells::{Cell, Way, What};
use crate::{Settings, base};

/// The most flows: what one address can translate towards the servers there are.
pub(crate) const FLOWS_MAX: u32 = 200_000;

/// Frames with 64 bytes behind the UDP header, as RFC 2544 counts them: with frame check sequence.
const SMALL: u16 = 110;
/// The longest of a standard Ethernet.
const LARGE: u16 = 1518;
/// Two bursts of the generator's.
const LARGE_SLOTS: u32 = 2048;
const FCS_BYTES: u16 = 4;

/// What tells worlds apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    what: What,
    kernel: KernelWork,
    /// The second of two side by side.
    second: bool,
}

/// A world in the making: what must live as long as it does.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) key: Key,
    pub(crate) scenario: Scenario,
    pub(crate) engines: Engines,
}

/// The processors: two, or the only one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cores {
    pub(crate) first: u16,
    pub(crate) second: Option<u16>,
}

impl Cell {
    /// The worlds that it needs: one, or two side by side.
    pub(crate) fn keys(&self) -> Vec<Key> {
        let in_threads = self.what.is_kernel() && self.way == Way::Pipelined;
        let kernel = if in_threads { KernelWork::Threads } else { KernelWork::Inline };
        let key = |second| Key { what: self.what, kernel, second };
        if self.way == Way::TwoCores { vec![key(false), key(true)] } else { vec![key(false)] }
    }

    pub(crate) fn frame_size(&self) -> FrameSize {
        FrameSize::Bytes(self.frame_bytes_with_fcs())
    }

    pub(crate) fn frame_bytes_with_fcs(&self) -> u16 {
        self.what.frame_bytes() + FCS_BYTES
    }
}

impl What {
    /// Without frame check sequence.
    pub(crate) fn frame_bytes(self) -> u16 {
        (if matches!(self, Self::RingLarge | Self::FeedRingLarge) { LARGE } else { SMALL }) - FCS_BYTES
    }

    fn carrier(self) -> Carrier {
        let veth = |link| Carrier::Veth(vec![link]);
        match self {
            Self::Ring | Self::RingAnswered | Self::BothRing => veth(OpenLink::Ring),
            // Copying an end that nobody reads would be the sink's share of what is measured.
            Self::RingLarge => veth(OpenLink::RingToHeads),
            Self::FeedRing | Self::FeedRingLarge => veth(OpenLink::Ring),
            // Whoever cannot send live frames can still feed a kernel.
            Self::Kernel | Self::BothKernel => Carrier::Veth(vec![OpenLink::Ring, OpenLink::Packet]),
            Self::Redirect => veth(OpenLink::Ring),
            Self::Xdp | Self::FeedXdp => veth(OpenLink::Xdp),
            Self::Packet | Self::KernelByPacket | Self::FeedPacket => veth(OpenLink::Packet),
            Self::PacketBlocks => veth(OpenLink::PacketBlocks),
            Self::BothMemory => Carrier::Memory,
        }
    }

    fn engines(self) -> [Engine; 2] {
        match self {
            Self::Ring | Self::RingLarge | Self::RingAnswered | Self::Xdp | Self::Packet | Self::PacketBlocks => {
                [Engine::Absent, Engine::Userspace]
            }
            Self::FeedRing | Self::FeedRingLarge | Self::FeedXdp | Self::FeedPacket => [Engine::Absent; 2],
            Self::Kernel | Self::KernelByPacket => [Engine::Absent, Engine::Nftables],
            Self::Redirect => [Engine::Absent, Engine::Redirect],
            Self::BothRing | Self::BothMemory => [Engine::Userspace, Engine::Userspace],
            Self::BothKernel => [Engine::Nftables, Engine::Nftables],
        }
    }
}

impl Ground {
    /// What `key` says.
    ///
    /// # Errors
    /// Why it cannot be, in words.
    pub(crate) fn new(settings: &Settings, key: Key) -> Result<Self, String> {
        let mut scenario = base(settings);
        let [node, gateway] = key.what.engines();
        scenario.node = Layer { engine: node, ..Layer::userspace("netfilter") };
        scenario.gateway = Layer { engine: gateway, ..Layer::userspace("netfilter") };
        scenario.designs = vec![key.what.design()];
        scenario.traffic.frame_sizes = vec![FrameSize::Bytes(key.what.frame_bytes() + FCS_BYTES)];
        scenario.link.kernel = key.kernel;
        // A ring of large frames that is as deep as others falls out of every cache.
        scenario.link.slots = matches!(key.what, What::RingLarge | What::FeedRingLarge).then_some(LARGE_SLOTS);
        if key.what == What::RingAnswered {
            scenario.traffic.direction = TrafficDirection::Both;
        }
        if key.second {
            // Two that share a way out must not choose the same port of the same address.
            let (node, gateway) = (&mut scenario.topology.node.addresses, &mut scenario.topology.gateway.addresses);
            for address in node.iter_mut().chain(gateway) {
                *address = Ipv4Addr::from_bits(address.to_bits() + 1);
            }
        }
        let engines = Engines::new(&scenario).map_err(|error| error.to_string())?;
        Ok(Self { key, scenario, engines })
    }

    /// Builds it.
    ///
    /// # Errors
    /// Why it cannot be had here, in words.
    pub(crate) fn open<'a>(
        &'a self,
        cancel: &'a AtomicBool,
        environment: &mut Environment,
        warnings: &mut Vec<String>,
    ) -> Result<Bench<'a>, String> {
        let bytes = usize::from(self.key.what.frame_bytes());
        let carrier = self.key.what.carrier();
        Bench::open(&self.scenario, &self.engines, &carrier, bytes, cancel, environment, warnings)
            .map_err(|error| error.to_string())
    }
}

impl Cores {
    pub(crate) fn here() -> Self {
        let allowed = natrig_link::affinity::allowed_cores().unwrap_or_default();
        let mut cores = allowed.into_iter().filter_map(|core| u16::try_from(core).ok());
        Self { first: cores.next().unwrap_or(0), second: cores.next() }
    }

    /// Where a world runs in `way`; `second`: the second of two side by side. None where there are too few.
    pub(crate) fn placement(self, way: Way, second: bool) -> Option<Placement> {
        let only = |core| Placement::Cpus { tester: core, dut: core };
        match way {
            Way::Pipelined => self.second.map(|dut| Placement::Cpus { tester: self.first, dut }),
            Way::OneCore => Some(only(self.first)),
            Way::TwoCores if second => self.second.map(only),
            Way::TwoCores => self.second.map(|_| only(self.first)),
        }
    }
}
