//! The link ends of a world, of whatever kind they are: six, but for boxes that the kernel forwards at.

use natrig_lab::lease::Lease;
use natrig_lab::topology::Port;
use natrig_link::kernel_tap::{ForwardingTap, KernelTap};
use natrig_link::packet::{PacketLink, PacketOptions, Reception};
use natrig_link::pnet::PnetLink;
use natrig_link::redirect::Redirect;
use natrig_link::ring::{self, RingLink, RingOptions};
use natrig_link::xdp::{self, XdpOptions};
use natrig_link::{BURST_MAX, Link, LinkDescription, LinkKind, LinkStats, OpenError, RecvError, memory};

use natrig_traffic::Refused;

use super::{BoxLinks, Ends, LayerLinks};
use crate::result::{Dropped, Place};
use crate::scenario::{Engine, KernelWork, Lineup};

/// How to open a link to an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenLink {
    /// Rings in mapped BPF arrays, sent as live frames.
    Ring,
    /// The same, and where frames end only the beginning of most long ones is received.
    RingToHeads,
    /// AF_XDP sockets.
    Xdp,
    /// AF_PACKET with a mapped ring.
    Packet,
    /// The same, received in blocks (TPACKET_V3).
    PacketBlocks,
    /// pnet's datalink channel.
    Pnet,
}

impl OpenLink {
    /// The name used in results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ring | Self::RingToHeads => "ring",
            Self::Xdp => "xdp",
            Self::Packet => "packet",
            Self::PacketBlocks => "packet-blocks",
            Self::Pnet => "pnet",
        }
    }
}

/// Why the links of a world cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The namespace cannot be entered.
    #[error("failed to enter namespace {namespace}: {source}")]
    Enter {
        /// Which one.
        namespace: &'static str,
        /// Why.
        source: natrig_lab::lease::EnterError,
    },
    /// The link cannot be opened there.
    #[error("failed to open {interfaces} in namespace {namespace}: {source}")]
    Open {
        /// Where.
        namespace: &'static str,
        /// Which interfaces.
        interfaces: String,
        /// Why.
        source: OpenError,
    },
}

/// Both threads' links.
pub(crate) struct Links {
    /// The tester's two.
    pub(crate) tester: Ends,
    /// The layers' four.
    pub(crate) layers: LayerLinks,
    /// Boxes whose frames the kernel stamps: what joins their interfaces, where nobody forwards at them, is one with its tap.
    pub(crate) taps: Vec<(Place, Box<dyn KernelTap>)>,
    /// Boxes that the kernel forwards at, and why it cannot stamp there.
    pub(crate) untapped: Vec<(Place, OpenError)>,
    /// Ends of the way where nothing stands: programs that drop whatever arrives.
    _drops: Vec<Box<dyn Link>>,
    /// Whether threads of the kernel's take in what is sent at the pods' end, and at the servers'.
    into_threads: [bool; 2],
    /// Where frames end, most longer ones are cut to so many bytes.
    heads: Option<usize>,
    /// Longest frame that all of them carry, in bytes.
    frame_len_max: usize,
}

/// What links carry at least, in bytes: ICMP errors about the smallest frames, and TCP in small segments. Still a small slot.
const FRAME_LEN_LEAST: usize = 174;

/// What is a small frame to links that have slots for these, in bytes.
const FRAME_LEN_SMALL: usize = 240;

/// What is received of a long frame where only its beginning is: headers, stamp and some of what follows, whole cache lines of a slot.
const HEAD_BYTES: usize = 176;

/// What a veth's receive ring holds (`VETH_RING_SIZE` in `drivers/net/veth.c`): of a longer burst at once some is lost there, however
/// fast the thread is that drains it.
const VETH_RING_FRAMES: usize = 256;

/// Slots of a ring in memory: a millisecond and a half at ten million frames a second, longer than most stalls.
const MEMORY_SLOTS: u32 = 16_384;

