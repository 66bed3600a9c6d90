//! Links that are narrower than the ends know: whoever finds out tells the sender, through the NAT where it must.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt};

use super::site::{CLIENT, POOL, SERVER, Site, WIDE, fastest};
use crate::support::{LIMIT, eventually};

const PORT: u16 = 9003;

/// The role.
pub(crate) fn path_mtu(natrig: &str) {
    let mut site = Site::build(natrig, WIDE);
    // The client's datagrams are too long for the last link: the far router says so, to the pool's address.
    site = site.rebuild([1500, 1500, 1500, 1280]);
    {
        let _nat = site.nat(&["--link", "packet"]);
        let (client, _server) = ends(&site);
        assert_eq!(learns(&client), 1280);
    }
    // The server's are too long for the first: the near router says so, from inside.
    site = site.rebuild([1300, 1500, 1500, 1500]);
    {
        let _nat = site.nat(&["--link", "packet"]);
        let (_client, server) = ends(&site);
        assert_eq!(learns(&server), 1300);
    }
    // The client's are too long for the NAT's own outside link; TCP finds the way too.
    site = site.rebuild([1500, 1500, 1400, 1500]);
    {
        let _nat = site.nat(&["--link", fastest()]);
        let (client, _server) = ends(&site);
        assert_eq!(learns(&client), 1400);
        transfer(&site, "Up");
    }
    // The server's are too long for its inside link.
    site = site.rebuild([1500, 1350, 1500, 1500]);
    {
        let _nat = site.nat(&["--link", fastest()]);
        let (_client, server) = ends(&site);
        assert_eq!(learns(&server), 1350);
        transfer(&site, "Down");
    }
}

/// A socket on each side, connected to the other through the NAT.
fn ends(site: &Site) -> (UdpSocket, UdpSocket) {
    let bound = |namespace: &str, address: &str, port: u16| {
        let address: Ipv4Addr = address.parse().unwrap();
        site.lease.run_in(namespace, || UdpSocket::bind((address, port)).unwrap()).unwrap()
    };
    let (client, server) = (bound("client", CLIENT, 0), bound("server", SERVER, PORT));
    client.connect(SocketAddrV4::new(SERVER.parse().unwrap(), PORT)).unwrap();
    client.send(b"here I am").unwrap();
    server.set_read_timeout(Some(LIMIT)).unwrap();
    let (_, seen) = server.recv_from(&mut [0; 64]).unwrap();
    assert_eq!(seen.ip().to_string(), POOL);
    server.connect(seen).unwrap();
    (client, server)
}

/// Sends datagrams that are too long until the kernel has learnt how long they may be.
fn learns(socket: &UdpSocket) -> i32 {
    let mtu = || getsockopt(socket, sockopt::IpMtu).unwrap();
    let before = mtu();
    assert_eq!(before, 1500);
    eventually("the path MTU falls", || {
        if let Err(error) = socket.send(&[0; 1450]) {
            // Once it has fallen, this is too long, and the kernel says so itself.
            assert_eq!(error.raw_os_error(), Some(Errno::EMSGSIZE as i32), "{error}");
        }
        mtu() < before
    });
    mtu()
}

fn transfer(site: &Site, way: &str) {
    let servers = site.role("server", &["servers", SERVER]);
    servers.says("ready");
    site.role("client", &["transfer", CLIENT, SERVER, way, "4"]).succeed();
}
