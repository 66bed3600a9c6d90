//! However it ends, nothing of it is left, and the next one starts.

use std::process::Command;

use nix::sys::signal::Signal;

use super::site::{ARGUMENTS, CLIENT, SERVER, Site, WIDE, fastest};
use crate::support::eventually;

/// The role.
pub(crate) fn life(natrig: &str) {
    let site = Site::build(natrig, WIDE);
    let servers = site.role("server", &["servers", SERVER]);
    servers.says("ready");
    let state = std::env::var("NATRIG_STATE_DIR").unwrap();
    let sockets = || {
        let entries = std::fs::read_dir(&state).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    let as_root = fastest() == "ring";
    // The fastest link there is: as root that attaches programs to both interfaces. Each one starts right after the end of the one before.
    for signal in [Signal::SIGTERM, Signal::SIGKILL, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGKILL, Signal::SIGTERM]
    {
        let nat = site.nat(&["--link", fastest()]);
        if as_root {
            assert!(
                ip(&site, &["link", "show", "in"]).is_none_or(|text| text.contains("xdp")),
                "the test sees nothing"
            );
        }
        assert_eq!(site.role("client", &["get", CLIENT, SERVER]).succeed().lines().count(), 1);
        assert_eq!(sockets(), ["nat-site.sock"]);
        nat.signal(signal);
        let ended = nat.finish();
        let killed = signal == Signal::SIGKILL;
        nothing_attached(&site);
        assert_eq!(ended.code, (!killed).then_some(0), "{ended}");
        assert_eq!(sockets().len(), usize::from(killed), "{signal}");
    }
    // What a killed one leaves is a file, which the next one takes over, or `natrig clean` removes.
    let nat = site.nat(&["--link", fastest()]);
    nat.signal(Signal::SIGKILL);
    nat.finish();
    let said = site.run(&["clean"]);
    assert!(said.code == Some(0) && said.stdout.contains("nat-site.sock"), "{said}");
    assert_eq!(sockets().len(), 0);
    let asked = site.run(&["nat", "list", "--name", "site"]);
    assert!(asked.code == Some(2) && asked.stderr.contains("no NAT called `site` runs here"), "{asked}");

    // Two of one name, and on the same interfaces.
    let nat = site.nat(&["--link", "packet"]);
    let second = site.run(&ARGUMENTS);
    assert!(second.code == Some(2) && second.stderr.contains("runs already"), "{second}");

    // An interface that goes down is waited for; its peer going down is what a cable does.
    if ip(&site, &["link", "set", "out", "down"]).is_some() {
        nat.warns("waits for it to come up");
        assert!(ip(&site, &["link", "set", "out", "up"]).is_some());
        eventually("it works again", || {
            let got = site.role("client", &["ping", CLIENT, SERVER]);
            got.finish().code == Some(0)
        });
    }
    nat.signal(Signal::SIGTERM);
    assert_eq!(nat.finish().code, Some(0));

    // From elsewhere, by the path of the namespace; and one whose interface disappears.
    let middle = site.lease.namespaces().iter().find(|namespace| namespace.name() == "nat").unwrap();
    let path = format!("/proc/{}/fd/{}", std::process::id(), middle.fd_number());
    let nat = site.start("client", Command::new(natrig).args(ARGUMENTS).args(["--netns", &path, "--link", "packet"]));
    nat.says("ready: ");
    assert_eq!(site.role("client", &["get", CLIENT, SERVER]).succeed().lines().count(), 1);
    if ip(&site, &["link", "delete", "out"]).is_some() {
        let ended = nat.finish();
        assert!(ended.code == Some(1) && ended.stderr.contains("interface out has gone"), "{ended}");
        assert!(ended.stdout.contains("translating to"), "the counters are told all the same: {ended}");
    }
}

/// What `ip` says in the middle; none where it is not installed, or fails.
fn ip(site: &Site, arguments: &[&str]) -> Option<String> {
    let output = site.lease.run_in("nat", || Command::new("ip").args(arguments).output()).unwrap().ok()?;
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// No XDP program is on either interface. The kernel takes it off some time after the last descriptor.
fn nothing_attached(site: &Site) {
    for interface in ["in", "out"] {
        eventually("the program is detached", || {
            ip(site, &["link", "show", interface]).is_none_or(|text| !text.contains("xdp"))
        });
    }
}
