//! Where a tar goes: memory that its receiver lends, so that content is read to where it is needed.

use std::io::{self, Write};

/// Length of the pieces that [`Buffered`] writes, bytes.
const BUFFER: usize = 256 << 10;

/// Takes bytes in memory of its own.
pub trait Room {
    /// Where the next bytes go, at least one. There may be others from before, which do not count.
    ///
    /// # Errors
    /// If what was filled before cannot be passed on.
    fn room(&mut self) -> io::Result<&mut [u8]>;

    /// Takes the first `len` bytes of what [`room`](Self::room) gave last.
    fn fill(&mut self, len: usize);
}

/// Room in front of a writer, which gets large pieces.
pub(super) struct Buffered<W> {
    out: W,
    buffer: Vec<u8>,
    filled: usize,
}

impl<W: Write> Buffered<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, buffer: vec![0; BUFFER], filled: 0 }
    }

    /// Writes what is left, and flushes.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.pass_on()?;
        self.out.flush()
    }

    fn pass_on(&mut self) -> io::Result<()> {
        self.out.write_all(&self.buffer[..self.filled])?;
        self.filled = 0;
        Ok(())
    }
}

impl<W: Write> Room for Buffered<W> {
    fn room(&mut self) -> io::Result<&mut [u8]> {
        if self.filled == self.buffer.len() {
            self.pass_on()?;
        }
        Ok(&mut self.buffer[self.filled..])
    }

    fn fill(&mut self, len: usize) {
        self.filled = self.buffer.len().min(self.filled + len);
    }
}
