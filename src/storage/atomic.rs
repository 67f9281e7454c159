//! Replacing a file in one step: temporary, write, sync, rename, sync the directory.

use std::io::{BufWriter, Write as _};
use std::path::Path;

use rustix::fs::Stat;
use rustix::io::Errno;

use super::Error;
use super::dir::Dir;
use super::lock::fill_random;

/// Tells versions of a file apart without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    size: i64,
    seconds: i64,
    nanoseconds: u64,
}

impl From<&Stat> for Stamp {
    #[allow(clippy::useless_conversion, reason = "the types differ between architectures")]
    fn from(stat: &Stat) -> Self {
        Self {
            inode: stat.st_ino.into(),
            size: stat.st_size.into(),
            seconds: stat.st_mtime.into(),
            nanoseconds: stat.st_mtime_nsec.into(),
        }
    }
}

/// A new version of a file, written beside it and not visible yet. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Replacement<'a> {
    dir: &'a Dir,
    temporary: String,
    target: &'a str,
    stamp: Stamp,
    published: bool,
}

impl<'a> Replacement<'a> {
    /// Writes `parts` to a temporary file, and waits until they are on disk if `durable`. What can
    /// fail for lack of space fails here.
    pub(super) fn write<'p>(
        dir: &'a Dir,
        target: &'a str,
        parts: impl IntoIterator<Item = &'p [u8]>,
        durable: bool,
    ) -> Result<Self, Error> {
        let (file, temporary) = loop {
            let temporary = format!(".tmp-{target}{}", random_digits(dir.path())?);
            match dir.create(&temporary, 0o600) {
                Ok(file) => break (file, temporary),
                Err(Error::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        };
        let path = dir.path().join(&temporary);
        // From here on the guard removes the file when something fails.
        let empty = Stamp { inode: 0, size: 0, seconds: 0, nanoseconds: 0 };
        let mut replacement = Self { dir, temporary, target, stamp: empty, published: false };
        let mut writer = BufWriter::with_capacity(1 << 16, file);
        for part in parts {
            writer.write_all(part).map_err(Error::io("writing", &path))?;
        }
        let file =
            writer.into_inner().map_err(|error| Error::io("writing", &path)(error.into_error()))?;
        if durable {
            file.sync_data().map_err(Error::io("syncing", &path))?;
        }
        let stat = rustix::fs::fstat(&file)
            .map_err(|errno: Errno| Error::io("examining", &path)(errno.into()))?;
        replacement.stamp = Stamp::from(&stat);
        Ok(replacement)
    }

    /// Puts the new version in place of the old one.
    pub(super) fn publish(mut self) -> Result<Stamp, Error> {
        self.dir.rename(&self.temporary, self.target)?;
        self.published = true;
        Ok(self.stamp)
    }
}

impl Drop for Replacement<'_> {
    fn drop(&mut self) {
        if !self.published
            && let Err(error) = self.dir.unlink(&self.temporary)
        {
            tracing::warn!(error = %error, file = self.temporary, "could not remove a temporary file");
        }
    }
}

/// Whether `name` is that of a new version of `target` that was not put in place.
pub(super) fn is_temporary(name: &str, target: &str) -> bool {
    name.strip_prefix(".tmp-")
        .and_then(|rest| rest.strip_prefix(target))
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// Digits for the name of a temporary file.
pub(super) fn random_digits(at: &Path) -> Result<String, Error> {
    let mut bytes = [0; 4];
    fill_random(&mut bytes).map_err(Error::io("naming a file in", at))?;
    Ok(u32::from_le_bytes(bytes).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn replaces_or_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let dir = Dir::open(root.path()).unwrap();
        let target = root.path().join("x.json");
        std::fs::write(&target, "old").unwrap();
        let parts = [b"ne".as_slice(), b"w"];
        let given_up = Replacement::write(&dir, "x.json", parts, true).unwrap();
        assert_eq!(dir.names().unwrap().iter().filter(|it| is_temporary(it, "x.json")).count(), 1);
        drop(given_up);
        assert_eq!(std::fs::read(&target).unwrap(), b"old");
        assert_eq!(dir.names().unwrap(), ["x.json"]);
        let stamp = Replacement::write(&dir, "x.json", parts, true).unwrap().publish().unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"new");
        assert_eq!(dir.names().unwrap(), ["x.json"]);
        assert_eq!(Stamp::from(&dir.stat("x.json").unwrap().unwrap()), stamp);
        assert_eq!(std::fs::metadata(&target).unwrap().permissions().mode() & 0o7777, 0o600);
    }
}
