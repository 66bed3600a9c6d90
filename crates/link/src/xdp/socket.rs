//! The AF_XDP socket: made, given its rings, bound to a queue.

use super::rings::{Consumer, Producer};
use super::umem::{Sizes, Umem};
use crate::bpf::retry_while_busy;
use crate::error::OpenError;
use crate::sys;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;

const SOL_XDP: i32 = 283;
const NEEDS: &str = "CAP_NET_RAW, CAP_BPF and CAP_NET_ADMIN in the initial user namespace";

/// A socket and its rings.
#[derive(Debug)]
pub(super) struct Socket {
    // Declared before the descriptor: unmapped before it is closed.
    pub(super) fill: Producer<u64>,
    pub(super) completion: Consumer<u64>,
    pub(super) rx: Consumer<libc::xdp_desc>,
    pub(super) tx: Producer<libc::xdp_desc>,
    fd: OwnedFd,
}

impl Socket {
    /// Makes a socket with rings. The first of a UMEM registers its memory.
    pub(super) fn new(umem: &Umem, sizes: &Sizes, is_first: bool) -> Result<Self, OpenError> {
        let fd = sys::socket(libc::AF_XDP, libc::SOCK_RAW, 0)
            .map_err(|source| OpenError::from_io("open an AF_XDP socket", NEEDS, source))?;
        if is_first {
            let registration = libc::xdp_umem_reg {
                addr: umem.start().as_ptr().expose_provenance() as u64,
                len: umem.len() as u64,
                chunk_size: umem.chunk_bytes() as u32,
                headroom: 0,
                flags: 0,
                tx_metadata_len: 0,
            };
            option(fd.as_fd(), libc::XDP_UMEM_REG, &registration, "register memory for frames")?;
        }
        for (name, entries) in [
            (libc::XDP_UMEM_FILL_RING, sizes.rx_slots),
            (libc::XDP_UMEM_COMPLETION_RING, sizes.tx_slots),
            (libc::XDP_RX_RING, sizes.rx_slots),
            (libc::XDP_TX_RING, sizes.tx_slots),
        ] {
            option(fd.as_fd(), name, &entries, "size an AF_XDP ring")?;
        }
        let send_buffer_bytes = 16i32 << 20;
        // More than the default lets more frames be on their way at once; without, there is back-pressure earlier.
        let _ = sys::set_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &send_buffer_bytes);
        let zero = libc::xdp_ring_offset { producer: 0, consumer: 0, desc: 0, flags: 0 };
        let zeroed = libc::xdp_mmap_offsets { rx: zero, tx: zero, fr: zero, cr: zero };
        let offsets = sys::get_option(fd.as_fd(), SOL_XDP, libc::XDP_MMAP_OFFSETS, zeroed)
            .map_err(|source| OpenError::from_io("ask where the AF_XDP rings are", NEEDS, source))?;
        let mapped = |source| OpenError::System { what: "map an AF_XDP ring", source };
        let (rx_at, tx_at) = (libc::XDP_PGOFF_RX_RING as u64, libc::XDP_PGOFF_TX_RING as u64);
        let (fill_at, completion_at) = (libc::XDP_UMEM_PGOFF_FILL_RING, libc::XDP_UMEM_PGOFF_COMPLETION_RING);
        Ok(Self {
            fill: Producer::new(fd.as_fd(), fill_at, offsets.fr, sizes.rx_slots).map_err(mapped)?,
            completion: Consumer::new(fd.as_fd(), completion_at, offsets.cr, sizes.tx_slots).map_err(mapped)?,
            rx: Consumer::new(fd.as_fd(), rx_at, offsets.rx, sizes.rx_slots).map_err(mapped)?,
            tx: Producer::new(fd.as_fd(), tx_at, offsets.tx, sizes.tx_slots).map_err(mapped)?,
            fd,
        })
    }

    /// Makes a socket bound to a queue. `first`: the socket that has registered the UMEM, if this is another.
    pub(super) fn bind(
        interface_index: u32,
        queue: u32,
        umem: &Umem,
        sizes: &Sizes,
        first: Option<RawFd>,
    ) -> Result<Self, OpenError> {
        let socket = Self::new(umem, sizes, first.is_none())?;
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            // Those that share a UMEM inherit the other flags (kernel: `xsk_bind`).
            sxdp_flags: first.map_or(libc::XDP_COPY | libc::XDP_USE_NEED_WAKEUP, |_| libc::XDP_SHARED_UMEM),
            sxdp_ifindex: interface_index,
            sxdp_queue_id: queue,
            sxdp_shared_umem_fd: first.unwrap_or(0) as u32,
        };
        retry_while_busy("bind an AF_XDP socket", || {
            // SAFETY: pointer and length describe `address`, which outlives the call.
            let answer = unsafe {
                let len = size_of_val(&address) as libc::socklen_t;
                libc::bind(socket.raw_fd(), ptr::from_ref(&address).cast(), len)
            };
            sys::check(answer)
        })?;
        Ok(socket)
    }

    pub(super) fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Has the kernel send from the TX ring.
    pub(super) fn kick_tx(&self) -> io::Result<()> {
        // SAFETY: no buffer and no address: the frames are in the ring.
        let sent = unsafe { libc::sendto(self.raw_fd(), ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Has the kernel look at the FILL ring.
    pub(super) fn kick_rx(&self) {
        // SAFETY: no buffer and no address; the answer does not matter, as the call is made again while the ring asks for it.
        unsafe {
            libc::recvfrom(self.raw_fd(), ptr::null_mut(), 0, libc::MSG_DONTWAIT, ptr::null_mut(), ptr::null_mut())
        };
    }

    /// Frames that were lost on the way in: no chunk was free, no room in the RX ring, or too long for a chunk.
    pub(super) fn rx_lost(&self) -> u64 {
        let zeroed = libc::xdp_statistics {
            rx_dropped: 0,
            rx_invalid_descs: 0,
            tx_invalid_descs: 0,
            rx_ring_full: 0,
            rx_fill_ring_empty_descs: 0,
            tx_ring_empty_descs: 0,
        };
        let counted = sys::get_option(self.as_fd(), SOL_XDP, libc::XDP_STATISTICS, zeroed);
        // The option cannot fail on a bound socket; were it to, a loss would show as a difference to what was sent.
        counted.map_or(0, |counted| counted.rx_dropped + counted.rx_ring_full)
    }
}

fn option<T: Copy>(fd: BorrowedFd<'_>, name: i32, value: &T, what: &'static str) -> Result<(), OpenError> {
    sys::set_option(fd, SOL_XDP, name, value).map_err(|source| OpenError::from_io(what, NEEDS, source))
}
