//! Open directories of the store, and the file operations that are relative to them.
//!
//! A directory is opened for the length of one operation and everything below it is named relative
//! to it: both ends of a rename are then on the same mount, even while Podman bind-mounts
//! `overlay/` onto itself, and no path is resolved twice with different results. Modes are set
//! exactly, whatever the umask is.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::Error;

/// An open directory and the path it has in messages.
#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Dir {
    /// Opens an existing directory.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let fd = fs::open(path, DIRECTORY, Mode::empty())
            .map_err(|errno| Error::io("opening", path)(errno.into()))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Opens a directory, and creates it and its missing parents with `mode`.
    pub(super) fn open_or_create(path: &Path, mode: u32) -> Result<Self, Error> {
        match Self::open(path) {
            Err(error) if error.is_not_found() => {}
            result => return result,
        }
        match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) if !parent.as_os_str().is_empty() => {
                Self::open_or_create(parent, mode)?.ensure(Path::new(name), mode)
            }
            _ => Self::open(path),
        }
    }

    /// The path, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The descriptor, for what this type has no method for.
    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// The descriptor alone.
    pub(super) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Opens a directory below this one, following symbolic links.
    pub(super) fn sub(&self, name: impl AsRef<Path>) -> Result<Self, Error> {
        let name = name.as_ref();
        let fd = fs::openat(&self.fd, name, DIRECTORY, Mode::empty())
            .map_err(self.failed("opening", name))?;
        Ok(Self { fd, path: self.path.join(name) })
    }

    /// Opens a directory below this one that is not a symbolic link.
    pub(super) fn sub_nofollow(&self, name: impl AsRef<Path>) -> Result<Self, Error> {
        let name = name.as_ref();
        let fd = fs::openat(&self.fd, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
            .map_err(self.failed("opening", name))?;
        Ok(Self { fd, path: self.path.join(name) })
    }

    /// Opens a directory below this one; creates it with `mode` if it is missing.
    pub(super) fn ensure(&self, name: impl AsRef<Path>, mode: u32) -> Result<Self, Error> {
        let name = name.as_ref();
        match self.sub(name) {
            Err(error) if error.is_not_found() => {}
            result => return result,
        }
        match fs::mkdirat(&self.fd, name, Mode::from_raw_mode(mode)) {
            Ok(()) => self.set_mode(name, mode)?,
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(self.failed("creating", name)(errno)),
        }
        self.sub(name)
    }

    /// Creates a directory that must not exist yet.
    pub(super) fn mkdir(&self, name: impl AsRef<Path>, mode: u32) -> Result<Self, Error> {
        let name = name.as_ref();
        fs::mkdirat(&self.fd, name, Mode::from_raw_mode(mode))
            .map_err(self.failed("creating", name))?;
        self.set_mode(name, mode)?;
        self.sub_nofollow(name)
    }

    /// Sets the mode of an entry.
    pub(super) fn set_mode(&self, name: &Path, mode: u32) -> Result<(), Error> {
        fs::chmodat(&self.fd, name, Mode::from_raw_mode(mode), AtFlags::empty())
            .map_err(self.failed("setting the mode of", name))
    }

    /// Creates a file that must not exist yet, open for reading and writing. When that fails there
    /// is none.
    pub(super) fn create(&self, name: impl AsRef<Path>, mode: u32) -> Result<File, Error> {
        let name = name.as_ref();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let fd = fs::openat(&self.fd, name, flags, Mode::from_raw_mode(mode))
            .map_err(self.failed("creating", name))?;
        if let Err(errno) = fs::fchmod(&fd, Mode::from_raw_mode(mode)) {
            // Callers know nothing of it, and would leave it.
            if let Err(error) = self.unlink(name) {
                tracing::warn!(%error, "could not remove a file without its mode");
            }
            return Err(self.failed("setting the mode of", name)(errno));
        }
        Ok(fd.into())
    }

    /// Creates a file with this content; an existing one is an error.
    pub(super) fn write_new(
        &self,
        name: impl AsRef<Path>,
        content: &[u8],
        mode: u32,
    ) -> Result<File, Error> {
        let name = name.as_ref();
        let mut file = self.create(name, mode)?;
        file.write_all(content).map_err(Error::io("writing", self.path.join(name)))?;
        Ok(file)
    }

    /// Opens a file for reading; `None` if there is none.
    pub(super) fn open_file(&self, name: impl AsRef<Path>) -> Result<Option<File>, Error> {
        let name = name.as_ref();
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        match fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(fd.into())),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.failed("opening", name)(errno)),
        }
    }

    /// Content of a file of at most `limit_bytes`; `None` if there is none.
    pub(super) fn read(
        &self,
        name: impl AsRef<Path>,
        limit_bytes: u64,
    ) -> Result<Option<Vec<u8>>, Error> {
        let name = name.as_ref();
        match self.open_file(name)? {
            Some(file) => read_bounded(&file, &self.path.join(name), limit_bytes).map(Some),
            None => Ok(None),
        }
    }

    /// Content of a short text file; `None` if there is none.
    pub(super) fn read_text(
        &self,
        name: impl AsRef<Path>,
        limit_bytes: u64,
    ) -> Result<Option<String>, Error> {
        let name = name.as_ref();
        let Some(bytes) = self.read(name, limit_bytes)? else { return Ok(None) };
        String::from_utf8(bytes)
            .map(Some)
            .map_err(|error| Error::io("reading", self.path.join(name))(io::Error::other(error)))
    }

    /// Metadata of an entry, not following symbolic links; `None` if there is none.
    pub(super) fn stat(&self, name: impl AsRef<Path>) -> Result<Option<Stat>, Error> {
        let name = name.as_ref();
        match fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.failed("examining", name)(errno)),
        }
    }

    /// Renames within this directory, or to a path below it. Replaces files.
    pub(super) fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<(), Error> {
        let (from, to) = (from.as_ref(), to.as_ref());
        fs::renameat(&self.fd, from, &self.fd, to).map_err(self.failed("renaming", from))
    }

    /// As [`Dir::rename`]; `false` if there is nothing to rename.
    pub(super) fn rename_if_there(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
    ) -> Result<bool, Error> {
        match self.rename(from, to) {
            Ok(()) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes a symbolic link.
    pub(super) fn symlink(
        &self,
        target: impl AsRef<Path>,
        name: impl AsRef<Path>,
    ) -> Result<(), Error> {
        let name = name.as_ref();
        fs::symlinkat(target.as_ref(), &self.fd, name).map_err(self.failed("linking", name))
    }

    /// Target of a symbolic link; `None` if there is none.
    pub(super) fn read_link(&self, name: impl AsRef<Path>) -> Result<Option<CString>, Error> {
        let name = name.as_ref();
        match fs::readlinkat(&self.fd, name, Vec::new()) {
            Ok(target) => Ok(Some(target)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.failed("reading the link", name)(errno)),
        }
    }

    /// Removes a file or symbolic link, if it is there.
    pub(super) fn unlink(&self, name: impl AsRef<Path>) -> Result<(), Error> {
        self.remove(name.as_ref(), AtFlags::empty())
    }

    /// Removes an empty directory, if it is there.
    pub(super) fn rmdir(&self, name: impl AsRef<Path>) -> Result<(), Error> {
        self.remove(name.as_ref(), AtFlags::REMOVEDIR)
    }

    fn remove(&self, name: &Path, flags: AtFlags) -> Result<(), Error> {
        match fs::unlinkat(&self.fd, name, flags) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.failed("removing", name)(errno)),
        }
    }

    /// Names of all entries, in no order; those that are not UTF-8 are left out, since no name of
    /// the store is like that.
    pub(super) fn names(&self) -> Result<Vec<String>, Error> {
        let listing =
            fs::Dir::read_from(&self.fd).map_err(self.failed("listing", Path::new("")))?;
        let mut names = Vec::new();
        for entry in listing {
            let entry = entry.map_err(self.failed("listing", Path::new("")))?;
            match entry.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => names.push(name.to_owned()),
            }
        }
        Ok(names)
    }

    /// Waits until the entries of this directory are on disk.
    pub(super) fn sync(&self) -> Result<(), Error> {
        fs::fsync(&self.fd).map_err(self.failed("syncing", Path::new("")))
    }

    /// Number of the device the directory is on.
    pub(super) fn device(&self) -> Result<u64, Error> {
        let stat = fs::fstat(&self.fd).map_err(self.failed("examining", Path::new("")))?;
        Ok(stat.st_dev)
    }

    /// What kind of file system the directory is on, as `statfs(2)` tells it.
    pub(super) fn file_system(&self) -> Result<i64, Error> {
        let stat = fs::fstatfs(&self.fd).map_err(self.failed("examining", Path::new("")))?;
        #[allow(clippy::unnecessary_cast, reason = "the types differ between architectures")]
        Ok(stat.f_type as i64)
    }

    fn failed(&self, operation: &'static str, name: &Path) -> impl FnOnce(Errno) -> Error {
        let path =
            if name.as_os_str().is_empty() { self.path.clone() } else { self.path.join(name) };
        move |errno| Error::io(operation, path)(errno.into())
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Reads an open file of at most `limit_bytes` from its start.
pub(super) fn read_bounded(file: &File, path: &Path, limit_bytes: u64) -> Result<Vec<u8>, Error> {
    let size = file.metadata().map_err(Error::io("examining", path))?.len();
    let too_large = || Error::TooLarge { path: path.to_owned(), limit_bytes };
    if size > limit_bytes {
        return Err(too_large());
    }
    let mut content = Vec::with_capacity(usize::try_from(size).map_err(|_| too_large())?);
    // The file may grow while it is read.
    file.take(limit_bytes.saturating_add(1))
        .read_to_end(&mut content)
        .map_err(Error::io("reading", path))?;
    if u64::try_from(content.len()).map_err(|_| too_large())? > limit_bytes {
        return Err(too_large());
    }
    Ok(content)
}
