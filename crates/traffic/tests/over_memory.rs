//! Generator and reflector joined by links in memory, with and without faults in between.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use natrig_link::memory::{MemoryLink, pair};
use natrig_link::{Link, LinkDescription, LinkStats, RecvError, SendError};
use natrig_traffic::{
    Arrivals, Endpoint, Expectation, FlowSet, FlowSpec, FrameSizes, Generator, GeneratorConfig, Receiver, Reflector,
    Refused, Schedule, SendProgress, TTL, tcp,
};
use natrig_wire::{Frame, MacAddr};

const POD: Endpoint = Endpoint { mac: MacAddr([2, 0, 0, 0, 0, 1]), peer: MacAddr([2, 0, 0, 0, 0, 2]) };
const SERVER: Endpoint = Endpoint { mac: POD.peer, peer: POD.mac };

thread_local! {
    /// Time stands still but for what a test adds; each test has a thread, and so a clock, of its own.
    static NOW_NS: Cell<u64> = const { Cell::new(1_000_000) };
}

fn clock() -> u64 {
    NOW_NS.replace(NOW_NS.get() + 100)
}

fn flows(count: u32) -> Arc<FlowSet> {
    let spec = FlowSpec {
        pods: (2..10).map(|n| Ipv4Addr::new(10, 0, 1, n)).collect(),
        src_ports: (32768, 60999),
        servers: vec![Ipv4Addr::new(203, 0, 113, 10), Ipv4Addr::new(203, 0, 113, 11)],
        dst_port: 443,
        flows: count,
        seed: 7,
    };
    Arc::new(FlowSet::new(&spec).unwrap())
}

struct Bench {
    generator: Generator,
    back: Receiver,
    reflector: Reflector,
    pods: MemoryLink,
    servers: MemoryLink,
}

fn bench(flow_count: u32, sizes: FrameSizes, answers: bool, slots: usize, refused: Refused) -> Bench {
    let flows = flows(flow_count);
    let config = GeneratorConfig { flows: flows.clone(), sizes: sizes.clone(), endpoint: POD, burst: 64, refused };
    let expectation = Expectation::AtServer { sources: None, ttl: TTL };
    let receiver = Receiver::new(flows.clone(), sizes.clone(), expectation);
    let (pods, servers) = pair(slots, 1514);
    Bench {
        generator: Generator::new(config).unwrap(),
        back: Receiver::new(flows, sizes, Expectation::AtPod { ttl: TTL }),
        reflector: Reflector::new(receiver, SERVER, answers),
        pods,
        servers,
    }
}

impl Bench {
    /// Sends the whole schedule; the reflector polls after each burst.
    fn run(&mut self, schedule: Schedule) {
        let epoch_ns = clock();
        self.generator.begin(1, schedule, epoch_ns);
        self.reflector.begin(1, epoch_ns);
        self.back.begin(1, epoch_ns);
        loop {
            let progress = self.generator.send_due(&mut self.pods, clock()).unwrap();
            self.reflector.poll(&mut self.servers, clock).unwrap();
            let back = &mut self.back;
            let pods = &mut self.pods;
            pods.recv(256, &mut |frames| {
                for frame in frames {
                    back.receive(frame.bytes(), clock());
                }
            })
            .unwrap();
            if progress == SendProgress::Finished {
                break;
            }
        }
        while self.reflector.poll(&mut self.servers, clock).unwrap() > 0 {}
    }
}

#[test]
fn every_frame_of_every_size_arrives_and_is_answered() {
    for sizes in [FrameSizes::cycle(&[64]).unwrap(), FrameSizes::imix(), FrameSizes::cycle(&[1518]).unwrap()] {
        let mut bench = bench(100, sizes, true, 1024, Refused::Wait);
        bench.run(Schedule::new(Arrivals::Poisson, 1e6, 5_000_000, 3));
        let sent = bench.generator.counts();
        let there = bench.reflector.receiver().counts();
        assert!(sent.sent > 4000);
        assert_eq!((there.received, there.received_bytes), (sent.sent, sent.sent_bytes));
        assert_eq!((there.reordered, there.duplicated, there.corrupted, there.mistranslated), (0, 0, 0, 0));
        assert_eq!(bench.reflector.answers(), (sent.sent, 0));
        assert_eq!(bench.back.counts().received, sent.sent);
        assert_eq!(bench.reflector.receiver().latency().intended_ns.len(), sent.sent);
        assert_eq!(bench.generator.lag_ns().len(), sent.sent);
    }
}

#[test]
fn one_frame_per_flow_teaches_all_bindings() {
    let mut bench = bench(1000, FrameSizes::cycle(&[64]).unwrap(), false, 1024, Refused::Wait);
    bench.run(Schedule::count(1000, 1e6));
    assert_eq!(bench.reflector.receiver().bindings_learned(), 1000);
    assert_eq!(bench.generator.counts().sent, 1000);
}

/// A full link refuses: the generator keeps the frame, and its lag shows in the histograms.
#[test]
fn a_full_link_delays_but_loses_nothing() {
    let mut bench = bench(10, FrameSizes::cycle(&[64]).unwrap(), false, 8, Refused::Wait);
    bench.run(Schedule::new(Arrivals::Constant, 1e8, 1_000_000, 0));
    let counts = bench.generator.counts();
    assert_eq!(counts.sent, 100_000);
    assert!(counts.refused_calls > 0);
    assert_eq!(bench.reflector.receiver().counts().received, 100_000);
    let latency = bench.reflector.receiver().latency();
    assert!(
        latency.intended_ns.max() > 10 * latency.sent_ns.max(),
        "waiting before sending counts from the intended time"
    );
}

