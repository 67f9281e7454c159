//! Owner, mode, extended attributes and times.
//!
//! Always in this order: changing the owner clears setuid bits and capabilities, so these come after
//! it. Times come last.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::error::lossy;
use super::{Entry, Error, Result, Time};
use crate::sys::tree;

/// Attributes that are not applied, by the beginning of their names.
///
/// SELinux labels belong to the host. The others are how overlayfs, fuse-overlayfs and
/// containers/storage note facts about their own trees: opaque directories, redirects, merged
/// metadata, pretended owners. In a layer they are forged, or a leftover, and could make a directory
/// show a tree it has no business with. Containers/storage lets them through. The layer's tar keeps
/// them, so exports are exact all the same.
const IGNORED: [&[u8]; 5] = [
    b"security.selinux",
    b"trusted.overlay.",
    b"user.overlay.",
    b"user.fuseoverlayfs.",
    b"user.containers.",
];

/// How forgiving to be, depending on where we run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    /// Attributes the kernel reserves for the initial namespace are left out.
    pub(super) user_namespace: bool,
    /// Owners that cannot be set are left out.
    pub(super) ignore_chown_errors: bool,
}

/// What an entry says about its file besides content.
#[derive(Debug, Clone)]
pub(super) struct Meta {
    uid: u32,
    gid: u32,
    mode: u32,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    times: Times,
}

/// Both times of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    atime: Time,
    mtime: Time,
}

impl From<&Entry> for Times {
    fn from(entry: &Entry) -> Self {
        // As the Go tools do: never read before it was changed.
        let atime = entry.atime.unwrap_or(entry.mtime).max(entry.mtime);
        Self { atime, mtime: entry.mtime }
    }
}

impl From<Times> for Timestamps {
    fn from(times: Times) -> Self {
        let spec = |time: Time| Timespec { tv_sec: time.seconds, tv_nsec: time.nanos.into() };
        Self { last_access: spec(times.atime), last_modification: spec(times.mtime) }
    }
}

impl From<&Entry> for Meta {
    fn from(entry: &Entry) -> Self {
        let is_applied = |name: &[u8]| !IGNORED.iter().any(|ignored| name.starts_with(ignored));
        let xattrs = entry.xattrs.iter().filter(|(name, _)| is_applied(name)).cloned().collect();
        Self { uid: entry.uid, gid: entry.gid, mode: entry.mode, xattrs, times: entry.into() }
    }
}

impl Meta {
    /// Owner and mode of directories no entry describes.
    pub(super) fn implied_directory() -> Self {
        let times = Times { atime: Time::default(), mtime: Time::default() };
        Self { uid: 0, gid: 0, mode: 0o755, xattrs: Vec::new(), times }
    }

    /// Memory held besides the struct, for bounds.
    pub(super) fn size(&self) -> usize {
        self.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    pub(super) fn times(&self) -> Times {
        self.times
    }

    /// Applies everything but times to an open file or directory.
    pub(super) fn apply(&self, file: impl AsFd, policy: Policy, path: &[u8]) -> Result<()> {
        let (uid, gid) = self.owner();
        self.check_owner(rustix::fs::fchown(&file, uid, gid), policy, path)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(self.mode))
            .map_err(|error| Error::tree("changing mode of", path, error))?;
        for (name, value) in &self.xattrs {
            let result = rustix::fs::fsetxattr(&file, &name[..], value, XattrFlags::empty());
            check_xattr(result.map_err(Into::into), policy, path)?;
        }
        Ok(())
    }

    /// Applies everything to `name` in `dir`, which is not opened: a device, a pipe, or a symbolic
    /// link, which has no mode.
    pub(super) fn apply_at(
        &self,
        dir: impl AsFd,
        name: &[u8],
        is_symlink: bool,
        policy: Policy,
        path: &[u8],
    ) -> Result<()> {
        self.chown_at(&dir, name, policy, path)?;
        if !is_symlink {
            self.chmod_at(&dir, name, path)?;
        }
        self.set_xattrs_at(&dir, name, policy, path)?;
        let times = if is_symlink { self.times } else { self.times.clamped() };
        times.set_at(&dir, name, path)
    }

