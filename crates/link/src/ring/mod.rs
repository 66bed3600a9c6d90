//! Links over rings in mapped BPF arrays: an XDP program copies what arrives into slots that this process maps, frames are rewritten
//! there, and the same program, run on live frames, sends from the very slots.
//!
//! The interfaces of one [`open`] share an arena of slots, so that a frame received on one is sent to another without a copy in this
//! process. Frames from elsewhere are copied into slots set aside for that, unless they were made in slots that the link lent. A call of the kernel that sends costs microseconds however
//! few frames it sends, so bursts below [`RingOptions::live_frames_min`] leave by sendmmsg(2) instead.
//!
//! Needs CAP_BPF and CAP_NET_ADMIN in the initial user namespace, a driver with native XDP, and, for what is sent, a receiver whose
//! NAPI runs: on a veth, an XDP program or generic receive offload at the peer.

mod arena;
mod link;
mod loan;

use crate::sys::Interface;
use crate::{FRAME_LEN_MAX, OpenError};
use arena::Arena;
use std::sync::Arc;

pub use link::RingLink;

/// The most interfaces of one arena.
pub const INTERFACES_MAX: usize = arena::PORTS_MAX;

/// Where live frames begin to pay: over a veth whose peer receives by XDP, Linux 6.18, one call that sends live frames took as long as
/// sendmmsg(2) of about nine frames, and each frame more a tenth of one.
const LIVE_FRAMES_MIN: usize = 10;

/// How the links of an arena are set up.
#[derive(Debug, Clone)]
pub struct RingOptions {
    /// The longest frame carried, in bytes without frame check sequence. Decides the slot size: up to 240 bytes get slots of 256, up
    /// to 2096 slots of 2112 (a cache line more than a power of two, so that not all begin in the same few sets of a cache), beyond
    /// that slots of 4160, up to 3328 bytes, which a live frame's page can hold.
    pub frame_len_max: usize,
    /// Slots of each receive ring, one ring a queue; rounded up to a power of two.
    pub rx_slots: usize,
    /// Links for each interface, among which its queues are dealt out evenly. At most as many as there are queues are made.
    pub links_per_interface: usize,
    /// Of frames longer than so many bytes (at least 134) only the beginning is received, but for one in 64: for whoever counts frames
    /// and looks at their headers, and wants to spare the rest of the way into the slot. A frame that is cut is presented as if it ended
    /// there; [`LinkStats::rx_bytes`](crate::LinkStats) counts all of it.
    pub head_bytes: Option<usize>,
    /// The smallest burst that is sent as live frames; smaller ones leave by sendmmsg(2).
    pub live_frames_min: usize,
}

impl Default for RingOptions {
    fn default() -> Self {
        Self {
            frame_len_max: FRAME_LEN_MAX,
            rx_slots: 8192,
            links_per_interface: 1,
            head_bytes: None,
            live_frames_min: LIVE_FRAMES_MIN,
        }
    }
}

impl RingOptions {
    /// For small frames: slots of 256 bytes, which spare the caches, and many of them, which survive stalls.
    pub fn small_frames() -> Self {
        Self {
            frame_len_max: arena::SLOT_BYTES_SMALL - arena::SLOT_HEADER_BYTES,
            rx_slots: 32 << 10,
            ..Self::default()
        }
    }
}

/// Opens links to `interfaces`, which must be in the network namespace of the calling thread, with one arena. The links of
/// `interfaces[i]` are at index `i` of the answer.
///
/// The XDP programs stay attached until the last link of the arena is dropped. An interface that a predecessor has not let go of yet is
/// waited for, up to half a second.
///
/// # Errors
/// [`OpenError::NotPermitted`] without the capabilities, [`OpenError::NotSupported`] or [`OpenError::System`] where the driver has no
/// native XDP, or another program is attached; [`OpenError::Options`] for frames longer than a live frame can be, or more than
/// [`INTERFACES_MAX`] interfaces.
pub fn open(interfaces: &[&str], options: &RingOptions) -> Result<Vec<Vec<RingLink>>, OpenError> {
    let interfaces = interfaces.iter().map(|name| Interface::find(name)).collect::<Result<Vec<_>, _>>()?;
    let queues: Vec<u32> = interfaces.iter().map(Interface::rx_queues).collect();
    let links: Vec<usize> =
        queues.iter().map(|queues| options.links_per_interface.clamp(1, *queues as usize)).collect();
    let arena = Arc::new(Arena::new(&interfaces, &queues, links.iter().sum(), options)?);
    let mut numbers = 0..;
    let mut opened = Vec::new();
    for (port, interface) in interfaces.into_iter().enumerate() {
        let interface = Arc::new(link::Port::new(interface, port)?);
        let links = numbers.by_ref().take(links[port]).enumerate().map(|(nth, number)| {
            let rings =
                (nth as u32..queues[port]).step_by(links[port]).map(|queue| arena.ring_of(port, queue)).collect();
            RingLink::new(Arc::clone(&arena), Arc::clone(&interface), number, rings, options)
        });
        opened.push(links.collect::<Result<Vec<_>, _>>()?);
    }
    Ok(opened)
}

/// Whether this process may load the program on this kernel, and the kernel can send live frames.
///
/// # Errors
/// Why not.
pub fn available() -> Result<(), OpenError> {
    let options = RingOptions { rx_slots: 1, ..RingOptions::small_frames() };
    Arena::new(&[], &[], 1, &options)?
        .send(&Arena::template(0), 0, 60, false)
        .map_err(|source| OpenError::from_io("send live frames", "CAP_NET_ADMIN", source))
}
