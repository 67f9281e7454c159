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
use super::write_back::WriteBack;

/// Layers shorter than this, in bytes, are not worth a journal commit of their own.
const WORTHWHILE: u64 = 32 << 20;
/// How long a layer is unpacked before what there is of it is written back, and between two times.
/// Small layers are ready before; a large one alone would otherwise leave the disk idle to its end.
const INTERVAL: Duration = Duration::from_millis(300);

/// At most one early `syncfs` at a time.
#[derive(Debug)]
pub(super) struct EarlySync {
    running: Arc<AtomicBool>,
    write_back: WriteBack,
}

/// Writes back what there is, time and again, until it is dropped. That does not wait.
#[derive(Debug)]
pub(super) struct Meanwhile {
    _end: Option<Sender<()>>,
}

impl EarlySync {
    /// As one of those who use `write_back`.
    pub(super) fn new(write_back: WriteBack) -> Self {
        Self { running: Arc::default(), write_back }
    }

    /// Begins to write back the file system of `directory`, unless that is under way.
    pub(super) fn begin(&self, directory: &Dir, unpacked_bytes: u64) {
        if unpacked_bytes < WORTHWHILE {
            return;
        }
        let sync = self.sync();
        self.start(directory, move |directory| sync(&directory));
    }

    /// Writes back the file system of `directory` while something is unpacked into it.
    pub(super) fn meanwhile(&self, directory: &Dir) -> Meanwhile {
        let (end, ended) = mpsc::channel();
        let sync = self.sync();
        let started = self.start(directory, move |directory| {
            let mut before = None;
            while ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                // A client that stalls writes nothing.
                let room = room(&directory);
                if room.is_none() || room != before {
                    sync(&directory);
                }
                before = room;
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

    /// One early `syncfs`, unless one is under way.
    fn sync(&self) -> impl Fn(&OwnedFd) + Send + use<> {
        let (running, write_back) = (Arc::clone(&self.running), self.write_back.clone());
        move |directory| {
            if !running.swap(true, Ordering::AcqRel) {
                write_back.sync_early(directory);
                running.store(false, Ordering::Release);
            }
        }
    }
}

/// What is free on the file system of `directory`: blocks and inodes.
fn room(directory: &OwnedFd) -> Option<(u64, u64)> {
    rustix::fs::fstatvfs(directory).ok().map(|stat| (stat.f_bfree, stat.f_ffree))
}
