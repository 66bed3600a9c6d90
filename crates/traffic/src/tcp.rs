//! A TCP exchange between two smoltcp endpoints: the check that a real stack gets through a design before anything is measured.
//!
//! The client sits where the pods are, the server where the servers are. The client connects, sends a pattern, the server compares
//! it byte by byte and sends it back, the client compares again, and both close.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};

use natrig_link::{BURST_MAX, Link};
use natrig_wire::{Frame, ethernet};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

use crate::{Endpoint, ReflectError};

const BUFFER_LEN: usize = 64 * 1024;

/// Who talks to whom.
#[derive(Debug, Clone, Copy)]
pub struct ExchangeConfig {
    /// The pod.
    pub client: SocketAddrV4,
    /// MAC addresses at the pods' end.
    pub client_endpoint: Endpoint,
    /// The server.
    pub server: SocketAddrV4,
    /// MAC addresses at the servers' end.
    pub server_endpoint: Endpoint,
    /// Longest IP packet, in bytes: what the links in between can carry.
    pub mtu: usize,
    /// Bytes sent there and back.
    pub bytes: usize,
    /// For initial sequence numbers.
    pub seed: u64,
}

/// How an exchange ended, or how far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExchangeState {
    /// Not over yet.
    Running,
    /// All bytes came back right and both ends closed; the server saw this address as the client.
    Completed {
        /// The client's address as the server saw it.
        client_seen: SocketAddrV4,
    },
    /// The connection was reset or timed out, or bytes differed.
    Failed {
        /// In words.
        reason: &'static str,
    },
}

/// Two endpoints and what they have yet to say.
#[derive(Debug)]
pub struct Exchange {
    client: Host,
    server: Host,
    bytes: usize,
    to_send: usize,
    echoed: usize,
    returned: usize,
    pending: VecDeque<u8>,
    client_seen: Option<SocketAddrV4>,
    connected: bool,
    epoch_ns: u64,
}

impl Exchange {
    /// A client about to connect to a listening server, at `now_ns`.
    ///
    /// # Errors
    /// A few words, if smoltcp refuses the addresses.
    pub fn new(config: &ExchangeConfig, now_ns: u64) -> Result<Self, &'static str> {
        let mut client = Host::new(*config.client.ip(), config.client_endpoint, config);
        let mut server = Host::new(*config.server.ip(), config.server_endpoint, config);
        server.socket().listen(config.server.port()).map_err(|_| "the server cannot listen on that port")?;
        client.connect(config.server, config.client.port())?;
        Ok(Self {
            client,
            server,
            bytes: config.bytes,
            to_send: 0,
            echoed: 0,
            returned: 0,
            pending: VecDeque::with_capacity(BUFFER_LEN),
            client_seen: None,
            connected: false,
            epoch_ns: now_ns,
        })
    }

    /// Moves both ends on: takes in what has arrived, sends what is ready.
    ///
    /// # Errors
    /// Whatever the links return.
    pub fn poll(
        &mut self,
        client_link: &mut dyn Link,
        server_link: &mut dyn Link,
        now_ns: u64,
    ) -> Result<ExchangeState, ReflectError> {
        let now = Instant::from_micros(i64::try_from((now_ns - self.epoch_ns) / 1000).unwrap_or(i64::MAX));
        self.client.poll(client_link, now)?;
        self.server.poll(server_link, now)?;
        Ok(self.drive())
    }

    fn drive(&mut self) -> ExchangeState {
        self.serve();
        let socket = self.client.socket();
        if socket.may_send() {
            self.connected = true;
            let (bytes, to_send) = (self.bytes, &mut self.to_send);
            while *to_send < bytes && socket.can_send() {
                let chunk: Vec<u8> = (*to_send..bytes.min(*to_send + 4096)).map(pattern).collect();
                *to_send += socket.send_slice(&chunk).unwrap_or(0);
            }
            if *to_send == bytes && self.returned == bytes {
                socket.close();
            }
        }
        while socket.can_recv() {
            let returned = &mut self.returned;
            let same = socket.recv(|data| {
                let same = data.iter().enumerate().all(|(nth, byte)| *byte == pattern(*returned + nth));
                *returned += data.len();
                (data.len(), same)
            });
            if same != Ok(true) {
                return ExchangeState::Failed { reason: "bytes came back changed" };
            }
        }
        let client_done = !socket.is_open() || socket.state() == tcp::State::TimeWait;
        let server_done = !self.server.socket().is_open();
        match self.client_seen {
            Some(client_seen) if client_done && server_done && self.returned == self.bytes => {
                ExchangeState::Completed { client_seen }
            }
            _ if client_done && !self.connected => ExchangeState::Failed { reason: "the connection was refused" },
            _ if client_done && self.returned < self.bytes => {
                ExchangeState::Failed { reason: "the connection was reset" }
            }
            _ => ExchangeState::Running,
        }
    }

    fn serve(&mut self) {
        let socket = self.server.socket();
        if let Some(remote) = socket.remote_endpoint() {
            let IpAddress::Ipv4(address) = remote.addr;
            self.client_seen = Some(SocketAddrV4::new(address, remote.port));
        }
        while socket.can_recv() && self.pending.len() < BUFFER_LEN {
            let pending = &mut self.pending;
            let received = socket.recv(|data| {
                pending.extend(data.iter());
                (data.len(), ())
            });
            if received.is_err() {
                break;
            }
        }
        while !self.pending.is_empty() && socket.can_send() {
            let taken = socket.send_slice(self.pending.as_slices().0).unwrap_or(0);
            self.pending.drain(..taken);
            self.echoed += taken;
        }
        if socket.state() == tcp::State::CloseWait && self.pending.is_empty() {
            socket.close();
        }
    }
}