impl Links {
    /// Pairs of rings in memory between what stands in `lineup`, each of `slots` slots, for frames of up to `frame_len_max` bytes.
    pub(crate) fn in_memory(lineup: Lineup, slots: Option<u32>, frame_len_max: usize) -> Self {
        let slots = slots.unwrap_or(MEMORY_SLOTS);
        let frame_len_max = frame_len_max.max(FRAME_LEN_LEAST);
        let pair = || {
            let (near, far) = memory::pair(slots as usize, frame_len_max);
            (Box::new(near) as Box<dyn Link>, Box::new(far) as Box<dyn Link>)
        };
        let ((node_outside, gateway_inside), (gateway_outside, internet)) = (pair(), pair());
        let (pods, node) = if lineup.node == Engine::Absent {
            (node_outside, None)
        } else {
            let (pods, node_inside) = pair();
            (pods, Some(BoxLinks { inside: node_inside, outside: node_outside }))
        };
        let gateway = Some(BoxLinks { inside: gateway_inside, outside: gateway_outside });
        Self {
            tester: Ends { pods, internet },
            layers: LayerLinks { node, gateway },
            taps: Vec::new(),
            untapped: Vec::new(),
            _drops: Vec::new(),
            into_threads: [false; 2],
            heads: None,
            frame_len_max,
        }
    }

    /// A link to each veth end of a world where no kernel speaks. The two ends of a box are opened together: where the kind allows,
    /// they share the memory that frames lie in.
    ///
    /// # Errors
    /// [`LinkError`].
    pub(crate) fn open(
        lease: &Lease,
        lineup: Lineup,
        kernel: KernelWork,
        how: OpenLink,
        slots: Option<u32>,
        frame_len_max: usize,
    ) -> Result<Self, LinkError> {
        let frame_len_max = frame_len_max.max(FRAME_LEN_LEAST);
        let end = |port: Port| End { interface: port.interface(), into_thread: is_into_thread(port, lineup, kernel) };
        let heads = (how == OpenLink::RingToHeads).then_some(HEAD_BYTES);
        let how = if heads.is_some() { OpenLink::Ring } else { how };
        let single = |port: Port| {
            let how = if port == Port::Internet && heads.is_some() { OpenLink::RingToHeads } else { how };
            open_end(lease, port.namespace(), end(port), how, slots, frame_len_max)
        };
        let mut drops = Vec::new();
        if lineup.gateway == Engine::Absent && matches!(how, OpenLink::Ring | OpenLink::RingToHeads | OpenLink::Xdp) {
            // A ring that is full for ever. Others that arrive by no NAPI are dropped by the kernel, as nobody's.
            drops.push(open_single(lease, Port::GatewayInside, OpenLink::Ring, Some(1), frame_len_max)?);
        }
        let (mut taps, mut untapped) = (Vec::<(Place, Box<dyn KernelTap>)>::new(), Vec::new());
        let mut double = |place, engine, inside: Port, outside: Port| -> Result<Option<BoxLinks>, LinkError> {
            let (namespace, interfaces) = (inside.namespace(), [inside.interface(), outside.interface()]);
            match engine {
                Engine::Absent => Ok(None),
                Engine::Nftables => {
                    match within(lease, namespace, &interfaces, || ForwardingTap::between(interfaces[0], interfaces[1]))
                    {
                        Ok(tap) => taps.push((place, Box::new(tap))),
                        // Frames go through without stamps, too.
                        Err(LinkError::Open { source, .. }) => untapped.push((place, source)),
                        Err(error) => return Err(error),
                    }
                    Ok(None)
                }
                Engine::Redirect => {
                    let between = || Redirect::between(interfaces[0], interfaces[1]);
                    taps.push((place, Box::new(within(lease, namespace, &interfaces, between)?)));
                    Ok(None)
                }
                Engine::Userspace => {
                    let ends = [end(inside), end(outside)];
                    let open = || open_links(how, &ends, slots, frame_len_max);
                    let [inside, outside] = exactly(within(lease, namespace, &interfaces, open)?);
                    Ok(Some(BoxLinks { inside, outside }))
                }
            }
        };
        // From the inside out: frames sent to an end that is not open yet would be lost.
        let node = double(Place::Node, lineup.node, Port::NodeInside, Port::NodeOutside)?;
        let gateway = double(Place::Gateway, lineup.gateway, Port::GatewayInside, Port::GatewayOutside)?;
        Ok(Self {
            tester: Ends { pods: single(lineup.start())?, internet: single(Port::Internet)? },
            layers: LayerLinks { node, gateway },
            taps,
            untapped,
            _drops: drops,
            into_threads: [lineup.start(), Port::Internet].map(|port| is_into_thread(port, lineup, kernel)),
            heads,
            frame_len_max,
        })
    }

