//! Files of the host that a caller names. Whether the caller may have them read is decided before
//! it comes to this.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::archive::DirectoryFile;
use crate::sys::tree;

/// What is at a path.
pub(super) enum HostFile {
    File(File),
    Directory(Directory),
}

/// Opens a regular file or a directory. Nothing else is waited for: not the writer of a pipe, not a
/// device.
pub(super) fn open_any(path: &Path) -> io::Result<HostFile> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Ok(HostFile::Directory(Directory(file.into())));
    }
    regular(file).map(HostFile::File)
}

/// As [`open_any`], but directories are errors.
pub(super) fn open(path: &Path) -> io::Result<File> {
    match open_any(path)? {
        HostFile::File(file) => Ok(file),
        HostFile::Directory(_) => Err(Errno::ISDIR.into()),
    }
}

fn regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("not a regular file")) }
}

/// A directory of the host.
pub(super) struct Directory(OwnedFd);

impl Directory {
    /// Opens a file below the directory. Who wrote the directory must not choose what else of the
    /// host is read, so links lead no further than the directory.
    pub(super) fn open(&self, name: &str) -> io::Result<DirectoryFile<File>> {
        let fd =
            tree::open_file_beneath(&self.0, name).map_err(|error| {
                match Errno::from_io_error(&error) {
                    Some(Errno::XDEV) => io::Error::other("it leads out of the directory"),
                    _ => io::Error::new(error.kind(), words(&error)),
                }
            })?;
        let content = regular(fd.into())?;
        let size = content.metadata()?.len();
        Ok(DirectoryFile { content, size })
    }
}

/// What the system said, in Go's form: without the number, the first letter small.
pub(super) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_opened() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "x").unwrap();
        assert!(open(&file).is_ok());
        for (path, text) in [
            (directory.path(), "is a directory"),
            (Path::new("/dev/null"), "not a regular file"),
            (Path::new("/nowhere/at/all"), "no such file or directory"),
            (Path::new("/dev/null/x"), "not a directory"),
        ] {
            assert_eq!(words(&open(path).unwrap_err()), text, "{}", path.display());
        }
    }

    #[test]
    fn a_pipe_without_writer_does_not_block() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, Mode::RUSR).unwrap();
        assert_eq!(words(&open(&pipe).unwrap_err()), "not a regular file");
    }
}
