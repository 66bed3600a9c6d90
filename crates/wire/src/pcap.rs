//! Writes capture files that Wireshark and tcpdump read: the classic pcap format with nanosecond time stamps, link type Ethernet
//! (draft-ietf-opsawg-pcap).

use std::io::{self, Write};

const MAGIC_NS: u32 = 0xa1b2_3c4d;
const VERSION: (u16, u16) = (2, 4);
const SNAPLEN: u32 = 65535;
const LINKTYPE_ETHERNET: u32 = 1;

/// A capture file being written.
#[derive(Debug)]
pub struct Writer<W: Write> {
    sink: W,
}

impl<W: Write> Writer<W> {
    /// Writes the file header.
    ///
    /// # Errors
    /// Whatever the sink returns.
    pub fn new(mut sink: W) -> io::Result<Self> {
        let mut header = [0; 24];
        header[0..4].copy_from_slice(&MAGIC_NS.to_le_bytes());
        header[4..6].copy_from_slice(&VERSION.0.to_le_bytes());
        header[6..8].copy_from_slice(&VERSION.1.to_le_bytes());
        header[16..20].copy_from_slice(&SNAPLEN.to_le_bytes());
        header[20..24].copy_from_slice(&LINKTYPE_ETHERNET.to_le_bytes());
        sink.write_all(&header)?;
        Ok(Self { sink })
    }

    /// Writes one frame, seen at `at_ns` (nanoseconds since any epoch).
    ///
    /// # Errors
    /// Whatever the sink returns.
    pub fn frame(&mut self, at_ns: u64, bytes: &[u8]) -> io::Result<()> {
        let captured = bytes.len().min(SNAPLEN as usize);
        let mut header = [0; 16];
        header[0..4].copy_from_slice(&((at_ns / 1_000_000_000) as u32).to_le_bytes());
        header[4..8].copy_from_slice(&((at_ns % 1_000_000_000) as u32).to_le_bytes());
        header[8..12].copy_from_slice(&(captured as u32).to_le_bytes());
        header[12..16].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        self.sink.write_all(&header)?;
        self.sink.write_all(&bytes[..captured])
    }

    /// Hands the sink back.
    pub fn into_inner(self) -> W {
        self.sink
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_literal_bytes() {
        let mut writer = Writer::new(Vec::new()).unwrap();
        writer.frame(3_000_000_007, &[0xaa, 0xbb]).unwrap();
        let bytes = writer.into_inner();
        #[rustfmt::skip]
        let expected = [
            0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0,
            3, 0, 0, 0, 7, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0xaa, 0xbb,
        ];
        assert_eq!(bytes, expected);
    }
}
