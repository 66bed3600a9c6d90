//! A link that records what passes, as a pcap file: bounded, readable by Wireshark and tcpdump.

use crate::{BURST_MAX, Link, LinkDescription, LinkStats, RecvError, SendError, clock};
use natrig_wire::{Frame, pcap};
use std::io::{self, Write};
use std::os::fd::BorrowedFd;

/// The bounds of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TapOptions {
    /// The most frames recorded.
    pub frames_max: u64,
    /// The most bytes of frames recorded.
    pub bytes_max: u64,
}

impl Default for TapOptions {
    fn default() -> Self {
        Self { frames_max: 1_000_000, bytes_max: 256 << 20 }
    }
}

/// A wrapper that records received frames as they arrive and sent frames as they are taken, with one time stamp (CLOCK_MONOTONIC) a
/// burst. When the writer fails the recording ends; the traffic goes on.
#[derive(Debug)]
pub struct Tap<L, W: Write> {
    inner: L,
    recorder: Recorder<W>,
}

impl<L: Link, W: Write + Send> Tap<L, W> {
    /// Wraps `inner`, recording into `writer`, which should be buffered.
    ///
    /// # Errors
    /// If the file header cannot be written.
    pub fn new(inner: L, writer: W, options: TapOptions) -> io::Result<Self> {
        Ok(Self { inner, recorder: Recorder::new(writer, options)? })
    }

    /// Ends the recording: the link inside, the flushed writer, how many frames were recorded.
    ///
    /// # Errors
    /// The error that ended the recording early, or that of the flush.
    pub fn finish(self) -> io::Result<(L, W, u64)> {
        let (writer, recorded) = self.recorder.finish()?;
        Ok((self.inner, writer, recorded))
    }

    /// Frames that passed and were not recorded, because of the bound or an error of the writer.
    pub fn unrecorded(&self) -> u64 {
        self.recorder.unrecorded
    }
}

impl<L: Link, W: Write + Send> Link for Tap<L, W> {
    fn recv(&mut self, max: usize, on_burst: &mut dyn FnMut(&mut [Frame<'_>])) -> Result<usize, RecvError> {
        let Self { inner, recorder } = self;
        inner.recv(max.min(BURST_MAX), &mut |frames| {
            recorder.record(clock::now_ns(), frames.iter().map(Frame::bytes));
            on_burst(frames);
        })
    }

    fn send(&mut self, frames: &[Frame<'_>], pick: &[u16]) -> Result<usize, SendError> {
        let taken = self.inner.send(frames, pick)?;
        if taken > 0 {
            self.recorder
                .record(clock::now_ns(), pick[..taken].iter().map(|index| frames[usize::from(*index)].bytes()));
        }
        Ok(taken)
    }

    fn stats(&mut self) -> LinkStats {
        self.inner.stats()
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        self.inner.poll_fd()
    }

    fn describe(&self) -> LinkDescription {
        let mut description = self.inner.describe();
        description.notes.push(format!("recorded: {:?}", self.recorder.options));
        description
    }
}

#[derive(Debug)]
struct Recorder<W: Write> {
    pcap: pcap::Writer<W>,
    options: TapOptions,
    recorded: u64,
    recorded_bytes: u64,
    unrecorded: u64,
    failed: Option<io::Error>,
}

impl<W: Write> Recorder<W> {
    fn new(writer: W, options: TapOptions) -> io::Result<Self> {
        let pcap = pcap::Writer::new(writer)?;
        Ok(Self { pcap, options, recorded: 0, recorded_bytes: 0, unrecorded: 0, failed: None })
    }

    fn record<'a>(&mut self, now_ns: u64, frames: impl Iterator<Item = &'a [u8]>) {
        for bytes in frames {
            let bytes_after = self.recorded_bytes + bytes.len() as u64;
            let has_room = self.recorded < self.options.frames_max && bytes_after <= self.options.bytes_max;
            if self.failed.is_some() || !has_room {
                self.unrecorded += 1;
                continue;
            }
            match self.pcap.frame(now_ns, bytes) {
                Ok(()) => {
                    self.recorded += 1;
                    self.recorded_bytes = bytes_after;
                }
                Err(error) => {
                    self.failed = Some(error);
                    self.unrecorded += 1;
                }
            }
        }
    }

    fn finish(self) -> io::Result<(W, u64)> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let mut writer = self.pcap.into_inner();
        writer.flush()?;
        Ok((writer, self.recorded))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory;

    #[test]
    fn both_directions_are_recorded_up_to_the_bound() {
        let (mut near, far) = memory::pair(8, 128);
        let mut far = Tap::new(far, Vec::new(), TapOptions { frames_max: 3, ..TapOptions::default() }).unwrap();
        let (mut first, mut second) = ([0x11u8; 60], [0x22u8; 100]);
        let frames = [Frame::new(&mut first, 60), Frame::new(&mut second, 100)];
        near.send(&frames, &[0, 1]).unwrap();
        far.recv(BURST_MAX, &mut |_| {}).unwrap();
        assert_eq!(far.send(&frames, &[1, 0]).unwrap(), 2);
        assert_eq!(far.unrecorded(), 1);
        let (_, file, recorded) = far.finish().unwrap();
        assert_eq!(recorded, 3);
        assert_eq!(file.len(), 24 + 3 * 16 + 60 + 100 + 100);
        let second = &file[24 + 16 + 60..];
        assert_eq!(second[8..16], [100, 0, 0, 0, 100, 0, 0, 0]);
        assert_eq!(second[16..16 + 100], [0x22; 100]);
    }

    #[test]
    fn the_bound_in_bytes_holds_too() {
        let (mut near, far) = memory::pair(8, 128);
        let mut far = Tap::new(far, Vec::new(), TapOptions { bytes_max: 150, ..TapOptions::default() }).unwrap();
        let mut bytes = [0x11u8; 60];
        let frames = [Frame::new(&mut bytes, 60)];
        near.send(&frames, &[0, 0, 0]).unwrap();
        far.recv(BURST_MAX, &mut |_| {}).unwrap();
        assert_eq!((far.unrecorded(), far.finish().unwrap().2), (1, 2));
    }

    #[test]
    fn a_writer_that_fails_ends_the_recording_and_not_the_traffic() {
        let (mut near, far) = memory::pair(8, 128);
        let mut space = [0u8; 24 + 16 + 60 + 5];
        let mut far = Tap::new(far, &mut space[..], TapOptions::default()).unwrap();
        let mut bytes = [0x11u8; 60];
        for _ in 0..3 {
            near.send(&[Frame::new(&mut bytes, 60)], &[0]).unwrap();
        }
        assert_eq!(far.recv(BURST_MAX, &mut |burst| assert_eq!(burst.len(), 3)).unwrap(), 3);
        assert_eq!(far.unrecorded(), 2);
        assert!(far.finish().is_err());
    }
}
