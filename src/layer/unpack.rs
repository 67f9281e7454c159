//! From a stream to a tree and a tar-split, in one pass.
//!
//! ```text
//!            layer-decompress           layer-tar                  layer-files
//! input ─ hash ─ decompress ─→ hash ─ tar ─┬─ checksum ─→ tar-split
//!                                          └─ names, directories ─→ files, symbolic links
//! ```
//!
//! An uncompressed input is hashed once and read by the thread of the tar. All queues are bounded.
//!
//! All of it happens on threads that end with the layer, and that can open nothing but what is below
//! its root, if the kernel [lets threads be confined](confine): a mistake in any parser or decompressor
//! gives nobody more than that.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::thread::{self, Scope, ScopedJoinHandle};

use super::apply::Tree;
use super::crc64::Crc64;
use super::meta::Policy;
use super::name::TreePath;
use super::pool::{Content, Pool};
use super::stream::{Chunks, Hashed, Hashing, Keeping, decompress};
use super::tarsplit::Writer;
use super::whiteout;
use super::{Compression, Entry, EntryKind, Error, Limits, Result, TarEntry, TarReader};
use crate::image::{DiffId, Digest};
use crate::sys::{Cancel, confine};

/// Files up to this size are handed to the pool whole, larger ones in chunks of it.
const CHUNK: usize = 256 << 10;

/// Chunks of one large file that may wait for the thread that writes it.
const CHUNKS_TO_WRITE: usize = 8;

/// Decompressed chunks that may wait for the tar reader.
pub(super) const CHUNKS_TO_READ: usize = 4;

/// Creating files is bound by the kernel's locks on directories and journal; more threads only wait.
const MAX_THREADS: usize = 4;

/// How a layer is to be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct UnpackOptions {
    /// Whether we are in a user namespace other than the host's. Then devices are skipped, attributes
    /// the kernel refuses are left out, and overlayfs keeps its own under `user.overlay.`.
    pub user_namespace: bool,
    /// How deletions are recorded.
    pub whiteouts: Whiteouts,
    /// Go on when an owner cannot be set; the file then belongs to us.
    pub ignore_chown_errors: bool,
    /// What is refused.
    pub limits: Limits,
}

/// How deletions are recorded in a tree. A store uses one form only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Whiteouts {
    /// As the kernel's overlayfs wants it: character devices 0:0 and an attribute of directories.
    #[default]
    Native,
    /// As in the tar, for mount programs (fuse-overlayfs): empty files with names of whiteouts.
    Files,
}

/// What is known of a layer after it was unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// How the input was compressed.
    pub compression: Compression,
    /// Digest of the input as it was received.
    pub compressed_digest: Digest,
    /// Length of the input in bytes.
    pub compressed_size: u64,
    /// Digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// Length of the uncompressed tar in bytes.
    pub diff_size: u64,
    /// Users that own entries, whiteouts not counted; sorted.
    pub uids: Vec<u32>,
    /// Groups of entries, whiteouts not counted; sorted.
    pub gids: Vec<u32>,
    /// Whether an entry may have taken the place of another's content, as can happen behind symbolic
    /// links. Then only [`rebuild`](super::rebuild()) tells whether the layer can be given out again.
    pub is_doubtful: bool,
}

impl UnpackOptions {
    pub(super) fn policy(&self) -> Policy {
        Policy {
            user_namespace: self.user_namespace,
            ignore_chown_errors: self.ignore_chown_errors,
        }
    }
}

/// Applies the layer in `input`, compressed or not, to the empty directory `root`, and writes its
/// tar-split to `tar_split`. The input is read to its end; an empty one is an empty layer.
///
/// Nothing is synced. Owner, mode and times of `root` are left as they are, except that its
/// modification time changes. After an error or cancellation, what there is of tree and tar-split is
/// of no use.
///
/// # Errors
/// See [`Error`]. A layer that is refused by its content is refused by containers/storage too, except
/// for limits and names with `..`.
pub fn unpack(
    input: impl Read + Send,
    root: &OwnedFd,
    tar_split: impl Write + Send,
    options: &UnpackOptions,
    cancel: &Cancel,
) -> Result<Unpacked> {
    let (compression, input) = Compression::peek(input)?;
    unpack_as(compression, input, (root, tar_split), options, cancel)
}

/// As [`unpack`], of a tar that is not compressed, whatever its first bytes are.
pub(super) fn unpack_tar(
    input: impl Read + Send,
    root: &OwnedFd,
    tar_split: impl Write + Send,
    options: &UnpackOptions,
    cancel: &Cancel,
) -> Result<Unpacked> {
    unpack_as(Compression::None, input, (root, tar_split), options, cancel)
}

fn unpack_as(
    compression: Compression,
    input: impl Read + Send,
    into: (&OwnedFd, impl Write + Send),
    options: &UnpackOptions,
    cancel: &Cancel,
) -> Result<Unpacked> {
    thread::scope(|scope| {
        let unpacking = spawn(scope, "layer-tar", || {
            confine::to_tree(into.0).map_err(Error::confine)?;
            unpack_confined(compression, input, into, options, cancel)
        })?;
        unpacking.join().map_err(|_| Error::Thread)?
    })
}

