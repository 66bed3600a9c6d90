use super::*;
use crate::{FlowSpec, STAMP_LEN, TTL};
use natrig_wire::MacAddr;
use natrig_wire::template::{HEADERS_LEN, UdpTemplate};

const NAT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 8);

fn flows() -> Arc<FlowSet> {
    let spec = FlowSpec {
        pods: vec![Ipv4Addr::new(10, 0, 1, 2), Ipv4Addr::new(10, 0, 1, 3)],
        src_ports: (40_000, 40_009),
        servers: vec![Ipv4Addr::new(203, 0, 113, 1)],
        dst_port: 443,
        flows: 4,
        seed: 1,
    };
    Arc::new(FlowSet::new(&spec).unwrap())
}

fn stamp(flow: u32, seq: u32) -> Stamp {
    Stamp { flow, seq, intended_ns: 1000, lag_ns: 200, trial: 3, answer: false }
}

fn frame(tuple: &FourTuple, ttl: u8, stamp: Stamp) -> Vec<u8> {
    let mac = MacAddr([2, 0, 0, 0, 0, 1]);
    let mut bytes = vec![0; 60];
    UdpTemplate::<STAMP_LEN>::new(60, mac, mac, ttl).unwrap().emit(&mut bytes, tuple, &stamp.to_bytes());
    bytes
}

fn translated(flows: &FlowSet, flow: u32, port: u16) -> FourTuple {
    FourTuple { src: NAT, src_port: port, ..*flows.get(flow).unwrap() }
}

fn at_server(sources: Option<Vec<Ipv4Addr>>) -> Receiver {
    let mut receiver =
        Receiver::new(flows(), FrameSizes::cycle(&[64]).unwrap(), Expectation::AtServer { sources, ttl: TTL - 2 });
    receiver.begin(3, 10_000);
    receiver
}

#[test]
fn a_right_frame_is_delivered_once_with_both_latencies() {
    let (flows, mut receiver) = (flows(), at_server(Some(vec![NAT])));
    let bytes = frame(&translated(&flows, 1, 5000), TTL - 2, stamp(1, 0));
    assert!(receiver.receive(&bytes, 13_000));
    assert!(!receiver.receive(&bytes, 13_000));
    let counts = receiver.counts();
    assert_eq!((counts.received, counts.duplicated, counts.received_bytes), (1, 1, 60));
    assert_eq!(receiver.latency().intended_ns.max(), 2000);
    assert_eq!(receiver.latency().sent_ns.max(), 1800);
    assert_eq!((receiver.bindings_learned(), receiver.fault_sample()), (1, None));
}

#[test]
fn frames_out_of_order_are_delivered_and_counted() {
    let (flows, mut receiver) = (flows(), at_server(Some(vec![NAT])));
    for seq in [1, 0, 2] {
        assert!(receiver.receive(&frame(&translated(&flows, 0, 5000), TTL - 2, stamp(0, seq)), 20_000));
    }
    assert_eq!((receiver.counts().received, receiver.counts().reordered), (3, 1));
}

/// Every fault is caught, counted in its kind, and shown.
#[test]
fn faults_are_told_apart() {
    let flows = flows();
    let good = translated(&flows, 0, 5000);
    let flip = |at: usize| {
        let mut bytes = frame(&good, TTL - 2, stamp(0, 0));
        bytes[at] ^= 0x10;
        bytes
    };
    let mut no_checksum = frame(&good, TTL - 2, stamp(0, 0));
    no_checksum[40..42].fill(0);
    let mut long = vec![0; 124];
    let mac = MacAddr([2, 0, 0, 0, 0, 1]);
    UdpTemplate::<STAMP_LEN>::new(124, mac, mac, TTL - 2).unwrap().emit(&mut long, &good, &stamp(0, 0).to_bytes());
    let cases = [
        ("payload bit", flip(52), Fault::Corrupted),
        ("address bit without checksum", flip(26), Fault::Corrupted),
        ("zeroed UDP checksum", no_checksum, Fault::Corrupted),
        ("flow that is not", frame(&good, TTL - 2, stamp(99, 0)), Fault::Corrupted),
        ("longer frame", long, Fault::WrongLength),
        ("untranslated", frame(flows.get(0).unwrap(), TTL - 2, stamp(0, 0)), Fault::WrongSource),
        (
            "other port of the server",
            frame(&FourTuple { dst_port: 444, ..good }, TTL - 2, stamp(0, 0)),
            Fault::WrongDestination,
        ),
        ("a hop too few", frame(&good, TTL - 1, stamp(0, 0)), Fault::WrongTtl),
    ];
    for (name, bytes, fault) in cases {
        let mut receiver = at_server(Some(vec![NAT]));
        assert!(!receiver.receive(&bytes, 20_000), "{name}");
        assert_eq!(receiver.fault_sample().map(|s| s.fault), Some(fault), "{name}");
        let counts = receiver.counts();
        let corrupted = matches!(fault, Fault::Corrupted | Fault::WrongLength);
        assert_eq!((counts.corrupted, counts.mistranslated), (u64::from(corrupted), u64::from(!corrupted)), "{name}");
    }
}

