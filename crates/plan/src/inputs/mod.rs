//! Logs: each line becomes an observation for the census, or is left out for a reason that is counted.

pub mod conntrack;
pub mod flow_log;
pub mod hubble;
mod lines;

use std::io::{self, BufRead, BufReader};
use std::net::Ipv4Addr;

use flate2::bufread::MultiGzDecoder;
use thiserror::Error;

use crate::report::{Input, Skipped};
use crate::timing::Protocol;

/// A flow from inside to outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Protocol.
    pub protocol: Protocol,
    /// Who began.
    pub inside: (u32, u16),
    /// To whom.
    pub remote: (u32, u16),
}

impl Flow {
    /// A flow from inside to outside; none if it is not one. Inside are private and shared addresses (RFC 1918, RFC 6598).
    fn outbound(
        protocol: Protocol,
        source: (Ipv4Addr, u16),
        destination: (Ipv4Addr, u16),
    ) -> Result<Self, &'static str> {
        let is_inside =
            |address: Ipv4Addr| address.is_private() || address.octets()[0] == 100 && address.octets()[1] & 0xc0 == 64;
        let is_local = |address: Ipv4Addr| {
            address.is_loopback() || address.is_link_local() || address.is_multicast() || address.is_broadcast()
        };
        if !is_inside(source.0) {
            return Err("does not begin inside: an answer, or a flow from outside");
        }
        if is_inside(destination.0) || is_local(destination.0) {
            return Err("stays inside");
        }
        let remote = if protocol == Protocol::Icmp { 0 } else { destination.1 };
        Ok(Self { protocol, inside: (source.0.to_bits(), source.1), remote: (destination.0.to_bits(), remote) })
    }
}

/// First bytes of a gzip member (RFC 1952 section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Bytes that are unpacked at once.
const UNPACKED_BYTES: usize = 1 << 18;

/// A log as it is, or unpacked if it is packed by gzip, whatever its name: AWS writes flow logs to S3 that way. Files that were put together
/// have several members, one after the other.
///
/// # Errors
/// It cannot be read.
pub fn unpacked<'r>(mut reader: impl BufRead + 'r) -> io::Result<Box<dyn BufRead + 'r>> {
    if reader.fill_buf()?.starts_with(&GZIP) {
        return Ok(Box::new(BufReader::with_capacity(UNPACKED_BYTES, MultiGzDecoder::new(reader))));
    }
    Ok(Box::new(reader))
}

/// Why a log cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("failed to read {file}: {source}")]
    Unreadable {
        /// Which.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// It is something else.
    #[error("{file}, line {line}: {what}\nhelp: {help}")]
    NotThis {
        /// Which.
        file: String,
        /// Where.
        line: u64,
        /// What is wrong.
        what: String,
        /// The mend.
        help: String,
    },
    /// No line says anything.
    #[error("{file} has no record that counts: {why}")]
    Nothing {
        /// Which.
        file: String,
        /// What became of its lines.
        why: String,
    },
}

/// What is noted about a log while it is read.
#[derive(Debug)]
pub(crate) struct Notes {
    input: Input,
}

impl Notes {
    fn new(file: &str, kind: &str) -> Self {
        let input = Input { file: file.to_owned(), kind: kind.to_owned(), lines: 0, counted: 0, skipped: Vec::new() };
        Self { input }
    }

    fn skip(&mut self, reason: &str) {
        match self.input.skipped.iter_mut().find(|skipped| skipped.reason == reason) {
            Some(skipped) => skipped.count += 1,
            None => {
                self.input.skipped.push(Skipped { reason: reason.to_owned(), count: 1, first_line: self.input.lines })
            }
        }
    }

    fn wrong(&self, what: impl Into<String>, help: &str) -> ReadError {
        ReadError::NotThis {
            file: self.input.file.clone(),
            line: self.input.lines,
            what: what.into(),
            help: help.to_owned(),
        }
    }

    fn finish(self) -> Result<Input, ReadError> {
        if self.input.counted > 0 {
            return Ok(self.input);
        }
        let why = match self.input.skipped.iter().max_by_key(|skipped| skipped.count) {
            Some(skipped) => format!("{} of {} lines: {}", skipped.count, self.input.lines, skipped.reason),
            None => "it is empty".to_owned(),
        };
        Err(ReadError::Nothing { file: self.input.file, why })
    }
}

/// Reads a log line by line.
fn each_line(
    reader: impl BufRead,
    mut notes: Notes,
    mut take: impl FnMut(&mut Notes, &str) -> Result<(), ReadError>,
) -> Result<Input, ReadError> {
    let mut lines = lines::Lines::new(reader);
    loop {
        let file = notes.input.file.clone();
        let line = match lines.next() {
            Ok(None) => return notes.finish(),
            Ok(Some(line)) => line,
            Err(source) => return Err(ReadError::Unreadable { file, source }),
        };
        notes.input.lines += 1;
        match line {
            lines::Line::Text(text) if text.trim().is_empty() => {}
            lines::Line::Text(text) => take(&mut notes, text)?,
            lines::Line::Binary if notes.input.lines == 1 => {
                return Err(notes
                    .wrong("this is not text", "logs are text, or text packed by gzip; Parquet has to be converted"));
            }
            lines::Line::Binary => notes.skip("not text"),
            lines::Line::TooLong => notes.skip("longer than a line can be"),
        }
    }
}
