//! The local socket by which a NAT that runs is asked: a word in, a line of JSON out.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use natrig_lab::world::{StateDir, check_name};
use serde::{Deserialize, Serialize};

use super::settings::wrong;
use crate::exit::{self, Failure};

const PREFIX: &str = "nat-";
const SUFFIX: &str = ".sock";

/// How long one side waits for the other.
const PATIENCE: Duration = Duration::from_secs(10);

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    List,
    Stats,
    Reload,
}

impl Question {
    const ALL: [Self; 3] = [Self::List, Self::Stats, Self::Reload];

    const fn word(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Stats => "stats",
            Self::Reload => "reload",
        }
    }
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Done(serde_json::Value),
    Refused(String),
}

/// The socket of a NAT that runs here. Its file is removed with it.
#[derive(Debug)]
pub(super) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Makes it; the file that a killed predecessor has left is no obstacle.
    ///
    /// # Errors
    /// A NAT of that name runs, or the socket cannot be made.
    pub(super) fn claim(name: &str) -> Result<Self, Failure> {
        let state = state()?;
        let path = path_of(&state, name)?;
        if is_answered(&path) {
            return Err(wrong(format_args!("a NAT called `{name}` runs already; --name gives this one another name")));
        }
        remove_stale(&path);
        let failed =
            |error| Failure::failed(exit::FAILED, format_args!("failed to listen on {}: {error}", path.display()));
        let listener = UnixListener::bind(&path).map_err(failed)?;
        Ok(Self { listener, path })
    }

    /// Answers one after the other, until the process ends.
    pub(super) fn answer_all(&self, answer: impl Fn(Question) -> Result<serde_json::Value, String>) {
        for stream in self.listener.incoming() {
            // One that goes away, or says nothing for long, is its own affair.
            let _ = stream.and_then(|stream| answer_one(stream, &answer));
        }
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        // Two own the file; the one that goes first removes it, and both go together.
        Ok(Self { listener: self.listener.try_clone()?, path: self.path.clone() })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn answer_one(stream: UnixStream, answer: &impl Fn(Question) -> Result<serde_json::Value, String>) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut word = String::new();
    BufReader::new((&stream).take(64)).read_line(&mut word)?;
    let question = Question::ALL.into_iter().find(|question| question.word() == word.trim());
    let answered = match question.map(answer) {
        Some(Ok(value)) => Answer::Done(value),
        Some(Err(reason)) => Answer::Refused(reason),
        None => Answer::Refused(format!("no such question: {}", word.trim())),
    };
    let mut line = serde_json::to_vec(&answered)?;
    line.push(b'\n');
    (&stream).write_all(&line)
}

/// Asks the NAT called `name`.
///
/// # Errors
/// There is none, or it refuses.
pub(super) fn ask<T: for<'de> Deserialize<'de>>(name: &str, question: Question) -> Result<T, Failure> {
    let path = path_of(&state()?, name)?;
    let failed =
        |error: io::Error| Failure::failed(exit::FAILED, format_args!("failed to ask {}: {error}", path.display()));
    let mut stream = match UnixStream::connect(&path) {
        Err(error) if is_nobody(&error) => {
            return Err(wrong(format_args!("no NAT called `{name}` runs here")));
        }
        other => other.map_err(failed)?,
    };
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    stream.write_all(format!("{}\n", question.word()).as_bytes()).map_err(failed)?;
    let mut line = String::new();
    stream.read_to_string(&mut line).map_err(failed)?;
    match serde_json::from_str(&line).map_err(|error| failed(error.into()))? {
        Answer::Done(value) => serde_json::from_value(value).map_err(|error| failed(error.into())),
        Answer::Refused(reason) => Err(Failure::new(exit::USAGE, reason)),
    }
}

/// Removes the sockets that killed NATs have left; which.
pub(crate) fn clean(state: &StateDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(state.path()).into_iter().flatten().flatten();
    let sockets = entries.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(PREFIX) && name.ends_with(SUFFIX)
    });
    sockets.filter(|path| !is_answered(path) && remove_stale(path)).collect()
}

fn state() -> Result<StateDir, Failure> {
    StateDir::locate().map_err(|error| Failure::failed(exit::ENVIRONMENT, error))
}

fn path_of(state: &StateDir, name: &str) -> Result<PathBuf, Failure> {
    check_name(name).map_err(wrong)?;
    Ok(state.path().join(format!("{PREFIX}{name}{SUFFIX}")))
}

fn is_answered(path: &Path) -> bool {
    match UnixStream::connect(path) {
        Ok(_) => true,
        Err(error) => !is_nobody(&error),
    }
}

fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// Only ever a socket.
fn remove_stale(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) && fs::remove_file(path).is_ok()
}
