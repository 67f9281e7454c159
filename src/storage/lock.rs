//! Lock files of the store: what each one guards, in which order they are taken, and the mark the
//! last writer left.
//!
//! The order is `layers` → `images` → `containers` → `mountpoints`, and no lock is ever taken while
//! one to its right is held. The functions that take an inner lock ask for the outer guards, so
//! the order is checked by the compiler. Functions that read or write records ask for the guard of
//! their kind.

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{Mode as FileMode, OFlags};

use super::Error;
use super::dir::Dir;
use crate::sys::{Cancel, FileLock, LockMode};

/// Guards `layers.json`, `volatile-layers.json`, layer directories, links, tar-split files.
#[derive(Debug)]
pub(super) enum Layers {}
/// Guards `images.json` and the images' data items.
#[derive(Debug)]
pub(super) enum Images {}
/// Guards `containers.json` and `volatile-containers.json`.
#[derive(Debug)]
pub(super) enum Containers {}
/// Guards `mountpoints.json`.
#[derive(Debug)]
pub(super) enum Mountpoints {}

/// Held together with other readers.
#[derive(Debug)]
pub(super) enum Shared {}
/// Held alone.
#[derive(Debug)]
pub(super) enum Exclusive {}
/// Not held at all: the file is only looked at.
#[derive(Debug)]
pub(super) enum Unlocked {}

/// A lock of kind `K`, held as `M` until dropped.
#[derive(Debug)]
pub(super) struct Held<K, M> {
    file: Handle,
    path: PathBuf,
    kind: PhantomData<(K, M)>,
}

#[derive(Debug)]
enum Handle {
    Locked(FileLock),
    Unlocked(File),
}

impl Handle {
    fn file(&self) -> &File {
        match self {
            Self::Locked(lock) => lock.file(),
            Self::Unlocked(file) => file,
        }
    }
}

pub(super) type LayersRead = Held<Layers, Shared>;
pub(super) type LayersWrite = Held<Layers, Exclusive>;
pub(super) type ImagesRead = Held<Images, Shared>;
pub(super) type ImagesWrite = Held<Images, Exclusive>;
pub(super) type ContainersRead = Held<Containers, Shared>;
pub(super) type ContainersWrite = Held<Containers, Exclusive>;

/// A lock file of kind `K`.
#[derive(Debug)]
pub(super) struct LockFile<K> {
    path: PathBuf,
    /// The store is not written: the file is opened for reading, and no directory is made for it.
    read_only: bool,
    kind: PhantomData<K>,
}

impl<K> LockFile<K> {
    pub(super) fn new(path: PathBuf, read_only: bool) -> Self {
        Self { path, read_only, kind: PhantomData }
    }

    fn take<M>(&self, mode: LockMode, cancel: &Cancel) -> Result<Held<K, M>, Error> {
        cancel.check()?;
        let file = self.open().map_err(Error::io("opening", &self.path))?;
        let lock = match FileLock::try_lock(file, mode).map_err(Error::io("locking", &self.path))? {
            Ok(lock) => lock,
            Err(busy) => {
                tracing::debug!(path = ?self.path, ?mode, "waiting for a lock");
                let since = Instant::now();
                let lock = FileLock::lock(busy, mode, cancel).map_err(Error::lock(&self.path))?;
                tracing::debug!(path = ?self.path, waited = ?since.elapsed(), "got the lock");
                lock
            }
        };
        Ok(self.held(Handle::Locked(lock)))
    }

    /// `None` when somebody else keeps it longer than `patience`.
    fn take_within<M>(
        &self,
        mode: LockMode,
        patience: Duration,
        cancel: &Cancel,
    ) -> Result<Option<Held<K, M>>, Error> {
        let file = self.open().map_err(Error::io("opening", &self.path))?;
        let lock = FileLock::lock_within(file, mode, patience, cancel);
        let lock = lock.map_err(Error::lock(&self.path))?.ok();
        Ok(lock.map(|lock| self.held(Handle::Locked(lock))))
    }

    /// Looks at the file without locking it.
    pub(super) fn peek(&self) -> Result<Held<K, Unlocked>, Error> {
        let file = self.open().map_err(Error::io("opening", &self.path))?;
        Ok(self.held(Handle::Unlocked(file)))
    }

    fn held<M>(&self, file: Handle) -> Held<K, M> {
        Held { file, path: self.path.clone(), kind: PhantomData }
    }