/// Where the link is the next device's receive ring, what does not fit is lost there, and counted: sent = received + refused.
#[test]
fn a_full_ring_loses_frames_and_delays_none() {
    let mut bench = bench(10, FrameSizes::cycle(&[64]).unwrap(), false, 8, Refused::Lose);
    bench.run(Schedule::new(Arrivals::Constant, 1e8, 1_000_000, 0));
    let counts = bench.generator.counts();
    let received = bench.reflector.receiver().counts().received;
    assert_eq!((counts.sent, received + counts.refused), (100_000, 100_000));
    assert!(counts.refused > 0 && received > 0);
}

#[test]
fn tcp_connects_transfers_and_closes() {
    let (mut pods, mut servers) = pair(256, 1514);
    let config = tcp::ExchangeConfig {
        client: SocketAddrV4::new(Ipv4Addr::new(10, 0, 1, 2), 40_000),
        client_endpoint: POD,
        server: SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 10), 443),
        server_endpoint: SERVER,
        mtu: 1500,
        bytes: 300_000,
        seed: 1,
    };
    let mut now_ns = 0;
    let mut exchange = tcp::Exchange::new(&config, now_ns).unwrap();
    let end = loop {
        now_ns += 1_000_000;
        match exchange.poll(&mut pods, &mut servers, now_ns).unwrap() {
            tcp::ExchangeState::Running => assert!(now_ns < 60_000_000_000, "a minute of virtual time"),
            state @ (tcp::ExchangeState::Completed { .. } | tcp::ExchangeState::Failed { .. }) => break state,
        }
    };
    assert_eq!(end, tcp::ExchangeState::Completed { client_seen: config.client });
}

/// Nobody answers: the exchange must not run for ever, nor claim success.
#[test]
fn tcp_without_a_way_through_does_not_complete() {
    let (mut pods, _nobody) = pair(256, 1514);
    let (mut servers, _nobody_either) = pair(256, 1514);
    let config = tcp::ExchangeConfig {
        client: SocketAddrV4::new(Ipv4Addr::new(10, 0, 1, 2), 40_000),
        client_endpoint: POD,
        server: SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 10), 443),
        server_endpoint: SERVER,
        mtu: 1500,
        bytes: 10,
        seed: 1,
    };
    let mut exchange = tcp::Exchange::new(&config, 0).unwrap();
    for step in 0..2000 {
        let state = exchange.poll(&mut pods, &mut servers, step * 1_000_000).unwrap();
        assert_eq!(state, tcp::ExchangeState::Running);
    }
}

/// Waits for the time of each frame, and notes when it left; time passes while it does.
struct Waiting {
    link: MemoryLink,
    waits_ns: u64,
    left: Vec<u64>,
}

impl Link for Waiting {
    fn recv(&mut self, max: usize, on_burst: &mut dyn FnMut(&mut [Frame<'_>])) -> Result<usize, RecvError> {
        self.link.recv(max, on_burst)
    }

    fn send(&mut self, frames: &[Frame<'_>], pick: &[u16]) -> Result<usize, SendError> {
        self.left.extend(pick.iter().map(|_| NOW_NS.get()));
        self.link.send(frames, pick)
    }

    fn waits_ns(&self) -> u64 {
        self.waits_ns
    }

    fn send_timed(
        &mut self,
        frames: &[Frame<'_>],
        pick: &[u16],
        _: usize,
        times: &mut [u64],
    ) -> Result<usize, SendError> {
        for at_ns in times.iter_mut() {
            assert!(*at_ns <= NOW_NS.get() + self.waits_ns, "asked to wait for longer than it does");
            // It wakes a little late.
            NOW_NS.set(NOW_NS.get().max(*at_ns) + 3);
            *at_ns = NOW_NS.get();
        }
        self.left.extend(times.iter());
        self.link.send(frames, pick)
    }

    fn stats(&mut self) -> LinkStats {
        self.link.stats()
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn describe(&self) -> LinkDescription {
        self.link.describe()
    }
}

#[test]
fn frames_handed_over_ahead_leave_at_their_time() {
    // With gaps that the link waits for, with some that it does not, and with none that it does.
    for waits_ns in [50_000, 1_500, 200] {
        let bench = bench(100, FrameSizes::cycle(&[64]).unwrap(), false, 4096, Refused::Wait);
        let mut generator = bench.generator.ahead(20_000);
        let mut link = Waiting { link: bench.pods, waits_ns, left: Vec::new() };
        let schedule = Schedule::new(Arrivals::Poisson, 1e6, 2_000_000, 3);
        let epoch_ns = clock();
        generator.begin(1, schedule.clone(), epoch_ns);
        while generator.send_due(&mut link, clock()).unwrap() != SendProgress::Finished {}
        let mut intended = schedule;
        let mut lag_max_ns = 0;
        for left_ns in &link.left {
            let intended_ns = epoch_ns + intended.peek().unwrap();
            intended.advance();
            assert!(*left_ns >= intended_ns, "left {} ns before its time", intended_ns - left_ns);
            lag_max_ns = lag_max_ns.max(left_ns - intended_ns);
        }
        assert_eq!(intended.peek(), None, "all have left");
        let told = generator.lag_ns();
        assert_eq!((told.len(), generator.counts().sent), (link.left.len() as u64, link.left.len() as u64));
        // What is told of a burst that waited for nothing is from before the call.
        assert!(told.max() <= lag_max_ns + lag_max_ns / 100 + 1 && told.max() + 200 >= lag_max_ns);
    }
}
