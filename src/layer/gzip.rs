//! Gzip packing on all cores.
//!
//! The content is cut into blocks of one size, each packed on its own into a gzip member; members one
//! after the other are a gzip stream (RFC 1952, 2.2), which every reader of layers accepts. The same
//! content gives the same bytes, whatever the number of threads and however it was written; with ISA-L
//! on processors of one kind, and not always: about once in four thousand blocks another match was seen to
//! be chosen in pushes, which unpacks to the same. It could not be brought about outside of them.

mod packer;
mod threads;

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::mem;
use std::sync::Arc;

use super::room::Room;
use threads::{Threads, UnderWay};

/// Content per member. Blocks share no history; at this size that costs well under 1 %.
const BLOCK: usize = 1 << 20;

/// About the size that the tools written in Go get, in a fraction of their time: ISA-L's highest level,
/// or libdeflate's for half the time of zlib's default.
const LEVEL: i32 = if cfg!(feature = "isal") { 3 } else { 5 };
/// The best of zlib's levels, after which libdeflate's go on.
const BEST: i32 = 9;

/// Takes the members of a gzip stream, in order.
pub trait Members {
    /// Takes the next one.
    ///
    /// # Errors
    /// If it cannot be passed on. There will be no other then.
    fn take(&mut self, member: Vec<u8>) -> io::Result<()>;
}

impl Members for Vec<u8> {
    fn take(&mut self, member: Vec<u8>) -> io::Result<()> {
        self.extend_from_slice(&member);
        Ok(())
    }
}

/// Packs what is written to it and passes it on in order. Some blocks are under way at a time, each with
/// up to 2 MiB of memory: two for each thread, at most [`Threads::AHEAD`].
///
/// [`finish`](Self::finish) must be called; without it the last blocks are lost.
pub struct GzipWriter<M> {
    out: M,
    level: i32,
    /// What is being filled: nothing, or [`BLOCK`] bytes of which so many count.
    block: Vec<u8>,
    filled: usize,
    threads: Arc<Threads>,
    /// In the order of the blocks.
    under_way: VecDeque<UnderWay>,
    /// Blocks to be filled again.
    spare: Vec<Vec<u8>>,
    is_empty: bool,
}

impl<M: Members> GzipWriter<M> {
    /// Packs on threads that all writers of the process share, as many as it may use processors. They
    /// are started when there is something to pack; writing fails if that is impossible.
    pub fn new(out: M) -> Self {
        Self::on(Threads::shared(), out)
    }

    fn on(threads: Arc<Threads>, out: M) -> Self {
        Self {
            out,
            level: LEVEL,
            block: Vec::new(),
            filled: 0,
            threads,
            under_way: VecDeque::new(),
            spare: Vec::new(),
            is_empty: true,
        }
    }

    /// The same, packing at one of zlib's levels: 0 stores, 1 is fastest, 9 packs best. Others count as
    /// the nearest of these.
    #[must_use]
    pub fn at_level(mut self, level: i32) -> Self {
        self.level = level.clamp(0, BEST);
        self
    }

    /// Packs what is left and gives the output back.
    ///
    /// # Errors
    /// Those of writing to the output.
    pub fn finish(mut self) -> io::Result<M> {
        // Even no content needs a member.
        if self.filled > 0 || self.is_empty {
            self.pack_block()?;
        }
        while self.write_member()? {}
        Ok(self.out)
    }

    fn pack_block(&mut self) -> io::Result<()> {
        let mut content = mem::take(&mut self.block);
        content.truncate(mem::take(&mut self.filled));
        self.is_empty = false;
        self.under_way.push_back(self.threads.pack(content, self.level)?);
        while self.under_way.len() >= self.threads.ahead() {
            self.write_member()?;
        }
        Ok(())
    }

    /// Writes the next member, once it is packed; tells whether there was one under way.
    fn write_member(&mut self) -> io::Result<bool> {
        let Some(next) = self.under_way.pop_front() else { return Ok(false) };
        let (content, member) = next.wait()?;
        if content.len() == BLOCK {
            self.spare.push(content);
        }
        self.out.take(member)?;
        Ok(true)
    }
}

impl<M: Members> Room for GzipWriter<M> {
    fn room(&mut self) -> io::Result<&mut [u8]> {
        if self.filled == BLOCK {
            self.pack_block()?;
        }
        if self.block.is_empty() {
            self.block = self.spare.pop().unwrap_or_else(|| vec![0; BLOCK]);
        }
        Ok(&mut self.block[self.filled..])
    }

    fn fill(&mut self, len: usize) {
        self.filled = BLOCK.min(self.filled + len);
    }
}

impl<M: Members> Write for GzipWriter<M> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let room = self.room()?;
        let len = buf.len().min(room.len());
        room[..len].copy_from_slice(&buf[..len]);
        self.fill(len);
        Ok(len)
    }

    /// Does nothing: a block cut short here would change the bytes produced.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<M> fmt::Debug for GzipWriter<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GzipWriter").field("threads", &self.threads).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::layer::Decoder;

    fn packed(content: &[u8], threads: usize, step: usize) -> Vec<u8> {
        let mut writer = GzipWriter::on(Threads::new(threads), Vec::new());
        for part in content.chunks(step) {
            writer.write_all(part).unwrap();
            writer.flush().unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn same_content_gives_same_bytes() {
        let content: Vec<u8> =
            (0..5 * BLOCK / 8 + 1000).flat_map(|n| (n * 7 % 1009).to_le_bytes()).collect();
        let one = packed(&content, 1, content.len());
        assert!(one == packed(&content, 3, 70_001));
        let mut unpacked = Vec::new();
        Decoder::new(&one[..]).unwrap().read_to_end(&mut unpacked).unwrap();
        assert!(unpacked == content);
    }

    #[test]
    fn levels() {
        let content: Vec<u8> =
            (0..BLOCK / 8).flat_map(|n| (n * n % 1_000_003).to_le_bytes()).collect();
        let sizes = [-3, 0, 1, 9, 99].map(|level| {
            let mut writer = GzipWriter::new(Vec::new()).at_level(level);
            writer.write_all(&content).unwrap();
            writer.finish().unwrap().len()
        });
        assert_eq!((sizes[0], sizes[3]), (sizes[1], sizes[4]));
        assert!(sizes[1] > sizes[2] && sizes[2] > sizes[3], "{sizes:?}");
    }

    #[test]
    fn whole_blocks_and_nothing() {
        for (len, members) in [(0, 1), (1, 1), (BLOCK, 1), (BLOCK + 1, 2), (2 * BLOCK, 2)] {
            let bytes = packed(&vec![0; len], 2, BLOCK);
            let mut unpacked = Vec::new();
            Decoder::new(&bytes[..]).unwrap().read_to_end(&mut unpacked).unwrap();
            assert_eq!(unpacked.len(), len);
            let starts = bytes.windows(4).filter(|w| *w == [0x1f, 0x8b, 8, 0]).count();
            assert_eq!(starts, members, "{len}");
        }
    }

    #[test]
    fn errors_of_the_output_surface() {
        struct Full;
        impl Members for Full {
            fn take(&mut self, _: Vec<u8>) -> io::Result<()> {
                Err(io::ErrorKind::StorageFull.into())
            }
        }
        let mut writer = GzipWriter::new(Full);
        let error = writer
            .write_all(&vec![1; 20 * BLOCK])
            .and_then(|()| writer.finish().map(drop))
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
