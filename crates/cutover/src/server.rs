//! The programs at the far end: one for each kind of client.

use crate::client::{ANSWER_LEN, ClientClass, REQUEST_LEN};
use crate::connection::{Connection, State};
use crate::pace::{Pace, ns};

/// What a reader is sent, in bytes.
const PUSH_LEN: usize = 100;
/// What a download is sent at a time, in bytes.
const DOWNLOAD_LEN: usize = 4096;

/// A program and one connection.
#[derive(Debug)]
pub(crate) struct Server<C> {
    pub(crate) class: ClientClass,
    pub(crate) connection: C,
    pace: Pace,
    next_ns: u64,
    asked: usize,
    owed: usize,
}

impl<C: Connection> Server<C> {
    pub(crate) fn new(class: ClientClass, connection: C, pace: &Pace) -> Self {
        Self { class, connection, pace: pace.clone(), next_ns: 0, asked: 0, owed: 0 }
    }

    /// Waits for another connection.
    pub(crate) const fn restart(&mut self) {
        (self.next_ns, self.asked, self.owed) = (0, 0, 0);
    }

    /// Does what is due; false: the connection is over.
    pub(crate) fn drive(&mut self, host: &mut C::Host, now_ns: u64) -> bool {
        self.asked += self.connection.read(host);
        match self.connection.state(host, now_ns) {
            State::Connecting => true,
            State::Open => {
                self.serve(host, now_ns);
                true
            }
            State::Ended(None) => {
                self.connection.close(host);
                false
            }
            State::Ended(Some(_)) => false,
        }
    }

    fn serve(&mut self, host: &mut C::Host, now_ns: u64) {
        match self.class {
            ClientClass::ActiveWriter | ClientClass::Keepalive => {}
            ClientClass::IdleReader => self.push(PUSH_LEN, ns(self.pace.push_ms), now_ns),
            ClientClass::Download => self.push(DOWNLOAD_LEN, ns(self.pace.download_ms), now_ns),
            ClientClass::RequestResponse | ClientClass::WithinVpc => {
                self.owed += self.asked / REQUEST_LEN * ANSWER_LEN;
                self.asked %= REQUEST_LEN;
            }
        }
        while self.owed > 0 {
            let taken = self.connection.write(host, self.owed.min(DOWNLOAD_LEN));
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
}
