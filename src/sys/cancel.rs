//! A flag that tells blocking work to stop.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shared by whoever waits for a piece of blocking work and the work itself. The work looks at it
/// between chunks and while it waits for locks, and rolls back when it is set.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

/// The work was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("operation canceled")]
pub struct Canceled;

impl Cancel {
    /// A flag that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells the work to stop. Cannot be undone.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether the work should stop.
    pub fn is_canceled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// `Err` when the work should stop, for use with `?`.
    pub fn check(&self) -> Result<(), Canceled> {
        if self.is_canceled() { Err(Canceled) } else { Ok(()) }
    }
}

impl From<Canceled> for io::Error {
    fn from(canceled: Canceled) -> Self {
        // Not `Interrupted`: `Read` adaptors would retry it.
        Self::new(io::ErrorKind::ConnectionAborted, canceled)
    }
}
