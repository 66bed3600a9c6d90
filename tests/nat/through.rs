//! Programs of all kinds through it, one link after the other.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::process::Command;
use std::time::Duration;

use natrig_lab::plan::{Offload, Step};
use natrig_link::{LinkKind, available};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::site::{ARGUMENTS, CLIENT, FAR, NAT_INSIDE, NAT_OUTSIDE, NEAR, POOL, SERVER, Site, WIDE};
use crate::support::process::Process;
use crate::support::{LIMIT, limits};

const CROWD: usize = 300;

/// The role.
pub(crate) fn through(natrig: &str, link: &str) {
    let site = match link {
        // One frame a system call, and none longer than its buffer: who wants that has to switch offloads off.
        "pnet" => Site::with_neighbours(natrig, WIDE, |at| {
            vec![Step::OffloadsOff { at, offloads: vec![Offload::TxChecksum, Offload::Tso, Offload::Gso] }]
        }),
        // So that live frames are taken, and not only sent by other means.
        "ring" => Site::with_neighbours(natrig, WIDE, |at| vec![Step::Napi { at }]),
        _ => Site::build(natrig, WIDE),
    };
    for (kind, name) in [(LinkKind::Xdp, "xdp"), (LinkKind::Ring, "ring")] {
        if link == name && available(kind).is_err() {
            limits::give_up(&format!("no {name} links here"));
        }
    }
    if link == "auto" {
        chosen(&site);
    }
    let nat = site.nat(&["--link", link]);
    let servers = site.role("server", &["servers", SERVER]);
    servers.says("ready");
    let run = |words: &[&str]| site.role("client", words).succeed();

    for client in [CLIENT, "10.0.1.57"] {
        assert_eq!(seen_right(&run(&["get", client, SERVER])), 1);
    }
    assert_eq!(seen_right(&run(&["query", CLIENT, SERVER])), 5);
    assert_eq!(seen_right(&run(&["crowd", SERVER, &CROWD.to_string()])), CROWD);
    run(&["refused", "10.0.1.57", SERVER]);
    assert_eq!(run(&["ping", CLIENT, SERVER]), "reply 1\nreply 2\nreply 3\n");
    assert_eq!(run(&["trace", CLIENT, SERVER]), format!("1 {NEAR}\n2 {NAT_INSIDE}\n3 {FAR}\n"));
    // Its own addresses are there, on both sides.
    assert_eq!(run(&["ping", CLIENT, NAT_INSIDE]).lines().count(), 3);
    for address in [POOL, NAT_OUTSIDE] {
        assert_eq!(site.role("server", &["ping", SERVER, address]).succeed().lines().count(), 3);
    }
    for way in ["Up", "Down"] {
        print!("  over {link}: {}", run(&["transfer", CLIENT, SERVER, way, "64"]));
    }
    foreign(&site);
    each_datagram_once(&site);
    told(&site, nat);
}

/// `auto` takes packet sockets where TCP may come uncut, as from veths that are as the kernel makes them, and says why.
fn chosen(site: &Site) {
    let nat = site.natrig(&[&ARGUMENTS[..], &["--link", "auto"]].concat());
    let why = nat.says("not ring, xdp: ");
    assert!(why.contains("TCP comes uncut from veth in"), "{why}");
    let ready = nat.says("ready: ");
    assert!(ready.contains(" over packet,"), "{ready}");
    nat.signal(Signal::SIGTERM);
    assert_eq!(nat.finish().code, Some(0));
}

/// Each line: a client's own address and port, and what the server saw. Returns how many.
fn seen_right(lines: &str) -> usize {
    let mut different = HashSet::new();
    for line in lines.lines() {
        let (_, seen) = line.split_once(' ').unwrap();
        let seen: SocketAddrV4 = seen.parse().unwrap();
        assert_eq!(seen.ip().to_string(), POOL, "{line}");
        assert!(different.insert(seen), "two connections are seen as {seen}");
    }
    different.len()
}

