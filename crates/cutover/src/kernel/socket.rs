//! Connections of the kernel's own TCP, in namespaces.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use natrig_lab::lease::Lease;
use natrig_link::tcp::{self, TcpCounts};
use nix::errno::Errno;
use nix::libc::linger;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt,
};

use crate::client::{ClientClass, Notice};
use crate::connection::{Connection, State};
use crate::pace::Pace;

/// A namespace that stands.
pub(super) struct Place {
    pub(super) lease: Arc<Lease>,
    pub(super) namespace: String,
}

/// A connection, or none.
#[derive(Debug, Default)]
pub(super) struct Socket {
    stream: Option<TcpStream>,
    pace: Option<Pace>,
    /// What the kernel said when it ended.
    ended: Option<Option<Notice>>,
    is_open: bool,
    is_closing: bool,
    is_kept_alive: bool,
    bytes_acked: u64,
    segments_in: u32,
}

impl Socket {
    pub(super) fn new(pace: &Pace) -> Self {
        Self { pace: Some(pace.clone()), ..Self::default() }
    }

    /// One that somebody has connected.
    pub(super) fn accepted(stream: TcpStream) -> io::Result<Self> {
        prepare(&stream)?;
        Ok(Self { stream: Some(stream), is_open: true, ..Self::default() })
    }

    fn counts(&self) -> Option<TcpCounts> {
        tcp::counts(self.stream.as_ref()?.as_fd()).ok()
    }

    fn failed(&mut self, error: &io::Error) {
        let kind = error.kind();
        if self.ended.is_some() || matches!(kind, ErrorKind::WouldBlock | ErrorKind::Interrupted) {
            return;
        }
        // What TCP had heard of on the way is said in place of its own timeout (`tcp_write_err` in `net/ipv4/tcp_timer.c`).
        let timeout = [ErrorKind::TimedOut, ErrorKind::HostUnreachable, ErrorKind::NetworkUnreachable].contains(&kind);
        self.ended = Some(Some(match (timeout, self.is_kept_alive) {
            (false, _) => Notice::Reset,
            (true, false) => Notice::Timeout,
            (true, true) => Notice::KeepaliveTimeout,
        }));
    }
}

/// Never waits, says at once what is to be said, and leaves nothing behind when it is given up.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)
}

impl Connection for Socket {
    type Host = Place;

    fn connect(&mut self, host: &mut Self::Host, to: SocketAddrV4, from: (Ipv4Addr, u16)) -> bool {
        *self = Self { pace: self.pace.take(), ..Self::default() };
        let begin = || -> io::Result<TcpStream> {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let socket = socket(AddressFamily::Inet, SockType::Stream, flags, SockProtocol::Tcp)?;
            bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(from.0, from.1)))?;
            match connect(socket.as_raw_fd(), &SockaddrIn::from(to)) {
                Ok(()) | Err(Errno::EINPROGRESS) => Ok(TcpStream::from(socket)),
                Err(errno) => Err(errno.into()),
            }
        };
        let stream = host.lease.run_in(&host.namespace, begin).ok().and_then(Result::ok);
        self.stream = stream.filter(|stream| prepare(stream).is_ok());
        self.stream.is_some()
    }

    fn keep_alive(&mut self, _: &mut Self::Host) {
        let (Some(stream), Some(pace)) = (&self.stream, &self.pace) else { return };
        let set = || -> nix::Result<()> {
            setsockopt(stream, sockopt::TcpKeepIdle, &pace.keepalive_s)?;
            setsockopt(stream, sockopt::TcpKeepInterval, &pace.keepalive_interval_s)?;
            setsockopt(stream, sockopt::TcpKeepCount, &pace.keepalive_probes)?;
            setsockopt(stream, sockopt::KeepAlive, &true)
        };
        self.is_kept_alive = set().is_ok();
    }

    fn state(&mut self, _: &mut Self::Host, _now_ns: u64) -> State {
        let Some(stream) = &self.stream else { return State::Ended(None) };
        if self.ended.is_none() {
            match stream.take_error() {
                Ok(Some(error)) | Err(error) => self.failed(&error),
                Ok(None) if !self.is_open => self.is_open = stream.peer_addr().is_ok(),
                Ok(None) => {}
            }
        }
        match self.ended {
            Some(how) => State::Ended(how),
            None if self.is_open => State::Open,
            None => State::Connecting,
        }
    }

    fn read(&mut self, _: &mut Self::Host) -> usize {
        let mut buffer = [0; 8192];
        let mut all = 0;
        while self.ended.is_none()
            && let Some(stream) = &mut self.stream
        {
            match stream.read(&mut buffer) {
                Ok(0) => self.ended = Some((!self.is_closing).then_some(Notice::Closed)),
                Ok(read) => all += read,
                Err(error) => {
                    self.failed(&error);
                    break;
                }
            }
        }
        all
    }

    fn write(&mut self, _: &mut Self::Host, len: usize) -> usize {
        const BYTES: [u8; 4096] = [0x55; 4096];
        let Some(stream) = &mut self.stream else { return 0 };
        match stream.write(&BYTES[..len.min(BYTES.len())]) {
            Ok(written) => written,
            Err(error) => {
                self.failed(&error);
                0
            }
        }
    }

    fn acknowledged(&mut self, _: &mut Self::Host) -> bool {
        let acked = self.counts().map_or(self.bytes_acked, |counts| counts.bytes_acked);
        std::mem::replace(&mut self.bytes_acked, acked) < acked
    }

    fn heard(&mut self, _: &mut Self::Host) -> u64 {
        // What a connection is told last is a reset: whoever has ended hears no more.
        if let Some(counts) = self.counts().filter(|counts| counts.segments_in > 0)
            && matches!(self.stream.as_ref().map(TcpStream::peer_addr), Some(Ok(_)))
        {
            self.segments_in = counts.segments_in;
        }
        self.segments_in.into()
    }

    fn close(&mut self, _: &mut Self::Host) {
        self.is_closing = true;
        if let Some(stream) = &self.stream {
            // One that is not connected any more is closed as well.
            let _ = stream.shutdown(std::net::Shutdown::Write);
        }
    }

    fn abort(&mut self, _: &mut Self::Host) {
        if let Some(stream) = self.stream.take() {
            // With a reset, and without anything that the kernel goes on sending (socket(7), SO_LINGER of no time).
            let _ = setsockopt(&stream, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 });
        }
    }
}

/// Everybody who waits for connections in a namespace.
pub(super) struct Listeners {
    listeners: Vec<(ClientClass, TcpListener)>,
}

impl Listeners {
    /// # Errors
    /// The namespace cannot be entered, or a port is taken.
    pub(super) fn open(place: &Place, classes: &[ClientClass]) -> Result<Self, String> {
        let open = |class: &ClientClass| -> io::Result<(ClientClass, TcpListener)> {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, class.server_port()))?;
            listener.set_nonblocking(true)?;
            Ok((*class, listener))
        };
        let all = || classes.iter().map(open).collect::<io::Result<Vec<_>>>();
        let listeners = place.lease.run_in(&place.namespace, all).map_err(|error| error.to_string())?;
        Ok(Self { listeners: listeners.map_err(|error| format!("listen in {}: {error}", place.namespace))? })
    }

    /// Those who have connected.
    pub(super) fn accept(&self) -> Vec<(ClientClass, Socket)> {
        let mut accepted = Vec::new();
        for (class, listener) in &self.listeners {
            while let Ok((stream, _)) = listener.accept() {
                accepted.extend(Socket::accepted(stream).map(|socket| (*class, socket)));
            }
        }
        accepted
    }
}
