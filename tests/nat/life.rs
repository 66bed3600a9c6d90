//! However it ends, nothing of it is left, and the next one starts.

use nix::sys::signal::Signal;

use super::site::{ARGUMENTS, CLIENT, SERVER, Site, WIDE};
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
    // The fastest link there is: as root that attaches programs to both interfaces. Each one starts right after the end of the one before.
    for signal in [Signal::SIGTERM, Signal::SIGKILL, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGKILL, Signal::SIGTERM]
    {
        let nat = site.nat(&[]);
        assert_eq!(site.role("client", &["get", CLIENT, SERVER]).succeed().lines().count(), 1);
        assert_eq!(sockets(), ["nat-site.sock"]);
        nat.signal(signal);
        let ended = nat.finish();
        let killed = signal == Signal::SIGKILL;
        assert_eq!(ended.code, (!killed).then_some(0), "{ended}");
        assert_eq!(sockets().len(), usize::from(killed), "{signal}");
    }
    // What a killed one leaves is a file, which the next one takes over, or `natrig clean` removes.
    let nat = site.nat(&[]);
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
    let set = |how: &str| {
        let mut ip = std::process::Command::new("ip");
        ip.args(["link", "set", "out", how]);
        site.lease.run_in("nat", || ip.status().is_ok_and(|status| status.success())).unwrap()
    };
    if set("down") {
        nat.warns("waits for it to come up");
        assert!(set("up"));
        eventually("it works again", || {
            let got = site.role("client", &["ping", CLIENT, SERVER]);
            got.finish().code == Some(0)
        });
    }
    nat.signal(Signal::SIGTERM);
    assert_eq!(nat.finish().code, Some(0));
}