    /// Longest frame that all of them carry, in bytes.
    pub(crate) fn frame_len_max(&self) -> usize {
        self.frame_len_max
    }

    /// To how many bytes frames may be cut where they end.
    pub(crate) fn heads(&self) -> Option<usize> {
        self.heads
    }

    /// What carries frames at the pods' end; the others are alike.
    pub(crate) fn describe(&self) -> LinkDescription {
        self.tester.pods.describe()
    }

    /// Frames that should be handed over at once at an end, at most: enough to spread what a call costs, few enough to keep latency
    /// honest.
    pub(crate) fn burst(&self, end: Place) -> usize {
        let burst = burst_of(self.describe().kind, self.frame_len_max);
        if self.is_into_threads(end) { burst.min(VETH_RING_FRAMES / 4) } else { burst }
    }

    /// What becomes of frames that an end's link does not take: in memory, and before a thread of the kernel's, the ring that has no room
    /// for them is the next box's receive ring.
    pub(crate) fn refused(&self, end: Place) -> Refused {
        match self.describe().kind {
            LinkKind::Memory => Refused::Lose,
            LinkKind::Ring | LinkKind::Xdp | LinkKind::Packet | LinkKind::Pnet if self.is_into_threads(end) => {
                Refused::Lose
            }
            LinkKind::Ring | LinkKind::Xdp | LinkKind::Packet | LinkKind::Pnet => Refused::Wait,
        }
    }

    /// How many frames may be under way from an end before a ring that loses could overflow.
    pub(crate) fn room(&self, end: Place) -> Option<usize> {
        let slots = if self.is_into_threads(end) { VETH_RING_FRAMES } else { self.describe().slots as usize };
        (self.refused(end) == Refused::Lose).then_some(slots - slots / 4)
    }

    fn is_into_threads(&self, end: Place) -> bool {
        self.into_threads[usize::from(end == Place::Internet)]
    }

    /// Throws away what still lies in the receive rings, until `quiet_polls` rounds in a row found nothing.
    ///
    /// # Errors
    /// What the links return.
    pub(crate) fn flush(&mut self, quiet_polls: u32) -> Result<u64, RecvError> {
        let (mut thrown_away, mut quiet) = (0, 0);
        while quiet < quiet_polls {
            let mut found = 0;
            for (_, link) in self.ends() {
                found += link.recv(BURST_MAX, &mut |_| {})?;
            }
            quiet = if found == 0 { quiet + 1 } else { 0 };
            thrown_away += found as u64;
        }
        Ok(thrown_away)
    }

    /// The counters of all ends, from the pods outwards.
    pub(crate) fn stats(&mut self) -> Vec<(Place, LinkStats)> {
        self.ends().into_iter().map(|(place, link)| (place, link.stats())).collect()
    }

