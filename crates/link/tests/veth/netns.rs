//! A network namespace for one test: made in a thread of its own, gone with it, never visible to the host.

use std::ffi::CStr;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Set in the process that this test binary starts inside a user namespace.
const INSIDE: &str = "NATRIG_TEST_IN_USER_NAMESPACE";

/// Runs `body` in a fresh network namespace with the loopback interface down and IPv6 silent. As root in a thread; as an ordinary
/// user by running the test `name` of this binary again inside a user namespace; where neither is allowed, says SKIPPED.
pub(crate) fn in_fresh_namespace(name: &str, body: impl FnOnce() + Send + 'static) {
    let ran = std::thread::spawn(move || {
        if unshare(libc::CLONE_NEWNET).is_err() {
            return false;
        }
        // Neighbour and router discovery would mix with the test's frames.
        for scope in ["all", "default"] {
            let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "1");
        }
        body();
        true
    });
    match ran.join() {
        Ok(true) => say(name, "RAN"),
        Ok(false) if std::env::var_os(INSIDE).is_some() => panic!("no network namespace inside a user namespace"),
        Ok(false) => again_in_user_namespace(name),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// As [`in_fresh_namespace`], for what needs capabilities in the initial user namespace; else SKIPPED.
pub(crate) fn in_fresh_namespace_as_root(name: &str, body: impl FnOnce() + Send + 'static) {
    if std::env::var_os(INSIDE).is_some() {
        return;
    }
    // SAFETY: no arguments, no memory.
    if unsafe { libc::geteuid() } != 0 {
        return say(name, "SKIPPED (needs root)");
    }
    in_fresh_namespace(name, body);
}

/// Runs `body` in a user namespace without privileges outside of it, by running the test `name` of this binary again there.
pub(crate) fn in_user_namespace(name: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        body();
    } else {
        again_in_user_namespace(name);
    }
}

/// Past the capture of test output, so that a run can be counted.
pub(crate) fn say(name: &str, what: &str) {
    let _ = writeln!(io::stderr(), "{what} {name}");
}

fn again_in_user_namespace(name: &str) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture"]).env(INSIDE, "1");
    // SAFETY: ids are always there.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    let (uid_map, gid_map) = (format!("0 {uid} 1"), format!("0 {gid} 1"));
    // SAFETY: between fork and exec only system calls are made, on memory prepared before.
    unsafe {
        command.pre_exec(move || {
            unshare(libc::CLONE_NEWUSER)?;
            write_file(c"/proc/self/setgroups", b"deny")?;
            write_file(c"/proc/self/uid_map", uid_map.as_bytes())?;
            write_file(c"/proc/self/gid_map", gid_map.as_bytes())
        });
    }
    match command.status() {
        Ok(status) => assert!(status.success(), "{name} failed inside a user namespace"),
        Err(error) => say(name, &format!("SKIPPED (neither root nor user namespaces: {error})")),
    }
}

fn write_file(path: &CStr, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: a C string and a buffer that outlive the calls; the descriptor is ours.
    unsafe {
        let fd = check(libc::open(path.as_ptr(), libc::O_WRONLY))?;
        let written = libc::write(fd, bytes.as_ptr().cast(), bytes.len());
        let result = if written == bytes.len() as isize { Ok(()) } else { Err(io::Error::last_os_error()) };
        libc::close(fd);
        result
    }
}

fn unshare(flags: i32) -> io::Result<()> {
    // SAFETY: no memory involved; the thread is this test's own.
    check(unsafe { libc::unshare(flags) }).map(drop)
}

fn check(answer: i32) -> io::Result<i32> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

/// Makes a veth pair with `queues` queues each way at both ends in the namespace of this thread, and sets both ends up.
pub(crate) fn veth_pair(first: &str, second: &str, queues: u32) {
    let mut request = Message::new(RTM_NEWLINK, libc::NLM_F_CREATE | libc::NLM_F_EXCL | libc::NLM_F_ACK);
    request.interface();
    request.interface_attributes(first, queues);
    request.nested(IFLA_LINKINFO, |request| {
        request.attribute(IFLA_INFO_KIND, b"veth");
        request.nested(IFLA_INFO_DATA, |request| {
            request.nested(VETH_INFO_PEER, |request| {
                request.interface();
                request.interface_attributes(second, queues);
            });
        });
    });
    request.send().unwrap_or_else(|error| panic!("make a veth pair: {error}"));
    for end in [first, second] {
        set_up(end, true);
    }
    for end in [first, second] {
        // Until the kernel's link watch has seen the carrier, the queueing discipline drops what is sent and says nothing. It
        // activates the real one under the lock that setting a flag takes, after it has set the state.
        while !is_operational(end) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        set_up(end, true);
    }
}