    /// Opens the file, anew for each lock: other tools may have removed the whole directory.
    fn open(&self) -> io::Result<File> {
        let access = if self.read_only { OFlags::RDONLY } else { OFlags::RDWR } | OFlags::CLOEXEC;
        let mode = FileMode::from_raw_mode(0o644);
        loop {
            match rustix::fs::open(&self.path, access, FileMode::empty()) {
                Ok(fd) => return Ok(fd.into()),
                Err(rustix::io::Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
            let create = access | OFlags::CREATE | OFlags::EXCL;
            match rustix::fs::open(&self.path, create, mode) {
                Ok(fd) => {
                    rustix::fs::fchmod(&fd, mode)?;
                    return Ok(fd.into());
                }
                // Somebody else created it in between.
                Err(rustix::io::Errno::EXIST) => {}
                Err(rustix::io::Errno::NOENT) if !self.read_only => {
                    let parent = self.path.parent().unwrap_or(Path::new("/"));
                    Dir::open_or_create(parent, 0o700).map_err(io::Error::other)?;
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl LockFile<Layers> {
    /// As [`read`](Self::read), if nobody keeps it from others now.
    pub(super) fn try_read(&self) -> Result<Option<LayersRead>, Error> {
        self.take_within(LockMode::Shared, Duration::ZERO, &Cancel::new())
    }

    pub(super) fn read(&self, cancel: &Cancel) -> Result<LayersRead, Error> {
        self.take(LockMode::Shared, cancel)
    }

    /// `None` when somebody else keeps it longer than `patience`.
    pub(super) fn read_within(
        &self,
        patience: Duration,
        cancel: &Cancel,
    ) -> Result<Option<LayersRead>, Error> {
        self.take_within(LockMode::Shared, patience, cancel)
    }

    pub(super) fn write(&self, cancel: &Cancel) -> Result<LayersWrite, Error> {
        self.take(LockMode::Exclusive, cancel)
    }
}

impl LockFile<Images> {
    /// As [`read`](Self::read), if nobody keeps it from others now.
    pub(super) fn try_read<L>(
        &self,
        _layers: &Held<Layers, L>,
    ) -> Result<Option<ImagesRead>, Error> {
        self.take_within(LockMode::Shared, Duration::ZERO, &Cancel::new())
    }

    pub(super) fn read<L>(
        &self,
        _layers: &Held<Layers, L>,
        cancel: &Cancel,
    ) -> Result<ImagesRead, Error> {
        self.take(LockMode::Shared, cancel)
    }

    pub(super) fn write<L>(
        &self,
        _layers: &Held<Layers, L>,
        cancel: &Cancel,
    ) -> Result<ImagesWrite, Error> {
        self.take(LockMode::Exclusive, cancel)
    }
}

impl LockFile<Containers> {
    /// As [`read`](Self::read), if nobody keeps it from others now.
    pub(super) fn try_read<L, I>(
        &self,
        _layers: &Held<Layers, L>,
        _images: &Held<Images, I>,
    ) -> Result<Option<ContainersRead>, Error> {
        self.take_within(LockMode::Shared, Duration::ZERO, &Cancel::new())
    }

    pub(super) fn read<L, I>(
        &self,
        _layers: &Held<Layers, L>,
        _images: &Held<Images, I>,
        cancel: &Cancel,
    ) -> Result<ContainersRead, Error> {
        self.take(LockMode::Shared, cancel)
    }

    pub(super) fn write<L, I>(
        &self,
        _layers: &Held<Layers, L>,
        _images: &Held<Images, I>,
        cancel: &Cancel,
    ) -> Result<ContainersWrite, Error> {
        self.take(LockMode::Exclusive, cancel)
    }
}

impl LockFile<Mountpoints> {
    pub(super) fn read<L>(
        &self,
        _layers: &Held<Layers, L>,
        cancel: &Cancel,
    ) -> Result<Held<Mountpoints, Shared>, Error> {
        self.take(LockMode::Shared, cancel)
    }
}

impl<K, M> Held<K, M> {
    /// What the last writer left in the lock file.
    pub(super) fn mark(&self) -> Result<Mark, Error> {
        let mut mark = Mark { bytes: [0; Mark::LENGTH], length: 0 };
        while let Some(rest) = mark.bytes.get_mut(mark.length..).filter(|rest| !rest.is_empty()) {
            let offset = u64::try_from(mark.length).map_err(io::Error::other);
            match offset.and_then(|offset| self.file.file().read_at(rest, offset)) {
                Ok(0) => break,
                Ok(count) => mark.length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("reading", &self.path)(error)),
            }
        }
        Ok(mark)
    }
}

impl<K> Held<K, Exclusive> {
    /// Leaves a new mark, so that everyone reads the records again. To be called before a record
    /// file is replaced: a crash in between then only makes others read once too often.
    pub(super) fn leave_mark(&self) -> Result<Mark, Error> {
        let mark = Mark::new().map_err(Error::io("marking", &self.path))?;
        self.file.file().write_all_at(&mark.bytes, 0).map_err(Error::io("marking", &self.path))?;
        Ok(mark)
    }
}

/// Up to 64 bytes that differ after every write. Only compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    bytes: [u8; Self::LENGTH],
    length: usize,
}

impl Mark {
    /// Older tools reread for ever if a mark has any other length.
    const LENGTH: usize = 64;

    fn new() -> io::Result<Self> {
        static COUNTER: AtomicU64 = AtomicU64::new(1);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let nanoseconds = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let mut random = [0; 44];
        fill_random(&mut random)?;
        let mut bytes = [0; Self::LENGTH];
        let parts = nanoseconds
            .to_le_bytes()
            .into_iter()
            .chain(count.to_le_bytes())
            .chain(std::process::id().to_le_bytes())
            .chain(random);
        bytes.iter_mut().zip(parts).for_each(|(byte, value)| *byte = value);
        Ok(Self { bytes, length: Self::LENGTH })
    }
}

/// Fills `buffer` with random bytes from the kernel.
pub(super) fn fill_random(buffer: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn marks() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("new/layers.lock");
        let file = LockFile::<Layers>::new(path.clone(), false);
        let held = file.write(&Cancel::new()).unwrap();
        assert_eq!(held.mark().unwrap().length, 0);
        let first = held.leave_mark().unwrap();
        assert_eq!(held.mark().unwrap(), first);
        let second = held.leave_mark().unwrap();
        assert_ne!(first, second);
        drop(held);
        assert_eq!(file.read(&Cancel::new()).unwrap().mark().unwrap(), second);
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!((metadata.len(), metadata.permissions().mode() & 0o7777), (64, 0o644));
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes[16..20], std::process::id().to_le_bytes());
    }

    #[test]
    fn read_only_stores_get_no_directories() {
        let root = tempfile::tempdir().unwrap();
        let file = LockFile::<Layers>::new(root.path().join("new/layers.lock"), true);
        assert!(file.read(&Cancel::new()).unwrap_err().is_not_found());
        assert!(!root.path().join("new").exists());
    }
}
