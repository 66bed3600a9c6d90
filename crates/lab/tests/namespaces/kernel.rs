//! Boxes that the kernel forwards at.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use natrig_lab::kernel_threads::KernelThreads;
use natrig_lab::lease::{Lease, StepError};
use natrig_lab::nft;
use natrig_lab::plan::{At, KernelNat, Plan, PortChoice, Step, Translate};
use natrig_lab::topology::{Boxes, ForwardedBy, Topology};

use crate::support::{counters, enter_or_skip, skip};

const BOXES: Boxes = Boxes { node: ForwardedBy::Kernel, gateway: ForwardedBy::Kernel };
const POD: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 50);
const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);

fn masquerade(port_range: Option<(u16, u16)>) -> KernelNat {
    KernelNat { translate: Translate::Masquerade, ports: PortChoice::Default, port_range }
}

fn world() -> Lease {
    Plan::clients(&Topology::default(), BOXES, None).unwrap().build().unwrap()
}

fn translate(lease: &Lease, node: Option<&KernelNat>, gateway: Option<&KernelNat>) {
    lease.apply(&Plan::translation(BOXES, node, gateway, 1000)).unwrap();
}

fn bind(lease: &Lease, namespace: &str, address: Ipv4Addr, port: u16) -> UdpSocket {
    let socket = lease.run_in(namespace, || UdpSocket::bind((address, port)).unwrap()).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    socket
}

/// What the server sees as the client, if the packet gets through; the answer must get back.
fn seen_by(server: &UdpSocket, pod: &UdpSocket) -> Option<String> {
    pod.send_to(b"there", server.local_addr().unwrap()).unwrap();
    let mut bytes = [0; 16];
    let (len, client) = server.recv_from(&mut bytes).ok()?;
    assert_eq!(&bytes[..len], b"there");
    server.send_to(b"back", client).unwrap();
    let (len, from) = pod.recv_from(&mut bytes).unwrap();
    assert_eq!((&bytes[..len], from), (&b"back"[..], server.local_addr().unwrap()));
    Some(client.to_string())
}

fn need_nft() {
    if nft::find().is_none() {
        skip("there is no nft");
    }
}

pub(crate) fn designs_one_after_the_other_in_one_world() {
    enter_or_skip();
    need_nft();
    let lease = world();
    let server = bind(&lease, "internet", SERVER, 7);
    let pod = bind(&lease, "pods", POD, 40_000);
    assert_eq!(seen_by(&server, &pod).unwrap(), "10.0.1.50:40000", "without nft having been called at all");
    let plain = masquerade(None);
    let mut gateway = lease.kernel_box("gateway").unwrap();
    for (node, at_gateway, client, connections) in [
        (None, Some(&plain), "198.51.100.8:40000", 1),
        (Some(&plain), Some(&plain), "198.51.100.8:40000", 1),
        (Some(&plain), None, "10.0.0.10:40000", 0),
        (None, None, "10.0.1.50:40000", 0),
    ] {
        translate(&lease, node, at_gateway);
        assert_eq!(seen_by(&server, &pod).unwrap(), client);
        if at_gateway.is_some() {
            assert_eq!(gateway.connections().unwrap(), connections);
        }
    }
    let settings = gateway.settings(&lease).unwrap();
    for (key, value) in [("net.ipv4.ip_forward", "1"), ("net.netfilter.nf_conntrack_udp_timeout", "3600")] {
        assert!(settings.contains(&(key.to_owned(), value.to_owned())), "{settings:?}");
    }
    drop((server, pod, gateway));
    lease.close().unwrap();
}

pub(crate) fn ports_and_addresses_are_as_asked() {
    enter_or_skip();
    need_nft();
    let lease = world();
    let server = bind(&lease, "internet", SERVER, 7);
    let pods: Vec<UdpSocket> = (0..20).map(|nth| bind(&lease, "pods", POD, 41_000 + nth)).collect();
    let clients = |nat: &KernelNat| -> Vec<(String, u16)> {
        translate(&lease, None, Some(nat));
        let seen = pods.iter().map(|pod| seen_by(&server, pod).unwrap());
        seen.map(|client| client.split_once(':').map(|(ip, port)| (ip.to_owned(), port.parse().unwrap())).unwrap())
            .collect()
    };
    // A port that is not in the range must be exchanged, one at random hardly ever is the same, twenty never.
    let ranged = clients(&masquerade(Some((6000, 6100))));
    assert!(ranged.iter().all(|(ip, port)| ip == "198.51.100.8" && (6000..=6100).contains(port)), "{ranged:?}");
    let random = clients(&KernelNat { ports: PortChoice::FullyRandom, ..masquerade(None) });
    assert!(random.iter().zip(41_000..).any(|((_, port), sent)| *port != sent), "{random:?}");

    let pool = [[198, 51, 100, 8].into(), [198, 51, 100, 10].into()].to_vec();
    let snat = KernelNat { translate: Translate::Snat(pool), ports: PortChoice::Default, port_range: None };
    let mapped = clients(&snat);
    assert!(mapped.iter().all(|(ip, _)| ip == "198.51.100.8" || ip == "198.51.100.10"), "{mapped:?}");
    drop((server, pods));
    lease.close().unwrap();
}

