//! What pods run: this binary, in processes of its own, on the kernel's own stack. Each prints what it has seen.

use std::collections::HashSet;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};

use super::servers;
use crate::support::LIMIT;

/// The role: asks the HTTP server at `to` from the pod `from`. Prints its own address and port, and those that the server saw.
pub(crate) fn get(from: &str, to: &str) {
    let mut stream = connected(from.parse().unwrap(), SocketAddrV4::new(to.parse().unwrap(), servers::HTTP)).unwrap();
    write!(stream, "GET / HTTP/1.0\r\nHost: {to}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200 OK"), "{answer}");
    // The server has closed; our side of the connection is still open, and closes now.
    stream.write_all(b"\r\n").unwrap_or_default();
    println!("{} {}", stream.local_addr().unwrap(), body.trim());
}

/// The role: sends or receives many bytes, and compares their hash with the server's.
pub(crate) fn transfer(from: &str, to: &str, way: &str, mebibytes: &str) {
    let bytes = mebibytes.parse::<u64>().unwrap() << 20;
    let to = SocketAddrV4::new(to.parse().unwrap(), servers::TRANSFER);
    let mut stream = connected(from.parse().unwrap(), to).unwrap();
    let since = Instant::now();
    stream.write_all(&[&way.as_bytes()[..1], &bytes.to_be_bytes()].concat()).unwrap();
    if way == "Up" {
        let sent = Stream::default().write_to(&mut stream, bytes).unwrap();
        let mut received = [0; 8];
        stream.read_exact(&mut received).unwrap();
        assert_eq!(u64::from_be_bytes(received), sent, "the server received something else");
    } else {
        let received = hash(&mut stream, bytes).unwrap();
        stream.write_all(&received.to_be_bytes()).unwrap();
        let mut same = [0];
        stream.read_exact(&mut same).unwrap();
        assert_eq!(same, [1], "the server sent something else");
    }
    println!("{way} {mebibytes} MiB in {:.1} s", since.elapsed().as_secs_f64());
}

/// The role: a thousand queries and more, of the sizes that DNS has, from one socket and from many. Prints a line for each socket: its own
/// address, and what the server saw.
pub(crate) fn query(from: &str, to: &str) {
    let from: Ipv4Addr = from.parse().unwrap();
    let to = SocketAddrV4::new(to.parse().unwrap(), servers::DNS);
    for queries in [1000u16, 1, 1, 1, 1] {
        let socket = UdpSocket::bind((from, 0)).unwrap();
        socket.connect(to).unwrap();
        let mut seen = HashSet::new();
        for number in 0..queries {
            // 512: RFC 1035; 1232: the size that resolvers agree on since 2020; 1472: the most that fits without fragments.
            let length = [64u16, 512, 1232, 1472][usize::from(number % 4)];
            let query = [number.to_be_bytes(), length.to_be_bytes()].concat();
            let answer = ask(&socket, &query);
            assert_eq!(answer.len(), usize::from(length));
            assert_eq!(answer[..2], query[..2]);
            seen.insert(String::from_utf8_lossy(&answer[2..]).split(' ').next().unwrap().to_owned());
        }
        assert_eq!(seen.len(), 1, "one socket is seen as {seen:?}");
        println!("{} {}", socket.local_addr().unwrap(), seen.into_iter().next().unwrap());
    }
}