#[test]
fn mappings_must_be_stable_and_injective() {
    let (flows, mut receiver) = (flows(), at_server(Some(vec![NAT])));
    assert!(receiver.receive(&frame(&translated(&flows, 0, 5000), TTL - 2, stamp(0, 0)), 20_000));
    assert!(!receiver.receive(&frame(&translated(&flows, 0, 5001), TTL - 2, stamp(0, 1)), 20_000));
    assert_eq!(receiver.fault_sample().unwrap().fault, Fault::MappingChanged);
    receiver.forget_bindings();
    receiver.begin(3, 10_000);
    assert!(receiver.receive(&frame(&translated(&flows, 0, 5001), TTL - 2, stamp(0, 0)), 20_000));
    assert!(!receiver.receive(&frame(&translated(&flows, 1, 5001), TTL - 2, stamp(1, 0)), 20_000));
    assert_eq!(receiver.fault_sample().unwrap().fault, Fault::MappingShared);
}

#[test]
fn without_nat_the_pods_own_tuple_must_appear() {
    let (flows, mut receiver) = (flows(), at_server(None));
    assert!(receiver.receive(&frame(flows.get(2).unwrap(), TTL - 2, stamp(2, 0)), 20_000));
    assert!(!receiver.receive(&frame(&translated(&flows, 1, 5000), TTL - 2, stamp(1, 0)), 20_000));
    assert_eq!(receiver.fault_sample().unwrap().fault, Fault::WrongSource);
}

#[test]
fn strangers_and_other_trials_are_not_ours() {
    let (flows, mut receiver) = (flows(), at_server(None));
    let other = Stamp { trial: 2, ..stamp(0, 0) };
    assert!(!receiver.receive(&frame(flows.get(0).unwrap(), TTL - 2, other), 20_000));
    assert!(!receiver.receive(&frame(flows.get(0).unwrap(), TTL - 2, Stamp { answer: true, ..stamp(0, 0) }), 20_000));
    assert!(!receiver.receive(&[0; 60], 20_000));
    assert!(!receiver.receive(&[], 20_000));
    let counts = receiver.counts();
    assert_eq!((counts.stale, counts.foreign, counts.received, counts.mistranslated), (2, 2, 0, 0));
}

#[test]
fn an_answer_must_be_the_exact_reverse() {
    let flows = flows();
    let answer = Stamp { answer: true, ..stamp(0, 0) };
    let sent = *flows.get(0).unwrap();
    let cases = [
        (sent.reversed(), TTL - 2, None),
        (FourTuple { dst_port: 1, ..sent.reversed() }, TTL - 2, Some(Fault::WrongDestination)),
        (FourTuple { src: NAT, ..sent.reversed() }, TTL - 2, Some(Fault::WrongDestination)),
        (sent.reversed(), TTL - 1, Some(Fault::WrongTtl)),
    ];
    for (tuple, ttl, fault) in cases {
        let sizes = FrameSizes::cycle(&[64]).unwrap();
        let mut receiver = Receiver::new(flows.clone(), sizes, Expectation::AtPod { ttl: TTL - 2 });
        receiver.begin(3, 10_000);
        assert_eq!(receiver.receive(&frame(&tuple, ttl, answer), 20_000), fault.is_none());
        assert_eq!(receiver.fault_sample().map(|s| s.fault), fault);
    }
}

#[test]
fn of_a_frame_that_is_cut_everything_but_its_end_is_checked() {
    const CUT: usize = 176;
    let (flows, mac) = (flows(), MacAddr([2, 0, 0, 0, 0, 1]));
    let expectation = Expectation::AtServer { sources: Some(vec![NAT]), ttl: TTL - 2 };
    let mut receiver = Receiver::new(flows.clone(), FrameSizes::cycle(&[1518]).unwrap(), expectation);
    receiver.begin(3, 10_000);
    let mut whole = vec![0; 1514];
    let template = UdpTemplate::<STAMP_LEN>::new(1514, mac, mac, TTL - 2).unwrap();
    let mut receive = |receiver: &mut Receiver, seq, len: usize, damaged: Option<usize>| {
        template.emit(&mut whole, &translated(&flows, 1, 5000), &stamp(1, seq).to_bytes());
        if let Some(at) = damaged {
            whole[at] ^= 0x10;
        }
        receiver.receive(&whole[..len], 20_000)
    };
    // Nothing said that frames are cut.
    assert!(!receive(&mut receiver, 0, CUT, None));
    assert_eq!(receiver.counts().foreign, 1);
    receiver.heads(Some(CUT));
    assert!(receive(&mut receiver, 1, CUT, None) && receive(&mut receiver, 2, 1514, None));
    assert!(!receive(&mut receiver, 3, CUT - 2, None), "cut elsewhere");
    assert_eq!((receiver.counts().received, receiver.counts().received_bytes), (2, 2 * 1514));
    for at in [24, 40, HEADERS_LEN + 10, CUT - 1] {
        assert!(!receive(&mut receiver, 4, CUT, Some(at)), "byte {at}");
    }
    assert_eq!((receiver.counts().corrupted, receiver.counts().mistranslated), (4, 0));
    assert!(receive(&mut receiver, 5, CUT, Some(CUT)), "nobody can see that");
    assert!(!receive(&mut receiver, 6, 1514, Some(CUT)));
}
