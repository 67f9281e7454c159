//! The permit of work that reads what somebody sends. While the sender keeps it waiting, others have it.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Error;

/// A permit that can be lent. Clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct Turn {
    permits: Arc<Semaphore>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
enum State {
    Held(#[expect(dead_code, reason = "kept until it is dropped")] OwnedSemaphorePermit),
    Lent,
    /// The work has not begun, or has ended.
    #[default]
    Idle,
}

/// Gives the permit back when the work ends.
#[derive(Debug)]
pub(super) struct Working(Turn);

/// Waits for a permit.
pub(super) async fn acquire(permits: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Error> {
    Arc::clone(permits).acquire_owned().await.map_err(|_| Error::Stopping)
}

impl Turn {
    /// One of `permits`, not held yet.
    pub(super) fn new(permits: Arc<Semaphore>) -> Self {
        Self { permits, state: Arc::default() }
    }

    /// Waits for the permit, which is then held until the work ends.
    pub(super) async fn begin(&self) -> Result<Working, Error> {
        let permit = acquire(&self.permits).await?;
        *self.state() = State::Held(permit);
        Ok(Working(self.clone()))
    }

    /// Lets others have the permit, if the work has it.
    pub(super) fn lend(&self) {
        let mut state = self.state();
        if matches!(*state, State::Held(_)) {
            let held = mem::replace(&mut *state, State::Lent);
            drop(state);
            drop(held);
        }
    }

    /// Waits for the permit again if it is lent.
    pub(super) async fn resume(&self) -> Result<(), Error> {
        if !matches!(*self.state(), State::Lent) {
            return Ok(());
        }
        let permit = acquire(&self.permits).await?;
        let mut state = self.state();
        // The work may have ended meanwhile.
        if matches!(*state, State::Lent) {
            *state = State::Held(permit);
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        let held = mem::take(&mut *self.0.state());
        drop(held);
    }
}
