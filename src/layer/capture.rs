//! From trees on disk to a layer: the tar of what a container has changed, or of all it sees, and in
//! the same pass everything that [`unpack`](super::unpack()) makes of a tar.
//!
//! The members are those that containers/storage would write: sorted, parents before what is in them,
//! deletions as whiteouts, the first name of a file as the file and its other names as links to it.
//! Sockets are left out. A container may be at work meanwhile: what vanishes is left out, and a file
//! that becomes shorter is an error, so that a layer is never damaged, only of no single moment.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{self, SyncSender};
use std::thread;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::error::lossy;
use super::header::BLOCK;
use super::stream::{CHUNK, Chunks};
use super::trees::{self, Presence, Stack, Trees};
use super::unpack::{CHUNKS_TO_READ, unpack_tar};
use super::write::{Kind, Member, padding};
use super::{Error, Result, UnpackOptions, Unpacked};
use crate::sys::{Cancel, tree};

/// What to make of trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capture {
    /// How the first tree differs from the others below it.
    Changes,
    /// All of them as one.
    Everything,
}

/// Owners on disk and in the tar: ranges of first number on disk, first number in the tar, length. No
/// range is no mapping.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnerMap {
    /// Of users.
    pub uids: Vec<(u32, u32, u32)>,
    /// Of groups.
    pub gids: Vec<(u32, u32, u32)>,
}

/// Makes a layer of `trees`, and unpacks it as [`unpack`](super::unpack()) does.
///
/// # Errors
/// See [`Error`]; among them [`Error::Redirected`], for trees that say with attributes of overlayfs
/// that something is elsewhere.
pub fn capture(
    trees: &Trees,
    what: Capture,
    owners: &OwnerMap,
    into: (&OwnedFd, impl Write + Send),
    options: &UnpackOptions,
    cancel: &Cancel,
) -> Result<Unpacked> {
    let (root, tar_split) = into;
    let (sender, receiver) = mpsc::sync_channel(CHUNKS_TO_READ);
    thread::scope(|scope| {
        let reading =
            thread::Builder::new().name("layer-read".into()).spawn_scoped(scope, || {
                let sender = sender;
                let mut walk = Walk {
                    trees,
                    what,
                    owners,
                    out: Out { chunk: Vec::with_capacity(CHUNK), sender: &sender, cancel },
                    links: HashMap::new(),
                };
                if let Err(error) = walk.run() {
                    // The receiver may be gone, by a failure of its own, which then counts.
                    drop(sender.send(Err(error.into())));
                }
            })?;
        let unpacked = unpack_tar(Chunks::new(receiver), root, tar_split, options, cancel);
        reading.join().map_err(|_| Error::Thread)?;
        unpacked
    })
}

/// The walk through the trees.
struct Walk<'a> {
    trees: &'a Trees,
    what: Capture,
    owners: &'a OwnerMap,
    out: Out<'a>,
    /// Files with several names: the first one, and how many are still to come.
    links: HashMap<(u64, u64), (Vec<u8>, u64)>,
}

/// A directory on the way.
struct Frame {
    path: Vec<u8>,
    left: std::collections::btree_map::IntoIter<Vec<u8>, Found>,
    /// The directories that entries are in, opened when needed, by their layers. Closed while
    /// directories further down are read, so that depth costs no descriptors.
    open: HashMap<usize, OwnedFd>,
}

enum Found {
    Entry { stat: Stat, layers: Stack, opaque: bool },
    Whiteout(Stat),
}

