//! Real TCP stacks (smoltcp) on links: hosts with sockets, and an exchange between two of them, the check that TCP gets through a design
//! before anything is measured.
//!
//! The client sits where the pods are, the server where the servers are. The client connects, sends a pattern, the server compares
//! it byte by byte and sends it back, the client compares again, and both close.

mod host;
mod loss;
mod segments;

use std::collections::VecDeque;
use std::net::SocketAddrV4;

use natrig_link::Link;
pub use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp;
pub use smoltcp::socket::tcp::State as TcpState;
use smoltcp::wire::IpAddress;

use self::host::BUFFER_LEN;
pub use self::host::Host;
pub use self::segments::{Retransmitted, Segments};
use crate::{Endpoint, ReflectError};

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
    client_socket: SocketHandle,
    server: Host,
    server_socket: SocketHandle,
    bytes: usize,
    to_send: usize,
    echoed: usize,
    returned: usize,
    pending: VecDeque<u8>,
    client_seen: Option<SocketAddrV4>,
    connected: bool,
}

impl Exchange {
    /// A client about to connect to a listening server, at `now_ns`.
    ///
    /// # Errors
    /// A few words, if smoltcp refuses the addresses.
    pub fn new(config: &ExchangeConfig, now_ns: u64) -> Result<Self, &'static str> {
        let ExchangeConfig { client, client_endpoint, server, server_endpoint, mtu, seed, .. } = *config;
        let (client_port, server_address) = (client.port(), server);
        let mut client = Host::new(*client.ip(), client_endpoint, mtu, seed, now_ns);
        let mut server = Host::new(*server.ip(), server_endpoint, mtu, seed, now_ns);
        let (client_socket, server_socket) = (client.add_socket(), server.add_socket());
        let listening = server.socket(server_socket).listen(server_address.port());
        listening.map_err(|_| "the server cannot listen on that port")?;
        client.connect(client_socket, server_address, client_port)?;
        Ok(Self {
            client,
            client_socket,
            server,
            server_socket,
            bytes: config.bytes,
            to_send: 0,
            echoed: 0,
            returned: 0,
            pending: VecDeque::with_capacity(BUFFER_LEN),
            client_seen: None,
            connected: false,
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
        self.client.poll(client_link, now_ns)?;
        self.server.poll(server_link, now_ns)?;
        Ok(self.drive())
    }

    fn drive(&mut self) -> ExchangeState {
        self.serve();
        let socket = self.client.socket(self.client_socket);
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
        let server_done = !self.server.socket(self.server_socket).is_open();
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
        let socket = self.server.socket(self.server_socket);
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
