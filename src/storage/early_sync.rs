//! Writing back unpacked layers while the next one is being unpacked.
//!
//! An image counts as complete only after one `syncfs`. Unpacking is bound by the processor and
//! leaves the disk idle, so the disk may as well begin: then there is little left to wait for. The
//! result does not matter; the wait that counts comes later and reports its own errors.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::dir::Dir;

/// Layers shorter than this, in bytes, are not worth a journal commit of their own.
const WORTHWHILE: u64 = 32 << 20;

/// At most one early `syncfs` at a time.
#[derive(Debug, Default)]
pub(super) struct EarlySync {
    running: Arc<AtomicBool>,
}

impl EarlySync {
    /// Begins to write back the file system of `directory`, unless that is under way.
    pub(super) fn begin(&self, directory: &Dir, unpacked_bytes: u64) {
        if unpacked_bytes < WORTHWHILE || self.running.swap(true, Ordering::AcqRel) {
            return;
        }
        let running = Arc::clone(&self.running);
        let started = directory.fd().try_clone().and_then(|directory| {
            thread::Builder::new().name("early-sync".into()).spawn(move || {
                if let Err(error) = rustix::fs::syncfs(directory) {
                    tracing::debug!(%error, "early sync");
                }
                running.store(false, Ordering::Release);
            })
        });
        if started.is_err() {
            self.running.store(false, Ordering::Release);
        }
    }
}
