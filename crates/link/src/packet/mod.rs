//! Links over AF_PACKET: the fast way to an interface that needs no XDP, and so works in a user namespace.
//!
//! Frames are received in a ring that the kernel fills and this process maps (kernel: `Documentation/networking/packet_mmap.rst`),
//! and presented there in place; they are sent in batches by sendmmsg(2), past the queueing discipline. The socket is bound to an
//! interface of the network namespace that the calling thread is in when it opens the link, and works from any thread afterwards.

mod blocks;
pub(crate) mod checksum;
mod merge;
mod oversize;
mod receive;
pub(crate) mod socket;
pub(crate) mod transmit;

use crate::{FRAME_LEN_MAX, Link, LinkDescription, LinkKind, LinkStats, OpenError, RecvError, SendError};
use natrig_wire::Frame;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How a [`PacketLink`] is set up.
#[derive(Debug, Clone)]
pub struct PacketOptions {
    /// The longest frame to be received whole, in bytes without frame check sequence. Decides the slot size: frames of up to 190
    /// bytes get slots of 256, full-size frames slots of 2048.
    pub frame_len_max: usize,
    /// Slots of the receive ring. 8192 absorb 8 ms at a million frames a second.
    pub rx_slots: usize,
    /// Completes the TCP or UDP checksum of received frames whose sender left that to a network card, as the kernel's own stack does
    /// on a veth with transmit checksum offload on.
    pub complete_checksums: bool,
    /// Cuts frames that the kernel has merged, or has not cut yet because nobody on their way needed it, into those that they stand for,
    /// with their checksums; and has the kernel send as one what follows each other of a TCP connection. Only with
    /// [`Reception::Slots`]; without it they count as truncated.
    pub cut_merged: bool,
    /// How the kernel hands frames over.
    pub reception: Reception,
    /// Shares the interface's frames with other links of the same group.
    pub fanout: Option<Fanout>,
}

/// How the kernel hands received frames over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reception {
    /// One by one, in slots of equal size with room to grow (TPACKET_V2): for latency, and for frames that are rewritten.
    #[default]
    Slots,
    /// In blocks of packed frames, up to a millisecond late (TPACKET_V3): for throughput. Frames have no room to grow.
    Blocks,
}

/// A group of links that share the frames of an interface (packet(7), PACKET_FANOUT).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fanout {
    /// The group's number, the same for all its links in this network namespace.
    pub group: u16,
    /// Who gets which frame.
    pub by: FanoutBy,
}

/// What decides which link of a group gets a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FanoutBy {
    /// The flow, by a hash of addresses and ports.
    Flow,
    /// The processor that the frame arrives on.
    Processor,
    /// The receive queue that the frame arrives on.
    Queue,
}

impl Default for PacketOptions {
    fn default() -> Self {
        Self {
            frame_len_max: FRAME_LEN_MAX,
            rx_slots: 8192,
            complete_checksums: false,
            cut_merged: false,
            reception: Reception::Slots,
            fanout: None,
        }
    }
}

impl PacketOptions {
    /// For small frames: slots of 256 bytes, which spare the caches.
    pub fn small_frames() -> Self {
        Self { frame_len_max: receive::SMALL_FRAME_LEN_MAX, ..Self::default() }
    }
}

/// Keeps an interface promiscuous, for links whose kind does not see to it, where the frames that matter have another MAC address than
/// the interface. The kernel ends it with this process at the latest.
#[derive(Debug)]
pub struct Promiscuous {
    _socket: OwnedFd,
}

impl Promiscuous {
    /// `interface` is in the network namespace of the calling thread.
    ///
    /// # Errors
    /// As [`PacketLink::open`].
    pub fn hold(interface: &str) -> Result<Self, OpenError> {
        socket::open(interface).map(|(_socket, _)| Self { _socket })
    }
}

#[derive(Debug)]
enum Ring {
    Slots(receive::Ring),
    Blocks(blocks::BlockRing),
}

/// A link to a network interface over an AF_PACKET socket.
#[derive(Debug)]
pub struct PacketLink {
    // Declared before the socket: unmapped before it is closed.
    ring: Ring,
    batch: transmit::Batch,
    fd: OwnedFd,
    /// Where merged frames are cut: and then a socket to send through, as `fd` would want to know more about each frame.
    oversize: Option<(oversize::Oversize, OwnedFd)>,
    stats: LinkStats,
    complete_checksums: bool,
    idle_polls: u32,
    notes: Vec<String>,
}

