//! Operations that tell what they do while they do it.

use std::pin::Pin;

use futures_util::{Stream, stream};
use tokio::sync::mpsc;

use crate::engine::Result as Outcome;

/// Events that may wait for a slow client.
const WAITING: usize = 32;

/// An operation under way, and what it tells. Dropping it stops the operation.
pub(crate) struct UnderWay<T, E> {
    work: Pin<Box<dyn Future<Output = Outcome<T>> + Send>>,
    events: mpsc::Receiver<E>,
    outcome: Option<Outcome<T>>,
    ended: bool,
}

/// What an operation does next.
#[derive(Debug)]
pub(crate) enum Step<T, E> {
    Told(E),
    /// Nothing comes after it.
    Ended(Outcome<T>),
}

impl<T, E> UnderWay<T, E> {
    /// Begins an operation, which gets something to tell events to. It does nothing until it is asked
    /// for its next step.
    pub(crate) fn begin<F>(work: impl FnOnce(mpsc::Sender<E>) -> F) -> Self
    where
        F: Future<Output = Outcome<T>> + Send + 'static,
    {
        let (sender, events) = mpsc::channel(WAITING);
        Self { work: Box::pin(work(sender)), events, outcome: None, ended: false }
    }

    /// The next step; `None` after the last. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Step<T, E>> {
        while self.outcome.is_none() && !self.ended {
            tokio::select! {
                biased;
                Some(event) = self.events.recv() => return Some(Step::Told(event)),
                outcome = &mut self.work => self.outcome = Some(outcome),
            }
        }
        // What was told just before the end.
        if let Ok(event) = self.events.try_recv() {
            return Some(Step::Told(event));
        }
        self.ended = true;
        self.outcome.take().map(Step::Ended)
    }
}

impl<T: Send + 'static, E: Send + 'static> UnderWay<T, E> {
    /// All steps, after `first` if that was taken already.
    pub(crate) fn steps(
        self,
        first: Option<Step<T, E>>,
    ) -> impl Stream<Item = Step<T, E>> + Send + 'static {
        stream::unfold((self, first), |(mut work, first)| async move {
            let step = match first {
                Some(step) => step,
                None => work.next().await?,
            };
            Some((step, (work, None)))
        })
    }
}

impl<T, E> std::fmt::Debug for UnderWay<T, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UnderWay").field("ended", &self.ended).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn events_come_before_the_outcome() {
        let mut work = UnderWay::<_, u32>::begin(|sender| async move {
            for number in 0..100 {
                sender.send(number).await.unwrap();
            }
            Ok("done")
        });
        for expected in 0..100 {
            assert!(matches!(work.next().await, Some(Step::Told(number)) if number == expected));
        }
        assert!(matches!(work.next().await, Some(Step::Ended(Ok("done")))));
        assert!(work.next().await.is_none());
    }
}
