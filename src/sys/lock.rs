//! Whole-file `fcntl` locks that belong to the open file description (OFD locks).
//!
//! containers/storage takes POSIX record locks; OFD locks conflict with those in both directions,
//! exclude threads of one process from each other, and are not lost when some other descriptor of
//! the file is closed. The kernel detects no deadlock among them, so callers follow a lock order,
//! and waiting is polling, which can be canceled.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::thread;
use std::time::{Duration, Instant};

use super::{Cancel, Canceled};

/// First pause between two attempts. Most holders are done within some hundred microseconds.
const FIRST_PAUSE: Duration = Duration::from_micros(50);
/// Longest pause between two attempts; also how late a cancellation is noticed.
const LONGEST_PAUSE: Duration = Duration::from_millis(5);

/// Who else may hold the lock at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Other shared holders.
    Shared,
    /// Nobody. The file must be open for writing.
    Exclusive,
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The wait was canceled.
    #[error(transparent)]
    Canceled(#[from] Canceled),
    /// The kernel refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A lock on a whole file. Dropping it closes the file, which releases the lock.
#[derive(Debug)]
pub struct FileLock {
    file: File,
}

impl FileLock {
    /// Takes the lock if nobody is in the way, else gives the file back.
    pub fn try_lock(file: File, mode: LockMode) -> io::Result<Result<Self, File>> {
        loop {
            match set_lock(file.as_fd(), mode) {
                Ok(()) => return Ok(Ok(Self { file })),
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN | libc::EACCES) => return Ok(Err(file)),
                    Some(libc::EINTR) => {}
                    _ => return Err(error),
                },
            }
        }
    }

    /// Waits until the lock is free or `cancel` is set. Blocks the thread.
    pub fn lock(file: File, mode: LockMode, cancel: &Cancel) -> Result<Self, LockError> {
        let mut file = file;
        loop {
            match Self::lock_within(file, mode, Duration::MAX, cancel)? {
                Ok(lock) => return Ok(lock),
                Err(busy) => file = busy,
            }
        }
    }

    /// As [`lock`](Self::lock), but gives the file back, unlocked, when `patience` is over.
    pub fn lock_within(
        file: File,
        mode: LockMode,
        patience: Duration,
        cancel: &Cancel,
    ) -> Result<Result<Self, File>, LockError> {
        let mut file = file;
        let mut pause = FIRST_PAUSE;
        let since = Instant::now();
        loop {
            cancel.check()?;
            match Self::try_lock(file, mode)? {
                Ok(lock) => return Ok(Ok(lock)),
                Err(busy) if since.elapsed() >= patience => return Ok(Err(busy)),
                Err(busy) => file = busy,
            }
            thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The locked file.
    pub fn file(&self) -> &File {
        &self.file
    }
}

fn set_lock(file: BorrowedFd<'_>, mode: LockMode) -> io::Result<()> {
    let kind = match mode {
        LockMode::Shared => libc::F_RDLCK,
        LockMode::Exclusive => libc::F_WRLCK,
    };
    // SAFETY: `flock` is a plain C struct for which all bytes zero is a valid value.
    let mut request: libc::flock = unsafe { std::mem::zeroed() };
    request.l_type = libc::c_short::try_from(kind).map_err(io::Error::other)?;
    request.l_whence = libc::c_short::try_from(libc::SEEK_SET).map_err(io::Error::other)?;
    // Start 0 and length 0 mean the whole file, whatever its size becomes.
    // SAFETY: the descriptor is open for the duration of the borrow, and the kernel only reads the
    // request, which outlives the call.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const request) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &std::path::Path) -> File {
        File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap()
    }

    #[test]
    fn modes_exclude_each_other_within_one_process() {
        use LockMode::{Exclusive, Shared};
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        for (held, wanted, granted) in [
            (Shared, Shared, true),
            (Shared, Exclusive, false),
            (Exclusive, Shared, false),
            (Exclusive, Exclusive, false),
        ] {
            let first = FileLock::try_lock(open(&path), held).unwrap().unwrap();
            let second = FileLock::try_lock(open(&path), wanted).unwrap();
            assert_eq!(second.is_ok(), granted, "{held:?} then {wanted:?}");
            drop(first);
        }
    }

    #[test]
    fn closing_another_descriptor_keeps_the_lock() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let _held = FileLock::try_lock(open(&path), LockMode::Exclusive).unwrap().unwrap();
        drop(open(&path));
        assert!(FileLock::try_lock(open(&path), LockMode::Shared).unwrap().is_err());
    }

    #[test]
    fn waiting_ends_with_release_or_cancellation() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let held = FileLock::try_lock(open(&path), LockMode::Exclusive).unwrap().unwrap();
        let canceled = Cancel::new();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| FileLock::lock(open(&path), LockMode::Shared, &canceled));
            thread::sleep(Duration::from_millis(20));
            canceled.cancel();
            assert!(matches!(waiting.join().unwrap(), Err(LockError::Canceled(_))));
            let patient =
                scope.spawn(|| FileLock::lock(open(&path), LockMode::Shared, &Cancel::new()));
            thread::sleep(Duration::from_millis(20));
            let brief = Duration::from_millis(10);
            let busy = FileLock::lock_within(open(&path), LockMode::Shared, brief, &Cancel::new());
            assert!(busy.unwrap().is_err());
            drop(held);
            assert!(patient.join().unwrap().is_ok());
        });
    }
}