impl PacketLink {
    /// Opens a link to `interface`, which must be in the network namespace of the calling thread. The interface is made promiscuous
    /// while the link lives; frames that others send out of it are not received.
    ///
    /// # Errors
    /// [`OpenError::NotPermitted`] without CAP_NET_RAW in the user namespace that owns the network namespace;
    /// [`OpenError::NoSuchInterface`]; [`OpenError::System`] when the ring does not fit into memory.
    pub fn open(interface: &str, options: &PacketOptions) -> Result<Self, OpenError> {
        if options.cut_merged && options.reception == Reception::Blocks {
            return Err(OpenError::Options { reason: "merged frames are cut only where reception is in slots" });
        }
        let (fd, index) = socket::open(interface)?;
        let oversize = if options.cut_merged {
            let oversize = oversize::Oversize::new(fd.as_fd(), options.frame_len_max)?;
            let sending = socket::open_for_sending(index)?;
            oversize::Oversize::sending(sending.as_fd())?;
            Some((oversize, sending))
        } else {
            None
        };
        let (ring, version) = match options.reception {
            Reception::Slots => (Ring::Slots(receive::Ring::new(fd.as_fd(), options)?), "TPACKET_V2"),
            Reception::Blocks => (Ring::Blocks(blocks::BlockRing::new(fd.as_fd(), options)?), "TPACKET_V3"),
        };
        let mut notes = vec![format!("{version} receive ring, sendmmsg of up to {}", transmit::BATCH_MAX)];
        if socket::bypass_queueing(fd.as_fd(), true).is_err() {
            notes.push("frames are sent through the queueing discipline: the kernel has no bypass".to_owned());
        }
        if options.complete_checksums {
            notes.push("partial checksums are completed on reception".to_owned());
        }
        if options.cut_merged {
            notes.push("frames that the kernel has merged are cut on reception, and merged again when sent".to_owned());
        }
        // Bound last: the ring is in place when the first frame arrives.
        socket::bind(fd.as_fd(), index)?;
        if let Some(fanout) = options.fanout {
            socket::join(fd.as_fd(), fanout)?;
            notes.push(format!("shares the interface's frames: {fanout:?}"));
        }
        Ok(Self {
            ring,
            batch: if options.cut_merged {
                transmit::Batch::merging(crate::mtu(interface)? as usize + oversize::ETHERNET)
            } else {
                transmit::Batch::new()
            },
            fd,
            oversize,
            stats: LinkStats::default(),
            complete_checksums: options.complete_checksums,
            idle_polls: 0,
            notes,
        })
    }
}

impl Link for PacketLink {
    fn recv(&mut self, max: usize, on_burst: &mut dyn FnMut(&mut [Frame<'_>])) -> Result<usize, RecvError> {
        let mut oversize = self.oversize.as_mut().map(|(oversize, _)| oversize);
        if let Some(oversize) = oversize.as_deref_mut().filter(|oversize| oversize.is_pending()) {
            return Ok(self.stats.count_received(oversize.present(max, on_burst)));
        }
        let received = match &mut self.ring {
            Ring::Slots(ring) => ring.take(max, self.complete_checksums, oversize.as_deref_mut(), on_burst),
            Ring::Blocks(ring) => ring.take(max, self.complete_checksums, on_burst),
        };
        self.stats.rx_frames += received.frames as u64;
        self.stats.rx_bytes += received.bytes;
        self.stats.rx_truncated += received.truncated;
        if let Some(oversize) = oversize {
            if received.copied && !oversize.fetch(self.fd.as_fd(), received.copied_tagged) {
                self.stats.rx_truncated += 1;
            }
            if received.frames == 0 && oversize.is_pending() {
                self.idle_polls = 0;
                return Ok(self.stats.count_received(oversize.present(max, on_burst)));
            }
        }
        if received.frames > 0 {
            self.idle_polls = 0;
        } else {
            socket::look_for_error(self.fd.as_fd(), &mut self.idle_polls)?;
        }
        Ok(received.frames)
    }

    fn send(&mut self, frames: &[Frame<'_>], pick: &[u16]) -> Result<usize, SendError> {
        let fd = self.oversize.as_ref().map_or(&self.fd, |(_, fd)| fd);
        self.batch.send(fd.as_fd(), frames, pick, &mut self.stats)
    }

    fn stats(&mut self) -> LinkStats {
        self.stats.rx_overflow += socket::take_drops(self.fd.as_fd());
        self.stats
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }

    fn describe(&self) -> LinkDescription {
        let (slots, slot_bytes) = match &self.ring {
            Ring::Slots(ring) => (ring.slots(), ring.slot_bytes()),
            Ring::Blocks(ring) => (ring.blocks(), receive::BLOCK_BYTES),
        };
        LinkDescription {
            kind: LinkKind::Packet,
            slots: slots as u32,
            slot_bytes: slot_bytes as u32,
            notes: self.notes.clone(),
        }
    }
}
