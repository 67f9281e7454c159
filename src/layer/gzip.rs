//! Gzip packing on all cores.
//!
//! The content is cut into blocks of one size, each packed on its own into a gzip member; members one
//! after the other are a gzip stream (RFC 1952, 2.2), which every reader of layers accepts. The same
//! content gives the same bytes, whatever the number of threads and however it was written; with ISA-L
//! on processors of one kind, and not always: about once in four thousand blocks another match was seen to
//! be chosen in pushes, which unpacks to the same. It could not be brought about outside of them.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::mem;
use std::num::NonZero;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use libdeflater::{CompressionLvl, Compressor};

/// Content per member. Blocks share no history; at this size that costs well under 1 %.
const BLOCK: usize = 1 << 20;

/// About the size that the tools written in Go get, in a fraction of their time: ISA-L's highest level,
/// or libdeflate's for half the time of zlib's default.
const LEVEL: i32 = if cfg!(feature = "isal") { 3 } else { 5 };
/// The best of zlib's levels, after which libdeflate's go on.
const BEST: i32 = 9;

/// Packs what is written to it and passes it on in order. At most two blocks per thread are under
/// way, some 4 MiB of memory for each thread.
///
/// [`finish`](Self::finish) must be called; without it the last blocks are lost.
pub struct GzipWriter<W: Write> {
    out: W,
    block: Vec<u8>,
    packers: Packers,
}

impl<W: Write> GzipWriter<W> {
    /// Packs on as many threads as the process may use. They are started when there is something to
    /// pack; writing fails if that is impossible.
    pub fn new(out: W) -> Self {
        Self::with_threads(out, thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN))
    }

    /// Packs on `threads` threads.
    pub fn with_threads(out: W, threads: NonZero<usize>) -> Self {
        Self { out, block: Vec::new(), packers: Packers::new(threads) }
    }

    /// The same, packing at one of zlib's levels: 0 stores, 1 is fastest, 9 packs best. Others count as
    /// the nearest of these.
    #[must_use]
    pub fn at_level(mut self, level: i32) -> Self {
        self.packers.level = level.clamp(0, BEST);
        self
    }

    /// Packs what is left and gives the output back, not flushed.
    ///
    /// # Errors
    /// Those of writing to the output.
    pub fn finish(mut self) -> io::Result<W> {
        // Even no content needs a member.
        if !self.block.is_empty() || !self.packers.were_used() {
            self.pack_block()?;
        }
        while let Some(member) = self.packers.next_member()? {
            self.out.write_all(&member)?;
        }
        Ok(self.out)
    }

    fn pack_block(&mut self) -> io::Result<()> {
        self.packers.submit(mem::take(&mut self.block))?;
        while self.packers.are_busy() {
            if let Some(member) = self.packers.next_member()? {
                self.out.write_all(&member)?;
            }
        }
        Ok(())
    }
}

impl<W: Write> Write for GzipWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.block.capacity() == 0 {
            self.block.reserve_exact(BLOCK);
        }
        let taken = buf.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&buf[..taken]);
        if self.block.len() == BLOCK {
            self.pack_block()?;
        }
        Ok(taken)
    }

    /// Flushes the output only: a block cut short here would change the bytes produced.
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> fmt::Debug for GzipWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GzipWriter").field("packers", &self.packers).finish_non_exhaustive()
    }
}

/// The threads. They end when this is dropped.
#[derive(Debug)]
struct Packers {
    wanted: NonZero<usize>,
    level: i32,
    threads: Vec<JoinHandle<()>>,
    /// `None` until the threads run, and to tell them to end.
    jobs: Option<Sender<Job>>,
    /// In the order of the blocks.
    results: VecDeque<Receiver<io::Result<Vec<u8>>>>,
}

#[derive(Debug)]
struct Job {
    content: Vec<u8>,
    result: Sender<io::Result<Vec<u8>>>,
}

impl Packers {
    fn new(wanted: NonZero<usize>) -> Self {
        let (threads, results) = (Vec::new(), VecDeque::new());
        Self { wanted, level: LEVEL, threads, jobs: None, results }
    }

    fn start(&mut self) -> io::Result<Sender<Job>> {
        let (jobs, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..self.wanted.get() {
            let (queue, level) = (Arc::clone(&queue), self.level);
            let thread = thread::Builder::new().name("gzip".into());
            self.threads.push(thread.spawn(move || pack_all(&queue, level))?);
        }
        Ok(jobs)
    }

    fn submit(&mut self, content: Vec<u8>) -> io::Result<()> {
        let jobs = match self.jobs.take() {
            Some(jobs) => jobs,
            None => self.start()?,
        };
        let (result, receiver) = channel();
        jobs.send(Job { content, result }).map_err(|_| threads_ended())?;
        self.jobs = Some(jobs);
        self.results.push_back(receiver);
        Ok(())
    }

    fn were_used(&self) -> bool {
        !self.threads.is_empty()
    }

    fn are_busy(&self) -> bool {
        self.results.len() >= 2 * self.wanted.get()
    }

    /// The next member in order; waits for it. `None` if nothing is under way.
    fn next_member(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.results
            .pop_front()
            .map(|result| result.recv().map_err(|_| threads_ended())?)
            .transpose()
    }
}

impl Drop for Packers {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A panic there was already seen as a missing result.
            let _ = thread.join();
        }
    }
}

