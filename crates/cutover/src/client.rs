//! The programs in the pods: what they do with a connection, when they notice that it is broken, and how they recover.

use std::net::Ipv4Addr;

use natrig_bench::scenario::Word;
use natrig_bench::words;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp;

use crate::host::Host;
use crate::path::SECOND_NS;

words! {
    /// What kind of client it is: what it does while all is well decides how it notices that it is not.
    ClientClass {
        /// Sends a little every second and waits for no answer.
        ActiveWriter = "active-writer",
        /// Only reads; the server sends a little every ten seconds.
        IdleReader = "idle-reader",
        /// Says nothing and hears nothing, with TCP keepalive every minute.
        Keepalive = "keepalive",
        /// Asks once a second over a pooled connection and gives an answer five seconds.
        RequestResponse = "request-response",
        /// Reads a long download.
        Download = "download",
        /// As `request-response`, to a host within the VPC: the control.
        WithinVpc = "within-vpc",
    }
}

words! {
    /// How a client learned that its connection was broken.
    Notice {
        /// The connection was reset.
        Reset = "reset",
        /// TCP gave up: retransmissions went unanswered.
        Timeout = "timeout",
        /// TCP gave up: keepalive went unanswered.
        KeepaliveTimeout = "keepalive-timeout",
        /// The program gave up: no answer in time.
        ApplicationTimeout = "application-timeout",
        /// The pod was moved before the transfer was done.
        Cut = "cut",
    }
}

impl ClientClass {
    /// The port that its server listens on.
    pub(crate) const fn server_port(self) -> u16 {
        match self {
            Self::ActiveWriter => 7001,
            Self::IdleReader => 7002,
            Self::Keepalive => 7003,
            Self::RequestResponse | Self::WithinVpc => 7004,
            Self::Download => 7005,
        }
    }

    /// A connection without progress for so long is dead.
    const fn patience_ns(self) -> u64 {
        match self {
            Self::ActiveWriter | Self::Download => 5 * SECOND_NS,
            Self::IdleReader => 25 * SECOND_NS,
            Self::Keepalive => 130 * SECOND_NS,
            Self::RequestResponse | Self::WithinVpc => 10 * SECOND_NS,
        }
    }
}

/// What an active writer sends at a time, in bytes.
const WRITE_LEN: usize = 200;
/// What a request has, in bytes.
pub(crate) const REQUEST_LEN: usize = 100;
/// What an answer has, in bytes.
pub(crate) const ANSWER_LEN: usize = 1000;
/// How long a program waits for an answer.
const ANSWER_NS: u64 = 5 * SECOND_NS;
/// How long TCP retransmits: what 15 retries come to (Linux, net.ipv4.tcp_retries2).
pub(crate) const RETRANSMIT_NS: u64 = 924 * SECOND_NS;
/// How long TCP tries to connect: 6 retries of a SYN (Linux, net.ipv4.tcp_syn_retries).
const CONNECT_NS: u64 = 127 * SECOND_NS;
/// How often keepalive asks.
const KEEPALIVE_S: u64 = 60;
/// When keepalive gives up: nine questions 75 s apart (Linux, net.ipv4.tcp_keepalive_probes and _intvl) after the first.
const KEEPALIVE_NS: u64 = (KEEPALIVE_S + 9 * 75) * SECOND_NS;
/// How long a program waits before it connects again.
const RECONNECT_NS: u64 = SECOND_NS;

/// Where a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting { until_ns: u64 },
    Connecting { since_ns: u64 },
    Open,
}

/// A program and its connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) class: ClientClass,
    pub(crate) node: usize,
    server: Ipv4Addr,
    handle: SocketHandle,
    /// Of the connection now.
    pub(crate) local_port: u16,
    phase: Phase,
    next_ns: u64,
    asked_ns: Option<u64>,
    answer_left: usize,
    queued: usize,
    unacknowledged_since_ns: Option<u64>,
    heard_ns: u64,
    was_reset: bool,
    progress_ns: u64,
    /// The pod is being emptied: the program ends what it does and starts again elsewhere.
    drained: bool,
    pub(crate) fate: Fate,
}

/// What became of the connection that lived when the change came.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Fate {
    /// When the change came for this client; none before.
    pub(crate) changed_ns: Option<u64>,
    /// Whether it was working then.
    pub(crate) was_working: bool,
    /// When its program learned that it was broken, and how.
    pub(crate) noticed: Option<(u64, Notice)>,
    /// Closed in good order before the change.
    pub(crate) closed: bool,
    /// When a later connection made progress.
    pub(crate) recovered_ns: Option<u64>,
    /// Last progress of the connection itself.
    pub(crate) last_progress_ns: u64,
    /// Packets other than resets that still came in after the change.
    pub(crate) heard_after: u64,
    /// Still working at the end.
    pub(crate) working_at_end: bool,
}