fn pattern(index: usize) -> u8 {
    (index ^ (index >> 8)) as u8
}

/// One smoltcp stack with one TCP socket.
struct Host {
    device: FrameQueues,
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}

impl Host {
    fn new(address: Ipv4Addr, endpoint: Endpoint, exchange: &ExchangeConfig) -> Self {
        let mtu = exchange.mtu;
        let mut device = FrameQueues { endpoint, mtu, arrived: VecDeque::new(), leaving: VecDeque::new() };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = exchange.seed ^ u64::from(address.to_bits());
        let mut interface = Interface::new(config, &mut device, Instant::ZERO);
        // Every destination is on link: the frame goes to the next hop's MAC address whatever the address.
        interface.update_ip_addrs(|addresses| {
            let _ = addresses.push(IpCidr::new(IpAddress::Ipv4(address), 0));
        });
        let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER_LEN]);
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(tcp::Socket::new(buffer(), buffer()));
        Self { device, interface, sockets, handle }
    }

    fn socket(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    fn connect(&mut self, server: SocketAddrV4, local_port: u16) -> Result<(), &'static str> {
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.handle);
        socket
            .connect(self.interface.context(), (IpAddress::Ipv4(*server.ip()), server.port()), local_port)
            .map_err(|_| "the client cannot connect from that address")
    }

    fn poll(&mut self, link: &mut dyn Link, now: Instant) -> Result<(), ReflectError> {
        let arrived = &mut self.device.arrived;
        link.recv(BURST_MAX, &mut |frames| {
            arrived.extend(frames.iter().map(|frame| frame.bytes().to_vec()));
        })?;
        self.interface.poll(now, &mut self.device, &mut self.sockets);
        while let Some(mut bytes) = self.device.leaving.pop_front() {
            let len = bytes.len();
            if link.send(&[Frame::new(&mut bytes, len)], &[0])? == 0 {
                self.device.leaving.push_front(bytes);
                break;
            }
        }
        Ok(())
    }
}

/// smoltcp's device: frames that have arrived and frames that are to leave.
struct FrameQueues {
    endpoint: Endpoint,
    mtu: usize,
    arrived: VecDeque<Vec<u8>>,
    leaving: VecDeque<Vec<u8>>,
}

struct Arrived(Vec<u8>);

struct Leaving<'a> {
    endpoint: Endpoint,
    queue: &'a mut VecDeque<Vec<u8>>,
}

impl RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0[ethernet::HEADER_LEN..])
    }
}

impl TxToken for Leaving<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut bytes = vec![0; ethernet::HEADER_LEN + len];
        bytes[0..6].copy_from_slice(&self.endpoint.peer.0);
        bytes[6..12].copy_from_slice(&self.endpoint.mac.0);
        bytes[12..14].copy_from_slice(&ethernet::ethertype::IPV4.to_be_bytes());
        let result = f(&mut bytes[ethernet::HEADER_LEN..]);
        self.queue.push_back(bytes);
        result
    }
}

impl Device for FrameQueues {
    type RxToken<'a> = Arrived;
    type TxToken<'a> = Leaving<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Arrived, Leaving<'_>)> {
        let is_ipv4 = |bytes: &Vec<u8>| bytes.get(12..14) == Some(&ethernet::ethertype::IPV4.to_be_bytes()[..]);
        while let Some(bytes) = self.arrived.pop_front() {
            if is_ipv4(&bytes) {
                return Some((Arrived(bytes), Leaving { endpoint: self.endpoint, queue: &mut self.leaving }));
            }
        }
        None
    }

    fn transmit(&mut self, _: Instant) -> Option<Leaving<'_>> {
        Some(Leaving { endpoint: self.endpoint, queue: &mut self.leaving })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}
