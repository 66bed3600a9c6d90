//! Other programs that this machine may have.

use std::env;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// Along `PATH`, and where system programs lie that an ordinary user's `PATH` does not name.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from)).map(|directory| directory.join(name)).find(
        |candidate| candidate.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0),
    )
}
