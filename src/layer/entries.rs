//! Reading a tar: entries with all extension headers applied, one after the other.
//!
//! Go's `archive/tar` decides what a stream means (see [`header`](super::header)). Besides entries this
//! gives out the bytes between payloads as they were, which is what a tar-split keeps. Payloads are
//! physical: for sparse files that is a map or regions, not the file's content.

use std::fmt;
use std::io::{self, BufReader, Read};
use std::ops::Deref;
use std::str;

use super::header::{BLOCK, RawHeader, Reason, text};
use super::pax::{self, Records};
use super::sparse::{self, SparseFile};
use super::{Error, Limits, Result};

/// Bytes taken from the input at a time.
const BUFFER: usize = 256 << 10;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryKind {
    /// A regular file; its content is the payload.
    Regular,
    /// A regular file whose payload only holds part of its content.
    Sparse(SparseFile),
    /// A directory.
    Directory,
    /// A symbolic link to [`Entry::link`].
    Symlink,
    /// Another name for the file [`Entry::link`].
    HardLink,
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// Anything else, by its type byte. It may have a payload.
    Other(u8),
}

/// A time with nanoseconds, as in `struct timespec`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time {
    /// Seconds since the epoch; negative before.
    pub seconds: i64,
    /// Nanoseconds that are added, below one second.
    pub nanos: u32,
}

/// One entry of a tar, with extension headers applied.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// As in the tar: not cleaned, any bytes but NUL.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Length of the payload in bytes; 0 for kinds that have none.
    pub size: u64,
    /// Target of links, as in the tar.
    pub link: Vec<u8>,
    /// Permission bits with setuid, setgid and sticky; no type.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// When the content was changed.
    pub mtime: Time,
    /// When it was last read, if the tar says so.
    pub atime: Option<Time>,
    /// Extended attributes, each name once.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Reads a tar from `R`, which need not be buffered.
pub struct TarReader<R> {
    input: BufReader<R>,
    limits: Limits,
    /// Position in the stream, for messages.
    offset: u64,
    /// What is left of the current payload.
    payload: u64,
    /// Zeros behind the current payload.
    padding: usize,
    raw: Vec<u8>,
    finished: bool,
}

impl<R: Read> TarReader<R> {
    /// A reader at the beginning of a tar, with the default limits.
    pub fn new(input: R) -> Self {
        Self::with_limits(input, Limits::default())
    }

    /// A reader at the beginning of a tar. Of `limits` those on single entries count.
    pub fn with_limits(input: R, limits: Limits) -> Self {
        Self {
            input: BufReader::with_capacity(BUFFER, input),
            limits,
            offset: 0,
            payload: 0,
            padding: 0,
            raw: Vec::new(),
            finished: false,
        }
    }

