//! What the process may do.

use std::env;
use std::fs;

use natrig_lab::privilege::{self, Ability, Mode};
use natrig_lab::world::StateDir;
use nix::unistd::geteuid;

use crate::support::{enter_or_skip, role};

pub(crate) fn the_mode_is_what_the_user_allows() {
    let root = geteuid().is_root();
    let before = fs::read_link("/proc/self/ns/user").unwrap();
    let privilege = enter_or_skip();
    let after = fs::read_link("/proc/self/ns/user").unwrap();
    assert!(geteuid().is_root(), "root inside, whoever outside");
    if root {
        assert_eq!(privilege.mode, Mode::Root);
        assert_eq!(before, after);
    } else {
        assert_eq!(privilege.mode, Mode::Rootless);
        assert_ne!(before, after);
        assert!(privilege.refused(Ability::Xdp).unwrap().contains("user namespace"));
    }
    // A second time it is there already.
    assert_ne!(privilege::enter().mode, Mode::Memory);
}

pub(crate) fn a_limit_of_zero_leads_to_memory() {
    enter_or_skip();
    fs::write("/proc/sys/user/max_net_namespaces", "0").unwrap();
    let output = role(&["mode"]).output().unwrap();
    let words = String::from_utf8(output.stdout).unwrap();
    assert!(words.starts_with("memory no network namespaces: "), "{words}");
    assert!(words.contains("user.max_net_namespaces"), "{words}");
}

pub(crate) fn the_state_dir_stays_the_same() {
    assert!(env::var_os("XDG_RUNTIME_DIR").is_none());
    let before = StateDir::locate().unwrap();
    assert_eq!(before.path().to_str().unwrap(), format!("/tmp/natrig-{}", geteuid()));
    enter_or_skip();
    assert_eq!(StateDir::locate().unwrap(), before);
}
