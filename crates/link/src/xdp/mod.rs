//! Links over AF_XDP sockets (kernel: `Documentation/networking/af_xdp.rst`), one socket for each receive queue of an interface.
//!
//! The links of one [`open`] share a UMEM, the memory that frames lie in, so that a frame received on one is sent by another from
//! where it lies. Sockets work in copy mode with need-wakeup, which every driver with native XDP supports.
//!
//! Needs CAP_BPF and CAP_NET_ADMIN in the initial user namespace, and, for what is sent to a veth, a peer whose NAPI runs.

mod link;
mod queue;
mod rings;
mod socket;
mod umem;

use crate::bpf::{Object, open_error};
use crate::sys::Interface;
use crate::{FRAME_LEN_MAX, OpenError};
use aya::maps::XskMap;
use queue::Queue;
use std::sync::Arc;

pub use link::XdpLink;

static OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/xsk.o");

/// How the sockets are set up.
#[derive(Debug, Clone)]
pub struct XdpOptions {
    /// The longest frame carried, in bytes without frame check sequence: up to 1792 get chunks of 2048 bytes, up to 3840 chunks of
    /// 4096, which also hold XDP's headroom.
    pub frame_len_max: usize,
    /// Chunks for reception, for each queue; rounded up to a power of two. Few are fast, as they stay in the cache; many survive
    /// stalls.
    pub rx_slots: usize,
    /// Chunks for transmission, for each queue; rounded up to a power of two.
    pub tx_slots: usize,
    /// Links for each interface, among which its queues are dealt out evenly. At most as many as there are queues are made.
    pub links_per_interface: usize,
}

impl Default for XdpOptions {
    fn default() -> Self {
        Self { frame_len_max: FRAME_LEN_MAX, rx_slots: 4096, tx_slots: 2048, links_per_interface: 1 }
    }
}

/// Opens links to `interfaces`, which must be in the network namespace of the calling thread, with one UMEM. The links of
/// `interfaces[i]` are at index `i` of the answer.
///
/// The XDP program of an interface stays attached until its last link is dropped. A queue or interface that a predecessor has not let
/// go of yet is waited for, up to half a second.
///
/// # Errors
/// [`OpenError::NotPermitted`] without the capabilities, [`OpenError::NotSupported`] or [`OpenError::System`] where the kernel has no
/// AF_XDP, the driver no native XDP, or another program is attached; [`OpenError::Options`] for frames longer than a chunk holds.
pub fn open(interfaces: &[&str], options: &XdpOptions) -> Result<Vec<Vec<XdpLink>>, OpenError> {
    let interfaces = interfaces.iter().map(|name| Interface::find(name)).collect::<Result<Vec<_>, _>>()?;
    let queues: Vec<u32> = interfaces.iter().map(Interface::rx_queues).collect();
    let sizes = umem::Sizes::new(options)?;
    let sockets = queues.iter().sum::<u32>();
    let umem = Arc::new(umem::Umem::new(&sizes, sockets)?);
    let mut first = None;
    let mut chunks = 0..;
    let mut opened = Vec::new();
    for (interface, queues) in interfaces.into_iter().zip(queues) {
        let mtu = interface.mtu().map_err(|source| OpenError::System { what: "ask for the MTU", source })?;
        let mut object = load()?;
        let links = options.links_per_interface.clamp(1, queues as usize);
        let mut dealt: Vec<Vec<Queue>> = (0..links).map(|_| Vec::new()).collect();
        for queue in 0..queues {
            let socket = socket::Socket::bind(interface.index(), queue, &umem, &sizes, first)?;
            first = first.or_else(|| Some(socket.raw_fd()));
            let mut map: XskMap<_> = object.map_mut("sockets")?;
            map.set(queue, socket.raw_fd(), 0).map_err(|error| open_error("name an AF_XDP socket", error))?;
            let own: Vec<u32> = chunks.by_ref().take(sizes.chunks_per_queue()).collect();
            dealt[queue as usize % links].push(Queue::new(socket, Arc::clone(&umem), &own, &sizes, mtu));
        }
        object.attach(interface.index())?;
        let port = Arc::new(link::Port { interface, _object: object });
        let links = dealt.into_iter().map(|queues| {
            let slots = queues.len() as u32 * sizes.rx_slots;
            XdpLink::new(queues, Arc::clone(&port), slots, sizes.chunk_bytes as u32)
        });
        opened.push(links.collect::<Result<Vec<_>, _>>()?);
    }
    Ok(opened)
}

/// Whether this process may load the program on this kernel and make a socket.
///
/// # Errors
/// Why not.
pub fn available() -> Result<(), OpenError> {
    let sizes = umem::Sizes::new(&XdpOptions { rx_slots: 1, tx_slots: 1, ..XdpOptions::default() })?;
    let umem = umem::Umem::new(&sizes, 1)?;
    socket::Socket::new(&umem, &sizes, true)?;
    load().map(drop)
}

fn load() -> Result<Object, OpenError> {
    Object::load(OBJECT, "natrig_xsk", |_| {})
}