    fn ends(&mut self) -> Vec<(Place, &mut dyn Link)> {
        let Self { tester, layers: LayerLinks { node, gateway }, .. } = self;
        let mut ends: Vec<(Place, &mut dyn Link)> = vec![(Place::Pods, &mut *tester.pods)];
        for (place, links) in [(Place::Node, node), (Place::Gateway, gateway)] {
            if let Some(BoxLinks { inside, outside }) = links {
                ends.push((place, &mut **inside));
                ends.push((place, &mut **outside));
            }
        }
        ends.push((Place::Internet, &mut *tester.internet));
        ends
    }
}

/// Frames that a link of that kind should be handed at once, at most.
pub(super) fn burst_of(kind: LinkKind, frame_len_max: usize) -> usize {
    match kind {
        // More of the large ones fill the rings that they go to.
        LinkKind::Ring if frame_len_max > FRAME_LEN_SMALL => BURST_MAX / 2,
        LinkKind::Ring => BURST_MAX,
        LinkKind::Memory | LinkKind::Xdp => 256,
        LinkKind::Packet => 64,
        LinkKind::Pnet => 1,
    }
}

/// What the links lost between two readings of their counters.
pub(crate) fn lost_between(before: &[(Place, LinkStats)], after: &[(Place, LinkStats)]) -> Vec<Dropped> {
    let mut losses = Vec::new();
    for ((place, was), (_, is)) in before.iter().zip(after) {
        let reasons = [
            ("receive_ring_full", is.rx_overflow - was.rx_overflow),
            ("frame_too_long", is.rx_truncated - was.rx_truncated),
            ("not_sendable", is.tx_refused - was.tx_refused),
        ];
        for (reason, frames) in reasons {
            add_drop(&mut losses, *place, reason, frames);
        }
    }
    losses
}

/// Adds `frames` to the entry for `place` and `reason`.
pub(crate) fn add_drop(drops: &mut Vec<Dropped>, place: Place, reason: &str, frames: u64) {
    if frames == 0 {
        return;
    }
    match drops.iter_mut().find(|drop| drop.place == place && drop.reason == reason) {
        Some(drop) => drop.frames += frames,
        None => drops.push(Dropped { place, reason: reason.to_owned(), frames }),
    }
}

/// What `open` opens in a namespace.
fn within<T: Send>(
    lease: &Lease,
    namespace: &'static str,
    interfaces: &[&str],
    open: impl FnOnce() -> Result<T, OpenError> + Send,
) -> Result<T, LinkError> {
    lease
        .run_in(namespace, open)
        .map_err(|source| LinkError::Enter { namespace, source })?
        .map_err(|source| LinkError::Open { namespace, interfaces: interfaces.join(" and "), source })
}

/// A link to one end of a veth pair, where no thread of the kernel's takes in what it sends.
///
/// # Errors
/// [`LinkError`].
pub(super) fn open_single(
    lease: &Lease,
    port: Port,
    how: OpenLink,
    slots: Option<u32>,
    frame_len_max: usize,
) -> Result<Box<dyn Link>, LinkError> {
    let end = End { interface: port.interface(), into_thread: false };
    open_end(lease, port.namespace(), end, how, slots, frame_len_max.max(FRAME_LEN_LEAST))
}

fn open_end(
    lease: &Lease,
    namespace: &'static str,
    end: End<'_>,
    how: OpenLink,
    slots: Option<u32>,
    frame_len_max: usize,
) -> Result<Box<dyn Link>, LinkError> {
    let open = || open_links(how, std::slice::from_ref(&end), slots, frame_len_max);
    let [link] = exactly(within(lease, namespace, &[end.interface], open)?);
    Ok(link)
}

/// Where a link is opened.
struct End<'a> {
    interface: &'a str,
    /// Whether what it sends is taken in by a thread of the kernel's that forwards.
    into_thread: bool,
}

/// Whether a thread of the kernel's that forwards takes in what somebody sends by `port`, whoever that is.
fn is_into_thread(port: Port, lineup: Lineup, kernel: KernelWork) -> bool {
    let next = match port.peer() {
        Port::NodeInside | Port::NodeOutside => lineup.node,
        Port::GatewayInside | Port::GatewayOutside => lineup.gateway,
        Port::Pods | Port::Internet => return false,
    };
    next == Engine::Nftables && kernel == KernelWork::Threads
}

