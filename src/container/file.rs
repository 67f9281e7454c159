//! Small files of others.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use serde::de::DeserializeOwned;

use super::{Error, Result};

/// Longest document that is read, in bytes. Podman's configuration of a container has some 20 kB.
pub(super) const LIMIT_BYTES: u64 = 16 << 20;

/// Opens a regular file for reading; `None` if there is none, or something else of that name.
pub(super) fn open(path: &Path) -> Result<Option<File>> {
    // Whatever it is, opening it does not wait for anybody.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let failed = |errno: rustix::io::Errno| Error::io("opening", path)(errno.into());
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(fd) => {
            let file = File::from(fd);
            let metadata = file.metadata().map_err(Error::io("examining", path))?;
            Ok(metadata.is_file().then_some(file))
        }
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(failed(errno)),
    }
}

/// Content of a document; `None` if there is none.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    let Some(file) = open(path)? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(LIMIT_BYTES + 1).read_to_end(&mut bytes).map_err(Error::io("reading", path))?;
    if bytes.len() as u64 > LIMIT_BYTES {
        return Err(Error::Damaged { path: path.to_owned(), reason: "it is too long" });
    }
    Ok(Some(bytes))
}

/// A document as JSON; `None` if there is none.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let Some(bytes) = read(path)? else { return Ok(None) };
    parse(path, &bytes).map(Some)
}

/// JSON from the file `path`.
pub(super) fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|source| Error::Json { path: path.to_owned(), source })
}
