//! The programs at the far end: one for each kind of client, on a machine of its own for each pod.

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp;

use crate::client::{ANSWER_LEN, ClientClass, REQUEST_LEN, RETRANSMIT_NS};
use crate::host::Host;
use crate::path::SECOND_NS;

/// Connections that a program can have with one client: what is stuck stays until it times out.
const BACKLOG: usize = 6;
/// How often a reader is sent something.
const PUSH_NS: u64 = 10 * SECOND_NS;
/// What a reader is sent, in bytes.
const PUSH_LEN: usize = 100;
/// What a download is sent every second, in bytes.
const DOWNLOAD_LEN: usize = 4096;

/// A place for one connection.
#[derive(Debug)]
pub(crate) struct Server {
    class: ClientClass,
    handle: SocketHandle,
    next_ns: u64,
    asked: usize,
    owed: usize,
    queued: usize,
    unacknowledged_since_ns: Option<u64>,
}

impl Server {
    /// Places for the connections of one client of `class`.
    pub(crate) fn listen(class: ClientClass, host: &mut Host) -> Vec<Self> {
        (0..BACKLOG).map(|_| Self::new(class, host.add_socket())).collect()
    }

    const fn new(class: ClientClass, handle: SocketHandle) -> Self {
        Self { class, handle, next_ns: 0, asked: 0, owed: 0, queued: 0, unacknowledged_since_ns: None }
    }

    /// Does what is due.
    pub(crate) fn drive(&mut self, host: &mut Host, now_ns: u64) {
        let socket = host.socket(self.handle);
        if !socket.is_open() {
            *self = Self::new(self.class, self.handle);
            // The port is never 0, and the socket is closed: nothing else can be refused.
            let _ = socket.listen(self.class.server_port());
            return;
        }
        while socket.can_recv() {
            self.asked += socket.recv(|data| (data.len(), data.len())).unwrap_or(0);
        }
        if socket.state() == tcp::State::Established {
            self.serve(socket, now_ns);
        } else if socket.state() == tcp::State::CloseWait {
            socket.close();
        }
        if self.waits_in_vain(now_ns, socket.send_queue()) {
            host.forget(self.handle);
        }
    }

    fn serve(&mut self, socket: &mut tcp::Socket<'_>, now_ns: u64) {
        match self.class {
            ClientClass::ActiveWriter | ClientClass::Keepalive => {}
            ClientClass::IdleReader => self.push(PUSH_LEN, PUSH_NS, now_ns),
            ClientClass::Download => self.push(DOWNLOAD_LEN, SECOND_NS, now_ns),
            ClientClass::RequestResponse | ClientClass::WithinVpc => {
                self.owed += self.asked / REQUEST_LEN * ANSWER_LEN;
                self.asked %= REQUEST_LEN;
            }
        }
        while self.owed > 0 && socket.can_send() {
            let taken = socket.send_slice(&[0xaa; DOWNLOAD_LEN][..self.owed.min(DOWNLOAD_LEN)]).unwrap_or(0);
            self.owed -= taken;
            if taken == 0 {
                break;
            }
        }
    }

    fn push(&mut self, len: usize, every_ns: u64, now_ns: u64) {
        // Nobody piles up what is not taken.
        if now_ns >= self.next_ns && self.owed == 0 {
            self.owed = len;
            self.next_ns = now_ns + every_ns;
        }
    }

    /// Whether nobody has acknowledged what was sent for as long as TCP tries.
    fn waits_in_vain(&mut self, now_ns: u64, queued: usize) -> bool {
        if queued == 0 {
            self.unacknowledged_since_ns = None;
        } else if queued < self.queued || self.unacknowledged_since_ns.is_none() {
            self.unacknowledged_since_ns = Some(now_ns);
        }
        self.queued = queued;
        self.unacknowledged_since_ns.is_some_and(|since_ns| now_ns - since_ns > RETRANSMIT_NS)
    }
}
