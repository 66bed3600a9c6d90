//! Lines of a stream of any length, each of bounded length.

use std::io::{self, BufRead};

/// Bytes of the longest line.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// A line.
#[derive(Debug)]
pub(crate) enum Line<'l> {
    Text(&'l str),
    /// Not UTF-8.
    Binary,
    /// Longer than [`LINE_BYTES_MAX`]; all of it has been passed over.
    TooLong,
}

/// The lines of a reader.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new() }
    }

    /// The next line without its end; none at the end of the stream.
    pub(crate) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.buffer.clear();
        let mut too_long = false;
        loop {
            let available = match self.reader.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() {
                if self.buffer.is_empty() && !too_long {
                    return Ok(None);
                }
                break;
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let part = &available[..end.unwrap_or(available.len())];
            if self.buffer.len() + part.len() > LINE_BYTES_MAX {
                too_long = true;
                self.buffer.clear();
            } else if !too_long {
                self.buffer.extend_from_slice(part);
            }
            let used = part.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                break;
            }
        }
        if too_long {
            return Ok(Some(Line::TooLong));
        }
        let text = str::from_utf8(&self.buffer).map(|text| text.trim_end_matches('\r'));
        Ok(Some(text.map_or(Line::Binary, Line::Text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_passed_over_and_the_last_one_needs_no_end() {
        let mut bytes = b"one\r\n\n".to_vec();
        bytes.extend(vec![b'x'; LINE_BYTES_MAX + 1]);
        bytes.extend(b"\n\xff\xfe\nlast");
        let mut lines = Lines::new(bytes.as_slice());
        let mut found = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            found.push(format!("{line:?}"));
        }
        assert_eq!(found, ["Text(\"one\")", "Text(\"\")", "TooLong", "Binary", "Text(\"last\")"]);
    }
}