    /// The next entry; what is left of the payload of the one before is skipped. `None` at the end
    /// of the archive: two blocks of zeros, or, as Go has it, the end of the stream between entries.
    ///
    /// # Errors
    /// Whatever makes it impossible to go on; asking again is then useless.
    pub fn next_entry(&mut self) -> Result<Option<TarEntry<'_, R>>> {
        self.raw.clear();
        self.skip_payload()?;
        self.read_padding()?;
        if self.finished {
            return Ok(None);
        }
        let mut records = Records::default();
        let mut long_name = Vec::new();
        let mut long_link = Vec::new();
        loop {
            let Some(header) = self.read_header()? else {
                self.finished = true;
                return Ok(None);
            };
            match header.type_byte {
                b'x' => records = self.read_records(&header)?,
                // Global records are not applied, but have to be well-formed.
                b'g' => drop(self.read_records(&header)?),
                b'L' => long_name = self.read_long(&header)?,
                b'K' => long_link = self.read_long(&header)?,
                // Its map goes on in further header blocks, so nothing behind it can be read either.
                b'S' => return Err(Error::UnhandledType(b'S')),
                _ => {
                    let mut entry = self.entry(header, records)?;
                    if !long_name.is_empty() {
                        entry.name = long_name;
                    }
                    if !long_link.is_empty() {
                        entry.link = long_link;
                    }
                    self.finish_entry(&mut entry)?;
                    return Ok(Some(TarEntry { entry, tar: self }));
                }
            }
        }
    }

    /// See [`TarEntry::raw`]; after the last entry, its padding and the end blocks.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// What follows the end of the archive, to be read after [`next_entry`](Self::next_entry) gave
    /// `None`.
    pub fn rest(&mut self) -> &mut BufReader<R> {
        &mut self.input
    }

    /// The input. Its next bytes may be buffered here and lost, unless [`rest`](Self::rest) was read
    /// to its end.
    pub fn into_inner(self) -> R {
        self.input.into_inner()
    }

    fn entry(&mut self, header: RawHeader, records: Records) -> Result<Entry> {
        let id = |value: i64| match u32::try_from(value) {
            // The last one means "leave as it is" to the kernel.
            Ok(id) if id != u32::MAX => Ok(id),
            _ => Err(self.invalid("owner out of range")),
        };
        let device = |value| u32::try_from(value).map_err(|_| self.invalid("bad device number"));
        let mut entry = Entry {
            name: records.path.unwrap_or(header.name),
            kind: EntryKind::Regular,
            size: 0,
            link: records.link.unwrap_or(header.link),
            // The mask leaves nothing that does not fit.
            mode: u32::try_from(header.mode & 0o7777).unwrap_or_default(),
            uid: id(records.uid.unwrap_or(header.uid))?,
            gid: id(records.gid.unwrap_or(header.gid))?,
            mtime: records.mtime.unwrap_or(Time { seconds: header.mtime, nanos: 0 }),
            atime: records.atime.or(header.atime.map(|seconds| Time { seconds, nanos: 0 })),
            xattrs: records.xattrs,
        };
        entry.kind = match header.type_byte {
            0 | b'0' => match sparse::from_records(&records.sparse, &self.limits)
                .map_err(|reason| self.invalid(reason))?
            {
                Some(file) => {
                    // The other one names a directory of GNU tar's invention.
                    if !records.sparse.name.is_empty() {
                        entry.name = records.sparse.name;
                    }
                    EntryKind::Sparse(file)
                }
                // Decided when the name is final.
                None if header.type_byte == 0 => EntryKind::Other(0),
                None => EntryKind::Regular,
            },
            b'1' => EntryKind::HardLink,
            b'2' => EntryKind::Symlink,
            b'3' => {
                EntryKind::CharDevice { major: device(header.major)?, minor: device(header.minor)? }
            }
            b'4' => EntryKind::BlockDevice {
                major: device(header.major)?,
                minor: device(header.minor)?,
            },
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            other => EntryKind::Other(other),
        };
        entry.size = u64::try_from(records.size.unwrap_or(header.size))
            .map_err(|_| self.invalid("negative size"))?;
        Ok(entry)
    }

    /// What depends on the final name, and the payload.
    fn finish_entry(&mut self, entry: &mut Entry) -> Result<()> {
        for text in [&entry.name, &entry.link] {
            if text.len() > self.limits.name {
                return Err(limit("bytes in one name", self.limits.name));
            }
        }
        if entry.kind == EntryKind::Other(0) {
            // Before POSIX, a slash was all that made a directory.
            let is_directory = entry.name.ends_with(b"/");
            entry.kind = if is_directory { EntryKind::Directory } else { EntryKind::Regular };
        }
        if !matches!(entry.kind, EntryKind::Regular | EntryKind::Sparse(_) | EntryKind::Other(_)) {
            entry.size = 0;
        }
        self.begin_payload(entry.size)
    }

    fn begin_payload(&mut self, size: u64) -> Result<()> {
        // No stream is that long, and sums with less cannot overflow.
        if size > i64::MAX.cast_unsigned() - self.offset {
            return Err(self.invalid("size out of range"));
        }
        self.payload = size;
        self.padding = padding(size);
        Ok(())
    }

    fn read_records(&mut self, header: &RawHeader) -> Result<Records> {
        let content = self.read_extension(header)?;
        pax::parse(&content, &self.limits).map_err(|error| match error {
            pax::Error::Invalid(reason) => self.invalid(reason),
            pax::Error::Limit(what, allowed) => limit(what, allowed),
        })
    }

    fn read_long(&mut self, header: &RawHeader) -> Result<Vec<u8>> {
        let content = self.read_extension(header)?;
        Ok(text(&content).to_vec())
    }

    /// The content of an extension header, which becomes part of the raw bytes with its padding.
    fn read_extension(&mut self, header: &RawHeader) -> Result<Vec<u8>> {
        let len = usize::try_from(header.size).map_err(|_| self.invalid("negative size"))?;
        if len > self.limits.extension {
            return Err(limit("bytes in one extension header", self.limits.extension));
        }
        let mut content = vec![0; len];
        self.fill(&mut content)?;
        self.raw.extend_from_slice(&content);
        self.padding = padding(len as u64);
        self.read_padding()?;
        if self.raw.len() > self.limits.extensions {
            return Err(limit("bytes of extension headers", self.limits.extensions));
        }
        Ok(content)
    }

    /// The next header; `None` at the end.
    fn read_header(&mut self) -> Result<Option<RawHeader>> {
        let Some(block) = self.read_block()? else { return Ok(None) };
        if block != [0; BLOCK] {
            return RawHeader::parse(&block)
                .map(Some)
                .map_err(|reason| Error::Invalid { offset: self.offset - BLOCK as u64, reason });
        }
        match self.read_block()? {
            Some(block) if block != [0; BLOCK] => Err(self.invalid("lone block of zeros")),
            _ => Ok(None),
        }
    }

    /// A whole block, or `None` if the stream ends here.
    fn read_block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        match self.fill_some(&mut block)? {
            0 => Ok(None),
            BLOCK => {
                self.raw.extend_from_slice(&block);
                Ok(Some(block))
            }
            _ => Err(Error::Truncated),
        }
    }

    /// The zeros behind a payload, which may be missing at the very end of a stream, as for Go.
    fn read_padding(&mut self) -> Result<()> {
        let mut block = [0; BLOCK];
        let Some(padding) = block.get_mut(..self.padding) else { return Ok(()) };
        let len = self.fill_some(padding)?;
        self.raw.extend(block.iter().take(len));
        self.padding = 0;
        Ok(())
    }

    fn skip_payload(&mut self) -> Result<()> {
        if self.payload > 0 {
            io::copy(&mut Payload(self), &mut io::sink())?;
        }
        Ok(())
    }

    fn read_payload(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.payload).unwrap_or(usize::MAX).min(buf.len());
        let len = self.input.read(buf.get_mut(..wanted).unwrap_or_default())?;
        if len == 0 && wanted != 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.payload -= len as u64;
        self.offset += len as u64;
        Ok(len)
    }

    fn fill(&mut self, buf: &mut [u8]) -> Result<()> {
        if self.fill_some(buf)? == buf.len() { Ok(()) } else { Err(Error::Truncated) }
    }

    /// Fills as much of `buf` as the stream still has.
    fn fill_some(&mut self, buf: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while let Some(rest @ [_, ..]) = buf.get_mut(filled..) {
            match self.input.read(rest) {
                Ok(0) => break,
                Ok(len) => filled += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.offset += filled as u64;
        Ok(filled)
    }

    fn invalid(&self, reason: Reason) -> Error {
        Error::Invalid { offset: self.offset, reason }
    }
}

impl<R> fmt::Debug for TarReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TarReader")
            .field("offset", &self.offset)
            .field("payload", &self.payload)
            .finish_non_exhaustive()
    }
}

