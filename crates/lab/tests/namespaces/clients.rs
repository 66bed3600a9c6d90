//! Programs on the kernel's own stacks, through two NATs in a row, over every kind of link.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use natrig_lab::lease::Lease;
use natrig_lab::plan::Plan;
use natrig_lab::stage::{PumpTimes, Side, Stage, pump};
use natrig_lab::topology::{Boxes, Port, Topology, WorldUse};
use natrig_link::clock;

use crate::backends::{AF_XDP, BLOCKS, Links, Open, PNET, RINGS, SLOTS, box_links, nats};
use crate::support::enter_or_skip;

const PORT: u16 = 7000;
const TRANSFER_BYTES: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn over_packet_slots() {
    real_clients(SLOTS);
}

pub(crate) fn over_packet_blocks() {
    real_clients(BLOCKS);
}

pub(crate) fn over_pnet() {
    real_clients(PNET);
}

pub(crate) fn over_af_xdp() {
    real_clients(AF_XDP);
}

pub(crate) fn over_rings() {
    real_clients(RINGS);
}

fn real_clients(open: Open) {
    enter_or_skip();
    let topology = Topology::default();
    let lease = Plan::clients(&topology, Boxes::STAGES, None).unwrap().build().unwrap();
    let mut links = box_links(&lease, open);
    let mut stages = nats(&topology, WorldUse::Clients(Boxes::STAGES));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let boxes = scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                if stages.iter_mut().zip(&mut links).map(|(stage, links)| both_ways(stage, links)).sum::<usize>() == 0 {
                    thread::yield_now();
                }
            }
        });
        // Also when an assertion fails: nobody waits for the boxes then.
        let end = Stopping(&stop);
        let (pod, server) = (topology.pods.first, topology.internet.server_first);
        let seen_from = topology.gateway.addresses[0];
        datagrams(&lease, pod, server, seen_from);
        transfer(&lease, server, seen_from);
        drop(end);
        boxes.join().unwrap();
    });
    for stage in &stages {
        assert_eq!(stage.counts().dropped().collect::<Vec<_>>(), []);
    }
}

struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn both_ways(stage: &mut Stage, links: &mut Links) -> usize {
    let [inside, outside] = &mut links[..] else { panic!("two links") };
    let times = &mut PumpTimes::default();
    let out = pump(stage, Side::Inside, &mut **inside, &mut **outside, clock::now_ns, times).unwrap();
    out + pump(stage, Side::Outside, &mut **outside, &mut **inside, clock::now_ns, times).unwrap()
}

/// Of all lengths that a packet can have; each comes back as it went, to whom it came from.
fn datagrams(lease: &Lease, pod: Ipv4Addr, server: Ipv4Addr, seen_from: Ipv4Addr) {
    let bound = |port: Port, address: Ipv4Addr, number: u16| {
        let socket = lease.run_in(port.namespace(), || UdpSocket::bind((address, number)).unwrap()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        socket
    };
    let (client, server_socket) = (bound(Port::Pods, pod, 0), bound(Port::Internet, server, PORT));
    let mut seen = None;
    for length in (4..=1472).step_by(67).chain([1471, 1472]) {
        let sent: Vec<u8> = (0..length).map(|at| (at * 13 + length) as u8).collect();
        let mut buffer = [0; 2048];
        // UDP may lose: whoever wants an answer asks again.
        let answered = (0..5).any(|_| {
            client.send_to(&sent, (server, PORT)).unwrap();
            let Some((len, from)) = received(&server_socket, &mut buffer) else { return false };
            assert_eq!((&buffer[..len], from.0), (&sent[..], seen_from));
            assert_eq!(*seen.get_or_insert(from.1), from.1, "one socket is seen as two");
            server_socket.send_to(&buffer[..len], from).unwrap();
            received(&client, &mut buffer)
                .is_some_and(|(len, from)| (&buffer[..len], from) == (&sent[..], (server, PORT)))
        });
        assert!(answered, "{length} bytes");
    }
}

fn received(socket: &UdpSocket, buffer: &mut [u8]) -> Option<(usize, (Ipv4Addr, u16))> {
    match socket.recv_from(buffer) {
        Ok((len, std::net::SocketAddr::V4(from))) => Some((len, (*from.ip(), from.port()))),
        Ok(other) => panic!("{other:?}"),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
        Err(error) => panic!("{error}"),
    }
}

/// A mebibyte there, and the same back.
fn transfer(lease: &Lease, server: Ipv4Addr, seen_from: Ipv4Addr) {
    let bytes: Vec<u8> = (0..TRANSFER_BYTES).map(|at| (at / 251 + at) as u8).collect();
    let listener = lease.run_in(Port::Internet.namespace(), || TcpListener::bind((server, PORT)).unwrap()).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, from) = listener.accept().unwrap();
            assert_eq!(from.ip(), seen_from);
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut arrived = Vec::new();
            stream.read_to_end(&mut arrived).unwrap();
            assert!(arrived == bytes, "{} bytes arrived, and not those that were sent", arrived.len());
            stream.write_all(&arrived).unwrap();
        });
        let connected = || TcpStream::connect((server, PORT)).unwrap();
        let mut stream = lease.run_in(Port::Pods.namespace(), connected).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        assert!(back == bytes, "{} bytes came back, and not those that were sent", back.len());
    });
}