/// UDP may lose: a resolver asks again.
fn ask(socket: &UdpSocket, query: &[u8]) -> Vec<u8> {
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut answer = vec![0; 2048];
    for _ in 0..10 {
        socket.send(query).unwrap();
        loop {
            match socket.recv(&mut answer) {
                // An answer to an earlier attempt is no answer to this query.
                Ok(length) if answer[..2] == query[..2] => return answer[..length].to_vec(),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
    panic!("no answer to ten queries");
}

/// The role: many connections that are all open at once. Prints its own address and the server's view of it for each.
pub(crate) fn crowd(to: &str, connections: &str) {
    let connections: u64 = connections.parse().unwrap();
    let to = SocketAddrV4::new(to.parse().unwrap(), servers::CROWD);
    let first_pod = Ipv4Addr::new(10, 0, 1, 50);
    let mut crowd: Vec<TcpStream> = (0..connections)
        .map(|number| connecting(Ipv4Addr::from_bits(first_pod.to_bits() + number as u32 % 16), to))
        .collect();
    for (stream, token) in crowd.iter_mut().zip(0u64..) {
        // Waits until this one is connected; all are on their way already.
        stream.set_nonblocking(false).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        stream.write_all(&[connections.to_be_bytes(), token.to_be_bytes()].concat()).unwrap();
    }
    for (stream, token) in crowd.iter_mut().zip(0u64..) {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(u64::from_be_bytes(answer), token, "this is another connection's answer");
        let mut seen = String::new();
        BufReader::new(&*stream).read_line(&mut seen).unwrap();
        println!("{} {}", stream.local_addr().unwrap(), seen.trim());
    }
}

/// The role: where nobody listens, both protocols say so at once: TCP by a reset, UDP by an ICMP error.
pub(crate) fn refused(from: &str, to: &str) {
    let from: Ipv4Addr = from.parse().unwrap();
    let to = SocketAddrV4::new(to.parse().unwrap(), servers::NOBODY);
    assert_eq!(connected(from, to).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let socket = UdpSocket::bind((from, 0)).unwrap();
    socket.connect(to).unwrap();
    socket.send(b"anybody?").unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    assert_eq!(socket.recv(&mut [0; 16]).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

fn connected(from: Ipv4Addr, to: SocketAddrV4) -> io::Result<TcpStream> {
    let fd = bound(from, SockFlag::SOCK_CLOEXEC);
    connect(fd.as_raw_fd(), &address(to))?;
    let stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    Ok(stream)
}

fn connecting(from: Ipv4Addr, to: SocketAddrV4) -> TcpStream {
    let fd = bound(from, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK);
    match connect(fd.as_raw_fd(), &address(to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => fd.into(),
        Err(errno) => panic!("{errno}"),
    }
}

fn bound(from: Ipv4Addr, flags: SockFlag) -> OwnedFd {
    let fd = socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
    bind(fd.as_raw_fd(), &address(SocketAddrV4::new(from, 0))).unwrap();
    fd
}

pub(crate) fn address(address: SocketAddrV4) -> SockaddrIn {
    SockaddrIn::from(address)
}

/// Bytes that no two places of a stream share, made as fast as they can be sent.
pub(crate) struct Stream {
    state: u64,
}

impl Default for Stream {
    fn default() -> Self {
        Self { state: 0x9e37_79b9_7f4a_7c15 }
    }
}

const BLOCK: usize = 64 * 1024;

impl Stream {
    /// Writes the stream's first `bytes` (a whole number of blocks) and returns their hash.
    pub(crate) fn write_to(&mut self, out: &mut impl Write, bytes: u64) -> io::Result<u64> {
        let mut block = vec![0; BLOCK];
        let mut hash = Fnv::default();
        for _ in 0..bytes / BLOCK as u64 {
            for word in block.chunks_exact_mut(8) {
                // Knuth's MMIX generator.
                self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                word.copy_from_slice(&self.state.to_be_bytes());
            }
            hash.add(&block);
            out.write_all(&block)?;
        }
        Ok(hash.0)
    }
}

/// Reads `bytes` (a whole number of blocks) and returns their hash.
pub(crate) fn hash(input: &mut impl Read, bytes: u64) -> io::Result<u64> {
    let mut block = vec![0; BLOCK];
    let mut hash = Fnv::default();
    for _ in 0..bytes / BLOCK as u64 {
        input.read_exact(&mut block)?;
        hash.add(&block);
    }
    Ok(hash.0)
}

/// FNV-1a, by words of eight bytes.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn add(&mut self, block: &[u8]) {
        for word in block.chunks_exact(8) {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(word);
            self.0 = (self.0 ^ u64::from_be_bytes(bytes)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
