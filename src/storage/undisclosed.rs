//! What readers see while a writer of this program holds the locks.
//!
//! Nobody else can change the records then, and what the writer does counts only when it is done. So
//! whoever asks meanwhile need not wait: the store is as it was when the writer began. That goes for
//! writers that only add; what others take away could not be read any more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Snapshot;

/// The store before the change that is under way, if there is one. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Before(Arc<Mutex<Option<Snapshot>>>);

/// Held by the writer, and dropped before its locks are released: what it did may be seen by others
/// from then on, so readers have to look again.
#[derive(Debug)]
pub(super) struct Undisclosed(Before);

impl Before {
    /// Shows this to readers until the guard is dropped. Called by who holds all locks alone, so there
    /// is at most one guard.
    pub(super) fn keep(&self, snapshot: &Snapshot) -> Undisclosed {
        *self.slot() = Some(snapshot.clone());
        Undisclosed(self.clone())
    }

    /// The store as it is for readers, without any lock, while there is a writer.
    pub(super) fn get(&self) -> Option<Snapshot> {
        self.slot().clone()
    }

    fn slot(&self) -> MutexGuard<'_, Option<Snapshot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Undisclosed {
    fn drop(&mut self) {
        *self.0.slot() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_shown_until_the_writer_is_done() {
        let before = Before::default();
        assert!(before.get().is_none());
        let snapshot = Snapshot::new(Vec::new(), Vec::new(), Vec::new());
        let undisclosed = before.keep(&snapshot);
        assert!(before.clone().get().is_some_and(|shown| shown.is_same(&snapshot)));
        drop(undisclosed);
        assert!(before.get().is_none());
    }
}
