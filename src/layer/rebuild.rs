//! From a tar-split and a tree to the tar they came from, bit for bit.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{self, SyncSender};
use std::thread;

use rustix::fs::FileType;
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::crc64::Crc64;
use super::dirs::Dirs;
use super::error::lossy;
use super::name::TreePath;
use super::room::{Buffered, Room};
use super::tarsplit::{Item, Reader};
use super::{Error, Limits, Result};
use crate::image::DiffId;
use crate::sys::{Cancel, tree};

/// A tar that was given out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// Its digest.
    pub diff_id: DiffId,
    /// Its length in bytes.
    pub size: u64,
}

/// Batches between finding and reading.
const BATCHES: usize = 3;
/// Files that one batch has open.
const BATCH_FILES: usize = 32;
/// Bytes of segments after which a batch is passed on.
const BATCH_BYTES: usize = 64 << 10;

/// As [`rebuild`], and tells the digest of what was written, for the caller to compare.
///
/// # Errors
/// The same.
pub fn rebuild_hashed(
    tar_split: impl Read + Send,
    roots: &[OwnedFd],
    out: impl Write,
    cancel: &Cancel,
) -> Result<Rebuilt> {
    let mut out = Hashed { out, hash: Sha256::new() };
    let size = rebuild(tar_split, roots, &mut out, cancel)?;
    Ok(Rebuilt { diff_id: DiffId::from_sha256(out.hash.finalize().into()), size })
}

/// Writes the tar whose tar-split is in `tar_split` and whose files are in the first of `roots` that
/// has them; gives its length in bytes. Each file must still be what it was, by the checksum that the
/// tar-split has of it; the tar-split has one of itself.
///
/// One thread finds out what comes next and opens the files, another reads and writes them.
///
/// # Errors
/// See [`Error`]. Part of the tar may have been written, which its receiver must not take for a whole.
pub fn rebuild(
    tar_split: impl Read + Send,
    roots: &[OwnedFd],
    out: impl Write,
    cancel: &Cancel,
) -> Result<u64> {
    let mut out = Buffered::new(out);
    let size = rebuild_into(tar_split, roots, &mut out, cancel)?;
    out.finish().map_err(Error::write)?;
    Ok(size)
}

/// As [`rebuild`], with content read to where it is needed.
///
/// # Errors
/// The same.
pub fn rebuild_into(
    tar_split: impl Read + Send,
    roots: &[OwnedFd],
    out: &mut impl Room,
    cancel: &Cancel,
) -> Result<u64> {
    let limits = Limits::default();
    let files = Files {
        roots: roots
            .iter()
            .map(|root| Dirs::new(root, limits.depth))
            .collect::<io::Result<_>>()
            .map_err(|error| Error::tree("opening", b".", error))?,
        limits,
    };
    thread::scope(|scope| {
        let mut out = Output { out, size: 0, cancel };
        let (found, batches) = mpsc::sync_channel(BATCHES);
        thread::Builder::new()
            .name("layer-find".into())
            .spawn_scoped(scope, move || find_all(Reader::new(tar_split), files, &found))?;
        loop {
            // Without the last one the thread has died, which must not look like the end.
            let batch = batches.recv().map_err(|_| Error::Thread)??;
            let mut bytes = batch.bytes.as_slice();
            for step in batch.steps {
                match step {
                    Step::Bytes(len) => {
                        let (now, later) = bytes.split_at(len.min(bytes.len()));
                        out.write(now)?;
                        bytes = later;
                    }
                    Step::File { file, name, size, crc } => out.copy(&file, &name, size, crc)?,
                }
            }
            if batch.is_last {
                break;
            }
        }
        Ok(out.size)
    })
}

/// What comes next in the tar.
#[derive(Default)]
struct Batch {
    /// The content of all segments.
    bytes: Vec<u8>,
    steps: Vec<Step>,
    files: usize,
    is_last: bool,
}

enum Step {
    /// So many more of the batch's bytes.
    Bytes(usize),
    /// The content of a file.
    File { file: File, name: Vec<u8>, size: u64, crc: [u8; 8] },
}