impl Fate {
    /// Whether the connection broke.
    pub(crate) const fn broken(&self) -> bool {
        self.was_working && !self.closed && (self.noticed.is_some() || !self.working_at_end)
    }

    /// Whether only one direction was broken.
    pub(crate) const fn half_dead(&self) -> bool {
        self.broken() && self.heard_after > 0
    }
}

impl Client {
    pub(crate) fn new(
        class: ClientClass,
        node: usize,
        server: Ipv4Addr,
        first_port: u16,
        host: &mut Host,
        start_ns: u64,
    ) -> Self {
        Self {
            class,
            node,
            server,
            handle: host.add_socket(),
            local_port: first_port,
            phase: Phase::Waiting { until_ns: start_ns },
            next_ns: start_ns,
            asked_ns: None,
            answer_left: 0,
            queued: 0,
            unacknowledged_since_ns: None,
            heard_ns: start_ns,
            was_reset: false,
            progress_ns: 0,
            drained: false,
            fate: Fate::default(),
        }
    }

    /// A packet of the connection came in.
    pub(crate) fn heard(&mut self, reset: bool, now_ns: u64) {
        self.was_reset |= reset;
        self.heard_ns = now_ns;
        let original = self.fate.noticed.is_none() && !self.fate.closed;
        if original && !reset && self.fate.changed_ns.is_some_and(|changed_ns| now_ns > changed_ns + SECOND_NS / 10) {
            self.fate.heard_after += 1;
        }
    }

    /// The change has come for this client's node.
    pub(crate) fn changed(&mut self, now_ns: u64) {
        self.fate.changed_ns = Some(now_ns);
        self.fate.was_working = self.fate.closed || self.works(now_ns);
        // A connection that is only kept open is as good as ever until then.
        self.fate.last_progress_ns = if self.class == ClientClass::Keepalive { now_ns } else { self.progress_ns };
    }

    /// The pod is being emptied: clients that can close do. A download goes on until it is cut.
    pub(crate) fn drain(&mut self, host: &mut Host) {
        self.drained = true;
        if self.class != ClientClass::Download {
            host.socket(self.handle).close();
            self.fate.closed = true;
        }
    }

    /// The pod is gone; its successor starts.
    pub(crate) fn restart(&mut self, host: &mut Host, now_ns: u64) {
        if !self.fate.closed {
            self.lost(Notice::Cut, host, now_ns);
        }
        self.drained = false;
        self.reconnect(host, now_ns);
    }

    fn works(&self, now_ns: u64) -> bool {
        let since_ns = if self.class == ClientClass::Keepalive { self.heard_ns } else { self.progress_ns };
        self.phase == Phase::Open && now_ns - since_ns <= self.class.patience_ns()
    }

    /// The last word on the connection.
    pub(crate) fn end(&mut self, now_ns: u64) {
        self.fate.working_at_end = self.fate.noticed.is_none() && !self.fate.closed && self.works(now_ns);
    }

    /// Does what is due.
    pub(crate) fn drive(&mut self, host: &mut Host, now_ns: u64) {
        match self.phase {
            Phase::Waiting { until_ns } if now_ns >= until_ns && !self.drained => self.connect(host, now_ns),
            Phase::Waiting { .. } => {}
            Phase::Connecting { since_ns } => self.connecting(host, since_ns, now_ns),
            Phase::Open => self.open(host, now_ns),
        }
    }

    fn connect(&mut self, host: &mut Host, now_ns: u64) {
        self.was_reset = false;
        let to = (self.server, self.class.server_port());
        if host.connect(self.handle, to, self.local_port) {
            self.phase = Phase::Connecting { since_ns: now_ns };
        }
    }

    fn connecting(&mut self, host: &mut Host, since_ns: u64, now_ns: u64) {
        let socket = host.socket(self.handle);
        if socket.state() == tcp::State::Established {
            if self.class == ClientClass::Keepalive {
                socket.set_keep_alive(Some(smoltcp::time::Duration::from_secs(KEEPALIVE_S)));
                // It makes no other progress.
                self.progress(now_ns);
            }
            (self.asked_ns, self.answer_left, self.queued, self.unacknowledged_since_ns) = (None, 0, 0, None);
            (self.heard_ns, self.progress_ns, self.next_ns) = (now_ns, now_ns, now_ns);
            self.phase = Phase::Open;
        } else if !socket.is_open() || now_ns - since_ns > CONNECT_NS {
            self.reconnect(host, now_ns);
        }
    }