impl Walk<'_> {
    fn run(&mut self) -> Result<()> {
        let mut frames = vec![self.enter(Vec::new(), &(0..self.trees.len()).collect::<Stack>())?];
        while let Some(frame) = frames.last_mut() {
            self.out.cancel.check()?;
            let Some((name, found)) = frame.left.next() else {
                frames.pop();
                continue;
            };
            let child = |name: &[u8]| match &frame.path[..] {
                [] => name.to_vec(),
                path => [path, b"/", name].concat(),
            };
            let path = child(&name);
            match found {
                Found::Whiteout(stat) => {
                    let path = child(&[b".wh.", &name[..]].concat());
                    self.whiteout(&path, 0, &stat, stat.st_mtime)?;
                }
                Found::Entry { stat, layers, opaque } => {
                    let layer = layers.first().copied().unwrap_or_default();
                    let directory = match frame.open.entry(layer) {
                        std::collections::hash_map::Entry::Occupied(open) => open.into_mut(),
                        std::collections::hash_map::Entry::Vacant(place) => {
                            place.insert(self.trees.directory(layer, &frame.path)?)
                        }
                    };
                    if !self.entry(directory, &name, &path, &stat)? {
                        continue;
                    }
                    if trees::is_dir(&stat) {
                        if opaque && self.hides_something(&path)? {
                            let marker = [&path, &b"/.wh..wh..opq"[..]].concat();
                            self.whiteout(&marker, stat.st_mode & 0o777, &stat, 0)?;
                        }
                        frame.open.clear();
                        match self.enter(path, &layers) {
                            // It is gone again.
                            Err(Error::Tree { source, .. })
                                if source.kind() == io::ErrorKind::NotFound => {}
                            frame => frames.push(frame?),
                        }
                    }
                }
            }
        }
        self.out.write(&[0; 2 * BLOCK])?;
        self.out.finish()
    }

    fn enter(&self, path: Vec<u8>, layers: &[usize]) -> Result<Frame> {
        let mut left = BTreeMap::new();
        match self.what {
            Capture::Everything => {
                for (name, node) in self.trees.list(&path, layers)? {
                    let found =
                        Found::Entry { stat: node.stat, layers: node.layers, opaque: false };
                    left.insert(name, found);
                }
            }
            Capture::Changes => {
                let listing = self.trees.read(0, &path, true)?;
                for entry in listing.entries {
                    let (stat, opaque) = (entry.stat, entry.opaque);
                    left.insert(entry.name, Found::Entry { stat, layers: vec![0], opaque });
                }
                for (name, stat) in listing.whiteouts {
                    left.insert(name, Found::Whiteout(stat));
                }
            }
        }
        Ok(Frame { path, left: left.into_iter(), open: HashMap::new() })
    }

    /// Whether layers below have anything at the path of an opaque directory.
    fn hides_something(&self, path: &[u8]) -> Result<bool> {
        for layer in 1..self.trees.len() {
            match self.trees.presence(layer, path)? {
                Presence::Present => return Ok(true),
                Presence::Hidden => return Ok(false),
                Presence::Absent => {}
            }
        }
        Ok(false)
    }

    fn whiteout(&mut self, path: &[u8], mode: u32, stat: &Stat, mtime: i64) -> Result<()> {
        let (uid, gid) = (stat.st_uid, stat.st_gid);
        let member = Member {
            path,
            kind: Kind::File(0),
            mode,
            uid: mapped(&self.owners.uids, uid),
            gid: mapped(&self.owners.gids, gid),
            mtime,
            link: b"",
            device: (0, 0),
            xattrs: &[],
        };
        self.out.write(&member.headers())
    }

    /// Writes one entry; `false` if it has vanished, or cannot be in a tar.
    fn entry(
        &mut self,
        directory: &OwnedFd,
        name: &[u8],
        path: &[u8],
        stat: &Stat,
    ) -> Result<bool> {
        let failed =
            |operation: &'static str| move |error: io::Error| Error::tree(operation, path, error);
        let mut member = Member {
            path,
            kind: match Kind::of(stat, 0) {
                Some(kind) => kind,
                None => return Ok(false),
            },
            mode: stat.st_mode & 0o7777,
            uid: mapped(&self.owners.uids, stat.st_uid),
            gid: mapped(&self.owners.gids, stat.st_gid),
            mtime: stat.st_mtime,
            link: b"",
            device: (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)),
            xattrs: &[],
        };
        match member.kind {
            Kind::File(_) => self.file(directory, name, member),
            Kind::Directory => {
                let Some(fd) =
                    vanished(tree::open_dir(directory, name)).map_err(failed("opening"))?
                else {
                    return Ok(false);
                };
                let xattrs = xattrs(&fd, path)?;
                member.xattrs = &xattrs;
                self.out.write(&member.headers())?;
                Ok(true)
            }
            Kind::Symlink => {
                let target = rustix::fs::readlinkat(directory, name, Vec::new());
                let target = vanished(target.map_err(io::Error::from));
                let Some(target) = target.map_err(failed("reading the link"))? else {
                    return Ok(false);
                };
                member.link = target.as_bytes();
                self.linked(member, stat)
            }
            _ => self.linked(member, stat),
        }
    }

    /// Writes an entry without content, as a link if it was there under another name.
    fn linked(&mut self, member: Member<'_>, stat: &Stat) -> Result<bool> {
        let headers = match self.first_name(stat, member.path) {
            Some(first) => Member { kind: Kind::HardLink, link: &first, ..member }.headers(),
            None => member.headers(),
        };
        self.out.write(&headers)?;
        Ok(true)
    }

    fn file(&mut self, directory: &OwnedFd, name: &[u8], member: Member<'_>) -> Result<bool> {
        let path = member.path;
        let opened = vanished(tree::open_file(directory, name));
        let Some(fd) = opened.map_err(|error| Error::tree("opening", path, error))? else {
            return Ok(false);
        };
        // What was listed may have been replaced since.
        let stat = rustix::fs::fstat(&fd).map_err(|errno| Error::tree("examining", path, errno))?;
        if trees::file_type(&stat) != FileType::RegularFile {
            let reason = "it was replaced while it was read";
            return Err(Error::Changed { name: lossy(path), reason });
        }
        let attributes = xattrs(&fd, path)?;
        let member = Member {
            mode: stat.st_mode & 0o7777,
            uid: mapped(&self.owners.uids, stat.st_uid),
            gid: mapped(&self.owners.gids, stat.st_gid),
            mtime: stat.st_mtime,
            xattrs: &attributes,
            ..member
        };
        if let Some(first) = self.first_name(&stat, path) {
            let link = Member { kind: Kind::HardLink, link: &first, ..member };
            self.out.write(&link.headers())?;
            return Ok(true);
        }
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        self.out.write(&Member { kind: Kind::File(size), ..member }.headers())?;
        self.out.copy(&mut File::from(fd), size, path)?;
        self.out.write(&[0; BLOCK][..padding(size)])?;
        Ok(true)
    }

    /// The path under which this file was written before; else notes this one.
    fn first_name(&mut self, stat: &Stat, path: &[u8]) -> Option<Vec<u8>> {
        if stat.st_nlink < 2 {
            return None;
        }
        let inode = (stat.st_dev, stat.st_ino);
        if let Some((first, left)) = self.links.get_mut(&inode) {
            let first = first.clone();
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.links.remove(&inode);
            }
            return Some(first);
        }
        #[allow(clippy::useless_conversion, reason = "narrower on other architectures")]
        let left = u64::from(stat.st_nlink).saturating_sub(1);
        self.links.insert(inode, (path.to_vec(), left));
        None
    }
}

