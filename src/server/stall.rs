//! Giving up on a peer that neither sends what it has announced nor takes what it has asked for.
//!
//! Only the peer's own time counts: a request body is waited for only while somebody wants more of
//! it, and an answer only while there is some of it that the kernel does not take. However long this
//! program, or a registry behind it, needs for the next step, it is not the peer that stalls.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

/// How long a peer has been waited for without a sign of it.
#[derive(Debug)]
pub(super) struct Stall {
    /// `None`: it may take for ever.
    limit: Option<Duration>,
    /// Made when it is waited for the first time: most peers are never waited for.
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    what: &'static str,
}

impl Stall {
    /// `what` says what the peer has failed to do, after "the client".
    pub(super) fn new(limit: Option<Duration>, what: &'static str) -> Self {
        Self { limit, timer: None, waiting: false, what }
    }

    /// `polled`, or an error if that has been pending for too long without interruption.
    pub(super) fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<T>,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(value) = polled {
            self.waiting = false;
            return Poll::Ready(Ok(value));
        }
        let Some(limit) = self.limit else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        if !self.waiting {
            self.waiting = true;
            timer.as_mut().reset(Instant::now() + limit);
        }
        ready!(timer.as_mut().poll(cx));
        self.waiting = false;
        let text = format!("the client has {} for {} s", self.what, limit.as_secs_f64());
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)))
    }
}

/// A request body that fails when nothing more of it comes.
#[derive(Debug)]
pub(super) struct Arriving<B> {
    body: B,
    stall: Stall,
}

impl<B> Arriving<B> {
    pub(super) fn new(body: B, limit: Option<Duration>) -> Self {
        Self { body, stall: Stall::new(limit, "sent nothing more of the request") }
    }
}

impl<B> HttpBody for Arriving<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        Poll::Ready(match ready!(this.stall.watch(cx, polled)) {
            Ok(frame) => frame.map(|frame| frame.map_err(Into::into)),
            Err(stalled) => Some(Err(stalled.into())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