    fn open(&mut self, host: &mut Host, now_ns: u64) {
        let socket = host.socket(self.handle);
        let mut read = 0;
        while socket.can_recv() {
            read += socket.recv(|data| (data.len(), data.len())).unwrap_or(0);
        }
        let queued = socket.send_queue();
        if queued < self.queued || queued > 0 && self.unacknowledged_since_ns.is_none() {
            self.unacknowledged_since_ns = Some(now_ns);
        }
        if queued == 0 {
            self.unacknowledged_since_ns = None;
        }
        let acknowledged = queued < self.queued;
        self.queued = queued;
        if !socket.is_open() || self.was_reset {
            return self.ended(host, now_ns);
        }
        if self.unacknowledged_since_ns.is_some_and(|since_ns| now_ns - since_ns > RETRANSMIT_NS) {
            return self.broken(Notice::Timeout, host, now_ns);
        }
        match self.class {
            ClientClass::ActiveWriter => {
                if acknowledged {
                    self.progress(now_ns);
                }
                if now_ns >= self.next_ns && !self.drained {
                    self.send(WRITE_LEN, host);
                    self.next_ns = now_ns + SECOND_NS;
                }
            }
            ClientClass::IdleReader | ClientClass::Download if read > 0 => self.progress(now_ns),
            ClientClass::IdleReader | ClientClass::Download => {}
            ClientClass::Keepalive if now_ns - self.heard_ns > KEEPALIVE_NS => {
                self.broken(Notice::KeepaliveTimeout, host, now_ns);
            }
            ClientClass::Keepalive => {}
            ClientClass::RequestResponse | ClientClass::WithinVpc => self.ask(read, host, now_ns),
        }
    }

    fn ask(&mut self, read: usize, host: &mut Host, now_ns: u64) {
        if let Some(asked_ns) = self.asked_ns {
            self.answer_left = self.answer_left.saturating_sub(read);
            if self.answer_left == 0 {
                self.asked_ns = None;
                self.progress(now_ns);
            } else if now_ns - asked_ns > ANSWER_NS {
                self.broken(Notice::ApplicationTimeout, host, now_ns);
            }
        } else if now_ns >= self.next_ns && !self.drained {
            self.send(REQUEST_LEN, host);
            (self.asked_ns, self.answer_left, self.next_ns) = (Some(now_ns), ANSWER_LEN, now_ns + SECOND_NS);
        }
    }

    fn send(&mut self, len: usize, host: &mut Host) {
        let socket = host.socket(self.handle);
        if socket.can_send() {
            // A full buffer takes less: then the connection is stuck anyway.
            let _ = socket.send_slice(&[0x55; WRITE_LEN][..len]);
            self.queued = socket.send_queue();
        }
    }

    fn progress(&mut self, now_ns: u64) {
        self.progress_ns = now_ns;
        if self.fate.changed_ns.is_none() {
            return;
        }
        if self.fate.noticed.is_none() && !self.fate.closed {
            self.fate.last_progress_ns = now_ns;
        } else if self.fate.recovered_ns.is_none() {
            self.fate.recovered_ns = Some(now_ns);
        }
    }

    /// The stack has closed the connection.
    fn ended(&mut self, host: &mut Host, now_ns: u64) {
        if self.was_reset { self.broken(Notice::Reset, host, now_ns) } else { self.reconnect(host, now_ns) }
    }

    fn broken(&mut self, how: Notice, host: &mut Host, now_ns: u64) {
        self.lost(how, host, now_ns);
        self.reconnect(host, now_ns);
    }

    fn lost(&mut self, how: Notice, host: &mut Host, now_ns: u64) {
        if how == Notice::Timeout {
            host.forget(self.handle);
        }
        if self.fate.noticed.is_none() && !self.fate.closed && (self.fate.changed_ns.is_some() || how == Notice::Cut) {
            self.fate.noticed = Some((now_ns, how));
        }
    }

    fn reconnect(&mut self, host: &mut Host, now_ns: u64) {
        host.socket(self.handle).abort();
        self.local_port = if self.local_port == u16::MAX { 32_768 } else { self.local_port + 1 };
        self.phase = Phase::Waiting { until_ns: now_ns + RECONNECT_NS };
    }
}
