//! The programs in the pods: what they do with a connection, when they notice that it is broken, and how they recover.

use std::net::{Ipv4Addr, SocketAddrV4};

use natrig_bench::scenario::Word;
use natrig_bench::words;

use crate::connection::{Connection, State};
use crate::pace::{Pace, ns};
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
        /// The other end closed it, though it had more to say.
        Closed = "closed",
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
}

/// What an active writer sends at a time, in bytes.
const WRITE_LEN: usize = 200;
/// What a request has, in bytes.
pub(crate) const REQUEST_LEN: usize = 100;
/// What an answer has, in bytes.
pub(crate) const ANSWER_LEN: usize = 1000;
/// What a program is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting { until_ns: u64 },
    Connecting { since_ns: u64 },
    Open,
}

/// A program and its connection.
#[derive(Debug)]
pub(crate) struct Client<C> {
    pub(crate) class: ClientClass,
    pub(crate) node: usize,
    pub(crate) connection: C,
    own: Ipv4Addr,
    server: SocketAddrV4,
    pace: Pace,
    /// Of the connection now.
    pub(crate) local_port: u16,
    phase: Phase,
    next_ns: u64,
    asked_ns: Option<u64>,
    answer_left: usize,
    /// Segments that had come when this was looked at last, and when that was.
    heard: u64,
    heard_ns: u64,
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

impl<C: Connection> Client<C> {
    /// A program at `own` that talks to a server from `start_ns` on, from `first_port` at first.
    pub(crate) fn new(
        class: ClientClass,
        node: usize,
        (own, first_port): (Ipv4Addr, u16),
        server: Ipv4Addr,
        connection: C,
        (pace, start_ns): (&Pace, u64),
    ) -> Self {
        Self {
            class,
            node,
            connection,
            own,
            server: SocketAddrV4::new(server, class.server_port()),
            pace: pace.clone(),
            local_port: first_port,
            phase: Phase::Waiting { until_ns: start_ns },
            next_ns: start_ns,
            asked_ns: None,
            answer_left: 0,
            heard: 0,
            heard_ns: start_ns,
            progress_ns: 0,
            drained: false,
            fate: Fate::default(),
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
    pub(crate) fn drain(&mut self, host: &mut C::Host) {
        self.drained = true;
        if self.class != ClientClass::Download {
            self.connection.close(host);
            self.fate.closed = true;
        }
    }

    /// The pod is gone; its successor starts.
    pub(crate) fn restart(&mut self, host: &mut C::Host, now_ns: u64) {
        if !self.fate.closed {
            self.lost(Notice::Cut, now_ns);
        }
        self.drained = false;
        self.reconnect(host, now_ns);
    }

    fn works(&self, now_ns: u64) -> bool {
        let since_ns = if self.class == ClientClass::Keepalive { self.heard_ns } else { self.progress_ns };
        self.phase == Phase::Open && now_ns - since_ns <= self.pace.patience_ns(self.class)
    }

    /// The last word on the connection.
    pub(crate) fn end(&mut self, now_ns: u64) {
        self.fate.working_at_end = self.fate.noticed.is_none() && !self.fate.closed && self.works(now_ns);
    }

    /// Does what is due.
    pub(crate) fn drive(&mut self, host: &mut C::Host, now_ns: u64) {
        match self.phase {
            Phase::Waiting { until_ns } if now_ns >= until_ns && !self.drained => {
                if self.connection.connect(host, self.server, (self.own, self.local_port)) {
                    self.phase = Phase::Connecting { since_ns: now_ns };
                } else {
                    self.reconnect(host, now_ns);
                }
            }
            Phase::Waiting { .. } => {}
            Phase::Connecting { since_ns } => match self.connection.state(host, now_ns) {
                State::Open => self.opened(host, now_ns),
                State::Connecting if now_ns - since_ns <= ns(self.pace.connect_ms) => {}
                State::Connecting | State::Ended(_) => self.reconnect(host, now_ns),
            },
            Phase::Open => self.open(host, now_ns),
        }
    }

    fn opened(&mut self, host: &mut C::Host, now_ns: u64) {
        if self.class == ClientClass::Keepalive {
            self.connection.keep_alive(host);
            // It makes no other progress.
            self.progress(now_ns);
        }
        (self.asked_ns, self.answer_left, self.heard) = (None, 0, self.connection.heard(host));
        (self.heard_ns, self.progress_ns, self.next_ns) = (now_ns, now_ns, now_ns);
        self.phase = Phase::Open;
    }

    fn open(&mut self, host: &mut C::Host, now_ns: u64) {
        self.listen(host, now_ns);
        let read = self.connection.read(host);
        let acknowledged = self.connection.acknowledged(host);
        if let State::Ended(how) = self.connection.state(host, now_ns) {
            if let Some(how) = how {
                self.lost(how, now_ns);
            }
            return self.reconnect(host, now_ns);
        }
        match self.class {
            ClientClass::ActiveWriter => {
                if acknowledged {
                    self.progress(now_ns);
                }
                if now_ns >= self.next_ns && !self.drained {
                    self.connection.write(host, WRITE_LEN);
                    self.next_ns = now_ns + ns(self.pace.write_ms);
                }
            }
            ClientClass::IdleReader | ClientClass::Download if read > 0 => self.progress(now_ns),
            ClientClass::IdleReader | ClientClass::Download | ClientClass::Keepalive => {}
            ClientClass::RequestResponse | ClientClass::WithinVpc => self.ask(read, host, now_ns),
        }
    }

    /// Whether something has come in.
    fn listen(&mut self, host: &mut C::Host, now_ns: u64) {
        let heard = self.connection.heard(host);
        let news = heard.saturating_sub(self.heard);
        if news == 0 {
            return;
        }
        (self.heard, self.heard_ns) = (heard, now_ns);
        let original = self.fate.noticed.is_none() && !self.fate.closed;
        if original && self.fate.changed_ns.is_some_and(|changed_ns| now_ns > changed_ns + SECOND_NS / 10) {
            self.fate.heard_after += news;
        }
    }

    fn ask(&mut self, read: usize, host: &mut C::Host, now_ns: u64) {
        if let Some(asked_ns) = self.asked_ns {
            self.answer_left = self.answer_left.saturating_sub(read);
            if self.answer_left == 0 {
                self.asked_ns = None;
                self.progress(now_ns);
            } else if now_ns - asked_ns > ns(self.pace.answer_ms) {
                self.lost(Notice::ApplicationTimeout, now_ns);
                self.reconnect(host, now_ns);
            }
        } else if now_ns >= self.next_ns && !self.drained {
            self.connection.write(host, REQUEST_LEN);
            let next_ns = now_ns + ns(self.pace.ask_ms);
            (self.asked_ns, self.answer_left, self.next_ns) = (Some(now_ns), ANSWER_LEN, next_ns);
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

    fn lost(&mut self, how: Notice, now_ns: u64) {
        if self.fate.noticed.is_none() && !self.fate.closed && (self.fate.changed_ns.is_some() || how == Notice::Cut) {
            self.fate.noticed = Some((now_ns, how));
        }
    }

    fn reconnect(&mut self, host: &mut C::Host, now_ns: u64) {
        self.connection.abort(host);
        self.local_port = if self.local_port == u16::MAX { 32_768 } else { self.local_port + 1 };
        self.phase = Phase::Waiting { until_ns: now_ns + ns(self.pace.reconnect_ms) };
    }
}
