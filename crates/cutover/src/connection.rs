//! A TCP connection as programs know it, whichever stack it is in.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::client::Notice;

/// Where a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Connecting,
    Open,
    /// It is over: in good order, or so.
    Ended(Option<Notice>),
}

/// A connection, to be made again and again.
pub(crate) trait Connection {
    /// What it needs of its machine.
    type Host;

    /// Begins to connect, from a port of the host's address; false: the stack refuses.
    fn connect(&mut self, host: &mut Self::Host, to: SocketAddrV4, from: (Ipv4Addr, u16)) -> bool;

    /// Has the stack ask from time to time whether the other end is there.
    fn keep_alive(&mut self, host: &mut Self::Host);

    /// Where it is.
    fn state(&mut self, host: &mut Self::Host, now_ns: u64) -> State;

    /// Takes all that has come; how many bytes.
    fn read(&mut self, host: &mut Self::Host) -> usize;

    /// Gives as much of `len` bytes to the stack as it takes; how many.
    fn write(&mut self, host: &mut Self::Host, len: usize) -> usize;

    /// Whether the other end has acknowledged something since this was asked last.
    fn acknowledged(&mut self, host: &mut Self::Host) -> bool;

    /// Segments that have come in so far, resets left out.
    fn heard(&mut self, host: &mut Self::Host) -> u64;

    /// Says no more.
    fn close(&mut self, host: &mut Self::Host);

    /// Gives it up, with a reset if the other end might be there.
    fn abort(&mut self, host: &mut Self::Host);
}
