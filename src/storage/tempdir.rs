//! Directories for what is not part of the store yet, or no longer.
//!
//! In `overlay/tempdirs` and `overlay-layers/tmp` each `temp-dir-N` belongs to whoever holds the
//! lock on the file `lock-N` beside it. Once the lock can be taken by somebody else the owner is
//! dead and the directory is rubbish. containers/storage since 1.59 works the same way, and
//! recovers our directories as we recover its.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags};

use super::atomic::random_digits;
use super::dir::Dir;
use super::{Error, tree};
use crate::sys::{FileLock, LockMode};

/// What names begin with.
const LOCK: &str = "lock-";
const DIRECTORY: &str = "temp-dir-";
/// How many names are tried.
const ATTEMPTS: usize = 1000;

/// Which of the two places a temporary directory is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Area {
    /// `tempdirs`, below `overlay`.
    Trees,
    /// `tmp`, below `overlay-layers`.
    Files,
}

impl Area {
    fn name(self) -> &'static str {
        match self {
            Self::Trees => "tempdirs",
            Self::Files => "tmp",
        }
    }

    /// Removes the area if nobody uses it: Podman 4 stumbles over directories that are not layers
    /// when it repairs links. While somebody does use it, it is not empty and stays.
    fn remove_from(self, base: &Dir) {
        if self == Self::Trees
            && let Err(error) = base.rmdir(self.name())
        {
            tracing::trace!(error = ?error, "keeping the area of temporary directories");
        }
    }
}

/// A directory that only we use. Dropping it deletes it with all that is in it, unless it is left
/// to recovery.
#[derive(Debug)]
pub(super) struct TempDir {
    area: Area,
    digits: String,
    /// The directory that the area is in. Opened again when needed: an image has many layers, and
    /// each of them staged costs descriptors enough.
    base: PathBuf,
    is_left: AtomicBool,
    _lock: FileLock,
}

