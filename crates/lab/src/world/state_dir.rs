//! Where the state files lie, and how one is put there.

use std::env;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use thiserror::Error;

use super::{WORLD_FORMAT, WorldRecord, check_name};

/// Names the directory of state files, against all rules.
pub const STATE_DIR_VARIABLE: &str = "NATRIG_STATE_DIR";

const SUFFIX: &str = ".json";
const TEMPORARY: &str = ".tmp";

/// The directory of one user's state files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir {
    path: PathBuf,
}

/// Why there is no directory for state files.
#[derive(Debug, Error)]
pub enum StateDirError {
    /// It cannot be made or looked at.
    #[error("use {path} for state files: {source} (another place can be named in {STATE_DIR_VARIABLE})")]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others could change it.
    #[error(
        "use {path} for state files: it is not a directory that belongs to this user and nobody else can enter (mode 0700)"
    )]
    NotPrivate {
        /// The directory.
        path: PathBuf,
    },
}

/// Why the state file of a world cannot be read or written.
#[derive(Debug, Error)]
pub enum WorldError {
    /// The name would not do for a file.
    #[error(transparent)]
    Name(#[from] super::RecordError),
    /// There is no world of that name.
    #[error("no world is called `{0}`")]
    Unknown(String),
    /// A world of that name stands.
    #[error(
        "a world called `{name}` already stands, held by process {pid}: choose another name, or take it down first"
    )]
    Taken {
        /// The name.
        name: String,
        /// Who holds it.
        pid: u32,
    },
    /// A world of that name has stood, and nobody has cleaned up behind it.
    #[error(
        "a world called `{name}` was left behind by process {pid}, which is dead: `natrig clean` removes what is left"
    )]
    LeftBehind {
        /// The name.
        name: String,
        /// Who held it.
        pid: u32,
    },
    /// The file is not what we write.
    #[error("{path} is not a state file of this version: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A state file and what it says.
#[derive(Debug)]
pub struct StateFile {
    /// The file.
    pub path: PathBuf,
    /// The world it is about.
    pub record: Result<WorldRecord, WorldError>,
}

/// A world whose state file this process has put down. Dropping it removes the file.
#[derive(Debug)]
pub struct HeldWorld {
    path: PathBuf,
    record: WorldRecord,
    withdrawn: bool,
}

impl StateDir {
    /// Finds the place, and makes it if need be: `$NATRIG_STATE_DIR`; else `/run/natrig` for root; else `$XDG_RUNTIME_DIR/natrig`, if
    /// that directory is the user's own; else `/tmp/natrig-UID`. It is the same before and after entering a user namespace.
    ///
    /// # Errors
    /// It cannot be made, or others could change it.
    pub fn locate() -> Result<Self, StateDirError> {
        Self::at(choose(
            env::var_os(STATE_DIR_VARIABLE).map(PathBuf::from),
            env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from),
            outer_uid(),
        ))
    }

    /// This very place; it is made if need be.
    ///
    /// # Errors
    /// It cannot be made, or others could change it.
    pub fn at(path: impl Into<PathBuf>) -> Result<Self, StateDirError> {
        let path = path.into();
        let unusable = |source| StateDirError::Unusable { path: path.clone(), source };
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(unusable(e)),
            Ok(()) | Err(_) => {}
        }
        // Not following a link: in /tmp anybody may have put one here.
        let found = fs::symlink_metadata(&path).map_err(unusable)?;
        if !found.is_dir() || found.uid() != geteuid().as_raw() || found.mode() & 0o077 != 0 {
            return Err(StateDirError::NotPrivate { path });
        }
        Ok(Self { path })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a world could be put down under that name now, before the effort of building it.
    ///
    /// # Errors
    /// The name would not do, or a world has it.
    pub fn check_free(&self, name: &str) -> Result<(), WorldError> {
        check_name(name)?;
        match self.load(name) {
            Err(WorldError::Unknown(_)) => Ok(()),
            Ok(record) => Err(taken(&record)),
            Err(error) => Err(error),
        }
    }

    /// Puts down the state file of a world that this process holds: all of it at once, and never over another.
    ///
    /// # Errors
    /// The name is taken, or the file cannot be written.
    pub fn publish(&self, record: WorldRecord) -> Result<HeldWorld, WorldError> {
        check_name(&record.name)?;
        let path = self.file(&record.name);
        let temporary = self.path.join(format!(".{}.{}{TEMPORARY}", record.name, record.holder.pid));
        let failed = |source| WorldError::Io { path: path.clone(), source };
        let text = serde_json::to_string_pretty(&record).map_err(|e| failed(io::Error::other(e.to_string())))?;
        write_new(&temporary, text.as_bytes()).map_err(failed)?;
        // A link, unlike a rename, fails if the name exists.
        let linked = fs::hard_link(&temporary, &path);
        let removed = fs::remove_file(&temporary);
        match linked {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(taken(&self.load(&record.name)?)),
            Err(e) => Err(failed(e)),
            Ok(()) => {
                removed.map_err(failed)?;
                Ok(HeldWorld { path, record, withdrawn: false })
            }
        }
    }

    /// The record of the world of that name, whether or not its holder lives.
    ///
    /// # Errors
    /// There is none, or its file cannot be read.
    pub fn load(&self, name: &str) -> Result<WorldRecord, WorldError> {
        check_name(name)?;
        let path = self.file(name);
        let record = match read(&path) {
            Err(WorldError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(WorldError::Unknown(name.to_owned()));
            }
            other => other?,
        };
        if record.name != name {
            return Err(WorldError::Unreadable {
                path,
                reason: format!("it is about a world called `{}`", record.name),
            });
        }
        Ok(record)
    }

    /// Every state file, in the order of names.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn list(&self) -> Result<Vec<StateFile>, WorldError> {
        Ok(self
            .files(|name| name.ends_with(SUFFIX) && !name.starts_with('.'))?
            .into_iter()
            .map(|path| StateFile { record: read(&path), path })
            .collect())
    }

    /// Temporary files, with the number of the process that was writing them.
    pub(super) fn temporaries(&self) -> Result<Vec<(PathBuf, u32)>, WorldError> {
        Ok(self
            .files(|name| name.starts_with('.') && name.ends_with(TEMPORARY))?
            .into_iter()
            .filter_map(|path| {
                let name = path.file_name()?.to_str()?.strip_suffix(TEMPORARY)?;
                let pid = name.rsplit_once('.')?.1.parse().ok()?;
                Some((path, pid))
            })
            .collect())
    }

    fn files(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>, WorldError> {
        let entries = fs::read_dir(&self.path).map_err(|source| WorldError::Io { path: self.path.clone(), source })?;
        let mut files: Vec<_> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(&wanted))
            .collect();
        files.sort();
        Ok(files)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}{SUFFIX}"))
    }
}

