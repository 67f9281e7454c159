//! Writing back layers while they are being unpacked.
//!
//! An image counts as complete only after one `syncfs`. Unpacking is bound by the processor and
//! leaves the disk idle, so the disk may as well begin: then there is little left to wait for. The
//! result does not matter; the wait that counts comes later and reports its own errors.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use super::dir::Dir;

/// Layers shorter than this, in bytes, are not worth a journal commit of their own.
const WORTHWHILE: u64 = 32 << 20;
/// How long a layer is unpacked before what there is of it is written back, and between two times.
/// Small layers are ready before; a large one alone would otherwise leave the disk idle to its end.
const INTERVAL: Duration = Duration::from_millis(300);

/// At most one early `syncfs` at a time.
#[derive(Debug, Default)]
pub(super) struct EarlySync {
    running: Arc<AtomicBool>,
}

/// Writes back what there is, time and again, until it is dropped. That does not wait.
#[derive(Debug)]
pub(super) struct Meanwhile {
    _end: Option<Sender<()>>,
}

impl EarlySync {
    /// Begins to write back the file system of `directory`, unless that is under way.
    pub(super) fn begin(&self, directory: &Dir, unpacked_bytes: u64) {
        if unpacked_bytes < WORTHWHILE {
            return;
        }
        let running = Arc::clone(&self.running);
        self.start(directory, move |directory| sync(&directory, &running));
    }

    /// Writes back the file system of `directory` while something is unpacked into it.
    pub(super) fn meanwhile(&self, directory: &Dir) -> Meanwhile {
        let (end, ended) = mpsc::channel();
        let running = Arc::clone(&self.running);
        let started = self.start(directory, move |directory| {
            while ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                sync(&directory, &running);
            }
        });
        Meanwhile { _end: started.then_some(end) }
    }

    /// Whether there is a thread for it. Without one, somebody waits longer in the end.
    fn start(&self, directory: &Dir, work: impl FnOnce(OwnedFd) + Send + 'static) -> bool {
        let directory = directory.fd().try_clone();
        let started = directory.and_then(|directory| {
            thread::Builder::new().name("early-sync".into()).spawn(move || work(directory))
        });
        started.is_ok()
    }
}

fn sync(directory: &OwnedFd, running: &AtomicBool) {
    if running.swap(true, Ordering::AcqRel) {
        return;
    }
    if let Err(error) = rustix::fs::syncfs(directory) {
        tracing::debug!(%error, "early sync");
    }
    running.store(false, Ordering::Release);
}
