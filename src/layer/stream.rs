//! Readers around a layer's stream: one that hashes, one that receives from another thread, one that
//! keeps what passes in the tar-split.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender};

use sha2::{Digest as _, Sha256};

use super::tarsplit::Writer;
use super::{Compression, Decoder, Error, Expansion, Result};
use crate::sys::Cancel;

/// Bytes handed over at a time.
pub(super) const CHUNK: usize = 256 << 10;

/// Hashes and counts what is read, until told to stop or there is too much of it.
pub(super) struct Hashing<'a, R> {
    input: R,
    hash: Sha256,
    size: u64,
    limit: u64,
    cancel: &'a Cancel,
}

/// A stream's length and digest.
#[derive(Debug, Clone)]
pub(super) struct Hashed {
    pub(super) sha256: [u8; 32],
    pub(super) size: u64,
}

impl<'a, R> Hashing<'a, R> {
    pub(super) fn new(input: R, cancel: &'a Cancel) -> Self {
        Self { input, hash: Sha256::new(), size: 0, limit: u64::MAX, cancel }
    }

    /// The same of at most `limit` bytes of a tar.
    pub(super) fn at_most(mut self, limit: u64) -> Self {
        self.limit = limit;
        self
    }

    pub(super) fn finish(self) -> Hashed {
        Hashed { sha256: self.hash.finalize().into(), size: self.size }
    }
}

impl<R: Read> Read for Hashing<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.cancel.check()?;
        let len = self.input.read(buf)?;
        self.hash.update(buf.get(..len).unwrap_or_default());
        self.size += len as u64;
        if self.size > self.limit {
            return Err(Error::Limit { what: "bytes", limit: self.limit }.into());
        }
        Ok(len)
    }
}

/// Decompresses all of `input` into a channel, an empty chunk at its end. Ends early when the receiver
/// is gone. Gives the input back.
pub(super) fn decompress<R: Read>(
    (compression, expansion): (Compression, Expansion),
    input: R,
    chunks: &SyncSender<io::Result<Vec<u8>>>,
) -> Result<R> {
    let mut decoder = Decoder::of(compression, input)?.with_expansion(expansion);
    loop {
        let mut chunk = vec![0; CHUNK];
        let filled = fill(&mut decoder, &mut chunk).map(|len| {
            chunk.truncate(len);
            chunk
        });
        let is_last = !matches!(&filled, Ok(chunk) if !chunk.is_empty());
        if chunks.send(filled).is_err() || is_last {
            return Ok(decoder.into_inner());
        }
    }
}

/// Reads until `buf` is full or the input ends.
fn fill(input: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest @ [_, ..]) = buf.get_mut(filled..) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(len) => filled += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The other end of [`decompress`].
pub(super) struct Chunks {
    chunks: Receiver<io::Result<Vec<u8>>>,
    current: io::Cursor<Vec<u8>>,
    finished: bool,
}

impl Chunks {
    pub(super) fn new(chunks: Receiver<io::Result<Vec<u8>>>) -> Self {
        Self { chunks, current: io::Cursor::default(), finished: false }
    }
}

impl Read for Chunks {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let len = self.current.read(buf)?;
            if len > 0 || buf.is_empty() || self.finished {
                return Ok(len);
            }
            // Without an end the thread has died, which must not look like the end.
            let chunk = self.chunks.recv().map_err(|_| Error::Thread)??;
            self.finished = chunk.is_empty();
            self.current = io::Cursor::new(chunk);
        }
    }
}

/// Keeps what is read from `input` in a tar-split.
pub(super) struct Keeping<'a, R, W: Write> {
    pub(super) input: &'a mut R,
    pub(super) split: &'a mut Writer<W>,
}

impl<R: Read, W: Write> Read for Keeping<'_, R, W> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.input.read(buf)?;
        self.split.segment(buf.get(..len).unwrap_or_default())?;
        Ok(len)
    }
}
