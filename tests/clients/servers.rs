//! What stands on the internet of a world: this binary, in a process of its own, on the kernel's own stack.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, listen, setsockopt, socket, sockopt,
};

use super::programs::{Stream, hash};

/// Tells a client what its address is, and closes first.
pub(crate) const HTTP: u16 = 80;
/// Takes or gives bytes, and their hash.
pub(crate) const TRANSFER: u16 = 9000;
/// Waits until a whole crowd has connected, and only then answers.
pub(crate) const CROWD: u16 = 9001;
/// Answers queries over UDP.
pub(crate) const DNS: u16 = 53;
/// Nobody listens there.
pub(crate) const NOBODY: u16 = 9;

/// The role: serves at `address` until it is killed.
pub(crate) fn serve(address: &str) {
    let address: Ipv4Addr = address.parse().unwrap();
    let udp = UdpSocket::bind((address, DNS)).unwrap();
    let (http, transfer, crowd) = (listener(address, HTTP), listener(address, TRANSFER), listener(address, CROWD));
    println!("ready");
    thread::spawn(move || accept(&http, greet));
    thread::spawn(move || accept(&transfer, serve_transfer));
    thread::spawn(move || crowds(&crowd));
    answer_queries(&udp);
}

/// With the longest queue there is: std's would make a crowd come one by one.
fn listener(address: Ipv4Addr, port: u16) -> TcpListener {
    let fd: OwnedFd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    setsockopt(&fd, sockopt::ReuseAddr, &true).unwrap();
    let [a, b, c, d] = address.octets();
    bind(fd.as_raw_fd(), &SockaddrIn::new(a, b, c, d, port)).unwrap();
    listen(&fd, Backlog::MAXCONN).unwrap();
    fd.into()
}

/// A client that goes away early is its own affair.
fn accept(listener: &TcpListener, serve: fn(TcpStream, SocketAddr) -> std::io::Result<()>) {
    loop {
        let (stream, client) = listener.accept().unwrap();
        thread::spawn(move || {
            if let Err(error) = serve(stream, client) {
                eprintln!("{client}: {error}");
            }
        });
    }
}

/// HTTP/1.0: the end of the connection is the end of the answer, so it is the server who closes first.
fn greet(mut stream: TcpStream, client: SocketAddr) -> std::io::Result<()> {
    let mut request = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    while request.read_line(&mut line)? > 2 {
        line.clear();
    }
    write!(stream, "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n{client}\n")
}

/// A client asks for a way (`U`p or `D`own) and a number of bytes. Whoever receives them says what hash they have.
fn serve_transfer(mut stream: TcpStream, _: SocketAddr) -> std::io::Result<()> {
    let mut wish = [0; 9];
    stream.read_exact(&mut wish)?;
    let [way, bytes @ ..] = wish;
    let bytes = u64::from_be_bytes(bytes);
    if way == b'U' {
        let hash = hash(&mut stream, bytes)?;
        return stream.write_all(&hash.to_be_bytes());
    }
    let sent = Stream::default().write_to(&mut stream, bytes)?;
    let mut received = [0; 8];
    stream.read_exact(&mut received)?;
    stream.write_all(&[u8::from(u64::from_be_bytes(received) == sent)])
}

/// First everybody of a crowd connects and says its size; only when all are there, each gets its answer.
fn crowds(listener: &TcpListener) {
    loop {
        let mut crowd: Vec<(TcpStream, SocketAddr, [u8; 8])> = Vec::new();
        let mut size = usize::MAX;
        while crowd.len() < size {
            let (mut stream, client) = listener.accept().unwrap();
            let mut words = [0; 16];
            stream.read_exact(&mut words).unwrap();
            let (number, token) = words.split_at(8);
            size = u64::from_be_bytes(number.try_into().unwrap()) as usize;
            crowd.push((stream, client, token.try_into().unwrap()));
        }
        for (mut stream, client, token) in crowd {
            stream.write_all(&token).unwrap();
            writeln!(stream, "{client}").unwrap();
        }
    }
}

/// A query is a number and how long the answer shall be; the answer begins with the number and the client's address.
fn answer_queries(socket: &UdpSocket) {
    let mut query = [0; 2048];
    loop {
        let (length, client) = socket.recv_from(&mut query).unwrap();
        let Some((&[n0, n1, l0, l1], _)) = query[..length].split_first_chunk::<4>() else { continue };
        let mut answer = [&[n0, n1][..], format!("{client} ").as_bytes()].concat();
        answer.resize(usize::from(u16::from_be_bytes([l0, l1])), b'.');
        socket.send_to(&answer, client).unwrap();
    }
}
