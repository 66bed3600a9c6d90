//! A new configuration while connections last.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use nix::sys::signal::Signal;

use super::site::{ARGUMENTS, CLIENT, POOL, SERVER, SPARE, Site, WIDE};
use crate::support::process::Process;
use crate::support::{LIMIT, eventually};

const CONFIG: &str = "nat.toml";
const PROFILE: &str = "./mine.toml";

/// The role.
pub(crate) fn reload(natrig: &str) {
    let site = Site::build(natrig, WIDE);
    let profile = site.run(&["profiles", "rfc4787"]).stdout;
    fs::write(PROFILE, &profile).unwrap();
    configure(&[POOL]);
    // Addresses and profile come from the file, everything else from the command line.
    let rest: Vec<&str> = ARGUMENTS
        .into_iter()
        .filter(|word| *word != "--address" && *word != POOL && !word.starts_with("--profile"))
        .collect();
    let nat = site.natrig(&[&rest[..], &["--config", CONFIG, "--link", "packet"]].concat());
    nat.says("ready: ");
    let mut tcp = Tcp::connect(&site);
    let udp = Udp::bind(&site);
    let seen = udp.seen_as();
    assert_eq!((tcp.seen.ip().to_string(), seen.ip().to_string()), (POOL.to_owned(), POOL.to_owned()));
    tcp.talk();

    // One address more: nothing ends.
    configure(&[POOL, SPARE]);
    let said = site.run(&["nat", "reload", "--name", "site"]);
    assert_eq!((said.code, said.stdout.trim()), (Some(0), "reloaded; mappings kept 2, revoked 0"), "{said}");
    tcp.talk();
    assert_eq!(udp.seen_as(), seen);

    // Another profile, by a signal: timers change, mappings last.
    fs::write(PROFILE, profile.replace("udp_new_s = { value = 300", "udp_new_s = { value = 40")).unwrap();
    nat.signal(Signal::SIGHUP);
    nat.warns("mappings kept 2, revoked 0");
    let list = site.run(&["nat", "list", "--name", "site", "--json"]).stdout;
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let udp_row = list.as_array().unwrap().iter().find(|row| row["protocol"] == "udp").unwrap();
    assert!(udp_row["expires_in_s"].as_u64().unwrap() <= 40, "{udp_row}");
    tcp.talk();
    assert_eq!(udp.seen_as(), seen);

    // A mistake: it is named, with its place, and nothing changes.
    fs::write(PROFILE, profile.replace("[timers]", "[timer]")).unwrap();
    let said = site.run(&["nat", "reload", "--name", "site"]);
    assert_eq!(said.code, Some(2), "{said}");
    assert!(said.stderr.contains("mine.toml") && said.stderr.contains("timer"), "{said}");
    fs::write(CONFIG, "addreses = []").unwrap();
    nat.signal(Signal::SIGHUP);
    nat.warns("goes on as before");
    tcp.talk();
    assert_eq!(udp.seen_as(), seen);

    // The address is taken away: what had it ends, and begins anew with the other.
    fs::write(PROFILE, &profile).unwrap();
    configure(&[SPARE]);
    let said = site.run(&["nat", "reload", "--name", "site"]);
    assert_eq!((said.code, said.stdout.trim()), (Some(0), "reloaded; mappings kept 0, revoked 2"), "{said}");
    eventually("the other address is used", || udp.seen_as().ip().to_string() == SPARE);
    assert_eq!(Tcp::connect(&site).seen.ip().to_string(), SPARE);
    end(nat);
}

fn configure(addresses: &[&str]) {
    let list: Vec<_> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
    fs::write(CONFIG, format!("profile = \"{PROFILE}\"\naddresses = [{}]\n", list.join(", "))).unwrap();
}

fn end(nat: Process) {
    nat.signal(Signal::SIGINT);
    assert_eq!(nat.finish().code, Some(0));
}

/// A connection, and both its ends.
struct Tcp {
    client: TcpStream,
    server: TcpStream,
    seen: SocketAddr,
    said: u8,
}

impl Tcp {
    fn connect(site: &Site) -> Self {
        let server: Ipv4Addr = SERVER.parse().unwrap();
        let listener = site.lease.run_in("server", || TcpListener::bind((server, 0)).unwrap()).unwrap();
        let to = listener.local_addr().unwrap();
        let client = site.lease.run_in("client", || TcpStream::connect_timeout(&to, LIMIT).unwrap()).unwrap();
        let (server, seen) = listener.accept().unwrap();
        for stream in [&client, &server] {
            stream.set_read_timeout(Some(LIMIT)).unwrap();
        }
        Self { client, server, seen, said: 0 }
    }

    /// A byte there and another back.
    fn talk(&mut self) {
        self.said += 1;
        for (mut from, mut to) in [(&self.client, &self.server), (&self.server, &self.client)] {
            from.write_all(&[self.said]).unwrap();
            let mut heard = [0];
            to.read_exact(&mut heard).unwrap();
            assert_eq!(heard, [self.said]);
        }
    }
}

struct Udp {
    client: UdpSocket,
    server: UdpSocket,
}

impl Udp {
    fn bind(site: &Site) -> Self {
        let bound = |namespace: &str, address: &str| {
            let address: Ipv4Addr = address.parse().unwrap();
            site.lease.run_in(namespace, || UdpSocket::bind((address, 0)).unwrap()).unwrap()
        };
        let (client, server) = (bound("client", CLIENT), bound("server", SERVER));
        server.set_read_timeout(Some(LIMIT)).unwrap();
        Self { client, server }
    }

    fn seen_as(&self) -> SocketAddr {
        self.client.send_to(b"who am I?", self.server.local_addr().unwrap()).unwrap();
        self.server.recv_from(&mut [0; 64]).unwrap().1
    }
}
