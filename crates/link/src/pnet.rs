//! The simple portable baseline: pnet's datalink channel, one frame a system call.

use crate::packet::socket;
use crate::{BURST, Link, LinkDescription, LinkKind, LinkStats, OpenError, RecvError, SendError, error::means_down};
use arrayvec::ArrayVec;
use natrig_wire::Frame;
use pnet::datalink::{Channel, ChannelType, DataLinkReceiver, DataLinkSender, NetworkInterface, linux};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::time::Duration;

/// Room for a frame in this link's own buffer, in bytes.
const SLOT_BYTES: usize = 2048;

/// A link to a network interface over pnet's datalink.
pub struct PnetLink {
    tx: Box<dyn DataLinkSender>,
    rx: Box<dyn DataLinkReceiver>,
    /// Our own handle on pnet's socket, for what pnet does not offer.
    fd: OwnedFd,
    buffer: Box<[u8]>,
    stats: LinkStats,
    idle_polls: u32,
}

impl std::fmt::Debug for PnetLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PnetLink").field("fd", &self.fd).field("stats", &self.stats).finish_non_exhaustive()
    }
}

impl PnetLink {
    /// Opens a link to `interface`, which must be in the network namespace of the calling thread.
    ///
    /// The socket is made here and handed to pnet: pnet's own would receive what it sends, and hide its losses.
    ///
    /// # Errors
    /// As [`PacketLink::open`](crate::packet::PacketLink::open).
    pub fn open(interface: &str) -> Result<Self, OpenError> {
        let (fd, index) = socket::open(interface)?;
        let clone = fd.try_clone().map_err(|source| OpenError::System { what: "duplicate a socket", source })?;
        let target = NetworkInterface {
            name: interface.to_owned(),
            description: String::new(),
            index,
            mac: None,
            ips: Vec::new(),
            flags: 0,
        };
        let config = linux::Config {
            read_buffer_size: SLOT_BYTES,
            write_buffer_size: 0,
            read_timeout: Some(Duration::ZERO),
            write_timeout: Some(Duration::ZERO),
            channel_type: ChannelType::Layer2,
            fanout: None,
            promiscuous: false,
            // pnet closes it, also when it fails.
            socket_fd: Some(clone.into_raw_fd()),
        };
        let failed = |source| OpenError::from_io("open a pnet channel", "CAP_NET_RAW", source);
        let Channel::Ethernet(tx, rx) = linux::channel(&target, config).map_err(failed)? else {
            return Err(failed(io::Error::other("pnet answered with an unknown kind of channel")));
        };
        let buffer = vec![0; BURST * SLOT_BYTES].into();
        Ok(Self { tx, rx, fd, buffer, stats: LinkStats::default(), idle_polls: 0 })
    }
}

impl Link for PnetLink {
    fn recv(&mut self, max: usize, on_burst: &mut dyn FnMut(&mut [Frame<'_>])) -> Result<usize, RecvError> {
        let mut burst = ArrayVec::<Frame<'_>, BURST>::new();
        let mut slots = self.buffer.chunks_exact_mut(SLOT_BYTES).take(max);
        let mut slot = slots.next();
        while let Some(free) = slot.take() {
            match self.rx.next() {
                // pnet cuts what its buffer does not hold, and does not say so: a full buffer may be a cut frame.
                Ok(bytes) if bytes.len() >= SLOT_BYTES => {
                    self.stats.rx_truncated += 1;
                    slot = Some(free);
                }
                Ok(bytes) => {
                    free[..bytes.len()].copy_from_slice(bytes);
                    self.stats.rx_bytes += bytes.len() as u64;
                    burst.push(Frame::new(free, bytes.len()));
                    slot = slots.next();
                }
                Err(error) => {
                    // An error that is no sign of emptiness is pnet's word for a socket that polls as an error; the socket knows
                    // which, and tells when there is nothing else to present.
                    if !matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock | ErrorKind::Interrupted) {
                        self.idle_polls = socket::IDLE_POLLS_PER_ERROR_CHECK;
                    }
                    break;
                }
            }
        }
        let count = burst.len();
        if count > 0 {
            self.stats.rx_frames += count as u64;
            self.idle_polls = 0;
            on_burst(&mut burst);
        } else {
            drop(burst);
            socket::look_for_error(self.fd.as_fd(), &mut self.idle_polls)?;
        }
        Ok(count)
    }

    fn send(&mut self, frames: &[Frame<'_>], pick: &[u16]) -> Result<usize, SendError> {
        for (taken, index) in pick.iter().enumerate() {
            let bytes = frames[usize::from(*index)].bytes();
            let Some(Err(error)) = self.tx.send_to(bytes, None) else {
                self.stats.tx_frames += 1;
                self.stats.tx_bytes += bytes.len() as u64;
                continue;
            };
            match (error.kind(), error.raw_os_error()) {
                (_, Some(libc::EMSGSIZE | libc::EINVAL)) => self.stats.tx_refused += 1,
                (ErrorKind::TimedOut | ErrorKind::WouldBlock | ErrorKind::Interrupted, _)
                | (_, Some(libc::ENOBUFS)) => return Ok(taken),
                _ if taken > 0 => return Ok(taken),
                (_, Some(errno)) if means_down(errno) => return Err(SendError::Down),
                _ => return Err(SendError::Io(error)),
            }
        }
        Ok(pick.len())
    }

    fn stats(&mut self) -> LinkStats {
        self.stats.rx_overflow += socket::take_drops(self.fd.as_fd());
        self.stats
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }

    fn describe(&self) -> LinkDescription {
        LinkDescription {
            kind: LinkKind::Pnet,
            slots: BURST as u32,
            slot_bytes: SLOT_BYTES as u32,
            notes: vec!["one frame a system call; the socket's own buffer holds what has arrived".to_owned()],
        }
    }
}
