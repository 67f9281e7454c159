//! Access to files below a directory descriptor that cannot leave it.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, Mode, OFlags, RawDir, ResolveFlags, XattrFlags};
use rustix::io::Errno;

/// Opens the directory `name`, which must be one component, without following a symbolic link.
///
/// # Errors
/// `ENOTDIR` also for a symbolic link.
pub fn open_dir(at: impl AsFd, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(at, name, flags, Mode::empty())?)
}

/// Opens the directory `path` as if `root` were the root of the file system: neither `..` nor an
/// absolute symbolic link leads out of it, nor a link of `/proc` anywhere.
///
/// # Errors
/// Those of `openat2(2)`, which Linux has since 5.6.
pub fn open_dir_in_root(root: impl AsFd, path: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve) {
            // Something was renamed meanwhile, anywhere in the system, and `..` could not be vouched for.
            Err(Errno::AGAIN) => {}
            other => return Ok(other?),
        }
    }
}

/// Opens the regular file at `path` below `root` for reading. Symbolic links are followed as long as
/// they do not lead out of `root`.
///
/// # Errors
/// `EXDEV` for a path that leads out, else those of `openat2(2)`. Whether it is a regular file is
/// for the caller to find out; opening anything else neither blocks nor gives the process a terminal.
pub fn open_file_beneath(root: impl AsFd, path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve) {
            // As above.
            Err(Errno::AGAIN) => {}
            other => return Ok(other?),
        }
    }
}

/// Opens the regular file `name`, which must be one component, for reading, without following a
/// symbolic link and without noting the access where that is allowed.
///
/// # Errors
/// `ELOOP` for a symbolic link. Whether it is a regular file is for the caller to find out; opening
/// anything else neither blocks nor gives the process a terminal.
pub fn open_file(at: impl AsFd, name: &[u8]) -> io::Result<OwnedFd> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match rustix::fs::openat(&at, name, flags | OFlags::NOATIME, Mode::empty()) {
        // Only for the owner, or with CAP_FOWNER.
        Err(Errno::PERM) => Ok(rustix::fs::openat(&at, name, flags, Mode::empty())?),
        other => Ok(other?),
    }
}

/// Creates the regular file `name`, which must be one component and not exist, for writing.
///
/// # Errors
/// `EEXIST` if there is anything of that name.
pub fn create_file(at: impl AsFd, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(at, name, flags, Mode::RUSR | Mode::WUSR)?)
}

/// Sets an extended attribute of `name`, which must be one component, without following a symbolic
/// link.
///
/// # Errors
/// Those of `lsetxattr(2)`; and without `/proc`.
pub fn set_xattr_at(at: impl AsFd, name: &[u8], key: &[u8], value: &[u8]) -> io::Result<()> {
    // There is no `setxattrat` before Linux 6.13.
    let mut path = format!("/proc/self/fd/{}/", at.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    Ok(rustix::fs::lsetxattr(OsStr::from_bytes(&path), key, value, XattrFlags::empty())?)
}

/// Removes `name`, which must be one component, and all below it. Nothing there is fine.
///
/// # Errors
/// The first that occurs; what was removed before stays removed.
pub fn remove_all(at: impl AsFd, name: &[u8]) -> io::Result<()> {
    match rustix::fs::unlinkat(&at, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(error) => return Err(error.into()),
    }
    let dir = open_dir(&at, name)?;
    let mut buffer = Vec::with_capacity(8192);
    // Entries removed while reading may hide others from this pass.
    loop {
        let mut removed = false;
        let mut entries = RawDir::new(&dir, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                remove_all(&dir, name)?;
                removed = true;
            }
        }
        if !removed {
            break;
        }
        rustix::fs::seek(&dir, rustix::fs::SeekFrom::Start(0))?;
    }
    Ok(rustix::fs::unlinkat(at, name, AtFlags::REMOVEDIR)?)
}