/// One link for each of `ends`, in the namespace that the calling thread is in.
fn open_links(
    how: OpenLink,
    ends: &[End<'_>],
    slots: Option<u32>,
    frame_len_max: usize,
) -> Result<Vec<Box<dyn Link>>, OpenError> {
    let slots = slots.map(|slots| slots as usize);
    let interfaces: Vec<&str> = ends.iter().map(|end| end.interface).collect();
    match how {
        OpenLink::Ring | OpenLink::RingToHeads => {
            let rx_slots = slots.unwrap_or_else(|| RingOptions::small_frames().rx_slots);
            let head_bytes = (how == OpenLink::RingToHeads).then_some(HEAD_BYTES);
            let options = RingOptions { frame_len_max, rx_slots, head_bytes, ..RingOptions::default() };
            // A call that ends before the last of its live frames is consumed leaves its pool of pages to be looked for, a second later,
            // among all those left (kernel: `page_pool_release_retry`, `mem_allocator_disconnect`): some thousand calls on, the sender's
            // processor does nothing else. Threads consume when they like.
            let fit = |(links, end): (Vec<RingLink>, &End<'_>)| -> Vec<Box<dyn Link>> {
                let fit = |link: RingLink| if end.into_thread { link.without_live_frames() } else { link };
                links.into_iter().map(|link| boxed(fit(link))).collect()
            };
            Ok(ring::open(&interfaces, &options)?.into_iter().zip(ends).flat_map(fit).collect())
        }
        OpenLink::Xdp => {
            let rx_slots = slots.unwrap_or_else(|| XdpOptions::default().rx_slots);
            let options = XdpOptions { frame_len_max, rx_slots, ..XdpOptions::default() };
            Ok(xdp::open(&interfaces, &options)?.into_iter().flatten().map(boxed).collect())
        }
        OpenLink::Packet | OpenLink::PacketBlocks => {
            let rx_slots = slots.unwrap_or_else(|| PacketOptions::default().rx_slots);
            let reception = if how == OpenLink::Packet { Reception::Slots } else { Reception::Blocks };
            let options = PacketOptions { frame_len_max, rx_slots, reception, ..PacketOptions::default() };
            interfaces.iter().map(|interface| PacketLink::open(interface, &options).map(boxed)).collect()
        }
        OpenLink::Pnet => interfaces.iter().map(|interface| PnetLink::open(interface).map(boxed)).collect(),
    }
}

fn boxed<L: Link + 'static>(link: L) -> Box<dyn Link> {
    Box::new(link)
}

/// The worlds that are measured in have one queue an interface, so there is one link for each.
fn exactly<const N: usize>(links: Vec<Box<dyn Link>>) -> [Box<dyn Link>; N] {
    let count = links.len();
    links.try_into().unwrap_or_else(|_| unreachable!("{count} links for {N} interfaces"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_the_kernel_are_told_by_what_stands_next() {
        use Engine::{Absent, Nftables, Redirect, Userspace};
        use KernelWork::{Inline, Threads};
        let into_thread = |node, gateway, kernel| -> Vec<Port> {
            let is = |port: &Port| is_into_thread(*port, Lineup { node, gateway }, kernel);
            Port::ALL.into_iter().filter(is).collect()
        };
        assert_eq!(into_thread(Userspace, Userspace, Threads), []);
        assert_eq!(into_thread(Nftables, Redirect, Inline), []);
        assert_eq!(into_thread(Redirect, Absent, Threads), []);
        assert_eq!(into_thread(Userspace, Nftables, Threads), [Port::NodeOutside, Port::Internet]);
        assert_eq!(into_thread(Nftables, Userspace, Threads), [Port::Pods, Port::GatewayInside]);
    }
}