/// Programs that others have written, where they are installed.
fn foreign(site: &Site) {
    let has =
        |program: &str| Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if has("curl") {
        let url = format!("http://{SERVER}/");
        let seen = site.start("client", Command::new("curl").args(["-sS", "--max-time", "60", &url])).succeed();
        assert!(seen.starts_with(&format!("{POOL}:")), "{seen}");
    }
    if has("iperf3") {
        for more in [&[][..], &["--reverse"], &["--udp", "--bitrate=20M", "--length=1400"]] {
            let server = site.start("server", Command::new("iperf3").args(["--server", "--one-off", "--forceflush"]));
            server.says("Server listening");
            let client = ["--client", SERVER, "--bytes", "8M", "--json", "--connect-timeout", "30000"];
            let report = site.start("client", Command::new("iperf3").args(client).args(more)).succeed();
            let report: Value = serde_json::from_str(&report).unwrap();
            let sent = &report["end"][if more.contains(&"--udp") { "sum" } else { "sum_sent" }]["bytes"];
            assert!(sent.as_u64().is_some_and(|bytes| bytes >= 8_000_000), "{report}");
            server.succeed();
        }
    }
}

/// The kernel in the middle forwards too, and must not do it beside us: each datagram arrives once, and from the address of ours.
fn each_datagram_once(site: &Site) {
    let bound = |namespace: &str, address: &str, port: u16| {
        let address: Ipv4Addr = address.parse().unwrap();
        site.lease.run_in(namespace, || UdpSocket::bind((address, port)).unwrap()).unwrap()
    };
    let (client, server) = (bound("client", CLIENT, 0), bound("server", SERVER, 7777));
    server.set_read_timeout(Some(LIMIT)).unwrap();
    for number in 0..100u8 {
        client.send_to(&[number], (SERVER.parse::<Ipv4Addr>().unwrap(), 7777)).unwrap();
        let mut datagram = [0; 8];
        let (len, from) = server.recv_from(&mut datagram).unwrap();
        assert_eq!((&datagram[..len], from.ip().to_string()), (&[number][..], POOL.to_owned()));
    }
    server.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert!(server.recv_from(&mut [0; 8]).is_err(), "one came twice");
    // In three fragments, there and back.
    for socket in [&client, &server] {
        socket.set_read_timeout(Some(LIMIT)).unwrap();
    }
    let long: Vec<u8> = (0..4000u32).map(|at| (at / 3) as u8).collect();
    let mut datagram = [0; 5000];
    client.send_to(&long, (SERVER.parse::<Ipv4Addr>().unwrap(), 7777)).unwrap();
    let (len, from) = server.recv_from(&mut datagram).unwrap();
    assert!(datagram[..len] == long, "{len} bytes");
    server.send_to(&long, from).unwrap();
    let (len, _) = client.recv_from(&mut datagram).unwrap();
    assert!(datagram[..len] == long, "{len} bytes");
}

/// What it says about itself is what has happened.
fn told(site: &Site, nat: Process) {
    let json = |question: &str| -> Value {
        serde_json::from_str(&site.natrig(&["nat", question, "--name", "site", "--json"]).succeed()).unwrap()
    };
    let list = json("list");
    let rows = list.as_array().unwrap();
    assert!(rows.len() > CROWD, "{}", rows.len());
    assert!(rows.iter().all(|row| row["outside"].as_str().unwrap().starts_with(&format!("{POOL}:"))));
    for protocol in ["tcp", "udp", "icmp"] {
        assert!(rows.iter().any(|row| row["protocol"] == protocol), "no {protocol}");
    }
    let text = site.natrig(&["nat", "list", "--name", "site"]).succeed();
    assert!(text.contains("203.0.113.10:7777") && text.contains(" mappings"), "{text}");
    let stats = json("stats");
    let neighbours: Vec<_> =
        stats["neighbours"].as_array().unwrap().iter().map(|one| one["address"].as_str().unwrap()).collect();
    assert_eq!(neighbours, ["10.0.9.2", FAR]);
    let count = |part: &str, name: &str| stats[part][name].as_u64().unwrap_or(0);
    assert!(count("frames", "forwarded") > 10_000 && count("frames", "address_conflicts") == 0, "{stats}");
    assert_eq!(count("mappings", "live"), rows.len() as u64);
    for reason in ["no_route", "same_side", "malformed", "martian", "no_mapping"] {
        assert_eq!(count("dropped", reason), 0, "{stats}");
    }
    nat.signal(Signal::SIGUSR1);
    nat.says("up ");
    let frames = nat.says("frames ");
    assert!(frames.contains("forwarded "), "{frames}");
    nat.signal(Signal::SIGTERM);
    let end = nat.finish();
    assert_eq!(end.code, Some(0), "{end}");
    assert!(end.stdout.contains("translating to 198.51.100.8"), "{end}");
}