/// Whether the operational state (RFC 2863) is up; interface flags show an unknown state as running, too.
fn is_operational(interface: &str) -> bool {
    attribute(interface, IFLA_OPERSTATE).is_some_and(|state| state[0] == IF_OPER_UP)
}

/// Whether an XDP program is attached.
pub(crate) fn has_program(interface: &str) -> bool {
    let xdp = attribute(interface, IFLA_XDP).expect("the kernel tells of XDP");
    attribute_in(&xdp, IFLA_XDP_ATTACHED).is_some_and(|mode| mode[0] != 0)
}

/// What the kernel says of an interface.
fn attribute(interface: &str, wanted: u16) -> Option<Vec<u8>> {
    let name = std::ffi::CString::new(interface).unwrap();
    let mut request = Message::new(RTM_GETLINK, 0);
    request.interface();
    // SAFETY: a C string that outlives the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    request.0[HEADER_LEN + 4..HEADER_LEN + 8].copy_from_slice(&index.to_ne_bytes());
    let answer = request.exchange().unwrap();
    attribute_in(&answer[HEADER_LEN + 16..], wanted)
}

fn attribute_in(mut attributes: &[u8], wanted: u16) -> Option<Vec<u8>> {
    while let [a, b, kind_a, kind_b, ..] = attributes {
        let len = usize::from(u16::from_ne_bytes([*a, *b]));
        if u16::from_ne_bytes([*kind_a, *kind_b]) & NLA_TYPE_MASK == wanted {
            return Some(attributes[4..len].to_vec());
        }
        attributes = &attributes[len.next_multiple_of(4).clamp(4, attributes.len())..];
    }
    None
}

/// Sets an interface up or down.
pub(crate) fn set_up(interface: &str, up: bool) {
    ioctl(
        interface,
        libc::SIOCGIFFLAGS,
        |request| {
            // SAFETY: SIOCGIFFLAGS has filled this member of the union.
            let flags = unsafe { request.ifr_ifru.ifru_flags };
            let is_up = libc::IFF_UP as i16;
            let flags = if up { flags | is_up } else { flags & !is_up };
            ioctl(interface, libc::SIOCSIFFLAGS, |_| {}, |request| request.ifr_ifru.ifru_flags = flags);
        },
        |_| {},
    );
}

/// Sets an interface's MTU.
pub(crate) fn set_mtu(interface: &str, mtu: i32) {
    ioctl(interface, libc::SIOCSIFMTU, |_| {}, |request| request.ifr_ifru.ifru_mtu = mtu);
}

/// Switches segmentation and checksums in the interface off (linux/ethtool.h).
pub(crate) fn offloads_off(interface: &str) {
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    const ETHTOOL_STXCSUM: u32 = 0x17;
    const ETHTOOL_STSO: u32 = 0x1f;
    const ETHTOOL_SGSO: u32 = 0x24;
    for command in [ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_STXCSUM] {
        let mut value = [command, 0];
        let data = value.as_mut_ptr().cast();
        // The kernel reads and writes a `struct ethtool_value`, which outlives the call.
        ioctl(interface, SIOCETHTOOL, |_| {}, |request| request.ifr_ifru.ifru_data = data);
    }
}

fn ioctl(
    interface: &str,
    number: libc::Ioctl,
    answered: impl FnOnce(&libc::ifreq),
    ask: impl FnOnce(&mut libc::ifreq),
) {
    // SAFETY: zeroes are a valid `ifreq`, whose name is filled in and terminated; the interface ioctls read and write one `ifreq`.
    let request = unsafe {
        let socket = OwnedFd::from_raw_fd(check(libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)).unwrap());
        let mut request: libc::ifreq = std::mem::zeroed();
        assert!(interface.len() < request.ifr_name.len());
        for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
            *to = from as libc::c_char;
        }
        ask(&mut request);
        check(libc::ioctl(socket.as_raw_fd(), number, &mut request)).unwrap();
        request
    };
    answered(&request);
}