fn vanished<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn mapped(ranges: &[(u32, u32, u32)], id: u32) -> u32 {
    let range = ranges
        .iter()
        .find(|(disk, _, length)| id.checked_sub(*disk).is_some_and(|offset| offset < *length));
    range.map_or(id, |(disk, tar, _)| tar.wrapping_add(id.wrapping_sub(*disk)))
}

/// The attributes that belong into a layer: those of users, and capabilities.
///
/// # Errors
/// [`Error::Redirected`] for those with which overlayfs says that the content is elsewhere.
fn xattrs(fd: impl AsFd, path: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let failed = |errno: Errno| Error::tree("reading attributes of", path, errno);
    let names = match read_growing(|buffer| rustix::fs::flistxattr(&fd, buffer)) {
        Ok(names) => names,
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Err(errno) => return Err(failed(errno)),
    };
    let mut found = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let overlay = [&b"trusted.overlay."[..], b"user.overlay."];
        if let Some(key) = overlay.iter().find_map(|prefix| name.strip_prefix(*prefix)) {
            if matches!(key, b"redirect" | b"metacopy") {
                let attribute = lossy(name);
                return Err(Error::Redirected { name: lossy(path), attribute });
            }
            continue;
        }
        let kept =
            name.starts_with(b"user.") || matches!(name, b"security.capability" | b"security.ima");
        if !kept {
            continue;
        }
        match read_growing(|buffer| rustix::fs::fgetxattr(&fd, name, buffer)) {
            Ok(value) => found.push((name.to_vec(), value)),
            // It was removed since.
            Err(Errno::NODATA) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    // Names come in the order in which they were set.
    found.sort();
    Ok(found)
}

/// Calls `read` with a buffer that is large enough.
fn read_growing(read: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 256];
    loop {
        match read(&mut buffer[..]) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            // The kernel has no attribute and no list longer than this.
            Err(Errno::RANGE) if buffer.len() < 64 << 10 => buffer.resize(64 << 10, 0),
            Err(errno) => return Err(errno),
        }
    }
}

/// Hands bytes over in chunks, an empty one at the end.
struct Out<'a> {
    chunk: Vec<u8>,
    sender: &'a SyncSender<io::Result<Vec<u8>>>,
    cancel: &'a Cancel,
}

impl Out<'_> {
    fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK - self.chunk.len()));
            self.chunk.extend_from_slice(now);
            bytes = later;
            self.send_full()?;
        }
        Ok(())
    }

    fn copy(&mut self, file: &mut File, size: u64, path: &[u8]) -> Result<()> {
        let mut left = size;
        while left > 0 {
            let start = self.chunk.len();
            let room = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK - start);
            self.chunk.resize(start + room, 0);
            let read = match file.read(&mut self.chunk[start..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    self.chunk.truncate(start);
                    continue;
                }
                result => result.map_err(|error| Error::tree("reading", path, error))?,
            };
            if read == 0 {
                let reason = "it became shorter while it was read";
                return Err(Error::Changed { name: lossy(path), reason });
            }
            self.chunk.truncate(start + read);
            left -= read as u64;
            self.send_full()?;
        }
        Ok(())
    }

    fn send_full(&mut self) -> Result<()> {
        if self.chunk.len() < CHUNK {
            return Ok(());
        }
        self.cancel.check()?;
        let full = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK));
        self.sender.send(Ok(full)).map_err(|_| Error::Thread)
    }

    fn finish(&mut self) -> Result<()> {
        let last = std::mem::take(&mut self.chunk);
        if !last.is_empty() {
            self.sender.send(Ok(last)).map_err(|_| Error::Thread)?;
        }
        self.sender.send(Ok(Vec::new())).map_err(|_| Error::Thread)
    }
}
