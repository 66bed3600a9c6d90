//! A program at work: ended when the case ends, however it does, and never waited for without end.

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::LIMIT;

pub(crate) struct Process {
    child: Child,
    what: String,
    stdout: Lines,
    stderr: Lines,
}

/// What a program left.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The command, in short.
    pub(crate) what: String,
    /// None if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let what = format!("{command:?}");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = Lines::of(child.stdout.take().unwrap());
        let stderr = Lines::of(child.stderr.take().unwrap());
        Self { child, what, stdout, stderr }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its standard output.
    pub(crate) fn line(&self) -> String {
        match self.stdout.next(LIMIT) {
            Some(line) => line,
            None => panic!("{} says no more: {}", self.what, self.stderr.rest(Duration::from_millis(100))),
        }
    }

    /// Reads on, to a line that contains `words`.
    pub(crate) fn says(&self, words: &str) -> String {
        loop {
            let line = self.line();
            if line.contains(words) {
                return line;
            }
        }
    }

    /// Reads its standard error on, to a line that contains `words`.
    pub(crate) fn warns(&self, words: &str) -> String {
        loop {
            match self.stderr.next(LIMIT) {
                Some(line) if line.contains(words) => return line,
                Some(_) => {}
                None => panic!("{} never warns: {words}", self.what),
            }
        }
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Ended {
        let since = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(since.elapsed() < LIMIT, "{} does not end; it said: {}", self.what, self.said());
            thread::sleep(Duration::from_millis(5));
        }
        let status = self.child.wait().unwrap();
        // Whoever inherited its output may hold it open.
        let (stdout, stderr) = (self.stdout.rest(LIMIT), self.stderr.rest(LIMIT));
        let what = match status.signal() {
            Some(signal) => format!("{}, ended by signal {signal}", self.what),
            None => self.what.clone(),
        };
        Ended { what, code: status.code(), stdout, stderr }
    }

    /// Waits for its end, which must be a good one, and returns what it wrote.
    pub(crate) fn succeed(self) -> String {
        let ended = self.finish();
        assert_eq!(ended.code, Some(0), "{ended}");
        ended.stdout
    }

    fn said(&self) -> String {
        let moment = Duration::from_millis(100);
        format!("{}{}", self.stdout.rest(moment), self.stderr.rest(moment))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, code, stdout, stderr } = self;
        let stdout: String = stdout.chars().take(2000).collect();
        write!(f, "{what} ended with {code:?}\nstdout: {stdout}\nstderr: {stderr}")
    }
}

/// What comes out of a pipe, read by a thread so that the writer never has to wait.
struct Lines {
    coming: Receiver<String>,
}

impl Lines {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let (sender, coming) = mpsc::channel();
        thread::spawn(move || {
            let mut reader = BufReader::new(pipe);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    return;
                }
                line.clear();
            }
        });
        Self { coming }
    }

    /// None at the end.
    fn next(&self, limit: Duration) -> Option<String> {
        match self.coming.recv_timeout(limit) {
            Ok(line) => Some(line.trim_end().to_owned()),
            Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout) => None,
        }
    }

    /// All to the end.
    fn rest(&self, limit: Duration) -> String {
        let mut text = String::new();
        while let Ok(line) = self.coming.recv_timeout(limit) {
            text.push_str(&line);
        }
        text
    }
}
