//! The AF_PACKET socket itself: what [`super::PacketLink`] and the pnet link have in common.

use super::{Fanout, FanoutBy};
use crate::error::{OpenError, RecvError, means_down};
use crate::sys;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// The option level of packet sockets; libc names it for a wider C type.
const SOL_PACKET: i32 = 263;

const NEEDS: &str = "CAP_NET_RAW in the user namespace that owns this network namespace";

/// After how many receptions of nothing the socket is asked for an error that it keeps: the mapped ring does not show one.
pub(crate) const IDLE_POLLS_PER_ERROR_CHECK: u32 = 4096;

/// Whether a packet socket can be made.
pub(crate) fn available() -> Result<(), OpenError> {
    new_socket().map(drop)
}

/// Protocol zero: not hooked in anywhere, so that no frame of another interface comes before the bind.
fn new_socket() -> Result<OwnedFd, OpenError> {
    sys::socket(libc::AF_PACKET, libc::SOCK_RAW, 0)
        .map_err(|source| OpenError::from_io("open a packet socket", NEEDS, source))
}

/// Makes a packet socket for `interface`, promiscuous and deaf to outgoing frames, that receives nothing before [`bind`].
pub(crate) fn open(interface: &str) -> Result<(OwnedFd, u32), OpenError> {
    let index = sys::interface_index(interface)?;
    let fd = new_socket()?;
    option(fd.as_fd(), libc::PACKET_IGNORE_OUTGOING, &1i32, "ignore outgoing frames")?;
    let membership = libc::packet_mreq {
        mr_ifindex: index as i32,
        mr_type: libc::PACKET_MR_PROMISC as u16,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    option(fd.as_fd(), libc::PACKET_ADD_MEMBERSHIP, &membership, "make the interface promiscuous")?;
    size_send_buffer(fd.as_fd())?;
    Ok((fd, index))
}

/// Makes a packet socket that sends through the interface with that index, past the queueing discipline, and receives nothing.
pub(crate) fn open_for_sending(index: u32) -> Result<OwnedFd, OpenError> {
    let fd = new_socket()?;
    size_send_buffer(fd.as_fd())?;
    bypass_queueing(fd.as_fd(), true)
        .map_err(|source| OpenError::from_io("bypass the queueing discipline", NEEDS, source))?;
    bind_to(fd.as_fd(), index, 0)?;
    Ok(fd)
}

/// Room for several bursts in flight; beyond the administrator's limit only with CAP_NET_ADMIN in the initial user namespace.
fn size_send_buffer(fd: BorrowedFd<'_>) -> Result<(), OpenError> {
    let bytes = 4i32 << 20;
    sys::set_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &bytes)
        .or_else(|_| sys::set_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, &bytes))
        .map_err(|source| OpenError::System { what: "size the send buffer", source })
}

/// Sets an option of the packet level.
pub(crate) fn option<T: Copy>(fd: BorrowedFd<'_>, name: i32, value: &T, what: &'static str) -> Result<(), OpenError> {
    sys::set_option(fd, SOL_PACKET, name, value).map_err(|source| OpenError::from_io(what, NEEDS, source))
}

/// Sends past the queueing discipline (kernel: `packet_direct_xmit`), or through it, as every other socket.
pub(crate) fn bypass_queueing(fd: BorrowedFd<'_>, bypass: bool) -> io::Result<()> {
    sys::set_option(fd, SOL_PACKET, libc::PACKET_QDISC_BYPASS, &i32::from(bypass))
}

/// Starts the reception of all frames of the interface with that index.
pub(crate) fn bind(fd: BorrowedFd<'_>, index: u32) -> Result<(), OpenError> {
    bind_to(fd, index, libc::ETH_P_ALL as u16)
}

/// Protocol zero receives nothing.
fn bind_to(fd: BorrowedFd<'_>, index: u32, protocol: u16) -> Result<(), OpenError> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: index as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: pointer and length describe `address`, which outlives the call.
    let answer = unsafe {
        libc::bind(fd.as_raw_fd(), std::ptr::from_ref(&address).cast(), size_of_val(&address) as libc::socklen_t)
    };
    sys::check(answer).map_err(|source| OpenError::from_io("bind a packet socket", NEEDS, source))
}

/// Shares the frames of the interface that the socket is bound to with others of a group.
pub(crate) fn join(fd: BorrowedFd<'_>, fanout: Fanout) -> Result<(), OpenError> {
    let kind = match fanout.by {
        FanoutBy::Flow => libc::PACKET_FANOUT_HASH,
        FanoutBy::Processor => libc::PACKET_FANOUT_CPU,
        FanoutBy::Queue => libc::PACKET_FANOUT_QM,
    };
    // The group hooks in anew and does not inherit PACKET_IGNORE_OUTGOING.
    let value = u32::from(fanout.group) | (kind | libc::PACKET_FANOUT_FLAG_IGNORE_OUTGOING) << 16;
    option(fd, libc::PACKET_FANOUT, &value, "join a fanout group")
}

/// Frames lost since the last call because the socket had no room. Reading the kernel's count resets it (packet(7)).
pub(crate) fn take_drops(fd: BorrowedFd<'_>) -> u64 {
    let zeroed = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    // The option cannot fail on a packet socket; were it to, a loss would show as a difference to what was sent.
    sys::get_option(fd, SOL_PACKET, libc::PACKET_STATISTICS, zeroed).map_or(0, |counted| u64::from(counted.tp_drops))
}

/// Once in a while, asks a socket that has nothing to receive whether it has an error to tell.
pub(crate) fn look_for_error(fd: BorrowedFd<'_>, idle_polls: &mut u32) -> Result<(), RecvError> {
    *idle_polls += 1;
    if *idle_polls < IDLE_POLLS_PER_ERROR_CHECK {
        return Ok(());
    }
    *idle_polls = 0;
    match sys::pending_error(fd) {
        None => Ok(()),
        Some(errno) if means_down(errno) => Err(RecvError::Down),
        Some(errno) => Err(RecvError::Io(io::Error::from_raw_os_error(errno))),
    }
}
