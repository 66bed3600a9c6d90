//! What the kernel knows about a TCP connection (tcp(7), TCP_INFO).

use std::io;
use std::os::fd::BorrowedFd;

use crate::sys;

/// As many words of `struct tcp_info` (`linux/tcp.h`) as are looked at, and some to come; the kernel fills in as many as there is room for.
type Words = [u32; 64];

/// Places in it: `tcpi_bytes_acked`, 64 bits (Linux 4.1), and `tcpi_segs_in` (Linux 4.2).
const BYTES_ACKED: usize = 30;
const SEGMENTS_IN: usize = 35;

/// Counts of a connection since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpCounts {
    /// Bytes that the other end has acknowledged.
    pub bytes_acked: u64,
    /// Segments that have arrived.
    pub segments_in: u32,
}

/// The counts of the connection behind a TCP socket.
///
/// # Errors
/// It is no TCP socket.
pub fn counts(socket: BorrowedFd<'_>) -> io::Result<TcpCounts> {
    let words: Words = sys::get_option(socket, libc::IPPROTO_TCP, libc::TCP_INFO, [0; 64])?;
    let mut bytes_acked = [0; 8];
    bytes_acked[..4].copy_from_slice(&words[BYTES_ACKED].to_ne_bytes());
    bytes_acked[4..].copy_from_slice(&words[BYTES_ACKED + 1].to_ne_bytes());
    Ok(TcpCounts { bytes_acked: u64::from_ne_bytes(bytes_acked), segments_in: words[SEGMENTS_IN] })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn what_was_acknowledged_and_what_came() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let before = counts(client.as_fd()).unwrap();
        client.write_all(&[7; 1000]).unwrap();
        server.read_exact(&mut [0; 1000]).unwrap();
        // What is sent back acknowledges it.
        server.write_all(&[8]).unwrap();
        client.read_exact(&mut [0]).unwrap();
        let after = counts(client.as_fd()).unwrap();
        assert_eq!(after.bytes_acked - before.bytes_acked, 1000);
        assert!((1..=3).contains(&(after.segments_in - before.segments_in)), "{before:?} {after:?}");
        assert!(counts(UdpSocket::bind("127.0.0.1:0").unwrap().as_fd()).is_err());
    }
}
