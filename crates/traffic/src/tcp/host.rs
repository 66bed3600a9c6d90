//! A machine with one address and any number of TCP sockets, on a link.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};

use natrig_link::{BURST_MAX, Link};
use natrig_wire::{Frame, ethernet};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

use super::loss::Loss;
use super::segments::{Segments, Watch};
use crate::{Endpoint, ReflectError};

/// Of each socket, in either direction: its window.
pub(super) const BUFFER_LEN: usize = 64 * 1024;

/// The least time after which smoltcp sends again, in milliseconds (RFC 6298 §2.4): a constant of its.
const RTO_MIN_MS: u32 = 1000;

/// One smoltcp stack. Sockets control congestion as Reno does.
pub struct Host {
    device: FrameQueues,
    interface: Interface,
    sockets: SocketSet<'static>,
    epoch_ns: u64,
    rto_min_ms: u32,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}

impl Host {
    /// A machine with IP packets of up to `mtu` bytes, whose time begins at `epoch_ns`.
    pub fn new(address: Ipv4Addr, endpoint: Endpoint, mtu: usize, seed: u64, epoch_ns: u64) -> Self {
        let mut device = FrameQueues {
            endpoint,
            mtu,
            arrived: VecDeque::new(),
            leaving: VecDeque::new(),
            watch: Watch::default(),
            loss: None,
        };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed ^ u64::from(address.to_bits());
        let mut interface = Interface::new(config, &mut device, Instant::ZERO);
        // Every destination is on link: the frame goes to the next hop's MAC address whatever the address.
        interface.update_ip_addrs(|addresses| {
            let _ = addresses.push(IpCidr::new(IpAddress::Ipv4(address), 0));
        });
        Self { device, interface, sockets: SocketSet::new(Vec::new()), epoch_ns, rto_min_ms: RTO_MIN_MS }
    }

    /// From now on loses so many frames in a million that it should send, and counts them. Which ones follows from `seed` and from what
    /// they carry, not from when: another run of the same flows loses the same bytes.
    pub fn lose(&mut self, ppm: u32, seed: u64) {
        self.device.loss = (ppm > 0).then(|| Loss::new(ppm, seed));
    }

    /// Sends again after no less than so many milliseconds: the stack's clock runs faster by as much as that is less than its constant, and
    /// so do its other timers.
    pub fn set_rto_min_ms(&mut self, ms: u32) {
        self.rto_min_ms = ms.clamp(1, RTO_MIN_MS);
    }

    /// A further socket.
    pub fn add_socket(&mut self) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER_LEN]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_congestion_control(tcp::CongestionControl::Reno);
        self.sockets.add(socket)
    }

    /// One of its sockets.
    pub fn socket(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// Begins a connection.
    ///
    /// # Errors
    /// A few words, if smoltcp refuses.
    pub fn connect(&mut self, handle: SocketHandle, server: SocketAddrV4, local_port: u16) -> Result<(), &'static str> {
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(handle);
        socket
            .connect(self.interface.context(), (IpAddress::Ipv4(*server.ip()), server.port()), local_port)
            .map_err(|_| "the client cannot connect from that address")
    }

    /// Takes in what has arrived and sends what is ready. Returns how many frames had arrived.
    ///
    /// # Errors
    /// Whatever the link returns.
    pub fn poll(&mut self, link: &mut dyn Link, now_ns: u64) -> Result<usize, ReflectError> {
        let passed_us =
            now_ns.saturating_sub(self.epoch_ns) / 1000 * u64::from(RTO_MIN_MS) / u64::from(self.rto_min_ms);
        let now = Instant::from_micros(i64::try_from(passed_us).unwrap_or(i64::MAX));
        let arrived = &mut self.device.arrived;
        let frames = link.recv(BURST_MAX, &mut |frames| {
            arrived.extend(frames.iter().map(|frame| frame.bytes().to_vec()));
        })?;
        self.interface.poll(now, &mut self.device, &mut self.sockets);
        while let Some(mut bytes) = self.device.leaving.pop_front() {
            if link.send(&[Frame::whole(&mut bytes)], &[0])? == 0 {
                self.device.leaving.push_front(bytes);
                break;
            }
        }
        Ok(frames)
    }

    /// What has gone over the wire so far.
    pub fn segments(&self) -> Segments {
        self.device.watch.segments
    }
}

/// smoltcp's device: frames that have arrived and frames that are to leave.
struct FrameQueues {
    endpoint: Endpoint,
    mtu: usize,
    arrived: VecDeque<Vec<u8>>,
    leaving: VecDeque<Vec<u8>>,
    watch: Watch,
    /// What is lost on purpose.
    loss: Option<Loss>,
}

struct Arrived(Vec<u8>);

struct Leaving<'a>(&'a mut FrameQueues);

impl RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0[ethernet::HEADER_LEN..])
    }
}

impl TxToken for Leaving<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let FrameQueues { endpoint, leaving, watch, loss, .. } = self.0;
        let mut bytes = vec![0; ethernet::HEADER_LEN + len];
        bytes[0..6].copy_from_slice(&endpoint.peer.0);
        bytes[6..12].copy_from_slice(&endpoint.mac.0);
        bytes[12..14].copy_from_slice(&ethernet::ethertype::IPV4.to_be_bytes());
        let result = f(&mut bytes[ethernet::HEADER_LEN..]);
        watch.leaving(&bytes[ethernet::HEADER_LEN..]);
        if loss.as_mut().is_some_and(|loss| loss.takes(&bytes[ethernet::HEADER_LEN..])) {
            watch.segments.lost_on_purpose += 1;
        } else {
            leaving.push_back(bytes);
        }
        result
    }
}

impl Device for FrameQueues {
    type RxToken<'a> = Arrived;
    type TxToken<'a> = Leaving<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Arrived, Leaving<'_>)> {
        let is_ipv4 = |bytes: &Vec<u8>| bytes.get(12..14) == Some(&ethernet::ethertype::IPV4.to_be_bytes()[..]);
        while let Some(bytes) = self.arrived.pop_front() {
            if is_ipv4(&bytes) {
                self.watch.arrived(&bytes[ethernet::HEADER_LEN..]);
                return Some((Arrived(bytes), Leaving(self)));
            }
        }
        None
    }

    fn transmit(&mut self, _: Instant) -> Option<Leaving<'_>> {
        Some(Leaving(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}
