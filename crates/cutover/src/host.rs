//! A machine with a TCP stack of its own (smoltcp) on a virtual clock: a pod, or a server.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use natrig_wire::{ethernet, ipv4, tcp as wire_tcp};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

/// Longest IP packet, in bytes.
const MTU: usize = 1500;

/// Bytes of each socket's two buffers.
const BUFFER_LEN: usize = 16 * 1024;

/// A machine.
pub(crate) struct Host {
    pub(crate) address: Ipv4Addr,
    queues: Queues,
    interface: Interface,
    sockets: SocketSet<'static>,
}

/// What a frame that arrives says, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heard {
    /// The port that it came to.
    pub(crate) port: u16,
    /// Whether it ends the connection by force.
    pub(crate) reset: bool,
}

impl Host {
    pub(crate) fn new(address: Ipv4Addr, seed: u64) -> Self {
        let mut queues = Queues::default();
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut queues, Instant::ZERO);
        // Every destination is on link: there is but one way out.
        interface.update_ip_addrs(|addresses| {
            let _ = addresses.push(IpCidr::new(IpAddress::Ipv4(address), 0));
        });
        Self { address, queues, interface, sockets: SocketSet::new(Vec::new()) }
    }

    /// A further socket.
    pub(crate) fn add_socket(&mut self) -> SocketHandle {
        self.sockets.add(socket())
    }

    /// Forgets a connection without a word, as Linux does when retransmission ends (tcp_write_err).
    pub(crate) fn forget(&mut self, handle: SocketHandle) {
        *self.socket(handle) = socket();
    }

    pub(crate) fn socket(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// Connects from `local_port`; false if the stack refuses.
    pub(crate) fn connect(&mut self, handle: SocketHandle, server: (Ipv4Addr, u16), local_port: u16) -> bool {
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(handle);
        socket.connect(self.interface.context(), (IpAddress::Ipv4(server.0), server.1), local_port).is_ok()
    }

    /// Takes in a frame; what it says if it is TCP.
    pub(crate) fn deliver(&mut self, frame: Vec<u8>) -> Option<Heard> {
        let heard = heard(&frame);
        self.queues.arrived.push_back(frame);
        heard
    }

    /// Moves the stack on and hands out the frames that leave.
    pub(crate) fn poll(&mut self, now_ns: u64, leave: &mut Vec<Vec<u8>>) {
        self.interface.poll(instant(now_ns), &mut self.queues, &mut self.sockets);
        leave.extend(self.queues.leaving.drain(..));
    }

    /// When the stack has something to do next, if nothing arrives.
    pub(crate) fn due_ns(&mut self, now_ns: u64) -> Option<u64> {
        let at = self.interface.poll_at(instant(now_ns), &self.sockets)?;
        Some(u64::try_from(at.total_micros()).unwrap_or(0) * 1000)
    }
}

fn socket() -> tcp::Socket<'static> {
    let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER_LEN]);
    let mut socket = tcp::Socket::new(buffer(), buffer());
    socket.set_nagle_enabled(false);
    socket
}

fn instant(now_ns: u64) -> Instant {
    Instant::from_micros(i64::try_from(now_ns / 1000).unwrap_or(i64::MAX))
}

fn heard(frame: &[u8]) -> Option<Heard> {
    let packet = frame.get(ethernet::HEADER_LEN..)?;
    let header_len = usize::from(packet.first()? & 0x0f) * 4;
    if *packet.get(ipv4::offset::PROTOCOL)? != ipv4::protocol::TCP {
        return None;
    }
    let segment = packet.get(header_len..)?;
    let port = u16::from_be_bytes([*segment.get(2)?, *segment.get(3)?]);
    Some(Heard { port, reset: segment.get(wire_tcp::offset::FLAGS)? & wire_tcp::flag::RST != 0 })
}

/// smoltcp's device: frames that have arrived and frames that are to leave.
#[derive(Default)]
struct Queues {
    arrived: VecDeque<Vec<u8>>,
    leaving: VecDeque<Vec<u8>>,
}

struct Arrived(Vec<u8>);

struct Leaving<'a>(&'a mut VecDeque<Vec<u8>>);

impl RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0[ethernet::HEADER_LEN..])
    }
}

impl TxToken for Leaving<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut bytes = vec![0; ethernet::HEADER_LEN + len];
        bytes[12..14].copy_from_slice(&ethernet::ethertype::IPV4.to_be_bytes());
        let result = f(&mut bytes[ethernet::HEADER_LEN..]);
        self.0.push_back(bytes);
        result
    }
}

impl Device for Queues {
    type RxToken<'a> = Arrived;
    type TxToken<'a> = Leaving<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Arrived, Leaving<'_>)> {
        self.arrived.pop_front().map(|frame| (Arrived(frame), Leaving(&mut self.leaving)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Leaving<'_>> {
        Some(Leaving(&mut self.leaving))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU;
        capabilities
    }
}
