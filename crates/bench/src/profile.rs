//! Profiles as scenarios name them: one that comes with the program, or a file.

use std::io;

use natrig_nat::{Profile, ProfileError};

/// Why a profile cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LoadProfileError {
    /// Not a built-in profile, and no file either.
    #[error("find a profile called `{name}`\nhelp: built in are {known}; a file is named with its path")]
    Unknown {
        /// What it was called.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// The file cannot be read.
    #[error("read profile {path}: {source}")]
    Unreadable {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The file is no profile.
    #[error("understand profile {path}: {source}")]
    Rejected {
        /// Which.
        path: String,
        /// Why.
        source: Box<ProfileError>,
    },
}

/// The built-in profile of this name, or that of a file: a name with a slash in it, or one that ends in `.toml`, is a path.
///
/// # Errors
/// [`LoadProfileError`].
pub fn load(name: &str) -> Result<Profile, LoadProfileError> {
    if !name.contains('/') && !name.ends_with(".toml") {
        let known = || Profile::names().join(", ");
        return Profile::builtin(name)
            .ok_or_else(|| LoadProfileError::Unknown { name: name.to_owned(), known: known() });
    }
    let path = || name.to_owned();
    let text = std::fs::read_to_string(name).map_err(|source| LoadProfileError::Unreadable { path: path(), source })?;
    Profile::parse(&text).map_err(|source| LoadProfileError::Rejected { path: path(), source: Box::new(source) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_or_a_path() {
        assert_eq!(load("netfilter").unwrap().name, "netfilter");
        let message = |name: &str| load(name).unwrap_err().to_string();
        assert!(message("netfliter").contains("cilium-bpf, "), "{}", message("netfliter"));
        assert!(message("./none.toml").starts_with("read profile ./none.toml: "));
        assert!(message(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).starts_with("understand profile "));
    }
}