impl TempDir {
    /// Makes a directory in this area of `base`.
    pub(super) fn create(base: &Dir, area: Area) -> Result<Self, Error> {
        for _ in 0..ATTEMPTS {
            match Self::try_create(base, area) {
                Ok(Some(created)) => return Ok(created),
                Ok(None) => {}
                // The area was removed in between, since it was empty.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        let path = base.path().join(area.name());
        Err(Error::io("finding a free name in", path)(io::ErrorKind::AlreadyExists.into()))
    }

    fn try_create(base: &Dir, area: Area) -> Result<Option<Self>, Error> {
        let parent = base.ensure(area.name(), 0o700)?;
        let digits = random_digits(parent.path())?;
        let lock_name = lock_name(&digits);
        let file = match parent.create(&lock_name, 0o600) {
            Ok(file) => file,
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        // Until the lock is ours, others take this pair for a dead one.
        let Some(lock) = lock(&parent, &lock_name, file)? else { return Ok(None) };
        // Dropped should the next step fail.
        let created = Self::new(base, area, digits, lock);
        parent.mkdir(dir_name(&created.digits), 0o700)?;
        Ok(Some(created))
    }

    fn new(base: &Dir, area: Area, digits: String, lock: FileLock) -> Self {
        let is_left = AtomicBool::new(false);
        Self { area, digits, base: base.path().to_owned(), is_left, _lock: lock }
    }

    /// Takes over every directory of an area whose owner is dead.
    pub(super) fn take_stale(base: &Dir, area: Area) -> Result<Vec<Self>, Error> {
        let parent = match base.sub(area.name()) {
            Ok(parent) => parent,
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let names = parent.names()?;
        if names.is_empty() {
            // Its owner died between the last directory and the area, or before the first.
            area.remove_from(base);
        }
        let mut stale = Vec::new();
        for (digits, has_lock) in numbers(&names) {
            match Self::take(base, area, &parent, digits, has_lock) {
                Ok(taken) => stale.extend(taken),
                Err(error) => {
                    stale.iter().for_each(Self::leave);
                    return Err(error);
                }
            }
        }
        Ok(stale)
    }

    /// Takes over one directory, if its owner is dead.
    fn take(
        base: &Dir,
        area: Area,
        parent: &Dir,
        digits: &str,
        has_lock: bool,
    ) -> Result<Option<Self>, Error> {
        let name = lock_name(digits);
        let mut flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        if !has_lock {
            // Lost with the power; or the directory is so new that only it was listed, and then its
            // owner has the lock.
            flags |= OFlags::CREATE;
        }
        let file = match rustix::fs::openat(parent, &name, flags, Mode::from_raw_mode(0o600)) {
            Ok(fd) => File::from(fd),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(errno) => {
                return Err(Error::io("opening", parent.path().join(&name))(errno.into()));
            }
        };
        let lock = lock(parent, &name, file)?;
        Ok(lock.map(|lock| Self::new(base, area, digits.to_owned(), lock)))
    }

    /// Lets the directory be found by the next recovery, as if its owner had died.
    pub(super) fn leave(&self) {
        self.is_left.store(true, Ordering::Relaxed);
    }

    /// Opens the directory. It may be missing if the owner died early.
    pub(super) fn open(&self) -> Result<Dir, Error> {
        Dir::open(&self.base)?.sub_nofollow(self.path_of(""))
    }

    /// Path of an entry, relative to the directory that the area is in.
    pub(super) fn path_of(&self, entry: &str) -> String {
        format!("{}/{}/{entry}", self.area.name(), dir_name(&self.digits))
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if !*self.is_left.get_mut()
            && let Err(error) = self.delete()
        {
            // The directory stays, without a living owner, until the next recovery.
            tracing::warn!(error = ?error, "could not delete a temporary directory");
        }
    }
}

impl TempDir {
    fn delete(&self) -> Result<(), Error> {
        let base = Dir::open(&self.base)?;
        let parent = base.sub(self.area.name())?;
        tree::delete(&parent, &dir_name(&self.digits))?;
        parent.unlink(lock_name(&self.digits))?;
        self.area.remove_from(&base);
        Ok(())
    }
}

fn lock_name(digits: &str) -> String {
    format!("{LOCK}{digits}")
}

fn dir_name(digits: &str) -> String {
    format!("{DIRECTORY}{digits}")
}

/// The numbers in a listing of an area, and whether there is a lock for each.
fn numbers(names: &[String]) -> BTreeMap<&str, bool> {
    let mut numbers = BTreeMap::new();
    for name in names {
        if let Some(digits) = name.strip_prefix(LOCK) {
            numbers.insert(digits, true);
        } else if let Some(digits) = name.strip_prefix(DIRECTORY) {
            numbers.entry(digits).or_insert(false);
        }
    }
    numbers
}

/// Takes the lock if it is free, and if the file is still the one that has the name: its owner may
/// just have finished and removed it.
fn lock(parent: &Dir, name: &str, file: File) -> Result<Option<FileLock>, Error> {
    let path = parent.path().join(name);
    let Ok(lock) =
        FileLock::try_lock(file, LockMode::Exclusive).map_err(Error::io("locking", &path))?
    else {
        return Ok(None);
    };
    let held = rustix::fs::fstat(lock.file())
        .map_err(|errno| Error::io("examining", &path)(errno.into()))?;
    let named = parent.stat(name)?;
    let same =
        named.is_some_and(|named| (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino));
    Ok(same.then_some(lock))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_living_are_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let base = Dir::open(root.path()).unwrap();
        let living = TempDir::create(&base, Area::Trees).unwrap();
        std::fs::write(root.path().join(living.path_of("0-addition")), "x").unwrap();
        let area = root.path().join("tempdirs");
        std::fs::create_dir_all(area.join("temp-dir-7/0-x")).unwrap();
        std::fs::write(area.join("lock-7"), "").unwrap();
        std::fs::write(area.join("lock-8"), "").unwrap();
        std::fs::create_dir_all(area.join("temp-dir-9/0-x")).unwrap();
        let stale = TempDir::take_stale(&base, Area::Trees).unwrap();
        let mut digits: Vec<_> = stale.iter().map(|it| it.digits.as_str()).collect();
        digits.sort_unstable();
        assert_eq!(digits, ["7", "8", "9"]);
        drop(stale);
        let mut names = Dir::open(&area).unwrap().names().unwrap();
        names.sort();
        let expected = [lock_name(&living.digits), dir_name(&living.digits)];
        assert_eq!(names, expected);
        assert_eq!(living.open().unwrap().read("0-addition", 9).unwrap().unwrap(), b"x");
        drop(living);
        assert!(base.names().unwrap().is_empty());
        assert!(TempDir::take_stale(&base, Area::Trees).unwrap().is_empty());
    }

    #[test]
    fn an_area_without_anything_in_it_goes() {
        let root = tempfile::tempdir().unwrap();
        let base = Dir::open(root.path()).unwrap();
        for (area, stays) in [(Area::Trees, false), (Area::Files, true)] {
            base.mkdir(area.name(), 0o700).unwrap();
            assert!(TempDir::take_stale(&base, area).unwrap().is_empty());
            assert_eq!(base.stat(area.name()).unwrap().is_some(), stays);
        }
    }
}
