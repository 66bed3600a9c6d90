//! Bytes for people.

use crate::numbers::counted;

/// Bytes in a line.
const LINE_BYTES: usize = 16;

/// A frame is shown up to here: all headers, and the stamp behind them.
const BYTES_MAX: usize = 128;

/// Hexadecimal digits as lines of 16 bytes with their offset.
pub(crate) fn dump(hex: &str) -> Vec<String> {
    let digits: Vec<char> = hex.chars().collect();
    let bytes: Vec<String> = digits.chunks(2).map(|byte| byte.iter().collect()).collect();
    let shown = bytes.len().min(BYTES_MAX);
    let line = |(index, chunk): (usize, &[String])| format!("{:04x}  {}", index * LINE_BYTES, chunk.join(" "));
    let mut lines: Vec<String> = bytes[..shown].chunks(LINE_BYTES).enumerate().map(line).collect();
    if shown < bytes.len() {
        lines.push(format!("      … and {}", counted((bytes.len() - shown) as u64, "byte")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dumps_have_offsets_and_an_end() {
        assert_eq!(dump("0a0b"), ["0000  0a 0b"]);
        assert_eq!(dump(&"00".repeat(17))[1], "0010  00");
        let long = dump(&"00".repeat(130));
        assert_eq!((long.len(), long[8].as_str()), (9, "      … and 2\u{a0}bytes"));
    }
}