/// On a thread that can do no more than this, and will not be used for anything else.
fn unpack_confined(
    compression: Compression,
    input: impl Read + Send,
    into: (&OwnedFd, impl Write),
    options: &UnpackOptions,
    cancel: &Cancel,
) -> Result<Unpacked> {
    let (root, tar_split) = into;
    let input = Hashing::new(input, cancel);
    let pool = Pool::new(options.policy());
    thread::scope(|scope| {
        let _close = CloseOnDrop(&pool);
        let threads = thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..threads.min(MAX_THREADS) {
            spawn(scope, "layer-files", || pool.run())?;
        }
        let mut layer = Layer {
            tree: Tree::new(root, &pool, options)?,
            pool: &pool,
            split: Writer::new(tar_split),
            uids: BTreeSet::new(),
            gids: BTreeSet::new(),
        };
        let (tar, compressed) = if compression == Compression::None {
            let tar = layer.read(input.at_most(options.limits.unpacked), options.limits)?;
            (tar.clone(), tar)
        } else {
            let (sender, receiver) = mpsc::sync_channel(CHUNKS_TO_READ);
            let packing = (compression, options.limits.expansion);
            let decompressing =
                spawn(scope, "layer-decompress", move || decompress(packing, input, &sender))?;
            let tar = Hashing::new(Chunks::new(receiver), cancel).at_most(options.limits.unpacked);
            let tar = layer.read(tar, options.limits)?;
            let compressed = decompressing.join().map_err(|_| Error::Thread)??;
            (tar, compressed.finish())
        };
        let Layer { tree, split, uids, gids, .. } = layer;
        let is_doubtful = tree.finish()?;
        split.finish()?.flush().map_err(Error::write_tar_split)?;
        Ok(Unpacked {
            compression,
            compressed_digest: Digest::from_sha256(compressed.sha256),
            compressed_size: compressed.size,
            diff_id: DiffId::from_sha256(tar.sha256),
            diff_size: tar.size,
            uids: uids.into_iter().collect(),
            gids: gids.into_iter().collect(),
            is_doubtful,
        })
    })
}

pub(super) fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    run: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>> {
    Ok(thread::Builder::new().name(name.into()).spawn_scoped(scope, run)?)
}

/// The scope waits for the pool's threads, so they must be told to end, even by a panic.
struct CloseOnDrop<'a>(&'a Pool);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The thread that reads the tar.
struct Layer<'a, W: Write> {
    tree: Tree<'a>,
    pool: &'a Pool,
    split: Writer<W>,
    uids: BTreeSet<u32>,
    gids: BTreeSet<u32>,
}

impl<W: Write> Layer<'_, W> {
    fn read<R: Read>(&mut self, input: Hashing<'_, R>, limits: Limits) -> Result<Hashed> {
        let mut tar = TarReader::with_limits(input, limits);
        while let Some(entry) = tar.next_entry()? {
            self.entry(entry)?;
        }
        self.split.segment(tar.raw())?;
        self.keep(tar.rest())?;
        Ok(tar.into_inner().finish())
    }

    fn entry<R: Read>(&mut self, mut entry: TarEntry<'_, R>) -> Result<()> {
        self.split.segment(entry.raw())?;
        let path = self.tree.claim(&entry)?;
        if !path.as_ref().is_some_and(whiteout::is_whiteout) {
            self.uids.insert(entry.uid);
            self.gids.insert(entry.gid);
            self.tree.check_owners(self.uids.len().max(self.gids.len()))?;
        }
        let Some(path) = path else {
            self.split.entry(&entry.name)?;
            return self.keep(&mut entry);
        };
        if let Some(whiteout) = self.tree.whiteout(&path)? {
            self.tree.apply_whiteout(&entry, path, whiteout)?;
            self.split.entry(&entry.name)?;
            return self.keep(&mut entry);
        }
        match &entry.kind {
            EntryKind::Regular if entry.size > 0 => {
                let crc = self.file(&mut entry, path)?;
                self.split.file(&entry.name, entry.size, crc)
            }
            EntryKind::Sparse(file) => {
                self.split.entry(&entry.name)?;
                let file = file.clone();
                let head = Entry::clone(&entry);
                let mut payload = Keeping { input: &mut entry, split: &mut self.split };
                self.tree.sparse(&head, &file, &mut payload, path)
            }
            _ => {
                self.split.entry(&entry.name)?;
                self.tree.apply(&entry, path)
            }
        }
    }

    /// Has a regular file created; gives its checksum.
    fn file<R: Read>(&mut self, entry: &mut TarEntry<'_, R>, path: TreePath) -> Result<[u8; 8]> {
        let place = self.tree.place(path)?;
        if let Some(len) = usize::try_from(entry.size).ok().filter(|len| *len <= CHUNK) {
            let mut bytes = vec![0; len];
            entry.read_exact(&mut bytes)?;
            let crc = Crc64::of(&bytes);
            self.tree.create(entry, place, Content::File(bytes))?;
            return Ok(crc);
        }
        let (sender, receiver) = mpsc::sync_channel(CHUNKS_TO_WRITE);
        self.tree.create(entry, place, Content::Stream(receiver))?;
        let mut crc = Crc64::new();
        let mut left = entry.size;
        while left > 0 {
            let mut chunk = vec![0; usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK))];
            entry.read_exact(&mut chunk)?;
            crc.update(&chunk);
            left -= chunk.len() as u64;
            if sender.send(chunk).is_err() {
                return Err(self.pool.failure().unwrap_or(Error::Thread));
            }
        }
        Ok(crc.finish())
    }

    /// Keeps bytes that no file holds.
    fn keep(&mut self, input: &mut impl Read) -> Result<()> {
        io::copy(&mut Keeping { input, split: &mut self.split }, &mut io::sink())?;
        Ok(())
    }
}
