//! Where a case runs, and as whom.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::geteuid;
use tempfile::TempDir;

use super::process::{Ended, Process};
use crate::run::scenarios;

/// The user number of `nobody`: somebody without privileges.
const NOBODY: u32 = 65_534;

/// As whom programs are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    Root,
    /// Whoever runs the tests, without privileges.
    Self_,
    /// An ordinary user that root becomes.
    Nobody,
}

impl User {
    /// As whom this process can start programs.
    pub(crate) fn all() -> Vec<Self> {
        if geteuid().is_root() { vec![Self::Root, Self::Nobody] } else { vec![Self::Self_] }
    }

    pub(crate) fn is_root(self) -> bool {
        self == Self::Root
    }

    /// True if somebody else runs the tests, and cases that do not care for the user have run as them.
    pub(crate) fn is_second(self) -> bool {
        self == Self::Nobody
    }

    /// User and group number, if they are not those of this process.
    fn other_ids(self) -> Option<(u32, u32)> {
        self.is_second().then_some((NOBODY, NOBODY))
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "root",
            Self::Self_ | Self::Nobody => "ordinary user",
        })
    }
}

/// `natrig` and this binary, where anybody can run them.
pub(crate) struct Programs {
    directory: TempDir,
}

impl Programs {
    pub(crate) fn gather() -> Self {
        let directory = TempDir::with_prefix("natrig-end-to-end-").unwrap();
        fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let programs = Self { directory };
        for (from, to) in [
            (Path::new(env!("CARGO_BIN_EXE_natrig")), programs.natrig()),
            (&std::env::current_exe().unwrap(), programs.actor()),
        ] {
            fs::copy(from, &to).unwrap();
            fs::set_permissions(&to, PermissionsExt::from_mode(0o755)).unwrap();
        }
        programs
    }

    fn natrig(&self) -> PathBuf {
        self.directory.path().join("natrig")
    }

    fn actor(&self) -> PathBuf {
        self.directory.path().join("actor")
    }

    /// What `natrig` itself says stands in the way, if anything does.
    pub(crate) fn why_no_namespaces(&self, user: User) -> Option<String> {
        let place = Place::new(self, user);
        place.file("probe.toml", &scenarios::fixed(1));
        let ended = place.run(["run", "probe.toml", "--design", "none", "--link", "packet"]);
        let said = ended.stderr.lines().next().unwrap_or_default();
        let (_, why) = said.split_once("refuses: ").unwrap_or(("", said));
        (ended.code == Some(5)).then(|| why.to_owned())
    }
}

/// A directory of the case's own, that belongs to its user; gone with the case.
pub(crate) struct Place<'a> {
    programs: &'a Programs,
    pub(crate) user: User,
    directory: TempDir,
}

impl<'a> Place<'a> {
    pub(crate) fn new(programs: &'a Programs, user: User) -> Self {
        let directory = TempDir::with_prefix_in("case-", programs.directory.path()).unwrap();
        let place = Self { programs, user, directory };
        place.give(place.path());
        place
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Where the programs of this place keep their worlds' state files.
    pub(crate) fn state(&self) -> PathBuf {
        self.join("state")
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.join(name);
        fs::write(&path, text).unwrap();
        self.give(&path);
        path
    }

    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        let path = self.join(name);
        DirBuilder::new().mode(0o700).create(&path).unwrap();
        self.give(&path);
        path
    }

    fn give(&self, path: &Path) {
        if let Some((uid, gid)) = self.user.other_ids() {
            chown(path, Some(uid), Some(gid)).unwrap();
        }
    }

    /// Names of what lies in the place, sorted.
    pub(crate) fn listing(&self) -> Vec<String> {
        listing(self.path())
    }

    /// Starts `natrig`.
    pub(crate) fn natrig<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Process {
        Process::start(self.command(&self.programs.natrig()).args(arguments))
    }

    /// Runs `natrig` to its end.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ended {
        self.natrig(arguments).finish()
    }

    /// Starts this binary in a role.
    pub(crate) fn role<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Process {
        Process::start(self.command(&self.programs.actor()).arg("--role").args(words))
    }

    /// Starts any program, as the user, in the place.
    pub(crate) fn start<S: AsRef<OsStr>>(&self, program: &str, arguments: impl IntoIterator<Item = S>) -> Process {
        Process::start(self.command(Path::new(program)).args(arguments))
    }

    /// Whether the user can run `program` at all, by asking for its version.
    pub(crate) fn has(&self, program: &str, version: &str) -> bool {
        let mut command = self.command(Path::new(program));
        command.arg(version).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    pub(crate) fn natrig_path(&self) -> PathBuf {
        self.programs.natrig()
    }

    pub(crate) fn actor_path(&self) -> PathBuf {
        self.programs.actor()
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.path()).env("NATRIG_STATE_DIR", self.state()).env("HOME", self.path());
        command.env_remove("XDG_RUNTIME_DIR").stdin(Stdio::null());
        if let Some((uid, gid)) = self.user.other_ids() {
            command.uid(uid).gid(gid);
        }
        command
    }
}

/// Names in a directory, sorted; none if it is not there.
pub(crate) fn listing(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
