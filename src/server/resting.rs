//! Connections without a request, which clients like to keep: they cost little, but must not keep
//! others out.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use http_body::{Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// How long a connection rests before it may be closed for the sake of another. A client that has
/// just connected, or has just read an answer, may be about to send a request.
const REST: Duration = Duration::from_secs(1);

/// All connections that rest. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Resting(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    connections: Mutex<Connections>,
    /// One more rests.
    more: Notify,
}

#[derive(Debug, Default)]
struct Connections {
    next: u64,
    resting: HashMap<u64, Rest>,
}

#[derive(Debug)]
struct Rest {
    since: Instant,
    leave: CancellationToken,
}

impl Resting {
    /// One more connection, which rests until its first request.
    pub(super) fn enter(&self) -> Turns {
        let mut connections = self.connections();
        let id = connections.next;
        connections.next += 1;
        drop(connections);
        let turns =
            Turns(Arc::new(Turn { all: self.clone(), id, leave: CancellationToken::new() }));
        turns.0.rest();
        turns
    }

    /// Waits until a connection has rested for long enough, and asks the one that has rested longest
    /// to leave. Cancel-safe.
    pub(super) async fn make_room(&self) {
        loop {
            match self.longest() {
                Some((id, since)) if since.elapsed() >= REST => {
                    // Unless its next request has come in between.
                    if let Some(rest) = self.connections().resting.remove(&id) {
                        rest.leave.cancel();
                        return;
                    }
                }
                Some((_, since)) => sleep_until(since + REST).await,
                None => self.0.more.notified().await,
            }
        }
    }

    fn longest(&self) -> Option<(u64, Instant)> {
        let connections = self.connections();
        let times = connections.resting.iter().map(|(id, rest)| (*id, rest.since));
        times.min_by_key(|(_, since)| *since)
    }

    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.0.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How one connection takes turns between resting and requests. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Turns(Arc<Turn>);

#[derive(Debug)]
struct Turn {
    all: Resting,
    id: u64,
    leave: CancellationToken,
}

impl Turns {
    /// Waits until the connection is to make room for another. A request that comes after that is
    /// the last.
    pub(super) async fn leave(&self) {
        self.0.leave.cancelled().await;
    }

    /// A request has come. The connection rests again when this is dropped.
    pub(super) fn request(&self) -> UnderWay {
        self.0.wake();
        UnderWay(Arc::clone(&self.0))
    }
}

impl Turn {
    fn rest(&self) {
        let rest = Rest { since: Instant::now(), leave: self.leave.clone() };
        self.all.connections().resting.insert(self.id, rest);
        self.all.0.more.notify_one();
    }

    fn wake(&self) {
        self.all.connections().resting.remove(&self.id);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.wake();
    }
}

/// A request under way, up to the end of its answer.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<Turn>);

impl UnderWay {
    /// Goes on to the end of `response`.
    pub(super) fn with(self, response: Response) -> Response {
        response.map(|body| Body::new(Answer { body, _under_way: self }))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.rest();
    }
}

/// A body that keeps its request under way.
struct Answer {
    body: Body,
    _under_way: UnderWay,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
