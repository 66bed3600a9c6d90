//! A machine with a TCP stack of its own (smoltcp) on a virtual clock: a pod, or a server.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};

use natrig_wire::{ethernet, ipv4, tcp as wire_tcp};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

use crate::client::Notice;
use crate::connection::{Connection, State};
use crate::pace::Pace;

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

    /// A further connection.
    pub(crate) fn add_connection(&mut self, pace: &Pace) -> VirtualConnection {
        VirtualConnection {
            handle: self.sockets.add(socket()),
            retransmit_ns: pace.retransmit_ns(),
            keepalive_ns: pace.keepalive_timeout_ns(),
            keepalive_s: pace.keepalive_s,
            kept_alive: false,
            queue_asked: 0,
            queue_seen: 0,
            unacknowledged_since_ns: None,
            heard: 0,
            heard_seen: 0,
            heard_ns: 0,
            was_reset: false,
        }
    }

    fn socket(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// Waits for somebody to connect, if the socket does nothing; whether it began to.
    pub(crate) fn listen(&mut self, connection: &VirtualConnection, port: u16) -> bool {
        let socket = self.socket(connection.handle);
        // The port is never 0, and the socket is closed: nothing else can be refused.
        !socket.is_open() && socket.listen(port).is_ok()
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

/// A connection of a machine, with Linux' timeouts.
#[derive(Debug)]
pub(crate) struct VirtualConnection {
    handle: SocketHandle,
    retransmit_ns: u64,
    keepalive_ns: u64,
    keepalive_s: u32,
    kept_alive: bool,
    /// Bytes that were not acknowledged when `acknowledged` was asked last, and when the state was.
    queue_asked: usize,
    queue_seen: usize,
    unacknowledged_since_ns: Option<u64>,
    /// Segments that came in, and as many as had when the state was asked last.
    heard: u64,
    heard_seen: u64,
    heard_ns: u64,
    was_reset: bool,
}

impl VirtualConnection {
    /// A segment of it came in.
    pub(crate) const fn arrived(&mut self, reset: bool) {
        self.was_reset |= reset;
        self.heard += !reset as u64;
    }

    /// Whether nobody has acknowledged what was sent for as long as TCP tries.
    fn waits_in_vain(&mut self, queue: usize, now_ns: u64) -> bool {
        if queue == 0 {
            self.unacknowledged_since_ns = None;
        } else if queue < self.queue_seen || self.unacknowledged_since_ns.is_none() {
            self.unacknowledged_since_ns = Some(now_ns);
        }
        self.queue_seen = queue;
        self.unacknowledged_since_ns.is_some_and(|since_ns| now_ns - since_ns > self.retransmit_ns)
    }
}

impl Connection for VirtualConnection {
    type Host = Host;

    fn connect(&mut self, host: &mut Host, to: SocketAddrV4, from: (Ipv4Addr, u16)) -> bool {
        *self = Self {
            kept_alive: false,
            queue_asked: 0,
            queue_seen: 0,
            unacknowledged_since_ns: None,
            was_reset: false,
            ..*self
        };
        let socket = host.sockets.get_mut::<tcp::Socket<'_>>(self.handle);
        socket.connect(host.interface.context(), (IpAddress::Ipv4(*to.ip()), to.port()), from.1).is_ok()
    }

    fn keep_alive(&mut self, host: &mut Host) {
        self.kept_alive = true;
        let every = smoltcp::time::Duration::from_secs(self.keepalive_s.into());
        host.socket(self.handle).set_keep_alive(Some(every));
    }

    fn state(&mut self, host: &mut Host, now_ns: u64) -> State {
        let socket = host.socket(self.handle);
        let (state, queue) = (socket.state(), socket.send_queue());
        if self.heard != self.heard_seen || state == tcp::State::SynSent {
            (self.heard_seen, self.heard_ns) = (self.heard, now_ns);
        }
        if state == tcp::State::Closed || self.was_reset {
            return State::Ended(self.was_reset.then_some(Notice::Reset));
        }
        if self.waits_in_vain(queue, now_ns) {
            // Without a word, as Linux does when retransmission ends (tcp_write_err).
            *host.socket(self.handle) = self::socket();
            return State::Ended(Some(Notice::Timeout));
        }
        if self.kept_alive && now_ns - self.heard_ns > self.keepalive_ns {
            return State::Ended(Some(Notice::KeepaliveTimeout));
        }
        match state {
            tcp::State::Listen | tcp::State::SynSent | tcp::State::SynReceived => State::Connecting,
            tcp::State::Established
            | tcp::State::FinWait1
            | tcp::State::FinWait2
            | tcp::State::Closing
            | tcp::State::TimeWait => State::Open,
            tcp::State::CloseWait | tcp::State::LastAck | tcp::State::Closed => State::Ended(None),
        }
    }

    fn read(&mut self, host: &mut Host) -> usize {
        let socket = host.socket(self.handle);
        let mut read = 0;
        while socket.can_recv() {
            read += socket.recv(|data| (data.len(), data.len())).unwrap_or(0);
        }
        read
    }

    fn write(&mut self, host: &mut Host, len: usize) -> usize {
        const BYTES: [u8; 4096] = [0x55; 4096];
        let socket = host.socket(self.handle);
        if !socket.can_send() {
            return 0;
        }
        let taken = socket.send_slice(&BYTES[..len.min(BYTES.len())]).unwrap_or(0);
        self.queue_asked = socket.send_queue();
        taken
    }

    fn acknowledged(&mut self, host: &mut Host) -> bool {
        let queue = host.socket(self.handle).send_queue();
        std::mem::replace(&mut self.queue_asked, queue) > queue
    }

    fn heard(&mut self, _: &mut Host) -> u64 {
        self.heard
    }

    fn close(&mut self, host: &mut Host) {
        host.socket(self.handle).close();
    }

    fn abort(&mut self, host: &mut Host) {
        host.socket(self.handle).abort();
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
