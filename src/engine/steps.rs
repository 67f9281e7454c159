//! Telling what a long operation is doing.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;

/// Told what a long operation does, step by step. The operation waits until the step was taken, so
/// that no step is lost, and none piles up. As [`Progress`](super::Progress), for operations that must
/// not block.
pub struct Steps<T>(Arc<dyn Fn(T) -> BoxFuture<'static, ()> + Send + Sync>);

impl<T> Steps<T> {
    /// Steps are given to `tell`.
    pub fn new(tell: impl Fn(T) -> BoxFuture<'static, ()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// Nobody listens.
    pub fn none() -> Self {
        Self::new(|_| Box::pin(std::future::ready(())))
    }

    /// One step.
    pub async fn tell(&self, step: T) {
        (self.0)(step).await;
    }
}

impl<T> Clone for Steps<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Steps<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steps").finish_non_exhaustive()
    }
}