/// An entry and its payload: dereferences to [`Entry`], and reads what is left of the payload. A stream
/// that ends before the payload is an error ([`io::ErrorKind::UnexpectedEof`]).
#[derive(Debug)]
pub struct TarEntry<'a, R> {
    entry: Entry,
    tar: &'a mut TarReader<R>,
}

impl<R> TarEntry<'_, R> {
    /// Every byte of the stream between the payload of the entry before and this one's: padding,
    /// extension headers and header.
    pub fn raw(&self) -> &[u8] {
        &self.tar.raw
    }
}

impl<R> Deref for TarEntry<'_, R> {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.entry
    }
}

impl<R: Read> Read for TarEntry<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.tar.read_payload(buf)
    }
}

struct Payload<'a, R>(&'a mut TarReader<R>);

impl<R: Read> Read for Payload<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_payload(buf)
    }
}

impl Entry {
    /// The name, if it is text.
    pub fn name_str(&self) -> Option<&str> {
        str::from_utf8(&self.name).ok()
    }

    /// The target of a link, if it is text.
    pub fn link_str(&self) -> Option<&str> {
        str::from_utf8(&self.link).ok()
    }
}

fn padding(size: u64) -> usize {
    // The remainder is below a block's size.
    usize::try_from(size % BLOCK as u64).map_or(0, |used| (BLOCK - used) % BLOCK)
}

fn limit(what: &'static str, limit: usize) -> Error {
    Error::Limit { what, limit: limit as u64 }
}
