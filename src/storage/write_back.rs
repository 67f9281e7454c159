//! Bringing a whole file system to the disk, but not while the store is locked.
//!
//! Records are synced under the locks, and every such sync brings a journal's transaction to the
//! disk, on ext4 with the data of all files that got their blocks in it. While layers are being
//! written back that is a lot, and everybody else would wait for it. So whoever is about to take the
//! locks waits until nothing is written back, and until the locks are free again nothing new is
//! begun.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::Error;
use super::dir::Dir;
use crate::sys::{Cancel, Canceled};

/// How often those who wait look whether they still should.
const LOOK: Duration = Duration::from_millis(5);
/// How long writing back waits for locks. A tool of somebody else may keep us waiting for one much
/// longer, and content has to get to the disk in the end.
const PATIENCE: Duration = Duration::from_millis(300);

/// Tells who writes back from who locks. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct WriteBack(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Somebody is not there any more.
    left: Condvar,
}

/// Everybody who is there, by number: those who were let in, and those who wait.
#[derive(Debug, Default)]
struct Queue {
    next: u64,
    present: BTreeMap<u64, Side>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// Writes back.
    Write,
    /// Holds locks, or is about to take them.
    Lock,
}

/// A place in the queue.
#[derive(Debug)]
struct Place {
    write_back: WriteBack,
    number: u64,
    side: Side,
}

/// While it lives nothing new is written back.
#[derive(Debug)]
pub(super) struct Quiet(#[expect(dead_code, reason = "held")] Place);

impl WriteBack {
    /// Waits until nothing is being written back, and lets nothing new begin. To be called before the
    /// first lock is taken.
    pub(super) fn quiet(&self, cancel: &Cancel) -> Result<Quiet, Canceled> {
        let place = self.enter(Side::Lock);
        while !place.wait(LOOK) {
            cancel.check()?;
        }
        Ok(Quiet(place))
    }

    /// Waits until everything on the file system of `directory` is on disk. When it is canceled it
    /// goes on, but nobody waits for it.
    pub(super) fn sync(&self, directory: &Dir, cancel: &Cancel) -> Result<(), Error> {
        let failed = Error::io("syncing the file system of", directory.path());
        let writing = self.writing();
        let descriptor = match directory.fd().try_clone() {
            Ok(descriptor) => descriptor,
            Err(error) => return Err(failed(error)),
        };
        let (done, is_done) = mpsc::channel();
        let work = move || {
            let synced = rustix::fs::syncfs(&descriptor);
            drop(writing);
            let _nobody_waits = done.send(synced);
        };
        if let Err(error) = thread::Builder::new().name("sync".into()).spawn(work) {
            return Err(failed(error));
        }
        loop {
            match is_done.recv_timeout(LOOK) {
                Ok(synced) => return synced.map_err(|errno| failed(errno.into())),
                Err(RecvTimeoutError::Timeout) => cancel.check()?,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(failed(std::io::ErrorKind::BrokenPipe.into()));
                }
            }
        }
    }

    /// Writes back the file system of `directory`. The result does not matter.
    pub(super) fn sync_early(&self, directory: &OwnedFd) {
        let _writing = self.writing();
        if let Err(error) = rustix::fs::syncfs(directory) {
            tracing::debug!(%error, "early sync");
        }
    }

    fn writing(&self) -> Place {
        let place = self.enter(Side::Write);
        let _or_not = place.wait(PATIENCE);
        place
    }

    fn enter(&self, side: Side) -> Place {
        let mut queue = self.queue();
        let number = queue.next;
        queue.next += 1;
        queue.present.insert(number, side);
        Place { write_back: self.clone(), number, side }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits, but not longer than `time`, until nobody of the other side is there who came earlier;
    /// whether that is so. By this order neither side can keep the other out.
    fn wait(&self, time: Duration) -> bool {
        let shared = &*self.write_back.0;
        let is_behind = |queue: &mut Queue| {
            queue.present.range(..self.number).any(|(_, side)| *side != self.side)
        };
        let waited = shared.left.wait_timeout_while(self.write_back.queue(), time, is_behind);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.write_back.queue().present.remove(&self.number);
        self.write_back.0.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_and_writing_wait_for_each_other() {
        let write_back = WriteBack::default();
        let writing = write_back.writing();
        let (quiet, is_quiet) = mpsc::channel();
        let (go_on, gone_on) = mpsc::channel::<()>();
        let other = write_back.clone();
        let locking = thread::spawn(move || {
            let held = other.quiet(&Cancel::new()).unwrap();
            quiet.send(()).unwrap();
            let _gone = gone_on.recv();
            drop(held);
        });
        assert!(is_quiet.recv_timeout(Duration::from_millis(50)).is_err());
        drop(writing);
        is_quiet.recv().unwrap();
        let other = write_back.clone();
        let (began, has_begun) = mpsc::channel();
        let writing = thread::spawn(move || {
            let _writing = other.writing();
            began.send(()).unwrap();
        });
        assert!(has_begun.recv_timeout(Duration::from_millis(50)).is_err());
        drop(go_on);
        locking.join().unwrap();
        writing.join().unwrap();
    }

    #[test]
    fn content_waits_only_for_a_while_and_locks_until_canceled() {
        let write_back = WriteBack::default();
        let _quiet = write_back.quiet(&Cancel::new()).unwrap();
        let root = tempfile::tempdir().unwrap();
        write_back.sync(&Dir::open(root.path()).unwrap(), &Cancel::new()).unwrap();
        let writing = write_back.writing();
        let canceled = Cancel::new();
        canceled.cancel();
        assert!(write_back.quiet(&canceled).is_err());
        drop(writing);
        drop(write_back.quiet(&Cancel::new()).unwrap());
    }
}