/// Finds everything, to its end or to the first error. Ends early when nobody wants it any more.
fn find_all(mut items: Reader<impl Read>, mut files: Files, found: &SyncSender<Result<Batch>>) {
    loop {
        let mut batch = Batch::default();
        let filled = batch.fill(&mut items, &mut files);
        let is_last = batch.is_last || filled.is_err();
        // What comes before an error is as good as if there was none.
        let gone = found.send(Ok(batch)).is_err();
        if let Err(error) = filled {
            let _ = found.send(Err(error));
        }
        if gone || is_last {
            return;
        }
    }
}

impl Batch {
    fn fill(&mut self, items: &mut Reader<impl Read>, files: &mut Files) -> Result<()> {
        while self.files < BATCH_FILES && self.bytes.len() < BATCH_BYTES {
            match items.next_item()? {
                None => {
                    self.is_last = true;
                    return Ok(());
                }
                Some(Item::Segment(bytes)) => {
                    self.bytes.extend_from_slice(bytes);
                    match self.steps.last_mut() {
                        Some(Step::Bytes(len)) => *len += bytes.len(),
                        _ => self.steps.push(Step::Bytes(bytes.len())),
                    }
                }
                Some(Item::Entry) => {}
                Some(Item::File { name, size, crc }) => {
                    let file = files.open(&name, size)?;
                    self.files += 1;
                    self.steps.push(Step::File { file, name: name.into_owned(), size, crc });
                }
            }
        }
        Ok(())
    }
}

/// The trees files are looked up in.
struct Files {
    roots: Vec<Dirs>,
    limits: Limits,
}

impl Files {
    fn open(&mut self, name: &[u8], size: u64) -> Result<File> {
        let missing = || Error::Missing { name: lossy(name) };
        let path = TreePath::parse(name, &self.limits)?.ok_or_else(missing)?;
        for root in &mut self.roots {
            let opened =
                root.open(path.parent()).and_then(|dir| tree::open_file(&dir, path.leaf()));
            return match opened {
                Ok(file) => verify_kind(file, name, size),
                Err(error) if is_absent(&error) => continue,
                Err(error) => Err(Error::tree("opening", path.as_bytes(), error)),
            };
        }
        Err(missing())
    }
}

fn is_absent(error: &io::Error) -> bool {
    [Errno::NOENT, Errno::NOTDIR]
        .map(|errno| Some(errno.raw_os_error()))
        .contains(&error.raw_os_error())
}

fn verify_kind(file: OwnedFd, name: &[u8], size: u64) -> Result<File> {
    let stat = rustix::fs::fstat(&file)
        .map_err(|error| Error::tree("reading attributes of", name, error))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(changed(name, "not a regular file"));
    }
    if u64::try_from(stat.st_size) != Ok(size) {
        return Err(changed(name, "its size differs"));
    }
    Ok(file.into())
}

fn changed(name: &[u8], reason: &'static str) -> Error {
    Error::Changed { name: lossy(name), reason }
}

/// Hashes what is written.
struct Hashed<W> {
    out: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Where the tar goes.
struct Output<'a, R> {
    out: &'a mut R,
    size: u64,
    cancel: &'a Cancel,
}

impl<R: Room> Output<'_, R> {
    fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let room = self.room(bytes.len())?;
            let (now, later) = bytes.split_at(room.len());
            room.copy_from_slice(now);
            self.fill(now.len());
            bytes = later;
        }
        Ok(())
    }

    fn copy(&mut self, mut file: &File, name: &[u8], size: u64, crc: [u8; 8]) -> Result<()> {
        let mut actual = Crc64::new();
        let mut left = size;
        while left > 0 {
            let room = self.room(usize::try_from(left).unwrap_or(usize::MAX))?;
            let len = match file.read(room) {
                Ok(0) => return Err(changed(name, "it became shorter")),
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::tree("reading", name, error)),
            };
            actual.update(&room[..len]);
            self.fill(len);
            left -= len as u64;
        }
        if actual.finish() == crc { Ok(()) } else { Err(changed(name, "its checksum differs")) }
    }

    /// At least one byte, at most `max`, to be filled.
    fn room(&mut self, max: usize) -> Result<&mut [u8]> {
        self.cancel.check()?;
        let room = self.out.room().map_err(Error::write)?;
        let len = room.len().min(max);
        Ok(&mut room[..len])
    }

    fn fill(&mut self, len: usize) {
        self.out.fill(len);
        self.size += len as u64;
    }
}
