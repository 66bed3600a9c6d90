//! The program `nft`, by which the kernel is told how to translate. All else works without it.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;
use thiserror::Error;

use crate::programs;

/// The program's name.
pub const PROGRAM: &str = "nft";
/// The package that brings it, under this name in every distribution that we know of.
pub const PACKAGE: &str = "nftables";

/// Why the kernel could not be told how to translate.
#[derive(Debug, Error)]
pub enum NftError {
    /// The program is not installed.
    #[error("the kernel's NAT needs the program `{PROGRAM}`, which is not here: install the package `{PACKAGE}`")]
    Missing,
    /// The program does not run.
    #[error("cannot run {PROGRAM}: {0}")]
    Run(#[from] io::Error),
    /// The program, or the kernel behind it, refuses the ruleset.
    #[error("{PROGRAM} refuses the ruleset: {0}")]
    Refused(String),
}

/// Where the program lies.
pub fn find() -> Option<PathBuf> {
    programs::find(PROGRAM)
}

/// Loads a ruleset into the namespace of the calling thread: all of it, or nothing.
pub(crate) fn load(ruleset: &Value) -> Result<(), NftError> {
    run(&["-j", "-f", "-"], &ruleset.to_string())
}

/// The same for a ruleset in nft's own language.
pub(crate) fn load_text(ruleset: &str) -> Result<(), NftError> {
    run(&["-f", "-"], ruleset)
}

fn run(arguments: &[&str], input: &str) -> Result<(), NftError> {
    let program = find().ok_or(NftError::Missing)?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    // A program that ends early says why on stderr; that it no longer reads is no news then.
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(NftError::Refused(said.lines().next().unwrap_or("without a word").to_owned()));
    }
    Ok(written?)
}
