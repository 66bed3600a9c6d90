//! One question and its answer, between the sockets of two namespaces.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

use natrig_lab::lease::{EnterError, Lease};
use natrig_wire::{icmpv4, ipv4, tcp};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, bind, connect, recv, send, socket,
};

use super::header::{Dissected, dissect};
use super::{Leg, Protocol, Shot};

/// A conversation that has begun: the question is on its way.
pub(super) struct Talk {
    ends: Ends,
    token: [u8; TOKEN_LEN],
    /// The server's, which no NAT changes; none for ICMP.
    port: u16,
}

const TOKEN_LEN: usize = 12;

enum Ends {
    Udp {
        client: UdpSocket,
        server: UdpSocket,
    },
    /// The kernel accepts.
    Tcp {
        client: TcpStream,
        _server: TcpListener,
    },
    Icmp {
        client: OwnedFd,
    },
}

/// What has become of a conversation so far.
pub(super) enum Progress {
    Waiting,
    Answered,
    /// The kernel told the client.
    Refused(io::Error),
}

impl Talk {
    /// Opens sockets at both ends and sends the question. The inner error: the client's kernel has no way to send it.
    pub(super) fn begin(lease: &Lease, shot: &Shot, number: u32) -> Result<io::Result<Self>, EnterError> {
        let mut token = *b"natrig\0\0\0\0\0\0";
        token[8..].copy_from_slice(&number.to_be_bytes());
        let to = shot.to.address;
        let in_server = |namespace: &str| lease.run_in(namespace, || listen(shot.protocol, shot.to.listens));
        let server = match in_server(&shot.to.namespace)? {
            Ok(server) => server,
            Err(error) => return Ok(Err(error)),
        };
        let port = server.port()?;
        let question = move || -> io::Result<Self> {
            let local = shot.from.listens.unwrap_or(Ipv4Addr::UNSPECIFIED);
            let ends = match server {
                Listening::Udp(server) => {
                    let client = UdpSocket::bind((local, 0))?;
                    client.set_nonblocking(true)?;
                    client.connect((to, port))?;
                    client.send(&token)?;
                    Ends::Udp { client, server }
                }
                Listening::Tcp(server) => Ends::Tcp { client: begin_connecting(local, to, port)?, _server: server },
                Listening::Kernel => Ends::Icmp { client: send_echo(local, to, &token)? },
            };
            Ok(Self { ends, token, port })
        };
        lease.run_in(&shot.from.namespace, question)
    }

    /// Moves it on by whatever has arrived. Never waits.
    pub(super) fn go_on(&mut self) -> Progress {
        let outcome = match &mut self.ends {
            Ends::Udp { client, server } => {
                let mut buffer = [0; 64];
                if let Ok((len, from)) = server.recv_from(&mut buffer)
                    && buffer[..len] == self.token
                {
                    // A question that cannot be answered is seen as one that was not.
                    let _ = server.send_to(&answer(self.token), from);
                }
                client.recv(&mut buffer).map(|len| buffer[..len] == answer(self.token))
            }
            Ends::Tcp { client, .. } => match client.take_error() {
                Ok(None) => Ok(client.peer_addr().is_ok()),
                Ok(Some(error)) | Err(error) => Err(error),
            },
            Ends::Icmp { client } => {
                let mut buffer = [0; 256];
                match recv(client.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                    Ok(len) => Ok(dissect(&buffer[..len])
                        .is_some_and(|packet| packet.kind == icmpv4::kind::ECHO_REPLY && packet.payload == self.token)),
                    Err(errno) => Err(errno.into()),
                }
            }
        };
        match outcome {
            Ok(true) => Progress::Answered,
            Ok(false) => Progress::Waiting,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Progress::Waiting,
            Err(error) => Progress::Refused(error),
        }
    }

    /// Which part of this conversation a packet is, if any.
    pub(super) fn leg(&self, packet: &Dissected<'_>) -> Option<Leg> {
        let header = &packet.header;
        match self.ends {
            Ends::Udp { .. } if packet.protocol == ipv4::protocol::UDP && packet.payload == self.token => {
                Some(Leg::Request)
            }
            // Ports do not tell it from the question: both kernels may have chosen the same one.
            Ends::Udp { .. } if packet.protocol == ipv4::protocol::UDP && packet.payload == answer(self.token) => {
                Some(Leg::Answer)
            }
            Ends::Tcp { .. } if packet.protocol == ipv4::protocol::TCP && packet.kind & tcp::flag::SYN != 0 => {
                let answers = packet.kind & tcp::flag::ACK != 0;
                let port = if answers { header.source_port } else { header.destination_port };
                (port == self.port).then_some(if answers { Leg::Answer } else { Leg::Request })
            }
            Ends::Icmp { .. } if packet.protocol == ipv4::protocol::ICMP && packet.payload == self.token => {
                match packet.kind {
                    icmpv4::kind::ECHO => Some(Leg::Request),
                    icmpv4::kind::ECHO_REPLY => Some(Leg::Answer),
                    _ => None,
                }
            }
            Ends::Udp { .. } | Ends::Tcp { .. } | Ends::Icmp { .. } => None,
        }
    }
}

/// What a datagram that answers says.
const fn answer(mut token: [u8; TOKEN_LEN]) -> [u8; TOKEN_LEN] {
    token[0] = b'N';
    token
}

enum Listening {
    Udp(UdpSocket),
    Tcp(TcpListener),
    /// Echo requests are answered by the kernel.
    Kernel,
}

impl Listening {
    fn port(&self) -> Result<u16, EnterError> {
        let address = match self {
            Self::Udp(socket) => socket.local_addr(),
            Self::Tcp(socket) => socket.local_addr(),
            Self::Kernel => return Ok(0),
        };
        address
            .map(|address| address.port())
            .map_err(|source| EnterError::Refused { namespace: "the server's".to_owned(), source })
    }
}

fn listen(protocol: Protocol, address: Option<Ipv4Addr>) -> io::Result<Listening> {
    let address = SocketAddr::V4(SocketAddrV4::new(address.unwrap_or(Ipv4Addr::UNSPECIFIED), 0));
    Ok(match protocol {
        Protocol::Udp => {
            let socket = UdpSocket::bind(address)?;
            socket.set_nonblocking(true)?;
            Listening::Udp(socket)
        }
        Protocol::Tcp => Listening::Tcp(TcpListener::bind(address)?),
        Protocol::Icmp => Listening::Kernel,
    })
}

fn begin_connecting(local: Ipv4Addr, to: Ipv4Addr, port: u16) -> io::Result<TcpStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Inet, SockType::Stream, flags, SockProtocol::Tcp)?;
    bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(local, 0)))?;
    match connect(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(to, port))) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(TcpStream::from(socket)),
        Err(errno) => Err(errno.into()),
    }
}

fn send_echo(local: Ipv4Addr, to: Ipv4Addr, token: &[u8; TOKEN_LEN]) -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Icmp)?;
    bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(local, 0)))?;
    connect(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(to, 0)))?;
    let mut message = [0; icmpv4::HEADER_LEN + TOKEN_LEN];
    message[icmpv4::offset::TYPE] = icmpv4::kind::ECHO;
    message[icmpv4::offset::IDENT..][..2].copy_from_slice(&token[10..]);
    message[icmpv4::HEADER_LEN..].copy_from_slice(token);
    if let Ok(mut packet) = icmpv4::Packet::new_checked(&mut message[..]) {
        packet.fill_checksum();
    }
    send(socket.as_raw_fd(), &message, MsgFlags::empty())?;
    Ok(socket)
}
