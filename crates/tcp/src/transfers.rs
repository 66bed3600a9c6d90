//! Flows that carry something and recover from loss: real TCP stacks (smoltcp) at both ends, which may lose frames on purpose.

use std::net::{Ipv4Addr, SocketAddrV4};

use hdrhistogram::Histogram;
use natrig_bench::{Ends, Polled, RigError, Talk};
use natrig_link::clock;
use natrig_traffic::tcp::{Host, Segments, SocketHandle, TcpState};
use natrig_traffic::{Endpoint, histogram};

/// Bytes written at once.
const CHUNK: usize = 16 * 1024;

/// Who transfers what to whom.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) client: Ipv4Addr,
    pub(crate) client_endpoint: Endpoint,
    pub(crate) server: SocketAddrV4,
    pub(crate) server_endpoint: Endpoint,
    /// The first of the clients' ports.
    pub(crate) first_port: u16,
    pub(crate) flows: u16,
    /// Bytes of each, from client to server.
    pub(crate) bytes: u64,
    /// Frames in a million that each end loses on purpose.
    pub(crate) loss_ppm: u32,
    /// The least time after which something is sent again.
    pub(crate) rto_min_ms: u32,
    /// Longest IP packet.
    pub(crate) mtu: usize,
    pub(crate) seed: u64,
}

/// One flow.
#[derive(Debug)]
struct Flow {
    socket: SocketHandle,
    server: SocketHandle,
    began_ns: u64,
    written: u64,
    /// By the server's socket, which may have another flow's.
    read: u64,
    stood: bool,
    over: bool,
}

/// All flows of a session.
#[derive(Debug)]
pub(crate) struct Transfers {
    setting: Setting,
    client: Host,
    server: Host,
    flows: Vec<Flow>,
    received: u64,
    wrong_bytes: u64,
    /// From connecting until the client may send.
    handshake_ns: Histogram<u64>,
    epoch_ns: u64,
    /// When the last byte had arrived, from the epoch.
    done_ns: Option<u64>,
}

impl Transfers {
    pub(crate) fn new(setting: Setting) -> Self {
        let now_ns = clock::now_ns();
        let Setting { seed, mtu, loss_ppm, .. } = setting;
        let mut client = Host::new(setting.client, setting.client_endpoint, mtu, seed, now_ns);
        let mut server = Host::new(*setting.server.ip(), setting.server_endpoint, mtu, !seed, now_ns);
        client.lose(loss_ppm, seed);
        server.lose(loss_ppm, seed.rotate_left(32));
        client.set_rto_min_ms(setting.rto_min_ms);
        server.set_rto_min_ms(setting.rto_min_ms);
        let flows = (0..setting.flows).map(|_| Flow {
            socket: client.add_socket(),
            server: server.add_socket(),
            began_ns: 0,
            written: 0,
            read: 0,
            stood: false,
            over: false,
        });
        let flows = flows.collect();
        Self {
            client,
            server,
            flows,
            received: 0,
            wrong_bytes: 0,
            handshake_ns: histogram(),
            epoch_ns: now_ns,
            done_ns: None,
            setting,
        }
    }

    /// Bytes that arrived, and of these bytes that were not those sent.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.received, self.wrong_bytes)
    }

    /// Flows whose bytes all arrived and whose two ends are closed.
    pub(crate) fn finished(&self) -> u64 {
        self.flows.iter().filter(|flow| flow.over).count() as u64
    }

    /// From the epoch until the last byte had arrived; none if some did not.
    pub(crate) fn done_ns(&self) -> Option<u64> {
        self.done_ns
    }

    pub(crate) fn handshake_ns(&self) -> &Histogram<u64> {
        &self.handshake_ns
    }

    /// What went over the wire at the client's end and at the server's.
    pub(crate) fn segments(&self) -> [Segments; 2] {
        [self.client.segments(), self.server.segments()]
    }

    fn write(&mut self, now_ns: u64) {
        let Self { setting, client, flows, handshake_ns, .. } = self;
        for flow in flows {
            let socket = client.socket(flow.socket);
            if !socket.may_send() {
                continue;
            }
            if !std::mem::replace(&mut flow.stood, true) {
                handshake_ns.saturating_record(now_ns.saturating_sub(flow.began_ns).max(1));
            }
            while flow.written < setting.bytes && socket.can_send() {
                let len = (setting.bytes - flow.written).min(CHUNK as u64) as usize;
                let first = flow.written;
                let written = socket.send(|room| {
                    let len = len.min(room.len());
                    room[..len].iter_mut().zip(first..).for_each(|(byte, at)| *byte = pattern(at));
                    (len, len)
                });
                flow.written += written.unwrap_or(0) as u64;
            }
            if flow.written == setting.bytes {
                socket.close();
            }
        }
    }

    fn read(&mut self, now_ns: u64) {
        let Self { setting, client, server, flows, received, wrong_bytes, epoch_ns, done_ns, .. } = self;
        for flow in flows {
            let socket = server.socket(flow.server);
            while socket.can_recv() {
                // All flows carry the same, so that any of them may have come to any of the server's sockets.
                let at = flow.read;
                let read = socket.recv(|data| {
                    let wrong = data.iter().zip(at..).filter(|(byte, at)| **byte != pattern(*at)).count();
                    (data.len(), (data.len(), wrong))
                });
                let Ok((len, wrong)) = read else { break };
                flow.read += len as u64;
                *received += len as u64;
                *wrong_bytes += wrong as u64;
            }
            if socket.state() == TcpState::CloseWait {
                socket.close();
            }
            let closed = |state| matches!(state, TcpState::Closed | TcpState::TimeWait);
            let sent = flow.stood && flow.written == setting.bytes;
            flow.over = sent && closed(client.socket(flow.socket).state());
        }
        if done_ns.is_none() && *received == setting.bytes * u64::from(setting.flows) {
            *done_ns = Some(now_ns.saturating_sub(*epoch_ns));
        }
    }
}

impl Talk for Transfers {
    fn begin(&mut self, _: u8, epoch_ns: u64) {
        self.epoch_ns = epoch_ns;
        let Self { setting, client, server, flows, .. } = self;
        for (flow, port) in flows.iter_mut().zip(setting.first_port..) {
            flow.began_ns = epoch_ns;
            // Neither can fail: the sockets are new, and each port is used once. If one did, its flow would not finish, which is told.
            let _ = server.socket(flow.server).listen(setting.server.port());
            let _ = client.connect(flow.socket, setting.server, port);
        }
    }

    fn poll(&mut self, ends: &mut Ends, now_ns: u64, _: bool) -> Result<Polled, RigError> {
        if now_ns < self.epoch_ns {
            // Flows begin at the epoch, when whoever is between the ends has begun to listen.
            return Ok(Polled { arrived: 0, all_sent: false });
        }
        let arrived = self.client.poll(&mut *ends.pods, now_ns)? + self.server.poll(&mut *ends.internet, now_ns)?;
        self.write(now_ns);
        self.read(now_ns);
        // A stack that waits for a timer is not done: nothing but the end of all flows is.
        Ok(Polled { arrived, all_sent: self.is_complete() })
    }

    fn is_complete(&self) -> bool {
        self.done_ns.is_some() && self.flows.iter().all(|flow| flow.over)
    }
}

/// What byte stands where.
fn pattern(at: u64) -> u8 {
    (at ^ (at >> 8)) as u8
}
