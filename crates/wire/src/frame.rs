/// One Ethernet frame (without FCS) in a slot of memory that somebody else owns, with room to grow in place.
#[derive(Debug)]
pub struct Frame<'a> {
    buf: &'a mut [u8],
    len: usize,
}

impl<'a> Frame<'a> {
    /// A frame of `len` bytes at the start of `buf`. A `len` beyond the buffer is cut to it.
    #[inline]
    pub fn new(buf: &'a mut [u8], len: usize) -> Self {
        let len = len.min(buf.len());
        Self { buf, len }
    }

    /// A frame that fills `buf`, with no room to grow.
    #[inline]
    pub fn whole(buf: &'a mut [u8]) -> Self {
        let len = buf.len();
        Self { buf, len }
    }

    /// The frame's bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.buf[..self.len]
    }

    /// The frame's bytes, to be rewritten in place.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buf[..self.len]
    }

    /// The whole slot, including the room behind the frame.
    #[inline]
    pub fn buffer(&self) -> &[u8] {
        self.buf
    }

    /// The whole slot, to be written.
    #[inline]
    pub fn buffer_mut(&mut self) -> &mut [u8] {
        self.buf
    }

    /// The slot's size in bytes.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.buf.len()
    }

    /// The frame's length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True for a frame of no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Changes the length; bytes gained keep what the slot held. False, and nothing changed, if `len` is beyond the slot.
    #[inline]
    pub fn resize(&mut self, len: usize) -> bool {
        let fits = len <= self.buf.len();
        if fits {
            self.len = len;
        }
        fits
    }
}