pub(crate) fn drops_are_counted_with_their_reason() {
    enter_or_skip();
    need_nft();
    let lease = world();
    translate(&lease, None, Some(&masquerade(Some((6000, 6000)))));
    let mut gateway = lease.kernel_box("gateway").unwrap();
    let before = gateway.counters(&lease).unwrap();
    let server = bind(&lease, "internet", SERVER, 7);
    let pods = [bind(&lease, "pods", POD, 42_000), bind(&lease, "pods", POD, 42_001)];
    assert_eq!(seen_by(&server, &pods[0]).unwrap(), "198.51.100.8:6000");
    // The only port is taken: the kernel finds out when it enters the connection.
    assert_eq!(seen_by(&server, &pods[1]), None);
    let dropped: Vec<_> = gateway.counters(&lease).unwrap().since(&before).dropped().collect();
    assert_eq!(dropped, [("conntrack_insert_failed", 1)]);

    let nowhere = bind(&lease, "pods", POD, 42_002);
    lease.apply(&Plan { steps: vec![Step::Nat { at: At::new("gateway", "outside"), nat: masquerade(None) }] }).unwrap();
    gateway.forget_connections().unwrap();
    assert_eq!(gateway.connections().unwrap(), 0);
    nowhere.set_ttl(2).unwrap();
    let before = gateway.counters(&lease).unwrap();
    nowhere.send_to(b"x", (SERVER, 7)).unwrap();
    let dropped: Vec<_> = gateway.counters(&lease).unwrap().since(&before).dropped().collect();
    assert_eq!(dropped, [("ip_header_error", 1)], "its TTL has run out");
    assert_eq!(counters(&lease, "gateway", "outside").tx_dropped, 0);
    drop((server, pods, nowhere, gateway));
    lease.close().unwrap();
}

pub(crate) fn what_cannot_be_is_said() {
    enter_or_skip();
    need_nft();
    let lease = Plan::measurement(&Topology::default(), BOXES).unwrap().build().unwrap();
    let translation = Plan::translation(BOXES, None, Some(&masquerade(Some((9, 1)))), 1000);
    let error = lease.apply(&translation).unwrap_err();
    assert!(matches!(&error.reason, StepError::Nft(nft::NftError::Refused(_))), "{error}");
    assert!(error.to_string().contains("gateway:outside: masquerade, ports 9-1"), "{error}");

    let translation = Plan::translation(BOXES, None, Some(&masquerade(None)), u32::MAX);
    match lease.apply(&translation) {
        // A kernel on which the limit is the namespace's own.
        Ok(()) => {}
        Err(error) => {
            assert!(error.reason.is_environment(), "{error}");
            assert!(error.to_string().contains("sysctl -w net.netfilter.nf_conntrack_max=4294967295"), "{error}");
        }
    }
    let mut nft = Command::new(nft::find().unwrap());
    nft.args(["list", "ruleset"]).stdout(std::process::Stdio::piped());
    let list = lease.spawn_in("gateway", &mut nft).unwrap().wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&list.stdout).contains("oifname \"outside\" masquerade"), "{list:?}");
    lease.close().unwrap();
}

pub(crate) fn napi_runs_in_threads() {
    enter_or_skip();
    let boxes = Boxes { node: ForwardedBy::KernelThreads, gateway: ForwardedBy::KernelThreads };
    let lease = match Plan::measurement(&Topology::default(), boxes).unwrap().build() {
        Ok(lease) => lease,
        Err(error) if matches!(error.reason, StepError::NapiThreads(_)) => skip(&error.to_string()),
        Err(error) => panic!("{error}"),
    };
    let threads = lease.napi_threads("node", "inside").unwrap();
    if threads.is_empty() {
        skip("the kernel does not tell its threads");
    }
    assert_eq!(threads.len(), 1, "one queue, one thread: {threads:?}");
    let name = fs::read_to_string(format!("/proc/{}/comm", threads[0])).unwrap();
    assert!(name.starts_with("napi/inside-"), "{name}");
    assert!(KernelThreads::new(threads).busy_ns().is_some());
    assert_eq!(lease.napi_threads("node", "outside").unwrap(), Vec::<u32>::new());
    lease.close().unwrap();
}
