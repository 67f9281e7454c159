//! Directories that inputs are unpacked into.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use tempfile::TempDir;

/// An empty directory in memory, if there is such a place.
pub(crate) fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }
        .expect("a temporary directory")
}

/// The directory, opened.
pub(crate) fn open(directory: &Path) -> OwnedFd {
    File::open(directory).expect("a directory that was just made").into()
}