impl HeldWorld {
    /// What the file says.
    pub fn record(&self) -> &WorldRecord {
        &self.record
    }

    /// Removes the state file.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn withdraw(mut self) -> Result<(), WorldError> {
        self.withdrawn = true;
        remove_if_same(&self.path, &self.record)
    }
}

impl Drop for HeldWorld {
    fn drop(&mut self) {
        if !self.withdrawn {
            // Nobody is left to tell; `natrig clean` will find the file.
            let _ = remove_if_same(&self.path, &self.record);
        }
    }
}

/// Removes a state file if it is still about the same world.
pub(super) fn remove_if_same(path: &Path, record: &WorldRecord) -> Result<(), WorldError> {
    match read(path) {
        Ok(found) if found == *record => {
            fs::remove_file(path).map_err(|source| WorldError::Io { path: path.to_owned(), source })
        }
        Ok(_) => Ok(()),
        Err(WorldError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn taken(record: &WorldRecord) -> WorldError {
    let (name, pid) = (record.name.clone(), record.holder.pid);
    if record.holder.is_alive() { WorldError::Taken { name, pid } } else { WorldError::LeftBehind { name, pid } }
}

fn read(path: &Path) -> Result<WorldRecord, WorldError> {
    let text = fs::read_to_string(path).map_err(|source| WorldError::Io { path: path.to_owned(), source })?;
    let unreadable = |reason: String| WorldError::Unreadable { path: path.to_owned(), reason };
    let record: WorldRecord = serde_json::from_str(&text).map_err(|e| unreadable(e.to_string()))?;
    if record.format != WORLD_FORMAT {
        return Err(unreadable(format!("its format is {}", record.format)));
    }
    Ok(record)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Left by a process of our number that died while writing.
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn choose(named: Option<PathBuf>, runtime: Option<PathBuf>, uid: u32) -> PathBuf {
    if let Some(path) = named {
        return path;
    }
    if uid == 0 {
        return PathBuf::from("/run/natrig");
    }
    // After `su` the variable is still the former user's.
    let own =
        |path: &PathBuf| path.is_absolute() && fs::metadata(path).is_ok_and(|found| found.uid() == geteuid().as_raw());
    match runtime.filter(own) {
        Some(path) => path.join("natrig"),
        None => PathBuf::from(format!("/tmp/natrig-{uid}")),
    }
}

/// Our user number as the parent user namespace knows it: the one that does not change when we enter a namespace of our own.
fn outer_uid() -> u32 {
    let uid = geteuid().as_raw();
    fs::read_to_string("/proc/self/uid_map").map_or(uid, |map| translate(uid, &map).unwrap_or(uid))
}

/// Each line: first number inside, first number outside, how many (user_namespaces(7)).
fn translate(uid: u32, map: &str) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
        let inside = numbers.next()?.ok()?;
        let outside = numbers.next()?.ok()?;
        let count = numbers.next()?.ok()?;
        let offset = uid.checked_sub(inside).filter(|offset| *offset < count)?;
        outside.checked_add(offset)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::super::{Holder, NamespaceRecord, WorldMark};
    use super::*;
    use crate::privilege::Mode;

    fn record(name: &str) -> WorldRecord {
        WorldRecord {
            format: WORLD_FORMAT,
            name: name.to_owned(),
            holder: Holder::this_process().unwrap(),
            mode: Mode::Rootless,
            scenario: "built-in".to_owned(),
            mark: WorldMark::from_bits(7),
            namespaces: vec![NamespaceRecord { name: "pods".to_owned(), inode: 1, fd: 3 }],
        }
    }

    fn state_dir(inside: &tempfile::TempDir) -> StateDir {
        StateDir::at(inside.path().join("natrig")).unwrap()
    }

    #[test]
    fn a_published_world_is_found_and_goes_with_its_holder() {
        let directory = tempfile::tempdir().unwrap();
        let state = state_dir(&directory);
        state.check_free("demo").unwrap();
        let held = state.publish(record("demo")).unwrap();
        assert_eq!(state.load("demo").unwrap(), record("demo"));
        assert_eq!(state.list().unwrap().len(), 1);
        assert!(state.temporaries().unwrap().is_empty());
        drop(held);
        assert!(matches!(state.load("demo"), Err(WorldError::Unknown(_))));

        state.publish(record("demo")).unwrap().withdraw().unwrap();
        assert!(state.list().unwrap().is_empty());
    }

    #[test]
    fn a_name_is_given_once() {
        let directory = tempfile::tempdir().unwrap();
        let state = state_dir(&directory);
        let _held = state.publish(record("demo")).unwrap();
        let _other = state.publish(record("other")).unwrap();
        for error in [state.check_free("demo").unwrap_err(), state.publish(record("demo")).unwrap_err()] {
            assert!(matches!(error, WorldError::Taken { pid, .. } if pid == std::process::id()));
        }
        assert!(state.temporaries().unwrap().is_empty());
    }

    #[test]
    fn what_a_dead_holder_left_is_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let state = state_dir(&directory);
        let mut left = record("demo");
        left.holder.start_ticks += 1;
        let _held = state.publish(left).unwrap();
        assert!(matches!(state.check_free("demo"), Err(WorldError::LeftBehind { .. })));
    }

    #[test]
    fn a_file_that_has_changed_hands_is_not_removed() {
        let directory = tempfile::tempdir().unwrap();
        let state = state_dir(&directory);
        let held = state.publish(record("demo")).unwrap();
        let mut other = record("demo");
        other.holder.pid += 1;
        let path = state.path().join("demo.json");
        fs::write(&path, serde_json::to_string(&other).unwrap()).unwrap();
        drop(held);
        assert_eq!(state.load("demo").unwrap(), other);
    }

    #[test]
    fn foreign_files_are_unreadable_not_worlds() {
        let directory = tempfile::tempdir().unwrap();
        let state = state_dir(&directory);
        let path = state.path().join("demo.json");
        let newer = WorldRecord { format: WORLD_FORMAT + 1, ..record("demo") };
        let renamed = record("other");
        for text in ["{}".to_owned(), serde_json::to_string(&newer).unwrap(), serde_json::to_string(&renamed).unwrap()]
        {
            fs::write(&path, text).unwrap();
            assert!(matches!(state.load("demo"), Err(WorldError::Unreadable { .. })));
        }
        assert!(matches!(state.load("../x"), Err(WorldError::Name(_))));
    }

    #[test]
    fn a_directory_that_others_could_change_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let open = directory.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, PermissionsExt::from_mode(0o755)).unwrap();
        let link = directory.path().join("link");
        symlink(state_dir(&directory).path(), &link).unwrap();
        for path in [open, link] {
            assert!(matches!(StateDir::at(path), Err(StateDirError::NotPrivate { .. })));
        }
        assert!(matches!(StateDir::at("/proc/natrig"), Err(StateDirError::Unusable { .. })));
    }

    #[test]
    fn where_it_lies() {
        let named = Some(PathBuf::from("/elsewhere"));
        assert_eq!(choose(named, None, 0), Path::new("/elsewhere"));
        assert_eq!(choose(None, Some("/run/user/0".into()), 0), Path::new("/run/natrig"));
        assert_eq!(choose(None, None, 1000), Path::new("/tmp/natrig-1000"));
        let own = tempfile::tempdir().unwrap();
        assert_eq!(choose(None, Some(own.path().to_owned()), 1000), own.path().join("natrig"));
        assert_eq!(choose(None, Some("relative".into()), 1000), Path::new("/tmp/natrig-1000"));
    }

    #[test]
    fn user_numbers_through_a_map() {
        assert_eq!(translate(0, "         0       1000          1\n"), Some(1000));
        assert_eq!(translate(5, "0 0 4294967295\n"), Some(5));
        assert_eq!(translate(65534, "0 1000 1\n"), None);
    }
}
