//! Room for removals.
//!
//! A removal writes records before it deletes anything, so on a disk that is full to the last block
//! nothing could be removed any more. A file without a name, which only this process knows and which
//! is gone with it, keeps some blocks, and gives them up when a removal finds no others.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate, open};

/// Enough for new records of some thousand images and layers.
const SIZE_BYTES: u64 = 4 << 20;

/// Blocks that are kept for removals, or were given up.
#[derive(Debug, Default)]
pub(super) struct Reserve(Mutex<Option<OwnedFd>>);

impl Reserve {
    /// Takes blocks of the file system of `directory`, unless that was done. Without them, because
    /// there are none or because it is a file system that cannot keep them, removals need free ones.
    pub(super) fn hold(&self, directory: &Path) {
        let mut held = self.lock();
        if held.is_some() {
            return;
        }
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = open(directory, flags, Mode::RUSR | Mode::WUSR).and_then(|file| {
            fallocate(&file, FallocateFlags::empty(), 0, SIZE_BYTES)?;
            Ok(file)
        });
        match file {
            Ok(file) => *held = Some(file),
            Err(error) => tracing::debug!(%error, "no room is kept for removals"),
        }
    }

    /// Gives the blocks up; whether there were any.
    pub(super) fn release(&self) -> bool {
        self.lock().take().is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Option<OwnedFd>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_given_up_once() {
        let root = tempfile::tempdir().unwrap();
        let reserve = Reserve::default();
        assert!(!reserve.release());
        reserve.hold(root.path());
        reserve.hold(root.path());
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
        assert!(reserve.release());
        assert!(!reserve.release());
    }
}