    /// Applies a hard link's entry to the file it now names too: the last entry of a file counts.
    ///
    /// The owner is not set where it is right already. Setting it would remove capabilities, which
    /// only one of the entries needs to have; there the Go tools lose them.
    pub(super) fn apply_to_link(
        &self,
        dir: impl AsFd,
        name: &[u8],
        policy: Policy,
        path: &[u8],
    ) -> Result<()> {
        let stat = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| Error::tree("reading attributes of", path, error))?;
        if (stat.st_uid, stat.st_gid) != (self.uid, self.gid) {
            self.chown_at(&dir, name, policy, path)?;
        }
        self.set_xattrs_at(&dir, name, policy, path)?;
        if rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Symlink {
            return Ok(());
        }
        self.chmod_at(&dir, name, path)?;
        self.times.clamped().set_at(&dir, name, path)
    }

    /// Sets the owner alone, without following a symbolic link.
    pub(super) fn chown_at(
        &self,
        dir: impl AsFd,
        name: &[u8],
        policy: Policy,
        path: &[u8],
    ) -> Result<()> {
        let (uid, gid) = self.owner();
        let result = rustix::fs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW);
        self.check_owner(result, policy, path)
    }

    fn chmod_at(&self, dir: impl AsFd, name: &[u8], path: &[u8]) -> Result<()> {
        rustix::fs::chmodat(dir, name, Mode::from_raw_mode(self.mode), AtFlags::empty())
            .map_err(|error| Error::tree("changing mode of", path, error))
    }

    fn set_xattrs_at(
        &self,
        dir: impl AsFd,
        name: &[u8],
        policy: Policy,
        path: &[u8],
    ) -> Result<()> {
        self.xattrs.iter().try_for_each(|(key, value)| {
            check_xattr(tree::set_xattr_at(&dir, name, key, value), policy, path)
        })
    }

    fn owner(&self) -> (Option<Uid>, Option<Gid>) {
        (Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))
    }

    fn check_owner(&self, result: Result<(), Errno>, policy: Policy, path: &[u8]) -> Result<()> {
        match result {
            Err(_) if policy.ignore_chown_errors => Ok(()),
            Err(Errno::INVAL) if policy.user_namespace => {
                Err(Error::Owner { name: lossy(path), uid: self.uid, gid: self.gid })
            }
            other => other.map_err(|error| Error::tree("changing owner of", path, error)),
        }
    }
}

impl Times {
    /// With the epoch instead of what Go cannot count in nanoseconds, and of all before it. The Go
    /// tools do the same, except for symbolic links.
    fn clamped(self) -> Self {
        let last = i64::MAX / 1_000_000_000;
        let clamp =
            |time: Time| if (0..=last).contains(&time.seconds) { time } else { Time::default() };
        Self { atime: clamp(self.atime), mtime: clamp(self.mtime) }
    }

    /// Sets the times of an open file or directory.
    pub(super) fn set(self, file: impl AsFd, path: &[u8]) -> Result<()> {
        rustix::fs::futimens(file, &self.clamped().into())
            .map_err(|error| Error::tree("setting times of", path, error))
    }

    fn set_at(self, dir: impl AsFd, name: &[u8], path: &[u8]) -> Result<()> {
        rustix::fs::utimensat(dir, name, &self.into(), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| Error::tree("setting times of", path, error))
    }
}

fn check_xattr(result: io::Result<()>, policy: Policy, path: &[u8]) -> Result<()> {
    match result.as_ref().err().and_then(Errno::from_io_error) {
        // Not every file system has attributes, and not every file can have one.
        Some(Errno::OPNOTSUPP) => Ok(()),
        Some(Errno::PERM) if policy.user_namespace => Ok(()),
        _ => result.map_err(|error| Error::tree("setting extended attribute of", path, error)),
    }
}