fn threads_ended() -> io::Error {
    io::Error::other("packing thread ended early")
}

/// Where a block is looked at to see whether it can be packed at all.
const SAMPLES: usize = 8;
/// Length of each place, bytes.
const SAMPLE: usize = 4 << 10;

/// Packs blocks. What is packed already, as archives and pictures are, is only stored, which costs a
/// fraction of finding out at every byte that there is nothing to be had.
struct Packer {
    packing: Deflate,
    trying: Compressor,
    storing: Compressor,
}

/// What packs a block that gets smaller.
enum Deflate {
    Anywhere(Compressor),
    #[cfg(feature = "isal")]
    Here(crate::sys::isal::Deflate),
}

impl Deflate {
    /// At one of zlib's levels, by the fastest that there is for it.
    fn new(level: i32) -> Self {
        #[cfg(feature = "isal")]
        {
            use crate::sys::isal::{self, Effort};
            match level {
                1 | 2 => return Self::Here(isal::Deflate::new(Effort::Low)),
                3 | 4 => return Self::Here(isal::Deflate::new(Effort::High)),
                _ => {}
            }
        }
        Self::Anywhere(compressor(level))
    }

    fn member(&mut self, content: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Anywhere(compressor) => member(compressor, content),
            #[cfg(feature = "isal")]
            Self::Here(deflate) => deflate
                .member(content)
                .ok_or_else(|| io::Error::other("a block was too long to be packed")),
        }
    }
}

fn compressor(level: i32) -> Compressor {
    Compressor::new(CompressionLvl::new(level).unwrap_or_default())
}

fn member(compressor: &mut Compressor, content: &[u8]) -> io::Result<Vec<u8>> {
    let mut member = vec![0; compressor.gzip_compress_bound(content.len())];
    let len = compressor.gzip_compress(content, &mut member).map_err(io::Error::other)?;
    member.truncate(len);
    Ok(member)
}

impl Packer {
    fn new(level: i32) -> Self {
        Self { packing: Deflate::new(level), trying: compressor(1), storing: compressor(0) }
    }

    fn pack(&mut self, content: &[u8]) -> io::Result<Vec<u8>> {
        if self.is_dense(content) {
            member(&mut self.storing, content)
        } else {
            self.packing.member(content)
        }
    }

    /// Whether nothing in `content` seems to get smaller. Depends on the content only.
    fn is_dense(&mut self, content: &[u8]) -> bool {
        // Of less there is nothing to be gained.
        if content.len() < BLOCK / 2 {
            return false;
        }
        let mut out = [0; SAMPLE];
        let step = content.len() / SAMPLES;
        content.chunks(step).take(SAMPLES).all(|part| {
            let sample = &part[..part.len().min(SAMPLE)];
            // It is dense if it does not fit into a little less than its own length.
            let room = sample.len() - sample.len() / 32;
            self.trying.deflate_compress(sample, &mut out[..room]).is_err()
        })
    }
}

fn pack_all(queue: &Mutex<Receiver<Job>>, level: i32) {
    let mut packer = Packer::new(level);
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { content, result }) = job else { return };
        // The receiver is gone only when the writer was given up.
        let _ = result.send(packer.pack(&content));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::layer::Decoder;

    fn packed(content: &[u8], threads: usize, step: usize) -> Vec<u8> {
        let mut writer = GzipWriter::with_threads(Vec::new(), NonZero::new(threads).unwrap());
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
            let mut writer =
                GzipWriter::with_threads(Vec::new(), NonZero::<usize>::MIN).at_level(level);
            writer.write_all(&content).unwrap();
            writer.finish().unwrap().len()
        });
        assert_eq!((sizes[0], sizes[3]), (sizes[1], sizes[4]));
        assert!(sizes[1] > sizes[2] && sizes[2] > sizes[3], "{sizes:?}");
    }

    #[test]
    fn what_is_packed_already_is_stored() {
        let mut state = 1_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56).to_le_bytes()[0]
        };
        let dense: Vec<u8> = (0..BLOCK).map(|_| random()).collect();
        let mixed: Vec<u8> =
            (0..BLOCK).map(|at| if at < BLOCK / 2 { random() } else { b'x' }).collect();
        let mut packer = Packer::new(LEVEL);
        assert!(packer.is_dense(&dense));
        assert!(!packer.is_dense(&mixed) && !packer.is_dense(&vec![0; BLOCK]));
        assert!(!packer.is_dense(&[]) && !packer.is_dense(&dense[..1000]));
        for content in [dense, mixed] {
            let bytes = packed(&content, 1, BLOCK);
            assert!(bytes.len() < content.len() + 200);
            let mut unpacked = Vec::new();
            Decoder::new(&bytes[..]).unwrap().read_to_end(&mut unpacked).unwrap();
            assert!(unpacked == content);
        }
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
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
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