const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_ATTACHED: u16 = 2;
/// Without the flag that says that attributes are nested.
const NLA_TYPE_MASK: u16 = 0x3fff;
const IF_OPER_UP: u8 = 6;
const HEADER_LEN: usize = 16;

/// One rtnetlink request (rtnetlink(7)).
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: i32) -> Self {
        let flags = (libc::NLM_F_REQUEST | flags) as u16;
        let mut bytes = vec![0u8; HEADER_LEN];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        Self(bytes)
    }

    /// `struct ifinfomsg`, all zero: a new interface.
    fn interface(&mut self) {
        self.0.extend([0; 16]);
    }

    fn interface_attributes(&mut self, name: &str, queues: u32) {
        self.attribute(IFLA_IFNAME, &[name.as_bytes(), &[0]].concat());
        self.attribute(IFLA_NUM_TX_QUEUES, &queues.to_ne_bytes());
        self.attribute(IFLA_NUM_RX_QUEUES, &queues.to_ne_bytes());
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.nested(kind, |message| message.0.extend(value));
    }

    fn nested(&mut self, kind: u16, inside: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        self.0.extend([0, 0]);
        self.0.extend(kind.to_ne_bytes());
        inside(self);
        let len = (self.0.len() - start) as u16;
        self.0[start..start + 2].copy_from_slice(&len.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn send(self) -> io::Result<()> {
        let answer = self.exchange()?;
        // An acknowledgement is an error message with the code zero.
        match i32::from_ne_bytes(answer[HEADER_LEN..HEADER_LEN + 4].try_into().unwrap()) {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(-code)),
        }
    }

    /// Sends the request; the first message of the answer.
    fn exchange(mut self) -> io::Result<Vec<u8>> {
        let len = self.0.len() as u32;
        self.0[..4].copy_from_slice(&len.to_ne_bytes());
        let mut answer = vec![0u8; 16 << 10];
        // SAFETY: buffers with their lengths; the descriptor is ours.
        let received = unsafe {
            let socket =
                check(libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE))?;
            let socket = OwnedFd::from_raw_fd(socket);
            check(libc::send(socket.as_raw_fd(), self.0.as_ptr().cast(), self.0.len(), 0) as i32)?;
            check(libc::recv(socket.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0) as i32)?
        };
        answer.truncate(received as usize);
        Ok(answer)
    }
}

/// Sends a frame whose UDP checksum at bytes 40 and 41, over all from byte 34, is left to the interface (virtio-v1.2 5.1.6).
pub(crate) fn send_partial_checksum(interface: &str, frame: &[u8]) {
    const VIRTIO_NET_HDR_F_NEEDS_CSUM: u8 = 1;
    let [start, offset] = [34u16.to_ne_bytes(), 6u16.to_ne_bytes()];
    let header = [VIRTIO_NET_HDR_F_NEEDS_CSUM, 0, 0, 0, 0, 0, start[0], start[1], offset[0], offset[1]];
    let bytes = [&header, frame].concat();
    let name = std::ffi::CString::new(interface).unwrap();
    // SAFETY: buffers with their lengths; zeroes are a valid `sockaddr_ll`; the descriptor is ours.
    unsafe {
        let socket = OwnedFd::from_raw_fd(check(libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0)).unwrap());
        let (on, on_len) = (1i32, size_of::<i32>() as u32);
        let on = std::ptr::from_ref(&on).cast();
        check(libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_VNET_HDR, on, on_len)).unwrap();
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_ifindex = libc::if_nametoindex(name.as_ptr()) as i32;
        let to = std::ptr::from_ref(&address).cast();
        let (buffer, to_len) = (bytes.as_ptr().cast(), size_of_val(&address) as u32);
        let sent = libc::sendto(socket.as_raw_fd(), buffer, bytes.len(), 0, to, to_len);
        assert_eq!(sent, bytes.len() as isize, "{}", io::Error::last_os_error());
    }
}
