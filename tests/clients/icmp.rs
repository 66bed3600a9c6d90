//! ICMP through the layers: echo, and errors that must find the program whose packet they are about.

use std::io::IoSliceMut;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, bind, connect,
    getsockopt, recv, recvfrom, recvmsg, send, sendto, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::programs::address;
use super::servers;
use crate::support::{LIMIT, eventually};

const ECHO_REPLY: u8 = 0;
const UNREACHABLE: u8 = 3;
const FRAGMENTATION_NEEDED: u8 = 4;
const ECHO: u8 = 8;
const TIME_EXCEEDED: u8 = 11;

/// The role: three echo requests from `from` to `to`, small and as large as fits.
pub(crate) fn ping(from: &str, to: &str) {
    let socket = raw(SockProtocol::Icmp);
    bind(socket.as_raw_fd(), &host(from.parse().unwrap())).unwrap();
    connect(socket.as_raw_fd(), &host(to.parse().unwrap())).unwrap();
    for (sequence, length) in [(1u16, 56), (2, 56), (3, 1472)] {
        let payload: Vec<u8> = (0..length).map(|i| (i as u8).wrapping_add(sequence as u8)).collect();
        let ident = 0x6e61u16;
        let request =
            message(ECHO, 0, [ident.to_be_bytes(), sequence.to_be_bytes()].concat().try_into().unwrap(), &payload);
        send(socket.as_raw_fd(), &request, MsgFlags::empty()).unwrap();
        let mut packet = [0; 2048];
        loop {
            let length = recv(socket.as_raw_fd(), &mut packet, MsgFlags::empty()).unwrap();
            let reply = body(&packet[..length]);
            if reply[0] == ECHO_REPLY && reply[6..8] == request[6..8] {
                assert_eq!(reply[4..], request[4..], "the reply is another's");
                break;
            }
        }
        println!("reply {sequence}");
    }
}

/// The role: prints where each echo request comes from.
pub(crate) fn watch_pings() {
    let socket = raw(SockProtocol::Icmp);
    println!("ready");
    let mut packet = [0; 2048];
    loop {
        let length = recv(socket.as_raw_fd(), &mut packet, MsgFlags::empty()).unwrap();
        if body(&packet[..length])[0] == ECHO {
            println!("{}", source(&packet));
        }
    }
}

/// The role: what traceroute does. A UDP socket learns from the kernel who said that the time to live was over; prints who, hop by hop.
pub(crate) fn trace(from: &str, to: &str) {
    let to = SocketAddrV4::new(to.parse().unwrap(), servers::DNS);
    for ttl in 1..=3 {
        let socket = UdpSocket::bind((from.parse::<Ipv4Addr>().unwrap(), 0)).unwrap();
        socket.connect(to).unwrap();
        socket.set_ttl(ttl).unwrap();
        setsockopt(&socket, sockopt::Ipv4RecvErr, &true).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        socket.send(&[0, 1, 0, 32]).unwrap();
        match socket.recv(&mut [0; 64]) {
            Ok(32) => println!("{ttl} answer"),
            Ok(length) => panic!("{length} bytes"),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(Errno::EHOSTUNREACH as i32), "{error}");
                println!("{ttl} {}", offender(&socket));
            }
        }
    }
}

/// Who sent the ICMP error that the socket has in its queue (ip(7), `IP_RECVERR`).
fn offender(socket: &UdpSocket) -> Ipv4Addr {
    let mut payload = [0; 64];
    let mut buffers = [IoSliceMut::new(&mut payload)];
    let mut control = vec![0; 256];
    let received =
        recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut buffers, Some(&mut control), MsgFlags::MSG_ERRQUEUE).unwrap();
    // The address that the packet had been sent to, as the socket knows it.
    assert_eq!(received.address.map(|address| address.port()), Some(servers::DNS));
    for control in received.cmsgs().unwrap() {
        if let ControlMessageOwned::Ipv4RecvErr(error, Some(from)) = control {
            assert_eq!((error.ee_type, error.ee_code), (TIME_EXCEEDED, 0));
            return SockaddrIn::from(from).ip();
        }
    }
    panic!("no error in the queue");
}

/// The role: says to whoever sends to `port` that its packet is too big for a link of `mtu` bytes, as a router on the way would.
pub(crate) fn shrink_path(local: &str, port: &str, mtu: &str) {
    let (port, mtu): (u16, u16) = (port.parse().unwrap(), mtu.parse().unwrap());
    // So that the kernel does not answer that the port is closed.
    let _taken = UdpSocket::bind((local.parse::<Ipv4Addr>().unwrap(), port)).unwrap();
    let (datagrams, errors) = (raw(SockProtocol::Udp), raw(SockProtocol::Icmp));
    println!("ready");
    let mut packet = [0; 2048];
    loop {
        let (length, _) = recvfrom::<SockaddrIn>(datagrams.as_raw_fd(), &mut packet).unwrap();
        let body_at = length - body(&packet[..length]).len();
        if packet[body_at + 2..body_at + 4] != port.to_be_bytes() {
            continue;
        }
        // RFC 792: the header and the first eight bytes behind it; RFC 1191: the next link's MTU.
        let [high, low] = mtu.to_be_bytes();
        let error = message(UNREACHABLE, FRAGMENTATION_NEEDED, [0, 0, high, low], &packet[..body_at + 8]);
        sendto(errors.as_raw_fd(), &error, &host(source(&packet)), MsgFlags::empty()).unwrap();
    }
}

/// The role: sends until the kernel has learnt that the path has become narrower; prints its MTU then.
pub(crate) fn path_mtu(from: &str, to: &str) {
    let socket = UdpSocket::bind((from.parse::<Ipv4Addr>().unwrap(), 0)).unwrap();
    socket.connect(to.parse::<SocketAddrV4>().unwrap()).unwrap();
    let mtu = || getsockopt(&socket, sockopt::IpMtu).unwrap();
    let before = mtu();
    eventually("the path MTU falls", || {
        // Once it has fallen, this is too long, and the kernel says so itself.
        match socket.send(&[0; 1400]) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.raw_os_error(), Some(Errno::EMSGSIZE as i32), "{error}"),
        }
        mtu() < before
    });
    println!("{}", mtu());
}

fn raw(protocol: SockProtocol) -> OwnedFd {
    let socket = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).unwrap();
    let limit = TimeVal::new(LIMIT.as_secs().cast_signed(), 0);
    setsockopt(&socket, sockopt::ReceiveTimeout, &limit).unwrap();
    socket
}

fn host(ip: Ipv4Addr) -> SockaddrIn {
    address(SocketAddrV4::new(ip, 0))
}

/// What stands behind the IPv4 header.
fn body(packet: &[u8]) -> &[u8] {
    &packet[usize::from(packet[0] & 0xf) * 4..]
}

fn source(packet: &[u8]) -> Ipv4Addr {
    Ipv4Addr::new(packet[12], packet[13], packet[14], packet[15])
}

/// An ICMP message with its checksum (RFC 1071).
fn message(kind: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, code, 0, 0][..], &rest, payload].concat();
    let mut sum: u32 =
        message.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    message[2..4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    message
}
