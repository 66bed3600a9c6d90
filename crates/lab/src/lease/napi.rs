//! NAPI in threads: `Documentation/networking/napi.rst`, "Threaded NAPI".

use std::fs;
use std::io;
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::SockProtocol;

use super::netlink::{Ask, Netlink, find, put};

/// Numbers from `linux/genetlink.h` and `linux/netdev.h`.
mod number {
    pub(super) const GENL_ID_CTRL: u16 = 16;
    pub(super) const CTRL_CMD_GETFAMILY: u8 = 3;
    pub(super) const CTRL_ATTR_FAMILY_ID: u16 = 1;
    pub(super) const CTRL_ATTR_FAMILY_NAME: u16 = 2;

    pub(super) const NETDEV_CMD_NAPI_GET: u8 = 11;
    pub(super) const NETDEV_A_NAPI_IFINDEX: u16 = 1;
    pub(super) const NETDEV_A_NAPI_PID: u16 = 4;
}

/// Has NAPI of an interface in the calling thread's namespace run in threads.
///
/// The switch is a file in sysfs, and a sysfs shows the network namespace that it was mounted in: so a thread mounts one for itself.
pub(super) fn run_in_threads(interface: &str) -> io::Result<()> {
    let path = format!("/sys/class/net/{interface}/threaded");
    let work = || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none)?;
        fs::write(path, "1")
    };
    thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// The threads of an interface in the calling thread's namespace. Linux 6.8 and later tell them.
pub(super) fn threads(interface: &str) -> io::Result<Vec<u32>> {
    let mut netlink = Netlink::open(SockProtocol::NetlinkGeneric)?;
    let mut name = Vec::new();
    put(&mut name, number::CTRL_ATTR_FAMILY_NAME, b"netdev\0");
    let replies = netlink.ask(number::GENL_ID_CTRL, Ask::One, [number::CTRL_CMD_GETFAMILY, 1, 0, 0], &name)?;
    let id = replies
        .last()
        .and_then(|reply| find(reply, number::CTRL_ATTR_FAMILY_ID)?.try_into().ok())
        .ok_or_else(|| io::Error::other("the kernel has no netdev family"))?;
    let mut device = Vec::new();
    put(&mut device, number::NETDEV_A_NAPI_IFINDEX, &if_nametoindex(interface)?.to_ne_bytes());
    let header = [number::NETDEV_CMD_NAPI_GET, 1, 0, 0];
    let replies = netlink.ask(u16::from_ne_bytes(id), Ask::All, header, &device)?;
    let pid = |reply: &Vec<u8>| Some(u32::from_ne_bytes(find(reply, number::NETDEV_A_NAPI_PID)?.try_into().ok()?));
    Ok(replies.iter().filter_map(pid).collect())
}
