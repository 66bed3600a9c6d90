//! The way in for an ordinary user: a user namespace in which the process has every privilege over what it makes there.

use std::fs;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};
use thiserror::Error;

use crate::procfs;

/// Why a user namespace could not be entered.
#[derive(Debug, Error)]
pub(super) enum EnterError {
    /// The process already has several threads.
    #[error("the process already has {threads} threads, only a process with one can enter a user namespace")]
    Threads {
        /// How many.
        threads: usize,
    },
    /// The kernel refuses.
    #[error("{0}")]
    Refused(String),
    /// The namespace is there, and the identity of the user in it is not.
    #[error("cannot map the user into the namespace, {file}: {source}{hint}")]
    Map {
        /// The file that could not be written.
        file: &'static str,
        /// Why.
        source: io::Error,
        /// What is likely to be behind it.
        hint: String,
    },
}

/// Moves the process into a new user namespace, where it is root over itself and nothing else, and into a network namespace of that.
/// On `Refused` and `Threads` nothing has changed.
pub(super) fn enter() -> Result<(), EnterError> {
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).map_err(|errno| {
        let threads = procfs::threads_of_this_process().len();
        if errno == Errno::EINVAL && threads > 1 {
            EnterError::Threads { threads }
        } else {
            EnterError::Refused(explain(errno, Path::new("/proc/sys")))
        }
    })?;
    // An unprivileged process may map a group only after it has given up changing its groups (user_namespaces(7)).
    let maps = [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {uid} 1")),
        ("/proc/self/gid_map", format!("0 {gid} 1")),
    ];
    for (file, text) in maps {
        fs::write(file, text).map_err(|source| EnterError::Map {
            file,
            source,
            hint: apparmor(Path::new("/proc/sys")).map_or_else(String::new, |why| format!(" ({why})")),
        })?;
    }
    Ok(())
}

/// Why `unshare` failed: the error number, and whichever switch is known to cause it and is set that way.
fn explain(errno: Errno, sysctls: &Path) -> String {
    let zero = |name: &str| setting(sysctls, name).as_deref() == Some("0");
    if zero("user/max_user_namespaces") {
        return "user.max_user_namespaces is 0".to_owned();
    }
    if zero("kernel/unprivileged_userns_clone") {
        return "kernel.unprivileged_userns_clone is 0".to_owned();
    }
    if zero("user/max_net_namespaces") {
        return "user.max_net_namespaces is 0".to_owned();
    }
    if matches!(errno, Errno::ENOSPC | Errno::EUSERS) {
        "a limit on namespaces is reached (user.max_user_namespaces, user.max_net_namespaces)".to_owned()
    } else if matches!(errno, Errno::EPERM | Errno::EACCES) {
        apparmor(sysctls).unwrap_or_else(|| {
            "the system forbids user namespaces here, as container runtimes do by default".to_owned()
        })
    } else if matches!(errno, Errno::EINVAL | Errno::ENOSYS) {
        "this kernel has no user namespaces".to_owned()
    } else {
        errno.desc().to_owned()
    }
}

fn apparmor(sysctls: &Path) -> Option<String> {
    let name = "kernel/apparmor_restrict_unprivileged_userns";
    (setting(sysctls, name)? == "1")
        .then(|| "AppArmor restricts them: kernel.apparmor_restrict_unprivileged_userns is 1".to_owned())
}

fn setting(sysctls: &Path, name: &str) -> Option<String> {
    let text = fs::read_to_string(sysctls.join(name)).ok()?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(errno: Errno, settings: &[(&str, &str)]) -> String {
        let directory = tempfile::tempdir().unwrap();
        for (name, value) in settings {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, value).unwrap();
        }
        explain(errno, directory.path())
    }

    #[test]
    fn the_switch_that_forbids_it_is_named() {
        assert_eq!(explained(Errno::ENOSPC, &[("user/max_user_namespaces", "0\n")]), "user.max_user_namespaces is 0");
        assert_eq!(
            explained(
                Errno::EPERM,
                &[("user/max_user_namespaces", "100\n"), ("kernel/unprivileged_userns_clone", "0\n")]
            ),
            "kernel.unprivileged_userns_clone is 0"
        );
        assert!(
            explained(Errno::EACCES, &[("kernel/apparmor_restrict_unprivileged_userns", "1\n")])
                .starts_with("AppArmor")
        );
    }

    #[test]
    fn without_a_switch_the_error_speaks() {
        assert!(explained(Errno::EPERM, &[]).contains("container"));
        assert!(explained(Errno::ENOSPC, &[]).contains("limit"));
        assert_eq!(explained(Errno::ENOMEM, &[]), Errno::ENOMEM.desc());
    }

    #[test]
    fn a_process_with_threads_is_told_so_and_left_alone() {
        let before = fs::read_link("/proc/self/ns/user").unwrap();
        // A thread beside the harness's, however that runs its tests.
        let refused = std::thread::spawn(enter).join().unwrap();
        assert!(matches!(
            refused,
            Err(EnterError::Threads { threads }) if threads > 1
        ));
        assert_eq!(fs::read_link("/proc/self/ns/user").unwrap(), before);
    }
}
